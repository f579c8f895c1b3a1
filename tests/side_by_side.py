"""`make test`: all tests, in groups that run side by side, since those with a real Grid Engine mostly wait.

python -m tests.side_by_side [PYTEST'S ARGUMENTS]

The first group prints at once, the others when they have ended. Ctrl-C and SIGTERM interrupt all of them; then
it waits until they have taken their labs down.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parents[1]
FAULTS: Final = "tests/lab/test_fault_*.py"
NO_TESTS: Final = 5  # pytest's status where an argument such as -k has left nothing of a group
TAKE_DOWN_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Group:
    """Tests that run one after the other: pytest's words. A nice group leaves the processors to the others."""

    name: str
    words: tuple[str, ...]
    nice: int = 0


def groups() -> tuple[Group, ...]:
    """Return the groups of this checkout; each test is in one of them."""
    faults = tuple(str(one.relative_to(ROOT)) for one in sorted(ROOT.glob(FAULTS)))
    return (
        Group("tests/browser and tests/lab", ("tests/browser", "tests/lab", f"--ignore-glob={ROOT / FAULTS}")),
        Group("the faults of tests/lab", ("-p", "no:cacheprovider", *faults)),
        Group(
            "all other tests",
            ("-p", "no:cacheprovider", "tests", "--ignore=tests/browser", "--ignore=tests/lab"),
            nice=19,
        ),
    )


def start(
    group: Group, arguments: Sequence[str], coverage: Path, out: IO[bytes] | None
) -> subprocess.Popen[bytes]:
    """Start a group in a process of its own. Its coverage goes to a file, its words to `out` or to our output.

    A terminal's Ctrl-C reaches us alone: whoever is interrupted twice does not take its lab down.
    """
    pytest = [sys.executable, "-m", "coverage", "run", "-m", "pytest", *group.words, *arguments]
    return subprocess.Popen(
        ["nice", "-n", str(group.nice), *pytest],
        cwd=ROOT,
        env={**os.environ, "COVERAGE_FILE": str(coverage)},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=None if out is None else subprocess.STDOUT,
        start_new_session=True,
    )


def passed(statuses: Sequence[int]) -> bool:
    """Tell whether all groups have passed, and one of them had tests."""
    return set(statuses) <= {0, NO_TESTS} and 0 in statuses


def run(todo: Sequence[Group], arguments: Sequence[str], folder: Path = ROOT) -> bool:
    """Run the groups side by side, print what each has said, and tell whether they have passed.

    The data of their coverage are written to `folder`.
    """
    for old in folder.glob(".coverage*"):
        old.unlink()
    with ExitStack() as files:
        hidden = [files.enter_context(tempfile.TemporaryFile()) for _ in todo[1:]]
        running = [
            start(group, arguments, folder / f".coverage.{number}", out)
            for number, (group, out) in enumerate(zip(todo, [None, *hidden], strict=True))
        ]
        try:
            statuses = [one.wait() for one in running]
        except KeyboardInterrupt:
            for one in running:
                with suppress(ProcessLookupError):
                    one.send_signal(signal.SIGINT)
            statuses = [_ended(one) for one in running]
        for group, out in zip(todo[1:], hidden, strict=True):
            out.seek(0)
            print(f"\nMeanwhile, {group.name}:\n{out.read().decode(errors='replace')}", flush=True)
    return passed(statuses)


def _ended(group: subprocess.Popen[bytes]) -> int:
    """Wait until an interrupted group has ended; one that does not is killed, with all that it has begun."""
    try:
        return group.wait(TAKE_DOWN_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(group.pid, signal.SIGKILL)
        return group.wait()


def be_interruptible() -> None:
    """Let SIGTERM and SIGINT interrupt us: a shell starts what it puts into the background with SIGINT ignored."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)


def main(arguments: Sequence[str]) -> int:
    """Run everything; return the exit status."""
    be_interruptible()
    good = run(groups(), arguments)
    for words in (["combine", "-q"], ["report"]):
        subprocess.run([sys.executable, "-m", "coverage", *words], cwd=ROOT, check=False)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
