"""JupyterHub with sessions, as far as KeptProxy sees it, beside a proxy that can misbehave; both on paper."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from jupyterhub.httpclient import JupyterHubHTTPClient

from sgehub.hub.proxy import KeptProxy

TOKEN = "of-hub-and-proxy"
HUB = "http://127.0.0.1:8081"


class PaperProxy:
    """configurable-http-proxy's API in memory. `trouble` is None, "hang" or the HTTP status of every answer."""

    def __init__(self) -> None:
        self.routes: dict[str, dict[str, Any]] = {}
        self.trouble: str | int | None = None
        self.asked: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda _: None
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, on the same port as before; know nothing."""
        app = web.Application()
        app.router.add_route("*", "/api/routes{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be gone, with all routes."""
        self.routes.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        path = "/" + request.match_info["path"].strip("/")
        body = json.loads(await request.read() or b"null")
        self.asked.append(f"{request.method} {path}")
        self.meanwhile(self.asked[-1])
        while self.trouble == "hang":  # noqa: ASYNC110 - a test sets it from outside
            await asyncio.sleep(0.01)
        if isinstance(self.trouble, int):
            return web.Response(status=self.trouble, text="no")
        if self.trouble == "babble":
            return web.Response(text="<html>")
        if request.headers["Authorization"] != f"token {TOKEN}":
            return web.Response(status=403)
        return self._obey(request.method, path, body)

    def _obey(self, method: str, path: str, body: Any) -> web.Response:
        if method == "POST":
            self.routes[path] = body
            return web.Response(status=201)
        if method == "DELETE":
            return web.Response(status=404 if self.routes.pop(path, None) is None else 204)
        if path == "/":
            return web.json_response(self.routes)
        return web.json_response(self.routes[path]) if path in self.routes else web.Response(status=404)


class PaperSpawner:
    """A server, as far as the proxy's keeper asks for it."""

    def __init__(self, person: str, name: str = "") -> None:
        self.name = name
        self.proxy_spec = f"/user/{person}/{name}/" if name else f"/user/{person}/"
        self.server = SimpleNamespace(host="http://node01:30001")
        self.pending: str | None = None
        self.off = False
        self._log_name = person

    @property
    def ready(self) -> bool:
        """Tell whether it runs."""
        return not (self.pending or self.off)


class PaperHub:
    """JupyterHub's application: people and their servers."""

    def __init__(self, proxy_port: int) -> None:
        self.users: dict[str, SimpleNamespace] = {}
        self._service_map: dict[str, Any] = {}
        self.subdomain_host = ""
        self.internal_ssl = False
        self.hub = SimpleNamespace(base_url="/hub/", routespec="/", host=HUB)
        self.api_url = f"http://127.0.0.1:{proxy_port}"

    def session(self, person: str, *, pending: str | None = None) -> PaperSpawner:
        """Give a person a server."""
        spawner = PaperSpawner(person)
        spawner.pending = pending
        user = SimpleNamespace(name=person, spawners={"": spawner}, proxy_spec=spawner.proxy_spec)
        self.users[person] = user
        return spawner

    def proxy(self, **changes: Any) -> KeptProxy:
        """Return the hub's side of the proxy."""
        log = logging.getLogger("paper hub")
        log.setLevel(logging.INFO)
        given = {"auth_token": TOKEN, "should_start": False, "awaken": lambda _: None, **changes}
        return KeptProxy(app=self, hub=self.hub, log=log, api_url=self.api_url, **given)


class Time:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def clock(self) -> float:
        """Return the present time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0.002)


async def until(condition: Callable[[], object], what: str = "it", seconds: float = 10.0) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen"
        await asyncio.sleep(0.002)


@asynccontextmanager
async def at_work(proxy: KeptProxy) -> AsyncIterator[None]:
    """End what the hub's start began."""
    try:
        yield
    finally:
        if proxy._keeper is not None:
            proxy._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await proxy._keeper
        await JupyterHubHTTPClient.loop_instance().close()
