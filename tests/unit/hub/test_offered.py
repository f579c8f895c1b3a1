"""What the form says of a policy: what is offered, in words, and nothing of what is closed to a person."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sgehub.hub import offered
from sgehub.hub.offered import Choice
from sgehub.model.narrowing import holding, narrowed
from sgehub.model.request import FIELDS
from tests.unit.model.site import BASE, site

FULL: dict[str, Any] = {
    "gpu": {
        "complex": "gpu",
        "counted": "slot",
        "types": {"a100": {"label": "NVIDIA A100", "adds": {"type": "a100"}}, "k80": {"adds": {"type": "k80"}}},
    },
    "projects": {
        "stars": {"label": "Stars"},
        "genes": {"most": {"cores": 2, "memory": "8G"}, "queues": ["short.q"]},
    },
    "environments": {"python": {"label": "Python"}, "ml": {}},
    "fields": {"a.b": {"label": "Licence", "type": "choice", "choices": {"m": {"label": "MATLAB"}}}},
    "presets": {
        "small": {"request": {"cores": 2, "memory": "8G", "runtime": "08:00:00"}},
        "gpu": {
            "request": {"gpus": 1, "gpu_type": "a100", "queue": "gpu.q", "environment": "ml", "project": "stars"}
        },
        "own": {"request": {"extra": {"a.b": "m"}, "queue": ""}},
    },
}
FRESH = site().defaults.as_options()


@pytest.mark.parametrize(
    ("nothing", "value", "shown"),
    [
        ("Any", "", {"": "Any", "x": "X", "y": "Y"}),
        ("Any", "y", {"": "Any", "x": "X", "y": "Y"}),
        ("Any", "gone", {"": "Any", "x": "X", "y": "Y", "gone": "gone"}),
        (None, "", {"": "Please choose", "x": "X", "y": "Y"}),
        ("X", "", {"": "X", "y": "Y"}),
        ("X", "x", {"x": "X", "y": "Y"}),
        ("X", "y", {"": "X", "y": "Y"}),
        ("X", "gone", {"": "X", "y": "Y", "gone": "gone"}),
    ],
)
def test_a_list_holds_what_is_offered_once_and_what_was_chosen(
    nothing: str | None, value: str, shown: dict[str, str]
) -> None:
    """Where nothing chosen means the first, it stands there once, by the name that the field holds."""
    assert Choice(nothing, {"x": "X", "y": "Y"}).shown(value) == shown


def test_no_interface_means_the_first_unless_an_environment_has_a_page() -> None:
    """Then the list says so, and offers the first one by its name, too: what is read is what opens."""
    interfaces = {"lab": {"label": "JupyterLab", "url": "/lab"}, "tree": {"url": "/tree"}}
    plain = offered.choices(site(interfaces=interfaces, environments={"py": {}}))["interface"]
    assert plain.shown("") == {"": "JupyterLab", "tree": "tree"}
    environments = {"py": {}, "r": {"default_url": "/rstudio"}}
    policy = site(
        interfaces=interfaces, environments=environments, rules=[{"people": ["bob"], "environments": ["py"]}]
    )
    own = offered.choices(policy)["interface"]
    assert own.shown("") == {"": "As usual for the environment", "lab": "JupyterLab", "tree": "tree"}
    assert offered.choices(narrowed(policy, (0,)))["interface"] == plain
    assert offered.choices(site(environments=environments))["interface"].offered == {}


def test_every_field_of_a_request_has_a_label_and_an_element() -> None:
    """A new field of requests cannot be forgotten."""
    assert set(offered.LABELS) == set(FIELDS)
    assert set(offered.ids(site())) == set(FIELDS)


def test_presets_are_said_in_one_line() -> None:
    """Cores, memory, GPUs and runtime of the whole request, and by their labels the names that it sets."""
    assert {card.name: card.asks for card in offered.cards(site(**FULL), FRESH)} == {
        "small": "2 cores, 8G, 8 hours",
        "gpu": "1 core, 2G, 1 GPU (NVIDIA A100), 1 hour, Stars, gpu.q, ml",
        "own": "1 core, 2G, 1 hour",
    }
    wide = offered.cards(site(**FULL), {**FRESH, "memory": "3G"})
    assert wide[1].asks.startswith("1 core, 3G")


def test_presets_fill_the_fields_that_they_name() -> None:
    """As the form writes them, fields of the site's own included, and an empty one too."""
    filled = offered.presets(site(**FULL))
    assert filled["small"] == {"cores": "2", "memory": "8G", "runtime": "08:00:00"}
    assert filled["own"] == {"extra.a.b": "m", "queue": ""}


def test_a_preset_decides_what_its_card_speaks_of() -> None:
    """Also what it does not name, which is the default then; a project or an address it leaves alone."""
    policy = site(**FULL)
    spoken = {"cores", "memory", "gpus", "gpu_type", "runtime", "queue"}
    assert offered.decided(policy, "small") == spoken
    assert offered.decided(policy, "own") == {*spoken, "extra.a.b"}
    assert offered.decided(policy, "") == offered.decided(policy, "none") == set()
    assert set(offered.facts(policy, FRESH)["card"]) == spoken


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("memory", "4G", "4G"),
        ("folder", "", "empty"),
        ("queue", "gpu.q", "gpu.q"),
        ("queue", "", "Any that fits"),
        ("pe", "", "Any that fits"),
        ("project", "stars", "Stars"),
        ("environment", "", "Python"),
        ("environment", "gone", "gone"),
        ("extra.a.b", "m", "MATLAB"),
        ("extra.gone", "", "empty"),
    ],
)
def test_values_are_said_in_words(field: str, value: str, words: str) -> None:
    """By their labels, and with words for nothing."""
    assert offered.said(field, value, offered.choices(site(**FULL))) == words


def test_the_script_reckons_with_bytes_and_seconds() -> None:
    """With what the site allows, and no number where there is no limit."""
    facts = json.loads(json.dumps(offered.facts(site(**FULL), FRESH)))
    assert facts["queues"]["gpu.q"] == {
        "cores": 8,
        "memory": 64 * 1024**3,
        "gpus": 2,
        "runtime": 8 * 3600,
        "gpu_types": None,
        "projects": None,
    }
    assert facts["projects"] == {
        "stars": {"queues": None},
        "genes": {"queues": ["short.q"], "cores": 2, "memory": 8 * 1024**3},
    }
    assert (facts["divided"], facts["gpus_per_slot"]) == (True, True)
    assert (facts["pes"], facts["slots"]) == (["smp"], {})
    assert facts["fresh"] == {"cores": "1", "memory": "2G", "gpus": "0", "runtime": "01:00:00"}
    alone = offered.facts(site(parallel_environment=None, gpu=None), FRESH)["queues"]
    assert {(one["cores"], one["gpus"]) for one in alone.values()} == {(1, 0)}


def test_a_page_holds_nothing_that_is_closed_to_its_person() -> None:
    """Neither queues nor projects nor presets nor environments of others, and no limit above one's own."""
    rule = {
        "groups": ["pupils"],
        "queues": ["short.q"],
        "projects": ["genes"],
        "environments": ["python"],
        "presets": ["own"],
        "most": {"cores": 3},
    }
    policy = site(**FULL, rules=[rule])
    mine = narrowed(policy, holding(policy, "alice", {"pupils"}))
    text = json.dumps(offered.facts(mine, mine.defaults.as_options()))
    assert not [word for word in ("long.q", "gpu.q", "stars", "ml", "a100") if f'"{word}"' in text]
    facts = json.loads(text)
    assert (list(facts["queues"]), list(facts["presets"])) == (["short.q"], ["own"])
    assert facts["queues"]["short.q"]["cores"] == 3
    assert BASE["queues"]["short.q"]["cores"] == 16
