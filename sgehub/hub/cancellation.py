"""A start that is cancelled: while whoever asked for it still waits for the answer, and on a busy machine.

JupyterHub holds the answer back for up to ten seconds, and lets the cancellation through as an error of its own,
with a traceback in the log. And it gives the start one second to end, after which it fails to stop the server. The
handler that stands in the place of its own says what has happened, and waits.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any, Final

from jupyterhub import apihandlers
from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from sgehub.hub.following import Following

LONGEST: Final = 15.0  # seconds that a start which is cancelled may take to end
LOOK: Final = 0.05  # seconds between looks; JupyterHub has no event for it


async def settled(spawner: Any, *pending: str, longest: float = LONGEST) -> None:
    """Wait until nothing of the kind (a start or a check if none is named) is pending, but not for ever."""
    kinds = pending or ("spawn", "check")
    until = asyncio.get_running_loop().time() + longest
    while spawner.pending in kinds and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - see LOOK
        await asyncio.sleep(LOOK)


class Stopping(BaseHandler):  # type: ignore[misc] # JupyterHub is untyped
    """The part of a handler that stops servers."""

    async def stop_single_user(self, user: Any, server_name: str = "") -> Any:
        """Stop a server, as soon as a start that was cancelled has ended; 400 if something else goes on.

        JupyterHub takes the route away first. A hub that ends meanwhile must not forget the wish, and a proxy that
        does not answer must not leave it for later: JupyterHub then leaves the server alone without a word.
        """
        spawner = user.spawners.get(server_name)
        if not isinstance(spawner, Following):
            return await super().stop_single_user(user, server_name)
        await settled(spawner)
        if spawner.pending == "stop":  # the session has ended meanwhile, and is cleaned up
            await settled(spawner, "stop", longest=self.slow_stop_timeout)
            if not spawner.active:
                return None
        if spawner.pending:
            raise web.HTTPError(400, "This server is busy with something else. Try again in a minute.")
        record = spawner.wish_end()
        try:
            stopping = await super().stop_single_user(user, server_name)
        except Exception:
            spawner.take_back(record)
            raise
        stopping.add_done_callback(lambda _: spawner.carry_out(record))
        return stopping


class CancellableServerHandler(Stopping, UserServerAPIHandler):  # type: ignore[misc] # JupyterHub is untyped
    """JupyterHub's handler of one server."""

    @needs_scope("delete:servers")  # type: ignore[untyped-decorator] # JupyterHub is untyped
    async def delete(self, user_name: str, server_name: str = "") -> None:
        """Stop a server, or remove it; 400 while it is being cleaned up after an end of its own.

        JupyterHub can remove a server that is being stopped only where a person has wished that.
        """
        user = self.find_user(user_name)
        spawner = user.spawners.get(server_name) if user is not None else None
        if spawner is not None and getattr(spawner, "_stop_future", None) is None:
            await settled(spawner, "stop", longest=self.slow_stop_timeout)
            if spawner.pending == "stop":
                raise web.HTTPError(400, "This server is still being cleaned up. Try again in a minute.")
        await super().delete(user_name, server_name)

    async def post(self, user_name: str, server_name: str = "") -> None:
        """Start a server; 409 if somebody stops it before it is answered that it starts."""
        try:
            await super().post(user_name, server_name)
        except asyncio.CancelledError:
            self.set_status(HTTPStatus.CONFLICT)
            self.finish({"status": HTTPStatus.CONFLICT, "message": "The start was cancelled."})


def replace_handler() -> None:
    """Put our handler where JupyterHub's is; doing it again changes nothing."""
    handlers = apihandlers.default_handlers
    handlers[:] = [
        (one[0], CancellableServerHandler, *one[2:]) if one[1] is UserServerAPIHandler else one for one in handlers
    ]
