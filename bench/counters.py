"""What a hub costs, read from /proc: CPU time, forks, memory. Runs outside the lab and reads only."""

from __future__ import annotations

import ctypes
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sgehub.lab.cluster import Lab
from sgehub.lab.layout import HEAD

TICKS = os.sysconf("SC_CLK_TCK")
_PID_MAX = int(Path("/proc/sys/kernel/pid_max").read_text())
_RESERVED = 300
_PARENT, _TIMES = 1, slice(11, 15)  # after the command's name, proc(5): utime, stime, and those of reaped children


@dataclass(frozen=True)
class Costs:
    """CPU seconds of a hub with all its children and of the qmaster, and processes begun on the head."""

    hub: float
    qmaster: float
    forks: float

    @property
    def cpu(self) -> float:
        """Return the CPU seconds of both."""
        return self.hub + self.qmaster

    def above(self, other: Costs) -> Costs:
        """Return what is more than in another window of the same length."""
        return Costs(self.hub - other.hub, self.qmaster - other.qmaster, self.forks - other.forks)


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - thousands of entries


def _with_descendants(pid: int) -> list[list[str]]:
    stats = {one: stat for one in _all() if (stat := _stat(one))}
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(stats[one])
        todo += [child for child, stat in stats.items() if int(stat[_PARENT]) == one]
    return found


def qmaster_of(lab: Lab) -> int:
    """Return the process number of the lab's qmaster, as this machine sees it."""
    space = lab.namespace(HEAD, "pid").readlink()
    for pid in _all():
        with suppress(FileNotFoundError, ProcessLookupError):
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            if name == "sge_qmaster" and Path(f"/proc/{pid}/ns/pid").readlink() == space:
                return pid
    raise LookupError("The lab has no qmaster.")


def _newest(lab: Lab) -> int:
    """Return the number of a process just begun on the head: its process table counts them, threads included."""
    return int(lab.run(HEAD, ["sh", "-c", "echo $$"]).stdout)


def read(lab: Lab, hub: int, qmaster: int) -> Costs:
    """Return what hub and qmaster have cost since they began; as forks, the latest number."""
    seconds = sum(int(field) for stat in _with_descendants(hub) for field in stat[_TIMES]) / TICKS
    own = _stat(qmaster) or ["0"] * _TIMES.stop
    return Costs(seconds, sum(map(int, own[_TIMES])) / TICKS, _newest(lab))


def between(before: Costs, after: Costs) -> Costs:
    """Return the costs between two readings, without the process by which the number of forks is known."""
    # The kernel starts numbers anew above those of the first processes.
    anew = _PID_MAX - _RESERVED if after.forks < before.forks else 0
    return Costs(after.hub - before.hub, after.qmaster - before.qmaster, after.forks - before.forks + anew - 1)


def cpu(pid: int) -> float:
    """Return the CPU seconds that this process has used since it began, all its threads, to the nanosecond."""
    clock = ctypes.c_int()
    failed = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))  # clock_getcpuclockid(3)
    if failed:
        raise OSError(failed, os.strerror(failed))
    return time.clock_gettime(clock.value)


def memory(pid: int) -> int:
    """Return the bytes that this process has allocated and written to.

    Not what is private to it: of programs and libraries that is whatever no other process happens to use just
    then, 10 MB more or less.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
