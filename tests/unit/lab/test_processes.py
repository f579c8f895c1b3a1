"""Who a process is: its number and its start, so that a number used again is somebody else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sgehub.lab import processes
from sgehub.lab.processes import Identity

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that sleeps."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def stat(pid: int) -> str:
    """Return a process's line of /proc."""
    return Path(f"/proc/{pid}/stat").read_text()


def identity(pid: int) -> Identity:
    """Return who a living process is."""
    found = processes.identity_from_stat(stat(pid))
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["sh", "a b", "x) S 1 2", "((", ""])
def test_an_identity_is_read_whatever_the_process_calls_itself(name: str) -> None:
    """The name stands in brackets and may hold anything, brackets too."""
    fields = " ".join(["S", "1", *["0"] * 17, "4711", "0", "0"])
    assert processes.identity_from_stat(f"123 ({name}) {fields}\n") == Identity(123, 4711)


@pytest.mark.parametrize("line", ["", "123 (sh) S 1", "123", "x (sh) " + "0 " * 30, "123 (sh"])
def test_half_a_line_is_nobody(line: str) -> None:
    """A record that was cut short names no process, and so nothing is killed by it."""
    assert processes.identity_from_stat(line) is None


def test_a_process_is_alive_until_it_ends(sleeper: subprocess.Popen[bytes]) -> None:
    """A process lives as long as it runs; as a zombie it does not."""
    who = identity(sleeper.pid)
    assert processes.alive(who)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.alive(who)


def test_a_number_used_again_is_somebody_else(sleeper: subprocess.Popen[bytes]) -> None:
    """A process with the number but another start is not alive, and not ended."""
    other = replace(identity(sleeper.pid), started=1)
    assert not processes.alive(other)
    processes.end(other)
    assert sleeper.poll() is None


def test_a_process_in_our_own_namespaces_ends_alone(sleeper: subprocess.Popen[bytes]) -> None:
    """A holder that made no namespace yet is ended, and nobody else on the machine is."""
    other = subprocess.Popen(["sleep", "60"])
    try:
        processes.end(identity(sleeper.pid))
        assert sleeper.wait(5) == -9
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_record_holds_for_one_boot_of_the_machine(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """A record is of the machine's present boot, whole and there, or names nobody."""
    record = tmp_path / "record"
    assert processes.recorded(record) is None
    record.write_text(f"{BOOT}\n{stat(sleeper.pid)}")
    assert processes.recorded(record) == identity(sleeper.pid)
    record.write_text(f"another-boot\n{stat(sleeper.pid)}")
    assert processes.recorded(record) is None
    record.write_text(f"{BOOT}\n")
    assert processes.recorded(record) is None


def test_children_are_found_by_their_parent(sleeper: subprocess.Popen[bytes]) -> None:
    """A process's children are those the kernel says it has."""
    assert sleeper.pid in processes.children(os.getpid())
    assert processes.children(sleeper.pid) == ()
