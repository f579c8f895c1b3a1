"""Ordinary oddities of real accounts do not disturb a session."""

from __future__ import annotations

import re

import pytest

from tests.lab.conftest import Site

LINES = {
    "csh as login shell": {".cshrc": 'echo "welcome to the cluster"\nsetenv PYTHONPATH /nowhere\n'},
    "a banner in .bashrc": {
        ".bashrc": "echo banner; export PYTHONPATH=/nowhere\n",
        ".bash_profile": "echo banner; . ~/.bashrc\n",
    },
    "a module that hides json": {"json.py": "raise SystemExit('the wrong json')\n"},
    "defaults for qsub": {".sge_request": "-t 1-3 -V -hold_jid 9999\n-N other\n"},
    "defaults for qstat": {".sge_qstat": "-g c\n"},
}


@pytest.mark.parametrize("oddity", LINES)
def test_a_session_starts_all_the_same(hub: Site, oddity: str):
    """One job, one task, nothing of the hub's or the person's environment where it does not belong."""
    home = hub.home("carol")
    passwd = hub.lab.root / "etc" / "passwd"
    before = passwd.read_text()
    for name, text in LINES[oddity].items():
        (home / name).write_text(text)
    if oddity.startswith("csh"):
        passwd.write_text(re.sub(r"^(carol:.*):/bin/bash$", r"\1:/bin/csh", before, flags=re.MULTILINE))
    carol = hub.person("carol")
    try:
        answer = carol.start({"memory": "1G"})
        assert answer.status in (201, 202), answer.text
        carol.wait_until(ready=True)
        found = hub.qstat("-j", "*")
        assert "job-array tasks" not in found
        assert "hold_jid" not in found.replace("jid_predecessor", "hold_jid")
        assert re.search(r"job_name:\s+sgehub-", found)
        assert "JUPYTERHUB" not in found
        carol.stop()
        hub.wait_for_jobs(0)
    finally:
        for name in LINES[oddity]:
            (home / name).unlink()
        passwd.write_text(before)


def test_a_home_with_a_space(hub: Site):
    """Paths are never split."""
    passwd = hub.lab.root / "etc" / "passwd"
    before = passwd.read_text()
    home = hub.home("carol")
    spaced = home.with_name("carol c")
    home.rename(spaced)
    passwd.write_text(before.replace(":/home/carol:", ":/home/carol c:"))
    carol = hub.person("carol")
    try:
        answer = carol.start({"memory": "1G"})
        assert answer.status in (201, 202), answer.text
        carol.wait_until(ready=True)
        assert list((spaced / ".sgehub" / "log").iterdir())
        carol.stop()
        hub.wait_for_jobs(0)
    finally:
        spaced.rename(home)
        passwd.write_text(before)
