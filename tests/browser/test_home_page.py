"""The home page and the notice on the form: where each server stands, and how its last session ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from .test_form_page import CONTRAST, STILL

if TYPE_CHECKING:
    from .hub_process import Person
    from .pages import Browser
    from .paper_cluster import PaperCluster

ASKED = {"cores": "1", "gpus": "0", "memory": "2G", "runtime": "01:00:00", "queue": ""}
SILENT = "Its host node02 has not reported since 14:02. The session goes on as soon as it does."
WHY = "It reached its runtime of 1 hour."
SCRIPT = '<script>alert(1)</script> & "<b>node</b>"'


def tell(cluster: PaperCluster, **servers: dict[str, object]) -> None:
    """Write down what the pages say of servers: person__server=..."""
    cluster.say("told", json.dumps({name.replace("__", "/"): said for name, said in servers.items()}))


def ended(why: str = WHY, job: int | None = 123) -> dict[str, object]:
    return {"ended": {"job": job, "at": time.time(), "why": why}}


def resting(person: Person, cluster: PaperCluster, server: str) -> int:
    """Make a named server that has had a start and rests; return its job's number."""
    before = set(cluster.jobs())
    assert person.post(f"hub/spawn/{person.name}/{server}", ASKED).status_code == 200
    (number,) = set(cluster.jobs()) - before
    cluster.end(number)
    until(lambda: person.get(f"hub/spawn-pending/{person.name}/{server}").status_code == 500)
    return number


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "Waited in vain."
        time.sleep(0.2)


@pytest.mark.parametrize(("name", "width"), [("uucp", 390), ("man", 1280)])
def test_home_says_one_sentence_for_each_server(
    browser: Callable[..., Browser], person: Callable[[str], Person], cluster: PaperCluster, name: str, width: int
) -> None:
    """A server that waits says where it stands, one that rests why it ended, by its own record or a test's."""
    one = person(name)
    for server in ("second", "third"):
        number = resting(one, cluster, server)
    one.post("hub/spawn", ASKED)
    tell(cluster, **{f"{name}__": {"says": SILENT, **ended("old news")}, f"{name}__second": ended()})
    page = browser(name, width=width)
    page.open("hub/home")
    notes = page.all("#sessions .sgehub-note")
    assert [note.get_attribute("data-session") for note in notes] == ["", "second", "third"]
    assert notes[0].text == SILENT
    said = notes[1].text.split("\n")
    assert said[0] == "second"
    assert said[1].startswith("Your last session (job 123) ended today at ")
    assert said[1].endswith(f": {WHY}")
    assert notes[2].text.startswith(f"third\nYour last session (job {number}) ended today at ")
    assert "T" in str(page.one("#sessions time").get_attribute("datetime"))
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
    assert page.all("#stop"), "JupyterHub's own buttons are gone"
    assert page.complaints() == []
    one.hub.api("DELETE", f"users/{name}/server")


def test_sentences_are_text(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """Markup in what Grid Engine or accounting says is shown as it is, on the home page and on the form."""
    tell(cluster, markup__=ended(SCRIPT))
    page = browser("markup")
    for path in ("hub/home", "hub/spawn", "user/markup/lab"):
        page.open(path)
        assert SCRIPT in page.text("#sessions, #last-session"), path
        assert page.all("#sessions script, #sessions b, #last-session script, #last-session b") == []


def test_whoever_had_no_session_reads_nothing_of_one(browser: Callable[..., Browser]) -> None:
    """The home page is JupyterHub's, unchanged."""
    page = browser("newcomer")
    page.open("hub/home")
    assert page.all("#sessions") == []
    assert page.one("#start").is_displayed()
    page.open("hub/spawn")
    assert page.all("#last-session") == []


def test_an_end_that_nobody_can_read_breaks_no_page(
    person: Callable[[str], Person], cluster: PaperCluster
) -> None:
    """State of another version shows no notice."""
    one = person("odd")
    for odd in ("yesterday", {"at": "14:02"}, {"at": 1e300, "why": WHY}, [1]):
        tell(cluster, odd__={"ended": odd})
        assert one.get("hub/home").status_code == one.get("hub/spawn").status_code == 200


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_notes_can_be_read(browser: Callable[..., Browser], cluster: PaperCluster, theme: str) -> None:
    """Contrast is at least 4.5 in both themes."""
    tell(cluster, theme__=ended())
    page = browser("theme")
    page.driver.execute_script("localStorage.setItem('jupyterhub-bs-theme', arguments[0])", theme)
    for path, texts in (("hub/home", "#sessions .sgehub-note, #sessions time"), ("hub/spawn", "#last-session")):
        page.open(path)
        page.driver.execute_script(STILL)
        assert page.one("html").get_attribute("data-bs-theme") == theme
        ratio, element = page.driver.execute_script(CONTRAST, texts)
        assert 4.5 <= ratio < 99, element
