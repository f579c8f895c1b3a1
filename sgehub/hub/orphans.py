"""Whose is each job that carries our kind of name: held by a server, being ended, left behind, or unknown.

The law of this file: a job is an orphan only when that is certain, and only by this order of questions: first Grid
Engine's table, then the hub's servers, then its ledger. A start is in the ledger and held by its server before
qsub is called, so that no job of the table can be too young for what is read after it; and the hub writes the
wish to end a job before it lets the server go, so that no job is met between the two. Whatever does not fit is
UNKNOWN or UNDECIDED and left alone. Nothing here writes, asks Grid Engine, or reads a clock.
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from sgehub.hub.ledger import STARTS, Entry, Fate, LedgerError, entry_of, first_line
from sgehub.hub.record import SessionRecord
from sgehub.model import names
from sgehub.model.job import CLOCK_SKEW, Absent, Job, JobTable, Unknown

SETTLED: Final = 60.0  # seconds after which a qsub whose answer was lost has either queued its job or never will
OVERDUE: Final = 300.0  # seconds after which a hub that runs has ended a job, or cannot


class Standing(str, enum.Enum):
    """What a job is to the hub. Only an ORPHAN, and one whose ending is overdue, may be ended."""

    HELD = "held"
    ENDING = "ending"
    ORPHAN = "orphan"
    UNKNOWN = "unknown"  # not in the ledger: another hub's, a person's own, or the database is older than the job
    UNDECIDED = "undecided"  # in the ledger, but something that has to be known is not
    GONE = "gone"  # in the ledger only: both witnesses say that there is no job


@dataclass(frozen=True, slots=True)
class Holder:
    """A server whose state names a start. `number` is None while, or where, the job's number is not known."""

    person: str
    server: str
    number: int | None


@dataclass(frozen=True, slots=True)
class Kept:
    """What the hub's database says: servers by the tag they hold, and the ledger.

    `unclear` are the people one of whose servers has a state that cannot be read, `unread` the tags of rows of
    the ledger that cannot be read.
    """

    holders: Mapping[str, Holder] = field(default_factory=dict)
    unclear: frozenset[str] = frozenset()
    entries: tuple[Entry, ...] = ()
    unread: frozenset[str] = frozenset()

    def free(self, record: SessionRecord) -> bool:
        """Tell whether it is certain that no server holds this start."""
        return record.tag not in self.holders and record.person not in self.unclear


@dataclass(frozen=True, slots=True)
class Finding:
    """One job, or one start without a visible job (`job` is None), and what it is to the hub.

    `why` is a sentence; `due` tells whether it is certain that the job should be ended by whoever finds it.
    """

    standing: Standing
    why: str
    job: Job | None = None
    entry: Entry | None = None
    due: bool = False


def classify(table: JobTable, kept: Kept, now: float) -> tuple[Finding, ...]:
    """Say of every job named as ours what it is; `kept` must have been read after the table was asked for."""
    jobs = [job for job in table.jobs.values() if _tag(job)]
    twins = Counter((job.name, job.owner) for job in jobs)
    entries = {entry.record.tag: entry for entry in kept.entries}
    return tuple(_finding(job, twins[job.name, job.owner], entries.get(_tag(job)), kept, now) for job in jobs)


def unseen(table: JobTable, kept: Kept, now: float) -> tuple[tuple[Entry, Absent | Unknown], ...]:
    """Return the starts that nobody holds, or whose ending is overdue, and that the table does not show.

    Absent is the first witness only: some versions hide the pending jobs of others. What began after the table was
    asked for is left out: its server was perhaps read a moment before.
    """
    old = [entry for entry in kept.entries if entry.record.asked < table.asked_at]
    free = [entry for entry in old if kept.free(entry.record) and _left_to_us(entry, now)]
    found = [(entry, look_up(table, entry.record)) for entry in free]
    return tuple((entry, answer) for entry, answer in found if not isinstance(answer, Job))


def _left_to_us(entry: Entry, now: float) -> bool:
    return entry.fate is Fate.LIVE or _overdue(entry, now)


def _overdue(entry: Entry, now: float) -> bool:
    # A host that is lost may be away for weeks: that is no failure of the hub.
    return entry.fate is Fate.END and now - entry.since > OVERDUE


def look_up(table: JobTable, record: SessionRecord) -> Job | Absent | Unknown:
    """Look a start's job up, by its name alone where its number is not known.

    The second witness can be asked for a name, so that an entry that cannot be read, which may be anybody's,
    leaves nothing open.
    """
    ours = record.identity
    if ours is not None:
        return table.find(ours)
    job = table.by_name(record.job_name, owner=record.person)
    if job is not None:
        return job
    if not table.covers(record.person):
        return Unknown(f"The list of jobs was not asked for those of {record.person}.")
    if table.asked_at <= record.asked + SETTLED:
        return Unknown("The job's number is not known, and it may still come into the list of jobs.")
    return Absent()


def _finding(job: Job, twins: int, entry: Entry | None, kept: Kept, now: float) -> Finding:
    """Apply the rules, from what is surest to what is least sure; the first that holds decides."""
    holder = kept.holders.get(_tag(job))
    if holder is not None and (holder.person, holder.number or job.number) != (job.owner, job.number):
        return Finding(Standing.UNKNOWN, "It copies the name of another job, which a server holds.", job)
    if entry is not None and entry.fate is not Fate.LIVE and _is(job, entry.record):
        certain = kept.free(entry.record) and (twins == 1 or entry.record.number is not None)
        why = entry.why or "The hub is ending it."
        return Finding(Standing.ENDING, why, job, entry, due=certain and _overdue(entry, now))
    if holder is not None:
        return Finding(Standing.HELD, f"It carries {_server(holder.person, holder.server)}.", job, entry)
    if _tag(job) in kept.unread:
        return Finding(Standing.UNDECIDED, "Its row in the hub's ledger cannot be read.", job)
    if entry is None:
        return Finding(Standing.UNKNOWN, "The hub's ledger does not hold it.", job)
    return _unheld(job, twins, entry, kept)


def _unheld(job: Job, twins: int, entry: Entry, kept: Kept) -> Finding:
    """Go on with a job whose tag is in the ledger, and which no server holds."""
    if not _is(job, entry.record):
        return Finding(Standing.UNKNOWN, "It copies the name of a job that this hub has started.", job)
    if entry.record.number is None and twins > 1:
        why = f"{twins} jobs of {job.owner} have this name, and it is not known which one the hub has started."
        return Finding(Standing.UNDECIDED, why, job)
    if job.owner in kept.unclear:
        why = f"The state of a server of {job.owner} cannot be read: it may hold this job."
        return Finding(Standing.UNDECIDED, why, job, entry)
    server = _server(entry.record.person, entry.server)
    why = f"It was started for {server}, which does not hold it any more."
    return Finding(Standing.ORPHAN, why, job, entry, due=True)


def _is(job: Job, record: SessionRecord) -> bool:
    """Tell whether this is the job of that start, as far as both are known."""
    near = job.submitted is None or abs(job.submitted - record.submitted_or_asked) <= CLOCK_SKEW
    return near and (job.owner, job.number) == (record.person, record.number or job.number)


def _tag(job: Job) -> str:
    """Return the tag in the job's name, "" if its name is not of our kind."""
    tag = job.name.removeprefix(names.JOB_PREFIX)
    return tag if tag != job.name and names.TAG.fullmatch(tag) else ""


def _server(person: str, server: str) -> str:
    return f'the server "{server}" of {person}' if server else f"the server of {person}"


# The hub's database, as far as it is JupyterHub's: the few columns that are needed, by name, so that neither
# another version's columns nor a state that is no JSON keep the rest from being read.
_USERS: Final = sa.table("users", sa.column("id"), sa.column("name", sa.Text))
_SPAWNERS: Final = sa.table(
    "spawners", sa.column("user_id"), sa.column("name", sa.Text), sa.column("state", sa.Text)
)


def read(session: Session) -> Kept:
    """Read servers, then ledger, from the hub's database; a ledger that was never made is empty.

    Raises LedgerError if the database does not answer or is not a hub's.
    """
    query = sa.select(_USERS.c.name, _SPAWNERS.c.name, _SPAWNERS.c.state).join(
        _USERS, _USERS.c.id == _SPAWNERS.c.user_id
    )
    try:
        connection = session.connection()
        there = set(sa.inspect(connection).get_table_names())
        if not {"users", "spawners"} <= there:
            raise LedgerError("This database is not the one of a JupyterHub: it has no servers.")
        servers = [tuple(row) for row in connection.execute(query)]
        known = STARTS.name in there
        rows = [dict(row) for row in connection.execute(sa.select(STARTS)).mappings()] if known else []
    except SQLAlchemyError as error:
        raise LedgerError(f"The hub's database cannot be read: {first_line(error)}.") from None
    finally:
        session.rollback()  # nothing was written; another process must not have to wait for us
    holders, unclear = holders_of(servers)
    entries = {str(row["tag"]): entry_of(row) for row in rows}
    return Kept(
        holders,
        unclear,
        tuple(entry for entry in entries.values() if entry is not None),
        frozenset(tag for tag, entry in entries.items() if entry is None),
    )


def holders_of(servers: Iterable[tuple[Any, ...]]) -> tuple[dict[str, Holder], frozenset[str]]:
    """Return who holds which tag, and of whom that is not clear, from (person, server, state as text)."""
    holders: dict[str, Holder] = {}
    unclear: set[str] = set()
    for person, server, text in servers:
        try:
            sessions = list(_sessions(json.loads(text or "null")))
        except (TypeError, ValueError, RecursionError):
            unclear.add(person)
            continue
        for held in sessions:
            tag = held.get("tag") if isinstance(held, Mapping) else None
            if not isinstance(tag, str):
                unclear.add(person)
                continue
            number = held.get("number")
            holders[tag] = Holder(person, server or "", number if type(number) is int else None)
    return holders, frozenset(unclear)


def _sessions(state: object) -> Iterator[Any]:
    """Yield what SGESpawner calls its session, also inside the state of a spawner that wraps it."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            if key == "session" and value is not None:
                yield value
            else:
                yield from _sessions(value)
