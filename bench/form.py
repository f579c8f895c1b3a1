"""Measure what the options form costs the hub, and how long people wait for it: one by one, and all at once.

All on one simulated cluster (real qmaster and scheduler), filled with others' jobs, one hub at a time on its head:
ours with everything that a site can put into a form, stock batchspawner with a form as a site writes one by hand,
and a hub with a spawner that costs nothing and the same form, for what JupyterHub itself takes.
"""

from __future__ import annotations

import http
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import counters
import yaml
from client import MeasurementError
from form_figures import (
    Judged,
    Opened,
    Page,
    Watched,
    above_idle,
    judge_form,
    judge_silent,
    judge_verdict,
    judge_watched,
    sources,
    table,
)
from load_figures import Finding, Lag
from load_rig import HOSTS, QUEUE, HubUnderTest, LoadRig
from rig import CHECKOUT
from visitor import Answer, Visitor

from sgehub.lab.hub import PORT

OURS, STOCK, PLAIN = "sgehub", "stock batchspawner", "a hub without either"
KINDS = {OURS: "ours", STOCK: "stock", PLAIN: "plain"}
AT_ONCE = 4  # logins
TIDY = 0.02  # seconds that a hub still works after an answer: its log, what it closes
OWN = "/hub/token"  # a page that is JupyterHub's own in every hub
CAPACITY = "/hub/api/sgehub/capacity"
VERDICT = "/hub/api/sgehub/verdict"
FIELD = b'name="memory"'  # stands in every form that is measured
KNOWN = ("now", "waits", "never")  # kinds of verdicts that Grid Engine has given
SMALLEST = 2048  # MiB that the first verdict is asked for
FREE_QUEUE = "long.q"
SETTINGS = f"""\
One simulated cluster: real qmaster and scheduler, {HOSTS} hosts, others' jobs; one hub at a time on its head.
People are logged in before, and open the page of the form through the proxy. CPU is that of the hub's process,
above what it takes when nobody comes. Ours: bench/form_site.yaml, everything that a form can have.
{STOCK}: its GridengineSpawner with a form of seven fields written by hand.
{PLAIN}: a spawner that does nothing, with that same form.
"""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    people: int = 100
    opens: int = 300
    rushes: int = 3
    verdicts: int = 20
    idle: float = 15.0
    settle: float = 10.0
    running: int = 8000
    queued: int = 4000  # jobs of others, as `running`
    profile: bool = False


QUICK = Plan(opens=60, rushes=1, verdicts=10, idle=8.0, settle=5.0, running=1500, queued=500)


@dataclass
class Results:
    """What was measured."""

    opened: dict[str, Opened] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    silent: float = 0.0


class Form:
    """One run of everything on one rig."""

    def __init__(self, rig: LoadRig, plan: Plan) -> None:
        self.rig = rig
        self.plan = plan
        self.people: list[Visitor] = []
        self.results = Results()

    def run(self) -> Results:
        """Measure everything."""
        plan = self.plan
        self.rig.say(f"filling the cluster with {plan.running + plan.queued} jobs")
        self.rig.fill(plan.running, plan.queued)
        site = yaml.safe_load((CHECKOUT / "bench" / "form_site.yaml").read_text())
        peer = f"\nc.Spawner.options_form = {(CHECKOUT / 'bench' / 'form_peer.html').read_text()!r}\n"
        for name, kind in KINDS.items():
            ours = kind == "ours"
            with self.rig.hub(kind, counted=ours, config="" if ours else peer, site=site if ours else None) as hub:
                self._enter()
                if ours:
                    self._watch("a hub that has just started")
                self._open(name, hub)
                if ours:
                    self._watch("known before")
                    self._silent()
                    self._judge("a session that could start", FREE_QUEUE)
                    self._judge("a session that would wait", QUEUE)  # it is closed: two questions
        return self.results

    def _enter(self) -> None:
        """Log everybody in, each with cookies of their own."""
        people = self.rig.people[: self.plan.people]
        self.people = [Visitor(self.rig.lab, PORT, name) for name in people]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(Visitor.enter, self.people))
        self.rig.say(f"{len(self.people)} people are logged in")

    def _watch(self, what: str) -> None:
        """Let everybody ask what is free at once."""
        self.rig.forget_calls()
        seconds, answers = self._rush(self._free)
        told = sum(bool(json.loads(one.body)["queues"]) for one in answers)
        self.results.watched.append(Watched(what, seconds, told, self.rig.calls().count("qhost")))

    def _open(self, name: str, hub: HubUnderTest) -> None:
        """Measure one hub's form: in turn, at once, at once under the probe, and its weight."""
        plan, first = self.plan, self.people[0]
        page, own = self._form(first), first.get(OWN)
        if own.status != http.HTTPStatus.OK:
            raise MeasurementError(f"{OWN} was answered with {own.status}.")
        loads = {one: first.get(one) for one in sources(page.body) - sources(own.body)}
        if name == OURS:  # what its scripts ask for
            loads |= {CAPACITY: self._free(first), VERDICT: self._verdict(first, FREE_QUEUE, SMALLEST)}
        weight = Page(len(page.body), len(own.body), {one: len(answer.body) for one, answer in loads.items()})
        time.sleep(plan.settle)
        cpu = self._in_turn(hub)
        rushes = [self._rush(self._form)[0] for _ in range(plan.rushes)]
        with hub.late() as late:
            self._rush(self._form)
        self.results.opened[name] = Opened(cpu, rushes, weight, Lag.of(late))
        self.rig.say(f"{name} is measured")
        if plan.profile:
            with hub.profiled() as profile:
                for one in self.people:
                    self._form(one)
            self.rig.say(f"profile of {len(self.people)} forms of {name}:\n{profile[0]}")

    def _in_turn(self, hub: HubUnderTest) -> list[float]:
        """Return the CPU seconds of each open, one after the other, everybody in turn."""
        plan, found = self.plan, []
        before = counters.cpu(hub.pid)
        time.sleep(plan.idle)
        idle = (counters.cpu(hub.pid) - before) / plan.idle
        self.rig.say(f"the hub takes {100 * idle:.1f} % of a processor when nobody comes")
        for number in range(plan.opens):
            begun, before = time.monotonic(), counters.cpu(hub.pid)
            self._form(self.people[number % len(self.people)])
            time.sleep(TIDY)
            found.append(above_idle(counters.cpu(hub.pid) - before, time.monotonic() - begun, idle))
        return found

    def _rush(self, ask: Callable[[Visitor], Answer]) -> tuple[list[float], list[Answer]]:
        """Let everybody ask at the same moment; return the seconds until each has the last byte, and answers."""
        begun: list[float] = []
        start = threading.Barrier(len(self.people), action=lambda: begun.append(time.monotonic()))

        def go(one: Visitor) -> Answer:
            start.wait()
            return ask(one)

        with ThreadPoolExecutor(len(self.people)) as pool:
            answers = list(pool.map(go, self.people))
        return [one.ended - begun[0] for one in answers], answers

    @staticmethod
    def _form(one: Visitor) -> Answer:
        """Open the page of the form, and see that it is one."""
        answer = one.get(f"/hub/spawn/{one.name}")
        if answer.status != http.HTTPStatus.OK or FIELD not in answer.body or b"</html>" not in answer.body:
            raise MeasurementError(f"{one.name} got no form, but {answer.status}: {answer.body[:500]!r}")
        return answer

    @staticmethod
    def _free(one: Visitor) -> Answer:
        """Ask what is free, and see that there is an answer."""
        answer = one.ask(f"{CAPACITY}?user={one.name}")
        if answer.status != http.HTTPStatus.OK:
            raise MeasurementError(f"What is free was answered with {answer.status}: {answer.body[:500]!r}")
        return answer

    def _silent(self) -> None:
        """Measure the form while the qmaster answers nobody."""
        with _stopped(self.rig.qmaster):
            self.results.silent = max(self._form(one).seconds for one in self.people[:5])

    def _judge(self, what: str, queue: str) -> None:
        """Ask for verdicts one after the other, each another question, and each again at once."""
        one, first, again = self.people[0], [], []
        for number in range(1, self.plan.verdicts + 1):
            for seconds in (first, again):
                seconds.append(self._verdict(one, queue, SMALLEST + number).seconds)
        self.results.judged.append(Judged(what, first, again))

    @staticmethod
    def _verdict(one: Visitor, queue: str, memory: int) -> Answer:
        """Ask for a verdict, and see that it is Grid Engine's; `memory` in MiB."""
        wish = {"cores": "1", "memory": f"{memory}M", "runtime": "00:30:00", "queue": queue}
        answer = one.post(f"{VERDICT}/{one.name}", wish)
        if answer.status != http.HTTPStatus.OK or json.loads(answer.body)["kind"] not in KNOWN:
            raise MeasurementError(f"A verdict was {answer.status}: {answer.body[:500]!r}")
        return answer


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def findings(results: Results) -> Sequence[Finding]:
    """Hold what was measured against the limits."""
    return [
        *judge_form(results.opened[OURS]),
        judge_silent(results.silent),
        *map(judge_watched, results.watched),
        *map(judge_verdict, results.judged),
    ]


def report(results: Results) -> bool:
    """Print table and verdicts; return whether all limits are kept."""
    found = findings(results)
    print("", table(results.opened), "", *found, sep="\n")
    return all(one.kept is not False for one in found)
