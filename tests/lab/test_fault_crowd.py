"""Many people at once: each gets a session, or reads what is true."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab
from tests.lab import faulty
from tests.lab.faults import HOSTS as HOSTS_SILENT
from tests.lab.faults import FaultSite, Table, fault_hub
from tests.lab.faulty import until
from tests.lab.person import Person

pytestmark = pytest.mark.timeout(400)

PEOPLE = 60
SECONDS = 10.0  # within which they press Start
HOSTS = 3
SLOTS = 3  # of a host, so that most have to wait; a machine that plays three hosts runs no sixty servers
SETTLED_SECONDS = 90.0
REQUEST = {"memory": "1G", "runtime": "00:30:00", "queue": "long.q"}
TOKENS = 'c.JupyterHub.load_roles[0]["scopes"] += ["tokens", "access:servers"]\n'


@pytest.fixture(scope="module")
def crowd(install: Path) -> Iterator[Lab]:
    """Keep a lab of many people and few slots."""
    name = f"crowd-{os.getpid()}"
    with faulty.quick_lab(name, install=install, nodes=HOSTS, people=PEOPLE) as lab:
        faulty.change_queue(lab, "long.q", slots=str(SLOTS))
        yield lab


def people_of(site: FaultSite) -> list[Person]:
    """Return everybody, each with a token of their own."""
    names = list(site.lab.layout.people)
    assert site.api("POST", "/users", {"usernames": names}).status == 201
    people = [Person(site.url, name) for name in names]
    for person in people:
        person.token = site.api("POST", f"/users/{person.name}/tokens", {}).json["token"]
    return people


def press(people: list[Person]) -> list[int]:
    """Let everybody press Start within the time, evenly spread; return the statuses."""
    statuses = [0] * len(people)

    def one(index: int) -> None:
        time.sleep(index * SECONDS / len(people))
        statuses[index] = people[index].start(REQUEST).status

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(people))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def ready(site: FaultSite) -> set[str]:
    """Return the people whose session is ready."""
    return {name for (name, _), session in site.sessions().items() if session.ready}


def place(said: str) -> int:
    """Return how many jobs are ahead, as a sentence says it; -1 for one that does not."""
    ahead = re.search(r"Jobs ahead of it: (\d+)", said)
    return int(ahead[1]) if ahead else 0 if "No other job is ahead" in said else -1


def test_sixty_people_press_start(crowd: Lab, table: Table):
    """As many as there are slots get a session; everybody else reads how many jobs are ahead of theirs."""
    with fault_hub(crowd, config=TOKENS) as site:
        everybody = people_of(site)
        event = site.event()
        begun = time.monotonic()
        assert set(press(everybody)) <= {201, 202}
        until(lambda: len(site.our_jobs()) == PEOPLE or "did not start" in site.hub.log(), SETTLED_SECONDS)
        assert "did not start" not in site.hub.log(), "\n".join(event.log())
        until(lambda: len(ready(site)) == HOSTS * SLOTS, SETTLED_SECONDS)
        served = ready(site)
        assert len(site.sessions()) == PEOPLE
        waiting = [person for person in everybody if person.name not in served]
        said: dict[str, str] = {}

        def told() -> bool:
            said.update({person.name: site.says(person) for person in waiting})
            return sorted(map(place, said.values())) == list(range(len(waiting)))

        until(told, SETTLED_SECONDS, "everybody knows their place")
        seconds = time.monotonic() - begun
        for person in everybody:
            if person.name in served:
                path = f"/user/{person.name}/api/status"
                assert person.open(path, Authorization=f"token {person.token}").status == 200
        leaver = next(person for person in everybody if person.name in served)
        assert leaver.stop().status in (202, 204)
        until(lambda: len(ready(site)) == HOSTS * SLOTS and ready(site) != served, SETTLED_SECONDS)
        table.record(
            event,
            20,
            done=f"{PEOPLE} people pressed Start within {SECONDS:.0f} s; {HOSTS} hosts, {HOSTS * SLOTS} slots.",
            outcome="Each slot carries a session; all others know their place; who leaves is followed.",
            saw=f"{len(served)}: a session. {len(said)}: {max(said.values(), key=place)}",
            log=[rf"Job \d+ of {leaver.name} has ended"],
            seconds=seconds,
            limit=SETTLED_SECONDS,
            ended=[(leaver.name, "")],
            # Where the machine is crowded.
            noise=[r"The proxy (at \S+ is away \(no answer within|is back after)", HOSTS_SILENT],
        )
