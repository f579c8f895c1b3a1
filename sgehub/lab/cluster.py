"""The lab as a whole: up, down, run something on a host, pull a host's plug and boot it again.

Rule 1: what is made is written down below the lab's folder before it is made; `down` reads nothing but that.
Rule 2: one process at a time works on a lab: the lock is on the lab's folder itself and ends with its holder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from sgehub.lab import cell, cell_files, etc, folder, host, processes, requirements, slapd, tree
from sgehub.lab.errors import LabError
from sgehub.lab.layout import HEAD, NAMED_PEOPLE, Layout
from sgehub.lab.process import HostProcess

_LOCK_SECONDS = 60.0
Report = Callable[[str, float], None]


@dataclass(frozen=True)
class HostStatus:
    """One host of a lab: its name, its address, whether it runs."""

    name: str
    address: str
    running: bool


def default_root(name: str) -> Path:
    """Return the folder of the lab `name`: on disk, emptied by nobody, and not /tmp."""
    return Path("/var/tmp") / f"sgehub-lab-{name}"  # noqa: S108 - root's folder of mode 0700, refused if it is not a lab's


class Lab:
    """A Grid Engine cluster of namespaces on this machine: a head and execution hosts.

    `subnet` is chosen among 10.77.0 to 10.77.200 if not given; `install` is the virtual environment the hosts see
    as /opt/sgehub (None: no such folder); `site` is the checkout whose config/ and scripts/ are copied. With
    `simulated`, the execution hosts are names only: the real qmaster pretends that jobs run there.
    """

    def __init__(
        self,
        name: str = "lab",
        *,
        subnet: str | None = None,
        root: Path | None = None,
        nodes: int = 3,
        people: Sequence[str] = tuple(NAMED_PEOPLE),
        install: Path | None = Path(sys.prefix),
        site: Path = Path(__file__).parents[2],
        simulated: bool = False,
    ) -> None:
        place = root or default_root(name)
        self.layout = Layout(
            name=name,
            subnet=subnet or folder.free_subnet(place),
            root=place,
            nodes=nodes,
            people=tuple(people),
            install=install,
            site=site,
            simulated=simulated,
        )

    @classmethod
    def open(cls, name: str = "lab", *, root: Path | None = None) -> Lab:
        """Return a lab that is up already, whoever made it; LabError if there is none."""
        place = root or default_root(name)
        state = place / "lab.json"
        if not (place / "ready").exists():
            raise LabError(f"No lab {name!r} is up; `sgehub lab up --name {name}` starts one.")
        lab = cls.__new__(cls)
        lab.layout = Layout.from_json(state.read_text())
        return lab

    @property
    def name(self) -> str:
        """Return the lab's name."""
        return self.layout.name

    @property
    def root(self) -> Path:
        """Return the lab's folder on the machine."""
        return self.layout.root

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return the names of all hosts, the head first."""
        return self.layout.hosts

    def address(self, name: str) -> str:
        """Return a host's IPv4 address."""
        return self.layout.address(name)

    @cached_property
    def cell_environment(self) -> dict[str, str]:
        """Return the SGE_* variables of the lab's cell."""
        return cell_files.environment(cell.architecture())

    def up(self, report: Report | None = None) -> None:
        """Bring the lab up; what a broken `up` left behind is removed first.

        `report` is told each phase's name and seconds. Raises LabError, and leaves nothing behind then.
        """
        requirements.check(self.layout.install)
        begun = False
        try:
            with folder.locked(self.root, wait=0, make=True) as lock:
                self._refuse_if_up()
                begun = True
                folder.clear(self.root)
                self.layout.state.write_text(self.layout.to_json())
                self._build(lock, report or (lambda _phase, _seconds: None))
                self.layout.ready.touch()
        except BaseException:
            # The lock is taken anew: so a holder that was just being made has come to write its record.
            if begun:
                self.down()
            else:
                folder.remove_empty(self.root)
            raise

    def _refuse_if_up(self) -> None:
        """Raise LabError if `up` came to its end and a host still runs."""
        if self.layout.ready.exists() and any(host.holder(self.layout, name) for name in self.hosts):
            raise LabError(f"The lab {self.name} is up already.")

    def _build(self, lock: int, report: Report) -> None:
        layout = self.layout
        with _phase("files", report):
            tree.make(layout)
            etc.write(layout)
            slapd.write_files(layout)
            cell.write_files(layout)
        with _phase("hosts", report):
            host.boot(layout, (host.FABRIC, *self.hosts), lock)
            host.make_bridge(layout)
            for name in self.hosts:
                host.connect(layout, name)
        with _phase("directory", report):
            slapd.load(self._as_root)
            slapd.start(self._as_root)
        with _phase("qmaster", report):
            cell.initialise(self._as_root)
            cell.start_qmaster(self._as_root)
        with _phase("configuration", report):
            cell.configure(self._as_root, layout)
        if layout.simulated:
            return
        with _phase("execution hosts", report):
            cell.start_execds(self._as_root, layout.node_names)
            cell.wait_for_hosts(self._as_root, layout.node_names)

    def down(self) -> None:
        """Take the lab down, whatever state it is in and whoever made it. Harmless if there is none."""
        if os.geteuid() != 0:
            raise LabError("The lab needs root: use sudo.")
        with suppress(FileNotFoundError), folder.locked(self.root, wait=_LOCK_SECONDS):
            folder.remove(self.root)

    def crash(self, name: str) -> None:
        """Pull a host's plug: nobody on it or beyond gets a word of farewell."""
        self.address(name)
        with folder.locked(self.root, wait=_LOCK_SECONDS):
            identity = host.holder(self.layout, name)
            if identity is None:
                raise LabError(f"The host {name} of the lab {self.name} is off already.")
            with suppress(LabError):  # somebody has cut the cable already
                host.unplug(self.layout, name)
            processes.end(identity)

    def boot(self, name: str, *, gridengine: bool = True) -> None:
        """Boot a host that is off, with its daemons (Grid Engine's own if wanted); returns when they answer."""
        self.address(name)
        with folder.locked(self.root, wait=_LOCK_SECONDS) as lock:
            if host.holder(self.layout, name) is not None:
                raise LabError(f"The host {name} of the lab {self.name} is running already.")
            host.boot(self.layout, [name], lock)
            with suppress(LabError):  # the cable is there still if the host died by itself
                host.unplug(self.layout, name)
            host.connect(self.layout, name)
            if name == HEAD:
                slapd.start(self._as_root)
            if gridengine:
                self.start_gridengine(name)

    def start_gridengine(self, name: str) -> None:
        """Start Grid Engine's daemon on a running host that lacks it: qmaster or execution daemon."""
        if name == HEAD:
            cell.start_qmaster(self._as_root)
        else:
            cell.start_execds(self._as_root, [name])

    def status(self) -> tuple[HostStatus, ...]:
        """Return all hosts and whether they run."""
        return tuple(
            HostStatus(name, self.address(name), host.holder(self.layout, name) is not None) for name in self.hosts
        )

    def wait(self, seconds: float = 90.0) -> None:
        """Wait until the execution daemons of all running hosts have reported to the qmaster.

        After a power cut of the head they take up to a minute to notice. LabError names those that have not.
        """
        up = [each.name for each in self.status() if each.running and each.name != HEAD]
        cell.wait_for_hosts(self._as_root, up, seconds)

    def namespace(self, name: str, kind: str) -> Path:
        """Return the path of a running host's namespace: `net`, `mnt`, `uts`, `ipc` or `pid`."""
        self.address(name)
        return host.namespace(self.layout, name, kind)

    def command(self, name: str, argv: Sequence[str], *, user: str | None = None) -> list[str]:
        """Return the arguments that run `argv` on a host as `user` (root if None), in the folder /."""
        self.address(name)
        return [*host.entering(self.layout, name), *host.as_user(user), *argv]

    def environment(self, user: str | None = None, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the whole environment of such a command: the lab's, then `env`."""
        return host.environment(self.layout, user, self.cell_environment, env)

    def run(
        self,
        name: str,
        argv: Sequence[str],
        *,
        user: str | None = None,
        input: str | None = None,  # noqa: A002 - named as in subprocess.run, which this mirrors
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host to its end; the exit status is not checked.

        `timeout` in seconds, then the command is killed and subprocess.TimeoutExpired raised.
        """
        return subprocess.run(  # noqa: S603 - an argument list, no shell
            self.command(name, argv, user=user),
            input=input or "",
            env=self.environment(user, env),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def popen(
        self,
        name: str,
        argv: Sequence[str],
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
    ) -> HostProcess:
        """Start a command on a host; its streams are as in subprocess.Popen, text."""
        return HostProcess(
            self.command(name, argv, user=user),
            env=self.environment(user, env),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )

    def _as_root(self, name: str, argv: Sequence[str]) -> str:
        """Run a command on a host as root and return its output; LabError if it fails."""
        try:
            done = self.run(name, argv)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{' '.join(argv)} on {name} did not end.") from error
        if done.returncode:
            words = (done.stderr or done.stdout).strip()
            raise LabError(f"{' '.join(argv)} on {name} failed with {done.returncode}: {words}")
        return done.stdout


@contextmanager
def _phase(name: str, report: Report) -> Iterator[None]:
    started = time.monotonic()
    yield
    report(name, time.monotonic() - started)
