"""The one place that starts a process for the hub.

The law of this file: every command has a time-out, a cap on its output, an environment of its own and a process
group of its own; whatever happens, cancellation included, it is ended (TERM, then KILL) and reaped. It knows
nothing of Grid Engine. An exit status is a result here, never an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from sgehub.errors import ClusterError, NoAnswerError

OUTPUT_LIMIT: Final = 64 * 1024 * 1024
_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left behind. `exit` is negative when a signal ended it."""

    exit: int
    stdout: bytes
    stderr: bytes


class Runner:
    """Run commands, `limit` at a time at most; further ones wait for their turn.

    `grace` is the time in seconds between TERM and KILL. sudo relays TERM to the command behind it but cannot
    relay KILL, so that TERM always comes first.
    """

    def __init__(self, limit: int = 4, *, grace: float = 2.0) -> None:
        self._turns = asyncio.Semaphore(limit)
        self._grace = grace
        self._endings: set[asyncio.Task[None]] = set()

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes | Callable[[], bytes] = b"",
        env: Mapping[str, str] | None = None,
        output_limit: int = OUTPUT_LIMIT,
    ) -> Completed:
        """Run one command to its end and return what it printed.

        `env` is the whole environment, but for PATH and LC_ALL=C, which are always there; `timeout` counts
        seconds from the command's start, just before which `stdin` is asked for the input if it can be called.
        Raises ClusterError if it cannot be started, NoAnswerError if it lasts too long or prints more than
        `output_limit` bytes.
        """
        async with self._turns:
            process = await _start(argv, env or {}, stdin() if callable(stdin) else stdin)
            done = False
            try:
                completed = await asyncio.wait_for(_converse(process, output_limit), timeout)
                done = True
            except asyncio.TimeoutError:
                raise NoAnswerError(f"{_name(argv)} did not answer within {timeout:g} seconds.") from None
            except _TooMuchError:
                raise NoAnswerError(f"{_name(argv)} printed more than {output_limit} bytes.") from None
            finally:
                if not done:
                    await self._end(process)
            return completed

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        # A task of its own, so that a second cancellation cannot leave the process behind.
        task = asyncio.ensure_future(_end(process, self._grace))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Wait until every process that is being ended has ended."""
        if self._endings:
            await asyncio.wait(set(self._endings))


class _TooMuchError(Exception):
    """A command printed more than it may."""


def _name(argv: Sequence[str]) -> str:
    return argv[0].rpartition("/")[2]


@contextlib.contextmanager
def _whole(data: bytes) -> Iterator[BinaryIO]:
    """Yield a file in memory that holds the input: all of it is there before the command starts.

    A pipe would have to be fed by the hub's loop, which may come late where many people press Start at once.
    """
    with os.fdopen(os.memfd_create("stdin"), "w+b") as file:
        file.write(data)
        file.seek(0)
        yield file


async def _start(argv: Sequence[str], env: Mapping[str, str], stdin: bytes) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    try:
        with _whole(stdin) as file:
            return await asyncio.create_subprocess_exec(
                *argv,
                stdin=file,
                stdout=pipe,
                stderr=pipe,
                limit=2 * _PIECE,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", **env},
                start_new_session=True,
            )
    except FileNotFoundError:
        raise ClusterError(
            f"{argv[0]} is not there. Install it, or correct its folder in the site's configuration."
        ) from None
    except PermissionError:
        raise ClusterError(f"{argv[0]} may not be executed by the hub's account.") from None
    except (OSError, ValueError) as error:
        raise ClusterError(f"{argv[0]} could not be started: {_why(error)}.") from error


def _why(error: OSError | ValueError) -> str:
    """Say what is wrong; where the hub lacks something, it is not the command's fault."""
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"the hub has all the {limit} files open that it may; raise LimitNOFILE in its systemd unit"
    if isinstance(error, OSError) and error.errno == errno.ENFILE:
        return "the hub's machine has all the files open that it can; raise fs.file-max there (sysctl)"
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return "the hub's machine has no memory left for it"
    return str(error)


async def _converse(process: asyncio.subprocess.Process, limit: int) -> Completed:
    """Read both at once, so that no pipe can block; raise _TooMuchError beyond `limit`."""
    if process.stdout is None or process.stderr is None:
        raise AssertionError("started without pipes")
    tasks = [
        asyncio.ensure_future(_read(process.stdout, limit)),
        asyncio.ensure_future(_read(process.stderr, limit)),
    ]
    try:
        stdout, stderr = await asyncio.gather(*tasks)
        return Completed(await process.wait(), stdout, stderr)
    finally:
        for task in tasks:
            task.cancel()


async def _read(pipe: asyncio.StreamReader, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := await pipe.read(_PIECE):
        size += len(piece)
        if size > limit:
            raise _TooMuchError
        pieces.append(piece)
    return b"".join(pieces)


async def _end(process: asyncio.subprocess.Process, grace: float) -> None:
    """Send TERM to the group, after `grace` seconds KILL, and reap the leader."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(process, number)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what the leader left behind in its group
    # One that could not be signalled (sudo runs as root) ends by its own deadline and is reaped by the loop then;
    # it must not keep our ends of the pipes.
    transport = process._transport  # type: ignore[attr-defined]  # noqa: SLF001 - no public way to the pipes
    for descriptor in range(3):
        pipe = transport.get_pipe_transport(descriptor)
        if pipe is not None:
            pipe.close()


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
