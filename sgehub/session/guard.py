"""Who watches over the session program: its parent, which stays in the job and does nothing until that is gone.

Law: forked before there are threads; passes signals and the exit code on. Only when the session program was
killed, or failed by an error that nobody foresaw, does it act: it tells the hub, ends the server that was left
alone, and holds the server's port meanwhile. What it needs for that it hears over a socket that nobody else has:
a secret is never on a command line, in an environment or in a file for its sake.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from sgehub.session.child import END_SECONDS, signal_group
from sgehub.session.launch import Launch, remove_launch
from sgehub.session.log import JobLog
from sgehub.session.report import report_end
from sgehub.session.signals import HANDLED

_FIRST_SECONDS = 2.0  # to tell the hub while the server still holds its port
_MORE_SECONDS = 30.0  # to tell it while only we hold it: the hub may be starting again
_LOOK = 0.05
_SIGNALLED = 128  # exit codes above it stand for signals
_MOST_SOCKETS = 4
_MOST_BYTES = 16384  # of one message, which arrives whole or not at all
_PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(frozen=True)
class Duty:
    """What of a launch is needed at its end: whom to tell, by which secret, and which launch file to remove."""

    end_url: str
    token: str = field(repr=False)
    file: tuple[int, int]

    @classmethod
    def of(cls, launch: Launch) -> Duty:
        """Take it from a launch."""
        return cls(launch.end_url, launch.token, launch.file)

    @classmethod
    def read(cls, words: str) -> Duty:
        """Read what `words` returns."""
        inode, modified, end_url, token = words.split(" ", 3)
        return cls(end_url, token, (int(inode), int(modified)))

    def words(self) -> str:
        """Return it as one line. A URL of a launch file has no spaces, a token may."""
        inode, modified = self.file
        return f"{inode} {modified} {self.end_url} {self.token}"


class Guard:
    """What the session program knows of its guard."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def watch(self, pid: int, sockets: Sequence[socket.socket]) -> None:
        """Say which server would be left alone, and which sockets hold its port."""
        self._send(f"server {pid}", [one.fileno() for one in sockets])

    def begin_anew(self, launch: Launch) -> None:
        """Say that this launch has taken the place of the one before, whose server has ended."""
        self._send(f"launch {Duty.of(launch).words()}", [])

    def done(self) -> None:
        """Say that nothing is left to do: the server has ended, and the hub was told."""
        self._send("done", [])

    def _send(self, message: str, descriptors: list[int]) -> None:
        data = message.encode("ascii")
        if len(data) <= _MOST_BYTES:
            with suppress(OSError):  # the guard was killed
                socket.send_fds(self._line, [data], descriptors)


def guarded(launch: Launch, session: Callable[[Guard], int], take_over: Callable[[Duty, int, int], None]) -> int:
    """Run `session` in a child and return its exit code, 128 + N if signal N has killed it.

    Then, or if `session` did not return, `take_over` is called before that with what is to be done for the last
    launch, this code and the server's process id, 0 if there is none. `session` unblocks the signals that
    `Wakeups` handles, by making one.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # none is lost between parent and child
    parent, child = os.getpid(), os.fork()
    if child == 0:
        theirs.close()
        with ours:
            _end_with(parent)
            guard = Guard(ours)
            code = session(guard)
            guard.done()
            return code
    ours.close()
    _pass_signals_to(child)
    with theirs:
        duty, server, held, done = _listen(theirs, Duty.of(launch))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code < 0 or not done:
            code = 128 - code if code < 0 else code or 1
            take_over(duty, code, server)
        for descriptor in held:
            os.close(descriptor)
    return code


def _end_with(parent: int) -> None:
    """Have the kernel ask the calling process to end as soon as its parent has gone."""
    with suppress(OSError, AttributeError):  # not on Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)  # blocked until it can be handled


def _pass_signals_to(child: int) -> None:
    """Most reach the whole group of the job's processes; some are sent to its first one alone."""

    def send(number: int, _: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else send)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def _listen(line: socket.socket, duty: Duty) -> tuple[Duty, int, list[int], bool]:
    """Wait until the session program is gone; return what it last said of launch, server and the port's sockets.

    `duty` is the first launch's. The last value tells whether nothing is left to do.
    """
    pid, held, done = 0, list[int](), False
    while True:
        data, descriptors, _, _ = socket.recv_fds(line, _MOST_BYTES, _MOST_SOCKETS)
        if not data:
            return duty, pid, held, done
        for descriptor in held:
            os.close(descriptor)
        held = descriptors
        about, _, words = data.decode("ascii").partition(" ")
        if about == "launch":
            duty, pid = Duty.read(words), 0
        elif about == "done":
            done = True
        else:
            pid = int(words)


def end_for(duty: Duty, path: str, log: JobLog, code: int, server: int) -> None:
    """Do for a session program that is gone what it would have done. `path` is the launch file."""
    told = report_end(duty.end_url, duty.token, code, _FIRST_SECONDS)
    what = "was killed" if code > _SIGNALLED else "has failed"
    log.say(f"the session program {what} (exit code {code}); ending the server.")
    remove_launch(path, duty.file)
    if server:
        until = time.monotonic() + END_SECONDS
        signal_group(server, signal.SIGTERM)
        while signal_group(server, 0) and time.monotonic() < until:
            time.sleep(_LOOK)
        signal_group(server, signal.SIGKILL)
    if not told:
        report_end(duty.end_url, duty.token, code, _MORE_SECONDS)
