"""Nothing is lost, whatever happens in which order: thousands of histories, each with every law looked at."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import active_children, get_context

import pytest

from tests.model.bugs import BUGS
from tests.model.cluster import HOSTS
from tests.model.machine import Histories
from tests.model.search import Found, search
from tests.model.world import World

HISTORIES = 2000
# They are fixed, so that a build fails for what was changed and for nothing else.
SEEDS = (5, 1, 6, 7)

pytestmark = pytest.mark.timeout(2400)  # they run beside others, and these go first


@pytest.fixture(scope="module")
def pool():
    """Return two processes, as many as the smallest machine has cores."""
    made = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    yield made
    made.shutdown(wait=False, cancel_futures=True)
    for one in active_children():  # else Ctrl-C would wait until their histories have ended, for minutes
        one.terminate()


def look_for(bug: str) -> Found:
    """Play histories of one seed after the other until a bug is found, or the budget is spent."""
    played = 0
    for number in SEEDS:
        found = search(HISTORIES // len(SEEDS), number, bug)
        played += found.histories
        if found.breach:
            break
    return Found(played, found.breach)


def test_nothing_is_lost(pool):
    """No history breaks a law."""
    found = list(pool.map(partial(search, HISTORIES // len(SEEDS) + 1), SEEDS))
    assert [part.breach for part in found if part.breach] == []
    assert sum(part.histories for part in found) >= HISTORIES


def test_each_planted_bug_is_found(pool):
    """A machine that finds nothing proves nothing: bugs put in on purpose break a law within the budget."""
    found: dict[str, Found] = dict(zip(BUGS, pool.map(look_for, BUGS), strict=True))
    for name, one in found.items():
        print(f"{name}: {one.histories} histories: {one.breach.partition(chr(10))[0]}")
    assert [name for name, one in found.items() if not one.breach] == []


def test_an_ordinary_history_has_a_session_that_is_reached():
    """The laws are not kept by a hub that never starts anything."""
    history = Histories()
    try:
        history.begin([("bin", ""), ("daemon", "two")], 8.0)
        world = history.world
        assert [start.ready for start in world.starts] == [True, True]
        assert {"/user/bin/", "/user/daemon/two/"} <= world.routes.keys()
        history.restart(down=2.0, orderly=False, seconds=25.0)
        assert [world.hub.spawner(*start.key).ready for start in world.starts] == [True, True]
        history.stop(index=1, remove=False, trouble=None, seconds=25.0)
        assert [start.lives for start in world.starts] == [False, True]
    finally:
        history.teardown()


def test_a_run_that_was_taken_for_the_one_before_is_reached_again():
    """A hub that has just started takes its report until the first table; then it writes secrets that count."""
    history = Histories()
    try:
        world = history.world
        for host in HOSTS[1:]:
            world.cluster.set_host(host, "cut")  # so that both runs have the same one
        history.begin([("bin", "")], 0.0)
        [start] = world.starts
        until(world, lambda: start.session is not None)
        world.cluster.suspend(start.job)  # so that it never reports, and leaves its secrets to the next run
        until(world, lambda: world.hub.spawner(*start.key).record.host is not None)
        world.down = 1000.0
        world.crash()
        world.cluster.rerun(start.job)
        until(world, lambda: start.session is not None and start.session.serving)
        world.cluster.add_fault("jobs", "slow")
        world.boot()
        old = start.session.launch
        until(world, lambda: start.session.accepted)
        until(world, lambda: start.session.launch is not old and start.session.accepted)
        history.wait(25.0)
        assert start.ready
        assert start.lives
    finally:
        history.teardown()


def test_the_secrets_of_a_job_that_never_was_are_removed():
    """Qsub did not say no: its launch file was kept until it was certain that there is no job."""
    history = Histories()
    try:
        history.start(("bin", ""), "lost", 70.0)
        [start] = history.world.starts
        assert start.job is None
        assert history.world.cluster.discarded == {start.tag}
    finally:
        history.teardown()


@pytest.mark.parametrize("fault", ["lost", "answer lost", "crash instead", "crash after"])
def test_another_run_gets_its_launch_file_whatever_happens_to_the_first_try(fault):
    """It stays owed until it is written, also by the hub after this one, with secrets that count."""
    history = Histories()
    try:
        world = history.world
        history.begin([("bin", "")], 8.0)
        [start] = world.starts
        assert start.ready
        world.down = 2.0
        world.cluster.add_fault("rewrite_launch", fault)
        world.cluster.rerun(start.job)
        history.wait(70.0)
        assert world.serving(world.hub.spawner(*start.key).server.url) is start
        assert not world.hub.spawner(*start.key).record.launch_owed
        assert world.starts == [start]
    finally:
        history.teardown()


def until(world: World, condition: Callable[[], bool], seconds: float = 100.0) -> None:
    """Let time pass until something is so."""
    end = world.clock.now + seconds
    while not condition():
        assert world.clock.now < end, "it did not happen in time"
        world.pass_time(0.1)
