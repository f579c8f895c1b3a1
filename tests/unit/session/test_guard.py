"""Whoever ends first, server, session program or both: the port is not free before the hub has been told."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time

import psutil
import pytest

from sgehub.session.ports import Hold, held, is_free

from .conftest import EVERYWHERE, alive, until


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
    for address in (EVERYWHERE, "127.0.0.1", "::", "::1"):
        for reuse in (True, False):
            try:
                bind(port, address, reuse=reuse).close()
            except OSError as error:
                assert error.errno == errno.EADDRINUSE
            else:
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


def guard_of(job) -> psutil.Process:
    """Return the guard: the child that is not the server."""
    children = psutil.Process(job.process.pid).children()
    [guard] = [child for child in children if child.pid != int(job.notes("pid")[0])]
    return guard


def test_a_killed_session_is_reported_and_its_server_ended(job, hub):
    """By the guard: the hub hears it while the server holds its port; then the server may end by itself."""
    hub.answers["/port"] = [503]
    then = []
    hub.observe = lambda path: path == "/end" and then.append(alive(job.notes("pid")[0]))
    job.start("listen")
    until(lambda: hub.posts)
    guard = guard_of(job)
    job.process.kill()
    killed = time.monotonic()
    until(lambda: hub.bodies("/end"))
    assert hub.times[-1] - killed < 0.5
    until(lambda: not alive(job.notes("pid")[0]))
    psutil.wait_procs([guard], 5)
    assert hub.bodies("/end") == [{"exit_code": 137}]
    assert then == [True]
    assert job.notes("clean") == [str(int(signal.SIGTERM))]
    assert not job.launch.exists()
    assert not guard.is_running()
    assert "the session program was killed; ending the server." in job.text()
    assert not refused(int(job.notes("port")[0]))


def test_the_guard_holds_the_port_while_the_hub_does_not_answer(job, hub):
    """Session and server are both gone, the hub starts again meanwhile: nobody takes the port."""
    hub.answers["/end"] = [503, 503, 503, 503, 503, 200]
    job.start("listen")
    until(lambda: hub.posts)
    guard = guard_of(job)
    port = int(job.notes("port")[0])
    for pid in (job.process.pid, int(job.notes("pid")[0])):
        os.kill(pid, signal.SIGKILL)
    while len(hub.bodies("/end")) < 5:
        assert refused(port)
        time.sleep(0.05)
    psutil.wait_procs([guard], 10)
    assert len(hub.bodies("/end")) == 6
    assert not refused(port)


def test_a_guard_that_is_killed_ends_nothing(job, hub):
    """The session goes on, and ends as ever."""
    job.start("listen")
    until(lambda: hub.posts)
    guard_of(job).kill()
    time.sleep(0.3)
    job.process.send_signal(signal.SIGTERM)
    assert job.end() == 0
    assert hub.bodies("/end") == [{"exit_code": 128 + signal.SIGTERM}]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_signals_do_not_reach_the_guard(job, hub, number):
    """Grid Engine announces to the session program, which knows what to do."""
    job.start("listen")
    until(lambda: hub.posts)
    guard = guard_of(job)
    assert os.getpgid(guard.pid) != os.getpgid(job.process.pid)
    guard.send_signal(number)
    time.sleep(0.3)
    assert guard.is_running()
    assert job.process.poll() is None
    assert hub.bodies("/end") == []
    job.process.send_signal(signal.SIGTERM)
    job.end()
    assert not guard.is_running()


def test_session_and_guard_are_small_together(job, hub):
    """Less than 30 MB, what they share counted once."""
    job.start("listen")
    until(lambda: not job.launch.exists())
    time.sleep(0.3)
    both = [psutil.Process(job.process.pid), guard_of(job)]
    sizes = [one.memory_full_info().pss / 1e6 for one in both]
    print(f"\nsession and guard: {sizes[0]:.1f} + {sizes[1]:.1f} MB", file=sys.stderr)
    assert sum(sizes) < 30
