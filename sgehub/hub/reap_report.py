"""What `sgehub reap` says: of each job what it is, why it is listed, and what was or would be done. Pure text."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sgehub.hub.orphans import Finding, Standing

_COLUMNS: Final = ("job", "owner", "state", "host", "since", "server")
_BY_HAND: Final = (
    "It is never ended from here: it may be another hub's, a person's own, or missing in a database that was"
    " restored. Ask {owner}, and delete it with `qdel {job}` if nobody needs it."
)
_ADVICE: Final = {
    Standing.HELD: "Nothing is to be done.",
    Standing.ENDING: "The hub ends it.",
    Standing.UNKNOWN: _BY_HAND,
    Standing.UNDECIDED: "It is left alone until that is clear. Look at it with `qstat -j {job}`.",
    Standing.GONE: "The hub removes its row from the ledger when it starts.",
}
_DUE: Final = "`sgehub reap --end` ends it."


@dataclass(frozen=True, slots=True)
class Result:
    """One finding, what was or would be done about it (a sentence), and whether nothing is left to do."""

    finding: Finding
    action: str
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """All findings. `status` is for cron: 0 nothing is left to do, 1 orphans are left, 2 not all is known."""

    results: tuple[Result, ...]

    @property
    def status(self) -> int:
        """Say it in a number."""
        if any(result.finding.standing is Standing.UNDECIDED for result in self.results):
            return 2
        return int(any(result.finding.due and not result.ended for result in self.results))

    def rows(self) -> list[dict[str, Any]]:
        """Return one JSON-ready dict a finding."""
        return [
            {
                **_facts(result.finding),
                "standing": result.finding.standing.value,
                "why": result.finding.why,
                "action": result.action,
                "ended": result.ended,
            }
            for result in self.results
        ]

    def lines(self) -> Iterator[str]:
        """Yield the text for people: a table of all jobs but those that servers hold, and a sum."""
        shown = [row for row in self.rows() if row["standing"] != Standing.HELD.value]
        cells = [[_cell(name, row[name]) for name in _COLUMNS] for row in shown]
        head = [name.upper() for name in _COLUMNS]
        widths = [max(len(line[place]) for line in [head, *cells]) for place in range(len(head))]
        for row, line in zip([None, *shown], [head, *cells], strict=True):
            if shown:
                yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            if row is not None:
                yield f"    {row['standing'].capitalize()}: {row['why']} {row['action']}"
        held = len(self.results) - len(shown)
        yield f"Jobs that servers hold: {held}. Others: {len(shown)}, of which {self._left()} are to be ended."

    def _left(self) -> int:
        return sum(result.finding.due and not result.ended for result in self.results)


def looked_at(findings: tuple[Finding, ...]) -> Report:
    """Return the report of a look that changes nothing."""
    return Report(tuple(Result(finding, advice(finding)) for finding in findings))


def advice(finding: Finding) -> str:
    """Say what would be done, or what an administrator can do."""
    if finding.due:
        return _DUE
    facts = _facts(finding)
    return _ADVICE[finding.standing].format(owner=facts["owner"], job=facts["job"] or facts["name"])


def _facts(finding: Finding) -> dict[str, Any]:
    job, entry = finding.job, finding.entry
    facts: dict[str, Any] = dict.fromkeys((*_COLUMNS, "name"))
    if entry is not None:
        record = entry.record
        facts.update(job=record.number, owner=record.person, host=record.host, name=record.job_name)
        facts.update(since=record.asked, server=entry.server)
    if job is not None:
        facts.update(job=job.number, owner=job.owner, state=str(job.state), host=job.host, name=job.name)
        facts.update(since=job.started or job.submitted or facts["since"])
    return facts


def _cell(column: str, value: Any) -> str:
    if value is None:
        return "-"
    if column == "since":
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(value))
    return str(value) or '""'
