"""A person's first session: what was asked is what Grid Engine got, and JupyterLab answers."""

from __future__ import annotations

import re
import time

import pytest

from tests.lab.conftest import Site


def detail(site: Site, job: int) -> dict[str, str]:
    """Return `qstat -j` as a dict."""
    lines = site.qstat("-j", str(job)).splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def resources(found: dict[str, str]) -> dict[str, str]:
    """Return the hard requests of `qstat -j`."""
    return dict(pair.split("=") for pair in found["hard resource_list"].split(","))


def test_start_use_and_stop(hub: Site):
    """Two cores, 2G, 30 minutes: PE smp 2 and 1G a slot; the server answers; Stop ends the job."""
    alice = hub.person("alice")
    begun = time.monotonic()
    wish = {"cores": "2", "memory": "2G", "gpus": "0", "runtime": "00:30:00", "queue": ""}
    answer = alice.post_form(wish)
    assert answer.status == 302, answer.text[-2000:]
    alice.wait_until(ready=True)
    print(f"\nform to ready: {time.monotonic() - begun:.2f} s")
    (job,) = hub.jobs()
    found = detail(hub, job)
    assert found["owner"] == "alice"
    assert found["parallel environment"] == "smp range: 2"
    assert resources(found) == {"h_vmem": "1G", "h_rt": "1800"}
    assert found["notify"] == "TRUE"
    assert re.fullmatch(r"sgehub-[0-9a-f]{12}", found["job_name"])
    status = alice.open("/user/alice/api/status", Authorization=f"token {alice.token}")
    assert status.status == 200, status.text[:300]
    begun = time.monotonic()
    assert alice.stop().status in (202, 204)
    hub.wait_for_jobs(0)
    print(f"stop to the job's end: {time.monotonic() - begun:.2f} s")
    assert alice.wait_until(ready=False) == {}
    assert not list((hub.home("alice") / ".sgehub" / "run").iterdir())


def test_others_are_refused(hub: Site):
    """Another person, logged in, does not reach the session; nobody who is not logged in does."""
    alice, bob = hub.person("alice"), hub.person("bob")
    alice.start({})
    alice.wait_until(ready=True)
    try:
        assert bob.open("/user/alice/api/status", Authorization=f"token {bob.token}").status == 403
        assert alice.open("/user/alice/api/status", Authorization="token 0123").status == 403
        assert bob.api("DELETE", alice.server_path()).status in (403, 404)
    finally:
        alice.stop()
        hub.wait_for_jobs(0)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_cores_and_gpus_are_exactly_those(hub: Site, cores: int, gpus: int):
    """One GPU is one, none is none, also with two cores; the devices are named to the session."""
    alice = hub.person("alice")
    answer = alice.start({"cores": cores, "gpus": gpus, "memory": "1G"})
    assert answer.status in (201, 202), answer.text
    alice.wait_until(ready=True)
    (job,) = hub.jobs()
    found = detail(hub, job)
    devices = re.search(r"^devices=\[(.*)\] slots=(\d+)$", hub.job_log("alice"), re.MULTILINE)
    assert devices is not None
    assert len([one for one in devices[1].split(",") if one]) == gpus
    assert int(devices[2]) == cores
    assert resources(found).get("gpu") == (str(gpus) if gpus else None)
    assert found.get("parallel environment") == ("smp range: 2" if cores == 2 else None)
    alice.stop()
    hub.wait_for_jobs(0)


def test_two_sessions_with_a_gpu_each_hold_different_devices(hub: Site):
    """Named servers of one person, at the same time."""
    alice = hub.person("alice")
    for server in ("one", "two"):
        alice.start({"gpus": 1, "memory": "1G"}, server)
    for server in ("one", "two"):
        alice.wait_until(ready=True, server=server)
    logs = (hub.home("alice") / ".sgehub" / "log").iterdir()
    newest = sorted(logs, key=lambda path: path.stat().st_mtime_ns)[-2:]
    found = [device for path in newest for device in re.findall(r"devices=\[(\d)\]", path.read_text())]
    assert sorted(found) == ["0", "1"]
    for server in ("one", "two"):
        alice.stop(server)
    hub.wait_for_jobs(0)
