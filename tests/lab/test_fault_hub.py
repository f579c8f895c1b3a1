"""The hub ends, at once or in order, and is started again: every session is where it was."""

from __future__ import annotations

import threading
import time

import pytest

from tests.lab import faulty
from tests.lab.faults import GONE, FaultSite, People, Table, scene
from tests.lab.faulty import until
from tests.lab.person import Person

pytestmark = pytest.mark.timeout(400)

ROUTE_SECONDS = 2.0  # from a server that listens to an answer through the proxy
NORMAL_SECONDS = 30.0  # from the start of the hub's process, on a machine that others use too
ADOPTED = r"runs on and is adopted"
REACHABLE = r"is reachable"
SMALL = {"memory": "1G", "runtime": "00:30:00", "queue": "long.q"}


def restarted(site: FaultSite, people: People, *, kill: bool) -> float:
    """Restart the hub; return the seconds from its start until all three sessions are what they were."""
    begun = site.restart(kill=kill)
    people.normal_again()
    return time.monotonic() - begun


def goes_on(site: FaultSite, people: People) -> float:
    """Let the other two become ready; return the seconds from listening to the route of the queued one."""
    people.let_go()
    until(lambda: site.listens(people.queued), what="the server of the queued session listens")
    taken = people.wait_for({people.queued.name: "ready"})
    people.all_ready()
    return taken


@pytest.mark.parametrize(("number", "kill", "done"), [(1, True, "killed (-9)"), (3, False, "stopped in order")])
def test_the_hub_ends_and_is_started_again(
    fault_site: FaultSite, table: Table, *, number: int, kill: bool, done: str
):
    """The running session answers all the time; the waiting one says its place, and gets its route at once."""
    with scene(fault_site) as people:
        event = fault_site.event()
        seconds = restarted(fault_site, people, kill=kill)
        saw = fault_site.says(people.queued)
        assert "queue" in saw
        route = goes_on(fault_site, people)
        assert route < ROUTE_SECONDS
        table.record(
            event,
            number,
            done=f"The hub was {done} and started again.",
            outcome="All three go on; the route of the queued one is there within 2 s of its server's.",
            saw=f"{saw} Route {route:.1f} s after its server listened.",
            log=[ADOPTED, REACHABLE],
            lines=3,  # one a session
            seconds=seconds,
            limit=NORMAL_SECONDS,
        )


def test_starts_are_cancelled_after_the_hub_was_killed(fault_site: FaultSite, table: Table):
    """Cancel works as before the restart: for one that waits, one that is starting, and a named server."""
    with scene(fault_site) as people:
        assert people.queued.start(SMALL, "second").status in (201, 202)
        until(lambda: sorted(fault_site.our_jobs().values()) == ["qw", "qw", "r", "r"])
        until(lambda: fault_site.number("bob", "second"), what="the hub knows its number")
        event = fault_site.event()
        seconds = restarted(fault_site, people, kill=True)
        until(lambda: people.state(people.queued, "second") == "starting")
        begun = time.monotonic()
        for person, server in ((people.queued, ""), (people.queued, "second"), (people.starting, "")):
            answer = person.stop(server)
            assert answer.status in (202, 204), answer.text
        people.wait_for({people.running.name: "ready", people.queued.name: "gone", people.starting.name: "gone"})
        until(lambda: list(fault_site.our_jobs().values()) == ["r"])
        gone = time.monotonic() - begun
        table.record(
            event,
            1,
            "Cancel pressed after it",
            done="The hub was killed (-9) and started; three starts were cancelled, one of a named server.",
            outcome="The jobs are deleted at once, and only those.",
            saw=f"All were gone {gone:.1f} s after the first Cancel.",
            log=ADOPTED,
            seconds=seconds,
            limit=NORMAL_SECONDS,
            ended=[("bob", ""), ("bob", "second"), ("carol", "")],
        )


def test_the_hub_is_killed_while_qsub_is_under_way(fault_site: FaultSite, table: Table):
    """The job's name tells whose it is: the next hub takes it up, and nobody submits a second one."""
    alice = fault_site.person("alice")
    event = fault_site.event()
    with fault_site.commands.replaced("qsub", faulty.late_answer(4)):
        starting = threading.Thread(target=_start, args=(alice,))
        starting.start()
        until(fault_site.our_jobs, what="a job")
        fault_site.hub.stop(kill=True)
    starting.join()
    begun = fault_site.restart()
    alice.wait_until(ready=True)
    seconds = time.monotonic() - begun
    assert len(fault_site.our_jobs()) == 1
    table.record(
        event,
        1,
        "during qsub",
        done="The hub was killed (-9) when qsub had queued a job and not yet answered.",
        outcome="The next hub finds the job by its name; there is no second one.",
        saw="The session is ready.",
        log=REACHABLE,
        seconds=seconds,
        limit=NORMAL_SECONDS,
    )


def _start(person: Person) -> None:
    try:
        person.start(SMALL)
    except GONE:  # the hub goes away while it answers
        return
