"""The benchmark of the form judges what was measured: each limit can be missed, figures say what they are of."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture
def figures(monkeypatch):
    """Import the module: the benchmark is a folder of programs, no package."""
    monkeypatch.syspath_prepend(BENCH)
    return importlib.import_module("form_figures")


@pytest.fixture
def opened(figures):
    """Make what a hub's form costs, with some of it given."""
    late = importlib.import_module("load_figures").Lag(0.01, 0.02, 0.03, "form.py:1 render")

    def make(cpu=(0.01,), rushes=((0.1, 0.2),), form=30_000, own=9_000, loads=()):
        return figures.Opened(cpu, rushes, figures.Page(form, own, dict(loads)), late)

    return make


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(1, 0.95, 1), (20, 0.95, 19), (200, 0.95, 190), (10, 0.5, 5), (3, 1.0, 3)]
)
def test_a_share_of_values_is_counted_from_below(figures, count, share, expected):
    """Of 200 opens, the 190th smallest is what 95 of 100 do not exceed; their order does not matter."""
    assert figures.part(list(range(count, 0, -1)), share) == expected


def test_what_a_hub_takes_anyway_is_no_cost_of_a_form(figures):
    """A hub that takes a tenth of a processor by itself takes that of each open, too; no cost is below none."""
    assert figures.above_idle(0.050, 0.1, 0.1) == pytest.approx(0.040)
    assert figures.above_idle(0.001, 0.1, 0.1) == 0.0


def test_what_a_page_loads_by_itself_is_found(figures):
    """Scripts, style sheets and images count; a link that somebody may click on does not."""
    page = b"""<link rel="stylesheet" href="/a.css"><script src='/b.js' defer></script><script>1</script>
    <img alt="x" src="/c.png"><a href="/d">d</a><input src="/e">"""
    assert figures.sources(page) == {"/a.css", "/b.js", "/c.png"}


def test_weight_is_the_forms_own(figures):
    """What JupyterHub's own page has is not the form's, what the form loads besides is."""
    assert figures.Page(30_000, 9_000, {"/a.css": 500, "/b.js": 250}).beyond == 21_750


def test_a_form_within_all_limits_is_met(figures, opened):
    """No limit is missed at its very figure."""
    cpu = [0.05] * 95 + [9.0] * 5
    found = figures.judge_form(opened(cpu=cpu, rushes=((5.0, 0.1),)))
    assert [one.kept for one in found] == [True, True, True, None]


@pytest.mark.parametrize(
    ("given", "missed"),
    [
        ({"cpu": [0.01] * 94 + [0.051] * 6}, 0),
        ({"rushes": ((0.1, 0.2), (0.1, 5.1), (0.1, 0.3))}, 1),
        ({"form": 160_000, "own": 9_000}, 2),
        ({"loads": {"/all.js": 140_000}}, 2),
    ],
)
def test_each_limit_of_the_form_can_be_missed(figures, opened, given, missed):
    """One bad open in twenty, one bad rush, one large file: that limit is missed, and no other."""
    found = figures.judge_form(opened(**given))
    assert [number for number, one in enumerate(found) if one.kept is False] == [missed]


def test_the_table_shows_the_worst_rush(figures, opened):
    """Every hub has a line with its own figures, of the rush in which somebody waited longest."""
    hubs = {"ours": opened(cpu=[0.012] * 10, rushes=((0.1, 0.2), (0.5, 3.25))), "plain": opened(own=29_000)}
    title, ours, plain, _ = figures.table(hubs).splitlines()
    assert title.startswith("form")
    assert ours.split() == ["ours", "12.0", "12.0", "1.88", "3.25", "21.0", "30"]
    assert plain.split()[-2:] == ["1.0", "30"]


def test_one_question_serves_all_who_look(figures):
    """What is free is asked once for everybody; a second question is too many."""
    for questions, kept in ((0, True), (1, True), (2, False)):
        found = figures.judge_watched(figures.Watched("known before", [0.5, 0.7], 2, questions))
        assert found.kept is kept
        assert "2 of 2 people" in found.text


def test_the_pause_of_the_page_counts_as_waiting(figures):
    """A verdict is shown after the page's own pause and the hub's answer: both must fit into the limit."""
    for seconds, kept in ((0.7, True), (0.71, False)):
        found = figures.judge_verdict(figures.Judged("a session", [0.1, seconds], [0.01]))
        assert found.kept is kept


def test_the_pause_is_that_of_the_page(figures):
    """What is added is the pause that the page has."""
    page = (BENCH.parent / "templates" / "hub" / "verdict.html").read_text()
    assert re.findall(r"PAUSE = (\d+);", page) == [str(round(1000 * figures.PAUSE))]


def test_a_form_that_waits_for_grid_engine_is_seen(figures):
    """While Grid Engine is silent the form comes all the same; one that waits misses its limit."""
    assert [figures.judge_silent(seconds).kept for seconds in (0.2, 3.0)] == [True, False]
