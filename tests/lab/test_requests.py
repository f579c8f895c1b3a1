"""A sample of requests through the real Grid Engine: what was asked is what `qstat -j` shows."""

from __future__ import annotations

import random
import re

from sgehub.gridengine.argv import submit_options
from sgehub.lab.cluster import Lab
from sgehub.model.jobspec import resolve
from sgehub.siteconfig import load_site
from tests.lab.conftest import CONFIG
from tests.unit.test_requests_to_arguments import amount, seconds

SAMPLE = 24


def show(lab: Lab, job: str) -> dict[str, str]:
    """Return `qstat -j` as a dict."""
    lines = lab.run("head", ["qstat", "-j", job], user="alice").stdout.splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


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
