"""A job in Grid Engine's words, and how a request becomes one.

The division of memory over slots, the PE for more than one core and the way GPUs are counted live here and
nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from sgehub.model.judging import fitting_queues
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.units import Memory


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What qsub is asked for. `resources` are hard requests; `queue` may list several, joined by commas."""

    name: str
    slots: int
    pe: str | None
    resources: tuple[tuple[str, str], ...]
    queue: str | None
    project: str | None
    home: str
    log: str
    shell: str = "/bin/bash"
    notify: bool = True


def resolve(request: ResourceRequest, policy: SitePolicy, *, name: str, home: str, log: str) -> JobSpec:
    """Turn an allowed request into a job; the caller has asked `policy.violations` before."""
    return JobSpec(
        name=name,
        slots=request.cores,
        pe=policy.parallel_environment if request.cores > 1 else None,
        resources=tuple(_resources(request, policy)),
        queue=",".join(fitting_queues(request, policy)) or None,
        project=request.project,
        home=home,
        log=log,
    )


def memory_limit(request: ResourceRequest, policy: SitePolicy) -> Memory:
    """Return what the whole job may use by the site's first complex of memory, headroom included."""
    return policy.memory[0].total(request.memory, request.cores)


def _resources(request: ResourceRequest, policy: SitePolicy) -> list[tuple[str, str]]:
    found = [(one.complex, str(one.each(request.memory, request.cores))) for one in policy.memory]
    found.append(("h_rt", str(request.runtime)))
    if request.gpus and policy.gpu is not None:
        each = request.gpus // request.cores if policy.gpu.counted == "slot" else request.gpus
        found.append((policy.gpu.complex, str(each)))
        if request.gpu_type is not None:
            found.extend(policy.gpu_types[request.gpu_type].adds.items())
    return found
