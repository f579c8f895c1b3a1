"""Play the sessions of simulated jobs: one process on the head that answers for all their servers.

Arguments: port, JupyterHub's version, people. Runs as root, so that it can read people's launch files. An order is
a line on standard input with a number: it looks for running jobs of the hub's and these people, reports a port for
each as sgehub-session does, and answers with a line when so many sessions have been accepted in all. While no
order is under way it asks Grid Engine nothing. The servers are stubs: they answer every request with an empty 200.
"""

from __future__ import annotations

import asyncio
import json
import pwd
import random
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between reports, as in sgehub.session.report
LOOK = 2.0  # seconds between looks for running jobs
AT_ONCE = 16  # reports of new sessions; the jobs of a real cluster do not all start in one second
JOB = re.compile(rb"<job_list.*?</job_list>", re.DOTALL)
FIELD = re.compile(rb"<(JB_name|JB_owner|state)>([^<]*)<")
NAME = re.compile(r"sgehub-([0-9a-f]{12})")


class Players:
    """All sessions that are played."""

    def __init__(self, port: int, version: str, people: str) -> None:
        self.port = port
        self.answer = (
            f"HTTP/1.1 200 OK\r\nX-JupyterHub-Version: {version}\r\nContent-Type: application/json\r\n"
            "Content-Length: 2\r\nConnection: close\r\n\r\n{}"
        ).encode()
        self.people = people
        self.known: set[str] = set()
        self.accepted = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.turn = asyncio.Semaphore(AT_ONCE)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request of the proxy or the hub."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self.answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def play(self, wanted: int) -> None:
        """Find running jobs and play their sessions until so many are accepted."""
        while self.accepted < wanted:
            process = await asyncio.create_subprocess_exec(
                *("qstat", "-u", self.people, "-s", "r", "-xml"), stdout=asyncio.subprocess.PIPE
            )
            said, _ = await process.communicate()
            for entry in JOB.findall(said):
                fields = {key: value.decode() for key, value in FIELD.findall(entry)}
                name = NAME.fullmatch(fields.get(b"JB_name", ""))
                if name and fields.get(b"state") == "r" and name[1] not in self.known:
                    self.known.add(name[1])
                    self._begin(fields[b"JB_owner"], name[1])
            await asyncio.sleep(LOOK)

    def _begin(self, owner: str, tag: str) -> None:
        path = Path(pwd.getpwnam(owner).pw_dir) / ".sgehub" / "run" / f"{tag}.json"
        launch = json.loads(path.read_text())
        task = asyncio.get_running_loop().create_task(self._session(launch))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _session(self, launch: dict) -> None:
        report = launch["report"]
        url = report.get("line") or report["port"]
        pause, first = FIRST_PAUSE, True
        while True:
            begun = asyncio.get_running_loop().time()
            accepted = False
            try:
                if first:
                    async with self.turn:
                        line, accepted = await self._report(url, launch["token"])
                else:
                    line, accepted = await self._report(url, launch["token"])
                if accepted:
                    self.accepted += first
                    first = False
                    if "line" not in report:
                        return
                    await line.read()  # ends when the hub does
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                pass
            if accepted and asyncio.get_running_loop().time() - begun > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret depends on it
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _report(self, url: str, token: str) -> tuple[asyncio.StreamReader, bool]:
        """Report the port; return the connection and whether the hub has taken it."""
        parts = urlsplit(url)
        data = json.dumps({"port": self.port})
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: token {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
            f"Connection: close\r\n\r\n{data}".encode()
        )
        status = await asyncio.wait_for(reader.readuntil(b"\r\n"), 10.0)
        accepted = b" 200 " in status
        if not accepted:
            writer.close()
            sys.stderr.write(f"{status!r}\n")
        self._keep(reader, writer)
        return reader, accepted

    @staticmethod
    def _keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let the writer live as long as the reader: asyncio closes what nobody holds."""
        reader.writer = writer


async def main() -> None:
    """Serve, and follow orders until standard input ends."""
    players = Players(int(sys.argv[1]), sys.argv[2], sys.argv[3])
    # Debian's default backlog, 128, is too short when a hub that has restarted looks at all servers at once.
    await asyncio.start_server(players.serve, "0.0.0.0", players.port, backlog=2048)  # noqa: S104 - the lab's network
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := await orders.readline():
        await players.play(int(order))
        print(players.accepted, flush=True)


asyncio.run(main())
