"""What is left of a session whose program was killed: it tells the hub, and ends the server that was left alone.

Law: one small child, forked before there are threads, that sleeps until the session program is gone, which the
kernel tells it however that came about. It holds the server's port until the hub knows. It never acts while the
session program lives, and does not outlive it otherwise.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sgehub.session.child import END_SECONDS, signal_group
from sgehub.session.launch import Launch
from sgehub.session.log import JobLog
from sgehub.session.report import report_end
from sgehub.session.signals import no_wakeups

KILLED = 128 + signal.SIGKILL
_FIRST_SECONDS = 2.0  # to tell the hub while the server still holds its port
_MORE_SECONDS = 30.0  # to tell it while only we hold it: the hub may be starting again
_LOOK = 0.05
_MOST_SOCKETS = 4


class Guard:
    """Watches over the calling process. `path` is the launch file."""

    def __init__(self, launch: Launch, path: str, log: JobLog) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._ours.close()
                _take_over(_wait_for_the_end(theirs), launch, path, log)
            finally:
                os._exit(0)  # nothing of the parent's must be done twice
        theirs.close()

    def watch(self, pid: int, sockets: Sequence[socket.socket]) -> None:
        """Say which server would be left, and which sockets hold its port."""
        with suppress(OSError):  # somebody has killed the guard
            socket.send_fds(self._ours, [str(pid).encode()], [one.fileno() for one in sockets])

    def dismiss(self) -> None:
        """End the guard; nothing of it is left when this returns."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._ours.close()


def _wait_for_the_end(parent: socket.socket) -> int:
    """Return when the session program is gone: the server's process id, 0 if there is none."""
    os.setsid()  # what ends the job's group of processes does not reach us
    no_wakeups()
    pid, kept = 0, []
    while True:
        data, descriptors, _, _ = socket.recv_fds(parent, 32, _MOST_SOCKETS)
        if not data:
            return pid
        for descriptor in kept:
            os.close(descriptor)
        pid, kept = int(data), descriptors


def _take_over(pid: int, launch: Launch, path: str, log: JobLog) -> None:
    told = report_end(launch.end_url, launch.token, KILLED, _FIRST_SECONDS)
    log.say("the session program was killed; ending the server.")
    with suppress(OSError):
        Path(path).unlink()
    if pid:
        until = time.monotonic() + END_SECONDS
        signal_group(pid, signal.SIGTERM)
        while signal_group(pid, 0) and time.monotonic() < until:
            time.sleep(_LOOK)
        signal_group(pid, signal.SIGKILL)
    if not told:
        report_end(launch.end_url, launch.token, KILLED, _MORE_SECONDS)
