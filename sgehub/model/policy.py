"""What the site allows: the model behind ``site.yaml``.

Knows nothing of files, which `siteconfig` reads; `judging` says what is wrong with a request under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from sgehub.model import consistency, names
from sgehub.model.asking import asked
from sgehub.model.request import FIELDS, ResourceRequest
from sgehub.model.sitechoices import (
    EnvironmentSite,
    ExtraField,
    FieldText,
    InterfaceSite,
    MailSite,
    PresetSite,
)
from sgehub.model.siteparts import (
    ClusterSite,
    GpuSite,
    GpuType,
    Limits,
    MemoryComplex,
    ProjectSite,
    Rule,
    SessionSite,
)
from sgehub.model.sitevalues import Closed, DurationValue, Folder, MemoryValue, RequestFields
from sgehub.model.units import Duration, Memory


def _check_field(name: str) -> str:
    if name not in FIELDS:
        raise ValueError(f"There is no such field of a request. Fields are: {', '.join(FIELDS)}.")
    return name


FieldName = Annotated[str, AfterValidator(_check_field)]


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
        tuple[names.ObjectName, ...],
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
        Field(description="PE for more than one core, or a list to choose from; left out: one core only."),
    ] = ()
    queues: Annotated[dict[names.ObjectName, Limits], Field(min_length=1, description="Queues and their maxima.")]
    projects: Annotated[
        dict[names.ObjectName, ProjectSite], Field(description="Projects to choose from; none: nobody is asked.")
    ] = {}
    project_required: Annotated[bool, Field(description="Whether every session needs a project.")] = False
    environments: Annotated[
        dict[names.ObjectName, EnvironmentSite],
        Field(description="Software environments to choose from; the first is the default."),
    ] = {}
    interfaces: Annotated[
        dict[names.ObjectName, InterfaceSite],
        Field(description="Interfaces to choose from; the first is the default."),
    ] = {}
    working_folders: Annotated[
        list[Folder],
        Field(description="Folders in which a session may open; may hold {home}, {username}. None: home only."),
    ] = []
    mail: MailSite | None = None
    advance_reservations: Annotated[
        bool, Field(description="Whether people may name an advance reservation (qrsub).")
    ] = False
    reserve_from: Annotated[
        int | None,
        Field(ge=1, le=100_000, description="Sessions of so many slots ask for a reservation (qsub -R y)."),
    ] = None
    name_queues: Annotated[
        bool,
        Field(description="Whether jobs name the queues they fit in; else resources alone decide (no qsub -q)."),
    ] = True
    fields: Annotated[
        dict[names.ObjectName, ExtraField], Field(description="Further fields of the form, and what they add.")
    ] = {}
    presets: Annotated[
        dict[names.ObjectName, PresetSite], Field(description="Requests to start with a single click.")
    ] = {}
    locked: Annotated[
        RequestFields, Field(description="Fields of a request that nobody can change, and their values.")
    ] = {}
    sessions_per_person: Annotated[
        int | None, Field(ge=1, le=1_000, description="Sessions that each may have at once.")
    ] = None
    texts: Annotated[
        dict[FieldName, FieldText], Field(description="Labels and help of the form's own fields.")
    ] = {}
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
    ] = {}
    template_folders: Annotated[
        list[names.AbsolutePath],
        Field(description="Folders with the site's own templates, searched before those of sgehub."),
    ] = []
    helper: Annotated[
        list[str],
        Field(min_length=1, description="How sgehub-as-user is called; {person} stands for the account."),
    ] = ["sudo", "-n", "-H", "-u", "{person}", "/opt/sgehub/bin/sgehub-as-user"]

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

    def parse(
        self, raw: object, defaults: Mapping[str, object] | None = None, *, unfinished: bool = False
    ) -> ResourceRequest:
        """Read and judge a request from anywhere; raises RequestRefusedError with every reason at once.

        `defaults` are fields that stand in for those of the site where `raw` names none. In an unfinished request
        what people have to choose may be open.
        """
        return asked(self, raw, defaults or {}, unfinished=unfinished)
