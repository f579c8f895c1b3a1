"""The ledger of starts: what it outlives, what it refuses, and what it does when the database does not answer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from jupyterhub import orm
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import Session

from sgehub.hub import owing
from sgehub.hub.ledger import STARTS, Entry, Fate, Ledger, LedgerError
from sgehub.hub.record import SessionRecord

ASKED = 1_700_000_000.25


def record_of(tag: str = "0123456789ab", asked: float = ASKED, **more: Any) -> SessionRecord:
    return SessionRecord(tag=tag, person="anna", folder="/home/anna/.sgehub", token_id=7, asked=asked, **more)


class Trouble:
    """Makes the database refuse statements on a table, as a lock or a dropped connection does."""

    def __init__(self, engine: sa.Engine) -> None:
        self.error: Callable[[], Exception] | None = None
        self.times = 0
        self.only = ""
        sa.event.listen(engine, "before_cursor_execute", self._before)

    def refuse(self, times: int = 1_000, *, only: str = "", kind: type[Any] = OperationalError) -> None:
        self.times, self.only = times, only
        self.error = lambda: kind("…", {}, Exception("the disk is full"))

    def end(self) -> None:
        self.times = 0

    def _before(self, _c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if self.times and self.error and STARTS.name in statement and self.only in str(parameters):
            self.times -= 1
            raise self.error()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/hub.sqlite")
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    with Session(engine, expire_on_commit=False) as session:
        yield session


@pytest.fixture
def trouble(engine: sa.Engine) -> Trouble:
    return Trouble(engine)


def elsewhere(engine: sa.Engine) -> tuple[Entry, ...]:
    """Return what another process reads: only what was committed."""
    with Session(engine) as session:
        return Ledger(session).entries()


def test_a_start_is_committed_when_begin_returns(engine: sa.Engine, session: Session) -> None:
    """Whoever opens the database next, finds the start: whole, living, with its server's name."""
    Ledger(session).begin(record_of(), "gpu")
    assert elsewhere(engine) == (Entry(record_of(), "gpu", Fate.LIVE, "", ASKED),)


def test_what_is_learnt_of_a_start_is_kept_and_changes_no_fate(engine: sa.Engine, session: Session) -> None:
    """An update replaces the record and leaves server, fate and reason as they are."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "gpu")
    ledger.mark(record_of(), Fate.END, "Stopped by anna.", ASKED + 5)
    known = record_of().answered(4711, ASKED + 1)
    ledger.update(known)
    assert elsewhere(engine) == (Entry(known, "gpu", Fate.END, "Stopped by anna.", ASKED + 5),)


def test_a_fate_can_be_taken_back(session: Session) -> None:
    """A host that was lost returns: the entry lives again."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    ledger.mark(record_of(), Fate.LOST, "Host n01 is silent.", ASKED + 5)
    ledger.mark(record_of(), Fate.LIVE, "", ASKED + 9)
    assert ledger.find(record_of().tag) == Entry(record_of(), "", Fate.LIVE, "", ASKED + 9)


def test_a_wish_is_kept_also_where_no_row_is_left(session: Session) -> None:
    """To end a job of which the ledger knows nothing (a database older than the job) is a wish all the same."""
    ledger = Ledger(session)
    ledger.mark(record_of(), Fate.END, "Stopped.", ASKED)
    assert ledger.entries() == (Entry(record_of(), "", Fate.END, "Stopped.", ASKED),)


def test_what_is_closed_stays_closed(session: Session) -> None:
    """A late update does not bring a start back; closing twice does no harm."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    ledger.close(record_of().tag)
    ledger.close(record_of().tag)
    ledger.update(record_of().answered(4711, ASKED))
    assert ledger.find(record_of().tag) is None
    assert ledger.entries() == ()


def test_beginning_again_does_no_harm(session: Session) -> None:
    """One start has one row, however often it is entered."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    ledger.begin(record_of().answered(4711, ASKED), "")
    assert [entry.record.number for entry in ledger.entries()] == [4711]


def test_entries_come_oldest_first(session: Session) -> None:
    """The order is that of the starts, whatever the tags are."""
    ledger = Ledger(session)
    for asked, tag in ((3.0, "a" * 12), (1.0, "b" * 12), (2.0, "c" * 12)):
        ledger.begin(record_of(tag, asked), "")
    assert [entry.record.asked for entry in ledger.entries()] == [1.0, 2.0, 3.0]


def test_what_waits_in_the_session_is_committed_with_the_row(engine: sa.Engine) -> None:
    """The hub sets the server's state and enters the start: both are there or neither."""
    factory = orm.new_session_factory(str(engine.url))
    session = factory()
    user = orm.User(name="anna")
    session.add(user)
    ledger = Ledger(session)
    spawner = orm.Spawner(user=user, name="")
    spawner.state = {"session": record_of().as_state()}
    session.add(spawner)
    ledger.begin(record_of(), "")
    with engine.connect() as other:
        assert other.execute(sa.text("SELECT state FROM spawners")).scalar_one() == json.dumps(spawner.state)
    session.close()
    session.bind.dispose()


def test_a_hub_accepts_the_database_with_the_table(engine: sa.Engine, session: Session) -> None:
    """JupyterHub opens, checks and makes its own tables beside ours, whichever came first."""
    Ledger(session).begin(record_of(), "")
    factory = orm.new_session_factory(str(engine.url))
    assert elsewhere(engine)[0].record == record_of()
    factory.kw["bind"].dispose()


# The database does not answer.


def test_a_start_that_cannot_be_entered_is_refused(session: Session, trouble: Trouble) -> None:
    """No submission without a row: begin raises a sentence, and nothing of it is written later."""
    ledger = Ledger(session)
    trouble.refuse()
    with pytest.raises(LedgerError, match="no job is submitted: the disk is full"):
        ledger.begin(record_of(), "")
    trouble.end()
    assert ledger.entries() == ()
    assert ledger.owed == 0


def test_one_dropped_connection_is_not_noticed(session: Session, trouble: Trouble) -> None:
    """A database that was restarted fails the first statement only."""
    ledger = Ledger(session)
    trouble.refuse(1)
    ledger.begin(record_of(), "")
    trouble.refuse(1)
    assert len(ledger.entries()) == 1


@pytest.fixture
def server(engine: sa.Engine, session: Session) -> orm.Spawner:
    """Return the hub's row of a server."""
    orm.Base.metadata.create_all(engine)
    made = orm.Spawner(user=orm.User(name="anna"), name="")
    session.add(made)
    session.commit()
    return made


def state_elsewhere(engine: sa.Engine) -> Any:
    with engine.connect() as other:
        return json.loads(other.execute(sa.text("SELECT state FROM spawners")).scalar_one() or "null")


@pytest.mark.parametrize("begun", [False, True])
def test_what_belongs_to_a_start_is_committed_with_it_also_by_the_second_try(
    engine: sa.Engine, session: Session, trouble: Trouble, server: orm.Spawner, *, begun: bool
) -> None:
    """The first try has failed and taken the server's state back: without it the next hub knows no session."""
    ledger = Ledger(session)
    if begun:
        ledger.begin(record_of(), "")
    trouble.refuse(1)

    def also() -> None:
        server.state = {"session": "whole"}

    if begun:
        ledger.update(record_of(number=2), also)
    else:
        ledger.begin(record_of(), "", also)
    assert len(elsewhere(engine)) == 1
    assert state_elsewhere(engine) == {"session": "whole"}


def test_what_belongs_to_a_change_waits_with_it(
    engine: sa.Engine, session: Session, trouble: Trouble, server: orm.Spawner
) -> None:
    """A change that the database refuses takes along what was to be committed with it, as it is then."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    now = ["early"]

    def also() -> None:
        server.state = {"session": now[0]}

    trouble.refuse()
    ledger.update(record_of(number=2), also)
    ledger.mark(record_of(number=2), Fate.END, "w", 9.0)
    trouble.end()
    now[0] = "late"
    ledger.begin(record_of("b" * 12), "")
    assert ledger.owed == 0
    assert state_elsewhere(engine) == {"session": "late"}


def test_a_change_that_is_refused_is_said_and_kept(
    engine: sa.Engine, session: Session, trouble: Trouble, caplog: pytest.LogCaptureFixture
) -> None:
    """A wish outlives the database's trouble: one sentence, known at once, written with the next call."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "gpu")
    ledger.begin(record_of("b" * 12, 1.0), "")
    trouble.refuse()
    with caplog.at_level(logging.INFO):
        ledger.mark(record_of(), Fate.END, "Stopped.", ASKED + 5)
    (said,) = caplog.records
    assert said.getMessage() == (
        "The hub's database does not take a change of sgehub-0123456789ab; it is kept in memory and tried again "
        "(1 such jobs). It is lost if the hub ends before that: the disk is full"
    )
    caplog.clear()
    ledger.settle()
    assert caplog.records == []  # said once
    trouble.end()
    assert ledger.find(record_of().tag) == Entry(record_of(), "gpu", Fate.END, "Stopped.", ASKED + 5)
    assert ledger.entries()[1].fate is Fate.END
    assert elsewhere(engine)[1].fate is Fate.LIVE
    ledger.close("b" * 12)
    assert elsewhere(engine) == (Entry(record_of(), "gpu", Fate.END, "Stopped.", ASKED + 5),)
    assert ledger.owed == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ("update mark", Entry(record_of(number=2), "gpu", Fate.END, "w", 9.0)),
        ("mark update", Entry(record_of(number=1), "gpu", Fate.END, "w", 9.0)),
        ("mark close", None),
        ("close update", None),
        ("close mark", Entry(record_of(number=2), "gpu", Fate.END, "w", 9.0)),
    ],
)
def test_changes_that_wait_keep_their_order(
    session: Session, trouble: Trouble, changes: str, expected: Entry | None
) -> None:
    """Of several changes of one start while the database is down the last word on each thing holds."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "gpu")
    verbs: dict[str, Callable[[], None]] = {
        "update": lambda: ledger.update(record_of(number=1)),
        "mark": lambda: ledger.mark(record_of(number=2), Fate.END, "w", 9.0),
        "close": lambda: ledger.close(record_of().tag),
    }
    trouble.refuse()
    for verb in changes.split():
        verbs[verb]()
    trouble.end()
    before = ledger.find(record_of().tag)
    ledger.close("c" * 12)
    assert (before, ledger.find(record_of().tag)) == (expected, expected)
    assert ledger.owed == 0


async def test_what_is_owed_is_paid_without_another_change(
    engine: sa.Engine, session: Session, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub may end before anything else happens, and the wish with it."""
    monkeypatch.setattr(owing, "PAUSE", 0.01)
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    trouble.refuse(3)  # the wish, and the first time that it is tried again
    ledger.mark(record_of(), Fate.END, "w", 9.0)
    assert ledger.owed == 1
    task = asyncio.ensure_future(owing.settle(ledger, logging.getLogger("test.owing")))
    for _ in range(500):
        if ledger.owed:
            await asyncio.sleep(0.01)
    assert elsewhere(engine) == (Entry(record_of(), "", Fate.END, "w", 9.0),)
    assert not task.done()
    task.cancel()


def test_a_row_that_is_refused_holds_no_other(engine: sa.Engine, session: Session, trouble: Trouble) -> None:
    """One start whose values the database does not take must not keep the other starts' changes in memory."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    ledger.begin(record_of("b" * 12), "")
    trouble.refuse(only="0123456789ab", kind=DataError)
    ledger.mark(record_of(), Fate.END, "w", 9.0)
    ledger.mark(record_of("b" * 12), Fate.END, "w", 9.0)
    ledger.begin(record_of("c" * 12), "")
    assert ledger.owed == 1
    trouble.end()
    assert [entry.fate.value for entry in elsewhere(engine)] == ["live", "end", "live"]


def test_not_being_told_is_not_nothing(session: Session, trouble: Trouble) -> None:
    """A database that cannot be read raises: nobody may take its silence for an empty ledger."""
    ledger = Ledger(session)
    trouble.refuse()
    with pytest.raises(LedgerError, match="does not tell"):
        ledger.entries()
    with pytest.raises(LedgerError, match="does not tell"):
        ledger.find(record_of().tag)
    trouble.end()
    assert ledger.entries() == ()


def test_reading_writes_nothing(engine: sa.Engine) -> None:
    """A look at the ledger does not push out what the hub has half done, nor hold SQLite's lock."""
    session = orm.new_session_factory(str(engine.url))()
    ledger = Ledger(session)
    session.add(orm.User(name="anna"))
    assert ledger.entries() == ()
    assert not session.in_transaction() or session.new
    session.close()
    session.bind.dispose()


def test_a_reason_that_no_database_stores_is_stored(session: Session) -> None:
    """Answers of outside programs may hold NUL and undecodable bytes; the wish is what counts."""
    ledger = Ledger(session)
    ledger.mark(record_of(), Fate.END, "bad \udcff\x00 byte", ASKED)
    assert ledger.owed == 0
    assert [entry.why for entry in ledger.entries()] == ["bad ? byte"]


def test_a_database_without_the_right_to_make_a_table_is_said(tmp_path: Path) -> None:
    """The hub's start ends with a sentence that names the table."""
    (tmp_path / "hub.sqlite").touch()
    engine = sa.create_engine(f"sqlite:///file:{tmp_path}/hub.sqlite?mode=ro&uri=true")
    with Session(engine) as session, pytest.raises(LedgerError, match="no table sgehub_starts"):
        Ledger(session)
    engine.dispose()


# Rows of other versions.


@pytest.mark.parametrize(
    "change",
    [
        {"record": "no json"},
        {"record": "[]"},
        {"record": "{}"},
        {"record": json.dumps({**record_of().as_state(), "tag": "b" * 12})},
        {"record": json.dumps({**record_of().as_state(), "number": "4711"})},
        {"record": json.dumps({**record_of().as_state(), "number": True})},
        {"record": json.dumps({**record_of().as_state(), "asked": None})},
        {"person": "otto"},
        {"fate": "paused"},
        {"tag": "not a tag"},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_read_is_left_out_and_said_once(
    session: Session, caplog: pytest.LogCaptureFixture, change: dict[str, str]
) -> None:
    """Neither garbage nor a newer version's row ends the hub, and the other rows are read."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    ledger.begin(record_of("c" * 12), "")
    session.execute(sa.update(STARTS).where(STARTS.c.tag == record_of().tag).values(**change))
    session.commit()
    for _ in range(2):
        assert [entry.record.tag for entry in ledger.entries()] == ["c" * 12]
    assert ledger.find(change.get("tag", record_of().tag)) is None
    assert len(caplog.records) == 1
    assert "is left alone" in caplog.text


def test_rows_of_older_and_newer_versions_are_read(session: Session) -> None:
    """A record with fewer optional fields, or with fields of tomorrow, still names its job."""
    ledger = Ledger(session)
    ledger.begin(record_of(), "")
    state = record_of().as_state()
    for text in (
        {key: state[key] for key in ("tag", "person", "folder", "token_id", "asked")},
        {**state, "tomorrow": [1]},
    ):
        session.execute(sa.update(STARTS).values(record=json.dumps(text)))
        session.commit()
        assert [entry.record for entry in ledger.entries()] == [replace(record_of())]
