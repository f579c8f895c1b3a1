"""sgehub-as-user and the person's home: missing, full, read-only, of any name; and the folder in it."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from sgehub import asuser

from . import asuser_sandbox
from .asuser_sandbox import ALICE, TAG

FULL_DISK = "mount -t tmpfs -o size=16k,mode=700,uid=52001 home {home} && head -c 16k /dev/zero > {home}/thesis"


@pytest.fixture
def sandbox():
    with asuser_sandbox.sandbox() as box:
        yield box


@pytest.mark.parametrize(
    ("prepare", "why", "words"),
    [
        ("rmdir {home}", "home-missing", "The home folder {home} does not exist on this host: ask"),
        ("rmdir {home} && touch {home}", "home-missing", "does not exist"),
        (FULL_DISK, "home-full", "is on a full disk: delete files in {home}, then start again."),
        ("mount -t tmpfs -o nr_inodes=1,mode=700,uid=52001 home {home}", "home-full", "delete files in {home}"),
        ("mount -t tmpfs -o ro home {home}", "home-not-writable", "Your home folder cannot be written to"),
        ("chown 0:0 {home}", "home-not-writable", "({home}: Permission denied)"),
        ("chmod 0 {home}", "home-not-writable", "Permission denied"),
        ("mkdir {home}/.sgehub", "folder-unsafe", "{home}/.sgehub must be a folder of your own"),
        ("ln -s /tmp {home}/.sgehub", "folder-unsafe", "not a link"),
        ("ln -s nowhere {home}/.sgehub", "folder-unsafe", "not a link"),
        ("touch {home}/.sgehub", "folder-unsafe", "move it away"),
        (
            "install -d -o 52001 {home}/.sgehub && ln -s /tmp {home}/.sgehub/run",
            "folder-unsafe",
            ".sgehub/run must",
        ),
    ],
)
def test_a_home_in_the_way_is_said_in_one_sentence(sandbox, prepare, why, words):
    """The sentence names the folder and what to mend; qsub is not asked, nothing stays behind."""
    status, answer = sandbox.run(sandbox.request(), prepare=prepare.format(home=sandbox.home))
    assert (status, answer["refused"]["why"]) == (3, why)
    assert words.format(home=sandbox.home) in answer["refused"]["message"]
    assert answer["refused"]["message"].endswith(".")
    assert not list(sandbox.root.rglob(f"*{TAG}*"))


def test_a_full_home_keeps_no_debris(sandbox):
    """What could be made before the disk was full is taken away again."""
    listing = sandbox.root / "listing"
    look = f'"$@"; find {sandbox.folder} -type f > {listing}; stat -c %a {sandbox.folder} >> {listing}'
    request = json.dumps(sandbox.request()).encode()
    with sandbox.start(prepare=FULL_DISK.format(home=sandbox.home), outer=["sh", "-c", look, "sh"]) as process:
        assert json.loads(process.communicate(request, timeout=30)[0])["refused"]["why"] == "home-full"
    assert listing.read_text() == "700\n"


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        ("rmdir {home}", "home-missing"),
        (FULL_DISK, "home-full"),
        ("mount -t tmpfs -o ro home {home}", "home-not-writable"),
        ("ln -s /tmp {home}/.sgehub", "folder-unsafe"),
        ("install -d -o 52001 {home}/.sgehub && ln -s /tmp {home}/.sgehub/run", "folder-unsafe"),
        (
            "install -d -o 52001 {home}/.sgehub {home}/.sgehub/run {home}/.sgehub/run/" + TAG + ".json",
            "home-not-writable",
        ),
    ],
)
def test_a_launch_file_alone_meets_the_same_checks(sandbox, prepare, why):
    """Nothing is written where a submission would not write either."""
    status, answer = sandbox.run(sandbox.request("launch"), prepare=prepare.format(home=sandbox.home))
    assert (status, answer["refused"]["why"]) == (3, why)
    assert not [path for path in sandbox.root.rglob(f"*{TAG}*") if path.is_file()]


@pytest.mark.parametrize("name", ["O'Neil and sons", "J\u00f6rg \u00dc", "$(id) `id` ;"])
def test_a_home_of_any_name_works(sandbox, name):
    """Homes with spaces, quotes and letters beyond ASCII are ordinary, whatever the locale."""
    home = sandbox.root / "home" / name
    home.mkdir()
    os.chown(home, ALICE, ALICE)
    sandbox.know(home)
    for locale in ("C", "en_US.ISO-8859-1"):
        tag = f"{len(locale):012x}"
        status, answer = sandbox.run(sandbox.request(folder=f"{home}/.sgehub", tag=tag), LC_ALL=locale)
        assert status == 0, answer
        assert (home / ".sgehub" / "run" / f"{tag}.json").exists()


def test_a_quota_is_called_a_quota():
    """EDQUOT, which NFS may only say when the file is closed, and a folder outside the home has its own name."""
    error = asuser._disk_error(OSError(errno.EDQUOT, ""), "/home/alice/.sgehub", "/home/alice")
    assert error.why == "home-full"
    assert error.message == ("Your home folder is full (quota): delete files in /home/alice, then start again.")
    error = asuser._disk_error(OSError(errno.ENOSPC, ""), "/scratch/alice", "/home/al")
    assert error.message.startswith("The folder /scratch/alice is on a full disk: delete files in /scratch/alice")


@pytest.fixture
def folder(tmp_path):
    return asuser.Folder(str(tmp_path / "sgehub"), str(tmp_path), create=True)


def test_a_folder_open_to_others_is_closed(tmp_path):
    """Wider modes of the person's own folder become 0700."""
    for path in (tmp_path / "sgehub", tmp_path / "sgehub/log"):
        path.mkdir(mode=0o777)
        path.chmod(0o777)
    asuser.Folder(str(tmp_path / "sgehub"), str(tmp_path), create=True)
    for name in ("", "run", "log"):
        assert (tmp_path / "sgehub" / name).stat().st_mode & 0o7777 == 0o700


def test_a_tag_serves_once(folder):
    """What an earlier start has written is not overwritten."""
    folder.write(TAG, {"token": "first"})
    with pytest.raises(FileExistsError):
        folder.write(TAG, {"token": "second"})
    assert "first" in (Path(folder.path) / "run" / f"{TAG}.json").read_text()


def test_the_newest_logs_stay(folder, tmp_path):
    """Retention counts logs by age, spares sessions that have not started, and knows its own names only."""
    log = tmp_path / "sgehub/log"
    for age in range(6):
        path = log / f"{age:012x}.log"
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    (log / "notes.log").touch()
    (tmp_path / "sgehub/run" / f"{5:012x}.json").touch()
    folder.retain(3)
    assert sorted(path.name for path in log.iterdir()) == sorted(
        [*(f"{age:012x}.log" for age in (0, 1, 2, 5)), "notes.log"]
    )


def test_the_tail_is_short_and_text(folder, tmp_path):
    """At most the lines asked for, of at most 64 KiB, whatever the bytes are; None without a log."""
    path = tmp_path / "sgehub/log" / f"{TAG}.log"
    assert folder.tail(TAG, 5) is None
    path.write_bytes(b"old\n" * 100_000 + b"one\n\xff\n\x1b[31mthree\n")
    assert folder.tail(TAG, 3) == "one\n\ufffd\n\x1b[31mthree"
    assert len(folder.tail(TAG, 200).splitlines()) == 200
    path.write_bytes(b"x" * 1_000_000)
    assert len(folder.tail(TAG, 200)) == asuser.MAX_TAIL


@pytest.mark.timeout(10)
def test_a_pipe_in_the_place_of_a_log_is_no_log(folder, tmp_path):
    """Opening it does not wait for a writer."""
    os.mkfifo(tmp_path / "sgehub/log" / f"{TAG}.log")
    assert folder.tail(TAG, 5) is None


def test_tail_and_discard_need_no_folder(sandbox):
    """Before the first start there is neither log nor launch file, and asking makes none."""
    assert sandbox.run(sandbox.request("tail")) == (0, {"text": None})
    assert sandbox.run(sandbox.request("discard")) == (0, {"discarded": False})
    assert not sandbox.folder.exists()


def test_a_launch_file_is_discarded_once(sandbox):
    """The secrets of a job that never started are removed; the log stays."""
    sandbox.run(sandbox.request())
    (sandbox.folder / "log" / f"{TAG}.log").write_text("first\nlast\n")
    assert sandbox.run(sandbox.request("discard")) == (0, {"discarded": True})
    assert sandbox.run(sandbox.request("discard")) == (0, {"discarded": False})
    assert sandbox.run(sandbox.request("tail", lines=1)) == (0, {"text": "last"})


def test_the_launch_file_of_a_job_that_runs_again_is_written_anew(sandbox):
    """As at the submission, 0600 and in one step; its log, which Grid Engine appends to, stays as it is."""
    sandbox.run(sandbox.request())
    run, log = sandbox.folder / "run" / f"{TAG}.json", sandbox.folder / "log" / f"{TAG}.log"
    log.write_text("from the first run\n")
    run.unlink()
    for token in ("second", "third"):
        assert sandbox.run(sandbox.request("launch", launch={"token": token})) == (0, {"written": True})
        assert json.loads(run.read_text()) == {"token": token}
        assert (run.stat().st_mode & 0o7777, run.stat().st_uid) == (0o600, ALICE)
    assert log.read_text() == "from the first run\n"
    assert sandbox.files() == [f"{TAG}.json", f"{TAG}.log"]


def test_a_launch_file_follows_no_link(sandbox):
    """What stands at its place is replaced, never written through."""
    thesis = sandbox.home / "thesis"
    thesis.write_text("years of work")
    sandbox.run(sandbox.request())
    run = sandbox.folder / "run" / f"{TAG}.json"
    run.unlink()
    run.symlink_to(thesis)
    assert sandbox.run(sandbox.request("launch"))[0] == 0
    assert not run.is_symlink()
    assert thesis.read_text() == "years of work"


@pytest.mark.parametrize(
    ("text", "waits"),
    [("-sync y\n", True), ("-N x -sync  yes\n", True), ("# -sync y\n", False), ("-sync n\n", False), ("", False)],
)
def test_a_personal_default_that_waits_is_named(sandbox, text, waits):
    """With -sync y in ~/.sge_request qsub does not return, and nothing undoes it; comments do not count."""
    (sandbox.home / ".sge_request").write_text(text)
    status, answer = sandbox.run(sandbox.request())
    assert status == (3 if waits else 0)
    assert not waits or str(sandbox.home / ".sge_request") in answer["refused"]["message"]
