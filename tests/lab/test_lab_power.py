"""Power: a host that crashes is silent at once, and comes back with its daemons and its disk."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from sgehub.lab.cluster import Lab
from sgehub.lab.errors import LabError
from tests.lab import faulty
from tests.lab.conftest import bring_up
from tests.lab.test_lab_cluster import output, submit
from tests.lab.traces import namespaces, processes

PATIENCE = 60.0


def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def unheard_of(lab: Lab) -> set[str]:
    """Return the hosts whose queues are in the state u, unknown."""
    places = lab.run("head", ["qselect", "-qs", "u"]).stdout.split()
    return {place.split("@")[1] for place in places}


def test_a_node_crashes_and_comes_back(make_lab: Callable[..., Lab]) -> None:
    """All its processes are gone at once, the cluster sees it unknown, and after boot it runs jobs again."""
    lab = make_lab(nodes=2)
    bring_up(lab)
    faulty.change_configuration(lab, **faulty.QUICK)
    submit(lab, "sleep 64", "-S", "/bin/sh", "-l", "h=node02")
    until(lambda: lab.run("node02", ["pgrep", "-f", "^sleep 64"]).stdout != "")
    lab.run("node02", ["touch", "/tmp/survivor", "/run/loser"])
    holder = int(lab.namespace("node02", "net").parts[2])
    spaces = namespaces(holder)

    lab.crash("node02")
    until(lambda: processes(lab.root / "none", spaces) == [], 2)  # the machine's init has to take notice
    assert [host.running for host in lab.status()] == [True, True, False]
    with pytest.raises(LabError, match="is off"):
        lab.run("node02", ["true"])
    with pytest.raises(LabError, match="off already"):
        lab.crash("node02")
    assert lab.run("node01", ["qhost"]).returncode == 0
    until(lambda: unheard_of(lab) == {"node02"})

    lab.boot("node02")
    with pytest.raises(LabError, match="running already"):
        lab.boot("node02")
    lab.wait()
    assert lab.run("node02", ["ls", "/tmp/survivor"]).returncode == 0
    assert lab.run("node02", ["ls", "/run/loser"]).returncode != 0
    until(lambda: unheard_of(lab) == set())
    assert output(lab, submit(lab, "hostname", "-S", "/bin/sh", "-l", "h=node02")) == ["node02"]


def test_the_head_crashes_and_comes_back(make_lab: Callable[..., Lab]) -> None:
    """Jobs outlive the head; after boot the qmaster knows them, and the directory answers."""
    lab = make_lab()
    bring_up(lab)
    job = submit(lab, "echo begun; sleep 8; echo ended", "-S", "/bin/sh")
    output(lab, job)
    lab.crash("head")
    assert lab.run("node01", ["timeout", "2", "qstat"]).returncode != 0
    lab.boot("head")
    assert lab.run("head", ["qstat", "-j", job]).returncode == 0
    assert (
        lab.run("node01", ["ldapwhoami", "-x", "-D", "uid=bob,ou=people,dc=lab,dc=test", "-w", "bob"]).returncode
        == 0
    )
    assert output(lab, job, lines=2) == ["begun", "ended"]
    lab.wait()
    until(lambda: lab.run("head", ["qstat", "-j", job]).returncode != 0)


def test_a_crash_says_no_farewell(make_lab: Callable[..., Lab]) -> None:
    """A power cut ends no connection: the other side learns of it by silence alone."""
    lab = make_lab()
    bring_up(lab)
    server = "import socket\ns=socket.create_server(('', 7000))\nc,_=s.accept()\nc.send(b'x')\nc.recv(1)"
    client = "import socket,sys\nc=socket.create_connection(('node01',7000))\nprint(c.recv(1),flush=True)\n"
    client += "c.settimeout(4)\nprint(c.recv(1))"
    serving = lab.popen("node01", ["/usr/bin/python3", "-c", server])
    until(lambda: ":7000" in lab.run("node01", ["ss", "-tln"]).stdout)
    asking = lab.popen("head", ["/usr/bin/python3", "-c", client], stdout=-1, stderr=-1)
    assert asking.stdout is not None
    assert asking.stdout.readline() == "b'x'\n"
    lab.crash("node01")
    words, errors = asking.communicate(timeout=10)
    assert words == ""
    assert "timed out" in errors
    serving.wait(10)
