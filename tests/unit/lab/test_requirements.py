"""What a lab needs is said in one sentence, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgehub.lab.errors import LabError
from sgehub.lab.requirements import PACKAGES, check_install, check_place, missing_packages


def provide(root: Path, name: str) -> None:
    """Make the file that shows that a package is there."""
    path = root / name.lstrip("/") if name.startswith("/") else root / "usr/bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)


def test_all_missing_packages_are_named_at_once(tmp_path: Path) -> None:
    """On a machine with nothing every package is named, once and in order."""
    assert missing_packages(tmp_path) == tuple(sorted(set(PACKAGES.values())))


@pytest.mark.parametrize("absent", sorted(PACKAGES))
def test_one_missing_file_names_its_package(tmp_path: Path, absent: str) -> None:
    """What shows a package's presence names it when absent, and nothing else."""
    for name in PACKAGES:
        if name != absent:
            provide(tmp_path, name)
    assert missing_packages(tmp_path) == (PACKAGES[absent],)


def test_an_environment_must_be_one(tmp_path: Path) -> None:
    """A folder without a Python is no environment."""
    with pytest.raises(LabError, match="no virtual environment"):
        check_install(tmp_path)


def test_an_environment_of_a_python_that_others_cannot_reach_is_refused(tmp_path: Path) -> None:
    """A Python below a private folder cannot be run by the lab's people; the sentence says what to do."""
    private = tmp_path / "private"
    (private / "bin").mkdir(parents=True)
    (private / "bin" / "python").touch(mode=0o755)
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(private / "bin" / "python")
    private.chmod(0o700)
    with pytest.raises(LabError, match="closed to others"):
        check_install(tmp_path / "venv")


def test_an_environment_may_itself_be_in_a_private_folder(tmp_path: Path) -> None:
    """Only its Python is reached by path: the environment itself is shown to the hosts elsewhere."""
    private = tmp_path / "private"
    (private / "bin").mkdir(parents=True)
    (private / "bin" / "python").symlink_to("/usr/bin/env")
    private.chmod(0o700)
    check_install(private)


@pytest.mark.parametrize("place", ["/tmp/x/venv", "/var/tmp/venv", "/srv/../srv/venv"])
def test_an_environment_that_no_host_sees_is_refused(place: str) -> None:
    """With the way out; its hubs would only say that a program is missing."""
    with pytest.raises(LabError, match=r"is below /\S+, and each host .*make BASE="):
        check_place(Path(place))
    check_place(Path("/var/cache/sgehub/1/venv"))
