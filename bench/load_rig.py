"""What the load is measured on: one simulated cluster, filled with others' jobs, one hub at a time on its head.

Sessions ask for a queue that is closed, so that they wait until it is opened. Their servers are stubs (player.py).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import counters
import yaml
from client import Client
from counters import Costs
from crowd import Crowd, wait_until
from rig import CHECKOUT, FOLDER, STOCK_SCRIPT, TOKEN

from sgehub.lab import simulation
from sgehub.lab.cluster import Lab
from sgehub.lab.hub import BIN, PORT, STATE, LabHub
from sgehub.lab.layout import BINARIES, HEAD, HUB_ACCOUNT, HUB_UID, people_named
from sgehub.lab.process import HostProcess

HOSTS, OTHERS, PEOPLE, EACH = 1000, 20, 200, 10  # 2,000 sessions: ten of each of 200 people
QUEUE = "short.q"
STUB_PORT = 20000
PROBE = f"{STATE}/probe"
COUNTED = f"{FOLDER}/counted"
CALLS = f"{FOLDER}/calls"
# A person's start returns at once; the hub itself would make it wait for 10 s. JupyterHub's own look at
# everybody's activity, every five minutes, takes 5 CPU-seconds with 2,000 sessions, whatever the spawner: it would
# hit one window or the other.
BOTH = f"""
import sys
sys.path.insert(0, "{FOLDER}")
import hub_probe
hub_probe.watch(c, "{PROBE}")
c.JupyterHub.allow_named_servers = True
c.JupyterHub.services = [{{"name": "bench", "api_token": "{TOKEN}"}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"], "scopes": ["admin:users", "admin:servers"]}}]
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
c.Spawner.start_timeout = 36000
c.JupyterHub.last_activity_interval = 86400
"""
# Files, network, restarts and limits of the hub as ours has them; the proxy's keeper is JupyterHub's own.
OTHERS_HUB = f"""
from pathlib import Path
from sgehub.hub import configure
c = get_config()
configure.update_restart(c)
configure.update_files(c, Path("{STATE}"))
configure.update_network(c, "{HEAD}")
configure.update_proxy(c, Path("{STATE}"))
c.JupyterHub.proxy_class = "jupyterhub.proxy.ConfigurableHTTPProxy"
{BOTH}"""
PLAIN = f"""{OTHERS_HUB}
c.JupyterHub.spawner_class = hub_probe.PlainSpawner
c.PlainSpawner.stub_url = "http://{HEAD}:{STUB_PORT}"
"""
STOCK = f"""{OTHERS_HUB}
c.JupyterHub.spawner_class = "batchspawner.GridengineSpawner"
c.BatchSpawnerBase.exec_prefix = "sudo -E -u {{username}}"
c.BatchSpawnerBase.batch_script = {STOCK_SCRIPT!r}
c.BatchSpawnerBase.req_options = "-q {QUEUE}"
"""
STOCK_SUDOERS = f"""Defaults!{BINARIES}/qsub,{BINARIES}/qstat,{BINARIES}/qdel !requiretty
{HUB_ACCOUNT} ALL = (%sgehub, !#0) NOPASSWD: SETENV: {BINARIES}/qsub, {BINARIES}/qstat, {BINARIES}/qdel
"""
LOOKS = 5  # at the memory, a second apart
_LAST = 3000  # characters of a log
COUNTING = """#!/bin/sh
echo {name} >>{calls}
exec {real} "$@"
"""


class LoadRig:
    """A simulated cluster for a `with` statement; `hub` runs one hub of a kind on it."""

    def __init__(self, lab: Lab, say: Any) -> None:
        self.lab = lab
        self.say = say
        self._stack = ExitStack()
        self._shared = lab.root / "sge" / "bench"
        names = people_named(OTHERS + PEOPLE)
        self.others, self.people = names[:OTHERS], names[OTHERS:]
        self.qmaster = 0

    def __enter__(self) -> LoadRig:  # noqa: PYI034 - typing.Self came after Python 3.10
        """Bring the cluster up, its queue closed and nobody's job on it."""
        with self._stack:
            self._stack.callback(self.lab.down)  # first, since an interrupted `up` leaves something, too
            self.lab.up()
            self._write_files()
            self.close_queue()
            self.qmaster = counters.qmaster_of(self.lab)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything down."""
        self._stack.close()

    @property
    def _state(self) -> Path:
        return self.lab.root / "hosts" / HEAD / "srv" / HUB_ACCOUNT

    def _write_files(self) -> None:
        (self._shared / "counted").mkdir(parents=True)
        for name in ("player.py", "hub_probe.py"):
            shutil.copyfile(CHECKOUT / "bench" / name, self._shared / name)
        for name in ("qsub", "qstat", "qdel", "qacct", "qhost", "qconf"):
            path = self._shared / "counted" / name
            path.write_text(COUNTING.format(name=name, calls=CALLS, real=f"{BINARIES}/{name}"))
            path.chmod(0o755)
        self.forget_calls()
        sudoers = self.lab.root / "etc" / "sudoers.d" / "stock"
        sudoers.write_text(STOCK_SUDOERS)
        sudoers.chmod(0o440)

    def forget_calls(self) -> None:
        """Begin to count the calls of Grid Engine's commands anew."""
        path = self._shared / "calls"
        path.write_text("")
        path.chmod(0o666)

    def calls(self) -> list[str]:
        """Return which commands were called, by a hub that is `counted`."""
        return (self._shared / "calls").read_text().split()

    def fill(self, running: int, waiting: int) -> None:
        """Fill the cluster with others' jobs, and wait until all that are to run do."""
        simulation.fill(self.lab, self.others, running=running, waiting=waiting)
        wait_until(lambda: self.running() >= running, "the others' jobs run", 180.0, 3.0)

    def running(self) -> int:
        """Return how many jobs run."""
        return sum(1 for line in self._qstat("*", "-s", "r") if line.split()[4] == "r")

    def waiting(self) -> list[int]:
        """Return the numbers of the sessions' jobs that wait."""
        return [int(line.split()[0]) for line in self._qstat(",".join(self.people), "-s", "p")]

    def _qstat(self, owners: str, *arguments: str) -> list[str]:
        return self.lab.run(HEAD, ["qstat", "-u", owners, *arguments]).stdout.splitlines()[2:]

    def close_queue(self) -> None:
        """Let no job begin in the sessions' queue."""
        self.lab.run(HEAD, ["qmod", "-d", QUEUE])

    def open_queue(self) -> None:
        """Let the sessions' jobs begin, and run for ever."""
        simulation.prolong(self.lab, self.waiting())
        self.lab.run(HEAD, ["qmod", "-e", QUEUE])

    def delete_sessions(self) -> None:
        """Delete all jobs of the people."""
        self.lab.run(HEAD, ["qdel", "-u", ",".join(self.people)], timeout=300)
        wait_until(lambda: not self._qstat(",".join(self.people)), "the sessions' jobs are gone", 300.0, 3.0)

    @contextmanager
    def hub(
        self, kind: str, *, counted: bool = False, config: str = "", site: Mapping[str, Any] | None = None
    ) -> Iterator[HubUnderTest]:
        """Run a hub: "ours", "stock", "plain". Its own folder is new; nothing of it is left afterwards.

        `config` are further lines of its configuration, `site` further keys of our site's file.
        """
        hub = LabHub(self.lab, CHECKOUT / "config")
        probe = self._state / "probe"
        probe.mkdir()
        shutil.chown(probe, HUB_UID, HUB_UID)
        hub.write_files(**_files(kind, counted=counted, config=config, site=site or {}))
        env = {"PATH": f"{BINARIES}:{BIN}:{self.lab.environment()['PATH']}"}
        try:
            hub.start_proxy()
            under_test = HubUnderTest(self, hub, probe, env)
            under_test.start()
            under_test.crowd.enter()
            yield under_test
        except Exception:
            for log in self._state.glob("*.log"):
                print(f"--- {log.name}\n{log.read_text(errors='replace')[-_LAST:]}", file=sys.stderr)
            raise
        finally:
            hub.close()
            hub.forget()
            shutil.rmtree(probe, ignore_errors=True)

    @contextmanager
    def player(self) -> Iterator[Player]:
        """Run the process that plays the sessions."""
        argv = [f"{BIN}/python", "-I", f"{FOLDER}/player.py", str(STUB_PORT), version("jupyterhub")]
        argv.append(",".join(self.people))
        with (self.lab.root / "player.log").open("w") as log:
            process = self.lab.popen(HEAD, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        try:
            yield Player(process)
        finally:
            process.kill()
            process.wait()


def _files(kind: str, *, counted: bool, config: str, site: Mapping[str, Any]) -> dict[str, str]:
    text = yaml.safe_load((CHECKOUT / "config" / "site.yaml").read_text()) | site
    text["cluster"]["commands"] = COUNTED if counted else BINARIES
    shipped = (CHECKOUT / "config" / "jupyterhub_config.py").read_text()
    head, tail = shipped.rsplit("configure(", 1)
    texts = {"ours": f"{head}{BOTH}\n{config}\nconfigure({tail}", "stock": STOCK + config, "plain": PLAIN + config}
    return {"config": texts[kind], "site": yaml.safe_dump(text, sort_keys=False)}


class Player:
    """The process that plays the sessions, seen from here."""

    def __init__(self, process: HostProcess) -> None:
        self._process = process

    def order(self, text: str) -> None:
        """Give an order and wait until it is obeyed."""
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("The player has no pipes.")
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        if not self._process.stdout.readline():
            raise OSError("The player has ended.")


class HubUnderTest:
    """A running hub: its client, its crowd, and what can be read of it."""

    def __init__(self, rig: LoadRig, hub: LabHub, probe: Path, env: dict[str, str]) -> None:
        self.rig = rig
        self._hub = hub
        self._probe = probe
        self._env = env
        self.crowd = Crowd(Client(rig.lab, PORT, TOKEN), rig.people, EACH)
        self.pid = 0

    def start(self) -> None:
        """Start the hub's process and return when it answers."""
        self.begin()
        self.crowd.client.wait_ready()

    def begin(self) -> None:
        """Start the hub's process."""
        self._hub.start_hub(self._env)
        wait_until(lambda: self._hub.pid() is not None, "the hub begins", 10.0, 0.01)
        self.pid = self._hub.pid() or 0

    def kill(self) -> None:
        """End the hub as a power cut would."""
        self._hub.stop(kill=True)

    def memory(self) -> int:
        """Return the bytes that the hub holds when it has given back what it has freed: the least of some looks.

        While it reads a list of jobs it holds that, too, for half a second: 10 MB with thousands of jobs.
        """
        found = []
        for _ in range(LOOKS):
            self._tell("tidy")
            found.append(counters.memory(self.pid))
        return min(found)

    def go(self) -> None:
        """Let the sessions of a plain hub run."""
        self._tell("go")

    def lag(self, seconds: float) -> dict[str, Any]:
        """Measure the event loop for so long: seconds late, longest callback."""
        found: dict[str, Any] = json.loads(self._probed("lag", "lag.json", seconds))
        return found

    @contextmanager
    def late(self) -> Iterator[dict[str, Any]]:
        """Measure the event loop inside the `with` statement; what is yielded is filled after it."""
        found: dict[str, Any] = {}
        self._tell("lag-on")
        yield found
        self._tell("lag-off")
        found.update(json.loads(self._answer("lag.json")))

    @contextmanager
    def profiled(self) -> Iterator[list[str]]:
        """Profile the hub inside the `with` statement; what is yielded holds the text after it."""
        found: list[str] = []
        self._tell("profile-on")
        yield found
        self._tell("profile-off")
        found.append(self._answer("profile.txt"))

    def profile(self, seconds: float) -> str:
        """Return where the hub's time goes, by cProfile."""
        return self._probed("profile", "profile.txt", seconds)

    @contextmanager
    def growth(self, to: Path) -> Iterator[None]:
        """Write what is allocated inside the `with` statement and still there after it, by source line."""
        self._tell("memory-on")
        yield
        self._tell("memory-off")
        to.write_text(self._answer("memory.txt"))

    def collections(self) -> dict[str, Any]:
        """Return the CPU seconds that full garbage collections take."""
        self._tell("collect")
        found: dict[str, Any] = json.loads(self._answer("collect.json"))
        return found

    def _probed(self, what: str, name: str, seconds: float) -> str:
        self._tell(f"{what}-on")
        time.sleep(seconds)
        self._tell(f"{what}-off")
        return self._answer(name)

    def _answer(self, name: str) -> str:
        answer = self._probe / name
        wait_until(answer.exists, "the probe answers", 120.0, 0.2)
        text = answer.read_text()
        answer.unlink()
        return text

    def _tell(self, order: str) -> None:
        path = self._probe / order
        path.touch()
        wait_until(lambda: not path.exists(), f"the probe obeys {order}", 120.0, 0.2)
        time.sleep(1.0)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the hub for a while: what the cluster costs by itself, with the same jobs, is measured then."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    def costs(self, seconds: float) -> Costs:
        """Measure hub, children and qmaster for so long, above the same cluster without a hub."""
        with_hub = self._window(seconds)
        with self.frozen():
            time.sleep(2.0)
            return with_hub.above(self._window(seconds))

    def _window(self, seconds: float) -> Costs:
        before = counters.read(self.rig.lab, self.pid, self.rig.qmaster)
        time.sleep(seconds)
        return counters.between(before, counters.read(self.rig.lab, self.pid, self.rig.qmaster))
