"""What is on record does not fit: numbers used twice, people deleted, an older database, starts taken back."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress

import pytest

from sgehub.lab.hub import BIN
from sgehub.lab.layout import HEAD, HUB_ACCOUNT
from tests.lab import faulty
from tests.lab.faults import FaultSite, Table, scene
from tests.lab.faulty import order, until
from tests.lab.one_session import ENDED, OneSession
from tests.lab.person import Person

pytestmark = pytest.mark.timeout(400)

NODES = ("node01", "node02", "node03")
NORMAL_SECONDS = 30.0
SMALL = {"memory": "1G", "runtime": "00:30:00"}
NOWHERE = {**SMALL, "queue": "long.q"}  # which is closed, so that the job waits
QSUB_SECONDS = 0.6  # by which qsub answers late, so that a cancel meets it
MOMENTS = 10  # of a start, for each of three people
STEP = 0.16  # seconds between two of them for one person; the people's moments lie between each other's


def restart_execds(site: FaultSite) -> None:
    """Let the execution hosts find a new qmaster at once."""
    faulty.restart_execds(site.lab, *NODES)


def submit(site: FaultSite, person: str) -> int:
    """Submit a person's own job, which sleeps."""
    argv = ["qsub", "-terse", "-N", "mine", "-b", "y", "-o", "/dev/null", "-e", "/dev/null", "/bin/sleep", "600"]
    return int(order(site.lab, *argv, user=person).split()[-1])


def number_of(site: FaultSite, person: str, server: str = "") -> int:
    """Return the number of the job that carries a server."""
    model = site.api("GET", f"/users/{person}").json["servers"][server]
    return int(model["state"]["session"]["number"])


def test_job_numbers_begin_anew(fault_site: FaultSite, table: Table):
    """A number alone is nobody's job: another job that got it is not taken for the session, nor deleted."""
    site = fault_site
    site.qmaster.count_from(faulty.LAST_NUMBER)
    restart_execds(site)
    with scene(site) as people:
        alice = people.running
        number = number_of(site, alice.name)
        others = number_of(site, people.queued.name), number_of(site, people.starting.name)
        assert (number, *sorted(others)) == (faulty.LAST_NUMBER, 1, 2)
        event = site.event()
        site.hub.stop(kill=True)
        order(site.lab, "qdel", str(number))
        until(lambda: number not in site.jobs())
        site.qmaster.count_from(number)
        restart_execds(site)
        assert submit(site, alice.name) == number
        begun = time.monotonic()
        site.hub.start_hub()
        site.hub.wait_ready()
        people.wait_for({"alice": "gone", "bob": "starting", "carol": "starting"})
        seconds = time.monotonic() - begun
        saw = OneSession(people, "alice").reads()
        people.let_go()
        people.wait_for({"bob": "ready", "carol": "ready"})
        assert alice.start(SMALL).status in (201, 202)
        alice.wait_until(ready=True)
        assert alice.stop().status in (202, 204)
        people.wait_for({"alice": "gone"})
        assert number in site.jobs()
        table.record(
            event,
            21,
            done="A session's job got the last number, those of two others 1 and 2; while the hub was away the "
            "first one was deleted, and another job of the same person got its number.",
            outcome="The session is over, the other job stays; the others go on, a new session starts and stops.",
            saw=saw,
            log=[rf"Job {number} of alice"],
            seconds=seconds,
            limit=NORMAL_SECONDS,
            ended=[("alice", "")],
            noise=[ENDED],
        )
        order(site.lab, "qdel", str(number))


@pytest.mark.parametrize("variant", ["", "after a restart"])
def test_a_server_and_a_user_are_deleted_while_they_wait(fault_site: FaultSite, table: Table, *, variant: str):
    """Their jobs go with them, and nobody else's."""
    site = fault_site
    with scene(site) as people:
        bob = people.queued
        assert bob.start(NOWHERE, "second").status in (201, 202)
        until(lambda: sorted(site.our_jobs().values()) == ["qw", "qw", "r", "r"])
        until(lambda: site.number("bob", "second"), what="the hub knows its number")
        event = site.event()
        if variant:
            site.restart(kill=True)
            people.normal_again()
            until(lambda: people.state(bob, "second") == "starting")
        begun = time.monotonic()
        answer = site.api("DELETE", "/users/bob/servers/second", {"remove": True})
        assert answer.status in (202, 204), answer.text
        until(lambda: sorted(site.our_jobs().values()) == ["qw", "r", "r"])
        until(lambda: "second" not in site.api("GET", "/users/bob").json["servers"])
        assert people.state(bob) == "starting"
        answer = site.api("DELETE", "/users/bob")
        assert answer.status == 204, answer.text
        until(lambda: sorted(site.our_jobs().values()) == ["r", "r"])
        seconds = time.monotonic() - begun
        assert site.api("GET", "/users/bob").status == 404
        people.let_go()
        people.wait_for({"alice": "ready", "carol": "ready"})
        table.record(
            event,
            23,
            variant,
            done="While their jobs waited a named server was removed, then its person deleted"
            + (", after the hub had been killed (-9) and started." if variant else "."),
            outcome="Both jobs are deleted at once, and only those.",
            saw="Nothing: the person is gone.",
            log=[r"Job \d+ of bob has ended"],
            seconds=seconds,
            limit=NORMAL_SECONDS,
            ended=[("bob", ""), ("bob", "second")],
        )


def test_the_database_is_an_older_one(fault_site: FaultSite, table: Table):
    """What it knows is looked up, what it does not know is listed; nothing is deleted by guess."""
    site = fault_site
    with scene(site) as people:
        alice, bob = people.running, people.queued
        assert alice.start(SMALL, "second").status in (201, 202)
        alice.wait_until(ready=True, server="second")
        copy = faulty.copy_database(site.hub)
        people.let_go()
        people.all_ready()
        assert alice.stop("second").status in (202, 204)
        alice.wait_until(ready=False, server="second")
        assert bob.start(SMALL, "third").status in (201, 202)
        bob.wait_until(ready=True, server="third")
        until(lambda: len(site.our_jobs()) == 4)
        unknown = number_of(site, "bob", "third")
        event = site.event()
        site.hub.stop()
        faulty.restore_database(site.hub, copy)
        begun = time.monotonic()
        site.hub.start_hub()
        site.hub.wait_ready()
        people.all_ready()
        until(lambda: people.state(alice, "second") == "gone")
        seconds = time.monotonic() - begun
        until(lambda: "not in this hub's ledger" in "\n".join(event.log()))
        for arguments in ((), ("--end",)):
            done = site.lab.run(HEAD, [f"{BIN}/sgehub", "reap", "--json", *arguments], user=HUB_ACCOUNT)
            found = {row["job"]: row["standing"] for row in json.loads(done.stdout)["jobs"]}
            assert (done.returncode, found[unknown]) == (0, "unknown"), done.stdout
            assert sorted(found.values()) == ["held", "held", "held", "unknown"]
        assert unknown in site.jobs()
        assert bob.model("third") == {}
        order(site.lab, "qdel", str(unknown), user="bob")
        until(lambda: unknown not in site.jobs())
        table.record(
            event,
            24,
            done="The database was replaced by an older copy: one session waited then, one was starting, one has "
            "ended since, one begun. The administrator ran `sgehub reap --end`; its owner deleted the last one.",
            outcome="Three are reachable, the ended one is gone; the one not on record is listed and stays.",
            saw="The one that is not on record has no page; its processes go on until its job is deleted.",
            log=[rf"not in this hub's ledger: job {unknown} of bob", r"alice:second is over"],
            seconds=seconds,
            limit=NORMAL_SECONDS + 10,
            ended=[("bob", "third")],
            noise=[ENDED, "token belongs to no server", "Deleting stale route /user/bob/third/"],
        )


def test_starts_are_cancelled_at_every_moment(fault_site: FaultSite, table: Table):
    """No moment leaves a job behind, and the next start of the same server has one job, its own."""
    site = fault_site
    names = ("alice", "bob", "carol")
    people = [site.person(name) for name in names]
    event = site.event()
    longest: list[float] = []
    with site.commands.replaced("qsub", faulty.late_answer(QSUB_SECONDS)):
        threads = [
            threading.Thread(target=_cancel, args=(site, person, index * STEP / len(names), longest))
            for index, person in enumerate(people)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(longest) == MOMENTS * len(names)
    for person in people:
        assert person.start(SMALL).status in (201, 202)
    for person in people:
        person.wait_until(ready=True)
    assert len(site.our_jobs()) == len(names)
    for name in names:
        assert len(list((site.home(name) / ".sgehub" / "run").iterdir())) <= 1
    table.record(
        event,
        26,
        done=f"{len(longest)} starts were cancelled, each {STEP / len(names):.2f} s later than the last, from "
        f"before qsub to ready; qsub answered {QSUB_SECONDS} s late.",
        outcome="Each job is deleted; the next start has one job.",
        saw="Each was gone at once.",
        log=[r"Job \d+ of \w+ has ended"],
        lines=len(longest),
        seconds=max(longest),
        limit=NORMAL_SECONDS,
    )


def _cancel(site: FaultSite, person: Person, first: float, longest: list[float]) -> None:
    """Start and cancel at each moment; note the seconds until neither server nor job is there."""
    for moment in range(MOMENTS):
        starting = threading.Thread(target=_start, args=(person,))
        starting.start()
        time.sleep(first + moment * STEP)
        until(person.model)
        begun = time.monotonic()
        answer = person.stop()
        assert answer.status in (202, 204), answer.text
        starting.join()
        person.wait_until(ready=False)
        until(lambda: not _jobs_of(site, person.name))
        longest.append(time.monotonic() - begun)


def _start(person: Person) -> None:
    with suppress(OSError):
        person.start(SMALL)


def _jobs_of(site: FaultSite, name: str) -> list[str]:
    return re.findall(r"(?m)^ *\d+ ", site.qstat("-u", name))
