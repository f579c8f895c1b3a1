"""The groups of `make test` run side by side, are all needed to pass, and are all interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import side_by_side
from tests.side_by_side import ROOT, Group, groups, run

TESTS = {
    "good": "def test_one():\n    pass\n",
    "bad": "def test_one():\n    assert False, 'as it was meant'\n",
}
# A test that waits, in a fixture that has something to take down.
WAITS = """
import pathlib, time, pytest
@pytest.fixture
def lab():
    pathlib.Path({up!r}).touch()
    yield
    time.sleep(0.5)
    pathlib.Path({down!r}).touch()
def test_one(lab):
    time.sleep(60)
"""


def group(folder: Path, name: str, text: str) -> Group:
    """Return a group of one test."""
    path = folder / f"test_{name}.py"
    path.write_text(text)
    return Group(name, (str(path), "-p", "no:cacheprovider", f"--rootdir={folder}", "-c", os.devnull))


@pytest.mark.parametrize(
    ("names", "arguments", "good"),
    [
        (("good", "good"), (), True),
        (("good", "bad"), (), False),
        (("bad", "good"), (), False),
        (("good", "bad"), ("-k", "nothing"), False),
    ],
)
def test_all_groups_have_to_pass_and_one_has_to_have_tests(tmp_path, capfd, names, arguments, good):
    """What the others have said is printed when they have ended."""
    todo = [group(tmp_path, f"{name}_{number}", TESTS[name]) for number, name in enumerate(names)]
    assert run(todo, arguments, tmp_path) is good
    said = capfd.readouterr().out
    assert said.count("test session starts") == len(names)
    assert said.index("test session starts") < said.index(f"Meanwhile, {todo[1].name}:")
    assert ("as it was meant" in said) == ("bad" in names and not arguments)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_lets_every_group_take_down_what_it_made(tmp_path, number):
    """A Ctrl-C at the terminal, or `kill` of whoever waits."""
    names = ("first", "second")
    for name in names:
        text = WAITS.format(up=str(tmp_path / f"{name}.up"), down=str(tmp_path / f"{name}.down"))
        group(tmp_path, name, text)
    program = (
        "import pathlib, sys\n"
        "from tests.side_by_side import Group, be_interruptible, run\n"
        "be_interruptible()\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"words = ('-p', 'no:cacheprovider', '--rootdir=' + str(folder), '-c', {os.devnull!r})\n"
        f"todo = [Group(name, (str(folder / f'test_{{name}}.py'), *words)) for name in {names!r}]\n"
        "sys.exit(not run(todo, (), folder))\n"
    )
    # As a shell starts what it puts into the background: SIGINT is ignored there.
    quiet = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]
    running = subprocess.Popen([*quiet, sys.executable, "-c", program], cwd=ROOT)
    end = time.monotonic() + 60
    while not all((tmp_path / f"{name}.up").exists() for name in names):
        assert time.monotonic() < end, "the groups did not begin"
        time.sleep(0.05)
    running.send_signal(number)
    assert running.wait(60) == 1
    assert all((tmp_path / f"{name}.down").exists() for name in names)


DEAF = """
import pathlib, signal, subprocess, time
def test_one():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "60"])
    pathlib.Path({up!r}).write_text(str(child.pid))
    time.sleep(60)
"""


def test_a_group_that_cannot_be_interrupted_is_killed_with_all_that_it_has_begun(tmp_path, monkeypatch):
    """Nothing of an interrupted run goes on beside the next one."""
    up = tmp_path / "up"
    todo = [group(tmp_path, "deaf", DEAF.format(up=str(up)))]
    monkeypatch.setattr(side_by_side, "TAKE_DOWN_SECONDS", 1.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    interrupted = threading.Thread(target=_interrupt_once_it_is_there, args=(up,))
    interrupted.start()
    try:
        assert run(todo, (), tmp_path) is False
    finally:
        signal.signal(signal.SIGINT, before)
        interrupted.join()
    assert state(up.read_text()) == "Z"


def _interrupt_once_it_is_there(path: Path) -> None:
    while not (path.exists() and path.read_text()):
        time.sleep(0.05)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def state(number: str) -> str:
    """Return the letter of a process' state, "Z" of one that has gone meanwhile."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"


def test_each_test_of_the_project_is_in_one_group():
    """No file is forgotten, and none runs twice."""
    collected: list[str] = []
    for one in groups():
        words = [sys.executable, "-m", "pytest", "--collect-only", "-qq", *one.words]
        said = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True).stdout
        collected += [line.rpartition(": ")[0] for line in said.splitlines() if line.startswith("tests/")]
    assert sorted(collected) == sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/test_*.py"))
