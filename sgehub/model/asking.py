"""From anything that came in to a request that is allowed, or to every reason why it is not.

Between what a person names and what the site says stand, from weak to strong: the site's defaults, the caller's,
a preset, the person's own words, and the fields that the site has locked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from sgehub.errors import RequestRefusedError, Violation
from sgehub.model.judging import violations, wrong_defaults
from sgehub.model.request import EXTRA, ResourceRequest, echo, parse_request
from sgehub.model.sitechoices import PresetSite

if TYPE_CHECKING:
    from sgehub.model.policy import SitePolicy

PRESET: Final = "preset"  # not a field of a request, but the name of several


def asked(
    policy: SitePolicy, raw: object, defaults: Mapping[str, object], *, unfinished: bool = False
) -> ResourceRequest:
    """Read and judge a request; see `SitePolicy.parse`."""
    judge = wrong_defaults if unfinished else violations
    fallback = {**policy.defaults.as_options(), **defaults}
    found: list[Violation] = []
    if isinstance(raw, Mapping):
        fallback.update(_of_preset(policy, raw.get(PRESET), found))
        raw = {name: value for name, value in raw.items() if name != PRESET}
    fallback.update(policy.locked)
    request = None
    try:
        request = parse_request(raw, fallback)
    except RequestRefusedError as error:
        found.extend((*error.violations, *_further(policy, raw, fallback, error, judge)))
    if request is not None:
        found.extend((*_changed(policy, request), *judge(request, policy)))
    if request is None or found:
        raise RequestRefusedError(tuple(found))
    return request


def check_defaults(policy: SitePolicy, defaults: Mapping[str, object]) -> None:
    """Refuse a caller's defaults that nobody may ask for; what people have to choose may be open.

    Raises RequestRefusedError.
    """
    request = parse_request(policy.locked, {**policy.defaults.as_options(), **defaults})
    if found := wrong_defaults(request, policy):
        raise RequestRefusedError(found)


def preset_request(
    policy: SitePolicy, preset: PresetSite, defaults: Mapping[str, object] | None = None
) -> ResourceRequest:
    """Return what a preset of the site asks for where nothing else is named; locked fields stay locked.

    `defaults` are the caller's, by default the site's.
    """
    fallback = policy.defaults.as_options() if defaults is None else defaults
    return parse_request({**preset.request, **policy.locked}, fallback)


def _of_preset(policy: SitePolicy, name: object, found: list[Violation]) -> Mapping[str, object]:
    if name is None or name == "":
        return {}
    if isinstance(name, str) and name in policy.presets:
        return policy.presets[name].request
    known = f"Presets are: {', '.join(policy.presets)}." if policy.presets else "This site has none."
    found.append(Violation("", f"There is no preset {echo(name)}. {known}"))
    return {}


def _further(
    policy: SitePolicy,
    raw: object,
    fallback: Mapping[str, object],
    error: RequestRefusedError,
    judge: Callable[[ResourceRequest, SitePolicy], tuple[Violation, ...]],
) -> tuple[Violation, ...]:
    """Judge the fields that could be read where others could not: nobody corrects in two rounds."""
    unreadable = {one.field for one in error.violations}
    fields = raw if isinstance(raw, Mapping) else {}
    readable = {
        name: value
        for name, value in fields.items()
        if name not in unreadable and (name in fallback or str(name).startswith(EXTRA))
    }
    try:
        request = parse_request(readable, fallback)
    except RequestRefusedError:
        return ()
    return tuple(one for one in judge(request, policy) if one.field in readable)


def _changed(policy: SitePolicy, request: ResourceRequest) -> Iterator[Violation]:
    """Yield what differs from the fields that the site has locked."""
    if not policy.locked:
        return
    set_here = parse_request(policy.locked, policy.defaults.as_options()).as_options()
    asked_for = request.as_options()
    for name in policy.locked:
        if asked_for.get(name) != set_here.get(name):
            fixed = set_here.get(name)
            words = "This stays empty here" if fixed is None or fixed == "" else f"This is set to {fixed} here"
            yield Violation(name, f"{words} and cannot be changed.")
