"""Fields that a site may offer, at the gate: hostile words by every way in, and a last request of another day."""

from __future__ import annotations

from typing import Any

import pytest

from sgehub.hub.refusals import LinkOpened, RequestRefused
from sgehub.hub.spawner import SGESpawner
from sgehub.model.request import FIELDS
from sgehub.model.sitechoices import EnvironmentSite, ExtraField, InterfaceSite, MailSite, PresetSite
from sgehub.model.siteparts import Most, ProjectSite, Rule
from tests.unit.hub.gate_rig import spawner_of

WITH_ALL: dict[str, Any] = {
    "parallel_environment": ("smp", "threaded"),
    "environments": {"base": EnvironmentSite()},
    "interfaces": {"lab": InterfaceSite(url="/lab")},
    "working_folders": ["{home}"],
    "mail": MailSite(domains=["lab.test"]),
    "advance_reservations": True,
    "fields": {"disk": ExtraField(label="Disk", type="number", least=1, most=9, adds={"tmpfs": "{value}G"})},
    "presets": {"small": PresetSite(request={"memory": "1G"})},
}
ALLOWED = {
    "pe": "threaded",
    "environment": "base",
    "interface": "lab",
    "folder": "thesis",
    "mail": "a@lab.test",
    "reservation": "7",
    "extra.disk": "9",
    "preset": "small",
}
HOSTILE: dict[str, tuple[str, ...]] = {
    "pe": ("smp 64", "smp,mpi", "mpi", "-pe", "smp\n#$ -pe mpi 64"),
    "environment": ("../base", "base;id", "$(id)", "gone", "\x00"),
    "interface": ("/lab", "javascript:alert(1)", "lab?x", "gone"),
    "folder": ("/etc", "../..", "a/../../b", "$HOME", "-x", "a\nb", "\x1b[2J", "x" * 5000, "/home/bob"),
    "mail": (
        "a@lab.test,root@lab.test",
        "a@lab.test\n",
        "a@elsewhere.test",
        "`id`@lab.test",
        "-M",
        "a b@lab.test",
    ),
    "reservation": ("0", "-1", "1 -q *", "9" * 30, "next", "\N{ARABIC-INDIC DIGIT FOUR}"),
    "extra.disk": ("0", "10", "1e1", "-9", "1G,h_rt=1", "{value}", "\uff12"),
    "extra.gone": ("1", "$(id)"),
    "extra.": ("1",),
    "preset": ("gone", "small,small", "$(id)", "<script>"),
}


@pytest.fixture
def offering() -> SGESpawner:
    """Return a spawner of a site that offers everything."""
    return spawner_of(**WITH_ALL)


async def refusals(spawner: SGESpawner, options: dict[str, str]) -> set[str]:
    """Return what each way in says: REST, stored options, start, form, link. None of them may accept."""
    lists = {name: [value] for name, value in options.items()}
    said = set()
    spawner.user_options = options
    for way in [
        spawner.accept,
        lambda: spawner.apply_user_options(spawner, options),
        lambda: spawner.run_options_from_form(lists),
        lambda: spawner.options_from_query(lists),
    ]:
        with pytest.raises(RequestRefused) as caught:
            way()
        assert caught.value.status_code == 400
        said.add(caught.value.jupyterhub_message)
    with pytest.raises(RequestRefused) as caught:
        await spawner.start()
    assert spawner.record is None
    return {*said, caught.value.jupyterhub_message}


@pytest.mark.parametrize("field", HOSTILE)
async def test_hostile_words_are_refused_by_every_way_in(offering, field):
    """In the same words, and shown as text."""
    for value in HOSTILE[field]:
        (said,) = await refusals(offering, {field: value})
        assert said.isprintable()
        assert len(said) < 400


HUGE = 9 * 10**4299  # JSON may hold it, and Python refuses to write it


@pytest.mark.parametrize(
    "value", [True, 1.5, ["x"], {"a": "b"}, 10**30, HUGE], ids=lambda value: type(value).__name__
)
async def test_values_that_only_rest_can_send_are_refused_in_every_field(offering, value):
    """As JSON has them; a number is none where a name is wanted."""
    for field in ALLOWED:
        offering.user_options = {field: value}
        with pytest.raises(RequestRefused):
            offering.accept()
    for name, nested in [("extra", [1]), ("extra", "x"), ("extra", {"disk": [1]}), ("extra", {"x" * 300: "1"})]:
        offering.user_options = {name: nested}
        with pytest.raises(RequestRefused):
            offering.accept()


def test_what_is_offered_is_accepted(offering):
    """So that the refusals above are about the values."""
    for field, value in ALLOWED.items():
        offering.user_options = {field: value}
        assert offering.accept()
        assert offering.run_options_from_form({field: [value]})


async def test_a_last_request_that_no_longer_fits_is_made_to_fit_and_said(offering):
    """Beside the value that stands there now; nothing is said of one that fits."""
    offering.load_state({"accepted": {"cores": 64, "memory": "2G", "queue": "closed.q"}})
    page = await offering.get_options_form()
    assert 'value="16"' in page
    assert "64" in page
    assert "closed.q" in page
    offering.load_state({"accepted": {"cores": 7, "memory": "2G"}})
    assert "closed.q" not in await offering.get_options_form()


WHATEVER = [None, "", 0, -1, True, 1.5, float("inf"), 10**30, "x" * 5000, "\x00", "<b>", "$(id)", [1], {"a": {}}]


@pytest.mark.parametrize("value", WHATEVER, ids=lambda value: repr(value)[:12])
async def test_no_last_request_is_an_error_page(offering, value):
    """Whatever the database holds, in whatever field; and nothing of it is markup."""
    for field in (*FIELDS, "extra", "extra.disk", "extra.gone", "preset", "nodes", ""):
        offering.load_state({"accepted": {field: value}})
        page = await offering.get_options_form()
        assert "<b>" not in page
        assert len(page) < 60_000


async def test_a_form_in_which_a_project_has_to_be_chosen_is_no_error(caplog):
    """The settings of batchspawner count there as elsewhere, and the log says nothing."""
    spawner = spawner_of(projects={"stars": ProjectSite()}, project_required=True)
    spawner.req_memory = "3G"
    assert 'value="3G"' in await spawner.get_options_form()
    assert not caplog.records
    spawner.req_memory = "3000G"
    assert 'value="2G"' in await spawner.get_options_form()
    assert "The req_* settings of the spawner are not allowed" in caplog.text


async def test_a_link_leaves_open_what_has_to_be_chosen():
    """It fills a form, and a form that nobody has looked at yet does not complain; Start does."""
    spawner = spawner_of(projects={"stars": ProjectSite()}, project_required=True)
    with pytest.raises(LinkOpened, match="filled from the link"):
        spawner.options_from_query({"cores": ["3"]})
    with pytest.raises(RequestRefused, match="project"):
        spawner.run_options_from_form({"cores": ["3"]})
    with pytest.raises(RequestRefused, match="no project"):
        spawner.options_from_query({"project": ["gone"]})


async def test_settings_of_the_spawner_are_made_to_fit_a_rule(caplog):
    """Who names nothing gets the nearest that the rule allows, by every way in, and no log speaks of it."""
    spawner = spawner_of(rules=[Rule(people=["alice"], most=Most(cores=2, memory="3G"))])
    spawner.req_memory, spawner.req_nprocs = "6G", "4"
    page = await spawner.get_options_form()
    assert 'value="3G"' in page
    spawner.user_options = {"runtime": "1:0:0"}
    request = spawner.accept()
    assert (request.cores, str(request.memory)) == (2, "3G")
    assert await refusals(spawner, {"memory": "6G"})
    assert not caplog.records
