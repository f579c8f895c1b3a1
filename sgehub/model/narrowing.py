"""What one person may ask for: the site's policy, made narrower by the rules that are about them.

The law of this file: the result is a policy like any other, so that form, gate and job need not know of rules; and
it never allows what the site's own does not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sgehub.errors import RequestRefusedError
from sgehub.model.judging import most, wrong_defaults
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest, parse_request
from sgehub.model.siteparts import Limits, Most, Rule


def holding(policy: SitePolicy, person: str, groups: Collection[str]) -> tuple[int, ...]:
    """Return the numbers of the rules that are about a person, in the order of the site's file."""
    return tuple(number for number, rule in enumerate(policy.rules) if rule.holds_for(person, groups))


def narrowed(policy: SitePolicy, numbers: Sequence[int]) -> SitePolicy:
    """Return the policy under these rules; what a later one says takes the place of what an earlier one did."""
    rules = [policy.rules[number] for number in numbers]
    if not rules:
        return policy
    queues = _last(rules, "queues")
    projects = _last(rules, "projects")
    required = _last(rules, "project_required")
    limit = Most(**{key: value for rule in rules for key, value in rule.most if value is not None})
    changed = policy.model_copy(
        update={
            "queues": {
                name: _under(limits, limit)
                for name, limits in policy.queues.items()
                if queues is None or name in queues
            },
            "projects": {
                name: one for name, one in policy.projects.items() if projects is None or name in projects
            },
            "project_required": policy.project_required if required is None else required,
            "rules": (),
        }
    )
    wished = {key: value for rule in rules for key, value in rule.defaults.items()}
    return changed.model_copy(update={"defaults": _fitting(wished, changed)})


def _last(rules: Sequence[Rule], key: str) -> Any:
    said = [value for rule in rules if (value := getattr(rule, key)) is not None]
    return said[-1] if said else None


def _under(limits: Limits, limit: Most) -> Limits:
    """Return a queue's maxima under those of a rule."""
    lower = {key: min(getattr(limits, key), value) for key, value in limit if value is not None}
    return limits.model_copy(update=lower)


def _fitting(wished: dict[str, object], policy: SitePolicy) -> ResourceRequest:
    """Return the defaults with a rule's wishes, as far as they fit; at worst the least that a session can be."""
    base = policy.defaults
    at_most = most(policy)
    clamped = {
        "cores": min(base.cores, at_most.cores),
        "memory": min(base.memory, at_most.memory),
        "gpus": min(base.gpus, at_most.gpus),
        "runtime": min(base.runtime, at_most.runtime),
        "queue": base.queue if base.queue in policy.queues else None,
        "project": base.project if base.project in policy.projects else None,
    }
    try:
        first = parse_request(wished, base.model_copy(update=clamped).as_options())
    except RequestRefusedError:  # refused when the site's file was read
        first = base.model_copy(update=clamped)
    least = {"cores": 1, "memory": policy.smallest_memory, "gpus": 0, "runtime": policy.shortest_runtime}
    for one in (
        first,
        base.model_copy(update=clamped),
        base.model_copy(update={**clamped, **least, "queue": None}),
    ):
        if not wrong_defaults(one, policy):
            return one
    return first
