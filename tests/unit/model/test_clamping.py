"""A request of another day comes back as near as it may be now, and says what had to change."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.model.clamping import clamped
from sgehub.model.judging import violations, wrong_defaults
from sgehub.model.narrowing import holding, narrowed
from sgehub.model.request import FIELDS
from tests.unit.model.site import BASE, site
from tests.unit.model.test_choices import FULL, SITE

SLOTWISE = site(gpu={"complex": "gpu", "counted": "slot"})
NARROW = site(
    **FULL,
    rules=[{"groups": ["class"], "most": {"cores": 1, "memory": "1G"}, "locked": {"runtime": "00:30:00"}}],
    project_required=True,
)


def test_what_still_fits_comes_back_unchanged():
    """Nothing is said then, also where the same amount is written in another way."""
    request = SITE.parse({"cores": 3, "memory": "6G", "gpus": 1, "environment": "ml", "extra.quick": "yes"})
    assert clamped(request.as_options(), SITE) == (request, ())
    assert clamped({**request.as_options(), "memory": str(6 * 1024**3)}, SITE) == (request, ())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cores": 64}, {"cores": ("64", "16")}),
        ({"cores": 64, "memory": "900G", "queue": "gpu.q"}, {"cores": ("64", "8"), "memory": ("900G", "64G")}),
        ({"memory": "1M"}, {"memory": ("1M", "256M")}),
        ({"runtime": "900:00:00"}, {"runtime": ("900:00:00", "48:00:00")}),
        ({"queue": "closed.q"}, {"queue": ("closed.q", "")}),
        ({"gpus": 7}, {"gpus": ("7", "2")}),
        ({"environment": "gone", "project": "over"}, {"environment": ("gone", ""), "project": ("over", "")}),
        ({"extra.gone": "x"}, {"extra.gone": ("x", "")}),
        ({"extra.tmp": "500"}, {"extra.tmp": ("500", "")}),
        ({"cores": "many"}, {"cores": ("many", "1")}),
        ({"project": "genes", "cores": 4}, {"cores": ("4", "2")}),
        ({"folder": "/etc"}, {"folder": ("/etc", "")}),
    ],
)
def test_each_field_that_had_to_change_is_named(options: dict[str, Any], expected: dict):
    """With what was wished and what stands there now."""
    request, changes = clamped(options, SITE)
    assert {one.field: (one.wished, one.now) for one in changes} == expected
    assert not violations(request, SITE)


def test_a_wish_for_nothing_is_no_word():
    """A field that was empty and is locked now was empty, not "None"."""
    policy = site(
        interfaces={"lab": {"url": "/lab"}},
        locked={"interface": "lab"},
        defaults={**BASE["defaults"], "interface": "lab"},
    )
    _, changes = clamped({"interface": None}, policy)
    assert [(one.wished, one.now) for one in changes] == [("", "lab")]


def test_gpus_stay_divisible_where_each_core_gets_as_many():
    """As many as there can be with the cores."""
    request, _ = clamped({"cores": 2, "gpus": 1, "queue": "gpu.q"}, SLOTWISE)
    assert (request.cores, request.gpus) == (2, 0)


def test_together_wishes_that_no_queue_offers_become_the_defaults():
    """Two days with a GPU are in no queue."""
    request, changes = clamped({"gpus": 1, "runtime": "48:00:00"}, SITE)
    assert not violations(request, SITE)
    assert {one.field for one in changes} == {"gpus", "runtime"}


ANYTHING = st.one_of(
    st.integers(-5, 10**6),
    st.text(max_size=8),
    st.none(),
    st.booleans(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(
        ["gpu.q", "long.q", "stars", "genes", "ml", "tree", "4G", "90G", "3:0:0", "~/x", "a@lab.test"]
    ),
)


@given(
    st.dictionaries(st.sampled_from([*FIELDS, "extra.quick", "extra.tmp", "extra", "nodes"]), ANYTHING),
    st.booleans(),
)
def test_whatever_was_stored_something_allowed_comes_out(options: dict[str, Any], pupil: bool):  # noqa: FBT001 - drawn
    """Never an error; and doing it again changes nothing more."""
    policy = narrowed(NARROW, holding(NARROW, "x", ["class"] if pupil else []))
    request, _ = clamped(options, policy)
    assert not wrong_defaults(request, policy)
    assert clamped(request.as_options(), policy) == (request, ())


def test_the_sites_defaults_are_what_an_empty_wish_becomes():
    """No wish, no change."""
    assert clamped({}, SITE) == (SITE.defaults, ())
    assert SITE.defaults.as_options()["memory"] == BASE["defaults"]["memory"]


def test_memory_is_the_most_that_the_cores_can_share():
    """Each share is rounded up to whole K, so that 64G do not divide by three."""
    request, _ = clamped({"cores": 3, "memory": "900G"}, SITE)
    assert 64 * 1024**3 - request.memory.bytes < 3 * 1024 * 2
    assert not violations(request, SITE)


def test_a_field_of_the_sites_that_is_gone_takes_nothing_else_along():
    """The rest of the last request stays."""
    request, changes = clamped({"cores": 4, "memory": "8G", "extra.gone": "x"}, SITE)
    assert (request.cores, str(request.memory)) == (4, "8G")
    assert [one.field for one in changes] == ["extra.gone"]
