"""Grid Engine's verbs, one short method each.

The law of this file: it asks as the hub's own account, submits and deletes as the person through one helper
under sudo, and turns every answer into a value of the model or one of our errors. Whatever is no complete answer
is NoAnswerError: "don't know", never "no". qsub is never repeated. Nothing is parsed or decided here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sgehub.errors import JobRenamedError, NoAnswerError
from sgehub.gridengine import argv
from sgehub.gridengine.helper import Helper
from sgehub.gridengine.parse_qacct import parse_accounting
from sgehub.gridengine.parse_qconf import (
    ClusterQueue,
    Complex,
    ParallelEnvironment,
    parse_complexes,
    parse_host_values,
    parse_names,
    parse_pe,
    parse_queues,
    parse_values_of_hosts,
)
from sgehub.gridengine.parse_qdel import Deletion, parse_deletion
from sgehub.gridengine.parse_qhost import Host, read_hosts, silent
from sgehub.gridengine.parse_qstat import read_jobs
from sgehub.gridengine.parse_qstat_j import read_detail
from sgehub.gridengine.parse_qsub import Verification, parse_submission, parse_verification
from sgehub.gridengine.parse_xml import by_and_by
from sgehub.gridengine.runner import Completed, Runner
from sgehub.model.job import Absent, Accounting, Job, JobDetail, JobIdentity, JobTable, last_run
from sgehub.model.names import JOB_PREFIX


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Where a cluster is, and which helper acts as a person there ("{person}" stands for the account)."""

    root: str
    cell: str = "default"
    bin: str = "/usr/lib/gridengine"
    qmaster_port: int | None = None
    execd_port: int | None = None
    arch: str | None = None
    helper: tuple[str, ...] = ("sudo", "-n", "-H", "-u", "{person}", "/opt/sgehub/bin/sgehub-as-user")

    def environment(self) -> dict[str, str]:
        """Return the SGE_* variables that every client needs."""
        values = {
            "SGE_ROOT": self.root,
            "SGE_CELL": self.cell,
            "SGE_QMASTER_PORT": self.qmaster_port,
            "SGE_EXECD_PORT": self.execd_port,
            "SGE_ARCH": self.arch,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Submission:
    """One job to be submitted: qsub's options without the script, the script, the launch file, its folder.

    `keep_logs` job logs stay in the folder, this one's included.
    """

    tag: str
    options: tuple[str, ...]
    script: str
    launch: Mapping[str, object] = field(repr=False)  # it holds secrets
    folder: str
    keep_logs: int = 10


class GridEngine:
    """The only door to one cluster.

    `runner` asks, `listing` for the list of jobs, `acting` runs the helper that acts as people; both are the same
    as `runner` if not given. `ask_timeout` bounds every question, `deadline` everything that the helper does as a
    person, both in seconds.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        runner: Runner,
        *,
        acting: Runner | None = None,
        listing: Runner | None = None,
        clock: Callable[[], float] = time.time,
        ask_timeout: float = 30.0,
        deadline: float = 30.0,
    ) -> None:
        self.settings = settings
        self._runner = runner
        self._listing = listing or runner
        self._clock = clock
        self._ask_timeout = ask_timeout
        self._known: Mapping[int, Job] = {}
        cluster = {"bin": settings.bin, "environment": settings.environment()}
        self._helper = Helper(settings.helper, cluster, acting or runner, deadline=deadline)

    async def jobs(self, owners: Collection[str] | None = None) -> JobTable:
        """Return the hub's jobs among those of the owners, of everybody if no owner is named.

        Raises NoAnswerError if that is not the whole list, AccountError if one of the owners can be no account.
        """
        asked_at = self._clock()
        completed = await self._ask(argv.qstat_list(self.settings.bin, owners), self._listing)
        table = await by_and_by(read_jobs(completed, asked_at, named=JOB_PREFIX, known=self._known))
        self._known = table.jobs
        return replace(table, owners=frozenset(owners or ()) or None)

    async def detail(self, number: int) -> JobDetail | Absent:
        """Return what is known of one job, Absent if Grid Engine answers that there is none."""
        completed = await self._ask(argv.qstat_detail(self.settings.bin, number))
        return await by_and_by(read_detail(completed, number))

    async def named(self, name: str) -> JobDetail | Absent:
        """Return what is known of the job with a name of ours, Absent if Grid Engine answers that there is none.

        Lists may hide a job that this shows. NoAnswerError as in `detail`.
        """
        completed = await self._ask(argv.qstat_detail(self.settings.bin, name))
        return await by_and_by(read_detail(completed, name))

    async def accounting(self, ours: JobIdentity) -> Accounting | None:
        """Return the record of the job's last run, None if there is none (yet: the qmaster writes them late)."""
        return last_run(parse_accounting(await self._ask(argv.qacct(self.settings.bin, ours.number))), ours)

    async def confirm_absent(self, ours: JobIdentity) -> bool:
        """Call the second witness on a job that a table lacks: True only if the job is gone for certain.

        `qstat -j` is asked first, since it sees jobs that lists may hide; where it does not answer, an
        accounting record of an end that is final will do. NoAnswerError if neither answers, JobRenamedError if
        the job may be there under another name or owner.
        """
        try:
            detail = await self.detail(ours.number)
        except NoAnswerError:
            record = await self.accounting(ours)
            if record is not None and record.final:
                return True
            raise
        if isinstance(detail, Absent):
            return True
        same = detail.is_of(ours)
        if same is None:
            raise JobRenamedError(
                f"Grid Engine has job {ours.number} as {detail.name} of {detail.owner}, but the hub has submitted"
                f" it as {ours.name} of {ours.owner}: it counts neither as running nor as gone. Give it its name"
                f" back (qalter -N {ours.name} {ours.number}), and let no JSV and no alias change name or owner of"
                f" jobs named {JOB_PREFIX}*."
            )
        return not same

    async def hosts(self, complexes: Sequence[str] = ()) -> tuple[Host, ...]:
        """Return the execution hosts with their queues and the free amounts of `complexes`."""
        completed = await self._ask(argv.qhost(self.settings.bin, complexes))
        return await by_and_by(read_hosts(completed))

    async def silent_hosts(self) -> frozenset[str]:
        """Return the execution hosts that no longer report, NoAnswerError if that is not known of all of them.

        They are said to be unknown ("u") once the qmaster has heard nothing for `max_unheard` (sge_conf(5)), and
        all of them at once after a restart of the qmaster, until each has reported, which takes up to a minute.
        """
        completed = await self._ask(argv.qhost(self.settings.bin))
        return silent(await by_and_by(read_hosts(completed, lambda host: host.silent)))

    async def complexes(self) -> Mapping[str, Complex]:
        """Return all complexes by name."""
        return parse_complexes(await self._ask(argv.qconf(self.settings.bin, "-sc")))

    async def queue_names(self) -> tuple[str, ...]:
        """Return the names of all cluster queues."""
        return parse_names(await self._ask(argv.qconf(self.settings.bin, "-sql")))

    async def queues(self, names: Sequence[str]) -> tuple[ClusterQueue, ...]:
        """Return those of the named cluster queues that exist."""
        if not names:
            return ()  # qconf would print the template of a queue
        return parse_queues(await self._ask(argv.qconf(self.settings.bin, "-sq", *names)))

    async def parallel_environment(self, name: str) -> ParallelEnvironment | None:
        """Return a parallel environment, None if Grid Engine answers that there is none."""
        return parse_pe(await self._ask(argv.qconf(self.settings.bin, "-sp", name)))

    async def parallel_environment_names(self) -> tuple[str, ...]:
        """Return the names of all parallel environments."""
        return parse_names(await self._ask(argv.qconf(self.settings.bin, "-spl")))

    async def host_values(self, host: str) -> Mapping[str, str]:
        """Return what an execution host has of each consumable, as printed."""
        return parse_host_values(await self._ask(argv.qconf(self.settings.bin, "-se", host)))

    async def values_of_hosts(self, hosts: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """Return what each of these execution hosts has of each consumable, as printed; one question for all."""
        if not hosts:
            return {}
        return parse_values_of_hosts(await self._ask(argv.qconf_hosts(self.settings.bin, hosts)))

    async def project_names(self) -> tuple[str, ...]:
        """Return the names of all projects."""
        return parse_names(await self._ask(argv.qconf(self.settings.bin, "-sprjl")))

    async def submit(self, person: str, submission: Submission) -> int:
        """Submit a job as `person`, once, and return its number.

        Raises SubmissionRefusedError with qsub's own sentence, AccountError when home or account stand in the
        way, SiteConfigurationError, or NoAnswerError: then the job may be queued; look for its name.
        """
        completed = await self._helper.command(
            person,
            verb="submit",
            tag=submission.tag,
            folder=submission.folder,
            options=list(submission.options),
            script=submission.script,
            launch=dict(submission.launch),
            keep_logs=submission.keep_logs,
        )
        return parse_submission(completed)

    async def cancel(self, person: str, number: int) -> Deletion:
        """Delete a job as `person`; ClusterError if it is somebody else's, NoAnswerError if that is not known."""
        return parse_deletion(await self._helper.command(person, verb="cancel", job=number), number)

    async def verify(self, person: str, options: Sequence[str], script: str, *, mode: str = "v") -> Verification:
        """Ask qsub, without submitting, whether the job could ever run ("v") or start now ("p")."""
        completed = await self._helper.command(
            person,
            verb="verify",
            options=list(options),
            script=script,
            mode=mode,
        )
        return parse_verification(completed)

    async def tail(self, person: str, folder: str, tag: str, lines: int = 50) -> str | None:
        """Return the last lines of the job's log, None if there is no log."""
        answer = await self._helper.call(person, verb="tail", folder=folder, tag=tag, lines=lines)
        text = answer.get("text")
        return text if isinstance(text, str) else None

    async def discard(self, person: str, folder: str, tag: str) -> bool:
        """Remove the launch file with its secrets; False if it was not there any more."""
        answer = await self._helper.call(person, verb="discard", folder=folder, tag=tag)
        return answer.get("discarded") is True

    async def rewrite_launch(self, person: str, folder: str, tag: str, launch: Mapping[str, object]) -> None:
        """Write the launch file of a job that Grid Engine runs again; its first run has removed the first one."""
        await self._helper.call(person, verb="launch", folder=folder, tag=tag, launch=dict(launch))

    async def _ask(self, command: list[str], runner: Runner | None = None) -> Completed:
        # UTC, so that no local time that a client prints is ambiguous.
        env = {"TZ": "UTC0", **self.settings.environment()}
        return await (runner or self._runner).run(command, env=env, timeout=self._ask_timeout)
