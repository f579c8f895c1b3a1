"""What people are told while a session waits, starts, runs: one sentence, made from the newest table.

Nothing here asks or decides. A sentence names the job by its number, which people know from qstat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from sgehub.errors import SgehubError
from sgehub.model.job import Absent, Job, Phase

if TYPE_CHECKING:
    from sgehub.hub.spawner import SGESpawner

FIRST_LOOKS: Final = 40  # looks at a start after which changes are rare
QUICK_LOOK, SLOW_LOOK = 0.5, 2.0  # seconds
_WORDS: Final = {
    Phase.HELD: (20, "Job {n} is held, by you or an administrator. It starts when the hold is released."),
    Phase.ERROR: (20, "Grid Engine cannot start job {n}; asking why."),
    Phase.DISPATCHED: (40, "Job {n} is being sent to {h}."),
    Phase.RUNNING: (60, "Job {n} runs on {h}. The server is starting."),
    Phase.SUSPENDED: (60, "Job {n} is suspended on {h}. It goes on when it is resumed."),
    Phase.ENDING: (90, "Job {n} is being deleted."),
}
BLIND: Final = "The hub cannot look at this session before an administrator mends it. The session runs on."
# What the hub's log says when a session comes into such a phase.
NOTEWORTHY: Final = {
    Phase.HELD: "is held ({state}); its session waits until the hold is released.",
    Phase.ERROR: "is in the error state ({state}).",
    Phase.SUSPENDED: "is suspended on {host} ({state}); its session goes on when it is resumed.",
}


def clock_time(instant: float) -> str:
    """Return the time of day of an instant, as the hub's machine shows it; with the day if it was another one."""
    then = time.localtime(instant)
    same_day = time.localtime()[:3] == then[:3]
    return time.strftime("%H:%M" if same_day else "%H:%M on %d %B", then)


def describe(spawner: SGESpawner) -> tuple[int, str]:
    """Return progress (percent) and a sentence that says where the session stands."""
    try:
        silent = spawner.service.reflector.silent_since
    except SgehubError:
        return 10, BLIND
    outage = "" if silent is None else f"Grid Engine is not answering since {clock_time(silent)}."
    record = spawner.record
    if record is None or record.number is None:
        return _before_the_job(spawner, outage)
    if outage:
        return 10, f"{outage} {_meanwhile(spawner)}"
    found = spawner.service.find(record)
    if isinstance(found, Job):
        return _job(spawner, found)
    if isinstance(found, Absent):
        return 90, f"Job {record.number} is not in Grid Engine's list any more. Looking for the reason."
    hidden = spawner.service.why_hidden(record)
    return 10, hidden or f"Grid Engine has taken the request as job {record.number}."


def _before_the_job(spawner: SGESpawner, outage: str) -> tuple[int, str]:
    earlier = spawner.service.ends.of_server(spawner.user.name, spawner.name)
    if spawner.record is None and earlier is not None:
        return 2, f"The job before this one ({earlier.record.number}) is still ending. {outage}".rstrip()
    return 5, outage or "Submitting the job to Grid Engine."


def _job(spawner: SGESpawner, job: Job) -> tuple[int, str]:
    host, phase = job.host or "a host", job.state.phase
    since = spawner.service.hosts.silent_since(host)
    if since is not None:
        return (
            60,
            f"{host}, where job {job.number} runs, has not reported to Grid Engine since {clock_time(since)}.",
        )
    if phase is Phase.RUNNING and spawner.ready:
        return 100, f"Job {job.number} runs on {host}."
    if phase in _WORDS:
        percent, words = _WORDS[phase]
        return percent, words.format(n=job.number, h=host)
    return 20, f"Job {job.number} waits in the queue. {_place(spawner, job)}".rstrip()


def _meanwhile(spawner: SGESpawner) -> str:
    record = spawner.record
    if record is not None and record.host is None:
        return f"Job {record.number} keeps its place in the queue."
    return "The session goes on meanwhile."


def _place(spawner: SGESpawner, job: Job) -> str:
    ahead = spawner.service.ahead_of(job)
    if ahead is None:
        return ""
    return "No other job is ahead of it." if ahead == 0 else f"Jobs ahead of it: {ahead}."


async def events(spawner: SGESpawner) -> AsyncIterator[dict[str, Any]]:
    """Yield JupyterHub's progress events: one for every change of the sentence."""
    last, looks = "", 0
    while spawner.pending == "spawn":
        percent, said = describe(spawner)
        if said != last:
            last = said
            yield {"progress": percent, "message": said}
        looks += 1
        await asyncio.sleep(QUICK_LOOK if looks < FIRST_LOOKS else SLOW_LOOK)
