"""SGESpawner: JupyterHub's verbs (start, poll, stop, progress, state) in terms of one cluster's service.

Decisions live below: what may be asked in `model`, what a missing job means in `model.job`, how a job is ended
in `service`. This file knows JupyterHub's order of events and nothing of Grid Engine's words.
"""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from batchspawner import GridengineSpawner
from jupyterhub import orm
from jupyterhub.spawner import Spawner
from jupyterhub.utils import maybe_future
from sqlalchemy.orm import object_session
from traitlets import List, Unicode, default

from sgehub.errors import (
    AccountError,
    ClusterError,
    NoAnswerError,
    SgehubError,
    SiteConfigurationError,
    SubmissionRefusedError,
)
from sgehub.hub import api, compat, starting
from sgehub.hub.gate import Gate
from sgehub.hub.record import SessionRecord
from sgehub.hub.refusals import StartFailed
from sgehub.model import names
from sgehub.model.request import ResourceRequest

# batchspawner's module registers an endpoint that must not reach the hub's handlers; ours takes its address. It
# has to happen here, at import: the hub collects handlers after it has imported its spawner class, and no
# later hook exists.
api.replace_endpoint()

STOP_PATIENCE = 30.0  # seconds that a person's Stop waits for the job's end; the service goes on after that
END_ANSWER = 1.5  # seconds that a session waits for the end of its route; it tries for 5
ROUTE_LOOK = 0.05  # seconds between looks whether the hub has made the route of a session that has ended
END_GRACE = 15.0  # seconds that a job may take to end by itself after its server has ended


class SGESpawner(Gate, GridengineSpawner):  # type: ignore[misc] # batchspawner is untyped
    """Single-user servers as Grid Engine jobs."""

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
        self.exit_code: int | None = None
        self.news = asyncio.Event()
        self._submission: asyncio.Task[SessionRecord] | None = None
        compat.refuse(self.config)  # again, for a site that has not called `configure`

    # traitlets finds defaults in the class itself only, so that this cannot stand in Gate.
    @default("apply_user_options")  # type: ignore[untyped-decorator] # traitlets is untyped here
    def _apply_user_options_default(self) -> Any:
        return lambda spawner, _options: spawner.accept()

    # Start

    async def start(self) -> str:
        """Submit a job, wait until its server listens, return the server's URL.

        Raises RequestRefused and StartFailed, which carry their reason in words. When it is cancelled it
        returns at once and deletes nothing: the submission goes on, and `stop` deals with its result.
        """
        request = self.accept()
        self.record, self._submission, self.exit_code = None, None, None
        self.news.clear()
        try:
            # The hub's own time-out ends with an empty sentence, so ours comes a little earlier.
            return await asyncio.wait_for(self._begin(request), max(1.0, self.start_timeout - 1.0))
        except asyncio.TimeoutError:
            raise starting.too_late(self) from None
        except AccountError as error:
            raise StartFailed(str(error), reason="account", status_code=403) from None
        except SiteConfigurationError as error:
            self.log.error("%s", error)  # noqa: TRY400 - the sentence says it all, a traceback would hide it
            raise StartFailed(str(error), reason="site") from None
        except SubmissionRefusedError as error:
            message = f"Grid Engine refuses this request: {error}"
            raise StartFailed(message, reason="refused", status_code=400) from None
        except ClusterError as error:
            raise StartFailed(str(error), reason="cluster", status_code=503) from None

    async def _begin(self, request: ResourceRequest) -> str:
        await self._submit(request)
        return await starting.wait_for_server(self)

    async def _submit(self, request: ResourceRequest) -> None:
        service = self.service
        account = await asyncio.to_thread(_account, self.user.name)
        record = SessionRecord(
            tag=names.new_tag(),
            person=self.user.name,
            folder=starting.folder(service.policy, account),
            token_id=self._token().id,
            asked=service.clock(),
        )
        submission = starting.submission(self, request, record, account)
        self.record = record
        self.accepted = request.as_options()
        self.commit()
        self._submission = service.spawn(self._answered(record, submission))
        await asyncio.shield(self._submission)

    async def _answered(self, record: SessionRecord, submission: Any) -> SessionRecord:
        """Submit, and commit the job's number before anything else can happen."""
        service = self.service
        try:
            number = await service.engine.submit(record.person, submission)
        except NoAnswerError:
            raise  # the job may be queued all the same
        except SgehubError:
            self._forget(record)
            raise
        answered = record.answered(number, service.clock())
        if self.record is record:
            self.record = answered
            self.job_id = str(number)
            self.commit()
        self.log.info("Job %s (%s) carries the server of %s.", number, record.job_name, self._log_name)
        return answered

    def _forget(self, record: SessionRecord) -> None:
        """Forget a start of which it is certain that there is no job."""
        if self.record is record:
            self.record = None
            self.commit()

    def _token(self) -> orm.APIToken:
        return orm.APIToken.find(object_session(self.orm_spawner), self.api_token)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say where the job stands, once for every change."""
        async for event in starting.events(self):
            yield event

    # What the session reports

    def accept_port(self, port: int) -> bool:
        """Take the port that the server of this very start listens on.

        The same port again is fine; another one only for a new run of the job. Returns whether it is taken.
        """
        record = self.record
        if record is None or self.exit_code is not None:
            return False
        run = starting.run_started(self.service.find(record))
        anew = record.run_started is not None and run not in (None, record.run_started)
        if record.port not in (None, port) and not anew:
            return False
        self.record = replace(record, port=port, run_started=run or record.run_started)
        self.news.set()
        self.service.reflector.ask_soon()
        return True

    async def accept_end(self, exit_code: int) -> None:
        """Take the session's word that its server has ended: the route goes now, the job by itself."""
        if self.record is None or self.exit_code is not None:
            return
        self.exit_code = exit_code
        self.news.set()
        self.service.reflector.ask_soon()
        if self.record.port is not None:  # else no route has been made, and none will be
            # The session holds its port until we answer, but not for long.
            await asyncio.wait([self.service.spawn(self._ended(self.record))], timeout=END_ANSWER)

    async def _ended(self, record: SessionRecord) -> None:
        """Take the route away; one that the hub is about to make as soon as it is there."""
        while self.pending in {"spawn", "check"} and self._is(record):  # noqa: ASYNC110 - the hub has no event for it
            await asyncio.sleep(ROUTE_LOOK)
        if self.ready and self._is(record):
            self.service.forget(self)
            self.service.end(record, grace=END_GRACE)
            await self.poll_and_notify()

    def _is(self, record: SessionRecord) -> bool:
        """Tell whether this start is still the present one."""
        return self.record is not None and self.record.tag == record.tag

    # Poll and stop

    async def poll(self) -> int | None:
        """Return None while the job lives or nobody knows, else its exit status. Never raises."""
        record = self.record
        if record is None:
            return 0
        if self._submission is not None and not self._submission.done():
            return None
        if self.exit_code is not None and (self.ready or self.service.ending(record)):
            return self.exit_code
        await self.service.first_table()
        if await self.service.gone(record):
            return await starting.exit_status(self, record)
        return None

    async def stop(self, now: bool = False) -> None:  # noqa: FBT001, FBT002 - JupyterHub's signature
        """Delete the job, also one whose qsub is still under way, and wait for its end."""
        record = self.record
        if record is None:
            return
        self.service.forget(self)
        ending = self.service.end(record, self._submission)
        await asyncio.wait([ending], timeout=0.0 if now else STOP_PATIENCE)

    async def run_post_stop_hook(self) -> Any:
        """Revoke the token of this start, which the hub itself forgets after a restart, and remove its file.

        A job that ended before its session began has removed nothing.
        """
        record = self.record
        if record is not None:
            self.service.discard(record)
        session = object_session(self.orm_spawner)
        if record is not None and session is not None:
            token = session.get(orm.APIToken, record.token_id)
            if token is not None and record.is_token(token) and token.user is self.user.orm_user:
                session.delete(token)
                session.commit()
        return await maybe_future(super().run_post_stop_hook())

    # State

    def commit(self) -> None:
        """Write the state to the hub's database now: the hub itself does so only after `start`."""
        session = object_session(self.orm_spawner)
        if session is None:
            return  # the server was deleted meanwhile
        self.orm_spawner.state = self.get_state()
        session.commit()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore the record of the running session and the last accepted request."""
        super().load_state(state)
        self.record = SessionRecord.from_state(state.get("session"))
        accepted = state.get("accepted")
        self.accepted = accepted if isinstance(accepted, dict) else {}
        if self.record is not None:
            self.service.watch(self)

    def get_state(self) -> dict[str, Any]:
        """Return what `load_state` needs, JSON-ready."""
        state: dict[str, Any] = super().get_state()
        if self.record is not None:
            state["session"] = self.record.as_state()
        if self.accepted:
            state["accepted"] = self.accepted
        return state

    def clear_state(self) -> None:
        """Forget the session; the last accepted request stays."""
        super().clear_state()
        self.record = None
        self._submission = None

    def get_env(self) -> dict[str, str]:
        """Return the variables that the server needs; the hub's own PATH and SGE_* stay with the hub."""
        kept = [name.strip() for name in self.req_keepvars_extra.split(",")]
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment.update({key: str(value) for key, value in Spawner.get_env(self).items()})
        return environment


def _account(name: str) -> pwd.struct_passwd:
    """Look the person's account up; it may be in a directory that answers slowly."""
    try:
        return pwd.getpwnam(names.check_user(name))
    except (KeyError, ValueError):
        raise AccountError(
            f"There is no account {name!r} on this machine, so that no job can be submitted for it."
        ) from None
