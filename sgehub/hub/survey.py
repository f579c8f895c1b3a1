"""Asking a cluster that nobody has described yet for all that a site's file may say of it.

The law of this file: it asks, and keeps what it was told. What is made of that, `discover` decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sgehub.errors import SiteConfigurationError
from sgehub.gridengine.client import ClusterSettings, GridEngine
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex, ParallelEnvironment
from sgehub.gridengine.parse_qhost import Host
from sgehub.model import names
from sgehub.model.units import Memory

MOST_HOSTS: Final = 1000  # that are asked for what they have, a hundredth of a second each
ELF: Final = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Survey:
    """What a cluster has. `values` are the consumables of hosts, by host, as printed.

    `unfit` are queues, parallel environments and projects ("queue", name) whose names no site's file can hold.
    """

    complexes: Mapping[str, Complex]
    queues: tuple[ClusterQueue, ...]
    pes: tuple[ParallelEnvironment, ...]
    projects: tuple[str, ...]
    hosts: tuple[Host, ...]
    values: Mapping[str, Mapping[str, str]]
    unfit: tuple[tuple[str, str], ...] = ()

    def hosts_of(self, queue: str) -> tuple[Host, ...]:
        """Return the hosts that carry an instance of a queue."""
        return tuple(host for host in self.hosts if any(one.queue == queue for one in host.queues))

    def most(self, complex_: str, queue: ClusterQueue) -> float:
        """Return the most that a host of a queue, or the queue there, has of a consumable; 0.0 if none has any."""
        values = (self.values.get(host.name, {}).get(complex_, "0") for host in self.hosts_of(queue.name))
        hosts, own = _largest(values), _largest(queue.values_of(complex_))
        return min(hosts, own) if hosts and own else hosts or own


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
    found = {
        "queue": await cluster.queue_names(),
        "parallel environment": await cluster.parallel_environment_names(),
        "project": await cluster.project_names(),
    }
    fit = {kind: tuple(filter(names.OBJECT.fullmatch, every)) for kind, every in found.items()}
    pes = [await cluster.parallel_environment(name) for name in fit["parallel environment"]]
    hosts = await cluster.hosts()
    asked = [host.name for host in hosts if host.queues and names.HOST.fullmatch(host.name)][:MOST_HOSTS]
    values = {name: await cluster.host_values(name) for name in asked}
    return Survey(
        complexes=await cluster.complexes(),
        queues=await cluster.queues(fit["queue"]),
        pes=tuple(pe for pe in pes if pe is not None),
        projects=fit["project"],
        hosts=hosts,
        values=values,
        unfit=tuple((kind, name) for kind, every in found.items() for name in every if name not in fit[kind]),
    )


def _largest(values: Iterable[str]) -> float:
    return max(map(_number, values), default=0.0)


def _number(text: str) -> float:
    """Read a host's value as it was typed, in bytes where it has a unit; also one of an RSMAP: "2(0 1)"."""
    try:
        return float(Memory.parse(text.partition("(")[0]).bytes)
    except ValueError:
        return 0.0
