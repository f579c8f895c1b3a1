"""A running command on a host, signalled as if it were a child of ours."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

from sgehub.lab import processes


class HostProcess(subprocess.Popen[str]):
    """A Popen whose signals reach the command itself.

    Our child is nsenter(1), which waits for the command in the host's process table and ends as it does.
    """

    def send_signal(self, sig: int) -> None:
        """Signal the command; nsenter itself if the command has not begun or was killed for good."""
        self.poll()
        if self.returncode is not None:
            return
        inside = processes.children(self.pid)
        for pid in inside:
            with suppress(ProcessLookupError):
                os.kill(pid, sig)
        if not inside or sig == signal.SIGKILL:
            super().send_signal(sig)
