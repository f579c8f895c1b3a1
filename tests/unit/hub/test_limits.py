"""The hub takes as many open files as it may have, and says when they are few."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RAISE = """
import logging, resource, sys
from sgehub.hub.limits import raise_file_limit
logging.basicConfig(format="%(levelname)s %(message)s")
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
print(raise_file_limit(logging.getLogger(), int(sys.argv[1])), *resource.getrlimit(resource.RLIMIT_NOFILE), hard)
"""


def limits(soft: int, hard: int, wanted: int = 65536) -> tuple[list[int], str]:
    """Raise the limit in a process with these ones; return (the answer, soft, hard, hard before) and the log."""
    done = subprocess.run(
        ["prlimit", f"--nofile={soft}:{hard}", sys.executable, "-c", RAISE, str(wanted)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [int(word) for word in done.stdout.split()], done.stderr


@pytest.mark.parametrize(
    ("soft", "hard", "result"), [(256, 5000, 5000), (5000, 5000, 5000), (256, 300, 300), (300, 300, 300)]
)
def test_the_soft_limit_becomes_the_hard_one(soft, hard, result):
    """As far as an account without privileges may; a hub with few files says so, and what to set."""
    found, log = limits(soft, hard)
    assert found == [result, result, hard, hard]
    assert ("LimitNOFILE" in log) == (result < 4096)
    assert not log or (f"The hub may have {result} files open" in log and "WARNING" in log)


def test_a_limit_that_serves_nobody_is_not_taken():
    """Programs that the hub runs inherit it, and old ones close every possible descriptor, one by one."""
    assert limits(256, 6000, 5000) == ([5000, 5000, 6000, 6000], "")
