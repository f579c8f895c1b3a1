"""JupyterHub and its proxy on the lab's head, as a real site runs them: unprivileged, each on its own.

Knows files and processes, not the hub's Python: it is started from the installed virtual environment with the
configuration that is shipped. Everything it writes is below the lab's folder.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from sgehub.lab import processes
from sgehub.lab.cluster import Lab
from sgehub.lab.errors import LabError
from sgehub.lab.layout import HEAD, HUB_ACCOUNT, HUB_UID
from sgehub.lab.process import HostProcess

BIN: Final = "/opt/sgehub/bin"
STATE: Final = "/srv/jupyterhub"
PORT: Final = 8000  # of the proxy, on the head
HUB_PORT: Final = 8081  # of the hub itself, at the head's address
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
_PROGRAM: Final = (
    "import sys; from pathlib import Path; from sgehub.hub.configure import proxy_token;"
    "print(proxy_token(Path(sys.argv[1])))"
)
_ASK: Final = "import sys, urllib.request as u; u.urlopen(sys.argv[1], timeout=5).read()"


class LabHub:
    """The hub of a lab. `config` is a folder with jupyterhub_config.py and site.yaml, as shipped."""

    def __init__(self, lab: Lab, config: Path) -> None:
        self.lab = lab
        self._config = config
        self._processes: dict[str, HostProcess] = {}

    @property
    def state(self) -> Path:
        """Return the hub's own folder, as this machine sees it."""
        return self.lab.root / "hosts" / HEAD / "srv" / HUB_ACCOUNT

    def write_files(self, *, config: str | None = None, site: str | None = None) -> None:
        """Put the configuration where a site has it; the texts replace the shipped files."""
        etc = self.lab.root / "etc"
        for folder, name, text in (("jupyterhub", "jupyterhub_config.py", config), ("sgehub", "site.yaml", site)):
            (etc / folder).mkdir(exist_ok=True)
            (etc / folder / name).write_text(text or (self._config / name).read_text())

    def start(self) -> None:
        """Start proxy and hub and return when the hub answers. Raises LabError with the end of the log."""
        self.start_proxy()
        self.start_hub()
        self.wait_ready()

    def start_proxy(self) -> None:
        """Start the proxy alone; it knows no route until the hub tells it."""
        made = self.lab.run(HEAD, [f"{BIN}/python", "-c", _PROGRAM, STATE], user=HUB_ACCOUNT)
        if made.returncode:
            raise LabError(f"The proxy's secret could not be made: {made.stderr.strip()}")
        argv = [f"{BIN}/configurable-http-proxy", "--ip", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - all of the lab's network, none of the machine's
        argv += ["--api-ip", "127.0.0.1", "--api-port", "8001", "--default-target", f"http://{HEAD}:{HUB_PORT}"]
        argv += ["--error-target", f"http://{HEAD}:{HUB_PORT}/hub/error"]
        self._start("proxy", argv, {"CONFIGPROXY_AUTH_TOKEN": made.stdout.strip()})

    def start_hub(self, env: Mapping[str, str] | None = None) -> None:
        """Start the hub alone; `env` is set for itself only, not for what makes root its account."""
        argv = ["/usr/bin/env", *(f"{name}={value}" for name, value in (env or {}).items())]
        argv += [f"{BIN}/jupyterhub", "-f", "/etc/jupyterhub/jupyterhub_config.py"]
        self._start("hub", argv, {})

    def wait_ready(self, *, proxy: bool = True) -> None:
        """Return when the hub answers, through the proxy or by itself."""
        until = time.monotonic() + READY_SECONDS
        address = f"127.0.0.1:{PORT}" if proxy else f"{HEAD}:{HUB_PORT}"
        argv = [f"{BIN}/python", "-I", "-c", _ASK, f"http://{address}/hub/health"]
        while self.lab.run(HEAD, argv, user=HUB_ACCOUNT).returncode:
            self.check()
            if time.monotonic() > until:
                raise LabError(f"The hub does not answer:\n{self.log()[-2000:]}")
            time.sleep(0.2)

    def check(self) -> None:
        """Raise LabError, with the end of its log, if hub or proxy has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise LabError(f"The {name} has ended:\n{self.log(name)[-2000:]}")

    def pid(self, name: str = "hub") -> int | None:
        """Return the process number of hub or proxy as this machine sees it, None before it has begun."""
        process = self._processes.get(name)
        inside = () if process is None else processes.children(process.pid)
        return inside[0] if inside else None

    def log(self, name: str = "hub") -> str:
        """Return the whole log of "hub" or "proxy"."""
        path = self.state / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, name: str = "hub", *, kill: bool = False) -> None:
        """End hub or proxy, in order or, with `kill`, at once."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        with suppress(TimeoutError):
            _wait(process)
            return
        process.kill()
        _wait(process)

    def close(self) -> None:
        """End both."""
        for name in ("hub", "proxy"):
            self.stop(name)

    def forget(self) -> None:
        """Remove everything that hub and proxy have kept: the next one starts as on a new machine."""
        for path in self.state.iterdir():
            if path.is_file():
                path.unlink()

    def _start(self, name: str, argv: list[str], env: Mapping[str, str]) -> None:
        path = self.state / f"{name}.log"
        with path.open("a") as log:
            shutil.chown(path, HUB_UID, HUB_UID)
            self._processes[name] = self.lab.popen(HEAD, argv, user=HUB_ACCOUNT, env=env, stdout=log, stderr=log)


def _wait(process: HostProcess) -> None:
    until = time.monotonic() + STOP_SECONDS
    while process.poll() is None:
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.05)
