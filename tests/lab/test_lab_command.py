"""The command `sgehub lab`: what a person at a terminal sees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab

Completed = subprocess.CompletedProcess[str]


def sgehub(*arguments: str, env: dict[str, str] | None = None) -> Completed:
    """Run the command as a process of its own."""
    argv = [sys.executable, "-m", "sgehub.cli", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env=env)


@pytest.fixture(scope="module")
def name(install: Path) -> Iterator[str]:
    """Bring a lab up by the command, with five people, and take it down by the command."""
    name = f"test-{os.getpid()}-command"
    try:
        arguments = ("--name", name, "--nodes", "1", "--users", "5", "--install", str(install), "--verbose")
        done = sgehub("lab", "up", *arguments)
        assert done.returncode == 0, done.stderr
        *phases, last = done.stdout.splitlines()
        assert [line.split("  ")[0] for line in phases] == [
            *("files", "hosts", "directory", "qmaster", "configuration", "execution hosts")
        ]
        assert last.startswith(f"Lab {name}: head, node01 are up after ")
        yield name
        assert sgehub("lab", "down", "--name", name).returncode == 0
        assert sgehub("lab", "status", "--name", name).returncode == 1
    finally:
        Lab(name).down()


def test_on_runs_a_command_and_is_its_exit_status(name: str) -> None:
    """`on` passes output, exit status and all arguments, also those that look like options of ours."""
    done = sgehub("lab", "on", "--name", name, "--user", "bob", "node01", "sh", "-c", "id -un; hostname; exit 9")
    assert (done.stdout, done.returncode) == ("bob\nnode01\n", 9)
    assert sgehub("lab", "on", "--name", name, "head", "echo", "--name", "x", "-h").stdout == "--name x -h\n"


def test_users_come_in_numbers(name: str) -> None:
    """`--users 5` makes alice, bob, carol, u004 and u005, each with a group of one of the projects."""
    people = sgehub("lab", "on", "--name", name, "node01", "getent", "group", "sgehub").stdout
    assert people == "sgehub:x:1990:alice,bob,carol,u004,u005\n"
    for person, group in (("u004", "genomics"), ("u005", "astro")):
        groups = sgehub("lab", "on", "--name", name, "node01", "id", "-Gn", person).stdout.split()
        assert groups == [person, "sgehub", group]


def test_status_crash_and_boot(name: str) -> None:
    """A crashed host is off in the status until it is booted."""
    assert sgehub("lab", "crash", "--name", name, "node01").returncode == 0
    rows = [line.split() for line in sgehub("lab", "status", "--name", name).stdout.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("head", "up"), ("node01", "off")]
    done = sgehub("lab", "on", "--name", name, "node01", "true")
    assert (done.returncode, done.stderr) == (1, f"sgehub: The host node01 of the lab {name} is off.\n")
    assert sgehub("lab", "boot", "--name", name, "node01").returncode == 0
    assert sgehub("lab", "on", "--name", name, "node01", "hostname").stdout == "node01\n"


def test_errors_are_one_sentence(name: str) -> None:
    """What cannot be done is said on standard error in one line, with exit status 1."""
    for arguments in (
        ("lab", "up", "--name", name),
        ("lab", "up", "--name", "UPPER"),
        ("lab", "up", "--name", f"{name}-x", "--nodes", "0"),
        ("lab", "up", "--name", f"{name}-x", "--users", "0"),
        ("lab", "up", "--name", f"{name}-x", "--subnet", "10.999.0"),
        ("lab", "up", "--name", f"{name}-x", "--install", "/nowhere"),
        ("lab", "crash", "--name", name, "node77"),
        ("lab", "on", "--name", f"{name}-x", "head", "true"),
    ):
        done = sgehub(*arguments)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("sgehub: ")
        assert done.stderr.count("\n") == 1, done.stderr


def test_who_is_not_root_is_told(install: Path) -> None:
    """Without root the lab says what it needs, and makes nothing."""
    code = "import sys; from sgehub.cli import main; sys.exit(main(['lab', 'up', '--name', 'nobodys']))"
    root = Path(__file__).parents[2]
    copy = f"import sys; sys.path.insert(0, {str(root)!r}); {code}"
    assert install.exists()
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, sgehub.cli; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n{copy}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=root,
    )
    assert done.returncode == 1
    assert "The lab needs root" in done.stderr
