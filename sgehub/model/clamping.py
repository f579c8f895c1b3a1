"""A request of another day, made to fit what a person may ask for now.

The law of this file: whatever comes in (a stored request, which others may have written), something comes out that
is allowed, as near as possible, and every field that had to change is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sgehub.errors import RequestRefusedError
from sgehub.model.judging import least_options, most, wrong_defaults
from sgehub.model.request import EXTRA, ResourceRequest, echo, parse_request
from sgehub.model.units import Memory

if TYPE_CHECKING:
    from sgehub.model.policy import SitePolicy


@dataclass(frozen=True, slots=True)
class Change:
    """A field that had to change: what was asked for, as text that may be shown, and what stands there now."""

    field: str
    wished: str
    now: str


def clamped(options: Mapping[str, object], policy: SitePolicy) -> tuple[ResourceRequest, tuple[Change, ...]]:
    """Return the nearest request that may be asked for, or be left open as a project may, and what has changed."""
    base = policy.defaults.as_options()
    wished = {name: options[name] for name in options if isinstance(name, str)}
    read = dict(_read_each(wished, base))
    found = _judged({**{name: wished[name] for name in read}, **policy.locked}, policy)
    now = found.as_options()
    compared = [name for name in wished if name in base or name.startswith(EXTRA)]
    changes = (Change(name, echo(_text(wished[name]))[1:-1], _text(now.get(name))) for name in compared)
    return found, tuple(one for one in changes if _text(read.get(one.field, wished[one.field])) != one.now)


def _read_each(wished: Mapping[str, object], base: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield the fields that can be read, each by itself, as they would be stored: "2g" is "2000000000"."""
    for name, value in wished.items():
        with suppress(RequestRefusedError):
            yield name, parse_request({name: value}, base).as_options().get(name)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _judged(fields: Mapping[str, Any], policy: SitePolicy) -> ResourceRequest:
    """Return the wish in its limits; what is refused becomes the default, or the least if that is refused, too."""
    base, least = policy.defaults.as_options(), least_options(policy)
    known = {name: value for name, value in fields.items() if not _is_gone(name, policy)}
    now, tried = _within(known, policy), dict[str, int]()
    for _ in range(2 * len(now)):
        within = parse_request(now, base)
        refused = {one.field for one in wrong_defaults(within, policy)} - {""}
        if not refused:
            break
        for name in refused:
            now[name] = (least if name in tried else base).get(name, "")
            tried[name] = tried.get(name, 0) + 1
        if all(tried[name] > 2 for name in refused):  # noqa: PLR2004 - the default and the least
            break
    for one in (within, policy.defaults):
        if not wrong_defaults(one, policy):
            return one
    return parse_request(policy.locked, least)  # even the defaults are closed to this person


def _is_gone(name: str, policy: SitePolicy) -> bool:
    return name.startswith(EXTRA) and name[len(EXTRA) :] not in policy.fields


def _within(fields: Mapping[str, Any], policy: SitePolicy) -> dict[str, Any]:
    """Return the wish with its numbers inside the limits of its queue, or of all, where that is gone."""
    wish = parse_request(fields, policy.defaults.as_options())
    project = policy.projects.get(wish.project or "")
    limits = policy.queues.get(wish.queue or "") or most(policy)
    limits = limits if project is None else limits.under(project.most)
    cores = max(1, min(wish.cores, limits.cores, most(policy).cores))
    gpus = max(0, min(wish.gpus, limits.gpus, most(policy).gpus))
    if policy.gpu is not None and policy.gpu.counted == "slot":
        gpus -= gpus % cores
    memory = limits.memory
    if policy.memory_is_divided:  # each share is rounded up to whole K
        memory = Memory(memory.bytes // (cores * 1024) * 1024 * cores)
    return {
        **fields,
        "cores": cores,
        "gpus": gpus,
        "memory": max(policy.smallest_memory, min(wish.memory, memory)),
        "runtime": max(policy.shortest_runtime, min(wish.runtime, limits.runtime)),
        "queue": wish.queue if wish.queue in policy.queues else None,
    }
