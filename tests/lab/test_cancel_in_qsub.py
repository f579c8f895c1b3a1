"""A start that is cancelled while qsub is under way leaves no orphan."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.conftest import Site, running_hub
from tests.lab.person import Person
from tests.lab.test_cancel import cancel_after

SLOW = 3.0  # seconds that this qsub takes to answer, once it has queued the job


def slow_commands(site_root: Path) -> None:
    """Put executables before the real ones: a qsub that queues the job and then answers late."""
    folder = site_root / "etc" / "slow"
    folder.mkdir(exist_ok=True)
    for name in ("qsub", "qdel", "qstat", "qacct"):
        pause = f"sleep {SLOW}; " if name == "qsub" else ""
        file = folder / name
        file.write_text(f'#!/bin/sh\nanswer=$(/usr/lib/gridengine/{name} "$@"); status=$?\n{pause}')
        file.write_text(file.read_text() + 'printf "%s\\n" "$answer"; exit $status\n')
        file.chmod(0o755)


@pytest.fixture(scope="module")
def slow_hub(lab: Lab) -> Iterator[Site]:
    """Run a hub whose qsub queues the job and answers three seconds later."""
    slow_commands(lab.root)
    with running_hub(lab, site={"cluster": {"commands": "/etc/slow"}}) as site:
        yield site


@pytest.mark.parametrize("seconds", [0.5, 1.5, 2.8])
def test_cancelled_during_qsub(slow_hub: Site, seconds: float):
    """The submission goes on, and its job is deleted as soon as its number is known."""
    cancel_after(slow_hub, seconds)


def test_a_hub_that_ends_during_qsub_leaves_a_job_that_its_name_tells(slow_hub: Site):
    """What is left can be found: one job, named by the tag that the hub's database holds."""
    alice = slow_hub.person("alice")
    threading.Thread(target=lambda: _quietly(alice)).start()
    slow_hub.wait_for_jobs(1)
    slow_hub.hub.stop(kill=True)
    time.sleep(SLOW + 1)
    assert len(slow_hub.jobs()) == 1
    slow_hub.lab.run("head", ["qdel", "-u", "alice"])
    slow_hub.wait_for_jobs(0)


def _quietly(alice: Person) -> None:
    try:
        alice.start({"memory": "1G"})
    except (OSError, http.client.HTTPException):  # the hub goes away while it answers
        return
