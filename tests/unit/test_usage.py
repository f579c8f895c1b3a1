"""What a tree of processes listens on, with real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from sgehub.usage import Listener, listeners, listening_ports, tree


def test_the_tree_knows_what_listens_below():
    """A grandchild's socket counts, with its address; a process that is gone listens nowhere."""
    grandchild = (
        "import socket; s=socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    )
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grandchild!r}])"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        port = int(process.stdout.readline())
        assert tree(process.pid)[0] == process.pid
        assert len(tree(process.pid)) == 2
        assert listeners(process.pid) == {Listener("127.0.0.1", port)}
        assert (len(listeners(process.pid, "tcp4")), len(listeners(process.pid, "tcp6"))) == (1, 0)
        assert listening_ports(process.pid) == {port}
        with socket.create_server(("127.0.0.1", 0)) as other:
            assert listening_ports(process.pid) == {port}
            assert other.getsockname()[1] in listening_ports(os.getpid())
        process.stdin.close()
        process.wait()
    assert tree(process.pid) == ()
    assert listening_ports(process.pid) == frozenset()
