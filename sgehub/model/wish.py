"""How people call what they ask for: the form's words for complexes, amounts and lists of names.

The law of this file: pure; it says what was asked and never what was answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from sgehub.model.jobspec import named_queues
from sgehub.model.judging import counted
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.units import MULTIPLIERS, Memory

MOST_NAMES: Final = 4
SHORT: Final = len("1023M")
TENTH: Final = 10


@dataclass(frozen=True, slots=True)
class Wish:
    """One wish: who asks for what, and how the site calls and counts its complexes."""

    person: str
    request: ResourceRequest
    policy: SitePolicy

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that the job names, none where resources alone are to decide."""
        return named_queues(self.request, self.policy)

    def noun(self, name: str) -> str:
        """Return the form's word for a complex, "GPUs" or "GPUs of type a100"; its own name if there is none."""
        gpu = self.policy.gpu
        if any(one.complex == name for one in self.policy.memory):
            return "memory"
        if gpu is not None and name == gpu.complex:
            return "GPUs"
        if name in self._of_gpu_type:
            return f"GPUs of type {self.request.gpu_type}"
        return {"slots": "cores", "h_rt": "runtime"}.get(name, name)

    def wanted(self, name: str) -> str:
        """Return how much the form asks for of a complex, "" where it does not say so."""
        request = self.request
        known = {"memory": readable(request.memory.bytes), "GPUs": str(request.gpus), "cores": str(request.cores)}
        return known.get(self.noun(name), "")

    def offered(self, name: str, size: int) -> int:
        """Return how much of so many bytes of a complex the form could ask for: memory has no headroom there."""
        found = (one.without_headroom(size) for one in self.policy.memory if one.complex == name)
        return next(found, size)

    @property
    def _of_gpu_type(self) -> Collection[str]:
        """The complexes that the type of GPU adds."""
        kind = self.policy.gpu_types.get(self.request.gpu_type or "")
        return () if kind is None else kind.adds

    @property
    def words(self) -> str:
        """The request as people say it."""
        gpus = self.request.gpus
        parts = [counted(self.request.cores, "core"), f"{self.request.memory} of memory"]
        return listed([*parts, counted(gpus, "GPU")] if gpus else parts)


def readable(size: int) -> str:
    """Return bytes exactly where that is short, else in tenths: "4G", "1536M", "14.3G"."""
    exact = str(Memory(size))
    return exact if len(exact) <= SHORT else in_tenths(size)


def in_tenths(size: int) -> str:
    """Return bytes in Grid Engine's notation, rounded down to tenths: "63.9G", "512M"."""
    unit = next((one for one in "TGM" if size >= MULTIPLIERS[one]), "K")
    whole, rest = divmod(size * TENTH // MULTIPLIERS[unit], TENTH)
    return f"{whole}.{rest}{unit}" if rest else f"{whole}{unit}"


def listed(names: Iterable[str]) -> str:
    """Join names as people do: "a, b and c", and no more than a few."""
    every = list(names)
    if len(every) > MOST_NAMES:
        every = [*every[: MOST_NAMES - 1], f"{len(every) - MOST_NAMES + 1} more"]
    return " and ".join(part for part in (", ".join(every[:-1]), every[-1]) if part)
