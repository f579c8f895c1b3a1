"""The hypothesis state machine: histories of people, hubs, a cluster and its troubles, in any order.

A history ends in calm: everything answers again, hours pass, and nothing may be lost or left over.
"""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.model import laws
from tests.model.cluster import HOSTS, Live
from tests.model.database import PEOPLE, Database
from tests.model.world import SERVERS, World

STEPS = 14  # of one history
KEYS = [(person, server) for person in PEOPLE[:2] for server in SERVERS]
KEY = st.sampled_from(KEYS)
SECONDS = st.sampled_from([0.0, 0.06, 0.2, 1.0, 2.5, 8.0, 25.0, 70.0, 400.0, 1000.0])
DOWN = st.sampled_from([0.1, 2.0, 40.0, 400.0])
SUBMIT = st.sampled_from(
    [None, None, "refused", "lost", "answer lost", "late", "slow", "crash before", "crash after"]
)
CANCEL = st.sampled_from(
    [None, None, "refused", "lost", "answer lost", "late", "slow", "crash before", "crash after"]
)
OTHERS = {
    "jobs": ["lost", "late", "slow", "skipped", "broken", "crash after"],
    "detail": ["lost", "late", "slow"],
    "accounting": ["lost", "slow"],
    "silent_hosts": ["lost", "slow"],
    "rewrite_launch": ["lost", "answer lost", "slow", "crash after", "crash instead"],
}
OTHER = st.sampled_from([(verb, fault) for verb, faults in OTHERS.items() for fault in faults])
CONDITIONS = {
    "full": lambda cluster: cluster.set_room(room=False),
    "room": lambda cluster: cluster.set_room(room=True),
    "blind": lambda cluster: cluster.set_blind(blind=True),
    "seeing": lambda cluster: cluster.set_blind(blind=False),
    "mimic": lambda cluster: setattr(cluster, "mimic", True),
    "late accounting": lambda cluster: setattr(cluster, "lag", 300.0),
    "prompt accounting": lambda cluster: setattr(cluster, "lag", 0.5),
    "numbers wrap": lambda cluster: cluster.reuse_number(),
}
EVENTS = {
    "hold": lambda cluster, job: cluster.hold(job),
    "error": lambda cluster, job: cluster.break_start(job),
    "suspend": lambda cluster, job: cluster.suspend(job),
    "rename": lambda cluster, job: cluster.rename(job),
    "rerun": lambda cluster, job: cluster.rerun(job),
    "rerun told": lambda cluster, job: cluster.rerun(job, told=True),
    "exit": lambda cluster, job: cluster.exit(job, 0),
    "kill": lambda cluster, job: cluster.kill(job),
    "delete": lambda cluster, job: cluster.delete(job),
}
INDEX = st.integers(0, 3)
TOLD = 15.0  # seconds that the qmaster is there after a session has told of its end: then it is judged
REPLACED = True  # whether numbers are given away while no hub runs


@cache
def database() -> Database:
    """Return the one database of this process: making its tables takes longer than a history."""
    return Database()


class Histories(RuleBasedStateMachine):
    """One history of a hub and its cluster."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(database())
        self.world.__enter__()
        self._sound = True

    def teardown(self) -> None:
        """Let calm come, unless a law is broken already."""
        try:
            if self._sound:
                laws.calm(self.world)
        finally:
            self.world.__exit__(None, None, None)

    def _go_on(self, seconds: float = 0.0) -> None:
        self._sound = False
        self.world.pass_time(seconds)
        laws.look(self.world)
        self._sound = True

    @initialize(keys=st.lists(KEY, max_size=3, unique=True), seconds=st.sampled_from([0.0, 1.0, 8.0]))
    def begin(self, keys: list[tuple[str, str]], seconds: float) -> None:
        """Begin with a few servers."""
        for key in keys:
            self.world.start(*key)
        self._go_on(seconds)

    # Time and people

    @rule(seconds=SECONDS)
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._go_on(seconds)

    @rule(key=KEY, trouble=SUBMIT, seconds=SECONDS)
    def start(self, key: tuple[str, str], trouble: str | None, seconds: float) -> None:
        """Press Start; the next qsub may go wrong."""
        self.world.cluster.set_fault("submit", trouble)
        self.world.start(*key)
        self._go_on(seconds)

    @precondition(lambda self: self.world.starts)
    @rule(index=INDEX, remove=st.booleans(), trouble=CANCEL, seconds=SECONDS)
    def stop(self, index: int, remove: bool, trouble: str | None, seconds: float) -> None:  # noqa: FBT001 - hypothesis names it
        """Press Stop, or remove a named server; the next qdel may go wrong."""
        self.world.cluster.set_fault("cancel", trouble)
        starts = self.world.starts
        self.world.stop(*starts[-1 - index % len(starts)].key, remove=remove)
        self._go_on(seconds)

    @rule(person=st.sampled_from(PEOPLE[:2]))
    def remove_user(self, person: str) -> None:
        """Remove a person from the hub."""
        self.world.remove_user(person)
        self._go_on()

    # The hub

    @rule(down=DOWN, orderly=st.booleans(), seconds=SECONDS)
    def restart(self, down: float, orderly: bool, seconds: float) -> None:  # noqa: FBT001 - hypothesis names it
        """End the hub now, and start it again later."""
        self.world.down = down
        self.world.crash(orderly=orderly)
        self._go_on(seconds)

    @rule(callbacks=st.integers(0, 120), down=DOWN)
    def kill_in(self, callbacks: int, down: float) -> None:
        """Kill the hub after so many callbacks of its loop, at whatever await that is."""
        self.world.down, self.world.fuse = down, callbacks

    @precondition(lambda self: self.world.starts)
    @rule(down=st.sampled_from([None, 2.0, 400.0]), forget=st.booleans(), index=INDEX, seconds=SECONDS)
    def reap(self, down: float | None, forget: bool, index: int, seconds: float) -> None:  # noqa: FBT001 - hypothesis names it
        """Let an administrator call `sgehub reap --end`, beside the hub or once that was killed.

        Maybe a server was removed from the hub's database before, behind the hub's back.
        """
        world = self.world
        if down is not None:
            world.down = down
            world.crash()
            if forget and world.hub is None:
                world.forget(world.starts[-1 - index % len(world.starts)])
        world.reap()
        self._go_on(seconds)

    # The cluster

    @rule(state=st.sampled_from(["up", "down", "hung"]), remembers=st.booleans(), seconds=SECONDS)
    def qmaster(self, state: str, remembers: bool, seconds: float) -> None:  # noqa: FBT001 - hypothesis names it
        """Stop the qmaster, let it hang, or let it go on."""
        self.world.cluster.remembers = remembers
        self.world.cluster.set_qmaster(state)
        self._go_on(seconds)

    @rule(fault=OTHER)
    def fault(self, fault: tuple[str, str]) -> None:
        """Let the next call of another verb go wrong."""
        self.world.cluster.add_fault(*fault)

    @rule(condition=st.sampled_from(sorted(CONDITIONS)))
    def cluster(self, condition: str) -> None:
        """Change what the cluster is like."""
        CONDITIONS[condition](self.world.cluster)

    @rule(owner=st.sampled_from(PEOPLE), copy=st.booleans(), reuse=st.booleans())
    def stranger(self, owner: str, copy: bool, reuse: bool) -> None:  # noqa: FBT001 - hypothesis names it
        """Let somebody submit a job, maybe under the name of one of ours, maybe with a number used before."""
        ours = self._job(0)
        name = ours.name if copy and ours is not None and ours.owner != owner else "analysis"
        if reuse:
            self.world.cluster.reuse_number()
        self.world.cluster.stranger(owner, name)
        self._go_on()

    def _job(self, index: int) -> Live | None:
        jobs = [job for job in self.world.cluster.jobs.values() if job.submission is not None]
        return jobs[index % len(jobs)] if jobs else None

    @precondition(lambda self: self._job(0))
    @rule(index=INDEX, event=st.sampled_from(sorted(EVENTS)), witnesses=st.booleans(), seconds=SECONDS)
    def job(self, index: int, event: str, witnesses: bool, seconds: float) -> None:  # noqa: FBT001 - hypothesis names it
        """Let something happen to a job of ours; maybe those who could tell of it are silent."""
        job = self._job(index)
        for verb in ("detail", "accounting"):
            self.world.cluster.set_fault(verb, None if witnesses else "lost")
        if job is not None and (event != "rename" or self.world.is_known(job)):
            EVENTS[event](self.world.cluster, job)
        self._go_on(max(seconds, TOLD) if event == "rerun told" else seconds)

    @precondition(lambda self: REPLACED and self._job(0) and self.world.hub is None and not self.world.reaping)
    @rule(index=INDEX, owner=st.sampled_from(PEOPLE))
    def replaced(self, index: int, owner: str) -> None:
        """Let a job end while no hub looks, and its number go to some other job, as after weeks."""
        job = self._job(index)
        if job is not None:
            self.world.cluster.replace(job, owner)
        self._go_on()

    @rule(index=INDEX, state=st.sampled_from(["up", "cut", "dead"]), seconds=SECONDS)
    def host(self, index: int, state: str, seconds: float) -> None:
        """Cut a host off, take its power, or let it come back: mostly one that has a job of ours."""
        job = self._job(index)
        self.world.cluster.set_host((job.host if job else None) or HOSTS[index % len(HOSTS)], state)
        self._go_on(seconds)
