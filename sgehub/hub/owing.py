"""Writing what the hub's database has refused, as soon as it takes it. Knows time, not what is written."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from sgehub.hub.ledger import Ledger

PAUSE: Final = 5.0  # seconds between tries; each holds the hub until the database answers or gives up
LONGEST: Final = 60.0  # seconds, after tries in vain


async def settle(ledger: Ledger, log: logging.Logger) -> None:
    """Try again and again, as long as the hub runs: on a quiet day the next change may be hours away."""
    pause = PAUSE
    while True:
        await asyncio.sleep(pause)
        if not ledger.owed:
            pause = PAUSE
            continue
        ledger.settle()
        if ledger.owed:
            pause = min(2 * pause, LONGEST)
        else:
            log.info("The hub's database has taken what was kept in memory.")
