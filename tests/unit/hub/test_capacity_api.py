"""What a page reads of numbers: words that say what is known, and memory that can be typed."""

from __future__ import annotations

import pytest

from sgehub.hub.capacity_api import held, presets, resources
from sgehub.hub.offered import cards
from sgehub.model.capacity import QueueCapacity, Room
from sgehub.model.request import ResourceRequest, parse_request
from tests.unit.hub.gate_rig import spawner_of
from tests.unit.model.site import site

G = 1024**3


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ((1, None, None), "1 core"),
        ((2, 4 * G, None), "2 cores and 4G of memory"),
        ((2, None, 0), "2 cores and 0 GPUs"),
        ((2, 4 * G, 1), "2 cores, 4G of memory and 1 GPU"),
    ],
)
def test_resources_are_said_as_people_do(amounts: tuple[int, int | None, int | None], words: str) -> None:
    """What is not known is left out."""
    assert resources(*amounts) == words


def asked(cores: int = 2, gpus: int = 0) -> ResourceRequest:
    return parse_request({"cores": cores, "memory": "4G", "gpus": gpus, "runtime": "1:0:0"}, {})


@pytest.mark.parametrize(
    ("sessions", "words"),
    [
        ([], "none."),
        ([(asked(), False)], "1: 2 cores and 4G of memory."),
        ([(asked(), True)], "1, waiting: 2 cores and 4G of memory."),
        ([(asked(), True), (asked(gpus=1), False)], "2, of them 1 waiting: 4 cores, 8G of memory and 1 GPU."),
        ([(asked(), False), (None, False)], "2."),
    ],
)
def test_sessions_are_added_up(sessions: list[tuple[ResourceRequest | None, bool]], words: str) -> None:
    """One of which nothing is known leaves the sum unknown, and is counted."""
    found = held(iter(sessions))
    assert found["text"] == words
    assert found["count"] == len(sessions)
    assert (found["cores"] is None) is any(request is None for request, _ in sessions)


@pytest.mark.parametrize(
    ("sessions", "words"),
    [
        ([], "none of 3 allowed."),
        ([(asked(), False)], "1 of 3 allowed: 2 cores and 4G of memory."),
        ([(asked(), True)], "1 of 3 allowed, waiting: 2 cores and 4G of memory."),
        ([(asked(), True), (None, False)], "2 of 3 allowed, of them 1 waiting."),
    ],
)
def test_sessions_stand_beside_how_many_are_allowed(
    sessions: list[tuple[ResourceRequest | None, bool]], words: str
) -> None:
    """Where the site allows a certain number at once."""
    assert held(iter(sessions), 3)["text"] == words


def test_each_preset_says_whether_it_could_start() -> None:
    """In words for its card; what is not known is not said."""
    wishes = {"small": {"cores": 2}, "large": {"cores": 9}, "gpu": {"gpus": 1}}
    policy = site(presets={name: {"request": wish} for name, wish in wishes.items()})
    room = {
        "short.q": QueueCapacity(rooms=(Room(4, 8 * G, None),)),
        "gpu.q": QueueCapacity(rooms=(Room(4, 8 * G, None),)),
    }
    assert presets(policy, room, policy.defaults.as_options()) == {
        "small": "Could start now.",
        "large": "Would wait now.",
        "gpu": "",
    }


def test_what_a_field_of_the_sites_own_adds_is_not_promised() -> None:
    """Nobody has asked for free licences."""
    fields = {"licence": {"label": "Licence", "type": "switch", "adds": {"matlab": "1"}}}
    wishes = {"with": {"request": {"extra.licence": "yes"}}, "without": {"request": {"extra.licence": ""}}}
    policy = site(fields=fields, presets=wishes)
    room = {"short.q": QueueCapacity(rooms=(Room(4, 8 * G, None),))}
    found = presets(policy, room, policy.defaults.as_options())
    assert found == {"with": "", "without": "Could start now."}


def test_a_lock_counts_for_presets_too() -> None:
    """As when they are started."""
    policy = site(presets={"large": {"request": {"cores": 9}}})
    policy = policy.model_copy(update={"locked": {"cores": 2}})
    room = {"short.q": QueueCapacity(rooms=(Room(4, 8 * G, None),))}
    assert presets(policy, room, policy.defaults.as_options()) == {"large": "Could start now."}


def test_a_preset_is_judged_for_what_its_card_says() -> None:
    """With the spawner's own defaults (`req_*`) below it, and not with the site's."""
    spawner = spawner_of()
    spawner.req_memory = "16G"
    policy = site(presets={"two": {"request": {"cores": 2}}, "light": {"request": {"memory": "2G"}}})
    assert [card.asks for card in cards(policy, spawner.fresh())] == ["2 cores, 16G, 1 hour", "1 core, 2G, 1 hour"]
    room = {"short.q": QueueCapacity(rooms=(Room(4, 8 * G, None),))}
    assert presets(policy, room, spawner.fresh()) == {"two": "Would wait now.", "light": "Could start now."}
