"""A forwarded port: whole bytes both ways, ends passed on one by one, and a host that may go and come back."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sgehub.lab.cluster import Lab
from sgehub.lab.errors import LabError
from sgehub.lab.forward import Forward, socket_inside
from sgehub.lab.process import HostProcess

PORT = 7070
# Answers each connection only after the other side has ended: with the length and hash of what it sent.
SERVER = """
import hashlib, socket, threading
def serve(c):
    total = b"".join(iter(lambda: c.recv(65536), b""))
    c.sendall(b"%d %s\\n" % (len(total), hashlib.sha256(total).hexdigest().encode()) + total)
    c.close()
s = socket.create_server(("", 7070))
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[HostProcess]:
    """Run a server on the head that hears its clients out before it answers."""
    running = lab.popen("head", ["/usr/bin/python3", "-c", SERVER], user="alice", stdout=-1)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    yield running
    running.kill()
    running.communicate()


@pytest.fixture
def forward(lab: Lab, server: HostProcess) -> Iterator[Forward]:
    """Forward a free port of the machine to that server."""
    assert server.poll() is None
    with Forward(lambda: lab.namespace("head", "net"), PORT) as forward:
        yield forward


def send(connection: socket.socket, data: bytes) -> None:
    """Send data and end our side; the other side may have gone away already."""
    with suppress(OSError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def ask(port: int, data: bytes) -> bytes:
    """Send data, end our side, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        sending = threading.Thread(target=send, args=(connection, data))
        sending.start()
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
        sending.join()
        return answer


def test_bytes_pass_whole_and_ends_one_by_one(forward: Forward) -> None:
    """Eight megabytes pass unharmed, and our end reaches the server while its answer still comes back."""
    data = bytes(range(256)) * (8 << 12)
    words, _, back = ask(forward.port, data).partition(b"\n")
    assert words.decode() == f"{len(data)} {hashlib.sha256(data).hexdigest()}"
    assert back == data


def test_many_connections_at_once(forward: Forward) -> None:
    """Connections do not wait for each other."""
    idle = [socket.create_connection(("127.0.0.1", forward.port), timeout=5) for _ in range(20)]
    try:
        assert ask(forward.port, b"hello").startswith(b"5 ")
    finally:
        for connection in idle:
            connection.close()


def test_connections_stay_on_loopback(forward: Forward) -> None:
    """The port is open on 127.0.0.1 and nowhere else."""
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    addresses = {
        row[1].split(":")[0]
        for row in listening
        if row[3] == "0A" and int(row[1].split(":")[1], 16) == forward.port
    }
    assert addresses == {"0100007F"}


def test_nobody_behind_it_ends_the_connection(lab: Lab) -> None:
    """Where nothing listens, a client is sent away at once."""
    with Forward(lambda: lab.namespace("node01", "net"), PORT) as forward, suppress(ConnectionResetError):
        assert ask(forward.port, b"hello") == b""


def test_the_host_may_come_later(lab: Lab, server: HostProcess) -> None:
    """The namespace is looked up at each connection: a host that was off answers once it is there."""
    assert server.poll() is None
    there = False

    def network() -> Path:
        if not there:
            raise LabError("The host head is off.")
        return lab.namespace("head", "net")

    with Forward(network, PORT) as forward:
        with suppress(ConnectionResetError):
            assert ask(forward.port, b"") == b""
        there = True
        assert ask(forward.port, b"now").startswith(b"3 ")


def test_end_gives_everything_back(lab: Lab, server: HostProcess) -> None:
    """After the block connections are cut, the port is free and no thread is left in the host's network."""
    assert server.poll() is None
    threads = threading.active_count()
    with Forward(lambda: lab.namespace("head", "net"), PORT) as forward:
        connection = socket.create_connection(("127.0.0.1", forward.port), timeout=5)
        connection.sendall(b"half a")
        time.sleep(0.2)
    with connection, suppress(ConnectionResetError):
        assert connection.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", forward.port), timeout=5)
    assert threading.active_count() == threads
    Forward(lambda: lab.namespace("head", "net"), PORT, port=forward.port).close()


def test_a_socket_inside_leaves_the_thread_where_it_was(lab: Lab) -> None:
    """Making a socket in a host's network changes nothing for the thread that makes it."""
    here = Path("/proc/thread-self/ns/net").readlink()
    with socket_inside(lambda: lab.namespace("node01", "net")) as made:
        made.connect((lab.address("head"), 6444))
    assert Path("/proc/thread-self/ns/net").readlink() == here
