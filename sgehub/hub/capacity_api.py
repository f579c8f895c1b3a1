"""What is free, for the page of the options form: GET /hub/api/sgehub/capacity?user=NAME.

The law of this file: it reads what the hub knows and waits for Grid Engine a few seconds at most. A person sees
the queues of their own policy; another one's sees who may start servers for them. Numbers come with their words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterhub.apihandlers import APIHandler
from tornado import web

from sgehub.errors import RequestRefusedError
from sgehub.hub.capacity import REST, Snapshot
from sgehub.hub.service import ClusterService
from sgehub.model.asking import preset_request
from sgehub.model.capacity import Amount, Capacity, Largest, QueueCapacity, starts_now
from sgehub.model.judging import counted
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest, parse_request
from sgehub.model.wish import in_tenths, listed

PATIENCE: Final = 3.0  # seconds that an answer to the page waits for one of Grid Engine
SCOPE: Final = "servers"  # who may open somebody's form has it for that person


class CapacityHandler(APIHandler):  # type: ignore[misc] # JupyterHub is untyped
    """What is free in the queues of one person, and what their sessions hold."""

    def _record_activity(self, _record: Any, _timestamp: Any = None) -> bool:
        """Record none: a page that is left open is nobody's activity."""
        return False

    def _log(self) -> None:
        """Log refusals only: every open form asks four times a minute."""
        if self.get_status() >= 400:  # noqa: PLR2004 - the first status that is an error
            super()._log()

    async def get(self) -> None:
        """Answer what is known: 403 without a login, 404 for a person whose form one may not open."""
        spawner = self._spawner()
        service: ClusterService = spawner.service
        person: str = spawner.user.name
        await service.people.learn(person)
        snapshot = await service.capacity.look(PATIENCE)
        now, silent = service.clock(), service.capacity.silent_since
        policy = service.people.policy_of(person)
        self.set_header("Cache-Control", "no-store")
        self.finish(
            json.dumps(
                {
                    "user": person,
                    "age": None if snapshot is None else round(now - snapshot.asked_at, 1),
                    "silent": None if silent is None else round(now - silent, 1),
                    "refresh": REST,
                    "sessions": held(_requests(service, person), policy.sessions_per_person),
                    "queues": [] if snapshot is None else list(_queues(policy, snapshot)),
                    "presets": {}
                    if snapshot is None or silent is not None
                    else presets(policy, snapshot.capacity, spawner.fresh()),
                }
            )
        )

    def _spawner(self) -> Any:
        if self.current_user is None:
            raise web.HTTPError(403, "Missing or invalid credentials.")
        name = self.get_query_argument("user", self.current_user.name)
        user = self.find_user(name) if name and self.has_scope(f"{SCOPE}!user={name}") else None
        spawner = user.spawners[""] if user is not None else None
        if not hasattr(spawner, "service"):
            raise web.HTTPError(404, "No access to resources or resources not found")
        return spawner


def _requests(service: ClusterService, person: str) -> Iterator[tuple[ResourceRequest | None, bool]]:
    """Yield what each session of a person was asked for (None: not known), and whether it waits."""
    for one in service.watch.sessions:
        if one.record is not None and one.record.person == person:
            try:
                yield parse_request(getattr(one, "accepted", None), {}), one.queued
            except RequestRefusedError:  # of another version of the hub
                yield None, one.queued


def held(sessions: Iterator[tuple[ResourceRequest | None, bool]], allowed: int | None = None) -> dict[str, Any]:
    """Return what a person's sessions hold together, in numbers and words; None is not known.

    `allowed` is how many sessions the person may have at once, None for any number.
    """
    all_ = list(sessions)
    known = [request for request, _ in all_ if request is not None]
    waiting = sum(waits for _, waits in all_)
    found: dict[str, Any] = {"count": len(all_), "waiting": waiting, "cores": None, "memory": None, "gpus": None}
    words = str(len(all_)) if all_ else "none"
    if allowed is not None:
        words += f" of {allowed} allowed"
    if waiting:
        words += f", {'waiting' if len(all_) == 1 else f'of them {waiting} waiting'}"
    if len(known) == len(all_):
        found["cores"] = sum(one.cores for one in known)
        found["memory"] = sum(one.memory.bytes for one in known)
        found["gpus"] = sum(one.gpus for one in known)
        if known:
            words += f": {resources(found['cores'], found['memory'], found['gpus'] or None)}"
    return {**found, "text": f"{words}."}


def presets(policy: SitePolicy, capacity: Capacity, fresh: Mapping[str, object]) -> dict[str, str]:
    """Say of each preset whether it could start now, nothing where that is not known.

    What a preset does not name is `fresh`, as on its card: the request of an empty form.
    """
    words = {True: "Could start now.", False: "Would wait now.", None: ""}
    return {
        name: words[starts_now(policy, capacity, preset_request(policy, one, fresh))]
        for name, one in policy.presets.items()
    }


def _queues(policy: SitePolicy, snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    largest = snapshot.largest(policy)
    for name, limits in policy.queues.items():
        queue = snapshot.capacity.get(name, QueueCapacity())
        bars = [("Slots", queue.slots, str), ("Memory", queue.memory, in_tenths)]
        if limits.gpus:
            bars.append(("GPUs", queue.gpus, str))
        yield {
            "name": name,
            "hosts": {"usable": queue.usable, "total": queue.hosts, "text": _hosts(queue)},
            "bars": [
                {"what": what, "free": one.free, "total": one.total, "text": _free(one, words)}
                for what, one, words in bars
            ],
            "largest": _words(largest[name], gpus=limits.gpus > 0),
        }


def _hosts(queue: QueueCapacity) -> str:
    """Say how many hosts take new jobs, "" where all do."""
    if not queue.hosts:
        return "no host here"
    if queue.usable == queue.hosts:
        return ""
    return f"{queue.usable or 'none'} of {counted(queue.hosts, 'host')} in service"


def _free(one: Amount, words: Any) -> str:
    if one.free is None:
        return "not known"
    return f"{words(one.free)} free" if one.total is None else f"{words(one.free)} of {words(one.total)} free"


def _words(one: Largest | None, *, gpus: bool) -> dict[str, Any] | None:
    """Return the largest request that would start now; memory as it can be typed into the form."""
    if one is None:
        return None
    memory = None if one.memory is None else one.memory.bytes
    return {
        "cores": one.cores,
        "memory": None if memory is None else in_tenths(memory),
        "gpus": one.gpus,
        "text": resources(one.cores, memory, one.gpus if gpus else None),
    }


def resources(cores: int, memory: int | None, gpus: int | None) -> str:
    """Say an amount of everything; what is None is left out."""
    parts = [counted(cores, "core")]
    if memory is not None:
        parts.append(f"{in_tenths(memory)} of memory")
    if gpus is not None:
        parts.append(counted(gpus, "GPU"))
    return listed(parts)
