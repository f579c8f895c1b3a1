"""The lab's folder: one process at a time, and never somebody else's folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sgehub.lab import folder
from sgehub.lab.errors import LabError


def test_a_second_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    """The lock belongs to one at a time and ends with the block."""
    root = tmp_path / "lab"
    with (
        folder.locked(root, wait=0, make=True),
        pytest.raises(LabError, match="Another process"),
        folder.locked(root, wait=0.1),
    ):
        pass
    with folder.locked(root, wait=0):
        pass


def test_a_handle_passed_on_keeps_the_lock(tmp_path: Path) -> None:
    """Who inherits the handle holds the lock, until it is closed there, too."""
    with folder.locked(tmp_path, wait=0) as lock:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=lock)
    try:
        with pytest.raises(LabError, match="Another process"), folder.locked(tmp_path, wait=0):
            pass
    finally:
        child.kill()
        child.wait()
    with folder.locked(tmp_path, wait=1):
        pass


def test_without_a_folder_there_is_nothing_to_lock(tmp_path: Path) -> None:
    """A lab that is not there is not made by asking."""
    with pytest.raises(FileNotFoundError), folder.locked(tmp_path / "none", wait=0):
        pass
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """The sentence names the folder."""
    with (
        pytest.raises(LabError, match="none/lab cannot be made"),
        folder.locked(tmp_path / "none/lab", wait=0, make=True),
    ):
        pass


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Somebody else's link in the place of the folder leads nowhere."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(OSError, match="link"), folder.locked(tmp_path / "link", wait=0):
        pass


def test_what_is_no_labs_folder_stays(tmp_path: Path) -> None:
    """Without a lab's mark nothing is touched."""
    (tmp_path / "precious").touch()
    with pytest.raises(LabError, match="not the folder of a lab"):
        folder.remove(tmp_path)
    assert (tmp_path / "precious").exists()


def test_a_labs_folder_goes_with_all_its_files(tmp_path: Path) -> None:
    """Whatever a half-made lab left is removed, links themselves and not what they point to."""
    root, other = tmp_path / "lab", tmp_path / "other"
    (root / "holders").mkdir(parents=True)
    (root / "holders" / "head").write_text("half a li")
    (root / folder.MARK).write_text("{")
    other.mkdir()
    (other / "file").touch()
    (root / "link").symlink_to(other)
    folder.remove(root)
    assert not root.exists()
    assert (other / "file").exists()


def test_an_empty_folder_is_a_lab_that_never_began(tmp_path: Path) -> None:
    """A maker that died before its first file leaves an empty folder, which goes."""
    root = tmp_path / "lab"
    root.mkdir()
    folder.remove(root)
    assert not root.exists()
