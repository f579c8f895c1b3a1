"""Whoever ends first, server, session program or both: the port is not free before the hub has been told."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from sgehub.session.guard import Duty
from sgehub.session.ports import Hold, held, is_free

from .conftest import AGAIN, EVERYWHERE, alive, until

NEWER = "tok-of-this-run"


def bind(port: int, address: str = EVERYWHERE, *, reuse: bool = True, listen: bool = True) -> socket.socket:
    """Take a port as somebody else would."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        if ":" in address:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
        if listen:
            made.listen()
    except OSError:
        made.close()
        raise
    return made


def refused(port: int) -> bool:
    """Tell whether nobody can take the port, whatever way they try."""
    ways = [(address, reuse) for address in (EVERYWHERE, "127.0.0.1", "::", "::1") for reuse in (True, False)]
    return not any(can_bind(port, *way) for way in ways)


def can_bind(port: int, address: str, reuse: bool) -> bool:  # noqa: FBT001 - one of a way's two words
    """Tell whether somebody can take the port in this way."""
    try:
        bind(port, address, reuse=reuse).close()
    except OSError:
        return False
    return True


def test_a_held_port_is_the_servers_and_then_nobodys(job):
    """A server binds it; after the seal nobody does, also when the server has ended, until the hold is closed."""
    port = job.ports[0]
    hold = Hold(EVERYWHERE, port)
    assert is_free(EVERYWHERE, port)
    server = bind(port)
    hold.seal()
    assert refused(port)
    server.close()
    assert refused(port)
    hold.close()
    assert not refused(port)


def test_a_port_bound_beforehand_gains_nothing(job):
    """Somebody who has bound the port without listening, before the session came, cannot listen on it after."""
    port = job.ports[0]
    with bind(port, listen=False) as early:
        hold = Hold(EVERYWHERE, port)
        server = bind(port)
        hold.seal()
        server.close()
        with pytest.raises(OSError, match="in use"):
            early.listen()
        hold.close()


@pytest.mark.parametrize("address", [EVERYWHERE, "127.0.0.1", "::", "::1"])
def test_a_port_that_is_somebodys_is_not_held(job, address):
    """Of IPv6 neither: by a name the proxy may come that way."""
    port = job.ports[0]
    with bind(port, address):
        assert held(EVERYWHERE, port) is None
    hold = held(EVERYWHERE, port)
    assert hold is not None
    hold.close()


@pytest.mark.parametrize("how", [["later", "0.5", "0"], ["listen"]])
def test_the_port_is_not_free_before_the_hub_knows(job, hub, how):
    """Whether the server ended by itself or was killed."""
    seen = []
    hub.observe = lambda path: path == "/end" and seen.append(refused(int(job.notes("port")[0])))
    job.start(*how)
    if how == ["listen"]:
        until(lambda: hub.posts)
        os.kill(int(job.notes("pid")[0]), signal.SIGKILL)
    job.end()
    assert seen == [True]
    assert not refused(int(job.notes("port")[0]))


def program_of(job) -> psutil.Process:
    """Return the session program: the only child of its guard, which is the job's first process."""
    [program] = psutil.Process(job.process.pid).children()
    return program


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_session_is_reported_and_its_server_ended(job, hub, number):
    """The hub hears it while the server holds its port; then the server may end by itself."""
    hub.answers["/port"] = [503]
    then = []
    hub.observe = lambda path: path == "/end" and then.append(alive(job.notes("pid")[0]))
    job.start("listen")
    until(lambda: hub.posts)
    program_of(job).send_signal(number)
    killed = time.monotonic()
    until(lambda: hub.bodies("/end"))
    assert hub.times[-1] - killed < 5
    assert job.end() == 128 + number
    assert not alive(job.notes("pid")[0])
    assert hub.bodies("/end") == [{"exit_code": 128 + number}]
    assert then == [True]
    assert job.notes("clean") == [str(int(signal.SIGTERM))]
    assert not job.launch.exists()
    assert "the session program was killed" in job.text()
    assert not refused(int(job.notes("port")[0]))


def test_an_end_is_told_without_a_thread_where_none_can_be_started(job, hub):
    """The person's limit of processes on a host; the server ends in order, and is reported, all the same."""
    job.start("listen", crowded=("end",))
    until(lambda: hub.posts)
    program_of(job).send_signal(signal.SIGUSR2)
    assert job.end() == 0
    assert hub.bodies("/end") == [{"exit_code": 128 + signal.SIGUSR2}]
    assert job.notes("clean")
    assert not alive(job.notes("pid")[0])
    assert "Traceback" not in job.text()


@pytest.mark.parametrize("crowded", [("report",), ("report", "end")])
def test_a_session_that_fails_leaves_no_server_and_tells_the_hub(job, hub, crowded):
    """An error that nobody foresaw ends the session program, not in silence and not alone."""
    job.start("listen", crowded=crowded)
    assert job.end() == 1
    assert [(path, body) for path, _, body in hub.posts] == [("/end", {"exit_code": 1})]
    assert not alive(job.notes("pid")[0])
    assert not job.launch.exists()
    assert "can't start new thread" in job.text()
    assert "the session program has failed (exit code 1); ending the server." in job.text()


def test_a_server_whose_output_nobody_can_read_is_ended(job, hub):
    """It would stand still as soon as its pipe is full; the log says why it ends."""
    job.start("listen", crowded=("log",))
    assert job.end() == 1
    assert hub.bodies("/end") == [{"exit_code": 1}]
    assert not any(map(alive, job.notes("pid")))
    assert "you have reached your limit of processes there" in job.text()


def test_a_session_that_is_killed_before_its_server_listens_is_reported(job, hub):
    """The server that was starting is ended as well."""
    job.start("slow", "30")
    until(lambda: job.notes("pid"))
    program_of(job).kill()
    assert job.end() == 137
    assert [path for path, _, _ in hub.posts] == ["/end"]
    assert not alive(job.notes("pid")[0])


def test_a_session_that_is_killed_after_it_began_anew_is_reported_with_the_newer_secrets(job, hub):
    """Those of the run before are worth nothing; the guard hears the newer ones where nobody else does."""
    hub.answers["/port"] = [403, 503]
    job.start("listen", environment=AGAIN)
    until(lambda: "waiting for the hub to write its launch file anew" in job.text())
    job.write("listen", token=NEWER)
    until(lambda: len(hub.bodies("/port")) > 1)
    assert job.launch.exists()
    family = [job.process.pid, program_of(job).pid]
    open_to_others = [
        Path(f"/proc/{pid}/{name}").read_bytes() for pid in family for name in ("cmdline", "environ")
    ]
    program_of(job).kill()
    assert job.end() == 137
    ends = [(token, body) for path, token, body in hub.posts if path == "/end"]
    assert ends == [(f"token {NEWER}", {"exit_code": 137})]
    assert not job.launch.exists()
    assert not any(map(alive, job.notes("pid")))
    assert not [text for text in [*open_to_others, job.log.read_bytes()] if NEWER.encode() in text]


def test_what_the_guard_hears_of_a_launch_is_what_its_end_needs():
    """A token may have spaces; what a launch says beside that stays where it is."""
    duty = Duty("http://127.0.0.1:8081/hub/api/sgehub/end", "a token of words", (7, 1763740000123456789))
    assert Duty.read(duty.words()) == duty
    assert duty.token not in repr(duty)


def test_the_port_is_held_while_the_hub_does_not_answer(job, hub):
    """Session program and server are both gone, the hub starts again meanwhile: nobody takes the port."""
    hub.answers["/end"] = [503, 503, 503, 503, 503, 200]
    job.start("listen")
    until(lambda: hub.posts)
    port = int(job.notes("port")[0])
    program_of(job).kill()
    os.kill(int(job.notes("pid")[0]), signal.SIGKILL)
    while len(hub.bodies("/end")) < 5:
        assert refused(port)
        time.sleep(0.05)
    assert job.end() == 137
    assert len(hub.bodies("/end")) == 6
    assert not refused(port)


def test_without_its_guard_a_session_ends_cleanly(job, hub):
    """The kernel tells it; Grid Engine takes the job as ended, so that nothing may be left of it."""
    job.start("listen")
    until(lambda: hub.posts)
    program = program_of(job)
    job.process.kill()
    psutil.wait_procs([program], 5)
    assert not program.is_running()
    assert hub.bodies("/end") == [{"exit_code": 128 + signal.SIGTERM}]
    assert job.notes("clean") == [str(int(signal.SIGTERM))]


def test_a_signal_to_the_whole_group_counts_once(job, hub):
    """Grid Engine signals all of the job's processes, and the guard passes its own on."""
    job.start("listen")
    until(lambda: hub.posts)
    for process in (psutil.Process(job.process.pid), program_of(job)):
        process.send_signal(signal.SIGUSR2)
    assert job.end() == 0
    assert hub.bodies("/end") == [{"exit_code": 128 + signal.SIGUSR2}]


def test_no_signal_is_lost_at_the_start(job):
    """Whenever it comes, the job ends soon: by the signal itself before anything has begun, else cleanly."""
    others = psutil.Process().children()  # a hub of other tests, for instance
    for tenths in range(12):
        job.start("listen")
        time.sleep(tenths / 100)
        job.process.send_signal(signal.SIGTERM)
        assert job.end(5) in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        assert psutil.Process().children() == others


def test_session_and_guard_are_small_together(job):
    """Less than 30 MB, what they share counted once, and as still as one alone."""
    job.start("listen")
    until(lambda: not job.launch.exists())
    time.sleep(0.3)
    both = [psutil.Process(job.process.pid), program_of(job)]
    sizes = [one.memory_full_info().pss / 1e6 for one in both]
    print(f"\nguard and session: {sizes[0]:.1f} + {sizes[1]:.1f} MB", file=sys.stderr)
    assert sum(sizes) < 30
    switches = [one.num_ctx_switches().voluntary for one in both]
    time.sleep(3)
    for one, before in zip(both, switches, strict=True):
        assert one.num_ctx_switches().voluntary <= before + 2
