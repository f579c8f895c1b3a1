"""Work that goes on when whoever began it is gone. Knows tasks, and nothing of what they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from sgehub.errors import SgehubError
from sgehub.hub.refusals import StartFailed

# Seconds until work begins again that an error has ended: twice as long each time, unless it had gone on for long.
AGAIN: Final = 10.0
LONGEST: Final = 600.0


class Background:
    """Tasks that nobody else holds; what goes wrong in them is in the log."""

    def __init__(self, log: logging.Logger) -> None:
        self.log = log
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start work that goes on when whoever asked for it is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> asyncio.Task[Any]:
        """Start work that has to go on, such as an endless loop: after an error it begins again. It may return."""
        return self.spawn(self._kept(work))

    async def _kept(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        now = asyncio.get_running_loop().time
        pause = AGAIN
        while True:
            began = now()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - whatever it is, others wait for this work
                failed = error
            else:
                return
            pause = AGAIN if now() - began > LONGEST else pause
            self.log.error(
                "Work in the background ended with an error, and begins again in %.0f seconds: %s",
                pause,
                failed,
                exc_info=None if isinstance(failed, SgehubError) else failed,
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (SgehubError, StartFailed)):  # those are somebody's answer
            self.log.error("Work in the background has failed.", exc_info=error)
