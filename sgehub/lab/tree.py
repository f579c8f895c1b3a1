"""The folders of a lab as they are before a host boots: what each host has for itself, and the homes all share."""

from __future__ import annotations

import shutil
from pathlib import Path

from sgehub.lab.cell_files import ADMIN
from sgehub.lab.layout import HEAD, HUB_ACCOUNT, HUB_UID, Layout

# What a host sees as /srv, /var/spool/gridengine, /tmp and /var/tmp.
_OWN = {"srv": 0o755, "spool": 0o755, "tmp": 0o1777, "vartmp": 0o1777}


def make(layout: Layout) -> None:
    """Make the folders, in an empty folder of the lab."""
    for folder in (
        layout.etc,
        layout.sge,
        layout.homes,
        layout.root / "hosts",
        layout.root / "holders",
        layout.logs,
    ):
        folder.mkdir(mode=0o755)
    for host in layout.hosts:
        layout.own(host).mkdir()
        for name, mode in _OWN.items():
            _make(layout.own(host) / name, mode)
        _make(layout.own(host) / "spool" / "execd", 0o755, ADMIN)
    _make(layout.own(HEAD) / "srv" / HUB_ACCOUNT, 0o700, HUB_UID)
    for person in layout.persons:
        _make(layout.homes / person.name, 0o700, person.uid)


def _make(folder: Path, mode: int, owner: int | str | None = None) -> None:
    """Make a folder with exactly this mode, whatever the umask, for an owner and the group of the same number."""
    folder.mkdir()
    folder.chmod(mode)
    if owner is not None:
        shutil.chown(folder, owner, owner)
