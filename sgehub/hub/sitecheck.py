"""Comparing a site's file with its cluster: what it names must be there, and what it offers must be possible.

The law of this file: it asks and compares, and changes nothing. What Grid Engine does not answer is no complaint
but a reason to know nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from sgehub.errors import NoAnswerError, SgehubError
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex
from sgehub.hub import fragments, templatecheck
from sgehub.hub.clusterlimits import offered
from sgehub.hub.engines import cluster_of
from sgehub.hub.sitefacts import Cluster, Complaint, Facts, facts
from sgehub.hub.siteverify import verify
from sgehub.model.policy import SitePolicy
from sgehub.model.siteparts import ComplexSite
from sgehub.model.units import Duration

ONE_HOST: Final = "$pe_slots"  # sge_pe(5): all slots on one host, where the server runs
# Limits that Grid Engine multiplies by the slots of a job on a host by itself; queue_conf(5), RESOURCE LIMITS.
MULTIPLIED: Final = frozenset({"h_vmem", "s_vmem", "h_rss", "s_rss", "h_data", "s_data", "h_stack", "s_stack"})
COUNTED: Final = {"YES": "slot", "JOB": "job", "HOST": "host"}  # complex(5), consumable
NUMBERS: Final = frozenset({"INT", "DOUBLE", "RSMAP"})
MOST_NAMES: Final = 20


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


async def check_cluster(policy: SitePolicy, person: str | None = None) -> tuple[Complaint, ...]:
    """Do what `check` does, with the cluster that the site's file names."""
    return await check(policy, cluster_of(policy), person)


async def check(policy: SitePolicy, cluster: Cluster, person: str | None = None) -> tuple[Complaint, ...]:
    """Return every complaint; raises NoAnswerError where the cluster does not answer."""
    known = await facts(policy, cluster)
    found = [*render(policy), *await read_by_bash(policy), *compare(policy, known)]
    if person is not None and all(one.wish for one in found):
        try:
            found.extend(await verify(policy, known, cluster, person))
        except NoAnswerError:
            raise
        except SgehubError as error:
            found.append(Complaint(("helper",), f"no job could be verified for {person}: {error}"))
    return tuple(found)
