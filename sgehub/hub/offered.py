"""What the form says of a policy: labels, choices, presets in a line of words, and the numbers for its script.

The law of this file: it reads a policy that is already one person's, so that a page holds nothing that is closed
to them; and it decides nothing, which `judging` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sgehub.model.judging import counted, most
from sgehub.model.policy import SitePolicy
from sgehub.model.request import EXTRA, FIELDS, ResourceRequest, parse_request
from sgehub.model.siteparts import Limits, Most

LINK_PREFIX: Final = "opt-"  # stands before the name of a field in the address of a link
LABELS: Final = {
    "cores": "Cores",
    "memory": "Memory",
    "gpus": "GPUs",
    "gpu_type": "GPU type",
    "runtime": "Runtime",
    "project": "Project",
    "queue": "Queue",
    "environment": "Environment",
    "interface": "Interface",
    "folder": "Working folder",
    "mail": "E-mail",
    "pe": "Parallel environment",
    "reservation": "Advance reservation",
}
CARD: Final = ("cores", "memory", "gpus", "gpu_type", "runtime", "queue")  # what every preset's card speaks of
_NAMED: Final = ("project", "queue", "environment", "interface")  # said of a preset that sets them


@dataclass(frozen=True, slots=True)
class Choice:
    """What a field offers: key -> words, and the words for "", which are None where something has to be chosen."""

    nothing: str | None
    offered: Mapping[str, str]

    def shown(self, value: str) -> dict[str, str]:
        """Return what the field offers while it holds `value`, "" included: nothing that it holds is lost."""
        here = self.offered if value in self.offered or not value else {**self.offered, value: value}
        first = next(iter(self.offered), None)
        if first is not None and self.nothing == self.offered[first]:  # "" means the first: it is there once
            here = {key: words for key, words in here.items() if key != first or key == value}
            return here if value == first else {"": self.nothing, **here}
        return {"": self.nothing or "Please choose", **here}


@dataclass(frozen=True, slots=True)
class Card:
    """One preset as people see it: `asks` is what it asks for, in one line."""

    name: str
    label: str
    help: str | None
    asks: str


def fields_of(policy: SitePolicy) -> tuple[str, ...]:
    """Return the names of all fields that the form of a site may have: a request's, then the site's own."""
    return (*FIELDS, *(f"{EXTRA}{name}" for name in policy.fields))


def labels(policy: SitePolicy) -> dict[str, str]:
    """Return what each field is called, in the order of the form."""
    own = {name: one.label for name, one in policy.texts.items() if one.label}
    return {**LABELS, **own, **{f"{EXTRA}{name}": one.label for name, one in policy.fields.items()}}


def ids(policy: SitePolicy) -> dict[str, str]:
    """Return the name of each field's element; those of the site's own are numbered, as names may hold dots."""
    extras = {f"{EXTRA}{name}": f"request-extra-{number}" for number, name in enumerate(policy.fields)}
    return {**{name: f"request-{name}" for name in FIELDS}, **extras}


def choices(policy: SitePolicy) -> dict[str, Choice]:
    """Return what each field offers that is chosen from a list, or switched on."""
    found = {
        "queue": Choice("Any that fits", {name: _of_queue(name, one) for name, one in policy.queues.items()}),
        "gpu_type": Choice("Any", _labelled(policy.gpu_types)),
        "project": Choice(None if policy.project_required else "None", _labelled(policy.projects)),
        "pe": Choice("Any that fits", {name: name for name in policy.parallel_environment}),
        "environment": _first_is_default(_labelled(policy.environments)),
        "interface": _interfaces(policy),
    }
    for name, one in policy.fields.items():
        if one.type == "choice":
            found[f"{EXTRA}{name}"] = Choice(None if one.required else "None", _labelled(one.choices))
        elif one.type == "switch":
            found[f"{EXTRA}{name}"] = Choice("off", {"yes": "on"})
    return found


def said(field: str, value: str, offered: Mapping[str, Choice]) -> str:
    """Return a value as people read it: the label of what was chosen, and words for nothing."""
    choice = offered.get(field)
    if choice is None:
        return value or "empty"
    if not value:
        return choice.nothing or "empty"
    return value if field == "queue" else choice.offered.get(value, value)


def presets(policy: SitePolicy) -> dict[str, dict[str, str]]:
    """Return the values that each preset puts into the form: of its own fields, as the form writes them."""
    base = policy.defaults.as_options()
    found = {}
    for name, preset in policy.presets.items():
        read = as_text(parse_request(preset.request, base).as_options())
        found[name] = {key: read.get(key, "") for key in preset.request if key not in policy.locked}
    return found


def decided(policy: SitePolicy, preset: str) -> frozenset[str]:
    """Return the fields that a preset decides: its own, and those that its card speaks of."""
    if preset not in policy.presets:
        return frozenset()
    return frozenset(CARD) | presets(policy)[preset].keys()


def cards(policy: SitePolicy, fresh: Mapping[str, object]) -> list[Card]:
    """Return the presets in words; what they do not name is `fresh`, the request of an empty form."""
    offered = choices(policy)
    found = []
    for name, values in presets(policy).items():
        preset = policy.presets[name]
        asks = in_words(parse_request(values, fresh), offered, values)
        found.append(Card(name, preset.label or name, preset.help, asks))
    return found


def in_words(request: ResourceRequest, offered: Mapping[str, Choice], named: Mapping[str, str]) -> str:
    """Return a request as one line, "2 cores, 8G, 8 hours", with what is chosen by name in `named`."""
    gpus = counted(request.gpus, "GPU") if request.gpus else ""
    if gpus and request.gpu_type:
        gpus += f" ({said('gpu_type', request.gpu_type, offered)})"
    resources = (counted(request.cores, "core"), str(request.memory), gpus, request.runtime.words())
    chosen = (said(field, named[field], offered) for field in _NAMED if named.get(field))
    return ", ".join(part for part in (*resources, *chosen) if part)


def facts(policy: SitePolicy, fresh: Mapping[str, object]) -> dict[str, Any]:
    """Return what the page's script reckons with, ready for JSON: bytes, seconds, texts of fields."""
    top = most(policy)
    cap = Most(cores=top.cores, gpus=top.gpus)  # without a PE or a complex, what a queue has does not count
    return {
        "prefix": LINK_PREFIX,
        "divided": policy.memory_is_divided,
        "gpus_per_slot": policy.gpu is not None and policy.gpu.counted == "slot",
        "least": {"cores": 1, "memory": policy.smallest_memory.bytes, "runtime": policy.shortest_runtime.seconds},
        "queues": {
            name: {**_numbers(one.under(cap)), "gpu_types": one.gpu_types, "projects": one.projects}
            for name, one in policy.queues.items()
        },
        "projects": {name: {**_numbers(one.most), "queues": one.queues} for name, one in policy.projects.items()},
        "pes": policy.parallel_environment,
        "slots": {name: one.offered for name, one in policy.queues.items() if one.offered is not None},
        "environment": next(iter(policy.environments), ""),
        "fresh": {name: text for name, text in as_text(fresh).items() if text},
        "card": CARD,
        "presets": presets(policy),
    }


def as_text(options: Mapping[str, object]) -> dict[str, str]:
    """Return the values of a request as fields of a form hold them."""
    return {name: "" if value is None else str(value) for name, value in options.items()}


def _numbers(limits: Limits | Most) -> dict[str, int]:
    memory, runtime = limits.memory, limits.runtime
    numbers = {
        "cores": limits.cores,
        "memory": None if memory is None else memory.bytes,
        "gpus": limits.gpus,
        "runtime": None if runtime is None else runtime.seconds,
    }
    return {name: number for name, number in numbers.items() if number is not None}


def _labelled(offered: Mapping[str, Any]) -> dict[str, str]:
    return {name: one.label or name for name, one in offered.items()}


def _first_is_default(offered: Mapping[str, str]) -> Choice:
    return Choice(next(iter(offered.values()), "None"), offered)


def _interfaces(policy: SitePolicy) -> Choice:
    """Offer the first for none, but where an environment has a page of its own: that comes before the first."""
    offered = _labelled(policy.interfaces)
    own = any(one.default_url for one in policy.environments.values())
    return Choice("As usual for the environment", offered) if own and offered else _first_is_default(offered)


def _of_queue(name: str, limits: Limits) -> str:
    gpus = counted(limits.gpus, "GPU") if limits.gpus else "no GPUs"
    return f"{name}: {counted(limits.cores, 'core')}, {limits.memory}, {gpus}, {limits.runtime.words()}"
