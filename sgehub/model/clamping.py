"""A request of another day, made to fit what a person may ask for now.

The law of this file: whatever comes in (a stored request, which others may have written), something comes out that
is allowed, as near as possible, and every field that had to change is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sgehub.errors import RequestRefusedError
from sgehub.model.judging import least_options, most, wrong_defaults
from sgehub.model.request import EXTRA, FIELDS, ResourceRequest, echo, parse_request

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
    found = _judged({**_readable(wished, base), **policy.locked}, policy)
    now = found.as_options()
    compared = [name for name in wished if name in base or name.startswith(EXTRA)]
    changes = (Change(name, echo(_text(wished[name]))[1:-1], _text(now.get(name))) for name in compared)
    return found, tuple(one for one in changes if _text(_read(one.field, wished, base)) != one.now)


def _readable(wished: Mapping[str, object], base: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields that can be read at all, each by itself."""
    return {name: value for name, value in wished.items() if _reads({name: value}, base)}


def _reads(raw: Mapping[str, object], base: Mapping[str, object]) -> bool:
    try:
        parse_request(raw, base)
    except RequestRefusedError:
        return False
    return True


def _read(name: str, wished: Mapping[str, object], base: Mapping[str, object]) -> object:
    """Return a wish as it would be stored ("2g" and "2000000000" are the same), or as it came."""
    if not _reads({name: wished[name]}, base):
        return wished[name]
    return parse_request({name: wished[name]}, base).as_options().get(name)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _judged(fields: Mapping[str, Any], policy: SitePolicy) -> ResourceRequest:
    """Return the first that is allowed: the wish in its limits, without what is refused, the defaults."""
    base = policy.defaults.as_options()
    within = parse_request(_within(fields, policy), base)
    for _ in range(len(FIELDS)):
        found = wrong_defaults(within, policy)
        if not found:
            return within
        refused = {one.field for one in found}
        kept = {name: value for name, value in within.as_options().items() if name not in refused}
        if len(kept) == len(within.as_options()):  # the request as a whole is refused
            break
        within = parse_request({**kept, **policy.locked}, base)
    return _least(policy) if wrong_defaults(policy.defaults, policy) else policy.defaults


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
    return {
        **fields,
        "cores": cores,
        "gpus": gpus,
        "memory": max(policy.smallest_memory, min(wish.memory, limits.memory)),
        "runtime": max(policy.shortest_runtime, min(wish.runtime, limits.runtime)),
        "queue": wish.queue if wish.queue in policy.queues else None,
    }


def _least(policy: SitePolicy) -> ResourceRequest:
    """Return the least that a session can be, for people to whom even the defaults are closed."""
    return parse_request(policy.locked, least_options(policy))
