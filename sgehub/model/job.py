"""What Grid Engine says of a job, and what may be concluded from it.

The law of this file: "no" is never "don't know". A job that a table lacks is `Absent` only if the table was
asked for after the job was submitted and could be read so far that the job would have been seen; else it is
`Unknown`. Even `Absent` is only the first of two witnesses: the client asks for the second one.

Every time is seconds since the epoch, as time.time() gives, None when there is none: the edge that reads Grid
Engine's answers turns its many notations into that one. No clock is read here.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

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


def same_moment(one: float | None, other: float | None) -> bool:
    """Tell whether two of Grid Engine's times are one: some answers have fractions of a second, others none."""
    return one is not None and other is not None and abs(one - other) <= 1.0


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """What tells one job of ours from all others: numbers are reused, names are public and may be changed.

    `submitted` is the hub's clock (the one of `JobTable.asked_at`) read once qsub had answered: what was asked
    for earlier proves nothing. `submission_time` and `run_started` are Grid Engine's clock, None until a list has
    shown them.
    """

    number: int
    owner: str
    name: str
    submitted: float
    submission_time: float | None = None
    run_started: float | None = None


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

    def find(self, ours: JobIdentity) -> Job | Absent | Unknown:
        """Look for one job of ours: number, owner, name and time of submission must match.

        `Absent` wants a second witness before it means anything.
        """
        job = self.jobs.get(ours.number)
        named = job is not None and (job.owner, job.name) == (ours.owner, ours.name)
        if job is not None and named and _near(job.submitted, ours.submitted):
            return job
        if not self.covers(ours.owner):
            return Unknown(f"The list of jobs was not asked for those of {ours.owner}.")
        if self.asked_at <= ours.submitted:
            return Unknown(f"The list of jobs is older than job {ours.number}.")
        if ours.number in self.broken:
            return Unknown(f"The list of jobs holds job {ours.number}, but in a form that cannot be read.")
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

    def is_of(self, ours: JobIdentity) -> bool | None:
        """Tell whether this is our job, whose number it has; None if it may be, under another name or owner.

        People rename jobs (qalter(1)), a JSV renames them as they are submitted. The number was given to another
        job only if that was submitted at another time: than Grid Engine's own `submission_time`, or, as long as
        that is not known, since lists show it of waiting jobs only, after ours has begun to run, or not around
        the hub's time of the submission.
        """
        if (self.owner, self.name) == (ours.owner, ours.name):
            return True
        if self.submitted is None:
            return None
        if ours.submission_time is not None:
            return None if same_moment(self.submitted, ours.submission_time) else False
        if ours.run_started is not None and self.submitted > ours.run_started + 1.0:
            return False
        return None if _near(self.submitted, ours.submitted) else False


LIMIT: Final = 37  # "failed" of accounting(5), of a job that has passed a limit
_FINAL: Final = {0, *range(12, 18), LIMIT, 100}  # it ran; after other failures it may run again, or be in "E"


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

    def is_of(self, ours: JobIdentity) -> bool:
        """Tell whether this is a record of that very job: numbers are reused, clocks differ a little."""
        same = (self.number, self.owner, self.name) == (ours.number, ours.owner, ours.name)
        return same and _near(self.submitted, ours.submitted)


def last_run(records: Iterable[Accounting], ours: JobIdentity) -> Accounting | None:
    """Return the newest record of that job, or None: a job that was run again has several, oldest first."""
    found = [record for record in records if record.is_of(ours)]
    return found[-1] if found else None
