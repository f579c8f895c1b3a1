"""What Grid Engine's list tells a session, and what follows from it. See `watching`, which calls.

A part of SGESpawner that knows the states of a job and nothing of JupyterHub's order of events.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import object_session

from sgehub.hub import resuming, starting, telling
from sgehub.hub.ended import SIGNALLED
from sgehub.hub.gate import Gate
from sgehub.hub.ledger import Fate
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, Job, Phase, Unknown

STOPPED: Final = "it was stopped from the hub"


class Following(Gate):
    """The part of a spawner that hears of its job."""

    record: SessionRecord | None
    exit_code: int | None
    ended: dict[str, Any] | None
    news: asyncio.Event
    active: bool
    ready: bool
    pending: str | None
    name: str
    orm_spawner: Any
    job_id: str
    get_state: Callable[[], dict[str, Any]]
    poll_and_notify: Any
    came: float  # when this hub saw the job come to its host
    reported: float  # when this hub first heard the present port
    _line: Callable[[], None] | None
    last_phase: Phase | None  # that a table has shown
    _submission: asyncio.Task[SessionRecord] | None
    _gone: str  # the tag of a start whose job has ended for certain

    def is_present(self, record: SessionRecord) -> bool:
        """Tell whether this start is still the present one."""
        return self.record is not None and self.record.tag == record.tag

    def current(self, record: SessionRecord) -> SessionRecord:
        """Return what is known by now of a start: much may have been reported while somebody waited."""
        return self.record if self.record is not None and self.is_present(record) else record

    def take(self, before: SessionRecord, after: SessionRecord) -> None:
        """Keep what has become known of a start, in the ledger and, if it is still the present one, here."""
        if self.is_present(before):
            self.record = after
            self.job_id = str(after.number or "")
        self.service.ledger.update(after, partial(self.keep_state, after))

    def keep_state(self, record: SessionRecord) -> None:
        """Have the state committed with the row of a start, if that is still the present one."""
        if self.is_present(record):
            self.orm_spawner.state = self.get_state()

    def commit(self) -> None:
        """Write the state to the hub's database now: the hub itself does so only after `start`."""
        session = object_session(self.orm_spawner)
        if session is None:  # the server was deleted meanwhile
            return
        try:
            self.orm_spawner.state = self.get_state()
            session.commit()
        except SQLAlchemyError as error:
            session.rollback()
            self.log.error(  # noqa: TRY400 - the sentence says it all
                "The state of %s's %s could not be written to the hub's database: %s",
                self.user.name,
                self.name or "default server",
                error,
            )

    @property
    def queued(self) -> bool:
        """Whether the job's place among all jobs matters."""
        return self.record is not None and self.record.host is None

    @property
    def eager(self) -> bool:
        """Whether a change is expected soon, or only the table would show the end: the session has no line."""
        return self._line is None or self.pending is not None

    @property
    def may_run_again(self) -> bool:
        """Whether a signal has ended this run, so that only the table knows whether its job lives."""
        signalled = self.exit_code is not None and self.exit_code > SIGNALLED
        return signalled and self.record is not None and not self.service.ends.has(self.record.tag)

    async def exit_status(self, record: SessionRecord) -> int | None:
        """Return the exit status of a job that has ended for certain, None for any other. Never raises.

        JupyterHub takes an error for the end of a server, and all that it has started for ended when it starts
        with a site's file that cannot be read.
        """
        try:
            service = self.service
        except Exception:  # noqa: BLE001 - whatever it is, it says nothing of the job
            self.awaited()  # which says why
            return None
        try:
            if self._submission is not None and not self._submission.done():
                return None
            if self.exit_code is not None and service.ends.has(record.tag):  # else it is still being judged
                return self.exit_code
            if await service.gone(record):
                self._gone = record.tag
                return await starting.exit_status(self, record)  # type: ignore[arg-type] # it is part of one
        except Exception:
            self.log.exception("Whether job %s of %s has ended cannot be found out.", record.number, record.person)
        return None

    def job_seen(self, found: Job | Absent | Unknown) -> None:
        """Hear what the newest table says, whenever that has changed."""
        record = self.record
        if record is None:
            return
        if isinstance(found, Job):
            self.note_job(record, found)
        self.news.set()
        if not self.ready:
            return  # whoever waits for the start has heard
        if isinstance(found, Absent):
            self.service.spawn(self.poll_and_notify())
        elif isinstance(found, Job) and found.state.phase is Phase.ERROR:
            self.service.spawn(self._broken(record, found))

    def note_job(self, record: SessionRecord, job: Job) -> None:
        """Keep what the table shows of the job; doing so again changes nothing."""
        phase = job.state.phase
        before, record = record, record.seen(job.submitted)
        if record is not before:
            self.take(before, record)
        if self._submission is not None:  # by this hub: the clock of the one before may have been another
            self.service.compare_clocks(record.asked, job)
        if another_run(record, job) or self._ran_unseen(record, job):
            self.service.spawn(resuming.renew(self, record, job))  # type: ignore[arg-type] # it is part of one
        elif job.host is not None and phase in (Phase.RUNNING, Phase.SUSPENDED):
            if record.run_started is None and job.queue:
                self.service.metrics.left_queue(
                    job.queue, max(0.0, self.service.clock() - (record.submitted or record.asked))
                )
            placed = record.placed(job.host, job.started)
            if placed is not record:
                self.came = self.service.clock()
                self.take(record, placed)
        if phase is not self.last_phase:
            self.last_phase = phase
            said = telling.NOTEWORTHY.get(phase)
            if said is not None:
                self.log.warning(
                    "Job %s of %s %s", job.number, record.person, said.format(state=job.state, host=job.host)
                )

    def _ran_unseen(self, record: SessionRecord, job: Job) -> bool:
        """Tell whether a run is over that no list has shown: it says so, or it may be the one that has reported.

        Where the first run that a list shows is another one already, nobody knows whose the port is: this run,
        too, can begin anew with secrets of its own.
        """
        if record.host is not None or not job.state.rerun:
            return False
        table = self.service.reflector.table
        waits = job.host is None and table is not None and table.asked_at > self.reported
        first = job.host is not None and record.queued is None
        return self.may_run_again or ((waits or first) and record.port is not None)

    async def _broken(self, record: SessionRecord, job: Job) -> None:
        """End a session whose job Grid Engine has put into the error state, for instance after a re-run."""
        why = await starting.error_reason(self, job)  # type: ignore[arg-type] # it is part of one
        self.give_up(record, why, cause="failed")
        await self.poll_and_notify()

    def host_lost(self, host: str) -> None:
        """Let the person start anew: nobody knows when the host comes back, and with it the job."""
        record = self.record
        if record is None or (self.exit_code is not None and not self.may_run_again):
            return
        why = f"Its execution host {host} is lost: it has not reported to Grid Engine for too long."
        self.log.error("Job %s of %s counts as lost: %s", record.number, record.person, why)
        self.exit_code = 1
        self.give_up(record, why, cause="host-lost", fate=Fate.LOST)
        self.news.set()
        if self.ready:
            self.service.spawn(self.poll_and_notify())

    def wish_end(self) -> SessionRecord | None:
        """Write a person's wish down, without acting on it; return what shall end, None for nothing."""
        record = self.record
        if record is None or self.service.ledger.find(record.tag) is None or self.service.ends.has(record.tag):
            return None
        self.service.ledger.mark(record, Fate.END, STOPPED, self.service.clock())
        return record

    def carry_out(self, record: SessionRecord | None) -> None:
        """Act on a wish that the hub has written down and has not come to."""
        if record is not None and self.is_present(record) and self.service.ledger.find(record.tag) is not None:
            self.service.ends.end(self.current(record), self.name, STOPPED, submission=self._submission)

    def take_back(self, record: SessionRecord | None) -> None:
        """Forget a wish of which its person has heard that it cannot be fulfilled."""
        if record is not None and not self.service.ends.has(record.tag):
            self.service.ledger.mark(self.current(record), Fate.LIVE, "", self.service.clock())

    def give_up(
        self, record: SessionRecord, why: str, *, cause: str = "ended", fate: Fate = Fate.END, grace: float = 0.0
    ) -> None:
        """End this session because of something that has happened to it."""
        if self.exit_code is None:
            self.exit_code = 1
        self.service.watch.drop(self)
        self.note_end(why)
        self.service.metrics.session_ended(cause)
        self.service.ends.end(record, self.name, why, fate=fate, grace=grace)

    def delete_forever(self) -> None:
        """End what may live of this server: the hub is about to forget that it existed."""
        for entry in self.service.ledger.entries(self.user.name):
            if entry.server == self.name and not self.service.ends.has(entry.record.tag):
                self.service.ends.end(entry.record, self.name, "its server was deleted")

    def note_end(self, why: str) -> None:
        """Keep why a session or a start ended, for the person who comes back to it."""
        number = self.record.number if self.record is not None else None
        self.ended = {"job": number, "at": self.service.clock(), "why": why}
        self.commit()


def another_run(record: SessionRecord, job: Job) -> bool:
    """Tell whether the table shows another run of the job than the one that is known."""
    known = record.host is not None
    return known and job.state.rerun and (job.host, job.started) != (record.host, record.run_started)
