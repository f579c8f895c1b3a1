"""The real configurable-http-proxy understands the hub's side of it, and many routes are soon restored."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sgehub.hub.proxy import PROBE, TICK, KeptProxy
from tests.unit.hub.proxy_rig import TOKEN, PaperHub, at_work, until

SESSIONS = 2000
RESTORED = 10.0  # seconds, by which every route is to be back


class RealProxy:
    """A proxy of its own, on free ports of the loopback."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
            self.port, self.api = one.getsockname()[1], two.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it knows nothing."""
        program = Path(sys.prefix) / "bin" / "configurable-http-proxy"
        argv = [str(program), "--ip", "127.0.0.1", "--port", str(self.port), "--log-level", "error"]
        argv += ["--api-ip", "127.0.0.1", "--api-port", str(self.api)]
        self._process = subprocess.Popen(argv, env=os.environ | {"CONFIGPROXY_AUTH_TOKEN": TOKEN})

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def routes(self) -> dict[str, Any]:
        """Return what it knows."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.api}/api/routes", headers={"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read()))


@pytest.fixture
def real() -> Iterator[RealProxy]:
    """Run a real proxy."""
    proxy = RealProxy()
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.kill()


def whole(proxy: KeptProxy) -> bool:
    return bool(proxy._mark) and proxy._away_since is None


async def worst_lag(stop: asyncio.Event) -> float:
    """Return the longest time for which the event loop was held."""
    worst = 0.0
    while not stop.is_set():
        begun = time.monotonic()
        await asyncio.sleep(0.005)
        worst = max(worst, time.monotonic() - begun - 0.005)
    return worst


async def test_two_thousand_routes_are_back_within_ten_seconds(
    real: RealProxy,
):
    """Killed and started anew, empty. Looking at the proxy while it is whole costs next to nothing."""
    hub = PaperHub(real.api)
    for number in range(SESSIONS):
        hub.session(f"person{number}")
    proxy = hub.proxy()
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: whole(proxy), "the first restoration", 30)
        routes = await asyncio.to_thread(real.routes)
        assert len(routes) == SESSIONS + 2

        before = time.process_time()
        await asyncio.sleep(10)
        idle = time.process_time() - before

        stop = asyncio.Event()
        lag = asyncio.create_task(worst_lag(stop))
        real.kill()
        real.start()
        mark, begun = proxy._mark, time.monotonic()
        await until(lambda: whole(proxy) and proxy._mark != mark, "the restoration", 30)
        taken = time.monotonic() - begun
        stop.set()
        print(
            f"\n{SESSIONS} routes: back {taken:.2f} s after the proxy's new start, event loop held for "
            f"{await lag:.3f} s at most; {idle:.2f} CPU-seconds in 10 s while the proxy is whole"
        )
        again = await asyncio.to_thread(real.routes)
        assert again.keys() == routes.keys()
        assert taken < RESTORED
        assert idle < 1.0


async def test_one_route_comes_and_goes(real: RealProxy):
    """What a start and a stop ask for, with a name that has to be escaped; the mark leads nobody astray."""
    hub = PaperHub(real.api)
    proxy = hub.proxy()
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: whole(proxy))
        await proxy.add_route("/user/a.b@c/lab%20two/", "http://node01:1", {"user": "a.b@c"})
        assert "/user/a.b@c/lab%20two/" in await proxy.get_all_routes()
        await proxy.delete_route("/user/a.b@c/lab%20two/")
        await proxy.delete_route("/user/a.b@c/lab%20two/")
        assert set(await proxy.get_all_routes()) == {"/"}


async def test_a_proxy_of_another_secret_is_away_until_it_has_the_hubs(real: RealProxy, caplog: Any):
    """The sentence names what to look at."""
    hub = PaperHub(real.api)
    proxy = hub.proxy()
    async with at_work(proxy):
        await proxy.get_all_routes()
        await until(lambda: whole(proxy))
        proxy.auth_token = "another"
        await until(lambda: proxy._away_since is not None, seconds=PROBE + 2 * TICK)
        assert "is its CONFIGPROXY_AUTH_TOKEN the hub's?" in caplog.text
        proxy.auth_token = TOKEN
        await until(lambda: whole(proxy))
