"""Memory and durations in Grid Engine's notation.

The only place that knows that ``k`` is 1000 and ``K`` is 1024, and how ``[h]:[m]:[s]`` is read. sge_types(1).
Both types are closed integers with a unit: bytes and seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MULTIPLIERS: Final = {  # sge_types(1), memory_specifier
    "": 1,
    "k": 1000,
    "K": 1024,
    "m": 1000**2,
    "M": 1024**2,
    "g": 1000**3,
    "G": 1024**3,
    "t": 1000**4,
    "T": 1024**4,
}
# [0-9], not \d: other scripts' digits are numbers to Python and garbage to qsub.
_MEMORY: Final = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,6}))?([kKmMgGtT]?)")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_CLOCK: Final = re.compile(r"([0-9]{0,6}):([0-9]{0,6}):([0-9]{0,9})")


@dataclass(frozen=True, slots=True, order=True)
class Memory:
    """An amount of memory in bytes."""

    bytes: int

    @classmethod
    def parse(cls, text: str) -> Memory:
        """Read "4G", "512M", "1.5g" or plain bytes; a fraction of a byte is rounded up.

        Raises ValueError with a sentence for anything else, signs and blanks included.
        """
        match = _MEMORY.fullmatch(text)
        if match is None:
            raise ValueError('Write memory as a number with a unit, for example "512M" or "4G".')
        whole, fraction, suffix = match.groups()
        multiplier = MULTIPLIERS[suffix]
        amount = int(whole) * multiplier
        if fraction:
            amount += -(-int(fraction) * multiplier // 10 ** len(fraction))
        return cls(amount)

    def per_slot(self, slots: int) -> Memory:
        """Return the share of one slot, rounded up to whole K, so that the sum is never less."""
        return Memory(-(-self.bytes // (slots * 1024)) * 1024)

    def times(self, slots: int) -> Memory:
        """Return what `slots` shares of this amount add up to."""
        return Memory(self.bytes * slots)

    def __str__(self) -> str:
        """Format exactly, in the largest binary unit that leaves a whole number: "1536M"."""
        for suffix in "TGMK":
            if self.bytes and self.bytes % MULTIPLIERS[suffix] == 0:
                return f"{self.bytes // MULTIPLIERS[suffix]}{suffix}"
        return str(self.bytes)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in whole seconds."""

    seconds: int

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read "[h]:[m]:[s]" (parts may be empty) or plain seconds.

        Raises ValueError with a sentence for anything else; INFINITY is not a length.
        """
        if _SECONDS.fullmatch(text):
            return cls(int(text))
        match = _CLOCK.fullmatch(text)
        if match is None:
            raise ValueError('Write a runtime as hours:minutes:seconds, for example "08:00:00" or "00:30:00".')
        hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return cls(hours * 3600 + minutes * 60 + seconds)

    def __str__(self) -> str:
        """Format as h:mm:ss with at least two digits of hours: "08:00:00"."""
        minutes, seconds = divmod(self.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02}:{minutes:02}:{seconds:02}"

    def words(self) -> str:
        """Say it for people: "30 minutes", "1 hour 30 minutes"."""
        parts = []
        rest = self.seconds
        for size, word in ((3600, "hour"), (60, "minute"), (1, "second")):
            count, rest = divmod(rest, size)
            if count:
                parts.append(f"{count} {word}" if count == 1 else f"{count} {word}s")
        return " ".join(parts) or "0 seconds"
