"""The lab's cluster: the queues, environments, consumables, projects and quotas that real sites have."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence

import pytest

from sgehub.lab.cluster import Lab

WAIT = 30.0


def submit(lab: Lab, script: str, *options: str, user: str = "alice", host: str = "head") -> str:
    """Submit a script whose output lands in ~/N.out, and return the job's number N."""
    fixed = ["-terse", "-j", "y", "-o", "$HOME/$JOB_ID.out"]
    # csh does not run a last line without its end.
    done = lab.run(host, ["qsub", *fixed, *options], user=user, input=f"{script}\n")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split()[-1]


def output(lab: Lab, job: str, *, lines: int = 1, user: str = "alice") -> list[str]:
    """Wait until a job has written this many lines, and return them."""
    deadline = time.monotonic() + WAIT
    while True:
        seen = lab.run("head", ["cat", f"/home/{user}/{job}.out"]).stdout.splitlines()
        if len(seen) >= lines:
            return seen
        assert time.monotonic() < deadline, [
            lab.run("head", [tool, "-j", job]).stdout for tool in ("qstat", "qacct")
        ]
        time.sleep(0.1)


def wait_gone(lab: Lab, jobs: Sequence[str]) -> None:
    """Wait until jobs have left the queues."""
    deadline = time.monotonic() + WAIT
    while any(lab.run("head", ["qstat", "-j", job]).returncode == 0 for job in jobs):
        assert time.monotonic() < deadline, lab.run("head", ["qstat", "-u", "*"]).stdout
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def empty_cluster(lab: Lab) -> Iterator[None]:
    """Leave no job behind for the next test."""
    yield
    lab.run("head", ["qdel", "-u", "*"])
    deadline = time.monotonic() + WAIT
    while lab.run("head", ["qstat", "-u", "*"]).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_job_runs_on_an_execution_host_as_its_person(lab: Lab) -> None:
    """A job submitted on the head runs on the node asked for, as its person, with a folder of its own."""
    job = submit(lab, "hostname; id -un; echo $TMPDIR; pwd", "-S", "/bin/sh", "-l", "h=node02")
    host, person, folder, home = output(lab, job, lines=4)
    assert (host, person, home) == ("node02", "alice", "/home/alice")
    assert folder.startswith("/tmp/")


def test_accounting_is_there_at_once(lab: Lab) -> None:
    """A finished job's record is there within seconds, not after the usual flush."""
    job = submit(lab, "exit 3", "-S", "/bin/sh")
    wait_gone(lab, [job])
    deadline = time.monotonic() + 5
    while (done := lab.run("head", ["qacct", "-j", job])).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert re.search(r"^exit_status +3\b", done.stdout, re.MULTILINE)


def test_smp_grants_all_slots_on_one_host(lab: Lab) -> None:
    """PE smp: all slots on one host, whatever else is free."""
    job = submit(lab, "echo $NSLOTS $NHOSTS", "-S", "/bin/sh", "-pe", "smp", "4", "-l", "h_vmem=1G")
    assert output(lab, job) == ["4 1"]


def test_mpi_spreads_slots(lab: Lab) -> None:
    """PE mpi fills one host after the other: 20 slots in short.q are more than one host's 16."""
    job = submit(
        lab, "echo $NSLOTS $NHOSTS", "-S", "/bin/sh", "-pe", "mpi", "20", "-q", "short.q", "-l", "h_vmem=1G"
    )
    assert output(lab, job) == ["20 2"]


def test_h_vmem_is_a_limit_and_counts_per_slot(lab: Lab) -> None:
    """h_vmem limits each process, is 2G if not asked for, and is taken from the host's 64G once per slot."""
    job = submit(
        lab, "ulimit -v; sleep 60", "-S", "/bin/sh", "-pe", "smp", "2", "-l", "h_vmem=3G", "-q", "*@node01"
    )
    assert output(lab, job) == [str(2 * 3 * 1024 * 1024)]
    assert "hc:h_vmem=58.000G" in lab.run("head", ["qhost", "-h", "node01", "-F", "h_vmem"]).stdout
    default = submit(lab, "ulimit -v", "-S", "/bin/sh")
    assert output(lab, default) == [str(2 * 1024 * 1024)]
    never = lab.run("head", ["qsub", "-w", "v", "-l", "h_vmem=65G", "-b", "y", "true"], user="alice")
    assert "no suitable queues" in never.stdout + never.stderr


def test_queues_have_their_runtimes_and_shells(lab: Lab) -> None:
    """short.q 1 h and /bin/sh, long.q 48 h and /bin/csh on all hosts; gpu.q 8 h on the last host alone."""
    for queue, runtime, shell in (
        ("short.q", "01:00:00|1:00:00", "/bin/sh"),
        ("long.q", "48:00:00", "/bin/csh"),
        ("gpu.q", "08:00:00|8:00:00", "/bin/sh"),
    ):
        shown = lab.run("head", ["qconf", "-sq", queue]).stdout
        assert re.search(rf"^h_rt +({runtime})$", shown, re.MULTILINE), shown
        assert re.search(rf"^shell +{shell}$", shown, re.MULTILINE), shown
        assert re.search(r"^notify +00:00:10$", shown, re.MULTILINE), shown
    places = lab.run("head", ["qselect"]).stdout.split()
    nodes = lab.layout.node_names
    assert sorted(places) == sorted(
        [f"{q}@{node}" for q in ("short.q", "long.q") for node in nodes] + ["gpu.q@node03"]
    )
    jobs = {queue: submit(lab, "ps -o comm= -p $$", "-q", queue) for queue in ("short.q", "long.q")}
    assert {queue: output(lab, job) for queue, job in jobs.items()} == {"short.q": ["sh"], "long.q": ["csh"]}


def test_a_project_is_for_its_people(lab: Lab) -> None:
    """Astro is alice's and carol's, genomics bob's and carol's: the qmaster refuses the others."""
    for project, people in (("astro", {"alice", "carol"}), ("genomics", {"bob", "carol"})):
        allowed = {
            user
            for user in lab.layout.people
            if lab.run("head", ["qsub", "-P", project, "-h", "-b", "y", "true"], user=user).returncode == 0
        }
        assert allowed == people


def test_a_quota_limits_one_persons_slots(lab: Lab) -> None:
    """Of three jobs with 16 slots each one person runs two; the third says which limit it waits for."""
    jobs = [submit(lab, "sleep 60", "-S", "/bin/sh", "-pe", "smp", "16", "-l", "h_vmem=1G") for _ in range(3)]
    deadline = time.monotonic() + WAIT
    while 'in rule "slots_per_user' not in (why := lab.run("head", ["qstat", "-j", jobs[2]]).stdout):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    # Until both run: Grid Engine is slow to let go of a job that is deleted while it is dispatched.
    while sorted(row.split()[4] for row in lab.run("head", ["qstat", "-u", "*"]).stdout.splitlines()[2:]) != [
        "qw",
        "r",
        "r",
    ]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "32/32" in lab.run("head", ["qquota", "-u", "alice"]).stdout


def test_a_pending_job_tells_why(lab: Lab) -> None:
    """schedd_job_info is on: a job that cannot start says so in words."""
    job = submit(lab, "true", "-l", "gpu=2,h=node01")
    deadline = time.monotonic() + WAIT
    while "scheduling info:" not in (why := lab.run("head", ["qstat", "-j", job]).stdout):
        assert time.monotonic() < deadline, why
        time.sleep(0.2)
    assert "hc:gpu=0" in why
