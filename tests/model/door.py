"""The hub's only door to the cluster, in the shape of the real one, without a process behind it.

A door belongs to one life of the hub: when that ends, nothing comes through any more in either direction, but
what was already sent reaches the cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from sgehub.gridengine.client import ClusterSettings, GridEngine, Submission
from sgehub.gridengine.parse_qdel import Deletion
from sgehub.gridengine.runner import Completed, Runner
from sgehub.model.job import Absent, Accounting, JobDetail, JobIdentity, JobTable, last_run
from tests.model.cluster import Cluster

ASKING: Final = 30.0  # seconds that a question may take
ACTING: Final = 30.0  # seconds that the helper may take


class NoRunner(Runner):
    """There is nothing to run: a verb that comes here has no counterpart in the model yet."""

    async def run(self, argv: Sequence[str], **_: Any) -> Completed:
        """Say so."""
        raise NotImplementedError(f"the model's door does not know {argv}")


class Door(GridEngine):
    """Grid Engine's verbs on a cluster in memory. What is decided above single verbs is the real class's."""

    def __init__(self, cluster: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(ClusterSettings(root="/sge"), NoRunner(), clock=cluster.clock.epoch)
        self._cluster, self._loop = cluster, loop
        self.open = True

    async def _call(self, verb: str, effect: Callable[[], Any], deadline: float) -> Any:
        if not self.open:
            raise RuntimeError("this hub has ended")
        future = self._loop.create_future()

        def tell(value: Any) -> None:
            if self.open and not future.done():
                if isinstance(value, Exception):
                    future.set_exception(value)
                else:
                    future.set_result(value)

        self._cluster.call(verb, effect, deadline, tell)
        return await future

    async def jobs(self, owners: Collection[str] | None = None) -> JobTable:
        """Return the list of jobs."""
        asked_at = self._cluster.clock.epoch()
        queue = self._cluster.faults.get("jobs")
        fault = queue[0] if queue else None
        return await self._call("jobs", lambda: self._cluster.table(asked_at, owners, fault), ASKING)

    async def detail(self, number: int) -> JobDetail | Absent:
        """Return what is known of one job."""
        return await self._call("detail", lambda: self._cluster.detail(number), ASKING)

    async def named(self, name: str) -> JobDetail | Absent:
        """Return what is known of the first job with a name."""
        return await self._call("detail", lambda: self._cluster.named(name), ASKING)

    async def accounting(self, ours: JobIdentity) -> Accounting | None:
        """Return the record of the job's last run."""
        return last_run(await self._call("accounting", self._cluster.accounting, ASKING), ours)

    async def silent_hosts(self) -> frozenset[str]:
        """Return the hosts that do not report."""
        return await self._call("silent_hosts", self._cluster.silent_hosts, ASKING)

    async def submit(self, person: str, submission: Submission) -> int:
        """Submit a job; the answer may get lost."""
        if self.open:
            self._cluster.observer.submitting(person, submission)
        try:
            number = await self._call("submit", lambda: self._cluster.submit(person, submission), ACTING)
        except Exception:
            if self.open:
                self._cluster.observer.submit_failed(submission.tag)
            raise
        if self.open:
            self._cluster.observer.submit_answered(submission.tag)
        return number

    async def cancel(self, person: str, number: int) -> Deletion:
        """Delete a job."""
        return await self._call("cancel", lambda: self._cluster.cancel(person, number), ACTING)

    async def tail(self, person: str, folder: str, tag: str, lines: int = 50) -> str | None:  # noqa: ARG002 - the real one's
        """Return no log."""
        return await self._call("tail", lambda: None, ACTING)

    async def discard(self, person: str, folder: str, tag: str) -> bool:  # noqa: ARG002 - the real one's
        """Remove the launch file."""
        return await self._call("discard", lambda: self._cluster.discard(tag), ACTING)

    async def rewrite_launch(self, person: str, folder: str, tag: str, launch: Any, *_: Any) -> Any:  # noqa: ARG002 - the real one's
        """Write the launch file for another run."""
        return await self._call("rewrite_launch", lambda: self._cluster.rewrite(tag, launch), ACTING)

    async def verify(self, person: str, options: Sequence[str], script: str, *, mode: str = "v") -> Any:
        """Never asked by what the model drives."""
        raise NotImplementedError
