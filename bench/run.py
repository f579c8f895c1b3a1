"""Measure sgehub beside stock batchspawner: a start, its form (form.py), and what many sessions cost (load.py).

Starts: how long a person waits for what is not JupyterLab itself, with sgehub, stock batchspawner, and the floor.
All three in turn on one lab, one session at a time. Two spans are measured: from the POST of a start to the moment
qsub has returned, and from the first line of the job's script to the hub's answer that the server is ready. What
lies between, Grid Engine's own dispatch, is nobody's merit and left out.

Exit status: 0 if ours keeps the limits, 1 if not, 2 if it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import form
import helper
import load
from client import Client, MeasurementError
from figures import FLOOR, Figures, Pair
from floor import Floor
from load_rig import HOSTS, OTHERS, PEOPLE, LoadRig
from rig import CHECKOUT, PERSON, Rig

from sgehub.errors import SgehubError
from sgehub.lab.cluster import Lab
from sgehub.lab.layout import people_named

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BUSY = 1.0  # load average above which others take part in what is measured
LIMIT = 0.4  # seconds that ours may be above the floor in the sum of the medians
OURS, STOCK = "ours", "stock batchspawner"
SETTINGS = """\
One lab with one execution host, its scheduler's interval 2 s; both hubs on its head, each behind its own proxy;
DummyAuthenticator; the same qsub, qstat and qdel (Grid Engine's own binaries; qsub wrapped to note when it has
returned) and the same environment for all. Ours: config/ as shipped. Stock: batchspawner.GridengineSpawner,
exec_prefix "sudo -E -u {username}", its default script with -S /bin/bash, everything else by default; its reports
go to sgehub's endpoint, as in every hub that has sgehub installed.
Floor: qsub from a shell of the person's own; jupyterhub-singleuser with the environment of a real session,
started on the execution host against a stub hub, until its /api answers.
"""


def start_and_stop(rig: Rig, client: Client, while_ready: Callable[[], Any] = lambda: None) -> Pair:
    """Measure one session from POST to ready, then end it."""
    rig.clear_marks()
    asked, ready = client.start(PERSON)
    pair = rig.submitted() - asked, ready - rig.begun()
    try:
        while_ready()
    finally:
        client.stop(PERSON)
        rig.wait_for_no_jobs()
    return pair


def measure(rig: Rig, pairs: int) -> Figures:
    """Measure `pairs` times, in turn and with changing order, after one round that does not count."""
    floors: list[Floor] = []
    start_and_stop(rig, rig.ours, lambda: floors.append(Floor.of_running_session(rig)))
    start_and_stop(rig, rig.stock)
    floors[0].measure(rig)
    kinds: dict[str, Callable[[], Pair]] = {
        OURS: lambda: start_and_stop(rig, rig.ours),
        STOCK: lambda: start_and_stop(rig, rig.stock),
        FLOOR: lambda: floors[0].measure(rig),
    }
    measured: dict[str, list[Pair]] = {name: [] for name in kinds}
    for number in range(pairs):
        for name in list(kinds) if number % 2 == 0 else reversed(kinds):
            measured[name].append(kinds[name]())
        latest = ", ".join(f"{name} {pairs[-1][0]:.3f} + {pairs[-1][1]:.3f}" for name, pairs in measured.items())
        print(f"{number + 1:>3} of {pairs}: {latest}", flush=True)
    return Figures(measured)


def interrupt(_number: int, _frame: object) -> None:
    """End the measuring at the first signal; further ones do not disturb the taking down."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def starts(chosen: argparse.Namespace) -> bool:
    """Measure how long a start takes, print it, and tell whether the limits are kept."""
    pairs = max(2, chosen.pairs)
    print(f"{SETTINGS}\n", flush=True)
    began = time.monotonic()
    with Rig(Lab(f"bench-{os.getpid()}", nodes=1, site=CHECKOUT)) as rig:
        figures = measure(rig, pairs)
        submissions = helper.measure(rig)
    above = figures.above(OURS)
    taken = time.monotonic() - began
    print(f"\n{figures.table()}\n\n{pairs} pairs in {taken:.0f} s on {os.cpu_count()} processors.")
    print(f"ours is {above:.3f} s above the floor in the sum of the medians (limit {LIMIT}): ", end="")
    print("met" if above <= LIMIT else "not met")
    middle = median(submissions)
    print(f"sudo, sgehub-as-user and qsub: {middle:.3f} s, the median of {len(submissions)} ", end="")
    print(f"(limit {helper.LIMIT:.3f}): {'met' if middle <= helper.LIMIT else 'not met'}")
    return above <= LIMIT and middle <= helper.LIMIT


def loads(chosen: argparse.Namespace) -> bool:
    """Measure what many sessions cost, print it, and tell whether the limits are kept."""
    print(f"\n{load.SETTINGS}", flush=True)
    plan = replace(load.QUICK if chosen.quick else load.Plan(), profile=chosen.profile)
    with simulated() as rig:
        return load.report(load.measure(rig, plan), plan)


def forms(chosen: argparse.Namespace) -> bool:
    """Measure the options form, print it, and tell whether the limits are kept."""
    print(f"\n{form.SETTINGS}", flush=True)
    plan = replace(form.QUICK if chosen.quick else form.Plan(), profile=chosen.profile)
    with simulated() as rig:
        results = form.Form(rig, plan).run()
    print(f"\nLoad of the machine after: {os.getloadavg()[0]:.1f}, on {os.cpu_count()} processors.")
    return form.report(results)


def simulated() -> LoadRig:
    """Return a cluster of simulated hosts, for a `with` statement, that says on the terminal what it does."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", flush=True)

    name, people = f"bench-{os.getpid()}", people_named(OTHERS + PEOPLE)
    return LoadRig(Lab(name, nodes=HOSTS, simulated=True, people=people, site=CHECKOUT), say)


PARTS: dict[str, Callable[[argparse.Namespace], bool]] = {"starts": starts, "form": forms, "load": loads}


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    parser.add_argument("--pairs", type=int, default=30, help="how often each start is measured (default: 30)")
    parser.add_argument(
        "--quick", action="store_true", help="measure less: the load with 200 sessions, not with 2,000"
    )
    parser.add_argument("--profile", action="store_true", help="say where the hub's time goes")
    parser.add_argument(
        "--precedence", action="store_true", help="run before everything else on this machine, which is busy"
    )
    chosen = parser.parse_args()
    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}")
    for number in _SIGNALS:
        signal.signal(number, interrupt)
    if chosen.precedence:
        # What is started inherits it: the whole lab, so all alike.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    before = os.getloadavg()[0]
    print(f"Load of the machine before: {before:.1f}. With precedence: {'yes' if chosen.precedence else 'no'}.")
    if before > BUSY and not chosen.precedence:
        print("It is busy: the figures will say more about that than about sgehub. Try --precedence.")
    print(flush=True)
    try:
        kept = [measure_part(chosen) for name, measure_part in PARTS.items() if name in (chosen.parts or PARTS)]
    except KeyboardInterrupt:
        print("Interrupted; nothing is left.", file=sys.stderr)
        return 130
    except (SgehubError, MeasurementError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
