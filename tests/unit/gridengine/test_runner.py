"""Processes: real small ones that hang, babble, ignore signals and leave children."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import time
from pathlib import Path

import pytest

from sgehub.errors import ClusterError, NoAnswerError
from sgehub.gridengine.runner import Completed, Runner

HANG = "while :; do sleep 0.1; done"


@pytest.fixture
def runner() -> Runner:
    return Runner(grace=0.3)


def shell(tmp_path: Path, text: str) -> list[str]:
    script = tmp_path / "command"
    script.write_text(f"#!/bin/bash\n{text}\n")
    script.chmod(0o755)
    return [str(script)]


def alive(file: Path) -> list[int]:
    """Which of the processes that wrote their id into `file` are still there, zombies included."""
    numbers = [int(line) for line in file.read_text().split()]
    return [number for number in numbers if Path(f"/proc/{number}").exists()]


def running(marker: str) -> list[Path]:
    """Which processes have `marker` among their arguments."""
    arguments = [path / "cmdline" for path in Path("/proc").iterdir() if path.name.isdigit()]
    return [path for path in arguments if path.exists() and marker.encode() in path.read_bytes()]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def written(file: Path) -> bool:
    return file.exists() and bool(file.read_text().strip())


def not_dead(number: int) -> bool:
    return "Z" not in Path(f"/proc/{number}/stat").read_text().split()[2]


async def gone(file: Path) -> bool:
    """Orphans are reaped by init, which takes a moment."""
    for _ in range(50):
        if not any(not_dead(number) for number in alive(file)):
            return True
        await asyncio.sleep(0.05)
    return False


async def started(file: Path) -> None:
    while not written(file):  # noqa: ASYNC110 - another process writes it
        await asyncio.sleep(0.02)


async def test_everything_comes_back(runner: Runner, tmp_path: Path) -> None:
    """Exit status, both outputs, standard input, exactly."""
    command = shell(tmp_path, "cat; echo err >&2; exit 3")
    data = bytes(range(256)) * 4096
    assert await runner.run(command, stdin=data, timeout=20) == Completed(3, data, b"err\n")


async def test_the_environment_is_ours_alone(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    done = await runner.run(["/usr/bin/env"], env={"SGE_ROOT": "/r"}, timeout=20)
    assert sorted(done.stdout.split()) == [b"LC_ALL=C", b"PATH=/usr/bin:/bin", b"SGE_ROOT=/r"]


async def test_arguments_are_no_shell_words(runner: Runner) -> None:
    done = await runner.run(["/usr/bin/printf", "%s|", "a b", "$(id)", "*", "'"], timeout=20)
    assert done.stdout == b"a b|$(id)|*|'|"


async def test_a_signal_is_a_negative_status(runner: Runner, tmp_path: Path) -> None:
    assert (await runner.run(shell(tmp_path, "kill -9 $$"), timeout=20)).exit == -9


async def test_a_command_that_does_not_read_its_input_is_no_error(runner: Runner) -> None:
    assert (await runner.run(["/bin/true"], stdin=b"x" * 2**20, timeout=20)).exit == 0


async def test_a_hanging_command_is_ended_in_time(runner: Runner, tmp_path: Path) -> None:
    """With its children; TERM is enough for them."""
    pids = tmp_path / "pids"
    command = shell(tmp_path, f"echo $$ > {pids}; sleep 60 & echo $! >> {pids}; {HANG}")
    began = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"command did not answer within 0.5 seconds"):
        await runner.run(command, timeout=0.5)
    assert time.monotonic() - began < 30
    assert await gone(pids)


async def test_a_command_that_ignores_term_is_killed(runner: Runner, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = shell(tmp_path, f"trap '' TERM; echo $$ > {pids}; {HANG}")
    with pytest.raises(NoAnswerError):
        await runner.run(command, timeout=0.5)
    assert alive(pids) == []


async def test_a_cleanly_ending_command_gets_its_grace(runner: Runner, tmp_path: Path) -> None:
    """A helper can end its own child when it is told to."""
    note = tmp_path / "note"
    command = shell(tmp_path, f"trap 'echo ended > {note}; exit 1' TERM; {HANG}")
    with pytest.raises(NoAnswerError):
        await runner.run(command, timeout=0.5)
    assert note.read_text() == "ended\n"


async def test_a_child_that_keeps_the_output_open_does_not_keep_us(runner: Runner, tmp_path: Path) -> None:
    """The command ended, but its answer has no end: no answer."""
    pids = tmp_path / "pids"
    command = shell(tmp_path, f"sleep 60 & echo $! > {pids}; echo half")
    with pytest.raises(NoAnswerError):
        await runner.run(command, timeout=0.5)
    assert await gone(pids)


@pytest.mark.parametrize("stream", ["", ">&2"])
async def test_too_much_output_is_no_answer(runner: Runner, tmp_path: Path, stream: str) -> None:
    pids = tmp_path / "pids"
    command = shell(tmp_path, f"echo $$ > {pids}; exec yes {stream}")
    with pytest.raises(NoAnswerError, match="printed more than 100000 bytes"):
        await runner.run(command, timeout=20, output_limit=100_000)
    assert alive(pids) == []


async def test_output_up_to_the_limit_is_taken(runner: Runner) -> None:
    done = await runner.run(["/usr/bin/head", "-c", "100000", "/dev/zero"], timeout=20, output_limit=100_000)
    assert len(done.stdout) == 100_000


async def test_cancelling_ends_the_command(runner: Runner, tmp_path: Path) -> None:
    """And a second cancellation in the middle of that does not leave it behind."""
    pids = tmp_path / "pids"
    task = asyncio.ensure_future(
        runner.run(shell(tmp_path, f"trap '' TERM; echo $$ > {pids}; {HANG}"), timeout=60)
    )
    await started(pids)
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await runner.close()
    assert alive(pids) == []


@pytest.mark.parametrize("delay", [0, 0.001, 0.003, 0.006, 0.01, 0.02])
async def test_cancelling_at_any_moment_leaves_nothing(delay: float) -> None:
    """Also while the process is being made."""
    runner = Runner(grace=0.3)
    marker = f"{time.monotonic_ns()}"
    task = asyncio.ensure_future(runner.run(["/bin/sleep", f"60.{marker}"], timeout=60))
    await asyncio.sleep(delay)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await runner.close()
    assert not running(marker)


async def test_only_so_many_run_at_once(tmp_path: Path) -> None:
    """The rest wait for their turn, and get it when one fails too."""
    runner = Runner(limit=2, grace=0.3)
    log = tmp_path / "log"
    good = shell(tmp_path, f"echo + >> {log}; sleep 0.1; echo - >> {log}")
    calls = [runner.run(good, timeout=20) for _ in range(5)]
    await asyncio.gather(*calls, runner.run(["/nonexistent"], timeout=1), return_exceptions=True)
    running = highest = 0
    for mark in log.read_text().split():
        running += 1 if mark == "+" else -1
        highest = max(highest, running)
    assert (running, highest) == (0, 2)


async def test_a_missing_command_is_named(runner: Runner, tmp_path: Path) -> None:
    """It certainly did nothing: that is more than no answer."""
    for path in ("/nonexistent/bin/qstat", str(tmp_path)):
        with pytest.raises(ClusterError, match=path) as caught:
            await runner.run([path], timeout=1)
        assert not isinstance(caught.value, NoAnswerError)


async def test_no_descriptor_is_left_open(runner: Runner, tmp_path: Path) -> None:
    """After good, hanging and missing commands alike."""
    await runner.run(["/bin/true"], timeout=20)
    before = descriptors()
    for _ in range(5):
        await runner.run(["/bin/true"], timeout=20)
        with pytest.raises(NoAnswerError):
            await runner.run(shell(tmp_path, HANG), timeout=0.1)
        with pytest.raises(ClusterError):
            await runner.run(["/nonexistent"], timeout=20)
    await asyncio.sleep(0.1)
    assert descriptors() <= before


@pytest.mark.parametrize("spare", [0, 1])
async def test_a_hub_without_files_to_open_says_so(runner: Runner, spare: int) -> None:
    """Neither the input nor the pipes can be made then, and it is not the command's fault."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1 + spare, before[1]))
        with pytest.raises(ClusterError, match=r"true could not be started: the hub has all .* LimitNOFILE"):
            await runner.run(["/bin/true"], timeout=10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for one in held:
            os.close(one)
    assert (await runner.run(["/bin/true"], timeout=10)).exit == 0


@pytest.mark.parametrize(("number", "said"), [(errno.ENFILE, "fs.file-max"), (errno.ENOMEM, "no memory left")])
async def test_a_machine_without_means_is_named(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    """The input of a command is made before the command."""

    def refuse(_name: str) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "memfd_create", refuse)
    with pytest.raises(ClusterError, match=said):
        await runner.run(["/bin/true"], timeout=10)


async def test_input_that_is_made_is_made_when_the_turn_has_come() -> None:
    """It may say until when it counts, which waiting for others must not use up."""
    runner = Runner(1)
    first = asyncio.ensure_future(runner.run(["sleep", "0.4"], timeout=10))
    await asyncio.sleep(0)
    begun = time.monotonic()
    second = await runner.run(["cat"], timeout=10, stdin=lambda: str(time.monotonic()).encode())
    await first
    assert float(second.stdout) - begun > 0.3
