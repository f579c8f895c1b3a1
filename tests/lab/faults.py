"""Nothing is lost: what is counted after a fault, and the table of faults in the documentation.

How to write a row, in tests/lab/test_fault_*.py::

    def test_the_qmaster_is_down_for_a_minute(fault_site: FaultSite, table: Table):
        \"\"\"The rule that this row keeps, in one sentence.\"\"\"
        with scene(fault_site) as people:           # alice's session runs, bob's waits, carol's is starting
            event = fault_site.event()              # what lives now; the log is read from here on
            with fault_site.qmaster.down():
                time.sleep(60)
                saw = fault_site.says(people.queued)
            seconds = people.normal_again()         # until all three are again what they were, by API and proxy
            people.go_on()                          # the queue opens, the start goes on, all three become ready
            table.record(event, 5, "", done="…", outcome="…", saw=saw, log=[r"does not answer"],
                         seconds=seconds, limit=20)

- Fixtures (tests/lab/conftest.py): `fault_lab` (one quick lab for all, its people alice, bob, carol),
  `fault_site` (a hub on it for one test; the lab is mended after it), `make_fault_site` (the same with changes:
  `with make_fault_site(site={…}, config="…") as site`), `table`.
- A `FaultSite` is a `Site` with: `qmaster` (stop, start, hang, go_on, `with down()`, `with hung()`), `commands`
  (`with replaced("qstat", faulty.GARBAGE)`, …), `event()`, `says(person)` (the progress page's sentence now),
  `page(person)` (the home page's text), `api` (the hub without its proxy: `api("GET", "/users")`), `sessions()`,
  `our_jobs()`, `orphans()`, `restart(kill=True, …)`.
- What else breaks things is in faulty.py: `cut_off`, `power_cut` and `lab.boot`, `no_homes` (Eqw), `no_queues`,
  `small_home` and `fill`, `wrong_clock`, `copy_database` and `restore_database`, `Qmaster.count_from`,
  `change_queue(lab, "long.q", rerun="TRUE")`, `unheard_of`, `order(lab, "qmod", "-s", …)`, `until`.
- `table.record` asserts: no session that lived at `event()` is lost, but for those named in `ended` (whose end is
  the right outcome); no job of ours that nobody names, and none beside those of live sessions but in deletion;
  `seconds` within `limit`; each pattern of `log` in the log since the event, in two lines together (`lines`); no
  other line at WARNING or above but what `noise` allows; no traceback. With SGEHUB_RECORD=1 in the environment the
  rows are merged into docs/topic/faults.inc; SGEHUB_FAULT_LOG=/some/file keeps what the hubs have logged.
- A row with variants ("killed", "with the qmaster down") is recorded once for each, by the `variant`.
- `outage(120)` is 120 s when rows are recorded and 6 s else, so that the tests of every day are short; people are
  told after 5 s of silence, which `pass_time` waits for.
- For many people: `with faulty.quick_lab(name, install=install, people=60) as lab, fault_hub(lab) as site`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import sqlite3
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from sgehub.lab.cluster import Lab
from sgehub.lab.forward import Forward
from sgehub.lab.hub import HUB_PORT
from sgehub.lab.layout import HEAD
from tests.lab.fault_table import FAULTS, Row
from tests.lab.faulty import Commands, Qmaster, mend, order, restart_execds, until
from tests.lab.hub_site import Site, running_hub
from tests.lab.person import Answer, Person

EYE = "0123456789abcdef" * 2  # the token of a service that looks at all servers
CONFIG = f"""
c.JupyterHub.services = [{{"name": "eye", "api_token": "{EYE}"}}]
c.JupyterHub.load_roles = [
    {{"name": "eye", "services": ["eye"], "scopes": ["admin:users", "admin:servers", "admin:server_state"]}}
]
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0.5, "slow_stop_timeout": 3}}
"""
# The server of a session waits while its person's home holds this file: the start that is under way.
PROLOGUE = 'while [ -e "$HOME/.wait" ]; do sleep 0.1; done'
FIRST = "Server requested"  # what JupyterHub itself says first
# JupyterHub's own lines that no setting silences, and that come with every restart, Stop and Cancel.
NOISE = (
    "Stream closed while handling .*/progress",  # `FaultSite.says` hears one sentence and goes
    "init_spawners did not complete within",  # some wait: that is what they do
    "Received signal SIGTERM, initiating shutdown",
    "Interrupting spawner .*, pending spawn",
    r"User \w+ is slow to start",  # it waits; Start answers soon in these tests
    r"User \S+ server is slow to stop",  # and so does Stop
    "Event loop was unresponsive",  # a machine that plays all hosts is crowded; the benchmark measures this
)
GONE = (OSError, http.client.HTTPException, KeyError, ValueError)  # hub or proxy is away, or answers for the other
TROUBLE = re.compile(r"^\[[WEC] |^Traceback|^CRITICAL|^ERROR|^WARNING")
ACCESS = re.compile(r"^\[[IWE] \S+ \S+ JupyterHub log:\d+\]")  # the hub's own log of requests
JOB = re.compile(r"sgehub-([0-9a-f]{12})")
TAG = re.compile(r"(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])")

RECORDING = os.environ.get("SGEHUB_RECORD") == "1"
SILENT, BACK = r"Grid Engine is not answering", r"Grid Engine answers again"  # what the hub logs of an outage
HOSTS = r"Execution host \S+ does not report"  # true for up to a minute after an outage of the qmaster
TOLD_SECONDS = 15.0  # until people are told of an outage, at the latest
Server = tuple[str, str]  # the person, the server's name ("" for the default one)


def outage(seconds: float) -> float:
    """Return how long a fault shall last: as long as said if rows are recorded, else a twentieth, but 6 s."""
    return seconds if RECORDING else max(6.0, seconds / 20)


@dataclass(frozen=True)
class Session:
    """A server that the hub calls active: its start's tag, and what the API says."""

    tag: str
    ready: bool
    pending: str | None


@dataclass(frozen=True)
class FaultSite(Site):
    """A running hub whose surroundings can be broken. `direct` is the hub's own address, without the proxy."""

    direct: str
    qmaster: Qmaster
    commands: Commands

    def api(self, method: str, path: str, body: object = None) -> Answer:
        """Call the hub's REST API as somebody who may see and do everything, without the proxy."""
        return Person(self.direct, "").api(method, path, body, token=EYE)

    def sessions(self) -> dict[Server, Session]:
        """Return the servers that the hub calls active."""
        found = {}
        for user in self.api("GET", "/users").json:
            for name, model in user["servers"].items():
                record = (model.get("state") or {}).get("session") or {}
                found[user["name"], name] = Session(record.get("tag", ""), model["ready"], model["pending"])
        return found

    def number(self, person: str, server: str = "") -> int | None:
        """Return the number of the job that carries a server, None before qsub has answered."""
        model = self.api("GET", f"/users/{person}").json["servers"].get(server) or {}
        record = (model.get("state") or {}).get("session") or {}
        number: int | None = record.get("number")
        return number

    def our_jobs(self) -> dict[str, str]:
        """Return the state letters of all jobs that are sessions, by tag."""
        listing = self.lab.run(HEAD, ["qstat", "-xml", "-u", "*"]).stdout
        jobs = re.findall(r"<job_list.*?</job_list>", listing, re.DOTALL)
        return {
            tag[1]: re.sub(r".*<state>(.*?)</state>.*", r"\1", job, flags=re.DOTALL)
            for job in jobs
            if (tag := JOB.search(job))
        }

    def named(self) -> set[str]:
        """Return the tags that the hub's database knows: of servers, and of starts whose end is not confirmed."""
        uri = f"file:{self.hub.state}/jupyterhub.sqlite?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            rows: list[Any] = list(database.execute("SELECT state FROM spawners"))
            if "sgehub_starts" in tables:
                rows += list(database.execute("SELECT * FROM sgehub_starts"))
        return {tag for row in rows for cell in row for tag in TAG.findall(str(cell))}

    def orphans(self) -> set[str]:
        """Return the tags of jobs of ours that no server and no row of the ledger names."""
        return set(self.our_jobs()) - self.named()

    def says(self, person: Person, server: str = "") -> str:
        """Return the sentence that the progress page shows now."""
        request = urllib.request.Request(
            f"{person.url}/hub/api{person.server_path(server)}/progress",
            headers={"Authorization": f"token {person.token}"},
        )
        with urllib.request.urlopen(request, timeout=20) as stream:
            for line in stream:
                said = str(json.loads(line[6:])["message"]) if line.startswith(b"data: ") else FIRST
                if said != FIRST:
                    return said
        raise AssertionError("The progress page has nothing to say.")

    def listens(self, person: Person) -> bool:
        """Tell whether a server of this person listens, whatever hub and proxy know of it."""
        uid = next(one.uid for one in self.lab.layout.persons if one.name == person.name)
        nodes = [each.name for each in self.lab.status() if each.running and each.name != HEAD]
        return any(f"uid:{uid} " in self.lab.run(node, ["ss", "-Htlne"]).stdout for node in nodes)

    def page(self, person: Person, path: str = "/hub/home") -> str:
        """Return the words of a page as the person reads them, without navigation and hidden dialogs."""
        text = person.open(path).text.rpartition("</nav>")[2].partition('<div class="modal ')[0]
        text = re.sub(r"(?s)<(script|style|noscript).*?</\1>", " ", text)
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())

    def restart_execds(self) -> None:
        """Restart all execution daemons, which by themselves look for a lost qmaster for up to a minute."""
        restart_execds(self.lab, *(each.name for each in self.lab.status() if each.running and each.name != HEAD))

    def event(self) -> Event:
        """Note what lives now and where the log stands."""
        return Event(self, self.sessions(), len(self.hub.log()))

    def restart(
        self, *, kill: bool = True, away: float = 0.0, env: Mapping[str, str] | None = None, proxy: bool = True
    ) -> float:
        """End the hub, at once or in order, and start it again `away` seconds later.

        Returns when it answers (through the proxy, or directly), with the time of its start (time.monotonic).
        """
        self.hub.stop(kill=kill)
        time.sleep(away)
        begun = time.monotonic()
        self.hub.start_hub(env)
        self.hub.wait_ready(proxy=proxy)
        return begun


@dataclass
class Event:
    """What lived when a fault began, and what has been said since."""

    site: FaultSite
    before: dict[Server, Session]
    position: int

    def log(self) -> list[str]:
        """Return the hub's log since the event, without the lines about single requests."""
        return [line for line in self.site.hub.log()[self.position :].splitlines() if not ACCESS.match(line)]

    def said(self, pattern: str) -> bool:
        """Tell whether the hub has logged this since the event."""
        return any(re.search(pattern, line) for line in self.log())

    def lost(self, ended: Sequence[Server] = ()) -> list[Server]:
        """Return the sessions that lived at the event and do not any more, but for those that had to end."""
        now, jobs = self.site.sessions(), self.site.our_jobs()
        return [
            server
            for server, session in self.before.items()
            if server not in ended
            and (server not in now or now[server].tag != session.tag or session.tag not in jobs)
        ]


class Table:
    """The rows of one test run."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], Row] = {}

    def record(
        self,
        event: Event,
        number: int,
        variant: str = "",
        *,
        done: str,
        outcome: str,
        saw: str,
        log: str | Sequence[str],
        seconds: float,
        limit: float,
        ended: Sequence[Server] = (),
        lines: int = 2,
        noise: Sequence[str] = (),
    ) -> None:
        """Judge a fault that is over and keep its row; see above for what is asserted.

        `seconds` until all was normal again, at most `limit`; `noise` are patterns of JupyterHub's own lines.
        """
        assert number in FAULTS
        patterns = [log] if isinstance(log, str) else list(log)
        since = event.log()
        whole = "\n".join(since)
        print(f"\nfault {number} {variant}: {seconds:.1f} s; {saw}")
        assert "Traceback" not in whole, whole
        told = [line for line in since if any(re.search(pattern, line) for pattern in patterns)]
        for pattern in patterns:
            assert re.search(pattern, whole), f"{pattern!r} is not in the log:\n{whole}"
        assert len(told) <= lines, "too many words:\n" + "\n".join(told)
        other = [line for line in since if TROUBLE.match(line) and line not in told]
        other = [line for line in other if not any(re.search(pattern, line) for pattern in [*NOISE, *noise])]
        assert other == [], "the log says more:\n" + "\n".join(other)
        site = event.site
        lost, orphans = event.lost(ended), site.orphans()
        assert lost == [], f"lost: {lost}; now {site.sessions()}, jobs {site.our_jobs()}"
        assert orphans == set(), f"orphans: {orphans}"
        alive = {session.tag for session in site.sessions().values()}
        doubles = {tag for tag, state in site.our_jobs().items() if tag not in alive and "d" not in state}
        assert doubles == set(), f"jobs beside those of live sessions: {doubles} in {site.our_jobs()}"
        assert seconds <= limit, f"normal again after {seconds:.1f} s"
        words = tuple(re.sub(r"^\[(\w) \S+ \S+ (\S+ )?\S+:\d+\] ", "", line) for line in told)
        row = Row(number, variant, done, outcome, saw, len(lost), len(orphans), seconds, words)
        self.rows[number, variant] = row


@dataclass
class People:
    """Three sessions: alice's runs, bob's waits in the queue, carol's is starting on its host."""

    site: FaultSite
    running: Person
    queued: Person
    starting: Person

    def page(self, person: Person, server: str = "") -> int:
        """Return the status of a session's own page, fetched through the proxy."""
        path = f"/user/{person.name}/{server}/api/status" if server else f"/user/{person.name}/api/status"
        return person.open(path, redirect=False, Authorization=f"token {person.token}").status

    def state(self, person: Person, server: str = "") -> str:
        """Return "ready" (by API and proxy), "starting", "gone", or what else the API says; "?": no answer."""
        try:
            model = person.model(server)
            if model.get("ready"):
                return "ready" if self.page(person, server) == 200 else "ready without a route"
        except GONE:
            return "?"
        return {None: "gone", "spawn": "starting"}.get(model.get("pending"), str(model.get("pending")))

    def told_again(self, seconds: float = 60.0) -> float:
        """Wait until the waiting one reads of no outage, and all are what they were; return the seconds."""
        begun = time.monotonic()
        until(lambda: "not answering" not in self.site.says(self.queued), seconds, "Grid Engine answers")
        self.normal_again(seconds)
        return time.monotonic() - begun

    def normal_again(self, seconds: float = 60.0) -> float:
        """Wait until all three are what they were; return the seconds it took."""
        wanted = {self.running.name: "ready", self.queued.name: "starting", self.starting.name: "starting"}
        return self.wait_for(wanted, seconds)

    def wait_for(self, wanted: Mapping[str, str], seconds: float = 60.0) -> float:
        """Wait until these people's default servers are in these states; return the seconds it took."""
        people = [one for one in (self.running, self.queued, self.starting) if one.name in wanted]
        found: dict[str, str] = {}

        def reached() -> bool:
            found.update({one.name: self.state(one) for one in people})
            return found == dict(wanted)

        begun = time.monotonic()
        try:
            return until(reached, seconds)
        except AssertionError:
            log = "\n".join(line for line in self.site.hub.log().splitlines() if not ACCESS.match(line))[-3000:]
            raise AssertionError(f"{found} after {time.monotonic() - begun:.0f} s\n{log}") from None

    def pass_time(self, seconds: float) -> str:
        """Let an outage of Grid Engine pass, in which the running session answers.

        It lasts longer if the waiting one has not been told by then. Return what that one reads at its end.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.page(self.running) == 200
            time.sleep(0.5)
        until(lambda: "not answering" in self.site.says(self.queued), TOLD_SECONDS, "the waiting one is told")
        assert self.page(self.running) == 200
        return self.site.says(self.queued)

    def let_go(self) -> None:
        """Open the queue, and let the start go on."""
        (self.site.home(self.starting.name) / ".wait").unlink(missing_ok=True)
        order(self.site.lab, "qmod", "-e", "long.q")

    def go_on(self, seconds: float = 90.0) -> None:
        """After an outage of the qmaster: let the other two become ready, and wait until all three are."""
        self.site.restart_execds()
        self.let_go()
        self.all_ready(seconds)

    def all_ready(self, seconds: float = 60.0) -> float:
        """Wait until all three are ready by API and proxy; return the seconds it took."""
        return self.wait_for(
            dict.fromkeys((self.running.name, self.queued.name, self.starting.name), "ready"), seconds
        )


@contextmanager
def scene(site: FaultSite, names: Sequence[str] = ("alice", "bob", "carol")) -> Iterator[People]:
    """Start three sessions: one runs, one waits (long.q is closed), one is starting.

    They are not stopped at the end: `fault_hub` ends all jobs, and a Stop takes long where hosts are away.
    """
    people = People(site, *(site.person(name) for name in names))
    order(site.lab, "qmod", "-d", "long.q")
    (site.home(people.starting.name) / ".wait").touch()
    small = {"memory": "1G", "runtime": "00:30:00"}
    for person, queue in ((people.running, ""), (people.starting, ""), (people.queued, "long.q")):
        answer = person.start({**small, "queue": queue})
        assert answer.status in (201, 202), answer.text
    people.running.wait_until(ready=True)
    until(lambda: sorted(site.our_jobs().values()) == ["qw", "r", "r"], what="running, starting, waiting")
    until(lambda: all(site.number(name) for name in names), what="the hub knows their numbers")
    yield people


@contextmanager
def fault_hub(lab: Lab, *, config: str = "", site: Mapping[str, object] | None = None) -> Iterator[FaultSite]:
    """Run a hub whose surroundings can be broken; `config` and `site` are changed as in `running_hub`."""
    commands = Commands(lab)
    ours = {"session": {"prologue": PROLOGUE}, "cluster": {"commands": commands.path}}
    changes: dict[str, Any] = {**ours, **(site or {})}
    for key, values in ours.items():
        changes[key] = {**values, **changes[key]}
    with ExitStack() as stack:
        stack.callback(_clear, lab, commands)
        made = stack.enter_context(running_hub(lab, config=CONFIG + config, site=changes))
        stack.callback(mend, lab)
        stack.callback(_keep_log, made)
        forward = stack.enter_context(
            Forward(lambda: lab.namespace(HEAD, "net"), HUB_PORT, address=lab.address(HEAD))
        )
        yield FaultSite(lab, made.hub, made.url, f"http://127.0.0.1:{forward.port}", Qmaster(lab), commands)


def _keep_log(site: Site) -> None:
    """Append the hub's log to the file that SGEHUB_FAULT_LOG names, for whoever looks for a mistake."""
    if name := os.environ.get("SGEHUB_FAULT_LOG"):
        with Path(name).open("a") as file:
            file.write(f"\n{os.environ.get('PYTEST_CURRENT_TEST')}\n{site.hub.log()}")


def _clear(lab: Lab, commands: Commands) -> None:
    """Leave commands and homes as they were."""
    commands.restore()
    for home in lab.layout.homes.iterdir():
        Path(home / ".wait").unlink(missing_ok=True)
