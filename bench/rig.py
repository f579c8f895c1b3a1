"""What is measured on: one lab, both hubs on its head, and the marks that jobs and qsub leave.

Both sides submit through the same qsub, a wrapper that notes when the real one has returned, and have the same
line at the top of their job's prologue.
"""

from __future__ import annotations

import http
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

import yaml
from client import Client, MeasurementError

from sgehub.lab.cluster import Lab
from sgehub.lab.hub import BIN, LabHub
from sgehub.lab.hub import PORT as OUR_PORT
from sgehub.lab.layout import BINARIES, HEAD, HUB_ACCOUNT, HUB_UID
from sgehub.lab.process import HostProcess

CHECKOUT = Path(__file__).resolve().parents[1]
PERSON = "alice"
NODE = "node01"
FOLDER = "/opt/sge/bench"  # root's, seen by all hosts
COMMANDS = f"{FOLDER}/bin"
STOCK_PORT = 9000
STUB_PORT = 9200
TOKEN = "0123456789abcdef" * 2
MARK = ".bench-start"
PROLOGUE = f'echo "$EPOCHREALTIME" >"$HOME/{MARK}"'
# A login shell's profile resets PATH; ours has session.path for that.
STOCK_PROLOGUE = f"{PROLOGUE}; export PATH={BIN}:$PATH"
_GONE_SECONDS = 60.0
_PAUSE = 0.1
_END_SECONDS = 10.0
_LAST = 3000  # characters of a log

QSUB = f"""#!/bin/bash
{BINARIES}/qsub "$@"
status=$?
echo "$EPOCHREALTIME" >>{FOLDER}/qsub.log
exit "$status"
"""
# The default lets POST return after 10 seconds whether the server is ready or not.
BOTH = f"""
c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.JupyterHub.services = [{{"name": "bench", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers"]}}]
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 60}}
"""
STOCK_STATE = "/srv/jupyterhub/stock"
# As batchspawner's documentation has it; the script is its default with -S, without which Grid Engine's default
# shell_start_mode runs it by a shell that does not know its `set -o pipefail`.
STOCK_SCRIPT = """#!/bin/bash
#$ -S /bin/bash
#$ -j yes
#$ -N spawner-jupyterhub
#$ -o {homedir}/.jupyterhub.sge.out
#$ -e {homedir}/.jupyterhub.sge.err
#$ -v {keepvars}
#$ {options}

set -euo pipefail

{prologue}
{cmd}
{epilogue}
"""
STOCK = f"""
c = get_config()
c.JupyterHub.spawner_class = "batchspawner.GridengineSpawner"
c.BatchSpawnerBase.exec_prefix = "sudo -E -u {{username}}"
c.BatchSpawnerBase.batch_script = {STOCK_SCRIPT!r}
c.BatchSpawnerBase.req_prologue = {STOCK_PROLOGUE!r}
c.JupyterHub.bind_url = "http://0.0.0.0:{STOCK_PORT}"
c.JupyterHub.hub_bind_url = "http://{HEAD}:9081"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:9001"
c.ConfigurableHTTPProxy.command = ["{BIN}/configurable-http-proxy"]
c.ConfigurableHTTPProxy.pid_file = "{STOCK_STATE}/proxy.pid"
c.JupyterHub.db_url = "sqlite:///{STOCK_STATE}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = "{STOCK_STATE}/cookie_secret"
{BOTH}"""
STOCK_SUDOERS = f"""Defaults!{COMMANDS}/qsub,{COMMANDS}/qstat,{COMMANDS}/qdel !requiretty
{HUB_ACCOUNT} ALL = (%sgehub, !#0) NOPASSWD: SETENV: {COMMANDS}/qsub, {COMMANDS}/qstat, {COMMANDS}/qdel
"""


def _end(process: HostProcess) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):  # what is slow to end goes with the lab
        process.wait(_END_SECONDS)


class Rig:
    """A running lab with both hubs, for a `with` statement; `ours` and `stock` are their clients."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.ours = Client(lab, OUR_PORT, TOKEN)
        self.stock = Client(lab, STOCK_PORT, TOKEN)
        self._stack = ExitStack()
        self._shared = lab.root / "sge" / "bench"
        self._mark = lab.root / "home" / PERSON / MARK

    def __enter__(self) -> Rig:  # noqa: PYI034 - typing.Self came after Python 3.10
        """Bring everything up; what was begun is taken down again if that fails."""
        with self._stack:
            self._stack.callback(self.lab.down)  # first, since an interrupted `up` leaves something, too
            self.lab.up()
            self._write_commands()
            self._start_ours()
            self._start_stock()
            self._start_stub()
            for client in (self.ours, self.stock):
                client.wait_ready()
                status, body = client.call("POST", f"/users/{PERSON}")
                if status != http.HTTPStatus.CREATED:
                    raise MeasurementError(f"{PERSON} could not be made known to a hub: {status} {body}")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything down."""
        if isinstance(error, Exception):
            print(self.last_words(), file=sys.stderr)
        self._stack.close()

    def _write_commands(self) -> None:
        """Make the folder of Grid Engine's commands that all three use, and what runs inside the lab."""
        folder = self._shared / "bin"
        folder.mkdir(parents=True)
        for name in ("qstat", "qdel", "qacct"):
            (folder / name).symlink_to(f"{BINARIES}/{name}")
        (folder / "qsub").write_text(QSUB)
        (folder / "qsub").chmod(0o755)
        (self._shared / "qsub.log").touch()
        (self._shared / "qsub.log").chmod(0o666)
        for name in ("stub_hub.py", "probe.py"):
            shutil.copyfile(CHECKOUT / "bench" / name, self._shared / name)

    def _start_ours(self) -> None:
        hub = LabHub(self.lab, CHECKOUT / "config")
        site = yaml.safe_load((CHECKOUT / "config" / "site.yaml").read_text())
        site["cluster"]["commands"] = COMMANDS
        site["session"]["prologue"] = PROLOGUE
        shipped = (CHECKOUT / "config" / "jupyterhub_config.py").read_text()
        head, tail = shipped.rsplit("configure(", 1)
        hub.write_files(config=f"{head}{BOTH}\nconfigure({tail}", site=yaml.safe_dump(site, sort_keys=False))
        self._stack.callback(hub.close)
        hub.start()

    def _start_stock(self) -> None:
        sudoers = self.lab.root / "etc" / "sudoers.d" / "stock"
        sudoers.write_text(STOCK_SUDOERS)
        sudoers.chmod(0o440)
        config = self.lab.root / "etc" / "jupyterhub" / "stock_config.py"
        config.write_text(STOCK)
        state = self.lab.root / "hosts" / HEAD / "srv" / HUB_ACCOUNT / "stock"
        state.mkdir(mode=0o700)
        shutil.chown(state, HUB_UID, HUB_UID)
        argv = [f"{BIN}/jupyterhub", "-f", "/etc/jupyterhub/stock_config.py"]
        # Its commands, those of its jobs and the proxy's node are found by the PATH of the hub.
        path = f"{COMMANDS}:{BIN}:{self.lab.environment()['PATH']}"
        self._log("stock", argv, {"PATH": path})

    def _start_stub(self) -> None:
        self._log(
            "stub", [f"{BIN}/python", "-I", f"{FOLDER}/stub_hub.py", str(STUB_PORT), version("jupyterhub")], {}
        )

    def _log(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        """Start a process on the head whose output goes to a file of the lab's folder."""
        with (self.lab.root / f"{name}.log").open("w") as log:
            process = self.lab.popen(HEAD, argv, user=HUB_ACCOUNT, env=env, stdout=log, stderr=log)
        self._stack.callback(_end, process)

    def clear_marks(self) -> None:
        """Forget what the last start has left."""
        (self._shared / "qsub.log").write_text("")
        self._mark.unlink(missing_ok=True)

    def submitted(self) -> float:
        """Return when qsub returned, in seconds since 1970."""
        return float((self._shared / "qsub.log").read_text().split()[0])

    def begun(self) -> float:
        """Return when the job's script began, in seconds since 1970."""
        return float(self._mark.read_text())

    def last_words(self) -> str:
        """Return the ends of all logs, for whoever must find out why a measurement failed."""
        home = self.lab.root / "home" / PERSON
        logs = [*self.lab.root.glob("*.log"), *self.lab.root.glob(f"hosts/{HEAD}/srv/{HUB_ACCOUNT}/*.log")]
        logs += [*home.glob(".sgehub/log/*.log"), home / ".jupyterhub.sge.out"]
        return "\n".join(
            f"--- {path}\n{path.read_text(errors='replace')[-_LAST:]}" for path in logs if path.exists()
        )

    def wait_for_no_jobs(self) -> None:
        """Return when Grid Engine knows no job any more."""
        until = time.monotonic() + _GONE_SECONDS
        while self.lab.run(HEAD, ["qstat", "-u", "*"]).stdout:
            if time.monotonic() > until:
                raise MeasurementError("A job did not end.")
            time.sleep(_PAUSE)
