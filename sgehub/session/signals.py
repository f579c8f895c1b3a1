"""What wakes a session: a signal, the end of its server, a thread that has finished.

Law: one pipe, so that waiting costs nothing and misses nothing. Grid Engine announces with SIGUSR2 that it will
kill the job (-notify in qsub(1)), and that is the time for a clean end, as are TERM, INT, HUP and XCPU (s_cpu).
SIGUSR1 only makes a note: it announces that the job will be *suspended*, and a suspended session must live. It
also stands for the soft runtime limit s_rt, after which a session may go on until h_rt.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

_ENDING = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGXCPU)
_NOTED = (signal.SIGUSR1, signal.SIGCHLD)


def no_wakeups() -> None:
    """Let no signal but SIGKILL do anything, and let none wake the parent; for a forked child."""
    signal.set_wakeup_fd(-1)
    for number in (*_ENDING, *_NOTED):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGCHLD else signal.SIG_IGN)


class Wakeups:
    """Collects what happens. `ending` is the first signal that asks for the end, or None."""

    def __init__(self) -> None:
        self.ending: signal.Signals | None = None
        self.announced = False  # SIGUSR1 has come
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in (*_ENDING, *_NOTED):
            signal.signal(number, lambda *_: None)

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
