"""What the site allows: the model behind ``site.yaml``, and `violations`, which finds all reasons at once.

Knows nothing of files; `siteconfig` reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from sgehub.errors import RequestRefusedError, Violation
from sgehub.model import names
from sgehub.model.request import FIELDS, ResourceRequest, parse_request
from sgehub.model.siteparts import (
    Closed,
    ClusterSite,
    DurationValue,
    GpuSite,
    GpuType,
    Limits,
    MemoryComplex,
    MemoryValue,
    ProjectSite,
    Rule,
    SessionSite,
    error_at,
)
from sgehub.model.units import Duration, Memory


class SitePolicy(Closed):
    """One cluster, as its administrator describes it."""

    cluster: ClusterSite
    memory: Annotated[
        tuple[MemoryComplex, ...],
        BeforeValidator(lambda value: [value] if isinstance(value, Mapping) else value),
        Field(min_length=1, description="The complex by which memory is asked for, or a list of several."),
    ]
    gpu: GpuSite | None = None
    parallel_environment: Annotated[
        names.ObjectName | None, Field(description="PE for more than one core; none: one core only.")
    ] = None
    queues: Annotated[dict[names.ObjectName, Limits], Field(min_length=1, description="Queues and their maxima.")]
    projects: Annotated[
        dict[names.ObjectName, ProjectSite], Field(description="Projects to choose from; none: nobody is asked.")
    ] = {}  # noqa: RUF012 - pydantic copies defaults
    project_required: Annotated[bool, Field(description="Whether every session needs a project.")] = False
    rules: Annotated[
        tuple[Rule, ...], Field(description="What is narrower for some people; the last counts.")
    ] = ()
    smallest_memory: Annotated[MemoryValue, Field(description="Less than this cannot start a server.")] = Memory(
        256 * 1024**2
    )
    shortest_runtime: Annotated[DurationValue, Field(description="Shorter makes no sense.")] = Duration(60)
    defaults: Annotated[
        ResourceRequest, Field(description="What the form shows first, and what an empty request means.")
    ]
    session: SessionSite = SessionSite()
    hosts: Annotated[
        dict[names.HostName, names.HostName],
        Field(description="From Grid Engine's host name to the name or address the proxy can reach."),
    ] = {}  # noqa: RUF012 - as above
    template_folders: Annotated[
        list[names.AbsolutePath],
        Field(description="Folders with the site's own templates, searched before those of sgehub."),
    ] = []  # noqa: RUF012 - as above
    helper: Annotated[
        list[str],
        Field(min_length=1, description="How sgehub-as-user is called; {person} stands for the account."),
    ] = ["sudo", "-n", "-H", "-u", "{person}", "/opt/sgehub/bin/sgehub-as-user"]  # noqa: RUF012 - as above

    @property
    def memory_is_divided(self) -> bool:
        """Whether memory is counted per slot, so that the cores share it equally."""
        return any(one.counted == "slot" for one in self.memory)

    @property
    def gpu_types(self) -> Mapping[str, GpuType]:
        """The types of GPU that people can choose."""
        return self.gpu.types if self.gpu else {}

    @model_validator(mode="after")
    def _names_exist(self) -> SitePolicy:
        for queue, limits in self.queues.items():
            unknown = sorted(set(limits.gpu_types or ()) - self.gpu_types.keys())
            if unknown:
                raise error_at("queues", f"{queue} has GPUs of type {unknown[0]}, which is not in gpu.types.")
        for project, one in self.projects.items():
            unknown = sorted(set(one.queues or ()) - self.queues.keys())
            if unknown:
                raise error_at("projects", f"{project} may use the queue {unknown[0]}, which is not in queues.")
        if self.project_required and not self.projects:
            raise error_at("project_required", "there are no projects to choose from: name them in projects.")
        return self

    @model_validator(mode="after")
    def _rules_narrow(self) -> SitePolicy:
        for number, rule in enumerate(self.rules):
            where = ("rules", str(number))
            if (strange := rule.unknown(self.queues, self.projects)) is not None:
                raise error_at(strange[0], f"{strange[1]} is not in {strange[0]} above.", *where)
            try:
                parse_request(rule.defaults, self.defaults.as_options())
            except RequestRefusedError as error:
                raise error_at("defaults", str(error), *where) from None
        return self

    @model_validator(mode="after")
    def _complexes_differ(self) -> SitePolicy:
        base = ["h_rt", *(one.complex for one in self.memory), *([self.gpu.complex] if self.gpu else [])]
        added = {name for one in self.gpu_types.values() for name in one.adds}
        twice = sorted({name for name in base if base.count(name) > 1} | (set(base) & added))
        if twice:
            raise error_at("memory", f"a job asks for a complex once, not for {twice[0]} twice: give it one use.")
        return self

    @model_validator(mode="after")
    def _defaults_fit(self) -> SitePolicy:
        found = wrong_defaults(self.defaults, self)
        if found:
            raise error_at("defaults", " ".join(one.message for one in found))
        return self

    def parse(self, raw: object, defaults: Mapping[str, object] | None = None) -> ResourceRequest:
        """Read and judge a request from anywhere; raises RequestRefusedError with every reason at once."""
        fallback = {**self.defaults.as_options(), **(defaults or {})}
        try:
            request = parse_request(raw, fallback)
        except RequestRefusedError as error:
            raise RequestRefusedError((*error.violations, *self._further(raw, fallback, error))) from None
        found = violations(request, self)
        if found:
            raise RequestRefusedError(found)
        return request

    def _further(
        self, raw: object, fallback: Mapping[str, object], error: RequestRefusedError
    ) -> tuple[Violation, ...]:
        """Judge the fields that could be read where others could not: nobody corrects in two rounds."""
        unreadable = {one.field for one in error.violations}
        fields = raw if isinstance(raw, Mapping) else {}
        readable = {name: fields[name] for name in FIELDS if name in fields and name not in unreadable}
        try:
            request = parse_request(readable, fallback)
        except RequestRefusedError:
            return ()
        return tuple(one for one in violations(request, self) if one.field in readable)


def violations(request: ResourceRequest, policy: SitePolicy) -> tuple[Violation, ...]:
    """Return every reason why `request` is not allowed; empty means it is."""
    if found := tuple(_beyond_any_queue(request, policy)):
        return found
    if request.queue is not None:
        limits, where = policy.queues[request.queue], f" in queue {request.queue}"
        return (*_beyond(request, limits, policy, where), *_closed_to_project(request, policy))
    if fitting_queues(request, policy):
        return ()
    return tuple(_beyond(request, most(policy), policy, "")) or _not_together(request, policy)


def wrong_defaults(request: ResourceRequest, policy: SitePolicy) -> tuple[Violation, ...]:
    """Return why `request` cannot be what the form begins with: a project that is required may be left open."""
    if request.project is None and policy.project_required:
        policy = policy.model_copy(update={"project_required": False})
    return violations(request, policy)


def fitting_queues(request: ResourceRequest, policy: SitePolicy) -> tuple[str, ...]:
    """Return the queues whose maxima hold the request, in the order of the site's file."""
    names_ = policy.queues if request.queue is None else (request.queue,)
    project = policy.projects.get(request.project or "")
    return tuple(
        name
        for name in names_
        if not any(_beyond(request, policy.queues[name], policy, ""))
        and (project is None or project.queues is None or name in project.queues)
    )


def _not_together(request: ResourceRequest, policy: SitePolicy) -> tuple[Violation, ...]:
    """Say what stands in the way where some queue offers each wish alone."""
    if request.gpu_type and fitting_queues(request.model_copy(update={"gpu_type": None}), policy):
        return (Violation("gpu_type", f"No queue has GPUs of type {request.gpu_type} and the rest of this."),)
    if fitting_queues(request.model_copy(update={"project": None}), policy):
        allowed = ", ".join(policy.projects[request.project or ""].queues or ())
        return (Violation("project", f"Project {request.project} may use {allowed} only, which offers less."),)
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


def memory_granted(request: ResourceRequest, policy: SitePolicy) -> Memory:
    """Return what the person gets in all, headroom aside, once it is divided over slots and rounded up."""
    if not policy.memory_is_divided:
        return Memory(-(-request.memory.bytes // 1024) * 1024)
    return request.memory.per_slot(request.cores).times(request.cores)


def _beyond_any_queue(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    if request.cores < 1:
        yield Violation("cores", "A session needs at least 1 core.")
    elif request.cores > 1 and policy.parallel_environment is None:
        yield Violation("cores", "Sessions of this cluster have 1 core: it has no parallel environment.")
    if request.memory < policy.smallest_memory:
        yield Violation("memory", f"A session needs at least {policy.smallest_memory} of memory.")
    if request.gpus < 0:
        yield Violation("gpus", "The number of GPUs cannot be negative.")
    elif request.gpus and policy.gpu is None:
        yield Violation("gpus", "This cluster offers no GPUs: ask for 0.")
    elif request.cores >= 1 and request.gpus and policy.gpu and policy.gpu.counted == "slot":
        yield from _gpus_divide(request)
    if request.runtime < policy.shortest_runtime:
        yield Violation("runtime", f"The shortest runtime is {policy.shortest_runtime.words()}.")
    yield from _unknown_names(request, policy)


def _unknown_names(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    if request.queue is not None and request.queue not in policy.queues:
        yield Violation("queue", f"There is no queue {request.queue}. Queues are: {', '.join(policy.queues)}.")
    if request.gpu_type is not None and request.gpu_type not in policy.gpu_types:
        types = f"Types are: {', '.join(policy.gpu_types)}." if policy.gpu_types else "Leave it empty."
        yield Violation("gpu_type", f"There is no type of GPU called {request.gpu_type}. {types}")
    if request.project is not None and request.project not in policy.projects:
        known = f"Projects are: {', '.join(policy.projects)}." if policy.projects else "Leave it empty."
        yield Violation("project", f"There is no project {request.project}. {known}")
    if request.project is None and policy.project_required:
        yield Violation("project", f"Every session needs a project: {', '.join(policy.projects)}.")


def _closed_to_project(request: ResourceRequest, policy: SitePolicy) -> Iterator[Violation]:
    project = policy.projects.get(request.project or "")
    if project is not None and project.queues is not None and request.queue not in project.queues:
        allowed = ", ".join(project.queues)
        yield Violation("queue", f"Project {request.project} may not use {request.queue}, only {allowed}.")


def _gpus_divide(request: ResourceRequest) -> Iterator[Violation]:
    """Grid Engine gives every slot the same number of GPUs where the complex is counted per slot."""
    if request.gpus % request.cores:
        below = request.gpus // request.cores * request.cores
        yield Violation(
            "gpus",
            f"Each core gets the same number of GPUs here: with {_count(request.cores, 'core')} "
            f"ask for {below} or {below + request.cores} GPUs.",
        )


def _beyond(request: ResourceRequest, limits: Limits, policy: SitePolicy, where: str) -> Iterator[Violation]:
    if request.cores > limits.cores:
        yield Violation("cores", f"At most {_count(limits.cores, 'core')}{where}.")
    elif memory_granted(request, policy) > limits.memory:
        yield Violation("memory", _memory_sentence(request, limits, policy, where))
    if request.gpus > limits.gpus:
        yield Violation(
            "gpus", f"At most {_count(limits.gpus, 'GPU')}{where}." if limits.gpus else f"No GPUs{where}."
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
    cores, gpus = _count(limits.cores, "core"), _count(limits.gpus, "GPU")
    return f"{cores}, {limits.memory}, {gpus} and {limits.runtime.words()}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
