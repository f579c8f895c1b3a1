"""Grid Engine is away: nobody loses a session, and nobody is told "no" where nobody knows."""

from __future__ import annotations

import time

import pytest

from tests.lab.faults import BACK, HOSTS, SILENT, FaultSite, Table, outage, scene
from tests.lab.faulty import until

pytestmark = pytest.mark.timeout(500)

TIME_OUT = 60.0  # seconds after which the log tells of a question without an answer; people are told after 5
NORMAL_SECONDS = 40.0  # from the qmaster's return: a hub that was refused for long asks every half a minute


def test_there_is_no_qmaster(fault_site: FaultSite, table: Table):
    """Sessions go on; those that wait and those that start are told so, and keep their place."""
    with scene(fault_site) as people:
        event, away = fault_site.event(), outage(120)
        with fault_site.qmaster.down():
            saw = people.pass_time(away)
            assert "not answering since" in saw
            assert "not answering" in fault_site.page(people.running)
        seconds = people.told_again()
        people.go_on()
        table.record(
            event,
            5,
            done=f"The qmaster was stopped for {away:.0f} s.",
            outcome="All three go on, and are told since when Grid Engine does not answer.",
            saw=saw,
            log=[SILENT, BACK],
            seconds=seconds,
            limit=NORMAL_SECONDS,
            noise=[HOSTS],
        )


def test_stop_is_pressed_while_there_is_no_qmaster(fault_site: FaultSite, table: Table):
    """The wish is kept, over a restart of the hub as well, and carried out when Grid Engine answers again."""
    with scene(fault_site) as people:
        event = fault_site.event()
        with fault_site.qmaster.down():
            for person in (people.running, people.queued):
                assert person.stop().status in (202, 204)
            until(lambda: people.state(people.running) == people.state(people.queued) == "gone", 90)
            saw = fault_site.page(people.running)
            fault_site.restart(kill=True)
            time.sleep(3)
        stopped = {event.before[name, ""].tag for name in ("alice", "bob")}
        # Execution hosts look for a lost qmaster for up to a minute; until then a job that ran is in deletion.
        seconds = until(
            lambda: all("d" in state for tag, state in fault_site.our_jobs().items() if tag in stopped), 60
        )
        until(lambda: event.said(BACK))
        table.record(
            event,
            5,
            "Stop pressed meanwhile",
            done="The qmaster was stopped; two people pressed Stop; the hub was killed and started meanwhile.",
            outcome="Both jobs are deleted when Grid Engine answers again, and only those.",
            saw=saw,
            log=[SILENT, BACK, "is not deleted yet", "is still to be deleted"],
            lines=9,  # two jobs, two hubs
            seconds=seconds,
            limit=NORMAL_SECONDS,
            ended=[("alice", ""), ("bob", "")],
            # Sessions whose deletion waits report to a hub that has let go of them.
            noise=["server is slow to stop", r"403 /hub/api/sgehub/(line|end)", HOSTS],
        )


def test_the_qmaster_hangs(fault_site: FaultSite, table: Table):
    """A question without an answer is no answer: nobody waits for it, nobody is lost."""
    with scene(fault_site) as people:
        event, away = fault_site.event(), outage(75)
        with fault_site.qmaster.hung():
            saw = people.pass_time(away)
            assert "not answering since" in saw
        seconds = people.told_again()
        people.go_on()
        table.record(
            event,
            6,
            done=f"The qmaster hung (SIGSTOP) for {away:.0f} s.",
            outcome="All three go on, and are told since when Grid Engine does not answer.",
            saw=saw,
            log=[SILENT, BACK] if away > TIME_OUT else [],
            seconds=seconds,
            limit=NORMAL_SECONDS,
            noise=[HOSTS],
        )
