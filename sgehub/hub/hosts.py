"""Which execution hosts are lost: silent towards Grid Engine for longer than the site allows.

Grid Engine keeps the jobs of a host that is gone as running for ever. The law of this file: only silence that was
seen the whole time counts. A qmaster that does not answer proves nothing about hosts, and one that has just
started has not heard of any yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sgehub.errors import SgehubError

LONGEST: Final = 60.0  # seconds between two questions
SOON: Final = 10.0  # seconds between them while a host is silent: people read that it is
SHARE: Final = 4  # questions within the time after which a host is lost


class HostWatch:
    """Ask for silent hosts while somebody's session is on one. `after` is in seconds."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[frozenset[str]]],
        after: float,
        *,
        clock: Callable[[], float],
        log: logging.Logger,
    ) -> None:
        self._ask, self._clock, self._log = ask, clock, log
        self._since: dict[str, float] = {}
        self._told: set[str] = set()
        self._asked = 0.0
        self.allow(after)

    def allow(self, after: float) -> None:
        """Count a host as lost after so many seconds, also one that is silent already."""
        self._after = after
        self.pause = min(LONGEST, after / SHARE)

    def silent_since(self, host: str) -> float | None:
        """Return since when Grid Engine has not heard of a host, None if it has or nobody knows."""
        return self._since.get(host)

    def lost(self, host: str, came: float = 0.0) -> bool:
        """Tell whether a host has been silent for so long that a job on it is lost.

        `came` is when the hub saw the job there for the first time: silence counts from then on, for a job is sent
        to hosts that report only.
        """
        since = self._since.get(host)
        return since is not None and self._asked - max(since, came) >= self._after

    async def look(self) -> None:
        """Ask once, and count the silence. Never raises."""
        asked = self._clock()
        try:
            silent = await self._ask()
        except SgehubError:
            self._since.clear()
            return
        self._asked = asked
        for host in silent - self._since.keys():
            self._log.warning("Execution host %s does not report to Grid Engine any more.", host)
            self._since[host] = asked
        for host in self._since.keys() - silent:
            self._log.info("Execution host %s reports to Grid Engine again.", host)
            del self._since[host]
        self._told &= silent
        for host in silent - self._told:
            if self.lost(host):
                self._told.add(host)
                self._log.error(
                    "Execution host %s has been silent for %.0f minutes and counts as lost; so do its sessions.",
                    host,
                    (asked - self._since[host]) / 60,
                )

    async def run(self, wanted: Callable[[], bool]) -> None:
        """Ask as long as `wanted` says that somebody wants to know."""
        while wanted():
            await self.look()
            await asyncio.sleep(min(self.pause, SOON) if self._since else self.pause)
        self._since.clear()
