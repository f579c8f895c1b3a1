"""The hub starts while Grid Engine is away: it knows nothing, so it keeps everything."""

from __future__ import annotations

import time

import pytest

from tests.lab import faulty
from tests.lab.faults import BACK, HOSTS, SILENT, FaultSite, Table, outage, scene

pytestmark = pytest.mark.timeout(500)

ROUTE_SECONDS = 10.0  # from when the hub answers, after a reboot that left the proxy empty
NORMAL_SECONDS = 40.0  # from the qmaster's return: a hub that was refused for long asks every half a minute


def test_the_hub_is_killed_while_there_is_no_qmaster(fault_site: FaultSite, table: Table):
    """The next hub knows nothing, so it keeps everything; the running session answers at once."""
    with scene(fault_site) as people:
        event, away = fault_site.event(), outage(60)
        with fault_site.qmaster.down():
            begun = fault_site.restart(kill=True)
            people.wait_for({people.running.name: "ready"})
            route = time.monotonic() - begun
            saw = people.pass_time(away)
            assert "not answering" in saw
        seconds = people.told_again()
        people.go_on()
        table.record(
            event,
            2,
            done=f"No qmaster; the hub was killed (-9) and started; the qmaster came back {away:.0f} s later.",
            outcome="All three go on; the running one is ready without Grid Engine.",
            saw=f"{saw} The running session was ready {route:.1f} s after the hub's start.",
            log=[SILENT, BACK],
            seconds=seconds,
            limit=NORMAL_SECONDS,
            noise=[HOSTS],
        )


def test_the_head_reboots_and_its_qmaster_comes_late(fault_site: FaultSite, table: Table):
    """Hub, proxy and qmaster lose power; the proxy knows no route, the qmaster comes minutes after the hub."""
    lab, hub = fault_site.lab, fault_site.hub
    with scene(fault_site) as people:
        event, late = fault_site.event(), outage(180)
        faulty.power_cut(lab, hub, "head")
        lab.boot("head", gridengine=False)
        hub.start_proxy()
        hub.start_hub()
        hub.wait_ready()
        route = people.wait_for({people.running.name: "ready"})
        saw = people.pass_time(late)
        lab.start_gridengine("head")
        seconds = people.told_again()
        people.go_on()
        assert route < ROUTE_SECONDS
        table.record(
            event,
            25,
            done=f"The head was rebooted; the proxy was empty, the qmaster came {late:.0f} s after the hub.",
            outcome="All three go on; the running one is reachable without Grid Engine.",
            saw=f"{saw} The running session was reachable {route:.1f} s after the hub was.",
            log=[SILENT, BACK],
            seconds=seconds,
            limit=NORMAL_SECONDS,
            noise=[HOSTS],
        )
