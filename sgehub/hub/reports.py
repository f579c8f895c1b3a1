"""What the session itself tells the hub, by `api`: its port, its end, and by an open line that it lives.

A part of SGESpawner that knows one start and nothing of HTTP. What a session says is believed of itself only, and
only as far as the table allows: a session that is killed says nothing, so that silence means nothing either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from sgehub.errors import NoAnswerError
from sgehub.hub import resuming, starting
from sgehub.hub.ended import ANNOUNCED
from sgehub.hub.following import Following, another_run
from sgehub.hub.record import SessionRecord
from sgehub.model.job import Job

END_ANSWER: Final = 4.0  # seconds that a session waits for the end of its route; it tries for 5
ROUTE_LOOK: Final = 0.05  # seconds between looks whether the hub has made the route of a session that has ended
# Seconds for the table that tells an end by a signal from another run. The session itself waits no longer than
# END_ANSWER.
RERUN_LOOK: Final = 12.0
END_GRACE: Final = 15.0  # seconds that a job may take to end by itself after its server has ended


class Reports(Following):
    """The part of a spawner that listens to its session."""

    heard: bool  # whether the session itself has spoken to this hub, which proves that it lives
    _doubted: float | None  # since when another port than before is reported
    _looking: asyncio.Lock
    _check_pending: bool  # JupyterHub's

    def accept_port(self, port: int) -> bool | None:
        """Take the port that the server of this very start listens on.

        The same port again is fine; another one only for a new run of the job. Returns whether it is taken, None
        if only a newer table can tell.
        """
        record = self.record
        if record is None or self.exit_code is not None:
            return False
        if record.port not in (None, port):
            return self._another_port()
        self.heard = True
        if record.port is None:
            self.reported = self.service.clock()
            self.take(record, replace(record, port=port))
        self.news.set()
        self.service.reflector.ask_soon()
        return True

    def _another_port(self) -> bool | None:
        """Judge another port than before: `renew` forgets the old one as soon as the table shows another run."""
        service = self.service
        table = service.reflector.table
        if self._doubted is None or table is None or table.asked_at <= self._doubted:
            self._doubted = self._doubted or service.clock()
            service.reflector.ask_soon()
            return None
        self._doubted = None
        return False

    def line_opened(self, close: Callable[[], None]) -> None:
        """Know that the session lives as long as its line is open."""
        self._line = close

    def line_closed(self) -> None:
        """Look at once: either the session has ended, or the network between has failed."""
        self._line = None
        self.service.reflector.ask_soon()

    def hang_up(self) -> None:
        """Close the session's line from this side."""
        line, self._line = self._line, None
        if line is not None:
            line()

    async def poll_and_notify(self) -> Any:
        """Look whether the server has ended and clean up after it, one at a time.

        JupyterHub forgets its callbacks before it calls them: a second look would find nothing to wait for, and
        the start that follows it would be cleaned up in the place of the session that has ended.
        """
        async with self._looking:
            return await super().poll_and_notify()

    async def accept_end(self, exit_code: int) -> None:
        """Take the session's word that its server has ended: the route goes now, the job by itself."""
        if self.record is None or self.exit_code is not None:
            return
        self.exit_code = exit_code
        self.news.set()
        self.service.reflector.ask_soon()
        if self.record.port is not None:  # else no route has been made, and none will be
            # The session holds its port until we answer, but not for long: it tries again after 2 s.
            routeless: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            judged = self.service.spawn(self._ended(self.record, routeless))
            await asyncio.wait([judged, routeless], timeout=END_ANSWER, return_when=asyncio.FIRST_COMPLETED)

    async def _ended(self, record: SessionRecord, routeless: asyncio.Future[None]) -> None:
        """Take the route away; one that the hub is about to make as soon as it is there."""
        while self.pending in {"spawn", "check"} and self.is_present(record):  # noqa: ASYNC110 - the hub has no event for it
            await asyncio.sleep(ROUTE_LOOK)
        if not self._is_run(record):
            return  # whoever waited for the start, or looked whether it runs, has seen to the next run
        if self.may_run_again and await self._runs_again(record, routeless):
            return
        if self.ready and self._is_run(record):
            # Until accounting says why: see learn_why.
            told = f"Its server ended with exit status {self.exit_code}."
            why = "Grid Engine has ended its job." if self.exit_code == ANNOUNCED else told
            self.give_up(record, why, grace=END_GRACE)
            self.service.spawn(starting.learn_why(self, record))  # type: ignore[arg-type] # it is part of one
            resuming.mind(self)  # type: ignore[arg-type] # it is part of one
            with self._without_route():  # until JupyterHub calls it stopping
                await self.poll_and_notify()

    @contextmanager
    def _without_route(self) -> Iterator[None]:
        """Let nobody make the route meanwhile: JupyterHub makes those of servers that are ready."""
        self._check_pending = True
        try:
            yield
        finally:
            self._check_pending = False

    def _is_run(self, record: SessionRecord) -> bool:
        """Tell whether this run of the job is still the present one: each has a token of its own."""
        return self.is_present(record) and self.current(record).token_id == record.token_id

    async def _is_known(self, record: SessionRecord) -> bool:
        """Tell, when a new table has come, whether it is certain what has become of a job."""
        service = self.service
        await service.reflector.next_table(service.clock())
        return isinstance(service.find(record), Job) or await service.gone(record)

    async def _runs_again(self, record: SessionRecord, routeless: asyncio.Future[None]) -> bool:
        """Tell whether Grid Engine has only ended this run of the job, and see to the next one.

        `routeless` is done as soon as no route leads to the server any more.
        Both may overlap: 8.1.9 ends the old run seconds after the new one has begun elsewhere.
        """
        service, known = self.service, False
        with self._without_route():
            await self.user.settings["proxy"].delete_user(self.user, self.name)
            if not routeless.done():
                routeless.set_result(None)
            with suppress(asyncio.TimeoutError, NoAnswerError):
                known = await asyncio.wait_for(self._is_known(record), RERUN_LOOK)
        if not self._is_run(record):
            # The watch was quicker, and could not start anew what was being judged.
            if self.is_present(record) and self.ready:
                resuming.start_again(self, served=True)  # type: ignore[arg-type] # it is part of one
            return True
        found = service.find(record)
        if isinstance(found, Job) and another_run(record, found):
            await resuming.renew(self, record, found)  # type: ignore[arg-type] # it is part of one
            return True
        if known or service.ends.has(record.tag):
            return False
        # Silent, late, or blind for jobs that wait: from here on it is a start that decides, which has time.
        resuming.start_again(self, served=True)  # type: ignore[arg-type] # it is part of one
        return True
