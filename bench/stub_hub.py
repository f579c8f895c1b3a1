"""A hub that says yes to all that a single-user server asks for while it starts.

Arguments: its port, JupyterHub's version.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """Answer everything with the version."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Give the version, as /hub/api does."""
        data = json.dumps({"version": sys.argv[2]}).encode()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", sys.argv[2])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self) -> None:
        """Take a report of activity."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


ThreadingHTTPServer(("", int(sys.argv[1])), Answer).serve_forever()
