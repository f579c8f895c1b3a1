"""Captured answers of two real Grid Engines: what was asked, what came back, what it means.

tests/data/answers.tsv is the index: dialect, name, exit status, meaning, command. The files beside it hold what
was printed on stdout (.out) and stderr (.err), if anything was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from sgehub.gridengine.runner import Completed

DATA = Path(__file__).resolve().parents[2] / "data"


@dataclass(frozen=True)
class Captured:
    dialect: str
    name: str
    meaning: str
    command: str
    completed: Completed

    @property
    def program(self) -> str:
        found = re.search(r"\b(qstat|qacct|qhost|qsub|qdel)\b", self.command)
        assert found
        return found[1]

    @property
    def number(self) -> int:
        """The job that was asked about, 0 if it was none or several."""
        found = re.search(r"(?:-j|qdel(?: -f)?) ([0-9]+)\b", self.command)
        return int(found[1]) if found else 0

    @property
    def text(self) -> str:
        return self.completed.stdout.decode("utf-8", "replace")

    def __str__(self) -> str:
        return f"{self.dialect}-{self.name}"


def _printed(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def everything() -> list[Captured]:
    lines = (DATA / "answers.tsv").read_text(encoding="utf-8").splitlines()[1:]
    found = []
    for line in lines:
        dialect, name, status, meaning, command = line.split("\t")
        stdout, stderr = (_printed(DATA / dialect / f"{name}.{kind}") for kind in ("out", "err"))
        found.append(Captured(dialect, name, meaning, command, Completed(int(status), stdout, stderr)))
    return found


def captured(dialect: str, name: str) -> Completed:
    """Return one answer by name."""
    return next(each.completed for each in everything() if (each.dialect, each.name) == (dialect, name))
