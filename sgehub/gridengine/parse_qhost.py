"""`qhost -q -F … -xml` -> the execution hosts with their queue instances and free resources. qhost(1).

The law of this file: values are kept as printed where dialects differ ("100.000G", "107374182400", "1");
`answers.amount` reads them all. A document that is not whole is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element, ParseError, fromstring

from sgehub.gridengine.answers import amount, no_answer
from sgehub.gridengine.parse_xml import IllFormedError, Steps, local, pieces
from sgehub.gridengine.runner import Completed

# Letters of qstat(1) with which an instance takes no new job: alarm, unknown, disabled, suspended, error …
_CLOSED: Final = frozenset("audDEsSCco")
_SILENT: Final = "u"
_OPENING: Final = re.compile(r"<host(?=[\s>])")
_CLOSING: Final = "</host>"
_LONGEST_ENTRY: Final = 1 << 20  # characters; a host has a few thousand
_PSEUDO: Final = "global"  # its entry stands for all hosts


@dataclass(frozen=True, slots=True)
class QueueInstance:
    """One queue on one host; `state` holds the letters of qstat(1), empty when all is well."""

    queue: str
    slots_used: int
    slots_reserved: int
    slots_total: int
    state: str

    @property
    def accepts(self) -> bool:
        """Whether it takes new jobs."""
        return not _CLOSED & set(self.state)

    @property
    def silent(self) -> bool:
        """Whether the qmaster has not heard of it for long: what runs there is not known."""
        return _SILENT in self.state


@dataclass(frozen=True, slots=True)
class Host:
    """One execution host. `resources` are the values asked for with -F, as printed; memory is in bytes."""

    name: str
    arch: str | None
    cores: int | None
    load: float | None
    memory_total: int | None
    memory_used: int | None
    resources: Mapping[str, str]
    queues: tuple[QueueInstance, ...]

    @property
    def reachable(self) -> bool:
        """Whether it reports its load: a lost host keeps its name but loses its load."""
        return self.load is not None

    @property
    def silent(self) -> bool:
        """Whether all its queue instances are unknown, or it has none and is not reachable."""
        return all(queue.silent for queue in self.queues) if self.queues else not self.reachable


def silent(hosts: Iterable[Host]) -> frozenset[str]:
    """Return the names of the execution hosts that no longer report."""
    return frozenset(host.name for host in hosts if host.silent and host.name != _PSEUDO)


def read_hosts(completed: Completed, wanted: Callable[[Host], bool] = lambda _: True) -> Steps[tuple[Host, ...]]:
    """Read the answer step by step; the pseudo host "global" is the first one, if Grid Engine lists it.

    Those that are not `wanted` are gone before the next one is read.

    Raises NoAnswerError for anything that is not a whole list of hosts.
    """
    if completed.exit != 0 or not completed.stdout.strip():
        raise no_answer("qhost", completed, "it printed no list.")
    hosts: list[Host] = []
    try:
        frame = yield from _entries(completed.stdout, hosts, wanted)
        root = fromstring(frame)  # noqa: S314 - pieces() lets no declaration through
        if local(root.tag) != "qhost" or len(root):
            raise IllFormedError("no list of hosts")  # noqa: TRY301 - one place turns it into NoAnswerError
    except (IllFormedError, ParseError, KeyError, ValueError) as error:
        raise no_answer("qhost", Completed(0, b"", b""), f"not a whole list ({error}).") from error
    return tuple(hosts)


def _entries(data: bytes, hosts: list[Host], wanted: Callable[[Host], bool]) -> Steps[str]:
    """Read the entries of all hosts; return what stands around them.

    Each is a tree of its own, gone before the next one: a tree of them all sets off the garbage collector, which
    then looks through everything that the hub keeps.
    """
    frame: list[str] = []
    rest = ""
    for piece in pieces(data):
        rest += piece
        end = 0
        while (closing := rest.find(_CLOSING, end)) >= 0:
            opening = _OPENING.search(rest, end, closing)
            if opening is None:
                raise IllFormedError("an entry without a beginning")
            frame.append(rest[end : opening.start()])
            end = closing + len(_CLOSING)
            host = _host(fromstring(rest[opening.start() : end]))  # noqa: S314 - see above
            if wanted(host):
                hosts.append(host)
        rest = rest[end:]
        if len(rest) > _LONGEST_ENTRY:
            raise IllFormedError("an entry without an end")
        yield
    return "".join((*frame, rest))


def _host(element: Element) -> Host:
    values = _values(element, "hostvalue")
    cores, load = amount(values.get("num_proc", "")), amount(values.get("load_avg", ""))
    total, used = amount(values.get("mem_total", "")), amount(values.get("mem_used", ""))
    arch = values.get("arch_string", "-")
    return Host(
        name=element.attrib["name"],
        arch=None if arch == "-" else arch,
        cores=None if cores is None else int(cores),
        load=load,
        memory_total=None if total is None else round(total),
        memory_used=None if used is None else round(used),
        resources=_values(element, "resourcevalue"),
        queues=tuple(_queue(queue) for queue in element.iterfind("queue")),
    )


def _queue(element: Element) -> QueueInstance:
    values = _values(element, "queuevalue")
    return QueueInstance(
        queue=element.attrib["name"],
        slots_used=int(values["slots_used"]),
        slots_reserved=int(values.get("slots_resv", "0")),
        slots_total=int(values["slots"]),
        state=values["state_string"],
    )


def _values(element: Element, tag: str) -> dict[str, str]:
    return {value.attrib["name"]: (value.text or "").strip() for value in element.iterfind(tag)}
