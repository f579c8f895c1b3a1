"""Find the jobs that no server holds any more, and end those of which that is certain; for `sgehub reap`.

The law of this file: looking changes nothing. Ending is safe beside a hub that runs: the wish stands in the ledger
before a job is touched, so that a hub would carry it on; servers are read once more after that, and a job counts
as ended only when both witnesses say so. "None" is never said when it is "don't know". What a job is, is decided
in `orphans`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from sgehub.errors import ClusterError, SgehubError, SiteConfigurationError
from sgehub.hub import orphans
from sgehub.hub.engines import cluster_of
from sgehub.hub.ledger import Entry, Fate, Ledger
from sgehub.hub.orphans import Finding, Standing
from sgehub.hub.reap_report import Report, Result, advice, looked_at
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, Job, JobDetail, JobIdentity, JobTable, Unknown
from sgehub.model.policy import SitePolicy

PATIENCE: Final = 120.0  # seconds for all jobs together: with -notify, Grid Engine itself waits 60 before it kills
PAUSE: Final = 2.0  # seconds between looks whether they have ended
LOCK_SECONDS: Final = 15  # that another process may hold the database
REASON: Final = "The administrator ended it with `sgehub reap`: no server held it."


class Cluster(Protocol):
    """What of GridEngine is needed."""

    async def jobs(self) -> JobTable:
        """Return all jobs."""

    async def confirm_absent(self, ours: JobIdentity) -> bool:
        """Call the second witness."""

    async def named(self, name: str) -> JobDetail | Absent:
        """Call the second witness on a name."""

    async def cancel(self, person: str, number: int) -> object:
        """Delete a job."""

    async def discard(self, person: str, folder: str, tag: str) -> object:
        """Remove the secrets of a session."""


def open_database(url: str) -> sa.Engine:
    """Return the hub's database at SQLAlchemy's `url`; never makes a new one. Raises SiteConfigurationError."""
    try:
        address = sa.make_url(url)
        options: dict[str, object] = {"connect_timeout": LOCK_SECONDS}
        if address.get_backend_name() == "sqlite":
            options = {"timeout": LOCK_SECONDS}
            if not (address.database or "").startswith("file:"):  # else SQLite makes a file that is not there
                path = quote(address.database or "")
                address = address.set(database=f"file:{path}", query={"mode": "rw", "uri": "true"})
        return sa.create_engine(address, connect_args=options)
    except ArgumentError:
        raise SiteConfigurationError("The address of the hub's database cannot be understood.") from None
    except ModuleNotFoundError as error:
        raise SiteConfigurationError(f"The hub's database needs the Python package {error.name}.") from None


async def run(policy: SitePolicy, database: sa.Engine, *, end: bool) -> Report:
    """Look, and with `end` do what is due. Raises ClusterError or LedgerError when nothing can be known."""
    reaper = Reaper(cluster_of(policy), database)
    findings = await reaper.look()
    return Report(await reaper.end(findings)) if end else looked_at(findings)


class Reaper:
    """One look at one cluster and one hub's database, and what follows from it. Times in seconds."""

    def __init__(
        self,
        cluster: Cluster,
        database: sa.Engine,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        patience: float = PATIENCE,
    ) -> None:
        self._cluster = cluster
        self._database = database
        self._clock = clock
        self._sleep = sleep
        self._patience = patience

    async def look(self) -> tuple[Finding, ...]:
        """Say what every job of our kind is. Raises ClusterError or LedgerError when that cannot be known."""
        table = await self._cluster.jobs()  # before the database: see orphans
        with Session(self._database) as session:
            kept = orphans.read(session)
        now = self._clock()
        missing = [await self._second(entry, answer) for entry, answer in orphans.unseen(table, kept, now)]
        return (*orphans.classify(table, kept, now), *missing)

    async def _second(self, entry: Entry, answer: Absent | Unknown) -> Finding:
        """Call the second witness on a start that the table does not show."""
        if isinstance(answer, Unknown):
            return Finding(Standing.UNDECIDED, answer.reason, entry=entry)
        try:
            gone = await self._confirmed(entry.record)
        except ClusterError as error:
            return Finding(Standing.UNDECIDED, f"Nobody confirms that it has ended: {error}", entry=entry)
        if gone:
            return Finding(Standing.GONE, "Its job has ended.", entry=entry)
        why = "No server holds it, and `qstat -j` knows it, though the list of all jobs does not show it."
        if entry.record.number is None:
            return Finding(Standing.UNDECIDED, f"{why} Its number is not known.", entry=entry)
        return Finding(Standing.ORPHAN, why, entry=entry, due=True)

    async def _confirmed(self, record: SessionRecord) -> bool:
        ours = record.identity
        if ours is None:  # its name is all there is
            named = await self._cluster.named(record.job_name)
            return isinstance(named, Absent) or named.owner != record.person
        return await self._cluster.confirm_absent(ours)

    async def end(self, findings: Iterable[Finding]) -> tuple[Result, ...]:
        """End what is due, forget what is gone, leave all else alone.

        Raises LedgerError; no job has been touched then.
        """
        findings = tuple(findings)
        if not any(finding.due or _stale(finding) for finding in findings):
            return tuple(Result(finding, advice(finding)) for finding in findings)
        with Session(self._database) as session:
            ledger = Ledger(session)
            results = [self._wish(session, ledger, finding) for finding in findings]
            under_way = {_tag(result): result for result in results if not result.action}
            done = await self._see_to_the_end(ledger, under_way) if under_way else {}
        return tuple(done.get(_tag(result), result) for result in results)

    def _wish(self, session: Session, ledger: Ledger, finding: Finding) -> Result:
        """Write the wish to end a job; without an action in the result it is to be ended now."""
        entry = finding.entry
        if entry is not None and _stale(finding):
            ledger.close(entry.record.tag)
            return Result(finding, "Its row in the ledger was removed.", ended=True)
        if entry is None or not finding.due:
            return Result(finding, advice(finding))
        now = ledger.find(entry.record.tag)
        if now is None:
            return Result(finding, "Nothing: the hub has just seen it end.", ended=True)
        record = now.record
        if record.number is None and finding.job is not None:
            record = replace(record, number=finding.job.number, submitted=record.asked)
        if now.fate is Fate.LIVE:
            ledger.mark(record, Fate.END, REASON, self._clock())
        if ledger.owed:
            return Result(
                finding, "Nothing: the hub's database does not take the wish to end it. Try again later."
            )
        if not orphans.read(session).free(record):
            ledger.mark(record, now.fate, now.why, now.since)
            return Result(replace(finding, due=False), "Nothing: a server has just taken hold of it.")
        return Result(replace(finding, entry=replace(now, record=record)), "")

    async def _see_to_the_end(self, ledger: Ledger, under_way: Mapping[str, Result]) -> dict[str, Result]:
        """Delete the jobs and wait until both witnesses confirm it, at most for the patience."""
        until = self._clock() + self._patience
        left = {tag: result.finding.entry.record for tag, result in under_way.items() if result.finding.entry}
        refused = dict.fromkeys(left, "")
        done: dict[str, Result] = {}
        while True:
            refused = await self._delete([left[tag] for tag in refused])
            said = await self._alive(left.values())
            for tag in [tag for tag in left if tag not in said]:
                record = left.pop(tag)
                refused.pop(tag, None)
                ledger.close(tag)
                done[tag] = Result(
                    under_way[tag].finding, f"It was ended.{await self._discard(record)}", ended=True
                )
            if not left or self._clock() >= until:
                break
            await self._sleep(PAUSE)
        for tag in left:
            action = f"The wish to end it is in the ledger, but: {refused.get(tag) or said[tag]}"
            done[tag] = Result(under_way[tag].finding, action)
        return done

    async def _delete(self, records: Iterable[SessionRecord]) -> dict[str, str]:
        """Ask Grid Engine to delete the jobs, as their owners; return by tag why that was not done."""

        async def one(record: SessionRecord) -> str:
            try:
                await self._cluster.cancel(record.person, record.number or 0)
            except SgehubError as error:
                return str(error)
            return ""

        records = tuple(records)
        answers = await asyncio.gather(*(one(record) for record in records))
        return {record.tag: answer for record, answer in zip(records, answers, strict=True) if answer}

    async def _alive(self, records: Iterable[SessionRecord]) -> dict[str, str]:
        """Return by tag, with a sentence, the jobs of which it is not certain that they have ended."""
        try:
            table = await self._cluster.jobs()
        except ClusterError as error:
            return {record.tag: str(error) for record in records}
        said = {}
        for record in records:
            answer = orphans.look_up(table, record)
            if isinstance(answer, Job):
                said[record.tag] = f"Job {answer.number} is still there, in state {answer.state}."
            elif isinstance(answer, Unknown):
                said[record.tag] = answer.reason
            else:
                try:
                    gone = await self._confirmed(record)
                except ClusterError as error:
                    said[record.tag] = f"Nobody confirms that it has ended: {error}"
                else:
                    if not gone:
                        said[record.tag] = f"`qstat -j` still knows job {record.number or record.job_name}."
        return said

    async def _discard(self, record: SessionRecord) -> str:
        """Remove what may be left of the session's secrets; return what to add to the report."""
        try:
            await self._cluster.discard(record.person, record.folder, record.tag)
        except SgehubError as error:
            return f" Its secrets may be left in {record.folder}: {error}"
        return ""


def _stale(finding: Finding) -> bool:
    """Tell whether a row of the ledger can go; a start without a number is the hub's to forget."""
    return (
        finding.standing is Standing.GONE and finding.entry is not None and finding.entry.record.number is not None
    )


def _tag(result: Result) -> str:
    entry = result.finding.entry
    return "" if entry is None else entry.record.tag
