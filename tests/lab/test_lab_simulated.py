"""A lab of simulated hosts: a real qmaster that pretends that jobs run."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgehub.lab import simulation
from sgehub.lab.cluster import Lab
from sgehub.lab.layout import people_named
from tests.lab.test_lab_command import sgehub

PEOPLE = people_named(5)


@pytest.fixture(scope="module")
def lab(install: Path) -> Iterator[Lab]:
    """Bring a lab of 300 simulated hosts up by the command."""
    name = f"test-{os.getpid()}-simulated"
    try:
        arguments = ("--name", name, "--simulate", "300", "--users", "5", "--install", str(install))
        done = sgehub("lab", "up", *arguments)
        assert done.returncode == 0, done.stderr
        yield Lab.open(name)
    finally:
        Lab(name).down()


def states(lab: Lab) -> Counter[str]:
    """Count the jobs by their state letters."""
    rows = lab.run("head", ["qstat", "-u", "*"]).stdout.splitlines()[2:]
    return Counter(row.split()[4] for row in rows)


def wait_for(lab: Lab, expected: dict[str, int], seconds: float = 60.0) -> None:
    """Wait until there are exactly so many jobs in each state."""
    until = time.monotonic() + seconds
    while (found := states(lab)) != expected:
        assert time.monotonic() < until, found
        time.sleep(0.5)


def test_many_hosts_are_one_head(lab: Lab) -> None:
    """Only the head is there to be entered, and it answers for every name that the cluster has."""
    assert [host.name for host in lab.status()] == ["head"]
    assert lab.run("head", ["qhost"]).stdout.count("\nsim0") == 300
    assert lab.run("head", ["getent", "hosts", "sim0300"]).stdout.split() == [lab.address("head"), "sim0300"]


def test_jobs_act_as_if_they_ran(lab: Lab) -> None:
    """A cluster is filled in seconds; a script given on standard input runs for as long as it is told to."""
    simulation.fill(lab, PEOPLE, running=100, waiting=53)
    wait_for(lab, {"r": 100, "qw": 53})
    submit = ["qsub", "-terse", "-h", "-q", "short.q"]
    brief, lasting = (int(lab.run("head", submit, user="alice", input="true").stdout) for _ in range(2))
    simulation.prolong(lab, [lasting])
    assert lab.run("head", ["qrls", f"{brief},{lasting}"], user="alice").returncode == 0
    wait_for(lab, {"t": 2, "r": 100, "qw": 53})
    wait_for(lab, {"r": 101, "qw": 53})
    assert str(lasting) in lab.run("head", ["qstat"], user="alice").stdout
    assert lab.run("head", ["qdel", str(lasting)], user="alice").returncode == 0
    wait_for(lab, {"r": 100, "qw": 53})
