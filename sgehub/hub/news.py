"""Waiting for news of one session. Knows the event that says that there are some, and nothing of what they are."""

from __future__ import annotations

import asyncio


async def heard(news: asyncio.Event, seconds: float) -> None:
    """Return when there are news, or after so many seconds; the event is set then, too.

    asyncio.wait_for would keep a task and its context for every session that waits in the queue.
    """
    timer = asyncio.get_running_loop().call_later(seconds, news.set)
    try:
        await news.wait()
    finally:
        timer.cancel()
