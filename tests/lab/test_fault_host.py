"""An execution host is gone, for a while or for good: its sessions are kept as long as they may live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sgehub.lab.cluster import Lab
from tests.lab import faulty
from tests.lab.faults import RECORDING, People, Table, outage
from tests.lab.faulty import order, until
from tests.lab.one_session import ENDED, OneSession, people_of, rest

pytestmark = pytest.mark.timeout(300)

NODES = ("node01", "node02", "node03")
# host_lost_after: longer than hosts are away that return, and shorter
PATIENT, HASTY = ("00:01:00", "00:00:20") if RECORDING else ("00:00:40", "00:00:10")
NORMAL_SECONDS = 30.0
LOST_SECONDS = 75.0  # from the power cut: the qmaster notices, HASTY, the start of a new session
SILENT = r"Execution host node\d+ does not report to Grid Engine any more"
BACK = r"Execution host node\d+ reports to Grid Engine again"


@pytest.fixture(scope="module")
def patient(fault_lab: Lab) -> Iterator[People]:
    """Run one hub for all tests of hosts that return."""
    with people_of(fault_lab, site={"cluster": {"host_lost_after": PATIENT}}) as found:
        yield found


@pytest.fixture
def people(patient: People) -> Iterator[People]:
    """Take that hub for one test."""
    yield patient
    faulty.mend(patient.site.lab)
    rest(patient)


def placed(session: OneSession, node: str, **request: str) -> OneSession:
    """Start a session on a certain host, and wait until its job runs there."""
    with faulty.no_queues(session.lab, *(f"*@{one}" for one in NODES if one != node)):
        session.start(**request)
        until(lambda: session.state == "ready" or session.letters() == "r")
    session.reaches("ready")
    assert session.node == node
    return session


@contextmanager
def hasty(people: People) -> Iterator[None]:
    """Have a site that gives hosts up sooner."""
    file = people.site.lab.root / "etc" / "sgehub" / "site.yaml"
    text = file.read_text()
    assert PATIENT in text
    try:
        file.write_text(text.replace(PATIENT, HASTY))
        people.site.restart(kill=False)
        yield
    finally:
        file.write_text(text)
        people.site.restart(kill=False)


@contextmanager
def rerunning(lab: Lab) -> Iterator[None]:
    """Have a queue that runs jobs again, and a qmaster that does so when their host is silent."""
    faulty.change_queue(lab, "long.q", rerun="TRUE")
    faulty.change_configuration(lab, reschedule_unknown="00:00:05")
    try:
        yield
    finally:
        faulty.change_configuration(lab, reschedule_unknown="00:00:00")
        faulty.change_queue(lab, "long.q", rerun="FALSE")


def test_a_host_loses_power_and_returns(people: People, table: Table):
    """What ran on it has ended, which is said as soon as it is certain; who ran elsewhere notices nothing."""
    lab = people.site.lab
    alice, bob = OneSession(people, "alice"), OneSession(people, "bob")
    placed(alice, "node01")
    placed(bob, "node02")
    event = people.site.event()
    lab.crash("node01")
    until(lambda: "not reported" in alice.reads(), 90)
    meanwhile = alice.reads()
    assert bob.page() == 200
    assert alice.person.model()["ready"]  # nobody knows yet
    lab.boot("node01")
    begun = time.monotonic()
    alice.reaches("gone")
    until(lambda: len(people.site.our_jobs()) == 1)
    saw = alice.reads()
    alice.ready()
    seconds = time.monotonic() - begun
    assert bob.page() == 200
    table.record(
        event,
        7,
        "it returns",
        done="The host of a session lost power, and booted again when the hub had noticed.",
        outcome="The session ends when Grid Engine knows that the job is gone; the next start succeeds.",
        saw=f"{meanwhile} Then: {saw}",
        log=[SILENT, r"Job \d+ of alice has ended: "],
        seconds=seconds,
        limit=NORMAL_SECONDS,
        ended=[alice.server],
        noise=[ENDED],
    )


def test_a_host_loses_its_network(people: People, table: Table):
    """The session lives and is kept; it answers again with the network."""
    alice = placed(OneSession(people, "alice"), "node03")
    event, away = people.site.event(), outage(60)
    begun = time.monotonic()
    with faulty.cut_off(people.site.lab, "node03"):
        until(lambda: "not reported" in alice.reads(), 90)
        saw = alice.reads()
        time.sleep(max(0.0, begun + away - time.monotonic()))
        away = time.monotonic() - begun
    seconds = until(lambda: alice.state == "ready", 90)
    until(lambda: "not reported" not in alice.reads(), 90)
    table.record(
        event,
        8,
        done=f"The network of a session's host was cut for {away:.0f} s.",
        outcome="The session goes on.",
        saw=saw,
        log=[SILENT, BACK],
        seconds=seconds,
        limit=NORMAL_SECONDS,
    )


def test_the_job_runs_again_on_another_host(people: People, table: Table):
    """It gets new secrets, its route moves, and the first run's token is worth nothing any more."""
    lab, site = people.site.lab, people.site
    alice = placed(OneSession(people, "alice"), "node01")
    job, before, event = alice.job, alice.record["token_id"], site.event()
    with faulty.no_queues(lab, "*"):
        order(lab, "qmod", "-f", "-rj", job)
        until(lambda: "R" in alice.letters() and "q" in alice.letters())
        until(lambda: alice.state == "starting")
        saw = site.says(alice.person)
        order(lab, "qmod", "-e", "*@node02")
        begun = time.monotonic()
        alice.reaches("ready")
    seconds = time.monotonic() - begun
    assert (alice.job, alice.node) == (job, "node02")
    assert alice.record["token_id"] != before
    table.record(
        event,
        19,
        done="An administrator had the running job started again (qmod -f -rj); only another host was free.",
        outcome="The session starts anew there with new secrets; its route moves.",
        saw=saw,
        log=[r"Job \d+ of alice is run again by Grid Engine", r"Job \d+ of alice is reachable"],
        seconds=seconds,
        limit=NORMAL_SECONDS,
    )


def test_a_host_loses_power_for_good(people: People, table: Table):
    """After the site's time the session is lost, its person starts anew; the host's return ends the job."""
    lab = people.site.lab
    with rerunning(lab), hasty(people):
        alice, carol = OneSession(people, "alice"), OneSession(people, "carol")
        placed(alice, "node01", queue="short.q")
        placed(carol, "node01", queue="long.q")
        event = people.site.event()
        jobs = set(people.site.our_jobs())
        lab.crash("node01")
        begun = time.monotonic()
        until(lambda: alice.state == carol.state == "gone", LOST_SECONDS)
        saw, hers = alice.reads(), carol.reads()
        assert set(people.site.our_jobs().values()) <= {"r", "dr"}  # on their host that is gone, nowhere else
        alice.ready()
        seconds = time.monotonic() - begun
        assert jobs < set(people.site.our_jobs())
        tokens = alice.person.api("GET", "/users/alice/tokens").json["api_tokens"]
        assert len(tokens) == 2  # her own, and that of the new session
        lab.boot("node01")
        until(lambda: not jobs & set(people.site.our_jobs()), 90)
        table.record(
            event,
            7,
            "it never returns",
            done=f"The host of a session lost power for longer than host_lost_after, {int(HASTY[-2:])} s here.",
            outcome="The session is given up and its token revoked, the next start succeeds; "
            "the old job is deleted when the host returns.",
            saw=saw,
            log=[r"Job \d+ of alice counts as lost", r"Execution host node01 has been silent for"],
            seconds=seconds,
            limit=LOST_SECONDS,
            ended=[alice.server, carol.server],
            noise=[ENDED, SILENT, "carol"],
        )
        table.record(
            event,
            19,
            "its host is lost, in a queue that runs jobs again",
            done="The same in a queue with rerun TRUE and with reschedule_unknown set.",
            outcome="Grid Engine does not run the job again, since sessions ask for that (qsub -r n).",
            saw=hers,
            log=[r"Job \d+ of carol counts as lost"],
            seconds=seconds,
            limit=LOST_SECONDS,
            ended=[alice.server, carol.server],
            noise=[ENDED, SILENT, "alice", "has been silent for"],
        )
