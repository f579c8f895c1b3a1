"""A hub that cannot begin (its site's file has an error, its database is away) loses none of its sessions."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from jupyterhub.objects import Hub
from traitlets.config import Config

from sgehub.errors import NoAnswerError
from sgehub.hub import service as services
from sgehub.hub.ledger import LedgerError
from sgehub.hub.record import SessionRecord
from sgehub.hub.service import ClusterService
from sgehub.hub.spawner import SGESpawner
from sgehub.hub.telling import BLIND

RECORD = SessionRecord(
    tag="0123456789ab", person="alice", folder="/home/alice/.sgehub", token_id=1, asked=100.0
).answered(7, 101.0)
ENDED = {"job": 6, "at": 90.0, "why": "It ended by itself."}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "AGAIN", 0.01)


def recorded(settings: dict[str, Any], site: str, name: str = "") -> SGESpawner:
    """Return the spawner of a session that an earlier hub has started."""
    user = SimpleNamespace(name="alice", settings=settings, url="/user/alice/", escaped_name="alice")
    config = Config({"SGESpawner": {"site": site}})
    made = SGESpawner(user=user, hub=Hub(), orm_spawner=orm.Spawner(name=name), config=config)
    made.log = logging.getLogger("test.awaited")
    made.load_state({"session": RECORD.as_state(), "ended": ENDED})
    return made


def broken(tmp_path: Path) -> str:
    """Write a site's file that nobody can read."""
    path = tmp_path / "site.yaml"
    path.write_text("cluster: {root: /x")
    return str(path)


async def test_no_recorded_session_ends_because_the_sites_file_is_broken(tmp_path, caplog):
    """JupyterHub would stop every server whose poll raises; and the reason is said once, not once a session."""
    settings: dict[str, Any] = {"db": None}
    site = broken(tmp_path)
    for name in ("", "second"):
        for _ in range(2):
            assert await recorded(settings, site, name).poll() is None
    await asyncio.sleep(0.1)
    (said,) = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert "sgehub cannot begin" in said
    assert site in said


async def test_a_session_is_looked_for_as_soon_as_the_service_can_be_made(monkeypatch):
    """Its address is asked for at the hub's start; an answer that is an error would end the hub."""
    tries = 0
    service = SimpleNamespace(clock=lambda: 200.0, spawn=None)

    def of(*_: object) -> Any:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise LedgerError("The hub's database does not tell what was started: it is away.")
        return service

    monkeypatch.setattr(ClusterService, "of", of)
    looked = asyncio.Event()

    def spawn(work: Any) -> Any:
        work.close()
        looked.set()
        return asyncio.get_running_loop().create_future()

    service.spawn = spawn
    asking = asyncio.ensure_future(recorded({}, "/site").get_url())
    await asyncio.wait_for(looked.wait(), 10)
    assert not asking.done()
    asking.cancel()


async def test_an_error_of_ours_is_no_end_of_a_session(caplog):
    """Neither one that is foreseen nor a bug."""
    for error in (NoAnswerError("silent"), RuntimeError("a bug")):

        async def gone(_record: object, error: Exception = error) -> bool:
            raise error

        service = SimpleNamespace(gone=gone, ends=SimpleNamespace(has=lambda _tag: False))
        spawner = recorded({"sgehub_services": {"/site": service}}, "/site")
        assert await spawner.poll() is None
        assert "Whether job 7 of alice has ended cannot be found out." in caplog.text
        caplog.clear()


async def test_the_home_page_has_its_sentences_all_the_same(tmp_path):
    """People see that their sessions go on, and administrators what is wrong."""
    spawner = recorded({"db": None}, broken(tmp_path))
    assert spawner.says == BLIND
    assert spawner.last_end is None
    assert "site.yaml" in spawner.site_trouble


def test_a_hub_that_cannot_begin_tries_again_by_itself(monkeypatch):
    """Jobs that were to be deleted wait for it, also where no server is recorded."""
    waiting: list[str] = []

    def of(*_: object) -> Any:
        raise LedgerError("away")

    monkeypatch.setattr(ClusterService, "of", of)
    monkeypatch.setattr(ClusterService, "awaited", lambda _settings, site, _log: waiting.append(site))
    monkeypatch.setattr(services, "spare_collector", lambda: None)
    app = SimpleNamespace(
        spawner_class=SGESpawner,
        log=logging.getLogger("test.awaited"),
        config={"SGESpawner": {"site": "/site"}},
        tornado_settings={},
    )
    assert ClusterService.awaken(app) is None
    assert waiting == ["/site"]
