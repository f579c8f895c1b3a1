"""Measure what sessions cost a hub and its cluster: CPU, forks, event loop, memory, and the time of a restart.

All on one simulated cluster (real qmaster and scheduler), filled with others' jobs; servers are stubs. Ours is
measured at every number of sessions, stock batchspawner at the smallest one, and beside them a hub with a spawner
that costs nothing, for what JupyterHub itself takes.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field

from client import MeasurementError
from counters import Costs
from crowd import wait_until
from load_figures import (
    Finding,
    Lag,
    Restart,
    costs_table,
    judge_costs,
    judge_memory,
    judge_restart,
    lag_table,
)
from load_rig import HOSTS, QUEUE, HubUnderTest, LoadRig

OURS, STOCK, PLAIN = "sgehub", "stock batchspawner", "a hub without either"
UNDER_WAY = 32  # starts that the hub has taken and not submitted yet
STALLED = 15.0  # seconds without a new job
SETTINGS = f"""\
One simulated cluster: real qmaster and scheduler, {HOSTS} hosts, others' jobs; one hub at a time on its head.
Requests for sessions are real (sudo and qsub each); their servers, once they run, are stubs. CPU is that of hub,
all its children and qmaster, forks are those on the head, both above the same cluster with the same jobs and the
hub stopped. Both use Grid Engine's own binaries. {PLAIN}: JupyterHub with a spawner that does nothing.
"""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    waiting: tuple[int, ...] = (20, 200, 2000)  # besides 0, which is always measured
    stock: int = 20
    restarted: int = 500
    running: int = 8000
    queued: int = 4000  # jobs of others, as `running`
    window: float = 30.0
    settle: float = 15.0
    profile: bool = False


QUICK = Plan(waiting=(20, 200), restarted=50, running=1500, queued=500, window=15.0, settle=8.0)


@dataclass
class Results:
    """What was measured."""

    costs: list[tuple[str, str, Costs]] = field(default_factory=list)
    lags: list[tuple[str, str, Lag]] = field(default_factory=list)
    memory: dict[tuple[str, str], int] = field(default_factory=dict)
    a_job: float = 0.0
    failed: int = 0  # starts
    restarts: list[Restart] = field(default_factory=list)


class Load:
    """One run of everything on one rig."""

    def __init__(self, rig: LoadRig, plan: Plan) -> None:
        self.rig = rig
        self.plan = plan
        self.results = Results()

    def run(self) -> Results:
        """Measure everything."""
        self.others_in_memory()
        self.stock()
        self.restart()
        self.plain()
        self.ours()  # last: it takes Grid Engine minutes to delete thousands of jobs
        return self.results

    def others_in_memory(self) -> None:
        """Measure how much our hub grows when the cluster fills with others' jobs."""
        plan = self.plan
        with self.rig.hub("ours") as hub:
            self._wait_in_queue(hub, plan.stock)
            before = hub.memory()
            self.rig.say(f"filling the cluster with {plan.running + plan.queued} jobs")
            self.rig.fill(plan.running, plan.queued)
            time.sleep(2 * plan.settle)
            self.results.a_job = (hub.memory() - before) / (plan.running + plan.queued)
        self.rig.delete_sessions()

    def stock(self) -> None:
        """Measure stock batchspawner with few people in the queue."""
        with self.rig.hub("stock") as hub:
            self._wait_in_queue(hub, self.plan.stock)
            self._measure(STOCK, f"{self.plan.stock} waiting", hub)
        self.rig.delete_sessions()

    def ours(self) -> None:
        """Measure ours with more and more sessions in the queue, then with all of them running."""
        with self.rig.player() as player, self.rig.hub("ours") as hub:
            self._at_rest(hub, OURS, "0 waiting")
            for count in self.plan.waiting:
                self._wait_in_queue(hub, count)
                self._at_rest(hub, OURS, f"{count} waiting")
            self.rig.say(f"letting {count} sessions run")
            self.rig.open_queue()
            player.order(str(count))
            self._wait_ready(hub, count)
            self._at_rest(hub, OURS, f"{count} running")

    def plain(self) -> None:
        """Measure a hub whose spawner costs nothing with as many sessions."""
        few, count = self.plan.waiting[-2:]
        with self.rig.player(), self.rig.hub("plain") as hub:
            self._at_rest(hub, PLAIN, "0 waiting")
            hub.crowd.start(few, {})
            time.sleep(self.plan.settle)
            self.results.memory[PLAIN, f"{few} waiting"] = hub.memory()
            self.rig.say(f"starting {count} sessions of a plain hub")
            hub.crowd.start(count, {})
            self._at_rest(hub, PLAIN, f"{count} waiting")
            hub.go()
            self._wait_ready(hub, count)
            self._at_rest(hub, PLAIN, f"{count} running")

    def restart(self) -> None:
        """Kill our hub with running sessions and measure when all are back."""
        count = self.plan.restarted
        with self.rig.player() as player, self.rig.hub("ours", counted=True) as hub:
            self._wait_in_queue(hub, count)
            self.rig.open_queue()
            player.order(str(count))
            self._wait_ready(hub, count)
            time.sleep(self.plan.settle)
            self.rig.say(f"killing a hub with {count} sessions")
            hub.kill()
            self.rig.forget_calls()
            begun = time.monotonic()
            hub.begin()
            wait_until(lambda: _ready(hub) >= count, f"{count} sessions are ready again", 300.0, 0.25)
            ready = time.monotonic() - begun
            wait_until(lambda: not hub.crowd.unreachable(), f"{count} sessions answer again", 300.0, 0.25)
            self.results.restarts.append(Restart(count, ready, time.monotonic() - begun, self.rig.calls()))
            self.rig.say(f"all were ready {ready:.1f} s after the start of the next hub")
        self._clear()

    def _clear(self) -> None:
        self.rig.close_queue()
        self.rig.delete_sessions()

    def _wait_in_queue(self, hub: HubUnderTest, count: int) -> None:
        """Let more sessions wait, a few dozen starts under way at once."""
        begun = moved = time.monotonic()
        options, jobs = {"queue": QUEUE}, len(self.rig.waiting())
        while jobs < count:
            hub.crowd.start(min(count, jobs + UNDER_WAY), options)
            time.sleep(0.5)
            before, jobs = jobs, len(self.rig.waiting())
            if jobs > before:
                moved = time.monotonic()
            elif time.monotonic() - moved > STALLED:
                failed = hub.crowd.again(options)
                self.results.failed += failed
                self.rig.say(f"{failed} starts have failed and are tried again")
                moved = time.monotonic()
            if time.monotonic() - begun > 120.0 + count:
                raise MeasurementError(f"Only {jobs} of {count} sessions wait in the queue.")
        self.rig.say(f"{count} sessions wait in the queue after {time.monotonic() - begun:.0f} s")
        time.sleep(self.plan.settle)

    def _wait_ready(self, hub: HubUnderTest, count: int) -> None:
        took = wait_until(lambda: _ready(hub) >= count, f"{count} sessions are ready", 120.0 + count / 2, 3.0)
        self.rig.say(f"{count} sessions are ready after {took:.0f} s")

    def _at_rest(self, hub: HubUnderTest, name: str, what: str) -> None:
        time.sleep(self.plan.settle)
        self.results.memory[name, what] = hub.memory()
        self.results.lags.append((name, what, Lag.of(hub.lag(self.plan.window))))
        self._measure(name, what, hub)
        if self.plan.profile:
            self.rig.say(f"profile of {name}, {what}:\n{hub.profile(self.plan.window)}")

    def _measure(self, name: str, what: str, hub: HubUnderTest) -> None:
        costs = hub.costs(self.plan.window)
        self.results.costs.append((name, what, costs))
        self.rig.say(f"{name}, {what}: {costs.hub:.2f} + {costs.qmaster:.2f} CPU-s, {costs.forks:.0f} forks")


def _ready(hub: HubUnderTest) -> int:
    try:
        return hub.crowd.ready()
    except OSError:
        return -1


def findings(results: Results, plan: Plan) -> list[Finding]:
    """Hold what was measured against the limits."""
    few, most = plan.waiting[-2:]
    a_session = {}
    for state in ("waiting", "running"):
        grown = {
            # From few to many: what the first sessions bring into memory once is no cost of each.
            name: results.memory[name, f"{most} {state}"] - results.memory[name, f"{few} waiting"]
            for name in (OURS, PLAIN)
        }
        a_session[f"is {state}"] = (grown[OURS] - grown[PLAIN]) / (most - few)
    found = judge_costs([(what, one) for name, what, one in results.costs if name == OURS], plan.window)
    found += judge_memory(results.a_job, a_session)
    found.append(Finding(f"starts that failed and were made again: {results.failed}"))
    for restart in results.restarts:
        found += judge_restart(restart)
    return found


def tables(results: Results, plan: Plan) -> str:
    """Return all that was measured as lines of text."""
    lines = [costs_table(results.costs, plan.window), "", lag_table(results.lags), ""]
    lines += [
        f"longest callback of {name}, {what}: {1000 * one.longest:.1f} ms in {one.where}"
        for name, what, one in results.lags
    ]
    lines.append("")
    lines += [
        f"memory of {name}, {what}: {bytes_ / 2**20:.1f} MiB" for (name, what), bytes_ in results.memory.items()
    ]
    return "\n".join(lines)


def report(results: Results, plan: Plan) -> bool:
    """Print tables and verdicts; return whether all limits are kept."""
    found = findings(results, plan)
    print("", tables(results, plan), "", *found, sep="\n")
    return all(one.kept is not False for one in found)


def measure(rig: LoadRig, plan: Plan) -> Results:
    """Measure everything on a cluster that is up; if that fails, print what was measured until then."""
    load = Load(rig, plan)
    try:
        return load.run()
    except (OSError, subprocess.SubprocessError, MeasurementError) as error:
        print("", tables(load.results, plan), "", sep="\n")
        raise MeasurementError(f"The load could not be measured: {str(error)[:500]}") from error
