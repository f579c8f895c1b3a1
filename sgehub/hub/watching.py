"""Telling each session what has become of its job, once for every change.

The law of this file: one look through one table for all sessions. A session hears of a change, of an absence
(which is no proof yet), and of a host that is lost, whatever another session makes of it; and the loop of the hub
gets its turn in between.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, Job, Phase, Unknown

if TYPE_CHECKING:
    from sgehub.hub.service import ClusterService

IN_ONE_GO: Final = 100  # sessions
MOST_OWNERS: Final = 50  # beyond that the list of everybody's jobs is no larger
LONGEST_DOUBT: Final = 60.0  # seconds between two looks at a job whose absence nobody confirms


class Watched(Protocol):
    """A session, as far as the watch knows it."""

    record: SessionRecord | None

    @property
    def queued(self) -> bool:
        """Whether its place among everybody's jobs matters."""

    @property
    def eager(self) -> bool:
        """Whether a change is expected soon, or only the table would show the end."""

    @property
    def came(self) -> float:
        """When this hub saw the job come to its host, 0.0 if an earlier hub did."""

    def job_seen(self, found: Job | Absent | Unknown) -> None:
        """Hear what the newest table says."""

    def host_lost(self, host: str) -> None:
        """Hear that its host is gone for good."""


class Watch:
    """All sessions of one service that are starting or running."""

    def __init__(self, service: ClusterService) -> None:
        self._service = service
        self._last: dict[Watched, Any] = {}
        self._failed: set[Watched] = set()  # whom telling has ended with an error the last time
        self._doubts: dict[Watched, tuple[float, float]] = {}  # when to look again, and the pause after that
        self._task: asyncio.Task[None] | None = None
        self._hosts: asyncio.Task[None] | None = None

    @property
    def sessions(self) -> tuple[Watched, ...]:
        """Return all that are watched."""
        return tuple(self._last)

    def add(self, one: Watched) -> None:
        """Tell this session of its job from now on; doing so again makes it hear the next table in any case."""
        self._last[one] = None
        service = self._service
        if self._task is None or self._task.done():
            self._task = service.keep(self._run)
        self.mind_hosts()

    def mind_hosts(self) -> None:
        """Look at the hosts as long as a session or an ending job may be on one of them."""
        if self._hosts is None or self._hosts.done():
            self._hosts = self._service.keep(partial(self._service.hosts.run, self.hosts))

    def drop(self, one: Watched) -> None:
        """Stop telling."""
        self._last.pop(one, None)
        self._failed.discard(one)
        self._doubts.pop(one, None)

    def hosts(self) -> frozenset[str] | None:
        """Return the hosts where a session or an ending job may be; None if there is neither."""
        ends = self._service.ends
        if not (self._last or ends):
            return None
        return frozenset(host for one in self._last if (host := self._host(one))) | ends.hosts()

    def _host(self, one: Watched) -> str | None:
        """Return where a session is, as far as that is known."""
        if one.record is None:
            return None
        if one.record.host is not None:
            return one.record.host
        found = self._service.look(one.record)
        # One that is ending was to end before it was seen to run.
        return found.host if isinstance(found, Job) and found.state.phase is Phase.ENDING else None

    def owners(self) -> frozenset[str] | None:
        """Return whose jobs the next table must show; None for everybody's."""
        if self._service.ends or any(one.queued for one in self._last):
            return None
        owners = frozenset(one.record.person for one in self._last if one.record is not None)
        return owners if 0 < len(owners) <= MOST_OWNERS else None

    async def _run(self) -> None:
        reflector = self._service.reflector
        seen = 0.0
        with reflector.interest(waiting=True) as interest:
            while self._last:
                interest.waiting = any(one.eager for one in self._last)
                table = await reflector.next_table(seen, eager=False)
                seen = table.asked_at
                for count, one in enumerate(self.sessions):
                    self._try_to_tell(one)
                    if count % IN_ONE_GO == IN_ONE_GO - 1:
                        await asyncio.sleep(0)

    def _try_to_tell(self, one: Watched) -> None:
        """Tell one session; an error in that is its own, and it is told again with the next table."""
        try:
            self._tell(one)
        except Exception:
            if one not in self._failed:
                person = None if one.record is None else one.record.person
                self._service.log.exception("A session of %s could not be told of its job.", person)
            if one in self._last:
                self._failed.add(one)
                self._last[one] = None
        else:
            self._failed.discard(one)

    def _tell(self, one: Watched) -> None:
        record = one.record
        if record is None:
            self.drop(one)
            return
        if one not in self._last:
            return
        service = self._service
        found = service.look(record)
        if isinstance(found, Absent):
            self._doubt(one, found)
            return
        self._doubts.pop(one, None)
        seen = (found.state, found.host, found.started) if isinstance(found, Job) else found
        if seen != self._last[one]:
            self._last[one] = seen
            one.job_seen(found)
        host = self._host(one)
        # What the session knows of its run may be older than the table: a job that waits again is on no host.
        elsewhere = isinstance(found, Job) and found.host != host
        if host is not None and not elsewhere and service.hosts.lost(host, one.came):
            one.host_lost(host)

    def _doubt(self, one: Watched, found: Absent) -> None:
        """Have the absence confirmed, less and less often where nobody does."""
        now = self._service.clock()
        again, pause = self._doubts.get(one, (now, 1.0))
        if now >= again:
            self._doubts[one] = (now + pause, min(2 * pause, LONGEST_DOUBT))
            self._last[one] = found
            one.job_seen(found)
