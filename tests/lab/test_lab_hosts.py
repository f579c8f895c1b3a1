"""The hosts of a lab: each is a machine of its own, as far as anything that runs on it can tell."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab
from sgehub.lab.errors import LabError
from tests.lab.traces import etc_hash

NODES = ("node01", "node02", "node03")


def say(lab: Lab, host: str, *argv: str, user: str | None = None) -> str:
    """Return what a command on a host says; it must succeed."""
    done = lab.run(host, argv, user=user)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_hosts_have_their_names_and_addresses(lab: Lab) -> None:
    """Every host knows itself and all others by name, and never as 127.x."""
    assert lab.hosts == ("head", *NODES)
    for host in lab.hosts:
        assert say(lab, host, "hostname") == host
        for other in lab.hosts:
            assert say(lab, host, "getent", "hosts", other).split() == [lab.address(other), other]


def test_hosts_reach_each_other_and_nothing_else(lab: Lab) -> None:
    """The fabric joins the hosts; there is no way out of it."""
    routes = say(lab, "node01", "ip", "-4", "route")
    assert "default" not in routes
    assert lab.layout.subnet in routes
    for host in lab.hosts:
        bash = f"exec 3<>/dev/tcp/{host}/6445" if host != "head" else f"exec 3<>/dev/tcp/{host}/6444"
        say(lab, "node02", "bash", "-c", bash)


def test_hosts_have_process_tables_of_their_own(lab: Lab) -> None:
    """A process of one host is not seen on another, and its first process is an init that reaps."""
    first = lab.popen("node01", ["sleep", "61.25"])
    try:
        deadline = time.monotonic() + 5
        while not lab.run("node01", ["pgrep", "-f", "^sleep 61.25"]).stdout and time.monotonic() < deadline:
            time.sleep(0.05)
        assert lab.run("node01", ["pgrep", "-fc", "^sleep 61.25"]).stdout == "1\n"
        assert lab.run("node02", ["pgrep", "-fc", "^sleep 61.25"]).stdout == "0\n"
        assert say(lab, "node01", "cat", "/proc/1/comm") == "tini"
        say(lab, "node01", "sh", "-c", "(true &) ; sleep 0.2")
        assert "Z" not in say(lab, "node01", "ps", "-eo", "state=")
    finally:
        first.kill()
        first.wait(5)


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/run", "/srv", "/dev/shm"])
def test_hosts_have_folders_of_their_own(lab: Lab, folder: str) -> None:
    """What a host writes there is seen neither on another host nor on the machine."""
    name = f"{folder}/only-here-{os.getpid()}"
    say(lab, "node01", "touch", name)
    assert say(lab, "node01", "ls", name) == name
    assert lab.run("node02", ["ls", name]).returncode != 0
    assert not Path(name).exists()
    say(lab, "node01", "rm", name)


def test_homes_are_shared_and_private_to_their_people(lab: Lab) -> None:
    """A file of alice's home on one host is there on all, and closed to bob."""
    say(lab, "node01", "sh", "-c", "echo hello > ~/note", user="alice")
    assert say(lab, "head", "cat", "/home/alice/note", user="alice") == "hello"
    assert lab.run("head", ["ls", "/home/alice"], user="bob").returncode != 0
    assert say(lab, "head", "stat", "-c", "%U %a", "/srv/jupyterhub") == "jupyterhub 700"


def test_opt_shows_the_environment_and_what_the_machine_has(lab: Lab, install: Path) -> None:
    """/opt/sgehub is the given environment, usable by people; the machine's own /opt stays in sight."""
    assert (
        say(lab, "node03", "/opt/sgehub/bin/python", "-c", "import sys; print(sys.prefix)", user="bob")
        == "/opt/sgehub"
    )
    seen = set(say(lab, "node03", "ls", "-A", "/opt").split())
    assert seen == {path.name for path in Path("/opt").iterdir()} | {"sge", "sgehub"}
    assert (install / "bin" / "python").exists()


def test_accounts_have_their_groups(lab: Lab) -> None:
    """Groups differ: alice astro, bob genomics, carol both; the hub's account is in none of them."""
    groups = {
        name: set(say(lab, "node01", "id", "-Gn", user=name).split())
        for name in ("alice", "bob", "carol", "jupyterhub")
    }
    assert groups == {
        "alice": {"alice", "sgehub", "astro"},
        "bob": {"bob", "sgehub", "genomics"},
        "carol": {"carol", "sgehub", "astro", "genomics"},
        "jupyterhub": {"jupyterhub"},
    }


def test_nothing_of_our_environment_gets_in(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies, tokens and Python's settings of the calling process stay outside; what is given gets in."""
    for name in ("http_proxy", "GITHUB_TOKEN", "PIP_INDEX_URL", "PYTHONPATH", "LD_PRELOAD_NOT"):
        monkeypatch.setenv(name, "leaked")
    done = lab.run("head", ["env"], user="alice", env={"GIVEN": "yes"})
    assert "leaked" not in done.stdout
    variables = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert set(variables) == {
        *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", "GIVEN"),
        *("SGE_ROOT", "SGE_CELL", "SGE_ARCH", "SGE_QMASTER_PORT", "SGE_EXECD_PORT"),
    }
    assert variables["HOME"] == "/home/alice"
    assert variables["PATH"].split(":")[0] == "/usr/lib/gridengine"


def test_daemons_have_a_clean_environment_too(lab: Lab) -> None:
    """Jobs inherit the execution daemon's environment, so nothing of ours may be in it."""
    for host, daemon in (("head", "sge_qmaster"), ("head", "slapd"), ("node01", "sge_execd")):
        text = say(lab, host, "sh", "-c", f"tr '\\0' '\\n' </proc/$(pgrep -o {daemon})/environ")
        names = {line.split("=")[0] for line in text.splitlines()}
        assert names <= {"HOME", "USER", "LOGNAME", "SHELL", "PATH", "LANG", *lab.cell_environment}


def test_sudo_asks_only_the_labs_rules(lab: Lab) -> None:
    """The rules in force are the lab's own: valid, without the machine's, and root's right is there."""
    say(lab, "head", "visudo", "-c")
    assert say(lab, "head", "sudo", "-n", "-u", "alice", "id", "-un") == "alice"
    assert lab.run("head", ["sudo", "-n", "-u", "alice", "id"], user="bob").returncode != 0
    assert set(say(lab, "head", "ls", "-A", "/etc/sudoers.d").split()) <= {"sgehub"}


def test_accounts_made_in_the_lab_stay_in_the_lab(lab: Lab) -> None:
    """Tools that rewrite /etc/passwd work inside, on all hosts alike, and do not touch the machine's files."""
    before = etc_hash()
    say(lab, "head", "usermod", "--shell", "/bin/csh", "carol")
    assert say(lab, "node02", "getent", "passwd", "carol").endswith(":/bin/csh")
    say(lab, "head", "usermod", "--shell", "/bin/bash", "carol")
    assert etc_hash() == before


def test_a_command_that_takes_too_long_is_gone(lab: Lab) -> None:
    """After a time-out the command itself is dead, not only what we started it by."""
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run("node01", ["sleep", "62.5"], user="alice", timeout=0.5)
    assert lab.run("node01", ["pgrep", "-f", "^sleep 62.5"]).stdout == ""


def test_a_signal_reaches_the_command_itself(lab: Lab) -> None:
    """terminate() of a started command is the command's own SIGTERM, and its exit status comes back."""
    script = "trap 'echo bye; exit 7' TERM; echo hello; while :; do sleep 0.1; done"
    running = lab.popen("node01", ["sh", "-c", script], user="alice", stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == "hello\n"
    running.terminate()
    assert running.communicate(timeout=5)[0] == "bye\n"
    assert running.returncode == 7


def test_a_started_command_ends_with_us(lab: Lab) -> None:
    """A command whose starter is killed dies, too: nothing is left on the host."""
    running = lab.popen("node01", ["sleep", "63.75"])
    deadline = time.monotonic() + 5
    while not lab.run("node01", ["pgrep", "-f", "^sleep 63.75"]).stdout and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.wait(5)
    deadline = time.monotonic() + 5
    while lab.run("node01", ["pgrep", "-f", "^sleep 63.75"]).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_is_not_there_is_said(lab: Lab) -> None:
    """An unknown host or account is a sentence, not a traceback of some tool."""
    with pytest.raises(LabError, match="no host 'node99'"):
        lab.run("node99", ["true"])
    with pytest.raises(LabError, match="no account 'mallory'"):
        lab.run("node01", ["true"], user="mallory")


def test_another_process_can_open_the_lab(lab: Lab) -> None:
    """A lab that is up is known to any process by its name; `up` refuses it, `status` shows it."""
    again = Lab.open(lab.name)
    assert again.layout == lab.layout
    assert [(host.name, host.running) for host in again.status()] == [(host, True) for host in lab.hosts]
    assert say(again, "node01", "hostname") == "node01"
    with pytest.raises(LabError, match="up already"):
        Lab(lab.name, install=lab.layout.install).up()
