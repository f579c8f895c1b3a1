"""The single-user server as a child process: start it, see where it listens, end it cleanly.

Law: knows processes, not the hub. The server is a process group of its own, so that everything it has started
can be ended. Grid Engine's announcements are for the session program alone: they reach every process of the job,
in whatever group (measured with 8.1.9), and would kill server and kernels, which therefore ignore them.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

from sgehub.session.log import JobLog
from sgehub.session.signals import Wakeups, ignore_announcements

END_SECONDS = 4.0  # for a clean end: an idle Jupyter server takes less than one
_LOOK = 0.05
_CROWDED = "no thread can be started on this host: you have reached your limit of processes there (ulimit -u)."
_ORDERS = (99, 100)  # exit codes that make Grid Engine run a job again, or put it into error state; qsub(1)
NOT_FOUND, NOT_RUNNABLE = 127, 126  # as shells do


class StartError(Exception):
    """The command cannot be started. The message is a sentence for the job log; `exit_code` as a shell's."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def job_exit_code(returncode: int) -> int:
    """Return the job's exit code for a server's: 128 + N for signal N, and 1 for Grid Engine's orders."""
    if returncode < 0:
        return 128 - returncode
    return 1 if returncode in _ORDERS else returncode


def _explain(error: OSError, command: str, environment: Mapping[str, str]) -> StartError:
    folders = [""] if "/" in command else os.get_exec_path(environment)
    found = [path for folder in folders if (path := Path(folder, command)).exists()]
    if not found:
        where = "does not exist" if "/" in command else f"was not found in PATH={environment.get('PATH', '')}"
        return StartError(
            f"the command {command} {where}; the environment that was chosen may lack JupyterHub.", NOT_FOUND
        )
    if isinstance(error, FileNotFoundError):
        return StartError(f"{found[0]} cannot be run: the program its first line names is missing.", NOT_RUNNABLE)
    return StartError(f"{found[0]} cannot be run: {error.strerror}.", NOT_RUNNABLE)


def signal_group(pid: int, number: int) -> bool:
    """Signal the group of processes that `pid` leads; tell whether anybody is left in it."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def load_usage() -> Any:
    """Load what looks at processes, and return it: psutil takes longer than all else here together.

    For the time in which the server starts, so that neither waits for the other.
    """
    from sgehub import usage  # noqa: PLC0415 - not before the server has been started

    return usage


class Server:
    """A started server. Its output goes to `log`, its end wakes `wakeups`."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: JobLog, wakeups: Wakeups
    ) -> None:
        self._wakeups = wakeups
        self._log = log
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the person's own server, as a list
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
                preexec_fn=ignore_announcements,  # noqa: PLW1509 - two system calls, and nothing is locked
            )
        except OSError as error:
            raise _explain(error, command[0], environment) from None
        output = self._process.stdout
        self._pump: Thread | None = None
        try:
            if output is not None:
                self._pump = log.pump(os.dup(output.fileno()))
        except RuntimeError:
            self.clear()  # nobody else knows of it yet
            raise StartError(_CROWDED, 1) from None
        finally:
            if output is not None:
                output.close()

    @property
    def pid(self) -> int:
        """The server's process id, and that of its group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """Return the job's exit code once the server has ended."""
        code = self._process.poll()
        return None if code is None else job_exit_code(code)

    def listens(self, bind: str, port: int) -> bool:
        """Tell whether this very server, or a child of it, is what answers at (bind, port).

        Not on another address: the port of an address that it has not bound may be somebody else's.
        """
        everywhere, kind = ("::", "tcp6") if ":" in bind else ("0.0.0.0", "tcp4")  # noqa: S104 - compared, not bound
        usage = load_usage()
        wanted = {usage.Listener(bind, port), usage.Listener(everywhere, port)}
        return bool(wanted & usage.listeners(self.pid, kind))

    def end(self, seconds: float = END_SECONDS) -> int:
        """Ask the server to end, and kill what is left after `seconds`; return the job's exit code."""
        until = time.monotonic() + seconds
        signal_group(self.pid, signal.SIGTERM)
        while self._process.poll() is None and (left := until - time.monotonic()) > 0:
            self._wakeups.wait(left)
        # A wrapper that ended at once may have left the server itself, which still ends its kernels.
        while self._process.returncode is not None and signal_group(self.pid, 0) and time.monotonic() < until:
            time.sleep(_LOOK)
        return self.clear()

    def clear(self) -> int:
        """Kill what is left of the group, write its last words, and return the job's exit code."""
        signal_group(self.pid, signal.SIGKILL)
        code = self._process.wait()
        if self._pump is not None:
            with suppress(RuntimeError):
                self._pump.join(1.0)  # whoever left the group may hold the pipe open
        if code in _ORDERS:
            self._log.say(
                f"exit code {code} of the server would be an order to Grid Engine (qsub(1)): the job ends with 1."
            )
        return job_exit_code(code)
