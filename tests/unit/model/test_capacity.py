"""What is free: sums that know what they do not know, and no promise that one host could not keep."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from sgehub.model.capacity import (
    Amount,
    Capacity,
    Largest,
    Machine,
    Place,
    Room,
    Tally,
    largest_now,
    starts_now,
)
from sgehub.model.judging import violations
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Memory
from tests.unit.model.site import site

G = 1024**3
M = 1024**2
DEEP = 64 * G


def machine(
    name: str = "n1", free: dict[str, int] | None = None, total: dict[str, int] | None = None, **queues: Any
) -> Machine:
    """Return a host; queues are short="2/16" (used of total) with the letter of a trouble behind it."""
    places = []
    for queue, said in queues.items():
        used, _, rest = said.partition("/")
        number = rest.rstrip("du")
        places.append(Place(f"{queue}.q", int(used), 0, int(number), open=number == rest))
    return Machine(name, free or {}, total or {}, tuple(places))


def summed(
    *machines: Machine, policy: SitePolicy | None = None, everywhere: dict[str, int] | None = None
) -> Capacity:
    tally = Tally(policy or site())
    tally.add_global(everywhere or {})
    for one in machines:
        tally.add(one)
    return tally.result()


def largest(policy: SitePolicy, *machines: Machine) -> dict[str, Largest | None]:
    return largest_now(policy, summed(*machines, policy=policy))


# Sums


def test_a_queue_is_the_sum_of_its_hosts() -> None:
    """Used, free and total are added up over hosts, each queue for itself."""
    found = summed(
        machine("n1", {"h_vmem": 6 * G, "gpu": 0}, {"h_vmem": DEEP, "gpu": 0}, short="12/16", long="4/16"),
        machine("n2", {"h_vmem": 48 * G, "gpu": 1}, {"h_vmem": DEEP, "gpu": 2}, short="2/16"),
    )
    short, long = found["short.q"], found["long.q"]
    assert (short.hosts, short.usable, short.used) == (2, 2, 14)
    assert (short.slots, short.memory, short.gpus) == (Amount(18, 32), Amount(54 * G, 128 * G), Amount(1, 2))
    assert (long.hosts, long.slots, long.memory) == (1, Amount(12, 16), Amount(6 * G, DEEP))


def test_hosts_that_take_no_jobs_have_nothing_free() -> None:
    """Their slots, memory and GPUs count in the totals only."""
    free, total = {"h_vmem": 48 * G, "gpu": 2}, {"h_vmem": DEEP, "gpu": 2}
    found = summed(machine("n1", free, total, short="2/16d"), machine("n2", free, total, short="4/16"))["short.q"]
    assert (found.hosts, found.usable, found.used) == (2, 1, 6)
    assert (found.slots, found.memory, found.gpus) == (Amount(12, 32), Amount(48 * G, 128 * G), Amount(2, 4))
    none = summed(machine("n1", free, total, short="2/16u"))["short.q"]
    assert (none.usable, none.slots, none.memory, none.rooms) == (0, Amount(0, 16), Amount(0, DEEP), ())


@pytest.mark.parametrize(
    ("free", "total", "memory", "gpus"),
    [
        ({}, {}, Amount(None, None), Amount(None, None)),
        ({"h_vmem": G}, {}, Amount(G, None), Amount(None, None)),
        ({}, {"h_vmem": DEEP}, Amount(None, DEEP), Amount(None, None)),
        ({"h_vmem": 0, "gpu": 0}, {"h_vmem": DEEP, "gpu": 2}, Amount(0, DEEP), Amount(0, 2)),
        ({"mem_free": G}, {"mem_free": G}, Amount(None, None), Amount(None, None)),
    ],
)
def test_what_grid_engine_does_not_say_is_not_none(
    free: dict[str, int], total: dict[str, int], memory: Amount, gpus: Amount
) -> None:
    """An amount that nobody knows is None, also where the other half is known; 0 is said only of what is said."""
    found = summed(machine("n1", free, total, short="0/16"))["short.q"]
    assert (found.memory, found.gpus) == (memory, gpus)


def test_one_host_that_does_not_say_makes_the_sum_unknown() -> None:
    """Of memory, that is: a host without GPUs seldom says so."""
    found = summed(
        machine("n1", {"h_vmem": 8 * G}, {"h_vmem": 8 * G}, short="0/4"),
        machine("n2", {"gpu": 2}, {"gpu": 2}, short="0/4"),
    )["short.q"]
    assert (found.memory, found.gpus) == (Amount(None, None), Amount(2, 2))


def test_a_queue_of_no_host_is_in_no_sum() -> None:
    """Its capacity is missing, and nothing would start there."""
    assert list(summed(machine("n1", short="0/4"))) == ["short.q"]
    assert largest(site(), machine("n1", {"h_vmem": G}, short="0/4"))["long.q"] is None


def test_a_hosts_own_slots_bound_those_of_its_queues() -> None:
    """Two queues of one host share it where the host has slots of its own; nothing is ever below 0."""
    found = summed(machine("n1", {"slots": 3}, short="0/16", long="15/16"))
    assert (found["short.q"].slots, found["long.q"].slots) == (Amount(3, 16), Amount(1, 16))
    assert summed(machine("n1", {}, short="5/4"))["short.q"].slots == Amount(0, 4)


def test_reserved_slots_are_not_free() -> None:
    """They belong to an advance reservation."""
    place = Place("short.q", 1, 3, 16, open=True)
    assert summed(Machine("n1", {}, {}, (place,)))["short.q"].slots.free == 12


def test_what_all_hosts_share_bounds_the_sum() -> None:
    """A complex of the global host is printed for each host, and is there once."""
    hosts = [machine(f"n{number}", {"h_vmem": 8 * G, "gpu": 4}, short="0/4") for number in range(3)]
    found = summed(*hosts, everywhere={"h_vmem": 8 * G, "gpu": 4})["short.q"]
    assert (found.memory.free, found.gpus.free) == (8 * G, 4)


def test_memory_is_what_a_person_can_ask_for() -> None:
    """Headroom is taken off; of several complexes the one with least counts, the first must be known."""
    policy = site(
        memory=[
            {"complex": "h_vmem", "counted": "slot", "headroom": 2},
            {"complex": "mem_free", "counted": "job"},
        ]
    )
    both = summed(machine("n1", {"h_vmem": 32 * G, "mem_free": 10 * G}, short="0/4"), policy=policy)
    assert both["short.q"].memory.free == 10 * G
    first = summed(machine("n1", {"h_vmem": 32 * G}, short="0/4"), policy=policy)
    assert first["short.q"].memory.free == 16 * G
    second = summed(machine("n1", {"mem_free": 32 * G}, short="0/4"), policy=policy)
    assert second["short.q"].memory.free is None


def test_rooms_that_fit_into_others_are_left_out() -> None:
    """A thousand hosts that are alike are one room."""
    hosts = [machine(f"n{number}", {"h_vmem": 8 * G}, short="0/4") for number in range(50)]
    found = summed(*hosts, machine("a", {"h_vmem": 2 * G}, short="3/16"), machine("b", {"h_vmem": G}, short="1/4"))
    assert found["short.q"].rooms == (Room(13, 2 * G, None), Room(4, 8 * G, None))


# The largest request


@pytest.mark.parametrize(
    ("said", "hosts", "expected"),
    [
        ("one host has to hold all", [("0/4", 8, 0), ("12/16", 64, 0)], Largest(4, Memory(64 * G), 0)),
        ("the host with most slots", [("0/4", 8, 0), ("8/16", 2, 0)], Largest(8, Memory(2 * G), 0)),
        ("of hosts alike that with most memory", [("0/4", 8, 0), ("0/4", 9, 0)], Largest(4, Memory(9 * G), 0)),
        ("clipped to the queue's limits", [("0/64", 500, 4)], Largest(16, Memory(64 * G), 0)),
        ("no slot", [("16/16", 8, 0)], None),
        ("no memory for any session", [("0/16", 0, 0)], None),
        ("closed", [("0/16d", 64, 0)], None),
    ],
)
def test_the_largest_request_of_a_queue(said: str, hosts: list[tuple[str, int, int]], expected: Largest) -> None:
    """It is what one host could start, within what the queue allows."""
    machines = [
        machine(f"n{number}", {"h_vmem": memory * G, "gpu": gpus}, short=slots)
        for number, (slots, memory, gpus) in enumerate(hosts)
    ]
    assert largest(site(), *machines)["short.q"] == expected, said


def test_gpus_come_first_where_a_queue_offers_them() -> None:
    """Who looks at a queue of GPUs wants one, even if another host has more cores."""
    hosts = (
        machine("n1", {"h_vmem": DEEP, "gpu": 0}, gpu="0/16"),
        machine("n2", {"h_vmem": 32 * G, "gpu": 4}, gpu="12/16"),
    )
    assert largest(site(), *hosts)["gpu.q"] == Largest(4, Memory(32 * G), 2)
    assert largest(site(), *hosts[:1])["gpu.q"] == Largest(8, Memory(DEEP), 0)
    assert largest(site(), machine("n1", {"h_vmem": DEEP}, gpu="0/16"))["gpu.q"] == Largest(8, Memory(DEEP), None)


@pytest.mark.parametrize(
    ("free", "slots", "expected"), [(2, 16, (2, 2)), (2, 1, (2, 1)), (1, 16, (1, 1)), (0, 16, (0, 8))]
)
def test_gpus_of_each_slot_are_divided(free: int, slots: int, expected: tuple[int, int]) -> None:
    """Each core gets the same number of them."""
    policy = site(gpu={"complex": "gpu", "counted": "slot"})
    host = machine("n1", {"h_vmem": DEEP, "gpu": free}, gpu=f"0/{slots}")
    found = largest(policy, host)["gpu.q"]
    assert found is not None
    assert (found.gpus, found.cores) == expected


def test_unknown_memory_stays_unknown() -> None:
    """The rest is said all the same; the form's limit is no amount that is free."""
    assert largest(site(), machine("n1", short="0/4"))["short.q"] == Largest(4, None, 0)


def test_a_cluster_without_parallel_environment_starts_one_core() -> None:
    """However many slots are free."""
    found = largest(site(parallel_environment=None), machine("n1", {"h_vmem": 8 * G}, short="0/16"))["short.q"]
    assert found == Largest(1, Memory(8 * G), 0)


def test_only_the_queues_of_a_person_are_told() -> None:
    """A policy that is narrowed names fewer queues, and lower limits."""
    policy = site()
    few = policy.model_copy(
        update={"queues": {"short.q": policy.queues["short.q"].model_copy(update={"cores": 2})}}
    )
    found = largest_now(few, summed(machine("n1", {"h_vmem": DEEP}, short="0/16", long="0/16"), policy=policy))
    assert found == {"short.q": Largest(2, Memory(DEEP), 0)}


@pytest.mark.parametrize("counted", ["slot", "job", "host"])
@pytest.mark.parametrize("headroom", ["1", "1.3"])
def test_the_largest_request_is_allowed_and_fits(counted: str, headroom: str) -> None:
    """Whatever is free: the policy has nothing against it, and the host has what the job would hold."""
    policy = site(memory={"complex": "h_vmem", "counted": counted, "headroom": headroom})
    offered = 0
    for slots, memory in itertools.product(
        (1, 2, 3, 7, 12, 13, 16, 40), (100 * M, G, 7 * G + 12345, 54 * G + 234 * M, 64 * G, 200 * G)
    ):
        host = machine("n1", {"h_vmem": memory, "gpu": 2}, gpu=f"0/{slots}", short=f"0/{slots}")
        for queue, one in largest(policy, host).items():
            if one is None:
                assert queue == "long.q" or memory < policy.smallest_memory.bytes * 2
                continue
            assert one.memory is not None
            request = policy.defaults.model_copy(
                update={"cores": one.cores, "memory": one.memory, "gpus": one.gpus, "queue": queue}
            )
            assert violations(request, policy) == ()
            assert one.cores <= slots
            assert policy.memory[0].total(one.memory, one.cores).bytes <= memory
            more = min(memory / float(headroom), policy.queues[queue].memory.bytes) - one.memory.bytes
            assert more <= 2 * M, "nothing worth having is kept back"
            offered += 1
    assert offered > 70


@pytest.mark.parametrize(
    ("wish", "answer"),
    [
        ({"cores": 4, "memory": "8G"}, True),
        ({"cores": 5, "memory": "8G"}, False),
        ({"cores": 2, "memory": "20G"}, False),
        ({"cores": 1, "memory": "16G", "queue": "long.q"}, True),
        ({"cores": 2, "memory": "12G", "queue": "long.q"}, False),
        ({"cores": 1, "gpus": 2}, True),
        ({"cores": 2, "gpus": 1}, False),
    ],
)
def test_a_request_could_start_where_one_host_holds_all_of_it(wish: dict, answer: bool) -> None:  # noqa: FBT001 - drawn
    """In one of the queues that it fits in; two hosts together start nothing."""
    capacity = summed(
        machine("n1", {"h_vmem": 10 * G}, short="12/16"),
        machine("n2", {"h_vmem": 16 * G}, long="15/16"),
        machine("n3", {"h_vmem": 8 * G, "gpu": 2}, gpu="7/8"),
    )
    policy = site()
    assert starts_now(policy, capacity, policy.parse(wish)) is answer


def test_what_is_not_known_is_no_no() -> None:
    """Where hosts do not say what memory they have, a request may start or not; with too few slots it will not."""
    policy, capacity = site(), summed(machine("n1", {}, short="12/16"))
    assert starts_now(policy, capacity, policy.parse({"cores": 4})) is None
    assert starts_now(policy, capacity, policy.parse({"cores": 5})) is False
