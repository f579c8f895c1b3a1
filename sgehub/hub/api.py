"""What sessions may tell the hub: the port their server listens on, and that it has ended.

A session is known by the token *record* of the very start that made it, never by the person alone. Each
address takes exactly what its table entry declares; whatever else is posted changes nothing. The addresses
for pages, `capacity_api` and `verdict_api`, stand in the same table.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

from batchspawner import BatchSpawnerBase
from batchspawner.api import BatchSpawnerAPIHandler
from jupyterhub import apihandlers, orm
from jupyterhub.apihandlers import APIHandler
from tornado import web
from tornado.iostream import StreamClosedError

from sgehub.hub import verdict_api
from sgehub.hub.capacity_api import CapacityHandler
from sgehub.hub.line import Lines

BODY_LIMIT: Final = 200  # characters; {"port": 65535} has 15
PORTS: Final = range(1024, 65536)
EXIT_CODES: Final = range(256)


class SessionHandler(APIHandler):  # type: ignore[misc] # JupyterHub is untyped
    """A report of one session, authenticated by its own token in the Authorization header."""

    def check_xsrf_cookie(self) -> None:
        """Need no cookie: only the Authorization header counts here."""

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """Log a refusal without the query: a token does not belong there, and somebody may send one."""
        if isinstance(value, web.HTTPError):
            self.log.warning("%s %s: %s", value.status_code, self.request.path, value.log_message)
        else:
            super().log_exception(kind, value, trace)

    def _record_activity(self, _record: Any, _timestamp: Any = None) -> bool:
        """Record none: a report is nobody's activity, and a commit for each would hold a starting hub up."""
        return False

    @cached_property
    def _token(self) -> Any:
        token = self.get_auth_token()
        return None if token is None else orm.APIToken.find(self.db, token)

    def get_token(self) -> Any:
        """Look the token up once. JupyterHub's own does so by a cache that keeps 128 whole requests in memory."""
        return self._token

    def _resolve_roles_and_scopes(self) -> None:
        """Resolve none: what counts is whose token it is, and JupyterHub keeps 10 KB for each it has resolved."""
        self.expanded_scopes: set[str] = set()
        self.parsed_scopes: dict[str, Any] = {}

    def _integer(self, name: str, allowed: range) -> int:
        """Read {name: integer} and nothing else, or answer 400; 415 if it does not say that it is JSON."""
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise web.HTTPError(415, "Send application/json")
        body = self.request.body
        try:
            # objects become tuples of pairs: nothing is lost, also when a key comes twice
            data = json.loads(body, object_pairs_hook=tuple) if len(body) <= BODY_LIMIT else None
        except ValueError:
            data = None
        value = data[0][1] if isinstance(data, tuple) and [key for key, _ in data] == [name] else None
        if isinstance(value, bool) or not isinstance(value, int) or value not in allowed:
            raise web.HTTPError(
                400, f'Send {{"{name}": N}} with N from {allowed[0]} to {allowed[-1]}, nothing else'
            )
        return value

    def _spawner(self) -> Any:
        """Return the spawner whose start this token was made for, or answer 403."""
        record = self.get_token()
        user = self._user_from_orm(record.user) if record is not None and record.user is not None else None
        if user is not None:
            for spawner in _batch_spawners(user):
                if _is_token_of(spawner, record, self.get_auth_token()):
                    return spawner
        raise web.HTTPError(403, "This token belongs to no server that the hub started")


class PortHandler(SessionHandler):
    """POST {"port": N}: the server of this start listens on port N of the host that Grid Engine names."""

    async def post(self) -> None:
        """Take the port: 200, or 409 for another port than before without a new run of the job."""
        spawner = self._spawner()
        port = self._integer("port", PORTS)
        if not hasattr(spawner, "accept_port"):
            spawner.port = port  # another batchspawner of the same hub, which waits for this attribute
        else:
            _offer(spawner, port)
        self.finish(json.dumps({"port": port}))


class LineHandler(SessionHandler):
    """POST {"port": N}: the same, from a session that keeps the answer's connection open as its line.

    The answer has no end. While the line is open the session is there; when it breaks the spawner is told.
    """

    async def post(self) -> None:
        """Take the port as PortHandler does, send the answer's head, and turn its connection into a line."""
        spawner = self._spawner()
        if not hasattr(spawner, "line_opened"):
            raise web.HTTPError(404)
        _offer(spawner, self._integer("port", PORTS))
        tag = spawner.record.tag
        with suppress(StreamClosedError):  # the line is broken then, and its spawner told so
            await self.flush()
        # From here on there is no request any more: what stays is the connection.
        stream = self.detach()
        self.application.log_request(self)
        Lines.of(self.settings).open(spawner, stream, tag)


class EndHandler(SessionHandler):
    """POST {"exit_code": N}: the server has ended, or is about to."""

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """Log quietly the end of a session that the hub has noticed by itself: its token is revoked by then."""
        if isinstance(value, web.HTTPError) and value.status_code == HTTPStatus.FORBIDDEN:
            self.log.info("%s %s: the session is over for the hub already", value.status_code, self.request.path)
        else:
            super().log_exception(kind, value, trace)

    async def post(self) -> None:
        """Take the route away before answering, so that the session lets go of its port after that."""
        spawner = self._spawner()
        exit_code = self._integer("exit_code", EXIT_CODES)
        if not hasattr(spawner, "accept_end"):
            raise web.HTTPError(404)
        await spawner.accept_end(exit_code)
        self.finish(json.dumps({"exit_code": exit_code}))


HANDLERS: Final = [
    (r"/api/batchspawner", PortHandler),
    (r"/api/sgehub/line", LineHandler),
    (r"/api/sgehub/end", EndHandler),
    (r"/api/sgehub/capacity", CapacityHandler),  # for pages, not for sessions
    *verdict_api.HANDLERS,
]


def replace_endpoint() -> None:
    """Put our handlers where batchspawner's module has registered its own; doing it again changes nothing."""
    handlers = apihandlers.default_handlers
    ours = [handler for _, handler in HANDLERS]
    handlers[:] = [one for one in handlers if one[1] is not BatchSpawnerAPIHandler and one[1] not in ours]
    handlers.extend(HANDLERS)


def _offer(spawner: Any, port: int) -> None:
    """Offer the spawner a port; answer 409 if it has another one, 503 if it cannot know yet."""
    taken = spawner.accept_port(port)
    if taken is None:
        raise web.HTTPError(503, "It is not known yet where this server runs; ask again")
    if not taken:
        raise web.HTTPError(409, "This server has reported another port already")


def _batch_spawners(user: Any) -> Iterator[Any]:
    """Yield the person's batch spawners, those inside a wrapping spawner included."""
    for spawner in list(user.spawners.values()):
        for one in (spawner, getattr(spawner, "child_spawner", None)):
            if isinstance(one, BatchSpawnerBase):
                yield one


def _is_token_of(spawner: Any, record: Any, token: str) -> bool:
    if hasattr(spawner, "accept_port"):
        return spawner.record is not None and spawner.record.is_token(record)
    return bool(spawner.api_token) and hmac.compare_digest(spawner.api_token.encode(), token.encode())
