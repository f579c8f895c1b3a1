"""What is in the way of a job: Grid Engine's lines, sorted by kind.

The law of this file: pure, and never an exception for odd text. `TABLE` knows the sentences in which the scheduler
says why a job cannot run (`qsub -w p` and `-w v`, SGE 8.1.9 and Open Cluster Scheduler 9.1.4). All lines of one
kind become one clause, told by `clauses`. A line that the table does not know is shown as it stands if there is
no other, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from sgehub.model import clauses
from sgehub.model.clauses import Found, Telling
from sgehub.model.wish import Wish

MOST_CLAUSES: Final = 4
MOST_LINES: Final = 5000  # that are read, in 40 ms; a host has one
LINE_LIMIT: Final = 1000  # characters of each
ORIGINAL_LIMIT: Final = 200  # characters of a line of Grid Engine's that stands in a sentence of ours


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One kind of thing in the way: how lines name it, and how all of them are told.

    `passes`: it goes away with time. `explains`: a parallel environment without room needs no word besides.
    """

    pattern: re.Pattern[str]
    tell: Callable[[Found, Wish, Telling], str]
    passes: bool = False
    explains: bool = True


_NAME: Final = '"(?P<name>[^"]{1,128})"'
_OFFERS: Final = (
    r"because it offers only [ghq](?P<source>[a-z]):(?P<complex>[^=\s]{1,64})=(?P<offer>\S{1,128}?)\.?"
)
_REQUEST: Final = r"(?:\(-l (?P<request>.*)\) )?"
_ELSEWHERE: Final = Obstacle(
    re.compile(r"cannot run in queue .* not contained in its hard queue list \(-q\)"), clauses.listed_elsewhere
)
_NOT_RESERVED: Final = Obstacle(
    re.compile(
        r'cannot run in queue "(?P<queue>[^"@]{1,128})(?:@[^"]{0,200})?" because it was not reserved by advance'
        r" reservation (?P<reservation>[0-9]{1,9})"
    ),
    clauses.not_reserved,
    explains=False,
)
_LACKING: Final = Obstacle(
    re.compile(rf'.*cannot run (?:(?:at host|in queue) "(?P<where>[^"]{{1,200}})"|globally) {_OFFERS}'),
    clauses.lacking,
    passes=True,
    explains=False,
)
_NOT_THERE: Final = Obstacle(
    re.compile(
        r'.*cannot run (?:at host|in queue) "(?P<where>[^"]{1,200})" because job requests unknown resource'
        r" \((?P<complex>[^)]{1,64})\)"
    ),
    clauses.lacking,
    explains=False,
)
_NO_ROOM: Final = Obstacle(
    re.compile(r'cannot run in PE "(?P<pe>[^"]{1,128})" because it only offers (?P<offer>[0-9]{1,9}) slots'),
    clauses.no_room,
    passes=True,
)
_NO_PE: Final = Obstacle(
    re.compile(
        r'cannot run in queue "(?P<queue>[^"@]{1,128})(?:@[^"]{0,200})?" because PE "(?P<pe>[^"]{1,128})" is not'
        r" in (?:PE|pe) list"  # 8.1.9, Open Cluster Scheduler
    ),
    clauses.no_pe,
)
# What the scheduler of both dialects prints. The first that fits counts.
TABLE: Final = (
    _ELSEWHERE,
    _NOT_RESERVED,
    _LACKING,
    _NOT_THERE,
    _NO_ROOM,
    _NO_PE,
    Obstacle(
        re.compile(r'cannot run because it exceeds limit "[^"]*" in rule "(?P<rule>[^"/]{1,128})(?:/[^"]*)?"'),
        clauses.over_quota,
        passes=True,
    ),
    Obstacle(
        re.compile(
            r'queue instance "(?P<where>[^"]{1,200})" dropped because it is (?:temporarily not available'
            r"|disabled|full|overloaded.*)"
        ),
        clauses.away,
        passes=True,
        explains=False,
    ),
    Obstacle(re.compile(rf"has no permission for (?:cluster queue|host) {_NAME}"), clauses.closed()),
    Obstacle(re.compile(rf"cannot run because no access to PE {_NAME}"), clauses.closed("parallel environment ")),
    Obstacle(re.compile(rf'no access to project {_NAME} for user "[^"]*"'), clauses.closed("project ")),
    Obstacle(
        re.compile(rf'{_REQUEST}cannot run in queue "(?P<queue>[^"]{{1,128}})" because of cluster queue'),
        clauses.queue_limit,
    ),
    Obstacle(
        re.compile(rf"\(.*\) does not have the correct project to run in (?:cluster queue|host) {_NAME}"),
        clauses.wrong_project,
    ),
    Obstacle(
        re.compile(
            r"does not request 'forced' resource \"(?P<complex>[^\"]{1,64})\" of queue instance"
            r" (?P<queue>[^@\s]{1,128})@\S*"
        ),
        clauses.forced,
    ),
    Obstacle(
        re.compile(rf"the requested (?P<kind>project|parallel environment) {_NAME} does not exist"),
        clauses.nowhere,
    ),
    Obstacle(re.compile(rf".*job requests unknown (?P<kind>queue) {_NAME}"), clauses.nowhere),
    Obstacle(re.compile(rf"unknown (?P<kind>resource) {_NAME}"), clauses.nowhere),
)
_OUTSIDE: Final = (_ELSEWHERE, _NOT_RESERVED)  # they name the places that were not asked for
_BEGINNING: Final = re.compile(r"(?:Unable to run job: )?(?:job rejected: )?(?:Job [0-9]+ )?")
_NOISE: Final = re.compile(r"(?:verification: .*|Exiting\.|\s*)")


def in_the_way(wish: Wish, lines: Iterable[str], *, now: bool) -> str:
    """Say in one sentence what is in the way of a job, now or ever, with its full stop."""
    found, strange = _read(lines)
    for outside in _OUTSIDE:
        if len(found) > 1:
            found.pop((outside, ""), None)
    if now and any(one.passes for one, _ in found):
        found = {key: each for key, each in found.items() if key[0].passes}
    if any(_settles(one, each, wish) for (one, _), each in found.items()):
        found = {key: each for key, each in found.items() if key[0] is not _NO_ROOM}
    for one, name in tuple(found):
        if one is _NOT_THERE and (_LACKING, name) in found:  # some hosts have too little of it, others none
            found[_LACKING, name] = [*found[_LACKING, name], *found.pop((one, name))]
    telling = Telling(now, alone=len(found) == 1)
    clauses = [one.tell(each, wish, telling) for (one, _), each in found.items()]
    if not clauses:
        said = strange if strange.endswith((".", "!", "?", "…")) else f"{strange}."
        return f"Grid Engine says: {said}" if strange else "Grid Engine does not say why."
    return "; ".join(clauses[:MOST_CLAUSES]) + (", and more." if len(clauses) > MOST_CLAUSES else ".")


def _settles(one: Obstacle, each: Found, wish: Wish) -> bool:
    """Tell whether this says all there is to say of a parallel environment without room."""
    if one is _NO_PE:  # another queue may offer it, and have no room
        return bool(wish.queues) and {line["queue"] for line in each}.issuperset(wish.queues)
    return one.explains and one is not _NO_ROOM


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
    if any(one is _NO_PE and _settles(one, each, wish) for (one, _), each in found.items()):
        return False
    return loads and _NO_ROOM in {one for one, _ in found} <= {_NO_ROOM, _NO_PE, *_OUTSIDE}


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
