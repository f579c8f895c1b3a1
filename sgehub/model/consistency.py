"""Whether a site's description agrees with itself: what one key names, another must have.

The law of this file: every finding is an error at the key that has to change; `siteconfig` adds file and line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sgehub.errors import RequestRefusedError
from sgehub.model.judging import wrong_defaults
from sgehub.model.request import parse_request
from sgehub.model.siteparts import error_at

if TYPE_CHECKING:
    from sgehub.model.policy import SitePolicy

CHOICES: Final = ("queues", "projects", "environments", "interfaces", "presets")  # of which a rule names some


def check(policy: SitePolicy) -> None:
    """Raise the error of the first key that contradicts another."""
    for rule in (_names_exist, _rules_narrow, _locked_can_be, _complexes_differ, _defaults_fit, _presets_fit):
        rule(policy)


def _names_exist(policy: SitePolicy) -> None:
    for queue, limits in policy.queues.items():
        unknown = sorted(set(limits.gpu_types or ()) - policy.gpu_types.keys())
        if unknown:
            raise error_at("queues", f"{queue} has GPUs of type {unknown[0]}, which is not in gpu.types.")
    for project, one in policy.projects.items():
        unknown = sorted(set(one.queues or ()) - policy.queues.keys())
        if unknown:
            raise error_at("projects", f"{project} may use the queue {unknown[0]}, which is not in queues.")
    if policy.project_required and not policy.projects:
        raise error_at("project_required", "there are no projects to choose from: name them in projects.")


def _rules_narrow(policy: SitePolicy) -> None:
    for number, rule in enumerate(policy.rules):
        where = ("rules", str(number))
        known = {
            key: getattr(policy, key) for key in ("queues", "projects", "environments", "interfaces", "presets")
        }
        if (strange := rule.unknown(known)) is not None:
            raise error_at(strange[0], f"{strange[1]} is not in {strange[0]} above.", *where)
        for key in ("defaults", "locked"):
            _can_be_read(policy, getattr(rule, key), key, *where)


def _can_be_read(policy: SitePolicy, fields: Mapping[str, object], key: str, *above: str) -> None:
    try:
        parse_request(fields, policy.defaults.as_options())
    except RequestRefusedError as error:
        raise error_at(key, str(error), *above) from None


def _locked_can_be(policy: SitePolicy) -> None:
    _can_be_read(policy, policy.locked, "locked")
    options = policy.defaults.as_options()
    locked = parse_request(policy.locked, options).as_options()
    for name in policy.locked:
        if options.get(name) != locked.get(name):
            raise error_at("defaults", f"{name} is locked at {locked.get(name)}: write the same here.")


def _presets_fit(policy: SitePolicy) -> None:
    for name, preset in policy.presets.items():
        try:
            request = parse_request(preset.request, {**policy.defaults.as_options(), **policy.locked})
        except RequestRefusedError as error:
            raise error_at("request", str(error), "presets", name) from None
        if found := wrong_defaults(request, policy):
            raise error_at("request", " ".join(one.message for one in found), "presets", name)


def _complexes_differ(policy: SitePolicy) -> None:
    base = ["h_rt", *(one.complex for one in policy.memory), *([policy.gpu.complex] if policy.gpu else [])]
    added = {name for one in policy.gpu_types.values() for name in one.adds}
    for one in policy.fields.values():
        if both := sorted(added & one.complexes):
            raise error_at("fields", f"two fields may ask for {both[0]}, and a job asks for a complex once.")
        added |= one.complexes
    twice = sorted({name for name in base if base.count(name) > 1} | (set(base) & added))
    if twice:
        raise error_at("memory", f"a job asks for a complex once, not for {twice[0]} twice: give it one use.")


def _defaults_fit(policy: SitePolicy) -> None:
    found = wrong_defaults(policy.defaults, policy)
    if found:
        raise error_at("defaults", " ".join(one.message for one in found))
