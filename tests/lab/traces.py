"""What a lab could leave behind on the machine, looked for without the help of the lab's own code."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

KINDS = ("net", "mnt", "uts", "ipc", "pid", "pid_for_children")


def machine() -> dict[str, object]:
    """Return what must be as it was: named network namespaces, links, mounts, and the machine's /etc."""
    return {
        "netns": subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True, timeout=10).stdout,
        "links": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "mounts": [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()],
        "etc": etc_hash(),
    }


def etc_hash() -> str:
    """Return a hash over all names, owners, modes, times and contents of the machine's /etc."""
    total = hashlib.sha256()
    for folder, folders, names in os.walk("/etc"):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            found = path.lstat()
            total.update(f"{path} {found.st_mode} {found.st_uid} {found.st_gid} {found.st_mtime_ns}".encode())
            if path.is_file() and not path.is_symlink():
                total.update(path.read_bytes())
    return total.hexdigest()


def namespaces(pid: int) -> set[str]:
    """Return the namespaces of a process that are not our own."""
    links = set()
    for kind in KINDS:
        try:
            link = Path(f"/proc/{pid}/ns/{kind}").readlink()
        except OSError:  # it is gone
            continue
        if link != Path(f"/proc/self/ns/{kind}").readlink():
            links.add(str(link))
    return links


def processes(root: Path, spaces: set[str] | None = None) -> list[str]:
    """Return the processes that name a lab's folder in their arguments, or live in one of the namespaces."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it is gone
            continue
        if str(root) in arguments or namespaces(int(folder.name)) & (spaces or set()):
            found.append(f"{folder.name} {arguments}")
    return found


def spaces_of(root: Path) -> set[str]:
    """Return the namespaces of all processes that name a lab's folder in their arguments: its holders."""
    return {link for line in processes(root) for link in namespaces(int(line.split()[0]))}
