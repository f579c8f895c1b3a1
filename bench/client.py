"""A REST client of a hub in the lab: no forwarding process in between that would cost time of its own."""

from __future__ import annotations

import http.client
import json
import time
from pathlib import Path
from typing import Any

from sgehub.lab.cluster import Lab
from sgehub.lab.forward import socket_inside
from sgehub.lab.layout import HEAD

_SECONDS = 90.0
_PAUSE = 0.1


class MeasurementError(Exception):
    """Something that is to be measured did not happen."""


class Connection(http.client.HTTPConnection):
    """A connection that is made inside the head's network."""

    def __init__(self, lab: Lab, port: int) -> None:
        super().__init__("127.0.0.1", port, timeout=_SECONDS)
        self._lab = lab

    def connect(self) -> None:
        """Connect from the head to itself."""
        self.sock = socket_inside(self._network)
        self.sock.settimeout(_SECONDS)
        self.sock.connect((self.host, self.port))

    def _network(self) -> Path:
        return self._lab.namespace(HEAD, "net")


class Client:
    """Call the hub behind the proxy at `port` of the lab's head, with a token."""

    def __init__(self, lab: Lab, port: int, token: str) -> None:
        self._lab = lab
        self._port = port
        self._token = token

    def reaches(self, path: str) -> bool:
        """Tell whether a single-user server answers at `path`, through the proxy; OSError if nothing answers."""
        connection = Connection(self._lab, self._port)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status == http.HTTPStatus.OK and bool(answer.getheader("X-JupyterHub-Version"))
        finally:
            connection.close()

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return status and body of one call; OSError if nothing answers."""
        connection = Connection(self._lab, self._port)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/hub/api{path}", data, {"Authorization": f"token {self._token}"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text or "null")
        except ValueError:
            return answer.status, text

    def wait_ready(self, seconds: float = 60.0) -> None:
        """Return when the hub answers through its proxy."""
        until = time.monotonic() + seconds
        while True:
            try:
                if self.call("GET", "/")[0] == http.HTTPStatus.OK:
                    return
            except OSError:
                pass
            if time.monotonic() > until:
                raise MeasurementError(f"The hub at port {self._port} does not answer.")
            time.sleep(_PAUSE)

    def start(self, person: str) -> tuple[float, float]:
        """Start the person's server; return when it was asked for and when it was ready, in seconds since 1970."""
        asked = time.time()
        status, body = self.call("POST", f"/users/{person}/server", {})
        ready = time.time()
        if status != http.HTTPStatus.CREATED:
            raise MeasurementError(f"The start was answered with {status}: {body}")
        return asked, ready

    def stop(self, person: str) -> None:
        """Stop the person's server, and return when the hub has forgotten it."""
        self.call("DELETE", f"/users/{person}/server")
        until = time.monotonic() + _SECONDS
        while self.call("GET", f"/users/{person}")[1].get("servers"):
            if time.monotonic() > until:
                raise MeasurementError("A server did not stop.")
            time.sleep(_PAUSE)
