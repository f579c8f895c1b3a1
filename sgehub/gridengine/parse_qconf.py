"""What `qconf -s…` prints -> complexes, cluster queues, parallel environments, lists of names. qconf(1).

The law of this file: an answer is whole or it is refused. That something does not exist is taken from qconf's own
sentence only; an empty output says nothing, since clients may exit with 0 when the qmaster is down. All parsers
raise NoAnswerError for everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from sgehub.gridengine.answers import is_transport_error, no_answer, text_of
from sgehub.gridengine.runner import Completed
from sgehub.model.units import Duration, Memory

_NO_QUEUE: Final = re.compile(r'(error: )?No cluster queue or queue instance matches the phrase "[^"]*"\.?')
_NO_PE: Final = re.compile(r"(error: )?\S+ is not a parallel environment\.?")
_NO_LIST: Final = re.compile(r"(error: )?no [a-z ]+ defined\.?")  # "no project list defined"

# sge_types(1), object_name; a replacement character stands for a byte that is no text.
_NAME: Final = re.compile(r"(?!#)[^\s/:\\\[\]{}|()@%,\"\x00-\x1f\x7f\ufffd]+")
_LINE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s+(\S.*)")
_CONTINUED: Final = re.compile(r"[ \t]*\\[ \t]*\n[ \t]*")  # qconf(1): lines are broken after commas and at blanks

# queue_conf(5): "default,[host=value],[@group=value]"; values may hold commas and blanks, but no brackets.
_PER_HOST: Final = re.compile(r"([^\[\]]*[^\[\],\s])((?:,\[[^\[\]=]+=[^\[\]]+\])*)")
_OVERRIDE: Final = re.compile(r"\[([^\[\]=]+)=([^\[\]]+)\]")
# What decides, and the last line of all: an answer that was cut lacks it.
_OF_A_QUEUE: Final = {"slots", "pe_list", "user_lists", "xuser_lists", "projects", "h_rt", "h_vmem"}
# complex(5): name, shortcut, type, relation, requestable, consumable, default, urgency.
_COMPLEX: Final = re.compile(r"([!-~]+)\s+(\S+)\s+(\S+)\s+\S+\s+(YES|NO|FORCED)\s+(NO|YES|JOB|HOST)\s+\S+\s+\S.*")


@dataclass(frozen=True, slots=True)
class Complex:
    """A resource attribute: `kind` is its type ("MEMORY", "RSMAP"), `consumable` is NO, YES, JOB or HOST."""

    name: str
    shortcut: str
    kind: str
    requestable: bool
    consumable: str


@dataclass(frozen=True, slots=True)
class PerHost:
    """An attribute of a queue: its default, and what holds for hosts and for host groups ("@big") instead."""

    default: str
    hosts: Mapping[str, str]

    def every(self) -> tuple[str, ...]:
        """Return the default and all that stand in its place somewhere."""
        return (self.default, *self.hosts.values())

    def names(self) -> frozenset[str]:
        """Return what any of the lists holds; NONE is none."""
        return frozenset(name for value in self.every() for name in re.split(r"[, ]+", value)) - {"NONE"}


@dataclass(frozen=True, slots=True)
class ClusterQueue:
    """One cluster queue with all its attributes, by their names in queue_conf(5)."""

    name: str
    attributes: Mapping[str, PerHost]

    @property
    def pe_lists(self) -> frozenset[str]:
        """All parallel environments that it offers on any host."""
        return self.attributes["pe_list"].names()

    @property
    def h_rt(self) -> int | None:
        """The largest hard limit of time on any host, in seconds; None if one has no limit."""
        limits = self.attributes["h_rt"].every()
        return None if "INFINITY" in limits else max(Duration.parse(limit).seconds for limit in limits)

    @property
    def slots(self) -> int:
        """The most slots on any host."""
        return max(map(int, self.attributes["slots"].every()))

    def most_memory(self, limit: str) -> Memory | None:
        """Return the largest limit of a kind ("h_vmem") on any host, None if one has none or it cannot be read."""
        limits = self.attributes[limit].every() if limit in self.attributes else ()
        try:
            return None if "INFINITY" in limits else max(map(Memory.parse, limits), default=None)
        except ValueError:
            return None

    def values_of(self, complex_: str) -> tuple[str, ...]:
        """Return what the queue itself has of a consumable, as printed, by default and on some hosts."""
        lists = self.attributes["complex_values"].every() if "complex_values" in self.attributes else ()
        return tuple(found[complex_] for text in lists if complex_ in (found := _complex_values(text)))

    @property
    def projects(self) -> frozenset[str] | None:
        """The projects that may use it on any host; None if one is open to all."""
        projects = self.attributes["projects"]
        return None if "NONE" in projects.every() else projects.names()

    @property
    def user_lists(self) -> frozenset[str]:
        """The access lists that are let in on any host."""
        return self.attributes["user_lists"].names()

    @property
    def xuser_lists(self) -> frozenset[str]:
        """The access lists that are kept out of any host."""
        return self.attributes["xuser_lists"].names()


@dataclass(frozen=True, slots=True)
class ParallelEnvironment:
    """A parallel environment: its slots in all, and how they are spread over hosts ("$pe_slots"). sge_pe(5)."""

    name: str
    slots: int
    allocation_rule: str
    user_lists: frozenset[str]


@contextmanager
def _all_or_nothing() -> Iterator[None]:
    """Turn the error of a piece that cannot be read into no answer at all."""
    try:
        yield
    except (KeyError, ValueError) as error:
        raise no_answer("qconf", Completed(0, b"", b""), f"its answer is not whole ({error}).") from error


@_all_or_nothing()
def parse_complexes(completed: Completed) -> Mapping[str, Complex]:
    """Read `qconf -sc`: all complexes by name. A comment closes the table."""
    lines = _printed(completed)
    rows = [_match(_COMPLEX, line) for line in lines if not line.startswith("#")]
    if not rows or not lines[-1].startswith("#"):
        raise ValueError("a table without an end")
    return {row[1]: Complex(row[1], row[2], row[3], row[4] != "NO", row[5]) for row in rows}


@_all_or_nothing()
def parse_queues(completed: Completed) -> tuple[ClusterQueue, ...]:
    """Read `qconf -sq A,B`: those of the queues that exist; qconf exits with 1 if one does not."""
    return tuple(_queue(values) for values in _records(_printed(completed, _NO_QUEUE), "qname"))


def _queue(values: Mapping[str, str]) -> ClusterQueue:
    pieces = {key: _match(_PER_HOST, value) for key, value in values.items()}
    attributes = {key: PerHost(piece[1], dict(_OVERRIDE.findall(piece[2]))) for key, piece in pieces.items()}
    queue = ClusterQueue(_match(_NAME, values["qname"])[0], attributes)
    _ = queue.slots, queue.h_rt, *(values[key] for key in _OF_A_QUEUE)  # ValueError, KeyError
    return queue


@_all_or_nothing()
def parse_pe(completed: Completed) -> ParallelEnvironment | None:
    """Read `qconf -sp NAME`, None if qconf says that there is none."""
    lines = _printed(completed, _NO_PE)
    if not lines:
        return None
    (values,) = _records(lines, "pe_name")
    name, lists = _match(_NAME, values["pe_name"])[0], PerHost(values["user_lists"], {}).names()
    return ParallelEnvironment(name, int(values["slots"]), values["allocation_rule"], lists)


@_all_or_nothing()
def parse_host_values(completed: Completed) -> Mapping[str, str]:
    """Read the complex_values of `qconf -se HOST`: what the host has of each, not what is free; host_conf(5)."""
    (values,) = _records(_printed(completed), "hostname")
    return _complex_values(values["complex_values"])


@_all_or_nothing()
def parse_values_of_hosts(completed: Completed) -> Mapping[str, Mapping[str, str]]:
    """Read the complex_values of each host that `qconf -se A -se B` prints."""
    return {
        one["hostname"]: _complex_values(one["complex_values"])
        for one in _records(_printed(completed), "hostname")
    }


def _complex_values(text: str) -> Mapping[str, str]:
    pairs = [piece.partition("=") for piece in ([] if text == "NONE" else text.split(","))]
    return {name: value for name, _, value in pairs}


@_all_or_nothing()
def parse_names(completed: Completed) -> tuple[str, ...]:
    """Read `qconf -sql`, `-spl` or `-sprjl`, a name a line; () if qconf says that none is defined."""
    return tuple(_match(_NAME, line)[0] for line in _printed(completed, _NO_LIST))


def _printed(completed: Completed, nothing: re.Pattern[str] | None = None) -> list[str]:
    """Return the lines, none only if qconf says `nothing`; NoAnswerError or ValueError if they are not whole."""
    text = _CONTINUED.sub(" ", text_of(completed.stdout).replace("\r\n", "\n"))
    lines, said = _stripped(text), _stripped(text_of(completed.stderr))
    lacking = nothing is not None and bool(said) and all(map(nothing.fullmatch, said))
    fine = completed.exit == 0 or (completed.exit == 1 and lacking and (nothing is _NO_QUEUE or not lines))
    if is_transport_error(completed) or not fine or not (lacking or lines):
        raise no_answer("qconf", Completed(completed.exit, b"", completed.stderr or completed.stdout))
    if lines and not text.endswith("\n"):
        raise ValueError("a line without an end")
    return lines


def _stripped(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _records(lines: list[str], first: str) -> list[dict[str, str]]:
    """Read lines of an attribute and its value; each `first` attribute begins a record."""
    records: list[dict[str, str]] = []
    for line in lines:
        key, value = _match(_LINE, line).groups()
        if key == first:
            records.append({})
        if not records or key in records[-1]:
            raise ValueError(f"{key} out of place")
        records[-1][key] = re.sub(r" ?, ?", ",", " ".join(value.split()))
    return records


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r}")
    return match
