"""What people may ask for is never more than the cluster allows, as far as that is known."""

from __future__ import annotations

import asyncio
import logging

import pytest

from sgehub.errors import NoAnswerError, RequestRefusedError
from sgehub.gridengine.parse_qconf import ClusterQueue, ParallelEnvironment, PerHost
from sgehub.hub.clusterlimits import ClusterLimits, Facts, tightened
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
    assert said == "The site's file locks runtime at 00:30:00, which the cluster does not allow: it is 00:20:00."


async def test_a_cluster_that_allows_more_changes_nothing() -> None:
    """Nobody judges anew for that."""
    cluster, holder = Cluster(queue("short.q")), Holder()
    limits = ClusterLimits(cluster, logging.getLogger("test"))
    await limits.ask(holder)
    assert holder.adopted == 0


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
