"""Seeing jobs to their end: every wish to delete one is written down first, and kept until the job is gone.

The law of this file: a wish outlives whoever had it, a hub that is killed included. A job is gone when both
witnesses say so, never earlier; what is deleted is a job of ours by owner, name and number. Nobody waits here for
ever but tasks of the service itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from sgehub.errors import ClusterError, NoAnswerError, SgehubError
from sgehub.hub.ledger import Entry, Fate
from sgehub.hub.numbers import Numbers
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, Job, Phase, same_moment

if TYPE_CHECKING:
    from sgehub.hub.service import ClusterService

# Seconds between tries to delete a job; the last one repeats.
RETRY_PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
EAGER: Final = 12.0  # seconds of a pause up to which Grid Engine is asked again and again meanwhile


class Endings(Numbers):
    """The jobs of one service that are to end."""

    def __init__(self, service: ClusterService) -> None:
        self._service = service
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._entries: dict[str, Entry] = {}
        self._hosts: dict[str, str] = {}  # where the job was when somebody last looked
        self._refused: set[str] = set()  # the tags whose deletion was refused last time

    def __len__(self) -> int:
        return len(self._entries)

    def resume(self) -> None:
        """Take up the wishes that the hub's database holds."""
        for entry in self._service.ledger.entries():
            if entry.fate is not Fate.LIVE and entry.record.tag not in self._tasks:
                self._service.log.info("%s is still to be deleted: %s", _words(entry.record), entry.why)
                record = entry.record.by_clock(self._service.clock())
                self._begin(replace(entry, record=record), None, 0.0)

    def end(
        self,
        record: SessionRecord,
        server: str,
        why: str,
        *,
        fate: Fate = Fate.END,
        submission: Awaitable[SessionRecord] | None = None,
        grace: float = 0.0,
    ) -> asyncio.Task[None]:
        """See a job to its end; return the task, which goes on whatever happens to the caller.

        `submission` is a qsub under way, whose answer (the record with its number) is waited for first.
        With `grace` (seconds) the job may end by itself so long before it is deleted.
        """
        entry = Entry(record=record, server=server, fate=fate, why=why, since=self._service.clock())
        self._service.ledger.mark(record, fate, why, entry.since)
        task = self._tasks.get(record.tag)
        if task is None:
            return self._begin(entry, submission, grace)
        self._entries[record.tag] = entry
        return task

    def _begin(
        self, entry: Entry, submission: Awaitable[SessionRecord] | None, grace: float
    ) -> asyncio.Task[None]:
        tag = entry.record.tag
        self._entries[tag] = entry
        if entry.record.host is not None:
            self._hosts[tag] = entry.record.host
        task = self._tasks[tag] = self._service.spawn(self._end(entry.record, submission, grace))
        task.add_done_callback(lambda _: self._forget(tag))
        self._service.watch.mind_hosts()
        return task

    def _forget(self, tag: str) -> None:
        self._tasks.pop(tag, None)
        self._entries.pop(tag, None)
        self._hosts.pop(tag, None)
        self._refused.discard(tag)

    def has(self, tag: str) -> bool:
        """Tell whether the job of that start is being seen to its end."""
        return tag in self._tasks

    def hosts(self) -> frozenset[str]:
        """Return the hosts where such jobs are, as far as that is known."""
        return frozenset(self._hosts.values())

    def of_server(self, person: str, server: str) -> Entry | None:
        """Return a job that must be gone before this server may have another one, or None.

        One whose host is lost does not count: nobody knows when that comes back.
        """
        for entry in self._entries.values():
            if (entry.record.person, entry.server) == (person, server) and entry.fate is Fate.END:
                return entry
        return None

    async def cleared(self, person: str, server: str) -> None:
        """Wait until no earlier job of this server can live; starts that nobody holds any more are ended first."""
        for entry in self._service.ledger.entries(person):
            if entry.server == server and not self.has(entry.record.tag):
                self.end(entry.record, server, "the server is started anew")
        while (earlier := self.of_server(person, server)) is not None:
            # A host that is found to be lost meanwhile ends the waiting, not the task.
            await asyncio.wait([self._tasks[earlier.record.tag]], timeout=1.0)

    async def _end(self, record: SessionRecord, submission: Awaitable[SessionRecord] | None, grace: float) -> None:
        service = self._service
        given_up = 0.0
        if submission is not None:
            try:
                record = await submission
            except NoAnswerError as error:
                service.log.warning("%s may have been submitted: %s", record.job_name, error)
                given_up = service.clock()
            except SgehubError:
                service.ledger.close(record.tag)
                return  # there is no job, for certain
            except Exception:
                service.log.exception("%s may have been submitted.", record.job_name)
                given_up = service.clock()
        await self._persist(record, given_up, grace)
        service.ledger.close(record.tag)
        await service.discard(record)

    async def _persist(self, record: SessionRecord, given_up: float, grace: float) -> None:
        """Return when there is certainly no such job any more: no error on the way makes that happen earlier."""
        first = True
        for pause in _pauses():
            try:
                found = await self.number(record, given_up)
                if found is not None and not (grace and await self._gone_within(found, grace)):
                    await self._delete(found, at_once=first)
            except Exception as error:  # noqa: BLE001 - whatever it is, somebody has wished the job's end
                failed = error
            else:
                return
            self._complain(record, failed)
            first, grace = False, 0.0
            await asyncio.sleep(pause)

    async def _delete(self, record: SessionRecord, *, at_once: bool = True) -> None:
        """Delete the job, again and again until both witnesses say that it is gone.

        qdel knows numbers only, and numbers are reused. With `at_once`, a job that this very hub has submitted is
        deleted at once; in any other case, and after each try, a table that was asked for meanwhile must show it
        as ours.
        """
        if record.number is None:
            return
        service = self._service
        young = at_once and (record.submitted or 0.0) >= service.began and service.reflector.silent_since is None
        after = 0.0 if young else service.clock()
        asked = False
        for pause in _pauses():
            if after:
                await service.reflector.next_table(after)
            after = service.clock()
            found = service.look(record)
            ending = isinstance(found, Job) and found.state.phase is Phase.ENDING
            if not (asked and ending) and (young or isinstance(found, Job) or await self._is_hidden(record)):
                asked = await self._ask(record)
            young = False
            if await self._gone_within(record, pause + 1.5):
                service.log.info("%s has ended.", _words(record))
                return
            self._note_lost_host(record)

    async def _is_hidden(self, record: SessionRecord) -> bool:
        """Tell whether Grid Engine knows the job, though the list does not show it.

        Under its number it is ours if it has our name, or, renamed, was submitted at the very second.
        """
        try:
            found = await self._service.engine.detail(record.number or 0)
        except ClusterError as error:
            self._service.log.warning("Nobody says whether %s is still there: %s", _words(record), error)
            return False
        if isinstance(found, Absent):
            return False
        ours = (found.owner, found.name) == (record.person, record.job_name)
        return ours or same_moment(found.submitted, record.submission_time)

    async def _ask(self, record: SessionRecord) -> bool:
        number = record.number or 0
        try:
            await self._service.engine.cancel(record.person, number)
        except SgehubError as error:
            self._complain(record, error)
            return False
        self._refused.discard(record.tag)
        return True

    def _complain(self, record: SessionRecord, error: Exception) -> None:
        """Say once why a job lives on: an outage has many tries."""
        if record.tag not in self._refused:
            self._service.log.warning(
                "%s is not deleted yet, and is tried again: %s",
                _words(record),
                error,
                exc_info=None if isinstance(error, SgehubError) else error,
            )
        self._refused.add(record.tag)

    def _note_lost_host(self, record: SessionRecord) -> None:
        """Let the person start anew when the job cannot end because its host is gone."""
        service = self._service
        found = service.find(record)
        entry = self._entries.get(record.tag)
        host = found.host if isinstance(found, Job) else None
        if host:
            self._hosts[record.tag] = host
        came = 0.0 if record.host == host or entry is None else entry.since
        if entry is not None and entry.fate is Fate.END and host and service.hosts.lost(host, came):
            why = f"its host {host} is lost; it is deleted when that returns"
            service.ledger.mark(record, Fate.LOST, why, service.clock())
            self._entries[record.tag] = Entry(record, entry.server, Fate.LOST, why, service.clock())
            service.log.warning("%s: %s.", _words(record), why)

    async def _gone_within(self, record: SessionRecord, seconds: float) -> bool:
        """Wait for the job to leave the table, at most so long."""
        service = self._service
        until = service.clock() + seconds
        eager = seconds < EAGER
        while (left := until - service.clock()) > 0:
            if eager:
                service.reflector.ask_soon()
            try:
                await asyncio.wait_for(service.reflector.next_table(service.clock(), eager=eager), left)
            except asyncio.TimeoutError:
                return False
            if await service.gone(record):
                return True
            await asyncio.sleep(min(1.0, left))
        return False


def _pauses() -> Iterator[float]:
    return chain(RETRY_PAUSES, repeat(RETRY_PAUSES[-1]))


def _words(record: SessionRecord) -> str:
    return f"Job {record.number or record.job_name} of {record.person}"
