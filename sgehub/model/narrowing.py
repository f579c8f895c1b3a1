"""What one person may ask for: the site's policy, made narrower by the rules that are about them.

The law of this file: the result is a policy like any other, so that form, gate and job need not know of rules; and
it never allows what the site's own does not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sgehub.model.asking import preset_request
from sgehub.model.clamping import clamped
from sgehub.model.consistency import CHOICES
from sgehub.model.judging import wrong_defaults
from sgehub.model.policy import SitePolicy
from sgehub.model.request import parse_request
from sgehub.model.siteparts import GpuSite, Limits, Most, Rule


def holding(policy: SitePolicy, person: str, groups: Collection[str]) -> tuple[int, ...]:
    """Return the numbers of the rules that are about a person, in the order of the site's file."""
    return tuple(number for number, rule in enumerate(policy.rules) if rule.holds_for(person, groups))


def narrowed(policy: SitePolicy, numbers: Sequence[int]) -> SitePolicy:
    """Return the policy under these rules; what a later one says takes the place of what an earlier one did."""
    rules = [policy.rules[number] for number in numbers]
    if not rules:
        return policy
    limit = Most(**{key: value for rule in rules for key, value in rule.most if value is not None})
    kept = {key: _only(getattr(policy, key), _last(rules, key)) for key in CHOICES}
    kept["queues"] = {name: limits.under(limit) for name, limits in kept["queues"].items()}
    kept["projects"] = _leading_to("queues", kept["queues"], kept["projects"])
    kept["queues"] = _leading_to("projects", kept["projects"], kept["queues"]) or kept["queues"]
    counts = (policy.sessions_per_person, _last(rules, "sessions_per_person"))
    said: dict[str, Any] = {
        "project_required": policy.project_required or bool(_last(rules, "project_required")),
        "sessions_per_person": min((one for one in counts if one is not None), default=None),
    }
    if _last(rules, "queues") is not None:
        said["name_queues"] = True  # Grid Engine knows of no rule: it keeps to the queues that a job names
    locked = {**{key: value for rule in rules for key, value in rule.locked.items()}, **policy.locked}
    said["gpu"] = _with_types_of(kept["queues"], policy, locked)
    changed = policy.model_copy(update={**kept, **said, "locked": locked, "rules": ()})
    return refitted(changed, {key: value for rule in rules for key, value in rule.defaults.items()})


def refitted(policy: SitePolicy, wished: Mapping[str, object]) -> SitePolicy:
    """Return a policy that has become narrower with defaults that fit it, and without presets that do not.

    A lock that does not fit, because of another rule or of the cluster, becomes the nearest that does: nobody is
    locked out.
    """
    base = policy.defaults.as_options()
    with_locked = policy.model_copy(update={"defaults": parse_request(policy.locked, base)})
    defaults, _ = clamped({**base, **wished}, with_locked)
    was, now = with_locked.defaults.as_options(), defaults.as_options()
    locked = {
        name: value if was.get(name) == now.get(name) else now.get(name) for name, value in policy.locked.items()
    }
    fitting = policy.model_copy(update={"defaults": defaults, "locked": locked})
    presets = {
        name: one
        for name, one in policy.presets.items()
        if not wrong_defaults(preset_request(fitting, one), fitting)
    }
    return fitting.model_copy(update={"presets": presets})


def _leading_to(key: str, others: Collection[str], choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices that name some of the others in `key`, with these alone, and those that name none."""
    found = {}
    for name, one in choices.items():
        named = getattr(one, key)
        left = None if named is None else [other for other in named if other in others]
        if left != []:
            found[name] = one.model_copy(update={key: left})
    return found


def _with_types_of(
    queues: Mapping[str, Limits], policy: SitePolicy, locked: Mapping[str, object]
) -> GpuSite | None:
    """Return the site's GPUs with the types that one of these queues has; one that is locked stays."""
    lists = [limits.gpu_types for limits in queues.values() if limits.gpus]
    if policy.gpu is None or None in lists:
        return policy.gpu
    left = {locked.get("gpu_type"), *(name for names in lists for name in names or ())}
    return policy.gpu.model_copy(update={"types": _only(policy.gpu.types, left)})


def _last(rules: Sequence[Rule], key: str) -> Any:
    said = [value for rule in rules if (value := getattr(rule, key)) is not None]
    return said[-1] if said else None


def _only(choices: Mapping[str, Any], named: Collection[object] | None) -> dict[str, Any]:
    return {name: one for name, one in choices.items() if named is None or name in named}
