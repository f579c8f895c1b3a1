"""The parts of ``site.yaml``: the cluster, its complexes, the maxima of a queue, how sessions run.

Closed, frozen models that know nothing of files; `policy` puts them together and judges by them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from sgehub.model import names
from sgehub.model.sitevalues import Closed, DurationValue, Folder, MemoryValue, RequestFields, error_at
from sgehub.model.units import Duration, Memory


class ClusterSite(Closed):
    """Where this cluster's Grid Engine is."""

    root: Annotated[names.AbsolutePath, Field(description="SGE_ROOT.")]
    cell: Annotated[names.ObjectName, Field(description="SGE_CELL.")] = "default"
    commands: Annotated[
        names.AbsolutePath,
        Field(description="Folder of the real qsub, qstat, qdel and qacct (not of shell wrappers)."),
    ]
    qmaster_port: Annotated[int | None, Field(ge=1, le=65535, description="SGE_QMASTER_PORT.")] = None
    execd_port: Annotated[int | None, Field(ge=1, le=65535, description="SGE_EXECD_PORT.")] = None
    arch: Annotated[names.ObjectName | None, Field(description="SGE_ARCH, for example lx-amd64.")] = None
    host_lost_after: Annotated[
        DurationValue,
        Field(description="A host that has not reported to Grid Engine for so long is lost with its sessions."),
    ] = Duration(15 * 60)


class ComplexSite(Closed):
    """A complex by which a resource is asked for, and how Grid Engine counts it."""

    complex: Annotated[names.ObjectName, Field(description="Name of the complex (qconf -sc).")]
    counted: Annotated[
        Literal["slot", "job", "host"],
        Field(description='"slot": multiplied by the slots (consumable YES); "job": once; "host": per host.'),
    ]


class MemoryComplex(ComplexSite):
    """One complex of memory; a site may have several, such as a limit and what hosts have free."""

    headroom: Annotated[
        Decimal,
        Field(
            ge=1,
            le=10,
            description="The job gets so many times what is asked for: h_vmem counts addresses without memory.",
        ),
    ] = Decimal(1)

    def total(self, memory: Memory, slots: int) -> Memory:
        """Return what the job holds in all of this complex, rounded up as Grid Engine's notation needs it."""
        return self.each(memory, slots).times(slots if self.counted == "slot" else 1)

    def each(self, memory: Memory, slots: int) -> Memory:
        """Return what is asked for on qsub's command line: the share of one slot, or all of it."""
        more = Memory(math.ceil(memory.bytes * self.headroom))
        return more.per_slot(slots if self.counted == "slot" else 1)

    def without_headroom(self, size: int) -> int:
        """Return how many of so many bytes of this complex a person could ask for, rounded down."""
        return size if self.headroom == 1 else int(size / self.headroom)


class GpuType(Closed):
    """One type of GPU that people can choose."""

    label: Annotated[names.Label | None, Field(description="What people read; by default its name.")] = None
    adds: Annotated[
        dict[names.ObjectName, names.ResourceValue],
        Field(min_length=1, description="Hard requests that this type adds: complex and value."),
    ]


class GpuSite(ComplexSite):
    """The complex of GPUs, and the types among which people can choose."""

    types: Annotated[
        dict[names.ObjectName, GpuType], Field(description="Types of GPU to choose from; without one, any.")
    ] = {}


class Most(Closed):
    """The most that one session of some people or some project may ask for, whatever the queue has."""

    cores: Annotated[int | None, Field(ge=1, le=100_000, description="Most slots of one session.")] = None
    memory: Annotated[MemoryValue | None, Field(description="Most memory of one session, in all.")] = None
    gpus: Annotated[int | None, Field(ge=0, le=1_000, description="Most GPUs of one session.")] = None
    runtime: Annotated[DurationValue | None, Field(description="Longest runtime.")] = None


class ProjectSite(Closed):
    """A project (qsub -P) that people can choose."""

    label: Annotated[names.Label | None, Field(description="What people read; by default its name.")] = None
    queues: Annotated[
        list[names.ObjectName] | None,
        Field(min_length=1, description="The only queues that this project may use; by default all."),
    ] = None
    most: Most = Most()


class Limits(Closed):
    """The most that one session may ask for in a queue."""

    cores: Annotated[int, Field(ge=1, le=100_000, description="Most slots of one session.")]
    memory: Annotated[MemoryValue, Field(description="Most memory of one session, in all.")]
    gpus: Annotated[int, Field(ge=0, le=1_000, description="Most GPUs of one session.")] = 0
    gpu_types: Annotated[
        list[names.ObjectName] | None, Field(description="The types of GPU that it has; by default all.")
    ] = None
    projects: Annotated[
        list[names.ObjectName] | None,
        Field(
            min_length=1,
            description="The only projects whose sessions it takes, as in the queue's own ``projects``; "
            "by default all, and sessions without one.",
        ),
    ] = None
    runtime: Annotated[DurationValue, Field(description="Longest runtime.")]
    patience: Annotated[
        DurationValue, Field(description="A session that waits longer in this queue is given up, with a reason.")
    ] = Duration(12 * 3600)
    _slots: Mapping[str, int] | None = PrivateAttr(default=None)  # no key: what the cluster says, by PE

    def offering(self, slots: Mapping[str, int]) -> Limits:
        """Return these limits for a queue of which the cluster says what PEs it offers, and the slots of each."""
        copy = self.model_copy()
        copy._slots = dict(slots)  # noqa: SLF001 - of its own class
        return copy

    @property
    def offered(self) -> Mapping[str, int] | None:
        """The slots of each PE that the queue offers; None if the cluster has not said."""
        return self._slots

    def holds(self, pe: str, cores: int) -> bool:
        """Tell whether the queue offers a PE with so many slots, as far as that is known."""
        return self._slots is None or cores <= self._slots.get(pe, 0)

    def takes(self, project: str | None) -> bool:
        """Tell whether sessions of a project, or of none, may run here."""
        return self.projects is None or project in self.projects

    def under(self, most: Most) -> Limits:
        """Return these limits where none is above `most`."""
        lower = {key: min(getattr(self, key), value) for key, value in most if value is not None}
        return self.model_copy(update=lower)


class Rule(Closed):
    """What is narrower for some people. A rule names groups, people, or nobody: then it holds for everybody."""

    groups: Annotated[
        list[names.AccountName], Field(description="Unix groups, as the hub's machine knows them.")
    ] = []
    people: Annotated[list[names.AccountName], Field(description="Accounts.")] = []
    queues: Annotated[
        list[names.ObjectName] | None, Field(min_length=1, description="The only queues that they may use.")
    ] = None
    projects: Annotated[
        list[names.ObjectName] | None, Field(description="The only projects that they may choose; []: none.")
    ] = None
    project_required: Annotated[
        bool | None, Field(description="Whether each of their sessions needs a project.")
    ] = None
    environments: Annotated[
        list[names.ObjectName] | None, Field(min_length=1, description="The only environments to choose from.")
    ] = None
    interfaces: Annotated[
        list[names.ObjectName] | None, Field(min_length=1, description="The only interfaces to choose from.")
    ] = None
    presets: Annotated[list[names.ObjectName] | None, Field(description="The only presets; []: none.")] = None
    sessions_per_person: Annotated[
        int | None, Field(ge=1, le=1_000, description="Sessions that each may have at once.")
    ] = None
    most: Most = Most()
    locked: Annotated[
        RequestFields, Field(description="Fields of a request that they cannot change, and their values.")
    ] = {}
    defaults: Annotated[
        RequestFields, Field(description="Fields of a request that their form begins with instead of the site's.")
    ] = {}

    def unknown(self, known: Mapping[str, Collection[str]]) -> tuple[str, str] | None:
        """Return key and name of what it names and the site does not have, None if there is nothing."""
        return next(
            ((key, one) for key, ours in known.items() for one in getattr(self, key) or () if one not in ours),
            None,
        )

    def holds_for(self, person: str, groups: Collection[str]) -> bool:
        """Tell whether it is about this person, who is in these groups."""
        if not self.groups and not self.people:
            return True
        return person in self.people or any(group in groups for group in self.groups)


class SessionSite(Closed):
    """How sessions run on execution hosts."""

    folder: Annotated[
        names.AbsolutePath,
        Field(description="Folder of python and sgehub-session, at the same path on every execution host."),
    ] = "/opt/sgehub/bin"
    path: Annotated[
        list[names.AbsolutePath],
        Field(description="Folders put before PATH in the job: the environment that has jupyterhub."),
    ] = []
    prologue: Annotated[
        str, Field(description="Lines of bash run before the server starts (modules, conda …).")
    ] = ""
    epilogue: Annotated[str, Field(description="Lines of bash run after the server has ended.")] = ""
    ports: Annotated[
        tuple[int, int],
        Field(description="First and last port that servers listen on; open these to the hub."),
    ] = (20000, 29999)
    secrets: Annotated[
        Folder,
        Field(description="Folder of secrets and logs that hub and hosts share; may hold {home}, {username}."),
    ] = "{home}/.sgehub"
    log_limit: Annotated[MemoryValue, Field(description="A job log is cut when it grows beyond this.")] = Memory(
        4 * 1024**2
    )
    keep_logs: Annotated[int, Field(ge=1, le=1_000, description="Logs kept for each person.")] = 10

    @model_validator(mode="after")
    def _ports_in_order(self) -> SessionSite:
        low, high = self.ports
        if not 1024 <= low <= high <= 65535:  # noqa: PLR2004 - the ports a person's process may bind
            raise error_at("ports", "write the first and the last port, between 1024 and 65535: [20000, 29999].")
        return self
