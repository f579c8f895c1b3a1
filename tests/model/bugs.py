"""Bugs to be planted one at a time, to show that the machine finds them.

This is the one place where our own modules are changed under test: each entry swaps methods of the real core for
ones that a hurried programmer could have written, and puts them back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

from sgehub.errors import ClusterError, NoAnswerError
from sgehub.hub import orphans, resuming, starting
from sgehub.hub.endings import Endings
from sgehub.hub.hosts import HostWatch
from sgehub.hub.ledger import Ledger
from sgehub.hub.reap import Reaper
from sgehub.hub.service import ClusterService
from sgehub.hub.spawner import SGESpawner
from sgehub.model.job import Absent, JobIdentity, JobTable

Swap = tuple[Any, str, Any]


def absence_from_a_stale_table() -> list[Swap]:
    """A table that was asked for before the job was queued proves that it is gone."""

    def find(self: JobTable, ours: JobIdentity) -> Any:
        job = self.jobs.get(ours.number)
        return job if job is not None and (job.owner, job.name) == (ours.owner, ours.name) else Absent()

    return [(JobTable, "find", find), *one_witness_is_enough()]


def one_witness_is_enough() -> list[Swap]:
    """What the list of jobs lacks is gone; nobody asks `qstat -j`."""

    async def gone(self: ClusterService, record: Any) -> bool:
        return isinstance(self.look(record), Absent)

    return [(ClusterService, "gone", gone)]


def no_answer_is_an_answer() -> list[Swap]:
    """A command that fails says that there is no such job."""

    async def gone(self: ClusterService, record: Any) -> bool:
        try:
            return isinstance(await self.engine.detail(record.number or 0), Absent)
        except ClusterError:
            return True

    return [(ClusterService, "gone", gone)]


def poll_lets_errors_through() -> list[Swap]:
    """Trouble with the second witness comes out of poll()."""

    async def poll(self: SGESpawner) -> int | None:
        record = self.record
        if record is None:
            return 0
        if self._submission is not None and not self._submission.done():
            return None
        if self.exit_code is not None and self.service.ends.has(record.tag):
            return self.exit_code
        return await starting.exit_status(self, record) if await self.service.gone(record) else None

    async def gone(self: ClusterService, record: Any) -> bool:
        ours = record.identity
        if ours is None or not isinstance(self.look(record), Absent):
            return False
        return await self.engine.confirm_absent(ours)

    return [(ClusterService, "gone", gone), (SGESpawner, "poll", poll)]


def name_is_identity() -> list[Swap]:
    """The newest job of a name is the one, whoever owns it."""

    def by_name(self: JobTable, name: str, *, owner: str) -> Any:  # noqa: ARG001 - the bug
        return max(
            (job for job in self.jobs.values() if job.name == name), key=lambda job: job.number, default=None
        )

    return [(JobTable, "by_name", by_name)]


def no_commit_before_the_next_await() -> list[Swap]:
    """What is started is written down when JupyterHub does so: after start() has returned."""
    return [
        (Ledger, "begin", lambda _self, _record, _server, _also: None),
        (Ledger, "update", lambda _self, _record, _also: None),
        (SGESpawner, "commit", lambda _self: None),
    ]


def qsub_is_retried_blindly() -> list[Swap]:
    """A qsub without an answer is called once more."""
    real = SGESpawner._answered

    async def answered(self: SGESpawner, record: Any, submission: Any) -> Any:
        engine = self.service.engine
        submit = type(engine).submit

        async def twice(person: str, submitted: Any) -> int:
            try:
                return await submit(engine, person, submitted)
            except NoAnswerError:
                return await submit(engine, person, submitted)

        engine.submit = twice  # type: ignore[method-assign] # a bug is planted
        return await real(self, record, submission)

    return [(SGESpawner, "_answered", answered)]


def the_wish_is_not_written_down() -> list[Swap]:
    """A job that is to end is remembered by the process that deletes it, and by nothing else."""
    return [(Ledger, "mark", lambda self, record, _fate, _why, _since: self.close(record.tag))]


def qdel_is_believed() -> list[Swap]:
    """A job that qdel was called for has ended."""

    async def delete(self: Endings, record: Any, **_: Any) -> None:
        await self._ask(record)

    return [(Endings, "_delete", delete)]


def the_next_job_does_not_wait() -> list[Swap]:
    """A server gets its next job while the one before may still live."""

    async def cleared(self: Endings, person: str, server: str) -> None:
        """Wait for nothing."""

    return [(Endings, "cleared", cleared)]


def deleted_is_deleted() -> list[Swap]:
    """A server that is removed while its job waits takes nothing along."""

    async def forget(self: Endings, record: Any, submission: Any, _grace: float) -> None:
        if submission is not None:
            await asyncio.wait([submission])
        self._service.ledger.close(record.tag)

    return [(Endings, "_end", forget)]


def the_recorded_address_is_true() -> list[Swap]:
    """A hub that starts believes the address that its database holds, and that a server must be there by now."""

    async def url(spawner: SGESpawner) -> str:
        return str(spawner.server.url)

    return [(resuming, "url", url)]


def a_silent_host_is_lost() -> list[Swap]:
    """A host that is silent now has lost its jobs."""
    return [(HostWatch, "lost", lambda self, host, _came=0.0: self.silent_since(host) is not None)]


def a_cancelled_start_deletes() -> list[Swap]:
    """A start that is cancelled was cancelled by its person. But a hub that ends cancels, too."""
    real = SGESpawner.start

    async def start(self: SGESpawner) -> str:
        try:
            return await real(self)
        except asyncio.CancelledError:
            if self.record is not None:
                self.service.ends.end(self.record, self.name, "cancelled", submission=self._submission)
            raise

    return [(SGESpawner, "start", start)]


def an_old_record_overwrites_a_new_one() -> list[Swap]:
    """What was read before an await is written after it, though the session has reported meanwhile."""
    return [(SGESpawner, "current", lambda _self, record: record)]


def a_lost_answer_means_no_job() -> list[Swap]:
    """A qsub that was not answered has not queued a job."""

    async def number(self: Endings, record: Any, _since: float = 0.0) -> Any:  # noqa: ARG001 - the bug
        return record if record.number is not None else None

    return [(Endings, "number", number)]


def a_launch_file_is_written_once() -> list[Swap]:
    """A launch file for another run that could not be written is nobody's business any more."""

    async def write(spawner: SGESpawner, record: Any) -> None:
        launch = starting.launch(spawner, record)
        await spawner.service.engine.rewrite_launch(record.person, record.folder, record.tag, launch)

    async def leave(_spawner: SGESpawner, _record: Any) -> None:
        """Owe nothing to a hub before this one."""

    return [(resuming, "_write_launch", write), (resuming, "_replace_token", leave)]


def reap_asks_the_ledger_alone() -> list[Swap]:
    """Whatever the ledger has is nobody's, also what a server holds."""
    return [(orphans, "holders_of", lambda _servers: ({}, frozenset()))]


def reap_believes_qdel() -> list[Swap]:
    """A job that `sgehub reap` has called qdel for has ended."""

    async def alive(_self: Reaper, _records: Any) -> dict[str, str]:
        return {}

    return [(Reaper, "_alive", alive)]


BUGS: Final[dict[str, Callable[[], list[Swap]]]] = {
    bug.__name__: bug
    for bug in (
        absence_from_a_stale_table,
        one_witness_is_enough,
        no_answer_is_an_answer,
        poll_lets_errors_through,
        name_is_identity,
        no_commit_before_the_next_await,
        qsub_is_retried_blindly,
        the_wish_is_not_written_down,
        qdel_is_believed,
        the_next_job_does_not_wait,
        deleted_is_deleted,
        the_recorded_address_is_true,
        a_silent_host_is_lost,
        a_cancelled_start_deletes,
        an_old_record_overwrites_a_new_one,
        a_lost_answer_means_no_job,
        a_launch_file_is_written_once,
        reap_asks_the_ledger_alone,
        reap_believes_qdel,
    )
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Plant one bug for a while."""
    with ExitStack() as stack:
        for place, attribute, swapped in BUGS[name]():
            stack.enter_context(mock.patch.object(place, attribute, swapped))
        yield
