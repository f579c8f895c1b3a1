"""An event loop whose time is a number: no thread, no socket, one callback at a time.

It runs exactly one callback when told to, so that a hub can end between any two of them, and its `time` is the
world's. What asyncio, tornado and JupyterHub build on a loop runs on it unchanged.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tornado.platform.asyncio import AsyncIOMainLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH = 1_700_000_000.0  # the world's time 0 as seconds since the epoch, for those who read the calendar


class Clock:
    """The world's time in seconds; it passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def epoch(self) -> float:
        """Return the time as time.time() would."""
        return EPOCH + self.now


class VirtualIOLoop(AsyncIOMainLoop):
    """Tornado's view of the loop: its periodic callbacks follow the world's time, too."""

    def time(self) -> float:
        """Return the world's time."""
        return self.asyncio_loop.time()


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop that is driven from outside by `run_one`."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.set_exception_handler(lambda _loop, context: self.complaints.append(context))
        self.complaints: list[dict[str, Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.set_task_factory(self._make_task)
        with self.running():
            VirtualIOLoop(make_current=False)

    def time(self) -> float:
        """Return the world's time."""
        return self._clock.now

    def _make_task(self, _loop: asyncio.AbstractEventLoop, coroutine: Any, **more: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coroutine, loop=self, **more)
        self.tasks.append(task)
        if len(self.tasks) > 200:
            self.tasks = [one for one in self.tasks if not one.done()]
        return task

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override] # as in asyncio itself
        """Run `func` at once: threads have no place in a history that must be the same each time."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever awaits it
            future.set_exception(error)
        return future

    def _write_to_self(self) -> None:
        """Wake nobody: there is no thread that sleeps."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Be the running loop of this thread for a while."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(before)

    def next_time(self) -> float | None:
        """Return when the next callback is due, None if there is none."""
        if self._ready:
            return self._clock.now
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        return self._scheduled[0]._when if self._scheduled else None

    def run_one(self) -> bool:
        """Run one callback that is due; return whether there was one. The loop must be `running`."""
        while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0]._when <= self._clock.now):
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                self._ready.append(handle)
        while self._ready:
            handle = self._ready.popleft()
            if not handle._cancelled:
                handle._run()
                return True
        return False

    def drop(self) -> None:
        """Throw away everything that was under way, as a kill does."""
        self._ready.clear()
        self._scheduled.clear()
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            if task.done():
                continue
            task._log_destroy_pending = False
            coroutine = task.get_coro()
            for _ in range(20):  # each `await` in a `finally` refuses to be closed once
                try:
                    coroutine.close()
                except BaseException:  # noqa: BLE001, S112 - the process that this happened in does not exist any more
                    continue
                break
        self._ready.clear()
        self._scheduled.clear()
        self.close()
        VirtualIOLoop._ioloop_for_asyncio.pop(self, None)
