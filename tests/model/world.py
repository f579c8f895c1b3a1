"""The world of one history: the cluster, the database, the hub's lives, and a book of what happened.

`World` is what a history's steps act upon; it passes time, kills and starts hubs, and writes down what the laws
need to know: which starts there were, who wished their end, and why one may have ended.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

import jupyterhub
import jupyterhub.utils
from aiohttp import ClientOSError
from tornado import web

from sgehub.gridengine.client import Submission
from sgehub.hub import resuming
from sgehub.hub.refusals import StartFailed, as_failure
from tests.model import laws
from tests.model.cluster import Cluster, Host, Live
from tests.model.database import Database
from tests.model.hub import LOST_AFTER, EndReport, Hub, PortReport
from tests.model.loop import Clock
from tests.model.reaping import Reaping
from tests.model.session import Session

SERVERS: Final = ("", "two")
SILENCE: Final = 30.0  # seconds until a connection to what cannot hear is given up
NOTICED: Final = 60.0  # seconds in which a hub notices that a lost host is back; until then the job counts as lost
PATIENT: Final = 20.0  # seconds after which a hub may give a server up that never answered

_cleaned_up: Final = resuming._stop  # which the world listens to

BUSY: Final = 200_000  # callbacks in one step: more is a loop that never waits


@dataclass(eq=False)
class Start:
    """One start of one server, as the world saw it: from the moment qsub was called."""

    tag: str
    key: tuple[str, str]
    job: Live | None = None  # once qsub has taken effect
    begun: float = 0.0  # when its person pressed Start
    reasons: list[str] = field(default_factory=list)  # why it may end
    answered: bool = False  # the hub was told the job's number
    ready: bool = False  # the server was once reachable
    must_end: bool = False  # its person was told that it is stopped
    found_again: float = -NOTICED  # when its host, which was lost, came back
    silent_since: float | None = None  # since when its server does not answer the hub

    @property
    def lives(self) -> bool:
        """Whether the cluster has its job."""
        return self.job is not None and not self.job.over

    @property
    def session(self) -> Any:
        """What runs in its job."""
        return self.job.session if self.job is not None else None


class World:
    """Everything outside the hub, and the hub's present life."""

    def __init__(self, database: Database) -> None:
        self.clock = Clock()
        self.cluster = Cluster(self.clock, self)
        self.database = database
        self.routes: dict[str, dict[str, Any]] = {}
        self.starts: list[Start] = []
        self.begun: dict[tuple[str, str], float] = {}
        self.pressed: dict[tuple[str, str], float] = {}
        self.wished: set[tuple[str, str]] = set()  # servers whose person wants no job any more
        self.removing: Counter[str] = (
            Counter()
        )  # people whose removal is not answered yet: it takes later starts along
        self.unanswered: set[str] = set()  # tags whose qsub gave no answer
        self.hub: Hub | None = None
        self.reaping: Reaping | None = None
        self.orphaned = False  # whether there may be jobs that only `sgehub reap` ends
        self.fuse: int | None = None  # callbacks until the hub is killed
        self.down = 1.0  # seconds that a killed hub stays away
        self._kill = False
        self._tags = 0
        self._replies: list[Callable[[int | None], None]] = []
        self.breaches: list[str] = []
        self.answers: list[tuple[str, str, str, int | None]] = []
        self._stack = ExitStack()
        database.reset()

    def __enter__(self) -> World:  # noqa: PYI034 - typing.Self came with Python 3.11
        """Put the edges of JupyterHub (its calendar, its HTTP) into this world, and start the hub."""
        clock = self.clock

        class Calendar(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime.fromtimestamp(clock.epoch(), tz or timezone.utc)

        enter = self._stack.enter_context
        enter(mock.patch.object(jupyterhub.utils, "datetime", Calendar))
        enter(mock.patch.object(jupyterhub.utils, "fetch", self.fetch))
        enter(mock.patch.object(secrets, "token_hex", self._token_hex))
        enter(mock.patch.object(resuming, "_stop", self._resumed_in_vain))
        self.boot()
        self.pass_time(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        if self.hub is not None:
            self.hub.kill()
        if self.reaping is not None:
            self.reaping.loop.drop()
        self._stack.close()

    def _token_hex(self, size: int = 32) -> str:
        self._tags += 1
        return f"{self._tags:0{2 * size}x}"

    def broken(self, sentence: str) -> None:
        """Note that a law is broken; raised at the next look, outside the hub, which might swallow it."""
        self.breaches.append(f"[{self.clock.now:.2f}] {sentence}")

    # Time

    def pass_time(self, seconds: float) -> None:
        """Let the hub and the cluster do what is due in the next seconds."""
        until, count = self.clock.now + seconds, 0
        while True:
            if self._kill:
                self.crash()
            hub = self.hub
            if hub is not None:
                count += 1
                if count > BUSY:
                    raise laws.BrokenLaw("the hub's loop never waits")
                with hub.loop.running():
                    ran = hub.loop.run_one()
                if ran:
                    self._burn()
                    continue
            if self._reap_on() or self.cluster.happen():
                continue
            due = [self.cluster.next_time()]
            due += [other.loop.next_time() for other in (hub, self.reaping) if other is not None]
            following = min((when for when in due if when is not None), default=until)
            if following > until:
                self.clock.now = until
                return
            self.clock.now = max(self.clock.now, following)

    def _burn(self) -> None:
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                self.fuse = None
                self._kill = True

    def _reap_on(self) -> bool:
        """Let `sgehub reap` do one thing that is due; return whether there was one."""
        reaping = self.reaping
        if reaping is None:
            return False
        if reaping.over:
            reaping.loop.drop()
            self.reaping = None
            return False
        return reaping.run_one()

    # The hub's lives

    def boot(self) -> None:
        """Start the hub if it is not there."""
        if self.hub is None:
            self.hub = Hub(self, self.database)

    def kill_hub(self) -> None:
        """Have the hub killed before it does anything else."""
        self._kill = True

    def crash(self, *, orderly: bool = False) -> None:
        """End the hub; it is started again after `down` seconds."""
        self._kill, self.fuse = False, None
        hub, self.hub = self.hub, None
        if hub is None:
            return
        if orderly:
            hub.leave()
        else:
            hub.kill()
        self.removing.clear()
        replies, self._replies = self._replies, []
        for reply in replies:
            self.cluster.after(0.01, lambda reply=reply: reply(None))
        self.cluster.after(self.down, self.boot)
        laws.look(self)

    # What the cluster tells

    def submitting(self, person: str, submission: Submission) -> None:
        """Hear that the hub calls qsub."""
        environment: Any = submission.launch["environment"]
        key = (person, environment.get("JUPYTERHUB_SERVER_NAME", ""))
        start = Start(submission.tag, key, begun=self.begun.get(key, 0.0))
        if key in self.wished:
            start.reasons.append("its person stopped it")
        self.starts.append(start)

    def submitted(self, job: Live) -> None:
        """Hear that qsub has taken effect."""
        start = next(one for one in reversed(self.starts) if one.tag == job.tag)
        if start.job is not None:  # one start, two jobs
            start = replace(start, job=None)
            self.starts.append(start)
        laws.one_job_for_one_server(self, start, job)
        start.job = job

    def submit_failed(self, tag: str) -> None:
        """Hear that the hub was not told what became of a qsub."""
        self.unanswered.add(tag)

    def submit_answered(self, tag: str) -> None:
        """Hear that the hub knows the job's number."""
        for start in self.starts:
            if start.tag == tag:
                start.answered = True

    def deleting(self, person: str, job: Live) -> None:
        """Hear that the hub wants a job deleted."""
        laws.only_jobs_of_ours(self, person, job)

    def in_error(self, job: Live) -> None:
        """Hear that a job cannot start."""
        self._excuse(job, "it was in the error state")

    def run_ended(self, job: Live) -> None:
        """Hear that a job is to run again."""

    def power_lost(self, job: Live) -> None:
        """Hear that a job's host has lost power."""
        self._excuse(job, "its host has lost power")

    def host_changes(self, host: Host) -> None:
        """Hear that a host is to come back, or to go; one that was silent for long has lost its sessions."""
        for start in self.starts:
            if start.job is not None and start.job.host == host.name and self.lost(start.job):
                start.reasons.append("its host was lost")
                start.found_again = self.clock.now

    def session_refused(self, job: Live, status: int) -> None:
        """Hear that the hub has refused a session, which ends because of that."""
        start = self.start_of(job)
        if start is not None and not start.reasons:
            self.broken(f"the session of {start.key} was refused with {status} though nobody wanted its end")

    def launch_missed(self, job: Live) -> None:
        """Hear that another run of a job ends because the hub has written no launch file for it."""
        laws.another_run_gets_its_launch(self, self.start_of(job))

    def job_over(self, job: Live) -> None:
        """Hear that a job has left the cluster."""
        self._excuse(job, "its job has ended")

    def _excuse(self, job: Live, reason: str) -> None:
        start = self.start_of(job)
        if start is not None:
            start.reasons.append(reason)

    def start_of(self, job: Live) -> Start | None:
        """Return the start that a job belongs to."""
        return next((start for start in self.starts if start.job is job), None)

    def is_known(self, job: Live) -> bool:
        """Tell whether the hub knows a job by its number: until then only its name leads there."""
        start = self.start_of(job)
        spawner = self.hub.spawner(*start.key) if start is not None and self.hub is not None else None
        record = None if spawner is None else spawner.record
        return record is not None and record.number == job.number

    def lost(self, job: Live) -> bool:
        """Tell whether a job's host has been silent for so long that a new job may take its place."""
        host = self.cluster.hosts[job.host] if job.host else None
        since = host.silent_since if host else None
        return since is not None and self.clock.now - since >= LOST_AFTER

    def counts_as_lost(self, start: Start) -> bool:
        """Tell whether a start's host is lost, or has come back so lately that no hub need know."""
        return start.job is not None and (self.lost(start.job) or self.clock.now - start.found_again < NOTICED)

    # What sessions tell

    def report_port(self, session: Session, port: int, reply: Callable[[int | None], None]) -> None:
        """Post a port to the hub, if it listens; the answer is a status, None for none."""
        self._post(PortReport, session, port, reply)

    def report_end(self, session: Session, code: int) -> None:
        """Post an end to the hub, for a while."""
        self._excuse(session.job, "its server has ended")
        self._post_end(session, code, 4)

    def report_signal(self, session: Session, code: int) -> None:
        """Post an end to the hub which is that of one run only."""
        self._post_end(session, code, 0)

    def _post_end(self, session: Session, code: int, tries: int) -> None:
        def again(status: int | None) -> None:
            if status is None and tries:
                self.cluster.after(1.0, lambda: self._post_end(session, code, tries - 1))

        if session.launch is not None:
            self._post(EndReport, session, code, again)

    def _post(self, kind: Any, session: Session, value: int, reply: Callable[[int | None], None]) -> None:
        hub = self.hub
        if hub is None or not hub.listening:
            self.cluster.after(0.02, lambda: reply(None))
            return
        self._replies.append(reply)

        def then(result: Any) -> None:
            if reply in self._replies:
                self._replies.remove(reply)
                reply(status_of(result))

        hub.request(kind(hub, session, value).post(), then)

    async def fetch(self, url: str, **_: Any) -> Any:
        """Ask a server: a process that runs answers or refuses, what cannot hear stays silent."""
        await asyncio.sleep(0.02)
        start = self.serving(url)
        if start is not None:
            start.ready, start.silent_since = True, None
            return SimpleNamespace(status=200, headers={"X-JupyterHub-Version": jupyterhub.__version__})
        asked = next(
            (one for one in self.starts if one.session and url.startswith(one.session.address + "/")), None
        )
        if asked is not None:
            asked.silent_since = asked.silent_since or self.clock.now
            if asked.lives and not asked.session.awake:
                await asyncio.sleep(SILENCE)
            if not asked.ready and self.clock.now - asked.silent_since >= PATIENT:
                asked.reasons.append("its server did not answer when it started")
        raise ClientOSError(errno.ECONNREFUSED, "refused")

    def serving(self, url: str) -> Start | None:
        """Return the start whose server answers at an address."""
        for start in self.starts:
            session = start.session
            if session is not None and session.serving and session.awake and url.startswith(session.address + "/"):
                return start
        return None

    # What people do

    def start(self, person: str, server: str) -> None:
        """Press Start."""
        hub = self.hub
        if hub is None or not hub.listening:
            return
        hub.know(person)
        self.pressed[person, server] = self.clock.now
        spawner = hub.spawner(person, server)
        if spawner is None or not (spawner.pending or spawner.ready):
            self.begun[person, server] = self.clock.now
            if not self.removing[person]:
                self.wished.discard((person, server))
        hub.request(hub.start(person, server), self._answered("start", person, server))

    def stop(self, person: str, server: str, *, remove: bool = False) -> None:
        """Press Stop, or Cancel, or remove a named server."""
        hub = self.hub
        if hub is None or not hub.listening or hub.find_user(person) is None:
            return
        if self.removing[person]:  # JupyterHub itself has accidents where two of them remove the same server
            return
        wished = self._wish(person, server)
        work = hub.stop(person, server, remove=remove and bool(server))
        hub.request(work, self._answered("stop", person, server, wished))

    def remove_user(self, person: str) -> None:
        """Remove a person from the hub, as an administrator."""
        hub = self.hub
        if hub is None or not hub.listening or hub.find_user(person) is None:
            return
        wished = [start for server in SERVERS for start in self._wish(person, server)]
        self.removing[person] += 1
        answered = self._answered("remove", person, "", wished)

        def removed(result: Any) -> None:
            self.removing[person] -= 1
            answered(result)

        hub.request(hub.remove_user(person), removed)

    def reap(self) -> None:
        """Let an administrator call `sgehub reap --end`, one at a time."""
        if self.reaping is None:
            self.reaping = Reaping(self)

    def forget(self, start: Start) -> None:
        """Remove a server from the hub's database while no hub runs: its job is an orphan."""
        if self.database.forget(*start.key):
            self.orphaned = True
            for one in self.starts:
                if one.key == start.key:
                    one.reasons.append("its server was removed")

    def _wish(self, person: str, server: str) -> list[Start]:
        """Note that what lives of a server may end from now on; return it."""
        self.wished.add((person, server))
        wished = [start for start in self.starts if start.key == (person, server)]
        for start in wished:
            start.reasons.append("its person stopped it")
        return wished

    def _answered(
        self, what: str, person: str, server: str, wished: Iterable[Start] = ()
    ) -> Callable[[Any], None]:
        asked = self.clock.now

        def note(result: Any) -> None:
            status = status_of(result)
            self.answers.append((what, person, server, status))
            if isinstance(result, BaseException):
                if status == 500 and not isinstance(result, StartFailed):
                    crossed = self.pressed.get((person, server), -1.0) >= asked
                    laws.requests_are_understood(self, what, (person, server), result, crossed=crossed)
                return
            for start in wished:
                start.must_end = True

        return note

    async def _resumed_in_vain(self, spawner: Any, error: Exception, *, served: bool) -> None:
        """Hear that a session which a later hub has taken over is over, before it cleans up."""
        self.start_failed((spawner.user.name, spawner.name), as_failure(error).reason, error)
        await _cleaned_up(spawner, error, served=served)

    def start_failed(self, key: tuple[str, str], reason: str, error: Exception) -> None:
        """Hear from the spawner why a start came to nothing."""
        laws.true_reason(self, key, reason, error)


def status_of(result: Any) -> int | None:
    """Return the HTTP status of a handler's value or exception."""
    if isinstance(result, web.HTTPError):
        return result.status_code
    return 500 if isinstance(result, BaseException) else 200
