"""Something happens to one job: its person is told what, and starts anew or goes on; nobody else notices."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from sgehub.lab.cluster import Lab
from tests.lab import faulty
from tests.lab.faults import RECORDING, People, Table
from tests.lab.faulty import order, until
from tests.lab.one_session import ENDED, FAILED, OneSession, people_of, rest

pytestmark = pytest.mark.timeout(240)

NODES = ("node01", "node02", "node03")
NORMAL_SECONDS = 30.0  # from the start of the hub's process
SECONDS = 15.0  # from a job's end until its person may start anew
TOLD_SECONDS = 30.0  # until the reason is read in the accounting: after 2, 7, 22 s
RUNTIME = 60 if RECORDING else 20  # seconds, the shortest that sessions of this site may ask for
# Each child may have 1G for itself; the job may have as much in all.
FILL = """
import subprocess, sys
hold = [sys.executable, "-c", "held = bytearray(700 << 20); import time; time.sleep(60)"]
held = [subprocess.Popen(hold) for _ in range(2)]
"""


@pytest.fixture(scope="module")
def people(fault_lab: Lab) -> Iterator[People]:
    """Run one hub for all tests of this file."""
    with people_of(fault_lab, site={"shortest_runtime": RUNTIME}) as found:
        yield found


@pytest.fixture(autouse=True)
def _rested(people: People) -> Iterator[None]:
    yield
    rest(people)


def test_the_servers_process_dies(people: People, table: Table):
    """The session says so itself: the route goes at once, the person is told why, and may start anew."""
    alice, bob = OneSession(people, "alice"), OneSession(people, "bob")
    bob.start()
    alice.ready()
    bob.reaches("ready")
    event = people.site.event()
    alice.kill("jupyterhub-singleuser")
    alice.reaches("gone")
    seconds = until(lambda: len(people.site.our_jobs()) == 1)
    until(lambda: "killed" in alice.reads(), TOLD_SECONDS)
    table.record(
        event,
        9,
        done="The server's process was killed (-9).",
        outcome="The session ends, its route at once; the person is told why.",
        saw=alice.reads(),
        log=r"Job \d+ of alice has ended: ",
        seconds=seconds,
        limit=SECONDS,
        ended=[alice.server],
        noise=[ENDED],
    )
    event = people.site.event()
    bob.kill()
    seconds = bob.jobless()
    until(lambda: "killed" in bob.reads(), TOLD_SECONDS)
    table.record(
        event,
        9,
        "the whole job",
        done="All processes of the job were killed (-9), so that nobody could tell the hub.",
        outcome="The hub sees the session's line break, looks, and tells the person.",
        saw=bob.reads(),
        log=r"Job \d+ of bob has ended: ",
        seconds=seconds,
        limit=SECONDS,
        ended=[bob.server],
        noise=[ENDED],
    )


def test_the_job_is_deleted_from_outside(people: People, table: Table):
    """Whoever deletes the job ends the session; the person reads that somebody did."""
    alice = OneSession(people, "alice").ready()
    event = people.site.event()
    order(people.site.lab, "qdel", alice.job)
    seconds = alice.jobless()
    until(lambda: "deleted" in alice.reads(), TOLD_SECONDS)
    table.record(
        event,
        10,
        done="An administrator deleted the job (qdel).",
        outcome="The session ends; the person is told that the job was deleted.",
        saw=alice.reads(),
        log=r"Job \d+ of alice has ended: ",
        seconds=seconds,
        limit=SECONDS,
        ended=[alice.server],
        noise=[ENDED],
    )
    event = people.site.event()
    order(people.site.lab, "qmod", "-d", "long.q")
    alice.start(queue="long.q")
    until(lambda: "waits in the queue" in people.site.says(alice.person))
    order(people.site.lab, "qdel", alice.job)
    seconds = alice.jobless()
    assert "It was deleted while it waited." in alice.reads()
    table.record(
        event,
        10,
        "waiting",
        done="An administrator deleted a job that waited in the queue.",
        outcome="The start ends at once, with the reason.",
        saw=alice.reads(),
        log=r"Job \d+ of alice did not start: .* It was deleted while it waited\.",
        seconds=seconds,
        limit=SECONDS,
        noise=[FAILED],
    )


def test_the_job_is_deleted_while_no_hub_runs(people: People, table: Table):
    """Its server ends in order, and nobody hears of it; the next hub still tells a deletion from a Quit."""
    alice = OneSession(people, "alice").ready()
    event = people.site.event()
    number = alice.job
    people.site.hub.stop(kill=True)
    order(people.site.lab, "qdel", number)
    until(lambda: not people.site.our_jobs(), what="the job is gone")
    begun = people.site.restart()
    alice.jobless()
    seconds = time.monotonic() - begun
    assert "deleted" in alice.reads()
    table.record(
        event,
        10,
        "while no hub ran",
        done="An administrator deleted the job while the hub was stopped.",
        outcome="The next hub ends the session, and its person is told that the job was deleted.",
        saw=alice.reads(),
        log=r"Job \d+ of alice is over: .* It was deleted",
        seconds=seconds,
        limit=SECONDS + NORMAL_SECONDS,
        ended=[alice.server],
        noise=[ENDED],
    )


def test_the_job_is_held_and_released(people: People, table: Table):
    """It waits as long as it is held, says so, and starts when the hold is released."""
    lab, alice = people.site.lab, OneSession(people, "alice")
    order(lab, "qmod", "-d", "long.q")
    alice.start(queue="long.q")
    until(lambda: list(people.site.our_jobs().values()) == ["qw"])
    event = people.site.event()
    order(lab, "qhold", alice.job)
    order(lab, "qmod", "-e", "long.q")
    until(lambda: "held" in people.site.says(alice.person))
    time.sleep(5)
    saw = people.site.says(alice.person)
    assert alice.letters() == "hqw"
    order(lab, "qrls", alice.job)
    seconds = alice.reaches("ready")
    table.record(
        event,
        11,
        done="A waiting job was held (qhold) and released (qrls).",
        outcome="It waits, says that it is held, and starts after the release.",
        saw=saw,
        log=r"Job \d+ of alice is held \(hqw\)",
        seconds=seconds,
        limit=30,
    )


def test_grid_engine_cannot_start_the_job(people: People, table: Table):
    """A job in the error state never starts: it is deleted, and its person reads Grid Engine's reason."""
    alice = OneSession(people, "alice")
    event = people.site.event()
    with faulty.no_homes(people.site.lab, *NODES):
        begun = time.monotonic()
        alice.start()
        alice.jobless()
        seconds = time.monotonic() - begun
    saw = alice.reads()
    assert "could not start job" in saw
    table.record(
        event,
        12,
        done="/home was missing on all execution hosts: the job came into the state Eqw.",
        outcome="The start ends with Grid Engine's own reason, and the job is deleted.",
        saw=saw,
        log=r"Job \d+ of alice did not start: Grid Engine could not start job \d+: ",
        seconds=seconds,
        limit=SECONDS,
        noise=[FAILED, r"is in the error state"],
    )


def test_the_job_is_suspended_and_resumed(people: People, table: Table):
    """A suspended session is a live one: it does not answer, says why, and answers again when it is resumed."""
    lab, alice = people.site.lab, OneSession(people, "alice").ready()
    job, event = alice.job, people.site.event()
    order(lab, "qmod", "-sj", job)
    until(lambda: "suspended" in alice.reads())
    saw = alice.reads()
    time.sleep(5)
    assert alice.person.model()["ready"]
    order(lab, "qmod", "-usj", job)
    seconds = until(lambda: alice.state == "ready" and "suspended" not in alice.reads())
    table.record(
        event,
        13,
        done="The job was suspended (qmod -sj) and resumed (qmod -usj).",
        outcome="The session stays, says that it is suspended, and answers again.",
        saw=saw,
        log=r"Job \d+ of alice is suspended on node\d+",
        seconds=seconds,
        limit=SECONDS,
    )


def test_the_job_reaches_its_runtime(people: People, table: Table):
    """The person reads that it was the runtime that they had asked for."""
    alice = OneSession(people, "alice").ready(runtime=str(RUNTIME))
    event = people.site.event()
    until(lambda: not people.site.our_jobs() or alice.state == "gone")
    seconds = alice.jobless()
    until(lambda: "runtime" in alice.reads(), TOLD_SECONDS)
    table.record(
        event,
        14,
        done=f"A session of {RUNTIME} seconds reached its runtime (h_rt).",
        outcome="The session ends; the person is told that it was the runtime.",
        saw=alice.reads(),
        log=r"Job \d+ of alice has ended: It reached its runtime",
        seconds=seconds,
        limit=SECONDS,
        ended=[alice.server],
        noise=[ENDED],
    )


def test_the_job_reaches_its_memory(people: People, table: Table):
    """What one process wants beyond it is refused to that process; a job that uses up more is killed."""
    alice = OneSession(people, "alice").ready()
    kernel = alice.kernel()
    event = people.site.event()
    reply = kernel.run("held = bytearray(4 << 30)")
    assert reply["ename"] == "MemoryError"
    begun = time.monotonic()
    assert kernel.run("print(1)")["status"] == "ok"
    seconds = time.monotonic() - begun
    assert alice.page() == 200
    table.record(
        event,
        15,
        "one cell",
        done="A cell of a notebook asked for 4G in a session of 1G.",
        outcome="The cell fails, kernel and session go on.",
        saw="MemoryError below the cell.",
        log=[],
        seconds=seconds,
        limit=SECONDS,
    )
    event = people.site.event()
    kernel.run(FILL, wait=False)
    until(lambda: not people.site.our_jobs() or alice.state == "gone")
    seconds = alice.jobless()
    until(lambda: "memory" in alice.reads(), TOLD_SECONDS)
    table.record(
        event,
        15,
        "the job",
        done="A cell started two programs that took 700M each in a session of 1G.",
        outcome="Grid Engine kills the job; the person is told that it was the memory.",
        saw=alice.reads(),
        log=r"Job \d+ of alice has ended: .*memory",
        seconds=seconds,
        limit=SECONDS,
        ended=[alice.server],
        noise=[ENDED],
    )


def test_the_home_is_full_before_the_start(people: People, table: Table):
    """Nothing is submitted; the person reads what to delete, and starts when that is done."""
    site, alice = people.site, OneSession(people, "alice")
    with faulty.small_home(site.lab, "alice", "4m"):
        faulty.fill(site.lab, "alice")
        event = site.event()
        alice.person.start({})
        until(lambda: alice.state == "gone")
        saw = alice.reads()
        assert "full" in saw
        assert site.our_jobs() == {}
        order(site.lab, "rm", "/home/alice/big")
        begun = time.monotonic()
        alice.ready()
        table.record(
            event,
            18,
            "before the start",
            done="The home had no byte left when Start was pressed; later something was deleted.",
            outcome="Nothing is submitted, the person is told what to do, and the next start succeeds.",
            saw=saw,
            log=r"The server of alice did not start: .*full",
            seconds=time.monotonic() - begun,
            limit=30,
            noise=[FAILED],
        )
        event = site.event()
        faulty.fill(site.lab, "alice")
        assert alice.save("kept.txt", "x" * 100_000) == 500
        time.sleep(3)
        assert alice.page() == 200
        order(site.lab, "rm", "/home/alice/big")
        seconds = until(lambda: alice.save("kept.txt", "x" * 100_000) in (200, 201))
        table.record(
            event,
            18,
            "while it runs",
            done="The home was filled while the session ran; later something was deleted.",
            outcome="The session goes on; what is saved is saved as soon as there is room.",
            saw="JupyterLab: the file cannot be saved; later it is.",
            log=[],
            seconds=seconds,
            limit=SECONDS,
        )
        rest(people)  # its processes hold the small home


def test_the_home_becomes_full_while_the_server_starts(people: People, table: Table):
    """Server and session need no room in the home: the session starts, so that its person can make room."""
    site, alice = people.site, OneSession(people, "alice")
    with faulty.small_home(site.lab, "alice", "4m"):
        order(site.lab, "touch", "/home/alice/.wait", user="alice")
        alice.start()
        until(lambda: list(site.our_jobs().values()) == ["r"])
        event = site.event()
        faulty.fill(site.lab, "alice")
        order(site.lab, "rm", "/home/alice/.wait")
        seconds = alice.reaches("ready")
        table.record(
            event,
            18,
            "while it starts",
            done="The home was filled between qsub and the server's start.",
            outcome="The session starts all the same, so that the person can delete something in it.",
            saw=alice.reads(),
            log=[],
            seconds=seconds,
            limit=30,
        )
        rest(people)  # its processes hold the small home
