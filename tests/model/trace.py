"""Telling the history that breaks a law: what happened, and what the hub wrote in its log, in order.

python -m tests.model.trace SEED [HISTORIES]     (the numbers that `make soak` names; it plays 500 from each seed)
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any, Final
from unittest import mock

from tests.model.cluster import Cluster
from tests.model.machine import Histories
from tests.model.search import search
from tests.model.session import Session
from tests.model.soak import CHUNK
from tests.model.world import World

TOLD: Final = {
    World: ("start", "stop", "remove_user", "crash", "boot", "session_refused", "start_failed", "report_signal"),
    Cluster: (
        *(
            "set_qmaster",
            "submit",
            "cancel",
            "hold",
            "break_start",
            "suspend",
            "rename",
            "rerun",
            "exit",
            "kill",
            "delete",
        ),
        *(
            "replace",
            "set_host",
            "add_fault",
            "set_fault",
            "set_blind",
            "set_room",
            "rewrite",
            "_run_job",
            "_gone",
        ),
    ),
    Session: ("begin", "listen", "_answered", "opened", "line_broken", "end", "vanish"),
}


class Book(logging.Handler):
    """The story of the present history."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.world: World | None = None

    def write(self, text: str) -> None:
        """Add a line with its time."""
        now = self.world.clock.now if self.world is not None else 0.0
        self.lines.append(f"{now:9.2f}  {text}")

    def emit(self, record: logging.LogRecord) -> None:
        """Add what the hub has logged."""
        self.write(f"    hub: {record.levelname} {record.getMessage()}")

    def telling(self, kind: type, name: str) -> Callable[..., Any]:
        """Return the method, which says that it is called."""
        method = getattr(kind, name)

        @functools.wraps(method)
        def told(this: Any, *args: Any, **kwargs: Any) -> Any:
            job = getattr(this, "job", None)
            whose = "" if job is None else f" [{job.number} run {job.runs}]"
            self.write(f"{kind.__name__}.{name}{whose} {short(args)} {kwargs or ''}".rstrip())
            return method(this, *args, **kwargs)

        return told

    def begin(self, history: Histories) -> None:
        """Begin anew: the history before has broken no law."""
        self.lines.clear()
        self.world = history.world


def short(args: tuple[Any, ...]) -> str:
    """Return what a method was given, jobs by their number."""
    return " ".join(f"{one.number}({one.letters})" if hasattr(one, "letters") else str(one)[:80] for one in args)


def main(words: list[str]) -> int:
    """Play the histories of a seed and tell the first that breaks a law; return 1 if there is one."""
    book = Book()
    logging.getLogger().addHandler(book)
    logging.getLogger().setLevel(logging.INFO)
    enter = Histories.__init__

    def begin(history: Histories) -> None:
        enter(history)
        book.begin(history)

    with mock.patch.object(Histories, "__init__", begin), mock.patch.object(logging, "disable"):
        for kind, names in TOLD.items():
            for name in names:
                mock.patch.object(kind, name, book.telling(kind, name)).start()
        found = search(int(words[1]) if len(words) > 1 else CHUNK, int(words[0]))
    print("\n".join([*book.lines, "", found.breach] if found.breach else ["No law is broken."]))
    return int(bool(found.breach))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
