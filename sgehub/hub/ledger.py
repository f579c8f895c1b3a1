"""The ledger of starts: one row in the hub's own database from just before qsub until the job's end is confirmed.

The law of this file: what the hub has started, and what it wishes to end, outlives everything that JupyterHub
forgets (state that is cleared, a server or user that is deleted, a restart). A start without a row must not be
submitted, so `begin` raises; any other change that the database refuses is kept in memory, said in the log, and
written with the next change, or by `settle`. Reading never guesses: it raises, or leaves out what cannot be read
and says so.

Every write commits the session, so that what else waits in it is committed together with the row. Nothing here
asks Grid Engine or decides what becomes of a job.
"""

from __future__ import annotations

import enum
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from sgehub.errors import SgehubError
from sgehub.hub.record import SessionRecord
from sgehub.model import names

T = TypeVar("T")

# A table of our own beside JupyterHub's: its upgrades do not touch what they do not know. Plain types only, so
# that SQLite and PostgreSQL keep it alike; the record is text, so that a new field needs no change of the table.
METADATA: Final = sa.MetaData()
STARTS: Final = sa.Table(
    "sgehub_starts",
    METADATA,
    sa.Column("tag", sa.String(64), primary_key=True),
    sa.Column("person", sa.String(255), nullable=False),
    sa.Column("server", sa.String(255), nullable=False),
    sa.Column("fate", sa.String(16), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("since", sa.Float(53), nullable=False),
    sa.Column("record", sa.Text, nullable=False),
)
_DOWN: Final = (OperationalError, InterfaceError)  # errors of the database, not of one row


class LedgerError(SgehubError):
    """The hub's database did not take, or did not tell, what has been started."""


class Fate(str, enum.Enum):
    """What is to become of a job: nothing, its end, or its end as soon as its lost host returns."""

    LIVE = "live"
    END = "end"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Entry:
    """One start. `server` is the server's name ("" for the default one), `since` when the fate was given.

    `why` is the sentence given with the fate, "" for one that lives.
    """

    record: SessionRecord
    server: str
    fate: Fate
    why: str
    since: float


@dataclass(frozen=True, slots=True)
class _Change:
    """What a row is to become: these values, a new row if need be, or none at all (`values` is None).

    `also` is what is to be committed together with it, called in each try.
    """

    values: Mapping[str, Any] | None
    insert: bool = False
    also: Callable[[], object] | None = None

    def after(self, earlier: _Change | None) -> _Change:
        """Return the two changes as one."""
        if earlier is None:
            return self
        also = self.also or earlier.also
        if self.values is None or (earlier.values is None and self.insert):
            return replace(self, also=also)
        if earlier.values is None:
            return replace(earlier, also=also)
        return _Change({**earlier.values, **self.values}, insert=self.insert or earlier.insert, also=also)

    def applied(self, row: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the row as it is after the change, None if there is none."""
        if self.values is None or (row is None and not self.insert):
            return None
        return {**_NEW, **(row or {}), **self.values}


_NEW: Final[Mapping[str, Any]] = {"server": "", "fate": Fate.LIVE.value, "why": "", "since": 0.0}


class Ledger:
    """The table `sgehub_starts`, in the session of its owner: the hub's own, in its one thread.

    Raises LedgerError if the table cannot be made.
    """

    def __init__(self, session: Session, *, log: logging.Logger | None = None) -> None:
        self._session = session
        self._log = log or logging.getLogger("sgehub.ledger")
        self._owed: dict[str, _Change] = {}
        self._complained: set[str] = set()
        self._said: set[str] = set()  # the tags whose refused changes the log knows of
        try:
            self._try(lambda: METADATA.create_all(session.connection()))
        except SQLAlchemyError as error:
            raise LedgerError(
                f"The hub's database has no table {STARTS.name} and does not let one be made: {first_line(error)}"
            ) from None

    @property
    def owed(self) -> int:
        """How many starts have changes that the database has not taken yet."""
        return len(self._owed)

    def begin(self, record: SessionRecord, server: str, also: Callable[[], object] | None = None) -> None:
        """Enter a start. Raises LedgerError: then it must not be submitted. Doing so again does no harm.

        What `also` changes in the session is committed together with it; a failed try has taken back whatever was
        changed before.
        """
        change = _Change({**_row(record), "server": server, "since": record.asked}, insert=True, also=also)
        try:
            self._try(partial(self._write, record.tag, change))
        except SQLAlchemyError as error:
            raise LedgerError(
                f"The hub's database does not take the start {record.job_name}, so that no job is submitted: "
                f"{first_line(error)}"
            ) from None
        self.settle()

    def update(self, record: SessionRecord, also: Callable[[], object] | None = None) -> None:
        """Keep what is newly known of a start, such as its job's number; one that was closed stays closed.

        `also` as in `begin`; where the database refuses the change, it is called again whenever that is tried.
        """
        self._change(record.tag, _Change(_row(record), also=also))

    def mark(self, record: SessionRecord, fate: Fate, why: str, since: float) -> None:
        """Give a job its fate, for a reason (a sentence), at the hub's time; also one that has no row yet."""
        values = {**_row(record), "fate": fate.value, "why": _text(why), "since": since}
        self._change(record.tag, _Change(values, insert=True))

    def close(self, tag: str) -> None:
        """Forget a start whose job has ended for certain, or never was."""
        self._change(tag, _Change(None))

    def entries(self, person: str | None = None) -> tuple[Entry, ...]:
        """Return every start that is not closed, or a person's, oldest first.

        Raises LedgerError: not told is not none.
        """
        query = sa.select(STARTS) if person is None else sa.select(STARTS).where(STARTS.c.person == person)
        rows: dict[str, Mapping[str, Any] | None] = {row["tag"]: row for row in self._read(query)}
        for tag, change in self._owed.items():
            rows[tag] = change.applied(rows.get(tag))
        found = [self._entry(row) for row in rows.values() if row is not None and person in (None, row["person"])]
        return tuple(sorted((entry for entry in found if entry), key=lambda entry: entry.record.asked))

    def find(self, tag: str) -> Entry | None:
        """Return one start, None if it is closed or was never entered. Raises LedgerError as `entries` does."""
        rows = self._read(sa.select(STARTS).where(STARTS.c.tag == tag))
        row = rows[0] if rows else None
        if tag in self._owed:
            row = self._owed[tag].applied(row)
        return None if row is None else self._entry(row)

    def _change(self, tag: str, change: _Change) -> None:
        self._owed[tag] = change.after(self._owed.get(tag))
        self.settle()

    def settle(self) -> None:
        """Write what is owed, each start by itself: one that the database refuses must not hold the others."""
        for tag, change in tuple(self._owed.items()):
            try:
                self._try(partial(self._write, tag, change))
            except SQLAlchemyError as error:
                if tag not in self._said:
                    self._log.error(
                        "The hub's database does not take a change of %s; it is kept in memory and tried again "
                        "(%d such jobs). It is lost if the hub ends before that: %s",
                        names.job_name(tag),
                        len(self._owed),
                        first_line(error),
                    )
                self._said.add(tag)
                if isinstance(error, _DOWN):
                    return  # the database itself: the next row would only wait for it once more
                continue
            del self._owed[tag]
            self._said.discard(tag)

    def _write(self, tag: str, change: _Change) -> None:
        if change.also is not None:
            change.also()
        here = STARTS.c.tag == tag
        if change.values is None:
            self._session.execute(sa.delete(STARTS).where(here))
            return
        done = self._session.execute(sa.update(STARTS).where(here).values(**change.values))
        if change.insert and not cast("sa.CursorResult[Any]", done).rowcount:
            self._session.execute(sa.insert(STARTS).values(**{**_NEW, **change.values}))

    def _read(self, query: sa.Select[Any]) -> list[Mapping[str, Any]]:
        try:
            with self._session.no_autoflush:  # reading must not write what somebody else is in the middle of
                return [dict(row) for row in self._again(lambda: self._session.execute(query).mappings().all())]
        except SQLAlchemyError as error:
            raise LedgerError(f"The hub's database does not tell what was started: {first_line(error)}") from None

    def _try(self, work: Callable[[], object]) -> None:
        """Do the work and commit; see `_again`."""

        def committed() -> None:
            work()
            self._session.commit()

        self._again(committed)

    def _again(self, work: Callable[[], T]) -> T:
        """Do the work, and once more if that fails: a connection that was dropped is noticed by failing once.

        After a failure the session is rolled back, fit for use.
        """
        try:
            return work()
        except SQLAlchemyError:
            self._session.rollback()
        try:
            return work()
        except SQLAlchemyError:
            self._session.rollback()
            raise

    def _entry(self, row: Mapping[str, Any]) -> Entry | None:
        """Return what a row says, or None for one that another version or another hand has written."""
        entry = entry_of(row)
        if entry is None and row["tag"] not in self._complained:
            self._complained.add(row["tag"])
            self._log.warning(
                "The row of %s in the table %s cannot be read; its job is left alone. Look for it with qstat.",
                names.job_name(str(row["tag"])),
                STARTS.name,
            )
        return entry


def entry_of(row: Mapping[str, Any]) -> Entry | None:
    """Return what a row of the table says, None if it is not whole."""
    try:
        record = SessionRecord.from_state(json.loads(row["record"]))
        fate, since = Fate(row["fate"]), float(row["since"])
    except (TypeError, ValueError, RecursionError):
        return None
    if record is None or record.tag != row["tag"] or record.person != row["person"] or not record.sound:
        return None
    return Entry(record, str(row["server"]), fate, str(row["why"]), since)


def _row(record: SessionRecord) -> dict[str, Any]:
    return {"tag": record.tag, "person": record.person, "record": json.dumps(record.as_state())}


def _text(text: str) -> str:
    """Return the text without what no database stores: half characters of undecodable answers, and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "")


def first_line(error: SQLAlchemyError) -> str:
    """Return what the database itself says, without the statement, its values and the full stop."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0].rstrip(".")
