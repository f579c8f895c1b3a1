"""A hub on a paper cluster, and browsers to look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from .chrome import chrome
from .hub_process import HubProcess, Person
from .pages import Browser
from .paper_cluster import PaperCluster


@pytest.fixture(scope="session")
def papers(tmp_path_factory: pytest.TempPathFactory) -> PaperCluster:
    """Make the cluster of all tests; `cluster` is the same one, empty."""
    return PaperCluster(tmp_path_factory.mktemp("cluster") / "cluster")


@pytest.fixture
def cluster(papers: PaperCluster) -> Iterator[PaperCluster]:
    """Empty the cluster before and after a test."""
    papers.clear()
    yield papers
    papers.clear()


@pytest.fixture(scope="session")
def hub(papers: PaperCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Run a hub on the paper cluster."""
    with HubProcess.running(tmp_path_factory.mktemp("hub"), papers.site) as process:
        yield process


@pytest.fixture
def person(hub: HubProcess) -> Iterator[Callable[[str], Person]]:
    """Log somebody in, without a browser."""
    people: list[Person] = []

    def login(name: str) -> Person:
        people.append(Person(hub, name))
        return people[-1]

    yield login
    for one in people:
        one.close()


@pytest.fixture
def browser(hub: HubProcess, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Open a browser with a profile of its own, somebody logged in."""
    drivers: list[webdriver.Chrome] = []

    def opened(name: str, *, width: int = 1280, height: int = 900, javascript: bool = True) -> Browser:
        drivers.append(chrome(tmp_path / f"profile{len(drivers)}", javascript=javascript))
        page = Browser(drivers[-1], hub.url, width=width, height=height)
        page.login(name)
        return page

    yield opened
    for driver in drivers:
        driver.quit()
