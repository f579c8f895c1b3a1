"""Describing a cluster that nobody has described yet: from what Grid Engine has to a site's file that works.

The law of this file: what is written is a proposal with its reason beside it, never wider than what the cluster
says, and what is left out is said. It writes text and changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from sgehub.errors import SiteConfigurationError
from sgehub.gridengine.client import ClusterSettings, GridEngine
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex, ParallelEnvironment
from sgehub.gridengine.runner import Runner
from sgehub.hub.sitecheck import COUNTED, MULTIPLIED, ONE_HOST
from sgehub.hub.survey import Survey, settings_of, survey
from sgehub.model import names
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Duration, Memory
from sgehub.siteconfig import quoted

LIMITS_FIRST: Final = ("h_vmem", "m_mem_free", "rmem", "mem", "mem_free", "virtual_free")
FREE: Final = ("mem_free", "virtual_free")
GPU: Final = re.compile(r"n?gpus?|cuda.*|.*gpu", re.IGNORECASE)
PE_FIRST: Final = ("smp", "threaded", "openmp", "shared", "shm", "make")
WITHOUT_LIMIT: Final = Duration(24 * 3600)  # where a queue has no h_rt of its own
STARTED: Final = (Memory(2 * 1024**3), Duration(3600))  # what a session asks for at first, where there is so much


async def discover(environment: Mapping[str, str], folder: str) -> str:
    """Return the text of a site's file for the cluster that these variables name; see `describe`."""
    settings = settings_of(environment)
    return describe(await survey(GridEngine(settings, Runner())), settings, folder)


def describe(found: Survey, cluster: ClusterSettings, folder: str) -> str:
    """Return the text of a site's file. `folder` holds python, sgehub-session and jupyterhub-singleuser.

    Raises SiteConfigurationError where a cluster has nothing that sessions could run in.
    """
    memory, pe = _memory(found), _pe(found)
    gpu = next((name for name in _consumables(found, {"INT", "DOUBLE", "RSMAP"}) if GPU.fullmatch(name)), None)
    judged = {queue.name: _limits(queue, found, memory, pe, gpu) for queue in found.queues}
    queues = {name: limits for name, limits in judged.items() if isinstance(limits, _Limits)}
    left_out = {name: why for name, why in judged.items() if isinstance(why, str)}
    if not queues:
        named = (f" {name}: {why}." for name, why in left_out.items())
        raise SiteConfigurationError(
            f"No queue takes batch jobs on a host with slots: there is nothing to describe.{''.join(named)}"
        )
    lines = [
        "# What people may ask for on this cluster: as much as Grid Engine says. Narrow it down, then",
        "# compare it with the cluster again: sgehub check-site --person SOMEBODY",
        "",
        *_cluster(cluster),
        "",
        *_complexes(found, memory, pe, gpu),
        "queues:                            # the most that one session may ask for",
        *(limits.line(name) for name, limits in queues.items()),
        *(f"  # {name} is left out: {why}." for name, why in left_out.items()),
        *(f"# The {kind} {name} is left out: no site's file can hold its name." for kind, name in found.unfit),
        "",
        *_rest(found, queues, folder),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Limits:
    """The most of one session in a queue. `share` is that of one slot; `projects`: who may, None: all."""

    cores: int
    memory: Memory
    share: Memory
    gpus: int
    runtime: Duration
    projects: frozenset[str] | None
    why: tuple[str, ...]

    def line(self, name: str) -> str:
        gpus = f"gpus: {self.gpus}, " if self.gpus else ""
        said = f"  # {'; '.join(self.why)}" if self.why else ""
        amounts = f'cores: {self.cores}, memory: {self.memory}, {gpus}runtime: "{self.runtime}"'
        return f"  {quoted(name)}: {{{amounts}}}{said}"


def _cluster(settings: ClusterSettings) -> Iterator[str]:
    yield "cluster:"
    for name, value in (
        ("root", settings.root),
        ("cell", settings.cell),
        ("commands", settings.bin),
        ("qmaster_port", settings.qmaster_port),
        ("execd_port", settings.execd_port),
        ("arch", settings.arch),
    ):
        if value is not None:
            yield f"  {name}: {quoted(value) if isinstance(value, str) else value}"


def _complexes(found: Survey, memory: Complex, pe: ParallelEnvironment | None, gpu: str | None) -> Iterator[str]:
    for key, one in (("memory", memory), ("gpu", found.complexes[gpu] if gpu else None)):
        if one is not None:
            counted, why = _counted(one)
            yield f"{key}:"
            yield f"  complex: {quoted(one.name)}"
            yield f"  counted: {counted:22}# {why}"
            yield ""
    if pe is not None:
        said = "".join(f"  # {why}" for why in _who(pe.user_lists))
        yield f"parallel_environment: {quoted(pe.name)}{said}"
    else:
        yield f"# No queue offers a parallel environment with the allocation rule {ONE_HOST} that this file can"
        yield "# name, so that sessions have one core each."
    yield ""


def _rest(found: Survey, queues: Mapping[str, _Limits], folder: str) -> Iterator[str]:
    memory = min(STARTED[0], *(one.share for one in queues.values()))
    runtime = min(STARTED[1], *(one.runtime for one in queues.values()))
    yield f'defaults: {{cores: 1, memory: {memory}, gpus: 0, runtime: "{runtime}"}}'
    yield ""
    yield from _projects(found, queues)
    yield "session:"
    yield f"  folder: {quoted(folder)}"
    yield f"  path: [{quoted(folder)}]"
    yield "  ports: [20000, 29999]            # open these from the hub to the execution hosts"


def _projects(found: Survey, queues: Mapping[str, _Limits]) -> Iterator[str]:
    """Yield the projects: to choose from where a queue needs one, else as a proposal."""
    needing = [name for name, one in queues.items() if one.projects is not None]
    if needing:
        yield "projects:"
        for name in found.projects:
            its = [queue for queue, one in queues.items() if one.projects is None or name in one.projects]
            only = f"queues: [{', '.join(map(quoted, its))}]" if len(its) < len(queues) else ""
            yield f"  {quoted(name)}: {{{only}}}" if its else f"  # {name} is left out: it may use no queue."
        alone = f"# Sessions without a project do not run in {', '.join(needing)}."
        yield "project_required: true" if len(needing) == len(queues) else alone
        yield ""
    elif found.projects:
        yield "# projects:                      # take the marks away to let people choose a project"
        yield from (f"#   {quoted(name)}: {{}}" for name in found.projects)
        yield ""


def _memory(found: Survey) -> Complex:
    """Choose the complex of memory: a consumable that hosts have, else a limit, else what hosts have free."""
    consumables = list(_consumables(found, {"MEMORY"}))
    for name in (*(one for one in LIMITS_FIRST if one in consumables), *consumables, "h_vmem", *FREE):
        one = found.complexes.get(name)
        if one is not None and one.requestable:
            return one
    raise SiteConfigurationError(
        "No complex of memory can be requested (qconf -sc): sessions could not ask for any."
    )


def _consumables(found: Survey, kinds: set[str]) -> Iterator[str]:
    """Yield the requestable consumables of these kinds of which a host or a queue has some, by name."""
    for name, one in sorted(found.complexes.items()):
        fits = one.requestable and one.consumable in COUNTED and one.kind in kinds
        if fits and names.OBJECT.fullmatch(name) and any(found.most(name, queue) > 0 for queue in found.queues):
            yield name


def _counted(one: Complex) -> tuple[str, str]:
    if one.consumable in COUNTED:
        return COUNTED[one.consumable], f"consumable {one.consumable} (qconf -sc)"
    if one.name in MULTIPLIED:
        return "slot", "no consumable: a limit that Grid Engine multiplies by the slots"
    return "host", "no consumable: what a host must have free, however many slots there are"


def _pe(found: Survey) -> ParallelEnvironment | None:
    """Choose the parallel environment on one host that most queues offer."""

    def rank(pe: ParallelEnvironment) -> tuple[int, bool, int, str]:
        offered = sum(pe.name in queue.pe_lists for queue in found.queues)
        return (
            -offered,
            bool(pe.user_lists),
            PE_FIRST.index(pe.name) if pe.name in PE_FIRST else len(PE_FIRST),
            pe.name,
        )

    ranked = sorted((pe for pe in found.pes if pe.allocation_rule == ONE_HOST and pe.slots > 1), key=rank)
    return ranked[0] if ranked and rank(ranked[0])[0] else None


def _limits(
    queue: ClusterQueue, found: Survey, memory: Complex, pe: ParallelEnvironment | None, gpu: str | None
) -> _Limits | str:
    """Return what one session may have of a queue at most, or why sessions cannot run there."""
    hosts = found.hosts_of(queue.name)
    kinds = queue.attributes.get("qtype")
    slots = max((one.slots_total for host in hosts for one in host.queues if one.queue == queue.name), default=0)
    if kinds and "BATCH" not in " ".join(kinds.every()):
        return "it takes no batch jobs"
    if not slots:
        return "no host has slots of it"
    projects = None if queue.projects is None else queue.projects.intersection(found.projects)
    if projects is not None and not projects:
        return "no project that a site's file can name may use it"
    cores = min(slots, queue.slots, pe.slots) if pe is not None and pe.name in queue.pe_lists else 1
    amounts = found.most(memory.name, queue) or max((host.memory_total or 0 for host in hosts), default=0)
    whole, share, why = Memory(int(amounts)), Memory(int(amounts)), []
    if (limit := queue.most_memory(memory.name)) is not None:
        counted, _ = _counted(memory)
        share = min(share, Memory(limit.bytes // 1024 * 1024))
        whole = min(whole, share.times(cores if counted == "slot" else 1))
        why.append(f"its own {memory.name} is {limit}{' for each slot' if counted == 'slot' else ''}")
    whole, share = (Memory(one.bytes // 1024**2 * 1024**2) for one in (whole, share))
    if share < SitePolicy.model_fields["smallest_memory"].default:
        return "it has too little memory"
    if queue.h_rt is None:
        why.append("the queue itself has no limit of time")
    why.extend(_who(queue.user_lists, queue.xuser_lists))
    runtime = WITHOUT_LIMIT if queue.h_rt is None else Duration(queue.h_rt)
    gpus = int(found.most(gpu, queue)) if gpu else 0
    return _Limits(cores, whole, share, gpus, runtime, projects, tuple(why))


def _who(let_in: frozenset[str], kept_out: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield who may use something, as far as lists of people decide it: rules of the file can say the same."""
    if let_in:
        yield f"only for access lists {', '.join(sorted(let_in))}"
    if kept_out:
        yield f"not for access lists {', '.join(sorted(kept_out))}"
