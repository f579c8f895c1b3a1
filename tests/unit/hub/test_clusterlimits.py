"""What people may ask for is never more than the cluster allows, as far as that is known."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sgehub.errors import NoAnswerError, RequestRefusedError
from sgehub.gridengine.parse_qconf import ClusterQueue, ParallelEnvironment, PerHost
from sgehub.hub.clusterlimits import ClusterLimits, Facts, tightened
from sgehub.model.clamping import clamped
from sgehub.model.jobspec import resolve
from sgehub.model.narrowing import narrowed
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Duration
from tests.unit.model.site import BASE, site

SMP = ParallelEnvironment("smp", 999, "$pe_slots", frozenset())


def queue(name: str, *, slots: str = "64", h_rt: str = "INFINITY", pes: str = "make smp") -> ClusterQueue:
    """Return a cluster queue."""
    values = {"slots": slots, "pe_list": pes, "h_rt": h_rt, "projects": "NONE"}
    return ClusterQueue(name, {key: PerHost(value, {}) for key, value in values.items()})


def facts(*queues: ClusterQueue, pes: tuple[ParallelEnvironment, ...] = (SMP,)) -> Facts:
    """Return what a cluster says."""
    return Facts({one.name: one for one in queues}, {one.name: one for one in pes})


@pytest.mark.parametrize(
    ("found", "cores", "runtime"),
    [
        (facts(queue("short.q")), 16, "01:00:00"),
        (facts(queue("short.q", slots="4")), 4, "01:00:00"),
        (facts(queue("short.q", h_rt="00:20:00")), 16, "00:20:00"),
        (facts(queue("short.q", pes="make")), 1, "01:00:00"),
        (facts(queue("short.q"), pes=(ParallelEnvironment("smp", 3, "$pe_slots", frozenset()),)), 3, "01:00:00"),
        (facts(queue("short.q", slots="0")), 16, "01:00:00"),
        (facts(queue("other.q", slots="1")), 16, "01:00:00"),
        (Facts(), 16, "01:00:00"),
    ],
)
def test_the_smaller_of_file_and_cluster_counts(found: Facts, cores: int, runtime: str) -> None:
    """A queue without hosts, or one that the cluster did not show, says nothing."""
    limits = tightened(site(), found).queues["short.q"]
    assert (limits.cores, str(limits.runtime)) == (cores, runtime)
    assert limits.memory == site().queues["short.q"].memory


def test_defaults_and_presets_still_fit() -> None:
    """What no longer fits is made smaller, or is not offered."""
    queues = {"all.q": BASE["queues"]["long.q"]}
    presets = {"week": {"request": {"runtime": "40:00:00"}}, "hour": {"request": {"runtime": "01:00:00"}}}
    defaults = {**BASE["defaults"], "runtime": "24:00:00"}
    policy = tightened(
        site(queues=queues, presets=presets, defaults=defaults), facts(queue("all.q", h_rt="08:00:00"))
    )
    assert policy.defaults.runtime == Duration(8 * 3600)
    assert list(policy.presets) == ["hour"]
    with pytest.raises(RequestRefusedError, match=r"At most 08:00:00 \(8 hours\)\."):
        policy.parse({"runtime": "09:00:00"})


PES = {"parallel_environment": ["smp", "gpupe"]}
TWO = facts(
    queue("short.q", slots="16"),
    queue("long.q", slots="16", pes="smp gpupe"),
    queue("gpu.q", slots="16", pes="gpupe"),
    pes=(SMP, ParallelEnvironment("gpupe", 6, "$pe_slots", frozenset())),
)


@pytest.mark.parametrize(
    ("asked", "pe", "queue"),
    [
        ({"cores": 4}, "smp", "short.q,long.q"),
        ({"cores": 1}, None, "short.q,long.q,gpu.q"),
        ({"cores": 4, "queue": "gpu.q"}, "gpupe", "gpu.q"),
        ({"cores": 4, "gpus": 1}, "gpupe", "gpu.q"),
        ({"cores": 4, "pe": "gpupe"}, "gpupe", "long.q,gpu.q"),
        ({"cores": 1, "pe": "smp", "queue": "gpu.q"}, None, "gpu.q"),
        ({"cores": 16, "runtime": "10:00:00"}, "smp", "long.q"),
    ],
)
def test_a_job_asks_for_a_parallel_environment_that_its_queues_offer(
    asked: dict[str, object], pe: str | None, queue: str
) -> None:
    """The first of the site's where nobody has chosen one, and it names no queue that does not offer it."""
    policy = tightened(site(**PES), TWO)
    job = resolve(policy.parse(asked), policy, name="sgehub-0", home="/home/a", log="/home/a/log")
    assert (job.pe, job.queue) == (pe, queue)


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        (
            {"cores": 4, "pe": "smp", "queue": "gpu.q"},
            "pe",
            "There is no parallel environment smp in queue gpu.q.",
        ),
        (
            {"cores": 7, "pe": "gpupe", "queue": "long.q"},
            "pe",
            "At most 6 cores in parallel environment gpupe in queue long.q.",
        ),
        ({"cores": 8, "pe": "gpupe"}, "pe", "No queue offers so many slots in gpupe and the rest of this."),
        ({"cores": 7, "queue": "gpu.q"}, "cores", "At most 6 cores in queue gpu.q."),
    ],
)
def test_what_no_parallel_environment_of_a_queue_has_is_refused(
    asked: dict[str, object], field: str, said: str
) -> None:
    """Grid Engine would let such a job wait for ever."""
    with pytest.raises(RequestRefusedError) as caught:
        tightened(site(**PES), TWO).parse(asked)
    assert [(one.field, one.message) for one in caught.value.violations] == [(field, said)]


def test_parallel_environments_that_nobody_has_told_of_stop_nothing() -> None:
    """Before the cluster has answered, of a queue that it did not show, and under a rule of the site's."""
    asked = {"cores": 4, "pe": "smp", "queue": "gpu.q"}
    rules = [{"most": {"runtime": "00:30:00"}}]
    for found in (Facts(), facts(queue("short.q")), facts(queue("gpu.q", pes="gpupe"), pes=())):
        policy = tightened(site(**PES), found)
        assert policy.parse(asked).pe == "smp"
    mine = narrowed(tightened(site(**PES, rules=rules), TWO), (0,))
    with pytest.raises(RequestRefusedError, match="There is no parallel environment smp in queue gpu"):
        mine.parse({**asked, "runtime": "00:10:00"})


def test_a_stored_parallel_environment_that_no_longer_fits_is_left_to_the_hub() -> None:
    """The form shows the nearest request that can run, and the default one can."""
    found, changes = clamped({"cores": 4, "pe": "smp", "queue": "gpu.q"}, tightened(site(**PES), TWO))
    assert (found.cores, found.pe, found.queue) == (4, None, "gpu.q")
    assert [one.field for one in changes] == ["pe"]


class Cluster:
    """A cluster in memory."""

    def __init__(self, *queues: ClusterQueue) -> None:
        self.all, self.asked, self.silent = queues, 0, False

    async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
        """Return some queues."""
        self.asked += 1
        if self.silent:
            raise NoAnswerError("no answer")
        return tuple(one for one in self.all if one.name in names)

    async def parallel_environment(self, name: str) -> ParallelEnvironment | None:
        """Return smp."""
        return SMP if name == "smp" else None


class Holder:
    """Works by a policy."""

    def __init__(self, **changes: object) -> None:
        self.policy, self.adopted = site(**changes), 0

    def adopt(self, policy: SitePolicy) -> None:
        """Count."""
        assert policy is self.policy
        self.adopted += 1


async def test_what_has_changed_is_adopted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """And what the cluster said last holds while it is silent."""
    caplog.set_level(logging.INFO)
    cluster, holder = Cluster(queue("short.q", h_rt="00:30:00")), Holder()
    limits = ClusterLimits(cluster, logging.getLogger("test"))
    assert limits.of(holder.policy) is holder.policy
    await limits.ask(holder)
    await limits.ask(holder)
    cluster.silent = True
    await limits.ask(holder)
    assert holder.adopted == 1
    assert str(limits.of(holder.policy).queues["short.q"].runtime) == "00:30:00"
    said = [one.getMessage() for one in caplog.records]
    assert said == [
        "Queue short.q: the cluster itself allows 64 slots and 30 minutes, less than the site's file says.",
        "The cluster's own limits are not known (no answer); those known before hold.",
    ]


async def test_a_lock_beyond_the_clusters_own_limits_is_the_nearest_that_fits(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody is locked out, and the log says what became of it."""
    locked = {"runtime": "00:30:00"}
    holder = Holder(locked=locked, defaults={**BASE["defaults"], **locked})
    tight = Cluster(*(queue(name, h_rt="00:20:00") for name in holder.policy.queues))
    limits = ClusterLimits(tight, logging.getLogger("test"))
    await limits.ask(holder)
    assert str(limits.of(holder.policy).parse({}).runtime) == "00:20:00"
    [said] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == "locked.runtime: the cluster does not allow 00:30:00, so that it is locked at 00:20:00."


async def test_a_rules_lock_beyond_the_clusters_own_limits_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """With the place of the rule, also where it only leaves a queue that is too small."""
    rules = [
        {"groups": ["a"], "locked": {"cores": 2}},
        {"groups": ["b"], "locked": {"cores": 6}},
        {"groups": ["c"], "locked": {"runtime": "02:00:00"}, "queues": ["gpu.q"]},
        {"groups": ["d"], "queues": ["gpu.q"], "most": {"runtime": "00:30:00"}},
    ]
    holder = Holder(rules=rules)
    tight = Cluster(*(queue(name, slots="4", h_rt="01:00:00") for name in holder.policy.queues))
    await ClusterLimits(tight, logging.getLogger("test")).ask(holder)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == [
        "rules.1.locked.cores: the cluster does not allow 6, so that it is locked at 4.",
        "rules.2.locked.runtime: the cluster does not allow 02:00:00, so that it is locked at 01:00:00.",
    ]


async def test_a_cluster_that_allows_more_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody judges anew for that; of several parallel environments it is news which queue offers which."""
    caplog.set_level(logging.INFO)
    cluster = Cluster(queue("short.q"))
    for holder, adopted in ((Holder(), 0), (Holder(**PES), 1)):
        await ClusterLimits(cluster, logging.getLogger("test")).ask(holder)
        assert holder.adopted == adopted
    assert caplog.records == []


async def test_the_hubs_start_is_left_alone_and_questions_are_rare() -> None:
    """Until the first pause is over, or the site's file has changed."""
    cluster, holder = Cluster(queue("short.q")), Holder()
    limits = ClusterLimits(cluster, logging.getLogger("test"), first=3600, pause=3600)
    work = asyncio.get_running_loop().create_task(limits.run(holder))
    await asyncio.sleep(0.05)
    assert cluster.asked == 0
    limits.wake()
    while cluster.asked == 0:  # noqa: ASYNC110 - the cluster has no event
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    assert cluster.asked == 1
    work.cancel()
    await asyncio.wait([work])


async def test_a_file_that_changes_while_the_cluster_is_asked_is_under_its_limits() -> None:
    """What is adopted is compared with the file as it is by then."""

    class Late(Cluster):
        async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
            holder.policy = site(queues={"short.q": {"cores": 64, "memory": "64G", "runtime": "01:00:00"}})
            return await super().queues(names)

    holder = Holder()
    limits = ClusterLimits(Late(queue("short.q", slots="32")), logging.getLogger("test"))
    await limits.ask(holder)
    assert holder.adopted == 1
    assert limits.of(holder.policy).queues["short.q"].cores == 32
