"""The launch file: what the hub tells a session, secrets included.

Law: reads, checks and removes it, starts nothing. The file holds the hub's token, so it must be the person's own
and closed to everybody else, or it is not believed.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_MOST_BYTES = 1 << 20
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_AWAIT_SECONDS, _LOOK_SECONDS = 180.0, 0.5
_PORTS = range(1, 65536)


class LaunchError(Exception):
    """The launch file is not what a session can start from. The message is a sentence for the job log."""


@dataclass(frozen=True)
class Launch:
    """What one session is to run and whom to tell.

    `environment` and `token` are secret. `ports` is inclusive, `log_limit` in bytes, `bind` an address. `file`
    is what tells this launch file from a later one of the same name. Without `line_url` the hub keeps no line.
    """

    tag: str
    environment: dict[str, str] = field(repr=False)
    command: tuple[str, ...]
    ports: tuple[int, int]
    port_url: str
    line_url: str | None
    end_url: str
    token: str = field(repr=False)
    log_limit: int
    bind: str
    file: tuple[int, int]


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _token(value: Any) -> bool:
    return _text(value) and value.isascii() and value.isprintable()


def _environment(value: Any) -> bool:
    return isinstance(value, dict) and all(
        _text(name) and "=" not in name and isinstance(text, str) and "\0" not in text
        for name, text in value.items()
    )


def _command(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and _text(value[0])
        and all(isinstance(word, str) and "\0" not in word for word in value)
    )


def _ports(value: Any) -> bool:
    return (
        isinstance(value, list)
        and [type(port) for port in value] == [int, int]
        and value[0] in _PORTS
        and value[1] in range(value[0], 65536)
    )


def _url(value: Any) -> bool:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "tag": _text,
    "environment": _environment,
    "command": _command,
    "ports": _ports,
    "report": lambda value: (
        isinstance(value, dict) and set(value) - {"line"} == {"port", "end"} and all(map(_url, value.values()))
    ),
    "token": _token,
    "log_limit": lambda value: type(value) is int and value > 0,
    "bind": _text,
}


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_mtime_ns


def _read(path: str) -> tuple[bytes, tuple[int, int]]:
    try:
        descriptor = os.open(path, _OPEN)
    except OSError as error:
        raise LaunchError(f"the launch file {path} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise LaunchError(
                f"the launch file {path} must be a file of your own that nobody else can read (mode 600)."
            )
        return file.read(_MOST_BYTES + 1), _identity(status)


def read_launch(path: str) -> Launch:
    """Return what the launch file at `path` says; raise LaunchError, which never quotes from it."""
    text, file = _read(path)
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise LaunchError(f"the launch file {path} is not a complete JSON object.")
    for name, good in _FIELDS.items():
        if name not in data or not good(data[name]):
            raise LaunchError(f"the field {name} of the launch file {path} is missing or malformed.")
    return Launch(
        tag=data["tag"],
        environment=data["environment"],
        command=tuple(data["command"]),
        ports=(data["ports"][0], data["ports"][1]),
        port_url=data["report"]["port"],
        line_url=data["report"].get("line"),
        end_url=data["report"]["end"],
        token=data["token"],
        log_limit=data["log_limit"],
        bind=data["bind"],
        file=file,
    )


def remove_launch(path: str, file: tuple[int, int]) -> None:
    """Remove the launch file, unless it is another one by now. `file` is the launch's.

    A job that Grid Engine runs again gets a new one, perhaps while the old run is still ending on another host.
    The file is opened for the comparison, because NFS then asks the server and not its memory.
    """
    with suppress(OSError):
        descriptor = os.open(path, _OPEN)
        try:
            same = _identity(os.fstat(descriptor)) == file
        finally:
            os.close(descriptor)
        if same:
            Path(path).unlink()


def newer_launch(path: str, launch: Launch) -> Launch | None:
    """Return the launch file that the hub has written after `launch`, None if there is none."""
    with suppress(LaunchError):
        found = read_launch(path)
        if found.file != launch.file:
            return found
    return None


def is_another_run(restarted: str) -> bool:
    """Tell whether Grid Engine runs this job again. `restarted` is the job's variable RESTARTED; qsub(1)."""
    return restarted not in ("", "0")


def await_launch(path: str, restarted: str, say: Callable[[str], None], seconds: float = _AWAIT_SECONDS) -> None:
    """Wait until a launch file is there, if Grid Engine runs this job again.

    The first run has removed its own. The hub writes another one as soon as it sees the job on its new host.
    """
    if not is_another_run(restarted) or os.path.lexists(path):
        return
    say("Grid Engine runs this job again; waiting for the hub to write its launch file anew.")
    until = time.monotonic() + seconds
    while not os.path.lexists(path) and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
