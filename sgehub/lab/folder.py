"""The lab's folder: its lock, and its removal with all that was started from it.

Rule 1: nothing is removed that is not a lab's: the folder has a lab's mark, or is empty.
Rule 2: the processes on record end first and the mark goes last, so a removal broken off can be taken up again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sgehub.lab import processes
from sgehub.lab.errors import LabError
from sgehub.lab.layout import Layout

MARK = "lab.json"
RECORDS = "holders"
_SUBNETS = tuple(f"10.77.{number}" for number in range(201))
_PAUSE = 0.05


@contextmanager
def locked(root: Path, *, wait: float, make: bool = False) -> Iterator[int]:
    """Hold the lock of a lab, waiting up to `wait` seconds for it; yield its handle.

    The lock is on the folder itself, and ends with its last holder. Raises FileNotFoundError if there is no folder
    and it is not to be made, LabError if another process has the lock.
    """
    until = time.monotonic() + wait
    while True:
        if make:
            try:
                root.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise LabError(f"The lab's folder {root} cannot be made: {error.strerror}.") from error
        try:
            handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            if make and time.monotonic() < until + _PAUSE:  # removed again by who had it before
                continue
            raise
        try:
            if _lock(handle, root):
                yield handle
                return
        finally:
            os.close(handle)
        if time.monotonic() >= until:
            raise LabError(f"Another process is at work on the lab in {root}.")
        time.sleep(_PAUSE)


def _lock(handle: int, root: Path) -> bool:
    """Try to lock an opened folder; tell whether it is locked and is still the one at `root`.

    It may have been removed, and made anew, since it was opened.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle), root.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


def clear(root: Path) -> None:
    """End everything that was started from the lab's folder and empty it; the lock must be held.

    Raises LabError, with nothing touched, if the folder is not a lab's.
    """
    content = {path.name for path in root.iterdir()}
    if content and MARK not in content:
        raise LabError(f"{root} is not the folder of a lab; nothing in it was touched.")
    records = root / RECORDS
    for record in sorted(records.iterdir()) if records.exists() else []:
        identity = processes.recorded(record)
        if identity is not None:
            processes.end(identity)
    _refuse_mounts(root)
    for path in sorted(root.iterdir(), key=lambda path: path.name == MARK):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove(root: Path) -> None:
    """Clear the lab's folder and remove it; the lock must be held."""
    clear(root)
    with suppress(FileNotFoundError):
        root.rmdir()


def remove_empty(root: Path) -> None:
    """Remove the folder if there is nothing in it: an `up` was broken off before it had written anything."""
    with suppress(OSError):
        root.rmdir()


def _refuse_mounts(root: Path) -> None:
    """Refuse to remove a folder in which something is mounted on the machine itself: that would not be ours."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    inside = [point for point in points if point == str(root) or point.startswith(f"{root}/")]
    if inside:
        raise LabError(f"{', '.join(inside)} is mounted below the lab's folder; unmount it first.")


def free_subnet(root: Path) -> str:
    """Return the first subnet that no other lab beside `root` has.

    Labs do not see each other: this is for the eyes of people, and two that start at once may choose alike.
    """
    used = set()
    for state in root.parent.glob("sgehub-lab-*/lab.json"):
        with suppress(OSError, ValueError, KeyError, LabError):
            if state.parent != root:
                used.add(Layout.from_json(state.read_text()).subnet)
    return next((subnet for subnet in _SUBNETS if subnet not in used), _SUBNETS[0])
