"""What is free on a real cluster, as the page beside the form reads it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.lab.conftest import MakeHub, Site
    from tests.lab.person import Person

G = 1024**3


def free(person: Person) -> dict[str, Any]:
    """Return what the page is told, as a browser asks for it."""
    answer = person.open("/hub/api/sgehub/capacity", X_XSRFToken=person.xsrf(), Sec_Fetch_Mode="cors")
    assert answer.status == 200, answer.text
    known: dict[str, Any] = answer.json
    known["free"] = {
        queue["name"]: {bar["what"]: (bar["free"], bar["total"]) for bar in queue["bars"]}
        for queue in known["queues"]
    }
    return known


def changed(person: Person, queue: str, before: tuple[int, int]) -> dict[str, Any]:
    """Wait until the free slots of a queue are no longer what they were."""
    until = time.monotonic() + 45
    while (known := free(person))["free"][queue]["Slots"] == before:
        assert time.monotonic() < until, known
        time.sleep(1)
    return known


def hosts_of(site: Site) -> int:
    return len(site.lab.hosts) - 1


def test_a_session_takes_what_it_asked_for(make_hub: MakeHub) -> None:
    """Two slots, 4G and a GPU are gone while it runs, and back when it has ended."""
    with make_hub() as site:
        alice = site.person("alice")
        before = free(alice)
        hosts = hosts_of(site)
        assert before["free"]["short.q"] == {
            "Slots": (16 * hosts, 16 * hosts),
            "Memory": (64 * G * hosts, 64 * G * hosts),
        }
        assert before["free"]["gpu.q"] == {"Slots": (16, 16), "Memory": (64 * G, 64 * G), "GPUs": (2, 2)}
        assert before["queues"][2]["largest"]["text"] == "8 cores, 64G of memory and 2 GPUs"
        assert before["sessions"]["text"] == "none."
        alice.start({"cores": "2", "memory": "4G", "gpus": "1", "queue": "gpu.q"})
        alice.wait_until(ready=True)
        running = changed(alice, "gpu.q", (16, 16))
        assert running["free"]["gpu.q"] == {"Slots": (14, 16), "Memory": (60 * G, 64 * G), "GPUs": (1, 2)}
        assert running["free"]["short.q"]["Slots"] == (16 * hosts, 16 * hosts)
        assert running["queues"][2]["largest"]["text"] == "8 cores, 60G of memory and 1 GPU"
        assert running["sessions"]["text"] == "1: 2 cores, 4G of memory and 1 GPU."
        alice.stop()
        site.wait_for_jobs(0)
        after = changed(alice, "gpu.q", (14, 16))
        assert after["free"] == before["free"]
        assert after["sessions"]["text"] == "none."
