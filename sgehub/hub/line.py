"""The lines of sessions: connections that stay open while a session lives and the hub runs.

Law: knows sockets and when they end, not HTTP and not Grid Engine. Nothing that comes on a line is interpreted.
What one costs the hub is a socket that the loop looks at: no stream with its buffers, no timer, no task.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, Protocol

from tornado.iostream import IOStream

MOST_BYTES: Final = 16  # that a session may send on its line; one that talks more is no session of ours
# tcp(7): a host that vanished without a word is noticed after two minutes, by the kernel alone.
KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))


class Lined(Protocol):
    """A spawner, as far as lines concern it."""

    record: Any

    def line_opened(self, close: Callable[[], None]) -> None:
        """Learn that the session has a line. `close` ends it, and `line_closed` is not called for that."""

    def line_closed(self) -> None:
        """Learn that the session's line has broken: it, its host or the network is gone, or it has ended."""


class Line:
    """One line: a socket of its own, since a stream keeps buffers for as long as it lives."""

    __slots__ = ("_lines", "_loop", "_said", "_socket", "_spawner", "_tag")

    def __init__(self, lines: Lines, spawner: Lined, stream: IOStream, tag: str) -> None:
        """Take the stream's connection, and close the stream. OSError for one that has ended."""
        self._lines, self._spawner, self._tag, self._said = lines, spawner, tag, 0
        self._loop = asyncio.get_running_loop()
        self._connect(stream)

    def close(self) -> None:
        """End the line; doing so again does no harm."""
        self._lines.drop(self._spawner, self)
        self._disconnect()

    def _broken(self) -> None:
        mine = self._lines.drop(self._spawner, self)
        self._disconnect()
        if mine:
            self._lines.tell(self._spawner, self._tag)

    def _connect(self, stream: IOStream) -> None:
        if stream.closed():
            raise ConnectionResetError("the connection has ended")
        try:
            self._socket = socket.socket(fileno=os.dup(stream.socket.fileno()))
        finally:
            stream.close()
        try:
            self._socket.settimeout(0)
            _keep_alive(self._socket)
            self._loop.add_reader(self._socket, self._readable)
        except OSError:
            self._socket.close()
            raise

    def _disconnect(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def _readable(self) -> None:
        try:
            said = len(self._socket.recv(MOST_BYTES))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            said = 0
        self._said += said
        if not said or self._said >= MOST_BYTES:
            self._broken()


class Lines:
    """The open lines of one hub, at most one a spawner."""

    line = Line

    def __init__(self) -> None:
        self._open: dict[Lined, Line] = {}

    @classmethod
    def of(cls, settings: MutableMapping[str, Any]) -> Lines:
        """Return the hub's lines, made on first use."""
        lines: Lines = settings.setdefault("sgehub_lines", cls())
        return lines

    def __len__(self) -> int:
        return len(self._open)

    def open(self, spawner: Lined, stream: IOStream, tag: str) -> None:
        """Take a stream's connection as the line of the start of that tag, in the place of an older one.

        The stream is at its end then. A line of a start that is not the present one any more is closed.
        """
        try:
            line = self.line(self, spawner, stream, tag)
        except OSError:  # the session has hung up, or the hub has no file descriptors left
            if spawner not in self._open:
                asyncio.get_running_loop().call_soon(self.tell, spawner, tag)
            return
        if not _is_of(spawner, tag):
            line.close()
            return
        before, self._open[spawner] = self._open.get(spawner), line
        if before is not None:
            before.close()
        spawner.line_opened(line.close)

    def tell(self, spawner: Lined, tag: str) -> None:
        """Tell the spawner that a line has broken; one of an earlier start says nothing of the present one."""
        if _is_of(spawner, tag):
            spawner.line_closed()

    def drop(self, spawner: Lined, line: Line) -> bool:
        """Forget a line; False if another one has taken its place, or nobody knew it."""
        mine = self._open.get(spawner) is line
        if mine:
            del self._open[spawner]
        return mine


def _is_of(spawner: Lined, tag: str) -> bool:
    return spawner.record is not None and spawner.record.tag == tag


def _keep_alive(connection: socket.socket) -> None:
    with suppress(OSError):  # no TCP
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
