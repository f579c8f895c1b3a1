"""A place to run sgehub-as-user as a process: a real account, a real home, a stub where qsub stands.

Every run happens in a mount namespace of its own that knows a person "alice"; needs root, as the lab does.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from sgehub import asuser

ALICE, HUB = 52001, 51999
TAG = "0123456789ab"
QSUB = """#!/usr/bin/python3 -IS
import json, os, signal, sys, time
words = sys.argv[1:]
what = words[words.index("-N") + 1] if "-N" in words else ""
def note(name, text):
    with open(os.path.join(os.environ["HOME"], name), "w") as file:
        file.write(text)
if what == "refuse":
    sys.stderr.write("Unable to run job: no.\\n"); sys.exit(1)
if what == "cut":
    sys.stderr.write('error: commlib error: got read error (closing "head/qmaster/1")\\nUnable to run job: failed '
                     "receiving gdi request.\\nExiting.\\n"); sys.exit(1)
if what == "late":
    print("7"); sys.exit(1)
if what == "die":
    os.kill(os.getpid(), signal.SIGSEGV)
if what == "flood":
    while True:
        os.write(1, b"x" * 65536)
if what in ("hang", "deaf"):
    if what == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write("7\\n"); sys.stdout.flush()
    note("pid", str(os.getpid())); time.sleep(600)
if what == "litter":
    child = os.fork()
    if child == 0:
        time.sleep(600)
    note("pid", str(child))  # by the parent: the child may be ended before it has written a word
    print("8"); sys.exit(0)
if what == "early":
    os.close(0); print("9"); sys.exit(0)
print(json.dumps({"argv": sys.argv, "environment": dict(os.environ), "cwd": os.getcwd(), "uid": os.getuid(),
                  "stdin": sys.stdin.read(), "umask": os.umask(0)}))
"""


class Sandbox:
    """A folder everybody can reach, with the program, a Grid Engine of stubs, and alice's home."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home" / "alice"
        self.folder = self.home / ".sgehub"
        self.program = root / "sgehub-as-user"
        shutil.copy(asuser.__file__, self.program)
        self.program.chmod(0o755)
        for name in ("qsub", "qdel"):
            path = root / "ge" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(QSUB)
            path.chmod(0o755)
        (root / "ge" / "default" / "common").mkdir(parents=True)
        self.home.mkdir(parents=True)
        os.chown(self.home, ALICE, ALICE)
        self.passwd = root / "passwd"
        self.know(self.home)

    def know(self, home: Path) -> None:
        """Write the accounts that the next run knows."""
        accounts = f"root:x:0:0::/root:/bin/sh\nalice:x:{ALICE}:{ALICE}::{home}:/bin/csh\n"
        self.passwd.write_text(accounts + f"hub:x:{HUB}:{HUB}::/:/bin/sh\n")

    def request(self, verb="submit", *, name="", **fields):
        """Return a good request, with `name` telling the stub what to do."""
        cluster = {"bin": str(self.root / "ge"), "environment": {"SGE_ROOT": str(self.root / "ge")}}
        common = {"verb": verb, "deadline": 10}
        mine = {**common, "folder": str(self.folder), "tag": TAG}
        options = {"cluster": cluster, "options": ["-terse", *(["-N", name] if name else [])], "script": "true\n"}
        return {
            "submit": {**mine, **options, "launch": {"token": "s3cret"}},
            "verify": {**common, **options, "mode": "p"},
            "cancel": {**common, "cluster": cluster, "job": 17},
            "tail": {**mine, "lines": 3},
            "discard": mine,
            "launch": {**mine, "launch": {"token": "s3cret"}},
        }[verb] | fields

    def start(self, *, prepare="true", uid=ALICE, outer=(), caller=(), **environment) -> subprocess.Popen[bytes]:
        """Start the program as `uid`, after the shell line `prepare` ran as root in its mount namespace.

        `caller` is a command that starts it in turn, `outer` the same as root.
        """
        line = f'mount --bind "$1" /etc/passwd && {prepare} && shift && exec "$@"'
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", line, "sh", str(self.passwd)]
        words += [*outer, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *caller]
        given = {"PATH": os.environ["PATH"], "SUDO_UID": str(HUB), "SECRET": "of the hub", **environment}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*words, str(self.program)], env=given, **pipes)

    def run(self, request, **how):
        """Return (exit status, answer)."""
        data = request if isinstance(request, bytes) else json.dumps(request).encode()
        with self.start(**how) as process:
            out, err = process.communicate(data, timeout=30)
        assert err == b""
        return process.returncode, json.loads(out)

    def files(self):
        """Return the names of all files below alice's folder."""
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file())

    def pid(self) -> int:
        """Wait for the pid that the stub writes down."""
        path = self.home / "pid"
        for _ in range(500):
            if path.exists() and path.read_text():
                return int(path.read_text())
            time.sleep(0.01)
        raise AssertionError("the stub did not start")


@contextlib.contextmanager
def sandbox():
    """Give a sandbox; afterwards end the stub, if it is still there, and remove everything."""
    root = Path(tempfile.mkdtemp(prefix="asuser-"))
    root.chmod(0o755)
    try:
        yield Sandbox(root)
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((root / "home/alice/pid").read_text()), signal.SIGKILL)
        shutil.rmtree(root)


def gone(pid: int, seconds: float) -> bool:
    """Wait until the process is gone, or a zombie of somebody else's."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if re.search(r"\) Z ", Path(f"/proc/{pid}/stat").read_text()):
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False
