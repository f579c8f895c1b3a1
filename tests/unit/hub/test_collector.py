"""Python's garbage collector leaves alone what the hub is made of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SPARE = """
import gc, weakref
from sgehub.hub.limits import spare_collector
class Node:
    pass
def ring():
    node = Node()
    node.itself = node
    return weakref.ref(node)
lost = ring()
there = len(gc.get_objects())
spare_collector()
print(lost() is None, len(gc.get_objects()) < there / 20)
node = ring()
gc.collect()
print(node() is None)
"""


def test_what_the_hub_is_made_of_is_not_looked_at_again() -> None:
    """What has been lost until then is gone, and what comes later is collected as ever."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPARE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["True", "True", "True"]
