"""`sgehub reap` on a real cluster: the orphan goes, everything that only looks like one stays."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from sgehub.hub.ledger import Entry, Ledger
from sgehub.hub.record import SessionRecord
from sgehub.lab.cluster import Lab
from sgehub.lab.hub import BIN
from sgehub.lab.layout import HUB_ACCOUNT
from sgehub.model.names import job_name, new_tag
from tests.lab.conftest import MakeHub, Site, running_hub


@contextmanager
def emptied(hub: AbstractContextManager[Site]) -> Iterator[Site]:
    """Run a hub, and wait for the end of all jobs afterwards."""
    with hub as site:
        yield site
        site.lab.run("head", ["qdel", "-u", "*"])
        site.wait_for_jobs(0, 60)


@pytest.fixture
def site(make_hub: MakeHub) -> Iterator[Site]:
    """Run a hub of the test's own, whose database may be damaged."""
    with emptied(make_hub()) as site:
        yield site


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Site]:
    """Run one hub for the tests that leave it as it is; they are the last ones here, since a lab has one hub."""
    with emptied(running_hub(lab)) as site:
        yield site


def reap(site: Site, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command as the hub's account on the hub's machine; return its status and what it printed."""
    done = site.lab.run("head", [f"{BIN}/sgehub", "reap", "--json", *arguments], user=HUB_ACCOUNT)
    return done.returncode, json.loads(done.stdout)


def standings(answer: dict[str, Any]) -> dict[int, str]:
    return {row["job"]: row["standing"] for row in answer["jobs"]}


def database(site: Site) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{site.hub.state}/jupyterhub.sqlite", poolclass=sa.NullPool)


def started(site: Site, name: str, *, server: str = "") -> SessionRecord:
    """Start a server; return its record as soon as the database has its job's number."""
    site.person(name).start({"memory": "1G"}, server)
    until = time.monotonic() + 30
    query = sa.text("SELECT spawners.state FROM spawners JOIN users ON users.id = user_id WHERE users.name = :n")
    while time.monotonic() < until:
        with database(site).connect() as connection:
            states = [json.loads(state or "null") for (state,) in connection.execute(query, {"n": name})]
        records = [SessionRecord.from_state((state or {}).get("session")) for state in states]
        found = [record for record in records if record is not None and record.number is not None]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(site.hub.log()[-2000:])


def enter(site: Site, *records: SessionRecord) -> None:
    """Enter starts, as a hub does before it submits them."""
    with Session(database(site)) as session:
        ledger = Ledger(session)
        for record in records:
            ledger.begin(record, "")


def ledger(site: Site) -> tuple[Entry, ...]:
    with Session(database(site)) as session:
        return Ledger(session).entries()


def forget_server(site: Site, name: str) -> None:
    """Lose a server's row, as a restored database or a hub's fault may."""
    with database(site).begin() as connection:
        connection.execute(
            sa.text("DELETE FROM spawners WHERE user_id = (SELECT id FROM users WHERE name = :n)"), {"n": name}
        )


def submit(site: Site, person: str, name: str) -> int:
    """Submit a job that only sleeps."""
    command = ["qsub", "-terse", "-N", name, "-b", "y", "-o", "/dev/null", "-e", "/dev/null", "sleep", "600"]
    done = site.lab.run("head", command, user=person)
    return int(done.stdout.split()[-1])


def test_an_orphan_is_ended_and_nothing_else(site: Site) -> None:
    """Of five jobs of such a name one is an orphan for certain: looking changes nothing, --end ends that one."""
    lost, held = started(site, "alice"), started(site, "bob")
    site.hub.stop("hub")
    enter(site, lost, held)
    forget_server(site, "alice")
    foreign = submit(site, "bob", job_name(new_tag()))
    copy = submit(site, "alice", lost.job_name)
    stolen = submit(site, "bob", lost.job_name)

    expected = {
        lost.number: "orphan",
        held.number: "held",
        **dict.fromkeys((foreign, copy, stolen), "unknown"),
    }
    status, answer = reap(site)
    assert (status, standings(answer)) == (1, expected)
    assert sorted(site.jobs()) == sorted(expected)
    assert len(ledger(site)) == 2

    status, answer = reap(site, "--end")
    assert (status, standings(answer)) == (0, expected)
    assert [row["job"] for row in answer["jobs"] if row["ended"]] == [lost.number]
    assert sorted(site.jobs()) == sorted(set(expected) - {lost.number})
    assert [entry.record.tag for entry in ledger(site)] == [held.tag]
    assert not (site.home("alice") / ".sgehub" / "run" / f"{lost.tag}.json").exists()
    status, answer = reap(site, "--end")
    assert (status, len(answer["jobs"])) == (0, 4)


def test_a_start_whose_number_was_lost_is_found_by_its_name(site: Site) -> None:
    """The hub died between qsub and its answer, and the server's row is lost too."""
    lost = started(site, "alice")
    site.hub.stop("hub", kill=True)
    enter(site, replace(lost, number=None, submitted=None))
    forget_server(site, "alice")
    status, answer = reap(site, "--end")
    assert (status, standings(answer)) == (0, {lost.number: "orphan"})
    assert site.jobs() == []
    assert ledger(site) == ()


def test_a_lost_ledger_makes_nothing_an_orphan(site: Site) -> None:
    """An empty database, a new one for instance: every job is unknown and stays, also with --end."""
    lost = started(site, "alice")
    site.hub.stop("hub")
    forget_server(site, "alice")
    with database(site).begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS sgehub_starts"))
    status, answer = reap(site, "--end")
    assert (status, standings(answer)) == (0, {lost.number: "unknown"})
    assert site.jobs() == [lost.number]


def test_beside_a_running_hub_sessions_are_safe(running: Site) -> None:
    """Held jobs stay; the command waits for no lock of the hub's and takes none for long."""
    held = [started(running, name) for name in ("alice", "bob")]
    enter(running, *held)
    status, answer = reap(running, "--end")
    assert (status, standings(answer)) == (0, {record.number: "held" for record in held})
    assert sorted(running.jobs()) == sorted(record.number or 0 for record in held)
    assert len(ledger(running)) == 2


@pytest.mark.parametrize("arguments", [("--site", "/etc/sgehub/deaf.yaml"), ("--state", "/nowhere")])
def test_dont_know_is_not_none(running: Site, arguments: tuple[str, str]) -> None:
    """A qmaster that does not answer, a database that is not there: status 2 and a sentence, no list."""
    etc = running.lab.root / "etc" / "sgehub"
    text = (etc / "site.yaml").read_text()
    (etc / "deaf.yaml").write_text(text.replace("qmaster_port: 6444", "qmaster_port: 6999"))
    status, answer = reap(running, *arguments)
    assert status == 2
    assert set(answer) == {"status", "error"}
    assert answer["error"].endswith(".")
