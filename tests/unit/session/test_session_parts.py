"""The parts of a session: the job log's size, the candidates for a port, the POST to the hub."""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from sgehub.session.child import job_exit_code
from sgehub.session.log import JobLog
from sgehub.session.ports import candidates, is_free
from sgehub.session.report import post

from .conftest import TOKEN, until


@pytest.mark.parametrize("flags", [os.O_APPEND, 0], ids=["append", "plain"])
def test_a_log_at_its_limit_starts_again_with_its_last_lines(tmp_path, flags):
    """In place, whole lines, and says so; never larger than the limit."""
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    inode = path.stat().st_ino
    log = JobLog(descriptor, 10_000)
    for number in range(5000):
        log.write(f"line {number:04}\n".encode())
        assert path.stat().st_size <= 10_000
    lines = path.read_text().splitlines()
    assert lines[0] == "sgehub: the log had reached its limit; older lines were dropped."
    assert lines[1:] == [f"line {number:04}" for number in range(5000 - len(lines) + 1, 5000)]
    assert len(lines) > 400
    assert path.stat().st_ino == inode
    os.close(descriptor)


def test_the_log_counts_what_stood_in_it(tmp_path):
    """The job script has written before; a single huge write is cut to its last lines, whatever the limit."""
    path = tmp_path / "log"
    path.write_text("from the prologue\n" * 100)
    with path.open("ab") as file:
        JobLog(file.fileno(), 2000).write(b"x" * 300)
        assert "older lines were dropped" in path.read_text()
        JobLog(file.fileno(), 1).write(b"y" * 100_000)
    assert path.stat().st_size < 200


def test_a_sentence_is_one_line(tmp_path):
    """Control characters of a PATH or a file name do not reach a terminal."""
    path = tmp_path / "log"
    with path.open("ab") as file:
        JobLog(file.fileno(), 1000).say("a\nb\x1b[31m\udcff")
    assert path.read_text() == "sgehub: a?b?[31m?\n"


def test_a_log_that_cannot_be_written_holds_nothing_up():
    """A full disk loses lines; the server goes on writing."""
    with Path("/dev/full").open("wb", buffering=0) as full:
        log = JobLog(full.fileno(), 1000)
        source, sink = os.pipe()
        pump = log.pump(source)
        for _ in range(10):
            os.write(sink, b"x" * 60_000)
        os.close(sink)
        pump.join(5)
        assert not pump.is_alive()


def test_a_terminal_or_pipe_has_no_limit():
    """Only a regular file can be emptied."""
    source, sink = os.pipe()
    JobLog(sink, 10).write(b"more than ten bytes\n")
    os.close(sink)
    with os.fdopen(source, "rb") as pipe:
        assert pipe.read() == b"more than ten bytes\n"


def test_candidates_are_the_range_in_another_order():
    """Each port once, both ends included; two sessions differ."""
    first, second = list(candidates((20000, 20099))), list(candidates((20000, 20099)))
    assert sorted(first) == sorted(second) == list(range(20000, 20100))
    assert first != second
    assert list(candidates((7, 7))) == [7]


def test_a_port_is_free_unless_somebody_listens(job):
    """Also on one address only; connections that linger after a server's end do not count."""
    port = job.ports[0]
    assert is_free("0.0.0.0", port)  # noqa: S104 - asked, not served
    assert is_free("::1", port)
    with socket.create_server(("127.0.0.1", port)) as server:
        assert not is_free("0.0.0.0", port)  # noqa: S104 - the same
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    assert is_free("0.0.0.0", port)  # noqa: S104 - the same


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (99, 1), (100, 1), (101, 101), (-15, 143), (-9, 137)])
def test_grid_engines_orders_are_not_given(code, expected):
    """99 would run the job again, 100 put it into error state."""
    assert job_exit_code(code) == expected


def serve_once(answer: bytes | None, *, trickle: float = 0):
    """Answer one connection with these bytes, or never; return (url, received, thread)."""
    server = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def run():
        with suppress(OSError), server, server.accept()[0] as connection:
            received.append(connection.recv(65536))
            for byte in answer or b"":
                connection.sendall(bytes([byte]))
                time.sleep(trickle)
            if answer is None:
                connection.settimeout(5)
                connection.recv(1)

    thread = threading.Thread(target=run)
    thread.start()
    return f"http://127.0.0.1:{server.getsockname()[1]}/hub/api/x?y=1", received, thread


def test_the_post_is_plain_http(monkeypatch):
    """Authorization, JSON, a length; past any web proxy that the environment names."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:9")
    url, received, thread = serve_once(b"HTTP/1.1 200 OK\r\n\r\n", trickle=0.001)
    assert post(url, TOKEN, {"port": 5}) == 200
    thread.join()
    head, _, body = received[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /hub/api/x?y=1 HTTP/1.1"
    assert f"Authorization: token {TOKEN}" in lines
    assert "Content-Length: 11" in lines
    assert body == b'{"port": 5}'


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 many\r\n", b"HTTP/1.1\r\n", b"\n", b"x" * 9999]
)
def test_what_is_not_http_is_no_answer(answer):
    """Something else may listen where the hub was."""
    url, _, thread = serve_once(answer)
    with pytest.raises(OSError, match=r"not HTTP|reset"):
        post(url, TOKEN, {"port": 5})
    thread.join()


@pytest.mark.parametrize(("answer", "trickle"), [(None, 0.0), (b"HTTP/1.1 " + b"2" * 20, 0.1)])
def test_an_answer_has_its_time(answer, trickle):
    """Neither silence nor a byte now and then holds a session up."""
    url, _, thread = serve_once(answer, trickle=trickle)
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        post(url, TOKEN, {"port": 5}, 0.5)
    assert time.monotonic() - begin < 2.5
    thread.join()


def test_a_chatty_server_does_not_fill_the_disk(job, hub):
    """The cap holds in a real session, and the last lines are those that stay."""
    job.start("chatty", "200000", log_limit=200_000)
    until(lambda: hub.posts)
    until(lambda: "listening" in job.text())
    assert job.log.stat().st_size <= 200_000
    assert "line 0199999\nlistening\n" in job.text()
    assert job.log.stat().st_mode & 0o777 == 0o600
