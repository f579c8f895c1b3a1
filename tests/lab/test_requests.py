"""Requests through the real Grid Engine, on sites of several kinds: what was asked is what `qstat -j` shows."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sgehub.errors import RequestRefusedError, SubmissionRefusedError
from sgehub.gridengine.argv import submit_options
from sgehub.gridengine.parse_qsub import parse_submission
from sgehub.gridengine.runner import Completed
from sgehub.lab.cluster import Lab
from sgehub.lab.layout import HEAD
from sgehub.model.jobspec import resolve
from sgehub.siteconfig import load_site
from tests.lab.conftest import CONFIG, bring_up
from tests.lab.faulty import order
from tests.lab.request_table import FILE, REFUSED, ROWS, SITES, Row, as_switches, read_jobs, render
from tests.unit.request_oracle import amount, seconds

SAMPLE = 24
HOME = "/home/alice"
# What the sites of the table have and the lab has not; see complex(5) and sge_pe(5).
COMPLEXES = """\
rmem        rmem        MEMORY  <=  YES  YES  0     0
m_mem_free  m_mem_free  MEMORY  <=  YES  JOB  0     0
ngpus       ngpus       INT     <=  YES  YES  0     0
gpu_type    gpu_type    STRING  ==  YES  NO   NONE  0
gpu_memory  gpu_memory  MEMORY  <=  YES  NO   0     0
matlab      matlab      INT     <=  YES  JOB  0     0
abaqus      abaqus      INT     <=  YES  JOB  0     0
tmpfs       tmpfs       MEMORY  <=  YES  YES  0     0
ssd         ssd         BOOL    ==  YES  NO   0     0
"""
OFFERED = "rmem=64G,m_mem_free=128G,ngpus=4,gpu_type=a100,gpu_memory=40G,matlab=5,abaqus=50,tmpfs=500G,ssd=TRUE"


@pytest.fixture(scope="module")
def cluster(install: Path) -> Iterator[Lab]:
    """Keep a small lab with all that the sites of the table name, and alice's advance reservation 1 in long.q."""
    lab = Lab(f"table-{os.getpid()}", nodes=1, install=install)
    try:
        bring_up(lab)
        configure(lab, "-Mc", order(lab, "qconf", "-sc") + COMPLEXES)
        configure(lab, "-Ap", order(lab, "qconf", "-sp", "smp").replace("smp", "openmp"))
        order(lab, "qconf", "-aattr", "queue", "pe_list", "openmp", "short.q", "long.q", "gpu.q")
        order(lab, "qconf", "-aattr", "exechost", "complex_values", OFFERED, *lab.layout.node_names)
        order(lab, "qconf", "-au", "alice", "arusers")
        wanted = ["-q", "long.q", "-pe", "smp", "8", "-l", "m_mem_free=16G"]
        granted = order(lab, "qrsub", "-d", "12:00:00", *wanted, user="alice")
        assert granted.strip() == "Your advance reservation 1 has been granted"
        yield lab
    finally:
        lab.down()


def configure(lab: Lab, switch: str, text: str) -> None:
    """Give the qmaster a file to read."""
    path = "/tmp/requests"  # the lab's own head, on which nobody else is
    done = lab.run(HEAD, ["tee", path], input=text)
    assert done.returncode == 0, done.stderr
    order(lab, "qconf", switch, path)


def submit(lab: Lab, options: tuple[str, ...]) -> str:
    """Submit a job that stays on hold; return its number. Raises SubmissionRefusedError."""
    done = lab.run(HEAD, ["qsub", "-h", *options], user="alice", input="#!/bin/bash\ntrue\n")
    return str(parse_submission(Completed(done.returncode, done.stdout.encode(), done.stderr.encode())))


def outcomes(lab: Lab) -> list[Row]:
    """Return the rows with what came of each request, all jobs shown by one qstat."""
    policies = {site: load_site(SITES / f"{site}.yaml") for site in {row.site for row in ROWS}}
    found: dict[Row, str] = {}
    jobs: dict[Row, str] = {}
    for row in ROWS:
        policy = policies[row.site]
        try:
            request = policy.parse(row.fields)
            job = resolve(request, policy, name="sgehub-000000000000", home=HOME, log=f"{HOME}/0.log")
            jobs[row] = submit(lab, submit_options(job))
        except RequestRefusedError as error:
            found[row] = REFUSED + " ".join(one.message for one in error.violations)
        except SubmissionRefusedError as error:
            found[row] = REFUSED + str(error)
    shown = read_jobs(order(lab, "qstat", "-j", ",".join(jobs.values())))
    assert len(set(jobs.values())) == len(jobs) == len(shown)
    return [replace(row, got=found.get(row) or as_switches(shown[jobs[row]])) for row in ROWS]


def test_each_request_becomes_what_the_table_says(cluster: Lab):
    """For sites of several kinds; with SGEHUB_RECORD=1 what was measured is written into the documentation."""
    measured = outcomes(cluster)
    order(cluster, "qdel", "-u", "alice", user="alice")
    differing = [(one, row.got) for one, row in zip(measured, ROWS, strict=True) if one != row]
    assert not differing, "\n".join(f"{one.site}: {one.typed}: {one.got}\n  not {got}" for one, got in differing)
    if os.environ.get("SGEHUB_RECORD") == "1":
        FILE.write_text(render(measured), encoding="utf-8")


def show(lab: Lab, job: str) -> dict[str, str]:
    """Return `qstat -j` as a dict."""
    return read_jobs(order(lab, "qstat", "-j", job, user="alice"))[job]


def test_qstat_shows_what_was_asked(lab: Lab):
    """Held jobs, so that nothing has to run; homes with a space and quotes among them."""
    policy = load_site(CONFIG / "site.yaml")
    choose = random.Random(20260101)  # noqa: S311 - the same sample every time, no secret
    for number in range(SAMPLE):
        raw = {
            "cores": choose.randint(1, 8),
            "memory": choose.choice(["512M", "1G", "3g", "2.5G", "1048577K"]),
            "gpus": choose.choice([0, 0, 1, 2]),
            "runtime": choose.choice(["00:10:00", "1:0:0", "::3600", "600"]),
            "queue": choose.choice([None, "gpu.q"]),
        }
        home = choose.choice(["/home/alice", "/home/alice's home", "/home/a b", "/home/ünï"])
        tag = f"{number:012x}"
        name = f"sgehub-{tag}"
        job = resolve(policy.parse(raw), policy, name=name, home=home, log=f"{home}/.sgehub/log/{tag}.log")
        done = lab.run("head", ["qsub", "-h", *submit_options(job)], user="alice", input="#!/bin/bash\ntrue\n")
        assert done.returncode == 0, done.stderr
        found = show(lab, done.stdout.strip())
        lab.run("head", ["qdel", done.stdout.strip()], user="alice")
        resources = dict(pair.split("=") for pair in found["hard resource_list"].split(","))
        cores = raw["cores"]
        granted = amount(resources["h_vmem"]) * cores
        assert amount(raw["memory"]) <= granted < amount(raw["memory"]) + 1024 * cores
        assert int(resources["h_rt"]) == seconds(raw["runtime"])
        assert int(resources.get("gpu", 0)) == raw["gpus"]
        assert found.get("parallel environment") == (f"smp range: {cores}" if cores > 1 else None)
        assert found["job_name"] == name
        assert found["cwd"] == home
        assert found["stdout_path_list"] == f"NONE:NONE:{home}/.sgehub/log/{tag}.log"
        assert found["shell_list"] == "NONE:/bin/bash"
        assert set(found["hard_queue_list"].split(",")) >= {raw["queue"] or "gpu.q"}
        assert not re.search(r"-pe|rm -rf|JUPYTERHUB", found.get("env_list", ""))
