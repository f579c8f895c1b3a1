"""Down leaves nothing, whatever happened before: no process, namespace, mount, link, file; /etc is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab, default_root
from sgehub.lab.errors import LabError
from tests.lab import traces
from tests.lab.conftest import bring_up

PATIENCE = 15.0
# Moments of an `up`: something that is there from then on, below the lab's folder.
MOMENTS = ("", "lab.json", "etc", "holders/fabric", "holders/node01", "log/boot-node01", "sge/lab/spool/messages")


def nothing_left(root: Path, spaces: set[str]) -> bool:
    """Tell whether neither the folder nor a process of a lab is there, after a moment for the machine's init."""
    deadline = time.monotonic() + 3
    while found := traces.processes(root, spaces):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {found}")
        time.sleep(0.05)
    return not root.exists()


def start_up(name: str, install: Path) -> subprocess.Popen[bytes]:
    """Start `sgehub lab up` as a process of its own, in a process group of its own as a shell would."""
    argv = [
        sys.executable,
        "-m",
        "sgehub.cli",
        "lab",
        "up",
        "--name",
        name,
        "--nodes",
        "1",
        "--install",
        str(install),
    ]
    return subprocess.Popen(
        argv,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # Tests that run in the background ignore Ctrl-C, and children inherit that; a person's shell does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one system call, no lock
    )


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a file is there, while the process runs."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_down_leaves_nothing(make_lab: Callable[..., Lab]) -> None:
    """After up, work and down the machine is as it was; down again does no harm."""
    before = traces.machine()
    lab = make_lab(nodes=2)
    bring_up(lab)
    lab.run("node01", ["qsub", "-b", "y", "sleep", "65"], user="alice")
    left = lab.popen("node02", ["sleep", "66"], user="bob")
    spaces = traces.spaces_of(lab.root)
    assert len(traces.processes(lab.root, spaces)) > 10
    assert {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()} == set(
        before["mounts"]
    )
    lab.down()
    assert nothing_left(lab.root, spaces)
    assert left.wait(5) != 0
    assert traces.machine() == before
    lab.down()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=["KILL", "INT", "TERM"])
def test_a_broken_up_leaves_nothing(install: Path, moment: str, blow: signal.Signals) -> None:
    """Ctrl-C and SIGTERM take down what is there; after a kill `down` does."""
    name = f"test-{os.getpid()}-broken"
    root = default_root(name)
    try:
        process = start_up(name, install)
        wait_for(root / moment, process)
        os.killpg(process.pid, blow)
        status = process.wait(PATIENCE)
        if blow == signal.SIGKILL:
            time.sleep(0.1)  # a holder that was being made when its maker died comes to its record
            spaces = traces.spaces_of(root)
            subprocess.run(
                [sys.executable, "-m", "sgehub.cli", "lab", "down", "--name", name], check=True, timeout=30
            )
        else:
            assert status == 130
            spaces = set()
        assert nothing_left(root, spaces)
    finally:
        Lab(name).down()


def test_up_after_a_broken_up(install: Path) -> None:
    """A half-made lab whose maker was killed stands in nobody's way: the next `up` removes it and succeeds."""
    name = f"test-{os.getpid()}-again"
    lab = Lab(name, nodes=1, install=install)
    try:
        process = start_up(name, install)
        wait_for(lab.root / "holders" / "node01", process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        time.sleep(0.1)
        old = traces.processes(lab.root)
        assert old
        with pytest.raises(LabError, match="No lab"):
            Lab.open(name)
        bring_up(lab)
        assert not set(old) & set(traces.processes(lab.root))
        assert lab.run("node01", ["hostname"]).stdout == "node01\n"
    finally:
        lab.down()
    assert nothing_left(lab.root, set())


def test_a_failed_up_leaves_nothing(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """When a part of `up` fails, what went before is removed, and the sentence says what failed."""
    lab = make_lab()
    object.__setattr__(lab.layout, "site", tmp_path)
    with pytest.raises(LabError, match="gpu-prolog is missing"):
        lab.up()
    assert nothing_left(lab.root, set())


def test_down_takes_only_what_is_a_labs(make_lab: Callable[..., Lab], tmp_path: Path) -> None:
    """A folder that no lab made is neither used nor removed."""
    (tmp_path / "precious").write_text("mine")
    lab = make_lab(root=tmp_path)
    for action in (lab.up, lab.down):
        with pytest.raises(LabError, match="not the folder of a lab"):
            action()
    assert (tmp_path / "precious").read_text() == "mine"
    (tmp_path / "precious").unlink()


@pytest.mark.parametrize("below", ["/tmp", "/home", "/var/tmp"])
def test_the_folder_may_be_where_hosts_have_their_own(make_lab: Callable[..., Lab], below: str) -> None:
    """A lab works with its folder below a place that its hosts see differently."""
    lab = make_lab(root=Path(below) / f"sgehub-lab-test-{os.getpid()}-place")
    bring_up(lab)
    assert lab.run("node01", ["sh", "-c", "ls ~ && touch ~/x /tmp/x"], user="alice").returncode == 0
    lab.down()
    assert nothing_left(lab.root, set())


def test_two_labs_do_not_know_each_other(lab: Lab, make_lab: Callable[..., Lab]) -> None:
    """Two labs live side by side with the same host names and ports, but not addresses, jobs, files, power."""
    other = make_lab()
    bring_up(other)
    assert other.layout.subnet != lab.layout.subnet
    lab.run("head", ["qsub", "-h", "-N", "ours", "-b", "y", "true"], user="alice")
    assert "ours" in lab.run("head", ["qstat", "-u", "*"]).stdout
    assert "ours" not in other.run("head", ["qstat", "-u", "*"]).stdout
    other.run("head", ["touch", "/home/alice/theirs"])
    assert lab.run("head", ["ls", "/home/alice/theirs"]).returncode != 0
    assert other.run("head", ["ping", "-c1", "-W1", lab.address("head")]).returncode != 0
    other.crash("node01")
    other.down()
    assert lab.run("node01", ["hostname"]).stdout == "node01\n"
    lab.run("head", ["qdel", "-u", "*"])
