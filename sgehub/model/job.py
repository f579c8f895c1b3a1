"""What Grid Engine says of a job, and what may be concluded from it.

The law of this file: "no" is never "don't know". A job that a table lacks is `Absent` only if the table was
asked for after the job was submitted and could be read so far that the job would have been seen; else it is
`Unknown`. Even `Absent` is only the first of two witnesses: the client asks for the second one.

Every time is seconds since the epoch, as time.time() gives, None when there is none: the edge that reads Grid
Engine's answers turns its many notations into that one. No clock is read here.
"""

from __future__ import annotations

import enum
import signal
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sgehub.model.units import Duration, Memory

CLOCK_SKEW: Final = 3600.0  # seconds by which the clocks of hub, qmaster and hosts may differ


class Phase(enum.Enum):
    """Where a job stands, in the words of a session."""

    QUEUED = "queued"
    HELD = "held"
    ERROR = "error"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUSPENDED = "suspended"
    ENDING = "ending"
    UNKNOWN = "unknown"


# sge_status(5). The first row that shares a letter with the job's decides: a job in "dr" ends, one in "hr"
# runs, one in "Eqw" will never run. z and x (finished, not yet forgotten) are no proof of absence either.
_PHASES: Final = (
    (frozenset("dxz"), Phase.ENDING),
    (frozenset("E"), Phase.ERROR),
    (frozenset("sST"), Phase.SUSPENDED),
    (frozenset("t"), Phase.DISPATCHED),
    (frozenset("r"), Phase.RUNNING),
    (frozenset("h"), Phase.HELD),
    (frozenset("qw"), Phase.QUEUED),
)
_ORDER: Final = "dESThRqrstwxz"


@dataclass(frozen=True, slots=True)
class JobState:
    """The state letters of a job: a set, not a word. sge_status(5)."""

    letters: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> JobState:
        """Read "hqw", "dr", … in any order; unknown letters are kept, blanks are not letters."""
        return cls(frozenset(text) - frozenset(" \t\r\n"))

    @property
    def phase(self) -> Phase:
        """Where the job stands; UNKNOWN when no letter that decides is there."""
        return next((phase for letters, phase in _PHASES if letters & self.letters), Phase.UNKNOWN)

    @property
    def rerun(self) -> bool:
        """Whether this is not the job's first run: another host, another port."""
        return "R" in self.letters

    def __str__(self) -> str:
        """Print the letters in Grid Engine's order, unknown ones behind."""
        known = [letter for letter in _ORDER if letter in self.letters]
        return "".join(known + sorted(self.letters - set(known)))


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the list of jobs. Queue and host are None while it is pending; `started` too."""

    number: int
    name: str
    owner: str
    state: JobState
    queue: str | None
    host: str | None
    slots: int
    submitted: float | None
    started: float | None
    priority: float


def place(priority: float, number: int) -> int:
    """Return a number by which queued jobs can be put in order: by priority (five digits), the older one first."""
    return number - round(priority * 10**5) * 10**10


def _near(submitted: float | None, ours: float) -> bool:
    """Tell whether Grid Engine's time of a submission, as far as it is known, can be the one of our record."""
    return submitted is None or abs(submitted - ours) <= CLOCK_SKEW


@dataclass(frozen=True, slots=True)
class Absent:
    """Grid Engine was asked, answered in full, and does not have the job."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody knows. `reason` is a sentence for the log and, where it lasts, for the person."""

    reason: str


@dataclass(frozen=True, slots=True)
class JobTable:
    """The jobs of ours, by name, of the `owners` (None: of everybody) at one moment; of an array its first task.

    `asked_at` is the hub's clock read just before the question was put. `broken` holds the numbers of jobs
    whose element could not be read, `skipped` counts the elements whose job is not even known by number.
    `waiting` holds the places in the queue of all queued jobs, whosever they are, in ascending order.
    """

    asked_at: float
    jobs: Mapping[int, Job] = field(default_factory=dict)
    skipped: int = 0
    broken: frozenset[int] = frozenset()
    owners: frozenset[str] | None = None
    waiting: tuple[int, ...] = ()

    @property
    def narrow(self) -> bool:
        """Whether only some people's jobs were asked for."""
        return self.owners is not None

    @property
    def whole(self) -> bool:
        """Whether every entry could be read."""
        return not (self.skipped or self.broken)

    def covers(self, owner: str) -> bool:
        """Tell whether the owner's jobs were asked for at all."""
        return self.owners is None or owner in self.owners

    def find(self, number: int, *, owner: str, name: str, submitted_after: float) -> Job | Absent | Unknown:
        """Look for one job of ours. Numbers are reused, so that owner, name and time of submission must match.

        `submitted_after` is the hub's clock (the one of `asked_at`) read once qsub had answered: a table
        asked for earlier proves nothing. `Absent` wants a second witness before it means anything.
        """
        job = self.jobs.get(number)
        if job is not None and (job.owner, job.name) == (owner, name) and _near(job.submitted, submitted_after):
            return job
        if not self.covers(owner):
            return Unknown(f"The list of jobs was not asked for those of {owner}.")
        if self.asked_at <= submitted_after:
            return Unknown(f"The list of jobs is older than job {number}.")
        if number in self.broken:
            return Unknown(f"The list of jobs holds job {number}, but in a form that cannot be read.")
        if self.skipped:
            return Unknown(f"{self.skipped} entries of the list of jobs could not be read.")
        return Absent()

    def by_name(self, name: str, *, owner: str) -> Job | None:
        """Return the owner's job of that name, or None; names are public, anybody can copy one."""
        return next((job for job in self.jobs.values() if job.name == name and job.owner == owner), None)

    def ahead_of(self, job: Job) -> int | None:
        """Count the queued jobs that stand before this one, None if not everybody's were asked for."""
        return None if self.narrow else bisect_left(self.waiting, place(job.priority, job.number))


@dataclass(frozen=True, slots=True)
class JobDetail:
    """What `qstat -j` says of one job: why it failed, why it waits."""

    number: int
    owner: str
    name: str
    submitted: float | None
    error_reasons: tuple[str, ...] = ()
    pending_reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accounting:
    """One record of accounting(5): one run of a job that has ended. Times in seconds, memory in bytes."""

    number: int
    owner: str
    name: str
    queue: str | None
    host: str | None
    submitted: float | None
    started: float | None
    ended: float | None
    failed: int
    failed_text: str
    exit_status: int
    maxvmem_bytes: int | None
    wallclock: float | None
    deleted_by: str | None = None

    @property
    def final(self) -> bool:
        """Whether the job cannot have outlived this run: no re-run, no error state followed it."""
        return self.failed in _FINAL

    def is_of(self, number: int, *, owner: str, name: str, submitted_after: float) -> bool:
        """Tell whether this is a record of that very job: numbers are reused, clocks differ a little."""
        same = (self.number, self.owner, self.name) == (number, owner, name)
        return same and _near(self.submitted, submitted_after)


def last_run(
    records: Iterable[Accounting], number: int, *, owner: str, name: str, submitted_after: float
) -> Accounting | None:
    """Return the newest record of that job, or None: a job that was run again has several, oldest first."""
    found = [
        record
        for record in records
        if record.is_of(number, owner=owner, name=name, submitted_after=submitted_after)
    ]
    return found[-1] if found else None


# The "failed" values of accounting(5), as sge_status(5) explains them, in words for the person.
_HOST_TROUBLE: Final = "The execution host had a problem and could not start it"
_RESCHEDULED: Final = "Grid Engine took it off its host to run it again"
_FAILURES: Final = {
    **dict.fromkeys((1, 2, 3, 4, 5, 6, 11, 18, 20, 29, 38), _HOST_TROUBLE),
    **dict.fromkeys((7, 8), "The cluster's preparation of the job (prolog) failed"),
    **dict.fromkeys((9, 10), "The cluster's preparation of the parallel environment failed"),
    **dict.fromkeys((12, 13), "It ran, but the end procedure of the parallel environment failed"),
    **dict.fromkeys((14, 15, 16), "It ran, but the cluster's clean-up after it (epilog) failed"),
    **dict.fromkeys((19, 21), "Its execution host was lost, probably by a crash or a power cut"),
    **dict.fromkeys((24, 25), _RESCHEDULED),
    26: "Its log could not be opened: the home folder is full, missing or not writable on the execution host",
    27: "Its shell was not found on the execution host",
    28: "Its home folder could not be entered on the execution host",
    30: "The job asked Grid Engine to be put into the error state",
}
_LIMIT: Final = 37
_FINAL: Final = {0, *range(12, 18), _LIMIT, 100}  # it ran; after other failures it may run again, or be in "E"
_AFTER_JOB: Final = (17, 100)  # it ran and was ended from outside: qdel, a limit
_KILLED: Final = 128 + signal.SIGKILL
_ANNOUNCED: Final = 128 + signal.SIGUSR2  # by -notify
_CRASHED: Final = {128 + 9, 128 + 6, 128 + 11}  # what programs die of when memory ends
_NOT_STARTED: Final = {126, 127}  # the shell's answers
_SIGNALS: Final = range(129, 128 + 32)
_NEAR: Final = 0.9  # of the memory: an allocation fails before the sum is full


def why_it_ended(accounting: Accounting, *, h_rt: int | None = None, memory_limit: int | None = None) -> str:
    """Say in one sentence why a job ended, as far as its record tells.

    `h_rt` is the runtime asked for (seconds), `memory_limit` the job's whole memory (bytes). `deleted_by`
    (Open Cluster Scheduler) is believed before anything is guessed from codes, except where it is the host's
    own daemon, which enforces limits; 8.1.9 does not tell a deletion from other ends by a signal.
    """
    failed, status, deleter = accounting.failed, accounting.exit_status, accounting.deleted_by or ""
    text = accounting.failed_text or str(failed)
    memory = f"its memory of {Memory(memory_limit or 0)}"
    by_daemon = deleter.startswith("execd@")
    full = bool(memory_limit) and (accounting.maxvmem_bytes or 0) >= _NEAR * (memory_limit or 0)
    rules = (  # the first that holds
        (deleter and not by_daemon, f"It was deleted by {deleter}."),
        (failed in _FAILURES, f"{_FAILURES.get(failed)} ({text})."),
        (h_rt is not None and _lasted(accounting) >= h_rt - 1, _reached(h_rt)),
        (full and (failed or status in _CRASHED), f"It used up {memory}."),
        (by_daemon or failed == _LIMIT, "It passed a limit of its runtime or its memory."),
        (failed in _AFTER_JOB and status == _ANNOUNCED, "It was deleted."),
        (failed in _AFTER_JOB and status == _KILLED, "It was killed: deleted, or memory ran out on its host."),
        (failed in _AFTER_JOB, "It was ended from outside, probably deleted."),
        (failed, f"Grid Engine reports a failure: {text}."),
        (status == 0, "It ended by itself."),
        (full, f"It ended with exit status {status}, and had used up {memory}."),
        (status in _NOT_STARTED, f"Its program could not be started (exit status {status})."),
        (status == _KILLED, "It was killed on its host, probably because memory ran out."),
        (status in _SIGNALS, f"It was ended by a signal ({_signal(status - 128)})."),
    )
    return next((sentence for holds, sentence in rules if holds), f"It ended with exit status {status}.")


def _lasted(accounting: Accounting) -> float:
    if accounting.started is None or accounting.ended is None:
        return accounting.wallclock or 0.0
    return accounting.ended - accounting.started


def _reached(h_rt: int | None) -> str:
    return f"It reached its runtime of {Duration(h_rt or 0).words()}."


def _signal(number: int) -> str:
    return signal.strsignal(number) or str(number) if number in signal.valid_signals() else str(number)
