"""The lines of sessions: connections that stay open while a session lives and the hub runs.

Law: knows streams and when they end, not HTTP and not Grid Engine. Nothing that comes on a line is read. What one
costs the hub is a stream and a pending read, no timer and no task.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError

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


class Lines:
    """The open lines of one hub, at most one a spawner."""

    def __init__(self) -> None:
        self._streams: dict[Lined, IOStream] = {}

    @classmethod
    def of(cls, settings: MutableMapping[str, Any]) -> Lines:
        """Return the hub's lines, made on first use."""
        lines: Lines = settings.setdefault("sgehub_lines", cls())
        return lines

    def __len__(self) -> int:
        return len(self._streams)

    def open(self, spawner: Lined, stream: IOStream) -> None:
        """Take a stream as the line of the spawner's present start, in the place of an older one."""
        before = self._streams.get(spawner)
        self._streams[spawner] = stream
        if before is not None:
            before.close()
        spawner.line_opened(partial(self._close, spawner, stream))
        ended = partial(self._ended, spawner, stream, spawner.record.tag)
        try:
            _keep_alive(stream)
            stream.read_bytes(MOST_BYTES).add_done_callback(ended)  # type: ignore[attr-defined] # it is a Future
        except StreamClosedError:
            IOLoop.current().add_callback(ended, None)

    def _close(self, spawner: Lined, stream: IOStream) -> None:
        if self._streams.get(spawner) is stream:
            del self._streams[spawner]
        stream.close()

    def _ended(self, spawner: Lined, stream: IOStream, tag: str, _: object) -> None:
        mine = self._streams.get(spawner) is stream
        self._close(spawner, stream)
        # A line of an earlier start says nothing of the present one.
        if mine and spawner.record is not None and spawner.record.tag == tag:
            spawner.line_closed()


def _keep_alive(stream: IOStream) -> None:
    if stream.socket is not None:
        with suppress(OSError):  # no TCP, or closed
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                stream.socket.setsockopt(socket.IPPROTO_TCP, option, value)
