"""What must hold whatever happens. Each law is one function over the world; a breach is a sentence in its book."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from tests.model.hub import PATIENCE, START_TIMEOUT

if TYPE_CHECKING:
    from tests.model.cluster import Live
    from tests.model.world import Start, World

CALM: Final = (
    3 * 3600.0
)  # seconds after which everything must have come to rest, once nothing disturbs it any more
OWED: Final = 100.0  # seconds in which a hub that nothing disturbs writes the launch file of another run
NOTICED: Final = 100.0  # seconds in which a hub notices a server that listens
LOOKS: Final = 60.0  # seconds between looks whether it has


class BrokenLaw(AssertionError):  # noqa: N818 - it says what was broken
    """What must never happen has happened."""


def look(world: World) -> None:
    """Check what must hold at every moment. Raises BrokenLaw with all that was found since the last look."""
    held, ledger, running = world.database.held(), world.database.ledger(), world.database.running()
    for start in world.starts:
        if not start.lives:
            continue
        someone_can_name_it(world, start, held, ledger)
        nobody_drops_it(world, start, held, running)
    if world.breaches:
        raise BrokenLaw("\n".join(world.breaches))


def one_job_for_one_server(world: World, new: Start, job: Live) -> None:
    """Never two live jobs for one server, except beside one whose host is lost."""
    for old in world.starts:
        if old.key == new.key and old.job is not None and not old.job.over and not world.counts_as_lost(old):
            world.broken(f"{new.key} has got job {job.number} while its job {old.job.number} still lives")


def only_jobs_of_ours(world: World, person: str, job: Live) -> None:
    """Never a delete of somebody else's job, nor of a session that nobody wants ended."""
    start = world.start_of(job)
    if start is None:
        world.broken(f"the hub deletes job {job.number} ({job.name}) of {job.owner} as {person}: none of its own")
    elif not start.reasons and not world.lost(job) and not _in_vain(world, start):
        world.broken(f"the hub deletes job {job.number}, the living session of {start.key}, for no reason")


def _in_vain(world: World, start: Start) -> bool:
    """Tell whether a start has taken as long as the site lets it: in the queue, or until its server listens."""
    job, now = start.job, world.clock.now
    if job is None or start.ready:
        return False
    waited = (now if job.started is None else now - (world.clock.epoch() - job.started)) - start.begun
    if waited >= PATIENCE - 5:  # a job may also leave the queue in the moment in which it is given up
        return True
    if job.started is None:
        return False
    return job.started + START_TIMEOUT - 5 <= world.clock.epoch() and not _listens(world, start)


def _listens(world: World, start: Start) -> bool:
    """Tell whether its server has been there for so long that a hub which waits for it must have noticed."""
    session = start.session
    return session is not None and session.serving and session.awake and world.clock.now - session.since > NOTICED


def someone_can_name_it(
    world: World, start: Start, held: dict[str, tuple[str, str, bool]], ledger: set[str]
) -> None:
    """Never a live job of ours that neither a server's record nor the ledger holds."""
    if start.tag not in held and start.tag not in ledger:
        world.broken(f"nobody can name job {_number(start)} of {start.key} any more ({start.tag})")


def nobody_drops_it(
    world: World, start: Start, held: dict[str, tuple[str, str, bool]], running: set[tuple[str, str]]
) -> None:
    """Never a session whose server is shown as stopped while its job lives and nobody wanted its end."""
    if start.reasons or start.job is None or world.lost(start.job) or not start.answered:
        return
    if start.key not in running or start.tag not in held:
        world.broken(f"{start.key} is shown as stopped, but its job {_number(start)} lives and nobody ended it")


def _number(start: Start) -> int:
    return start.job.number if start.job is not None else 0


def what_was_reaped_is_gone(world: World, tag: str, action: str) -> None:
    """`sgehub reap` says of no job that lives that it has ended."""
    for start in world.starts:
        if start.tag == tag and start.lives:
            world.broken(f"sgehub reap says of job {_number(start)} of {start.key}, which lives: {action}")


def another_run_gets_its_launch(world: World, start: Start | None) -> None:
    """Never the end of another run of a job only because the hub did not write its launch file."""
    if start is None or start.reasons or world.hub is None or world.cluster.qmaster != "up":
        return
    if start.job is None or start.job.name == "mine" or world.lost(start.job):
        return
    if world.clock.now - max(world.hub.born, world.cluster.disturbed) >= OWED:
        world.broken(f"another run of {start.key} ends because it got no launch file")


def true_reason(world: World, key: tuple[str, str], reason: str, error: Exception) -> None:
    """Let a start fail only for a reason that is true."""
    start = next((one for one in reversed(world.starts) if one.key == key), None)
    if start is None or start.begun != world.begun.get(key):
        return
    waited = world.clock.now - start.begun
    true = {
        "job-error": "it was in the error state" in start.reasons,
        "job-ended": {"its job has ended", "its server has ended"} & set(start.reasons),
        "cluster": (start.tag in world.unanswered or not start.answered) and not start.lives,
        "refused": not start.lives,
        "too-late": waited >= START_TIMEOUT - 5 and not _listens(world, start),
        "patience": waited >= PATIENCE - 5,
        "stopped": "its person stopped it" in start.reasons,
        "host-lost": start.job is not None and world.lost(start.job),
    }
    if true.get(reason) or start.reasons:
        start.reasons.append(f"its start failed ({reason})")
    else:
        world.broken(f"the start of {key} failed for no true reason: {reason}: {error}")


def requests_are_understood(
    world: World, what: str, key: tuple[str, str], error: BaseException, *, crossed: bool
) -> None:
    """Start, Stop and Cancel work at any moment: an answer may be a refusal with a reason, never an accident.

    JupyterHub itself has accidents where two requests cross, or one and the end of the server: those are its own.
    """
    said = str(error)
    own = (
        "pending stop" in said
        or "is active and cannot be deleted" in said
        or "no such spawner" in said
        or (crossed and "pending" in said)
    )
    own_too = what == "start" and "Exception is not set" in said  # the server ended while the hub waited for it
    if not (isinstance(error, RuntimeError | KeyError | asyncio.InvalidStateError) and (own or own_too)):
        world.broken(f"{what} of {key} was answered with {error!r}")


def calm(world: World) -> None:
    """Let everything answer and time pass, then check that nothing is lost and nothing is left over."""
    _soothe(world)
    until = world.clock.now + CALM
    while True:
        if world.orphaned:
            world.reap()
        world.pass_time(LOOKS)
        look(world)
        unrest = list(_unrest(world))
        if not unrest:
            return
        if world.clock.now > until:
            raise BrokenLaw("hours later:\n" + "\n".join(unrest))


def _soothe(world: World) -> None:
    """Let everything answer."""
    cluster = world.cluster
    cluster.faults.clear()
    cluster.blind = False
    cluster.set_qmaster("up")
    world.fuse = None
    world.boot()
    for host in cluster.hosts.values():
        if host.state == "cut":
            cluster.set_host(host.name, "up")
    for job in list(cluster.jobs.values()):
        if "h" in job.letters:
            cluster.hold(job)
        if "s" in job.letters:
            cluster.suspend(job)
        if job.submission is not None and job.name == "mine":
            cluster.rename(job)
    cluster.set_room(room=True)


def _unrest(world: World) -> Iterator[str]:
    hub = world.hub
    if hub is None or not hub.listening:
        yield "the hub does not listen"
        return
    for user in list(hub.users.values()):
        for spawner in list(user.spawners.values()):
            yield from _unrest_of_server(world, (user.name, spawner.name), spawner)
    held = world.database.held()
    for start in world.starts:
        if start.lives and start.job is not None and not _is_away(world, start.job):
            yield from _unrest_of_job(start, hub.spawner(*start.key), held)


def _is_away(world: World, job: Live) -> bool:
    return job.host is not None and world.cluster.hosts[job.host].state != "up"


def _unrest_of_server(world: World, key: tuple[str, str], spawner: Any) -> Iterator[str]:
    if spawner.pending:
        yield f"{key} is pending {spawner.pending}"
    elif spawner.ready:
        start = world.serving(spawner.server.url)
        if start is None or start.key != key:
            yield f"{key} is shown as ready, but nothing answers at {spawner.server.url}"
        elif world.routes.get(spawner.proxy_spec, {}).get("target") != spawner.server.host:
            yield f"{key} has no route"


def _unrest_of_job(start: Start, spawner: Any, held: dict[str, tuple[str, str, bool]]) -> Iterator[str]:
    what = f"job {_number(start)} of {start.key} lives"
    if spawner is None or not spawner.ready or start.tag not in held:
        yield f"{what}, but its server is not ready; what happened: {start.reasons}"
    elif start.must_end:
        yield f"{what}, though its person was told that it is stopped"
