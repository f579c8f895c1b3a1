"""Work in the background goes on whatever goes wrong in it, and nobody pays for another one's trouble."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sgehub.errors import NoAnswerError
from sgehub.gridengine.reflector import JobReflector, Pace
from sgehub.hub import background
from sgehub.hub.background import Background
from sgehub.hub.ledger import Ledger, LedgerError
from sgehub.hub.metrics import SETTING, SitesCollector
from sgehub.hub.record import SessionRecord
from sgehub.hub.service import ClusterService
from sgehub.hub.watching import Watch
from sgehub.model.job import Absent, Job, JobState, JobTable, Unknown
from tests.unit.hub.gate_rig import SITE

LOG = logging.getLogger("test.background")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN", 0.01)


class One:
    """A session that fails when it is told of its job for the second time, and counts."""

    queued = True
    eager = True
    came = 0.0

    def __init__(self, number: int, *, fails: bool = False) -> None:
        self.record = SessionRecord(f"{number:012x}", f"person{number}", "/home", 1, 1.0).answered(number, 2.0)
        self.fails = fails
        self.told: list[float | None] = []

    def job_seen(self, found: Job | Absent | Unknown) -> None:
        """Hear, or fail."""
        assert isinstance(found, Job)
        self.told.append(found.started)
        if self.fails and len(self.told) == 2:
            raise RuntimeError("the hub's database is locked")

    def host_lost(self, _host: str) -> None:
        """Nothing is lost here."""


async def test_a_session_that_cannot_be_told_costs_no_other_one_its_watch(caplog):
    """It is told again with the next table, though that shows nothing new; the log names its person once."""
    asked = 0
    bad, good = One(1, fails=True), One(2)

    async def ask(_owners: object) -> JobTable:
        nonlocal asked
        asked += 1
        started = float(min(asked, 3))  # the jobs change twice
        jobs = {
            one.record.number: Job(
                one.record.number,
                one.record.job_name,
                one.record.person,
                JobState.parse("qw"),
                None,
                None,
                1,
                2.0,
                started,
                0.5,
            )
            for one in (bad, good)
        }
        return JobTable(asked_at=100.0 + asked, jobs=jobs)

    class Service(Background):
        ends: tuple[object, ...] = ()
        hosts = SimpleNamespace(lost=lambda *_: False, run=None)
        reflector = JobReflector(ask, pace=Pace(soon=0.001, waiting=0.001, idle=0.001, cost=0.0, longest=0.01))

        def look(self, record: SessionRecord) -> Job:
            return self.reflector.table.jobs[record.number]

    service = Service(LOG)
    watch = Watch(service)  # type: ignore[arg-type] # as much of it as is needed
    watch.mind_hosts = lambda: None
    watch.add(bad)
    watch.add(good)
    for _ in range(1000):
        if asked < 6:
            await asyncio.sleep(0.01)
    assert good.told == [1.0, 2.0, 3.0]
    assert bad.told[-1] == 3.0
    assert len(bad.told) > 2
    assert [one.getMessage() for one in caplog.records] == ["A session of person1 could not be told of its job."]
    watch.drop(bad)
    watch.drop(good)
    await service.reflector.close()


async def test_work_that_has_to_go_on_begins_again_after_an_error(caplog):
    """Also after one of ours, which nobody waits for; it ends when it returns."""
    errors: list[Exception] = [RuntimeError("a bug"), NoAnswerError("Grid Engine is away.")]

    async def work() -> None:
        if errors:
            raise errors.pop()

    await asyncio.wait_for(Background(LOG).keep(work), 10)
    assert errors == []
    assert [("away" in one.getMessage(), bool(one.exc_info)) for one in caplog.records] == [
        (True, False),
        (False, True),
    ]


async def test_work_that_has_to_go_on_ends_with_the_hub():
    """Whatever is cancelled is not begun again."""
    begun = 0

    async def work() -> None:
        nonlocal begun
        begun += 1
        await asyncio.sleep(60)

    task = Background(LOG).keep(work)
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task], timeout=10)
    assert task.cancelled()
    assert begun == 1


async def test_a_service_whose_ledger_cannot_be_read_is_not_kept(monkeypatch):
    """Else its half would stand for the whole until the hub ends: nothing deleted, no file looked at."""
    engine = create_engine("sqlite://")
    settings: dict[str, Any] = {"db": Session(engine), SETTING: SitesCollector(CollectorRegistry())}
    real = Ledger.entries

    def away(_self: Ledger, _person: str | None = None) -> Any:
        raise LedgerError("The hub's database does not tell what was started: it is away.")

    monkeypatch.setattr(Ledger, "entries", away)
    with pytest.raises(LedgerError):
        ClusterService.of(settings, SITE, LOG)
    monkeypatch.setattr(Ledger, "entries", real)
    service = ClusterService.of(settings, SITE, LOG)
    assert service.reload is not None
    assert len(service._tasks) == 4
    for task in service._tasks:
        task.cancel()
    await asyncio.wait(service._tasks, timeout=10)
    settings["db"].close()
    engine.dispose()
