"""A configuration written for batchspawner, on the real cluster."""

from __future__ import annotations

import pytest

from sgehub.lab.errors import LabError
from tests.lab.conftest import MakeHub

SCRIPT = '''
c.BatchSpawnerBase.req_nprocs = "2"
c.BatchSpawnerBase.req_memory = "1G"
c.GridengineSpawner.req_runtime = "00:20:00"
c.BatchSpawnerBase.req_account = "physics"
c.BatchSpawnerBase.req_options = "-ac seen=yes"
c.BatchSpawnerBase.req_prologue = "echo prologue of the site"
c.BatchSpawnerBase.req_epilogue = "echo epilogue of the site"
c.GridengineSpawner.batch_script = """#!/bin/bash
#$ -N spawner-jupyterhub
#$ -pe mpi 16
echo asked for {nprocs} cores, {memory} a slot, {runtime}, in {homedir} as {username}
{prologue}
{cmd}
{epilogue}
"""
'''


def test_req_traits_and_batch_script_keep_their_meaning(make_hub: MakeHub):
    """Defaults come from req_*, the script from the site; what was asked wins over its lines."""
    with make_hub(config=SCRIPT) as site:
        alice = site.person("alice")
        alice.start({})
        alice.wait_until(ready=True)
        (job,) = site.jobs()
        found = site.qstat("-j", str(job))
        assert "smp range: 2" in found
        assert "h_vmem=512M" in found
        assert "h_rt=1200" in found
        assert "physics" in found
        assert "seen=yes" in found
        assert "spawner-jupyterhub" not in found
        alice.stop()
        site.wait_for_jobs(0)
        log = site.job_log("alice")
    assert "asked for 2 cores, 512M a slot, 00:20:00, in /home/alice as alice" in log
    assert "prologue of the site" in log
    assert alice.token not in log


@pytest.mark.parametrize(
    ("line", "replacement"),
    [
        ('c.BatchSpawnerBase.exec_prefix = "sudo -E -u {username}"', "helper in site.yaml"),
        ('c.GridengineSpawner.batch_submit_cmd = "qsub -V"', "cluster.commands in site.yaml"),
        ('c.SGESpawner.batch_query_cmd = "qstat -xml"', "once for everybody"),
        ("c.JupyterHub.internal_ssl = True", "plain HTTP"),
    ],
)
def test_the_hub_does_not_start_with_settings_that_would_be_ignored(
    make_hub: MakeHub, line: str, replacement: str
):
    """The last lines of its log name the setting and what takes its place."""
    with pytest.raises(LabError, match="The hub has ended") as caught, make_hub(config=line):
        pass
    assert line.split(" = ", maxsplit=1)[0] in str(caught.value)
    assert replacement in str(caught.value)
