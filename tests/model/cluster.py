"""A cluster that exists only in memory: jobs, hosts, accounting, and a qmaster that is down or hangs.

It is the outside world: it goes on when the hub is killed. What a call changes happens at a moment of its own,
whether or not somebody still waits for the answer, as with a real qsub.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sgehub.errors import ClusterError, NoAnswerError, SubmissionRefusedError
from sgehub.gridengine.client import Submission
from sgehub.gridengine.parse_qdel import Deletion
from sgehub.model.job import Absent, Accounting, Job, JobDetail, JobState, JobTable
from sgehub.model.names import JOB_PREFIX
from tests.model.loop import Clock
from tests.model.session import Session

HOSTS: Final = ("node01", "node02", "node03")
LATENCY: Final = 0.05  # seconds from a call to its effect, and again to its answer
DISPATCH: Final = 1.5  # seconds until the scheduler sends a job to a host that has room
LINGER: Final = 60.0  # seconds after which the number of a job that ended may be given to another one
# Seconds by which that other one is younger: numbers come again after weeks, which no history waits for.
WEEKS: Final = 14 * 86400.0


@dataclass(eq=False)
class Live:
    """A job that the qmaster knows."""

    number: int
    owner: str
    name: str
    submitted: float
    letters: str = "qw"
    host: str | None = None
    started: float | None = None
    session: Session | None = None
    submission: Submission | None = None  # None: a job of somebody's own
    runs: int = 0
    launch: Any = None  # what the launch file says, None while there is none
    over: bool = False

    @property
    def tag(self) -> str | None:
        """The mark of the start that made it, None for a job that is not ours."""
        return self.submission.tag if self.submission else None

    @property
    def waiting(self) -> bool:
        """Whether it has no host yet."""
        return self.host is None

    def value(self) -> Job:
        """Return it as the list of jobs shows it."""
        return Job(
            number=self.number,
            name=self.name,
            owner=self.owner,
            state=JobState.parse(self.letters),
            queue="short.q" if self.host else None,
            host=self.host,
            slots=1,
            submitted=self.submitted,
            started=self.started,
            priority=0.5,
        )


@dataclass(eq=False)
class Call:
    """One command under way: what it does, and whom it tells."""

    verb: str
    effect: Callable[[], Any]
    tell: Callable[[Any], None]
    fault: str | None
    told: bool = False
    reached: bool = False  # whether it has had its effect

    def answer(self, value: Any) -> None:
        """Give the answer, once."""
        if not self.told:
            self.told = True
            self.tell(value)


@dataclass(eq=False)
class Host:
    """An execution host: "up", "cut" (alive, but nobody reaches it) or "dead"."""

    name: str
    state: str = "up"
    silent_since: float | None = None


@dataclass
class Cluster:
    """The qmaster's world. `observer` hears of what the laws need to know."""

    clock: Clock
    observer: Any
    jobs: dict[int, Live] = field(default_factory=dict)
    accounts: list[tuple[float, Accounting]] = field(default_factory=list)  # from when on qacct shows it
    faults: dict[str, deque[str]] = field(default_factory=dict)
    qmaster: str = "up"
    remembers: bool = True  # what a hung qmaster has been asked is done when it wakes, also for clients long gone
    room: bool = True
    lag: float = 0.5  # seconds until accounting shows an end
    mimic: bool = False  # somebody gives each of our jobs' names to a job of his own
    blind: bool = False  # the list hides waiting jobs from the hub's account, as OCS 9.2 does

    discarded: set[str] = field(default_factory=set)  # the tags of launch files that were removed by the hub

    def __post_init__(self) -> None:
        self.hosts = {name: Host(name) for name in HOSTS}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._number = 100
        self._freed: deque[tuple[float, int]] = deque()
        self._reuse = False
        self._stuck: list[Call] = []
        self._deletions: list[Call] = []  # all that were ever on their way
        self.disturbed = self.clock.now  # when it was last given a reason to answer late, or wrongly

    # Time

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Let something happen later."""
        heapq.heappush(self._events, (self.clock.now + seconds, next(self._order), event))

    def next_time(self) -> float | None:
        """Return when something happens next."""
        return self._events[0][0] if self._events else None

    def happen(self) -> bool:
        """Let one thing happen that is due; return whether there was one."""
        if self._events and self._events[0][0] <= self.clock.now:
            heapq.heappop(self._events)[2]()
            return True
        return False

    # Calls

    def call(self, verb: str, effect: Callable[[], Any], deadline: float, tell: Callable[[Any], None]) -> None:
        """Run a command: `effect` at the qmaster, then `tell` with its value or the error."""
        queue = self.faults.get(verb)
        fault = queue.popleft() if queue else None
        call = Call(verb, effect, tell, fault)
        if verb == "cancel":
            self._deletions.append(call)
        self.after(LATENCY, lambda: self._reach(call))
        self.after(deadline, lambda: call.answer(NoAnswerError(f"{verb} did not answer within {deadline:.0f} s.")))

    def _reach(self, call: Call) -> None:
        if call.fault == "crash instead":  # before anybody was asked
            self.observer.kill_hub()
        elif self.qmaster == "down" or call.fault == "lost":
            call.answer(NoAnswerError("unable to send message to qmaster"))
        elif self.qmaster == "hung":
            self._stuck.append(call)
        elif call.fault == "late":  # the client waits long for the qmaster's turn
            call.fault = None
            self.after(20.0, lambda: self._reach(call))
        else:
            self._run(call)

    def _run(self, call: Call) -> None:
        call.reached = True
        if call.fault == "crash before":
            self.observer.kill_hub()
        try:
            value = call.effect() if call.fault != "refused" else _refusal(call.verb)
        except ClusterError as error:
            value = error
        if call.fault == "crash after":
            self.observer.kill_hub()
        if call.fault == "answer lost":
            value = NoAnswerError("the answer was cut off")
        self.after(20.0 if call.fault == "slow" else LATENCY, lambda: call.answer(value))

    def add_fault(self, verb: str, fault: str) -> None:
        """Let the next call of a verb go wrong, or the one after it."""
        self.disturbed = self.clock.now
        self.faults.setdefault(verb, deque()).append(fault)

    def set_fault(self, verb: str, fault: str | None) -> None:
        """Let the very next call of a verb go wrong, or right."""
        self.disturbed = self.clock.now
        self.faults[verb] = deque([fault] if fault else [])

    def set_qmaster(self, state: str) -> None:
        """Let the qmaster be "up", "down" or "hung"."""
        self.disturbed = self.clock.now
        self.qmaster = state
        if state == "hung":
            return
        stuck, self._stuck = self._stuck, []
        for call in stuck:
            if state == "down":
                call.answer(NoAnswerError("the qmaster has ended"))
            elif not call.told or self.remembers:
                self._run(call)
        if state == "up":
            for job in list(self.jobs.values()):
                self._plan(job)
                if "d" in job.letters:
                    self._end_on_host(job, 140)

    # What commands do

    def submit(self, person: str, submission: Submission) -> int:
        """Queue a job of ours: qsub."""
        name = submission.options[submission.options.index("-N") + 1]
        job = Live(self._new_number(), person, name, self.clock.epoch(), submission=submission)
        job.launch = dict(submission.launch)
        self.jobs[job.number] = job
        self.observer.submitted(job)
        self._plan(job)
        if self.mimic:
            self.stranger("mimic", name)
        return job.number

    def stranger(self, owner: str, name: str) -> None:
        """Queue a job that is none of ours."""
        number = self._new_number()
        later = WEEKS if number < self._number else 0.0
        self.jobs[number] = Live(number, owner, name, self.clock.epoch() + later)

    def cancel(self, person: str, number: int) -> Deletion:
        """Delete a job as `person`: qdel."""
        job = self.jobs.get(number)
        if job is None:
            return Deletion.ABSENT
        self.observer.deleting(person, job)
        if job.owner != person:
            raise ClusterError(f"{person} - you do not have the necessary privileges to delete the job {number}")
        return self.delete(job)

    def delete(self, job: Live) -> Deletion:
        """Delete a job, whoever wants it."""
        if job.waiting:
            self._gone(job, None)
            return Deletion.DELETED
        if "d" not in job.letters:
            job.letters = "d" + job.letters
            self._end_on_host(job, 140)
        return Deletion.REGISTERED

    def table(self, asked_at: float, owners: Any, fault: str | None) -> JobTable:
        """Return the list of jobs: qstat."""
        jobs = {
            job.number: job.value()
            for job in self.jobs.values()
            if (owners is None or job.owner in owners)
            and not (self.blind and job.waiting)
            and job.name.startswith(JOB_PREFIX)
        }
        more: dict[str, Any] = {"owners": None if owners is None else frozenset(owners)}
        if fault == "skipped" and jobs:
            jobs.popitem()
            more["skipped"] = 1
        elif fault == "broken" and jobs:
            more["broken"] = frozenset([jobs.popitem()[0]])
        return JobTable(asked_at=asked_at, jobs=jobs, **more)

    def detail(self, number: int) -> JobDetail | Absent:
        """Return what is known of one job: qstat -j."""
        job = self.jobs.get(number)
        if job is None:
            return Absent()
        reasons = ("can't get password entry for user",) if "E" in job.letters else ()
        return JobDetail(number, job.owner, job.name, job.submitted, error_reasons=reasons)

    def named(self, name: str) -> JobDetail | Absent:
        """Return what is known of the first job with a name: qstat -j."""
        found = next((job for number, job in sorted(self.jobs.items()) if job.name == name), None)
        return Absent() if found is None else self.detail(found.number)

    def accounting(self) -> list[Accounting]:
        """Return what accounting shows by now: qacct."""
        return [record for when, record in self.accounts if when <= self.clock.now]

    def silent_hosts(self) -> frozenset[str]:
        """Return the hosts that the qmaster has not heard of: qhost, qstat -f."""
        return frozenset(
            host.name
            for host in self.hosts.values()
            if host.silent_since is not None and self.clock.now - host.silent_since > 60.0
        )

    def rewrite(self, tag: str, launch: Any) -> None:
        """Write the launch file of another run."""
        for job in self.jobs.values():
            if job.tag == tag:
                job.launch = dict(launch)

    def discard(self, tag: str) -> bool:
        """Remove the launch file of a job that will not run."""
        self.discarded.add(tag)
        return True

    # What happens by itself, or by others

    def _new_number(self) -> int:
        # A qmaster that hangs gives no numbers away, and does first what it was asked before.
        awake = self.qmaster == "up"
        if awake and self._reuse and self._freed and self._freed[0][0] + LINGER <= self.clock.now:
            self._reuse = False
            return self._freed.popleft()[1]
        self._number += 1
        return self._number

    def reuse_number(self) -> None:
        """Let the next job get the number of one that has ended a while ago: numbers wrap."""
        self._reuse = True

    def set_blind(self, blind: bool) -> None:  # noqa: FBT001 - it is a state
        """Hide waiting jobs from the hub's account, or show them."""
        self.blind = blind

    def set_room(self, room: bool) -> None:  # noqa: FBT001 - it is a state
        """Let waiting jobs find a host, or not."""
        self.room = room
        for job in list(self.jobs.values()):
            self._plan(job)

    def _plan(self, job: Live) -> None:
        if job.submission is not None:
            self.after(DISPATCH, lambda: self._dispatch(job))

    def _dispatch(self, job: Live) -> None:
        free = [host.name for host in self.hosts.values() if host.state == "up"]
        if (
            job.over
            or not job.waiting
            or not self.room
            or not free
            or self.qmaster != "up"
            or set("hEd") & set(job.letters)
        ):
            return
        job.host = free[(job.number + job.runs) % len(free)]
        job.letters = "Rt" if job.runs else "t"
        job.started = self.clock.epoch()
        self.after(0.3, lambda run=job.runs: self._run_job(job, run))

    def _run_job(self, job: Live, run: int) -> None:
        if job.over or job.waiting or job.runs != run or "t" not in job.letters:
            return
        job.letters = job.letters.replace("t", "r")
        job.session = Session(self, job)
        self.after(0.5, job.session.begin)

    def hold(self, job: Live) -> None:
        """Put a hold on a job, or release it: qhold, qrls."""
        job.letters = job.letters.replace("h", "") if "h" in job.letters else "h" + job.letters
        self._plan(job)

    def break_start(self, job: Live) -> None:
        """Let a waiting job go into the error state."""
        if job.waiting and "E" not in job.letters:
            job.letters = "Eqw"
            self.observer.in_error(job)

    def rename(self, job: Live) -> None:
        """Let a job's person give it another name, or its own one back: qalter -N."""
        own = job.submission.options[job.submission.options.index("-N") + 1] if job.submission else job.name
        job.name = "mine" if job.name == own else own
        self.disturbed = self.clock.now

    def suspend(self, job: Live) -> None:
        """Suspend a running job, or resume it: qmod -sj, -usj."""
        if "r" in job.letters:
            job.letters = job.letters.replace("r", "s")
        elif "s" in job.letters:
            job.letters = job.letters.replace("s", "r")
            self.wake(job)

    def wake(self, job: Live) -> None:
        """Let a session that was stopped, or cut off, go on."""
        if job.session is not None:
            self.after(0.2, job.session.wake)

    def rerun(self, job: Live, *, told: bool = False) -> None:
        """Take a running job off its host and queue it again: qmod -rj, or a host that was lost.

        `told`: the session still says that a signal has ended its server; Grid Engine answers for a while.
        """
        if job.waiting or "d" in job.letters:
            return
        self._account(job, 137, failed=25)
        if job.session is not None:
            if told and job.session.awake and self.qmaster == "up":
                self.faults.pop("jobs", None)
                self.observer.report_signal(job.session, 140)
            job.session.vanish()
        job.session = None
        job.host = job.started = None
        job.letters = "Rq"
        job.runs += 1
        self.observer.run_ended(job)
        self._plan(job)

    def exit(self, job: Live, code: int) -> None:
        """Let the server of a running job end by itself; the session says so to the hub, then the job ends."""
        if job.session is not None and self.alive(job):
            job.session.end(code)

    def kill(self, job: Live) -> None:
        """Let a running job die at once, session and all."""
        if not job.waiting and self.alive(job):
            self._gone(job, 137)

    def replace(self, job: Live, owner: str) -> None:
        """Let a job end, and give its number to somebody's own job weeks later: no qdel is on its way then."""
        if not all(call.reached or (call.told and call not in self._stuck) for call in self._deletions):
            return
        self._gone(job, 0)
        if self._freed and self._freed[-1][1] == job.number:
            self._freed.pop()
        self.jobs[job.number] = Live(job.number, owner, "analysis", self.clock.epoch() + WEEKS)

    def alive(self, job: Live) -> bool:
        """Tell whether the job's host runs, so that its processes do."""
        return not job.over and (job.host is None or self.hosts[job.host].state != "dead")

    def ended(self, job: Live, code: int) -> None:
        """Hear from the session that its last process has ended."""
        if not job.over and job.host is not None and self.hosts[job.host].state == "up":
            self._gone(job, code)

    def _end_on_host(self, job: Live, code: int) -> None:
        """Let the execution host end a job, if the qmaster reaches it."""
        if job.host is None or self.hosts[job.host].state != "up" or self.qmaster != "up":
            return
        if job.session is not None:
            job.session.end(code)
            self.after(8.0, lambda: self.ended(job, 137))  # -notify, then KILL
        else:
            self._gone(job, code)

    def _gone(self, job: Live, code: int | None) -> None:
        if job.over:
            return
        job.over = True
        if job.session is not None:
            job.session.vanish()
        if code is not None:
            self._account(job, code, failed=100 if "d" in job.letters else 0)
        if self.jobs.get(job.number) is job:
            del self.jobs[job.number]
        self._freed.append((self.clock.now, job.number))
        self.observer.job_over(job)

    def _account(self, job: Live, code: int, *, failed: int) -> None:
        record = Accounting(
            number=job.number,
            owner=job.owner,
            name=job.name,
            queue="short.q",
            host=job.host,
            submitted=job.submitted,
            started=job.started,
            ended=self.clock.epoch(),
            failed=failed,
            failed_text="",
            exit_status=code,
            maxvmem_bytes=None,
            wallclock=None,
        )
        self.accounts.append((self.clock.now + self.lag, record))

    def set_host(self, name: str, state: str) -> None:
        """Let a host be "up", "cut" off the network, or "dead" (no power)."""
        host, before = self.hosts[name], self.hosts[name].state
        if state == before or (before == "dead" and state == "cut"):
            return
        self.observer.host_changes(host)
        self.disturbed = self.clock.now
        host.state = state
        host.silent_since = None if state == "up" else host.silent_since or self.clock.now
        for job in [job for job in self.jobs.values() if job.host == name]:
            if state == "up":
                self._comes_back(job, with_power=before == "dead")
            elif job.session is not None and state == "dead":
                job.session.vanish(with_power=True)
                self.observer.power_lost(job)
            elif job.session is not None:
                job.session.cut_off()
        if state == "up":
            for job in list(self.jobs.values()):
                self._plan(job)

    def _comes_back(self, job: Live, *, with_power: bool) -> None:
        """Let the execd report, once it is up, what has become of a job."""
        if with_power:
            self._gone(job, 137)
        elif job.session is not None and job.session.over:
            self._gone(job, job.session.code)
        elif "d" in job.letters:
            self._end_on_host(job, 140)
        self.wake(job)


def _refusal(verb: str) -> Any:
    if verb == "submit":
        return SubmissionRefusedError("Unable to run job: job rejected: too many jobs. Exiting.")
    return ClusterError("denied: the qmaster refuses it")
