"""Start a server, print the seconds from its start to its first good HTTP answer, end it.

Runs on an execution host as the person, with nothing but the standard library. Reads from standard input:
{"command": [...], "environment": {...}, "port": N, "path": "/user/..."}.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

SECONDS = 60.0
PAUSE = 0.01


def answers(port: int, path: str) -> bool:
    """Tell whether a GET of `path` is answered with 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return b" 200 " in connection.recv(100)
    except OSError:
        return False


def measure(order: dict) -> float:
    """Return the seconds from start to answer."""
    folder = tempfile.mkdtemp()
    environment = {**order["environment"], "TMPDIR": folder, "JUPYTER_RUNTIME_DIR": f"{folder}/jupyter-runtime"}
    began = time.time()
    process = subprocess.Popen(  # the command is the benchmark's own
        order["command"],
        env=environment,
        cwd=environment["HOME"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not answers(order["port"], order["path"]):
            if process.poll() is not None or time.time() - began > SECONDS:
                raise SystemExit("The single-user server of the floor did not answer.")
            time.sleep(PAUSE)
        return time.time() - began
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


print(measure(json.load(sys.stdin)))
