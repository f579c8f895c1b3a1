"""Where the form asks what would become of its request: POST {field: text} -> a verdict.

The law of this file: whoever may start a person's servers may ask, and learns no more than Start would tell. What
is posted is judged by the gate like every other request; only what the gate returns reaches qsub.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from jupyterhub.apihandlers import APIHandler
from jupyterhub.scopes import needs_scope
from tornado import web

from sgehub.errors import RequestRefusedError, SgehubError
from sgehub.hub import starting
from sgehub.hub.people import account_of
from sgehub.hub.record import SessionRecord
from sgehub.hub.verdict import ADDRESS, Question
from sgehub.model import verdict
from sgehub.model.request import ResourceRequest
from sgehub.model.verdict import Verdict
from sgehub.model.wish import Wish

if TYPE_CHECKING:
    from sgehub.hub.spawner import SGESpawner

BODY_LIMIT: Final = 32 * 1024  # bytes; a form has a few hundred, and 16 KB with a hundred fields of the site's own
NO_TAG: Final = "0" * 12  # of a start that is not made


class VerdictHandler(APIHandler):  # type: ignore[misc] # JupyterHub is untyped
    """What Grid Engine thinks of a request of one person."""

    @needs_scope("servers")  # type: ignore[untyped-decorator] # JupyterHub is untyped
    async def post(self, user_name: str, server_name: str = "") -> None:
        """Answer {"kind", "sentence", "details"}; 409 if a newer question of the person came meanwhile.

        A server that is not there is judged as the default one: no server is made by asking.
        """
        user = self.find_user(user_name)
        spawner: Any = None if user is None else user.spawners.get(server_name) or user.spawner
        spawner = getattr(spawner, "child_spawner", None) or spawner
        if not hasattr(spawner, "judge"):
            raise web.HTTPError(404, "There is nobody of this name whose servers are Grid Engine jobs.")
        found = await verdict_on(spawner, self._values())
        if found is None:
            raise web.HTTPError(HTTPStatus.CONFLICT, "A newer question has taken the place of this one.")
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(found.as_json()))

    def _values(self) -> Mapping[str, str]:
        """Read {field: text}, or answer 400; what the fields may hold is the gate's business."""
        values = fields_in(self.request.body)
        if values is None:
            raise web.HTTPError(
                400,
                'Send the form\'s fields as one JSON object of texts, such as {"cores": "1"}, '
                f"of {BODY_LIMIT // 1024} KB at most.",
            )
        return values


def fields_in(body: bytes) -> Mapping[str, str] | None:
    """Return the fields of a form, None if this is none. How many there may be is for the gate to say."""
    try:
        values = json.loads(body) if len(body) <= BODY_LIMIT else None
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) and all(isinstance(one, str) for one in values.values()) else None


async def verdict_on(spawner: SGESpawner, values: Mapping[str, str]) -> Verdict | None:
    """Return the verdict on what stands in a person's form; what the site refuses is not asked. Never raises.

    None if a newer question of the person has taken this one's place.
    """
    try:
        await spawner.service.people.learn(spawner.user.name)
        question = await _question(spawner, spawner.judge(values))
    except RequestRefusedError as error:
        return verdict.refused(error.violations)
    except SgehubError as error:
        return verdict.unknown(str(error))
    return await spawner.service.verdicts.on(question)


async def _question(spawner: SGESpawner, request: ResourceRequest) -> Question:
    """Make the job that Start would submit, but for the number of the start, which no verdict depends on."""
    name, policy = spawner.user.name, spawner.policy
    account = await asyncio.to_thread(account_of, name)
    record = SessionRecord(NO_TAG, name, starting.folder(policy, account), token_id=0, asked=0.0)
    options, script = starting.job(spawner, request, record, account)
    return Question(Wish(name, request, policy), options, script)


HANDLERS: Final = [
    (rf"/{ADDRESS}/([^/]+)", VerdictHandler),
    (rf"/{ADDRESS}/([^/]+)/([^/]*)", VerdictHandler),
]
