"""The shell programs: each is accepted by the shell that runs it, and takes nothing from a job's environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROGRAMS = ("scripts/gpu-prolog", "scripts/gpu-epilog", "sgehub/lab/data/boot.sh", "sgehub/lab/data/hold.sh")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shells_accept_it(shell: str, program: str) -> None:
    """Debian's sh and bash, which is sh elsewhere, read the whole program."""
    subprocess.run([shell, "-n", str(ROOT / program)], check=True, timeout=10)


@pytest.mark.parametrize("program", ["scripts/gpu-prolog", "scripts/gpu-epilog"])
def test_it_can_be_run(program: str) -> None:
    """Grid Engine executes prolog and epilog as they are."""
    assert (ROOT / program).stat().st_mode & 0o111 == 0o111


def test_a_prolog_outside_a_job_refuses(tmp_path: Path) -> None:
    """Not started by a shepherd: error state of the job (100), which leaves the queue open, whatever is set."""
    (tmp_path / "environment").touch()
    done = subprocess.run(
        [str(ROOT / "scripts/gpu-prolog")],
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
        env={"SGE_JOB_SPOOL_DIR": str(tmp_path), "PATH": str(tmp_path), "JOB_ID": "1"},
    )
    assert done.returncode == 100
    assert "not started by a shepherd" in done.stderr
