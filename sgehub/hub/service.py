"""What all spawners of one site share: policy, Grid Engine, the job table, and the care for ending jobs.

One `ClusterService` lives in the hub's settings. It asks once for everybody, tells spawners when their job has
left the table, and sees every job that is to end to its end, also when nobody waits for that any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final, Protocol

from sgehub.errors import ClusterError, NoAnswerError, SgehubError
from sgehub.gridengine.client import ClusterSettings, GridEngine
from sgehub.gridengine.reflector import JobReflector
from sgehub.gridengine.runner import Runner
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, Job, Unknown
from sgehub.model.policy import SitePolicy
from sgehub.siteconfig import load_site

FIRST_TABLE: Final = 5.0  # seconds that a hub which starts waits for Grid Engine before it believes old records
HELPER_DEADLINE: Final = 30.0  # seconds that sgehub-as-user may take, qsub included
# Seconds between tries to delete a job; the last one repeats.
RETRY_PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Watched(Protocol):
    """A spawner, as far as the service knows it."""

    record: SessionRecord | None

    async def poll_and_notify(self) -> object:
        """Poll, and tell the hub if the server has ended."""


def engine_settings(policy: SitePolicy) -> ClusterSettings:
    """Translate the site's words into the client's."""
    cluster = policy.cluster
    return ClusterSettings(
        root=cluster.root,
        cell=cluster.cell,
        bin=cluster.commands,
        qmaster_port=cluster.qmaster_port,
        execd_port=cluster.execd_port,
        arch=cluster.arch,
        helper=tuple(policy.helper),
    )


class ClusterService:
    """One site's cluster for the whole hub."""

    def __init__(
        self,
        policy: SitePolicy,
        engine: GridEngine,
        reflector: JobReflector,
        *,
        log: logging.Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self.engine = engine
        self.reflector = reflector
        self.clock = clock
        self._log = log
        self._watched: set[Watched] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._endings: dict[str, asyncio.Task[None]] = {}
        self._watcher: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: MutableMapping[str, Any], site: str, log: logging.Logger) -> ClusterService:
        """Return the hub's service for a site file, made on first use. Raises SiteConfigurationError."""
        services: dict[str, ClusterService] = settings.setdefault("sgehub_services", {})
        if site not in services:
            policy = load_site(Path(site))
            # Two runners: people's submissions that hang must not keep the hub from asking for everybody.
            engine = GridEngine(engine_settings(policy), Runner(), acting=Runner(8), deadline=HELPER_DEADLINE)
            services[site] = cls(policy, engine, JobReflector(engine.jobs, log=log), log=log)
        return services[site]

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start work that goes on when whoever asked for it is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SgehubError):  # those are somebody's answer
            self._log.error("Work in the background has failed.", exc_info=error)

    async def first_table(self) -> None:
        """Wait for the first table after the hub's start, but not for ever. Never raises."""
        if self.reflector.table is None:
            with suppress(ClusterError, asyncio.TimeoutError):
                await asyncio.wait_for(self.reflector.next_table(0.0), FIRST_TABLE)

    def find(self, record: SessionRecord) -> Job | Absent | Unknown:
        """Look a session's job up in the last good table."""
        table = self.reflector.table
        if table is None:
            return Unknown("Grid Engine has not answered since the hub started.")
        if record.number is None or record.submitted is None:
            return Unknown("The job's number is not known yet.")
        return table.find(
            record.number, owner=record.person, name=record.job_name, submitted_after=record.submitted
        )

    async def gone(self, record: SessionRecord) -> bool:
        """Tell whether both witnesses say that the job has ended; no answer is no witness. Never raises."""
        if record.number is None or record.submitted is None or not isinstance(self.find(record), Absent):
            return False
        try:
            return await self.engine.confirm_absent(
                record.number, owner=record.person, name=record.job_name, submitted_after=record.submitted
            )
        except ClusterError as error:
            self._log.warning("Job %s is not in the table, but nobody confirms its end: %s", record.number, error)
            return False

    def watch(self, spawner: Watched) -> None:
        """Tell this spawner as soon as its job has left the table."""
        self._watched.add(spawner)
        if self._watcher is None or self._watcher.done():
            self._watcher = self.spawn(self._watch())

    def forget(self, spawner: Watched) -> None:
        """Stop watching."""
        self._watched.discard(spawner)

    async def _watch(self) -> None:
        # At the pace of waiting, not of idleness: a session that was killed whole reports nothing, and until the
        # table lacks its job its route stays.
        seen = 0.0
        while self._watched:
            table = await self.reflector.next_table(seen)
            seen = table.asked_at
            for spawner in tuple(self._watched):
                if spawner.record is None:
                    self.forget(spawner)
                elif isinstance(self.find(spawner.record), Absent):
                    self.spawn(spawner.poll_and_notify())

    def end(
        self,
        record: SessionRecord,
        submission: Awaitable[SessionRecord] | None = None,
        *,
        grace: float = 0.0,
    ) -> asyncio.Task[None]:
        """See a job to its end; return the task, which goes on whatever happens to the caller.

        `submission` is a qsub under way, whose answer (the record with its number) is waited for first.
        With `grace` (seconds) the job may end by itself so long before it is deleted.
        """
        ending = self._endings.get(record.tag)
        if ending is None:
            ending = self._endings[record.tag] = self.spawn(self._end(record, submission, grace))
            ending.add_done_callback(lambda _: self._endings.pop(record.tag, None))
        return ending

    def ending(self, record: SessionRecord) -> bool:
        """Tell whether a job is being seen to its end."""
        return record.tag in self._endings

    def discard(self, record: SessionRecord) -> None:
        """See to it that no secrets are left of a session that is over; returns at once."""
        if not self.ending(record):  # which does so itself
            self.spawn(self._discard(record))

    async def _end(self, record: SessionRecord, submission: Awaitable[SessionRecord] | None, grace: float) -> None:
        if submission is not None:
            try:
                record = await submission
            except NoAnswerError as error:
                self._log.warning("%s may have been submitted: %s", record.job_name, error)
            except SgehubError:
                return  # there is no job, for certain
        with self.reflector.interest(waiting=True):
            found = await self._number(record)
            if found is not None and not (grace and await self._gone_within(found, grace)):
                await self._delete(found)
        await self._discard(record)

    async def _number(self, record: SessionRecord) -> SessionRecord | None:
        """Heal a lost answer of qsub: the job's name is unique, so a table that is late enough settles it."""
        if record.number is not None:
            return record
        settled = record.asked + HELPER_DEADLINE + 5
        table = await self.reflector.next_table(self.clock())
        while True:
            job = table.by_name(record.job_name, owner=record.person)
            if job is not None:
                return record.answered(job.number, self.clock())
            if table.asked_at > settled and not table.skipped and not table.broken:
                return None
            table = await self.reflector.next_table(table.asked_at)

    async def _delete(self, record: SessionRecord) -> None:
        """Delete the job, again and again until both witnesses say that it is gone."""
        number = record.number
        if number is None:
            return
        for pause in chain(RETRY_PAUSES, repeat(RETRY_PAUSES[-1])):
            try:
                await self.engine.cancel(record.person, number)
            except SgehubError as error:
                self._log.warning("Job %s of %s is not deleted yet: %s", number, record.person, error)
            if await self._gone_within(record, pause + 1.5):
                self._log.info("Job %s of %s has ended.", number, record.person)
                return

    async def _gone_within(self, record: SessionRecord, seconds: float) -> bool:
        """Wait for the job to leave the table, at most so long."""
        until = self.clock() + seconds
        while (left := until - self.clock()) > 0:
            self.reflector.ask_soon()
            try:
                await asyncio.wait_for(self.reflector.next_table(self.clock()), left)
            except asyncio.TimeoutError:
                return False
            if await self.gone(record):
                return True
            await asyncio.sleep(min(1.0, left))
        return False

    async def _discard(self, record: SessionRecord) -> None:
        """Remove what may be left of the secrets."""
        try:
            await self.engine.discard(record.person, record.folder, record.tag)
        except SgehubError as error:
            self._log.warning("The secrets of %s may be left in %s: %s", record.tag, record.folder, error)
