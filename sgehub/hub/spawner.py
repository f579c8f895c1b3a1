"""SGESpawner: JupyterHub's verbs (start, poll, stop, progress, state) in terms of one cluster's service.

Decisions live below: what may be asked in `model`, what a missing job means in `model.job`, how a job is ended
in `service`. This file knows JupyterHub's order of events and nothing of Grid Engine's words.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import timezone
from functools import partial
from typing import Any

from batchspawner import GridengineSpawner
from jupyterhub import orm
from jupyterhub.spawner import Spawner
from jupyterhub.utils import maybe_future, utcnow
from sqlalchemy.orm import object_session
from traitlets import List, Unicode, default, observe

from sgehub.errors import NoAnswerError, SgehubError
from sgehub.gridengine.client import Submission
from sgehub.hub import api, cancellation, compat, deletion, reaching, resuming, starting, telling
from sgehub.hub.following import STOPPED
from sgehub.hub.ledger import LedgerError
from sgehub.hub.people import account_of
from sgehub.hub.record import SessionRecord
from sgehub.hub.refusals import StartFailed, as_failure
from sgehub.hub.reports import Reports
from sgehub.model import names
from sgehub.model.job import Phase
from sgehub.model.jobspec import memory_limit
from sgehub.model.request import ResourceRequest

# batchspawner's module registers an endpoint that must not reach the hub's handlers, so ours takes its address;
# and JupyterHub's own way to delete people leaves jobs behind. It has to happen here, at import: the hub collects
# handlers after it has imported its spawner class, and no later hook exists.
api.replace_endpoint()
deletion.replace_handler()
cancellation.replace_handler()

STOP_PATIENCE = 30.0  # seconds that a person's Stop waits for the job's end; the service goes on after that
# The hub's own limit for a start is only there to be longer than ours, which know why they end a start.
BEYOND_ALL = 30 * 86400


class SGESpawner(Reports, GridengineSpawner):  # type: ignore[misc] # batchspawner is untyped
    """Single-user servers as Grid Engine jobs."""

    startup_timeout: float  # seconds that a server may take from the start of its job
    start_timeout: Any  # a trait of JupyterHub's

    site = Unicode(
        "/etc/sgehub/site.yaml", help="The site's file: cluster, queues and their limits, how sessions run."
    ).tag(config=True)

    env_keep = List(
        ["LANG", "LC_ALL"],
        help="Variables of the hub's own environment that sessions get; PATH is the job's business.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.record: SessionRecord | None = None
        self.accepted: dict[str, Any] = {}
        self.ended: dict[str, Any] | None = None
        self.exit_code: int | None = None
        self.heard = False  # whether the session itself has spoken to this hub, which proves that it lives
        self.came, self.reported = 0.0, 0.0
        self.news = asyncio.Event()
        self._take_start_timeout()
        self._submission: asyncio.Task[SessionRecord] | None = None
        self._line: Callable[[], None] | None = None
        self.last_phase: Phase | None = None
        self._gone = ""
        self._looking = asyncio.Lock()
        self._doubted: float | None = None  # since when another port than before is reported
        compat.refuse(self.config)  # again, for a site that has not called `configure`

    @observe("start_timeout")  # type: ignore[untyped-decorator] # traitlets is untyped here
    def _take_start_timeout(self, _change: Any = None) -> None:
        """Apply a limit that the site sets, by configuration or in a hook, to the time after the queue alone."""
        if self.start_timeout != BEYOND_ALL:
            self.startup_timeout, self.start_timeout = self.start_timeout, BEYOND_ALL

    # traitlets finds defaults in the class itself only, so that this cannot stand in Gate.
    @default("apply_user_options")  # type: ignore[untyped-decorator] # traitlets is untyped here
    def _apply_user_options_default(self) -> Any:
        return lambda spawner, _options: spawner.once_known(spawner.accept)

    # Start

    async def start(self) -> str:
        """Submit a job, wait until its server listens, return the server's URL.

        Raises RequestRefused and StartFailed, which carry their reason in words. When it is cancelled it
        returns at once and deletes nothing: the submission goes on, and `stop` deals with its result.
        """
        await self.service.people.learn(self.user.name)
        request = self.accept()
        self.record, self._submission, self.exit_code, self.heard = None, None, None, False
        self.last_phase, self._doubted, self.came = None, None, 0.0
        try:
            await self.service.ends.cleared(self.user.name, self.name)
            await self._submit(request)
            url = await reaching.reachable(self)
        except (SgehubError, StartFailed) as error:
            failed = as_failure(error)
            self.note_end(failed.jupyterhub_message.partition("\n")[0])
            self.service.metrics.start_ended(failed.reason)
            self.log.error("%s did not start: %s", starting.words(self), failed.why)  # noqa: TRY400 - the sentence says it all
            raise failed from None
        self.service.metrics.start_ended("ready")
        self.note_ready()
        return url

    async def _submit(self, request: ResourceRequest) -> None:
        service = self.service
        account = await asyncio.to_thread(account_of, self.user.name)
        # Again: while this start waited, the site's file may have changed, or another server of theirs begun.
        request = self._judge(request.as_options())
        self.refuse_one_more()
        token = self._token()
        record = SessionRecord(
            tag=names.new_tag(),
            person=self.user.name,
            folder=starting.folder(service.policy, account),
            token_id=token.id,
            asked=service.clock(),
            token_made=token.created.replace(tzinfo=timezone.utc).timestamp(),
            patience=starting.patience(self.policy, request),
            runtime=request.runtime.seconds,
            memory=memory_limit(request, self.policy).bytes,
        )
        self.accepted = request.as_options()
        submission = starting.submission(self, request, record, account)
        self.record = record
        try:
            # Commits the state, too; without them nothing may be submitted.
            service.ledger.begin(record, self.name, partial(self.keep_state, record))
        except LedgerError:
            self.record = None
            raise
        self._submission = service.spawn(self._answered(record, submission))
        await asyncio.shield(self._submission)

    async def _answered(self, record: SessionRecord, submission: Submission) -> SessionRecord:
        """Submit, and commit the job's number before anything else can happen."""
        service = self.service
        try:
            number = await service.engine.submit(record.person, submission)
        except NoAnswerError as error:
            # The job may be queued all the same: its name, which nobody else has, settles that.
            self.log.warning("Nobody knows whether %s was submitted (%s); looking for it.", record.job_name, error)
            healed = await service.ends.number(record, service.clock())
            if healed is None or healed.number is None:
                self._forget(record)
                service.spawn(service.discard(record))  # kept for a job that might have come
                raise NoAnswerError(f"No job was submitted, you can start again. {error}") from None
            number = healed.number
        except SgehubError:
            self._forget(record)
            raise
        answered = self.current(record).answered(number, service.clock())
        self.take(record, answered)
        self.log.info("Job %s (%s) carries the server of %s.", number, record.job_name, self._log_name)
        return answered

    def _forget(self, record: SessionRecord) -> None:
        """Forget a start of which it is certain that there is no job."""
        self.service.ledger.close(record.tag)
        if self.is_present(record):
            self.record = None
            self.commit()

    def _token(self) -> orm.APIToken:
        return orm.APIToken.find(object_session(self.orm_spawner), self.api_token)

    def note_ready(self) -> None:
        """Begin to count the session's time: what it waited in the queue is not time used."""
        now = utcnow(with_tz=False)
        self.orm_spawner.started = self.orm_spawner.last_activity = now
        self.user.last_activity = now
        self.ended = None
        self.commit()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say where the job stands, once for every change."""
        async for event in telling.events(self):
            yield event

    @property
    def says(self) -> str:
        """One sentence about where the session stands."""
        return telling.describe(self)[1]

    async def get_url(self) -> str:
        """Return the URL of a server that a hub before this one has started, once that is certain.

        Where it takes longer (the job is queued, its host or Grid Engine is silent) the server is starting again
        for everybody, and this never returns: see `resuming`.
        """
        return await resuming.url(self)

    # Poll and stop

    async def poll(self) -> int | None:
        """Return None while the job lives or nobody knows, else its exit status. Never raises."""
        return 0 if self.record is None else await self.exit_status(self.record)

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """Delete the job, also one whose qsub is still under way, and wait for its end."""
        record = self.record
        if record is None:
            return
        self.service.watch.drop(self)
        ending = self.service.ends.end(record, self.name, STOPPED, submission=self._submission)
        if self.ended is None:  # else it has been counted already
            self.service.metrics.session_ended("stopped")
        await asyncio.wait([ending], timeout=0.0 if now else STOP_PATIENCE)

    async def run_post_stop_hook(self) -> Any:
        """Revoke the token of this start, which the hub itself forgets after a restart, and remove its file.

        A job that ended before its session began has removed nothing.
        """
        record = self.record
        self.hang_up()
        self.service.watch.drop(self)
        if record is not None:
            if not self.service.ends.has(record.tag):  # else that forgets the start when its job is gone
                self._let_go(record)
            self._revoke(record)
        return await maybe_future(super().run_post_stop_hook())

    def _let_go(self, record: SessionRecord) -> None:
        """Forget a start whose job is gone. A hub that ends cancels the stop before it has called `stop`."""
        if self._gone == record.tag:
            self.service.ledger.close(record.tag)
            self.service.spawn(self.service.discard(record))
        elif self.service.ledger.find(record.tag) is not None:
            self.service.ends.end(record, self.name, STOPPED, submission=self._submission)

    def _revoke(self, record: SessionRecord) -> None:
        session = object_session(self.orm_spawner)
        if session is not None:
            token = session.get(orm.APIToken, record.token_id)
            if token is not None and record.is_token(token) and token.user is self.user.orm_user:
                session.delete(token)
                session.commit()

    # State

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the record of the running session, the last accepted request, and how the last session ended."""
        super().load_state(state)
        self.record = SessionRecord.from_state(state.get("session"))
        accepted, ended = state.get("accepted"), state.get("ended")
        self.accepted = accepted if isinstance(accepted, dict) else {}
        self.ended = ended if isinstance(ended, dict) else None

    def get_state(self) -> dict[str, Any]:
        """Return what `load_state` needs, JSON-ready."""
        state: dict[str, Any] = super().get_state()
        if self.record is not None:
            state["session"] = self.record.as_state()
        if self.accepted:
            state["accepted"] = self.accepted
        if self.ended is not None:
            state["ended"] = self.ended
        return state

    def clear_state(self) -> None:
        """Forget the session; the last accepted request stays, and how the session ended."""
        super().clear_state()
        self.record = None
        self._submission = None

    def get_env(self) -> dict[str, str]:
        """Return the variables that the server needs; the hub's own PATH and SGE_* stay with the hub."""
        kept = [name.strip() for name in self.req_keepvars_extra.split(",")]
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment.update({key: str(value) for key, value in Spawner.get_env(self).items()})
        return environment
