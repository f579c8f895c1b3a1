"""Matching every job of ours with its server: once when the hub starts, and again from time to time.

The law of this file: it lists and counts, and tidies rows of jobs that are gone for certain. What nobody holds is
ended by the administrator's word only (`sgehub reap`), for the hub's database may be an older copy of itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sgehub.hub.ledger import LedgerError
from sgehub.hub.orphans import Finding, Kept, Standing, classify, unseen
from sgehub.model.job import Absent, JobTable

if TYPE_CHECKING:
    from sgehub.hub.service import ClusterService

PAUSE: Final = 600.0  # seconds between two matchings
NAMED: Final = 20  # orphans that the log names


class Matching:
    """Jobs and servers of one service. `read` returns what the hub's database says now."""

    def __init__(self, service: ClusterService, read: Callable[[], Kept]) -> None:
        self._service = service
        self._read = read
        self._told: set[int] = set()
        self._strangers: list[tuple[int, str]] = []
        self.orphans = 0

    async def run(self) -> None:
        """Match again and again, as long as the hub runs."""
        while True:
            table = await self._service.reflector.next_table(self._service.clock(), everybody=True, eager=False)
            try:
                await self.match(table, await asyncio.to_thread(self._read))
            except LedgerError as error:
                self._service.log.error("Nobody knows which jobs belong to which server: %s", error)  # noqa: TRY400 - the sentence says it all
            await asyncio.sleep(PAUSE)

    async def match(self, table: JobTable, kept: Kept) -> None:
        """Compare a table with what the database said after that."""
        service = self._service
        found = classify(table, kept, service.clock())
        left = [one for one in found if one.standing is Standing.ORPHAN and one.job is not None]
        self.orphans = len(left)
        self._tell(left)
        self._tell_strangers([one for one in found if one.standing is Standing.UNKNOWN])
        for entry, answer in unseen(table, kept, service.clock()):
            if (
                isinstance(answer, Absent)
                and not service.ends.has(entry.record.tag)
                and await service.gone(entry.record)
            ):
                service.ledger.close(entry.record.tag)

    def _tell_strangers(self, strangers: list[Finding]) -> None:
        jobs = sorted((one.job.number, one.job.owner) for one in strangers if one.job is not None)
        if jobs and jobs != self._strangers:
            more = f" and {len(jobs) - NAMED} more" if len(jobs) > NAMED else ""
            self._service.log.info(
                "Named like sessions, but not in this hub's ledger: %s%s. Such jobs are another hub's, or younger "
                "than this database; they are left alone. `sgehub reap` shows them.",
                ", ".join(f"job {number} of {owner}" for number, owner in jobs[:NAMED]),
                more,
            )
        self._strangers = jobs

    def _tell(self, left: list[Finding]) -> None:
        new = [one for one in left if one.job is not None and one.job.number not in self._told]
        self._told = {one.job.number for one in left if one.job is not None}
        for one in new[:NAMED]:
            if one.job is not None:
                self._service.log.warning(
                    "Job %s of %s lives, and no server holds it: %s `sgehub reap` shows and ends such jobs.",
                    one.job.number,
                    one.job.owner,
                    one.why,
                )
        if len(new) > NAMED:
            self._service.log.warning("And %d more such jobs.", len(new) - NAMED)
