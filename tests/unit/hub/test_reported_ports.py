"""What a session tells its spawner: one port, and another only for a new run that the table shows; and its end."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
from jupyterhub import orm
from jupyterhub.objects import Hub
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from traitlets.config import Config

from sgehub.errors import NoAnswerError
from sgehub.gridengine.reflector import JobReflector
from sgehub.hub import resuming, starting
from sgehub.hub.ledger import Ledger
from sgehub.hub.metrics import Metrics
from sgehub.hub.record import SessionRecord
from sgehub.hub.refusals import StartFailed
from sgehub.hub.service import ClusterService
from sgehub.hub.spawner import SGESpawner
from sgehub.model.job import Job, JobState, JobTable
from tests.unit.model.site import site

RECORD = SessionRecord(
    tag="0123456789ab", person="alice", folder="/home/alice/.sgehub", token_id=1, asked=100.0
).answered(7, 101.0)


SIGNALLED = 140  # what a session tells whose job Grid Engine ends, for good or to run it again


def job(letters: str, started: float | None) -> Job:
    """Return our job in some state; it has a host once it has started."""
    host = None if started is None else "node01"
    return Job(7, RECORD.job_name, "alice", JobState.parse(letters), None, host, 1, 100.5, started, 0.5)


class Cluster:
    """A cluster that answers what it is told to; every host reports."""

    async def silent_hosts(self) -> frozenset[str]:
        """Return no host."""
        return frozenset()

    def __init__(self) -> None:
        self.table: JobTable | None = None

    def shows(self, *jobs: Job) -> None:
        """Let the next answer hold these jobs."""
        self.table = JobTable(asked_at=102.0, jobs={one.number: one for one in jobs})

    async def jobs(self, _owners: frozenset[str] | None = None) -> JobTable:
        """Answer, or do not."""
        if self.table is None:
            raise NoAnswerError("silent")
        return self.table


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster that is silent at first."""
    return Cluster()


@pytest.fixture
async def spawner(cluster: Cluster):
    """Return a spawner in the middle of a start, on that cluster."""
    log = logging.getLogger("test")
    reflector = JobReflector(cluster.jobs, log=log)
    engine = create_engine("sqlite://")
    session = Session(engine)
    service = ClusterService(
        site(),
        cluster,
        Ledger(session),
        log=log,
        metrics=Metrics(CollectorRegistry()),
        reflector=reflector,
        clock=lambda: 103.0,
    )
    user = SimpleNamespace(
        name="alice", settings={"sgehub_services": {"/site": service}}, url="/", escaped_name="alice"
    )
    made = SGESpawner(
        user=user, hub=Hub(), orm_spawner=orm.Spawner(name=""), config=Config({"SGESpawner": {"site": "/site"}})
    )
    made.record = RECORD
    yield made
    await reflector.close()
    session.close()
    engine.dispose()


async def table_of(spawner: SGESpawner, cluster: Cluster, *jobs: Job, asked_at: float = 102.0) -> None:
    """Let the spawner hear of a table."""
    cluster.shows(*jobs)
    cluster.table = replace(cluster.table, asked_at=asked_at)
    spawner.service.reflector.table = cluster.table
    spawner.job_seen(spawner.service.find(spawner.record))
    await asyncio.sleep(0.05)


async def test_the_first_port_is_taken_and_the_same_again(spawner):
    """The session repeats its report until it is answered."""
    assert spawner.accept_port(20001)
    assert spawner.accept_port(20001)
    assert spawner.record.port == 20001


async def test_another_port_waits_for_a_newer_table_and_is_refused_by_it(spawner, cluster):
    """Only a table that was asked for after the report can show whether there is a new run."""
    assert spawner.accept_port(20001)
    assert spawner.accept_port(20002) is None
    await table_of(spawner, cluster, job("r", 110.0))
    assert spawner.accept_port(20002) is None
    await table_of(spawner, cluster, job("r", 110.0), asked_at=104.0)
    assert spawner.accept_port(20002) is False
    assert spawner.record.port == 20001


async def test_nothing_is_taken_without_a_start_or_after_its_end(spawner):
    """A late report of a session that is over opens nothing."""
    spawner.exit_code = 0
    assert not spawner.accept_port(20001)
    spawner.exit_code, spawner.record = None, None
    assert not spawner.accept_port(20001)


async def test_the_start_ends_with_the_host_that_the_table_names(spawner, cluster):
    """Never with one that a report names; and it remembers the run."""
    waiting = asyncio.ensure_future(starting.wait_for_server(spawner))
    await asyncio.sleep(0)
    assert spawner.accept_port(20001)
    cluster.shows(job("r", 110.0))
    assert await asyncio.wait_for(waiting, 10) == "http://node01:20001"
    assert (spawner.record.host, spawner.record.run_started) == ("node01", 110.0)


@pytest.mark.parametrize("shown", [[job("r", 110.0)], []])
async def test_a_run_that_a_signal_ends_during_the_start_may_be_followed_by_another(
    spawner, cluster, monkeypatch, shown
):
    """Whether its host was known by then or not: the start goes on with the next run, with secrets of its own."""
    renewed = []

    async def renew(of: SGESpawner, record: SessionRecord, _job: Job) -> None:
        if of.record == record:
            renewed.append(record)
            of.exit_code = None
            of.take(record, record.renewed(2, 104.0, 104.0))

    monkeypatch.setattr(resuming, "renew", renew)
    waiting = asyncio.ensure_future(starting.wait_for_server(spawner))
    await asyncio.sleep(0)
    for one in shown:
        await table_of(spawner, cluster, one)
    assert shown or spawner.accept_port(20001)
    spawner._spawn_pending = True
    told = asyncio.ensure_future(spawner.accept_end(SIGNALLED))
    await asyncio.sleep(0)
    cluster.shows(*shown or [job("r", 110.0)])
    spawner.news.set()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert renewed == []
    again = job("Rr", 120.0)
    await table_of(spawner, cluster, again)
    assert len(renewed) == 1
    assert spawner.accept_port(20009)
    await table_of(spawner, cluster, again)
    assert await asyncio.wait_for(waiting, 10) == "http://node01:20009"
    assert len(renewed) == 1
    spawner._spawn_pending = False
    await told
    assert spawner.exit_code is None


async def test_a_server_that_ends_by_itself_ends_the_start(spawner, cluster):
    """An exit status of its own leaves nothing to wait for, whatever the table shows."""

    async def tail(*_: object) -> str:
        return "no such module"

    cluster.tail = tail
    waiting = asyncio.ensure_future(starting.wait_for_server(spawner))
    await table_of(spawner, cluster, job("r", 110.0))
    await spawner.accept_end(3)
    with pytest.raises(StartFailed, match="ended at once, with exit status 3"):
        await asyncio.wait_for(waiting, 10)


async def test_who_looks_while_an_ended_session_is_cleaned_up_waits_for_that(spawner):
    """A start that is pressed meanwhile looks, too: it would be cleaned up in the place of the session."""
    spawner.record = None  # it has ended
    begun, goes_on = asyncio.Event(), asyncio.Event()
    events = []

    async def clean_up() -> None:
        begun.set()
        await goes_on.wait()
        events.append("cleaned up")

    async def look() -> int | None:
        ended = await spawner.poll_and_notify()
        events.append("looked")
        return ended

    spawner.add_poll_callback(clean_up)
    first = asyncio.ensure_future(spawner.poll_and_notify())
    await asyncio.wait_for(begun.wait(), 10)
    second = asyncio.ensure_future(look())
    await asyncio.wait([second], timeout=0.1)
    assert events == []
    goes_on.set()
    assert await asyncio.wait_for(asyncio.gather(first, second), 10) == [0, 0]
    assert events == ["cleaned up", "looked"]
