"""What the site allows: the model behind ``site.yaml``.

Knows nothing of files, which `siteconfig` reads; `judging` says what is wrong with a request under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from sgehub.errors import RequestRefusedError, Violation
from sgehub.model import consistency, names
from sgehub.model.judging import violations
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
    def _is_consistent(self) -> SitePolicy:
        consistency.check(self)
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
