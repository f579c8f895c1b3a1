"""`qstat -u '*' -s prs -xml` -> the jobs of the cluster. qstat(1), sge_status(5).

The law of this file: a list is read to its end tag or refused. One job that cannot be read costs that job alone:
it is reported as broken (its number is known) or skipped (not even that), never left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from xml.etree.ElementTree import Element, ParseError, fromstring
from xml.sax.saxutils import escape, unescape

from sgehub.gridengine.answers import amount, instant, no_answer
from sgehub.gridengine.parse_xml import IllFormedError, Steps, child_texts, ended, pieces
from sgehub.gridengine.runner import Completed
from sgehub.model.job import Job, JobState, JobTable

_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_FIRST_NUMBER: Final = re.compile(r"<JB_job_number>([0-9]{1,10})</JB_job_number>")
_OPENING: Final = re.compile(r"<job_list(?:\s[^<>]*)?>")
_CLOSING: Final = "</job_list>"
_LEAF: Final = re.compile(r"<(\w+)>(.*?)</\1>")
_ENTITIES: Final = {"&quot;": '"', "&apos;": "'"}
_JOBS_A_STEP: Final = 50
_STARTED: Final = ("JAT_start_time",)
_SUBMITTED: Final = ("JB_submission_time", "JAT_submission_time")  # 8.1.9, Open Cluster Scheduler


@dataclass(slots=True)
class _Found:
    """What was read so far. Equal texts are kept once: a cluster has few owners, queues and states."""

    jobs: dict[int, Job] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    skipped: int = 0
    states: dict[str, JobState] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def once(self, text: str) -> str:
        return self.texts.setdefault(text, text)

    def state(self, letters: str) -> JobState:
        return self.states.setdefault(letters, JobState.parse(letters))


def read_jobs(completed: Completed, asked_at: float) -> Steps[JobTable]:
    """Read the answer step by step into a table; see `parse_xml.by_and_by`.

    Raises NoAnswerError for everything that is not the whole list: another exit status than 0, empty or cut
    output, another document.
    """
    if completed.exit != 0 or not completed.stdout.strip():
        raise no_answer("qstat", completed, "it printed no list.")
    try:
        found = yield from _well_formed(completed.stdout)
    except IllFormedError:
        try:
            found = yield from _element_by_element(completed.stdout)
        except (IllFormedError, ParseError) as error:
            raise no_answer(
                "qstat", Completed(0, b"", completed.stderr), f"not a whole list ({error})."
            ) from error
    return JobTable(asked_at, found.jobs, found.skipped, frozenset(found.broken - set(found.jobs)))


def _well_formed(data: bytes) -> Steps[_Found]:
    found = _Found()
    root: Element | None = None
    for elements in ended(data):
        for element in elements:
            if element.tag == "job_list":
                _take(element, found)
                element.clear()
            root = element
        yield
    _check_frame(root)
    return found


def _element_by_element(data: bytes) -> Steps[_Found]:
    """Read what a strict parser refuses: cut the jobs out, read each for itself, then the frame around them."""
    parts = []
    for piece in pieces(data):
        parts.append(piece)
        yield
    text = "".join(parts)
    found = _Found()
    frame = []
    end = 0
    openings = [match.start() for match in _OPENING.finditer(text)]
    for count, (start, following) in enumerate(zip(openings, [*openings, len(text)][1:], strict=True)):
        frame.append(text[end:start])
        closing = text.find(_CLOSING, start, following)
        end = closing + len(_CLOSING) if closing >= 0 else following
        _take_text(text[start:end], found)
        if count % _JOBS_A_STEP == 0:
            yield
    frame.append(text[end:])
    _check_frame(fromstring("".join(frame)))  # noqa: S314 - pieces() lets no declaration through
    return found


def _take_text(text: str, found: _Found) -> None:
    for attempt in (text, _LEAF.sub(_escaped, text)):
        try:
            _take(fromstring(attempt), found)  # noqa: S314 - pieces() lets no declaration through
        except ParseError:
            continue
        return
    number = _FIRST_NUMBER.search(text)
    if number:
        found.broken.add(int(number[1]))
    else:
        found.skipped += 1


def _escaped(leaf: re.Match[str]) -> str:
    return f"<{leaf[1]}>{escape(unescape(leaf[2], _ENTITIES))}</{leaf[1]}>"


def _check_frame(root: Element | None) -> None:
    """Raise IllFormedError unless this is a list of jobs and nothing else (-f and -g c print other documents)."""
    if root is None or root.tag != "job_info":
        raise IllFormedError("no list of jobs")
    halves = [half.tag for half in root]
    strangers = {entry.tag for half in root for entry in half} - {"job_list"}
    if halves != ["queue_info", "job_info"] or strangers:
        raise IllFormedError("another list than asked for")


def _take(element: Element, found: _Found) -> None:
    texts = child_texts(element)
    number = texts.get("JB_job_number", "")
    if not _NUMBER.fullmatch(number):
        found.skipped += 1
        return
    try:
        job = _job(int(number), texts, found, finished=element.get("state") == "zombie")
    except (KeyError, ValueError):
        found.broken.add(int(number))
        return
    found.jobs.setdefault(job.number, job)


def _job(number: int, texts: Mapping[str, str], found: _Found, *, finished: bool) -> Job:
    """Build one job; KeyError or ValueError when something that decides is missing or malformed."""
    # Finished jobs ("-s z") keep the letters of their last state, which would read as alive.
    letters = "z" if finished else texts["state"]
    if not letters or not texts["JB_owner"]:
        raise ValueError("no state or no owner")
    queue, _, host = texts.get("queue_name", "").partition("@")
    return Job(
        number=number,
        name=texts["JB_name"],
        owner=found.once(texts["JB_owner"]),
        state=found.state(letters),
        queue=found.once(queue) if queue else None,
        host=found.once(host) if host else None,
        slots=int(texts["slots"]),
        submitted=_first_time(texts, _SUBMITTED),
        started=_first_time(texts, _STARTED),
        priority=amount(texts.get("JAT_prio", "")) or 0.0,
    )


def _first_time(texts: Mapping[str, str], tags: tuple[str, ...]) -> float | None:
    return next((instant(texts[tag]) for tag in tags if tag in texts), None)
