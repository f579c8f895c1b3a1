"""A job that is to end is seen to its end, whatever the cluster answers meanwhile; nothing else is touched."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sgehub.errors import NoAnswerError, SubmissionRefusedError
from sgehub.gridengine.client import GridEngine
from sgehub.gridengine.reflector import JobReflector, Pace
from sgehub.hub.ledger import Fate, Ledger
from sgehub.hub.metrics import Metrics
from sgehub.hub.numbers import SETTLED
from sgehub.hub.record import SessionRecord
from sgehub.hub.service import ClusterService
from sgehub.model.job import CLOCK_SKEW, Absent, Job, JobDetail, JobIdentity, JobState, JobTable, Unknown
from sgehub.model.names import JOB_PREFIX
from tests.unit.model.site import site

ASKED = 1000.0
WHY = "it was stopped from the hub"
RECORD = SessionRecord(tag="0123456789ab", person="alice", folder="/home/alice/.sgehub", token_id=1, asked=ASKED)
QUICK = Pace(soon=0.001, waiting=0.001, idle=0.001, cost=0.0, longest=0.01)


class Cluster:
    """A cluster in memory: jobs by number, an hour of time at each look, trouble when told."""

    def __init__(self) -> None:
        self.jobs_there: dict[int, Job] = {}
        self.trouble: list[Exception] = []  # raised by the next deletions, one each
        self.hidden: list[Job] = []  # from the list
        self.silent = False  # qstat -j does not answer
        self.deleted: list[tuple[str, int]] = []
        self.discarded: list[str] = []
        self._now = itertools.count(ASKED + 10, 5)

    def add(
        self, number: int, name: str = RECORD.job_name, owner: str = "alice", submitted: float = ASKED
    ) -> None:
        """Put a job into the cluster."""
        state = JobState.parse("qw")
        self.jobs_there[number] = Job(number, name, owner, state, None, None, 1, submitted, None, 0.5)

    async def jobs(self, _owners: frozenset[str] | None = None) -> JobTable:
        """Return all jobs of our kind; time passes."""
        ours = {number: job for number, job in self.jobs_there.items() if job.name.startswith(JOB_PREFIX)}
        return JobTable(asked_at=float(next(self._now)), jobs=ours)

    async def cancel(self, person: str, number: int) -> None:
        """Delete a job, or do not."""
        if self.trouble:
            raise self.trouble.pop()
        self.deleted.append((person, number))
        self.jobs_there.pop(number, None)

    confirm_absent = GridEngine.confirm_absent

    async def accounting(self, _number: int, **_: object) -> None:
        """Know nothing."""

    async def silent_hosts(self) -> frozenset[str]:
        """Every host reports."""
        return frozenset()

    async def detail(self, number: int) -> JobDetail | Absent:
        """Tell of the job with that number, also of one that the list hides."""
        if self.silent:
            raise NoAnswerError("silent")
        found = [job for job in (*self.jobs_there.values(), *self.hidden) if job.number == number]
        return JobDetail(number, found[0].owner, found[0].name, found[0].submitted) if found else Absent()

    async def named(self, name: str) -> JobDetail | Absent:
        """Tell of the job with that name, also of one that the list hides."""
        found = [job for job in (*self.jobs_there.values(), *self.hidden) if job.name == name]
        return JobDetail(found[0].number, found[0].owner, name, ASKED) if found else Absent()

    async def discard(self, _person: str, _folder: str, tag: str) -> bool:
        """Remove the secrets."""
        self.discarded.append(tag)
        return True


@pytest.fixture
def cluster() -> Cluster:
    """Return an empty cluster."""
    return Cluster()


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """Return a ledger in memory."""
    engine = create_engine("sqlite://")
    with Session(engine) as session:
        yield Ledger(session)
    engine.dispose()


@pytest.fixture
async def service(cluster: Cluster, ledger: Ledger):
    """Return a service on it; its clock stands where the start was asked for."""
    log = logging.getLogger("test")
    reflector = JobReflector(cluster.jobs, pace=QUICK, log=log)
    metrics = Metrics(CollectorRegistry())
    made = ClusterService(
        site(), cluster, ledger, log=log, metrics=metrics, reflector=reflector, clock=lambda: ASKED
    )
    ledger.begin(RECORD, "")
    yield made
    await reflector.close()


async def finish(task: asyncio.Task[None]) -> None:
    """Wait for an ending, not for ever."""
    await asyncio.wait_for(task, 20)


async def later(result: SessionRecord | Exception) -> SessionRecord:
    """Answer as a qsub that is under way."""
    await asyncio.sleep(0.01)
    if isinstance(result, Exception):
        raise result
    return result


async def test_a_submission_under_way_is_waited_for_and_its_job_deleted(service, cluster):
    """The person's Cancel came before qsub's answer."""
    cluster.add(7)
    cluster.add(8, name="theirs", owner="bob")
    await finish(service.ends.end(RECORD, "", WHY, submission=later(RECORD.answered(7, ASKED))))
    assert cluster.deleted == [("alice", 7)]
    assert set(cluster.jobs_there) == {8}
    assert cluster.discarded == [RECORD.tag]


async def test_a_wish_is_written_down_until_the_job_is_gone(service, cluster, ledger):
    """A hub that is killed meanwhile finds it again, and carries it out."""
    cluster.add(7)
    cluster.trouble = [NoAnswerError("silent")]
    service.clock = iter_clock()
    service.ends.end(RECORD.answered(7, ASKED), "", WHY)
    (entry,) = ledger.entries()
    assert (entry.fate, entry.why, entry.record.number) == (Fate.END, WHY, 7)
    await finish(service.ends.end(RECORD.answered(7, ASKED), "", WHY))
    assert ledger.entries() == ()


async def test_wishes_of_a_hub_before_this_one_are_taken_up(service, cluster, ledger):
    """Nobody asks for them again."""
    cluster.add(7)
    ledger.mark(RECORD.answered(7, ASKED), Fate.END, WHY, ASKED)
    service.ends.resume()
    assert service.ends.has(RECORD.tag)
    await finish(service.ends.end(RECORD.answered(7, ASKED), "", WHY))
    assert cluster.deleted == [("alice", 7)]


async def test_a_number_that_was_reused_meanwhile_is_not_deleted(service, cluster, ledger):
    """The job ended while no hub ran, and its number went to another job of the same person."""
    cluster.add(7, name="analysis", submitted=ASKED + 2 * CLOCK_SKEW)
    service.began = ASKED + 5
    ledger.mark(RECORD.answered(7, ASKED), Fate.END, WHY, ASKED)
    service.ends.resume()
    await finish(service.ends.end(RECORD.answered(7, ASKED), "", WHY))
    assert cluster.deleted == []
    assert ledger.entries() == ()


async def test_a_job_that_was_renamed_is_deleted_all_the_same(service, cluster):
    """`qalter -N` hides it from every list; number and second of the submission are enough to know it."""
    cluster.add(7, name="mine")
    service.began = ASKED + 5
    await finish(service.ends.end(RECORD.answered(7, ASKED).seen(ASKED), "", WHY))
    assert cluster.deleted == [("alice", 7)]


async def test_a_job_that_may_be_ours_is_neither_deleted_nor_forgotten(service, cluster, ledger):
    """Nobody has seen when Grid Engine took it up: the wish stays until the job is gone, or has its name again."""
    cluster.add(7, name="mine")
    service.began = ASKED + 5
    ending = service.ends.end(RECORD.answered(7, ASKED), "", WHY)
    await asyncio.wait([ending], timeout=3.0)
    assert cluster.deleted == []
    assert ledger.entries()
    cluster.jobs_there.clear()
    await finish(ending)
    assert ledger.entries() == ()


async def test_a_renamed_job_lives_and_its_person_and_the_log_learn_what_to_do(service, cluster, caplog):
    """It is not gone: the next Start would give the server a second job beside it. Said once."""
    cluster.add(7, name="mine")
    record = RECORD.answered(7, ASKED)
    await service.reflector.next_table(0.0)
    assert not await service.gone(record)
    assert not await service.gone(record)
    found = service.find(record)
    assert isinstance(found, Unknown)
    assert f"qalter -N {RECORD.job_name} 7" in found.reason
    assert service.why_hidden(record) == found.reason
    assert [line.getMessage() for line in caplog.records] == [found.reason]


async def test_an_earlier_job_of_the_server_is_ended_before_another_one_may_start(service, cluster):
    """Also one that no server holds any more."""
    cluster.add(7)
    service.ledger.update(RECORD.answered(7, ASKED))
    await asyncio.wait_for(service.ends.cleared("alice", ""), 20)
    assert cluster.deleted == [("alice", 7)]
    assert service.ends.of_server("alice", "") is None


async def test_a_refused_submission_needs_no_ending(service, cluster):
    """There is no job, for certain."""
    await finish(service.ends.end(RECORD, "", WHY, submission=later(SubmissionRefusedError("no"))))
    assert cluster.deleted == []


async def test_a_lost_answer_is_healed_by_the_jobs_name(service, cluster):
    """The number is not known, but no other job has that name and owner."""
    cluster.add(6, owner="bob")
    cluster.add(7)
    await finish(service.ends.end(RECORD, "", WHY, submission=later(NoAnswerError("lost"))))
    assert cluster.deleted == [("alice", 7)]
    assert set(cluster.jobs_there) == {6}


async def test_a_lost_answer_of_a_job_that_never_came_ends_without_a_guess(service, cluster):
    """Only a table that is later than all deadlines settles that there is none."""
    await finish(service.ends.end(RECORD, "", WHY, submission=later(NoAnswerError("lost"))))
    assert cluster.deleted == []
    assert service.reflector.table.asked_at > ASKED + SETTLED


async def test_a_job_that_came_hours_later_is_ours_all_the_same(service, cluster):
    """A qmaster that hung takes qsub up when it goes on: its own time of the submission counts."""
    late = ASKED + 3 * 3600.0
    cluster.add(7)
    cluster.jobs_there[7] = replace(cluster.jobs_there[7], submitted=late)
    cluster._now = itertools.count(late + 1, 5)
    found = await asyncio.wait_for(service.ends.number(RECORD), 20)
    assert (found.number, found.submitted) == (7, late)
    assert service.look(found) == cluster.jobs_there[7]


async def test_the_hosts_are_watched_for_a_job_that_is_to_end(service, cluster):
    """Nobody else asks about them after a restart, and a lost host would hold its person up for ever."""
    asked = asyncio.Event()

    async def silent_hosts() -> frozenset[str]:
        asked.set()
        return frozenset()

    cluster.add(7)
    service.hosts._ask = silent_hosts
    service.ledger.mark(RECORD.answered(7, ASKED), Fate.END, WHY, ASKED)
    service.ends.resume()
    await asyncio.wait_for(asked.wait(), 10)
    await finish(service.ends.end(RECORD.answered(7, ASKED), "", WHY))


async def test_a_job_that_the_list_hides_is_found_by_its_name(service, cluster):
    """An account without the right to see others' waiting jobs must not lose one whose answer was lost."""
    cluster.add(7)
    cluster.hidden = [cluster.jobs_there.pop(7)]
    healed = await asyncio.wait_for(service.ends.number(RECORD), 20)
    assert healed.number == 7


async def test_a_deletion_that_fails_is_tried_again(service, cluster):
    """Until both witnesses say that the job is gone."""
    cluster.add(7)
    cluster.trouble = [NoAnswerError("silent"), NoAnswerError("silent")]
    service.clock = iter_clock()
    await finish(service.ends.end(RECORD.answered(7, ASKED), "", WHY))
    assert cluster.deleted == [("alice", 7)]


def iter_clock():
    """Return a clock of which each reading is a second later: time-outs come soon."""
    ticks = itertools.count(int(ASKED))
    return lambda: float(next(ticks))


async def test_a_second_call_joins_the_first(service, cluster):
    """Stop, time-out and the session's report may all ask for the same end."""
    cluster.add(7)
    record = RECORD.answered(7, ASKED)
    assert service.ends.end(record, "", WHY) is service.ends.end(record, "", WHY)
    await finish(service.ends.end(record, "", WHY))
    assert cluster.deleted == [("alice", 7)]


async def test_a_silent_second_witness_is_no_witness(service, cluster):
    """A job that the table lacks is not gone while nobody confirms it."""
    record = RECORD.answered(7, ASKED)
    await service.reflector.next_table(0.0)
    cluster.silent = True
    assert not await service.gone(record)
    cluster.silent = False
    assert await service.gone(record)


async def test_a_stop_outlives_errors_that_nobody_foresaw(service, cluster, caplog):
    """Whatever a helper or a witness makes of it, the job is deleted in the end; the log has the reason once."""
    cluster.add(7)
    cluster.trouble = [RuntimeError("a bug"), RuntimeError("a bug")]
    real, bad = cluster.confirm_absent, [RuntimeError("another bug")]

    async def confirm_absent(ours: JobIdentity) -> bool:
        if bad:
            raise bad.pop()
        return await real(ours)

    cluster.confirm_absent = confirm_absent
    service.clock = iter_clock()
    await finish(service.ends.end(RECORD.answered(7, ASKED), "", WHY))
    assert cluster.deleted == [("alice", 7)]
    assert service.ledger.entries() == ()
    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert told[0] == "Job 7 of alice is not deleted yet, and is tried again: a bug"
    assert len([one for one in told if one == told[0]]) == 1


async def test_a_submission_that_ends_with_a_bug_may_have_brought_a_job(service, cluster):
    """It is looked for by its name, as one whose answer was lost."""
    cluster.add(7)
    await finish(service.ends.end(RECORD, "", WHY, submission=later(RuntimeError("a bug"))))
    assert cluster.deleted == [("alice", 7)]


async def test_a_second_try_after_an_error_deletes_what_the_table_shows_only(service, cluster):
    """The first one may have deleted the job, and its number may be another one's by now."""
    cluster.add(7)
    real = cluster.cancel

    async def cancel(person: str, number: int) -> None:
        await real(person, number)
        cluster.add(7, name="analysis", submitted=ASKED + 3600)
        raise RuntimeError("a bug")

    cluster.cancel = cancel
    await finish(service.ends.end(RECORD.answered(7, ASKED).seen(ASKED), "", WHY))
    assert cluster.deleted == [("alice", 7)]
    assert set(cluster.jobs_there) == {7}


async def test_the_host_of_a_job_that_is_to_end_is_known(service, cluster):
    """Its silence is what holds the next start up, also where the record has no host."""
    job = Job(7, RECORD.job_name, "alice", JobState.parse("dr"), "short.q", "node01", 1, ASKED, ASKED, 0.5)

    async def cancel(_person: str, _number: int) -> None:
        """Be refused: the host is away."""

    cluster.jobs_there[7] = job
    cluster.cancel = cancel
    service.clock = iter_clock()
    task = service.ends.end(RECORD.answered(7, ASKED), "", WHY)
    for _ in range(500):
        if not service.ends.hosts():
            await asyncio.sleep(0.01)
    assert service.watch.hosts() == {"node01"}
    cluster.jobs_there.clear()
    await finish(task)
    assert service.watch.hosts() is None


class Odd(Cluster):
    """A list with an entry of somebody that nobody can read, and a second witness that counts."""

    asked = 0
    lies = 0

    async def jobs(self, _owners: frozenset[str] | None = None) -> JobTable:
        """Return all jobs but one."""
        return replace(await super().jobs(), skipped=1)

    async def named(self, name: str) -> JobDetail | Absent:
        """Count, and tell a lie where told to."""
        self.asked += 1
        if self.asked <= self.lies:
            return Absent()
        return await super().named(name)


@pytest.mark.parametrize("cluster", [Odd()])
async def test_an_entry_that_nobody_can_read_keeps_no_start_waiting(service, cluster):
    """It may be anybody's, and stay for weeks: the second witness says twice that there is no such job."""
    assert await asyncio.wait_for(service.ends.number(RECORD), 20) is None
    assert cluster.asked == 2
    assert service.reflector.table.asked_at > ASKED + SETTLED


@pytest.mark.parametrize("cluster", [Odd()])
async def test_the_entry_that_nobody_can_read_may_be_ours(service, cluster):
    """The second witness knows it, if not at once."""
    cluster.lies = 1
    cluster.hidden = [Job(7, RECORD.job_name, "alice", JobState.parse("qw"), None, None, 1, ASKED, None, 0.5)]
    found = await asyncio.wait_for(service.ends.number(RECORD), 20)
    assert found.number == 7
