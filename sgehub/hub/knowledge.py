"""What is known of a session's job: from the table, and from the second witness where the table lacks it.

The law of this file: it reads, and decides nothing; what nobody confirms is not known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from sgehub.errors import ClusterError, JobRenamedError
from sgehub.gridengine.client import GridEngine
from sgehub.gridengine.reflector import JobReflector
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, Job, Unknown

WRONG_CLOCK: Final = 60.0  # seconds by which a job seems older than its request, or younger than now


class Knowledge:
    """The part of `ClusterService` that knows jobs."""

    engine: GridEngine
    reflector: JobReflector
    clock: Callable[[], float]
    log: logging.Logger
    _hidden: dict[str, str]  # why no list shows a job that is there, by tag
    _clock_compared: bool

    def look(self, record: SessionRecord) -> Job | Absent | Unknown:
        """Look a session's job up in the last good table."""
        table = self.reflector.table
        if table is None:
            return Unknown("Grid Engine has not answered since the hub started.")
        ours = record.identity
        if ours is None:
            return Unknown("The job's number is not known yet.")
        found = table.find(ours)
        if isinstance(found, Job):
            self._hidden.pop(record.tag, None)
        return found

    def find(self, record: SessionRecord) -> Job | Absent | Unknown:
        """Look a session's job up; one that Grid Engine hides from the hub's account is not absent."""
        found = self.look(record)
        if isinstance(found, Absent) and record.tag in self._hidden:
            return Unknown(self._hidden[record.tag])
        return found

    def why_hidden(self, record: SessionRecord) -> str:
        """Say why no list shows a session's job although Grid Engine has it; "" where that is not so."""
        return self._hidden.get(record.tag, "")

    async def gone(self, record: SessionRecord) -> bool:
        """Tell whether both witnesses say that the job has ended; no answer is no witness. Never raises."""
        ours = record.identity
        if ours is None or not isinstance(self.look(record), Absent):
            return False
        try:
            gone = await self.engine.confirm_absent(ours)
        except JobRenamedError as error:
            self._hide(record, str(error), str(error))
            return False
        except ClusterError as error:
            self.log.warning("Job %s is not in the table, but nobody confirms its end: %s", record.number, error)
            return False
        if gone:
            self._hidden.pop(record.tag, None)
        else:
            self._hide(
                record,
                f"Grid Engine knows job {record.number}, but does not list it for the hub's account.",
                f"Grid Engine knows job {record.number} of {record.person}, but hides it from the list that the "
                "hub's account gets. Make that account an operator (qconf -ao): until then the hub is blind for "
                "jobs that wait.",
            )
        return gone

    def _hide(self, record: SessionRecord, why: str, advice: str) -> None:
        """Keep why no list shows a job, and give the advice in the log, once."""
        if self._hidden.get(record.tag) != why:
            self._hidden[record.tag] = why
            self.log.error("%s", advice)

    def ahead_of(self, job: Job) -> int | None:
        """Return how many waiting jobs stand before this one; None if not everybody's jobs are known."""
        table = self.reflector.table
        return None if table is None else table.ahead_of(job)

    def compare_clocks(self, asked: float, job: Job) -> None:
        """Say once that hub and Grid Engine differ about the time of a job that this hub has `asked` for.

        Nothing else follows from it: all other times are compared with times of the same clock.
        """
        when = job.submitted or job.started
        if self._clock_compared or when is None:
            return
        self._clock_compared = True
        ahead, behind = asked - when, when - self.clock()
        if max(ahead, behind) >= WRONG_CLOCK:
            self.log.warning(
                "The hub's clock is %.0f minutes %s the one of Grid Engine. Sessions go on, but the times that "
                "people read are wrong: compare the clocks of the hub's machine and of the qmaster's.",
                max(ahead, behind) / 60,
                "ahead of" if ahead > 0 else "behind",
            )
