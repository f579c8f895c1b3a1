"""What the operating system and Python let the hub have. Every session's line is an open file."""

from __future__ import annotations

import gc
import logging
import resource
from typing import Final

WANTED: Final = 65536  # more serves nobody, and old programs that the hub runs close every descriptor one by one
FEW: Final = 4096


def raise_file_limit(log: logging.Logger, wanted: int = WANTED) -> int:
    """Raise the soft limit of open files to the hard one, but not above `wanted`; return it. See getrlimit(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, most = (wanted if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    if soft < min(most, wanted):
        soft = min(most, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < FEW:
        log.warning(
            "The hub may have %s files open, and every session that runs is one or two of them: set LimitNOFILE=%s"
            " in the hub's systemd unit (or the hard limit in limits.conf) and restart the hub.",
            soft,
            wanted,
        )
    return soft


def spare_collector() -> None:
    """Let Python's garbage collector look no more at what the hub is made of: see gc.freeze.

    Each of its full collections holds the event loop while it looks at all objects, whoever set it off. Of these,
    300,000 are there before the first session: modules, classes, configuration, people. They stay until the hub
    ends. What else is there when this is called, such as sessions that an earlier hub has started, goes as ever
    when nobody refers to it; if it is part of a cycle it stays, which is little and does not grow.
    """
    gc.collect()
    gc.freeze()
