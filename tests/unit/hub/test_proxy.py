"""Whatever happens to the proxy, its routes come true again, and no session and no Stop depends on it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sgehub.hub import proxy as module
from sgehub.hub import servers
from sgehub.hub.proxy_request import NoProxyError, ProxyRefusesError
from tests.unit.hub.proxy_rig import HUB, PaperHub, PaperProxy, Time, at_work, until
from tests.unit.turns import turns_during

ALICE, BOB = "/user/alice", "/user/bob"
MARK = "/hub/sgehub-routes"


@pytest.fixture
async def paper() -> AsyncIterator[PaperProxy]:
    """Run a proxy on paper."""
    proxy = PaperProxy()
    await proxy.start()
    yield proxy
    proxy.trouble = None
    await proxy.stop()


@pytest.fixture
def hub(paper: PaperProxy) -> PaperHub:
    """Return a hub with alice's session."""
    hub = PaperHub(paper.port)
    hub.session("alice")
    return hub


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for a proxy that hangs less long than the hub does."""
    monkeypatch.setattr(module, "ANSWER", 0.1)
    monkeypatch.setattr(module, "LONG_ANSWER", 0.1)


def kept(proxy: module.KeptProxy) -> bool:
    return bool(proxy._mark) and proxy._away_since is None


def told(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


async def test_an_empty_proxy_gets_the_hubs_route_and_every_sessions(hub: PaperHub, paper: PaperProxy):
    """At the hub's start, and without anybody asking."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        assert {path: route["target"] for path, route in paper.routes.items()} == {
            "/": HUB,
            ALICE: "http://node01:30001",
            MARK: HUB,
        }
        assert (
            paper.routes[ALICE] | {"user": "alice", "server_name": "", "jupyterhub": True} == paper.routes[ALICE]
        )
        assert set(await proxy.get_all_routes()) == {"/", "/user/alice/"}  # the mark is no route of JupyterHub's


@pytest.mark.parametrize("sessions", [0, 1])
async def test_a_proxy_that_was_started_anew_is_noticed_within_the_probes_interval(
    hub: PaperHub, paper: PaperProxy, caplog: pytest.LogCaptureFixture, sessions: int
):
    """Also one that nobody saw going, and also when there is no session at all."""
    if not sessions:
        hub.users.clear()
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        paper.routes.clear()
        lost = time.now
        await until(lambda: MARK in paper.routes and kept(proxy))
        assert time.now - lost <= module.PROBE + 2 * module.TICK
        assert set(paper.routes) == ({"/", ALICE, MARK} if sessions else {"/", MARK})
    made = "2 routes" if sessions else "1 route"
    assert told(caplog, "started anew") == [f"The proxy was started anew; {made} restored in 0.0 s."]


async def test_a_proxy_that_answers_costs_one_small_question_every_three_seconds(hub: PaperHub, paper: PaperProxy):
    """However many routes there are."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        paper.asked.clear()
        begun = time.now
        await until(lambda: time.now > begun + 60)
        assert set(paper.asked) == {f"GET {MARK}"}
        assert 19 <= len(paper.asked) <= 22


async def test_a_proxy_that_goes_and_comes_costs_two_sentences(
    hub: PaperHub, paper: PaperProxy, caplog: pytest.LogCaptureFixture
):
    """Not one for every try; and all routes are there when the second is written."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        caplog.clear()
        await paper.stop()
        await until(lambda: proxy._away_since is not None)
        begun = time.now
        await until(lambda: time.now > begun + 30)
        assert max(time.slept[-20:]) <= module.TICK  # its return is noticed at once
        await paper.start()
        await until(lambda: kept(proxy))
        assert set(paper.routes) == {"/", ALICE, MARK}
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert f"is away ({os.strerror(errno.ECONNREFUSED)})" in warnings[0]
    assert "2 routes restored in" in warnings[1]


async def test_a_stop_goes_on_while_the_proxy_is_away(
    hub: PaperHub, paper: PaperProxy, quick: None, caplog: pytest.LogCaptureFixture
):
    """JupyterHub would never call stop(); the route of a proxy that only hung is deleted when it answers again."""
    del quick
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        paper.trouble = "hang"
        await asyncio.wait_for(proxy.delete_route("/user/alice/"), 2)
        hub.users.clear()
        paper.trouble = None
        await until(lambda: kept(proxy) and ALICE not in paper.routes)
        assert not proxy._unwanted
    assert len(told(caplog, "/user/alice/ is deleted when the proxy is back")) == 1


async def test_a_route_that_could_not_be_deleted_is_not_deleted_from_its_next_server(
    hub: PaperHub, paper: PaperProxy
):
    """The wish to delete belongs to the old server."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        paper.trouble = 503
        await proxy.delete_route("/user/alice/")
        anew = hub.session("alice", pending="spawn")
        anew.server.host = "http://node02:30002"
        await proxy.add_route("/user/alice/", anew.server.host, {"user": "alice", "server_name": ""})
        anew.pending = None
        paper.trouble = None
        await until(lambda: kept(proxy))
        begun = time.now
        await until(lambda: time.now > begun + 10)
        assert paper.routes[ALICE]["target"] == "http://node02:30002"


async def test_the_route_of_a_dead_server_goes_while_its_next_one_waits_in_the_queue(
    hub: PaperHub, paper: PaperProxy
):
    """Hours may pass, and anybody on the host may take the old port."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        paper.trouble = 503
        await proxy.delete_route("/user/alice/")
        hub.session("alice", pending="spawn")
        paper.trouble = None
        await until(lambda: kept(proxy) and ALICE not in paper.routes)


async def test_a_session_that_becomes_ready_while_the_proxy_is_away_lives(
    hub: PaperHub, paper: PaperProxy, caplog: pytest.LogCaptureFixture
):
    """JupyterHub would end it "to avoid inconsistent state"; its route is made when the proxy is back."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        await paper.stop()
        bob = hub.session("bob", pending="spawn")
        await proxy.add_user(hub.users["bob"])
        assert len(told(caplog, "/user/bob/ to http://node01:30001 is made when the proxy is back")) == 1
        await paper.start()
        await until(lambda: kept(proxy))
        assert BOB not in paper.routes
        bob.pending = None
        await until(lambda: BOB in paper.routes)


async def test_a_session_whose_check_ends_late_gets_its_route_at_the_next_look(hub: PaperHub, paper: PaperProxy):
    """JupyterHub makes such routes when all checks have ended, or after five minutes."""
    bob = hub.session("bob", pending="check")
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        assert BOB not in paper.routes
        bob.pending = None
        begun = time.now
        await until(lambda: BOB in paper.routes)
        assert time.now - begun <= 2 * module.TICK


async def test_a_route_without_a_session_goes(hub: PaperHub, paper: PaperProxy):
    """A check at the hub's start that finds a dead server deletes no route by itself."""
    bob = hub.session("bob", pending="check")
    paper.routes[BOB] = {"target": "http://node01:30009", "user": "bob", "server_name": "", "jupyterhub": True}
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        begun = time.now
        await until(lambda: time.now > begun + 5)
        assert BOB in paper.routes  # nobody knows yet
        del hub.users["bob"], bob
        await until(lambda: BOB not in paper.routes)


async def test_a_deletion_waits_for_the_making_of_the_same_route(hub: PaperHub, paper: PaperProxy):
    """They go over several connections, and a route that stays behind would lead nowhere, or to somebody else."""
    proxy = hub.proxy()
    async with at_work(proxy):
        paper.trouble = "hang"
        making = asyncio.create_task(proxy.add_route("/user/bob/", "http://node01:1", {"user": "bob"}))
        await until(lambda: paper.asked == [f"POST {BOB}"])
        deleting = asyncio.create_task(proxy.delete_route("/user/bob/"))
        await asyncio.sleep(0.02)
        paper.trouble = None
        await asyncio.gather(making, deleting)
        assert paper.asked == [f"POST {BOB}", f"DELETE {BOB}"]
        assert paper.routes == {}


async def test_a_proxy_that_is_started_anew_while_it_is_restored_is_restored_again(
    hub: PaperHub, paper: PaperProxy
):
    """The mark is put first: whoever has it has been given everything after it."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    restarted = False

    def restart(asked: str) -> None:
        nonlocal restarted
        if asked == f"POST {ALICE}" and not restarted:
            restarted = True
            paper.routes.clear()

    paper.meanwhile = restart
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: restarted and set(paper.routes) == {"/", ALICE, MARK})


@pytest.mark.parametrize("trouble", ["babble", 500, 403])
async def test_a_proxy_that_answers_nonsense_is_away_and_is_not_stormed(
    hub: PaperHub, paper: PaperProxy, caplog: pytest.LogCaptureFixture, trouble: str | int
):
    """One sentence, few questions."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        paper.trouble = trouble
        paper.asked.clear()
        begun = time.now
        await until(lambda: time.now > begun + 60)
        assert len(paper.asked) <= 62
        assert len(told(caplog, "is away (")) == 1
        paper.trouble = None
        await until(lambda: kept(proxy))


async def test_a_proxy_that_takes_no_route_is_tried_less_and_less_often(
    hub: PaperHub, paper: PaperProxy, caplog: pytest.LogCaptureFixture
):
    """It answers questions, so that each try would cost as many requests as there are sessions."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)

    def refuse(asked: str) -> None:
        paper.trouble = 500 if asked == f"POST {ALICE}" else None

    paper.meanwhile = refuse
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: time.now > 200)
        assert module.MOST_PAUSE in time.slept
        assert paper.asked.count(f"POST {ALICE}") < 20
        assert len(told(caplog, "is away (")) == 1


async def test_a_hub_that_starts_waits_for_its_proxy(
    hub: PaperHub, paper: PaperProxy, caplog: pytest.LogCaptureFixture
):
    """After a boot either may come first. It says once what it waits for."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    await paper.stop()
    async with at_work(proxy):
        start = asyncio.create_task(proxy.get_all_routes())
        begun = time.now
        await until(lambda: time.now > begun + 20)
        assert not start.done()
        await paper.start()
        await start
        await proxy.check_routes(hub.users, {})
        await until(lambda: kept(proxy))
        assert set(paper.routes) == {"/", ALICE, MARK}
    assert len(told(caplog, "The hub's start waits for the proxy")) == 1


async def test_a_hub_starts_without_its_proxy_in_the_end(
    hub: PaperHub, paper: PaperProxy, monkeypatch: pytest.MonkeyPatch
):
    """Sessions report to the hub, not to the proxy; whatever the hub asks of the proxy goes through at once."""
    monkeypatch.setattr(module, "START_PATIENCE", 0.05)
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    await paper.stop()
    async with at_work(proxy):
        assert await proxy.get_all_routes() == {}
        await proxy.check_routes(hub.users, {})
        await paper.start()
        await until(lambda: kept(proxy))
        assert set(paper.routes) == {"/", ALICE, MARK}


async def test_another_secret_ends_the_hubs_start(hub: PaperHub):
    """To wait would not help."""
    proxy = hub.proxy(auth_token="another")
    async with at_work(proxy):
        with pytest.raises(ProxyRefusesError, match="CONFIGPROXY_AUTH_TOKEN"):
            await proxy.get_all_routes()


async def test_while_the_proxy_is_away_nobody_is_told_that_it_has_no_routes(hub: PaperHub, paper: PaperProxy):
    """JupyterHub would conclude that all sessions are idle; its question is answered when the proxy is back."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        await paper.stop()
        question = asyncio.create_task(proxy.get_all_routes())
        begun = time.now
        await until(lambda: time.now > begun + 20)
        assert not question.done()
        await paper.start()
        assert isinstance(await question, dict)


async def test_a_request_is_put_once_and_not_for_half_a_minute(hub: PaperHub, paper: PaperProxy):
    """What fails is made good later; whoever asked goes on."""
    proxy = hub.proxy()
    async with at_work(proxy):
        paper.trouble = 500
        with pytest.raises(NoProxyError, match="HTTP 500"):
            await proxy.api_request("/user/alice")
        assert paper.asked == [f"GET {ALICE}"]


async def test_the_clusters_service_is_woken_when_the_hub_starts(hub: PaperHub, paper: PaperProxy):
    """Once, with the application, and also when the proxy is not there."""
    woken: list[object] = []
    proxy = hub.proxy(awaken=woken.append)
    await paper.stop()
    async with at_work(proxy):
        start = asyncio.create_task(proxy.get_all_routes())
        await until(lambda: woken == [hub])
        await paper.start()
        await start
        await proxy.get_all_routes()
        assert woken == [hub]


async def test_an_error_of_the_hubs_own_does_not_end_the_care_for_routes(
    hub: PaperHub, paper: PaperProxy, caplog: pytest.LogCaptureFixture
):
    """It is logged whole, and the next look is later."""
    time = Time()
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        hub.users["broken"] = None  # type: ignore[assignment] # the database may fail like this
        await until(lambda: module.AFTER_ERROR in time.slept)
        assert told(caplog, "cannot be looked after")
        del hub.users["broken"]
        hub.session("bob")
        await until(lambda: BOB in paper.routes)


async def test_nobody_looks_at_all_sessions_every_second(hub: PaperHub, monkeypatch: pytest.MonkeyPatch):
    """Of 2,000 that are quiet each look takes 15 ms of the hub."""
    time, looks = Time(), []
    real = servers.by_route

    async def by_route(users: Any) -> Any:
        looks.append(time.now)
        return await real(users)

    monkeypatch.setattr(servers, "by_route", by_route)
    proxy = hub.proxy(clock=time.clock, sleep=time.sleep)
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: kept(proxy))
        begun, before = time.now, len(looks)
        await until(lambda: time.now > begun + 30)
    assert 8 <= len(looks) - before <= 12


async def test_a_look_at_thousands_of_sessions_lets_others_work(hub: PaperHub):
    """A hub with 2,000 sessions is asked 10,000 things of its database's session at each look."""
    for number in range(2000):
        hub.session(f"p{number}")
    proxy = hub.proxy()
    proxy._known = {spawner.proxy_spec for user in hub.users.values() for spawner in user.spawners.values()}
    made, turns = await turns_during(proxy._mend())
    assert made == 0
    assert turns >= 2000 // servers.IN_ONE_GO


@pytest.mark.parametrize("deleted", [False, True])
async def test_who_comes_or_goes_while_all_are_looked_at(
    hub: PaperHub, paper: PaperProxy, monkeypatch: pytest.MonkeyPatch, *, deleted: bool
):
    """A server that was not there when it was looked at keeps its new route; a deleted person has none."""
    monkeypatch.setattr(servers, "IN_ONE_GO", 1)
    alice = hub.users["alice"].spawners[""]
    for number in range(5000):
        hub.session(f"p{number}").off = True
    hub.session("zoe")
    proxy = hub.proxy()
    await proxy._mend()
    assert set(paper.routes) == {ALICE, "/user/zoe"}
    alice.off = True
    await proxy._mend()
    assert proxy._stale == {"/user/alice/"}  # deleted at the next look if nothing happens

    async def meanwhile() -> None:
        await asyncio.sleep(0)
        if deleted:
            del hub.users["zoe"]
            return
        alice.off = False
        await proxy.add_route("/user/alice/", "http://node02:30002", {"user": "alice", "server_name": ""})
        assert not looking.done()

    looking = asyncio.ensure_future(proxy._mend())
    await meanwhile()
    await looking
    if not deleted:
        assert paper.routes[ALICE]["target"] == "http://node02:30002"
    await proxy._mend()
    await proxy._mend()
    assert set(paper.routes) == (set() if deleted else {ALICE, "/user/zoe"})
