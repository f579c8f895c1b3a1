"""`sgehub demo`: one command to a page, and nothing left when it ends, however it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgehub.lab.cluster import default_root
from sgehub.lab.demo import lab_name
from tests.lab import traces
from tests.lab.person import Person

SECONDS = 90.0


@pytest.fixture
def port() -> int:
    """Return a port of the loopback that is free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def demo(install: Path, port: int, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the demonstration and wait for its ready line."""
    process = start(install, port, tmp_path / "log")
    try:
        wait_for(tmp_path / "log", f"JupyterHub is ready: http://127.0.0.1:{port}\n", process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


def start(install: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start `sgehub demo` in the background."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [install / "bin" / "sgehub", "demo", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def wait_for(log: Path, text: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the demonstration has said something."""
    until = time.monotonic() + SECONDS
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


@pytest.mark.usefixtures("demo")
def test_a_person_gets_a_session(port: int, tmp_path: Path, install: Path):
    """Log in with what it prints, start, stop; a second one is refused with a sentence and disturbs nothing."""
    assert "alice   alice" in (tmp_path / "log").read_text()
    alice = Person(f"http://127.0.0.1:{port}", "alice").log_in()
    assert alice.start({}).status in (201, 202)
    alice.wait_until(ready=True)
    second = start(install, port, tmp_path / "second")
    assert second.wait(SECONDS) == 1
    assert f"Port {port} of 127.0.0.1 cannot be used" in (tmp_path / "second").read_text()
    assert alice.model()["ready"]
    alice.stop()
    alice.wait_until(ready=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_at_any_time_it_leaves_nothing(
    install: Path, port: int, tmp_path: Path, number: signal.Signals
):
    """Ctrl-C in the middle of starting, a second impatient one included."""
    root = default_root(lab_name(str(install)))
    before = traces.machine()
    process = start(install, port, tmp_path / "log")
    wait_for(tmp_path / "log", "Starting JupyterHub", process)
    process.send_signal(number)
    time.sleep(0.2)
    process.send_signal(number)
    assert process.wait(SECONDS) == 0
    assert "nothing of it is left" in (tmp_path / "log").read_text()
    assert not root.exists()
    assert traces.processes(root) == []
    assert traces.machine() == before


def test_it_is_ended_from_elsewhere(demo: subprocess.Popen[bytes], install: Path):
    """`make demo-stop` ends the one that runs, and waits for that."""
    subprocess.run(
        [install / "bin" / "sgehub", "demo", "--stop"], check=True, timeout=SECONDS, capture_output=True
    )
    assert demo.wait(SECONDS) == 0
    assert not default_root(lab_name(str(install))).exists()


def test_what_a_killed_one_left_is_cleared_away(install: Path, port: int, tmp_path: Path):
    """Kill -9 leaves a cluster behind; --stop clears it, and so does the next start."""
    process = start(install, port, tmp_path / "log")
    wait_for(tmp_path / "log", "JupyterHub is ready", process)
    process.kill()
    process.wait(SECONDS)
    subprocess.run(
        [install / "bin" / "sgehub", "demo", "--stop"], check=True, timeout=SECONDS, capture_output=True
    )
    assert not default_root(lab_name(str(install))).exists()


@pytest.mark.parametrize("port", ["0", "70000", "http", "-1", "８０００"])
def test_a_port_that_is_none_is_refused_before_anything_starts(install: Path, port: str):
    """The sentence names what was given."""
    done = subprocess.run(
        [install / "bin" / "sgehub", "demo", f"--port={port}"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "is not a port: write a number from 1 to 65535" in done.stderr
