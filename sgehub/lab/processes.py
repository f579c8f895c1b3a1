"""Processes that hold namespaces: who they are, whether they live, and how to end all that lives in them.

Rule 1: a process is itself only by number *and* start time, so that a recycled number is never hit.
Rule 2: what is killed was found in a namespace of the lab's own, never by a name; our own are never swept.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from sgehub.lab.errors import LabError

_STATE, _PARENT, _START = 0, 1, 19  # fields after the command's name in proc(5), /proc/PID/stat
_PAUSE = 0.01
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Identity:
    """A process by number and start time (clock ticks since boot, proc(5))."""

    pid: int
    started: int


def identity_from_stat(line: str) -> Identity | None:
    """Read an identity from a line of /proc/PID/stat; None if the line is not whole (proc(5))."""
    head, bracket, tail = line.rpartition(")")
    fields = tail.split()
    number = head.split(" ", 1)[0]
    if not bracket or len(fields) <= _START or not number.isdigit():
        return None
    return Identity(int(number), int(fields[_START]))


def _stat(pid: int) -> tuple[Identity, str, int] | None:
    """Return identity, state letter and parent of a process, or None if there is none."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except _GONE:
        return None
    identity = identity_from_stat(line)
    fields = line.rpartition(")")[2].split()
    return None if identity is None else (identity, fields[_STATE], int(fields[_PARENT]))


def alive(identity: Identity) -> bool:
    """Tell whether exactly this process runs (a zombie does not)."""
    found = _stat(identity.pid)
    return found is not None and found[0] == identity and found[1] not in "ZX"


def children(pid: int) -> tuple[int, ...]:
    """Return the numbers of the living children of a process."""
    stats = [(other, _stat(other)) for other in _all_pids()]
    return tuple(other for other, stat in stats if stat is not None and stat[2] == pid and stat[1] not in "ZX")


def record_self(path: Path) -> None:
    """Write down in `path` who the calling process is, for `recorded`."""
    path.write_text(_BOOT_ID.read_text() + Path("/proc/self/stat").read_text())


def recorded(path: Path) -> Identity | None:
    """Return who the holder said it is in `path`; None if it never said, or the machine has booted since."""
    try:
        boot, _, line = path.read_text(errors="replace").partition("\n")
    except FileNotFoundError:
        return None
    return identity_from_stat(line) if boot == _BOOT_ID.read_text().strip() else None


def end(holder: Identity, deadline: float = 10.0) -> None:
    """End a holder and everything in its namespaces, as a power cut would; wait until nothing of it is left.

    `deadline` in seconds. Raises LabError if something is still there by then.
    """
    until = time.monotonic() + deadline
    # Stopped first: between its unshare() and its fork() a holder's namespaces would otherwise change under us.
    if not _signal(holder, signal.SIGSTOP):
        return
    while _state(holder) not in {"T", "Z", None} and time.monotonic() < until:
        time.sleep(_PAUSE)
    with _namespaces_of(holder.pid) as spaces:
        _signal(holder, signal.SIGKILL)
        while alive(holder) or (spaces and _kill_inside(spaces)):
            if time.monotonic() > until:
                raise LabError(f"Process {holder.pid} and its namespaces did not end within {deadline:.0f} s.")
            time.sleep(_PAUSE)


def _state(identity: Identity) -> str | None:
    found = _stat(identity.pid)
    return found[1] if found and found[0] == identity else None


def _signal(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; tell whether it was there to get it."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle is of one process for good; so what is checked now is what gets the signal.
        if not alive(identity):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def _all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _link(pid: int | str, kind: str) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    except OSError:  # gone, a zombie, or not ours to look at
        return None


@contextmanager
def _namespaces_of(pid: int) -> Iterator[frozenset[str]]:
    """Find the pid and mount namespaces a holder has made; none if it still lives in ours.

    They are kept in being until the end of the block: the kernel gives the number of one that is gone to the next
    one made, which may be another lab's.
    """
    made: set[str] = set()
    ours = {_link("self", "pid"), _link("self", "pid_for_children"), _link("self", "mnt")}
    with ExitStack() as stack:
        for kind in ("pid_for_children", "mnt"):
            with suppress(OSError):  # it has just ended by itself
                handle = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
                stack.callback(os.close, handle)
                made.add(str(Path(f"/proc/self/fd/{handle}").readlink()))
        yield frozenset(link for link in made if link not in ours)


def _kill_inside(spaces: frozenset[str]) -> int:
    """Kill every process in one of these namespaces; return how many there were."""
    found = 0
    for pid in _all_pids():
        stat = _stat(
            pid
        )  # before its namespaces are looked at: the signal then goes to the very process looked at
        if stat is not None and stat[1] not in "ZX" and {_link(pid, "pid"), _link(pid, "mnt")} & spaces:
            found += 1
            _signal(stat[0], signal.SIGKILL)
    return found
