"""The gate stands where JupyterHub looks for it, for every way in."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import threading
import time
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.utils import maybe_future

from sgehub.errors import SubmissionRefusedError
from sgehub.gridengine.client import Submission
from sgehub.hub.people import People
from sgehub.hub.refusals import LinkOpened, RequestRefused, StartFailed
from sgehub.hub.spawner import SGESpawner
from sgehub.model.sitechoices import EnvironmentSite
from sgehub.model.siteparts import Most, Rule
from tests.unit.hub.gate_rig import spawner_of
from tests.unit.hub.html import Page


@pytest.fixture
def spawner() -> SGESpawner:
    """Return a spawner of alice's default server, as the hub makes it, without a hub."""
    return spawner_of()


def test_the_hook_for_every_way_in_is_ours(spawner):
    """JupyterHub calls apply_user_options for REST and stored options, too, before a job is thought of."""
    spawner.user_options = {"cores": "x"}
    spawner.accepted = {}
    with pytest.raises(RequestRefused) as caught:
        spawner.apply_user_options(spawner, spawner.user_options)
    assert caught.value.status_code == 400
    assert [one.field for one in caught.value.violations] == ["cores"]


async def test_each_person_has_the_policy_of_their_rules(spawner):
    """The form, the link, REST and the start judge by the same one, in the same words."""
    rule = Rule(groups=["astro"], queues=["short.q"], most=Most(cores=2))
    policy = spawner.service.policy.model_copy(update={"rules": [rule]})
    spawner.service.people = People(policy, time.time, lambda _person: frozenset({"astro"}))
    page = await spawner.get_options_form()
    assert "1 to 2." in page
    assert "long.q" not in page
    spawner.user_options = {"cores": 3}
    ways = [
        spawner.accept,
        lambda: spawner.apply_user_options(spawner, {}),
        lambda: spawner.run_options_from_form({"cores": ["3"]}),
        lambda: spawner.options_from_query({"cores": ["3"]}),
    ]
    said = set()
    for way in ways:
        with pytest.raises(RequestRefused) as caught:
            way()
        said.add(caught.value.jupyterhub_message)
    with pytest.raises(RequestRefused) as caught:
        await spawner.start()
    assert said == {caught.value.jupyterhub_message} == {"At most 2 cores."}


async def test_start_has_the_last_word(spawner):
    """A site can replace the hook; what it lets through is judged again before anything else happens."""
    spawner.apply_user_options = lambda _spawner, _options: None
    spawner.user_options = {"prologue": "touch /tmp/owned"}
    with pytest.raises(RequestRefused, match="no field"):
        await spawner.start()
    assert spawner.record is None


async def test_a_start_that_waited_is_judged_by_the_file_that_holds_now(spawner):
    """What is submitted is made from one policy; whoever asks for what is gone reads it, as for any request."""
    counted = []

    async def cleared(_person: str, _server: str) -> None:
        policy = spawner.service.policy
        queues = {"short.q": policy.queues["short.q"].model_copy(update={"cores": 1})}
        spawner.service.people.take(policy.model_copy(update={"queues": queues}))

    spawner.service.ends = SimpleNamespace(cleared=cleared)
    spawner.service.metrics = SimpleNamespace(start_ended=counted.append)
    spawner.commit = lambda: None
    spawner.user.name = pwd.getpwuid(os.getuid()).pw_name
    spawner.user_options = {"cores": 4, "queue": "long.q"}
    with pytest.raises(StartFailed, match=r"There is no queue long\.q") as caught:
        await spawner.start()
    assert (caught.value.status_code, counted) == (400, ["refused"])
    assert spawner.record is None
    assert "long.q" in spawner.last_end.why


async def test_a_start_is_submitted_with_its_own_choices(spawner):
    """Not with those of the start before it, which may have had another container."""
    told = []

    async def cleared(_person: str, _server: str) -> None:
        return

    async def submit(_person: str, submission: Submission) -> int:
        told.append(submission.launch)
        raise SubmissionRefusedError("Enough is known.")

    environments = {name: EnvironmentSite(container=["/bin/enter", name]) for name in ("old", "new")}
    service = spawner.service
    service.policy = service.policy.model_copy(update={"environments": environments})
    service.people.take(service.policy)
    service.ends = SimpleNamespace(cleared=cleared)
    service.metrics = SimpleNamespace(start_ended=lambda _cause: None)
    service.ledger = SimpleNamespace(begin=lambda *_: None, close=lambda *_: None)
    service.engine = SimpleNamespace(submit=submit)
    service.spawn = asyncio.ensure_future
    spawner.commit = lambda: None
    spawner._token = lambda: SimpleNamespace(id=1, created=datetime(2026, 1, 1))  # noqa: DTZ001 - as JupyterHub keeps it
    spawner.get_env = lambda: {"JUPYTERHUB_API_URL": "http://hub/api"}
    spawner.get_args = list
    spawner.user.name = pwd.getpwuid(os.getuid()).pw_name
    spawner.accepted = {"environment": "old"}
    spawner.user_options = {"environment": "new"}
    with pytest.raises(StartFailed, match="Enough is known"):
        await spawner.start()
    assert told[0]["command"][:2] == ["/bin/enter", "new"]


def test_the_form_is_judged_at_once(spawner):
    """A later refusal would not come back to the form."""
    with pytest.raises(RequestRefused):
        spawner.run_options_from_form({"cores": ["99"]})
    assert spawner.run_options_from_form({"cores": ["2"]})["cores"] == 2


async def test_an_account_database_that_is_slow_holds_nobody_up(spawner):
    """A person whom the hub has not met is judged as soon as it has answered, and what was typed is not lost."""
    policy = spawner.service.policy.model_copy(update={"rules": [Rule(groups=["astro"], most=Most(cores=2))]})
    loop_thread, asked = threading.get_ident(), []

    def slow(person: str) -> frozenset[str]:
        asked.append((person, threading.get_ident() == loop_thread))
        time.sleep(0.05)
        return frozenset({"astro"})

    def post() -> Any:
        spawner.service.people = People(policy, time.time, slow)
        return spawner.run_options_from_form({"cores": ["3"], "memory": ["900M"]})

    def link() -> Any:
        spawner.service.people = People(policy, time.time, slow)
        return spawner.options_from_query({"cores": ["3"], "memory": ["800M"]})

    for way, typed in [(post, "900M"), (link, "800M")]:
        with pytest.raises(RequestRefused, match="At most 2 cores"):
            await maybe_future(way())
        page = Page(await spawner.get_options_form())
        assert (page.values()["cores"], page.values()["memory"]) == ("3", typed)
    spawner.service.people = People(policy, time.time, slow)
    spawner.user_options = {"cores": 3}
    with pytest.raises(RequestRefused, match="At most 2 cores"):
        await spawner._run_apply_user_options(spawner.user_options)
    assert asked == [("alice", False)] * 3


async def test_the_verdict_beside_a_refused_request_is_about_the_server_that_was_asked_for():
    """JupyterHub renders the form from the default server then."""
    default, named = spawner_of(), spawner_of("big one")
    assert "api/sgehub/verdict/alice&quot;" in (await default.get_options_form()).replace('"', "&quot;")
    with pytest.raises(RequestRefused):
        named.run_options_from_form({"cores": ["99"]})
    assert "api/sgehub/verdict/alice/big%20one" in await default.get_options_form()


async def test_a_chosen_preset_counts_instead_of_its_fields(spawner):
    """And of what its card speaks of, whatever they hold; all others are judged, and all that was typed stays."""
    last = {
        "preset": ["gpu"],
        "cores": ["16"],
        "memory": ["x"],
        "gpus": ["0"],
        "runtime": ["soon"],
        "queue": ["short.q"],
    }
    taken = spawner.run_options_from_form(last)
    assert (taken["cores"], taken["memory"], taken["gpus"], taken["queue"]) == (2, "8G", 1, None)
    assert "preset" not in taken
    with pytest.raises(RequestRefused, match="There is no project nowhere"):
        spawner.run_options_from_form({**last, "project": ["nowhere"]})
    page = Page(await spawner.get_options_form())
    assert page.values() | {"preset": "gpu", "cores": "16", "memory": "x", "runtime": "soon"} == page.values()
    with pytest.raises(RequestRefused, match="There is no preset"):
        spawner.run_options_from_form({"preset": ["none"]})


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ({"preset": ["gpu"]}, {"preset": "gpu", "cores": "2", "gpus": "1", "queue": ""}),
        ({"preset": ["gpu"], "cores": ["3"]}, {"preset": "", "cores": "3", "gpus": "1"}),
        ({"cores": ["3"]}, {"preset": "", "cores": "3", "memory": "3G"}),
    ],
)
async def test_a_link_may_name_a_preset(spawner, query, shown):
    """What it does not name is the default, not the last request; its own words outrank the preset."""
    spawner.req_memory = "3G"
    spawner.load_state({"accepted": {"cores": 7, "memory": "5G"}})
    with pytest.raises(LinkOpened):
        spawner.options_from_query(query)
    page = Page(await spawner.get_options_form())
    assert page.values() | shown == page.values()


async def test_the_script_knows_what_an_empty_request_means(spawner):
    """A link leaves out what is usual, and that is the defaults with `req_*`, not the last request."""
    spawner.req_memory = "3G"
    spawner.load_state({"accepted": {"memory": "5G"}})
    page = Page(await spawner.get_options_form())
    assert page.values()["memory"] == "5G"
    assert json.loads(page.id("request-facts").text)["fresh"]["memory"] == "3G"


@pytest.mark.parametrize("query", [{}, {"_xsrf": ["x"]}, {"cores": ["2"]}])
def test_a_link_never_starts(spawner, query):
    """It ends in a notice, which is no error of HTTP's."""
    with pytest.raises(LinkOpened):
        spawner.options_from_query(query)


@pytest.mark.parametrize(
    ("stored", "accepted", "expected"),
    [
        ({}, {}, 1),
        ({}, {"cores": 3}, 3),
        ({"cores": 2}, {"cores": 3}, 2),
        ({"cores": "x"}, {"cores": 3}, 3),
        ({"cores": "x", "cmd": "y"}, {"cores": 3}, 3),
    ],
)
def test_a_start_without_options_means_the_last_accepted_request(spawner, stored, accepted, expected):
    """What the hub has stored counts only if it is allowed."""
    spawner.user_options, spawner.accepted = stored, accepted
    assert spawner.accept().cores == expected


def test_req_traits_are_defaults_that_a_request_overrides(spawner):
    """As an administrator who comes from batchspawner expects."""
    spawner.req_nprocs, spawner.req_memory = "4", "8G"
    spawner.user_options = {}
    assert str(spawner.accept().memory) == "8G"
    spawner.user_options = {"memory": "1G"}
    assert (spawner.accept().cores, str(spawner.accept().memory)) == (4, "1G")


async def test_the_form_opens_with_the_last_accepted_request(spawner):
    """Also after a restart of the hub, from the server's state."""
    spawner.load_state({"accepted": {"cores": 7}})
    assert 'value="7"' in await spawner.get_options_form()
    assert spawner.get_state()["accepted"] == {"cores": 7}


@pytest.mark.parametrize("accepted", [{"cores": "<b>"}, {"nodes": 1}, {"cores": [1]}, [1]])
async def test_a_form_opens_whatever_the_database_holds(spawner, accepted):
    """A request that no longer fits is no reason for an error page."""
    spawner.load_state({"accepted": accepted})
    assert "<b>" not in await spawner.get_options_form()
