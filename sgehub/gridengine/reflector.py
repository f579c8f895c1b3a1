"""One list of jobs for the whole hub.

The law of this file: Grid Engine is asked by one question at a time, however many people wait, and not at all when
nobody is interested. A table is replaced whole, by a narrower one too. A failure changes nothing but
`failing_since`: the last good table stays, and says by itself how old it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from sgehub.errors import NoAnswerError, SgehubError
from sgehub.model.job import JobTable

# A question that takes so many seconds, and so many times as long as others did, hangs.
_HANGS: Final = 5.0
_HANGS_TIMES: Final = 4.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to ask, in seconds between the end of an answer and the next question.

    `soon` when there is a reason to expect news, `waiting` while somebody waits for a change, `idle` while
    sessions only run; `cost` times what a question takes if that is more, `longest` at most. After failures
    `waiting` doubles up to `outage`, where a question costs next to nothing and people wait for its end.
    """

    soon: float = 0.1
    waiting: float = 2.0
    idle: float = 15.0
    cost: float = 15.0
    longest: float = 60.0
    outage: float = 20.0


@dataclass(frozen=True, slots=True)
class _Question:
    """A question under way: when it was put, by the clock and by the monotonic one."""

    put: float
    started: float


class Interest:
    """Somebody's interest in the list of jobs, until released. `waiting` may change with the session."""

    def __init__(self, owner: JobReflector, *, waiting: bool) -> None:
        self._owner = owner
        self._waiting = waiting

    @property
    def waiting(self) -> bool:
        """Whether a change is expected soon."""
        return self._waiting

    @waiting.setter
    def waiting(self, waiting: bool) -> None:
        if waiting != self._waiting:
            self._waiting = waiting
            self._owner.wake()

    def release(self) -> None:
        """End the interest; doing so again does no harm."""
        self._owner.forget(self)

    def __enter__(self) -> Interest:  # noqa: PYI034 - typing.Self came with Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class JobReflector:
    """Keep the table of jobs as fresh as those who are interested need it.

    `ask` is called with what `owners` returns just before each question: whose jobs to ask for, None for
    everybody's. `observe` is told after each question how many seconds it took and whether it was answered.
    """

    def __init__(
        self,
        ask: Callable[[frozenset[str] | None], Awaitable[JobTable]],
        *,
        owners: Callable[[], frozenset[str] | None] = lambda: None,
        observe: Callable[[float, bool], None] | None = None,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        log: logging.Logger | None = None,
    ) -> None:
        self._ask, self._owners, self._observe, self._pace = ask, owners, observe, pace or Pace()
        self._clock, self._monotonic, self._sleep, self._jitter = clock, monotonic, sleep, jitter
        self._log = log or logging.getLogger("sgehub.reflector")
        self._interests: set[Interest] = set()
        self._soon = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._answered = asyncio.Event()
        self._question: _Question | None = None
        self._took: deque[float] = deque(maxlen=2)
        self._failures = 0
        self._spread = 1.0
        self._for_everybody = 0
        self.table: JobTable | None = None
        self.failing_since: float | None = None
        self.answers_since = clock()  # the clock's time of the first answer after the last outage or hang

    def interest(self, *, waiting: bool) -> Interest:
        """Register an interest; use it with `with`, or release it. Asking starts at once."""
        interest = Interest(self, waiting=waiting)
        self._interests.add(interest)
        self.wake()
        return interest

    def forget(self, interest: Interest) -> None:
        """Drop an interest (`Interest.release` calls this)."""
        self._interests.discard(interest)

    def ask_soon(self) -> None:
        """Ask as soon as the cost of asking allows: there is a reason to expect news."""
        self._soon = True
        self.wake()

    @property
    def silent_since(self) -> float | None:
        """The clock's time since when Grid Engine gives no answer, None if nothing is wrong.

        A question that has been under way for long counts: a hanging qmaster is noticed before the time-out.
        """
        question = self._question
        if self.failing_since is None and question is not None:
            return question.put if self._hangs(self._monotonic() - question.started) else None
        return self.failing_since

    def _hangs(self, took: float) -> bool:
        """Tell whether a question that has taken so many seconds hangs, or did."""
        return took > max(_HANGS, _HANGS_TIMES * self._cost)

    async def next_table(self, after: float, *, everybody: bool = False, eager: bool = True) -> JobTable:
        """Wait for a table that was asked for after the instant `after`, whatever fails meanwhile.

        With `everybody` it holds the jobs of everybody, whatever `owners` says. Without `eager` it comes at the
        pace of idleness, unless somebody else waits. Raises NoAnswerError only when the reflector is closed.
        """
        self._for_everybody += everybody
        try:
            with self.interest(waiting=eager):
                while (table := self.table) is None or table.asked_at <= after or (everybody and table.narrow):
                    if self._closed:
                        raise NoAnswerError("The hub is ending.")
                    await self._answered.wait()
                return table
        finally:
            self._for_everybody -= everybody

    async def close(self) -> None:
        """Ask no more; end the question that is under way, and everybody's waiting."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._answered.set()

    def wake(self) -> None:
        """Look again at who is interested, and start asking if that was not done before."""
        self._woken.set()
        if (self._task is None or self._task.done()) and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        asked = self._monotonic() - self._pace.longest  # the first question need not wait
        while True:
            self._woken.clear()
            pause = self._pause()
            rest = None if pause is None else asked + pause - self._monotonic()
            if rest is None or rest > 0:
                await self._wait(rest)
                continue
            self._soon = False
            await self._ask_once()
            asked = self._monotonic()

    def _pause(self) -> float | None:
        """Return the seconds from the last answer to the next question, None for no question at all."""
        if not (self._soon or self._interests):
            return None
        pace = self._pace
        if self._failures:
            return min(pace.waiting * 2.0 ** min(self._failures, 10), pace.outage) * self._spread
        eager = any(interest.waiting for interest in self._interests)
        rest = pace.soon if self._soon else pace.waiting if eager else pace.idle
        return min(max(rest, pace.cost * self._cost), pace.longest)

    @property
    def _cost(self) -> float:
        """The seconds that a question costs the cluster: what the quicker one of the last two took.

        Time stands for work here: the client, the qmaster behind it and our reading work one after the other, and
        of the qmaster, which is to be spared, no CPU time can be read. Waiting is no work, however: a qmaster that
        hung, or a machine busy for a moment, makes one answer late, not two.
        """
        return min(self._took, default=0.0)

    async def _wait(self, rest: float | None) -> None:
        """Sleep for `rest` seconds (None: for ever), or until somebody's interest changes."""
        tasks: list[asyncio.Future[object]] = [asyncio.ensure_future(self._woken.wait())]
        if rest is not None:
            tasks.append(asyncio.ensure_future(self._sleep(rest)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask_once(self) -> None:
        question = self._question = _Question(self._clock(), self._monotonic())
        answered = False
        try:
            table = await self._ask(None if self._for_everybody else self._owners())
            answered = True
        except SgehubError as error:
            self._fail(question, error)
        except Exception as error:  # noqa: BLE001 - a bug met in one answer must not end the asking for everybody
            self._log.exception("The list of jobs could not be read.")
            self._fail(question, error)
        finally:
            self._question = None
        took = self._monotonic() - question.started
        if answered:
            self._succeed(table, hung=self._hangs(took))
            self._took.append(took)
        self._tell(took, answered=answered)

    def _tell(self, took: float, *, answered: bool) -> None:
        if self._observe is None:
            return
        try:
            self._observe(took, answered)
        except Exception:  # noqa: BLE001 - whoever counts must not end the asking for everybody
            self._log.exception("A question for the list of jobs could not be counted.")

    def _fail(self, question: _Question, error: Exception) -> None:
        self._failures += 1
        self._spread = 1.0 - 0.25 * self._jitter()  # so that several hubs do not ask in step
        if self.failing_since is None:
            self.failing_since = question.put
            silent = isinstance(error, NoAnswerError)
            why = error if isinstance(error, SgehubError) else "an error of ours, see above"
            self._log.warning("Grid Engine %s: %s", "is not answering" if silent else "cannot be asked", why)

    def _succeed(self, table: JobTable, *, hung: bool) -> None:
        if self.failing_since is not None:
            lasted = self._clock() - self.failing_since
            self._log.info("Grid Engine answers again, after %.0f seconds.", lasted)
        if hung or self.failing_since is not None:
            self.answers_since = self._clock()
        self._failures, self.failing_since = 0, None
        self.table = table
        answered, self._answered = self._answered, asyncio.Event()
        answered.set()
