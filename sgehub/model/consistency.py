"""Whether a site's description agrees with itself: what one key names, another must have.

The law of this file: every finding is an error at the key that has to change; `siteconfig` adds file and line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from sgehub.errors import RequestRefusedError, Violation
from sgehub.model.judging import least_options, wrong_defaults
from sgehub.model.request import EXTRA, ResourceRequest, parse_request
from sgehub.model.siteparts import Limits, Most, Rule
from sgehub.model.sitevalues import error_at

if TYPE_CHECKING:
    from pydantic_core import PydanticCustomError

    from sgehub.model.policy import SitePolicy

CHOICES: Final = ("queues", "projects", "environments", "interfaces", "presets")  # of which a rule names some
NAMED: Final = {"queues": "queue", "projects": "project", "environments": "environment", "interfaces": "interface"}


def check(policy: SitePolicy) -> None:
    """Raise the error of the first key that contradicts another."""
    for rule in (
        _names_exist,
        _limits_hold_a_session,
        _complexes_differ,
        _rules_narrow,
        _locked_can_be,
        _defaults_fit,
        _presets_fit,
    ):
        rule(policy)


def _names_exist(policy: SitePolicy) -> None:
    for queue, limits in policy.queues.items():
        unknown = sorted(set(limits.gpu_types or ()) - policy.gpu_types.keys())
        if unknown:
            sentence = f"{queue} has GPUs of type {unknown[0]}, which is not in gpu.types."
            raise error_at("gpu_types", sentence, "queues", queue)
    for project, one in policy.projects.items():
        unknown = sorted(set(one.queues or ()) - policy.queues.keys())
        if unknown:
            sentence = f"{project} may use the queue {unknown[0]}, which is not in queues."
            raise error_at("queues", sentence, "projects", project)
    for queue, limits in policy.queues.items():
        unknown = sorted(set(limits.projects or ()) - policy.projects.keys())
        if unknown:
            raise error_at(
                "projects", f"{queue} takes sessions of {unknown[0]}, which is not in projects.", "queues", queue
            )
        for project in limits.projects or ():
            if queue not in (policy.projects[project].queues or policy.queues):
                sentence = f"{queue} takes sessions of {project}, which may not use it."
                raise error_at("projects", sentence, "queues", queue)
    if policy.project_required and not policy.projects:
        raise error_at("project_required", "there are no projects to choose from: name them in projects.")


def _limits_hold_a_session(policy: SitePolicy) -> None:
    """Find maxima that nobody can stay below: a forgotten unit (64 bytes, 48 seconds), most often."""
    for queue, limits in policy.queues.items():
        _holds_a_session(policy, limits, "queues", queue)
    for project, one in policy.projects.items():
        _holds_a_session(policy, one.most, "projects", project, "most")
    for number, rule in enumerate(policy.rules):
        _holds_a_session(policy, rule.most, "rules", str(number), "most")


def _holds_a_session(policy: SitePolicy, limits: Limits | Most, *where: str) -> None:
    least = (("memory", "smallest_memory"), ("runtime", "shortest_runtime"))
    for key, smallest in least:
        value, bound = getattr(limits, key), getattr(policy, smallest)
        if value is not None and value < bound:
            raise error_at(
                key, f"{value} is less than {smallest}, {bound}: no session fits. Is a unit missing?", *where
            )


def _rules_narrow(policy: SitePolicy) -> None:
    for number, rule in enumerate(policy.rules):
        where = ("rules", str(number))
        known = {key: getattr(policy, key) for key in CHOICES}
        if (strange := rule.unknown(known)) is not None:
            raise error_at(strange[0], f"{strange[1]} is not in {strange[0]} above.", *where)
        _read(policy, rule.defaults, *where, "defaults")
        _can_be_locked(policy, rule.locked, *where, "locked")
        locked = {**policy.locked, **rule.locked}
        for key, field in NAMED.items():
            only, chosen = getattr(rule, key), locked.get(field)
            if only is not None and chosen and chosen not in only:
                raise error_at(key, f"it leaves out {chosen}, at which {field} is locked.", *where)
        _locked_fits(policy, rule, locked, *where)
        for project in rule.projects or ():
            allowed = policy.projects[project].queues
            if rule.queues is not None and allowed is not None and not set(allowed) & set(rule.queues):
                raise error_at(
                    "projects",
                    f"{project} may use {', '.join(allowed)} only, not {', '.join(rule.queues)}.",
                    *where,
                )


def _locked_fits(policy: SitePolicy, rule: Rule, locked: Mapping[str, object], *where: str) -> None:
    """Find what is locked beyond the rule's own maxima: whoever it holds for could start nothing."""
    queues = {
        name: one.under(rule.most) for name, one in policy.queues.items() if name in (rule.queues or policy.queues)
    }
    under = policy.model_copy(update={"queues": queues})
    for one in wrong_defaults(parse_request(locked, least_options(under)), under):
        if one.field in locked:
            key = "locked" if one.field in rule.locked else "most"
            raise error_at(one.field, f"{one.message} It is locked at {locked[one.field]}.", *where, key)


def _locked_can_be(policy: SitePolicy) -> None:
    locked = _can_be_locked(policy, policy.locked, "locked").as_options()
    options = policy.defaults.as_options()
    for name in policy.locked:
        if options.get(name) != locked.get(name):
            raise error_at("defaults", f"{name} is locked at {locked.get(name)}: write the same here.")


def _can_be_locked(policy: SitePolicy, fields: Mapping[str, object], *where: str) -> ResourceRequest:
    """Find a locked field that even the least session is refused for; which others it fits, people choose."""
    request = _read(policy, fields, *where)
    known = {f"{EXTRA}{name}" for name in policy.fields}
    if strange := sorted(name for name in fields if name.startswith(EXTRA) and name not in known):
        raise error_at(strange[0], "there is no such field in fields.", *where)
    least = parse_request(fields, least_options(policy))
    if found := [one for one in wrong_defaults(least, policy) if one.field in fields]:
        raise _wrong(found, *where)
    return request


def _presets_fit(policy: SitePolicy) -> None:
    for name, preset in policy.presets.items():
        where = ("presets", name, "request")
        request = _read(policy, {**preset.request, **policy.locked}, *where)
        if found := wrong_defaults(request, policy):
            raise _wrong(found, *where)


def _read(policy: SitePolicy, fields: Mapping[str, object], *where: str) -> ResourceRequest:
    try:
        return parse_request(fields, policy.defaults.as_options())
    except RequestRefusedError as error:
        raise _wrong(error.violations, *where) from None


def _wrong(found: Sequence[Violation], *where: str) -> PydanticCustomError:
    """Return the error of a request that stands at a place: at its field, where they are all about one."""
    fields = {one.field for one in found}
    place = (*where, *fields) if len(fields) == 1 and fields != {""} else where
    return error_at(place[-1], " ".join(one.message for one in found), *place[:-1])


def _complexes_differ(policy: SitePolicy) -> None:
    base = ["h_rt", *(one.complex for one in policy.memory), *([policy.gpu.complex] if policy.gpu else [])]
    types = {name for one in policy.gpu_types.values() for name in one.adds}
    if twice := sorted({name for name in base if base.count(name) > 1} | (set(base) & types)):
        raise error_at("memory", f"a job asks for a complex once, not for {twice[0]} twice: give it one use.")
    taken = {*base, *types}
    for name, field in policy.fields.items():
        if both := sorted(taken & field.complexes):
            sentence = f"it asks for {both[0]}, as another key does, and a job asks for a complex once."
            raise error_at(name, sentence, "fields")
        taken |= field.complexes


def _defaults_fit(policy: SitePolicy) -> None:
    if found := wrong_defaults(policy.defaults, policy):
        raise _wrong(found, "defaults")
