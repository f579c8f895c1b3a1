"""What every answer of Grid Engine's commands has in common: transport errors, sentences, times, amounts.

The law of this file: pure, and never an exception for odd text: what cannot be read is None, and the parser that
asked decides whether that spoils its answer.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

from sgehub.errors import NoAnswerError
from sgehub.gridengine.runner import Completed

# What clients print when they did not get through to the qmaster, whatever their exit status; asuser has the same.
TRANSPORT: Final = re.compile(
    r"commlib error|unable to send message to qmaster|unable to contact qmaster|got send error|got read error"
    r"|got select error|cannot get configuration from qmaster|error reading answer list from qmaster"
    r"|can't unpack gdi|failed receiving gdi|unable to sync state with remote execd",
    re.IGNORECASE,
)
_NOISE: Final = re.compile(
    r"(Exiting\.|warning: .*|verification: no suitable queues\.?|[A-Z]+ [0-9][\w.]*|cl_com_set_alias_file .*|<.*|)"
)
_PREFIXES: Final = re.compile(
    r"^(Unable to (run job|initialize environment because of error|read script file because of error): "
    r"|(critical )?error: |ERROR! |job rejected: |denied: |q[a-z]+: )",
    re.IGNORECASE,
)
_NUMBERED: Final = re.compile(r"^Job [0-9]+ (\(-l .*?\) )?(?=cannot )")  # a number that no job will have
# What a person reads of an answer: a command that is killed leaves megabytes, and the event loop waits meanwhile.
_LOOKED_AT: Final = 4096  # bytes of each stream
_LONGEST: Final = 500  # characters
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\s]+")


def text_of(data: bytes) -> str:
    """Decode what a command printed; what is no UTF-8 becomes a replacement character."""
    return data.decode("utf-8", "replace")


def plain(line: str) -> str:
    """Return one line of text without control characters."""
    return _CONTROL.sub(" ", line).strip()


def is_transport_error(completed: Completed) -> bool:
    """Tell whether the command did not get through to the qmaster, or was ended before it could tell."""
    ended_by_signal = completed.exit < 0 or completed.exit >= 124  # noqa: PLR2004 - 124 and up: time-outs, shells
    return ended_by_signal or TRANSPORT.search(text_of(completed.stderr + completed.stdout)) is not None


def no_answer(command: str, completed: Completed, why: str = "") -> NoAnswerError:
    """Return the error for an answer that is none, with the command's own words if it had any."""
    ended = f"signal {-completed.exit} has ended it." if completed.exit < 0 else ""
    said = sentence(completed) or ended or why or f"its exit status was {completed.exit}."
    return NoAnswerError(f"Grid Engine gave no answer to {command}: {said}")


def sentence(completed: Completed) -> str:
    """Make one readable text of what a failed command said: its lines without prefixes and noise, with full stops.

    `qsub -w v` gives a reason a line, so that each is kept, but no more than people read: 500 characters, of the
    beginning of both streams. Markup is no sentence. Empty when the command said nothing.
    """
    lines: dict[str, None] = {}  # a set in their order
    for raw in text_of(_beginning(completed.stderr) + b"\n" + _beginning(completed.stdout)).splitlines():
        line = plain(raw)
        if line.startswith("usage:"):
            break
        while (shorter := _PREFIXES.sub("", line)) != line:
            line = shorter
        line = _NUMBERED.sub("It ", line)
        if not _NOISE.fullmatch(line):
            lines[line] = None
    said = " ".join(_finished(line) for line in lines)
    if len(said) <= _LONGEST:
        return said
    cut = said[: _LONGEST - 2]
    return f"{cut.rpartition(' ')[0] or cut} …"


def _beginning(data: bytes) -> bytes:
    """Return the lines that are looked at; half a line only where the first one is longer."""
    if len(data) <= _LOOKED_AT:
        return data
    head = data[:_LOOKED_AT]
    return head.rpartition(b"\n")[0] or head


def _finished(line: str) -> str:
    return line[0].upper() + line[1:] + ("" if line[-1] in ".!?" else ".")


_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_ISO: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z?)")
_CTIME: Final = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})")
_EPOCH: Final = re.compile(r"\d{1,18}(?:\.\d+)?")
_EPOCH_LIMIT: Final = 10**11  # seconds until the year 5138; larger numbers are ms, then µs


def instant(text: str) -> float | None:
    """Read a time by its shape: ISO with or without fraction, ctime, epoch in s, ms or µs. None if unset.

    Local times are taken as UTC: the client runs every command with TZ=UTC0, so that no hour of the year is
    ambiguous. Zero, "-/-" and "undefined" mean that there is no such time.
    """
    text = text.strip()
    if _EPOCH.fullmatch(text):
        value = float(text)
        while value >= _EPOCH_LIMIT:
            value /= 1000
        return value or None
    try:
        if match := _ISO.fullmatch(text):
            return _utc(*(int(part) for part in match.groups()[:6])) + float(f"0.{match[7] or 0}")
        if match := _CTIME.fullmatch(text):
            day, hour, minute, second, year = (int(part) for part in match.groups()[1:])
            return _utc(year, _MONTHS.index(match[1]) + 1, day, hour, minute, second)
    except ValueError:
        return None
    return None


def _utc(*parts: int) -> float:
    year, month, day, hour, minute, second = parts
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc).timestamp()


_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([KMGT]?)i?B?s?", re.IGNORECASE)
_BINARY: Final = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def amount(text: str) -> float | None:
    """Read a printed amount: "3.430MB", "100.000G", "107374182400", "0.002s"; None for "-" and the like.

    Grid Engine prints with 1024, whatever the case of the letter.
    """
    match = _AMOUNT.fullmatch(text.strip())
    return float(match[1]) * _BINARY[match[2].upper()] if match else None
