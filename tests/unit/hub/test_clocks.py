"""The hub's clock and Grid Engine's: a difference is said once, whatever is known of the job's time."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sgehub.gridengine.reflector import JobReflector
from sgehub.hub.ledger import Ledger
from sgehub.hub.metrics import Metrics
from sgehub.hub.service import ClusterService
from sgehub.model.job import Job, JobState
from tests.unit.hub.test_endings import Cluster
from tests.unit.model.site import site

ASKED, NOW = 1000.0, 1010.0


def job(submitted: float | None, started: float | None = None) -> Job:
    return Job(1, "sgehub-0123456789ab", "alice", JobState.parse("r"), "q", "h", 1, submitted, started, 0.5)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (job(1003.0), None),
        (job(950.0), None),  # a few seconds are nothing
        (job(700.0), "5 minutes ahead of"),
        (job(1310.0), "5 minutes behind"),
        (job(None, 700.0), "5 minutes ahead of"),
        (job(None, 1310.0), "5 minutes behind"),
        (job(None, None), None),
    ],
)
def test_a_wrong_clock_is_said_once(seen, said, caplog):
    """Who reads the log learns which way it is wrong; sessions are not concerned."""
    engine = create_engine("sqlite://")
    log = logging.getLogger("test")
    cluster = Cluster()
    with Session(engine) as session:
        service = ClusterService(
            site(),
            cluster,  # type: ignore[arg-type] # as much of it as is needed
            Ledger(session),
            log=log,
            metrics=Metrics(CollectorRegistry()),
            reflector=JobReflector(cluster.jobs, log=log),
            clock=lambda: NOW,
        )
        service.compare_clocks(ASKED, seen)
        service.compare_clocks(ASKED, seen)
    engine.dispose()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == (said is not None)
    assert said is None or said in told[0]
