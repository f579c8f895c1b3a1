"""What is in the way of a job: Grid Engine's lines, counted and told in the words of the form.

The law of this file: pure, and never an exception for odd text. `TABLE` knows the sentences in which the scheduler
says why a job cannot run (`qsub -w p` and `-w v`, SGE 8.1.9 and Open Cluster Scheduler 9.1.4). All lines of one
kind become one clause. A line that the table does not know is shown as it stands if there is no other, never
guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sgehub.model.wish import Wish, listed, readable

MOST_CLAUSES: Final = 4
MOST_LINES: Final = 5000  # that are read, in 40 ms; a host has one
LINE_LIMIT: Final = 1000  # characters of each
ORIGINAL_LIMIT: Final = 200  # characters of a line of Grid Engine's that stands in a sentence of ours
Found = Sequence[Mapping[str, str]]  # what was read of the lines of one kind


@dataclass(frozen=True, slots=True)
class Telling:
    """How a clause is told: of this moment (`now`) or of ever, and whether it is the only one (`alone`)."""

    now: bool
    alone: bool


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One kind of thing in the way: how lines name it, and how all of them are told.

    `passes`: it goes away with time. `explains`: a parallel environment without room needs no word besides.
    """

    pattern: re.Pattern[str]
    tell: Callable[[Found, Wish, Telling], str]
    passes: bool = False
    explains: bool = True


def _lacking(found: Found, wish: Wish, telling: Telling) -> str:
    """Say how much there is of a complex where there is not enough: the most of all places."""
    name = found[0]["complex"]
    have, have_no = _places(found, wish, telling)
    noun, free = wish.noun(name), " free now" if telling.now else ""
    offers = [_number(one.get("offer") or "0") for one in found]
    known = [one for one in offers if one is not None]
    if len(known) < len(offers):
        return f"{have} {noun if noun != name else f'another {name} than asked for'}"
    most = max(known)
    if not most:
        return f"{have_no} {noun}{free}"
    in_bytes = noun == "memory" or any(one["offer"][-1] in "KMGT" for one in found)
    amount = f"{readable(int(most))} of {noun}" if in_bytes else f"{most:g} {noun}"
    if most == 1 and noun in {"GPUs", "cores"}:
        amount = amount.removesuffix("s")
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


def _over_quota(found: Found, _wish: Wish, telling: Telling) -> str:
    rules = _named(found, "rule")
    if telling.now:
        return f"the resource quota {rules} has no room for it now"
    return f"it is more than the resource quota {rules} allows"


def _away(found: Found, _wish: Wish, telling: Telling) -> str:
    queues = dict.fromkeys(one["where"].partition("@")[0] for one in found)
    hosts = {one["where"].rpartition("@")[2] for one in found}
    verb = "takes" if len(queues) == 1 else "take"
    where = "" if telling.alone else f" on {len(hosts)} host{'' if len(hosts) == 1 else 's'}"
    return f"{listed(queues)} {verb} no jobs now{where}"


def _no_room(found: Found, wish: Wish, telling: Telling) -> str:
    offers = max(int(one["offer"]) for one in found)
    pe = f"parallel environment {_named(found, 'pe')}"
    if offers:
        return f"{pe} has {offers} of {wish.request.cores} slots{' free now' if telling.now else ''}"
    return f"{pe} has no {'free ' if telling.now else ''}place for {wish.words} together"


def _closed(what: str = "") -> Callable[[Found, Wish, Telling], str]:
    def tell(found: Found, wish: Wish, _telling: Telling) -> str:
        names = dict.fromkeys(one["name"] for one in found)
        return f"{what}{listed(names)} {'is' if len(names) == 1 else 'are'} not open to {wish.person}"

    return tell


def _queue_limit(found: Found, wish: Wish, _telling: Telling) -> str:
    """Say what a queue's own limits leave no room for; the line names all requests that were looked at."""
    names = {part.partition("=")[0] for one in found for part in (one.get("request") or "").split(",")} - {""}
    queues = dict.fromkeys(one["queue"] for one in found)
    short = {"runtime": "so long a runtime", "memory": "so much memory", "GPUs": "so many GPUs"}
    known = sorted(short.get(noun := wish.noun(name), noun) for name in names if " " not in name)
    what = listed(known) if known else "this"
    return f"{listed(queues)} {'does' if len(queues) == 1 else 'do'} not allow {what}"


def _wrong_project(found: Found, wish: Wish, _telling: Telling) -> str:
    verb = "is" if len({one["name"] for one in found}) == 1 else "are"
    project = wish.request.project
    return f"{_named(found, 'name')} {verb} {f'not open to project {project}' if project else 'for projects only'}"


def _forced(found: Found, _wish: Wish, _telling: Telling) -> str:
    return f"{_named(found, 'queue')} is only for jobs that ask for {_named(found, 'complex')}"


def _nowhere(found: Found, _wish: Wish, _telling: Telling) -> str:
    return f"Grid Engine knows no {found[0]['kind']} {_named(found, 'name')}"


def _listed_elsewhere(_found: Found, _wish: Wish, _telling: Telling) -> str:
    return "no host belongs to the queues that it may use"


_NAME: Final = '"(?P<name>[^"]{1,128})"'
_OFFERS: Final = (
    r"because it offers only [ghq](?P<source>[a-z]):(?P<complex>[^=\s]{1,64})=(?P<offer>\S{1,128}?)\.?"
)
_REQUEST: Final = r"(?:\(-l (?P<request>.*)\) )?"
_ELSEWHERE: Final = Obstacle(
    re.compile(r"cannot run in queue .* not contained in its hard queue list \(-q\)"), _listed_elsewhere
)
_LACKING: Final = Obstacle(
    re.compile(rf'.*cannot run (?:(?:at host|in queue) "(?P<where>[^"]{{1,200}})"|globally) {_OFFERS}'),
    _lacking,
    passes=True,
    explains=False,
)
_NOT_THERE: Final = Obstacle(
    re.compile(
        r'.*cannot run (?:at host|in queue) "(?P<where>[^"]{1,200})" because job requests unknown resource'
        r" \((?P<complex>[^)]{1,64})\)"
    ),
    _lacking,
    explains=False,
)
_NO_ROOM: Final = Obstacle(
    re.compile(r'cannot run in PE "(?P<pe>[^"]{1,128})" because it only offers (?P<offer>[0-9]{1,9}) slots'),
    _no_room,
    passes=True,
)
# What the scheduler of both dialects prints. The first that fits counts.
TABLE: Final = (
    _ELSEWHERE,
    _LACKING,
    _NOT_THERE,
    _NO_ROOM,
    Obstacle(
        re.compile(r'cannot run because it exceeds limit "[^"]*" in rule "(?P<rule>[^"/]{1,128})(?:/[^"]*)?"'),
        _over_quota,
        passes=True,
    ),
    Obstacle(
        re.compile(
            r'queue instance "(?P<where>[^"]{1,200})" dropped because it is (?:temporarily not available'
            r"|disabled|full|overloaded.*)"
        ),
        _away,
        passes=True,
        explains=False,
    ),
    Obstacle(re.compile(rf"has no permission for (?:cluster queue|host) {_NAME}"), _closed()),
    Obstacle(re.compile(rf"cannot run because no access to PE {_NAME}"), _closed("parallel environment ")),
    Obstacle(re.compile(rf'no access to project {_NAME} for user "[^"]*"'), _closed("project ")),
    Obstacle(
        re.compile(rf'{_REQUEST}cannot run in queue "(?P<queue>[^"]{{1,128}})" because of cluster queue'),
        _queue_limit,
    ),
    Obstacle(
        re.compile(rf"\(.*\) does not have the correct project to run in (?:cluster queue|host) {_NAME}"),
        _wrong_project,
    ),
    Obstacle(
        re.compile(
            r"does not request 'forced' resource \"(?P<complex>[^\"]{1,64})\" of queue instance"
            r" (?P<queue>[^@\s]{1,128})@\S*"
        ),
        _forced,
    ),
    Obstacle(
        re.compile(rf"the requested (?P<kind>project|parallel environment) {_NAME} does not exist"), _nowhere
    ),
    Obstacle(re.compile(rf".*job requests unknown (?P<kind>queue) {_NAME}"), _nowhere),
    Obstacle(re.compile(rf"unknown (?P<kind>resource) {_NAME}"), _nowhere),
)
_BEGINNING: Final = re.compile(r"(?:Unable to run job: )?(?:job rejected: )?(?:Job [0-9]+ )?")
_NOISE: Final = re.compile(r"(?:verification: .*|Exiting\.|\s*)")


def in_the_way(wish: Wish, lines: Iterable[str], *, now: bool) -> str:
    """Say in one sentence what is in the way of a job, now or ever, with its full stop."""
    found, strange = _read(lines)
    if len(found) > 1:
        found.pop((_ELSEWHERE, ""), None)  # the queues that were not asked for
    if now and any(one.passes for one, _ in found):
        found = {key: each for key, each in found.items() if key[0].passes}
    if any(one.explains and one is not _NO_ROOM for one, _ in found):
        found = {key: each for key, each in found.items() if key[0] is not _NO_ROOM}
    telling = Telling(now, alone=len(found) == 1)
    clauses = [one.tell(each, wish, telling) for (one, _), each in found.items()]
    if not clauses:
        said = strange if strange.endswith((".", "!", "?", "…")) else f"{strange}."
        return f"Grid Engine says: {said}" if strange else "Grid Engine does not say why."
    return "; ".join(clauses[:MOST_CLAUSES]) + (", and more." if len(clauses) > MOST_CLAUSES else ".")


def doubtful(wish: Wish, now: Iterable[str], ever: Iterable[str]) -> bool:
    """Tell whether "never" is no more than "not now", because of a complex that hosts report as a load value.

    `qsub -w v` knows no load values: to 8.1.9 they are unknown resources, so that it says no to whatever asks for
    one (measured with mem_free). With a parallel environment it names none; then it counts that the site's file
    may speak of one: what is counted once a host, and what a type of GPU or a field of the site's own adds.
    """
    today, _ = _read(now)
    found, _ = _read(ever)
    if any(one.get("source") == "l" for key, each in today.items() if key[0] is _LACKING for one in each):
        return True
    if any(one is _NOT_THERE and (one, name) not in today for one, name in found):
        return True
    request = wish.request
    loads = any(one.counted == "host" for one in wish.policy.memory) or bool(
        (request.gpus and request.gpu_type) or any(value for _, value in request.extra)
    )
    return loads and _NO_ROOM in {one for one, _ in found} <= {_NO_ROOM, _ELSEWHERE}


def _read(lines: Iterable[str]) -> tuple[dict[tuple[Obstacle, str], list[Mapping[str, str]]], str]:
    """Sort lines by what is in the way (and by complex); return the first line that nobody knows besides."""
    found: dict[tuple[Obstacle, str], list[Mapping[str, str]]] = {}
    strange = ""
    for line in islice(lines, MOST_LINES):
        text = _BEGINNING.sub("", line[:LINE_LIMIT], count=1).strip()
        for one in TABLE:
            match = one.pattern.fullmatch(text.removesuffix("."))
            if match is not None:
                groups = {name: value for name, value in match.groupdict().items() if value}
                found.setdefault((one, groups.get("complex", "")), []).append(groups)
                break
        else:
            if not strange and not _NOISE.fullmatch(text):
                strange = text[:ORIGINAL_LIMIT] + ("…" if len(text) > ORIGINAL_LIMIT else "")
    return found, strange


_NUMBER: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGT]?)")


def _number(text: str) -> float | None:
    """Read an amount that Grid Engine prints, always with 1024; None for what is no number."""
    match = _NUMBER.fullmatch(text)
    return None if match is None else float(match[1]) * 1024.0 ** " KMGT".index(match[2] or " ")


def _named(found: Found, key: str) -> str:
    return listed(dict.fromkeys(one[key] for one in found))
