"""What is free, beside the form: who is told what, and how it looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
import requests

from .free import ADDRESS, SAID, cluster_with_something_free, meters
from .hub_process import HubProcess, Person
from .pages import Browser
from .paper_cluster import PaperCluster
from .test_form_page import CONTRAST, STILL


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> PaperCluster:
    """Make a cluster of this module's own."""
    return cluster_with_something_free(tmp_path_factory.mktemp("capacity") / "cluster")


@pytest.fixture(scope="module")
def hub(papers: PaperCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Run a hub for it."""
    with HubProcess.running(tmp_path_factory.mktemp("hub"), papers.site) as process:
        yield process


def test_a_person_sees_their_own_queues(person: Callable[[str], Person]) -> None:
    """What a rule takes away is not shown, the largest request keeps to it, and so does the number of sessions."""
    answer = person("mail").get(ADDRESS).json()
    assert answer["sessions"]["text"] == "none of 2 allowed."
    (queue,) = answer["queues"]
    assert queue["name"] == "short.q"
    assert queue["largest"] == {"cores": 2, "memory": "4G", "gpus": 0, "text": "2 cores and 4G of memory"}


def test_only_who_may_open_a_form_sees_whats_beside_it(hub: HubProcess, person: Callable[[str], Person]) -> None:
    """Administrators see other people's; for the rest, those are not there; a stranger learns nothing."""
    mail, games, root = person("mail"), person("games"), person("root")
    assert [one["name"] for one in root.get(f"{ADDRESS}?user=mail").json()["queues"]] == ["short.q"]
    assert len(root.get(ADDRESS).json()["queues"]) == 3
    assert mail.get(f"{ADDRESS}?user=mail").json()["user"] == "mail"
    for name in ("mail", "root", "nobodyknows", "games!server=x", "*", ""):
        answer = games.get(ADDRESS, params={"user": name})
        assert (answer.status_code, "queues" in answer.text) == (404, False), name
    assert requests.get(hub.url + ADDRESS, timeout=20).status_code == 403
    assert requests.post(hub.url + ADDRESS, timeout=20).status_code in (403, 405)


def test_another_sites_page_reads_nothing(person: Callable[[str], Person]) -> None:
    """A script's question needs the token that only our pages have."""
    games = person("games")
    games.get("hub/home")
    for headers in ({"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Mode": "no-cors"}):
        answer = games.fetch(ADDRESS, headers)
        assert (answer.status_code, "queues" in answer.text) == (403, False)


def test_each_card_says_whether_it_could_start(browser: Callable[..., Browser]) -> None:
    """By what one host has free now, once that is known."""
    page = browser("games")
    page.open("hub/spawn")
    page.until(lambda: page.text("[data-preset-now='fits']"))
    assert page.text("[data-preset-now='fits']") == "Could start now."
    assert page.text("[data-preset-now='waits']") == "Would wait now."
    assert page.text("[data-preset-now='']") == ""


@pytest.mark.parametrize("width", [390, 1280])
def test_the_bars_show_the_numbers(browser: Callable[..., Browser], width: int) -> None:
    """Beside the form on a desk, below it on a phone; as words and as bars; with their age."""
    page = browser("games", width=width)
    page.open("hub/spawn")
    page.until(lambda: page.all("#capacity section"))
    assert meters(page) == SAID
    assert "Fits on one host now: 6 cores, 30G of memory and 1 GPU." in page.text("[data-queue='gpu.q']")
    assert "2 of 3 hosts in service" in page.text("[data-queue='short.q']")
    assert "Your sessions: none." in page.text("#capacity")
    age = page.text("#capacity-age")
    assert re.fullmatch(r"seen \d+ s ago", age)
    page.until(lambda: page.text("#capacity-age") != age)
    aside, cores, start = (page.one(one).rect for one in ("#capacity", "#request-cores", "#start-session"))
    if width == 390:
        assert aside["y"] > start["y"] + start["height"]
    else:
        assert aside["x"] > cores["x"] + cores["width"]
        assert aside["y"] < cores["y"] < start["y"] < 1000
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.complaints() == []


def test_another_persons_form_shows_what_is_free_for_them(
    browser: Callable[..., Browser], person: Callable[[str], Person]
) -> None:
    """It is said whose sessions are meant."""
    person("mail")
    page = browser("root")
    page.open("hub/spawn/mail")
    page.until(lambda: page.all("#capacity section"))
    assert list(meters(page)) == ["short.q"]
    assert "Sessions of mail: none of 2 allowed." in page.text("#capacity")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_free_can_be_read(browser: Callable[..., Browser], theme: str) -> None:
    """Contrast is at least 4.5 in both themes."""
    page = browser("games")
    page.driver.execute_script("localStorage.setItem('jupyterhub-bs-theme', arguments[0])", theme)
    page.open("hub/spawn")
    page.until(lambda: page.all("#capacity section"))
    page.driver.execute_script(STILL)
    ratio, element = page.driver.execute_script(CONTRAST, "#capacity :is(h2, h3, span, p)")
    assert ratio >= 4.5, element


def test_without_javascript_nothing_empty_is_shown(browser: Callable[..., Browser]) -> None:
    """No heading without numbers."""
    page = browser("games", javascript=False)
    page.open("hub/spawn")
    assert not page.one("#capacity").is_displayed()
    assert page.one("#start-session").is_displayed()
