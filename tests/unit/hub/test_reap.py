"""Reaping beside a hub: looking changes nothing, ending is announced first, confirmed twice, and bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from jupyterhub import orm
from sqlalchemy.orm import Session

from sgehub import cli
from sgehub.errors import AccountError, NoAnswerError, SgehubError, SiteConfigurationError
from sgehub.hub import orphans
from sgehub.hub.ledger import Entry, Fate, Ledger, LedgerError
from sgehub.hub.orphans import Standing
from sgehub.hub.reap import PATIENCE, Reaper, open_database
from sgehub.hub.reap_report import Report, looked_at
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, Job, JobDetail, JobIdentity, JobState, JobTable

START = 1_700_000_000.0
TAG = "0123456789ab"
RECORD = SessionRecord(
    tag=TAG, person="anna", folder="/f", token_id=1, asked=START - 7200, number=7, submitted=START - 7199
)


class Cluster:
    """A cluster of a few jobs on a clock of its own. A deleted job leaves the list `lag` seconds later."""

    def __init__(self) -> None:
        self.now = START
        self.jobs_here: dict[int, Job] = {}
        self.lag = 4.0
        self.deleted: dict[int, float] = {}
        self.asked_to_delete: list[tuple[str, int]] = []
        self.discarded: list[str] = []
        self.refusal: SgehubError | None = None
        self.silent = self.witness_silent = self.hidden = False
        self.on_jobs = lambda: None

    def add(self, number: int = 7, owner: str = "anna", tag: str = TAG) -> None:
        self.jobs_here[number] = Job(
            number, f"sgehub-{tag}", owner, JobState.parse("r"), "q", "n01", 1, None, START - 7000, 0.5
        )

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def _alive(self) -> dict[int, Job]:
        return {n: job for n, job in self.jobs_here.items() if self.deleted.get(n, self.now) + self.lag > self.now}

    async def jobs(self) -> JobTable:
        if self.silent:
            raise NoAnswerError("Grid Engine does not answer.")
        jobs = {} if self.hidden else self._alive()
        answer = JobTable(self.now, jobs)
        self.on_jobs()
        return answer

    async def confirm_absent(self, ours: JobIdentity) -> bool:
        if self.witness_silent:
            raise NoAnswerError("Grid Engine does not answer.")
        return ours.number not in self._alive()

    async def named(self, name: str) -> JobDetail | Absent:
        if self.witness_silent:
            raise NoAnswerError("Grid Engine does not answer.")
        found = [job for job in self._alive().values() if job.name == name]
        return JobDetail(found[0].number, found[0].owner, name, None) if found else Absent()

    async def cancel(self, person: str, number: int) -> None:
        self.asked_to_delete.append((person, number))
        if self.refusal:
            raise self.refusal
        self.deleted.setdefault(number, self.now)

    async def discard(self, _person: str, _folder: str, tag: str) -> bool:
        self.discarded.append(tag)
        return True


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sa.Engine]:
    """Return the database of a hub that has started one server, which is deleted since."""
    url = f"sqlite:///{tmp_path}/jupyterhub.sqlite"
    factory = orm.new_session_factory(url)
    with factory() as session:
        session.add(orm.User(name="anna"))
        Ledger(session).begin(RECORD, "gpu")
    factory.kw["bind"].dispose()
    engine = open_database(url)
    yield engine
    engine.dispose()


def hold(database: sa.Engine, record: SessionRecord = RECORD) -> None:
    with Session(database) as session:
        (anna,) = session.query(orm.User)
        spawner = orm.Spawner(user=anna, name="gpu")
        spawner.state = {"session": record.as_state()}
        session.add(spawner)
        session.commit()


def ledger(database: sa.Engine) -> tuple[Entry, ...]:
    with Session(database) as session:
        return Ledger(session).entries()


def reaper(cluster: Cluster, database: sa.Engine) -> Reaper:
    return Reaper(cluster, database, clock=cluster.clock, sleep=cluster.sleep)


async def ended(cluster: Cluster, database: sa.Engine) -> Report:
    one = reaper(cluster, database)
    return Report(await one.end(await one.look()))


async def test_looking_changes_nothing(cluster: Cluster, database: sa.Engine) -> None:
    """Without --end an orphan is listed, with status 1, and neither job nor database is touched."""
    cluster.add()
    before = ledger(database)
    report = looked_at(await reaper(cluster, database).look())
    assert (report.status, cluster.asked_to_delete, ledger(database)) == (1, [], before)
    assert report.rows()[0] == {
        "job": 7,
        "owner": "anna",
        "state": "r",
        "host": "n01",
        "since": START - 7000,
        "server": "gpu",
        "name": f"sgehub-{TAG}",
        "standing": "orphan",
        "why": 'It was started for the server "gpu" of anna, which does not hold it any more.',
        "action": "`sgehub reap --end` ends it.",
        "ended": False,
    }


async def test_an_orphan_is_ended(cluster: Cluster, database: sa.Engine) -> None:
    """Deleted as its owner, confirmed, its secrets removed, its row closed: status 0."""
    cluster.add()
    report = await ended(cluster, database)
    assert (report.status, [result.action for result in report.results]) == (0, ["It was ended."])
    assert cluster.asked_to_delete == [("anna", 7)]
    assert (cluster.discarded, ledger(database)) == ([TAG], ())


async def test_what_is_not_due_is_not_touched(cluster: Cluster, database: sa.Engine) -> None:
    """Another hub's job, a copy of the name and a held job stay, whatever else is ended."""
    cluster.add()
    cluster.add(8, "otto", "f" * 12)
    cluster.add(9, "eve")
    hold(database, replace(RECORD, tag="d" * 12, number=10))
    cluster.add(10, "anna", "d" * 12)
    report = await ended(cluster, database)
    assert report.status == 0
    assert cluster.asked_to_delete == [("anna", 7)]
    standings = {result.finding.job.number: result.finding.standing for result in report.results}
    assert standings == {
        7: Standing.ORPHAN,
        8: Standing.UNKNOWN,
        9: Standing.UNKNOWN,
        10: Standing.HELD,
    }


async def test_the_wish_stands_in_the_ledger_before_the_job_is_touched(
    cluster: Cluster, database: sa.Engine
) -> None:
    """Should the command die, a hub that starts carries the wish on."""
    cluster.add()
    seen: list[Fate] = []

    async def cancel(_person: str, _number: int) -> None:
        seen.extend(entry.fate for entry in ledger(database))
        raise NoAnswerError("Grid Engine does not answer.")

    cluster.cancel = cancel  # type: ignore[method-assign] # the fake, for this one answer
    report = await ended(cluster, database)
    assert seen[0] is Fate.END
    assert report.status == 1
    assert "The wish to end it is in the ledger, but: Grid Engine does not answer." in report.results[0].action


async def test_a_server_that_takes_hold_meanwhile_keeps_its_job(cluster: Cluster, database: sa.Engine) -> None:
    """Servers are read once more after the wish; it is taken back then."""
    cluster.add()
    one = reaper(cluster, database)
    findings = await one.look()
    before = ledger(database)
    hold(database)
    report = Report(await one.end(findings))
    assert (report.status, cluster.asked_to_delete, ledger(database)) == (0, [], before)


async def test_a_start_that_begins_while_we_look_is_no_orphan(cluster: Cluster, database: sa.Engine) -> None:
    """The table comes first: what the hub enters and submits after it cannot be in it."""
    record = replace(RECORD, tag="e" * 12, number=None, asked=START)

    def begin() -> None:
        with Session(database) as session:
            Ledger(session).begin(record, "")
        cluster.add(11, "anna", "e" * 12)

    cluster.on_jobs = begin
    with Session(database) as session:
        Ledger(session).close(TAG)
    assert await reaper(cluster, database).look() == ()


async def test_what_the_hub_has_seen_end_meanwhile_is_no_work(cluster: Cluster, database: sa.Engine) -> None:
    """A row that the hub closes between look and end is left closed."""
    cluster.add()
    one = reaper(cluster, database)
    findings = await one.look()
    with Session(database) as session:
        Ledger(session).close(TAG)
    report = Report(await one.end(findings))
    assert (report.status, cluster.asked_to_delete, ledger(database)) == (0, [], ())


async def test_a_wish_that_nobody_carries_out_is_carried_on(cluster: Cluster, database: sa.Engine) -> None:
    """An ending that is overdue counts as an orphan, so that a second call finishes what a first one began."""
    cluster.add()
    with Session(database) as session:
        Ledger(session).mark(RECORD, Fate.END, "Stopped.", START - 400)
    assert looked_at(await reaper(cluster, database).look()).status == 1
    assert (await ended(cluster, database)).status == 0
    assert ledger(database) == ()


async def test_a_lost_answer_of_qsub_is_healed_by_the_name(cluster: Cluster, database: sa.Engine) -> None:
    """The number comes from the table, and into the ledger with the wish; the job stays as old as its start."""
    cluster.add()
    cluster.refusal = AccountError("There is no account.")
    with Session(database) as session:
        Ledger(session).update(replace(RECORD, number=None, submitted=None))
    report = await ended(cluster, database)
    assert report.status == 1
    (entry,) = ledger(database)
    assert (entry.fate, entry.record.number, entry.record.submitted) == (Fate.END, 7, RECORD.asked)


async def test_waiting_is_bounded(cluster: Cluster, database: sa.Engine) -> None:
    """A job that does not end (its host is lost) is reported with its state, and stays in the ledger."""
    cluster.add()
    cluster.lag = 10_000.0
    report = await ended(cluster, database)
    assert report.status == 1
    assert report.results[0].action == (
        "The wish to end it is in the ledger, but: Job 7 is still there, in state r."
    )
    assert PATIENCE <= cluster.now - START < PATIENCE + 5
    assert cluster.asked_to_delete == [("anna", 7)]
    assert ledger(database)[0].fate is Fate.END


async def test_one_witness_is_not_enough(cluster: Cluster, database: sa.Engine) -> None:
    """A job that has left the table counts as ended only when somebody confirms it."""
    cluster.add()
    cluster.witness_silent = True
    report = await ended(cluster, database)
    assert report.status == 1
    assert "Nobody confirms that it has ended" in report.results[0].action
    assert len(ledger(database)) == 1


async def test_a_job_that_the_list_hides_is_an_orphan_all_the_same(cluster: Cluster, database: sa.Engine) -> None:
    """Some versions hide the pending jobs of others: qstat -j tells."""
    cluster.add()
    cluster.hidden = True
    assert looked_at(await reaper(cluster, database).look()).status == 1
    assert (await ended(cluster, database)).status == 0
    assert cluster.asked_to_delete == [("anna", 7)]


async def test_a_start_whose_job_has_ended_is_no_orphan(cluster: Cluster, database: sa.Engine) -> None:
    """Both witnesses say so: status 0, and --end removes the row."""
    assert looked_at(await reaper(cluster, database).look()).status == 0
    report = await ended(cluster, database)
    assert (report.status, ledger(database), cluster.asked_to_delete) == (0, (), [])


async def test_a_start_without_a_number_is_the_hubs_to_forget(cluster: Cluster, database: sa.Engine) -> None:
    """Reaping, which cannot know whether qsub is still under way, leaves it to the hub."""
    with Session(database) as session:
        Ledger(session).update(replace(RECORD, number=None, submitted=None))
    report = await ended(cluster, database)
    assert (report.status, len(ledger(database))) == (0, 1)


async def test_a_name_that_the_list_hides_is_left_alone(cluster: Cluster, database: sa.Engine) -> None:
    """Without a number nothing can be deleted, and what `qstat -j` knows is not gone."""
    cluster.add()
    cluster.hidden = True
    with Session(database) as session:
        Ledger(session).update(replace(RECORD, number=None, submitted=None))
    (found,) = await reaper(cluster, database).look()
    assert (found.standing, found.due) == (Standing.UNDECIDED, False)
    cluster.witness_silent = True
    (found,) = await reaper(cluster, database).look()
    assert "Nobody confirms" in found.why
    await ended(cluster, database)
    assert (cluster.asked_to_delete, len(ledger(database))) == ([], 1)


async def test_not_knowing_is_not_none(cluster: Cluster, database: sa.Engine) -> None:
    """A silent witness is status 2, a silent Grid Engine is an error."""
    cluster.witness_silent = True
    assert looked_at(await reaper(cluster, database).look()).status == 2
    cluster.silent = True
    with pytest.raises(NoAnswerError):
        await reaper(cluster, database).look()


async def test_a_database_that_takes_no_wish_protects_the_job(cluster: Cluster, database: sa.Engine) -> None:
    """No row, no deletion: somebody else holds the lock."""
    cluster.add()
    one = Reaper(cluster, database, clock=cluster.clock, sleep=cluster.sleep)
    findings = await one.look()

    def refuse(_c: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("UPDATE"):
            raise sa.exc.OperationalError(statement, {}, Exception("database is locked"))

    sa.event.listen(database, "before_cursor_execute", refuse)
    report = Report(await one.end(findings))
    sa.event.remove(database, "before_cursor_execute", refuse)
    assert (report.status, cluster.asked_to_delete) == (1, [])
    assert "does not take the wish" in report.results[0].action


def test_a_missing_database_is_not_made(tmp_path: Path) -> None:
    """A wrong folder is said; an empty new database would say "no orphans" for ever."""
    engine = open_database(f"sqlite:///{tmp_path}/a%20?b.sqlite")
    with Session(engine) as session, pytest.raises(LedgerError, match="unable to open database file"):
        orphans.read(session)
    assert list(tmp_path.iterdir()) == []
    engine.dispose()


@pytest.mark.parametrize("url", ["", "hub.sqlite", "nothing+known://x/y"])
def test_an_address_that_is_none_is_said(url: str) -> None:
    """A sentence, not a traceback."""
    with pytest.raises(SiteConfigurationError):
        open_database(url)


# What people and cron see.


async def test_the_list_is_for_people(cluster: Cluster, database: sa.Engine) -> None:
    """One line of facts and one of reason and advice for each job; held ones are only counted."""
    cluster.add(8, "otto", "f" * 12)
    cluster.add()
    hold(database)
    lines = list(looked_at(await reaper(cluster, database).look()).lines())
    assert lines[0].split() == ["JOB", "OWNER", "STATE", "HOST", "SINCE", "SERVER"]
    assert lines[1].split()[:4] == ["8", "otto", "r", "n01"]
    assert lines[2].startswith("    Unknown: The hub's ledger does not hold it. It is never ended from here")
    assert "qdel 8" in lines[2]
    assert lines[3:] == ["Jobs that servers hold: 1. Others: 1, of which 0 are to be ended."]


def test_nothing_is_said_in_one_line() -> None:
    """No table without rows."""
    assert list(Report(()).lines()) == ["Jobs that servers hold: 0. Others: 0, of which 0 are to be ended."]
    assert Report(()).status == 0


def test_the_command_says_when_it_cannot_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 for whatever keeps it from knowing, with the reason in JSON too, and no list of jobs."""
    assert cli.main(["reap", "--json", "--site", f"{tmp_path}/none.yaml"]) == 2
    told = capsys.readouterr()
    assert set(json.loads(told.out)) == {"status", "error"}
    assert "none.yaml" in told.err
