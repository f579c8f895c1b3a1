"""A job script written for batchspawner, with its own program that reports the port, works with our endpoint."""

from __future__ import annotations

from tests.lab.conftest import MakeHub
from tests.lab.intruder import routes

# As many sites have it: the administrator's script runs batchspawner-singleuser. Its environment comes from the
# launch file, since it must not stand in the job's own.
SCRIPT = '''
c.SGESpawner.batch_script = """#!/bin/bash
export PATH=/opt/sgehub/bin:$PATH
cd {homedir}
exec /opt/sgehub/bin/python -c '
import json, os, sys
with open(sys.argv[-1]) as file:
    launch = json.load(file)
os.unlink(sys.argv[-1])
os.environ.update(launch["environment"])
os.execvp("batchspawner-singleuser", ["batchspawner-singleuser", *launch["command"]])
' {cmd}
"""
'''


def test_batchspawners_own_program_reports_its_port(make_hub: MakeHub):
    """The server becomes ready, is reached, and ends with Stop; no secret is left."""
    with make_hub(config=SCRIPT) as site, routes(site) as table:
        alice = site.person("alice")
        assert alice.start({"memory": "1G"}).status in (201, 202)
        alice.wait_until(ready=True)
        assert "sgehub-session" not in site.job_log("alice")
        target = table.target(alice)
        assert target is not None
        assert not target.endswith(":0")
        status = alice.open("/user/alice/api/status", Authorization=f"token {alice.token}")
        assert status.status == 200
        assert alice.stop().status in (202, 204)
        site.wait_for_jobs(0)
        assert alice.wait_until(ready=False) == {}
        assert table.target(alice) is None
        assert not list((site.home("alice") / ".sgehub" / "run").iterdir())
