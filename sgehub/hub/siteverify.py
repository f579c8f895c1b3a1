"""Asking Grid Engine, as a person, whether what a site's file offers could ever run.

The law of this file: it asks `qsub -w`, which submits nothing, and a "no" that is known to be wrong is no mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from sgehub.gridengine.argv import submit_options
from sgehub.gridengine.parse_qconf import ClusterQueue
from sgehub.hub.clusterlimits import Facts as Limited
from sgehub.hub.clusterlimits import queues_under
from sgehub.hub.sitefacts import Cluster, Complaint, Facts
from sgehub.model.asking import preset_request
from sgehub.model.jobspec import resolve
from sgehub.model.judging import violations
from sgehub.model.obstacles import doubtful
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.units import Memory
from sgehub.model.wish import Wish

HOME, LOG, NAME = "/home/person", "/home/person/.sgehub/log/0.log", "sgehub-000000000000"
SCRIPT: Final = "true\n"


async def verify(policy: SitePolicy, known: Facts, cluster: Cluster, person: str) -> tuple[Complaint, ...]:
    """Ask qsub as a person about the defaults, the presets and the most of each queue. Raises SgehubError."""
    found = []
    # As in a start, a job asks for a parallel environment that its queue offers.
    policy = policy.model_copy(update={"queues": queues_under(policy, Limited(known.queues, known.pes))})
    for path, request in _wishes(policy, known.queues):
        if request is None:
            found.append(Complaint(path, "this could not be verified: no request is as large as this.", wish=True))
            continue
        options = submit_options(resolve(request, policy, name=NAME, home=HOME, log=LOG))
        found.extend(await _impossible(path, Wish(person, request, policy), options, cluster))
    return tuple(found)


async def _impossible(
    path: tuple[str, ...], wish: Wish, options: tuple[str, ...], cluster: Cluster
) -> tuple[Complaint, ...]:
    """Return what Grid Engine says against a job; its "never" is not always to be believed, see `doubtful`."""
    ever = await cluster.verify(wish.person, options, SCRIPT)
    now = ever if ever.possible else await cluster.verify(wish.person, options, SCRIPT, mode="p")
    if now.possible:
        return ()
    if doubtful(wish, now.lines, ever.lines):
        doubt = f"Grid Engine does not say whether such a job could ever run for {wish.person}"
        return (Complaint(path, f"{doubt}. It could not start now: {now.reason}", wish=True),)
    return (Complaint(path, f"such a job can never run for {wish.person}: {ever.reason}"),)


def _wishes(
    policy: SitePolicy, queues: Mapping[str, ClusterQueue]
) -> Iterator[tuple[tuple[str, ...], ResourceRequest | None]]:
    """Yield the defaults, the presets, and the most of each queue, with their keys; None if no request fits."""
    yield ("defaults",), next(_allowed([policy.defaults], policy), None)
    for name, preset in policy.presets.items():
        yield ("presets", name), next(_allowed([preset_request(policy, preset)], policy), None)
    for name, limits in policy.queues.items():
        each = limits.memory.bytes // (limits.cores * 1024) * 1024  # a share is rounded up to whole K
        most = {"cores": limits.cores, "memory": Memory(each * limits.cores), "runtime": limits.runtime}
        # GPUs that are counted per slot come in multiples of the cores.
        wishes = [
            policy.defaults.model_copy(update={**most, "queue": name, "gpus": gpus}) for gpus in (limits.gpus, 0)
        ]
        yield (
            ("queues", name),
            next(_allowed(wishes, policy, queues[name].projects if name in queues else None), None),
        )


def _allowed(
    wishes: Iterable[ResourceRequest], policy: SitePolicy, among: Collection[str] | None = None
) -> Iterator[ResourceRequest]:
    """Yield the wishes that are allowed, each with the first project, `among` some, that may have it."""
    for one in wishes:
        for project in (one.project, *policy.projects):
            request = one.model_copy(update={"project": project})
            if (among is None or project in among) and not violations(request, policy):
                yield request
                break
