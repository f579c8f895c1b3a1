"""What Grid Engine thinks of a request before it is submitted, as one sentence for the form.

The law of this file: a verdict is one of five kinds, and "unknown" is never "no". `qsub -w p` knows what is free
and not who is ahead in the queue, so the best of them says "could". How Grid Engine's own lines are read is the
business of `obstacles`; here they are kept as they stand, as many as a page can hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from sgehub.errors import Violation
from sgehub.model.obstacles import doubtful, in_the_way
from sgehub.model.wish import Wish

LINES: Final = 30  # of Grid Engine's own that are shown; a large site has one for every host
LINE_LIMIT: Final = 300  # characters of each
UNSAID: Final = "Grid Engine does not say whether it ever could."
SILENT: Final = "Grid Engine is not answering; you can press Start all the same."


class Kind(Enum):
    """The five verdicts, by the names that the page and the metrics know them by."""

    NOW = "now"
    WAITS = "waits"
    NEVER = "never"
    REFUSED = "refused"  # by the site's policy, before Grid Engine was asked
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence of ours, and the lines of Grid Engine's that it was made of."""

    kind: Kind
    sentence: str
    details: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return what the page reads."""
        return {"kind": self.kind.value, "sentence": self.sentence, "details": list(self.details)}


def could_start() -> Verdict:
    """Return the verdict on what there is room for now."""
    return Verdict(Kind.NOW, "Could start now.")


def would_wait(wish: Wish, lines: Sequence[str]) -> Verdict:
    """Return the verdict on what could run, but not now; `lines` say why not now."""
    return Verdict(Kind.WAITS, f"Would wait: {in_the_way(wish, lines, now=True)}", shown(lines))


def never(wish: Wish, now: Sequence[str], ever: Sequence[str]) -> Verdict:
    """Return the verdict on what Grid Engine says could not even run on an empty cluster.

    `now` are its lines for this moment, `ever` those for an empty cluster. It may be wrong there: see `doubtful`.
    """
    if doubtful(wish, now, ever):
        why = in_the_way(wish, now, now=True)
        return Verdict(Kind.UNKNOWN, f"Cannot start now: {why} {UNSAID}", shown(now))
    return Verdict(Kind.NEVER, f"Can never run: {in_the_way(wish, ever, now=False)}", shown(ever))


def refused(violations: Iterable[Violation]) -> Verdict:
    """Return the verdict on what the site's policy refuses, in the words that Start would have."""
    return Verdict(Kind.REFUSED, " ".join(one.message for one in violations))


def unknown(sentence: str = SILENT) -> Verdict:
    """Return the verdict on what nobody knows."""
    return Verdict(Kind.UNKNOWN, sentence)


def shown(lines: Sequence[str]) -> tuple[str, ...]:
    """Return Grid Engine's lines, as many and as much of each as a page can hold."""
    few = tuple(line[:LINE_LIMIT] + ("…" if len(line) > LINE_LIMIT else "") for line in lines[:LINES])
    left = len(lines) - LINES
    return (*few, f"… and {left} more {'line' if left == 1 else 'lines'}.") if left > 0 else few
