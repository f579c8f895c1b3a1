"""The hub's side of `sgehub-as-user`: one JSON object in, one out, under sudo.

The law of this file: whether the helper refused, sudo did, or nobody answered are three different things. A
request is sent once. What it carries (secrets) goes through standard input only, and into no error and no log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from sgehub.errors import AccountError, ClusterError, NoAnswerError, SgehubError, SiteConfigurationError
from sgehub.gridengine.answers import text_of
from sgehub.gridengine.runner import Completed, Runner
from sgehub.model.names import check_user

_REFUSED: Final = 3  # the helper's exit status
_OUTPUT_LIMIT: Final = 4 * 1024 * 1024
MARGIN: Final = 10.0  # seconds for sudo itself: directories of accounts and automounted homes are slow
_FAULTS: Final[Mapping[str, type[SgehubError]]] = {
    "home-missing": AccountError,
    "home-full": AccountError,
    "home-not-writable": AccountError,
    "folder-unsafe": AccountError,
    "root": SiteConfigurationError,
    "command-unsafe": SiteConfigurationError,
    "bad-request": ClusterError,
}


class Helper:
    """Call the helper as a person. `cluster` is what every request says of the cluster."""

    def __init__(
        self, command: tuple[str, ...], cluster: Mapping[str, object], runner: Runner, *, deadline: float
    ) -> None:
        self._command = command
        self._cluster = dict(cluster)
        self._runner = runner
        self._deadline = deadline

    async def command(self, person: str, **request: object) -> Completed:
        """Let the helper run one of Grid Engine's commands; return what that command left behind.

        Raises NoAnswerError if the command ran into the helper's deadline, and what `call` raises.
        """
        answer = await self.call(person, cluster=self._cluster, **request)
        status = answer.get("exit")
        if answer.get("timeout") or not isinstance(status, int):
            raise NoAnswerError(
                f"Grid Engine's command was killed, or did not answer within {self._deadline:g} seconds."
            )
        stdout, stderr = (str(answer.get(stream, "")).encode() for stream in ("stdout", "stderr"))
        return Completed(status, stdout, stderr)

    async def call(self, person: str, **request: object) -> dict[str, Any]:
        """Send one request and return the helper's answer.

        Raises AccountError, SiteConfigurationError or ClusterError with the helper's own sentence when it
        refuses, SiteConfigurationError when sudo does, NoAnswerError when no whole answer came.
        """
        try:
            check_user(person)
        except ValueError as error:
            raise AccountError(str(error)) from None
        completed = await self._runner.run(
            [part.replace("{person}", person) for part in self._command],
            stdin=partial(self._text, request),
            timeout=self._deadline + MARGIN,
            output_limit=_OUTPUT_LIMIT,
        )
        if completed.exit not in (0, _REFUSED):
            raise _no_helper(person, completed)
        answer = _object(completed.stdout)
        if completed.exit == _REFUSED:
            raise _refusal(answer)
        return answer

    def _text(self, request: Mapping[str, object]) -> bytes:
        """Return the request as it is sent, at the moment in which it is.

        `expires` bounds it where nobody else does: sudo may be slow, and the hub be killed meanwhile.
        """
        expires = time.clock_gettime(time.CLOCK_BOOTTIME) + self._deadline + MARGIN
        return json.dumps({**request, "deadline": self._deadline, "expires": expires}).encode()


def _object(data: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise NoAnswerError("The program that acts as the person gave no whole answer.")
    return answer


def _refusal(answer: Mapping[str, Any]) -> SgehubError:
    refused = answer.get("refused")
    if not isinstance(refused, Mapping):
        return NoAnswerError("The program that acts as the person refused without a reason.")
    fault = _FAULTS.get(str(refused.get("why")), ClusterError)
    return fault(str(refused.get("message")))


def _no_helper(person: str, completed: Completed) -> SgehubError:
    said = text_of(completed.stderr).strip()
    lines = [line for line in said.splitlines() if line.startswith(("sudo: ", "Sorry, user "))]
    if not lines:
        return NoAnswerError(
            f"The program that acts as {person} ended with status {completed.exit} and without an answer."
        )
    if "unknown user" in said:
        return AccountError(f"There is no account {person} on the hub's machine.")
    if "command not found" in said:
        return SiteConfigurationError(f"The program that acts as {person} is not installed ({lines[-1]}).")
    return SiteConfigurationError(
        f"sudo does not let the hub's account act as {person} ({lines[-1]}). Install config/sudoers.d/sgehub in"
        f" /etc/sudoers.d, and make {person} a member of the group that it names."
    )
