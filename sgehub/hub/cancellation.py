"""A start that is cancelled while whoever asked for it still waits for the answer.

JupyterHub holds the answer back for up to ten seconds, and lets the cancellation through as an error of its own,
with a traceback in the log. This handler stands in the place of its own and says what has happened.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from jupyterhub import apihandlers
from jupyterhub.apihandlers.users import UserServerAPIHandler


class CancellableServerHandler(UserServerAPIHandler):  # type: ignore[misc] # JupyterHub is untyped
    """JupyterHub's handler of one server."""

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
