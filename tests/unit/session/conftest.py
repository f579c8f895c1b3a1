"""A stub hub, a stub server and a session as the process it is in a job."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
EVERYWHERE = "0.0.0.0"  # noqa: S104 - what sessions bind, on ports nobody else uses
TOKEN, COOKIE = "tok-3f9a1c-secret", "oauth-77b2-secret"
AGAIN = {"RESTARTED": "1"}  # what Grid Engine tells a run that is not the first; qsub(1)

# What stands in the place of jupyterhub-singleuser. The first word says how it behaves.
SERVER = """
import os, signal, socket, subprocess, sys, time
from urllib.parse import urlsplit
how, *rest = sys.argv[1:]
url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
def note(name, text):
    with open(os.path.join(os.environ["NOTES"], name), "a") as file:
        file.write(text + "\\n")
def listen(host="", port=0):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host or url.hostname, port or url.port))
    except OSError:
        print("port in use", flush=True); sys.exit(3)
    server.listen()
    return server
def clean(number, frame):
    note("clean", str(number)); sys.exit(0)
signal.signal(signal.SIGTERM, clean)
note("pid", str(os.getpid())); note("port", str(url.port)); note("path", url.path)
if how == "slow":
    time.sleep(float(rest[0]))
if how == "die":
    print("last words", flush=True); sys.exit(int(rest[0]))
if how == "signal":
    os.kill(os.getpid(), int(rest[0]))
if how == "wrapper":
    sys.exit(subprocess.call([sys.executable, __file__, "listen"]))
if how == "loopback":
    server = listen("127.0.0.1"); time.sleep(600)
if how == "other":
    server = listen(port=url.port + 1); time.sleep(600)
if how == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if how == "chatty":
    for number in range(int(rest[0])):
        print("line %07d" % number, flush=number % 1000 == 0)
server = listen()
if how == "later":
    time.sleep(float(rest[0])); sys.exit(int(rest[1]))
print("listening", flush=True)
while True:
    time.sleep(600)
"""

# A session whose person has no threads left on its host for "log", "report" or "end".
CROWDED = """
import sys, threading
real = threading.Thread.start
def start(self):
    if (self.name if self.name in ("log", "report") else "end") in {!r}:
        raise RuntimeError("can't start new thread")
    return real(self)
threading.Thread.start = start
from sgehub.session import main
sys.exit(main.main())
"""
QUICK = "import sys; from sgehub.session import main; main.{} = 1.0; sys.exit(main.main())"


class Hub:
    """Records what is posted; answers with the next of `answers` of the path, the last one for ever."""

    def __init__(self) -> None:
        self.answers: dict[str, list[int | None]] = {"/port": [200], "/line": [200], "/end": [200]}
        self.lines: list[socket.socket] = []
        self.lost: list[float] = []  # when lines were closed by the session
        self.short = False  # lines break at once
        self.posts: list[tuple[str, str, dict[str, int]]] = []
        self.times: list[float] = []
        self.observe = lambda _: None
        hub = self
        self._asleep = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hub.observe(self.path)
                hub.times.append(time.monotonic())
                hub.posts.append((self.path, self.headers["Authorization"], body))
                answers = hub.answers[self.path]
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
                if answer is None:  # hangs
                    hub._asleep.wait(30)
                    return
                self.send_response(answer)
                if self.path == "/line" and answer == 200:
                    self.end_headers()
                    self.keep_open()
                else:
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def keep_open(self):
                if hub.short:
                    return
                hub.lines.append(self.connection)
                with suppress(OSError):
                    self.connection.recv(1)
                if self.connection in hub.lines:
                    hub.lines.remove(self.connection)
                    hub.lost.append(time.monotonic())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}{path}"

    def bodies(self, path: str) -> list[dict[str, int]]:
        return [body for where, _, body in self.posts if where == path]

    def hang_up(self) -> None:
        """Close all lines, as a hub does that ends."""
        for line in list(self.lines):
            self.lines.remove(line)
            line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._asleep.set()
        self.hang_up()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def free_ports(count: int) -> tuple[int, int]:
    """Return a range of ports that nobody holds now, below the ephemeral ones."""
    for low in range(20000 + os.getpid() % 5000, 32000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for offset, probe in enumerate(sockets):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((EVERYWHERE, low + offset))
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
        return low, low + count - 1
    raise AssertionError("no free ports")


def holder(port: int) -> socket.socket:
    """Listen on a port, as a process that is not the session's."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((EVERYWHERE, port))
    held.listen()
    return held


class Job:
    """A session as Grid Engine runs it: launch file as argument, output appended to a 0600 file."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.folder = folder
        self.hub = hub
        self.line = False  # whether the hub keeps lines
        self.launch = folder / "0123456789ab.json"
        self.log = folder / "job.log"
        self.script = folder / "server.py"
        self.script.write_text(SERVER)
        self.ports = free_ports(8)
        self.process: subprocess.Popen[bytes] | None = None

    def data(self, *how: str, **fields):
        """Return a good launch file for a server that behaves like `how`."""
        return {
            "tag": "0123456789ab",
            "environment": {"JUPYTERHUB_SERVICE_PREFIX": "/user/alice/lab/", "JUPYTERHUB_OAUTH": COOKIE},
            "command": [sys.executable, "-I", "-S", str(self.script), *how],
            "ports": list(self.ports),
            "report": {name: self.hub.url(f"/{name}") for name in ("port", "end", *(["line"] * self.line))},
            "token": TOKEN,
            "log_limit": 1 << 20,
            "bind": EVERYWHERE,
        } | fields

    def write(self, *how: str, mode: int = 0o600, **fields) -> None:
        """Write the launch file in one step."""
        draft = self.folder / "draft"
        draft.touch(mode=mode)
        draft.write_text(json.dumps(self.data(*how, **fields)))
        draft.rename(self.launch)

    def start(self, *how: str, environment=(), quick="", crowded=(), **fields) -> subprocess.Popen[bytes]:
        """Start the session; without words there is no launch file.

        `quick` names a time-out to be a second, `crowded` the threads that cannot be started.
        """
        if how or fields:
            self.write(*how, **fields)
        outer = {
            "PATH": os.environ["PATH"],
            "NOTES": str(self.folder),
            "PYTHONPATH": str(ROOT),
            **dict(environment),
        }
        with os.fdopen(os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb") as out:
            code = QUICK.format(quick) if quick else CROWDED.format(crowded) if crowded else ""
            program = ["-c", code] if code else ["-m", "sgehub.session"]
            self.process = subprocess.Popen(
                [sys.executable, *program, str(self.launch)], stdout=out, stderr=out, env=outer
            )
        return self.process

    def end(self, seconds: float = 30) -> int:
        """Wait for the session's end; return its exit code."""
        return self.process.wait(seconds)

    def run(self, *how: str, **fields) -> int:
        self.start(*how, **fields)
        return self.end()

    def notes(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().split() if path.exists() else []

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            family = psutil.Process(self.process.pid).children(recursive=True)  # server and guard
            for one in [*family, self.process]:
                with suppress(psutil.NoSuchProcess, ProcessLookupError):
                    one.kill()
            psutil.wait_procs(family, 5)
            self.process.wait()
        for pid in self.notes("pid"):
            if alive(pid):
                os.kill(int(pid), signal.SIGKILL)


def until(condition, seconds: float = 10):
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def alive(pid: str) -> bool:
    """Tell whether a process runs (and is no zombie)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def hub():
    stub = Hub()
    yield stub
    stub.close()


@pytest.fixture
def job(tmp_path, hub):
    session = Job(tmp_path, hub)
    yield session
    session.close()
