"""What a cluster has of what a site's file speaks of, and what is said of a key of that file.

The law of this file: it asks, and judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sgehub.errors import NoAnswerError
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex, ParallelEnvironment
from sgehub.gridengine.parse_qsub import Verification
from sgehub.model.policy import SitePolicy


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with one key. With a `wish` only, sessions start all the same."""

    path: tuple[str, ...]
    sentence: str
    wish: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a cluster has, as far as a site's file speaks of it. `pes` exist and are named there."""

    complexes: Mapping[str, Complex]
    queue_names: tuple[str, ...]
    queues: Mapping[str, ClusterQueue]
    pes: Mapping[str, ParallelEnvironment]
    projects: tuple[str, ...]


class Cluster(Protocol):
    """The questions that are asked of `gridengine.client.GridEngine`."""

    async def complexes(self) -> Mapping[str, Complex]:
        """Return all complexes."""

    async def queue_names(self) -> tuple[str, ...]:
        """Return the names of all cluster queues."""

    async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
        """Return those of them that exist."""

    async def parallel_environment(self, name: str) -> ParallelEnvironment | None:
        """Return a parallel environment."""

    async def project_names(self) -> tuple[str, ...]:
        """Return the names of all projects."""

    async def verify(self, person: str, options: tuple[str, ...], script: str, *, mode: str = "v") -> Verification:
        """Ask whether a job could ever run ("v"), or start now ("p")."""


async def facts(policy: SitePolicy, cluster: Cluster) -> Facts:
    """Ask the cluster. Raises NoAnswerError where it does not answer."""
    names = await cluster.queue_names()
    known = tuple(name for name in policy.queues if name in names)
    queues = {one.name: one for one in await cluster.queues(known)}
    if missing := set(known) - set(queues):
        raise NoAnswerError(f"Grid Engine named the queue {min(missing)} and did not show it.")
    pes = [await cluster.parallel_environment(name) for name in policy.parallel_environment]
    return Facts(
        complexes=await cluster.complexes(),
        queue_names=names,
        queues=queues,
        pes={one.name: one for one in pes if one is not None},
        projects=await cluster.project_names() if policy.projects else (),
    )
