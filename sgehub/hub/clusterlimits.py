"""The cluster's own limits: people may ask for the smaller of what the site's file says and what the cluster says.

The law of this file: it asks rarely (queues and parallel environments change with an administrator), holds
nobody up, and where the cluster does not answer, what it said last holds, or the file alone. What depends on
hosts, access lists and quotas is left to Grid Engine's own verdict.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from sgehub.errors import SgehubError
from sgehub.gridengine.parse_qconf import ClusterQueue, ParallelEnvironment
from sgehub.hub.news import heard
from sgehub.model.narrowing import narrowed, refitted
from sgehub.model.policy import SitePolicy
from sgehub.model.siteparts import Limits, Most
from sgehub.model.units import Duration

FIRST: Final = 60.0  # seconds after the hub's start, which has enough to ask as it is
PAUSE: Final = 900.0  # seconds between questions


class Cluster(Protocol):
    """The questions that are asked of `gridengine.client.GridEngine`."""

    async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
        """Return those of the queues that exist."""

    async def parallel_environment(self, name: str) -> ParallelEnvironment | None:
        """Return a parallel environment."""


class Holder(Protocol):
    """What works by a policy."""

    policy: SitePolicy

    def adopt(self, policy: SitePolicy) -> None:
        """Judge by this policy from now on."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the cluster says of the queues and parallel environments that the site's file names."""

    queues: Mapping[str, ClusterQueue] = field(default_factory=dict)
    pes: Mapping[str, ParallelEnvironment] = field(default_factory=dict)


def own_limits(policy: SitePolicy, facts: Facts) -> Iterator[tuple[str, Most]]:
    """Yield queues and what the cluster itself allows there, where that is known."""
    for name in policy.queues:
        queue = facts.queues.get(name)
        if queue is not None and queue.slots >= 1:
            cores = min(queue.slots, max([1, *offered(queue, facts.pes).values()])) if facts.pes else queue.slots
            yield name, Most(cores=cores, runtime=None if queue.h_rt is None else Duration(queue.h_rt))


def offered(queue: ClusterQueue, pes: Mapping[str, ParallelEnvironment]) -> dict[str, int]:
    """Return the parallel environments that a queue offers on some host, and the slots of each."""
    return {pe.name: pe.slots for pe in pes.values() if pe.name in queue.pe_lists}


def queues_under(policy: SitePolicy, facts: Facts) -> dict[str, Limits]:
    """Return the policy's queues with no limit above the cluster's own, and with the PEs that each offers."""
    queues = dict(policy.queues)
    for name, most in own_limits(policy, facts):
        queues[name] = queues[name].under(most)
        if facts.pes and len(policy.parallel_environment) > 1:  # one alone is in the number of cores
            queues[name] = queues[name].offering(offered(facts.queues[name], facts.pes))
    return queues


def tightened(policy: SitePolicy, facts: Facts) -> SitePolicy:
    """Return the policy with no limit above the cluster's own; the same one where none is."""
    queues = queues_under(policy, facts)
    return policy if queues == policy.queues else refitted(policy.model_copy(update={"queues": queues}), {})


class ClusterLimits:
    """What one site's cluster allows by itself."""

    def __init__(
        self, cluster: Cluster, log: logging.Logger, *, first: float = FIRST, pause: float = PAUSE
    ) -> None:
        self._cluster, self._log, self._first, self._pause = cluster, log, first, pause
        self._facts = Facts()
        self._woken = asyncio.Event()

    def of(self, policy: SitePolicy) -> SitePolicy:
        """Return the policy under the cluster's limits, as they are known."""
        return tightened(policy, self._facts)

    def wake(self) -> None:
        """Ask at once: the site's file names other queues, perhaps."""
        self._woken.set()

    async def run(self, holder: Holder) -> None:
        """Ask again and again, as long as the hub runs."""
        await heard(self._woken, self._first)
        while True:
            self._woken.clear()
            await self.ask(holder)
            await heard(self._woken, self._pause)

    async def ask(self, holder: Holder) -> None:
        """Ask once, and have the policy adopted where the limits have changed. Never raises."""
        policy = holder.policy
        try:
            queues = await self._cluster.queues(tuple(policy.queues))
            pes = [await self._cluster.parallel_environment(name) for name in policy.parallel_environment]
        except SgehubError as error:
            self._log.info("The cluster's own limits are not known (%s); those known before hold.", error)
            return
        facts = Facts({one.name: one for one in queues}, {one.name: one for one in pes if one is not None})
        if facts == self._facts:
            return
        policy = holder.policy  # the site's file may have changed meanwhile
        before, self._facts = self.of(policy), facts
        if (now := self.of(policy)) != before:
            for name, most in own_limits(policy, facts):
                if policy.queues[name].under(most) != policy.queues[name]:
                    self._log.info(
                        "Queue %s: the cluster itself allows %s, less than the site's file says.",
                        name,
                        _words(most),
                    )
            for key, value, instead in _moved(policy, now):
                self._log.warning(
                    "%s: the cluster does not allow %s, so that it is locked at %s.", key, value, instead
                )
            holder.adopt(holder.policy)


def _moved(policy: SitePolicy, now: SitePolicy) -> Iterator[tuple[str, object, object]]:
    """Yield the locks of the site's file that the cluster does not allow: key, value, and what counts instead."""
    places = [("locked", policy.locked, now.locked)]
    for number, rule in enumerate(policy.rules):
        own = {name: value for name, value in rule.locked.items() if name not in policy.locked}
        places.append((f"rules.{number}.locked", own, narrowed(now, (number,)).locked))
    for place, before, after in places:
        for name, value in before.items():
            if after[name] != value:
                yield f"{place}.{name}", value, "nothing" if after[name] is None else after[name]


def _words(most: Most) -> str:
    runtime = "any runtime" if most.runtime is None else most.runtime.words()
    return f"{most.cores} slots and {runtime}"
