"""How the last session ended: read from what a spawner keeps, and said in the time of the reader."""

from __future__ import annotations

import contextvars
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sgehub.errors import Violation
from sgehub.hub import form
from sgehub.hub.ended import ANNOUNCED, Ended, with_report
from sgehub.model.job import Accounting
from sgehub.model.whyended import why_it_ended
from tests.unit.hub.html import Page
from tests.unit.model.site import site

POLICY = site()
ZONE = timezone(timedelta(hours=1), "CET")
WHY = "It reached its runtime of 1 hour."


def at(*when: int) -> float:
    return datetime(*when, tzinfo=ZONE).timestamp()


NOW = at(2026, 11, 20, 18, 30)


def read(ended: object) -> Ended | None:
    return Ended.read(ended, NOW, ZONE)


def last(when: float, job: int | None = 123, why: str = WHY) -> Ended:
    ended = read({"job": job, "at": when, "why": why})
    assert ended is not None
    return ended


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ((2026, 11, 20, 14, 2), "today at 14:02"),
        ((2026, 11, 20, 0, 0), "today at 00:00"),
        ((2026, 11, 19, 23, 59), "yesterday at 23:59"),
        ((2026, 11, 9, 9, 5), "on Monday, 9 November at 09:05"),
        ((2025, 12, 31, 9, 5), "on Wednesday, 31 December 2025 at 09:05"),
    ],
)
def test_the_time_is_said_as_people_do(when: tuple[int, ...], said: str) -> None:
    """Days count by the calendar of the reader's time zone, not by hours that have passed."""
    assert last(at(*when)).when == said


def test_the_day_is_that_of_the_zone() -> None:
    """Half an hour after midnight here is yesterday in UTC, and says "today" here."""
    ended = Ended.read({"job": 1, "at": at(2026, 11, 20, 0, 30), "why": WHY}, NOW, ZONE)
    assert ended is not None
    assert ended.when == "today at 00:30"
    assert ended.machine_time == "2026-11-20T00:30:00+01:00"
    assert ended.exactly == "2026-11-20 00:30:00 CET"


def test_without_a_zone_the_hubs_own_counts() -> None:
    """The instant is the same, whatever zone the machine is in."""
    ended = Ended.read({"job": 1, "at": NOW, "why": WHY}, NOW)
    assert ended is not None
    assert ended.at.timestamp() == NOW
    assert ended.when.startswith("today at ")


@pytest.mark.parametrize(
    "kept",
    [
        None,
        {},
        "yesterday",
        {"job": 1, "at": NOW},
        {"job": 1, "at": NOW, "why": ""},
        {"job": 1, "at": NOW, "why": None},
        {"job": 1, "at": None, "why": WHY},
        {"job": 1, "at": "14:02", "why": WHY},
        {"job": 1, "at": float("nan"), "why": WHY},
        {"job": 1, "at": float("inf"), "why": WHY},
        {"job": 1, "at": 1e300, "why": WHY},
        {"job": 1, "at": 1e14, "why": WHY},
    ],
)
def test_what_is_no_end_is_none(kept: Any) -> None:
    """State that another version, or a hand, has written never breaks a page."""
    assert read(kept) is None


# What is shown


def rendered(ended: Ended | None, *refused: Violation, typed: bool = False) -> Page:
    def work() -> str:
        if typed:
            form.remember("", {"cores": "2"}, refused)
        return form.render(POLICY, POLICY.defaults.as_options(), ended=ended)

    return Page(contextvars.copy_context().run(work))


def test_the_form_begins_with_how_the_last_session_ended() -> None:
    """Job, time and reason in one sentence, the time for machines as well."""
    page = rendered(last(at(2026, 11, 20, 14, 2)))
    said = page.id("last-session").text.replace(" :", ":")
    assert said == f"Your last session (job 123) ended today at 14:02: {WHY}"
    (time,) = (one for one in page.elements if one.tag == "time")
    assert time.attributes["datetime"] == "2026-11-20T14:02:00+01:00"


@pytest.mark.parametrize("refused", [(), (Violation("cores", "Too many."),)])
def test_an_answer_is_all_that_is_said(refused: tuple[Violation, ...]) -> None:
    """Who has sent the form, and gets it back, reads why, and neither old news nor the same twice."""
    page = rendered(last(NOW), *refused, typed=True)
    assert page.values()["cores"] == "2"
    assert list(page.with_(id="last-session")) == []


def test_a_session_without_a_number_is_not_given_one() -> None:
    """A start whose qsub never answered has ended, too."""
    assert "job" not in rendered(last(NOW, job=None)).id("last-session").text


def test_no_end_no_notice() -> None:
    """Who has had no session reads nothing of one."""
    assert list(rendered(None).with_(id="last-session")) == []


def test_a_reason_is_text() -> None:
    """Whatever stands in it, Grid Engine's own words among them, is shown and not obeyed."""
    page = rendered(last(NOW, why='<script>alert(1)</script> & "so" {{ 7 * 7 }}'))
    assert [one for one in page.elements if one.tag == "script" and "alert" in one.text] == []
    assert '<script>alert(1)</script> & "so" {{ 7 * 7 }}' in page.id("last-session").text


@pytest.mark.parametrize(
    ("failed", "status", "reported", "said"),
    [
        (0, 0, ANNOUNCED, "It was deleted."),
        (0, ANNOUNCED, None, "It was deleted."),
        (0, 0, 0, "It ended by itself."),
        (0, 0, None, "It ended by itself."),
        (37, 0, ANNOUNCED, "It passed a limit of its runtime or its memory."),
    ],
)
def test_a_server_that_obeys_an_announcement_has_not_ended_by_itself(
    failed: int, status: int, reported: int | None, said: str
):
    """Its exit status is 0, as after a Quit from JupyterLab, if a hub heard the session, which knows better."""
    record = Accounting(
        number=1,
        owner="alice",
        name="sgehub-1",
        queue=None,
        host=None,
        submitted=None,
        started=None,
        ended=None,
        failed=failed,
        failed_text="",
        exit_status=status,
        maxvmem_bytes=None,
        wallclock=None,
    )
    assert why_it_ended(with_report(record, reported)) == said
