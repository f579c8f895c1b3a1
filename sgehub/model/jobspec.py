"""A job in Grid Engine's words, and how a request becomes one.

The division of memory over slots, the PE for more than one core and the way GPUs are counted live here and
nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from sgehub.model.judging import fitting_queues, pe_of
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.sitechoices import ExtraField
from sgehub.model.units import Memory


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What qsub is asked for. `resources` are hard requests; `queue` may list several, joined by commas.

    `mail` is an address and at what moments it is written to (qsub -m); `switches` are the administrator's own
    words for qsub; `reserve` asks that smaller jobs do not always overtake this one (-R y).
    """

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
    mail: tuple[str, str] | None = None
    reservation: int | None = None
    reserve: bool = False
    switches: tuple[str, ...] = ()


def resolve(request: ResourceRequest, policy: SitePolicy, *, name: str, home: str, log: str) -> JobSpec:
    """Turn an allowed request into a job; the caller has asked `policy.violations` before."""
    return JobSpec(
        name=name,
        slots=request.cores,
        pe=pe_of(request, policy),
        resources=tuple(_resources(request, policy)),
        queue=",".join(named_queues(request, policy)) or None,
        project=request.project,
        home=home,
        log=log,
        mail=(policy.mail.when, request.mail) if policy.mail and request.mail else None,
        reservation=request.reservation,
        reserve=policy.reserve_from is not None and request.cores >= policy.reserve_from,
        switches=tuple(word for field, value in _chosen(request, policy) for word in field.switches(value)),
    )


def named_queues(request: ResourceRequest, policy: SitePolicy) -> tuple[str, ...]:
    """Return the queues that the job names: all that it fits in, none where resources alone are to decide.

    Resources know nothing of a project that may use some queues only, nor of a queue that is for some projects
    only: jobs name them.
    """
    project = policy.projects.get(request.project or "")
    bound = request.queue is not None or (project is not None and project.queues is not None)
    bound = bound or any(limits.projects is not None for limits in policy.queues.values())
    return fitting_queues(request, policy) if bound or policy.name_queues else ()


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
    for field, value in _chosen(request, policy):
        found.extend(field.requests(value).items())
    return found


def _chosen(request: ResourceRequest, policy: SitePolicy) -> list[tuple[ExtraField, str]]:
    return [(policy.fields[name], value) for name, value in request.extra if value]
