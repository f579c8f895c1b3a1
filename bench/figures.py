"""From the measured seconds to the table and the verdict. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles

Pair = tuple[float, float]  # seconds: POST to qsub, script start to ready
FLOOR = "floor"


def _words(values: Sequence[float]) -> str:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{middle:.3f} ({low:.3f}-{high:.3f})"


@dataclass(frozen=True)
class Figures:
    """All measured pairs, by who was measured. One of them is the floor."""

    measured: Mapping[str, Sequence[Pair]]

    def _columns(self, name: str) -> tuple[list[float], list[float]]:
        pairs = self.measured[name]
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs]

    def total(self, name: str) -> float:
        """Return the sum of the two medians."""
        return sum(median(column) for column in self._columns(name))

    def above(self, name: str) -> float:
        """Return by how many seconds the sum of the medians is above the floor's."""
        return self.total(name) - self.total(FLOOR)

    def above_in_pairs(self, name: str) -> list[float]:
        """Return by how much each measurement was above the floor's next to it: load of the machine hits both."""
        return [
            sum(pair) - sum(floor) for pair, floor in zip(self.measured[name], self.measured[FLOOR], strict=True)
        ]

    def table(self) -> str:
        """Return medians, quartiles and ratios as lines of text."""
        form = "{:<22} {:>22} {:>22} {:>7} {:>12} {:>9} {:>22}"
        titles = ("median (quartiles), s", "POST to qsub", "script to ready")
        titles += ("sum", "above floor", "to floor", "above floor, in pairs")
        rows = [form.format(*titles)]
        for name in self.measured:
            words = [name, *(_words(column) for column in self._columns(name)), f"{self.total(name):.3f}"]
            if name == FLOOR:
                words += ["", "", ""]
            else:
                ratio = f"{self.total(name) / self.total(FLOOR):.2f}x"
                words += [f"{self.above(name):.3f}", ratio, _words(self.above_in_pairs(name))]
            rows.append(form.format(*words).rstrip())
        return "\n".join(rows)
