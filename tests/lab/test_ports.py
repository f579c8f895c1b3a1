"""However a session ends: its route is gone within two seconds, and nobody takes its port behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.conftest import Site, running_hub
from tests.lab.intruder import PortThief, Routes, Watch, routes, watching
from tests.lab.person import Person

ROUTE_SECONDS = 2.0
SLACK = 0.1  # how exactly both moments are known


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Site]:
    """Run a hub that allows a runtime which a test can wait for."""
    with running_hub(lab, config="c.JupyterHub.log_level = 10", site={"shortest_runtime": "00:00:20"}) as site:
        yield site


@dataclass
class Scene:
    """Alice's running session, bob beside it on the same host."""

    site: Site
    alice: Person
    routes: Routes
    host: str
    port: int
    job: int
    thief: PortThief
    watch: Watch

    def pids(self, pattern: str) -> list[int]:
        """Return alice's processes on the host, the oldest first."""
        found = self.site.lab.run(self.host, ["pgrep", "-u", "alice", "-f", pattern]).stdout.split()
        assert found, self.site.lab.run(self.host, ["ps", "-ef"]).stdout
        return sorted(map(int, found))

    def kill(self, number: str, *pids: int) -> None:
        """Signal processes of the host, as alice."""
        done = self.site.lab.run(self.host, ["kill", f"-{number}", *map(str, pids)], user="alice")
        assert done.returncode == 0, done.stderr


@contextmanager
def scene(site: Site, options: dict[str, object]) -> Iterator[Scene]:
    """Start alice's session, log her in to it, and let bob wait for her port."""
    alice = site.person("alice")
    assert alice.start(options).status in (201, 202)
    alice.wait_until(ready=True)
    with routes(site) as table:
        target = table.target(alice)
        assert target is not None
        found = re.fullmatch(r"http://(.+):(\d+)", target)
        assert found is not None
        host, port = found[1], int(found[2])
        assert alice.open("/user/alice/lab").status == 200
        (job,) = site.jobs()
        thief = PortThief(site.lab, host, port)
        try:
            with watching(table, alice) as watch:
                time.sleep(0.5)
                assert thief.taken == []
                assert {status for _, status, _ in watch.pages} == {200}
                yield Scene(site, alice, table, host, port, job, thief, watch)
        finally:
            thief.close()
            alice.stop()
            site.wait_for_jobs(0)


@dataclass(frozen=True)
class End:
    """What was measured: seconds from the end to both moments, the gap between them, bob's pages delivered."""

    route_gone: float
    port_free: float
    gap: float
    stolen: int


def measure(here: Scene, ended: float, what: str) -> End:
    """Wait until the route is gone and the port bob's; print the figures."""
    gone = here.watch.wait(40)
    free = here.thief.wait(40)
    time.sleep(0.5)  # for bob's page to be delivered, if it ever is
    end = End(gone - ended, free - ended, max(0.0, here.watch.last_seen - free), here.watch.stolen())
    print(
        f"\n{what}: route gone after {end.route_gone:.2f} s, port free after {end.port_free:.2f} s, "
        f"gap {end.gap:.3f} s, bob's page delivered {end.stolen} times in {len(here.watch.pages)}"
    )
    return end


def judge(end: End) -> None:
    """Hold the end of a session against the rule."""
    assert end.stolen == 0
    assert end.gap <= SLACK
    assert end.route_gone < ROUTE_SECONDS


def by_itself(here: Scene) -> None:
    here.kill("TERM", here.pids("jupyterhub-singleuser")[0])


def killed(here: Scene) -> None:
    here.kill("KILL", here.pids("jupyterhub-singleuser")[0])


def deleted(here: Scene) -> None:
    done = here.site.lab.run("head", ["qdel", str(here.job)], user="alice")
    assert done.returncode == 0, done.stdout


def program_killed(here: Scene) -> None:
    _, program = here.pids("bin/sgehub-session")
    here.kill("KILL", program)


def program_and_server_killed(here: Scene) -> None:
    _, program = here.pids("bin/sgehub-session")
    here.kill("KILL", program, here.pids("jupyterhub-singleuser")[0])


def stopped(here: Scene) -> None:
    assert here.alice.stop().status in (202, 204)


ENDS = [by_itself, killed, deleted, program_killed, program_and_server_killed, stopped]


@pytest.mark.parametrize("end", ENDS)
def test_nobody_takes_the_port_over(hub: Site, end: Callable[[Scene], None]):
    """The server ends or is killed, the job is deleted, its program killed, or the person presses Stop."""
    with scene(hub, {"memory": "1G"}) as here:
        begun = time.time()
        end(here)
        ended = begun if end is not by_itself else _gone(here)
        judge(measure(here, ended, end.__name__))
        hub.wait_for_jobs(0)
        assert here.alice.wait_until(ready=False) == {}


def _gone(here: Scene) -> float:
    """Return when the server that was asked to end had ended: how long that takes is its own business."""
    command = ["pgrep", "-r", "R,S,D,T", "-u", "alice", "-f", "jupyterhub-singleuser"]  # zombies have ended
    until = time.monotonic() + 20
    while here.site.lab.run(here.host, command).stdout.strip():
        assert time.monotonic() < until, "the server does not end"
    return time.time()


def test_nobody_takes_the_port_over_at_the_runtimes_end(hub: Site):
    """Grid Engine announces the end of h_rt, too, because the job asks for it."""
    with scene(hub, {"memory": "1G", "runtime": "00:00:25"}) as here:
        until = time.monotonic() + 60
        while {status for _, status, _ in here.watch.pages[-3:]} == {200}:
            assert time.monotonic() < until, "the runtime does not end"
            time.sleep(0.05)
        judge(measure(here, _gone(here), "runtime"))
        hub.wait_for_jobs(0)


def test_a_job_that_is_killed_whole_is_seen_by_the_table(hub: Site):
    """Nothing of it can say a word. The route stays until Grid Engine's table has been asked: measured here."""
    with scene(hub, {"memory": "1G"}) as here:
        ended = time.time()
        # -1: all of hers on that host at once; one by one, Grid Engine would be quicker than we are
        here.site.lab.run(here.host, ["kill", "-KILL", "--", "-1"], user="alice")
        end = measure(here, ended, "whole job killed")
        assert end.route_gone < 6.0
        hub.wait_for_jobs(0)
        assert here.alice.wait_until(ready=False) == {}
