"""The hub's side of configurable-http-proxy: whatever happens to the proxy, its routes come true again.

JupyterHub looks at the proxy every five minutes, tries each request for half a minute, and gives up what it was
about to do when that fails: a Stop never reaches the job, a session ends because its route could not be made.
Here a request is tried once, what fails is made good when the proxy answers again, and no session depends on it.

How a proxy that was started anew is noticed without asking for all routes: before the hub gives it the routes it
puts a mark there, a route of its own below the hub's. While the mark is there, nothing has been lost.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any, Final
from weakref import WeakValueDictionary

from aiohttp import ClientError, ClientResponse
from jupyterhub import httpclient
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.utils import url_path_join
from traitlets import Any as AnyTrait
from traitlets import default

from sgehub.hub import servers
from sgehub.hub.proxy_request import MISSING, NoProxyError, ProxyRefusesError, ask
from sgehub.hub.service import ClusterService

TICK: Final = 1.0  # seconds between looks at a proxy that is away, or while routes are to be made or to go
PROBE: Final = 3.0  # seconds between looks at a proxy that answers, and at the hub's own list of sessions
MOST_PAUSE: Final = 8.0  # seconds between tries to restore a proxy that answers but cannot be restored
AFTER_ERROR: Final = 30.0  # seconds until the next look after an error of our own
ANSWER: Final = 2.0  # seconds that a change of a route may take: a person's Stop waits for it
LONG_ANSWER: Final = 5.0  # seconds that any question may take
START_PATIENCE: Final = 10.0  # seconds that a hub which starts waits for its proxy: sessions want to report
BATCH: Final = 50  # routes made at once: the event loop must not be held
MARK: Final = "sgehub-routes"  # below the hub's own prefix


class KeptProxy(ConfigurableHTTPProxy):  # type: ignore[misc] # jupyterhub is untyped
    """configurable-http-proxy, its routes kept true from the hub's start on."""

    clock = AnyTrait(time.monotonic)
    sleep = AnyTrait(asyncio.sleep)
    fetch = AnyTrait(httpclient.fetch)
    awaken = AnyTrait(help="Called with the application when the hub starts.")

    @default("awaken")  # type: ignore[untyped-decorator] # traitlets is untyped here
    def _awaken_default(self) -> Any:
        return ClusterService.awaken

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._keeper: asyncio.Task[None] | None = None
        self._answers = asyncio.Event()  # cleared while requests would be in vain
        self._answers.set()
        self._away_since: float | None = None  # until all routes are back, not only the proxy
        self._mark: str | None = ""  # of the proxy that has been given all routes; "": none so far, None: lost
        self._known: set[str] = set()  # routes of sessions that the proxy is believed to have
        self._unwanted: set[str] = set()  # routes that could not be taken away yet
        self._stale: set[str] = set()  # known routes without a session, as of the last look
        self._owed: set[str] = set()  # routes that could not be made, or whose servers are still being checked
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # What JupyterHub asks for

    async def api_request(self, path: str, method: str = "GET", body: Any = None) -> ClientResponse:
        """Ask the proxy once, and not at all while it is known to be away. Raises NoProxyError."""
        async with self.semaphore:
            if not self._answers.is_set():
                raise NoProxyError("it does not answer")
            answer = await self._ask(path, method, body)
        if answer.status == MISSING and method != "DELETE":
            raise ProxyRefusesError(f"it answers HTTP {answer.status} to {method} {path!r}")
        return answer

    async def get_all_routes(self) -> dict[str, Any]:
        """Return the proxy's routes, as soon as it answers.

        Nothing is known of a proxy that is away, and an empty answer would be untrue. Only the hub's start, which
        is the first to ask, goes on with one after START_PATIENCE seconds.
        """
        if self._keeper is None:
            return await self._begin()
        while True:
            await self._answers.wait()
            try:
                return await self._routes()
            except NoProxyError as error:
                self._gone(error)

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Add a route, later if the proxy is away: JupyterHub ends a server whose route it cannot make."""
        if not await self._add(routespec, target, data):
            self.log.warning("The route %s to %s is made when the proxy is back.", routespec, target)

    async def delete_route(self, routespec: str) -> None:
        """Delete a route, later if the proxy is away: JupyterHub stops no server whose route it cannot delete."""
        if not await self._delete(routespec):
            self.log.warning("The route %s is deleted when the proxy is back; nothing waits for that.", routespec)

    async def check_routes(self, user_dict: Any, service_dict: Any, routes: Any = None) -> None:
        """Check all routes as JupyterHub does; until the proxy has been given all, that is the keeper's work."""
        try:
            if self._mark and self._answers.is_set():
                await self._check(user_dict, service_dict, routes or await self._routes())
        except NoProxyError as error:
            self._gone(error)

    # From the hub's start on

    async def _begin(self) -> dict[str, Any]:
        """Wake the cluster's service, begin to keep the routes, wait for the proxy."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        self.awaken(self.app)
        try:
            return await self._routes()
        except ProxyRefusesError as error:
            raise ProxyRefusesError(f"The proxy at {self.api_url} cannot be used: {error}") from None
        except NoProxyError as error:
            self._gone(error)
        self.log.warning("The hub's start waits for the proxy, at most %.0f s.", START_PATIENCE)
        try:
            return await asyncio.wait_for(self.get_all_routes(), START_PATIENCE)
        except asyncio.TimeoutError:
            self.log.warning("The hub starts without its proxy, and makes all routes when that comes.")
            return {}

    async def _keep(self) -> None:
        """Look at the proxy, and at what sessions need of it, as long as the hub runs."""
        looked, pause = float("-inf"), TICK
        while True:
            restoring = False
            try:
                due = not self._mark or not self._answers.is_set() or self.clock() - looked >= PROBE
                if due:
                    looked = self.clock()
                    found = await self._probe()
                    restoring = not self._mark or found != self._mark or self._away_since is not None
                    if restoring:
                        await self._restore()
                # Looking at thousands of sessions costs the hub: only while there may be something to mend.
                if due or self._unwanted or self._stale or self._owed:
                    await self._mend()
                pause = TICK
            except NoProxyError as error:
                self._gone(error)
                pause = min(2 * pause, MOST_PAUSE) if restoring else TICK
            except Exception:
                self.log.exception("The proxy's routes cannot be looked after now; again in %.0f s.", AFTER_ERROR)
                pause = AFTER_ERROR
            await self.sleep(pause)

    async def _probe(self) -> str | None:
        """Return the mark that the proxy has. A second try, since the hub itself may have stood still."""
        try:
            return await self._marked()
        except NoProxyError:
            if not self._answers.is_set():
                raise
        return await self._marked()

    def _gone(self, error: NoProxyError) -> None:
        """Note that the proxy is away; say so once."""
        self._answers.clear()
        if self._away_since is None:
            self._away_since = self.clock()
            self.log.warning(
                "The proxy at %s is away (%s). Sessions go on, but nobody reaches them until it is back; "
                "the hub restores its routes then.",
                self.api_url,
                error,
            )

    async def _restore(self) -> None:
        """Give the proxy all routes that it lacks and take those away that it should not have."""
        began, mark, before = self.clock(), secrets.token_hex(8), self._mark
        self._mark = None
        self._answers.set()
        await self._ask(self._mark_path, "POST", {"target": self.hub.host, "mark": mark})
        routes = await self._routes()
        self._believe(routes)
        made = int(self.hub.routespec not in routes)
        if made:
            await self.add_hub_route(self.hub)
        made += await self._mend()  # quietly: JupyterHub's check writes two lines for each route that it makes
        # _service_map: as JupyterHub itself calls it.
        await self._check(self.app.users, self.app._service_map, await self._routes())  # noqa: SLF001 - has no public name
        if not self._answers.is_set():
            raise NoProxyError("it went away again")
        self._mark, since, self._away_since = mark, self._away_since, None
        story = "is there" if before == "" else "was started anew"
        if since is not None:
            story = f"is back after {began - since:.0f} s"
        tell = self.log.info if story == "is there" else self.log.warning
        routes_made = f"{made} route" if made == 1 else f"{made} routes"
        tell("The proxy %s; %s restored in %.1f s.", story, routes_made, self.clock() - began)

    async def _mend(self) -> int:
        """Make the routes that ready sessions lack, delete those that nobody has; return how many were made."""
        known = frozenset(self._known)  # a route that is made while this looks around is not stale
        ready, pending = await servers.by_route(self.app.users)
        # A route that stays leads to a port that others may take. Seen twice: the hub may be about to delete it.
        self._owed &= ready.keys() | pending.keys()
        self._owed |= {spec for spec, what in pending.items() if what == "check"}
        stale = (self._known & known) - ready.keys() - pending.keys()
        self._unwanted |= stale & self._stale
        self._stale = stale
        for spec in self._unwanted - ready.keys():
            await self._delete(spec, remembered=True)
        lacking = [place for spec, place in ready.items() if spec not in self._known]
        for start in range(0, len(lacking), BATCH):
            await asyncio.gather(*(self._add_session(*place) for place in lacking[start : start + BATCH]))
        return len(lacking)

    # Routes, one by one and all

    async def _add_session(self, name: str, spawner: Any) -> None:
        if spawner.ready:
            data = {"user": name, "server_name": spawner.name}
            await self._add(spawner.proxy_spec, spawner.server.host, data)

    async def _add(self, routespec: str, target: str, data: dict[str, Any]) -> bool:
        session = "user" in data
        self._unwanted.discard(routespec)
        self._stale.discard(routespec)  # also for a look around that is under way
        async with self._turn(routespec):
            self._unwanted.discard(routespec)  # again: a deletion may have failed while this waited
            self._known.discard(routespec)
            try:
                await super().add_route(routespec, target, data)
            except NoProxyError as error:
                self._owed.add(routespec)
                self._gone(error)
                return False
            self._owed.discard(routespec)
            if session:
                self._known.add(routespec)
            return True

    async def _delete(self, routespec: str, *, remembered: bool = False) -> bool:
        async with self._turn(routespec):
            if remembered and routespec not in self._unwanted:
                return True  # a new server has it meanwhile
            self._unwanted.add(routespec)
            try:
                await self.api_request(self._routespec_to_chp_path(routespec), method="DELETE")
            except NoProxyError as error:
                self._gone(error)
                return False
            self._known.discard(routespec)
            self._unwanted.discard(routespec)
            return True

    def _turn(self, routespec: str) -> asyncio.Lock:
        """Return the lock that keeps the requests for one route in order: they use several connections."""
        lock = self._turns.get(routespec)
        if lock is None:
            lock = self._turns[routespec] = asyncio.Lock()
        return lock

    async def _check(self, users: Any, services: Any, routes: dict[str, Any]) -> None:
        if not routes:
            # JupyterHub's check would ask again, and wait while it holds a lock that the keeper needs.
            self._mark = None
            return
        self._believe(routes)
        await super().check_routes(users, services, routes)

    def _believe(self, routes: dict[str, Any]) -> None:
        self._known = {spec for spec, route in routes.items() if "user" in route["data"]}

    async def _routes(self) -> dict[str, Any]:
        """Ask for all routes, once. Raises NoProxyError."""
        try:
            found: dict[str, Any] = await super().get_all_routes()
        except (ClientError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise NoProxyError(f"its list of routes cannot be read: {error}") from None
        return found

    @property
    def _mark_path(self) -> str:
        return str(url_path_join(self.hub.base_url, MARK))

    async def _marked(self) -> str | None:
        """Return the mark that the proxy has. Raises NoProxyError."""
        answer = await self._ask(self._mark_path)
        if answer.status == MISSING:
            return None
        try:
            return str((await answer.json())["mark"])
        except (ClientError, ValueError, KeyError, TypeError) as error:
            raise NoProxyError(f"its answer cannot be read: {error}") from None

    async def _ask(self, path: str, method: str = "GET", body: Any = None) -> ClientResponse:
        url = url_path_join(self.api_url, "api/routes", path)
        seconds = LONG_ANSWER if method == "GET" else ANSWER
        return await ask(self.fetch, url, token=self.auth_token, seconds=seconds, method=method, body=body)
