"""Sessions that a hub before this one has started, and jobs that Grid Engine starts once more.

JupyterHub asks each recorded server for its URL when it starts, and has no time for an answer that takes hours:
one that waits keeps the routes of all others waiting, one that raises ends the hub, and until the answer comes
nobody can cancel. The law of this file: what is not certain within seconds becomes a start of its own, with
progress, cancellation and route; the question stays unanswered for ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timezone
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from jupyterhub import orm
from jupyterhub.utils import url_escape_path, url_path_join
from sqlalchemy.orm import object_session

from sgehub.errors import SgehubError
from sgehub.hub import reaching, starting
from sgehub.hub.record import SessionRecord
from sgehub.hub.refusals import StartFailed, as_failure
from sgehub.model.job import Job

if TYPE_CHECKING:
    from sgehub.hub.spawner import SGESpawner

SOON: Final = 3.0  # seconds in which a running session is adopted as it is
# Seconds between tries to write a launch file for another run, which waits for it for 180; the last one repeats.
OWED_PAUSES: Final = (2.0, 5.0, 10.0, 30.0)


async def url(spawner: SGESpawner) -> str:
    """Return the URL of the running server, or start waiting for it and never return. Never raises.

    While the service cannot be made, nothing is known of any session: this waits until that is mended.
    """
    service = await asyncio.shield(spawner.awaited())
    record = spawner.record
    if record is not None and (past := record.by_clock(service.clock())) != record:
        spawner.take(record, past)  # the clock was set back meanwhile: every list would be too old for it
    if record is not None and record.lacks_launch:
        service.spawn(_replace_token(spawner, record))
    # As the start that it interrupts, a DELETE cancels this; anything else it could not stop.
    check = spawner._spawn_future = service.spawn(_adopted(spawner))  # noqa: SLF001 - JupyterHub's flags: see start_again
    await asyncio.wait([check], timeout=SOON)
    spawner._spawn_future = None  # noqa: SLF001 - as above
    if check.cancelled():
        spawner._check_pending = False  # noqa: SLF001 - as above
    elif (address := check.result() if check.done() and check.exception() is None else None) is not None:
        spawner.log.info("%s runs on and is adopted.", starting.words(spawner))
        # JupyterHub takes any other text for a change of the address.
        known = str(spawner.server.url)
        return known if known.startswith(f"{address}/") else address
    else:
        check.cancel()
        start_again(spawner, served=spawner.record is not None and spawner.record.port is not None)
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody ends this waiting")


async def _adopted(spawner: SGESpawner) -> str | None:
    """Return the URL of a session that runs and answers; None if that cannot be so."""
    service = spawner.service
    service.watch.add(spawner)
    while (record := spawner.record) is not None and record.port is not None and record.host is not None:
        spawner.news.clear()
        found = service.find(record)
        address = starting.located(spawner, record, found)
        if address is not None and await reaching.answers(spawner, address):
            return address
        if isinstance(found, Job) and address is None:
            return None  # it is queued, or in another run
        await spawner.news.wait()
    return None


def start_again(spawner: SGESpawner, *, served: bool) -> None:
    """Make a recorded server a starting one, as if somebody had pressed Start when it was submitted.

    `served` tells whether people have had it already.
    """
    spawner._check_pending = False  # noqa: SLF001 - JupyterHub's flags: it knows no other way to wait
    spawner._spawn_pending = True  # noqa: SLF001 - as above
    future = spawner._spawn_future = spawner.service.spawn(_again(spawner, served=served))  # noqa: SLF001 - as above

    def done(ended: asyncio.Task[Any]) -> None:
        if ended.cancelled() or ended.exception() is None:
            spawner._spawn_future = None  # noqa: SLF001 - as above
        spawner._spawn_pending = False  # noqa: SLF001 - as above

    future.add_done_callback(done)


async def _again(spawner: SGESpawner, *, served: bool) -> None:
    user, name = spawner.user, spawner.name
    try:
        if served:
            # Nobody knows who listens at the old address by now; a session that lives gets its route back.
            await user.settings["proxy"].delete_user(user, name)
        await _heal(spawner)
        address = await (starting.wait_for_server(spawner) if served else reaching.reachable(spawner))
        while served and not await reaching.answers(spawner, address):
            # It ran before and its job lives: a network that fails ends no session.
            await asyncio.sleep(reaching.AGAIN)
            address = await starting.wait_for_server(spawner)
        _write(spawner, address)
        if not served:
            await user._wait_up(spawner)  # noqa: SLF001 - what a start does next; it stops the server if that fails
        await user.settings["proxy"].add_user(user, name)
    except asyncio.CancelledError:
        raise  # by a person, who stops the server now, or by the end of the hub: nothing is deleted here
    except Exception as error:
        await _stop(spawner, error, served=served)
        raise
    if not served:
        spawner.note_ready()
        spawner.service.metrics.start_ended("ready")
    mind(spawner)
    spawner.start_polling()
    spawner.log.info("%s is reachable.", starting.words(spawner))


def mind(spawner: SGESpawner) -> None:
    """See to it that the hub cleans up when the server's end is noticed, as it does after a start of its own."""
    if not spawner._callbacks:  # noqa: SLF001 - a server that starts once more has them
        spawner.add_poll_callback(_stopped, spawner)


async def _heal(spawner: SGESpawner) -> None:
    """Find the job of a start whose hub ended between qsub and its answer, by its name."""
    record = spawner.record
    if record is not None and record.number is None:
        healed = await spawner.service.ends.number(record)
        if healed is None or healed.number is None or healed.submitted is None:
            raise StartFailed(
                "The hub ended while it submitted the job, which never reached Grid Engine.", reason="cluster"
            )
        spawner.take(record, spawner.current(record).answered(healed.number, healed.submitted))


def _write(spawner: SGESpawner, address: str) -> None:
    """Write the server's address where JupyterHub looks for it."""
    parts = urlsplit(address)
    server = spawner.server
    server.proto, server.ip, server.port = parts.scheme, parts.hostname, parts.port
    spawner.commit()


async def _stop(spawner: SGESpawner, error: Exception, *, served: bool) -> None:
    """Do what JupyterHub does after a start that has failed, or after a session that has ended."""
    failed = as_failure(error)
    spawner.note_end(str(failed.jupyterhub_message).partition("\n")[0])
    if served:
        spawner.service.metrics.session_ended("ended")
        spawner.log.warning("%s is over: %s", starting.words(spawner), failed.why)
    else:
        spawner.service.metrics.start_ended(failed.reason)
        spawner.log.error("%s did not start: %s", starting.words(spawner), failed.why)
    if spawner.server is not None:
        await _stopped(spawner)


async def _stopped(spawner: SGESpawner) -> None:
    """Take the route away and clean up after a server that has ended."""
    user, name = spawner.user, spawner.name
    await user.settings["proxy"].delete_user(user, name)
    await user.stop(name)


async def renew(spawner: SGESpawner, record: SessionRecord, job: Job) -> None:
    """Let another run of the job begin: new secrets for it, no route until it reports.

    Grid Engine runs a job again, on this host or another one, when an administrator reschedules it. The secrets
    of the first run are gone by then, and its token must not be worth anything on the host that was left.
    """
    await spawner.service.people.learn(record.person)
    if not spawner.is_present(record) or spawner.record != record:
        return
    spawner.log.warning(
        "Job %s of %s is run again by Grid Engine (%s). Its session gets new secrets and starts anew.",
        job.number,
        record.person,
        job.state,
    )
    token, made = _new_token(spawner, record)
    fresh = record.renewed(token, made, spawner.service.clock())
    spawner.take(record, fresh)  # from now on the launch file is owed, also by the hub after this one
    spawner.heard, spawner.exit_code = False, None
    spawner.hang_up()
    if spawner.ready:
        start_again(spawner, served=True)
    spawner.service.spawn(_write_launch(spawner, fresh))
    spawner.news.set()


async def _replace_token(spawner: SGESpawner, record: SessionRecord) -> None:
    """Write the launch file that the hub before this one owed: with another token, whose secret ended with it."""
    await spawner.service.people.learn(record.person)
    now = spawner.current(record)
    if spawner.is_present(record) and now.token_id == record.token_id and now.lacks_launch:
        fresh = now.with_token(*_new_token(spawner, now))
        spawner.take(now, fresh)
        await _write_launch(spawner, fresh)


async def _write_launch(spawner: SGESpawner, record: SessionRecord) -> None:
    """Write the launch file of another run, again and again: the run waits for it for minutes, and then ends."""
    service = spawner.service
    for pause in chain(OWED_PAUSES, repeat(OWED_PAUSES[-1])):
        now = spawner.current(record)
        if not spawner.is_present(record) or now.token_id != record.token_id or service.ends.has(record.tag):
            return  # it is over, or in yet another run
        try:
            if now.lacks_launch:
                await service.engine.rewrite_launch(
                    record.person, record.folder, record.tag, starting.launch(spawner, record)
                )
        except SgehubError as error:
            if pause == OWED_PAUSES[0]:  # said once
                spawner.log.error(  # noqa: TRY400 - the sentence says it all
                    "Job %s of %s cannot start anew yet; its launch file is written again and again: %s",
                    record.number,
                    record.person,
                    error,
                )
            await asyncio.sleep(pause)
            continue
        now = spawner.current(record)
        if spawner.is_present(record) and now.token_id == record.token_id:
            spawner.take(now, replace(now, launch_owed=False))
        return


def _new_token(spawner: SGESpawner, record: SessionRecord) -> tuple[int, float]:
    """Replace the token of a start, also as the secret by which its server logs people in.

    Returns the number of its record, and when it was made (epoch).
    """
    user = spawner.user
    session = object_session(spawner.orm_spawner)
    if session is None:
        raise StartFailed("The server was deleted meanwhile.", reason="stopped")
    old = session.get(orm.APIToken, record.token_id)
    scopes = list(old.scopes) if old is not None and record.is_token(old) else None
    spawner.api_token = user.new_api_token(note=f"Server at {spawner.server.base_url}", scopes=scopes)
    token = orm.APIToken.find(session, spawner.api_token)
    if old is not None and record.is_token(old):
        session.delete(old)
    provider = user.settings.get("oauth_provider")
    if provider is not None:
        client = orm.OAuthClient
        known = session.query(client).filter_by(identifier=spawner.oauth_client_id).first()
        provider.add_client(
            spawner.oauth_client_id,
            spawner.api_token,
            url_path_join(user.url, url_escape_path(spawner.name), "oauth_callback"),
            allowed_scopes=list(known.allowed_scopes) if known is not None else None,
            description=f"Server at {spawner.server.base_url}",
        )
    session.commit()
    return token.id, token.created.replace(tzinfo=timezone.utc).timestamp()
