"""Form, link, REST, stored options, another account's start: one gate, the same words."""

from __future__ import annotations

import html
import sqlite3
import urllib.parse
from collections.abc import Iterator

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.conftest import Site, running_hub
from tests.lab.person import Answer, Person

HOSTILE = [
    {"cores": "0"},
    {"cores": "-1"},
    {"cores": "1" + "0" * 30},
    {"cores": "4 apples"},
    {"cores": "٤"},
    {"memory": "4G\n#$ -pe smp 64"},
    {"memory": "$(touch /tmp/owned)"},
    {"memory": "'; touch /tmp/owned #"},
    {"runtime": "01:00:00\x00"},
    {"runtime": "x" * 7000},
    {"gpus": "9"},
    {"queue": "no.q"},
    {"queue": "short.q,long.q"},
    {"cmd": "touch /tmp/owned"},
    {"prologue": "touch /tmp/owned"},
    {"cores": "99", "memory": "1000T", "gpus": "x", "runtime": "y", "queue": "z z"},
    {"pe": "smp 64"},
    {"environment": "../base;id"},
    {"interface": "javascript:alert(1)"},
    {"folder": "/etc"},
    {"folder": "a/../../bob"},
    {"folder": "$HOME\n#$ -pe smp 64"},
    {"mail": "alice@lab.test,root@lab.test"},
    {"mail": "alice@elsewhere.test"},
    {"reservation": "1 -q *"},
    {"preset": "huge"},
    {"extra.disk": "1G,h_rt=1"},
    {"extra.course": "teaching -p 1024"},
    {"extra.gone": "x"},
    {"pe": "-pe", "environment": "x y", "folder": "-x", "mail": "@", "reservation": "0", "extra.disk": "\x00"},
]
OFFERED = {
    "parallel_environment": ["smp", "mpi"],
    "environments": {"base": {"label": "Python"}},
    "interfaces": {"lab": {"url": "/lab"}},
    "working_folders": ["{home}"],
    "mail": {"domains": ["lab.test"]},
    "advance_reservations": True,
    "fields": {
        "disk": {"label": "Disk", "type": "number", "least": 1, "most": 9, "adds": {"h_fsize": "{value}G"}},
        "course": {"label": "Course", "type": "choice", "choices": {"one": {"options": ["-A", "teaching"]}}},
    },
    "presets": {"small": {"request": {"memory": "1G"}}},
}


def words(answer: Answer) -> str:
    """Return the message of a REST refusal."""
    return str(answer.json["message"])


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Site]:
    """Run a hub whose site offers every field that there is."""
    with running_hub(lab, config="c.JupyterHub.log_level = 10", site=OFFERED) as site:
        yield site


@pytest.fixture(scope="module")
def alice(hub: Site) -> Person:
    """Return a person who starts nothing that is allowed."""
    return hub.person("alice")


@pytest.mark.parametrize("options", HOSTILE, ids=lambda options: repr(options)[:40])
def test_refused_alike_by_form_link_and_rest(hub: Site, alice: Person, options: dict[str, str]):
    """400 with all reasons in words, nothing submitted, whatever the way in."""
    rest = alice.start(options)
    form = alice.post_form(options)
    link = alice.open(
        "/hub/spawn?" + urllib.parse.urlencode({f"opt-{name}": text for name, text in options.items()})
    )
    named = alice.start(options, server="other")
    assert [one.status for one in (rest, form, link, named)] == [400, 400, 400, 400]
    first = words(rest).split(". ")[0]
    assert len(first) > 10
    assert all(first in html.unescape(one.text) for one in (form, link))
    assert words(named) == words(rest)
    assert hub.jobs() == []
    assert alice.model() == {}


@pytest.mark.parametrize(
    "options", [{"cores": 10**30}, {"cores": True}, {"cores": 1.5}, {"memory": 4}, {"memory": ["4G"]}]
)
def test_json_of_wrong_types_is_refused(hub: Site, alice: Person, options: dict[str, object]):
    """REST can send what a form cannot."""
    assert alice.start(options).status == 400
    assert hub.jobs() == []


def test_a_megabyte_of_text_is_refused(hub: Site, alice: Person):
    """By form and REST; no 500, nothing echoed at length."""
    answers = [alice.start({"memory": "x" * 1_000_000}), alice.post_form({"memory": "x" * 1_000_000})]
    assert [answer.status for answer in answers] == [400, 400]
    assert all(len(answer.text) < 60_000 for answer in answers)
    assert hub.jobs() == []


def test_a_link_fills_the_form_and_starts_nothing(hub: Site, alice: Person):
    """Any page can make a browser follow a link."""
    page = alice.open("/hub/spawn?opt-cores=3&opt-memory=6G&_xsrf=abc")
    assert page.status == 200
    assert 'value="3"' in page.text
    assert 'value="6G"' in page.text
    assert alice.open("/hub/spawn?cores=3").status == 200
    assert hub.jobs() == []
    assert alice.model() == {}


def stored(hub: Site, name: str, server: str) -> None:
    """Check that the hub's database holds an options row for the server."""
    with sqlite3.connect(hub.hub.state / "jupyterhub.sqlite") as database:
        rows = database.execute(
            "select user_options from spawners join users on users.id = spawners.user_id"
            " where users.name = ? and spawners.name = ?",
            (name, server),
        ).fetchall()
    assert rows


def test_options_written_straight_into_the_hub_are_hostile(hub: Site):
    """PUT and PATCH store options that nobody has judged: a later start without a body refuses them in words."""
    bob = hub.person("bob")
    path = bob.server_path("mine")
    assert bob.api("PUT", path, {"user_options": {"cores": "$(id)", "cmd": "x"}}).status == 201
    stored(hub, "bob", "mine")
    answer = bob.start(None, server="mine")
    assert answer.status == 400
    assert "is not a whole number" in words(answer)
    assert bob.api("PATCH", path, {"user_options": {"prologue": "x"}}).status == 200
    assert bob.start(None, server="mine").status == 400
    assert hub.jobs() == []
    bob.api("DELETE", path, {"remove": True})


def test_no_body_means_the_last_accepted_request(hub: Site):
    """A refused one in between, which the hub has stored, does not come back; {} means the site's defaults."""
    bob = hub.person("bob")
    bob.start({"cores": 2, "memory": "1G", "runtime": "00:20:00"})
    bob.wait_until(ready=True)
    bob.stop()
    hub.wait_for_jobs(0)
    assert bob.start({"cores": 99}).status == 400
    assert 'value="2"' in bob.open("/hub/spawn").text
    bob.start(None)
    bob.wait_until(ready=True)
    (job,) = hub.jobs()
    assert "smp range: 2" in hub.qstat("-j", str(job))
    bob.stop()
    hub.wait_for_jobs(0)
    bob.start({})
    bob.wait_until(ready=True)
    (job,) = hub.jobs()
    found = hub.qstat("-j", str(job))
    assert "parallel environment" not in found
    assert "h_vmem=2G,h_rt=3600" in found
    bob.stop()
    hub.wait_for_jobs(0)
