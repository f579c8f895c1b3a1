"""One request to configurable-http-proxy: put once, and either answered in time or not.

Knows HTTP and what the proxy's answers mean, nothing of routes or sessions.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import ClientError, ClientResponse, ClientTimeout, ServerDisconnectedError

from sgehub.errors import SgehubError

Fetch = Callable[..., Awaitable[ClientResponse]]  # as jupyterhub.httpclient.fetch

MISSING: Final = HTTPStatus.NOT_FOUND


class NoProxyError(SgehubError):
    """The proxy does not answer, or not as it should. The message is half a sentence: what it does instead."""


class ProxyRefusesError(NoProxyError):
    """The proxy answers, but refuses: as a rule it has another secret."""


async def ask(
    fetch: Fetch,
    url: str,
    *,
    token: str,
    seconds: float,
    method: str = "GET",
    body: str | Mapping[str, Any] | None = None,
) -> ClientResponse:
    """Put a request and read the whole answer, which is a success or 404. Raises NoProxyError."""
    data = json.dumps(body) if isinstance(body, Mapping) else body
    headers = {"Authorization": f"token {token}"}

    # Not asyncio.wait_for: before Python 3.12 it may lose a cancellation, and the hub's end waits for its tasks.
    timeout = ClientTimeout(total=seconds)

    async def put() -> ClientResponse:
        answer = await fetch(
            url, method=method, data=data, headers=headers, raise_for_status=False, timeout=timeout
        )
        await answer.read()
        return answer

    try:
        try:
            answer = await put()
        except (ServerDisconnectedError, ConnectionResetError):
            answer = await put()  # it was only a kept connection that the proxy had closed
    except asyncio.TimeoutError:
        raise NoProxyError(f"no answer within {seconds:.0f} s") from None
    except (ClientError, OSError) as error:
        number = error.errno if isinstance(error, OSError) else None
        raise NoProxyError(os.strerror(number) if number else str(error) or type(error).__name__) from None
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise NoProxyError(f"it answers HTTP {answer.status}")
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise ProxyRefusesError(f"it answers HTTP {answer.status}; is its CONFIGPROXY_AUTH_TOKEN the hub's?")
    if answer.status >= HTTPStatus.BAD_REQUEST and answer.status != MISSING:
        raise ProxyRefusesError(f"it answers HTTP {answer.status}")
    return answer
