"""What a session tells the hub: the port it listens on, and that it has ended.

Law: a plain POST over a socket and the number of the answer; no proxy, no redirect, no library that would cost
every session memory. The environment of a job often names a web proxy, which must never see the hub's token.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

_ATTEMPT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_LONGEST_STATUS_LINE = 4096
_OK = range(200, 300)
_REFUSED = range(400, 500)
_REFUSED_FOR_NOW = (408, 429)


def _connect(scheme: str, host: str, port: int, seconds: float) -> socket.socket:
    connection = socket.create_connection((host, port), timeout=seconds)
    if scheme != "https":
        return connection
    import ssl  # noqa: PLC0415 - 4 MB that only a hub behind https costs

    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=host)
    except BaseException:
        connection.close()
        raise


def post(url: str, token: str, body: dict[str, int], seconds: float = _ATTEMPT_SECONDS) -> int:
    """POST `body` as JSON and return the HTTP status; OSError when there is none within `seconds`."""
    until = time.monotonic() + seconds
    parts = urlsplit(url)
    host = parts.hostname or ""
    data = json.dumps(body).encode()
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    head = (
        f"POST {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nAuthorization: token {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
    )
    port = parts.port or (443 if parts.scheme == "https" else 80)
    answer = b""
    with _connect(parts.scheme, host, port, seconds) as connection:
        connection.sendall(head.encode("ascii") + data)
        while b"\n" not in answer and len(answer) < _LONGEST_STATUS_LINE:
            connection.settimeout(max(0.001, until - time.monotonic()))
            piece = connection.recv(_LONGEST_STATUS_LINE)
            if not piece:
                break
            answer += piece
    words = answer.split(b"\n", 1)[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():  # noqa: PLR2004 - version and status
        raise OSError("the hub's answer was not HTTP")
    return int(words[1])


class PortReport:
    """Reports a port in a thread of its own, again and again until the hub has answered.

    `done` is called at the end; then `accepted` is True, or False with `refusal` the status of a final no.
    """

    def __init__(self, url: str, token: str, port: int, done: Callable[[], None]) -> None:
        self.accepted = False
        self.refusal: int | None = None
        self._call = (url, token, {"port": port})
        self._done = done
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="report")
        self._thread.start()

    def stop(self) -> None:
        """Try no more."""
        self._stopped.set()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            try:
                status = post(*self._call)
            except OSError:
                status = 0
            self.accepted = status in _OK
            if status in _REFUSED and status not in _REFUSED_FOR_NOW:
                self.refusal = status
            if self.accepted or self.refusal:
                self._done()
                return
            # spread, so that a hub that comes back does not meet all its sessions at once
            self._stopped.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret depends on it
            pause = min(2 * pause, _LONGEST_PAUSE)


def report_end(url: str, token: str, exit_code: int, seconds: float) -> bool:
    """Tell the hub that the server ends; return whether the hub has answered, after at most `seconds`.

    In a thread, because no time-out of ours bounds a name server.
    """
    answered = threading.Event()
    thread = threading.Thread(
        target=_report_end, args=(url, token, exit_code, time.monotonic() + seconds, answered), daemon=True
    )
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def _report_end(url: str, token: str, exit_code: int, until: float, answered: threading.Event) -> None:
    pause = _FIRST_PAUSE
    while (left := until - time.monotonic()) > 0:
        try:
            status = post(url, token, {"exit_code": exit_code}, min(left, 2.0))
        except OSError:
            status = 0
        if status in _OK or (status in _REFUSED and status not in _REFUSED_FOR_NOW):
            answered.set()
            return
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause *= 2
