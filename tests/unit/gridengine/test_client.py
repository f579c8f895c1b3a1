"""The client over small real executables: late, hanging, garbled and refusing ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sgehub.errors import (
    AccountError,
    ClusterError,
    JobRenamedError,
    NoAnswerError,
    SgehubError,
    SiteConfigurationError,
    SubmissionRefusedError,
)
from sgehub.gridengine.client import ClusterSettings, GridEngine, Submission
from sgehub.gridengine.helper import MARGIN
from sgehub.gridengine.parse_qdel import Deletion
from sgehub.gridengine.reflector import JobReflector, Pace
from sgehub.gridengine.runner import Runner
from sgehub.model.job import Absent, Job, JobDetail, JobIdentity
from tests.unit.gridengine.captured import DATA, captured

SUBMISSION = Submission(
    "0123456789ab", ("-terse", "-N", "x"), "#!/bin/bash\nrun\n", {"token": "s3cret"}, "/home/a/.sgehub"
)
LIST = DATA / "sge-8.1.9" / "mix.qstat.u-all.s-prs.xml.out"
THAT_DAY = 1795179600.0  # of the captured answers
RUN = JobIdentity(69, "alice", "run1", 1.0)
ALICE70 = JobIdentity(70, "alice", "sgehub-smp2", 1.0)


class Cluster:
    """A folder of executables in place of Grid Engine's, and one in place of the helper."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.request = folder / "request.json"
        self.calls = folder / "calls"
        settings = ClusterSettings(
            root=str(folder / "sge"),
            bin=str(folder),
            qmaster_port=6444,
            helper=(str(folder / "helper"), "{person}"),
        )
        self.engine = GridEngine(settings, Runner(grace=0.3), clock=self.clock, ask_timeout=1.0, deadline=1.0)

    def clock(self) -> float:
        self.now += 1
        return self.now

    def command(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/bash\necho {name} "$@" >> {self.calls}\n{text}\n')
        path.chmod(0o755)

    def helper(self, answer: object, status: int = 0, stderr: str = "") -> None:
        (self.folder / "answer").write_text(answer if isinstance(answer, str) else json.dumps(answer))
        (self.folder / "stderr").write_text(stderr)
        self.command(
            "helper",
            f"cat > {self.request}; cat {self.folder}/answer; cat {self.folder}/stderr >&2; exit {status}",
        )

    def asks(self, name: str) -> int:
        return self.calls.read_text().count(f"{name} ") if self.calls.exists() else 0

    def pids(self) -> list[int]:
        """Return the ids that commands have written down."""
        path = self.folder / "pids"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def asked(self) -> dict[str, object]:
        """Return the last request, without the time at which it expires."""
        request: dict[str, object] = json.loads(self.request.read_text())
        del request["expires"]
        return request


def alive(number: int) -> bool:
    """Tell whether there is such a process, be it dead and not reaped."""
    return Path(f"/proc/{number}").exists()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    return Cluster(tmp_path)


def ran(stdout: str = "", status: int | None = 0, stderr: str = "", *, timeout: bool = False) -> dict[str, object]:
    return {"exit": status, "stdout": stdout, "stderr": stderr, "timeout": timeout}


# Questions


async def test_a_table_is_dated_before_the_question(cluster: Cluster) -> None:
    """The clock is read first, however long the answer takes."""
    cluster.command("qstat", f"sleep 0.2; sed s/smp2/sgehub-smp2/ {LIST}")
    question = asyncio.ensure_future(cluster.engine.jobs())
    await asyncio.sleep(0.1)
    cluster.now = 5000.0
    table = await question
    assert table.asked_at == 1001.0
    assert isinstance(table.find(ALICE70), Job)
    assert set(table.jobs) == {70}  # of the jobs of others nothing is kept


@pytest.mark.parametrize(("owners", "asked"), [(None, "*"), ((), "*"), (("bob", "alice"), "alice,bob")])
async def test_a_table_says_whose_jobs_were_asked_for(
    cluster: Cluster, owners: tuple[str, ...] | None, asked: str
) -> None:
    cluster.command("qstat", f"cat {LIST}")
    table = await cluster.engine.jobs(owners)
    assert cluster.calls.read_text() == f"qstat -u {asked} -s prs -xml\n"
    assert table.owners == (frozenset(owners) if owners else None)


async def test_hosts_that_do_not_report_are_named(cluster: Cluster) -> None:
    """By one question for all of them; half an answer names none."""
    answer_of(cluster, "qhost", "sge-8.1.9", "lost.qhost.q.xml")
    assert await cluster.engine.silent_hosts() == {"node01", "node02"}
    assert cluster.calls.read_text() == "qhost -q -xml\n"
    cluster.command("qhost", f"head -n -1 {cluster.folder}/qhost.out")
    with pytest.raises(NoAnswerError):
        await cluster.engine.silent_hosts()


async def test_a_client_that_ignores_term_is_killed_and_asked_again_later(cluster: Cluster) -> None:
    """The reflector asks one question at a time, also while a dying one is being put away."""
    cluster.command("qstat", f"trap '' TERM; echo $$ >> {cluster.folder}/pids; while :; do sleep 0.1; done")
    reflector = JobReflector(cluster.engine.jobs, pace=Pace(waiting=0.01, outage=0.01))
    with reflector.interest(waiting=True):
        while cluster.asks("qstat") < 3:
            assert sum(map(alive, cluster.pids())) <= 1
            await asyncio.sleep(0.02)
    await reflector.close()
    assert not any(map(alive, cluster.pids()))


async def test_clients_get_the_cell_and_utc_and_nothing_else(cluster: Cluster) -> None:
    cluster.command("qstat", f"env > {cluster.folder}/env; cat {LIST}")
    await cluster.engine.jobs()
    names = {line.partition("=")[0] for line in (cluster.folder / "env").read_text().splitlines()}
    assert {"SGE_ROOT", "SGE_CELL", "SGE_QMASTER_PORT", "TZ", "LC_ALL", "PATH"} == names - {"PWD", "SHLVL", "_"}


@pytest.mark.parametrize(
    "text",
    ["sleep 60", "exit 0", "echo garbage", f"head -c 3000 {LIST}", f"cat {LIST}; exit 1", "yes", "kill -9 $$",
     f"cat {LIST}; sleep 60"],
    ids=["hangs", "says nothing", "garbage", "half", "fails", "never ends", "dies", "late"],
)  # fmt: skip
async def test_whatever_goes_wrong_is_no_answer(cluster: Cluster, text: str) -> None:
    """Never an empty table, never an absent job."""
    for name in ("qstat", "qacct", "qhost"):
        cluster.command(name, text)
    questions: list[Callable[[], object]] = [
        cluster.engine.jobs,
        lambda: cluster.engine.detail(70),
        lambda: cluster.engine.accounting(ALICE70),
        lambda: cluster.engine.confirm_absent(ALICE70),
        cluster.engine.hosts,
        cluster.engine.silent_hosts,
    ]
    outcomes = await asyncio.gather(*(question() for question in questions), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NoAnswerError] * len(questions)


async def test_a_missing_client_is_named(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="qstat is not there"):
        await cluster.engine.jobs()


def answer_of(cluster: Cluster, command: str, dialect: str, name: str) -> None:
    answer = captured(dialect, name)
    out, err = cluster.folder / f"{command}.out", cluster.folder / f"{command}.err"
    out.write_bytes(answer.stdout)
    err.write_bytes(answer.stderr)
    cluster.command(command, f"cat {out}; cat {err} >&2; exit {answer.exit}")


async def test_the_second_witness_is_qstat(cluster: Cluster) -> None:
    """It says that the job is unknown, or that the number is another job's, or that the job is there."""
    answer_of(cluster, "qstat", "sge-8.1.9", "gone.qstat-j.xml")
    assert await cluster.engine.detail(69) == Absent()
    assert await cluster.engine.confirm_absent(RUN)
    answer_of(cluster, "qstat", "sge-8.1.9", "j.RUN.qstat-j.xml")
    assert isinstance(await cluster.engine.detail(69), JobDetail)
    assert not await cluster.engine.confirm_absent(RUN)
    assert await cluster.engine.confirm_absent(replace(RUN, owner="bob"))
    assert await cluster.engine.confirm_absent(replace(RUN, name="sgehub-x"))


async def test_a_renamed_job_is_not_gone(cluster: Cluster) -> None:
    """qalter, a JSV or another spelling of its owner: the same number, submitted at the same time, is the job."""
    answer_of(cluster, "qstat", "sge-8.1.9", "j.RUN.qstat-j.xml")
    detail = await cluster.engine.detail(69)
    assert isinstance(detail, JobDetail)
    shown = detail.submitted
    assert shown is not None
    for owner, name in (("Alice", "run1"), ("alice", "sgehub-0123456789ab")):
        later = JobIdentity(69, owner, name, shown + 40)
        for ours in (later, replace(later, submitted=1.0, submission_time=shown + 0.4)):
            with pytest.raises(JobRenamedError, match=rf"as run1 of alice, .*\(qalter -N {name} 69\)"):
                await cluster.engine.confirm_absent(ours)
        other = replace(later, submission_time=shown - 30)
        assert await cluster.engine.confirm_absent(other), "a number that was used again"


@pytest.mark.parametrize(
    ("record", "number", "name", "confirmed"),
    [("qacct-j.DEL", 94, "del", True), ("qacct-j.DEL", 94, "another", False), ("qacct-j.SH", 92, "noshell", False),
     ("extra.qacct-j-unknown.99999", 94, "del", False)],
)  # fmt: skip
async def test_accounting_speaks_where_qstat_is_silent(
    cluster: Cluster, record: str, number: int, name: str, *, confirmed: bool
) -> None:
    """A record of that very job, of an end that is final; else it stays unknown."""
    answer_of(cluster, "qstat", "sge-8.1.9", "down.qstat.xml")
    answer_of(cluster, "qacct", "sge-8.1.9", record)
    question = cluster.engine.confirm_absent(JobIdentity(number, "alice", name, THAT_DAY))
    if confirmed:
        assert await question
    else:
        with pytest.raises(NoAnswerError):
            await question


# Orders, through the helper


async def test_an_order_expires_by_a_clock_that_nobody_sets(cluster: Cluster) -> None:
    """Whatever sudo does, and whoever is killed meanwhile."""
    cluster.helper({"discarded": True})
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    await cluster.engine.discard("alice", "/f", "t")
    expires = json.loads(cluster.request.read_text())["expires"]
    assert before + 1.0 + MARGIN < expires < time.clock_gettime(time.CLOCK_BOOTTIME) + 1.0 + MARGIN


async def test_a_submission_reaches_the_helper_whole(cluster: Cluster) -> None:
    """All fields of the protocol; secrets on standard input, nothing of them among the arguments."""
    cluster.helper(ran("4711\n"))
    assert await cluster.engine.submit("alice", SUBMISSION) == 4711
    assert cluster.asked() == {
        "verb": "submit",
        "deadline": 1.0,
        "cluster": {"bin": str(cluster.folder), "environment": cluster.engine.settings.environment()},
        "folder": "/home/a/.sgehub",
        "tag": "0123456789ab",
        "options": ["-terse", "-N", "x"],
        "script": "#!/bin/bash\nrun\n",
        "launch": {"token": "s3cret"},
        "keep_logs": 10,
    }
    assert cluster.calls.read_text() == "helper alice\n"


async def test_the_other_verbs(cluster: Cluster) -> None:
    """Each with the fields of the protocol and no others."""
    cluster.helper(ran("alice has registered the job 47 for deletion\n"))
    assert await cluster.engine.cancel("alice", 47) is Deletion.REGISTERED
    assert {name: cluster.asked()[name] for name in ("verb", "job")} == {"verb": "cancel", "job": 47}
    cluster.helper(ran("verification: found suitable queue(s)\n"))
    assert (await cluster.engine.verify("alice", ("-q", "a"), "run\n", mode="p")).possible
    assert cluster.asked()["mode"] == "p"
    cluster.helper({"text": "last words\n"})
    assert await cluster.engine.tail("alice", "/f", "t", 5) == "last words\n"
    assert cluster.asked() == {"verb": "tail", "deadline": 1.0, "folder": "/f", "tag": "t", "lines": 5}
    cluster.helper({"text": None})
    assert await cluster.engine.tail("alice", "/f", "t") is None
    cluster.helper({"discarded": True})
    assert await cluster.engine.discard("alice", "/f", "t")
    assert cluster.asked() == {"verb": "discard", "deadline": 1.0, "folder": "/f", "tag": "t"}
    cluster.helper({"written": True})
    await cluster.engine.rewrite_launch("alice", "/f", "t", {"token": "s3cret"})
    launch = {"verb": "launch", "deadline": 1.0, "folder": "/f", "tag": "t", "launch": {"token": "s3cret"}}
    assert cluster.asked() == launch


@pytest.mark.parametrize(
    ("answer", "status", "stderr", "kind"),
    [
        (ran(status=1, stderr="Unable to run job: no.\nExiting.\n"), 0, "", SubmissionRefusedError),
        (ran(status=None, timeout=True), 0, "", NoAnswerError),
        (ran("4711\n", status=None, timeout=True), 0, "", NoAnswerError),
        (ran(status=1, stderr="error: commlib error: x\n"), 0, "", NoAnswerError),
        ("", 0, "", NoAnswerError),
        ('{"exit": 0, "stdo', 0, "", NoAnswerError),
        ("[]", 0, "", NoAnswerError),
        ({}, 0, "", NoAnswerError),
        ({"exit": "0", "stdout": "4711"}, 0, "", NoAnswerError),
        ("", 1, "Traceback (most recent call last):\n", NoAnswerError),
        ("4711", 1, "", NoAnswerError),
        ("{}", 3, "", NoAnswerError),
        ({"refused": {"why": "home-full", "message": "Your home is full."}}, 3, "", AccountError),
        ({"refused": {"why": "home-missing", "message": "There is no home."}}, 3, "", AccountError),
        ({"refused": {"why": "command-unsafe", "message": "No."}}, 3, "", SiteConfigurationError),
        ({"refused": {"why": "root", "message": "No."}}, 3, "", SiteConfigurationError),
        ({"refused": {"why": "bad-request", "message": "No."}}, 3, "", ClusterError),
        ("", 1, "sudo: a password is required\n", SiteConfigurationError),
        ("", 1, "Sorry, user jupyterhub is not allowed to execute x as alice on head.\n", SiteConfigurationError),
        ("", 1, "sudo: /opt/x: command not found\n", SiteConfigurationError),
        ("", 1, "sudo: unknown user alice\nsudo: error initializing audit plugin\n", AccountError),
    ],
)
async def test_every_way_of_not_submitting_is_told_apart(
    cluster: Cluster, answer: object, status: int, stderr: str, kind: type[SgehubError]
) -> None:
    """Refused for certain, the site's fault, the account's, or unknown; asked once, and no secret told."""
    cluster.helper(answer, status, stderr)
    with pytest.raises(SgehubError) as caught:
        await cluster.engine.submit("alice", SUBMISSION)
    assert type(caught.value) is kind
    assert "s3cret" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert cluster.calls.read_text() == "helper alice\n"


async def test_a_hanging_helper_is_ended(cluster: Cluster) -> None:
    """Long after its own deadline; then it is not known what it did."""
    engine = GridEngine(cluster.engine.settings, Runner(grace=0.3), deadline=-9.5)
    cluster.command("helper", "exec sleep 60")
    with pytest.raises(NoAnswerError, match=r"within 0\.5 seconds"):
        await engine.cancel("alice", 1)


@pytest.mark.parametrize("person", ["", "#0", "-u", "a b", "alice\n", "root;", "%sgehub", "a" * 33, "../x"])
async def test_only_names_of_accounts_reach_sudo(cluster: Cluster, person: str) -> None:
    """Sudo reads "#0" as root."""
    cluster.helper(ran("4711\n"))
    with pytest.raises(AccountError):
        await cluster.engine.submit(person, SUBMISSION)
    assert not cluster.calls.exists()
