"""Several parallel environments, of which each queue offers some: the form says where a request fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from .hub_process import HubProcess, Person
from .pages import Browser
from .paper_cluster import PaperCluster

SOON = 20.0  # seconds until the hub has asked what queues offer, also where the machine is busy
OFFERED = {"short.q": "smp", "long.q": "smp gpupe", "gpu.q": "gpupe"}


@pytest.fixture
def papers(tmp_path_factory: pytest.TempPathFactory) -> PaperCluster:
    """Make a cluster that says what its queues offer."""
    made = PaperCluster(tmp_path_factory.mktemp("pes") / "cluster")
    made.site.write_text(made.site.read_text().replace(": smp", ": [smp, gpupe]"))
    queues = [
        f"qname {name}\nslots 16\npe_list {pes}\nh_rt INFINITY\nprojects NONE\nuser_lists NONE\n"
        "xuser_lists NONE\nh_vmem INFINITY\n"
        for name, pes in OFFERED.items()
    ]
    made.say("qconf -sq short.q,long.q,gpu.q", "".join(queues))
    for name, slots in (("smp", 999), ("gpupe", 6)):
        lines = f"pe_name {name}\nslots {slots}\nuser_lists NONE\nallocation_rule $pe_slots\n"
        made.say(f"qconf -sp {name}", lines)
    return made


@pytest.fixture
def hub(papers: PaperCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """Run a hub that asks at once, since its file has changed."""
    with HubProcess.running(tmp_path_factory.mktemp("hub"), papers.site) as process:
        first = Person(process, "bin")  # whoever comes first has the hub read the site's file
        first.get("hub/spawn")
        first.close()
        papers.site.write_text(papers.site.read_text().replace("cores: 16", "cores: 12"))
        process.hang_up()
        end = time.monotonic() + SOON
        while "Queue gpu.q: the cluster itself allows 6 slots" not in process.log():
            assert time.monotonic() < end, process.log()
            time.sleep(0.1)
        yield process


def test_the_form_says_which_queues_offer_a_parallel_environment(
    browser: Callable[..., Browser], cluster: PaperCluster
) -> None:
    """The chosen one; and where none is chosen, the queues that one job can name."""
    page = browser("daemon")
    page.open("hub/spawn")

    def note() -> str:
        return page.text("#request-queue-now")

    assert note() == "Fits in short.q, long.q, gpu.q."
    page.fill(cores="4")
    assert note() == "Fits in short.q, long.q."
    page.click("summary")
    page.fill(pe="gpupe")
    assert note() == "Fits in long.q, gpu.q."
    page.fill(cores="8")
    assert note() == "No queue offers all of this together."
    page.fill(pe="smp", cores="4", queue="gpu.q")
    assert note() == "gpu.q does not fit: not so many slots in smp."
    page.fill(pe="")
    assert note() == ""
    page.start()
    page.until(cluster.submitted)
    assert page.complaints() == []
