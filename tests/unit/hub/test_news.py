"""Who waits for news waits until there are some, or for as long as they want to."""

from __future__ import annotations

import asyncio

import pytest

from sgehub.hub.news import heard


async def test_news_end_the_waiting() -> None:
    """And nothing is left that would set the event again."""
    news = asyncio.Event()
    waiting = asyncio.ensure_future(heard(news, 0.05))
    await asyncio.sleep(0)
    news.set()
    await asyncio.wait_for(waiting, 0.04)
    news.clear()
    await asyncio.sleep(0.1)
    assert not news.is_set()


async def test_so_does_the_time() -> None:
    await asyncio.wait_for(heard(asyncio.Event(), 0.01), 5)


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    news = asyncio.Event()
    waiting = asyncio.ensure_future(heard(news, 0.02))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0.05)
    assert not news.is_set()
