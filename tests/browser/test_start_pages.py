"""What a person sees while a session starts, when it does not, and after cancelling it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .hub_process import Person
    from .pages import Browser
    from .paper_cluster import PaperCluster

ASKED = {"cores": "2", "gpus": "1", "memory": "4G", "runtime": "00:30:00", "queue": "gpu.q"}
LOG = "Traceback (most recent call last):\n  No module named 'jupyterhub'\n<script>alert(1)</script>\n"


def ask(page: Browser, path: str) -> None:
    page.open(path)
    page.fill(**ASKED)
    page.start()


def started(page: Browser, cluster: PaperCluster, path: str) -> int:
    """Press Start; return the job's number once the page names it."""
    before = set(cluster.jobs())
    ask(page, path)
    page.until(lambda: "waits in the queue" in page.text("#progress-log"))
    (number,) = set(cluster.jobs()) - before
    return number


@pytest.mark.parametrize("path", ["hub/spawn", "hub/spawn/mail/second"])
def test_the_waiting_page_says_what_happens(
    browser: Callable[..., Browser], cluster: PaperCluster, path: str
) -> None:
    """Each change of the job is told once, with the time; a failure with the log's lines and a way back."""
    page = browser("mail", width=390)
    number = started(page, cluster, path)
    assert page.one("#cancel").is_displayed()
    assert not page.one("#failure").is_displayed()
    assert page.text("#elapsed").startswith("0:")
    cluster.put(number, state="r")
    page.until(lambda: page.text("#progress-message") == f"Job {number} runs on node01. The server is starting.")
    assert page.text("#progress-log").count("waits in the queue") == 1
    assert int(str(page.one("#progress-bar").get_attribute("aria-valuenow"))) > 20
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    cluster.say("log", LOG)
    cluster.end(number)
    page.until(lambda: page.one("#failure").is_displayed())
    assert f"Job {number} ended before its server was ready." in page.text("#failure")
    assert page.text("#failure pre") == LOG.strip()
    assert page.text("h1") == "The session did not start"
    assert not page.one("#cancel").is_displayed()
    assert page.complaints() == []
    page.one("#change").click()
    page.until(
        lambda: page.driver.current_url.rstrip("/").endswith(path if "second" in path else "hub/spawn/mail")
    )
    assert page.values() | ASKED == page.values()


def test_a_failed_start_is_explained_later_too(person: Callable[[str], Person], cluster: PaperCluster) -> None:
    """Who comes back to the page reads the same: reason, log with its markup escaped, and a way back."""
    backup = person("backup")
    cluster.say("log", LOG)
    before = set(cluster.jobs())
    assert backup.post("hub/spawn", ASKED).status_code == 200
    (number,) = set(cluster.jobs()) - before
    cluster.end(number)
    for _ in range(100):
        answer = backup.get("hub/spawn-pending/backup")
        if answer.status_code != 200:
            break
        time.sleep(0.2)
    assert answer.status_code == 500
    assert "The session did not start" in answer.text
    assert f"Job {number} ended before its server was ready." in answer.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text
    assert "<script>alert" not in answer.text
    assert 'href="/hub/spawn/backup"' in answer.text
    assert "Change the request" in answer.text


def test_a_refusal_of_grid_engine_reaches_the_person(
    browser: Callable[..., Browser], cluster: PaperCluster
) -> None:
    """The sentence of qsub stands on the form, or where qsub is slow on the page that waits; all values stand."""
    sentence = "The project <b>none</b> does not exist."
    cluster.say("refusal", "Unable to run job: job rejected: the project <b>none</b> does not exist.\nExiting.\n")
    page = browser("list")
    ask(page, "hub/spawn")
    page.until(lambda: sentence in page.text(".alert-danger"), seconds=10)
    assert page.text().count(sentence) == 1
    if not page.all("#spawn_form"):
        page.one("#change").click()
        page.until(lambda: page.all("#spawn_form"))
    assert page.values() | ASKED == page.values()
    assert page.reasons() == {}


@pytest.mark.parametrize("name", ["", "second"])
def test_cancel_stops_the_server_of_its_page(
    browser: Callable[..., Browser], cluster: PaperCluster, name: str
) -> None:
    """Of two servers that start, the page's own ends and the other goes on; the form comes back filled."""
    user = "proxy" if name else "irc"
    page = browser(user)
    paths = {"": "hub/spawn", "second": f"hub/spawn/{user}/second"}
    other = started(page, cluster, paths["second" if not name else ""])
    mine = started(page, cluster, paths[name])
    page.one("#cancel").click()
    page.until(lambda: "/hub/spawn/" in page.driver.current_url, seconds=20)
    assert page.driver.current_url == f"{page.url}hub/spawn/{user}{'/' + name if name else ''}"
    assert mine not in cluster.jobs()
    assert other in cluster.jobs()


def test_a_session_that_is_not_there_can_be_asked_for(browser: Callable[..., Browser]) -> None:
    """An old address leads to a page that says so and offers the form."""
    page = browser("games")
    page.open("user/games/lab")
    assert page.text("h1") == "No session is running"
    page.one("#start").click()
    page.until(lambda: page.all("#spawn_form"))
    assert page.values()["cores"] == "1"
