"""However a session ends: its route is gone within two seconds, and nobody takes its port behind it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.lab.conftest import MakeHub, Site
from tests.lab.intruder import PortThief, Routes, Watch, routes, watching
from tests.lab.person import Person

ROUTE_SECONDS = 2.0
SLACK = 0.1  # how exactly both moments are known


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
                assert thief.taken is None
                assert {status for _, status, _ in watch.pages} == {200}
                yield Scene(site, alice, table, host, port, job, thief, watch)
        finally:
            thief.close()
            alice.stop()
            site.wait_for_jobs(0)


def judge(here: Scene, ended: float, what: str) -> None:
    """Hold the end of a session against the rule, and print its figures."""
    gone = here.watch.wait(40)
    free = here.thief.wait(40)
    time.sleep(0.5)  # for bob's page to be delivered, if it ever is
    gap = max(0.0, here.watch.last_seen - free)
    print(
        f"\n{what}: route gone after {gone - ended:.2f} s, port free after {free - ended:.2f} s, "
        f"gap {gap:.3f} s, bob's page delivered {here.watch.stolen()} times in {len(here.watch.pages)}"
    )
    assert here.watch.stolen() == 0
    assert gone - ended < ROUTE_SECONDS
    assert gap <= SLACK


def by_itself(here: Scene) -> None:
    here.kill("TERM", here.pids("jupyterhub-singleuser")[0])


def killed(here: Scene) -> None:
    here.kill("KILL", here.pids("jupyterhub-singleuser")[0])


def deleted(here: Scene) -> None:
    done = here.site.lab.run("head", ["qdel", str(here.job)], user="alice")
    assert done.returncode == 0, done.stdout


def session_killed(here: Scene) -> None:
    here.kill("KILL", here.pids("sgehub-session")[0])


def stopped(here: Scene) -> None:
    assert here.alice.stop().status in (202, 204)


@pytest.mark.parametrize("end", [by_itself, killed, deleted, session_killed, stopped])
def test_nobody_takes_the_port_over(hub: Site, end: Callable[[Scene], None]):
    """The server ends by itself or is killed, the job is deleted, its program killed, or the person presses Stop."""
    with scene(hub, {"memory": "1G"}) as here:
        ended = time.time()
        end(here)
        judge(here, ended, end.__name__)
        hub.wait_for_jobs(0)
        assert here.alice.wait_until(ready=False) == {}
