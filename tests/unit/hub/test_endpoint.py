"""The hub's final list of handlers holds our report endpoint, and batchspawner's own nowhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PRINT_HANDLERS = """
import json, sys
from jupyterhub.app import JupyterHub
import sgehub.hub.spawner
{extra}
app = JupyterHub(db_url="sqlite://", cookie_secret=b"x" * 32, spawner_class="sgehub.hub.spawner.SGESpawner")
app.init_db()
app.init_handlers()
found = [[rule[0], rule[1].__module__] for rule in app.handlers]
print(json.dumps([rule for rule in found if "batchspawner" in "".join(rule)]))
print(json.dumps([rule for rule in found if rule[1].startswith(("sgehub.hub.api", "sgehub.hub.capacity_api"))]))
"""
ROOT = Path(__file__).parents[3]


def handlers(extra="", line=-2):
    """Start a hub's application in a process of its own and return what it would serve."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PRINT_HANDLERS.format(extra=extra)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()[line]


def test_batchspawners_handler_never_reaches_the_hub():
    """Ours stands at the same address, once, so that batchspawner-singleuser still works."""
    assert handlers() == '[["/hub/api/batchspawner", "sgehub.hub.api"]]'


def test_sessions_have_three_addresses_and_pages_one():
    """Each once: batchspawner's for reports as it knows them, the line, and the end; and what is free."""
    ours = json.loads(handlers("sgehub.hub.spawner.api.replace_endpoint()", line=-1))
    assert [path for path, _ in ours] == [
        "/hub/api/batchspawner",
        "/hub/api/sgehub/line",
        "/hub/api/sgehub/end",
        "/hub/api/sgehub/capacity",
    ]


def test_importing_batchspawner_later_does_not_bring_it_back():
    """Every hub imports all registered spawners, in any order."""
    assert handlers("import batchspawner, batchspawner.api, wrapspawner") == handlers()


def test_replacing_twice_changes_nothing():
    """The order of imports is nobody's business."""
    assert handlers("sgehub.hub.spawner.api.replace_endpoint()") == handlers()
