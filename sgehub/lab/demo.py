"""The demonstration: a lab, a hub on its head, and a port of the machine's loopback that leads there.

Runs in the foreground until it is interrupted; `stop` ends it from elsewhere. Two installations can run theirs
side by side: the lab's name comes from where this one is installed.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sgehub.lab import processes
from sgehub.lab.cluster import Lab, default_root
from sgehub.lab.errors import LabError
from sgehub.lab.forward import Forward
from sgehub.lab.hub import PORT, LabHub
from sgehub.lab.layout import HEAD, NAMED_PEOPLE

STOP_SECONDS: Final = 40.0
_PAUSE: Final = 0.2
_LOOK: Final = 2.0  # seconds between two looks whether hub and proxy still run
_RECORD: Final = "demo.stat"  # who runs the demonstration
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Say = Callable[[str], None]


class _Interrupted(BaseException):
    """The demonstration is to end. Not an Exception: nothing on the way may hold it up."""


def lab_name(prefix: str = sys.prefix) -> str:
    """Return the name of this installation's demonstration lab."""
    return f"demo-{hashlib.sha256(prefix.encode()).hexdigest()[:6]}"


def run(port: int, site: Path, say: Say) -> None:
    """Run the demonstration on 127.0.0.1:`port` until SIGINT, SIGTERM or SIGHUP.

    `site` is the folder of config/ and scripts/, as shipped. Everything is taken down again, also when
    starting fails. Raises LabError with a sentence.
    """
    lab = Lab(lab_name(), site=site)
    try:
        with _interruptible(), ExitStack() as stack:
            # The port first: a busy one is an error before anything is started.
            forward = Forward(lambda: lab.namespace(HEAD, "net"), PORT, port=port)
            stack.callback(forward.close)
            hub = _start(stack, lab, site, say)
            stack.enter_context(forward)
            say(_welcome(forward.port))
            while True:
                time.sleep(_LOOK)
                hub.check()
    except _Interrupted:
        say("The demonstration has ended; nothing of it is left.")


def stop(say: Say) -> None:
    """End the demonstration of this installation, also what is left of one that was killed."""
    name = lab_name()
    runner = processes.recorded(default_root(name) / _RECORD)
    if runner is not None and processes.alive(runner):
        os.kill(runner.pid, signal.SIGTERM)
        until = time.monotonic() + STOP_SECONDS
        while processes.alive(runner) and time.monotonic() < until:
            time.sleep(_PAUSE)
    Lab(name).down()
    say("The demonstration has ended; nothing of it is left.")


def _start(stack: ExitStack, lab: Lab, site: Path, say: Say) -> LabHub:
    say("Starting a Grid Engine cluster of 4 hosts ...")
    lab.up()
    stack.callback(lab.down)
    processes.record_self(lab.root / _RECORD)
    say("Starting JupyterHub on its head ...")
    hub = LabHub(lab, site / "config")
    stack.callback(hub.close)
    hub.write_files()
    hub.start()
    return hub


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn the first signal into _Interrupted; further ones do not disturb the taking down."""
    seen = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        if not seen.is_set():
            seen.set()
            raise _Interrupted

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        seen.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def _welcome(port: int) -> str:
    people = "\n".join(f"  {name:<8}{name}" for name in NAMED_PEOPLE)
    return (
        f"JupyterHub is ready: http://127.0.0.1:{port}\n\n"
        f"  account password\n{people}\n\n"
        "Press Ctrl-C to end it, or run `make demo-stop` elsewhere."
    )


def port_of(text: str) -> int:
    """Read a port number. Raises LabError with a sentence."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:  # noqa: PLR2004 - all ports there are
        raise LabError(f"PORT={text} is not a port: write a number from 1 to 65535.")
    return int(text)
