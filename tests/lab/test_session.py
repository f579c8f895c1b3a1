"""The session program inside a real job: reports, clean ends, suspension, secrets, and what is left behind."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab

TOKEN = "tok-55d1-secret"
SECRET = "oauth-9ac0-secret"
SERVER = """
import os, signal, socket, sys, time
from urllib.parse import urlsplit
url = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"])
def clean(*_):
    print("ended cleanly", flush=True); sys.exit(0)
signal.signal(signal.SIGTERM, clean)
server = socket.create_server((url.hostname, url.port))
print("listening as", os.getpid(), flush=True)
while True:
    time.sleep(600)
"""
HUB = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print(json.dumps([self.path, self.headers["Authorization"], json.loads(body)]), flush=True)
        self.send_response(200); self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8099), Handler).serve_forever()
"""


class Started:
    """One job that runs a session for alice, and a hub on the head that writes down what it hears."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.tag = secrets.token_hex(6)
        self.folder = lab.root / "home/alice/.sgehub"
        self.hub = lab.popen("head", ["/usr/bin/python3", "-c", HUB], stdout=subprocess.PIPE)
        server = lab.root / "home/alice/server.py"
        server.write_text(SERVER)
        self.number = 0

    def submit(self) -> None:
        home = "/home/alice"
        launch = {
            "tag": self.tag,
            "environment": {"JUPYTERHUB_SERVICE_PREFIX": "/user/alice/", "OAUTH": SECRET},
            "command": ["/usr/bin/python3", f"{home}/server.py"],
            "ports": [30000, 30999],
            "report": {"port": "http://head:8099/port", "end": "http://head:8099/end"},
            "token": TOKEN,
            "log_limit": 100_000,
            "bind": "0.0.0.0",  # noqa: S104 - inside the lab's own network
        }
        script = f"exec /opt/sgehub/bin/python -I -m sgehub.session {home}/.sgehub/run/{self.tag}.json\n"
        request = {
            "verb": "submit",
            "deadline": 20,
            "cluster": {"bin": "/usr/lib/gridengine", "environment": {"SGE_ROOT": "/opt/sge", "SGE_CELL": "lab"}},
            "folder": f"{home}/.sgehub",
            "tag": self.tag,
            "options": [
                "-terse",
                "-S",
                "/bin/bash",
                "-wd",
                home,
                "-j",
                "y",
                "-r",
                "n",
                "-notify",
                "-o",
                f"{home}/.sgehub/log/{self.tag}.log",
                "-N",
                f"sgehub-{self.tag}",
                "-l",
                "h_rt=600",
            ],
            "script": script,
            "launch": launch,
        }
        words = ["sudo", "-n", "-H", "-u", "alice", "/opt/sgehub/bin/sgehub-as-user"]
        run = self.lab.run("head", words, user="jupyterhub", input=json.dumps(request))
        self.number = int(json.loads(run.stdout)["stdout"])

    def hear(self):
        """Return the next [path, authorization, body] that the hub hears."""
        return json.loads(self.hub.stdout.readline())

    def log(self) -> str:
        return (self.folder / "log" / f"{self.tag}.log").read_text()

    def place(self) -> str:
        """Return the execution host of the job."""
        line = self.lab.run("head", ["qstat", "-u", "alice"]).stdout.splitlines()[-1]
        return line.split("@")[1].split()[0]

    def gone(self) -> bool:
        return not self.lab.run("head", ["qstat", "-u", "alice"]).stdout

    def close(self) -> None:
        self.lab.run("head", ["qdel", "-u", "alice"])
        wait(self.gone)
        self.hub.terminate()
        self.hub.wait(10)
        self.hub.stdout.close()
        (self.lab.root / "home/alice/server.py").unlink()


def wait(condition, seconds: float = 30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture
def started(lab: Lab):
    job = Started(lab)
    yield job
    job.close()


def test_a_deleted_job_ends_cleanly_and_quickly(lab: Lab, started):
    """What -notify announces: the hub hears the end, the server ends by itself, nothing is left on the host."""
    started.submit()
    path, authorization, body = started.hear()
    assert (path, authorization) == ("/port", f"token {TOKEN}")
    assert 30000 <= body["port"] <= 30999
    host = started.place()
    assert str(body["port"]) in lab.run(host, ["ss", "-tln"]).stdout
    wait(lambda: not (started.folder / "run" / f"{started.tag}.json").exists())
    begin = time.monotonic()
    lab.run("head", ["qdel", str(started.number)], user="alice")
    path, _, body = started.hear()
    assert (path, body) == ("/end", {"exit_code": 140})
    wait(started.gone)
    assert time.monotonic() - begin < 8
    assert "ending the server because of SIGUSR2." in started.log()
    assert "ended cleanly" in started.log()
    assert lab.run(host, ["pgrep", "-u", "alice"]).stdout == ""


def test_no_secret_is_to_be_seen_by_another_person(lab: Lab, started):
    """As bob: no process list, job detail, spool file or log holds the token, while the session runs."""
    started.submit()
    started.hear()
    host = started.place()
    detail = lab.run("head", ["qstat", "-j", str(started.number)], user="bob").stdout
    look = (
        "ps -eww -o args; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline;"
        f" grep -rs -D skip -e {TOKEN[4:]} -e {SECRET[4:]} /tmp /var/spool /home /opt/sge"
    )
    seen = lab.run(host, ["sh", "-c", f"({look}) 2>/dev/null"], user="bob").stdout.replace("\0", "\n")
    lines = [line for line in seen.splitlines() if "grep -rs" not in line]
    for secret in (TOKEN, SECRET):
        assert secret not in detail
        assert secret not in "\n".join(lines)
        assert secret not in started.log()
    log = Path(started.folder / "log" / f"{started.tag}.log")
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_suspended_session_lives(lab: Lab, started):
    """SIGUSR1 announces it to every process of the job, SIGSTOP follows; resumed, it can still end cleanly."""
    started.submit()
    started.hear()
    host = started.place()

    def states() -> set[str]:
        listing = lab.run(host, ["ps", "-u", "alice", "-o", "stat=,args="]).stdout.splitlines()
        return {line[0] for line in listing if "server.py" in line}

    lab.run("head", ["qmod", "-sj", str(started.number)])
    wait(lambda: "announced a suspension" in started.log())
    wait(lambda: states() == {"T"})
    lab.run("head", ["qmod", "-usj", str(started.number)])
    wait(lambda: states() == {"S"})
    lab.run("head", ["qdel", str(started.number)], user="alice")
    assert started.hear()[2] == {"exit_code": 140}
    wait(started.gone)
    assert "ended cleanly" in started.log()
