"""Between qsub and a server that listens: what is submitted, what is waited for, what is said meanwhile.

Every wait is for news: a new table, or a report of the session itself. Nothing here asks Grid Engine on a timer.
"""

from __future__ import annotations

import asyncio
import pwd
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sgehub.errors import ClusterError, SgehubError, SiteConfigurationError
from sgehub.gridengine.argv import submit_options
from sgehub.gridengine.client import Submission
from sgehub.hub import compat, surroundings, telling
from sgehub.hub.ended import with_report
from sgehub.hub.news import heard
from sgehub.hub.record import SessionRecord
from sgehub.hub.refusals import StartFailed
from sgehub.hub.surroundings import job_script
from sgehub.model import names
from sgehub.model.job import Absent, Accounting, Job, Phase, Unknown
from sgehub.model.jobspec import JobSpec, resolve
from sgehub.model.judging import fitting_queues
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.units import Duration
from sgehub.model.whyended import why_it_ended
from sgehub.script import render_batch_script, render_job_script

if TYPE_CHECKING:
    from sgehub.hub.spawner import SGESpawner

LOG_LINES: Final = 15
ACCOUNTING_PATIENCE: Final = 2.0  # seconds that a person waits for the record of why a job ended
ROUTE_PATIENCE: Final = 0.3  # seconds that a dead server's route waits for it: qacct may read years of records
# Seconds between looks for the record of a job that has ended; sites write it seconds to minutes later.
LATE_RECORDS: Final = (2.0, 5.0, 15.0, 30.0, 60.0)
CHANCE: Final = 300.0  # seconds that a start has after an outage, in which nobody sent its job to a host
LOOK: Final = 30.0  # seconds between looks whether patience has ended, where no news comes


def folder(policy: SitePolicy, account: pwd.struct_passwd) -> str:
    """Return the person's folder of secrets and logs. Raises SiteConfigurationError."""
    path = policy.session.secrets.replace("{home}", account.pw_dir).replace("{username}", account.pw_name)
    try:
        names.check_path(account.pw_dir)
        return names.check_path(path)
    except ValueError as error:
        raise SiteConfigurationError(f"{account.pw_name} cannot start sessions: {error}") from None


def patience(policy: SitePolicy, request: ResourceRequest) -> float:
    """Return for how many seconds the job may wait: the most patient queue that it may run in decides."""
    queues = fitting_queues(request, policy) or tuple(policy.queues)
    return float(max(policy.queues[name].patience.seconds for name in queues))


def submission(
    spawner: SGESpawner, request: ResourceRequest, record: SessionRecord, account: pwd.struct_passwd
) -> Submission:
    """Make everything that is submitted, from validated values only."""
    options, script = job(spawner, request, record, account)
    return Submission(
        tag=record.tag,
        options=options,
        script=script,
        launch=launch(spawner, record),
        folder=record.folder,
        keep_logs=spawner.service.policy.session.keep_logs,
    )


def job(
    spawner: SGESpawner, request: ResourceRequest, record: SessionRecord, account: pwd.struct_passwd
) -> tuple[tuple[str, ...], str]:
    """Return what qsub is given: its options and the script, without any secret."""
    log = f"{record.folder}/log/{record.tag}.log"
    spec = resolve(request, spawner.policy, name=record.job_name, home=account.pw_dir, log=log)
    return (*compat.extra_options(spawner), *submit_options(spec)), _script(spawner, record, spec, request)


def _script(spawner: SGESpawner, record: SessionRecord, spec: JobSpec, request: ResourceRequest) -> str:
    job = job_script(
        spawner.policy,
        request,
        home=spec.home,
        launch_file=f"{record.folder}/run/{record.tag}.json",
        prologue=spawner.req_prologue,
        epilogue=spawner.req_epilogue,
    )
    custom = compat.custom_script(spawner)
    if custom is not None:
        return render_batch_script(custom, compat.script_variables(spawner, record, spec, job.standalone_command))
    return render_job_script(job, [Path(folder) for folder in spawner.service.policy.template_folders])


def launch(spawner: SGESpawner, record: SessionRecord) -> dict[str, Any]:
    """Return what the session program is told, secrets included."""
    session = spawner.service.policy.session
    environment = {**spawner.get_env(), **surroundings.variables(spawner.policy, spawner.accepted)}
    api = environment["JUPYTERHUB_API_URL"]
    return {
        "tag": record.tag,
        "environment": environment,
        "command": surroundings.command(spawner.policy, spawner.accepted, [*spawner.cmd, *spawner.get_args()]),
        "ports": list(session.ports),
        "report": {
            "port": f"{api}/batchspawner",
            "line": f"{api}/sgehub/line",
            "end": f"{api}/sgehub/end",
        },
        "token": spawner.api_token,
        "log_limit": session.log_limit.bytes,
        "bind": "0.0.0.0",  # noqa: S104 - the proxy comes from another host; the server asks for the hub's login
    }


async def wait_for_server(spawner: SGESpawner) -> str:
    """Wait until the session reports its port and the table names its host; return the server's URL.

    Raises StartFailed as soon as it is certain that no server will come. While Grid Engine is silent nothing is.
    """
    service = spawner.service
    service.watch.add(spawner)
    running_since: float | None = None
    while True:
        spawner.news.clear()
        record = spawner.record
        if record is None:
            raise StartFailed("The start was given up.", reason="stopped")
        found = service.find(record)
        if isinstance(found, Job):
            spawner.note_job(record, found)
        await _fail_if_hopeless(spawner, record, found)
        record = spawner.record or record
        if spawner.exit_code is None and (url := located(spawner, record, found)) is not None:
            spawner.log.info("The server of job %s listens on %s.", record.number, url.removeprefix("http://"))
            return url
        running_since = _count(spawner, running_since, found)
        await heard(spawner.news, min(_left(spawner, record, running_since, found), LOOK))


def located(spawner: SGESpawner, record: SessionRecord, found: Job | Absent | Unknown) -> str | None:
    """Return the URL of the server, None while it is not certain that it is there and is this session's.

    Either the table shows the run whose port was reported, or, while nobody knows, the session itself has spoken.
    """
    if record.port is None or record.host is None:
        return None
    known = isinstance(found, Job) and found.host == record.host
    if not known and not (isinstance(found, Unknown) and spawner.heard):
        return None
    if not names.HOST.fullmatch(record.host):
        raise StartFailed(f"Grid Engine names a host that cannot be one: {record.host!r}.", reason="cluster")
    return f"http://{spawner.service.policy.hosts.get(record.host, record.host)}:{record.port}"


def _count(spawner: SGESpawner, since: float | None, found: Job | Absent | Unknown) -> float | None:
    """Return since when the job runs as far as the server's start is concerned: a suspended one does not start."""
    if isinstance(found, Job) and found.state.phase in (Phase.RUNNING, Phase.DISPATCHED):
        return spawner.service.clock() if since is None else since
    return None


def _left(
    spawner: SGESpawner, record: SessionRecord, running_since: float | None, found: Job | Absent | Unknown
) -> float:
    """Return the seconds that are left for what the start waits for; raise StartFailed when there are none."""
    reflector = spawner.service.reflector
    if reflector.silent_since is not None:
        return LOOK
    if running_since is not None:
        since, limit = running_since, spawner.startup_timeout
        said = (
            f"Its server did not start within {spawner.startup_timeout:g} seconds on {record.host or 'its host'}."
        )
        reason = "too-late"
    elif isinstance(found, Job) and found.state.phase in (Phase.QUEUED, Phase.HELD):
        since, limit = record.queued or record.asked, record.patience
        waited = Duration(int(record.patience)).words()
        said = (
            f"Job {record.number} waited {waited} in the queue, which is as long as this site lets sessions wait."
        )
        reason = "patience"
    else:
        return LOOK
    left = max(since + limit, reflector.answers_since + min(CHANCE, limit)) - spawner.service.clock()
    if left <= 0:
        raise StartFailed(f"{said} {telling.describe(spawner)[1]}", reason=reason)
    return left


async def _fail_if_hopeless(spawner: SGESpawner, record: SessionRecord, found: Job | Absent | Unknown) -> None:
    if spawner.exit_code is not None and not spawner.may_run_again:
        why = f"The server ended at once, with exit status {spawner.exit_code}."
        if spawner.service.ends.has(record.tag) and spawner.ended:
            raise StartFailed(str(spawner.ended["why"]), reason="host-lost")
        raise await _died(spawner, record, why)
    if isinstance(found, Job) and found.state.phase is Phase.ERROR:
        raise StartFailed(await error_reason(spawner, found), reason="job-error")
    if isinstance(spawner.service.look(record), Absent) and await spawner.service.gone(record):
        why = await _why(spawner, record)
        early = "" if spawner.exit_code is not None else " while nobody looked"
        early = " before its server was ready" if record.port is None else early
        if not why and spawner.last_phase in (Phase.QUEUED, Phase.HELD):  # 8.1.9 accounts for jobs that ran only
            why = "It was deleted while it waited."
        raise await _died(spawner, record, f"Job {record.number} ended{early}. {why}".rstrip())


async def _died(spawner: SGESpawner, record: SessionRecord, message: str) -> StartFailed:
    try:
        log = await spawner.service.engine.tail(record.person, record.folder, record.tag, LOG_LINES)
    except SgehubError as error:
        log = f"(The job's log cannot be read: {error})"
    return StartFailed(message, reason="job-ended", log=log or "(The job's log is empty.)")


async def error_reason(spawner: SGESpawner, job: Job) -> str:
    """Ask Grid Engine why it could not start a job."""
    try:
        detail = await spawner.service.engine.detail(job.number)
    except ClusterError:
        detail = Absent()
    reasons = () if isinstance(detail, Absent) else detail.error_reasons
    said = " ".join(reasons) or "Grid Engine gives no reason."
    return f"Grid Engine could not start job {job.number}: {said}"


async def _why(spawner: SGESpawner, record: SessionRecord) -> str:
    """Say why the job ended, if accounting has it by now: some sites write it minutes later."""
    accounting = await _accounting(spawner, record)
    return "" if accounting is None else _sentence(record, with_report(accounting, spawner.exit_code))


def _sentence(record: SessionRecord, accounting: Accounting) -> str:
    return why_it_ended(accounting, h_rt=record.runtime, memory_limit=record.memory)


async def learn_why(spawner: SGESpawner, record: SessionRecord) -> None:
    """Find out why a session ended, when accounting knows it, for the log and for the person who comes back."""
    for pause in LATE_RECORDS:
        accounting = await _accounting(spawner, record, pause)
        if accounting is not None:
            why = _sentence(record, with_report(accounting, spawner.exit_code))
            spawner.log.info("Job %s of %s has ended: %s", record.number, record.person, why)
            # JupyterHub has made another spawner meanwhile, if anybody has looked at the server.
            now = spawner.user.spawners.get(spawner.name, spawner)
            if isinstance(now, type(spawner)) and now.ended and now.ended.get("job") == record.number:
                now.ended = {**now.ended, "why": why}
                now.commit()
            return
        await asyncio.sleep(pause)
    spawner.log.info("Job %s of %s has ended; accounting does not say why.", record.number, record.person)


async def _accounting(spawner: SGESpawner, record: SessionRecord, patience: float = ACCOUNTING_PATIENCE) -> Any:
    ours = record.identity
    if ours is None:
        return None
    try:
        return await asyncio.wait_for(spawner.service.engine.accounting(ours), patience)
    except (ClusterError, asyncio.TimeoutError):
        return None


async def exit_status(spawner: SGESpawner, record: SessionRecord) -> int:
    """Return the exit status of a job that has ended: reported, accounted, or 1 when nobody knows.

    Says why in the log, and keeps it for the person.
    """
    if spawner.exit_code is not None:
        return spawner.exit_code
    accounting = await _accounting(spawner, record, ROUTE_PATIENCE)
    if spawner.exit_code is None:
        spawner.exit_code = 1 if accounting is None else int(accounting.exit_status)
        if spawner.ended is None or spawner.ended.get("job") != record.number:  # a start that failed has said more
            spawner.note_end("It ended." if accounting is None else _sentence(record, accounting))
            spawner.service.metrics.session_ended("ended")
            spawner.service.spawn(learn_why(spawner, record))
    return spawner.exit_code


def words(spawner: SGESpawner) -> str:
    """Name a session for the log."""
    number = spawner.record.number if spawner.record is not None else None
    server = f"{spawner.user.name}:{spawner.name}" if spawner.name else spawner.user.name
    return f"The server of {server}" if number is None else f"Job {number} of {server}"
