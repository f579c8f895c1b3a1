"""What is free while the cluster changes, is slow or silent: asked once for everybody, and nobody waits for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest

from .free import ADDRESS, HOSTS, SAID, cluster_with_something_free, meters
from .hub_process import HubProcess, Person
from .pages import Browser
from .paper_cluster import PaperCluster


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> PaperCluster:
    """Make a cluster of this module's own."""
    return cluster_with_something_free(tmp_path_factory.mktemp("capacity") / "cluster")


@pytest.fixture
def hub(cluster: PaperCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Run a hub for each test: it keeps what it knows for a while, and asks seldom after a failure."""
    (cluster.folder / "asked").unlink(missing_ok=True)
    with HubProcess.running(tmp_path_factory.mktemp("hub"), cluster.site) as process:
        yield process


def test_one_question_serves_everybody(person: Callable[[str], Person], cluster: PaperCluster) -> None:
    """However many pages ask: the numbers are those of the cluster, and it is asked once."""
    people = [person(name) for name in ("games", "man", "uucp")]
    answers = [one.get(ADDRESS).json() for one in people for _ in range(5)]
    assert (cluster.asked("qhost -q"), cluster.asked("qconf -se")) == (1, 1)
    for answer in answers:
        assert {
            queue["name"]: {bar["what"]: bar["text"] for bar in queue["bars"]} for queue in answer["queues"]
        } == SAID
        assert 0 <= answer["age"] < 15
        assert answer["silent"] is None
    first = answers[0]
    assert (first["user"], first["refresh"], first["sessions"]["text"]) == ("games", 15, "none.")
    short, long, gpu = first["queues"]
    assert short["hosts"] == {"usable": 2, "total": 3, "text": "2 of 3 hosts in service"}
    assert short["bars"][0] == {"what": "Slots", "free": 18, "total": 48, "text": "18 of 48 free"}
    assert long["largest"] == {
        "cores": 12,
        "memory": "6.4G",
        "gpus": 0,
        "text": "12 cores and 6.4G of memory",
    }
    assert gpu["largest"]["text"] == "6 cores, 30G of memory and 1 GPU"


def test_own_sessions_are_added_up(person: Callable[[str], Person], cluster: PaperCluster) -> None:
    """Those that wait are named; those of others are not counted."""
    asked = {"cores": "2", "gpus": "0", "memory": "4G", "runtime": "01:00:00", "queue": ""}
    man = person("man")
    man.post("hub/spawn", asked)
    person("uucp").post("hub/spawn", asked)
    assert man.get(ADDRESS).json()["sessions"] == {
        "count": 1,
        "waiting": 1,
        "cores": 2,
        "memory": 4 * 1024**3,
        "gpus": 0,
        "text": "1, waiting: 2 cores and 4G of memory.",
    }
    assert len(cluster.jobs()) == 2


def test_an_open_page_follows_the_cluster(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """It asks again every 15 s, and not while nobody sees it; in an outage it shows what was, and calls it so."""
    page = browser("games")
    page.open("hub/spawn")
    page.until(lambda: meters(page) == SAID)
    page.driver.execute_script("Object.defineProperty(document, 'hidden', {configurable: true, value: true})")
    hosts = json.loads(json.dumps(HOSTS))
    hosts["node03"]["queues"]["gpu.q"][0] = 16
    cluster.say("hosts", json.dumps(hosts))
    time.sleep(20)
    assert meters(page) == SAID
    page.driver.execute_script("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    page.until(lambda: meters(page)["gpu.q"]["Slots"] == "0 of 16 free", seconds=35)
    assert "A new session would wait." in page.text("[data-queue='gpu.q']")
    assert meters(page)["short.q"] == SAID["short.q"]
    cluster.say("down", "1")
    page.until(lambda: "What was free before is shown." in page.text("#capacity-status"), seconds=35)
    assert meters(page)["short.q"] == SAID["short.q"]
    assert "Fitted on one host: 14 cores" in page.text("[data-queue='short.q']")


def test_the_form_does_not_wait_for_it(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """A slow cluster keeps nobody from reading the form, and the bars come when they come."""
    cluster.say("slow qhost", "5")
    page = browser("games")
    begun = time.monotonic()
    page.open("hub/spawn")
    assert page.one("#start-session").is_displayed()
    assert time.monotonic() - begun < 4
    assert page.text("#capacity-status") == "Asking Grid Engine …"
    assert meters(page) == {}
    page.until(lambda: meters(page) == SAID, seconds=20)
    assert page.text("#capacity-status") == ""


def test_a_silent_cluster_is_told(browser: Callable[..., Browser], cluster: PaperCluster) -> None:
    """The form opens all the same, and says since when nothing is known."""
    cluster.say("down", "1")
    page = browser("games")
    page.open("hub/spawn")
    page.until(lambda: "Grid Engine has not been answering since" in page.text("#capacity-status"))
    assert "What is free is not known." in page.text("#capacity-status")
    assert meters(page) == {}
    assert page.text("#capacity-age") == ""
    assert page.one("#start-session").is_enabled()
