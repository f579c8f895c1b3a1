"""The documented table of faults: its rows, how they are written to docs/topic/faults.inc and read back."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).parents[2] / "docs" / "topic" / "faults.inc"
FAULTS = {
    1: "the hub is killed",
    2: "the hub is killed while there is no qmaster",
    3: "the hub is stopped in order",
    4: "the proxy is killed",
    5: "there is no qmaster for a while",
    6: "the qmaster hangs",
    7: "an execution host loses power",
    8: "an execution host loses its network",
    9: "the server's process dies",
    10: "the job is deleted from outside",
    11: "the job is held",
    12: "Grid Engine cannot start the job",
    13: "the job is suspended",
    14: "the job reaches its runtime",
    15: "the job reaches its memory",
    16: "qstat answers nonsense, or late",
    17: "qsub's answer is lost",
    18: "the home is full",
    19: "the job runs again on another host",
    20: "sixty people press Start",
    21: "job numbers begin anew",
    22: "the hub's clock is wrong",
    23: "a user or a server is deleted while it waits",
    24: "the database is an older one",
    25: "the head reboots",
    26: "the start is cancelled",
    27: "another person's job breaks the list",
}
HEADER = (
    "fault",
    "what was done",
    "right outcome",
    "what the person saw",
    "sessions wrongly lost",
    "jobs orphaned",
    "seconds until normal again",
    "the hub's log",
)
WIDTHS = (4, 20, 18, 18, 6, 6, 6, 22)
_MARKUP = re.compile(r"[\\*`|_<>]")


@dataclass(frozen=True)
class Row:
    """One fault in one variant, and what came of it. `seconds` until all was normal again."""

    number: int
    variant: str
    done: str
    outcome: str
    saw: str
    lost: int
    orphans: int
    seconds: float
    log: tuple[str, ...]

    def cells(self) -> list[str]:
        """Return the cells of the documented table."""
        name = f"{self.number}, {self.variant}" if self.variant else str(self.number)
        texts = [name, self.done, self.outcome, self.saw, str(self.lost), str(self.orphans)]
        return [*map(plain, texts), f"{self.seconds:.1f}", plain(" / ".join(self.log))]


def plain(text: str) -> str:
    """Return a text as one line of reStructuredText that shows it as it is."""
    return _MARKUP.sub(r"\\\g<0>", " ".join(text.split())) or "\\-"


def key(cells: list[str]) -> tuple[int, str]:
    """Return number and variant of a row, for sorting and merging."""
    number, _, variant = cells[0].partition(", ")
    return int(number), variant


def parse(text: str) -> dict[tuple[int, str], list[str]]:
    """Return the rows of a documented table."""
    found = re.findall(r"^   (\* -|  -) (.*)$", text, re.MULTILINE)
    rows: list[list[str]] = []
    for mark, cell in found:
        if mark == "* -":
            rows.append([])
        rows[-1].append(cell)
    return {key(cells): cells for cells in rows[1:]}


def render(rows: Iterable[list[str]]) -> str:
    """Return the documented table, in the order of the faults' numbers."""
    widths = " ".join(map(str, WIDTHS))
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for cells in [list(HEADER), *sorted(rows, key=key)]:
        lines += [f"   {'  -' if index else '* -'} {cell}" for index, cell in enumerate(cells)]
    return "\n".join(lines) + "\n"


def merge(rows: Iterable[Row], file: Path = FILE) -> None:
    """Write rows into the documented table, in the place of those with the same number and variant."""
    kept = parse(file.read_text(encoding="utf-8")) if file.exists() else {}
    new = {key(cells): cells for cells in (row.cells() for row in rows)}
    file.write_text(render({**kept, **new}.values()), encoding="utf-8")
