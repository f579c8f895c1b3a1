"""The options form: a person's words on their way in, and back out beside the reasons why they were refused.

Coercion only. What may be asked is decided in `model`, and how it looks in ``templates/hub/form.html``.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from jinja2 import Environment
from jupyterhub.apihandlers import APIHandler

from sgehub.errors import SiteConfigurationError, Violation
from sgehub.hub import offered
from sgehub.hub.ended import Ended
from sgehub.hub.offered import LINK_PREFIX, fields_of
from sgehub.model.asking import PRESET
from sgehub.model.clamping import Change
from sgehub.model.judging import most
from sgehub.model.policy import SitePolicy
from sgehub.model.request import EXTRA, FIELDS, parse_request
from sgehub.script import TEMPLATE_ERRORS, environment, failure

TEMPLATE: Final = "hub/form.html"
SHOWN_LIMIT: Final = 200  # characters of a value that are shown again; no value that is allowed is longer
UNKNOWN_LIMIT: Final = 10  # fields that do not exist: so many are enough to refuse a request by
NAME_LIMIT: Final = 64  # characters of the name of such a field
XSRF: Final = "_xsrf"  # JupyterHub's own field; it also stands in the page's address after a POST
FILE: Final = "(a file)"


@dataclass(frozen=True, slots=True)
class _Typed:
    """What was typed in the request that is being answered, cut to what is shown, and what is wrong with it."""

    server: str
    values: Mapping[str, str]
    lengths: Mapping[str, int]
    violations: tuple[Violation, ...]


@dataclass(slots=True)
class _Request:
    """What one HTTP request has brought."""

    typed: _Typed | None = None


# JupyterHub renders a refused form from the person's *default* server, without values, handler or error, but in
# the same task as the refusal. Every request is a task of its own, so that this ends with the request. What a hook
# returns may be awaited in a further task, with a copy of the context: it changes what `begin` has put here.
_request: ContextVar[_Request | None] = ContextVar("sgehub_request", default=None)


def begin() -> None:
    """Forget what was typed; to be called in the task that will call `render`."""
    _request.set(_Request())


def remember(server: str, values: Mapping[str, str], violations: tuple[Violation, ...] = ()) -> None:
    """Hand what was typed for a server, and why it was refused, to `render` in the task that called `begin`."""
    request = _request.get()
    if request is None:
        _request.set(request := _Request())
    shown = (*FIELDS, PRESET)
    kept = {name: value.strip(" ") for name, value in values.items() if name in shown or name.startswith(EXTRA)}
    request.typed = _Typed(
        server=server,
        values={name: _plain(value[:SHOWN_LIMIT]) for name, value in kept.items()},
        lengths={name: len(value) for name, value in kept.items()},
        violations=violations,
    )


def _typed() -> _Typed | None:
    request = _request.get()
    return None if request is None else request.typed


def server_asked_for(default: str) -> str:
    """Return the name of the server that the form is about, `default` if nothing was typed."""
    typed = _typed()
    return default if typed is None else typed.server


def render(
    policy: SitePolicy,
    defaults: Mapping[str, object],
    *,
    fresh: Mapping[str, object] | None = None,
    ended: Ended | None = None,
    changes: Sequence[Change] = (),
    verdict: str = "",
) -> str:
    """Return the fields as HTML, without the form around them.

    Shown are the values of `remember`, where there are any, else `defaults` (field -> value) below how the last
    session `ended` and what had to change of its request; `fresh` is what an empty request means, by default
    the site's. `verdict` is the address where the page asks what Grid Engine thinks of them, "" for none. Raises
    SiteConfigurationError when the site's own template fails.
    """
    fresh = policy.defaults.as_options() if fresh is None else fresh
    typed = _typed()
    if typed is not None:  # the page answers what was typed: old news, or the same news twice, would hide that
        ended, changes = None, ()
    choices = offered.choices(policy)
    context = {
        **_values(policy, typed or _Typed("", {}, {}, ()), defaults),
        "shown_limit": SHOWN_LIMIT,
        "policy": policy,
        "most": most(policy),
        "labels": offered.labels(policy),
        "ids": offered.ids(policy),
        "choices": choices,
        "said": offered.said,
        "ended": ended,
        "changes": [one for one in changes if _differs(one, choices)],
        "verdict": verdict,
        "presets": offered.presets(policy),
        "cards": offered.cards(policy, fresh),
        "fresh": offered.as_text(fresh),
        "facts": offered.facts(policy, fresh),
    }
    try:
        return _environment(tuple(policy.template_folders)).get_template(TEMPLATE).render(context)
    except TEMPLATE_ERRORS as error:
        raise SiteConfigurationError(f"The form cannot be rendered: {failure(error, TEMPLATE)}") from None


def posted(form_data: Mapping[str, Sequence[object]], policy: SitePolicy) -> dict[str, str]:
    """Return the last value of each field of a posted form, the name of a preset included.

    An empty queue stays: it asks for "any that fits", also where the site's default is a certain one. Fields
    that do not exist, uploaded files among them, stay (a few, cut short) so that they are refused.
    """
    return _last_values(form_data, policy)


def counting(values: Mapping[str, str], policy: SitePolicy) -> dict[str, str]:
    """Return what counts of a posted form: without the fields that a chosen preset decides.

    What its card speaks of is as the card says, named by the preset or not; all else is as the person left it.
    Only a page without scripts posts other values of these fields: there, nothing else has filled them.
    """
    preset = offered.decided(policy, values.get(PRESET, ""))
    return {name: value for name, value in values.items() if name not in preset}


def linked(query_data: Mapping[str, Sequence[object]], handler: Any, policy: SitePolicy) -> dict[str, str]:
    """Return the last value of each option of a link, without those that do not begin with "opt-".

    JupyterHub has taken the prefix off, and passes other arguments of the address if none has it. A preset fills
    its fields; where the link names a field that the preset decides, the form is no longer that preset's.
    """
    if handler is not None:
        address = handler.request.query_arguments
        query_data = {name: values for name, values in query_data.items() if LINK_PREFIX + name in address}
    values = _last_values(query_data, policy)
    chosen = values.get(PRESET, "")
    if not offered.decided(policy, chosen).isdisjoint(values):
        del values[PRESET]
    return {**offered.presets(policy).get(chosen, {}), **values}


def options_given(handler: Any) -> bool:
    """Tell whether the request that starts a server carries options, be they empty.

    A posted form does, a page that is opened does not. By REST, as JupyterHub reads it: `user_options`, or
    the body itself where it has neither `user_options` nor `display_name`; "{}" is no body.
    """
    if handler is None or handler.request.method != "POST":
        return False
    if not isinstance(handler, APIHandler):
        return True
    try:
        body = json.loads(handler.request.body)
    except (ValueError, RecursionError):
        return False  # JupyterHub has refused it
    if not isinstance(body, dict) or not body:
        return False
    if "user_options" in body:
        return body["user_options"] is not None
    return "display_name" not in body


@lru_cache(maxsize=8)  # compiling the template takes longer than rendering it a hundred times
def _environment(folders: tuple[str, ...]) -> Environment:
    """Return the Jinja environment: a site's folders first, changed files are read again."""
    return environment(folders, html=True)


def _values(policy: SitePolicy, typed: _Typed, defaults: Mapping[str, object]) -> dict[str, Any]:
    """Return what the fields show, and what is wrong with it."""
    given = {name: _plain(str(value)[:SHOWN_LIMIT]) for name, value in defaults.items() if value is not None}
    locked = _locked(policy)
    fields = fields_of(policy)
    problems: dict[str, list[str]] = {name: [] for name in ("", *fields)}
    for violation in typed.violations:
        problems[violation.field if violation.field in problems else ""].append(violation.message)
    return {
        "values": {name: typed.values.get(name, given.get(name, "")) for name in fields} | locked,
        "preset": typed.values.get(PRESET, ""),
        "problems": problems,
        "cut": {name: length for name, length in typed.lengths.items() if length > SHOWN_LIMIT},
        "locked": locked,
    }


def _differs(change: Change, choices: Mapping[str, offered.Choice]) -> bool:
    """Tell whether a person sees that it changed: the default and its name read the same."""
    return offered.said(change.field, change.wished, choices) != offered.said(change.field, change.now, choices)


def _locked(policy: SitePolicy) -> dict[str, str]:
    """Return the fields that nobody can change: whatever was typed, the form shows what they are set to."""
    options = parse_request(policy.locked, policy.defaults.as_options()).as_options()
    text = offered.as_text(options)
    return {name: text.get(name, "") for name in fields_of(policy) if name in policy.locked}


def _last_values(data: Mapping[str, Sequence[object]], policy: SitePolicy) -> dict[str, str]:
    fields = (*fields_of(policy), PRESET)
    taken = {name: _text(data[name][-1]) for name in fields if data.get(name)}
    unknown = (name for name in data if name not in fields and name != XSRF)
    for name in islice(unknown, UNKNOWN_LIMIT):
        taken[name[:NAME_LIMIT]] = "".join(map(_text, data[name][-1:]))[:SHOWN_LIMIT]
    return taken


def _text(value: object) -> str:
    return value if isinstance(value, str) else FILE


def _plain(text: str) -> str:
    """Show each character that is no text (controls, surrogates, marks of direction) as one that is."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else c for c in text)
