"""Which execution hosts are lost: silent towards Grid Engine for longer than the site allows.

Grid Engine keeps the jobs of a host that is gone as running for ever. The law of this file: only silence that was
seen counts, and only of hosts where a job of ours may be. A qmaster that does not answer proves nothing about
hosts, and one that has just started has not heard of any yet: what was seen before keeps its weight, but alone it
makes no host lost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from sgehub.errors import SgehubError
from sgehub.model.units import Duration

LONGEST: Final = 60.0  # seconds between two questions
SOON: Final = 10.0  # seconds between them while a host is silent and not lost yet: people read that it is
SHARE: Final = 4  # questions within the time after which a host is lost
# Seconds of answers between a failure and the loss of a host: a new qmaster has heard of all within a minute.
SURE: Final = 120.0


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
        self._asked = 0.0  # when the last question was put that was answered
        self._certain: float | None = None  # since when every question is answered, None if the last one was not
        self.allow(after)

    def allow(self, after: float) -> None:
        """Count a host as lost after so many seconds, also one that is silent already."""
        self._after = after
        self.pause = min(LONGEST, after / SHARE)

    def silent_since(self, host: str) -> float | None:
        """Return since when Grid Engine has not heard of a host, as far as that was seen; None if it has."""
        return self._since.get(host)

    def lost(self, host: str, came: float = 0.0) -> bool:
        """Tell whether a host has been silent for so long that a job on it is lost.

        `came` is when the hub saw the job there for the first time: silence counts from then on, for a job is sent
        to hosts that report only.
        """
        since = self._since.get(host)
        if since is None or self._certain is None:
            return False
        sure = self._asked - self._certain >= min(SURE, self._after)
        return sure and self._asked - max(since, came) >= self._after

    async def look(self, ours: frozenset[str]) -> None:
        """Ask once, and count the silence of the hosts where jobs of ours may be. Never raises."""
        asked = self._clock()
        try:
            silent = await self._ask()
        except SgehubError:
            self._certain = None
            return
        if self._certain is None:  # what nobody has seen does not count
            self._since = {host: since + asked - self._asked for host, since in self._since.items()}
            self._certain = asked
        self._asked = asked
        self._note(silent, ours)

    def _note(self, silent: frozenset[str], ours: frozenset[str]) -> None:
        """Keep since when hosts are silent, and say once of each that it is, is lost, is back."""
        for host in (ours & self._since.keys()) - silent:
            self._log.info("Execution host %s reports to Grid Engine again.", host)
        for host in (silent & ours) - self._since.keys():
            self._log.warning("Execution host %s does not report to Grid Engine any more.", host)
        self._since = {host: self._since.get(host, self._asked) for host in silent & ours}
        self._told &= self._since.keys()
        for host, since in self._since.items():
            if host not in self._told and self.lost(host):
                self._told.add(host)
                self._log.error(
                    "Execution host %s has been silent for %s and counts as lost; so do its sessions.",
                    host,
                    Duration(round(self._asked - since)).words(),
                )

    @property
    def rest(self) -> float:
        """Return the seconds until the next question."""
        undecided = any(not self.lost(host) for host in self._since)
        return min(self.pause, SOON) if undecided else self.pause

    async def run(self, wanted: Callable[[], frozenset[str] | None]) -> None:
        """Ask for the hosts that are `wanted`, as long as that is not None: somebody may want to know soon."""
        while (ours := wanted()) is not None:
            await self.look(ours)
            await asyncio.sleep(self.rest)
        self._since.clear()
        self._certain = None
