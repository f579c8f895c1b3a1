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

LONGEST: Final = 15.0  # seconds that a start which is cancelled may take to end
LOOK: Final = 0.05  # seconds between looks; JupyterHub has no event for it


async def settled(spawner: Any, *pending: str, longest: float = LONGEST) -> None:
    """Wait until nothing of the kind (a start or a check if none is named) is pending, but not for ever."""
    kinds = pending or ("spawn", "check")
    until = asyncio.get_running_loop().time() + longest
    while spawner.pending in kinds and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - see LOOK
        await asyncio.sleep(LOOK)


class CancellableServerHandler(UserServerAPIHandler):  # type: ignore[misc] # JupyterHub is untyped
    """JupyterHub's handler of one server."""

    async def post(self, user_name: str, server_name: str = "") -> None:
        """Start a server; 409 if somebody stops it before it is answered that it starts."""
        try:
            await super().post(user_name, server_name)
        except asyncio.CancelledError:
            self.set_status(HTTPStatus.CONFLICT)
            self.finish({"status": HTTPStatus.CONFLICT, "message": "The start was cancelled."})

    async def stop_single_user(self, user: Any, server_name: str = "") -> Any:
        """Stop a server, as soon as the start that was cancelled has ended."""
        if server_name in user.spawners:
            await settled(user.spawners[server_name])
        return await super().stop_single_user(user, server_name)


def replace_handler() -> None:
    """Put our handler where JupyterHub's is; doing it again changes nothing."""
    handlers = apihandlers.default_handlers
    handlers[:] = [
        (one[0], CancellableServerHandler, *one[2:]) if one[1] is UserServerAPIHandler else one for one in handlers
    ]
