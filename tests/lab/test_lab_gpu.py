"""GPUs: the prolog hands out device numbers, one job never another's, and takes back what nobody holds."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.test_lab_cluster import output, submit, wait_gone

SHOW = "echo [$CUDA_VISIBLE_DEVICES]; "
STATE = "/run/sgehub-gpu"
PATIENCE = 30.0


@pytest.fixture(autouse=True)
def free_devices(lab: Lab) -> Iterator[None]:
    """End all jobs after each test, so that all devices are free again."""
    yield
    lab.run("head", ["qdel", "-u", "*"])
    deadline = time.monotonic() + PATIENCE
    while lab.run("head", ["qstat", "-u", "*"]).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def devices(lab: Lab) -> set[str]:
    """Return the devices that are taken."""
    return {name for name in lab.run("node03", ["ls", STATE]).stdout.split() if name != "lock"}


def shepherd_of(lab: Lab, job: str) -> str:
    """Return the number of a job's shepherd on the host with GPUs."""
    return lab.run("node03", ["pgrep", "-f", f"^sge_shepherd-{job} "]).stdout.strip()


def test_two_jobs_hold_different_devices(lab: Lab) -> None:
    """Two jobs with one GPU each run side by side on devices 0 and 1, whoever they are of."""
    first = submit(lab, SHOW + "sleep 60", "-S", "/bin/sh", "-l", "gpu=1")
    second = submit(lab, SHOW + "sleep 60", "-S", "/bin/sh", "-l", "gpu=1", user="bob")
    seen = output(lab, first) + output(lab, second, user="bob")
    assert sorted(seen) == ["[0]", "[1]"]
    assert devices(lab) == {"0", "1"}


@pytest.mark.parametrize("cores", [1, 2])
def test_a_job_gets_as_many_as_it_asked_for_whatever_its_cores(lab: Lab, cores: int) -> None:
    """The complex counts once a job: 2 GPUs are 2 on one core and on two; afterwards they are given back."""
    job = submit(lab, SHOW, "-S", "/bin/sh", "-pe", "smp", str(cores), "-l", "gpu=2,h_vmem=1G")
    assert output(lab, job) == ["[0,1]"]
    wait_gone(lab, [job])
    assert devices(lab) == set()


@pytest.mark.parametrize("host", ["node01", "node03"])
def test_a_job_without_gpus_sees_none(lab: Lab, host: str) -> None:
    """The list is set and empty, on hosts with and without devices, whatever the job brought along."""
    script = 'test -z "${CUDA_VISIBLE_DEVICES-unset}" && echo empty'
    job = submit(lab, script, "-S", "/bin/sh", "-l", f"h={host}", "-v", "CUDA_VISIBLE_DEVICES=1")
    assert output(lab, job) == ["empty"]


def test_what_a_person_sets_does_not_reach_the_prolog(lab: Lab) -> None:
    """The prolog runs as root: no variable of the job decides what it runs, reads or writes."""
    lab.run("head", ["install", "-d", "-o", "alice", "/home/alice/evil"])
    evil = "#!/bin/sh\nid -un >>/home/alice/evil/ran\n"
    for name in ("qstat", "readlink", "sed", "sh"):
        lab.run(
            "head", ["sh", "-c", f"cat >/home/alice/evil/{name}; chmod 755 /home/alice/evil/{name}"], input=evil
        )
    names = ("SGE_BINARY_PATH", "SGE_ROOT", "SGE_JOB_SPOOL_DIR", "PATH", "ENV", "BASH_ENV")
    variables = ",".join(f"{name}=/home/alice/evil" for name in names)
    job = submit(lab, "echo $CUDA_VISIBLE_DEVICES", "-S", "/bin/sh", "-l", "gpu=1", "-v", variables)
    assert "0" in output(lab, job, lines=3)  # after complaints of Grid Engine's own about such variables
    assert lab.run("head", ["cat", "/home/alice/evil/ran"]).stdout == ""


def test_a_device_whose_holder_is_gone_is_taken_back(lab: Lab) -> None:
    """A shepherd that was killed runs no epilog: the next job gets the device that nobody uses any more."""
    dead = submit(lab, SHOW + "exec sleep 71", "-S", "/bin/sh", "-l", "gpu=2")
    assert output(lab, dead) == ["[0,1]"]
    lab.run("node03", ["kill", "-KILL", shepherd_of(lab, dead)])
    lab.run("node03", ["pkill", "-KILL", "-f", "^sleep 71"])
    wait_gone(lab, [dead])
    assert devices(lab) == {"0", "1"}
    job = submit(lab, SHOW, "-S", "/bin/sh", "-l", "gpu=2")
    assert output(lab, job) == ["[0,1]"]
    wait_gone(lab, [job])
    assert devices(lab) == set()


def test_a_device_that_a_process_still_uses_is_not_given_away(lab: Lab) -> None:
    """Grid Engine forgets a job whose shepherd was killed; while its processes live, its device stays theirs."""
    dead = submit(lab, SHOW + "exec sleep 72", "-S", "/bin/sh", "-l", "gpu=1")
    assert output(lab, dead) == ["[0]"]
    lab.run("node03", ["kill", "-KILL", shepherd_of(lab, dead)])
    wait_gone(lab, [dead])
    try:
        job = submit(lab, SHOW, "-S", "/bin/sh", "-l", "gpu=1")
        assert output(lab, job) == ["[1]"]
    finally:
        lab.run("node03", ["pkill", "-KILL", "-f", "^sleep 72"])
