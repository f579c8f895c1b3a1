"""The client and a real Grid Engine agree: every state, every end, and nothing concluded from silence."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from sgehub.errors import AccountError, ClusterError, NoAnswerError, SiteConfigurationError, SubmissionRefusedError
from sgehub.gridengine.argv import submit_options
from sgehub.gridengine.client import ClusterSettings, GridEngine, Submission
from sgehub.gridengine.parse_qdel import Deletion
from sgehub.gridengine.reflector import JobReflector, Pace
from sgehub.gridengine.runner import Completed, Runner
from sgehub.model.job import Absent, Job, JobDetail, JobIdentity, Phase, Unknown
from sgehub.model.jobspec import JobSpec
from sgehub.model.whyended import why_it_ended

if TYPE_CHECKING:
    from sgehub.lab.cluster import Lab

pytestmark = pytest.mark.timeout(180)
Value = TypeVar("Value")
SLEEP = "#!/bin/bash\nsleep 300\n"


class RunnerOnHead(Runner):
    """Run commands where the hub would: on the lab's head, as the hub's account."""

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self._lab = lab

    async def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        output_limit: int = 2**26,
    ) -> Completed:
        command = self._lab.command("head", list(argv), user="jupyterhub")
        whole = self._lab.environment("jupyterhub", env)
        return await super().run(command, timeout=timeout, stdin=stdin, env=whole, output_limit=output_limit)


class Session:
    """One job of one person, as the hub would submit it."""

    def __init__(self, engine: GridEngine, person: str) -> None:
        self.engine, self.person = engine, person
        self.tag = secrets.token_hex(6)
        self.name = f"sgehub-{self.tag}"
        self.folder = f"/home/{person}/.sgehub"
        self.number = 0
        self.submitted = 0.0

    def spec(self, **changes: object) -> JobSpec:
        values: dict[str, object] = {
            "name": self.name, "slots": 1, "pe": None, "resources": (("h_rt", "00:05:00"), ("h_vmem", "512M")),
            "queue": "short.q", "project": None, "home": f"/home/{self.person}",
            "log": f"{self.folder}/log/{self.tag}.log",
        }  # fmt: skip
        return JobSpec(**{**values, **changes})

    async def submit(self, script: str = SLEEP, *, extra: tuple[str, ...] = (), **changes: object) -> None:
        options = (*submit_options(self.spec(**changes)), *extra)
        submission = Submission(self.tag, options, script, {"token": "secret"}, self.folder)
        self.number = await self.engine.submit(self.person, submission)
        self.submitted = time.time()

    @property
    def identity(self) -> JobIdentity:
        return JobIdentity(self.number, self.person, self.name, self.submitted)

    async def find(self) -> Job | Absent | Unknown:
        return (await self.engine.jobs()).find(self.identity)

    async def until(self, *phases: Phase) -> Job:
        async def look() -> Job | None:
            found = await self.find()
            return found if isinstance(found, Job) and found.state.phase in phases else None

        return await eventually(look)

    async def until_absent(self) -> None:
        async def look() -> bool:
            return isinstance(await self.find(), Absent)

        await eventually(look)

    async def confirmed(self) -> bool:
        return await self.engine.confirm_absent(self.identity)

    async def cancel(self) -> Deletion:
        return await self.engine.cancel(self.person, self.number)


async def eventually(look: Callable[[], Awaitable[Value | None]], seconds: float = 60.0) -> Value:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := await look():
            return found
        await asyncio.sleep(0.3)
    raise AssertionError("did not come true")


def engine_of(lab: Lab, **limits: float) -> GridEngine:
    cell = lab.cell_environment
    settings = ClusterSettings(
        root=cell["SGE_ROOT"],
        cell=cell["SGE_CELL"],
        qmaster_port=int(cell["SGE_QMASTER_PORT"]),
        execd_port=int(cell["SGE_EXECD_PORT"]),
        arch=cell["SGE_ARCH"],
    )

    return GridEngine(settings, RunnerOnHead(lab), **limits)


@pytest.fixture
def engine(lab: Lab) -> GridEngine:
    return engine_of(lab)


@pytest.fixture
async def session(lab: Lab, engine: GridEngine) -> AsyncIterator[Session]:
    session = Session(engine, "alice")
    yield session
    if session.number:
        lab.run("head", ["qdel", "-f", str(session.number)])


def process_id(lab: Lab, host: str, name: str) -> str:
    return lab.run(host, ["pgrep", "-x", name]).stdout.split()[0]


@contextmanager
def stopped(lab: Lab, host: str, daemon: str) -> Iterator[None]:
    """Let a daemon hang: it keeps its connections and says nothing."""
    number = process_id(lab, host, daemon)
    assert lab.run(host, ["kill", "-STOP", number]).returncode == 0
    try:
        yield
    finally:
        lab.run(host, ["kill", "-CONT", number])


@asynccontextmanager
async def qmaster_gone(lab: Lab) -> AsyncIterator[None]:
    number = process_id(lab, "head", "sge_qmaster")
    lab.run("head", ["kill", "-KILL", number])
    try:
        yield
    finally:
        lab.run("head", ["setsid", "/usr/sbin/sge_qmaster"])

        async def answers() -> bool:
            return lab.run("head", ["/usr/lib/gridengine/qconf", "-sh"]).returncode == 0

        await eventually(answers)


async def test_a_session_from_submission_to_confirmed_absence(session: Session) -> None:
    """Running with its slots on a host; deleted; then accounting and qstat -j both know that it has ended."""
    nobodys = JobIdentity(1, "alice", session.name, time.time())
    assert await session.engine.accounting(nobodys) is None
    await session.submit(slots=2, pe="smp")
    job = await session.until(Phase.RUNNING)
    assert (job.owner, job.queue, job.slots) == ("alice", "short.q", 2)
    assert job.host is not None
    assert job.host.startswith("node")
    assert job.started is not None
    assert abs(job.started - session.submitted) < 30
    assert not await session.confirmed()
    assert await session.cancel() is Deletion.REGISTERED
    await session.until_absent()
    assert await session.confirmed()

    async def accounted() -> object:
        return await session.engine.accounting(session.identity)

    record = await eventually(accounted)
    # How a job that is deleted just as it starts has ended depends on the moment.
    assert "deleted" in why_it_ended(record, h_rt=300)
    assert await session.engine.detail(session.number) == Absent()
    assert await session.engine.tail("alice", session.folder, session.tag) == ""
    assert await session.engine.discard("alice", session.folder, session.tag)
    assert not await session.engine.discard("alice", session.folder, session.tag)


async def test_a_held_job_is_queued_and_held(session: Session) -> None:
    """hqw; released it runs."""
    await session.submit(extra=("-h",))
    job = await session.until(Phase.HELD)
    assert (str(job.state), job.queue, job.host, job.started) == ("hqw", None, None, None)
    assert job.submitted is not None
    assert abs(job.submitted - session.submitted) < 30


async def test_an_error_tells_its_reason(session: Session) -> None:
    """Eqw, with Grid Engine's own reason; deleted at once, and then a second wish finds nothing."""
    await session.submit(log="/nonexistent/folder/log")
    job = await session.until(Phase.ERROR)
    assert str(job.state) == "Eqw"
    detail = await session.engine.detail(session.number)
    assert isinstance(detail, JobDetail)
    assert detail.error_reasons == (
        'can\'t open output file "/nonexistent/folder/log": No such file or directory',
    )
    assert await session.cancel() is Deletion.DELETED
    assert await session.cancel() is Deletion.ABSENT
    assert await session.confirmed()


async def test_a_pending_job_tells_why_it_waits(session: Session) -> None:
    """The scheduler's reasons for this job come first."""
    await session.submit(resources=(("h_rt", "60"), ("h_vmem", "900G")))
    await session.until(Phase.QUEUED)

    async def reasons() -> tuple[str, ...]:
        detail = await session.engine.detail(session.number)
        assert isinstance(detail, JobDetail)
        return detail.pending_reasons

    assert "cannot run at host" in (await eventually(reasons))[0]


async def test_a_job_on_a_silent_host_is_ending_until_it_is_gone(lab: Lab, session: Session) -> None:
    """dr: deletion is registered, the job still counts as there."""
    await session.submit()
    job = await session.until(Phase.RUNNING)
    assert job.host is not None
    with stopped(lab, job.host, "sge_execd"):
        assert await session.cancel() is Deletion.REGISTERED
        job = await session.until(Phase.ENDING)
        assert "d" in job.state.letters
        assert not await session.confirmed()
        assert await session.cancel() is Deletion.REGISTERED
    await session.until_absent()


async def test_somebody_elses_job_is_not_deleted(session: Session) -> None:
    """The wish is denied; denied is neither gone nor unknown."""
    await session.submit(extra=("-h",))
    with pytest.raises(ClusterError, match="necessary privileges"):
        await session.engine.cancel("bob", session.number)
    await session.until(Phase.HELD)


async def test_a_refusal_is_qsubs_own_sentence(session: Session) -> None:
    """And nothing was submitted, nothing is left in the person's folder."""
    with pytest.raises(SubmissionRefusedError, match=r'^The requested project "nosuch" does not exist\.$'):
        await session.submit(project="nosuch")
    assert not await session.engine.discard("alice", session.folder, session.tag)


async def test_verification_says_whether_a_job_could_ever_run(session: Session) -> None:
    """-w v: yes without a reason, no with one a line."""
    good = await session.engine.verify("alice", submit_options(session.spec()), SLEEP)
    assert (good.possible, good.reason) == (True, "")
    spec = session.spec(resources=(("h_vmem", "900G"),), queue="long.q")
    bad = await session.engine.verify("alice", submit_options(spec), SLEEP)
    assert not bad.possible
    assert "It cannot run at host" in bad.reason


@contextmanager
def holding(path: Path, text: str) -> Iterator[None]:
    """Let a file hold `text` for a while."""
    before = path.read_text() if path.exists() else None
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink() if before is None else path.write_text(before)


async def test_the_persons_default_options_do_not_count_but_the_sites_do(lab: Lab, session: Session) -> None:
    """~/.sge_request is forgotten; the cell's sge_request and the script's own lines are not."""
    home = Path(lab.root, "home", "alice")
    personal, site = home / ".sge_request", Path(lab.root, "sge", "lab", "common", "sge_request")
    with (
        holding(personal, "-t 1-3 -V\n-hold_jid 4711 -A personal -l gpu=1 -b y -now y\n-C %%\n"),
        holding(site, "# site\n-ac origin=site\n-l h_vmem=123M\n"),
    ):
        await session.submit("#!/bin/bash\n#$ -A script\nsleep 300\n", extra=("-h",))
        said = lab.run("head", ["qstat", "-j", str(session.number)]).stdout
    lines = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in said.splitlines())}
    assert lines["account"] == "script"
    assert lines["context"] == "origin=site"
    assert "h_vmem=512M" in lines["hard resource_list"]
    assert "gpu" not in lines["hard resource_list"]
    assert not {"job-array tasks", "jid_predecessor_list (req)", "hold_jid"} & set(lines)
    assert lines["job_name"] == session.name
    assert "PATH" not in lines["env_list"]


@pytest.mark.parametrize("folder", ["a b", "it's", 'a"b', "a\\b", "äöü", "a&b;c|d", "(a)[b]{c}", "a*?~#%=@!`^+<>"])
async def test_a_home_of_odd_characters_works(lab: Lab, session: Session, folder: str) -> None:
    """The job starts in that very folder, and its log is there."""
    home = Path(lab.root, "home", "alice", folder)
    assert lab.run("head", ["mkdir", "-p", f"/home/alice/{folder}"], user="alice").returncode == 0
    await session.submit("#!/bin/bash\npwd\n", home=f"/home/alice/{folder}", log=f"/home/alice/{folder}/log")

    async def said() -> str:
        log = home / "log"
        return log.read_text() if log.exists() else ""

    assert await eventually(said) == f"/home/alice/{folder}\n"
    await session.until_absent()


async def test_a_reached_runtime_is_told(session: Session) -> None:
    """h_rt with -notify: the program may even end cleanly at the first signal."""
    script = "#!/bin/bash\ntrap 'exit 0' USR2\nfor i in $(seq 300); do sleep 1; done\n"
    await session.submit(script, resources=(("h_rt", "3"),))
    await asyncio.sleep(2)
    await session.until_absent()

    async def accounted() -> object:
        return await session.engine.accounting(session.identity)

    record = await eventually(accounted)
    assert why_it_ended(record, h_rt=3) == "It reached its runtime of 3 seconds."


async def test_a_qmaster_that_is_gone_proves_nothing(make_lab: Callable[..., Lab]) -> None:
    """Every question and every order ends as "don't know"; afterwards the job is still there."""
    lab = make_lab()
    await asyncio.to_thread(lab.up)
    session = Session(engine_of(lab), "alice")
    await session.submit()
    await session.until(Phase.RUNNING)
    reflector = JobReflector(session.engine.jobs, pace=Pace(waiting=0.3, longest=1.0, outage=1.0))
    old = await reflector.next_table(0.0)
    async with qmaster_gone(lab):
        other = Session(session.engine, "alice")
        for question in (session.engine.jobs, session.confirmed, session.cancel, other.submit):
            with pytest.raises(NoAnswerError):
                await question()
        with pytest.raises(NoAnswerError):
            await session.engine.detail(session.number)
        waiting = asyncio.ensure_future(reflector.next_table(time.time()))
        await asyncio.sleep(2)
        assert not waiting.done()
        assert reflector.table is not None
        assert reflector.table.asked_at >= old.asked_at
        assert reflector.failing_since is not None
    table = await asyncio.wait_for(waiting, 60)
    assert reflector.failing_since is None
    assert isinstance(table.find(session.identity), Job)
    await reflector.close()


async def test_a_hung_qmaster_costs_a_timeout_and_leaves_no_process(make_lab: Callable[..., Lab]) -> None:
    """qstat, and qsub behind sudo, are ended within their limits; no child of ours is left, dead or alive."""
    lab = make_lab()
    await asyncio.to_thread(lab.up)
    session = Session(engine_of(lab), "alice")
    await session.submit()
    await session.until(Phase.RUNNING)
    impatient = engine_of(lab, ask_timeout=2.0, deadline=2.0)
    with stopped(lab, "head", "sge_qmaster"):
        began = time.monotonic()
        with pytest.raises(NoAnswerError):
            await impatient.jobs()
        with pytest.raises(NoAnswerError):
            await impatient.cancel("alice", session.number)
        other = Session(impatient, "alice")
        with pytest.raises(NoAnswerError):
            await other.submit()
        assert time.monotonic() - began < 15
        clients = lab.run("head", ["pgrep", "-x", "qstat|qsub|qdel|sudo|sgehub-as-user"]).stdout
        assert clients == ""
    assert isinstance(await session.find(), Job)
    assert children() == []


def children() -> list[str]:
    """Our own children that nobody has reaped."""
    mine = Path("/proc/self/task")
    found = [child for task in mine.iterdir() for child in (task / "children").read_text().split()]
    states = {child: Path(f"/proc/{child}/stat").read_text() for child in found if Path(f"/proc/{child}").exists()}
    return [state for state in states.values() if "(nsenter)" in state]


async def test_only_people_of_the_group_are_served(engine: GridEngine) -> None:
    """The refusal by sudo names the missing rule; an account that cannot be is refused before."""
    with pytest.raises(SiteConfigurationError, match=r"sudoers\.d/sgehub"):
        await engine.cancel("daemon", 1)
    with pytest.raises(AccountError, match="There is no account nosuch"):
        await engine.cancel("nosuch", 1)
    with pytest.raises(AccountError, match="cannot be the name of an account"):
        await engine.cancel("#2001", 1)


async def test_hosts_tell_what_they_offer(engine: GridEngine) -> None:
    """Queues and consumables of every execution host, and the pseudo host."""
    hosts = {host.name: host for host in await engine.hosts(["h_vmem", "gpu"])}
    assert hosts["node01"].resources["h_vmem"].startswith("64")
    assert {queue.queue for queue in hosts["node01"].queues} == {"short.q", "long.q"}
    assert all(queue.accepts for queue in hosts["node01"].queues)
    assert hosts["node01"].reachable
