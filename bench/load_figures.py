"""From what was measured of the load to tables and verdicts. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from counters import Costs

MOST_CPU, MOST_FORKS = 3.0, 40.0  # over 30 s
MOST_BYTES_A_JOB, MOST_BYTES_A_SESSION = 2048.0, 20480.0
MOST_RESTART, MOST_CALLS = 15.0, 3
WINDOW = 30.0


@dataclass(frozen=True)
class Lag:
    """How late an event loop was, in seconds."""

    p99: float
    worst: float
    longest: float
    where: str

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Lag:
        """Sum the probe's answer up."""
        late = sorted(found["late"])
        return cls(late[int(0.99 * (len(late) - 1))], late[-1], found["longest"], found["where"])


@dataclass(frozen=True)
class Restart:
    """Seconds from the start of a hub until all sessions were ready; Grid Engine's commands called meanwhile."""

    sessions: int
    ready: float
    reached: float
    calls: Sequence[str]


@dataclass(frozen=True)
class Finding:
    """One sentence with a figure, and whether its limit is kept (None: there is no limit)."""

    text: str
    kept: bool | None = None

    def __str__(self) -> str:
        verdict = {None: "", True: " - met", False: " - NOT MET"}[self.kept]
        return f"{self.text}{verdict}"


def costs_table(rows: Sequence[tuple[str, str, Costs]], seconds: float) -> str:
    """Return what each hub costs at each point as lines of text."""
    form = "{:<20} {:<22} {:>8} {:>9} {:>11} {:>8}"
    lines = [form.format(f"in {seconds:.0f} s, above idle", "sessions", "CPU-s", "hub", "qmaster", "forks")]
    lines += [
        form.format(name, what, f"{one.cpu:.2f}", f"{one.hub:.2f}", f"{one.qmaster:.2f}", f"{one.forks:.0f}")
        for name, what, one in rows
    ]
    return "\n".join(lines)


def lag_table(rows: Sequence[tuple[str, str, Lag]]) -> str:
    """Return how late each hub's loop was, in milliseconds, as lines of text."""
    form = "{:<20} {:<22} {:>8} {:>8} {:>17}"
    lines = [form.format("event loop, ms", "sessions", "p99", "worst", "longest callback")]
    lines += [
        form.format(name, what, *(f"{1000 * value:.1f}" for value in (one.p99, one.worst, one.longest)))
        for name, what, one in rows
    ]
    return "\n".join(lines)


def judge_costs(rows: Sequence[tuple[str, Costs]], seconds: float) -> list[Finding]:
    """Hold our costs against the limits, which are for WINDOW seconds."""
    part = seconds / WINDOW
    cpu, forks = max(one.cpu for _, one in rows), max(one.forks for _, one in rows)
    return [
        Finding(
            f"CPU at most {cpu:.2f} s in {seconds:.0f} s (limit {MOST_CPU * part:.1f})", cpu < MOST_CPU * part
        ),
        Finding(
            f"forks at most {forks:.0f} in {seconds:.0f} s (limit {MOST_FORKS * part:.0f})",
            forks < MOST_FORKS * part,
        ),
    ]


def judge_restart(restart: Restart) -> list[Finding]:
    """Hold a restart against the limits."""
    return [
        Finding(
            f"hub killed with {restart.sessions} sessions: all ready after {restart.ready:.1f} s, all answer "
            f"through the proxy after {restart.reached:.1f} s from its start (limit {MOST_RESTART:.0f})",
            max(restart.ready, restart.reached) <= MOST_RESTART,
        ),
        Finding(
            f"Grid Engine's commands called meanwhile: {len(restart.calls)} ({' '.join(restart.calls[:10])}) "
            f"(limit {MOST_CALLS})",
            len(restart.calls) <= MOST_CALLS,
        ),
    ]


def judge_memory(a_job: float, a_session: Mapping[str, float]) -> list[Finding]:
    """Hold bytes a job of others and bytes a session, beyond JupyterHub's own, against the limits."""
    found = [
        Finding(
            f"memory: {a_job:.0f} bytes a job of others (limit {MOST_BYTES_A_JOB:.0f})", a_job < MOST_BYTES_A_JOB
        )
    ]
    return found + [
        Finding(
            f"memory: {bytes_ / 1024:.1f} KB a session that {what}, beyond JupyterHub's own (limit "
            f"{MOST_BYTES_A_SESSION / 1024:.0f})",
            bytes_ < MOST_BYTES_A_SESSION,
        )
        for what, bytes_ in a_session.items()
    ]
