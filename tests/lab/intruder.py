"""What a hostile neighbour does: take ports that others let go, and look at everything that he may look at."""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sgehub.lab.cluster import Lab
from sgehub.lab.forward import Forward
from tests.lab.conftest import Site
from tests.lab.person import Person

PYTHON = "/opt/sgehub/bin/python"
PAGE = "bob was here"
LOOK = 0.02  # seconds between looks at the routes
FETCH = 0.05  # seconds between fetches of the session's page

# Takes the port of IPv4 and that of IPv6, as soon as he can, says when, and serves a page of his own.
TAKE_PORT = """
import http.server, socket, sys, threading, time
port, page = int(sys.argv[1]), sys.argv[2].encode()
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
    do_GET = do_POST = do_HEAD = answer
    def log_message(self, *_): pass
def take(family, address):
    while True:
        one = socket.socket(family)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            one.bind((address, port)); one.listen(50)
            break
        except OSError:
            one.close()
        time.sleep(0.003)
    print(time.time(), flush=True)
    server = http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close(); server.socket = one
    server.serve_forever()
print("ready", flush=True)
threading.Thread(target=take, args=(socket.AF_INET6, "::"), daemon=True).start()
take(socket.AF_INET, "0.0.0.0")
"""


class PortThief:
    """Bob on a host, waiting for a port."""

    def __init__(self, lab: Lab, host: str, port: int) -> None:
        argv = [PYTHON, "-I", "-S", "-c", TAKE_PORT, str(port), PAGE]
        self.process = lab.popen(host, argv, user="bob", stdout=subprocess.PIPE)
        self.taken: list[float] = []
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.taken.extend(map(float, self.process.stdout))

    def wait(self, seconds: float) -> float:
        """Return when he had the port of IPv4 or IPv6, once he has both."""
        until = time.monotonic() + seconds
        while len(self.taken) < 2:
            assert time.monotonic() < until, "the port never came free"
            time.sleep(0.02)
        return min(self.taken)

    def close(self) -> None:
        """Send him away."""
        self.process.kill()
        self.process.wait()
        self._thread.join()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Routes:
    """The proxy's routing table, as the hub sees it."""

    def __init__(self, site: Site, port: int) -> None:
        env = (site.hub.state / "proxy.env").read_text().strip()
        self._request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/routes",
            headers={"Authorization": f"token {env.partition('=')[2]}"},
        )

    def table(self) -> dict[str, Any]:
        """Return all routes."""
        with urllib.request.urlopen(self._request, timeout=10) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def target(self, person: Person, server: str = "") -> str | None:
        """Return where a server's route leads, None if there is none."""
        path = f"/user/{person.name}/{server}".rstrip("/")
        route = self.table().get(path) or self.table().get(path + "/")
        return None if route is None else str(route["target"])


@contextmanager
def routes(site: Site) -> Iterator[Routes]:
    """Look at the routes through a forwarded port."""
    with Forward(lambda: site.lab.namespace("head", "net"), 8001) as forward:
        yield Routes(site, forward.port)


@dataclass
class Watch:
    """What the person saw under her address, and when her route went."""

    pages: list[tuple[float, int, bool]] = field(default_factory=list)  # when, status, whether it was bob's
    last_seen: float = 0.0
    gone: float | None = None

    def stolen(self) -> int:
        """Return how often bob's page was delivered."""
        return sum(1 for _, _, his in self.pages if his)

    def wait(self, seconds: float) -> float:
        """Return when the route was first seen to be gone."""
        until = time.monotonic() + seconds
        while self.gone is None:
            assert time.monotonic() < until, "the route is still there"
            time.sleep(0.02)
        return self.gone


@contextmanager
def watching(table: Routes, person: Person) -> Iterator[Watch]:
    """Poll route and page, each in a thread of its own, until the end of the block."""
    watch, stop = Watch(), threading.Event()

    def look() -> None:
        while not stop.wait(LOOK):
            asked = time.time()
            if table.target(person) is not None:
                watch.last_seen, watch.gone = asked, None
            elif watch.gone is None:
                watch.gone = time.time()

    def fetch() -> None:
        while not stop.wait(FETCH):
            asked = time.time()
            answer = person.open(f"/user/{person.name}/api/status", redirect=False)
            watch.pages.append((asked, answer.status, PAGE in answer.text))

    threads = [threading.Thread(target=work, daemon=True) for work in (look, fetch)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        stop.set()
        for thread in threads:
            thread.join()
