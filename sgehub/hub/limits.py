"""What the operating system lets the hub have. Every session's line is an open file."""

from __future__ import annotations

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
