"""What anybody on the cluster may look at: files, processes, Grid Engine's answers, searched for secrets."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from sgehub.lab.process import HostProcess
from tests.lab.conftest import Site
from tests.lab.intruder import PYTHON

# Files older than the secrets cannot hold them. Prints where which secret was found, and how much was looked at.
SEARCH = """
import json, os, stat, sys
secrets, since = json.load(sys.stdin)
needles = [secret.encode() for secret in secrets]
hits, files, processes = {}, 0, 0
def search(path, data):
    for number, needle in enumerate(needles):
        if needle in data or needle.decode().encode("utf-16-le") in data:
            hits.setdefault(number, []).append(path)
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 23)
    except OSError:
        return None
tops = ["/opt/sge", "/var/spool", "/var/tmp", "/var/log", "/var/mail"]
tops += ["/tmp", "/home", "/srv", "/etc", "/run", "/dev"]
for top in tops:
    for folder, folders, names in os.walk(top):
        for name in names + folders:
            search(os.path.join(folder, name), name.encode(errors="replace"))
        for name in names:
            path = os.path.join(folder, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mtime >= since and (data := read(path)) is not None:
                files += 1
                search(path, data)
for pid in filter(str.isdigit, os.listdir("/proc")):
    for what in ("cmdline", "environ"):
        data = read(f"/proc/{pid}/{what}")
        if data is not None:
            processes += what == "cmdline"
            search(f"/proc/PID/{what} of {(read(f'/proc/{pid}/comm') or b'?').decode().strip()}", data)
print(json.dumps({"hits": hits, "files": files, "processes": processes}))
"""

# Looks again and again at what comes and goes, and prints at the end all that it has seen.
SPY = """
import os, signal, stat, sys, time
TOPS = ("/opt/sge", "/var/spool/gridengine", "/tmp", "/home/alice", "/srv", "/dev/shm")
seen, known, ended, rounds = set(), set(), [], 0
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
print("ready", flush=True)
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""
while not ended:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for what in ("cmdline", "environ"):
            seen.add(read(f"/proc/{pid}/{what}"))
    rounds += 1
    for top in TOPS if rounds % 5 == 0 else ():
        for folder, _, names in os.walk(top):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.lstat(path)
                except OSError:
                    continue
                mark = (path, status.st_mtime_ns, status.st_size)
                if stat.S_ISREG(status.st_mode) and mark not in known:
                    known.add(mark)
                    seen.add(path.encode(errors="replace"))
                    seen.add(read(path) if len(known) > 2000 or status.st_mtime > time.time() - 30 else b"")
    time.sleep(0.05)
sys.stdout.buffer.write(b"\\0".join(seen))
"""

ANSWERS = (  # what Grid Engine tells everybody of a job
    ["qstat", "-j", "{job}"],
    ["qstat", "-xml", "-j", "{job}"],
    ["qstat", "-j", "*"],
    ["qstat", "-u", "*", "-r", "-ext", "-xml"],
    ["qstat", "-s", "z", "-u", "*"],
    ["qacct", "-j", "{job}"],
    ["qacct", "-o", "alice", "-j"],
    ["qhost", "-j", "-xml"],
)


def search(site: Site, secrets: Sequence[str], since: float, *, user: str | None) -> list[str]:
    """Return where `user` finds a secret on any host: "host: path"."""
    found = []
    for host in site.lab.hosts:
        # the secrets go in by a pipe: in the arguments they would be found
        done = site.lab.run(
            host, [PYTHON, "-I", "-S", "-c", SEARCH], user=user, input=json.dumps([list(secrets), since])
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["processes"] > 1, "nothing was looked at"
        found += [f"{host}: {path}" for paths in answer["hits"].values() for path in paths]
    return found


def told(site: Site, job: int, user: str = "bob") -> str:
    """Return everything that Grid Engine tells somebody of a job, on the head and on an execution host."""
    said = []
    for host in ("head", "node01"):
        for words in ANSWERS:
            done = site.lab.run(host, [word.format(job=job) for word in words], user=user)
            said.append(done.stdout + done.stderr)
    return "\n".join(said)


@contextmanager
def spies(site: Site, user: str = "bob") -> Iterator[list[bytes]]:
    """Let somebody look on, on every host, during the block; afterwards the list holds all that was seen."""
    seen: list[bytes] = []
    with ExitStack() as stack:
        running: list[HostProcess] = []
        for host in site.lab.hosts:
            argv = [PYTHON, "-I", "-S", "-c", SPY]
            spy = site.lab.popen(host, argv, user=user, stdout=subprocess.PIPE)
            stack.callback(_end, spy)
            running.append(spy)
            assert spy.stdout is not None
            assert spy.stdout.readline() == "ready\n"
        yield seen
        for spy in running:
            spy.send_signal(signal.SIGTERM)
            assert spy.stdout is not None
            seen.append(spy.stdout.buffer.read())


def _end(spy: HostProcess) -> None:
    if spy.poll() is None:
        spy.kill()
    spy.wait()
    if spy.stdout is not None:
        spy.stdout.close()


def server_token(site: Site, person: str, server: str = "") -> str:
    """Return the hub's token out of the environment of a person's server, as root reads it."""
    prefix = f"/user/{person}/{server}".rstrip("/") + "/"
    for host in site.lab.hosts[1:]:
        found = site.lab.run(host, ["pgrep", "-u", person, "-f", "jupyterhub-singleuser"]).stdout.split()
        for pid in found:
            text = site.lab.run(host, ["cat", f"/proc/{pid}/environ"]).stdout
            environment = dict(re.findall(r"([A-Z_a-z0-9]+)=([^\0]*)", text))
            if environment.get("JUPYTERHUB_SERVICE_PREFIX") == prefix:
                return environment["JUPYTERHUB_API_TOKEN"]
    raise AssertionError(f"no server of {person} runs")
