"""`qacct -j NUMBER` -> the records of a job's runs. qacct(1), accounting(5).

The law of this file: a record is read whole or the answer is refused. "No such record" is an answer of its own:
no records (yet), since the qmaster writes them late.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from sgehub.gridengine.answers import amount, instant, no_answer, text_of
from sgehub.gridengine.runner import Completed
from sgehub.model.job import Accounting

_RULE: Final = re.compile(r"={20,}\s*")
_NONE_YET: Final = re.compile(r"job (id|name) \S+ not found|no jobs running since startup", re.IGNORECASE)
_FAILED: Final = re.compile(r"([0-9]+)\s*(?::\s*(.*))?")
_STATUS: Final = re.compile(r"([0-9]+)(\s*\(.*\))?")  # 8.1.9 adds "(Killed)"
_UNSET: Final = {"", "NONE", "undefined", "UNKNOWN"}


def parse_accounting(completed: Completed) -> tuple[Accounting, ...]:
    """Read all records, oldest first; an empty tuple if Grid Engine says that there is none.

    Raises NoAnswerError for anything else.
    """
    text = text_of(completed.stdout)
    if _NONE_YET.search(text_of(completed.stderr)) or _NONE_YET.match(text.strip()):
        return ()
    if completed.exit != 0:
        raise no_answer("qacct", completed)
    records: list[dict[str, str]] = []
    for line in text.splitlines():
        if _RULE.fullmatch(line):
            records.append({})
        elif records and line.strip():
            key, _, value = line.strip().partition(" ")
            records[-1].setdefault(key, value.strip())
    if not records:
        raise no_answer("qacct", completed, "it printed no record.")
    try:
        return tuple(_record(values) for values in records)
    except (KeyError, ValueError) as error:
        raise no_answer("qacct", Completed(0, b"", b""), f"a record could not be read ({error}).") from error


def _record(values: Mapping[str, str]) -> Accounting:
    """Build one record; KeyError or ValueError if one of the lines that decide is missing or malformed."""
    failed = _match(_FAILED, values["failed"])
    lasted = values.get("wallclock", values["ru_wallclock"])  # 8.1.9 has only the latter
    return Accounting(
        number=int(values["jobnumber"]),
        owner=values["owner"],
        name=values["jobname"],
        queue=_known(values["qname"]),
        host=_known(values["hostname"]),
        submitted=instant(values["qsub_time"]),
        started=instant(values["start_time"]),
        ended=instant(values["end_time"]),
        failed=int(failed[1]),
        failed_text=(failed[2] or "").strip(),
        exit_status=int(_match(_STATUS, values["exit_status"])[1]),
        maxvmem_bytes=_bytes(values["maxvmem"]),
        wallclock=amount(lasted),
        deleted_by=_known(values.get("deleted_by", "")),
    )


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r}")
    return match


def _known(text: str) -> str | None:
    return None if text in _UNSET else text


def _bytes(text: str) -> int | None:
    """Read an amount of memory; 0 stands for a job too short to be measured, which is None here."""
    return round(amount(text) or 0) or None
