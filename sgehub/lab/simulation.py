"""Jobs on simulated hosts: a real qmaster and scheduler treat them as any others, and no script is run.

A job is two states there: 3 s dispatched, then running for the seconds that its first argument says, else 3 s
(measured; sge_conf(5), SIMULATE_EXECDS).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sgehub.lab.cluster import Lab
from sgehub.lab.errors import LabError
from sgehub.lab.layout import HEAD

FOREVER: Final = 10_000_000  # seconds
QUEUE: Final = "long.q"
MEMORY: Final = "1000G"  # more than a host has: who asks for it waits
_COMMON: Final = ("qsub", "-terse", "-b", "y", "-N", "foreign", "-o", "/dev/null", "-j", "y")
_SECONDS: Final = 120.0


def fill(lab: Lab, people: Sequence[str], *, running: int, waiting: int) -> None:
    """Submit so many jobs of these people that run for ever, and so many that never find a place; 1 ms each.

    The first ones run in QUEUE only. Raises LabError with Grid Engine's words.
    """
    for count, where in ((running, ("-q", QUEUE)), (waiting, ("-l", f"h_vmem={MEMORY}"))):
        for number, person in enumerate(people):
            share = count // len(people) + (number < count % len(people))
            if share:
                first = _as(lab, person, [*_COMMON, *where, "sleep", str(FOREVER)]).strip()
                # One process submits copies of a job in a small part of the time that a qsub each would take.
                _as(lab, person, ["qresub", *[first] * (share - 1)] if share > 1 else ["true"])


def prolong(lab: Lab, jobs: Sequence[int], seconds: int = FOREVER) -> None:
    """Let jobs that still wait run for so many seconds: a script from standard input cannot say it itself."""
    if jobs:
        done = lab.run(HEAD, ["qalter", ",".join(map(str, jobs)), "--", str(seconds)], timeout=_SECONDS)
        if done.returncode:
            raise LabError(f"qalter failed: {(done.stderr or done.stdout).strip()}")


def _as(lab: Lab, person: str, argv: Sequence[str]) -> str:
    done = lab.run(HEAD, argv, user=person, timeout=_SECONDS)
    if done.returncode:
        raise LabError(f"{argv[0]} as {person} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
