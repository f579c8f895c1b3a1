"""A real JupyterHub with its proxy, on loopback, for as long as a test runs."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests

CONFIG = Path(__file__).with_name("jupyterhub_config.py")
CHECKOUT = CONFIG.parents[2]


class HubProcess:
    """One hub; `url` ends in a slash and is the proxy's, `site` is the file that describes its cluster."""

    def __init__(self, folder: Path, site: Path, templates: tuple[Path, ...] = ()) -> None:
        self.folder = folder
        self.token = secrets.token_hex(16)
        public, hub, proxy = free_ports(3)
        self.url = f"http://127.0.0.1:{public}/"
        where = {
            "public": public,
            "hub": hub,
            "proxy": proxy,
            "command": proxy_command(),
            "folder": str(folder),
            "site": str(site),
            "templates": [str(one) for one in templates],
            "token": self.token,
        }
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        self._log = (folder / "hub.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "jupyterhub", "-f", str(CONFIG)],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(CHECKOUT), "SGEHUB_TEST_HUB": json.dumps(where)},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    @classmethod
    @contextmanager
    def running(cls, folder: Path, site: Path) -> Iterator[HubProcess]:
        """Run a hub that answers, and end it."""
        process = cls(folder, site)
        try:
            process.wait()
            yield process
        finally:
            process.close()

    def wait(self, seconds: float = 30) -> None:
        """Wait until the hub answers through its proxy."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise AssertionError(f"The hub has ended:\n{self.log()}")
            try:
                if requests.get(f"{self.url}hub/health", timeout=5).status_code == 200:
                    return
            except requests.ConnectionError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"The hub does not answer:\n{self.log()}")

    def log(self) -> str:
        """Return what hub and proxy have logged."""
        return (self.folder / "hub.log").read_text(errors="replace")

    def api(self, method: str, path: str, **options: object) -> requests.Response:
        """Ask the hub's REST API with an administrator's token."""
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, f"{self.url}hub/api/{path}", headers=headers, timeout=20, **options)

    def hang_up(self) -> None:
        """Send the hub SIGHUP."""
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """End the hub, which ends its proxy."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Person:
    """Somebody who is logged in, without a browser: what a form looks like on the wire."""

    def __init__(self, hub: HubProcess, name: str) -> None:
        self.hub, self.name = hub, name
        self._session = requests.Session()
        self.get("hub/login")
        answer = self.post("hub/login", {"username": name, "password": "x"})
        assert answer.status_code == 200, answer.text

    def get(self, path: str, **options: object) -> requests.Response:
        """Open a page."""
        headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document"}
        return self._session.get(self.hub.url + path, headers=headers, timeout=20, **options)

    def fetch(self, path: str, headers: dict[str, str]) -> requests.Response:
        """Ask as a script does, with these headers and the person's cookies."""
        return self._session.get(self.hub.url + path, headers=headers, timeout=20)

    def post(self, path: str, data: dict[str, str], **options: object) -> requests.Response:
        """Send a form to an address, as a page of the hub would; `files` makes it a multipart one."""
        here = [one.value for one in self._session.cookies if (one.name, one.path) == ("_xsrf", "/hub/")]
        headers = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"}
        data = {"_xsrf": str(here[0]), **data}
        return self._session.post(self.hub.url + path, data=data, headers=headers, timeout=20, **options)

    def ask(self, path: str, body: bytes, **headers: str) -> requests.Response:
        """POST to the REST API as a script of a page does, with the person's cookies; None takes a header away."""
        here = [one.value for one in self._session.cookies if (one.name, one.path) == ("_xsrf", "/hub/")]
        usual: dict[str, str] = {
            "Content-Type": "application/json",
            "X-XSRFToken": str(here[0]),
            "Sec-Fetch-Mode": "cors",
            "Sec-Fetch-Site": "same-origin",
        }
        return self._session.post(
            f"{self.hub.url}hub/api/{path}", data=body, headers={**usual, **headers}, timeout=20
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def proxy_command() -> str:
    """Return the path of configurable-http-proxy: beside this Python, or in PATH."""
    beside = Path(sys.executable).with_name("configurable-http-proxy")
    found = str(beside) if beside.exists() else shutil.which("configurable-http-proxy")
    assert found, "configurable-http-proxy is not installed: make deps"
    return found
