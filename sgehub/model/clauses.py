"""How each kind of obstacle is told: what Grid Engine's lines say, in the words of the form.

The law of this file: pure; it is handed what was read of the lines of one kind, and makes one clause of them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sgehub.model.wish import Wish, in_tenths, listed

Found = Sequence[Mapping[str, str]]  # what was read of the lines of one kind


@dataclass(frozen=True, slots=True)
class Telling:
    """How a clause is told: of this moment (`now`) or of ever, and whether it is the only one (`alone`)."""

    now: bool
    alone: bool


def lacking(found: Found, wish: Wish, telling: Telling) -> str:
    """Say how much there is of a complex where there is not enough: the most of all places."""
    name = found[0]["complex"]
    have, have_no = _places(found, wish, telling)
    noun, free = wish.noun(name), " free now" if telling.now else ""
    offers = [_number(one.get("offer") or "0") for one in found]
    known = [one for one in offers if one is not None]
    if len(known) < len(offers):  # a text: there is something, but not what was asked for
        of_a_type = noun != name and noun not in _LESS
        return f"{have} no {noun}" if of_a_type else f"{have} {_LESS.get(noun, 'another')} {noun} than asked for"
    most = max(known)
    if not most:
        return f"{have_no} {noun}{free}"
    if noun == "memory" or any(one.get("offer", "")[-1:] in _UNITS for one in found):
        amount = f"{in_tenths(wish.offered(name, int(most)))} of {'memory' if noun == 'memory' else name}"
    else:
        amount = f"{most:g} {noun if noun == name or most != 1 else _singular(noun)}"
    wanted = wish.wanted(name)
    return f"{have} at most {amount}{free}{f', not {wanted}' if wanted else ''}"


def _places(found: Found, wish: Wish, telling: Telling) -> tuple[str, str]:
    """Begin a clause on places, for those that have some and for those that have none.

    Beside other clauses it is so many hosts; alone it is all that there are.
    """
    wheres = dict.fromkeys(one.get("where") or "" for one in found)
    if "" in wheres:
        return "the whole cluster has", "the whole cluster has no"
    hosts = {where.rpartition("@")[2] for where in wheres}
    queues = tuple(dict.fromkeys(where.partition("@")[0] for where in wheres if "@" in where))
    inside = queues or (wish.queues if len(wish.queues) == 1 else ())
    of = f" of {listed(inside)}" if inside else ""
    if telling.alone:
        return f"the hosts{of} have", f"no host{of} has"
    some = f"1 host{of} has" if len(hosts) == 1 else f"{len(hosts)} hosts{of} have"
    return some, f"{some} no"


def over_quota(found: Found, _wish: Wish, telling: Telling) -> str:
    """Name the resource quotas, used up or too low."""
    rules = _named(found, "rule")
    if telling.now:
        return f"the resource quota {rules} has no room for it now"
    return f"it is more than the resource quota {rules} allows"


def away(found: Found, _wish: Wish, telling: Telling) -> str:
    """Name the queues that take no jobs, and on how many hosts."""
    queues = dict.fromkeys(one["where"].partition("@")[0] for one in found)
    hosts = {one["where"].rpartition("@")[2] for one in found}
    verb = "takes" if len(queues) == 1 else "take"
    where = "" if telling.alone else f" on {len(hosts)} host{'' if len(hosts) == 1 else 's'}"
    return f"{listed(queues)} {verb} no jobs now{where}"


def no_room(found: Found, wish: Wish, telling: Telling) -> str:
    """Say how many slots a parallel environment has; with none, Grid Engine does not say what is lacking."""
    offers = max(int(one["offer"]) for one in found)
    pe = f"parallel environment {_named(found, 'pe')}"
    if offers:
        return f"{pe} has {offers} of {wish.request.cores} slots{' free now' if telling.now else ''}"
    return f"{pe} has no {'free ' if telling.now else ''}place for {wish.words} together"


def closed(what: str = "") -> Callable[[Found, Wish, Telling], str]:
    """Return what says which things of one sort are not open to a person."""

    def tell(found: Found, wish: Wish, _telling: Telling) -> str:
        names = dict.fromkeys(one["name"] for one in found)
        return f"{what}{listed(names)} {'is' if len(names) == 1 else 'are'} not open to {wish.person}"

    return tell


def queue_limit(found: Found, wish: Wish, _telling: Telling) -> str:
    """Say what a queue's own limits leave no room for; the line names all requests that were looked at."""
    names = {part.partition("=")[0] for one in found for part in (one.get("request") or "").split(",")} - {""}
    queues = dict.fromkeys(one["queue"] for one in found)
    short = {"runtime": "so long a runtime", "memory": "so much memory", "GPUs": "so many GPUs"}
    known = sorted(short.get(noun := wish.noun(name), noun) for name in names if " " not in name)
    what = listed(known) if known else "this"
    return f"{listed(queues)} {'does' if len(queues) == 1 else 'do'} not allow {what}"


def wrong_project(found: Found, wish: Wish, _telling: Telling) -> str:
    """Name the places that the project of the job may not use."""
    verb = "is" if len({one["name"] for one in found}) == 1 else "are"
    project = wish.request.project
    return f"{_named(found, 'name')} {verb} {f'not open to project {project}' if project else 'for projects only'}"


def forced(found: Found, _wish: Wish, _telling: Telling) -> str:
    """Name the queues that run only what asks for a complex of theirs."""
    return f"{_named(found, 'queue')} is only for jobs that ask for {_named(found, 'complex')}"


def nowhere(found: Found, _wish: Wish, _telling: Telling) -> str:
    """Name what the cluster does not have at all."""
    return f"Grid Engine knows no {found[0]['kind']} {_named(found, 'name')}"


def no_pe(found: Found, _wish: Wish, _telling: Telling) -> str:
    """Name the queues that do not offer a parallel environment."""
    queues = dict.fromkeys(one["queue"] for one in found)
    verb = "does" if len(queues) == 1 else "do"
    return f"{listed(queues)} {verb} not offer the parallel environment {_named(found, 'pe')}"


def not_reserved(found: Found, _wish: Wish, _telling: Telling) -> str:
    """Say that of all places none is held by an advance reservation."""
    queues = dict.fromkeys(one["queue"] for one in found)
    return f"advance reservation {_named(found, 'reservation')} has no place in {listed(queues)}"


def listed_elsewhere(_found: Found, _wish: Wish, _telling: Telling) -> str:
    """Say that of all queues none is one that the job names."""
    return "no host belongs to the queues that it may use"


_NUMBER: Final = re.compile(r"(-?[0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGT]?)")
_UNITS: Final = frozenset("KMGT")
_LESS: Final = {"memory": "less", "runtime": "less", "GPUs": "fewer", "cores": "fewer"}


def _number(text: str) -> float | None:
    """Read an amount that Grid Engine prints, always with 1024; None for what is no number.

    A host that is overbooked offers less than nothing: nothing.
    """
    match = _NUMBER.fullmatch(text)
    return None if match is None else max(0.0, float(match[1])) * 1024.0 ** " KMGT".index(match[2] or " ")


def _singular(noun: str) -> str:
    """Return one of what the form counts: "GPUs of type a100" -> "GPU of type a100"."""
    first, *rest = noun.split(" ")
    return " ".join((first.removesuffix("s"), *rest))


def _named(found: Found, key: str) -> str:
    return listed(dict.fromkeys(one[key] for one in found))
