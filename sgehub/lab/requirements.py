"""What the machine must have before a lab can be made; everything that is missing, in one sentence."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path

from sgehub.lab.errors import LabError
from sgehub.lab.host import SYSTEM_PATH
from sgehub.lab.layout import BINARIES

# A file that only this package brings (a bare name is looked up in the system's path) -> Debian package.
PACKAGES = {
    f"{BINARIES}/sge_qmaster": "gridengine-master",
    f"{BINARIES}/sge_execd": "gridengine-exec",
    f"{BINARIES}/qsub": "gridengine-client",
    "/usr/share/gridengine/default-configuration": "gridengine-common",
    "slapd": "slapd",
    "ldapsearch": "ldap-utils",
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "tini": "tini",
    "sudo": "sudo",
    "csh": "csh",
    "openssl": "openssl",
}
_HIDDEN = ("/tmp", "/var/tmp", "/srv", "/var/spool/gridengine")  # noqa: S108 - see tree.py
_NAMESPACES = ("net", "uts", "ipc", "pid", "mnt")


def missing_packages(root: Path = Path("/")) -> tuple[str, ...]:
    """Return the Debian packages that are not there, sorted; `root` is where the file system starts."""
    path = os.pathsep.join(str(root / folder.lstrip("/")) for folder in SYSTEM_PATH.split(":"))
    missing = {
        package
        for name, package in PACKAGES.items()
        if not ((root / name.lstrip("/")).exists() if name.startswith("/") else shutil.which(name, path=path))
    }
    return tuple(sorted(missing))


def check(install: Path | None) -> None:
    """Refuse with one sentence what a lab cannot be made on: raises LabError."""
    if not sys.platform.startswith("linux"):
        raise LabError("The lab needs Linux: its hosts are Linux namespaces.")
    if os.geteuid() != 0:
        raise LabError("The lab needs root, because it makes network, process and mount namespaces: use sudo.")
    without = [kind for kind in _NAMESPACES if not Path("/proc/self/ns", kind).exists()]
    if without:
        raise LabError(f"The lab needs a kernel with namespaces; this one lacks {', '.join(without)}.")
    missing = missing_packages()
    if missing:
        raise LabError(f"The lab needs packages that are not installed: apt-get install {' '.join(missing)}")
    if install is not None:
        check_place(install)
        check_install(install)


def check_place(install: Path) -> None:
    """Refuse an environment that a host would not see: raises LabError."""
    for folder in _HIDDEN:
        if install.resolve().is_relative_to(folder):
            raise LabError(
                f"{install} is below {folder}, and each host of the lab has one of its own: "
                "keep the environment elsewhere, for instance with `make BASE=/opt/sgehub-lab ...`."
            )


def check_install(install: Path) -> None:
    """Refuse an environment whose Python the lab's people could not run: raises LabError."""
    python = install / "bin" / "python"
    if not python.exists():
        raise LabError(f"{install} is no virtual environment: {python} is missing.")
    # Only what lies beyond the environment itself is reached by its own path; the rest is bound to /opt/sgehub.
    real = python.resolve()
    folders = real.parents if not real.is_relative_to(install.resolve()) else ()
    closed = [folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise LabError(
            f"The Python of {install} is {real}, and {closed[-1]} is closed to others: "
            "make the environment with /usr/bin/python3 -m venv."
        )
