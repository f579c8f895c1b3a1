"""A spawner as the hub makes it, without a hub: for tests of what may be asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jupyterhub import orm
from jupyterhub.objects import Hub
from traitlets.config import Config

from sgehub.hub import form
from sgehub.hub.people import People
from sgehub.hub.spawner import SGESpawner
from sgehub.siteconfig import load_site

SITE = str(Path(__file__).parents[3] / "config" / "site.yaml")


def spawner_of(server: str = "", *, traits: Mapping[str, Any] | None = None, **changes: Any) -> SGESpawner:
    """Return a spawner of alice's server with these traits configured; `changes` replace keys of the policy."""
    form.begin()  # each request of a hub has a context of its own, tests share one
    policy = load_site(Path(SITE)).model_copy(update=changes)
    service = SimpleNamespace(policy=policy, clock=time.time, people=People(policy, time.time))
    settings = {"sgehub_services": {SITE: service}}
    user = SimpleNamespace(name="alice", settings=settings, url="/user/alice/", escaped_name="alice")
    config = Config({"SGESpawner": {"site": SITE, **(traits or {})}})
    made = SGESpawner(user=user, hub=Hub(), orm_spawner=orm.Spawner(name=server), config=config)
    made.handler = None
    return made
