"""What a session tells the hub: the port it listens on, and that it has ended.

Law: a plain POST over a socket and the number of the answer; no proxy, no redirect, no library that would cost
every session memory. The environment of a job often names a web proxy, which must never see the hub's token.

The answer to the port is the session's *line* if the hub keeps it open: as long as it is, the hub knows of this
session. When it breaks, the hub was restarted or is gone, and the session reports again until it is heard.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

_ATTEMPT_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_REFUSED_PAUSE = 60.0  # of a session that the hub has known before
# tcp(7): a hub's machine that lost power is noticed within 25 seconds, by the kernel alone; until then a hub that
# came back hears nothing of this session.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))
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
    status, connection = call(url, token, body, seconds)
    connection.close()
    return status


def call(
    url: str, token: str, body: dict[str, int], seconds: float = _ATTEMPT_SECONDS
) -> tuple[int, socket.socket]:
    """Do what `post` does, and return the connection as well, on which the rest of the answer comes."""
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
    connection = _connect(parts.scheme, host, port, seconds)
    try:
        connection.sendall(head.encode("ascii") + data)
        return _status(connection, until), connection
    except BaseException:
        connection.close()
        raise


def _status(connection: socket.socket, until: float) -> int:
    """Read the first line of the answer."""
    answer = b""
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


def wait_for_end(connection: socket.socket) -> None:
    """Return when the other end is gone, by its own word, an error, or because it has vanished."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        connection.settimeout(None)
        while connection.recv(_LONGEST_STATUS_LINE):
            pass


def is_refusal(status: int) -> bool:
    """Tell whether the hub has said no and will say so again."""
    return status in _REFUSED and status not in _REFUSED_FOR_NOW


class PortReport:
    """Reports a port in a thread of its own, again and again until the hub has answered.

    `done` is called at the first answer; then `accepted` is True, or False with `refusal` the status of a final
    no. With `line` (a sentence's way into the log) the answer is the session's line: whenever it breaks, the
    port is reported again, and a hub that knew this session once cannot refuse it any more, only be asked less
    often: it may have been given an old copy of its database. `disowned` is the status of such a no as long as
    it is the last answer, and `done` is called at each.
    """

    def __init__(
        self, url: str, token: str, port: int, done: Callable[[], None], line: Callable[[str], None] | None = None
    ) -> None:
        self.accepted = False
        self.refusal: int | None = None
        self.disowned: int | None = None
        self._call = (url, token, {"port": port})
        self._done = done
        self._line = line
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="report")
        self._thread.start()

    def stop(self) -> None:
        """Try no more. A line stays open until the process ends."""
        self._stopped.set()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            status, lived = self._report()
            if self.refusal or (self.accepted and self._line is None):
                return
            if lived > _LONGEST_PAUSE:  # a line that always breaks at once is no reason to hurry
                pause = _FIRST_PAUSE
            wait = _REFUSED_PAUSE if is_refusal(status) else pause
            # spread, so that a hub that comes back does not meet all its sessions at once
            self._stopped.wait(wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret depends on it
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _report(self) -> tuple[int, float]:
        """Report once; return the status, 0 for no answer, and how many seconds the line then lived."""
        try:
            status, connection = call(*self._call)
        except OSError:
            return 0, 0.0
        begin = time.monotonic()
        with connection:
            self._hear(status)
            if self._line is not None and status in _OK:
                wait_for_end(connection)
        return status, time.monotonic() - begin

    def _hear(self, status: int) -> None:
        if self.accepted:
            before, self.disowned = self.disowned, status if is_refusal(status) else None
            if self.disowned is None:
                return
            if before is None and self._line is not None:
                self._line(
                    f"the hub does not know this session any more (HTTP {status}); asking again every minute."
                )
            self._done()
        elif status in _OK:
            self.accepted = True
            self._done()
        elif is_refusal(status):
            self.refusal = status
            self._done()


def report_end(url: str, token: str, exit_code: int, seconds: float) -> bool:
    """Tell the hub that the server ends; return whether the hub has answered, after at most `seconds`.

    In a thread, because no time-out of ours bounds a name server; where the person may have no more threads on
    this host, without one.
    """
    answered = threading.Event()
    call = (url, token, exit_code, time.monotonic() + seconds, answered)
    thread = threading.Thread(target=_report_end, args=call, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        _report_end(*call)
    else:
        thread.join(seconds)
    return answered.is_set()


def _report_end(url: str, token: str, exit_code: int, until: float, answered: threading.Event) -> None:
    pause = _FIRST_PAUSE
    while (left := until - time.monotonic()) > 0:
        try:
            status = post(url, token, {"exit_code": exit_code}, min(left, 2.0))
        except OSError:
            status = 0
        if status in _OK or is_refusal(status):
            answered.set()
            return
        time.sleep(min(pause, max(0.0, until - time.monotonic())))
        pause *= 2
