"""One list of jobs for the whole hub.

The law of this file: Grid Engine is asked by one question at a time, however many people wait, and not at all when
nobody is interested. A table is replaced whole. A failure changes nothing but `failing_since`: the last good table
stays, and says by itself how old it is.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from sgehub.errors import NoAnswerError, SgehubError
from sgehub.model.job import JobTable


@dataclass(frozen=True, slots=True)
class Pace:
    """How often to ask, in seconds between the end of an answer and the next question.

    `soon` when there is a reason to expect news, `waiting` while somebody waits for a change, `idle` while
    sessions only run; `cost` times what the last question took if that is more, `longest` at most. After failures
    `waiting` doubles up to `longest`.
    """

    soon: float = 0.1
    waiting: float = 2.0
    idle: float = 15.0
    cost: float = 15.0
    longest: float = 60.0


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
    """Keep the table of all jobs as fresh as those who are interested need it."""

    def __init__(
        self,
        ask: Callable[[], Awaitable[JobTable]],
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        log: logging.Logger | None = None,
    ) -> None:
        self._ask, self._pace = ask, pace or Pace()
        self._clock, self._monotonic, self._sleep, self._jitter = clock, monotonic, sleep, jitter
        self._log = log or logging.getLogger("sgehub.reflector")
        self._interests: set[Interest] = set()
        self._soon = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._woken = asyncio.Event()
        self._answered = asyncio.Event()
        self._took = 0.0
        self._failures = 0
        self._spread = 1.0
        self.table: JobTable | None = None
        self.failing_since: float | None = None

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

    async def next_table(self, after: float) -> JobTable:
        """Wait for a table that was asked for after the instant `after`, whatever fails meanwhile.

        Raises NoAnswerError only when the reflector is closed.
        """
        with self.interest(waiting=True):
            while self.table is None or self.table.asked_at <= after:
                if self._closed:
                    raise NoAnswerError("The hub is ending.")
                await self._answered.wait()
            return self.table

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
        if self._task is None and not self._closed:
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
            started = self._monotonic()
            await self._ask_once()
            asked = self._monotonic()
            self._took = asked - started

    def _pause(self) -> float | None:
        """Return the seconds from the last answer to the next question, None for no question at all."""
        if not (self._soon or self._interests):
            return None
        pace = self._pace
        eager = any(interest.waiting for interest in self._interests)
        rest = pace.soon if self._soon else pace.waiting if eager else pace.idle
        pause = max(rest, pace.cost * self._took)
        if self._failures:
            pause = max(pace.waiting * 2.0 ** min(self._failures, 10), pace.waiting) * self._spread
        return min(pause, pace.longest)

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
        try:
            table = await self._ask()
        except SgehubError as error:
            self._fail(str(error))
        except Exception:  # noqa: BLE001 - a bug met in one answer must not end the asking for everybody
            self._log.exception("The list of jobs could not be read.")
            self._fail("an error of ours, see above")
        else:
            self._succeed(table)

    def _fail(self, why: str) -> None:
        self._failures += 1
        self._spread = 0.75 + 0.5 * self._jitter()  # so that several hubs do not ask in step
        if self.failing_since is None:
            self.failing_since = self._clock()
            self._log.warning("Grid Engine is not answering: %s", why)

    def _succeed(self, table: JobTable) -> None:
        if self.failing_since is not None:
            lasted = self._clock() - self.failing_since
            self._log.info("Grid Engine answers again, after %.0f seconds.", lasted)
        self._failures, self.failing_since = 0, None
        self.table = table
        answered, self._answered = self._answered, asyncio.Event()
        answered.set()
