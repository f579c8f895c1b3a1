"""Sessions' lines between the real reporting half and a real hub, which is killed and started again."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from tornado.iostream import IOStream, StreamClosedError

from sgehub.hub.line import Lines
from sgehub.session.report import PortReport, call, post
from tests.unit.session.conftest import Job

ROOT = Path(__file__).parents[3]
PORT = 20001


class Hub:
    """The program `line_hub`, what it says, and how it is spoken to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.url = self.address("/sgehub/line")
        self.said: list[dict[str, Any]] = []
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "tests.unit.hub.line_hub", str(self.folder), str(self.port), "3"]
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._listener = threading.Thread(target=self._listen, args=(self.process,))
        self._listener.start()
        self.wait("listening", "hub", 1 + self.count("listening", "hub"), 60)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self.said.append(json.loads(line))

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/hub/api{path}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def tell(self, words: str) -> None:
        """Say something to the hub, and wait until it has been done."""
        what = words.split(maxsplit=1)[0]
        before = self.count("done", what)
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        self.wait("done", what, before + 1)

    def count(self, what: str, who: str = "person0") -> int:
        return sum((one["what"], one["who"]) == (what, who) for one in self.said)

    def wait(self, what: str, who: str = "person0", count: int = 1, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while self.count(what, who) < count:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, f"{what} did not happen {count} times: {self.said}"
            time.sleep(0.02)

    def token(self, number: int = 0) -> str:
        return (self.folder / "tokens").read_text().split()[number]

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def open(self, body: Any = None, *, number: int = 0, token: str = "") -> tuple[int, socket.socket]:
        """Report a port; return the status and the connection."""
        return call(self.url, token or self.token(number), {"port": PORT} if body is None else body)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Run one hub for all tests: it takes seconds to start."""
    started = Hub(tmp_path_factory.mktemp("hub"))
    yield started
    started.kill()


@pytest.fixture
def hub(running: Hub) -> Iterator[Hub]:
    """Return the hub as if it had just been started, with nothing said and no lines."""
    running.said.clear()
    (running.folder / "log").write_text("")
    yield running
    running.tell("reset")


class Reporter:
    """A session's reporting half, and what it has said in the job log."""

    def __init__(self, hub: Hub, number: int = 0) -> None:
        self.sentences: list[str] = []
        self.done = threading.Event()
        token = hub.token(number)
        self.report = PortReport(hub.url, token, PORT, self.done.set, self.sentences.append)


@pytest.fixture
def reporter(hub: Hub) -> Iterator[Reporter]:
    one = Reporter(hub)
    yield one
    one.report.stop()


def ended(connection: socket.socket, seconds: float = 5) -> bool:
    """Tell whether the other end closes a line in time; reads what is left of the answer's head."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def test_a_line_stays_open_and_is_logged_once(hub, reporter):
    """The report is answered at once; nothing more is said on either side, and the access log says 200 at once."""
    assert reporter.done.wait(5)
    assert reporter.report.accepted
    hub.wait("opened")
    time.sleep(1.5)
    assert (hub.count("port"), hub.count("opened"), hub.count("closed")) == (1, 1, 0)
    assert hub.log().count("200 POST /hub/api/sgehub/line (person0@127.0.0.1)") == 1


def test_of_a_report_nothing_stays_in_memory(hub):
    """Neither of one that has become a line, nor of others: thousands of sessions report."""
    with hub.open()[1]:
        hub.wait("opened")
        post(hub.address("/batchspawner"), hub.token(1), {"port": PORT})
        until = time.monotonic() + 5
        while not any(one.get("count") == 0 for one in hub.said):
            assert time.monotonic() < until
            hub.tell("handlers")


def test_a_whole_session_and_a_hub_that_is_killed(hub, tmp_path):
    """The session program outlives the hub, is heard by the next one, and is missed when it is gone."""
    job = Job(tmp_path, SimpleNamespace(url=hub.address))
    report = {"port": hub.address("/nowhere"), "line": hub.url, "end": hub.address("/sgehub/end")}
    try:
        job.start("listen", report=report, token=hub.token())
        hub.wait("opened")
        hub.kill()
        hub.start()
        hub.wait("opened", count=2, seconds=8)
        assert not job.launch.exists()
        assert {one["port"] for one in hub.said if one["what"] == "port"} == {int(job.notes("port")[0])}
        assert job.process.poll() is None
    finally:
        job.close()
    hub.wait("closed")


def test_a_session_that_is_gone_is_noticed_at_once(hub):
    """Whatever ended it: the kernel closes its connections."""
    status, connection = hub.open()
    assert status == 200
    hub.wait("opened")
    begin = time.monotonic()
    connection.close()
    hub.wait("closed")
    assert time.monotonic() - begin < 10


def test_a_newer_line_takes_the_place_of_the_older(hub):
    """The older is closed, and that is not the end of the session."""
    with hub.open()[1] as older, hub.open()[1] as newer:
        hub.wait("opened", count=2)
        assert ended(older)
        assert not ended(newer, 0.5)
        assert hub.count("closed") == 0
    hub.wait("closed")
    time.sleep(0.3)
    assert hub.count("closed") == 1


def test_the_hub_may_close_a_line(hub):
    """It is not told what it has done itself."""
    with hub.open()[1] as line:
        hub.wait("opened")
        hub.tell("close")
        assert ended(line)
    time.sleep(0.3)
    assert hub.count("closed") == 0


def test_the_line_of_an_earlier_start_says_nothing_of_a_later_one(hub):
    """The spawner has moved on; its old session ends whenever it likes."""
    with hub.open()[1]:
        hub.wait("opened")
        hub.tell("forget")
    time.sleep(0.3)
    assert hub.count("closed") == 0


def test_who_talks_on_a_line_loses_it(hub):
    """A few bytes are ignored, more close it, and none are interpreted."""
    with hub.open()[1] as line:
        hub.wait("opened")
        line.sendall(b"\r\n")
        assert not ended(line, 0.5)
        line.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        assert ended(line)
    hub.wait("closed")
    assert "GET /" not in hub.log()


@pytest.mark.parametrize(("answer", "status"), [("false", 409), ("null", 503)])
def test_a_port_that_is_not_taken_opens_no_line(hub, answer, status):
    """Refused for good, or not known yet: the connection ends with the answer, also at batchspawner's address."""
    hub.tell(f"answer {answer}")
    got, connection = hub.open()
    with connection:
        assert got == status
        assert ended(connection)
    assert post(hub.address("/batchspawner"), hub.token(), {"port": PORT}) == status
    assert hub.count("opened") == 0


@pytest.mark.parametrize("body", [{}, {"port": 80}, {"port": True}, {"port": PORT, "more": 1}, {"ports": PORT}])
def test_a_line_is_as_strict_as_a_report(hub, body):
    """One integer that is a port, and the token of the very start."""
    for token, status in (("", 400), ("somebody", 403)):
        got, connection = hub.open(body, token=token)
        connection.close()
        assert got == status
    assert hub.count("port") == hub.count("opened") == 0


def test_a_refusal_ends_no_session_that_was_once_known(hub, reporter):
    """The hub may have an old copy of its database: the job log says so once, and the session goes on."""
    hub.wait("opened")
    hub.tell("forget")
    hub.tell("close")
    until = time.monotonic() + 10
    while not reporter.sentences:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert reporter.sentences == [
        "the hub does not know this session any more (HTTP 403); asking again every minute."
    ]
    assert reporter.report.refusal is None
    time.sleep(1)
    assert hub.count("port") == 1


def test_a_first_report_that_the_hub_cannot_judge_yet_is_repeated(hub):
    """503 is no refusal."""
    hub.tell("answer null")
    one = Reporter(hub, 1)
    hub.wait("port", "person1", 2)
    assert not one.done.is_set()
    hub.tell("answer true")
    assert one.done.wait(8)
    one.report.stop()
    assert one.report.accepted
    hub.wait("opened", "person1")


def test_a_spawner_without_lines_has_no_such_address(hub):
    """Other batchspawners of the same hub know reports only."""
    hub.tell("old")
    status, connection = hub.open()
    connection.close()
    assert status == 404
    assert hub.count("port") == 0
    assert post(hub.address("/batchspawner"), hub.token(), {"port": PORT}) == 200


class Noting:
    """A spawner that notes what it is told."""

    def __init__(self) -> None:
        self.record = SimpleNamespace(tag="0" * 12)
        self.said: list[str] = []

    def line_opened(self, close: Any) -> None:
        self.close = close
        self.said.append("opened")

    def line_closed(self) -> None:
        self.said.append("closed")


async def test_a_connection_that_cannot_become_a_line_is_a_broken_one(monkeypatch):
    """The session has hung up meanwhile, or the hub has no file descriptors left: its spawner looks at once."""
    lines, spawner = Lines(), Noting()
    ours, theirs = (IOStream(one) for one in socket.socketpair())
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
        lines.open(spawner, ours, spawner.record.tag)
    with pytest.raises(StreamClosedError):
        await theirs.read_bytes(1)
    lines.open(spawner, ours, spawner.record.tag)  # it is closed now
    await asyncio.sleep(0)
    assert spawner.said == ["closed", "closed"]
    assert len(lines) == 0


async def test_a_line_that_lives_speaks_for_itself(monkeypatch):
    """Though a newer connection of the same session could not take its place."""
    lines, spawner = Lines(), Noting()
    (one, theirs), (other, others) = socket.socketpair(), socket.socketpair()
    lines.open(spawner, IOStream(one), spawner.record.tag)
    monkeypatch.setattr(os, "dup", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
    lines.open(spawner, IOStream(other), spawner.record.tag)
    await asyncio.sleep(0)
    assert spawner.said == ["opened"]
    theirs.close()
    await asyncio.sleep(0.1)
    assert spawner.said == ["opened", "closed"]
    assert len(lines) == 0
    spawner.close()  # does no harm
    others.close()


async def test_a_start_that_is_over_gets_no_line():
    """The head of the answer may be long under way."""
    lines, spawner = Lines(), Noting()
    ours, theirs = (IOStream(one) for one in socket.socketpair())
    lines.open(spawner, ours, "1" * 12)
    with pytest.raises(StreamClosedError):
        await theirs.read_bytes(1)
    assert (spawner.said, len(lines)) == ([], 0)
