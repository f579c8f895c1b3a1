"""Healing a lost answer of qsub: which number a job has that may have been queued, or that there is none.

The law of this file: "none" is said for certain only, by witnesses that were asked after the last moment in which
the job can have come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sgehub.errors import ClusterError
from sgehub.gridengine.helper import MARGIN
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Absent, JobDetail

if TYPE_CHECKING:
    from sgehub.hub.service import ClusterService

HELPER_DEADLINE: Final = 30.0  # seconds that sgehub-as-user may take, qsub included
# Seconds in which a qmaster that hung may still take up what it was sent before: it answers others meanwhile.
LATE: Final = 10.0
# Seconds after which a qsub without an answer cannot bring a job any more: its request has expired.
SETTLED: Final = HELPER_DEADLINE + MARGIN + 5.0


class Numbers:
    """The part of `Endings` that finds jobs by their names."""

    _service: ClusterService

    async def number(self, record: SessionRecord, since: float = 0.0) -> SessionRecord | None:
        """Heal a lost answer of qsub: the job's name is unique, so a table that is late enough settles it.

        `since` is when the answer was given up (hub's clock); the helper may be at work for some seconds more.
        Returns None when there is no such job, for certain.
        """
        if record.number is not None:
            return record
        service = self._service
        # The process that began this may have been another one, with another clock: ours must have run as long.
        settled = max(record.asked, service.began, since) + SETTLED
        after = service.clock()
        missing: float | None = None  # since when tables lack it
        denied = False  # by the second witness, when the last table was not whole
        while True:
            table = await service.reflector.next_table(after, everybody=True)
            job = table.by_name(record.job_name, owner=record.person)
            if job is not None:
                found = record.answered(job.number, _submitted(record, job.submitted, table.asked_at))
                return found.seen(job.submitted)
            if after <= settled:
                missing = None
            elif missing is None:
                missing = table.asked_at
            elif table.asked_at - missing >= LATE:
                # A list with anybody's unreadable entry is no witness, and may stay so: then the other one, twice.
                named = await self._named(record)
                if isinstance(named, JobDetail):
                    return record.answered(named.number, _submitted(record, named.submitted, table.asked_at))
                if named is not None and (denied or table.whole):
                    return None
                denied = named is not None
            after = table.asked_at

    async def _named(self, record: SessionRecord) -> JobDetail | Absent | None:
        """Call the second witness, who sees jobs that a list may hide; None if there is no answer."""
        try:
            named = await self._service.engine.named(record.job_name)
        except ClusterError as error:
            self._service.log.warning("Nobody confirms that %s was never submitted: %s", record.job_name, error)
            return None
        return named if isinstance(named, JobDetail) and named.owner == record.person else Absent()


def _submitted(record: SessionRecord, shown: float | None, asked_at: float) -> float:
    """Return when a job that was found by its name was submitted: a qmaster that hung took it up much later.

    `shown` is Grid Engine's clock; every table from `asked_at` on is younger than the submission.
    """
    return min(max(record.asked, shown or 0.0), asked_at)
