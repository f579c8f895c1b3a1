"""One life of a hub: JupyterHub's own users, spawners, handlers and start-up, around a door to the cluster.

What is JupyterHub's is JupyterHub's: `User`, its tables, the handlers' `spawn_single_user`, `stop_single_user`
and `user_stopped`, the REST API's POST and DELETE, the application's `init_spawners`, the proxy's routes. They are
taken from their classes and called with the few attributes that they read. Faked are the sockets: the proxy's
API, and the look whether a server answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from jupyterhub import orm, scopes
from jupyterhub.app import JupyterHub
from jupyterhub.objects import Hub as HubServer
from jupyterhub.proxy import Proxy
from jupyterhub.user import UserDict
from jupyterhub.utils import AnyTimeoutError, wait_for_shielded
from traitlets.config import Config

from sgehub.gridengine.reflector import JobReflector
from sgehub.hub import api
from sgehub.hub.cancellation import CancellableServerHandler
from sgehub.hub.deletion import DeletingUserHandler
from sgehub.hub.ledger import Ledger
from sgehub.hub.line import Line, Lines
from sgehub.hub.service import ClusterService
from sgehub.hub.spawner import SGESpawner
from tests.model.database import Database, add_user
from tests.model.door import Door
from tests.model.loop import VirtualLoop
from tests.model.session import Connection, Session
from tests.unit.model.site import BASE, site

if TYPE_CHECKING:
    from tests.model.world import World

SITE: Final = "/etc/sgehub/site.yaml"
START_TIMEOUT: Final = 300
CHECKS: Final = 1  # init_spawners_timeout, as `configure` sets it
ROUTES: Final = 30.0  # seconds between looks whether all routes are there
PATIENCE: Final = 1800.0
LOST_AFTER: Final = 300.0
POLICY: Final = site(
    cluster={**BASE["cluster"], "host_lost_after": "00:05:00"},
    queues={"short.q": {"cores": 4, "memory": "64G", "runtime": "01:00:00", "patience": "00:30:00"}},
)
CONFIG: Final = Config({"SGESpawner": {"site": SITE, "start_timeout": START_TIMEOUT}})
LOG: Final = logging.getLogger("tests.model.hub")


class WatchedSpawner(SGESpawner):
    """The real spawner; what its verbs say is noted for the laws."""

    @property
    def _observer(self) -> World:
        return self.user.settings["world"]

    @property
    def _key(self) -> tuple[str, str]:
        return self.user.name, self.name

    async def start(self) -> str:
        """Start, and note why not."""
        try:
            return await super().start()
        except Exception as error:
            self._observer.start_failed(self._key, getattr(error, "reason", ""), error)
            raise

    async def poll(self) -> int | None:
        """Poll, which must not raise."""
        try:
            return await super().poll()
        except Exception as error:  # noqa: BLE001 - any is against the law
            self._observer.broken(f"poll() of {self._key} has raised {error!r}")
            return None


class Routes(Proxy):
    """A proxy that runs on its own: its table outlives the hub."""

    def __init__(self, table: dict[str, dict[str, Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.closed = False

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Add a route."""
        await asyncio.sleep(0.01)
        if not self.closed:
            self.table[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        """Take a route away."""
        await asyncio.sleep(0.01)
        if not self.closed:
            self.table.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Return all routes."""
        await asyncio.sleep(0.01)
        return dict(self.table)


class Desk:
    """What the handlers read of a request and of the hub behind it; it comes first in the order of classes."""

    users: Any = None
    db: Any = None
    settings: Any = None
    proxy: Any = None
    authenticator: Any = None
    allow_named_servers = True
    concurrent_spawn_limit = 0
    active_server_limit = 0
    slow_spawn_timeout = 10
    slow_stop_timeout = 10
    spawn_home_error = ""
    log = LOG
    eventlog = SimpleNamespace(emit=lambda **_: None)
    request = SimpleNamespace(method="GET", body=b"", path="/")
    current_user = SimpleNamespace(kind="user", name="admin")
    parsed_scopes: Final = dict.fromkeys(
        ("delete:users", "admin:users", "start:servers", "stop:servers", "delete:servers"), scopes.Scope.ALL
    )
    expanded_scopes = frozenset(parsed_scopes)

    def __init__(self, hub: Hub, body: dict[str, Any]) -> None:
        self.users, self.db, self.settings, self.proxy = hub.users, hub.db, hub.settings, hub.proxy
        self.authenticator = hub.authenticator
        self.body = body
        self.status = 200

    def find_user(self, name: str) -> Any:
        """Return the user, None if there is none."""
        return find_user(self.users, self.db, name)

    def get_json_body(self) -> dict[str, Any]:
        """Return what was posted."""
        return self.body

    def get_server_json_body(self) -> dict[str, Any]:
        """Return what was posted, whole."""
        return {"display_name": None, "user_options": None, **self.body}

    async def _check_named_server_request(self, *_: Any, **__: Any) -> None:
        """Allow any number of servers."""

    def set_header(self, *_: Any) -> None:
        """Send no header."""

    def set_status(self, status: int) -> None:
        """Note the answer."""
        self.status = status

    def finish(self, _body: Any = None) -> None:
        """Send the answer."""


class ServerDesk(Desk, CancellableServerHandler):
    """A request about one server."""


class UserDesk(Desk, DeletingUserHandler):
    """A request about a person."""


class _Report:
    """What a session's report reads of its handler."""

    log = LOG

    def __init__(self, hub: Hub, session: Session, value: int) -> None:
        self._hub, self._session, self._value = hub, session, value
        self._token = session.launch["token"]
        self.application: Any = SimpleNamespace(settings=hub.settings, log_request=lambda _handler: None)

    def get_token(self) -> Any:
        """Return the token's record."""
        return self._hub.token(self._token)

    def get_auth_token(self) -> str:
        """Return the token."""
        return self._token

    def _user_from_orm(self, orm_user: Any) -> Any:
        return self._hub.users[orm_user]

    def _integer(self, _name: str, _allowed: range) -> int:
        return self._value

    def finish(self, *_: Any) -> None:
        """Send the answer."""


class VirtualLine(Line):
    """A line whose connection is the model's."""

    def _connect(self, stream: Any) -> None:
        if not stream.open:
            raise ConnectionResetError("the connection has ended")
        self._connection = stream
        stream.hub_hears = lambda: self._loop.call_soon(self._broken)

    def _disconnect(self) -> None:
        self._connection.close()


class VirtualLines(Lines):
    """The lines of one hub of the model."""

    line = VirtualLine


class PortReport(_Report, api.LineHandler):
    """A report of a port, whose connection becomes the session's line."""

    async def flush(self) -> None:
        """Send the answer's head."""

    def detach(self) -> Connection:
        """Let the connection outlive the request."""
        line = Connection(self._session)
        self._session.opened(line)
        self._hub.lines.append(line)
        return line


class EndReport(_Report, api.EndHandler):
    """A report of an end."""


class Hub:
    """One life of the hub, from its start until it is killed."""

    def __init__(self, world: World, database: Database) -> None:
        self.world = world
        self.loop = VirtualLoop(world.clock)
        self.database = database
        self.listening = False
        self.ended = False
        self.lines: list[Connection] = []
        self._tokens: dict[str, int | None] = {}
        self.born = world.clock.now
        with self.loop.running():
            self._make()
            self._boot_task = self.loop.create_task(self._boot())

    def _make(self) -> None:
        world = self.world
        self.db = self.database.open()
        self.door = Door(world.cluster, self.loop)
        self.authenticator = SimpleNamespace(
            blocked_users=set(), refresh_pre_spawn=False, refresh_pre_stop=False, delete_user=lambda _user: None
        )
        hub = HubServer(ip="head", port=8081, base_url="/hub/", public_host="", routespec="/")
        self.settings: dict[str, Any] = {
            "db": self.db,
            "hub": hub,
            "spawner_class": WatchedSpawner,
            "allow_named_servers": True,
            "config": CONFIG,
            "base_url": "/",
            "world": world,
            "spawn_throttle_retry_range": (30, 60),
            "sgehub_lines": VirtualLines(),
        }
        self.users = UserDict(lambda: self.db, self.settings)
        self.proxy = Routes(
            world.routes,
            db_factory=lambda: self.db,
            app=SimpleNamespace(hub=hub),
            hub=hub,
            should_start=False,
            config=CONFIG,
        )
        self.settings["proxy"] = self.proxy
        self.service = make_service(self.settings, self.door, world, self.database)
        self.settings["sgehub_services"] = {SITE: self.service}
        self.app = SimpleNamespace(
            db=self.db,
            log=LOG,
            log_level=logging.INFO,
            users=self.users,
            proxy=self.proxy,
            authenticator=self.authenticator,
            tornado_settings=self.settings,
            hub=hub,
        )

    async def _boot(self) -> None:
        """Start as JupyterHub's application does: HTTP waits for the checks, but not for long."""
        try:
            self.service.ends.resume()
            self.service.keep(self.service.matching.run)
            checks = asyncio.ensure_future(JupyterHub.init_spawners(self.app))
            with suppress(AnyTimeoutError):
                await wait_for_shielded(checks, timeout=CHECKS)
            self.listening = True
            self.loop.create_task(self._after(checks))
            while True:
                await self.proxy.check_routes(self.users, {})
                await asyncio.sleep(ROUTES)
        except Exception as error:  # noqa: BLE001 - any is against the law
            self.world.broken(f"the hub did not start: {error!r}")

    async def _after(self, checks: Any) -> None:
        try:
            await checks
        except Exception as error:  # noqa: BLE001 - any is against the law
            self.world.broken(f"the checks at the hub's start ended with {error!r}")
        await self.proxy.check_routes(self.users, {})

    # Requests

    def request(self, work: Coroutine[Any, Any, Any], then: Callable[[Any], None] | None = None) -> None:
        """Let the hub answer a request; `then` gets the value or the exception, unless the hub dies before."""
        with self.loop.running():
            task = self.loop.create_task(work)

        def done(finished: asyncio.Task[Any]) -> None:
            if finished.cancelled() or self.ended:
                return
            error = finished.exception()
            if then is not None:
                then(finished.result() if error is None else error)

        task.add_done_callback(done)

    def find_user(self, person: str) -> Any:
        """Return the hub's user, None if there is none."""
        return find_user(self.users, self.db, person)

    def start(self, person: str, server: str) -> Coroutine[Any, Any, Any]:
        """POST /users/PERSON/servers/SERVER."""
        return ServerDesk(self, {}).post(person, server)

    def stop(self, person: str, server: str, *, remove: bool) -> Coroutine[Any, Any, Any]:
        """DELETE /users/PERSON/servers/SERVER."""
        return ServerDesk(self, {"remove": remove}).delete(person, server)

    def remove_user(self, person: str) -> Coroutine[Any, Any, Any]:
        """DELETE /users/PERSON."""
        return UserDesk(self, {}).delete(person)

    def know(self, person: str) -> None:
        """Let a person log in."""
        if self.find_user(person) is None:
            self.users.add(add_user(self.db, person))

    def spawner(self, person: str, server: str) -> Any:
        """Return a spawner that is there, else None."""
        user = self.find_user(person)
        return None if user is None else user.spawners.get(server)

    def token(self, text: str) -> Any:
        """Return a token's record; the next time without JupyterHub's search, a third of all work."""
        number = self._tokens.get(text)
        known = None if number is None else self.db.get(orm.APIToken, number)
        if known is None or not known.match(text):
            known = orm.APIToken.find(self.db, text)
            self._tokens[text] = None if known is None else known.id
        return known

    # End

    def kill(self) -> None:
        """End at once, as by SIGKILL."""
        if self.ended:
            return
        self.ended = self.proxy.closed = True
        self.listening = False
        self.door.open = False
        self.db.ended = True
        self.loop.drop()
        self.database.crash(self.db)
        for line in self.lines:
            if line.open:
                line.close()

    def leave(self) -> None:
        """End in order, as by SIGTERM: what runs is cancelled and may clean up, then the process ends."""
        self.listening = False
        with self.loop.running():
            for task in list(self.loop.tasks):
                task.cancel()
            for _ in range(2000):
                if not self.loop.run_one():
                    break
        self.kill()


def find_user(users: UserDict, db: Any, name: str) -> Any:
    """Return the hub's user, None if there is none; whom the hub has met it finds without its database."""
    for user in users.values():
        if user.name == name:
            return user
    orm_user = orm.User.find(db, name)
    return None if orm_user is None else users[orm_user]


class Deaf:
    """Takes every count and keeps none."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_args, **_kwargs: None


def make_service(settings: dict[str, Any], door: Door, world: World, database: Database) -> ClusterService:
    """Make the service that `ClusterService.of` would make, with this world's door and clock."""
    holder: list[ClusterService] = []
    reflector = JobReflector(
        door.jobs,
        owners=lambda: holder[0].watch.owners(),  # noqa: PLW0108 - it is not there yet
        clock=world.clock.epoch,
        monotonic=lambda: world.clock.now,
        jitter=lambda: 0.5,
        log=LOG,
    )
    service = ClusterService(
        POLICY,
        door,
        Ledger(settings["db"], log=LOG),
        log=LOG,
        metrics=Deaf(),
        clock=world.clock.epoch,
        reflector=reflector,
        read=database.kept,
    )
    holder.append(service)
    return service
