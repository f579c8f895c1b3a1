"""Work that goes on when whoever began it is gone. Knows tasks, and nothing of what they do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from sgehub.errors import SgehubError
from sgehub.hub.refusals import StartFailed


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

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (SgehubError, StartFailed)):  # those are somebody's answer
            self.log.error("Work in the background has failed.", exc_info=error)
