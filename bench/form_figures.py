"""From what was measured of the options form to the table and the verdicts. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from load_figures import Finding, Lag

MOST_CPU = 0.050  # seconds of the hub's CPU for one form, in 95 of 100
MOST_WAIT = 5.0  # seconds until everybody has it
MOST_BYTES = 150_000
MOST_VERDICT = 1.0  # seconds from the last change of the form
MOST_QUESTIONS = 1  # of Grid Engine, for all who look at once
PAUSE = 0.3  # seconds that the page waits for a further change before it asks: PAUSE in verdict.html
_SOURCES = re.compile(rb"""<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)\s*=\s*["']([^"']+)""")


def part(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so many of all (0 to 1) do not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


def above_idle(used: float, elapsed: float, idle: float) -> float:
    """Return CPU seconds without those that the hub takes in this time anyway; `idle` is CPU seconds a second."""
    return max(0.0, used - idle * elapsed)


def sources(page: bytes) -> set[str]:
    """Return the addresses that a page makes a browser load by itself."""
    return {found.decode() for found in _SOURCES.findall(page)}


@dataclass(frozen=True)
class Page:
    """Bytes of a hub's form page, of a page of JupyterHub's own there, and of what only the first one loads."""

    form: int
    own: int
    loads: Mapping[str, int]

    @property
    def beyond(self) -> int:
        """Return what the form brings beyond what JupyterHub itself loads."""
        return self.form - self.own + sum(self.loads.values())


@dataclass(frozen=True)
class Opened:
    """What one hub's form costs: CPU seconds of each open in turn, and seconds of each person in each rush."""

    cpu: Sequence[float]
    rushes: Sequence[Sequence[float]]
    page: Page
    late: Lag

    @property
    def slowest(self) -> Sequence[float]:
        """Return the rush whose last person had to wait longest."""
        return max(self.rushes, key=max)


@dataclass(frozen=True)
class Judged:
    """Seconds that verdicts took, first and when the same was asked again."""

    what: str
    first: Sequence[float]
    again: Sequence[float]


@dataclass(frozen=True)
class Watched:
    """What is free, asked by many at once: seconds of each, how many were told, questions to Grid Engine."""

    what: str
    seconds: Sequence[float]
    told: int
    questions: int


def table(rows: Mapping[str, Opened]) -> str:
    """Return what each hub's form costs as lines of text."""
    form = "{:<20} {:>10} {:>8} {:>8} {:>15} {:>8} {:>9} {:>8} {:>12}"
    lines = [
        form.format(
            "form", "hub's CPU:", "p50, ms", "p95, ms", "all at once:", "p50, s", "last, s", "KB", "loop, ms"
        )
    ]
    lines += [
        form.format(
            name,
            "",
            f"{1000 * median(one.cpu):.1f}",
            f"{1000 * part(one.cpu, 0.95):.1f}",
            "",
            f"{median(one.slowest):.2f}",
            f"{max(one.slowest):.2f}",
            f"{one.page.beyond / 1000:.1f}",
            f"{1000 * one.late.longest:.0f}",
        )
        for name, one in rows.items()
    ]
    notes = "KB: beyond a page of JupyterHub's own there. loop: longest callback while all open it at once."
    return "\n".join([*lines, notes])


def judge_form(one: Opened) -> list[Finding]:
    """Hold our form against the limits."""
    high, last = part(one.cpu, 0.95), max(one.slowest)
    people = len(one.slowest)
    return [
        Finding(
            f"form: {1000 * high:.1f} ms of the hub's CPU in 95 of 100 of {len(one.cpu)} opens "
            f"(limit {1000 * MOST_CPU:.0f})",
            high <= MOST_CPU,
        ),
        Finding(
            f"form: {people} people at once all have it after {last:.2f} s, the worst of {len(one.rushes)} times "
            f"(limit {MOST_WAIT:.0f})",
            last <= MOST_WAIT,
        ),
        Finding(
            f"form: {one.page.beyond / 1000:.1f} KB beyond what JupyterHub itself loads (page {one.page.form}, "
            f"JupyterHub's own {one.page.own}, loaded besides {sum(one.page.loads.values())} bytes; "
            f"limit {MOST_BYTES / 1000:.0f})",
            one.page.beyond < MOST_BYTES,
        ),
        Finding(
            f"form: while they open it, the longest callback of the event loop takes "
            f"{1000 * one.late.longest:.0f} ms in {one.late.where}"
        ),
    ]


def judge_watched(one: Watched) -> Finding:
    """Hold how often Grid Engine was asked for many people against the limit."""
    return Finding(
        f"what is free, {one.what}: {one.told} of {len(one.seconds)} people at once know it after "
        f"{max(one.seconds):.2f} s, questions to Grid Engine: {one.questions} (limit {MOST_QUESTIONS})",
        one.questions <= MOST_QUESTIONS,
    )


def judge_verdict(one: Judged) -> Finding:
    """Hold how long a page's verdict takes, its own pause included, against the limit."""
    high = part(one.first, 0.95)
    shown = PAUSE + high
    return Finding(
        f"verdict, {one.what}: answered in {median(one.first):.3f} s in the median, {high:.3f} s in 95 of 100 of "
        f"{len(one.first)}, the same again in {median(one.again):.3f} s; shown {shown:.2f} s after the last "
        f"change (limit {MOST_VERDICT:.0f})",
        shown <= MOST_VERDICT,
    )


def judge_silent(seconds: float) -> Finding:
    """Hold how long the form takes while Grid Engine does not answer against the limit of its verdict."""
    return Finding(
        f"form: while Grid Engine is silent it comes after {seconds:.2f} s (limit {MOST_VERDICT:.0f}): it waits "
        "neither for a verdict nor for what is free",
        seconds <= MOST_VERDICT,
    )
