"""What Prometheus reads of each site's cluster, on the page where JupyterHub shows its own metrics.

The law of this file: it counts what it is told, asks a source once per scrape, and never asks Grid Engine. No
label holds a person's name, so that the number of series depends on queues, not on people. Names and units follow
https://prometheus.io/docs/practices/naming/; `FAMILIES` is the one list of them, which the documentation repeats.
"""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric

SETTING: Final = "sgehub_metrics"  # where the hub's settings keep the collector of all sites
SITE: Final = "site"  # the label that every series has: one hub may have several clusters
QSTAT_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
QUEUE_BUCKETS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 43200, 86400)
# Series that exist from the start, at 0: Prometheus sees no increase in one that appears with its first event.
START_CAUSES: Final = (
    "ready",
    "refused",
    "account",
    "site",
    "cluster",
    "job-error",
    "job-ended",
    "too-late",
    "stopped",
    "host-lost",
    "patience",
    "hub",
)
END_CAUSES: Final = ("stopped", "ended", "failed", "host-lost", "deleted")
VERDICT_KINDS: Final = ("now", "waits", "never", "unknown")
VERDICT_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: `kind` is Prometheus's type, `labels` are those besides `SITE`, `meaning` its help text."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


QSTAT: Final = Family(
    "sgehub_qstat_total", "counter", ("answered",), "Questions for the list of jobs, by whether an answer came."
)
QSTAT_SECONDS: Final = Family(
    "sgehub_qstat_duration_seconds", "histogram", (), "Time that a question for the list of jobs took."
)
QHOST: Final = Family(
    "sgehub_qhost_total", "counter", ("answered",), "Questions for what is free, by whether an answer came."
)
QHOST_SECONDS: Final = Family(
    "sgehub_qhost_duration_seconds", "histogram", (), "Time that a question for what is free took."
)
AGE: Final = Family(
    "sgehub_job_table_age_seconds", "gauge", (), "Age of the last good list of jobs; missing before the first one."
)
SESSIONS: Final = Family(
    "sgehub_sessions",
    "gauge",
    ("phase", "queue"),
    "Sessions by where their job stands; waiting ones have no queue.",
)
QUEUED_SECONDS: Final = Family(
    "sgehub_queue_wait_seconds", "histogram", ("queue",), "Time from submission until Grid Engine ran the job."
)
STARTS: Final = Family(
    "sgehub_starts_total", "counter", ("cause",), "Starts that are over, by how: ready, or why not."
)
ENDS: Final = Family("sgehub_session_ends_total", "counter", ("cause",), "Sessions that have ended, by why.")
ORPHANS: Final = Family("sgehub_orphan_jobs", "gauge", (), "Jobs of ours that no server of this hub holds.")
ENDINGS: Final = Family(
    "sgehub_unconfirmed_deletions", "gauge", (), "Jobs that are to be deleted and whose end is not confirmed yet."
)
OWED: Final = Family(
    "sgehub_ledger_owed", "gauge", (), "Starts with changes that the hub's database has not taken yet."
)
SITE_FILE: Final = Family(
    "sgehub_site_file_ok", "gauge", (), "1 if the hub works by the site's file as it is, 0 if that cannot be used."
)
VERDICTS: Final = Family(
    "sgehub_verdicts_total", "counter", ("verdict",), "Requests that Grid Engine was asked about, by its verdict."
)
VERDICT_SECONDS: Final = Family(
    "sgehub_verdict_duration_seconds", "histogram", (), "Time that Grid Engine took for a verdict on a request."
)
FAMILIES: Final = (
    QSTAT,
    QSTAT_SECONDS,
    QHOST,
    QHOST_SECONDS,
    AGE,
    SESSIONS,
    QUEUED_SECONDS,
    STARTS,
    ENDS,
    ORPHANS,
    ENDINGS,
    OWED,
    SITE_FILE,
    VERDICTS,
    VERDICT_SECONDS,
)


class Source(Protocol):
    """What is read at each scrape, from memory only. Nothing here may wait; each is called once."""

    def table_age(self) -> float | None:
        """Return the age of the last good table in seconds, None before the first."""

    def sessions(self) -> Iterable[tuple[str, str]]:
        """Return phase and queue ("" for none) of each session."""

    def orphans(self) -> int:
        """Return the number of jobs of ours that no server of the hub holds."""

    def endings(self) -> int:
        """Return the number of jobs whose deletion is wished and not confirmed."""

    def owed(self) -> int:
        """Return the number of starts whose changes the hub's database has not taken yet."""


class SitesCollector:
    """The metrics of all sites of one hub, as one collector: two with the same names make an invalid page."""

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, log: logging.Logger | None = None) -> None:
        self._log = log or logging.getLogger("sgehub.metrics")
        self._sources: dict[str, Source] = {}
        self._seen: dict[str, set[tuple[str, str]]] = {}
        self.qstat = _counter(QSTAT)
        self.qstat_seconds = _histogram(QSTAT_SECONDS, QSTAT_BUCKETS)
        self.qhost = _counter(QHOST)
        self.qhost_seconds = _histogram(QHOST_SECONDS, QSTAT_BUCKETS)
        self.queued_seconds = _histogram(QUEUED_SECONDS, QUEUE_BUCKETS)
        self.starts = _counter(STARTS)
        self.ends = _counter(ENDS)
        self.site_file = Gauge(SITE_FILE.name, SITE_FILE.meaning, (SITE,), registry=None)
        self.verdicts = _counter(VERDICTS)
        self.verdict_seconds = _histogram(VERDICT_SECONDS, VERDICT_BUCKETS)
        registry.register(self)

    def watch(self, site: str, source: Source) -> None:
        """Read this source at each scrape; a site has one."""
        self._sources[site] = source

    def describe(self) -> Iterable[Metric]:
        """Claim no names, so that tests can make hub after hub in one process."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all families: what was told, and what the sources say now."""
        asked = (self.qstat, self.qstat_seconds, self.qhost, self.qhost_seconds)
        for one in (
            *asked,
            self.queued_seconds,
            self.starts,
            self.ends,
            self.site_file,
            self.verdicts,
            self.verdict_seconds,
        ):
            yield from one.collect()
        gauges = {family.name: _gauge(family) for family in (AGE, SESSIONS, ORPHANS, ENDINGS, OWED)}
        for site, source in self._sources.items():
            try:
                samples = list(self._read(site, source))
            except Exception:  # noqa: BLE001 - JupyterHub's own metrics share this page; a gap shows that ours are unknown
                self._log.exception("The state of %s is missing in the metrics: it could not be read.", site)
                continue
            for family, labels, value in samples:
                gauges[family.name].add_metric([site, *labels], value)
        yield from gauges.values()

    def _read(self, site: str, source: Source) -> Iterator[tuple[Family, tuple[str, ...], float]]:
        age = source.table_age()
        if age is not None:
            yield AGE, (), age
        tally = Tally(source.sessions())
        seen = self._seen.setdefault(site, set())
        seen.update(tally)
        for place in sorted(seen):  # also those that are empty now: a series that stops is no 0
            yield SESSIONS, place, tally[place]
        yield ORPHANS, (), source.orphans()
        yield ENDINGS, (), source.endings()
        yield OWED, (), source.owed()


class Metrics:
    """What one site counts. `site` tells the clusters of a hub apart: the path of the site's file."""

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, site: str = "", collector: SitesCollector | None = None
    ) -> None:
        self._site = site
        self._all = SitesCollector(registry) if collector is None else collector
        for answered in ("yes", "no"):
            self._all.qstat.labels(site, answered)
            self._all.qhost.labels(site, answered)
        for cause in START_CAUSES:
            self._all.starts.labels(site, cause)
        for cause in END_CAUSES:
            self._all.ends.labels(site, cause)
        for kind in VERDICT_KINDS:
            self._all.verdicts.labels(site, kind)

    @classmethod
    def of(cls, settings: MutableMapping[str, Any], site: str, registry: CollectorRegistry = REGISTRY) -> Metrics:
        """Return the metrics of a site; all sites of the hub whose `settings` these are share one collector."""
        if SETTING not in settings:
            settings[SETTING] = SitesCollector(registry)
        return cls(site=site, collector=settings[SETTING])

    def asked(self, seconds: float, answered: bool) -> None:  # noqa: FBT001 - the reflector's `observe` is called so
        """Count a question for the list of jobs that took so many seconds."""
        self._all.qstat.labels(self._site, "yes" if answered else "no").inc()
        self._all.qstat_seconds.labels(self._site).observe(seconds)

    def asked_capacity(self, seconds: float, answered: bool) -> None:  # noqa: FBT001 - CapacityWatch calls `observe` so
        """Count a question for what is free that took so many seconds."""
        self._all.qhost.labels(self._site, "yes" if answered else "no").inc()
        self._all.qhost_seconds.labels(self._site).observe(seconds)

    def left_queue(self, queue: str, seconds: float) -> None:
        """Count a job that ran after so many seconds; the clocks of hub and qmaster may differ a little."""
        self._all.queued_seconds.labels(self._site, queue).observe(max(0.0, seconds))

    def start_ended(self, cause: str) -> None:
        """Count a start that is over: "ready", or the reason of its StartFailed."""
        self._all.starts.labels(self._site, cause).inc()

    def session_ended(self, cause: str) -> None:
        """Count the end of a session that was ready."""
        self._all.ends.labels(self._site, cause).inc()

    def site_file(self, *, right: bool) -> None:
        """Note whether the site's file, as it is now, is what the hub works by."""
        self._all.site_file.labels(self._site).set(right)

    def judged(self, kind: str, seconds: float) -> None:
        """Count a request that Grid Engine was asked about, and the seconds that took; "unknown" is no answer."""
        self._all.verdicts.labels(self._site, kind).inc()
        self._all.verdict_seconds.labels(self._site).observe(seconds)

    def watch(self, source: Source) -> None:
        """Read this source at each scrape."""
        self._all.watch(self._site, source)


# Made without a registry: the collector above is what is registered.
def _counter(family: Family) -> Counter:
    return Counter(family.name, family.meaning, (SITE, *family.labels), registry=None)


def _histogram(family: Family, buckets: tuple[float, ...]) -> Histogram:
    return Histogram(family.name, family.meaning, (SITE, *family.labels), buckets=buckets, registry=None)


def _gauge(family: Family) -> GaugeMetricFamily:
    return GaugeMetricFamily(family.name, family.meaning, labels=(SITE, *family.labels))
