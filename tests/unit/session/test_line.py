"""A session and its line: how the hub keeps knowing of it, and what no hub can do to it any more."""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest

from .conftest import AGAIN, TOKEN, alive, until

NEWER = "tok-of-this-run"
LOOK = 5.0  # seconds between looks of a session that is refused after it was accepted


@pytest.fixture(autouse=True)
def _with_line(job):
    """Let the hub keep lines in all of these tests."""
    job.line = True


def test_the_port_is_reported_on_the_line(job, hub):
    """There and nowhere else; the secrets go with the first answer, although it does not end."""
    job.start("listen")
    until(lambda: not job.launch.exists())
    assert hub.bodies("/line") == [{"port": int(job.notes("port")[0])}]
    assert [path for path, _, _ in hub.posts] == ["/line"]
    assert len(hub.lines) == 1
    time.sleep(0.5)
    assert len(hub.posts) == 1


def test_a_broken_line_is_made_again(job, hub):
    """Soon, with the same port; the session does not say a word of it."""
    job.start("listen")
    until(lambda: hub.lines)
    before = job.text()
    for times in (2, 3):
        hub.hang_up()
        until(lambda times=times: len(hub.posts) == times and hub.lines, 8)
    [port] = job.notes("port")
    assert hub.bodies("/line") == [{"port": int(port)}] * 3
    assert job.process.poll() is None
    assert job.text() == before


def test_a_line_that_always_breaks_is_not_hammered(job, hub):
    """Something between hub and session may cut every answer: the pauses grow all the same."""
    hub.short = True
    job.start("listen")
    until(lambda: hub.posts)
    time.sleep(4)
    assert 3 <= len(hub.posts) <= 8


@pytest.mark.parametrize("status", [403, 404, 409])
def test_the_first_refusal_ends_the_session_and_later_ones_do_not(job, hub, status):
    """Once accepted, it lives on: it says so once, and asks again after a long pause."""
    hub.answers["/line"] = [200, status]
    job.start("listen")
    until(lambda: hub.lines)
    hub.hang_up()
    until(lambda: "does not know this session any more" in job.text())
    time.sleep(1)
    assert job.process.poll() is None
    assert alive(job.notes("pid")[0])
    assert len(hub.posts) == 2
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 0
    hub.answers["/line"] = [status]
    assert job.run("listen") == 1
    assert f"the hub has refused this session (HTTP {status})" in job.text()


@pytest.mark.parametrize("early", [True, False])
def test_a_run_that_was_accepted_with_the_secrets_of_one_before_begins_once_more_with_its_own(job, hub, early):
    """A hub that has just started takes them for a moment; newer ones come before its no, or after it."""
    hub.answers["/line"] = [200, 403, 200]
    job.start("listen", environment=AGAIN)
    until(lambda: hub.lines and not job.launch.exists())
    if early:
        job.write("listen", token=NEWER)
    hub.hang_up()
    until(lambda: "does not know this session any more" in job.text())
    if not early:
        time.sleep(0.5)
        assert alive(job.notes("pid")[0])
        job.write("listen", token=NEWER)
    until(lambda: len(hub.posts) == 3 and hub.lines, 20)
    until(lambda: not job.launch.exists())
    first, second = job.notes("port")
    assert hub.bodies("/line") == [{"port": int(first)}] * 2 + [{"port": int(second)}]
    assert [token for _, token, _ in hub.posts] == [f"token {TOKEN}"] * 2 + [f"token {NEWER}"]
    assert [alive(pid) for pid in job.notes("pid")] == [False, True]
    assert "waiting for the hub to write its launch file anew" in job.text()
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 0
    assert [token for path, token, _ in hub.posts if path == "/end"] == [f"token {NEWER}"]


@pytest.mark.parametrize(("environment", "written"), [(AGAIN, False), ((), True)])
def test_a_hub_that_forgot_a_session_ends_none(job, hub, environment, written):
    """Neither another run for which the hub writes nothing, nor a first run that finds another file."""
    hub.answers["/line"] = [200, 403]
    job.start("listen", environment=environment)
    until(lambda: hub.lines and not job.launch.exists())
    if written:
        job.write("listen", token=NEWER)
    hub.hang_up()
    until(lambda: "does not know this session any more" in job.text())
    time.sleep(LOOK + 1.5)
    assert job.process.poll() is None
    assert len(hub.posts) == 2
    assert [alive(pid) for pid in job.notes("pid")] == [True]
    assert job.launch.exists() == written


def test_the_line_ends_after_the_word_of_the_end(job, hub):
    """The hub learns the exit code first, and that the job is over by the closing of the line."""
    open_then = []
    hub.observe = lambda path: path == "/end" and open_then.append(len(hub.lines))
    job.start("listen")
    until(lambda: hub.lines)
    job.process.send_signal(signal.SIGUSR2)
    assert job.end() == 0
    assert open_then == [1]
    until(lambda: hub.lost)
    assert len(hub.bodies("/line")) == 1


def test_a_session_that_is_killed_whole_is_seen_at_once(job, hub):
    """Nobody is left to report anything: the kernel closes the line."""
    job.start("listen")
    until(lambda: hub.lines)
    session = psutil.Process(job.process.pid)
    family = [session, *session.children(recursive=True)]
    for one in family:  # so that none sees another's end
        one.suspend()
    begin = time.monotonic()
    for one in family:
        one.kill()
    until(lambda: hub.lost)
    assert hub.lost[0] - begin < 10
    assert hub.bodies("/end") == []


def test_the_server_does_not_hold_the_line(job, hub):
    """It ends with the session program, also if kernels live on."""
    job.start("listen")
    until(lambda: hub.lines)
    [program] = psutil.Process(job.process.pid).children()
    server = psutil.Process(int(job.notes("pid")[0]))
    server.suspend()
    program.kill()
    until(lambda: hub.lost)
    server.resume()
    job.end()


def test_a_job_that_runs_again_waits_for_its_launch_file(job, hub):
    """Its first run has removed it; the hub writes another one. The log says so once."""
    job.start(environment=AGAIN)
    until(lambda: "Grid Engine runs this job again; waiting for the hub" in job.text())
    time.sleep(1)
    assert job.process.poll() is None
    job.write("listen")
    until(lambda: hub.lines)
    assert job.text().count("runs this job again") == 1


def test_a_job_that_waits_for_its_launch_file_can_be_deleted(job):
    """Nothing has begun that would have to end cleanly."""
    job.start(environment=AGAIN)
    until(lambda: "runs this job again" in job.text())
    job.process.send_signal(signal.SIGUSR2)
    assert job.end(2) == -signal.SIGUSR2


def test_an_old_run_leaves_the_new_ones_launch_file(job):
    """Grid Engine ends it on one host while the next run waits for its file on another."""
    job.start("listen")
    until(lambda: not job.launch.exists())
    job.write("listen")
    os.kill(job.process.pid, signal.SIGUSR2)
    assert job.end() == 0
    assert job.launch.exists()
