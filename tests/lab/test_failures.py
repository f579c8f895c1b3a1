"""A start that cannot succeed says why, soon, in words that help, and leaves no job behind."""

from __future__ import annotations

import time

import yaml

from tests.lab.conftest import CONFIG, MakeHub, Site

SOON = 10.0  # seconds from the job's end to the message


def refused(site: Site, options: object = None, name: str = "alice") -> str:
    """Start, and return what the person is told; the whole thing must not take long."""
    person = site.person(name)
    begun = time.monotonic()
    answer = person.start(options or {})
    events = person.progress() if answer.status == 202 else [{"message": answer.json["message"]}]
    taken = time.monotonic() - begun
    print(f"\ntold after {taken:.1f} s: {events[-1]['message'][:300]}")
    assert taken < SOON + 10
    site.wait_for_jobs(0)
    assert person.wait_until(ready=False) == {}
    return str(events[-1]["message"])


def test_an_environment_without_jupyterhub(make_hub: MakeHub):
    """The log's last lines name the command and the PATH that lacks it."""
    with make_hub(site={"session": {"path": []}}) as site:
        said = refused(site)
    assert "The server ended at once, with exit status 127." in said
    assert "the command jupyterhub-singleuser was not found in PATH=" in said


def test_a_server_that_dies_at_once(make_hub: MakeHub):
    """Its own last words come back, its exit status too."""
    command = '["/bin/sh", "-c", "echo last words of the server; exit 3"]'
    with make_hub(config=f"c.Spawner.cmd = {command}") as site:
        said = refused(site)
    assert "exit status 3" in said
    assert "last words of the server" in said


def test_a_session_program_that_is_not_there(make_hub: MakeHub):
    """A host where the folder is not mounted: the log says which key of site.yaml to look at."""
    with make_hub(site={"session": {"folder": "/opt/nowhere/bin"}}) as site:
        said = refused(site)
    assert "/opt/nowhere/bin/python is not on node" in said
    assert "session.folder in site.yaml" in said


def test_a_prologue_that_fails_is_seen(make_hub: MakeHub):
    """A module that does not exist is the site's most ordinary mistake."""
    with make_hub(site={"session": {"prologue": "module load nothing; exit 1"}}) as site:
        said = refused(site)
    assert "module: command not found" in said


def test_what_qsub_refuses_comes_in_its_own_words(make_hub: MakeHub):
    """A queue in the site's file that the cluster does not have."""
    queue = {"cores": 1, "memory": "4G", "runtime": "01:00:00"}
    with make_hub(site={"queues": {"ghost.q": queue}}) as site:
        said = refused(site, {"queue": "ghost.q"})
    assert 'unknown queue "ghost.q"' in said


def test_patience_in_the_queue_ends_with_a_reason(make_hub: MakeHub):
    """Not with the hub's empty sentence; and the job does not stay in the queue."""
    queues = yaml.safe_load((CONFIG / "site.yaml").read_text())["queues"]
    for limits in queues.values():
        limits["patience"] = "00:00:06"
    with make_hub(config="c.Spawner.start_timeout = 2", site={"queues": queues}) as site:
        site.lab.run("head", ["qmod", "-d", "*"])
        try:
            said = refused(site)
        finally:
            site.lab.run("head", ["qmod", "-e", "*"])
    assert "waited 6 seconds in the queue" in said
