"""`qstat -u '*' -s prs -xml` -> the jobs of the cluster. qstat(1), sge_status(5).

The law of this file: a list is read to its end tag or refused. One job that cannot be read costs that job alone:
it is reported as broken (its number is known) or skipped (not even that), never left out in silence.

Entries are cut out of the text and read one by one: so an ill-formed one costs itself, and few objects are made.
A list of 12,000 jobs read into a tree makes Python's garbage collector walk over all of the hub's memory, in one
step of up to 0.2 s.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.sax.saxutils import escape, unescape

from sgehub.gridengine.answers import amount, instant, no_answer
from sgehub.gridengine.parse_xml import IllFormedError, Steps, child_texts, pieces
from sgehub.gridengine.runner import Completed
from sgehub.model.job import Job, JobState, JobTable, Phase, place

_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_FIRST_NUMBER: Final = re.compile(r"<JB_job_number>([0-9]{1,10})</JB_job_number>")
_OPENING: Final = re.compile(r"<job_list(?:\s[^<>]*)?>")
_FINISHED: Final = re.compile(r"<job_list\s[^<>]*state=.zombie.")
_CLOSING: Final = "</job_list>"
_LEAF: Final = re.compile(r"<(\w+)>(.*?)</\1>")
_PLAIN_LEAF: Final = re.compile(r"<(\w+)(?:\s[^<>]*)?>([^<>&]*)</\1>")
_ENTITIES: Final = {"&quot;": '"', "&apos;": "'"}
_LONGEST_ENTRY: Final = 1024 * 1024
_SLAVE: Final = "SLAVE"
_STARTED: Final = ("JAT_start_time",)
_SUBMITTED: Final = ("JB_submission_time", "JAT_submission_time")  # 8.1.9, Open Cluster Scheduler


@dataclass(slots=True)
class _Found:
    """What was read so far. Equal texts are kept once: a cluster has few owners, queues and states."""

    named: str
    known: Mapping[int, Job] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    slaves: dict[int, Job] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    skipped: int = 0
    states: dict[str, tuple[JobState, Phase]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def once(self, text: str) -> str:
        return self.texts.setdefault(text, text)

    def state(self, letters: str) -> tuple[JobState, Phase]:
        found = self.states.get(letters)
        if found is None:
            state = JobState.parse(letters)
            found = self.states[letters] = (state, state.phase)
        return found


def read_jobs(
    completed: Completed, asked_at: float, *, named: str = "", known: Mapping[int, Job] | None = None
) -> Steps[JobTable]:
    """Read the answer step by step into a table of the jobs whose name begins with `named`; see `by_and_by`.

    Jobs that are as they were among the `known` ones are these very objects: thousands of objects that live from
    one answer to the next set off full garbage collections, which hold the event loop.
    Raises NoAnswerError for everything that is not the whole list: another exit status than 0, empty or cut
    output, another document.
    """
    if completed.exit != 0 or not completed.stdout or completed.stdout.isspace():
        raise no_answer("qstat", completed, "it printed no list.")
    found = _Found(named, known or {})
    try:
        frame = yield from _entries(completed.stdout, found)
        _check_frame(fromstring(frame))  # noqa: S314 - pieces() lets no declaration through
    except (IllFormedError, ParseError) as error:
        raise no_answer("qstat", Completed(0, b"", completed.stderr), f"not a whole list ({error}).") from error
    yield
    jobs = {**found.slaves, **found.jobs}
    broken = frozenset(found.broken - set(jobs))
    return JobTable(asked_at, jobs, found.skipped, broken, waiting=tuple(sorted(found.waiting)))


def _entries(data: bytes, found: _Found) -> Steps[str]:
    """Read the entries of all jobs; return what stands around them."""
    frame: list[str] = []
    rest = ""
    for piece in pieces(data):
        rest = _cut(rest + piece, frame, found, last=False)
        if len(rest) > _LONGEST_ENTRY:
            raise IllFormedError("an entry without an end")
        yield
    _cut(rest, frame, found, last=True)
    return "".join(frame)


def _cut(text: str, frame: list[str], found: _Found, *, last: bool) -> str:
    """Read the entries that are whole, and return what has to wait for the next piece.

    An entry without an end tag ends where the next one begins.
    """
    openings = [match.start() for match in _OPENING.finditer(text)]
    end = 0
    for start, following in zip(openings, [*openings, len(text)][1:], strict=True):
        closing = text.find(_CLOSING, start, following)
        if not (gap := text[end:start]).isspace():
            frame.append(gap)
        if closing < 0 and following == len(text) and not last:
            return text[start:]
        end = closing + len(_CLOSING) if closing >= 0 else following
        _take(text[start:end], found)
    cut = len(text) if last else max(text.rfind("<", end), end)
    if text.find(">", cut) >= 0:
        cut = len(text)  # the last tag is whole
    frame.append(text[end:cut])
    return text[cut:]


def _check_frame(root: Element | None) -> None:
    """Raise IllFormedError unless this is a list of jobs and nothing else (-f and -g c print other documents)."""
    if root is None or root.tag != "job_info":
        raise IllFormedError("no list of jobs")
    halves = [half.tag for half in root]
    strangers = {entry.tag for half in root for entry in half} - {"job_list"}
    if halves != ["queue_info", "job_info"] or strangers:
        raise IllFormedError("another list than asked for")


def _take(entry: str, found: _Found) -> None:
    texts = _texts(entry)
    number = texts.get("JB_job_number", "")
    if not _NUMBER.fullmatch(number):
        found.skipped += 1
    elif "JB_name" not in texts:
        found.broken.add(int(number))
    else:
        _keep(int(number), texts, found, finished=_FINISHED.match(entry) is not None)


def _texts(entry: str) -> Mapping[str, str]:
    """Return the texts of a job's entry by tag, of several with one tag the first.

    Of an entry that cannot be read, only the number; nothing if not even that is there.
    """
    leaves = _PLAIN_LEAF.findall(entry)
    if entry.count("<") == 2 * len(leaves) + 2:  # nothing else is in it: each leaf, and the entry, have two tags
        return {tag: text.strip() for tag, text in reversed(leaves)}
    for attempt in (entry, _LEAF.sub(_escaped, entry)):
        with suppress(ParseError):
            return child_texts(fromstring(attempt))  # noqa: S314 - pieces() lets no declaration through
    number = _FIRST_NUMBER.search(entry)
    return {"JB_job_number": number[1]} if number else {}


def _escaped(leaf: re.Match[str]) -> str:
    return f"<{leaf[1]}>{escape(unescape(leaf[2], _ENTITIES))}</{leaf[1]}>"


def _keep(number: int, texts: Mapping[str, str], found: _Found, *, finished: bool) -> None:
    """Keep what is needed: the whole job, or, of somebody else's that waits, its place in the queue."""
    # Finished jobs ("-s z") keep the letters of their last state, which would read as alive.
    state, phase = found.state("z" if finished else texts.get("state", ""))
    ours = texts["JB_name"].startswith(found.named)
    if not ours and phase is not Phase.QUEUED:
        return
    priority = amount(texts.get("JAT_prio", "")) or 0.0
    if phase is Phase.QUEUED:
        found.waiting.append(place(priority, number))
    if not ours:
        return
    try:
        job = _job(number, texts, found, state, priority)
    except (KeyError, ValueError):
        found.broken.add(number)
        return
    if (known := found.known.get(number)) == job:
        job = known
    # A site's sge_qstat file can add "-g t", which lists every host of a job: its master host is where it is.
    (found.slaves if texts.get("master") == _SLAVE else found.jobs).setdefault(number, job)


def _job(number: int, texts: Mapping[str, str], found: _Found, state: JobState, priority: float) -> Job:
    """Build one job; KeyError or ValueError when something that decides is missing or malformed."""
    if not state.letters or not texts["JB_owner"]:
        raise ValueError("no state or no owner")
    queue, _, host = texts.get("queue_name", "").partition("@")
    return Job(
        number=number,
        name=texts["JB_name"],
        owner=found.once(texts["JB_owner"]),
        state=state,
        queue=found.once(queue) if queue else None,
        host=found.once(host) if host else None,
        slots=int(texts["slots"]),
        submitted=_first_time(texts, _SUBMITTED),
        started=_first_time(texts, _STARTED),
        priority=priority,
    )


def _first_time(texts: Mapping[str, str], tags: tuple[str, ...]) -> float | None:
    return next((instant(texts[tag]) for tag in tags if tag in texts), None)
