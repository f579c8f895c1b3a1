"""A session's token is where only its person can read it, as short as possible, and worth nothing afterwards."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.conftest import Site, running_hub
from tests.lab.intruder import PYTHON, routes
from tests.lab.person import Person
from tests.lab.prying import search, server_token, spies, told

DIE = 'if [ -e "$HOME/die" ]; then echo "last words"; exit 3; fi'
# Where Jupyter keeps it itself: the server's environment, and its files in a closed folder that goes with the job.
THEIRS = r": (/proc/PID/environ of jupyterhub-sing|/tmp/[0-9]+\.1\.[a-z]+\.q/jupyter-runtime/jpserver-.*)$"
SMALL = {"memory": "1G"}


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Site]:
    """Run a hub that writes down as much as it can, and whose sessions die at once if their person wants it."""
    config = "c.JupyterHub.log_level = 0\nc.Application.log_level = 0\n"
    config += (
        "c.JupyterHub.tornado_settings = {'slow_spawn_timeout': 1}"  # an answer at once also for jobs that wait
    )
    with running_hub(lab, config=config, site={"session": {"prologue": DIE}}) as site:
        yield site


@pytest.fixture
def closed_queues(lab: Lab) -> Iterator[None]:
    """Keep every job waiting."""
    lab.run("head", ["qmod", "-d", "*"])
    try:
        yield
    finally:
        lab.run("head", ["qmod", "-e", "*"])


def launch_files(site: Site, name: str = "alice") -> list[Path]:
    """Return the launch files that a person has now."""
    folder = site.home(name) / ".sgehub" / "run"
    return list(folder.iterdir()) if folder.exists() else []


def wait_for_launch_file(site: Site) -> Path:
    """Return alice's only launch file as soon as it is there."""
    until = time.monotonic() + 20
    while not (found := [path for path in launch_files(site) if path.suffix == ".json"]):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert len(found) == 1
    return found[0]


def works(person: Person, token: str) -> bool:
    """Tell whether the hub takes a token."""
    status = person.api("GET", "/user", token=token).status
    assert status in (200, 401, 403)
    return status == 200


def assert_worthless(site: Site, alice: Person, token: str) -> None:
    """Check that the token is refused, and that the hub's database has no record of any of alice's servers."""
    assert not works(alice, token)
    with closing(sqlite3.connect(f"file:{site.hub.state}/jupyterhub.sqlite?mode=ro", uri=True)) as database:
        notes = [note for (note,) in database.execute("select note from api_tokens")]
    assert not [note for note in notes if note and "/user/alice" in note], notes


def assert_unseen(site: Site, token: str, since: float, *, job: int = 0) -> None:
    """Bob finds the token nowhere, and neither do the logs hold it."""
    assert search(site, [token], since, user="bob") == []
    for name in ("hub", "proxy"):
        assert token not in site.hub.log(name)
    if job:
        assert token not in told(site, job)
        for log in (site.home("alice") / ".sgehub" / "log").iterdir():
            assert token not in log.read_text(errors="replace")


@contextmanager
def session(site: Site) -> Iterator[tuple[Person, str]]:
    """Run a session of alice's; her token comes with it."""
    alice = site.person("alice")
    assert alice.start(SMALL).status in (201, 202)
    try:
        alice.wait_until(ready=True)
        yield alice, server_token(site, "alice")
    finally:
        alice.stop()
        site.wait_for_jobs(0)


def test_nobody_sees_the_token_while_a_session_comes_runs_and_goes(hub: Site):
    """Not in files, processes, Grid Engine's answers and logs, on any host; root finds it at her server only."""
    since = time.time() - 5
    with spies(hub) as seen:
        with session(hub) as (alice, token):
            (job,) = hub.jobs()
            assert launch_files(hub) == []
            assert_unseen(hub, token, since, job=job)
            places = search(hub, [token], since, user=None)
            others = [place for place in places if not re.search(THEIRS, place)]
            assert places
            assert others == []
        alice.wait_until(ready=False)
        assert_unseen(hub, token, since, job=job)
        assert search(hub, [token], since, user=None) == []
        assert_worthless(hub, alice, token)
    everything = b"".join(seen)
    assert b"sgehub-session" in everything  # he has looked well
    assert b"sgehub-as-user" in everything
    assert token.encode() not in everything


@pytest.mark.usefixtures("closed_queues")
def test_nobody_sees_the_token_of_a_job_that_waits(hub: Site):
    """It is in one file that is hers alone; the file goes with the job, and the token is worth nothing then."""
    since = time.time() - 5
    alice = hub.person("alice")
    with spies(hub) as seen:
        alice.start(SMALL)
        launch = wait_for_launch_file(hub)
        (job,) = hub.wait_for_jobs(1)
        for path, mode in ((launch, 0o600), (launch.parent, 0o700), (launch.parent.parent, 0o700)):
            assert path.stat().st_mode & 0o7777 == mode
            assert path.stat().st_uid == hub.home("alice").stat().st_uid
        token = json.loads(launch.read_text())["token"]
        assert works(alice, token)
        assert_unseen(hub, token, since, job=job)
        places = search(hub, [token], since, user=None)
        assert {place.partition(": ")[2] for place in places} == {f"/home/alice/.sgehub/run/{launch.name}"}
        assert alice.stop().status in (202, 204)
        hub.wait_for_jobs(0)
        alice.wait_until(ready=False)
        assert launch_files(hub) == []
        assert_unseen(hub, token, since, job=job)
        assert search(hub, [token], since, user=None) == []
        assert_worthless(hub, alice, token)
    assert token.encode() not in b"".join(seen)


@pytest.mark.usefixtures("closed_queues")
def test_a_job_that_dies_before_its_session_starts_leaves_no_secret(hub: Site):
    """The file goes although nobody in the job has removed it, and the token is worth nothing."""
    since = time.time() - 5
    alice = hub.person("alice")
    mark = hub.home("alice") / "die"
    mark.touch()
    try:
        alice.start(SMALL)
        launch = wait_for_launch_file(hub)
        token = json.loads(launch.read_text())["token"]
        (job,) = hub.wait_for_jobs(1)
        hub.lab.run("head", ["qmod", "-e", "*"])
        hub.wait_for_jobs(0)
        alice.wait_until(ready=False)
        until = time.monotonic() + 15
        while launch.exists():
            assert time.monotonic() < until, "the launch file was left"
            time.sleep(0.1)
    finally:
        mark.unlink()
    assert "last words" in hub.job_log("alice")
    assert_unseen(hub, token, since, job=job)
    assert search(hub, [token], since, user=None) == []
    assert_worthless(hub, alice, token)


@pytest.mark.usefixtures("closed_queues")
def test_a_job_deleted_by_others_while_it_waits_leaves_no_secret(hub: Site):
    """An administrator's qdel of a job that waits: nothing of ours has run, and yet nothing is left."""
    alice = hub.person("alice")
    alice.start(SMALL)
    launch = wait_for_launch_file(hub)
    token = json.loads(launch.read_text())["token"]
    (job,) = hub.wait_for_jobs(1)
    hub.lab.run("head", ["qdel", str(job)])
    hub.wait_for_jobs(0)
    alice.wait_until(ready=False)
    until = time.monotonic() + 15
    while launch.exists():
        assert time.monotonic() < until, "the launch file was left"
        time.sleep(0.1)
    assert_worthless(hub, alice, token)


def restart(site: Site) -> None:
    """Let the hub crash and come back."""
    site.hub.stop(kill=True)
    site.hub.start_hub()
    site.hub.wait_ready()


def test_the_token_of_a_session_that_outlived_the_hub_is_revoked(hub: Site):
    """The hub has forgotten the token, and knows its record all the same."""
    with session(hub) as (alice, token):
        restart(hub)
        alice.wait_until(ready=True)
        assert works(alice, token)
        assert alice.stop().status in (202, 204)
        hub.wait_for_jobs(0)
        alice.wait_until(ready=False)
        assert_worthless(hub, alice, token)


def test_the_token_of_a_session_that_ended_without_the_hub_is_revoked(hub: Site):
    """The end came while nobody listened."""
    with session(hub) as (alice, token):
        (job,) = hub.jobs()
        hub.hub.stop(kill=True)
        hub.lab.run("head", ["qdel", str(job)], user="alice")
        hub.wait_for_jobs(0)
        hub.hub.start_hub()
        hub.hub.wait_ready()
        alice.wait_until(ready=False)
        assert_worthless(hub, alice, token)


@pytest.mark.usefixtures("closed_queues")
def test_the_token_of_a_waiting_job_is_revoked_after_a_restart(hub: Site):
    """The hub has never seen this session run; what waited is deleted with its secrets when its person says so."""
    alice = hub.person("alice")
    alice.start(SMALL)
    token = json.loads(wait_for_launch_file(hub).read_text())["token"]
    hub.wait_for_jobs(1)
    time.sleep(1)  # for qsub's answer to be committed
    restart(hub)
    until = time.monotonic() + 30
    while alice.stop().status not in (202, 204, 400, 404):
        assert time.monotonic() < until
        time.sleep(0.5)
    hub.wait_for_jobs(0)
    alice.wait_until(ready=False)
    until = time.monotonic() + 15
    while launch_files(hub):
        assert time.monotonic() < until, "the launch file was left"
        time.sleep(0.1)
    assert_worthless(hub, alice, token)


FETCH = """
import sys, urllib.request, urllib.error
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_): return None
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "token " + sys.stdin.read()})
try:
    print(urllib.request.build_opener(Stay).open(request, timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_her_session_refuses_everybody_else(hub: Site):
    """Bob's cookies, tokens, and his own server's token: neither through the proxy nor beside it on her host."""
    with session(hub) as (alice, token), routes(hub) as table:
        bob = hub.person("bob")
        assert bob.start(SMALL).status in (201, 202)
        bob.wait_until(ready=True)
        his = server_token(hub, "bob")
        target = table.target(alice)
        try:
            for path in ("/user/alice/lab", "/user/alice/api/status", "/user/alice/api/contents", "/user/alice/"):
                assert bob.open(path).status in (403, 404), path
                for one in (bob.token, his, "0" * 32):
                    assert bob.open(path, redirect=False, Authorization=f"token {one}").status in (302, 403), path
                    assert bob.open(f"{path}?token={one}", redirect=False).status in (302, 403), path
                    argv = [PYTHON, "-I", "-c", FETCH, f"{target}{path}"]
                    for host in hub.lab.hosts:
                        done = hub.lab.run(host, argv, user="bob", input=one)
                        assert done.stdout.strip() in ("302", "403"), (path, done.stdout, done.stderr)
            assert alice.open("/user/alice/api/status", Authorization=f"token {alice.token}").status == 200
            assert works(alice, token)
        finally:
            bob.stop()
            hub.wait_for_jobs(1)
