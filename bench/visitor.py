"""A person with a browser at a hub in the lab: logged in by the hub's own page, known by cookies.

One connection a request, as the client has it; nothing is kept of an answer but what it was.
"""

from __future__ import annotations

import http
import http.client
import json
import time
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import urlencode

from client import Connection, MeasurementError

from sgehub.lab.cluster import Lab

XSRF = "_xsrf"
# What browsers say of a request of a page's script; JupyterHub checks its token then.
SCRIPT = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}


@dataclass(frozen=True)
class Answer:
    """One answer; `seconds` from the connection's first packet to the last byte, `ended` by time.monotonic."""

    status: int
    body: bytes
    seconds: float
    ended: float


class Visitor:
    """One person's browser at the hub behind the proxy at `port` of the lab's head."""

    def __init__(self, lab: Lab, port: int, name: str) -> None:
        self.name = name
        self._lab = lab
        self._port = port
        self._cookies: dict[str, str] = {}

    def enter(self) -> None:
        """Log in. Raises MeasurementError if the hub does not take it."""
        self.get("/hub/login")
        form = {"username": self.name, "password": "any", XSRF: self._cookies.get(XSRF, "")}
        sent = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = self._call("POST", "/hub/login", urlencode(form).encode(), sent)
        if answer.status != http.HTTPStatus.FOUND:
            raise MeasurementError(f"The login of {self.name} was answered with {answer.status}.")
        self.get("/hub/token")  # a page of JupyterHub's own, so that the cookies are those of later requests

    def get(self, path: str) -> Answer:
        """Open a page of the hub."""
        return self._call("GET", path, None, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"})

    def ask(self, path: str) -> Answer:
        """Ask an address of the hub, as a page's script does."""
        return self._call("GET", path, None, SCRIPT)

    def post(self, path: str, value: object) -> Answer:
        """Send a value as JSON, as a page's script does."""
        return self._call("POST", path, json.dumps(value).encode(), {**SCRIPT, "Content-Type": "application/json"})

    def _call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        sent = {**headers, "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        sent["X-XSRFToken"] = self._cookies.get(XSRF, "")
        begun = time.monotonic()
        connection = Connection(self._lab, self._port)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            text = answer.read()
            ended = time.monotonic()
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            self._cookies.update({name: one.value for name, one in SimpleCookie(line).items()})
        return Answer(answer.status, text, ended - begun, ended)
