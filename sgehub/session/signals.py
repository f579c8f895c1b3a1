"""What wakes a session: a signal, the end of its server, a thread that has finished.

Law: one pipe, so that waiting costs nothing and misses nothing. Grid Engine announces with SIGUSR2 that it will
kill the job (-notify in qsub(1)), and that is the time for a clean end, as are TERM, INT, HUP and XCPU (s_cpu).
SIGUSR1 only makes a note: it announces that the job will be *suspended*, and a suspended session must live. It
also stands for the soft runtime limit s_rt, after which a session may go on until h_rt. Both go to every process
of the job, whatever its process group.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

_ENDING = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)
_NOTED = (signal.SIGUSR1, signal.SIGCHLD)
HANDLED = (*_ENDING, *_NOTED)


def ignore_announcements() -> None:
    """Ignore what Grid Engine announces, and let programs that are run from here inherit that; execve(2)."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


class Wakeups:
    """Collects what happens. `ending` is the first signal that asks for the end, or None."""

    def __init__(self) -> None:
        self.ending: signal.Signals | None = None
        self.announced = False  # SIGUSR1 has come
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)  # what came meanwhile arrives now

    def poke(self) -> None:
        """Wake the waiting thread; for other threads."""
        with suppress(BlockingIOError):  # full: it will wake anyway
            os.write(self._write, b"\0")

    def wait(self, seconds: float | None = None) -> None:
        """Return when something has happened since the last call, or after `seconds`."""
        select.select([self._read], [], [], seconds)
        with suppress(BlockingIOError):
            for number in os.read(self._read, 4096):
                if number in _ENDING:
                    self.ending = self.ending or signal.Signals(number)
                self.announced = self.announced or number == signal.SIGUSR1
