"""Which port a server may try: random within the site's range, and held for it from then on.

Law: a port is held by being bound and not listened on. Others cannot take it, neither beside the server nor when
it has ended, until the hub knows of its end: somebody else's pages would be shown to the person in its place.
"""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Iterator

EVERYWHERE = "0.0.0.0"  # noqa: S104 - compared, and bound for IPv6's sake
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def _bound(family: int, bind: str, port: int, *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shared)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not shared)
        made.bind((bind, port))
    except BaseException:
        made.close()
        raise
    return made


def is_free(bind: str, port: int) -> bool:
    """Tell whether nobody listens on (bind, port) now, in the way of servers: SO_REUSEADDR in socket(7)."""
    try:
        _bound(socket.AF_INET6 if ":" in bind else socket.AF_INET, bind, port, shared=True).close()
    except OSError:
        return False
    return True


class Hold:
    """A port that is kept for one server. OSError if somebody else has it.

    A server binds it in spite of the hold, if it sets SO_REUSEADDR, as servers do; so may others, until `seal`.
    Linux lets nobody bind beside a socket that does not set it. The port of all of IPv6 is held with that of all
    of IPv4: by a host's name the proxy may come either way.
    """

    def __init__(self, bind: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        self.sockets = [_bound(family, bind, port, shared=True)]
        if bind == EVERYWHERE:
            try:
                self.sockets.append(_bound(socket.AF_INET6, "::", port, shared=False))
            except OSError as error:
                if error.errno not in _NO_IPV6:
                    self.close()
                    raise

    def seal(self) -> None:
        """Let nobody else bind the port from now on; for the moment at which the server listens."""
        self.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def close(self) -> None:
        """Let go of the port."""
        for held in self.sockets:
            held.close()


def held(bind: str, port: int) -> Hold | None:
    """Return a hold on a port, None if somebody else has it."""
    try:
        return Hold(bind, port)
    except OSError:
        return None


def candidates(ports: tuple[int, int], shuffle: Callable[[list[int]], None] | None = None) -> Iterator[int]:
    """Yield every port of the inclusive range once, in random order.

    Random, so that two sessions that start together on a host rarely try the same one.
    """
    order = list(range(ports[0], ports[1] + 1))
    (shuffle or random.SystemRandom().shuffle)(order)
    yield from order
