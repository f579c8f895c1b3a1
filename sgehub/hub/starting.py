"""Between qsub and a server that listens: what is submitted, what is waited for, what is said meanwhile.

Every wait is for news: a new table, or a report of the session itself. Nothing here asks Grid Engine on a timer.
"""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sgehub.errors import ClusterError, SgehubError, SiteConfigurationError
from sgehub.gridengine.argv import submit_options
from sgehub.gridengine.client import Submission
from sgehub.hub import compat
from sgehub.hub.record import SessionRecord
from sgehub.hub.refusals import StartFailed
from sgehub.model import names
from sgehub.model.job import Absent, Job, Phase, Unknown, why_it_ended
from sgehub.model.jobspec import JobSpec, resolve
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.script import JobScript, render_batch_script, render_job_script

if TYPE_CHECKING:
    from sgehub.hub.spawner import SGESpawner

LOG_LINES: Final = 15
ACCOUNTING_PATIENCE: Final = 2.0  # seconds that a person waits for the record of why a job ended
ROUTE_PATIENCE: Final = 0.3  # seconds that a dead server's route waits for it: qacct may read years of records
_WORDS: Final = {
    Phase.HELD: (20, "Job {n} is held, by you or an administrator. It starts when the hold is released."),
    Phase.ERROR: (20, "Grid Engine cannot start job {n}; asking why."),
    Phase.DISPATCHED: (40, "Job {n} is being sent to {h}."),
    Phase.RUNNING: (60, "Job {n} runs on {h}. The server is starting."),
    Phase.SUSPENDED: (60, "Job {n} is suspended on {h}. It goes on when it is resumed."),
    Phase.ENDING: (90, "Job {n} is being deleted."),
}


def folder(policy: SitePolicy, account: pwd.struct_passwd) -> str:
    """Return the person's folder of secrets and logs. Raises SiteConfigurationError."""
    path = policy.session.secrets.replace("{home}", account.pw_dir).replace("{username}", account.pw_name)
    try:
        names.check_path(account.pw_dir)
        return names.check_path(path)
    except ValueError as error:
        raise SiteConfigurationError(f"{account.pw_name} cannot start sessions: {error}") from None


def submission(
    spawner: SGESpawner, request: ResourceRequest, record: SessionRecord, account: pwd.struct_passwd
) -> Submission:
    """Make everything that is submitted, from validated values only."""
    service = spawner.service
    log = f"{record.folder}/log/{record.tag}.log"
    spec = resolve(request, service.policy, name=record.job_name, home=account.pw_dir, log=log)
    return Submission(
        tag=record.tag,
        options=(*compat.extra_options(spawner), *submit_options(spec)),
        script=_script(spawner, record, spec),
        launch=_launch(spawner, record),
        folder=record.folder,
        keep_logs=service.policy.session.keep_logs,
    )


def _script(spawner: SGESpawner, record: SessionRecord, spec: JobSpec) -> str:
    session = spawner.service.policy.session
    job = JobScript(
        home=spec.home,
        python=f"{session.folder}/python",
        program=f"{session.folder}/sgehub-session",
        launch_file=f"{record.folder}/run/{record.tag}.json",
        path=session.path,
        prologue="\n".join(part for part in (session.prologue, spawner.req_prologue) if part),
        epilogue=spawner.req_epilogue,
    )
    custom = compat.custom_script(spawner)
    if custom is not None:
        return render_batch_script(custom, compat.script_variables(spawner, record, spec, job.standalone_command))
    return render_job_script(job, [Path(folder) for folder in spawner.service.policy.template_folders])


def _launch(spawner: SGESpawner, record: SessionRecord) -> dict[str, Any]:
    session = spawner.service.policy.session
    environment = spawner.get_env()
    api = environment["JUPYTERHUB_API_URL"]
    return {
        "tag": record.tag,
        "environment": environment,
        "command": [*spawner.cmd, *spawner.get_args()],
        "ports": list(session.ports),
        "report": {"port": f"{api}/batchspawner", "end": f"{api}/sgehub/end"},
        "token": spawner.api_token,
        "log_limit": session.log_limit.bytes,
        "bind": "0.0.0.0",  # noqa: S104 - the proxy comes from another host; the server asks for the hub's login
    }


def run_started(found: Job | Absent | Unknown) -> float | None:
    """Return when the job's present run began, as Grid Engine says, or None while that is not known."""
    return found.started if isinstance(found, Job) and found.host else None


async def wait_for_server(spawner: SGESpawner) -> str:
    """Wait until the session reports its port and the table names its host; return the server's URL.

    Raises StartFailed as soon as it is certain that no server will come.
    """
    service = spawner.service
    with service.reflector.interest(waiting=True):
        seen = service.clock()
        service.reflector.ask_soon()
        while True:
            record = spawner.record
            if record is None:
                raise StartFailed("The start was given up.", reason="stopped")
            found = service.find(record)
            await _fail_if_hopeless(spawner, record, found)
            if record.port is not None and isinstance(found, Job) and found.host:
                # From now on another port counts only if the table shows another run.
                spawner.record = replace(record, host=found.host, run_started=found.started)
                return _url(spawner, record, found.host)
            seen = await _news(spawner, seen)


def _url(spawner: SGESpawner, record: SessionRecord, host: str) -> str:
    if not names.HOST.fullmatch(host):
        raise StartFailed(f"Grid Engine names a host that cannot be one: {host!r}.", reason="cluster")
    reachable = spawner.service.policy.hosts.get(host, host)
    spawner.service.watch(spawner)
    spawner.log.info("The server of job %s listens on %s:%s.", record.number, reachable, record.port)
    return f"http://{reachable}:{record.port}"


async def _news(spawner: SGESpawner, seen: float) -> float:
    """Wait for a newer table or a report; return the time of the table that is known now."""
    reflector = spawner.service.reflector
    waits = [asyncio.ensure_future(reflector.next_table(seen)), asyncio.ensure_future(spawner.news.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    spawner.news.clear()
    return reflector.table.asked_at if reflector.table is not None else seen


async def _fail_if_hopeless(spawner: SGESpawner, record: SessionRecord, found: Job | Absent | Unknown) -> None:
    if spawner.exit_code is not None:
        raise await _died(spawner, record, f"The server ended at once, with exit status {spawner.exit_code}.")
    if isinstance(found, Job) and found.state.phase is Phase.ERROR:
        raise StartFailed(await _error_reason(spawner, found), reason="job-error")
    if await spawner.service.gone(record):
        why = await _why(spawner, record)
        raise await _died(spawner, record, f"Job {record.number} ended before its server was ready. {why}")


async def _died(spawner: SGESpawner, record: SessionRecord, message: str) -> StartFailed:
    try:
        log = await spawner.service.engine.tail(record.person, record.folder, record.tag, LOG_LINES)
    except SgehubError as error:
        log = f"(The job's log cannot be read: {error})"
    return StartFailed(message, reason="job-ended", log=log or "(The job's log is empty.)")


async def _error_reason(spawner: SGESpawner, job: Job) -> str:
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
    return "" if accounting is None else why_it_ended(accounting)


async def _accounting(spawner: SGESpawner, record: SessionRecord, patience: float = ACCOUNTING_PATIENCE) -> Any:
    if record.number is None or record.submitted is None:
        return None
    try:
        asked = spawner.service.engine.accounting(
            record.number, owner=record.person, name=record.job_name, submitted_after=record.submitted
        )
        return await asyncio.wait_for(asked, patience)
    except (ClusterError, asyncio.TimeoutError):
        return None


async def exit_status(spawner: SGESpawner, record: SessionRecord) -> int:
    """Return the exit status of a job that has ended: reported, accounted, or 1 when nobody knows."""
    if spawner.exit_code is not None:
        return spawner.exit_code
    accounting = await _accounting(spawner, record, ROUTE_PATIENCE)
    if accounting is None:
        return 1
    spawner.log.info("Job %s of %s: %s", record.number, record.person, why_it_ended(accounting))
    return int(accounting.exit_status)


def too_late(spawner: SGESpawner) -> StartFailed:
    """Say what was still missing when start_timeout ran out."""
    _, said = describe(spawner)
    return StartFailed(
        f"The session did not start within {spawner.start_timeout} seconds. {said}", reason="too-late"
    )


def describe(spawner: SGESpawner) -> tuple[int, str]:
    """Return progress (percent) and a sentence that says where the start stands."""
    record = spawner.record
    if record is None or record.number is None:
        return 5, "Submitting the job to Grid Engine."
    failing = spawner.service.reflector.failing_since
    if failing is not None:
        return 10, f"Grid Engine is not answering. Job {record.number} keeps its place."
    found = spawner.service.find(record)
    if isinstance(found, Absent):
        return 90, f"Job {record.number} is not in Grid Engine's list any more. Looking for the reason."
    if not isinstance(found, Job):
        return 10, f"Grid Engine has taken the request as job {record.number}."
    if found.state.phase in _WORDS:
        percent, words = _WORDS[found.state.phase]
        return percent, words.format(n=record.number, h=found.host or "a host")
    return 20, f"Job {record.number} waits in the queue. {_place(spawner, found)}"


def _place(spawner: SGESpawner, job: Job) -> str:
    table = spawner.service.reflector.table
    waiting = [one for one in table.jobs.values() if one.state.phase is Phase.QUEUED] if table else []
    ahead = sum(1 for one in waiting if one.priority > job.priority)
    return "No other job is ahead of it." if ahead == 0 else f"Jobs ahead of it: {ahead}."


async def events(spawner: SGESpawner) -> AsyncIterator[dict[str, Any]]:
    """Yield JupyterHub's progress events: one for every change of the sentence."""
    last = ""
    while spawner.pending == "spawn":
        percent, said = describe(spawner)
        if said != last:
            last = said
            yield {"progress": percent, "message": said}
        await asyncio.sleep(0.5)
