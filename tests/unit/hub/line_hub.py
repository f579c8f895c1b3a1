"""A real hub as a program, with spawners that only note what sessions' lines tell them.

`python -m tests.unit.hub.line_hub FOLDER PORT COUNT`: FOLDER keeps the database and, in `tokens`, the tokens of
COUNT sessions. Everything that happens is a line of JSON on standard output. Standard input takes the words
`answer true|false|null` (to the next reports), `close` (all lines), `forget` (whom the tokens belong to), `old`
(know of no lines) and `reset` (all of that), and `handlers` (say how many are in memory, of finished reports too).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchspawner import BatchSpawnerBase
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from tornado.httpserver import HTTPServer

from sgehub.hub import api
from sgehub.hub.record import SessionRecord

ANSWER: list[bool | None] = [True]
LINES: dict[str, Callable[[], None]] = {}


def say(what: str, who: str, **more: Any) -> None:
    print(json.dumps({"what": what, "who": who, **more}), flush=True)


class Old(BatchSpawnerBase):
    """What a report needs of a spawner."""

    record: SessionRecord | None = None

    def accept_port(self, port: int) -> bool | None:
        say("port", self.user.name, port=port)
        return ANSWER[0]


class NotingSpawner(Old):
    """What a line needs of a spawner."""

    def line_opened(self, close: Callable[[], None]) -> None:
        LINES[self.user.name] = close
        say("opened", self.user.name)

    def line_closed(self) -> None:
        say("closed", self.user.name)


def sessions(app: JupyterHub, tokens: Path, count: int) -> dict[Old, SessionRecord]:
    """Return the spawners of this hub; make people and tokens if there are none yet."""
    known = tokens.read_text().split() if tokens.exists() else []
    spawners = {}
    for number in range(count):
        person = orm.User.find(app.db, f"person{number}")
        if person is None:
            person = orm.User(name=f"person{number}")
            app.db.add(person)
            app.db.commit()
            known.append(person.new_api_token(note="session"))
        spawner = app.users[person].spawners[""]
        found = orm.APIToken.find(app.db, known[number])
        spawner.record = SessionRecord(f"{number:012x}", person.name, "/", found.id, time.time())
        spawners[spawner] = spawner.record
    tokens.write_text("\n".join(known))
    return spawners


def command(spawners: dict[Old, SessionRecord]) -> None:
    """Do what standard input says."""
    words = os.read(0, 1000).decode().split()
    what = words[0] if words else ""
    if what in ("answer", "reset"):
        ANSWER[0] = json.loads(words[1]) if what == "answer" else True
    if what in ("close", "reset"):
        for close in LINES.values():
            close()
    if what in ("forget", "reset"):
        for spawner, record in spawners.items():
            spawner.record = record if what == "reset" else None
    if what in ("old", "reset"):
        for spawner in spawners:
            spawner.__class__ = NotingSpawner if what == "reset" else Old
    if what == "handlers":
        gc.collect()
        say("handlers", "hub", count=sum(isinstance(one, api.SessionHandler) for one in gc.get_objects()))
    if words:
        say("done", words[0])
    else:
        asyncio.get_running_loop().stop()


async def start(folder: Path, port: int, count: int) -> None:
    api.replace_endpoint()
    app = JupyterHub(
        db_url=f"sqlite:///{folder}/hub.sqlite",
        cookie_secret=b"x" * 32,
        spawner_class=NotingSpawner,
        authenticator_class="dummy",
        log_level=int(os.environ.get("LOG_LEVEL", "20")),
    )
    await app.initialize([])
    spawners = sessions(app, folder / "tokens", count)
    HTTPServer(app.tornado_application, xheaders=True).listen(port, address="127.0.0.1")
    asyncio.get_running_loop().add_reader(0, command, spawners)
    say("listening", "hub")


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    loop.run_until_complete(start(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    loop.run_forever()
