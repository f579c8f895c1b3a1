"""Each session hears what the newest table means for it."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from sgehub.gridengine.reflector import JobReflector, Pace
from sgehub.hub.background import Background
from sgehub.hub.record import SessionRecord
from sgehub.hub.watching import Watch
from sgehub.model.job import Absent, Job, JobState, JobTable, Unknown


class OnNode01:
    """A session that has been on node01, as far as it knows."""

    queued = False
    eager = True
    came = 0.0
    record = SessionRecord("0" * 12, "alice", "/home", 1, 1.0).answered(7, 2.0).placed("node01", 3.0)

    def __init__(self) -> None:
        self.lost: list[str] = []

    def job_seen(self, _found: Job | Absent | Unknown) -> None:
        """Nothing depends on that here."""

    def host_lost(self, host: str) -> None:
        self.lost.append(host)


def job(letters: str, host: str | None) -> Job:
    return Job(7, "sgehub-" + "0" * 12, "alice", JobState.parse(letters), "all.q", host, 1, 2.0, 3.0, 0.5)


@pytest.mark.parametrize(
    ("found", "lost"),
    [
        (job("r", "node01"), True),
        (job("dr", "node01"), True),
        (Unknown("Its entry cannot be read."), True),
        (job("Rq", None), False),
        (job("Rr", "node02"), False),
    ],
    ids=["runs there", "is to end there", "nobody knows", "waits again", "runs elsewhere"],
)
async def test_a_host_is_lost_for_the_jobs_that_are_on_it(found: Job | Unknown, *, lost: bool) -> None:
    """A session learns of another run of its job a little later than the table shows it."""

    async def ask(_owners: object) -> JobTable:
        await asyncio.sleep(0.01)
        return JobTable(asked_at=asyncio.get_running_loop().time())

    class Service(Background):
        ends: tuple[object, ...] = ()
        hosts = SimpleNamespace(lost=lambda host, _came: host == "node01")
        reflector = JobReflector(ask, pace=Pace(soon=0.001, waiting=0.001, idle=0.001, cost=0.0, longest=0.01))

        def look(self, _record: SessionRecord) -> Job | Unknown:
            return found

    service, one = Service(logging.getLogger("test.watching")), OnNode01()
    watch = Watch(service)  # type: ignore[arg-type] # as much of it as is needed
    watch.mind_hosts = lambda: None
    watch.add(one)
    for _ in range(2):
        await service.reflector.next_table(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
    watch.drop(one)
    await service.reflector.close()
    assert set(one.lost) == ({"node01"} if lost else set())
