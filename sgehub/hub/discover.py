"""Describing a cluster that nobody has described yet: from what Grid Engine has to a site's file that works.

The law of this file: what is written is a proposal with its reason beside it, never wider than what the cluster
says. It asks and writes text; it changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sgehub.errors import SiteConfigurationError
from sgehub.gridengine.client import ClusterSettings, GridEngine
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex, ParallelEnvironment
from sgehub.gridengine.parse_qhost import Host
from sgehub.gridengine.runner import Runner
from sgehub.hub.sitecheck import COUNTED, MULTIPLIED, ONE_HOST
from sgehub.model import names
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Duration, Memory

MOST_HOSTS: Final = 1000  # that are asked for what they have, a hundredth of a second each
LIMITS_FIRST: Final = ("h_vmem", "m_mem_free", "rmem", "mem", "mem_free", "virtual_free")
FREE: Final = ("mem_free", "virtual_free")
GPU: Final = re.compile(r"n?gpus?|cuda.*|.*gpu", re.IGNORECASE)
PE_FIRST: Final = ("smp", "threaded", "openmp", "shared", "shm", "make")
WITHOUT_LIMIT: Final = Duration(24 * 3600)  # where a queue has no h_rt of its own
ELF: Final = b"\x7fELF"
STARTED: Final = (Memory(2 * 1024**3), Duration(3600))  # what a session asks for at first, where there is so much


@dataclass(frozen=True, slots=True)
class Survey:
    """What a cluster has. `values` are the consumables of hosts, by host, as printed."""

    complexes: Mapping[str, Complex]
    queues: tuple[ClusterQueue, ...]
    pes: tuple[ParallelEnvironment, ...]
    projects: tuple[str, ...]
    hosts: tuple[Host, ...]
    values: Mapping[str, Mapping[str, str]]

    def hosts_of(self, queue: str) -> tuple[Host, ...]:
        """Return the hosts that carry an instance of a queue."""
        return tuple(host for host in self.hosts if any(one.queue == queue for one in host.queues))

    def most(self, complex_: str, hosts: Iterable[Host]) -> float:
        """Return the most that one of the hosts has of a consumable, 0.0 if none has any."""
        return max((_number(self.values.get(host.name, {}).get(complex_, "0")) for host in hosts), default=0.0)


def settings_of(environment: Mapping[str, str]) -> ClusterSettings:
    """Return where the cluster is by Grid Engine's own variables, sge_intro(1), and where its programs are.

    Raises SiteConfigurationError without them.
    """
    root = environment.get("SGE_ROOT", "")
    if not root:
        raise SiteConfigurationError(
            "SGE_ROOT is not set: run this where qstat works, after the cluster's settings.sh."
        )
    ports = [environment.get(name, "") for name in ("SGE_QMASTER_PORT", "SGE_EXECD_PORT")]
    qmaster, execd = (int(port) if port.isascii() and port.isdigit() else None for port in ports)
    return ClusterSettings(
        root=root,
        cell=environment.get("SGE_CELL", "default"),
        bin=_programs(root, environment),
        qmaster_port=qmaster,
        execd_port=execd,
        arch=environment.get("SGE_ARCH"),
    )


def _programs(root: str, environment: Mapping[str, str]) -> str:
    """Return the folder of the real programs; what stands in PATH may be slow wrappers of a shell."""
    arch, path = environment.get("SGE_ARCH"), environment.get("PATH", "").split(":")
    named = [f"{root}/bin/{arch}"] if arch else sorted(map(str, Path(root, "bin").glob("*")))
    folder = next(
        (one for one in (*named, ClusterSettings(root).bin, *path) if _is_program(Path(one, "qstat"))), None
    )
    if folder is None:
        raise SiteConfigurationError(f"qstat is neither below {root}/bin nor in PATH: this is no submit host.")
    return folder


def _is_program(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(ELF)) == ELF
    except OSError:
        return False


async def survey(cluster: GridEngine) -> Survey:
    """Ask the cluster. Raises NoAnswerError where it does not answer."""
    pes = [await cluster.parallel_environment(name) for name in _usual(await cluster.parallel_environment_names())]
    hosts = await cluster.hosts()
    asked = [host.name for host in hosts if host.queues and names.HOST.fullmatch(host.name)][:MOST_HOSTS]
    values = {name: await cluster.host_values(name) for name in asked}
    return Survey(
        complexes=await cluster.complexes(),
        queues=await cluster.queues(_usual(await cluster.queue_names())),
        pes=tuple(pe for pe in pes if pe is not None),
        projects=await cluster.project_names(),
        hosts=hosts,
        values=values,
    )


def _usual(found: Iterable[str]) -> tuple[str, ...]:
    """Return the names that a site's file may hold; others cannot be offered."""
    return tuple(name for name in found if names.OBJECT.fullmatch(name))


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
    queues = {
        queue.name: limits
        for queue in found.queues
        if (limits := _limits(queue, found, memory, pe, gpu)) is not None
    }
    if not queues:
        raise SiteConfigurationError(
            "No queue takes batch jobs on a host with slots: there is nothing to describe."
        )
    lines = [
        "# What people may ask for on this cluster: as much as Grid Engine says. Narrow it down, then",
        "# compare it with the cluster again: sgehub check-site --person SOMEBODY",
        "",
        *_cluster(cluster),
        "",
        *_complexes(found, memory, pe, gpu),
        "queues:                            # the most that one session may ask for",
        *(line for name, limits in queues.items() for line in limits.lines(name)),
        "",
        *_rest(found, queues.values(), folder),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Limits:
    cores: int
    memory: Memory
    gpus: int
    runtime: Duration
    why: str

    def lines(self, name: str) -> Iterator[str]:
        gpus = f"gpus: {self.gpus}, " if self.gpus else ""
        said = f"  # {self.why}" if self.why else ""
        yield f'  {name}: {{cores: {self.cores}, memory: {self.memory}, {gpus}runtime: "{self.runtime}"}}{said}'


def _cluster(settings: ClusterSettings) -> Iterator[str]:
    yield "cluster:"
    yield f"  root: {settings.root}"
    yield f"  cell: {settings.cell}"
    yield f"  commands: {settings.bin}"
    for name, value in (
        ("qmaster_port", settings.qmaster_port),
        ("execd_port", settings.execd_port),
        ("arch", settings.arch),
    ):
        if value is not None:
            yield f"  {name}: {value}"


def _complexes(found: Survey, memory: Complex, pe: ParallelEnvironment | None, gpu: str | None) -> Iterator[str]:
    for key, one in (("memory", memory), ("gpu", found.complexes[gpu] if gpu else None)):
        if one is not None:
            counted, why = _counted(one)
            yield f"{key}:"
            yield f"  complex: {one.name}"
            yield f"  counted: {counted:22}# {why}"
            yield ""
    if pe is not None:
        yield f"parallel_environment: {pe.name}"
    else:
        yield f"# No parallel environment has the allocation rule {ONE_HOST}, so that sessions have one core each."
    yield ""


def _rest(found: Survey, queues: Iterable[_Limits], folder: str) -> Iterator[str]:
    memory = min(STARTED[0], *(one.memory for one in queues))
    runtime = min(STARTED[1], *(one.runtime for one in queues))
    yield f'defaults: {{cores: 1, memory: {memory}, gpus: 0, runtime: "{runtime}"}}'
    yield ""
    if known := _usual(found.projects):
        yield "# projects:                      # take the marks away to let people choose a project"
        yield from (f"#   {name}: {{}}" for name in known)
        yield ""
    yield "session:"
    yield f"  folder: {folder}"
    yield f"  path: [{folder}]"
    yield "  ports: [20000, 29999]            # open these from the hub to the execution hosts"


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
    """Yield the requestable consumables of these kinds of which at least one host has some, by name."""
    for name, one in sorted(found.complexes.items()):
        fits = one.requestable and one.consumable in COUNTED and one.kind in kinds
        if fits and names.OBJECT.fullmatch(name) and found.most(name, found.hosts) > 0:
            yield name


def _counted(one: Complex) -> tuple[str, str]:
    if one.consumable in COUNTED:
        return COUNTED[one.consumable], f"consumable {one.consumable} (qconf -sc)"
    if one.name in MULTIPLIED:
        return "slot", "no consumable: a limit that Grid Engine multiplies by the slots"
    return "host", "no consumable: what a host must have free, however many slots there are"


def _pe(found: Survey) -> ParallelEnvironment | None:
    """Choose the parallel environment on one host that most queues offer."""

    def rank(pe: ParallelEnvironment) -> tuple[int, int, str]:
        offered = sum(pe.name in queue.pe_lists for queue in found.queues)
        return -offered, PE_FIRST.index(pe.name) if pe.name in PE_FIRST else len(PE_FIRST), pe.name

    usable = [pe for pe in found.pes if pe.allocation_rule == ONE_HOST and pe.slots > 1]
    ranked = sorted((pe for pe in usable if names.OBJECT.fullmatch(pe.name)), key=rank)
    return ranked[0] if ranked and rank(ranked[0])[0] else None


def _limits(
    queue: ClusterQueue, found: Survey, memory: Complex, pe: ParallelEnvironment | None, gpu: str | None
) -> _Limits | None:
    """Return what one session may have of a queue at most, None if sessions cannot run there."""
    hosts = found.hosts_of(queue.name)
    kinds = queue.attributes.get("qtype")
    slots = max((one.slots_total for host in hosts for one in host.queues if one.queue == queue.name), default=0)
    if not slots or not names.OBJECT.fullmatch(queue.name) or (kinds and "BATCH" not in " ".join(kinds.every())):
        return None
    cores = min(slots, queue.slots, pe.slots) if pe is not None and pe.name in queue.pe_lists else 1
    amounts = found.most(memory.name, hosts) or max((host.memory_total or 0 for host in hosts), default=0)
    whole = Memory(int(amounts) // 1024**2 * 1024**2)
    if whole < SitePolicy.model_fields["smallest_memory"].default:
        return None
    why = "" if queue.h_rt is not None else "the queue itself has no limit of time"
    runtime = Duration(queue.h_rt) if queue.h_rt is not None else WITHOUT_LIMIT
    return _Limits(cores, whole, int(found.most(gpu, hosts)) if gpu else 0, runtime, why)


def _number(text: str) -> float:
    """Read a host's value as it was typed, in bytes where it has a unit; also one of an RSMAP: "2(0 1)"."""
    try:
        return float(Memory.parse(text.partition("(")[0]).bytes)
    except ValueError:
        return 0.0
