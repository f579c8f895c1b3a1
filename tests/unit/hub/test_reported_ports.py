"""Which ports a start accepts: one, and another only for a new run that the job table shows."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest
from jupyterhub import orm
from jupyterhub.objects import Hub
from traitlets.config import Config

from sgehub.errors import NoAnswerError
from sgehub.gridengine.reflector import JobReflector
from sgehub.hub import starting
from sgehub.hub.record import SessionRecord
from sgehub.hub.service import ClusterService
from sgehub.hub.spawner import SGESpawner
from sgehub.model.job import Job, JobState, JobTable
from tests.unit.model.site import site

RECORD = SessionRecord(
    tag="0123456789ab", person="alice", folder="/home/alice/.sgehub", token_id=1, asked=100.0
).answered(7, 101.0)


def job(letters: str, started: float | None) -> Job:
    """Return our job in some state; it has a host once it has started."""
    host = None if started is None else "node01"
    return Job(7, RECORD.job_name, "alice", JobState.parse(letters), None, host, 1, 100.5, started, 0.5)


class Cluster:
    """A cluster that answers what it is told to."""

    def __init__(self) -> None:
        self.table: JobTable | None = None

    def shows(self, *jobs: Job) -> None:
        """Let the next answer hold these jobs."""
        self.table = JobTable(asked_at=102.0, jobs={one.number: one for one in jobs})

    async def jobs(self) -> JobTable:
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
    service = ClusterService(site(), SimpleNamespace(), reflector, log=log)  # the engine is not asked here
    user = SimpleNamespace(
        name="alice", settings={"sgehub_services": {"/site": service}}, url="/", escaped_name="alice"
    )
    made = SGESpawner(
        user=user, hub=Hub(), orm_spawner=orm.Spawner(name=""), config=Config({"SGESpawner": {"site": "/site"}})
    )
    made.record = RECORD
    yield made
    await reflector.close()


async def table_of(spawner: SGESpawner, cluster: Cluster, *jobs: Job) -> None:
    """Let the reflector see a table."""
    cluster.shows(*jobs)
    spawner.service.reflector.table = cluster.table


async def test_the_first_port_is_taken_and_the_same_again(spawner):
    """The session repeats its report until it is answered."""
    assert spawner.accept_port(20001)
    assert spawner.accept_port(20001)
    assert spawner.record.port == 20001


async def test_another_port_is_refused_before_the_table_shows_the_run(spawner, cluster):
    """And still when it shows it for the first time: that is the run of the first port."""
    assert spawner.accept_port(20001)
    assert not spawner.accept_port(20002)
    await table_of(spawner, cluster, job("r", 110.0))
    assert not spawner.accept_port(20002)
    assert spawner.record.port == 20001


async def test_another_port_is_taken_for_a_new_run_only(spawner, cluster):
    """Grid Engine has run the job again, on a host and with a port that are new."""
    await table_of(spawner, cluster, job("r", 110.0))
    assert spawner.accept_port(20001)
    assert not spawner.accept_port(20002)
    await table_of(spawner, cluster, job("Rr", 200.0))
    assert spawner.accept_port(20002)
    assert not spawner.accept_port(20003)


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
    assert not spawner.accept_port(20002)
