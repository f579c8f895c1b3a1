"""One session, from the launch file to the server's last exit code. Runs in the job, as the person.

Law: the hub learns of a port only after psutil has shown that the very server started here listens on it; it
learns of the end before the port is free for others, however the end comes about. The launch file, which holds
secrets, does not outlive the hub's answer. A hub that does not answer never ends a session.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from sgehub.session.child import Server, StartError, load_usage
from sgehub.session.guard import Guard, end_for, guarded
from sgehub.session.launch import (
    Launch,
    LaunchError,
    await_launch,
    is_another_run,
    newer_launch,
    read_launch,
    remove_launch,
)
from sgehub.session.log import JobLog
from sgehub.session.ports import Hold, candidates, held, is_free
from sgehub.session.report import PortReport, report_end
from sgehub.session.signals import Wakeups

_STDOUT = 1
_LOG_LIMIT = 1 << 20  # until the launch file says otherwise
_TRIES = 5
_STACK_BYTES = 512 * 1024
_M_ARENA_MAX = -8  # mallopt(3)
_END_SECONDS = 5.0  # to tell the hub that the server has ended
_ENDING_SECONDS = 2.0  # to tell it that the server is about to
_SHORTEST_LOOK, _LONGEST_LOOK = 0.01, 0.2
_OVERLAP_SECONDS = 5.0  # in which a run that Grid Engine takes off its host learns that; the file is not for it
_NEWER_SECONDS = 60.0  # until the hub has written a launch file for this run
_NEWER_LOOK = 0.5
_REFUSALS = 3  # of another run, until it believes them: the hub may be stopped while it waits for the newer file
_DISOWNED_LOOK = 5.0  # between looks for the launch file of a run that the hub has accepted and refuses now
_SHARE = 0.02  # of a processor, for looking whether the server listens
_HUBS = ("JUPYTERHUB_", "JPY_")  # of another session, perhaps the one this job was submitted in
_FOLDER = "JUPYTERHUB_ROOT_DIR"
_SITES = "JUPYTERHUB_SINGLEUSER_"  # how the server is to run, which the job's prologue may say


def stay_small() -> None:
    """Keep threads from reserving 70 MB of addresses each, which h_vmem counts like memory."""
    threading.stack_size(_STACK_BYTES)
    with suppress(OSError, AttributeError):  # a C library other than glibc has no arenas
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def server_environment(launch: Launch, port: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment: the job's, then the hub's, then where to listen.

    jupyterhub-singleuser takes address, port and prefix from JUPYTERHUB_SERVICE_URL.
    """
    environment = {
        name: value for name, value in inherited.items() if name.startswith(_SITES) or not name.startswith(_HUBS)
    }
    environment["JUPYTERHUB_API_TOKEN"] = launch.token
    environment.update(launch.environment)
    host = f"[{launch.bind}]" if ":" in launch.bind else launch.bind
    prefix = environment.get("JUPYTERHUB_SERVICE_PREFIX", "/")
    environment["JUPYTERHUB_SERVICE_URL"] = f"http://{host}:{port}{prefix}"
    if environment.get(_FOLDER, "").startswith("~/"):  # the hub does not know where homes are on this host
        environment[_FOLDER] = str(Path(inherited.get("HOME", "/"), environment[_FOLDER][2:]))
    return environment


def _check_folder(folder: str) -> None:
    """Refuse a folder that is not there: Jupyter would start, and show nothing but errors."""
    try:
        there = not folder or Path(folder).is_dir()
    except OSError as error:
        raise StartError(f"the folder {folder} cannot be opened on this host: {error.strerror}.", 1) from None
    if not there:
        raise StartError(f"there is no folder {folder} on this host; choose another working folder.", 1)


@dataclass
class Session:
    """One launch with everything it needs; `forget` removes the launch file."""

    launch: Launch
    path: str
    log: JobLog
    wakeups: Wakeups
    guard: Guard
    inherited: Mapping[str, str]
    newer: Launch | None = None  # what to begin once more with
    refusals: int = 0

    def forget(self) -> None:
        """Remove the launch file."""
        remove_launch(self.path, self.launch.file)

    def run(self) -> int:
        """Start the server, once more if its secrets may be those of a run before; return the job's exit code."""
        code = self._start()
        while self.newer is not None:
            self.guard.begin_anew(self.newer)
            self.launch, self.newer = self.newer, None
            code = self._start()
        return code

    def _start(self) -> int:
        """Start the server, on another port if its own was taken; return the job's exit code."""
        tries = 0
        for port in candidates(self.launch.ports):
            hold = held(self.launch.bind, port)
            if hold is None:
                continue
            tries += 1
            with closing(hold):
                code = self._try(port, hold, last=tries == _TRIES)
            if code is not None:
                return code
        low, high = self.launch.ports
        self.log.say(f"no port from {low} to {high} is free on this host.")
        return self._ended(1)

    def _try(self, port: int, hold: Hold, *, last: bool) -> int | None:
        """Run the server on this port; return the job's exit code, or None if the port was taken after all."""
        launch = self.launch
        try:
            environment = server_environment(launch, port, self.inherited)
            _check_folder(environment.get(_FOLDER, ""))
            server = Server(launch.command, environment, self.log, self.wakeups)
        except StartError as error:
            self.log.say(str(error))
            return self._ended(error.exit_code)
        self.guard.watch(server.pid, hold.sockets)
        if self._await_listening(server, port, hold):
            return self._serve(server, port)
        code = server.clear()
        if is_free(launch.bind, port) or last:
            self.log.say(f"the server ended with exit code {code} before it listened on port {port}.")
            return self._ended(code)
        self.log.say(f"port {port} was taken by another process; trying another one.")
        return None

    def _await_listening(self, server: Server, port: int, hold: Hold) -> bool:
        """Wait until `server` listens, or the session is asked to end; False if it ended before."""
        bind = self.launch.bind
        load_usage()
        while server.exit_code() is None:
            if self.wakeups.ending:
                return True
            begin = time.thread_time()
            # Only what listens refuses another socket, and that is known in microseconds. Who it is takes the
            # kernel's table of all sockets: milliseconds of a processor that the server needs for its start.
            if not is_free(bind, port) and server.listens(bind, port):
                hold.seal()
                if server.listens(bind, port):  # still: so nobody else came in between
                    return True
            pause = (time.thread_time() - begin) / _SHARE
            self.wakeups.wait(min(max(pause, _SHORTEST_LOOK), _LONGEST_LOOK))
        return False

    def _serve(self, server: Server, port: int) -> int:
        """Report the port and wait for the end, whoever brings it."""
        if self.wakeups.ending:
            return self._end(server)
        launch = self.launch
        line = self.log.say if launch.line_url else None
        report = PortReport(launch.line_url or launch.port_url, launch.token, port, self.wakeups.poke, line)
        announced = False
        try:
            while (code := server.exit_code()) is None:
                if report.accepted:
                    self.forget()
                if self.wakeups.announced and not announced:
                    announced = True
                    self.log.say("Grid Engine has announced a suspension or a soft limit; the session goes on.")
                if refusal := report.refusal or self._replaced(report.disowned):
                    report.stop()
                    return self._refused(server, refusal)
                if self.wakeups.ending:
                    report.stop()
                    return self._end(server)
                self.wakeups.wait(_DISOWNED_LOOK if report.disowned and self._again else None)
        finally:
            report.stop()
        self._ended(code)  # first of all: the port is ours only as long as we run
        self.log.say(f"the server has ended with exit code {code}.")
        server.clear()
        return code

    @property
    def _again(self) -> bool:
        """Whether Grid Engine runs this job again."""
        return is_another_run(self.inherited.get("RESTARTED", ""))

    def _replaced(self, disowned: int | None) -> int | None:
        """Return the status of a no that is final although the hub has said yes before, None if there is none.

        A hub that has just started may take the secrets of the run before, until the table shows it that this is
        another run. Then it writes newer ones. A hub that only forgot the session writes none, and ends nothing.
        """
        newer = disowned and self._again and newer_launch(self.path, self.launch)
        return disowned if newer else None

    def _refused(self, server: Server, status: int) -> int:
        """End the server, and wait for newer secrets if Grid Engine runs this job again.

        A run that ended before it reached the hub leaves its own behind, and the hub replaces them as soon as it
        sees the run after it. One that is stopped meanwhile does so later: it is asked once more.
        """
        then = "waiting for the hub to write its launch file anew" if self._again else "it ends"
        self.log.say(f"the hub has refused this session (HTTP {status}); {then}.")
        server.end()
        self.refusals += 1
        if self._again:
            self.newer = self._await_newer()
        if self.newer is not None:
            return 1
        number = self.wakeups.ending
        return self._ended(1 if number is None else 128 + number)

    def _await_newer(self) -> Launch | None:
        begin = time.monotonic()
        while not self.wakeups.ending and (waited := time.monotonic() - begin) < _NEWER_SECONDS:
            if waited > _OVERLAP_SECONDS and (newer := newer_launch(self.path, self.launch)) is not None:
                return newer
            self.wakeups.wait(_NEWER_LOOK)
        if self.wakeups.ending or self.refusals >= _REFUSALS:
            return None
        self.log.say("the hub has written no other launch file; asking it once more.")
        return self.launch

    def _end(self, server: Server) -> int:
        """End the server because of a signal. The hub is told before the port is free.

        One that does not answer is told by accounting: after an end in order nothing else shows the signal.
        """
        number = self.wakeups.ending
        self.log.say(f"ending the server because of {number.name if number else 'a signal'}.")
        signalled = 128 + (number or 0)
        told = self._tell(signalled, _ENDING_SECONDS)
        code = server.end()
        self.forget()
        if not told and not self._tell(signalled, _END_SECONDS - _ENDING_SECONDS):
            return code or signalled
        return code

    def _ended(self, code: int) -> int:
        self.forget()
        self._tell(code, _END_SECONDS)
        return code

    def _tell(self, code: int, seconds: float) -> bool:
        return report_end(self.launch.end_url, self.launch.token, code, seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the session of the launch file that is the only argument; return the job's exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    stay_small()
    log = JobLog(_STDOUT, _LOG_LIMIT)
    if len(words) != 1:
        log.say("usage: sgehub-session LAUNCHFILE")
        return 2
    try:
        await_launch(words[0], os.environ.get("RESTARTED", ""), log.say)
        launch = read_launch(words[0])
    except LaunchError as error:
        log.say(str(error))
        return 1
    return _guarded(launch, words[0])


def _guarded(launch: Launch, path: str) -> int:
    log = JobLog(_STDOUT, launch.log_limit)

    def session(guard: Guard) -> int:
        running = Session(launch, path, log, Wakeups(), guard, os.environ)
        try:
            return running.run()
        finally:
            running.forget()

    return guarded(launch, session, lambda duty, code, server: end_for(duty, path, log, code, server))
