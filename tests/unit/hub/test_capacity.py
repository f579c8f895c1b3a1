"""One question about the whole cluster for all open forms, at a pace, on a clock that moves when it is moved."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from sgehub.errors import NoAnswerError
from sgehub.gridengine.parse_qhost import Host, QueueInstance, read_hosts
from sgehub.gridengine.parse_xml import at_once
from sgehub.hub.capacity import CapacityWatch, Snapshot, machine_of
from sgehub.model.capacity import Amount, Largest
from sgehub.model.units import Memory
from tests.unit.gridengine.captured import captured
from tests.unit.model.site import site
from tests.unit.turns import turns_during

G = 1024**3
POLICY = site()
QUEUES = {"gpu.q": {"cores": 16, "memory": "64G", "runtime": "08:00:00"}}
HOSTS = at_once(read_hosts(captured("sge-8.1.9", "free.qhost.q.F-some.xml")))
TOTALS = {
    name: {"h_vmem": "64G", "gpu": "2" if name == "node03" else "0"} for name in ("node01", "node02", "node03")
}


class World:
    """A clock and a cluster: time passes only by `pass_time`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self.found: Sequence[Host] = HOSTS
        self.totals = dict(TOTALS)
        self.asked: list[float] = []
        self.asked_for: list[tuple[str, ...]] = []
        self.asked_totals: list[list[str]] = []
        self.under_way = self.most_under_way = 0
        self.cost = 0.0
        self.failure: Exception | None = None
        self.totals_fail = False
        self.observed: list[tuple[float, bool]] = []
        self.watch = CapacityWatch(
            POLICY,
            self,
            observe=lambda seconds, answered: self.observed.append((seconds, answered)),
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now + seconds, wake))
        await wake

    async def hosts(self, complexes: Sequence[str]) -> Sequence[Host]:
        self.asked.append(self.now)
        self.asked_for.append(tuple(complexes))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            if self.cost:
                await self.sleep(self.cost)
            if self.failure:
                raise self.failure
            return self.found
        finally:
            self.under_way -= 1

    async def values_of_hosts(self, hosts: Sequence[str]) -> dict[str, dict[str, str]]:
        self.asked_totals.append(list(hosts))
        if self.totals_fail:
            raise NoAnswerError("no")
        return {name: self.totals[name] for name in hosts if name in self.totals}

    async def settle(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float = 0.5, *, looking: bool = False) -> None:
        until = self.now + seconds
        looks: list[asyncio.Task[Snapshot | None]] = []
        while self.now < until:
            if looking and (self.now - 1000.0) % 15 == 0:
                looks.append(asyncio.ensure_future(self.watch.look(3)))
            await self.settle()
            self.now = min(self.now + step, until)
            for due, wake in self.sleepers:
                if due <= self.now and not wake.done():
                    wake.set_result(None)
            await self.settle()
        for look in looks:
            assert look.done()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.watch.close()
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_a_captured_answer_becomes_sums_for_queues(world: World) -> None:
    """Of a real cluster with a job in each queue, one queue instance disabled and one host lost."""
    snapshot = await world.watch.look(3)
    assert snapshot is not None
    assert world.asked_for == [("slots", "h_vmem", "gpu")]
    short, long, gpu = (snapshot.capacity[f"{name}.q"] for name in ("short", "long", "gpu"))
    assert (short.hosts, short.usable, short.used, short.slots) == (3, 2, 4, Amount(28, 48))
    assert (long.hosts, long.usable, long.used, long.slots) == (3, 1, 3, Amount(16, 48))
    assert (gpu.hosts, gpu.usable, gpu.slots, gpu.gpus) == (1, 1, Amount(15, 16), Amount(1, 2))
    assert short.memory == Amount(int(54.234 * G) + 54 * G, 192 * G)
    assert snapshot.largest(POLICY) == {
        "short.q": Largest(16, Memory(54 * G), 0),
        "long.q": Largest(16, Memory(54 * G), 0),
        "gpu.q": Largest(8, Memory(54 * G), 1),
    }


@pytest.mark.parametrize("dialect", ["sge-8.1.9", "ocs-9.1.4"])
def test_both_dialects_say_the_same(dialect: str) -> None:
    """Numbers are printed differently, and mean the same."""
    queues = {one.name: one.queues for one in at_once(read_hosts(captured(dialect, "mix.disabled.qhost.q.xml")))}
    free = at_once(read_hosts(captured(dialect, "mix.qhost.F-some.xml")))
    one = {host.name: machine_of(replace(host, queues=queues[host.name]), {}) for host in free}
    assert one["node02"].free == {"lic": 5, "h_vmem": int(6.5 * G), "scratch": 100 * G, "gpu": 1}
    assert [(place.queue, place.total, place.open) for place in one["node01"].places] == [
        ("jupyter.q", 4, False),
        ("long.q", 2, True),
    ]


@pytest.mark.parametrize(
    ("printed", "free"),
    [
        ("-2.000G", {"h_vmem": 0}),
        ("0.000", {"h_vmem": 0}),
        ("107374182400", {"h_vmem": 100 * G}),
        ("-", {}),
        ("none", {}),
    ],
)
def test_what_is_printed_of_a_complex(printed: str, free: dict[str, int]) -> None:
    """More may be taken than there is, which leaves nothing; what is no number is not known."""
    host = Host("n", None, None, 0.1, None, None, {"h_vmem": printed}, ())
    assert machine_of(host, {}).free == free


async def test_a_new_policy_is_asked_for_with_the_next_question(world: World) -> None:
    """The site's file may name other complexes while the hub runs; nobody is shown sums of both."""
    await world.watch.look(3)
    other = site(memory={"complex": "mem_free", "counted": "job"}, gpu=None, queues=QUEUES)
    world.watch.take(other)
    await world.pass_time(16, looking=True)
    assert world.asked_for == [("slots", "h_vmem", "gpu"), ("slots", "mem_free")]
    snapshot = world.watch.latest
    assert snapshot is not None
    assert snapshot.capacity["gpu.q"].memory == Amount(None, None)
    assert snapshot.largest(other) == {"gpu.q": Largest(15, None, 0)}


# The pace


async def test_nobody_looks_nobody_is_asked(world: World) -> None:
    """A minute after the last look no more questions are put."""
    await world.pass_time(600)
    assert world.asked == []
    await world.watch.look(3)
    await world.pass_time(600)
    assert world.asked == [1600.0, 1615.0, 1630.0, 1645.0]


async def test_a_thousand_looks_cost_one_question(world: World) -> None:
    """Whoever looks while it is under way waits for its answer; the next ones take what is known."""
    world.cost = 0.5
    looks = [asyncio.ensure_future(world.watch.look(3)) for _ in range(1000)]
    await world.pass_time(1)
    assert all(look.result() is world.watch.latest for look in looks)
    assert world.watch.latest is not None
    for _ in range(100):
        assert await world.watch.look(3) is world.watch.latest
    assert (len(world.asked), world.most_under_way) == (1, 1)


async def test_the_pace_follows_the_cost(world: World) -> None:
    """Fifteen seconds lie between questions, or fifteen times what the quicker of two has taken."""
    world.cost = 4.0
    await world.pass_time(300, looking=True)
    assert [after - before for before, after in zip(world.asked, world.asked[1:], strict=False)] == [64.0] * 4


async def test_a_look_is_not_kept_waiting(world: World) -> None:
    """What is known is told after a few seconds, also that nothing is."""
    world.cost = 20.0
    look = asyncio.ensure_future(world.watch.look(3))
    await world.pass_time(2.5)
    assert not look.done()
    await world.pass_time(1)
    assert look.result() is None


async def test_the_snapshot_says_when_it_was_asked_for(world: World) -> None:
    """Not when the answer came: what happened in between may not be in it."""
    world.cost = 2.0
    look = asyncio.ensure_future(world.watch.look(3))
    await world.pass_time(3)
    snapshot = look.result()
    assert snapshot is not None
    assert snapshot.asked_at == 1000.0
    assert world.observed == [(2.0, True)]


# Failures


async def test_a_failure_keeps_the_last_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is told since when there is none, the log says it once, and questions grow rare until it is over."""
    caplog.set_level(logging.INFO, "sgehub.capacity")
    first = await world.watch.look(3)
    world.failure = NoAnswerError("The qmaster is down.")
    await world.pass_time(600, looking=True)
    assert first is not None
    assert await world.watch.look(3) is first
    assert world.watch.silent_since == 1015.0
    gaps = [after - before for before, after in zip(world.asked[1:], world.asked[2:], strict=False)]
    assert gaps == [30.0, 60.0, 120.0, 120.0, 120.0, 120.0]
    assert [record.message for record in caplog.records] == [
        "Grid Engine does not tell what is free: The qmaster is down."
    ]
    world.failure = None
    await world.pass_time(150, looking=True)
    assert world.watch.silent_since is None
    assert world.watch.latest is not first
    assert caplog.records[-1].message == "Grid Engine tells again what is free."
    assert [answered for _, answered in world.observed].count(False) == 7


async def test_a_question_that_hangs_is_told_before_it_fails(world: World) -> None:
    """A hanging qmaster is noticed after five seconds, not after the time-out."""
    await world.watch.look(3)
    world.cost = 30.0
    await world.pass_time(19)
    assert world.watch.silent_since is None
    await world.pass_time(3)
    assert world.watch.silent_since == 1015.0


async def test_a_bug_in_one_answer_does_not_end_the_asking(world: World) -> None:
    """It counts as a failure."""
    world.failure = RuntimeError("a bug")
    assert await world.watch.look(3) is None
    assert world.watch.silent_since == 1000.0
    world.failure = None
    await world.pass_time(40)
    assert world.watch.latest is not None


# What hosts are configured to have


async def test_totals_are_asked_once_an_hour(world: World) -> None:
    """Not with every question; a host that is new, or has been given more, is asked for at once."""
    await world.pass_time(600, looking=True)
    assert world.asked_totals == [["node01", "node02", "node03"]]
    node03 = HOSTS[-1]
    more = replace(node03, resources={"h_vmem": "100.000G", "gpu": "1.000000"})
    world.found = [*HOSTS[:-1], more, replace(node03, name="node04")]
    world.totals |= {"node03": {"h_vmem": "128G", "gpu": "2"}, "node04": {"h_vmem": "64G", "gpu": "2"}}
    await world.pass_time(30, looking=True)
    assert world.asked_totals[1:] == [["node04"], ["node03"]]
    assert world.watch.latest is not None
    assert world.watch.latest.capacity["gpu.q"].memory == Amount(154 * G, 192 * G)
    await world.pass_time(3600, looking=True)
    assert sorted(name for names in world.asked_totals[3:] for name in names) == [
        f"node0{n}" for n in (1, 2, 3, 4)
    ]


async def test_totals_that_nobody_tells_stay_unknown(world: World) -> None:
    """What is free is told all the same, and they are not asked for again and again."""
    world.totals_fail = True
    await world.pass_time(240, looking=True)
    assert len(world.asked_totals) == 1
    assert world.watch.latest is not None
    assert world.watch.latest.capacity["gpu.q"].gpus == Amount(1, None)
    world.totals_fail = False
    await world.pass_time(120, looking=True)
    assert world.watch.latest.capacity["gpu.q"].gpus == Amount(1, 2)


@pytest.mark.parametrize(
    ("configured", "total"), [("2", 2), ("2(0 1)", 2), ("1.000000", 1), ("INFINITY", None), ("2x", None)]
)
async def test_complex_values_are_read_as_they_are_written(
    world: World, configured: str, total: int | None
) -> None:
    """Also those of Open Cluster Scheduler, which name each GPU."""
    world.totals["node03"] = {"h_vmem": "64G", "gpu": configured}
    snapshot = await world.watch.look(3)
    assert snapshot is not None
    assert snapshot.capacity["gpu.q"].gpus.total == total


# Large clusters


async def test_a_thousand_hosts_do_not_hold_the_loop(world: World) -> None:
    """Adding them up gives way to others, and what is the largest request is found out once for a policy."""
    queues = tuple(QueueInstance(f"{name}.q", 3, 0, 16, "") for name in ("short", "long", "gpu"))
    world.found = [
        Host(f"h{n}", None, 16, 0.5, None, None, {"h_vmem": f"{n % 640 / 10:.3f}G", "gpu": "2.000000"}, queues)
        for n in range(1000)
    ]
    world.totals = {host.name: {"h_vmem": "64G", "gpu": "4"} for host in world.found}
    snapshot, turns = await turns_during(world.watch.look(3))
    assert snapshot is not None
    assert turns >= 10
    assert snapshot.capacity["short.q"].slots == Amount(13000, 16000)
    assert [len(names) for names in world.asked_totals] == [100] * 10
    assert snapshot.largest(POLICY) is snapshot.largest(POLICY)
