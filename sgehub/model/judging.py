"""What is wrong with a request under a policy: every reason at once, in the words of the form.

The law of this file: it judges values that have types, says numbers as people write them, and knows neither the
cluster nor how a request is put to Grid Engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sgehub.errors import Violation
from sgehub.model.request import EXTRA, FIELDS, ResourceRequest
from sgehub.model.siteparts import Limits, Most
from sgehub.model.sitevalues import HOME, USERNAME
from sgehub.model.units import Memory

if TYPE_CHECKING:
    from sgehub.model.policy import SitePolicy


def violations(request: ResourceRequest, policy: SitePolicy) -> tuple[Violation, ...]:
    """Return every reason why `request` is not allowed; empty means it is."""
    if found := tuple(_beyond_any_queue(request, policy)):
        return found
    if found := tuple(_beyond_project(request, policy)):
        return found
    if request.queue is not None:
        limits, where = policy.queues[request.queue], f" in queue {request.queue}"
        return (*_beyond(request, limits, policy, where), *_closed_to_project(request, policy))
    if fitting_queues(request, policy):
        return ()
    return tuple(_beyond(request, most(policy), policy, "")) or _not_together(request, policy)


def wrong_defaults(request: ResourceRequest, policy: SitePolicy) -> tuple[Violation, ...]:
    """Return why `request` cannot be what the form begins with: what people have to choose may be left open."""
    chosen = dict(request.extra)
    fields = {
        name: field if chosen.get(name) else field.model_copy(update={"required": False})
        for name, field in policy.fields.items()
    }
    changes: dict[str, Any] = {"fields": fields}
    if policy.project_required and request.project is None:
        open_ = {name: limits.model_copy(update={"projects": None}) for name, limits in policy.queues.items()}
        changes |= {"project_required": False, "queues": open_}
    return violations(request, policy.model_copy(update=changes))


def fitting_queues(request: ResourceRequest, policy: SitePolicy) -> tuple[str, ...]:
    """Return the queues whose maxima hold the request, in the order of the site's file.

    A job names one parallel environment: where none is chosen, all of them offer that of `pe_of`.
    """
    found = tuple(
        name for name, limits in _open(request, policy).items() if not any(_beyond(request, limits, policy, ""))
    )
    pe = _pe_in(found, request, policy)
    return found if pe is None else tuple(one for one in found if policy.queues[one].holds(pe, request.cores))


def pe_of(request: ResourceRequest, policy: SitePolicy) -> str | None:
    """Return the parallel environment of a job, None for one core: the chosen one, else the first that fits."""
    return _pe_in(fitting_queues(request, policy), request, policy)


def _pe_in(queues: Sequence[str], request: ResourceRequest, policy: SitePolicy) -> str | None:
    if request.cores <= 1 or request.pe is not None:
        return request.pe if request.cores > 1 else None
    pes = policy.parallel_environment
    fitting = (pe for pe in pes if any(policy.queues[one].holds(pe, request.cores) for one in queues))
    return next(fitting, next(iter(pes), None))


def _open(request: ResourceRequest, policy: SitePolicy) -> dict[str, Limits]:
    """Return the queue that the request names, else all, without those that are closed to its project."""
    project = policy.projects.get(request.project or "")
    allowed = policy.queues if project is None or project.queues is None else project.queues
    return {
        name: limits
        for name, limits in policy.queues.items()
        if name in allowed and request.queue in (None, name) and limits.takes(request.project)
    }


def _not_together(request: ResourceRequest, policy: SitePolicy) -> tuple[Violation, ...]:
    """Say what stands in the way where some queue offers each wish alone."""
    if request.gpu_type and fitting_queues(request.model_copy(update={"gpu_type": None}), policy):
        return (Violation("gpu_type", f"No queue has GPUs of type {request.gpu_type} and the rest of this."),)
    if request.pe and fitting_queues(request.model_copy(update={"pe": None}), policy):
        return (Violation("pe", f"No queue offers so many slots in {request.pe} and the rest of this."),)
    if fitting_queues(request.model_copy(update={"project": None}), policy):
        allowed = ", ".join(policy.projects[request.project or ""].queues or ())
        return (Violation("project", f"Project {request.project} may use {allowed} only, which offers less."),)
    able = [
        name
        for name in policy.projects
        if fitting_queues(one := request.model_copy(update={"project": name}), policy)
        and not any(_beyond_project(one, policy))
    ]
    if able:
        return (Violation("project", f"The queues that offer this take sessions of {', '.join(able)} only."),)
    each = "; ".join(
        f"{name} offers at most {_words(limits)}" for name, limits in list(policy.queues.items())[:10]
    )
    return (Violation("", f"No queue offers all of this together: {each}."),)


def most(policy: SitePolicy) -> Limits:
    """Return the most that any queue offers of each, which no single queue may offer together."""
    every = policy.queues.values()
    return Limits(
        cores=max(one.cores for one in every) if policy.parallel_environment else 1,
        memory=max(one.memory for one in every),
        gpus=max(one.gpus for one in every) if policy.gpu else 0,
        runtime=max(one.runtime for one in every),
    )


def least_options(policy: SitePolicy) -> dict[str, Any]:
    """Return the least that a session can be: nothing chosen but what the site's own fields have by default."""
    least = {"cores": 1, "gpus": 0, "memory": policy.smallest_memory, "runtime": policy.shortest_runtime}
    extras = {f"{EXTRA}{name}": value for name, value in policy.defaults.extra}
    return {**dict.fromkeys(FIELDS), **least, **extras}


def memory_granted(request: ResourceRequest, policy: SitePolicy) -> Memory:
    """Return what the person gets in all, headroom aside, once it is divided over slots and rounded up."""
    if not policy.memory_is_divided:
        return Memory(-(-request.memory.bytes // 1024) * 1024)
    return request.memory.per_slot(request.cores).times(request.cores)


def _beyond_any_queue(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    if request.cores < 1:
        yield Violation("cores", "A session needs at least 1 core.")
    elif request.cores > 1 and not policy.parallel_environment:
        yield Violation("cores", "Sessions of this cluster have 1 core: it has no parallel environment.")
    if request.memory < policy.smallest_memory:
        yield Violation("memory", f"A session needs at least {policy.smallest_memory} of memory.")
    if request.gpus < 0:
        yield Violation("gpus", "The number of GPUs cannot be negative.")
    elif request.gpus and policy.gpu is None:
        yield Violation("gpus", "This cluster offers no GPUs: ask for 0.")
    elif request.cores >= 1 and request.gpus and policy.gpu and policy.gpu.counted == "slot":
        yield from _gpus_divide(request, policy)
    if request.runtime < policy.shortest_runtime:
        yield Violation("runtime", f"The shortest runtime is {policy.shortest_runtime.words()}.")
    yield from _unknown_names(request, policy)
    yield from _not_offered(request, policy)


def _unknown_names(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    pes = policy.parallel_environment
    for field, known, noun, nouns in (
        ("queue", policy.queues, "queue", "Queues"),
        ("gpu_type", policy.gpu_types, "type of GPU called", "Types"),
        ("project", policy.projects, "project", "Projects"),
        ("pe", pes, "parallel environment", "Parallel environments"),
        ("environment", policy.environments, "environment", "Environments"),
        ("interface", policy.interfaces, "interface", "Interfaces"),
    ):
        chosen = getattr(request, field)
        if chosen is not None and chosen not in known:
            others = f"{nouns} are: {', '.join(known)}." if known else "Leave it empty."
            yield Violation(field, f"There is no {noun} {chosen}. {others}")
    if request.project is None and policy.project_required:
        yield Violation("project", f"Every session needs a project: {', '.join(policy.projects)}.")


def _not_offered(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    """Yield what this site does not offer of folders, e-mail, reservations and fields of its own."""
    if request.folder is not None and not any(_is_below(request.folder, one) for one in policy.working_folders):
        yield Violation("folder", _folders_sentence(policy))
    if request.mail is not None:
        if policy.mail is None:
            yield Violation("mail", "This site sends no e-mail: leave it empty.")
        elif not policy.mail.may_reach(request.mail):
            yield Violation("mail", f"Write an address at {' or '.join(policy.mail.domains)}.")
    if request.reservation is not None and not policy.advance_reservations:
        yield Violation("reservation", "This site offers no advance reservations: leave it empty.")
    chosen = dict(request.extra)
    for name, field in policy.fields.items():
        if trouble := field.trouble(chosen.pop(name, "")):
            yield Violation(f"{EXTRA}{name}", trouble)
    for name in filter(chosen.get, chosen):
        known = f"Those of this site are: {', '.join(policy.fields)}." if policy.fields else "This site has none."
        yield Violation("", f"There is no field {EXTRA}{name}. {known}")


def _is_below(folder: str, allowed: str) -> bool:
    """Tell whether a folder is an allowed one or below it: {home} stands for relative paths.

    It is no matter of safety, since a session is the person's own, so that any name will do for {username}.
    """
    if allowed.startswith(HOME):
        wanted, inside = allowed[len(HOME) :].strip("/"), folder.removeprefix("~").lstrip("/")
        if folder.startswith("/"):
            return False
        return not wanted or inside == wanted or inside.startswith(f"{wanted}/")
    pattern = re.escape(allowed.rstrip("/")).replace(re.escape(USERNAME), "[^/]+")
    return re.fullmatch(f"{pattern}(/.*)?", folder) is not None


def _folders_sentence(policy: SitePolicy) -> str:
    if not policy.working_folders:
        return "Sessions open in the home folder here: leave it empty."
    words = [
        f"of your home{one[len(HOME) :]}, written without the part before it, such as projects/x"
        if one.startswith(HOME)
        else f"below {one.replace(USERNAME, 'NAME')}"
        for one in policy.working_folders
    ]
    return f"Write a folder {', or one '.join(words)}."


def _closed_to_project(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    project = policy.projects.get(request.project or "")
    takes = policy.queues[request.queue or ""].projects
    if project is not None and project.queues is not None and request.queue not in project.queues:
        allowed = ", ".join(project.queues)
        yield Violation("queue", f"Project {request.project} may not use {request.queue}, only {allowed}.")
    elif takes is not None and request.project not in takes:
        yield Violation("queue", f"Queue {request.queue} takes sessions of {', '.join(takes)} only.")


def _beyond_project(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    project = policy.projects.get(request.project or "")
    if project is not None:
        yield from _beyond(request, most(policy).under(project.most), policy, f" for project {request.project}")


def _gpus_divide(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    """Grid Engine gives every slot the same number of GPUs where the complex is counted per slot."""
    if request.gpus % request.cores:
        project = policy.projects.get(request.project or "")
        cap = Most() if project is None else project.most
        queues = (_open(request, policy) or policy.queues).values()
        top = max((one.under(cap).gpus for one in queues if one.cores >= request.cores), default=0)
        below = min(request.gpus, top) // request.cores * request.cores
        above = f" or {below + request.cores}" if below + request.cores <= top else ""
        yield Violation(
            "gpus",
            f"Each core gets the same number of GPUs here: with {counted(request.cores, 'core')} "
            f"ask for {below}{above} GPUs.",
        )


def _beyond(request: ResourceRequest, limits: Limits, policy: SitePolicy, where: str) -> Iterator[Violation]:
    if request.cores > limits.cores:
        yield Violation("cores", f"At most {counted(limits.cores, 'core')}{where}.")
    elif memory_granted(request, policy) > limits.memory:
        yield Violation("memory", _memory_sentence(request, limits, policy, where))
    if request.cores > 1 and request.pe is not None and not limits.holds(request.pe, request.cores):
        slots = (limits.offered or {}).get(request.pe, 0)
        most_ = f"At most {counted(slots, 'core')} in" if slots else "There is no"
        yield Violation("pe", f"{most_} parallel environment {request.pe}{where}.")
    if request.gpus > limits.gpus:
        yield Violation(
            "gpus", f"At most {counted(limits.gpus, 'GPU')}{where}." if limits.gpus else f"No GPUs{where}."
        )
    types = limits.gpu_types
    if request.gpus and request.gpu_type and types is not None and request.gpu_type not in types:
        yield Violation("gpu_type", f"No GPUs of type {request.gpu_type}{where}.")
    if request.runtime > limits.runtime:
        yield Violation("runtime", f"At most {limits.runtime} ({limits.runtime.words()}){where}.")


def _memory_sentence(request: ResourceRequest, limits: Limits, policy: SitePolicy, where: str) -> str:
    if request.memory > limits.memory or not policy.memory_is_divided:
        return f"At most {limits.memory} of memory{where}."
    share = limits.memory.bytes // (request.cores * 1024) * 1024
    return (
        f"At most {Memory(share).times(request.cores)} of memory{where} with {request.cores} cores: "
        f"each core's share is rounded up to whole K."
    )


def _words(limits: Limits) -> str:
    cores, gpus = counted(limits.cores, "core"), counted(limits.gpus, "GPU")
    return f"{cores}, {limits.memory}, {gpus} and {limits.runtime.words()}"


def counted(number: int, noun: str) -> str:
    """Return number and noun as people say them: "1 core", "2 cores"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
