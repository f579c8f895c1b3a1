"""What is an orphan for certain, and what is only likely to be one: rows of what is known, and the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from jupyterhub import orm
from sqlalchemy.orm import Session

from sgehub.hub.ledger import STARTS, Entry, Fate, Ledger, LedgerError
from sgehub.hub.orphans import (
    OVERDUE,
    SETTLED,
    Finding,
    Holder,
    Kept,
    Standing,
    classify,
    holders_of,
    read,
    unseen,
)
from sgehub.hub.record import SessionRecord
from sgehub.model.job import CLOCK_SKEW, Absent, Job, JobState, JobTable, Unknown

TAG = "0123456789ab"
NOW = 1_700_000_000.0
NAME = f"sgehub-{TAG}"
RECORD = SessionRecord(
    tag=TAG, person="anna", folder="/f", token_id=1, asked=NOW - 7200, number=7, submitted=NOW - 7199
)
YOUNG = replace(RECORD, number=None, submitted=None)
LIVE = Entry(RECORD, "gpu", Fate.LIVE, "", RECORD.asked)
HOLDER = Holder("anna", "gpu", 7)


def job(number: int = 7, owner: str = "anna", name: str = NAME, submitted: float | None = None) -> Job:
    state = JobState.parse("r")
    return Job(number, name, owner, state, "all.q", "n01", 1, submitted, NOW - 7000, 0.5)


def table(*jobs: Job, **more: Any) -> JobTable:
    return JobTable(NOW, {job.number: job for job in jobs}, **more)


def kept(entry: Entry | None = LIVE, holder: Holder | None = None, **more: Any) -> Kept:
    return Kept({TAG: holder} if holder else {}, entries=(entry,) if entry else (), **more)


def only(found: tuple[Finding, ...]) -> Finding:
    (finding,) = found
    return finding


END = replace(LIVE, fate=Fate.END, why="Stopped by anna.", since=NOW - 10)
OLD_END = replace(END, since=NOW - OVERDUE - 1)
LOST = replace(LIVE, fate=Fate.LOST, why="n01 is silent.", since=NOW - 10 * OVERDUE)


@pytest.mark.parametrize(
    ("seen", "known", "standing", "due"),
    [
        # Nobody but the ledger knows it: an orphan.
        (job(), kept(), Standing.ORPHAN, True),
        (job(submitted=RECORD.asked), kept(), Standing.ORPHAN, True),
        (job(), kept(replace(LIVE, record=YOUNG)), Standing.ORPHAN, True),
        # A server holds it, whatever the ledger says of it.
        (job(), kept(holder=HOLDER), Standing.HELD, False),
        (job(), kept(None, holder=HOLDER), Standing.HELD, False),
        (job(), kept(holder=Holder("anna", "", None)), Standing.HELD, False),
        (job(), kept(None, holder=HOLDER, unread=frozenset({TAG})), Standing.HELD, False),
        # It is being ended: the hub's work, unless that has taken too long and no server holds it.
        (job(), kept(END), Standing.ENDING, False),
        (job(), kept(END, HOLDER), Standing.ENDING, False),
        (job(), kept(OLD_END), Standing.ENDING, True),
        (job(), kept(replace(OLD_END, record=YOUNG)), Standing.ENDING, True),
        (job(), kept(OLD_END, HOLDER), Standing.ENDING, False),
        (job(), kept(OLD_END, unclear=frozenset({"anna"})), Standing.ENDING, False),
        (job(), kept(LOST), Standing.ENDING, False),
        # Not in the ledger: another hub's, or the database is older than the job.
        (job(), kept(None), Standing.UNKNOWN, False),
        (job(name="sgehub-ffffffffffff"), kept(), Standing.UNKNOWN, False),
        # Names are public: a copy is not our job.
        (job(8), kept(), Standing.UNKNOWN, False),
        (job(owner="eve"), kept(), Standing.UNKNOWN, False),
        (job(owner="eve"), kept(replace(LIVE, record=YOUNG)), Standing.UNKNOWN, False),
        (job(8), kept(holder=HOLDER), Standing.UNKNOWN, False),
        (job(owner="eve"), kept(holder=Holder("anna", "", None)), Standing.UNKNOWN, False),
        (job(8), kept(OLD_END), Standing.UNKNOWN, False),
        (job(owner="eve"), kept(OLD_END), Standing.UNKNOWN, False),
        # Numbers are reused: one of another time is another job.
        (job(submitted=RECORD.asked + CLOCK_SKEW + 60), kept(), Standing.UNKNOWN, False),
        (job(submitted=RECORD.asked - CLOCK_SKEW - 60), kept(), Standing.UNKNOWN, False),
        # Something that has to be known is not.
        (job(), kept(unclear=frozenset({"anna"})), Standing.UNDECIDED, False),
        (job(), kept(None, unread=frozenset({TAG})), Standing.UNDECIDED, False),
        # Another person's unreadable server is no reason for doubt.
        (job(), kept(unclear=frozenset({"otto"})), Standing.ORPHAN, True),
    ],
)
def test_what_a_job_is(seen: Job, known: Kept, standing: Standing, due: bool) -> None:  # noqa: FBT001 - a column of the table
    """An orphan is what the ledger has started and no server holds; everything else is left alone."""
    finding = only(classify(table(seen), known, NOW))
    assert (finding.standing, finding.due, finding.job) == (standing, due, seen)
    assert finding.why.endswith(".")


@pytest.mark.parametrize("name", ["sgehub-0123", f"{NAME}x", TAG, "sgehub-0123456789AB", "notes", f"x{NAME}"])
def test_jobs_of_other_names_are_not_listed(name: str) -> None:
    """What is not named as ours is nobody's business here."""
    assert classify(table(job(name=name)), kept(), NOW) == ()


@pytest.mark.parametrize("fate", [Fate.LIVE, Fate.END])
def test_of_two_jobs_of_one_name_none_is_ended_while_the_number_is_unknown(fate: Fate) -> None:
    """A person can copy the name of their own job: before qsub's answer is known nothing tells them apart."""
    entry = replace(OLD_END, record=YOUNG, fate=fate)
    assert [finding.due for finding in classify(table(job(7), job(8)), kept(entry), NOW)] == [False, False]


def test_of_two_jobs_of_one_name_the_number_tells() -> None:
    """Only the job with the number that qsub gave is ours."""
    found = classify(table(job(7), job(8)), kept(), NOW)
    assert [finding.standing for finding in found] == [Standing.ORPHAN, Standing.UNKNOWN]


LATE = replace(YOUNG, asked=NOW - SETTLED + 1)


@pytest.mark.parametrize(
    ("jobs", "known", "kind"),
    [
        (table(), kept(), Absent),
        (table(job(owner="eve")), kept(), Absent),
        (table(), kept(OLD_END), Absent),
        (table(), kept(replace(LIVE, record=YOUNG)), Absent),
        (table(), kept(replace(LIVE, record=LATE)), Unknown),
        (table(skipped=1), kept(), Unknown),
        (table(skipped=1), kept(replace(LIVE, record=YOUNG)), Absent),
        (table(broken=frozenset({7})), kept(), Unknown),
        (table(broken=frozenset({8})), kept(), Absent),
        (table(broken=frozenset({8})), kept(replace(LIVE, record=YOUNG)), Absent),
        (table(owners=frozenset({"otto"})), kept(), Unknown),
        (table(owners=frozenset({"otto"})), kept(replace(LIVE, record=YOUNG)), Unknown),
        # Nothing to ask about: the job is there, held, or the hub's work.
        (table(job()), kept(), None),
        (table(job()), kept(replace(LIVE, record=YOUNG)), None),
        (table(), kept(holder=HOLDER), None),
        (table(), kept(unclear=frozenset({"anna"})), None),
        (table(), kept(END), None),
        (table(), kept(LOST), None),
        # Begun after the list was asked for: its server was read before it took hold of the start.
        (table(), kept(replace(LIVE, record=replace(YOUNG, asked=NOW))), None),
    ],
)
def test_a_start_without_a_job_in_the_table(jobs: JobTable, known: Kept, kind: type | None) -> None:
    """Absent only if the list of jobs is late enough and, for a number, whole; a name has a witness of its own.

    Starts that are not left to us are passed over.
    """
    assert [type(answer) for _, answer in unseen(jobs, known, NOW)] == ([] if kind is None else [kind])


# The hub's database.


@pytest.mark.parametrize(
    ("state", "expected", "unclear"),
    [
        (None, {}, False),
        ("", {}, False),
        ("null", {}, False),
        ("{}", {}, False),
        ({"accepted": {"memory": "1G"}}, {}, False),
        ({"session": None}, {}, False),
        ({"session": RECORD.as_state()}, {TAG: Holder("anna", "gpu", 7)}, False),
        ({"session": {"tag": TAG}}, {TAG: Holder("anna", "gpu", None)}, False),
        ({"session": {"tag": TAG, "number": "7"}}, {TAG: Holder("anna", "gpu", None)}, False),
        ({"profile": "x", "child_state": {"session": RECORD.as_state()}}, {TAG: Holder("anna", "gpu", 7)}, False),
        ("no json", {}, True),
        ({"session": {"number": 7}}, {}, True),
        ({"session": "x"}, {}, True),
        ({"session": {"tag": 5}}, {}, True),
    ],
)
def test_what_a_servers_state_holds(state: Any, expected: dict[str, Holder], unclear: bool) -> None:  # noqa: FBT001 - a column of the table
    """A state that names a tag in any version's form holds it; an unreadable one leaves its owner unclear."""
    text = state if state is None or isinstance(state, str) else json.dumps(state)
    assert holders_of([("anna", "gpu", text)]) == (expected, frozenset({"anna"} if unclear else ()))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    factory = orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite")
    with factory() as session:
        user = orm.User(name="anna")
        session.add_all([user, orm.Spawner(user=user, name="gpu"), orm.Spawner(user=user, name="")])
        session.commit()
    yield factory.kw["bind"]
    factory.kw["bind"].dispose()


def test_a_hubs_database_is_read_as_the_hub_writes_it(database: sa.Engine) -> None:
    """Servers by JupyterHub's own classes, the ledger by ours."""
    with Session(database) as session:
        (gpu,) = session.query(orm.Spawner).filter_by(name="gpu")
        gpu.state = {"session": RECORD.as_state()}
        ledger = Ledger(session)
        ledger.begin(RECORD, "gpu")
        ledger.begin(replace(RECORD, tag="c" * 12), "")
        session.execute(sa.update(STARTS).where(STARTS.c.tag == "c" * 12).values(record="?"))
        session.commit()
        assert read(session) == Kept({TAG: HOLDER}, entries=(LIVE,), unread=frozenset({"c" * 12}))


def test_a_hub_that_has_never_had_a_ledger_has_started_nothing_we_know(database: sa.Engine) -> None:
    """Its jobs are unknown, and looking does not make the table."""
    with Session(database) as session:
        assert read(session) == Kept()
    assert STARTS.name not in sa.inspect(database).get_table_names()


def test_another_database_is_no_empty_hub(tmp_path: Path) -> None:
    """An address that leads to something else is said, not read as "no servers"."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/other.sqlite")
    with Session(engine) as session, pytest.raises(LedgerError, match="not the one of a JupyterHub"):
        read(session)
    engine.dispose()


def test_a_database_that_is_locked_is_said(database: sa.Engine) -> None:
    """A hub in the middle of a commit, for longer than we wait, is "don't know"."""
    with database.connect() as hub:
        hub.exec_driver_sql("BEGIN EXCLUSIVE")
        engine = sa.create_engine(database.url, connect_args={"timeout": 0.1})
        with Session(engine) as session, pytest.raises(LedgerError, match="cannot be read: database is locked"):
            read(session)
        engine.dispose()
        hub.rollback()
