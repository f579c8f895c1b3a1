"""One person's session in a test of faults: where its job stands, what its person reads, what it computes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any
from uuid import uuid4

from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from sgehub.lab.cluster import Lab
from sgehub.lab.layout import HEAD
from tests.lab.faults import FaultSite, People, Server, fault_hub
from tests.lab.faulty import order, until
from tests.lab.person import Answer

SMALL = {"memory": "1G", "runtime": "00:30:00"}
# JupyterHub's own words about a server that has ended, and about a start that has failed.
ENDED = r"User \w+ server stopped,? with exit code"
FAILED = r"(Not starting|Unhandled error starting) \w+'s server|(403|500) POST"
KERNEL_SECONDS = 60.0


class OneSession:
    """The default server of one person; nothing is started before `start`."""

    def __init__(self, people: People, name: str) -> None:
        self.site: FaultSite = people.site
        self.lab: Lab = people.site.lab
        self.people = people
        self.person = next(one for one in (people.running, people.queued, people.starting) if one.name == name)
        self.server: Server = (name, "")

    def start(self, **request: str) -> Answer:
        """Press Start."""
        return self.person.start({**SMALL, **request})

    def ready(self, **request: str) -> OneSession:
        """Press Start and wait until the session is ready."""
        answer = self.start(**request)
        assert answer.status in (201, 202), answer.text
        self.reaches("ready")
        return self

    @property
    def state(self) -> str:
        """What it is by API and proxy, see `People.state`."""
        return self.people.state(self.person)

    def reaches(self, state: str, seconds: float = 60.0) -> float:
        """Wait for a state; return the seconds it took."""
        return self.people.wait_for({self.person.name: state}, seconds)

    def jobless(self, seconds: float = 60.0) -> float:
        """Wait until the hub calls it gone and no job of any session is left; return the seconds it took."""
        return until(lambda: self.state == "gone" and not self.site.our_jobs(), seconds)

    @property
    def record(self) -> dict[str, Any]:
        """What the hub's database has of it."""
        model = self.site.api("GET", f"/users/{self.person.name}").json["servers"][""]
        found: dict[str, Any] = model["state"]["session"]
        return found

    @property
    def job(self) -> str:
        """The number of its job."""
        until(lambda: self.site.number(*self.server), what=f"the number of {self.person.name}'s job")
        return str(self.site.number(*self.server))

    @property
    def node(self) -> str:
        """The host that its job runs on, as Grid Engine says it."""
        listing = order(self.lab, "qstat", "-u", self.person.name)
        return re.findall(r"@(node\d+)", listing)[-1]

    def letters(self) -> str:
        """Return the state of its job, "" when there is none."""
        return self.site.our_jobs().get(self.site.sessions()[self.server].tag, "")

    def page(self) -> int:
        """Return the status of the session's own page, through the proxy."""
        return self.people.page(self.person)

    def reads(self) -> str:
        """Return what the home page says of the session, or of how it ended."""
        found = re.findall(r'(?s)<div class="sgehub-note".*?>(.*?)</div>', self.person.open("/hub/home").text)
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", " ".join(found))).split()).replace(" :", ":")

    def processes(self, pattern: str = "") -> list[str]:
        """Return the numbers of the person's processes on its host; those whose command line has the pattern."""
        match = ["-f", pattern] if pattern else []
        return self.lab.run(self.node, ["pgrep", "-u", self.person.name, *match]).stdout.split()

    def kill(self, pattern: str = "") -> None:
        """Kill such processes at once."""
        node, found = self.node, self.processes(pattern)
        assert found
        self.lab.run(node, ["kill", "-KILL", *found])  # some end by themselves with the others

    def save(self, name: str, text: str) -> int:
        """Save a file as JupyterLab does; return the status."""
        body = {"type": "file", "format": "text", "content": text}
        return self.person.open(
            f"/user/{self.person.name}/api/contents/{name}",
            json.dumps(body).encode(),
            method="PUT",
            redirect=False,
            Authorization=f"token {self.person.token}",
            Content_Type="application/json",
        ).status

    def kernel(self) -> Kernel:
        """Start a Python kernel."""
        answer = self.person.open(
            f"/user/{self.person.name}/api/kernels",
            b"{}",
            redirect=False,
            Authorization=f"token {self.person.token}",
            Content_Type="application/json",
        )
        assert answer.status == 201, answer.text
        return Kernel(self.person.url, self.person.name, self.person.token, answer.json["id"])


class Kernel:
    """A running kernel of somebody's session."""

    def __init__(self, url: str, name: str, token: str, number: str) -> None:
        self._url = f"{url.replace('http', 'ws', 1)}/user/{name}/api/kernels/{number}/channels"
        self._token = token

    def run(self, code: str, *, wait: bool = True) -> dict[str, Any]:
        """Run code in it; return the reply's content, {} without waiting for it."""
        return asyncio.run(asyncio.wait_for(self._run(code, wait=wait), KERNEL_SECONDS))

    async def _run(self, code: str, *, wait: bool) -> dict[str, Any]:
        request = HTTPRequest(self._url, headers={"Authorization": f"token {self._token}"})
        connection = await websocket_connect(request)
        try:
            return await self._ask(connection, code, wait=wait)
        finally:
            connection.close()
            while await connection.read_message() is not None:
                pass  # until the other end has closed it as well

    async def _ask(self, connection: WebSocketClientConnection, code: str, *, wait: bool) -> dict[str, Any]:
        header = {
            "msg_id": uuid4().hex,
            "session": uuid4().hex,
            "msg_type": "execute_request",
            "username": "",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        await connection.write_message(json.dumps(message))
        while (heard := await connection.read_message()) is not None:
            answer = json.loads(heard)
            busy = answer["msg_type"] == "status" and answer["content"]["execution_state"] == "busy"
            if answer["parent_header"].get("msg_id") != header["msg_id"]:
                continue
            if answer["msg_type"] == "execute_reply" or (busy and not wait):
                found: dict[str, Any] = answer["content"]
                return found if wait else {}
        raise AssertionError("The kernel's connection ended.")


@contextmanager
def people_of(lab: Lab, **changes: Any) -> Iterator[People]:
    """Run a hub whose surroundings can be broken, and log three people in; nobody has a session."""
    with fault_hub(lab, **changes) as site:
        yield People(site, *(site.person(name) for name in ("alice", "bob", "carol")))


def rest(people: People) -> None:
    """End all sessions, and wait until the hub and Grid Engine have none."""
    site = people.site
    order(site.lab, "qmod", "-e", "*")
    for name, server in site.sessions():
        path = f"/users/{name}/servers/{server}" if server else f"/users/{name}/server"
        site.api("DELETE", path)
    site.lab.run(HEAD, ["qdel", "-u", "*"])
    until(lambda: not site.our_jobs() and not site.sessions(), what="nobody has a session")
