"""What a session may report: its port and its end, by the token of this very start, and nothing else."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.conftest import Site, running_hub
from tests.lab.intruder import Routes, routes
from tests.lab.person import Answer, Person
from tests.lab.prying import server_token

PORT, END = "/batchspawner", "/sgehub/end"
SMALL = {"memory": "1G"}


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Site]:
    """Run the hub that is shipped, with all it may log."""
    with running_hub(lab, config="c.JupyterHub.log_level = 10") as site:
        yield site


@dataclass
class Target:
    """Alice's running session, and all there is to change about it."""

    site: Site
    alice: Person
    routes: Routes
    token: str
    port: int

    def everything(self) -> tuple[Any, ...]:
        """Return what no refused report may change."""
        model = self.alice.model()
        for changing in ("last_activity", "progress_url"):
            model.pop(changing, None)
        return model, self.routes.table().keys(), self.routes.target(self.alice), self.site.jobs()

    def post(self, path: str, body: bytes, token: str | None = None, **headers: str) -> int:
        """Post as a session does; return the status."""
        return self.call("POST", path, body, {"Authorization": f"token {token or self.token}", **headers}).status

    def judged(self, port: int, token: str | None = None) -> int:
        """Report a port as a session does: again while only a newer table can tell; return the status."""
        body = json.dumps({"port": port}).encode()
        until = time.monotonic() + 30
        while (status := self.post(PORT, body, token)) == 503 and time.monotonic() < until:
            time.sleep(0.2)
        return status

    def call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Send any request to the hub's API."""
        request = urllib.request.Request(f"{self.site.url}/hub/api{path}", data=body, method=method)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return Answer(answer.status, answer.read().decode(), path)
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read().decode(errors="replace"), path)


def port_of(table: Routes, person: Person, server: str = "") -> int:
    """Return the port that a server's route leads to."""
    return int(str(table.target(person, server)).rpartition(":")[2])


@pytest.fixture(scope="module")
def target(hub: Site) -> Iterator[Target]:
    """Run one session for all tests, which leave it as it is."""
    alice = hub.person("alice")
    assert alice.start(SMALL).status in (201, 202)
    alice.wait_until(ready=True)
    with routes(hub) as table:
        port = port_of(table, alice)
        yield Target(hub, alice, table, server_token(hub, "alice"), port)
    alice.stop()
    hub.wait_for_jobs(0)


@pytest.fixture
def unchanged(target: Target) -> Iterator[Target]:
    """Let a test do its worst; afterwards everything is as it was, and the session answers."""
    before = target.everything()
    yield target
    assert target.everything() == before
    status = target.alice.open("/user/alice/api/status", Authorization=f"token {target.alice.token}")
    assert status.status == 200


VALUES = [
    *(
        "true",
        "false",
        "null",
        "20001.0",
        "2e4",
        "1e999",
        "NaN",
        "-Infinity",
        '"20001"',
        '""',
        "[20001]",
        "[]",
        "{}",
    ),
    *(
        '{"port": 20001}',
        "[[20001]]",
        "-1",
        "-20001",
        "0",
        "1",
        "22",
        "80",
        "1023",
        "65536",
        "70000",
        "1" + "0" * 30,
    ),
    *("9" * 5000, '"\\u0662\\u0660\\u0660\\u0660\\u0661"', "0x4e21", "020001", "20001abc"),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_only_an_integer_that_is_a_port_is_taken(unchanged: Target, value: str):
    """Not what looks like one, not what becomes one."""
    assert unchanged.post(PORT, f'{{"port": {value}}}'.encode()) == 400


def test_an_exit_code_is_one_of_256(unchanged: Target):
    """The other address is as strict."""
    for value in ("true", "null", "-1", "256", "1.0", '"1"', "[1]", "1" + "0" * 30):
        assert unchanged.post(END, f'{{"exit_code": {value}}}'.encode()) == 400


BODIES = [
    *(
        b"",
        b"{}",
        b"[]",
        b"null",
        b"20001",
        b'"port"',
        b"port=20001",
        b'[["port", 20001]]',
        b'{"port"}',
        b"\xff\xfe\x00",
    ),
    *(b'{"Port": 20001}', b'{"port ": 20001}', b'{"exit_code": 0}', b'{"": 20001}'),
    *(b'{"port": 20001, "ip": "10.0.0.1"}', b'{"port": 20001, "cmd": ["sh"]}', b'{"port": 20001, "port": 20002}'),
    *(
        b'{"port": 20001, "req_options": "-q x"}',
        b'{"record": null}',
        b'{"port": 20001, "record": {"token_id": 1}}',
    ),
    *(b'{"job_id": "1"}', b'{"ip": "127.0.0.1"}', b'{"server": null}', b'{"__class__": 1}', b'{"port": 20001}{}'),
    *(b'{"port": 20001}' + b" " * 300, b"[" * 100_000, b'{"port": 20001, "x": "' + b"a" * (1 << 20) + b'"}'),
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_nothing_but_the_port_is_taken(unchanged: Target, body: bytes):
    """Another key, a further one, the same one twice, no JSON, a megabyte."""
    assert unchanged.post(PORT, body) == 400


@pytest.mark.parametrize("path", [PORT, END])
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"],
)
def test_another_content_type_is_not_taken(unchanged: Target, path: str, kind: str):
    """What a page of somebody else's could send with the person's cookies is refused before it is read."""
    body = f'{{"port": {unchanged.port}}}' if path == PORT else '{"exit_code": 0}'
    status = unchanged.call(
        "POST", path, body.encode(), {"Authorization": f"token {unchanged.token}", "Content-Type": kind}
    ).status
    assert status == (400 if "multipart" in kind else 415)  # the first is no body of that type at all


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("path", [PORT, END])
def test_another_method_does_nothing(unchanged: Target, path: str, method: str):
    """Only POST reports. OPTIONS is JupyterHub's, and says that."""
    headers = {"Authorization": f"token {unchanged.token}"}
    body = f'{{"port": {unchanged.port}}}'.encode() if path == PORT else b'{"exit_code": 0}'
    assert unchanged.call(method, path, body, headers).status == (200 if method == "OPTIONS" else 405)


def refused_token(target: Target, token: str) -> None:
    """Hold every report with a token against the rule."""
    own = json.dumps({"port": target.port}).encode()
    for path, body in ((PORT, b'{"port": 20001}'), (PORT, own), (END, b'{"exit_code": 0}')):
        assert target.post(path, body, token) == 403


def test_no_other_token_is_taken(unchanged: Target):
    """Made up, half, of the person's own making, of the login page."""
    token = unchanged.token
    for other in ("x", "0" * 32, token[:-1], token + "0", token.upper(), unchanged.alice.token):
        refused_token(unchanged, other)


def test_a_token_with_the_servers_own_scopes_is_not_taken(unchanged: Target):
    """A person can make a token that may all that the server's may; it is another record."""
    alice = unchanged.alice
    mine = alice.api("GET", "/user", token=unchanged.token).json["scopes"]
    made = alice.api(
        "POST", "/users/alice/tokens", {"scopes": mine, "note": "Server at /user/alice/", "expires_in": 600}
    )
    assert made.status == 201, made.text
    token = made.json["token"]
    assert sorted(alice.api("GET", "/user", token=token).json["scopes"]) == sorted(mine)
    refused_token(unchanged, token)
    assert alice.api("DELETE", f"/users/alice/tokens/{made.json['id']}").status == 204
    refused_token(unchanged, token)


@pytest.mark.parametrize(("name", "server"), [("alice", "second"), ("bob", "")])
def test_the_token_of_another_server_is_not_taken(unchanged: Target, name: str, server: str):
    """It speaks for its own server only: the first one stays as it is, the other takes its own port again."""
    site = unchanged.site
    other = unchanged.alice if name == "alice" else site.person(name)
    assert other.start(SMALL, server).status in (201, 202)
    other.wait_until(ready=True, server=server)
    try:
        token = server_token(site, name, server)
        assert token != unchanged.token
        port = port_of(unchanged.routes, other, server)
        assert port != unchanged.port
        assert unchanged.judged(unchanged.port, token) == 409
        assert unchanged.judged(port) == 409
        assert unchanged.post(PORT, json.dumps({"port": port}).encode(), token) == 200
    finally:
        other.stop(server)
        site.wait_for_jobs(1)
        other.wait_until(ready=False, server=server)
    refused_token(unchanged, token)


def test_a_token_elsewhere_than_in_the_header_is_not_taken(unchanged: Target):
    """Neither in the address, which ends in logs, nor in the body, nor as a password."""
    token, body = unchanged.token, json.dumps({"port": unchanged.port}).encode()
    assert unchanged.call("POST", f"{PORT}?token={token}", body, {}).status == 403
    assert unchanged.call("POST", f"{PORT}?token={token}&_xsrf=x", body, {"Cookie": "_xsrf=x"}).status == 403
    assert unchanged.call("POST", PORT, body, {"Cookie": f"token={token}"}).status == 403
    assert unchanged.call("POST", PORT, body, {"Authorization": f"Basic {token}"}).status == 403
    assert unchanged.call("POST", PORT, body, {"X-Authorization": f"token {token}"}).status == 403
    assert unchanged.call("POST", PORT, body, {}).status == 403
    assert unchanged.call("POST", END, b'{"exit_code": 0}', {}).status == 403


def test_the_persons_cookies_are_not_taken(unchanged: Target):
    """A page in her browser cannot report for her."""
    alice = unchanged.alice
    alice.open("/hub/home")
    for path, body in ((PORT, {"port": unchanged.port}), (END, {"exit_code": 0})):
        headers = {"X_XSRFToken": alice.xsrf(), "Content_Type": "application/json"}
        answer = alice.open(
            f"/hub/api{path}?_xsrf={alice.xsrf()}",
            json.dumps(body).encode(),
            Referer=f"{alice.url}/hub/home",
            **headers,
        )
        assert answer.status == 403


def test_another_port_after_the_start_is_a_conflict(unchanged: Target):
    """The same again is fine, as often as it is said."""
    port = unchanged.port
    for _ in range(3):
        assert unchanged.post(PORT, json.dumps({"port": port}).encode()) == 200
    for other in (port + 1, 1024, 65535):
        assert unchanged.judged(other) == 409
    assert unchanged.post(PORT, json.dumps({"port": port}).encode()) == 200


def test_a_refused_report_leaves_no_traceback(target: Target):
    """Nothing above has surprised the hub."""
    log = target.site.hub.log()
    assert "Traceback" not in log
    assert "Uncaught exception" not in log
    assert target.token not in log


def test_a_revoked_token_is_refused_and_its_number_gives_nothing(hub: Site, target: Target):
    """The database gives its number to the person's next one, which is still another."""
    alice = target.alice
    alice.start(SMALL, "third")
    alice.wait_until(ready=True, server="third")
    try:
        token = server_token(hub, "alice", "third")
        port = port_of(target.routes, alice, "third")
        body = json.dumps({"port": port}).encode()
        assert target.post(PORT, body, token) == 200
        found = alice.api("GET", "/users/alice/tokens").json["api_tokens"]
        [own] = [one["id"] for one in found if one["note"] == "Server at /user/alice/third/"]
        assert alice.api("DELETE", f"/users/alice/tokens/{own}").status == 204
        refused_token(target, token)
        numbers = []
        for _ in range(5):
            made = alice.api("POST", "/users/alice/tokens", {"note": "Server at /user/alice/third/"}).json
            numbers.append(made["id"])
            assert target.post(PORT, body, made["token"]) == 403
            assert target.post(END, b'{"exit_code": 0}', made["token"]) == 403
        print(f"\nthe server's token was {own}, the next ones {numbers}")
    finally:
        alice.stop("third")
        hub.wait_for_jobs(1)
    assert alice.wait_until(ready=False, server="third") == {}
    assert alice.api("GET", "/user", token=made["token"]).status == 200  # the end has not revoked hers
