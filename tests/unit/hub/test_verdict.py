"""Questions about a request: one at a time for each person, few in all, never twice, and nobody waits for long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from jupyterhub.objects import Hub
from traitlets.config import Config

from sgehub.errors import AccountError, NoAnswerError
from sgehub.gridengine.parse_qsub import Verification
from sgehub.hub import form, starting, verdict_api
from sgehub.hub.offered import fields_of
from sgehub.hub.people import People, account_of
from sgehub.hub.record import SessionRecord
from sgehub.hub.spawner import SGESpawner
from sgehub.hub.verdict import BELIEVED, MOST_KNOWN, Question, Verdicts
from sgehub.model.verdict import SILENT, Kind
from sgehub.model.wish import Wish
from sgehub.siteconfig import load_site
from tests.unit.model.site import site

SITE = str(Path(__file__).parents[3] / "config" / "site.yaml")
POLICY = load_site(Path(SITE))
FULL = 'Job 1 cannot run in PE "smp" because it only offers 0 slots'
YES, NO = Verification(possible=True), Verification(possible=False, reason=FULL, lines=(FULL,))


class Engine:
    """A Grid Engine that answers what and when a test says. `now` is its answer to -w p, `ever` to -w v."""

    def __init__(self) -> None:
        self.now: Verification | Exception = YES
        self.ever: Verification | Exception = YES
        self.asked: list[tuple[str, str, tuple[str, ...], str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = self.most = 0

    async def verify(self, person: str, options: Sequence[str], script: str, *, mode: str = "v") -> Verification:
        self.asked.append((person, mode, tuple(options), script))
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            await self.gate.wait()
        finally:
            self.busy -= 1
        answer = self.now if mode == "p" else self.ever
        if isinstance(answer, Exception):
            raise answer
        return answer


class Service:
    """What the questions need of a service; `time` is the clock, `counted` what the metrics were told."""

    def __init__(self) -> None:
        self.engine, self.policy, self.time = Engine(), POLICY, 1000.0
        self.people = People(POLICY, time.time)
        self.counted: list[str] = []
        self.metrics = SimpleNamespace(judged=lambda kind, _seconds: self.counted.append(kind))
        self.tasks: set[asyncio.Task[Any]] = set()
        self.verdicts = Verdicts(self, patience=0.2)

    def clock(self) -> float:
        return self.time

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task


@pytest.fixture
async def service() -> Service:
    return Service()


async def turns() -> None:
    """Let every task go on until it waits for something that is not there yet."""
    for _ in range(200):
        await asyncio.sleep(0)


def question(what: str = "1", person: str = "alice") -> Question:
    return Question(Wish(person, POLICY.defaults, POLICY), ("-l", f"gpu={what}"), "true\n")


def later(service: Service, *args: str) -> asyncio.Task[Any]:
    return asyncio.ensure_future(service.verdicts.on(question(*args)))


def modes(service: Service) -> list[str]:
    return [mode for _, mode, _, _ in service.engine.asked]


@pytest.mark.parametrize(
    ("now", "ever", "kind", "asked"),
    [
        (YES, NO, Kind.NOW, ["p"]),
        (NO, YES, Kind.WAITS, ["p", "v"]),
        (NO, NO, Kind.NEVER, ["p", "v"]),
        (NoAnswerError("x"), YES, Kind.UNKNOWN, ["p"]),
        (NO, NoAnswerError("x"), Kind.UNKNOWN, ["p", "v"]),
        (AccountError("There is no home."), YES, Kind.UNKNOWN, ["p"]),
    ],
)
async def test_whether_ever_is_asked_only_if_not_now(service, now, ever, kind, asked):
    """No answer is unknown, never a no."""
    service.engine.now, service.engine.ever = now, ever
    found = await service.verdicts.on(question())
    assert (found.kind, modes(service)) == (kind, asked)
    assert service.counted == [kind.value]


async def test_silence_and_a_fault_have_words_of_their_own(service):
    """Silence does not keep anybody from Start; what stands in the way of an account is said as at Start."""
    service.engine.now = NoAnswerError("commlib error: got select error")
    assert (await service.verdicts.on(question())).sentence == SILENT
    service.engine.now = AccountError("There is no home.")
    assert (await service.verdicts.on(question())).sentence == "There is no home."


async def test_the_same_question_is_asked_once_within_seconds(service):
    """After that everything may have changed; silence is not believed at all."""
    for _ in range(3):
        await service.verdicts.on(question())
    assert modes(service) == ["p"]
    await service.verdicts.on(question("2"))
    await service.verdicts.on(question("1", "bob"))
    assert len(modes(service)) == 3
    service.time += BELIEVED
    await service.verdicts.on(question())
    assert len(modes(service)) == 4
    service.engine.now = NoAnswerError("x")
    for _ in range(2):
        await service.verdicts.on(question("3"))
    assert len(modes(service)) == 6


async def test_what_is_kept_is_bounded(service):
    """A script that asks ever new questions fills no memory; the oldest answers go first."""
    for number in range(MOST_KNOWN + 5):
        await service.verdicts.on(question(str(number)))
    assert len(service.verdicts._known) == MOST_KNOWN
    await service.verdicts.on(question(str(MOST_KNOWN + 4)))
    assert len(modes(service)) == MOST_KNOWN + 5
    await service.verdicts.on(question("0"))
    assert len(modes(service)) == MOST_KNOWN + 6


async def test_a_newer_question_replaces_the_one_that_waits(service):
    """The one that is being asked goes on; of those behind it only the newest is asked."""
    service.engine.gate.clear()
    tasks = []
    for what in "12345":
        tasks.append(later(service, what))
        await turns()
    assert [task.done() for task in tasks] == [False, True, True, True, False]
    service.engine.gate.set()
    found = [await task for task in tasks]
    assert [one and one.kind for one in found] == [Kind.NOW, None, None, None, Kind.NOW]
    assert [options[1] for _, _, options, _ in service.engine.asked] == ["gpu=1", "gpu=5"]
    assert service.engine.most == 1


async def test_the_same_question_in_two_windows_is_one(service):
    """Whether it is being asked or still waits: both get its answer."""
    service.engine.gate.clear()
    tasks = [later(service, what) for what in "1122"]
    await turns()
    service.engine.gate.set()
    assert [(await task).kind for task in tasks] == [Kind.NOW] * 4
    assert len(service.engine.asked) == 2


async def test_going_back_to_what_is_being_asked_forgets_what_waited(service):
    """Who types 1, 2 and 1 again is asked for once."""
    service.engine.gate.clear()
    tasks = []
    for what in "121":
        tasks.append(later(service, what))
        await turns()
    service.engine.gate.set()
    found = [await task for task in tasks]
    assert [one and one.kind for one in found] == [Kind.NOW, None, Kind.NOW]
    assert len(service.engine.asked) == 1


async def test_the_whole_hub_asks_a_few_at_once(service):
    """A class that opens the form at the same moment is no load for the qmaster."""
    service.engine.gate.clear()
    tasks = [later(service, "1", f"u{number}") for number in range(20)]
    await turns()
    assert service.engine.busy == 4
    service.engine.gate.set()
    assert {(await task).kind for task in tasks} == {Kind.NOW}
    assert (len(service.engine.asked), service.engine.most) == (20, 4)


async def test_nobody_waits_longer_than_patience(service):
    """The question goes on by itself, and its answer counts for whoever asks after that."""
    service.engine.gate.clear()
    begun = time.monotonic()
    assert (await service.verdicts.on(question())).sentence == SILENT
    assert 0.15 < time.monotonic() - begun < 2.0
    service.engine.gate.set()
    await turns()
    assert (await service.verdicts.on(question())).kind is Kind.NOW
    assert len(service.engine.asked) == 1


async def test_what_nobody_waits_for_any_more_is_not_asked(service):
    """After an outage the qmaster is not flooded by questions of those who have long gone."""
    service.engine.gate.clear()
    tasks = [later(service, "1", f"u{number}") for number in range(20)]
    assert {(await task).kind for task in tasks} == {Kind.UNKNOWN}
    service.time += 1.0
    service.engine.gate.set()
    await turns()
    assert len(service.engine.asked) == 4
    assert service.verdicts._lines == {}


async def test_whoever_goes_away_takes_nothing_along(service):
    """A request that is cancelled leaves the question to others who wait for it."""
    service.engine.gate.clear()
    first, second = later(service), later(service)
    await turns()
    first.cancel()
    service.engine.gate.set()
    assert (await second).kind is Kind.NOW


async def test_an_error_of_ours_leaves_nobody_waiting(service):
    """The next question of the person is asked as if nothing had been."""
    service.engine.now = RuntimeError("a mistake")
    assert (await service.verdicts.on(question())).kind is Kind.UNKNOWN
    service.engine.now = YES
    assert (await service.verdicts.on(question())).kind is Kind.NOW


@pytest.fixture
async def spawner(service) -> SGESpawner:
    settings = {"sgehub_services": {SITE: service}}
    user = SimpleNamespace(name="games", settings=settings, url="/user/games/", escaped_name="games")
    made = SGESpawner(
        user=user,
        hub=Hub(base_url="/hub/"),
        orm_spawner=orm.Spawner(name=""),
        config=Config({"SGESpawner": {"site": SITE}}),
    )
    made.handler = None
    return made


async def test_qsub_is_asked_what_start_would_submit(service, spawner):
    """Options and script are those of Start, but for the number of the start; with the site's own options."""
    spawner.req_options = "-A physics"
    spawner.req_prologue = "module load python"
    values = {"cores": "2", "memory": "4G", "gpus": "1", "runtime": "01:00:00", "queue": "gpu.q"}
    assert (await verdict_api.verdict_on(spawner, values)).kind is Kind.NOW
    ((person, _, options, script),) = service.engine.asked
    tag = verdict_api.NO_TAG
    who = account_of("games")
    record = SessionRecord(tag, "games", starting.folder(POLICY, who), token_id=1, asked=2.0)
    assert person == "games"
    assert (options, script) == starting.job(spawner, spawner.judge(values), record, who)
    assert "module load python" in script
    assert options[:2] == ("-A", "physics")
    assert options[options.index("-q") + 1] == "gpu.q"


@pytest.mark.parametrize(
    "values",
    [{"cores": "99"}, {"memory": "$(id)"}, {"nodes": "1"}, {"queue": "nosuch.q"}, {"cores": "1\n2"}, {"": ""}],
)
async def test_what_the_site_refuses_never_reaches_grid_engine(service, spawner, values):
    """The words are those of Start, and the person's form remembers nothing of it."""
    found = await verdict_api.verdict_on(spawner, values)
    assert (found.kind, service.engine.asked) == (Kind.REFUSED, [])
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the sentence is compared below
        spawner.run_options_from_form({name: [value] for name, value in values.items()})
    assert found.sentence == caught.value.jupyterhub_message


async def test_a_form_with_many_fields_of_the_sites_own_has_a_verdict(service, spawner):
    """As many as a request may have, with long names and values; no more than the gate takes."""
    names = [f"n{number:03}{'n' * 50}" for number in range(100)]
    choices = {name: {"v" * 60: {"adds": {name: "1"}}} for name in names}
    policy = site(fields={name: {"label": "A", "type": "choice", "choices": choices[name]} for name in names})
    service.people = People(policy, time.time)
    values = dict.fromkeys((*fields_of(policy), "preset"), "") | {f"extra.{name}": "v" * 60 for name in names}
    values |= {"cores": "1", "memory": "2G", "gpus": "0", "runtime": "01:00:00"}
    read = verdict_api.fields_in(json.dumps(values).encode())
    assert read == values
    assert (await verdict_api.verdict_on(spawner, read)).kind is Kind.NOW
    found = await verdict_api.verdict_on(spawner, {**read, **{f"f{number}": "x" for number in range(3000)}})
    assert found.kind is Kind.REFUSED
    assert found.sentence.count("There is no field") == form.UNKNOWN_LIMIT


async def test_a_session_too_many_is_refused_before_start(service, spawner):
    """The gate's last rule counts as well: a person need not press Start to hear of it."""
    policy = POLICY.model_copy(update={"sessions_per_person": 1})
    service.people = People(policy, time.time)
    service.ends = SimpleNamespace(has=lambda _tag: False)
    entry = SimpleNamespace(server="other", record=SimpleNamespace(tag="0"))
    service.ledger = SimpleNamespace(entries=lambda _person: [entry])
    found = await verdict_api.verdict_on(spawner, {"cores": "1"})
    assert (found.kind, service.engine.asked) == (Kind.REFUSED, [])
    assert found.sentence == "You may have 1 session at once, and have: other. Stop one first."


async def test_who_has_no_account_hears_so(service, spawner):
    """As at Start; nobody is asked."""
    spawner.user.name = "nobody-there"
    found = await verdict_api.verdict_on(spawner, {"cores": "1"})
    assert (found.kind, service.engine.asked) == (Kind.UNKNOWN, [])
    assert found.sentence.startswith("There is no account 'nobody-there'")


async def test_the_form_names_the_address_and_asks_nothing_by_itself(service, spawner):
    """First paint does not wait for Grid Engine."""
    page = await spawner.get_options_form()
    assert 'data-address="/hub/api/sgehub/verdict/games"' in page
    assert service.engine.asked == []
