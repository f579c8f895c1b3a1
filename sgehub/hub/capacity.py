"""What is free on the cluster now, asked once for everybody who has a form open.

The law of this file: one question at a time, none when nobody looks, and never for a single page view. What it
costs decides how often it is put. A failure keeps the last answer, which says by itself how old it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sgehub.errors import SgehubError
from sgehub.gridengine.answers import amount
from sgehub.gridengine.parse_qhost import Host
from sgehub.model.capacity import SLOTS, Capacity, Largest, Machine, Place, Tally, largest_now
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Memory

LOOKED: Final = 60.0  # seconds for which somebody who has looked is believed to look on
REST: Final = 15.0  # seconds between the end of an answer and the next question
COST: Final = 15.0  # times what a question takes, if that is more
OUTAGE: Final = 120.0  # seconds between two questions that are not answered, at most
HANGS: Final = 5.0  # a question that takes so many seconds, and so many times as long as others did, hangs
HANGS_TIMES: Final = 4.0
BELIEVED: Final = 3600.0  # seconds for which a host is believed to have what it was configured to have
AGAIN: Final = 300.0  # seconds until that is asked again where there was no answer
ROUNDED: Final = 1.001  # by so much may a printed amount be more than what there is
IN_ONE_GO: Final = 100  # hosts
GLOBAL: Final = "global"  # the pseudo host that stands for all


class Engine(Protocol):
    """What is asked: see GridEngine."""

    def hosts(self, complexes: Sequence[str], /) -> Awaitable[Sequence[Host]]:
        """Return all hosts, with what is free of each complex."""

    def values_of_hosts(self, hosts: Sequence[str], /) -> Awaitable[Mapping[str, Mapping[str, str]]]:
        """Return what each of these hosts is configured to have."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was free when Grid Engine was asked, by the hub's clock."""

    asked_at: float
    capacity: Capacity
    _largest: dict[int, tuple[SitePolicy, dict[str, Largest | None]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def largest(self, policy: SitePolicy) -> dict[str, Largest | None]:
        """Return `largest_now`, found out once for a policy: many people share one."""
        known = self._largest.setdefault(id(policy), (policy, {}))[1]  # kept, so that nobody else gets its id
        if not known:
            known.update(largest_now(policy, self.capacity))
        return known


class CapacityWatch:
    """The snapshot that all forms show.

    `observe` hears how long each question for all hosts took, and whether it was answered.
    """

    def __init__(
        self,
        policy: SitePolicy,
        engine: Engine,
        *,
        observe: Callable[[float, bool], None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        log: logging.Logger | None = None,
    ) -> None:
        self._policy, self._engine, self._observe = policy, engine, observe
        self._clock, self._monotonic, self._sleep = clock, monotonic, sleep
        self._log = log or logging.getLogger("sgehub.capacity")
        self._totals: dict[str, tuple[float, Mapping[str, int]]] = {}
        self._looked = self._next = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._answered = asyncio.Event()
        self._put: tuple[float, float] | None = None  # when the question under way was put, by both clocks
        self._took: deque[float] = deque(maxlen=2)
        self._failures = 0
        self._failing_since: float | None = None
        self.latest: Snapshot | None = None

    def take(self, policy: SitePolicy) -> None:
        """Ask for another policy's complexes from the next question on."""
        self._policy = policy

    @property
    def silent_since(self) -> float | None:
        """The clock's time since when Grid Engine does not answer this question, None if nothing is wrong."""
        if self._failing_since is None and self._put is not None:
            put, started = self._put
            hangs = self._monotonic() - started > max(HANGS, HANGS_TIMES * min(self._took, default=0.0))
            return put if hangs else None
        return self._failing_since

    async def look(self, patience: float) -> Snapshot | None:
        """Return what is known: somebody looks. If a question is due its answer is awaited for a few seconds.

        None: nothing has been answered yet.
        """
        self._looked = self._monotonic()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        if self._put is not None or self._next <= self._monotonic():
            waits: list[asyncio.Future[object]] = [
                asyncio.ensure_future(self._answered.wait()),
                asyncio.ensure_future(self._sleep(patience)),
            ]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
        return self.latest

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._monotonic() < self._looked + LOOKED:
            rest = self._next - self._monotonic()
            if rest > 0:
                await self._sleep(rest)
                continue
            await self._ask_once()
            self._next = self._monotonic() + self._pause()

    def _pause(self) -> float:
        if self._failures:
            return float(min(REST * 2.0 ** min(self._failures, 10), OUTAGE))
        return max(
            REST, COST * min(self._took, default=0.0)
        )  # waiting for a busy machine makes one answer late, not two

    async def _ask_once(self) -> None:
        put, started = self._put = self._clock(), self._monotonic()
        policy, answered, took = self._policy, False, 0.0
        try:
            try:
                hosts = await self._engine.hosts(_complexes(policy))
            finally:
                took = self._monotonic() - started
            await self._learn_totals(hosts)
            self.latest = Snapshot(put, await self._summed(policy, hosts))
            answered = True
        except SgehubError as error:
            self._fail(put, str(error))
        except Exception:  # noqa: BLE001 - a bug met in one answer must not end the asking for everybody
            self._log.exception("What is free could not be read.")
            self._fail(put, "an error of ours, see above")
        finally:
            self._put = None
        if answered:
            self._succeed()
            self._took.append(took)
        event, self._answered = self._answered, asyncio.Event()
        event.set()
        if self._observe is not None:
            self._observe(took, answered)

    def _fail(self, put: float, why: str) -> None:
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = put
            self._log.warning("Grid Engine does not tell what is free: %s", why)

    def _succeed(self) -> None:
        if self._failing_since is not None:
            self._log.info("Grid Engine tells again what is free.")
        self._failures, self._failing_since = 0, None

    async def _summed(self, policy: SitePolicy, hosts: Sequence[Host]) -> Capacity:
        tally = Tally(policy)
        for count, host in enumerate(hosts):
            total = self._totals.get(host.name, (0.0, {}))[1]
            machine = machine_of(host, total)
            if any(value > total.get(name, value) * ROUNDED for name, value in machine.free.items()):
                machine = machine_of(host, {})  # it has been given more meanwhile
                del self._totals[host.name]
            if host.name == GLOBAL:
                tally.add_global(machine.free)
            else:
                tally.add(machine)
            if count % IN_ONE_GO == IN_ONE_GO - 1:
                await asyncio.sleep(0)
        return tally.result()

    async def _learn_totals(self, hosts: Sequence[Host]) -> None:
        """Learn what the hosts have where that is not known, or not any more. Without an answer it stays so."""
        old = self._monotonic() - BELIEVED
        names = {host.name for host in hosts if host.queues}
        for gone in self._totals.keys() - names:
            del self._totals[gone]
        wanted = sorted(name for name in names if self._totals.get(name, (old, {}))[0] <= old)
        for start in range(0, len(wanted), IN_ONE_GO):
            some = wanted[start : start + IN_ONE_GO]
            now = self._monotonic()
            try:
                values = await self._engine.values_of_hosts(some)
            except SgehubError as error:
                self._log.debug("What some hosts have in all is not known: %s", error)
                known = {name: self._totals.get(name, (old, {}))[1] for name in some}
                self._totals.update({name: (now - BELIEVED + AGAIN, known[name]) for name in some})
            else:
                self._totals.update({name: (now, _configured(values.get(name, {}))) for name in some})


def _complexes(policy: SitePolicy) -> tuple[str, ...]:
    gpu = [policy.gpu.complex] if policy.gpu else []
    return (SLOTS, *(one.complex for one in policy.memory), *gpu)


def machine_of(host: Host, total: Mapping[str, int]) -> Machine:
    """Return a host in the model's words."""
    free = {name: value for name, text in host.resources.items() if (value := _printed(text)) is not None}
    places = tuple(
        Place(one.queue, one.slots_used, one.slots_reserved, one.slots_total, one.accepts) for one in host.queues
    )
    return Machine(host.name, free, total, places)


def _printed(text: str) -> int | None:
    """Read what is free of a complex; more may be taken than there is, and that is none."""
    value = amount(text.removeprefix("-"))
    if value is None:
        return None
    return 0 if text.startswith("-") else int(value)


def _configured(values: Mapping[str, str]) -> dict[str, int]:
    """Read complex_values as administrators write them: "64G", "2", "2(0 1)"; what is no number is left out."""
    read = {name: _amount(text.partition("(")[0].strip()) for name, text in values.items()}
    return {name: value for name, value in read.items() if value is not None}


def _amount(text: str) -> int | None:
    try:
        return Memory.parse(text).bytes
    except ValueError:
        return None  # a STRING, or INFINITY
