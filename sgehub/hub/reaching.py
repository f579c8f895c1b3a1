"""Whether a server answers where it is said to listen, before JupyterHub looks for itself.

JupyterHub looks at one address for half a minute and then ends the server, though Grid Engine may run its job
again elsewhere by then. The law of this file: an address that does not answer is given away only when a list that
is newer than the doubt says that it is still the right one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jupyterhub.utils import url_path_join, wait_for_http_server

from sgehub.hub import starting
from sgehub.hub.news import heard
from sgehub.model.job import Job

if TYPE_CHECKING:
    from sgehub.hub.spawner import SGESpawner

ANSWER: Final = 2.0  # seconds for a server to answer
AGAIN: Final = 3.0  # seconds between tries to reach a server that should be there


async def answers(spawner: SGESpawner, address: str) -> bool:
    """Tell whether a server answers there, in time."""
    path = url_path_join(address, spawner.server.base_url, "api")
    try:
        await wait_for_http_server(path, timeout=ANSWER)
    except Exception:  # noqa: BLE001 - whatever it is, it is no answer
        return False
    return True


async def reachable(spawner: SGESpawner) -> str:
    """Wait until the server of a start listens; return its URL. Raises as `starting.wait_for_server`.

    Either it answers, or it is certain that it should.
    """
    service, doubted = spawner.service, ("", 0.0)
    while True:
        address = await starting.wait_for_server(spawner)
        if await answers(spawner, address):
            return address
        if doubted[0] != address:
            doubted = (address, service.clock())
        elif _is_right(spawner, doubted[1]):
            return address
        service.reflector.ask_soon()
        await heard(spawner.news, AGAIN)


def _is_right(spawner: SGESpawner, doubted: float) -> bool:
    """Tell whether a list that was asked for after the doubt shows the run whose port was reported."""
    record, table = spawner.record, spawner.service.reflector.table
    if record is None or table is None or table.asked_at <= doubted:
        return False
    found = spawner.service.find(record)
    return isinstance(found, Job) and (found.host, found.started) == (record.host, record.run_started)
