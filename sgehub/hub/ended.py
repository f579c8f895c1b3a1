"""How the last session of a server ended, as the pages say it.

Values only: words and markup stand in ``templates/hub/ended.html``, which form, home page and others share.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final

from sgehub.model.job import Accounting

ANNOUNCED: Final = 128 + signal.SIGUSR2  # by qsub -notify: the job is deleted, or has reached a limit
SIGNALLED: Final = 128  # smaller exit statuses are the server's own
_KILLED: Final = 100  # accounting(5), "failed": ended by a signal


def with_report(accounting: Accounting, reported: int | None) -> Accounting:
    """Return the record as it would be had the server not ended in order after Grid Engine's announcement.

    `reported` is the exit code that the session itself has told, which ends before its job does; where nobody
    heard it, the job ends with it.
    """
    if ANNOUNCED in (reported, accounting.exit_status) and not accounting.failed:
        return replace(accounting, failed=_KILLED, exit_status=ANNOUNCED)
    return accounting


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a session. `job` is None where no number is known; `at` and `now` are in the readers' zone."""

    job: int | None
    why: str
    at: datetime
    now: datetime

    @classmethod
    def read(cls, ended: object, now: float, zone: tzinfo | None = None) -> Ended | None:
        """Read what a spawner keeps ({"job": int or None, "at": epoch, "why": sentence}); None for anything else.

        `now` is the hub's clock. `zone` is the hub's own unless another one is given: people who share a cluster
        mostly share its time zone.
        """
        if not isinstance(ended, Mapping):
            return None
        job, at, why = ended.get("job"), ended.get("at"), ended.get("why")
        if not isinstance(at, int | float) or not math.isfinite(at) or not isinstance(why, str) or not why:
            return None
        try:
            times = [datetime.fromtimestamp(one, timezone.utc).astimezone(zone) for one in (at, now)]
        except (ValueError, OverflowError, OSError):  # a year that no calendar has
            return None
        return cls(job if isinstance(job, int) else None, why, *times)

    @property
    def machine_time(self) -> str:
        """The time as HTML's <time datetime> wants it."""
        return self.at.isoformat(timespec="seconds")

    @property
    def exactly(self) -> str:
        """The time in full, with its zone."""
        return f"{self.at:%Y-%m-%d %H:%M:%S %Z}".rstrip()

    @property
    def when(self) -> str:
        """The time as one says it: "today at 14:02", "on Friday, 20 November at 14:02"."""
        day, today = self.at.date(), self.now.date()
        clock = f"{self.at:%H:%M}"
        if day == today:
            return f"today at {clock}"
        if day == today - timedelta(days=1):
            return f"yesterday at {clock}"
        year = "" if day.year == today.year else f" {day.year}"
        return f"on {self.at:%A}, {day.day} {self.at:%B}{year} at {clock}"
