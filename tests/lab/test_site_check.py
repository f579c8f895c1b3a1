"""`sgehub check-site` and `discover` on a real cluster: what fits, what does not, and a file made from nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from sgehub.lab.cluster import Lab
from sgehub.lab.hub import BIN
from sgehub.lab.layout import HUB_ACCOUNT
from tests.lab.conftest import Site, running_hub

FILE = "/etc/sgehub/site.yaml"


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Site]:
    """Run one hub for the tests that change nothing; they are the last ones here, since a lab has one hub."""
    with running_hub(lab) as site:
        yield site


def check(site: Site, change: Callable[[dict[str, Any]], object] = dict) -> tuple[int, list[str], str]:
    """Check the file after a change; return the status, the lines, and what stands on stderr."""
    raw = yaml.safe_load(site.lab.run("head", ["cat", FILE]).stdout)
    change(raw)
    command = [f"{BIN}/sgehub", "check-site", "--person", "alice", "-"]
    done = site.lab.run("head", command, user=HUB_ACCOUNT, input=yaml.safe_dump(raw))
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_a_discovered_file_has_no_mistakes_and_carries_a_session(lab: Lab):
    """`sgehub discover | sgehub check-site -`, and then its form: a session starts from it as it is."""
    found = lab.run("head", [f"{BIN}/sgehub", "discover", "--folder", BIN], user=HUB_ACCOUNT)
    assert (found.returncode, found.stderr) == (0, "")
    raw = yaml.safe_load(found.stdout)
    with running_hub(lab, site=raw) as site:
        checked = lab.run(
            "head", [f"{BIN}/sgehub", "check-site", "--person", "alice", "-"], user=HUB_ACCOUNT, input=found.stdout
        )
        assert (checked.returncode, checked.stdout) == (
            0,
            "standard input: no mistakes in the file and its cluster.\n",
        )
        alice = site.person("alice")
        form = alice.open("/hub/spawn").text
        assert "<option" in form
        assert all(queue in form for queue in raw["queues"])
        assert alice.start({}).status in (201, 202)
        alice.wait_until(ready=True)
        assert alice.stop().status in (202, 204)
        site.wait_for_jobs(0)


def test_the_shipped_file_fits_the_lab(running: Site):
    """Its queues, complexes and environment are there, and its maxima can run."""
    assert check(running) == (0, ["standard input: no mistakes in the file and its cluster."], "")


def test_what_the_cluster_does_not_have_is_named_with_its_line(running: Site):
    """All at once: a queue, a complex, a parallel environment, a runtime beyond the queue's own."""

    def change(raw: dict[str, Any]) -> None:
        raw["queues"]["big.q"] = raw["queues"].pop("gpu.q")
        raw["gpu"]["complex"] = "gpus"
        raw["parallel_environment"] = "mpi"
        raw["queues"]["short.q"]["runtime"] = "02:00:00"

    status, lines, _ = check(running, change)
    said = "\n".join(lines)
    assert status == 1
    assert "queues.big.q: there is no such queue. There are: " in said
    assert "gpu.complex: there is no complex gpus" in said
    assert "parallel_environment: consider: mpi may spread slots over hosts (allocation_rule $fill_up)" in said
    assert "queues.short.q.runtime: the queue's own h_rt is 01:00:00." in said
    assert lines[-1] == "standard input: 3 mistakes in the file and its cluster."


def test_what_can_never_run_is_said_in_grid_engines_words(running: Site):
    """No host has so much memory; only the scheduler adds up what all hosts have."""
    status, lines, _ = check(running, lambda raw: raw["queues"]["gpu.q"].update(memory="4000G"))
    assert status == 1
    assert "queues.gpu.q: such a job can never run for alice: " in lines[0]
    assert "h_vmem" in lines[0]


def test_a_silent_qmaster_is_not_a_mistake(running: Site):
    """The status says that nothing is known."""
    status, lines, error = check(running, lambda raw: raw["cluster"].update(qmaster_port=6999))
    assert (status, lines) == (2, [])
    assert "can be read. Nothing else is known: Grid Engine gave no answer to qconf" in error
