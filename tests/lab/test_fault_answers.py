"""What the hub is told is nonsense, late, lost or of another time: nobody is lost, and nothing is done twice."""

from __future__ import annotations

import threading
import time

import pytest

from sgehub.lab.layout import HEAD
from tests.lab import faulty
from tests.lab.faults import TOLD_SECONDS, FaultSite, People, Table, outage, scene
from tests.lab.faulty import order, until
from tests.lab.one_session import ENDED, FAILED, OneSession

pytestmark = pytest.mark.timeout(400)

SILENT = r"Grid Engine is not answering"
BACK = r"Grid Engine answers again"
LATE = 60  # seconds that a late qstat takes; twice what the hub waits for it
NORMAL_SECONDS = 40.0  # from the first right answer: the hub asks every 20 s, and a late question is under way
QSUB_SECONDS = 30.0  # until a job is found by its name
SETTLED_SECONDS = 75.0  # until it is certain that there is none
CLOCK_SECONDS = 30.0  # from the start of a hub whose clock is wrong
SMALL = {"memory": "1G", "runtime": "00:30:00"}
ANSWERS = [
    ("nonsense", faulty.GARBAGE, "qstat printed random bytes"),
    ("half an answer", faulty.HALF, "qstat printed the first half of its answer and exited with 0"),
    ("nothing", faulty.EMPTY, "qstat printed nothing and exited with 0"),
    ("late", faulty.slow(LATE), f"qstat took {LATE} s"),
]


def asks_again(site: FaultSite, people: People) -> float:
    """Wait until the list of jobs is known again; return the seconds it took."""
    return until(lambda: "not answering" not in site.says(people.queued), 90)


def test_qstat_answers_nonsense_or_late(fault_site: FaultSite, table: Table):
    """What is not the whole list is no list: no job is taken for ended, and one that starts becomes ready."""
    with scene(fault_site) as people:
        for variant, script, done in ANSWERS:
            event = fault_site.event()
            away = outage(36 if variant == "late" else 30)
            with fault_site.commands.replaced("qstat", script):
                lasts = time.monotonic() + away
                if variant == "late":  # the session tells its port, and its host is known from before
                    (fault_site.home(people.starting.name) / ".wait").unlink()
                    people.wait_for({people.starting.name: "ready"})
                while time.monotonic() < lasts:
                    assert people.page(people.running) == 200
                    time.sleep(0.5)
                until(lambda: "not answering since" in fault_site.says(people.queued), TOLD_SECONDS)
                saw = fault_site.says(people.queued)
            seconds = asks_again(fault_site, people)
            assert fault_site.lab.run(HEAD, ["pgrep", "-fx", f"sleep {LATE}"]).stdout == ""
            table.record(
                event,
                16,
                variant,
                done=f"{done}, for {away:.0f} s.",
                outcome="All go on, and are told since when Grid Engine does not answer.",
                saw=saw,
                log=[SILENT, BACK],
                seconds=seconds,
                limit=NORMAL_SECONDS,
            )
        people.let_go()
        people.all_ready(90)


def test_the_answer_of_qsub_is_lost(fault_site: FaultSite, table: Table):
    """The job is found by its name, and nobody submits a second one."""
    alice = fault_site.person("alice")
    event = fault_site.event()
    begun = time.monotonic()
    with fault_site.commands.replaced("qsub", faulty.ANSWER_LOST):
        assert alice.start(SMALL).status in (201, 202)
        until(fault_site.our_jobs, what="a job")
    alice.wait_until(ready=True, seconds=60)
    seconds = time.monotonic() - begun
    (number,) = fault_site.jobs()
    saw = fault_site.page(alice)
    assert f"Job {number}" in saw or "running" in saw.lower()
    table.record(
        event,
        17,
        done="qsub queued the job and was killed before it could print its number.",
        outcome="The job is found by its name and carries the session; there is no second one.",
        saw=f"The session was ready {seconds:.1f} s after Start.",
        log=[r"Nobody knows whether .* was submitted", r"Job \d+ .*carries the server"],
        seconds=seconds,
        limit=QSUB_SECONDS,
    )


def test_qsub_is_killed_before_it_submits(fault_site: FaultSite, table: Table):
    """As soon as it is certain that there is no job the person is told so, and can start again."""
    alice = fault_site.person("alice")
    event = fault_site.event()
    begun = time.monotonic()
    with fault_site.commands.replaced("qsub", "kill -KILL $$"):
        starting = threading.Thread(target=alice.start, args=(SMALL,))
        starting.start()
        until(lambda: alice.model().get("pending") == "spawn")
        said = alice.progress(seconds=90)[-1]
        starting.join()
    seconds = time.monotonic() - begun
    assert said["failed"]
    assert fault_site.jobs() == []
    assert alice.start(SMALL).status in (201, 202)
    alice.wait_until(ready=True)
    table.record(
        event,
        17,
        "no job came of it",
        done="qsub was killed before it had submitted anything.",
        outcome="Once that is certain the person is told; the next Start works, there is one job.",
        saw=said["message"],
        log=[r"Nobody knows whether .* was submitted", r"alice did not start"],
        seconds=seconds,
        limit=SETTLED_SECONDS,
        noise=[FAILED, "Not starting alice's server"],
    )


@pytest.mark.parametrize(("variant", "ahead"), [("ahead", 300), ("behind", -300)])
def test_the_hubs_clock_is_wrong(fault_site: FaultSite, table: Table, *, variant: str, ahead: int):
    """Sessions go on, new ones start, an end from outside is noticed; the log says that a clock is wrong."""
    with scene(fault_site) as people:
        event = fault_site.event()
        begun = fault_site.restart(kill=False, env=faulty.wrong_clock(ahead))
        people.normal_again()
        seconds = time.monotonic() - begun
        people.let_go()
        people.all_ready()
        alice = OneSession(people, "alice")
        alice.kill()
        noticed = alice.reaches("gone")
        saw = alice.reads()
        alice.ready()
        table.record(
            event,
            22,
            variant,
            done=f"The hub was started with a clock five minutes {variant}; then a session was killed (-9).",
            outcome="All go on, the end of the killed one is noticed, a new one starts.",
            saw=f"{saw} (the killed session, {noticed:.1f} s later)",
            log=[rf"clock is 5 minutes {variant}", r"Job \d+ of alice has ended: "],
            seconds=seconds,
            limit=CLOCK_SECONDS,
            ended=[("alice", "")],
            noise=[ENDED],
        )
        assert noticed < CLOCK_SECONDS


def test_another_persons_job_breaks_the_list(fault_site: FaultSite, table: Table):
    """A name that makes the list ill-formed is its owner's affair: no other job is unknown because of it."""
    lab = fault_site.lab
    with scene(fault_site) as people:
        event = fault_site.event()
        name = 'x<y&z>"q'  # qsub takes no control character; the list that the hub gets has one as well
        order(lab, "qsub", "-N", name, "-q", "long.q", "-b", "y", "/bin/sleep", "500", user="carol")
        with fault_site.commands.replaced("qstat", faulty.ILL_FORMED):
            seconds = people.normal_again()
            lasts = time.monotonic() + outage(30)
            while time.monotonic() < lasts:
                saw = fault_site.says(people.queued)
                assert "waits in the queue" in saw
                assert people.page(people.running) == 200
                time.sleep(1)
            assert people.running.stop().status in (202, 204)  # an end is still noticed
            people.wait_for({people.running.name: "gone"})
            people.let_go()
            people.wait_for({people.queued.name: "ready", people.starting.name: "ready"})
        table.record(
            event,
            27,
            done="Another person's job had a name with a control character, < and &; the list was ill-formed.",
            outcome="Nobody notices: sessions wait, start and end as ever.",
            saw=saw,
            log=[r"Job \d+ of alice has ended"],
            seconds=seconds,
            limit=10,
            ended=[("alice", "")],
        )
