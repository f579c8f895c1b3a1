"""Comparing a site's file with its cluster: what it names must be there, and what it offers must be possible.

The law of this file: it asks and compares, and changes nothing. What Grid Engine does not answer is no complaint
but a reason to know nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from sgehub.errors import NoAnswerError, SgehubError
from sgehub.gridengine.argv import submit_options
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex, ParallelEnvironment
from sgehub.gridengine.parse_qsub import Verification
from sgehub.hub import fragments, templatecheck
from sgehub.hub.clusterlimits import Facts as Limited
from sgehub.hub.clusterlimits import offered, queues_under
from sgehub.hub.engines import cluster_of
from sgehub.model.asking import preset_request
from sgehub.model.jobspec import resolve
from sgehub.model.judging import violations
from sgehub.model.obstacles import doubtful
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.siteparts import ComplexSite
from sgehub.model.units import Duration, Memory
from sgehub.model.wish import Wish

ONE_HOST: Final = "$pe_slots"  # sge_pe(5): all slots on one host, where the server runs
# Limits that Grid Engine multiplies by the slots of a job on a host by itself; queue_conf(5), RESOURCE LIMITS.
MULTIPLIED: Final = frozenset({"h_vmem", "s_vmem", "h_rss", "s_rss", "h_data", "s_data", "h_stack", "s_stack"})
COUNTED: Final = {"YES": "slot", "JOB": "job", "HOST": "host"}  # complex(5), consumable
NUMBERS: Final = frozenset({"INT", "DOUBLE", "RSMAP"})
MOST_NAMES: Final = 20
HOME, LOG, NAME = "/home/person", "/home/person/.sgehub/log/0.log", "sgehub-000000000000"
SCRIPT: Final = "true\n"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong with one key. With a `wish` only, sessions start all the same."""

    path: tuple[str, ...]
    sentence: str
    wish: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a cluster has, as far as a site's file speaks of it. `pes` exist and are named there."""

    complexes: Mapping[str, Complex]
    queue_names: tuple[str, ...]
    queues: Mapping[str, ClusterQueue]
    pes: Mapping[str, ParallelEnvironment]
    projects: tuple[str, ...]


class Cluster(Protocol):
    """The questions that are asked of `gridengine.client.GridEngine`."""

    async def complexes(self) -> Mapping[str, Complex]:
        """Return all complexes."""

    async def queue_names(self) -> tuple[str, ...]:
        """Return the names of all cluster queues."""

    async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
        """Return those of them that exist."""

    async def parallel_environment(self, name: str) -> ParallelEnvironment | None:
        """Return a parallel environment."""

    async def project_names(self) -> tuple[str, ...]:
        """Return the names of all projects."""

    async def verify(self, person: str, options: tuple[str, ...], script: str, *, mode: str = "v") -> Verification:
        """Ask whether a job could ever run ("v"), or start now ("p")."""


async def facts(policy: SitePolicy, cluster: Cluster) -> Facts:
    """Ask the cluster. Raises NoAnswerError where it does not answer."""
    names = await cluster.queue_names()
    known = tuple(name for name in policy.queues if name in names)
    queues = {one.name: one for one in await cluster.queues(known)}
    if missing := set(known) - set(queues):
        raise NoAnswerError(f"Grid Engine named the queue {min(missing)} and did not show it.")
    pes = [await cluster.parallel_environment(name) for name in policy.parallel_environment]
    return Facts(
        complexes=await cluster.complexes(),
        queue_names=names,
        queues=queues,
        pes={one.name: one for one in pes if one is not None},
        projects=await cluster.project_names() if policy.projects else (),
    )


def compare(policy: SitePolicy, found: Facts) -> Iterator[Complaint]:
    """Yield everything in the site's file that the cluster does not have or cannot give."""
    by_any_name = {**{one.shortcut: one for one in found.complexes.values()}, **found.complexes}
    yield from _complexes(policy, by_any_name)
    yield from _pes(policy, found)
    for name in policy.queues:
        yield from _queue(name, policy, found)
    for name in policy.projects:
        if name not in found.projects:
            yield Complaint(("projects", name), f"there is no such project. {_known(found.projects)}")


def _pes(policy: SitePolicy, found: Facts) -> Iterator[Complaint]:
    for name in policy.parallel_environment:
        pe = found.pes.get(name)
        if pe is None:
            yield Complaint(("parallel_environment",), f"there is none called {name}.")
            continue
        for one in _lists(("parallel_environment",), pe.user_lists):
            yield replace(one, sentence=f"{name}: {one.sentence}")
        if pe.allocation_rule != ONE_HOST:
            yield Complaint(
                ("parallel_environment",),
                f"{name} may spread slots over hosts (allocation_rule {pe.allocation_rule}), and a session uses "
                f"one only: choose one with {ONE_HOST}.",
                wish=True,
            )


def _complexes(policy: SitePolicy, known: Mapping[str, Complex]) -> Iterator[Complaint]:
    for number, one in enumerate(policy.memory):
        yield from _complex(one, ("memory", str(number), "complex"), known.get(one.complex), frozenset({"MEMORY"}))
    if policy.gpu is not None:
        yield from _complex(policy.gpu, ("gpu", "complex"), known.get(policy.gpu.complex), NUMBERS)
    for kind, gpu in policy.gpu_types.items():
        for name in gpu.adds:
            path = ("gpu", "types", kind, "adds", name)
            added = known.get(name)
            if added is None or not added.requestable:
                yield _no_request(path, added, name)
    for field, one_field in policy.fields.items():
        for name in sorted(one_field.complexes):
            added = known.get(name)
            if added is None or not added.requestable:
                yield _no_request(("fields", field), added, name)


def _no_request(path: tuple[str, ...], known: Complex | None, name: str) -> Complaint:
    return Complaint(path, f"there is no complex {name}." if known is None else f"{name} cannot be requested.")


def _complex(
    one: ComplexSite, path: tuple[str, ...], known: Complex | None, kinds: frozenset[str]
) -> Iterator[Complaint]:
    if known is None:
        yield Complaint(path, f"there is no complex {one.complex} (qconf -sc).")
    elif not known.requestable:
        yield Complaint(path, f"{one.complex} cannot be requested (qconf -sc).")
    elif known.kind not in kinds:
        yield Complaint(path, f"{one.complex} is of type {known.kind}, not {' or '.join(sorted(kinds))}.")
    elif known.consumable in COUNTED and COUNTED[known.consumable] != one.counted:
        right = COUNTED[known.consumable]
        yield Complaint(
            (*path[:-1], "counted"),
            f"{one.complex} is a consumable of kind {known.consumable}: write {right}, or people get another "
            f"amount than they asked for.",
        )
    elif known.consumable == "NO" and one.counted == "slot" and known.name not in MULTIPLIED:
        yield Complaint(
            (*path[:-1], "counted"), f"{one.complex} is no consumable, so that nothing multiplies it: write host."
        )


def _queue(name: str, policy: SitePolicy, found: Facts) -> Iterator[Complaint]:
    path, limits, queue = ("queues", name), policy.queues[name], found.queues.get(name)
    if queue is None:
        yield Complaint(path, f"there is no such queue. {_known(found.queue_names)}")
        return
    if queue.h_rt is not None and limits.runtime.seconds > queue.h_rt:
        yield Complaint((*path, "runtime"), f"the queue's own h_rt is {Duration(queue.h_rt)}.")
    if limits.cores > queue.slots:
        yield Complaint((*path, "cores"), f"none of its hosts has more than {queue.slots} slots.")
    yield from _who(queue, path, policy)
    for one in policy.memory:
        most = queue.most_memory(one.complex)
        if most is not None and one.each(limits.memory, limits.cores) > most:
            each = " for each slot" if one.counted == "slot" else ""
            yield Complaint((*path, "memory"), f"the queue's own {one.complex} is {most}{each}.")
    slots = offered(queue, found.pes)
    if limits.cores > 1 and found.pes and not slots:
        names = " or ".join(found.pes)
        yield Complaint((*path, "cores"), f"it does not offer the parallel environment {names}.")
    elif limits.cores > 1 and slots and limits.cores > slots[largest := max(slots, key=slots.__getitem__)]:
        yield Complaint((*path, "cores"), f"{largest} has {slots[largest]} slots in all.")


def _who(queue: ClusterQueue, path: tuple[str, ...], policy: SitePolicy) -> Iterator[Complaint]:
    """Yield who may not use a queue, whatever the file says; rules can say the same."""
    if queue.projects is not None:
        only = f"only sessions of the project{_listed(queue.projects)} can run there"
        mine = {name for name, one in policy.projects.items() if one.queues is None or queue.name in one.queues}
        if mine.isdisjoint(queue.projects):
            yield Complaint(path, f"{only}, and the file lets nobody choose one here.")
            mine = set()
        elif not policy.project_required:
            yield Complaint(path, f"{only}: those without a project wait for others.", wish=True)
        for name in sorted(mine - queue.projects):
            yield Complaint(("projects", name), f"it may not use {queue.name}: name its queues.", wish=True)
    yield from _lists(path, queue.user_lists, queue.xuser_lists)


def _lists(
    path: tuple[str, ...], let_in: frozenset[str], kept_out: frozenset[str] = frozenset()
) -> Iterator[Complaint]:
    if let_in:
        yield Complaint(path, f"only members of the access list{_listed(let_in)} may use it.", wish=True)
    if kept_out:
        yield Complaint(path, f"members of the access list{_listed(kept_out)} may not use it.", wish=True)


def _listed(names: frozenset[str]) -> str:
    """Return names after their noun: " a", "s a, b"."""
    return f"{'s' if len(names) > 1 else ''} {', '.join(sorted(names))}"


def _known(names: tuple[str, ...]) -> str:
    more = ", …" if len(names) > MOST_NAMES else ""
    return f"There are: {', '.join(names[:MOST_NAMES])}{more}." if names else "There are none."


def render(policy: SitePolicy) -> Iterator[Complaint]:
    """Yield how the site's templates fail; see `templatecheck`."""
    return (Complaint(("template_folders",), said) for said in templatecheck.failures(policy))


async def read_by_bash(policy: SitePolicy) -> Iterator[Complaint]:
    """Return what of the site's own lines bash cannot read."""
    return (Complaint(path, said) for path, said in await fragments.mistakes(policy))


async def verify(policy: SitePolicy, cluster: Cluster, person: str) -> tuple[Complaint, ...]:
    """Ask qsub as a person about the defaults, the presets and the most of each queue. Raises SgehubError."""
    found = []
    for path, request in _wishes(policy):
        if request is None:
            found.append(Complaint(path, "this could not be verified: no request is as large as this.", wish=True))
            continue
        options = submit_options(resolve(request, policy, name=NAME, home=HOME, log=LOG))
        found.extend(await _impossible(path, Wish(person, request, policy), options, cluster))
    return tuple(found)


async def _impossible(
    path: tuple[str, ...], wish: Wish, options: tuple[str, ...], cluster: Cluster
) -> tuple[Complaint, ...]:
    """Return what Grid Engine says against a job; its "never" is not always to be believed, see `doubtful`."""
    ever = await cluster.verify(wish.person, options, SCRIPT)
    now = ever if ever.possible else await cluster.verify(wish.person, options, SCRIPT, mode="p")
    if now.possible:
        return ()
    if doubtful(wish, now.lines, ever.lines):
        doubt = f"Grid Engine does not say whether such a job could ever run for {wish.person}"
        return (Complaint(path, f"{doubt}. It could not start now: {now.reason}", wish=True),)
    return (Complaint(path, f"such a job can never run for {wish.person}: {ever.reason}"),)


def _wishes(policy: SitePolicy) -> Iterator[tuple[tuple[str, ...], ResourceRequest | None]]:
    """Yield the defaults, the presets, and the most of each queue, with their keys; None if no request fits."""
    yield ("defaults",), next(_allowed([policy.defaults], policy), None)
    for name, preset in policy.presets.items():
        yield ("presets", name), next(_allowed([preset_request(policy, preset)], policy), None)
    for name, limits in policy.queues.items():
        each = limits.memory.bytes // (limits.cores * 1024) * 1024  # a share is rounded up to whole K
        most = {"cores": limits.cores, "memory": Memory(each * limits.cores), "runtime": limits.runtime}
        # GPUs that are counted per slot come in multiples of the cores.
        wishes = [
            policy.defaults.model_copy(update={**most, "queue": name, "gpus": gpus}) for gpus in (limits.gpus, 0)
        ]
        yield ("queues", name), next(_allowed(wishes, policy), None)


def _allowed(wishes: Iterable[ResourceRequest], policy: SitePolicy) -> Iterator[ResourceRequest]:
    """Yield the wishes that are allowed, each with the first project that may have it."""
    for one in wishes:
        for project in (one.project, *policy.projects):
            request = one.model_copy(update={"project": project})
            if not violations(request, policy):
                yield request
                break


async def check_cluster(policy: SitePolicy, person: str | None = None) -> tuple[Complaint, ...]:
    """Do what `check` does, with the cluster that the site's file names."""
    return await check(policy, cluster_of(policy), person)


async def check(policy: SitePolicy, cluster: Cluster, person: str | None = None) -> tuple[Complaint, ...]:
    """Return every complaint; raises NoAnswerError where the cluster does not answer."""
    known = await facts(policy, cluster)
    found = [*render(policy), *await read_by_bash(policy), *compare(policy, known)]
    if person is not None and all(one.wish for one in found):
        queues = queues_under(policy, Limited(known.queues, known.pes))  # a start knows what each queue offers
        try:
            found.extend(await verify(policy.model_copy(update={"queues": queues}), cluster, person))
        except NoAnswerError:
            raise
        except SgehubError as error:
            found.append(Complaint(("helper",), f"no job could be verified for {person}: {error}"))
    return tuple(found)
