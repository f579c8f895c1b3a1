"""Metrics: what is counted, what is read at a scrape, and that neither sites nor hubs collide."""

from __future__ import annotations

import logging
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sgehub.hub.metrics import FAMILIES, SITE, Metrics, SitesCollector
from sgehub.model.job import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

REFERENCE = Path(__file__).resolve().parents[3] / "docs/reference/metrics.rst"
PEOPLE = ("person", "user", "name", "owner", "job", "account")


class Cluster:
    """A source that says what it is told to, and counts how often it is asked."""

    def __init__(self, sessions: Iterable[tuple[str, str]] = (), *, age: float | None = 3.5) -> None:
        self.now, self.age, self.asked = list(sessions), age, Counter[str]()

    def table_age(self) -> float | None:
        self.asked["age"] += 1
        return self.age

    def sessions(self) -> Iterable[tuple[str, str]]:
        self.asked["sessions"] += 1
        return iter(self.now)

    def orphans(self) -> int:
        self.asked["orphans"] += 1
        return 2

    def endings(self) -> int:
        self.asked["endings"] += 1
        return 1

    def owed(self) -> int:
        self.asked["owed"] += 1
        return 3


class Broken(Cluster):
    """A source with a bug."""

    def sessions(self) -> Iterable[tuple[str, str]]:
        raise RuntimeError("a bug")


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by its labels' values, in the order of the names."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            if sample.name == name:
                key = tuple(sample.labels[label] for label in sorted(sample.labels))
                assert key not in found, f"{name} {key} stands twice"
                found[key] = sample.value
    return found


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry(auto_describe=True)


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry, site="a")


# What is counted


def test_questions_are_counted_by_answer_and_timed(registry: CollectorRegistry, metrics: Metrics) -> None:
    """A question that failed took its time, too."""
    metrics.asked(0.2, answered=True)
    metrics.asked(0.2, answered=True)
    metrics.asked(8.0, answered=False)
    assert samples(registry, "sgehub_qstat_total") == {("yes", "a"): 2, ("no", "a"): 1}
    assert samples(registry, "sgehub_qstat_duration_seconds_sum") == {("a",): pytest.approx(8.4)}
    metrics.asked_capacity(0.1, answered=True)
    metrics.asked_capacity(30.0, answered=False)
    assert samples(registry, "sgehub_qhost_total") == {("yes", "a"): 1, ("no", "a"): 1}
    assert samples(registry, "sgehub_qhost_duration_seconds_sum") == {("a",): pytest.approx(30.1)}


def test_time_in_the_queue_is_told_apart_from_seconds_to_a_day(
    registry: CollectorRegistry, metrics: Metrics
) -> None:
    """Each of these falls into a bucket of its own, and none past the last; a clock that is behind makes it 0."""
    for seconds in (-0.3, 3, 20, 200, 2000, 20000, 80000):
        metrics.left_queue("long.q", seconds)
    assert samples(registry, "sgehub_queue_wait_seconds_sum") == {("long.q", "a"): 102223}
    buckets = samples(registry, "sgehub_queue_wait_seconds_bucket")
    assert len(set(buckets.values())) == 7
    assert buckets["86400.0", "long.q", "a"] == 7


def test_starts_and_ends_are_counted_by_cause(registry: CollectorRegistry, metrics: Metrics) -> None:
    """A cause that nobody listed counts, too."""
    metrics.start_ended("ready")
    metrics.start_ended("patience")
    metrics.start_ended("patience")
    metrics.session_ended("host-lost")
    metrics.session_ended("of old age")
    starts, ends = samples(registry, "sgehub_starts_total"), samples(registry, "sgehub_session_ends_total")
    assert (starts["ready", "a"], starts["patience", "a"]) == (1, 2)
    assert (ends["host-lost", "a"], ends["of old age", "a"]) == (1, 1)


def test_a_first_event_is_an_increase(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Counters stand at 0 from the start: Prometheus sees no increase in a series that begins at 1."""
    assert metrics
    assert set(samples(registry, "sgehub_starts_total").values()) == {0}
    assert set(samples(registry, "sgehub_session_ends_total").values()) == {0}
    assert samples(registry, "sgehub_qstat_total") == {("yes", "a"): 0, ("no", "a"): 0}
    assert samples(registry, "sgehub_qhost_total") == {("yes", "a"): 0, ("no", "a"): 0}


# What is read at a scrape


def test_a_scrape_reads_the_present_state(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Sessions are counted by phase and queue; age, orphans and deletions are as the source says."""
    metrics.watch(Cluster([("running", "long.q"), ("running", "long.q"), ("queued", "")]))
    assert samples(registry, "sgehub_sessions") == {("running", "long.q", "a"): 2, ("queued", "", "a"): 1}
    assert samples(registry, "sgehub_job_table_age_seconds") == {("a",): 3.5}
    assert samples(registry, "sgehub_orphan_jobs") == {("a",): 2}
    assert samples(registry, "sgehub_unconfirmed_deletions") == {("a",): 1}
    assert samples(registry, "sgehub_ledger_owed") == {("a",): 3}


def test_a_place_that_has_emptied_is_zero(registry: CollectorRegistry, metrics: Metrics) -> None:
    """A series that stops would leave the last value in graphs."""
    cluster = Cluster([("queued", ""), ("running", "gpu.q")])
    metrics.watch(cluster)
    samples(registry, "sgehub_sessions")
    cluster.now = [("running", "gpu.q")]
    assert samples(registry, "sgehub_sessions") == {("queued", "", "a"): 0, ("running", "gpu.q", "a"): 1}


def test_no_table_has_no_age(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Before the first table the series is missing: any number would be a lie."""
    metrics.watch(Cluster(age=None))
    assert samples(registry, "sgehub_job_table_age_seconds") == {}
    assert samples(registry, "sgehub_orphan_jobs") == {("a",): 2}


def test_the_cost_of_a_scrape_does_not_grow_with_people(registry: CollectorRegistry, metrics: Metrics) -> None:
    """2,000 sessions are asked for once and make as many series as there are phases in queues."""
    queues = ("long.q", "short.q", "gpu.q")
    cluster = Cluster((phase.value, queues[i % 3]) for i in range(250) for phase in Phase)
    assert len(cluster.now) == 2000
    metrics.watch(cluster)
    few = len(generate_latest(registry).splitlines())
    assert cluster.asked == {"age": 1, "sessions": 1, "orphans": 1, "endings": 1, "owed": 1}
    cluster.now *= 10
    assert len(generate_latest(registry).splitlines()) == few
    assert len(samples(registry, "sgehub_sessions")) == len(Phase) * len(queues)


def test_a_source_that_fails_leaves_a_gap_and_a_line_in_the_log(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """The page stays: JupyterHub's metrics and those of other sites do not suffer."""
    hub: dict[str, Any] = {}
    Metrics.of(hub, "a", registry).watch(Broken())
    Metrics.of(hub, "b", registry).watch(Cluster())
    with caplog.at_level(logging.ERROR):
        assert samples(registry, "sgehub_orphan_jobs") == {("b",): 2}
    assert "The state of a is missing in the metrics" in caplog.text
    assert samples(registry, "sgehub_qstat_total")["yes", "a"] == 0


# Several sites, several hubs


def test_sites_of_one_hub_share_families(registry: CollectorRegistry) -> None:
    """Each metric is declared once on the page, with a series for each site."""
    hub: dict[str, Any] = {}
    for site, sessions in (("a", [("running", "long.q")]), ("b", [("running", "long.q")] * 2)):
        metrics = Metrics.of(hub, site, registry)
        metrics.watch(Cluster(sessions))
        metrics.asked(1.0, answered=True)
    assert samples(registry, "sgehub_sessions") == {("running", "long.q", "a"): 1, ("running", "long.q", "b"): 2}
    page = generate_latest(registry).decode()
    declared = Counter(re.findall(r"^# TYPE (sgehub_\S+)", page, re.MULTILINE))
    assert set(declared.values()) == {1}


def test_the_same_site_again_goes_on_counting(registry: CollectorRegistry) -> None:
    """Asking for a site's metrics twice gives the same series; the newer source is read."""
    hub: dict[str, Any] = {}
    Metrics.of(hub, "a", registry).asked(1.0, answered=False)
    Metrics.of(hub, "a", registry).asked(1.0, answered=False)
    assert samples(registry, "sgehub_qstat_total")["no", "a"] == 2


def test_hub_after_hub_in_one_process_is_no_error() -> None:
    """Tests make many hubs; the registry of the process, where JupyterHub looks, takes them all."""
    made = [SitesCollector() for _ in range(2)]
    for one in made:
        REGISTRY.unregister(one)


# The list of metrics


def test_no_label_can_hold_a_name_of_a_person(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Labels are those that are declared, and none of them is about people."""
    metrics.watch(Cluster([("running", "long.q")]))
    metrics.left_queue("long.q", 1)
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            assert set(sample.labels) <= {SITE, "le", "answered", "phase", "queue", "cause", "verdict"}
            assert not set(sample.labels) & set(PEOPLE)


def test_names_say_their_units_as_prometheus_asks(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Counters end in _total, times in _seconds, and what is declared is what is shown."""
    assert metrics
    for family in FAMILIES:
        assert re.fullmatch(r"sgehub_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        timed = "duration" in family.name or "age" in family.name or "wait" in family.name
        assert family.name.endswith("_seconds") == timed
    page = generate_latest(registry).decode()
    shown = set(re.findall(r"^# TYPE (sgehub_\S+) (\S+)", page, re.MULTILINE))
    assert {one for one in shown if not one[0].endswith("_created")} == {(one.name, one.kind) for one in FAMILIES}


def test_the_reference_lists_every_metric() -> None:
    """Name, type, labels and meaning stand in the documentation as they are in the code, in the same order."""
    table = REFERENCE.read_text().partition(".. list-table::")[2]
    cells = re.findall(r"^   (?:\* |  )-(.*)$", table, re.MULTILINE)
    rows = [tuple(cell.strip() for cell in cells[i : i + 4]) for i in range(4, len(cells), 4)]
    assert rows == [
        (f"``{one.name}``", one.kind, ", ".join(f"``{label}``" for label in one.labels), one.meaning)
        for one in FAMILIES
    ]


def test_the_reference_names_every_phase_and_cause(registry: CollectorRegistry, metrics: Metrics) -> None:
    """Whatever value a label can have from the start is explained."""
    assert metrics
    text = REFERENCE.read_text()
    causes = {key[0] for name in ("starts", "session_ends") for key in samples(registry, f"sgehub_{name}_total")}
    assert [one for one in {*causes, *(phase.value for phase in Phase)} if f"``{one}``" not in text] == []
