"""Asking Grid Engine what it thinks of a request, while a person still changes it.

The law of this file: a question is a luxury. One at a time for each person, a few for the whole hub, the same one
not twice within seconds; nobody waits for long, and what is not answered is unknown. It is asked as the person, by
what Start would submit. Nothing is decided here: see `model.verdict`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sgehub.errors import NoAnswerError, SgehubError
from sgehub.model import verdict
from sgehub.model.verdict import Verdict
from sgehub.model.wish import Wish

if TYPE_CHECKING:
    from sgehub.hub.service import ClusterService

AT_ONCE: Final = 4  # questions of the whole hub; each costs the qmaster work and a job number
PATIENCE: Final = 4.0  # seconds that a page waits; the question itself ends by the helper's deadline
BELIEVED: Final = 15.0  # seconds that an answer counts for the same question
ADDRESS: Final = "api/sgehub/verdict"  # below the hub's own; behind it stands the person's name
MOST_KNOWN: Final = 500  # answers that are kept
Key = tuple[str, tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class Question:
    """What qsub is asked for whom: the options and the script that Start would submit."""

    wish: Wish
    options: tuple[str, ...]
    script: str

    @property
    def key(self) -> Key:
        """What makes two questions the same."""
        return self.wish.person, self.options, self.script


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A question, since when it stands, and what will be its answer: None if a newer one has taken its place."""

    question: Question
    since: float
    answer: asyncio.Future[Verdict | None]


@dataclass(slots=True)
class _Line:
    """One person's questions: the one that is being asked, and at most one behind it."""

    asked: _Waiting | None
    behind: _Waiting | None = None


class Verdicts:
    """The questions of one site."""

    def __init__(self, service: ClusterService, *, patience: float = PATIENCE, at_once: int = AT_ONCE) -> None:
        self._service = service
        self._patience = patience
        self._turns = asyncio.Semaphore(at_once)
        self._lines: dict[str, _Line] = {}
        self._known: OrderedDict[Key, tuple[float, Verdict]] = OrderedDict()

    async def on(self, question: Question) -> Verdict | None:
        """Return Grid Engine's verdict, None if a newer question of the person has taken this one's place.

        It is unknown if no answer comes in time. Never raises.
        """
        made, known = self._known.get(question.key, (0.0, None))
        if known is not None and self._service.clock() - made < BELIEVED:
            return known
        waiting = self._enter(question)
        await asyncio.wait([waiting.answer], timeout=self._patience)
        return waiting.answer.result() if waiting.answer.done() else verdict.unknown()

    def _enter(self, question: Question) -> _Waiting:
        person = question.wish.person
        line = self._lines.get(person)
        entered = _Waiting(question, self._service.clock(), asyncio.get_running_loop().create_future())
        if line is None:
            self._lines[person] = line = _Line(entered)
            self._service.spawn(self._serve(person, line))
            return entered
        for one in (line.behind, line.asked):
            if one is not None and one.question.key == question.key:
                entered = one
        if line.behind not in (None, entered):
            _settle(line.behind, None)
            line.behind = None
        if entered is not line.asked:
            line.behind = entered
        return entered

    async def _serve(self, person: str, line: _Line) -> None:
        """Ask a person's questions one after the other until there is none."""
        try:
            while line.asked is not None:
                _settle(line.asked, await self._answer(line.asked))
                line.asked, line.behind = line.behind, None
        finally:
            del self._lines[person]
            for one in (line.asked, line.behind):
                _settle(one, verdict.unknown())

    async def _answer(self, waiting: _Waiting) -> Verdict:
        async with self._turns:
            began = self._service.clock()
            if began - waiting.since > self._patience:
                return verdict.unknown()  # nobody waits for it any more
            try:
                answer = await self._ask(waiting.question)
                self._keep(waiting.question, answer)
            except NoAnswerError:
                answer = verdict.unknown()
            except SgehubError as error:
                answer = verdict.unknown(str(error))
            self._service.metrics.judged(answer.kind.value, self._service.clock() - began)
            return answer

    async def _ask(self, question: Question) -> Verdict:
        """Ask whether it could start now, and only if not, whether it ever could."""
        engine, person = self._service.engine, question.wish.person
        now = await engine.verify(person, question.options, question.script, mode="p")
        if now.possible:
            return verdict.could_start()
        ever = await engine.verify(person, question.options, question.script, mode="v")
        if ever.possible:
            return verdict.would_wait(question.wish, now.lines)
        return verdict.never(question.wish, now.lines, ever.lines)

    def _keep(self, question: Question, answer: Verdict) -> None:
        self._known.pop(question.key, None)
        self._known[question.key] = (self._service.clock(), answer)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def _settle(waiting: _Waiting | None, answer: Verdict | None) -> None:
    if waiting is not None and not waiting.answer.done():
        waiting.answer.set_result(answer)
