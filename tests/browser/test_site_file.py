"""The site's file changes while a real hub runs: the form follows, a broken file is told, and nothing ends."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from .hub_process import HubProcess, Person
from .paper_cluster import PaperCluster

if TYPE_CHECKING:
    from pathlib import Path

TWO_LOOKS = 20.0  # seconds within which the hub has looked twice and read the file, also where the machine is busy
AT_ONCE = 4.0  # seconds, less than two looks take
HERE = ", which holds from now on: "
ALAS = "cannot be used since"


@pytest.fixture
def paper(tmp_path: Path) -> PaperCluster:
    """Make a cluster whose file a test may change."""
    return PaperCluster(tmp_path / "cluster")


@pytest.fixture
def hub(paper: PaperCluster, tmp_path: Path) -> Iterator[HubProcess]:
    """Run a hub on it."""
    folder = tmp_path / "hub"
    folder.mkdir()
    with HubProcess.running(folder, paper.site) as process:
        yield process


def most_cores(person: Person) -> str:
    """Return what the form says of the most cores."""
    found = re.search(r'name="cores"[^>]*max="(\d+)"|1 to (\d+)\.', person.get("hub/spawn").text)
    assert found is not None
    return found[1] or found[2]


def is_right(hub: HubProcess) -> float:
    """Return what monitoring reads."""
    page = hub.api("GET", "../metrics").text
    found = re.search(r"^sgehub_site_file_ok\{.*\} ([0-9.]+)$", page, re.MULTILINE)
    assert found is not None, page
    return float(found[1])


def within(seconds: float, true: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "Waited in vain."
        time.sleep(0.1)


def replace(paper: PaperCluster, text: str) -> None:
    """Put another file in the place of the site's."""
    scratch = paper.site.with_suffix(".new")
    scratch.write_text(text)
    scratch.replace(paper.site)


def test_the_form_follows_the_file(hub: HubProcess, paper: PaperCluster, person: Callable[[str], Person]) -> None:
    """By itself within two looks, on SIGHUP at once; a session that was submitted goes on."""
    one, first = person("uucp"), paper.site.read_text()
    assert most_cores(one) == "16"
    asked = {"cores": "12", "gpus": "0", "memory": "2G", "runtime": "01:00:00", "queue": ""}
    assert one.post("hub/spawn", asked).status_code == 200
    within(20, lambda: len(paper.jobs()) == 1)
    replace(paper, first.replace("cores: 16", "cores: 10"))
    within(TWO_LOOKS, lambda: HERE in hub.log())
    two = person("man")
    assert most_cores(two) == "10"
    refused = two.post("hub/spawn", asked)
    assert "At most 10 cores." in refused.text
    assert len(paper.jobs()) == 1
    replace(paper, first.replace("cores: 16", "cores: 24"))
    hub.hang_up()
    within(AT_ONCE, lambda: hub.log().count(HERE) == 2)
    assert most_cores(two) == "24"
    assert len(paper.jobs()) == 1
    assert is_right(hub) == 1


def test_a_broken_file_leaves_the_one_before(
    hub: HubProcess, paper: PaperCluster, person: Callable[[str], Person]
) -> None:
    """The log says so once, monitoring and administrators read it, people notice nothing until it is mended."""
    one, root, first = person("uucp"), person("root"), paper.site.read_text()
    assert most_cores(one) == "16"
    assert is_right(hub) == 1
    replace(paper, first.replace("cores: 16", "cores: <many>"))
    within(TWO_LOOKS, lambda: ALAS in hub.log())
    time.sleep(11)  # two further looks
    assert hub.log().count(ALAS) == 1
    assert is_right(hub) == 0
    assert most_cores(one) == "16"
    page = root.get("hub/home").text
    assert 'id="site-trouble"' in page
    assert "queues.short.q.cores: write a whole number" in page
    assert ALAS not in one.get("hub/home").text
    replace(paper, first.replace("cores: 16", "cores: 24"))
    hub.hang_up()
    within(AT_ONCE, lambda: HERE in hub.log())
    assert is_right(hub) == 1
    assert most_cores(one) == "24"
    assert 'id="site-trouble"' not in root.get("hub/home").text


def test_a_hub_that_began_with_a_broken_file_works_when_it_is_mended(
    hub: HubProcess, paper: PaperCluster, person: Callable[[str], Person]
) -> None:
    """Until then each start says what is wrong; nobody restarts the hub."""
    whole = paper.site.read_text()
    replace(paper, whole.replace("cores: 16", "cores: <many>"))
    assert hub.api("POST", "users/uucp").status_code == 201
    refused = hub.api("POST", "users/uucp/server", json={"cores": 2})
    assert refused.status_code >= 400
    assert "queues.short.q.cores: write a whole number" in hub.log()
    assert is_right(hub) == 0
    hub.hang_up()  # which has been heard since the first try
    replace(paper, whole)
    assert hub.api("POST", "users/uucp/server", json={"cores": 2}).status_code in {201, 202}
    assert is_right(hub) == 1
    assert most_cores(person("man")) == "16"
