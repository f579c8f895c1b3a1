"""What a tree of processes is doing, as the kernel tells through psutil.

Law: the only psutil. Knows processes and nothing of jobs or servers. Every process may vanish at any moment, and
one that has vanished, or is somebody else's, has and does nothing. psutil's own root (/proc) cannot be a
parameter: it is a global of that library.
"""

from __future__ import annotations

from dataclasses import dataclass

import psutil

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, OSError)


@dataclass(frozen=True)
class Listener:
    """A TCP socket that waits for connections: numeric address and port."""

    address: str
    port: int


def tree(pid: int) -> tuple[int, ...]:
    """Return `pid` and all its descendants that live now; () when it is gone."""
    try:
        process = psutil.Process(pid)
        return (pid, *(child.pid for child in process.children(recursive=True)))
    except _GONE:
        return ()


def _listeners(pid: int, kind: str) -> list[Listener]:
    try:
        process = psutil.Process(pid)
        # psutil 6 gave the method a new name
        sockets = getattr(process, "net_connections", None) or process.connections
        return [
            Listener(socket.laddr.ip, socket.laddr.port)
            for socket in sockets(kind=kind)
            if socket.status == psutil.CONN_LISTEN
        ]
    except _GONE:
        return []


def listeners(pid: int, kind: str = "tcp") -> frozenset[Listener]:
    """Return the TCP sockets on which `pid` or a descendant listens.

    `kind` is psutil's: "tcp4" or "tcp6" takes half the time of both, some milliseconds on hosts with much memory.
    """
    return frozenset(listener for member in tree(pid) for listener in _listeners(member, kind))


def listening_ports(pid: int) -> frozenset[int]:
    """Return the TCP ports on which `pid` or a descendant listens, on whatever address."""
    return frozenset(listener.port for listener in listeners(pid))
