"""The proxy is killed, comes back empty, or is not there: sessions go on, Stop works, every route comes back."""

from __future__ import annotations

import time

from tests.lab.faults import GONE, FaultSite, Table, scene
from tests.lab.faulty import until
from tests.lab.person import Person

RESTORED = 10.0  # seconds, by which every route is to be back
AWAY = r"The proxy at .* is away"
BACK = r"The proxy is back"
BROWSER = "the browser cannot connect; afterwards"


def reaches(site: FaultSite, person: Person) -> bool:
    """Tell whether a person reaches the hub and her session through the proxy."""
    session = f"/user/{person.name}/api/status"
    try:
        pages = [
            person.open("/hub/health", redirect=False),
            person.open(session, redirect=False, Authorization=f"token {person.token}"),
        ]
    except GONE:
        return False
    site.hub.check()
    return [page.status for page in pages] == [200, 200]


def wait_for_words(site: FaultSite, position: int, words: str, seconds: float = 20.0) -> None:
    """Wait until the hub's log says something."""
    until(lambda: words in site.hub.log()[position:], seconds, what=words)


def test_a_killed_proxy_that_comes_back_empty_has_every_route_within_ten_seconds(
    fault_site: FaultSite, table: Table
):
    """The log says when it went and when it was back, and nothing in between."""
    with scene(fault_site) as people:
        event = fault_site.event()
        fault_site.hub.stop("proxy", kill=True)
        wait_for_words(fault_site, event.position, "is away")
        time.sleep(10)  # long enough for whoever would fill the log
        fault_site.hub.start_proxy()
        begun = time.monotonic()
        until(lambda: reaches(fault_site, people.running), RESTORED)
        seconds = time.monotonic() - begun
        people.normal_again(event)
        people.let_go()
        people.all_ready()
        table.record(
            event,
            4,
            "away for some time",
            done="the proxy was killed and came back empty 10 s later",
            outcome="all sessions go on; every route is back",
            saw=f"{BROWSER} everything as before",
            log=[AWAY, BACK],
            seconds=seconds,
            limit=RESTORED,
        )


def test_a_proxy_that_is_restarted_at_once_is_noticed_too(fault_site: FaultSite, table: Table):
    """As by its service manager: it may have been away between two looks of the hub only."""
    with scene(fault_site) as people:
        event = fault_site.event()
        fault_site.hub.stop("proxy", kill=True)
        fault_site.hub.start_proxy()
        begun = time.monotonic()
        until(lambda: reaches(fault_site, people.running), RESTORED)
        seconds = time.monotonic() - begun
        people.normal_again(event)
        people.let_go()
        people.all_ready()
        table.record(
            event,
            4,
            "restarted at once",
            done="the proxy was killed and started again at once, empty",
            outcome="all sessions go on; every route is back",
            saw=f"{BROWSER} everything as before",
            log=["restored in"],
            noise=[AWAY],
            seconds=seconds,
            limit=RESTORED,
        )


def test_stop_ends_the_job_and_a_start_comes_true_while_the_proxy_is_away(fault_site: FaultSite, table: Table):
    """JupyterHub by itself would never call stop(), and would end the session whose route it cannot make."""
    with scene(fault_site) as people:
        event = fault_site.event()
        fault_site.hub.stop("proxy", kill=True)
        stopped, begun = people.running, time.monotonic()
        assert fault_site.api("DELETE", f"/users/{stopped.name}/server").status in (202, 204)
        tag = event.before[stopped.name, ""].tag
        until(lambda: tag not in fault_site.our_jobs(), 30, what="the end of the job")
        ended = time.monotonic() - begun
        people.let_go()
        for person in (people.starting, people.queued):
            until(lambda name=person.name: fault_site.sessions()[name, ""].ready, 60, what=person.name)
        fault_site.hub.start_proxy()
        begun = time.monotonic()
        for person in (people.starting, people.queued):
            until(lambda person=person: reaches(fault_site, person), RESTORED)
        seconds = time.monotonic() - begun
        assert people.state(stopped) == "gone"
        table.record(
            event,
            4,
            "Stop and starts meanwhile",
            done="the proxy was away while one session was stopped and two became ready",
            outcome="the stopped session's job is deleted, both others are reached when the proxy is back",
            saw=f"the job had ended {ended:.0f} s after Stop; {BROWSER} the new sessions",
            log=[AWAY, BACK],
            noise=[r"The route /user/\w+/ .*when the proxy is back"],
            seconds=seconds,
            limit=RESTORED,
            ended=[(stopped.name, "")],
        )


def test_a_hub_that_starts_before_its_proxy_waits_for_it(fault_site: FaultSite, table: Table):
    """As after a reboot of the hub's machine, whatever comes up first."""
    with scene(fault_site) as people:
        event = fault_site.event()
        fault_site.hub.stop(kill=True)
        fault_site.hub.stop("proxy", kill=True)
        fault_site.hub.start_hub()
        wait_for_words(fault_site, event.position, "start waits for the proxy", 30)
        time.sleep(5)
        fault_site.hub.start_proxy()
        begun = time.monotonic()
        until(lambda: reaches(fault_site, people.running), 20)
        seconds = time.monotonic() - begun
        people.normal_again(event)
        people.let_go()
        people.all_ready()
        table.record(
            event,
            4,
            "not there when the hub starts",
            done="hub and proxy were killed; the hub was started first, the proxy, empty, some seconds later",
            outcome="the hub waits for it; all sessions go on",
            saw=f"{BROWSER} everything as before",
            log=[AWAY, "start waits for the proxy", BACK],
            lines=3,
            noise=["init_spawners did not complete", "had invalid url"],
            seconds=seconds,
            limit=RESTORED,
        )
