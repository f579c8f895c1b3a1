"""Deleting a person takes the jobs along, also those that wait.

JupyterHub stops only the default server of a person who is deleted, and only if it is ready; with any other one
it gives up in the middle. This handler stands in the place of its own, stops every server first, and leaves the
rest to it.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from jupyterhub import apihandlers
from jupyterhub.apihandlers.users import UserAPIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from sgehub.hub.cancellation import Stopping, settled
from sgehub.hub.following import Following

CANCELLED: Final = 1.0  # seconds that a start which is cancelled may take to end, as JupyterHub gives it


class DeletingUserHandler(Stopping, UserAPIHandler):  # type: ignore[misc] # JupyterHub is untyped
    """JupyterHub's handler of one person."""

    @needs_scope("delete:users")  # type: ignore[untyped-decorator] # JupyterHub is untyped
    async def delete(self, user_name: str) -> None:
        """Stop the person's servers of ours, then delete the person; 400 while one of them is still stopping."""
        user = self.find_user(user_name)
        if user is not None and user.name != self.current_user.name:
            for name, spawner in list(user.spawners.items()):
                if isinstance(spawner, Following) and spawner.active:
                    await self._stop(user, name, spawner)
        await super().delete(user_name)

    async def _stop(self, user: Any, name: str, spawner: Any) -> None:
        """Stop one server as DELETE of a server does, or wait for whoever does so already."""
        if spawner.pending in {"spawn", "check"} and spawner._spawn_future:  # noqa: SLF001 - JupyterHub's handler does the same
            spawner._spawn_future.cancel()  # noqa: SLF001 - as above
            await asyncio.sleep(CANCELLED)
        await settled(spawner)
        if spawner.pending == "stop":
            await settled(spawner, "stop", longest=self.slow_stop_timeout)
        elif spawner.active and not spawner.pending:
            await self.stop_single_user(user, name)
        if spawner.pending:
            raise web.HTTPError(
                400, f"The server {name!r} of {user.name} is still stopping. Try again in a minute."
            )


def replace_handler() -> None:
    """Put our handler where JupyterHub's is; doing it again changes nothing."""
    handlers = apihandlers.default_handlers
    handlers[:] = [
        (one[0], DeletingUserHandler, *one[2:]) if one[1] is UserAPIHandler else one for one in handlers
    ]
