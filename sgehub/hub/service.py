"""What all spawners of one site share: policy, Grid Engine, the job table, the ledger of starts.

One `ClusterService` lives in the hub's settings. It asks once for everybody, tells spawners what has become of
their job, and sees every job that is to end to its end, also when nobody waits for that any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from sqlalchemy.orm import Session

from sgehub.errors import SgehubError
from sgehub.gridengine.client import GridEngine
from sgehub.gridengine.reflector import JobReflector
from sgehub.gridengine.runner import Runner
from sgehub.hub import orphans, owing
from sgehub.hub.background import Background
from sgehub.hub.capacity import CapacityWatch
from sgehub.hub.clusterlimits import ClusterLimits
from sgehub.hub.endings import Endings
from sgehub.hub.engines import engine_settings
from sgehub.hub.hosts import HostWatch
from sgehub.hub.knowledge import Knowledge
from sgehub.hub.ledger import Ledger
from sgehub.hub.limits import raise_file_limit, spare_collector
from sgehub.hub.matching import Matching
from sgehub.hub.metrics import Metrics
from sgehub.hub.numbers import HELPER_DEADLINE
from sgehub.hub.orphans import Kept
from sgehub.hub.people import People
from sgehub.hub.record import SessionRecord
from sgehub.hub.reload import Reload, hear
from sgehub.hub.verdict import AT_ONCE, Verdicts
from sgehub.hub.watching import Watch
from sgehub.model.job import Job, Phase
from sgehub.model.policy import SitePolicy

DEFAULT_SITE: Final = "/etc/sgehub/site.yaml"
AGAIN: Final = 10.0  # seconds between tries to make a service that cannot be made


def steady_clock() -> Callable[[], float]:
    """Return a clock that shows the time of day and never jumps: what came later has a larger number."""
    offset = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset


def _read(session: Session) -> Kept:
    # In a session of its own: what the hub is in the middle of writing stays as it is.
    with Session(session.get_bind()) as apart:
        return orphans.read(apart)


class ClusterService(Background, Knowledge):
    """One site's cluster for the whole hub."""

    def __init__(
        self,
        policy: SitePolicy,
        engine: GridEngine,
        ledger: Ledger,
        *,
        log: logging.Logger,
        metrics: Metrics,
        clock: Callable[[], float] | None = None,
        reflector: JobReflector | None = None,
        read: Callable[[], Kept] = Kept,
    ) -> None:
        super().__init__(log)
        self.policy = policy
        self.engine = engine
        self.ledger = ledger
        self.metrics = metrics
        self.clock = clock or steady_clock()
        self.began = self.clock()
        self.people = People(policy, self.clock)
        self.watch = Watch(self)
        self.verdicts = Verdicts(self)
        self.reflector = reflector or JobReflector(
            engine.jobs, owners=self.watch.owners, observe=metrics.asked, clock=self.clock, log=log
        )
        self.hosts = HostWatch(
            engine.silent_hosts, policy.cluster.host_lost_after.seconds, clock=self.clock, log=log
        )
        self.capacity = CapacityWatch(policy, engine, observe=metrics.asked_capacity, clock=self.clock, log=log)
        self.limits = ClusterLimits(engine, log)
        self.ends = Endings(self)
        self.matching = Matching(self, read)
        self.reload: Reload | None = None
        self._hidden = {}
        self._clock_compared = False
        metrics.watch(self)

    @classmethod
    def of(cls, settings: MutableMapping[str, Any], site: str, log: logging.Logger) -> ClusterService:
        """Return the hub's service for a site file, made on first use. Raises SiteConfigurationError."""
        services: dict[str, ClusterService] = settings.setdefault("sgehub_services", {})
        if site not in services:
            hear(services)
            session: Session = settings["db"]
            clock = steady_clock()
            metrics = Metrics.of(settings, site)
            reload = Reload(Path(site), metrics, clock=clock, log=log)
            policy = reload.first()
            # Three runners: neither people's submissions that hang nor questions about single jobs must keep the
            # hub from asking for everybody.
            engine = GridEngine(
                engine_settings(policy),
                Runner(),
                acting=Runner(8 + AT_ONCE),
                listing=Runner(1),
                clock=clock,
                deadline=HELPER_DEADLINE,
            )
            service = cls(
                policy,
                engine,
                Ledger(session, log=log),
                log=log,
                metrics=metrics,
                clock=clock,
                read=partial(_read, session),
            )
            service.reload = reload
            service.ends.resume()
            services[site] = service  # last: one that cannot read its ledger is made again, not kept
            service.keep(service.matching.run)
            service.keep(partial(owing.settle, service.ledger, log))
            service.keep(partial(reload.run, service))
            service.keep(partial(service.limits.run, service))
        return services[site]

    @classmethod
    def awaken(cls, app: Any) -> ClusterService | None:
        """Take up at the hub's start what was left undone, also when no server is recorded.

        `app` is JupyterHub's application. Never raises: returns None if nothing is ours, or not yet (`awaited`);
        until then each start says what is wrong with the site's file.
        """
        raise_file_limit(app.log)  # every session keeps a line open
        spare_collector()
        if not hasattr(app.spawner_class, "service"):
            return None
        site = str(app.config.get("SGESpawner", {}).get("site", DEFAULT_SITE))
        try:
            return cls.of(app.tornado_settings, site, app.log)
        except SgehubError:
            cls.awaited(app.tornado_settings, site, app.log)  # which says why
            return None

    @classmethod
    def awaited(
        cls, settings: MutableMapping[str, Any], site: str, log: logging.Logger
    ) -> asyncio.Task[ClusterService]:
        """Return the task, one for all who wait, that tries to make the hub's service until that succeeds."""
        waiting: dict[str, asyncio.Task[ClusterService]] = settings.setdefault("sgehub_awaited", {})
        if site not in waiting:
            waiting[site] = asyncio.get_running_loop().create_task(cls._made(settings, site, log))
        return waiting[site]

    @classmethod
    async def _made(cls, settings: MutableMapping[str, Any], site: str, log: logging.Logger) -> ClusterService:
        said = ""
        while True:
            try:
                return cls.of(settings, site, log)
            except Exception as error:  # noqa: BLE001 - whatever it is, sessions live and somebody may mend it
                why = str(error) if isinstance(error, SgehubError) else repr(error)
            if why != said:
                said = why
                log.error(
                    "sgehub cannot begin, and tries again every %.0f seconds; until then all sessions of %s are "
                    "left as they are: %s",
                    AGAIN,
                    site,
                    why,
                )
            await asyncio.sleep(AGAIN)

    def adopt(self, policy: SitePolicy) -> None:
        """Judge new requests by this policy; what was submitted keeps what it was given. See `reload`."""
        if policy is not self.policy:
            self.limits.wake()
        allowed = self.limits.of(policy)
        self.policy = policy
        self.people.take(allowed)
        self.capacity.take(policy)
        self.hosts.allow(policy.cluster.host_lost_after.seconds)

    async def discard(self, record: SessionRecord) -> None:
        """Remove what may be left of the secrets of a session that is over. Never raises."""
        try:
            await self.engine.discard(record.person, record.folder, record.tag)
        except SgehubError as error:
            self.log.warning("The secrets of %s may be left in %s: %s", record.tag, record.folder, error)

    # What is counted: see metrics.Source.

    def table_age(self) -> float | None:
        """Return the age of the job table in seconds."""
        table = self.reflector.table
        return None if table is None else self.clock() - table.asked_at

    def sessions(self) -> Iterator[tuple[str, str]]:
        """Yield phase and queue of each session."""
        for one in self.watch.sessions:
            if one.record is not None:
                found = self.find(one.record)
                job = found if isinstance(found, Job) else None
                yield (job.state.phase.value if job else Phase.UNKNOWN.value), (job.queue if job else None) or ""

    def orphans(self) -> int:
        """Return how many jobs of ours no server holds."""
        return self.matching.orphans

    def owed(self) -> int:
        """Return how many starts have changes that the database has not taken."""
        return self.ledger.owed

    def endings(self) -> int:
        """Return how many jobs are being seen to their end."""
        return len(self.ends)
