"""The page of a session that waits for hours: reloaded, in two tabs, across a restart of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .hub_process import HubProcess
    from .pages import Browser
    from .paper_cluster import PaperCluster

NAME = "bin"
PENDING = f"hub/spawn-pending/{NAME}"
PLACE = "Job 7 waits in the queue. Jobs ahead of it: {}."
SILENT = "Grid Engine has not answered since 14:02; job 7 keeps its place."


@pytest.fixture
def tell(hub: HubProcess, cluster: PaperCluster) -> Iterator[Callable[..., None]]:
    """Write down what the page says of the person's server, which is stopped after the test."""

    def told(**said: object) -> None:
        cluster.say("told", json.dumps({f"{NAME}/": said}))

    yield told
    told()
    hub.api("DELETE", f"users/{NAME}/server")


def start(page: Browser) -> None:
    page.open("hub/spawn")
    page.start()
    page.until(lambda: PENDING in page.driver.current_url)


def test_the_page_begins_with_the_present_sentence(
    browser: Callable[..., Browser], tell: Callable[..., None]
) -> None:
    """Who comes back after hours, or has no JavaScript, reads at once where the job stands."""
    page = browser(NAME, javascript=False)
    start(page)
    for sentence in (PLACE.format(12), SILENT):
        tell(says=sentence)
        page.driver.refresh()
        assert page.text("#progress-message") == sentence


def test_a_long_wait_stays_readable(browser: Callable[..., Browser], tell: Callable[..., None]) -> None:
    """Of many changes the last fifty stay; JupyterHub's own words at each connection are none of them."""
    tell(says=PLACE.format(80), progress=[PLACE.format(80 - i) for i in range(80)])
    page = browser(NAME)
    start(page)
    page.until(lambda: PLACE.format(1) in page.text("#progress-log"))
    lines = page.all("#progress-log li")
    assert len(lines) == 50
    assert "Server requested" not in page.text()


def test_two_tabs_say_the_same_and_end_together(
    browser: Callable[..., Browser], cluster: PaperCluster, tell: Callable[..., None]
) -> None:
    """Both follow the job; what is cancelled in one does not wait on in the other."""
    tell()
    one, two = browser(NAME), browser(NAME)
    start(one)
    two.open(PENDING)
    for page in (one, two):
        page.until(lambda page=page: "waits in the queue" in page.text("#progress-message"))
    (number,) = cluster.jobs()
    cluster.put(number, state="hqw")
    for page in (one, two):
        page.until(lambda page=page: f"Job {number} is held" in page.text("#progress-message"))
        page.driver.refresh()
        page.until(lambda page=page: f"Job {number} is held" in page.text("#progress-message"))
    one.until(lambda: one.one("#cancel").is_displayed())
    one.one("#cancel").click()
    one.until(lambda: f"/hub/spawn/{NAME}" in one.driver.current_url, seconds=20)
    two.until(lambda: not two.all("#cancel") or not two.one("#cancel").is_displayed(), seconds=20)
    assert cluster.jobs() == {}


def test_a_hub_that_has_just_started_is_waited_for(
    browser: Callable[..., Browser], tell: Callable[..., None]
) -> None:
    """While it looks after its servers there is nothing to cancel; then the page goes on by itself."""
    page = browser(NAME)
    tell()
    start(page)
    tell(says=SILENT, pending="check")
    page.open(PENDING)
    assert page.text("h1") == "Looking for your session"
    assert page.text("#progress-message") == SILENT
    assert not page.one("#cancel").is_displayed()
    tell(says=SILENT)
    page.until(lambda: page.text("h1") == "Starting your session")
    page.until(lambda: page.one("#cancel").is_displayed())
    assert page.complaints() == []
