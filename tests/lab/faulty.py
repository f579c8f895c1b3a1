"""Things that provoke faults: in Grid Engine, in hosts and cables, in commands, clocks, homes and databases.

Each is undone at the end of its `with` block or by the method beside it; `mend` undoes whatever a failed test has
left. Processes are signalled by number inside their host, never by a name on the machine.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sgehub.lab import cell_files, host
from sgehub.lab.cluster import Lab
from sgehub.lab.hub import LabHub
from sgehub.lab.layout import BINARIES, HEAD, HUB_UID, SGE_ROOT, people_named

# Measured on 8.1.9: a silent host's queues are in state u after 10 to 12 s with these (24 s with the lab's own
# values, no sooner with smaller ones), and out of it 1 to 2 s after it is back.
QUICK = {"max_unheard": "00:00:05", "load_report_time": "00:00:01"}
LAST_NUMBER = 9_999_999  # of jobs; then Grid Engine begins anew at 1
PYTHON = "/opt/sgehub/bin/python"
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
PATIENCE = 60.0


def until(condition: Callable[[], object], seconds: float = PATIENCE, what: str = "") -> float:
    """Wait for a condition; return the seconds it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() < begun + seconds, f"not within {seconds:.0f} s: {what or condition}"
        time.sleep(0.1)
    return time.monotonic() - begun


def order(lab: Lab, *argv: str, node: str = HEAD, user: str | None = None) -> str:
    """Run a command on a host (as root, Grid Engine's manager); it must succeed. Return what it printed."""
    done = lab.run(node, argv, user=user)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def quick_lab(name: str, *, install: Path | None, nodes: int = 3, people: int = 3) -> Iterator[Lab]:
    """Keep a lab that notices silent hosts soon; its people are alice, bob, carol, u004, u005 and so on."""
    lab = Lab(name, nodes=nodes, people=people_named(people), install=install)
    try:
        lab.up()
        change_configuration(lab, **QUICK)
        yield lab
    finally:
        lab.down()


def change_configuration(lab: Lab, **values: str) -> None:
    """Replace values of the cluster's configuration, sge_conf(5)."""
    text = order(lab, "qconf", "-sconf").replace("\\\n", " ")
    rows = [row for row in text.splitlines() if not row.startswith("#")]
    (lab.layout.sge / "global").write_text(cell_files.changed("\n".join(rows), values))
    order(lab, "qconf", "-Mconf", f"{SGE_ROOT}/global")


def change_queue(lab: Lab, queue: str, **values: str) -> None:
    """Replace values of a queue, queue_conf(5): rerun="TRUE", slots="1" and so on."""
    for key, value in values.items():
        order(lab, "qconf", "-rattr", "queue", key, value, queue)


def restart_execds(lab: Lab, *hosts: str) -> None:
    """Restart execution daemons (jobs go on): after an outage they look for the qmaster for up to a minute."""

    def restart(name: str) -> None:
        file = f"{cell_files.MESSAGES}/{name}/execd.pid"
        until(lambda: lab.run(name, ["test", "-s", file]).returncode == 0, 30, f"{name}: {file}")
        lab.run(name, ["kill", "-KILL", order(lab, "cat", file, node=name).strip()])
        lab.start_gridengine(name)

    with ThreadPoolExecutor(max_workers=len(lab.hosts)) as pool:  # each takes two seconds to go to the background
        list(pool.map(restart, hosts))
    until(lambda: not unheard_of(lab) & set(hosts))


def unheard_of(lab: Lab) -> set[str]:
    """Return the hosts whose queues are in state u, unknown."""
    return {place.split("@")[1] for place in lab.run(HEAD, ["qselect", "-qs", "u"]).stdout.split()}


class Qmaster:
    """The qmaster of a lab, to be stopped, hung and started again."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @property
    def pid(self) -> str:
        """Return its number in the head's process table."""
        return order(self.lab, "cat", f"{cell_files.SPOOL}/qmaster.pid").strip()

    def stop(self, *, kill: bool = False) -> None:
        """End it, in order or at once. 8.1.9 may take minutes for an orderly end, which nobody here waits for."""
        pid = self.pid

        def gone() -> bool:
            return self.lab.run(HEAD, ["kill", "-0", pid]).returncode != 0

        if not kill:
            order(self.lab, "kill", "-TERM", pid)
            with suppress(AssertionError):
                until(gone, 2)
                return
        order(self.lab, "kill", "-KILL", pid)
        until(gone)

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.lab.start_gridengine(HEAD)

    def hang(self) -> None:
        """Let it answer nobody, with all its connections open."""
        order(self.lab, "kill", "-STOP", self.pid)

    def go_on(self) -> None:
        """Let it answer again."""
        order(self.lab, "kill", "-CONT", self.pid)

    @contextmanager
    def down(self, *, kill: bool = False) -> Iterator[None]:
        """Have no qmaster during the block."""
        self.stop(kill=kill)
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Have one that answers nobody during the block."""
        self.hang()
        try:
            yield
        finally:
            self.go_on()

    def count_from(self, number: int) -> None:
        """Give the next job this number, above those of all jobs that are there; restarts the qmaster."""
        with self.down(kill=True):
            file = self.lab.layout.sge / Path(cell_files.SPOOL).relative_to(SGE_ROOT) / "jobseqnum"
            file.write_text(f"{number - 1}\n")  # the last one that was given


@contextmanager
def cut_off(lab: Lab, *hosts: str) -> Iterator[None]:
    """Cut the network of hosts during the block; nobody is told, what is sent is lost."""
    for name in hosts:
        host.plug(lab.layout, name, connected=False)
    try:
        yield
    finally:
        for name in hosts:
            host.plug(lab.layout, name, connected=True)


@contextmanager
def no_homes(lab: Lab, *hosts: str) -> Iterator[None]:
    """Cover /home on hosts: jobs that are to start there end in Grid Engine's error state, Eqw."""
    for name in hosts:
        order(lab, "mount", "-t", "tmpfs", "tmpfs", "/home", node=name)
    try:
        yield
    finally:
        for name in hosts:
            order(lab, "umount", "-l", "/home", node=name)
        lab.run(HEAD, ["qmod", "-c", "*"])


@contextmanager
def no_queues(lab: Lab, *queues: str) -> Iterator[None]:
    """Disable queues (all if none is named) during the block: jobs wait."""
    order(lab, "qmod", "-d", ",".join(queues) or "*")
    try:
        yield
    finally:
        order(lab, "qmod", "-e", ",".join(queues) or "*")


# Mounts a small file system over a home on one host and the same one over it on others: a mount of one namespace
# is cloned and moved to another by open_tree(2) and move_mount(2), numbered alike on all architectures.
_SHARE_HOME = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
path, options = sys.argv[1].encode(), sys.argv[2].encode()
spaces = [os.open(one, os.O_RDONLY) for one in sys.argv[3:]]
def do(result, what):
    if result < 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result
do(libc.setns(spaces[0], 0x20000), "setns")
do(libc.mount(b"tmpfs", path, b"tmpfs", 0, options), "mount")
trees = [do(libc.syscall(428, -100, path, 1 | 0o2000000), "open_tree") for _ in spaces[1:]]
for space, tree in zip(spaces[1:], trees):
    do(libc.setns(space, 0x20000), "setns")
    do(libc.syscall(429, tree, b"", -100, path, 4), "move_mount")
"""


@contextmanager
def small_home(lab: Lab, name: str, size: str = "1m") -> Iterator[Path]:
    """Give a person a home of `size` that all hosts share, with what was in it; yield its path on each host."""
    person = next(one for one in lab.layout.persons if one.name == name)
    options = f"size={size},mode=700,uid={person.uid},gid={person.uid}"
    spaces = [str(lab.namespace(one, "mnt")) for one in lab.hosts]
    host.tool(["/usr/bin/python3", "-c", _SHARE_HOME, person.home, options, *spaces])
    try:
        kept = lab.layout.homes / name
        inside = Path(f"/proc/{spaces[0].split('/')[2]}/root/home/{name}")
        shutil.copytree(kept, inside, symlinks=True, dirs_exist_ok=True)
        order(lab, "chown", "--recursive", f"{name}:{name}", person.home)
        yield Path(person.home)
    finally:
        for one in lab.hosts:
            lab.run(one, ["umount", "-l", person.home])


def fill(lab: Lab, name: str) -> None:
    """Fill a home (a small one!) to its last byte."""
    order(lab, "sh", "-c", 'cat /dev/zero >"$HOME/big" 2>/dev/null; true', user=name)


class Commands:
    """The folder of q* commands that a hub uses: the real ones, until some are replaced.

    Give its `path` to the hub as cluster.commands in site.yaml. A replacement is a shell script, in which $REAL is
    the real command; it takes effect with the next call.
    """

    def __init__(self, lab: Lab) -> None:
        self.path = "/etc/faulty"
        self._folder = lab.layout.etc / "faulty"
        self._folder.mkdir(exist_ok=True)
        for real in Path(BINARIES).glob("q*"):
            self._put(real.name, None)

    def replace(self, name: str, script: str) -> None:
        """Put a script in the place of a command."""
        self._put(name, f"#!/bin/bash\nREAL={BINARIES}/{name}\n{script}\n")

    def restore(self, *names: str) -> None:
        """Put the real commands (all if none is named) back."""
        for name in names or [file.name for file in self._folder.iterdir()]:
            self._put(name, None)

    @contextmanager
    def replaced(self, name: str, script: str) -> Iterator[None]:
        """Have a script in the place of a command during the block."""
        self.replace(name, script)
        try:
            yield
        finally:
            self.restore(name)

    def _put(self, name: str, script: str | None) -> None:
        new = self._folder.with_name("faulty.new")
        new.unlink(missing_ok=True)
        if script is None:
            new.symlink_to(f"{BINARIES}/{name}")
        else:
            new.write_text(script)
            new.chmod(0o755)
        new.replace(self._folder / name)


# Scripts for Commands.replace.
GARBAGE = r"""head -c 4000 /dev/urandom; printf '<job_info><queue_info><job_list>\001<<&'; exit 0"""
HALF = """answer=$("$REAL" "$@"); printf %s "${answer:0:$((${#answer} / 2))}"; exit 0"""
EMPTY = "exit 0"
ANSWER_LOST = '"$REAL" "$@" >/dev/null 2>&1; kill -KILL $$'  # the real one has done its work
# A job of somebody else, with a name as no real Grid Engine prints it, stands first among the pending ones.
_ODD_JOB = (
    '<job_list state="pending"><JB_job_number>4242</JB_job_number><JAT_prio>0.5</JAT_prio>'
    '<JB_name>a\\x01<b \\& "c</JB_name><JB_owner>carol</JB_owner><state>qw</state>'
    "<JB_submission_time>2024-01-01T00:00:00</JB_submission_time><queue_name></queue_name><slots>1</slots></job_list>"
)
ILL_FORMED = f""""$REAL" "$@" | sed 's|^  <job_info>|&{_ODD_JOB}|'; exit "${{PIPESTATUS[0]}}" """


def slow(seconds: float) -> str:
    """Return a script: the real command, so much later."""
    return f'sleep {seconds}; exec "$REAL" "$@"'


def late_answer(seconds: float) -> str:
    """Return a script: the real command at once, its answer so much later."""
    return f'answer=$("$REAL" "$@"); status=$?; sleep {seconds}; printf "%s\\n" "$answer"; exit $status'


def once(script: str, mark: str) -> str:
    """Return a script that acts on its first call and is the real command later; `mark` is any unused name."""
    return f'if mkdir "/tmp/{mark}" 2>/dev/null; then\n{script}\nfi\nexec "$REAL" "$@"'


def wrong_clock(seconds: int) -> dict[str, str]:
    """Return what to give to LabHub.start_hub(env=...), for a hub whose clock is so much ahead."""
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": f"{seconds:+d}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def copy_database(hub: LabHub, name: str = "older.sqlite") -> Path:
    """Copy the hub's database as it is now, also while the hub runs."""
    copy = hub.state / name
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(hub.state / "jupyterhub.sqlite")) as now, closing(sqlite3.connect(copy)) as older:
        now.backup(older)
    return copy


def restore_database(hub: LabHub, copy: Path) -> None:
    """Put an older copy in the place of the database; the hub must not run."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        (hub.state / f"jupyterhub.sqlite{suffix}").unlink(missing_ok=True)
    shutil.copyfile(copy, hub.state / "jupyterhub.sqlite")
    shutil.chown(hub.state / "jupyterhub.sqlite", HUB_UID, HUB_UID)


def power_cut(lab: Lab, hub: LabHub, *names: str) -> None:
    """Pull the plug of hosts; a hub or proxy on the head is gone with it."""
    for name in names:
        lab.crash(name)
    if HEAD in names:
        for process in ("hub", "proxy"):
            hub.stop(process, kill=True)


def mend(lab: Lab) -> None:
    """Undo what tests have left: hosts off or cut off, a qmaster down or hung, queues closed, jobs."""
    if not lab.status()[0].running:
        lab.boot(HEAD)
    with suppress(AssertionError):  # it ended long ago
        Qmaster(lab).go_on()
    if lab.run(HEAD, ["timeout", "5", "qconf", "-ss"]).returncode:
        with suppress(AssertionError):
            Qmaster(lab).stop(kill=True)
        lab.start_gridengine(HEAD)
    for each in lab.status():
        if not each.running:
            lab.boot(each.name)
        host.plug(lab.layout, each.name, connected=True)
    restart_execds(lab, *unheard_of(lab))
    for argv in (["qmod", "-e", "*"], ["qmod", "-c", "*"], ["qmod", "-us", "*"], ["qdel", "-f", "-u", "*"]):
        lab.run(HEAD, argv)
    until(lambda: not jobs(lab), what="jobs are left")
    for name in lab.hosts[1:]:  # what outlives its job would tell its end to the next test's hub
        if left := lab.run(name, ["pgrep", "-f", "bin/sgehub-session"]).stdout.split():
            lab.run(name, ["kill", "-KILL", *left])


def jobs(lab: Lab) -> Sequence[str]:
    """Return the lines of `qstat` about all jobs."""
    done = lab.run(HEAD, ["qstat", "-u", "*"])
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[2:]
