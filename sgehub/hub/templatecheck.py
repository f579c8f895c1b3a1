"""Whether a site's own templates work: each can be read, job script and form in whatever state people meet.

The law of this file: it renders with values that nobody typed, and shows nothing. JupyterHub's own pages need a
hub: of them only the syntax is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Final

from jinja2 import Environment, TemplateSyntaxError

from sgehub.errors import SiteConfigurationError, Violation
from sgehub.hub import form, offered, surroundings
from sgehub.hub.ended import Ended
from sgehub.model.clamping import Change
from sgehub.model.policy import SitePolicy
from sgehub.script import environment, failure

SUFFIXES: Final = frozenset({".html", ".j2"})  # and whatever takes the place of a file of sgehub's own
VERDICT: Final = "/hub/api/sgehub/verdict/person"
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
ENDED: Final = tuple(Ended(job, "The job has used up its runtime.", NOON, NOON) for job in (4711, None))


def failures(policy: SitePolicy) -> tuple[str, ...]:
    """Return what is wrong with the site's templates, each once: undefined names are errors."""
    if unreadable := tuple(_unreadable(policy)):
        return unreadable  # rendered, they would say the same again
    return tuple(dict.fromkeys(said for attempt in _attempts(policy) if (said := _said(attempt))))


def _unreadable(policy: SitePolicy) -> Iterator[str]:
    jinja = environment(html=True)
    ours = frozenset(jinja.list_templates())
    for folder in map(Path, policy.template_folders):
        for path in sorted(folder.rglob("*")):
            named = path.suffix in SUFFIXES or str(path.relative_to(folder)) in ours
            if named and path.is_file() and (said := _compiled(path, jinja)):
                yield said


def _compiled(path: Path, jinja: Environment) -> str:
    """Return what is wrong with the syntax of a template, "" if nothing is."""
    try:
        jinja.compile(path.read_text(encoding="utf-8"), str(path), str(path))
    except TemplateSyntaxError as error:
        return failure(error, str(path))
    except UnicodeDecodeError as error:
        return f"{path}: is not UTF-8 text (byte {error.start})."
    except OSError as error:
        return f"{path}: cannot be read: {error.strerror}."
    return ""


def _attempts(policy: SitePolicy) -> Iterator[Callable[[], str]]:
    """Yield the job script of each environment; the form at first, after a session's end, and refused."""
    for name in policy.environments or (None,):
        yield partial(surroundings.rendered, policy, name)
    usual = partial(form.render, policy, policy.defaults.as_options())
    yield usual
    changes = [Change(field, "before", "now") for field in offered.labels(policy)]
    for ended in ENDED:
        yield partial(usual, ended=ended, changes=changes, verdict=VERDICT)
    yield partial(copy_context().run, partial(_refused, policy, partial(usual, verdict=VERDICT)))


def _refused(policy: SitePolicy, render: Callable[[], str]) -> str:
    """Render the form with something wrong in each field, and in the request as a whole."""
    fields = offered.fields_of(policy)
    form.begin()
    form.remember(
        "",
        dict.fromkeys(fields, "9" * (form.SHOWN_LIMIT + 1)),
        tuple(Violation(field, "This cannot be.") for field in ("", *fields)),
    )
    return render()


def _said(attempt: Callable[[], str]) -> str:
    try:
        attempt()
    except SiteConfigurationError as error:
        return str(error)
    return ""
