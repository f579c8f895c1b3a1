"""What is free now: the sums of each queue, and the largest request that one host could start at once.

The law of this file: what Grid Engine does not say is None, never 0; and nothing is promised for several hosts
together, since a session runs on one. Quotas, access lists and the order of those who wait are not judged here.
Memory is a person's: what a job holds beyond it (headroom) is taken off.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sgehub.model.judging import fitting_queues, memory_granted
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.siteparts import Limits
from sgehub.model.units import MULTIPLIERS, Memory

SLOTS: Final = "slots"  # the complex that every Grid Engine has; a host may have a number of its own
_STEP: Final = MULTIPLIERS["M"]


@dataclass(frozen=True, slots=True)
class Place:
    """One queue on one host. `open` tells whether it takes new jobs."""

    queue: str
    used: int
    reserved: int
    total: int
    open: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """One execution host: by complex what is free (bytes of memory), and what there is where that is known."""

    name: str
    free: Mapping[str, int]
    total: Mapping[str, int]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Amount:
    """So much is free, of so much. None: not known."""

    free: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Room:
    """What one host has free for one queue. None: not known."""

    slots: int
    memory: int | None
    gpus: int | None

    def holds(self, other: Room) -> bool:
        """Tell whether whatever fits into the other one fits in here."""
        return self._key >= other._key and all(a >= b for a, b in zip(self._key, other._key, strict=True))

    @property
    def _key(self) -> tuple[int, int, int]:
        unknown = -1
        return (
            self.slots,
            unknown if self.memory is None else self.memory,
            unknown if self.gpus is None else self.gpus,
        )


@dataclass(frozen=True, slots=True)
class QueueCapacity:
    """One queue now. `usable` hosts of `hosts` take new jobs, and only there is anything free.

    `rooms` are the hosts that can start something, without those whose room fits into another one's.
    """

    hosts: int = 0
    usable: int = 0
    used: int = 0
    slots: Amount = Amount(0, 0)
    memory: Amount = Amount(None, None)
    gpus: Amount = Amount(None, None)
    rooms: tuple[Room, ...] = ()


Capacity = Mapping[str, QueueCapacity]


@dataclass(frozen=True, slots=True)
class Largest:
    """The largest request that one host could start now. None: nobody knows how much."""

    cores: int
    memory: Memory | None
    gpus: int | None


@dataclass(slots=True)
class _Sum:
    """A sum of which a part may be unknown, and then all of it is."""

    value: int | None = 0

    def add(self, part: int | None) -> None:
        self.value = None if self.value is None or part is None else self.value + part


@dataclass(slots=True)
class _Queue:
    """The sums of one queue while hosts are added."""

    hosts: int = 0
    usable: int = 0
    used: int = 0
    slots: int = 0
    slots_free: int = 0
    memory: _Sum = field(default_factory=_Sum)
    memory_free: _Sum = field(default_factory=_Sum)
    gpus: _Sum = field(default_factory=_Sum)
    gpus_free: _Sum = field(default_factory=_Sum)
    tells_gpus: bool = False
    rooms: set[Room] = field(default_factory=set)


class Tally:
    """Add host after host, then read the sums: a large cluster is added up a few hosts at a time."""

    def __init__(self, policy: SitePolicy) -> None:
        self._memory = policy.memory
        self._gpu = policy.gpu.complex if policy.gpu else None
        self._everywhere: Mapping[str, int] = {}
        self._queues: dict[str, _Queue] = {}

    def add_global(self, free: Mapping[str, int]) -> None:
        """Hear what all hosts share of a complex: no host has more."""
        self._everywhere = free

    def add(self, machine: Machine) -> None:
        """Add a host to the sums of its queues."""
        memory_free, memory_total = self._memory_of(machine.free), self._memory_of(machine.total)
        gpus_free = machine.free.get(self._gpu) if self._gpu else None
        gpus_total = machine.total.get(self._gpu) if self._gpu else None
        for place in machine.places:
            queue = self._queues.setdefault(place.queue, _Queue())
            queue.hosts += 1
            queue.used += place.used
            queue.slots += place.total
            queue.memory.add(memory_total)
            if gpus_free is not None:  # hosts without GPUs seldom say so
                queue.tells_gpus = True
                queue.gpus.add(gpus_total)
            if not place.open:
                continue
            queue.usable += 1
            slots = place.total - place.used - place.reserved
            slots = max(0, min(slots, machine.free.get(SLOTS, slots)))
            queue.slots_free += slots
            queue.memory_free.add(memory_free)
            queue.gpus_free.add(gpus_free or 0)
            if slots:
                queue.rooms.add(Room(slots, memory_free, gpus_free))

    def result(self) -> Capacity:
        """Return the sums of every queue that has a host."""
        return {name: self._summed(queue) for name, queue in self._queues.items()}

    def _summed(self, queue: _Queue) -> QueueCapacity:
        shared = self._memory_of(self._everywhere)
        gpus_shared = self._everywhere.get(self._gpu) if self._gpu else None
        return QueueCapacity(
            hosts=queue.hosts,
            usable=queue.usable,
            used=queue.used,
            slots=Amount(queue.slots_free, queue.slots),
            memory=Amount(_capped(queue.memory_free.value, shared), queue.memory.value),
            gpus=(
                Amount(_capped(queue.gpus_free.value, gpus_shared), queue.gpus.value)
                if queue.tells_gpus
                else Amount(None, None)
            ),
            rooms=tuple(_outer(queue.rooms)),
        )

    def _memory_of(self, amounts: Mapping[str, int]) -> int | None:
        """Return a person's memory: what the first complex leaves, or less where another one has less."""
        if self._memory[0].complex not in amounts:
            return None
        return min(one.without_headroom(amounts[one.complex]) for one in self._memory if one.complex in amounts)


def _capped(value: int | None, most: int | None) -> int | None:
    return value if value is None or most is None else min(value, most)


def _outer(rooms: Iterable[Room]) -> Iterator[Room]:
    """Yield the rooms that fit into no other one."""
    kept: list[Room] = []
    for room in sorted(rooms, key=lambda one: (one.slots, one.memory or 0, one.gpus or 0), reverse=True):
        if not any(one.holds(room) for one in kept):
            kept.append(room)
            yield room


def largest_now(policy: SitePolicy, capacity: Capacity) -> dict[str, Largest | None]:
    """Return for each queue of a person's policy the largest request that one host could start; None: nothing.

    Largest means: the most GPUs where the queue offers GPUs, then the most cores, then the most memory.
    """
    nothing = QueueCapacity()
    return {name: _largest(policy, limits, capacity.get(name, nothing)) for name, limits in policy.queues.items()}


def starts_now(policy: SitePolicy, capacity: Capacity, request: ResourceRequest) -> bool | None:
    """Tell whether one host could start a request that is allowed now; None where that is not known."""
    nothing = QueueCapacity()
    rooms = [room for name in fitting_queues(request, policy) for room in capacity.get(name, nothing).rooms]
    found = {_starts(policy, room, request) for room in rooms}
    return True if True in found else None if None in found else False


def _starts(policy: SitePolicy, room: Room, request: ResourceRequest) -> bool | None:
    if request.cores > room.slots:
        return False
    if room.memory is not None and not _has_memory(policy, request, room.memory):
        return False
    if request.gpus and room.gpus is not None and request.gpus > room.gpus:
        return False
    unknown = (
        room.memory is None
        or (request.gpus and (room.gpus is None or request.gpu_type is not None))
        or request.reservation is not None
        or any(policy.fields[name].requests(value) for name, value in request.extra)
    )
    return None if unknown else True


def _largest(policy: SitePolicy, limits: Limits, queue: QueueCapacity) -> Largest | None:
    offers = [found for room in queue.rooms if (found := _within(policy, limits, room)) is not None]
    return max(offers, key=_size, default=None)


def _size(offer: Largest) -> tuple[int, int, int]:
    return offer.gpus or 0, offer.cores, offer.memory.bytes if offer.memory else 0


def _within(policy: SitePolicy, limits: Limits, room: Room) -> Largest | None:
    """Return the most that a person may ask of a room, None if no session fits."""
    most = min(room.slots, limits.cores) if policy.parallel_environment else 1
    gpus = None if room.gpus is None and limits.gpus else min(room.gpus or 0, limits.gpus)
    cores = most
    if policy.gpu is not None and policy.gpu.counted == "slot" and gpus:
        # each slot gets the same number of GPUs: as many as can be divided, then as many cores as that allows
        gpus, cores = max((gpus // count * count, count) for count in range(1, min(most, gpus) + 1))
    if room.memory is None:
        return Largest(cores, None, gpus)
    memory = _memory(policy, limits, cores, room.memory)
    return None if memory is None else Largest(cores, memory, gpus)


def _memory(policy: SitePolicy, limits: Limits, cores: int, free: int) -> Memory | None:
    """Return the most memory for so many cores, in whole M: what is asked for is divided and rounded up."""
    whole = min(free, limits.memory.bytes) // _STEP * _STEP
    base = policy.defaults.model_copy(update={"cores": cores})
    for size in range(whole, max(policy.smallest_memory.bytes - 1, whole - cores * _STEP, 0), -_STEP):
        if _fits(policy, limits, base.model_copy(update={"memory": Memory(size)}), free):
            return Memory(size)
    return None


def _fits(policy: SitePolicy, limits: Limits, request: ResourceRequest, free: int) -> bool:
    return memory_granted(request, policy) <= limits.memory and _has_memory(policy, request, free)


def _has_memory(policy: SitePolicy, request: ResourceRequest, free: int) -> bool:
    return all(one.total(request.memory, request.cores).bytes <= free * one.headroom for one in policy.memory)
