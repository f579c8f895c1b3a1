"""A start that the person's account or the cluster stands in the way of says so in a sentence."""

from __future__ import annotations

import re
import shutil
import threading
import time

from tests.lab.conftest import Site
from tests.lab.test_failures import refused


def test_a_job_that_grid_engine_cannot_start(hub: Site):
    """An error state is not a queue: its reason is told and the job deleted."""
    nodes = [name for name in hub.lab.hosts if name != "head"]
    for node in nodes:
        hub.lab.run(node, ["mount", "-t", "tmpfs", "tmpfs", "/home"])
    try:
        said = refused(hub)
    finally:
        for node in nodes:
            hub.lab.run(node, ["umount", "/home"])
    assert "Grid Engine could not start job" in said
    assert "can't chdir to /home/alice" in said
    hub.lab.run("head", ["qmod", "-c", "*"])


def test_a_home_that_does_not_exist(hub: Site):
    """One sentence that names the folder and whom to ask."""
    home = hub.home("bob")
    home.rename(home.with_name("bob.away"))
    try:
        said = refused(hub, name="bob")
    finally:
        home.with_name("bob.away").rename(home)
    assert "/home/bob does not exist" in said


def test_a_home_that_is_full(hub: Site):
    """Quota or disk: delete something, then start again."""
    hub.lab.run("head", ["mount", "-t", "tmpfs", "-o", "size=4k,mode=700,uid=2002,gid=2002", "tmpfs", "/home/bob"])
    try:
        hub.lab.run("head", ["sh", "-c", "cat /dev/zero > /home/bob/big"], user="bob")
        said = refused(hub, name="bob")
    finally:
        hub.lab.run("head", ["umount", "/home/bob"])
    assert "full" in said
    assert "delete" in said.lower()


def test_a_home_that_is_not_writable(hub: Site):
    """The sentence says which folder and what is missing."""
    home = hub.home("carol")
    shutil.rmtree(home / ".sgehub", ignore_errors=True)
    home.chmod(0o500)
    try:
        said = refused(hub, name="carol")
    finally:
        home.chmod(0o700)
    assert "/home/carol" in said
    assert "writ" in said


def test_a_qmaster_that_hangs_for_a_while_delays_a_start_and_no_more(hub: Site):
    """Nothing is lost, and nothing is submitted twice."""
    alice = hub.person("alice")
    hub.lab.run("head", ["pkill", "-STOP", "sge_qmaster"])
    try:
        starting = threading.Thread(target=alice.start, args=({},))
        starting.start()
        time.sleep(4)
    finally:
        hub.lab.run("head", ["pkill", "-CONT", "sge_qmaster"])
    starting.join()
    alice.wait_until(ready=True)
    assert len(hub.jobs()) == 1
    alice.stop()
    hub.wait_for_jobs(0)


def test_the_hub_may_not_act_for_people_outside_its_group(hub: Site):
    """The sudo rule decides, and the administrator reads which rule is missing."""
    path = hub.lab.root / "etc" / "group"
    before = path.read_text()
    lines = [re.sub(r",?carol", "", line) if line.startswith("sgehub:") else line for line in before.splitlines()]
    path.write_text("\n".join(lines) + "\n")
    try:
        said = refused(hub, name="carol")
    finally:
        path.write_text(before)
    assert "sudo does not let the hub's account act as carol" in said
