"""Hosts are lost by silence that was seen, and only those where sessions are."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sgehub.errors import NoAnswerError
from sgehub.hub.hosts import LONGEST, SOON, SURE, HostWatch

AFTER = 900.0
OURS = frozenset({"node01"})


class World:
    """A qhost whose answers are set, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.silent: frozenset[str] = frozenset()
        self.answers = True
        self.asked = 0
        self.hosts = HostWatch(self.ask, AFTER, clock=lambda: self.now, log=logging.getLogger("test.hosts"))

    async def ask(self) -> frozenset[str]:
        """Answer, or do not."""
        self.asked += 1
        if not self.answers:
            raise NoAnswerError("qhost did not answer within 30 seconds.")
        return self.silent

    async def look(self, ours: frozenset[str] = OURS) -> None:
        """Ask once; the time until the next question passes."""
        await self.hosts.look(ours)
        self.now += self.hosts.rest

    async def until(self, instant: float, ours: frozenset[str] = OURS) -> None:
        """Ask again and again until that instant."""
        while self.now < instant:
            await self.look(ours)


@pytest.fixture
def world() -> World:
    return World()


async def lost_after(world: World, failures: int) -> float:
    """Return the seconds after which a silent host is lost while every so many-th question fails."""
    begun = world.now
    for count in range(1, 1000):
        world.answers = count % failures != 0
        await world.look()
        if world.hosts.lost("node01"):
            return world.now - begun
    return float("inf")


async def test_a_question_without_an_answer_does_not_make_silence_unseen(world):
    """With every sixtieth failing, no host of a cluster would ever be lost."""
    world.silent = OURS
    assert AFTER <= await lost_after(world, 60) <= AFTER + 2 * LONGEST


async def test_time_without_answers_does_not_count(world):
    """A qmaster that does not answer proves nothing about hosts."""
    world.silent = OURS
    await world.until(1000 + AFTER - 100)
    world.answers = False
    gone = world.now
    await world.until(gone + 3 * AFTER)
    assert not world.hosts.lost("node01")
    world.answers = True
    back = world.now
    await world.until(back + SURE - SOON)
    assert not world.hosts.lost("node01")
    await world.until(back + SURE + 2 * SOON)
    assert world.hosts.lost("node01")


async def test_a_host_that_a_new_qmaster_has_not_heard_of_yet_is_not_lost(world):
    """It was away nearly long enough, came back while nobody could tell, and is heard of within a minute."""
    world.silent = OURS
    await world.until(1000 + AFTER - 20)
    world.answers = False
    await world.look()
    world.answers = True
    await world.until(world.now + 60)
    assert not world.hosts.lost("node01")
    world.silent = frozenset()
    await world.until(world.now + 600)
    assert not world.hosts.lost("node01")
    assert world.hosts.silent_since("node01") is None


async def test_hosts_without_sessions_are_nobodys_concern(world, caplog):
    """Of a large cluster some are always dead: neither the log nor the pace of asking knows them."""
    caplog.set_level(logging.INFO)
    world.silent = frozenset({"node07", "node08"})
    await world.until(1000 + 2 * AFTER)
    assert world.hosts.rest == LONGEST
    assert world.asked <= 2 * AFTER / LONGEST + 1
    assert caplog.records == []
    await world.until(world.now + 30, OURS | {"node07"})
    assert [one.getMessage() for one in caplog.records] == [
        "Execution host node07 does not report to Grid Engine any more."
    ]


async def test_a_silent_host_is_asked_for_more_often_until_it_is_lost(world, caplog):
    """People read that it is silent; one that is lost may be away for weeks."""
    world.silent = OURS
    await world.look()
    assert world.hosts.rest == SOON
    await world.until(1000 + AFTER + 2 * SOON)
    assert world.hosts.rest == LONGEST
    assert caplog.records[-1].getMessage() == (
        "Execution host node01 has been silent for 15 minutes and counts as lost; so do its sessions."
    )


async def test_short_times_are_said_in_words(world, caplog):
    """A site may allow seconds; "0 minutes" would be no help."""
    world.hosts.allow(20)
    world.silent = OURS
    await world.until(1040)
    assert "has been silent for 20 seconds and" in caplog.text


async def test_nobody_is_asked_when_nobody_wants_to_know(world):
    """What was seen before is forgotten: nobody has looked since."""
    wanted: list[frozenset[str] | None] = [None, OURS]
    world.silent = OURS
    world.hosts.pause = 0.01
    await asyncio.wait_for(world.hosts.run(wanted.pop), 10)
    assert world.asked == 1
    assert world.hosts.silent_since("node01") is None
