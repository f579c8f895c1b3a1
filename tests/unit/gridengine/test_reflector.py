"""One question at a time for everybody, at a pace, on a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sgehub.errors import ClusterError, NoAnswerError
from sgehub.gridengine.reflector import JobReflector, Pace
from sgehub.model.job import JobTable


class World:
    """A clock and a cluster: time passes only by `pass_time`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.asked: list[float] = []
        self.under_way = self.most_under_way = 0
        self.cost = 0.0
        self.failure: Exception | None = None
        self.spread = 0.0
        self.owners: frozenset[str] | None = None
        self.asked_for: list[frozenset[str] | None] = []
        self.observed: list[tuple[float, bool]] = []
        self.reflector = JobReflector(
            self.ask,
            owners=lambda: self.owners,
            observe=lambda seconds, answered: self.observed.append((seconds, answered)),
            pace=Pace(),
            clock=self.clock,
            monotonic=self.clock,
            sleep=self.sleep,
            jitter=lambda: self.spread,
        )

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now + seconds, wake))
        await wake

    async def ask(self, owners: frozenset[str] | None) -> JobTable:
        asked_at = self.now
        self.asked.append(asked_at)
        self.asked_for.append(owners)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.cost:
                await self.sleep(self.cost)
            if self.failure:
                raise self.failure
            return JobTable(asked_at, owners=owners)
        finally:
            self.under_way -= 1

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        until = self.now + seconds
        while self.now < until:
            await self.settle()
            self.now = min(self.now + step, until)
            for due, wake in self.sleepers:
                if due <= self.now and not wake.done():
                    wake.set_result(None)
            await self.settle()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.reflector.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_nobody_interested_nobody_asked(world: World) -> None:
    with world.reflector.interest(waiting=True):
        await world.settle()
    asked = len(world.asked)
    await world.pass_time(600)
    assert (asked, len(world.asked)) == (1, 1)


@pytest.mark.parametrize(("waiting", "pause"), [(True, 2.0), (False, 15.0)])
async def test_the_pace_follows_who_is_interested(world: World, pause: float, *, waiting: bool) -> None:
    """Every 2 s while somebody waits, every 15 s while sessions only run; the first question comes at once."""
    with world.reflector.interest(waiting=waiting):
        await world.pass_time(60)
    gaps = {after - before for before, after in zip(world.asked, world.asked[1:], strict=False)}
    assert (world.asked[0], gaps) == (1000.0, {pause})


async def test_a_thousand_cost_as_much_as_one(world: World) -> None:
    """One question serves all who wait for it."""
    waiting = [asyncio.ensure_future(world.reflector.next_table(1000.0)) for _ in range(1000)]
    await world.pass_time(10)
    assert all(task.done() for task in waiting)
    assert len(world.asked) == 2
    assert world.most_under_way == 1


async def test_an_expensive_cluster_is_asked_less(world: World) -> None:
    """Fifteen times what the last question took."""
    world.cost = 1.0
    with world.reflector.interest(waiting=True):
        await world.pass_time(70)
    assert world.asked[:4] == [1000.0, 1016.0, 1032.0, 1048.0]


async def test_who_only_wants_to_hear_does_not_hurry(world: World) -> None:
    """The next table comes at the pace of idleness, or earlier if somebody else waits."""
    await world.reflector.next_table(0.0)
    patient = asyncio.ensure_future(world.reflector.next_table(world.now, eager=False))
    await world.pass_time(14)
    assert not patient.done()
    await world.pass_time(1)
    assert patient.done()
    patient = asyncio.ensure_future(world.reflector.next_table(world.now, eager=False))
    await world.pass_time(1)
    with world.reflector.interest(waiting=True):
        await world.pass_time(2)
    assert patient.done()


async def test_one_late_answer_is_waiting_and_not_work(world: World) -> None:
    """A qmaster that hung for a while is asked as often as before; one that stays slow is spared."""
    with world.reflector.interest(waiting=True):
        await world.pass_time(1)
        world.cost = 20.0
        await world.pass_time(2)
        world.cost = 0.0
        await world.pass_time(23)
        assert world.asked == [1000.0, 1002.0, 1024.0, 1026.0]
        world.cost = 1.0
        await world.pass_time(60)
    assert world.asked[4:] == [1028.0, 1031.0, 1047.0, 1063.0, 1079.0]


async def test_a_table_asked_for_too_early_is_not_taken(world: World) -> None:
    """Also one that is under way when the wish arrives."""
    world.cost = 3.0
    early = asyncio.ensure_future(world.reflector.next_table(0.0))
    await world.pass_time(1)
    late = asyncio.ensure_future(world.reflector.next_table(world.now))
    await world.pass_time(3)
    assert early.done()
    assert early.result().asked_at == 1000.0
    assert not late.done()
    await world.pass_time(60)
    assert late.result().asked_at > 1001.0


async def test_waiting_outlasts_every_failure(world: World) -> None:
    """The last good table stays; since when it fails is known; the answer comes once there is one."""
    first = await asyncio.wait_for(world.reflector.next_table(0.0), 5)
    world.failure = NoAnswerError("no")
    waiting = asyncio.ensure_future(world.reflector.next_table(world.now))
    await world.pass_time(600)
    assert not waiting.done()
    assert world.reflector.table is first
    assert world.reflector.failing_since == 1002.0
    world.failure = None
    await world.pass_time(21)
    assert waiting.result().asked_at > 1600.0
    assert world.reflector.failing_since is None


async def test_failures_are_met_with_patience(world: World) -> None:
    """Each pause is twice the last, up to 20 s: people wait for the end of an outage."""
    world.failure = NoAnswerError("no")
    with world.reflector.interest(waiting=True):
        await world.pass_time(100)
    gaps = [after - before for before, after in zip(world.asked, world.asked[1:], strict=False)]
    assert gaps == [4.0, 8.0, 16.0, 20.0, 20.0, 20.0]
    world.reflector.ask_soon()
    asked = len(world.asked)
    await world.pass_time(5)
    assert len(world.asked) == asked


async def test_an_outage_ends_with_an_answer_and_a_hang_does_too(world: World) -> None:
    """Both are over at the same moment for those who wait; slowness that is usual is neither."""
    with world.reflector.interest(waiting=True):
        assert world.reflector.answers_since == 1000.0
        world.failure = NoAnswerError("no")
        await world.pass_time(30)
        world.failure = None
        await world.pass_time(30)
        after_outage = world.reflector.answers_since
        assert after_outage > 1030.0
        world.cost = 6.0
        await world.pass_time(10)
        after_hang = world.reflector.answers_since
        assert after_hang > after_outage
        await world.pass_time(300)  # the second slow answer shows what questions cost here
        settled = world.reflector.answers_since
        await world.pass_time(300)
        assert len(world.asked) > 10
        assert world.reflector.answers_since == settled


async def test_several_hubs_do_not_try_in_step(world: World) -> None:
    """Every pause of an outage is shortened by chance, the longest one too."""
    world.failure, world.spread = NoAnswerError("no"), 1.0
    with world.reflector.interest(waiting=True):
        await world.pass_time(100)
    gaps = [after - before for before, after in zip(world.asked, world.asked[1:], strict=False)]
    assert gaps[:6] == [3.0, 6.0, 12.0, 15.0, 15.0, 15.0]


async def test_a_hanging_question_is_silence_before_its_time_out(world: World) -> None:
    """Since when it was put, and still so when it has failed; the answer ends the silence."""
    with world.reflector.interest(waiting=True):
        await world.pass_time(1)
        assert world.reflector.silent_since is None
        world.cost = 30.0
        await world.pass_time(6)  # put at 1002
        assert world.reflector.silent_since is None
        await world.pass_time(1)
        assert world.reflector.silent_since == 1002.0
        world.failure = NoAnswerError("no")
        await world.pass_time(25)
        assert len(world.observed) == 2
        assert world.reflector.silent_since == world.reflector.failing_since == 1002.0
        world.cost, world.failure = 0.0, None
        await world.pass_time(40)
        assert world.reflector.silent_since is None


async def test_a_cluster_that_is_always_slow_is_not_silent(world: World) -> None:
    """What hangs is measured by what questions usually take."""
    world.cost = 4.0
    with world.reflector.interest(waiting=True):
        await world.pass_time(5)
        world.cost = 16.0
        await world.pass_time(70)  # put at 1064
        assert (world.asked, world.under_way) == ([1000.0, 1064.0], 1)
        assert world.reflector.silent_since is None
        world.cost = 30.0
        await world.pass_time(20)


# Whose jobs


async def test_few_owners_are_asked_for_by_name(world: World) -> None:
    """Who they are is looked up just before each question; a narrower table replaces a wider one."""
    with world.reflector.interest(waiting=True):
        await world.pass_time(1)
        world.owners = frozenset({"alice"})
        await world.pass_time(2)
        world.owners = frozenset({"alice", "bob"})
        await world.pass_time(2)
    assert world.asked_for == [None, {"alice"}, {"alice", "bob"}]
    assert world.reflector.table == JobTable(1004.0, owners=frozenset({"alice", "bob"}))


async def test_who_needs_everybodys_jobs_gets_them(world: World) -> None:
    """A table of some people's is not taken for it, and only as long as somebody waits all are asked for."""
    world.owners = frozenset({"alice"})
    world.cost = 0.1
    with world.reflector.interest(waiting=True):
        narrow = asyncio.ensure_future(world.reflector.next_table(0.0))
        await world.settle()
        wide = asyncio.ensure_future(world.reflector.next_table(0.0, everybody=True))
        await world.pass_time(1, step=0.1)
        assert narrow.result().owners == {"alice"}
        assert not wide.done()
        await world.pass_time(2, step=0.1)
        assert not wide.result().narrow
        await world.pass_time(2, step=0.1)
    assert world.asked_for == [{"alice"}, None, {"alice"}]


async def test_a_cancelled_wish_for_everybodys_jobs_ends(world: World) -> None:
    world.owners, world.cost = frozenset({"alice"}), 1.0
    waiting = asyncio.ensure_future(world.reflector.next_table(0.0, everybody=True))
    await world.pass_time(0.5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with world.reflector.interest(waiting=True):
        await world.pass_time(20)
    assert world.asked_for == [None, {"alice"}]


# What is told to others


async def test_every_question_is_counted(world: World) -> None:
    """With its seconds, and whether it was answered."""
    world.cost = 1.0
    with world.reflector.interest(waiting=True):
        await world.pass_time(2)
        world.failure = NoAnswerError("no")
        await world.pass_time(16)
    assert world.observed == [(1.0, True), (1.0, False)]


@pytest.mark.parametrize("place", ["owners", "observe"])
async def test_a_bug_of_others_does_not_end_the_asking(caplog: pytest.LogCaptureFixture, place: str) -> None:
    """Neither whose jobs are wanted nor who counts can blind the hub."""
    world = World()
    calls = 0

    def broken(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("bug")

    parts: dict[str, Any] = {place: broken}
    reflector = JobReflector(
        world.ask, **parts, clock=world.clock, monotonic=world.clock, sleep=world.sleep, jitter=lambda: 0.0
    )
    with reflector.interest(waiting=True):
        await world.pass_time(10)
        assert reflector.failing_since is None
        assert calls > 1
    await reflector.close()
    assert caplog.text.count("RuntimeError: bug") == 1


async def test_a_bug_does_not_end_the_asking(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once with its place, and the next question is asked."""
    world.failure = RuntimeError("bug")
    with world.reflector.interest(waiting=True), caplog.at_level(logging.INFO):
        await world.pass_time(1)
        assert world.reflector.failing_since is not None
        world.failure = None
        await world.pass_time(10)
    assert world.reflector.failing_since is None
    assert "RuntimeError: bug" in caplog.text


async def test_an_outage_is_two_lines_of_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.failure = NoAnswerError("Connection refused.")
    with world.reflector.interest(waiting=True), caplog.at_level(logging.INFO):
        await world.pass_time(100)
        world.failure = None
        await world.pass_time(100)
    assert [record.message for record in caplog.records] == [
        "Grid Engine is not answering: Connection refused.",
        "Grid Engine answers again, after 108 seconds.",
    ]


async def test_a_hub_that_cannot_ask_does_not_blame_grid_engine(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.failure = ClusterError("qstat could not be started.")
    with world.reflector.interest(waiting=True):
        await world.pass_time(10)
    assert [record.message for record in caplog.records] == [
        "Grid Engine cannot be asked: qstat could not be started."
    ]


async def test_ask_soon_does_not_wait_for_the_idle_pace(world: World) -> None:
    """Many wishes are one question, and an expensive cluster is spared even then."""
    with world.reflector.interest(waiting=False):
        await world.pass_time(1)
        for _ in range(100):
            world.reflector.ask_soon()
        await world.pass_time(8)
    assert world.asked == [1000.0, 1001.0]
    world.cost = 1.0
    with world.reflector.interest(waiting=True):
        await world.pass_time(5)
        world.reflector.ask_soon()
        await world.pass_time(14)
    assert world.asked == [1000.0, 1001.0, 1009.0, 1012.0, 1028.0]


async def test_an_interest_can_change(world: World) -> None:
    """From waiting to running and back, without asking in between."""
    interest = world.reflector.interest(waiting=False)
    await world.pass_time(4)
    interest.waiting = True
    await world.pass_time(4)
    interest.waiting = False
    await world.pass_time(4)
    interest.release()
    interest.release()
    await world.pass_time(100)
    assert world.asked == [1000.0, 1004.0, 1006.0, 1008.0]


async def test_a_cancelled_wait_leaves_no_interest(world: World) -> None:
    world.failure = NoAnswerError("no")
    waiting = asyncio.ensure_future(world.reflector.next_table(0.0))
    await world.pass_time(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    asked = len(world.asked)
    await world.pass_time(300)
    assert len(world.asked) == asked


async def test_closing_ends_the_question_and_the_waiting(world: World) -> None:
    """Nobody is left hanging, and nothing is asked after."""
    world.cost = 1000.0
    waiting = asyncio.ensure_future(world.reflector.next_table(0.0))
    await world.pass_time(1)
    await world.reflector.close()
    with pytest.raises(NoAnswerError):
        await waiting
    assert world.under_way == 0
    with pytest.raises(NoAnswerError):
        await world.reflector.next_table(0.0)
    assert len(world.asked) == 1


async def test_a_real_clock_works_too() -> None:
    """The defaults: time.time, asyncio.sleep."""
    count = 0

    async def ask(owners: frozenset[str] | None) -> JobTable:
        nonlocal count
        count += 1
        return JobTable(float(count), owners=owners)

    reflector = JobReflector(ask, pace=Pace(waiting=0.02, cost=0.0))
    assert (await asyncio.wait_for(reflector.next_table(3.0), 10)).asked_at == 4.0
    await reflector.close()
