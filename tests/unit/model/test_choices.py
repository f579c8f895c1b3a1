"""Environments, interfaces, folders, e-mail, reservations, presets, locked and own fields: allowed or refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sgehub.errors import RequestRefusedError
from sgehub.model.jobspec import JobSpec, resolve
from sgehub.model.narrowing import holding, narrowed
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Memory
from tests.unit.model.site import BASE, site

FULL: dict[str, Any] = {
    "parallel_environment": ["smp", "threaded"],
    "environments": {"base": {"label": "Python"}, "ml": {"modules": ["cuda/12.1"], "default_url": "/tree"}},
    "interfaces": {"lab": {"url": "/lab"}, "tree": {"url": "/tree"}},
    "working_folders": ["{home}", "/scratch/{username}"],
    "mail": {"domains": ["lab.test"]},
    "advance_reservations": True,
    "reserve_from": 4,
    "projects": {"stars": {}, "genes": {"most": {"cores": 2, "memory": "8G"}}},
    "fields": {
        "licence": {
            "label": "Licence",
            "type": "choice",
            "choices": {
                "matlab": {"adds": {"matlab": "1"}, "options": ["-A", "teaching"]},
                "none": {"label": "Other"},
            },
        },
        "quick": {"label": "Local disk", "type": "switch", "adds": {"ssd": "TRUE"}, "options": ["-p", "-10"]},
        "tmp": {"label": "Gigabytes", "type": "number", "least": 1, "most": 100, "adds": {"tmpfs": "{value}G"}},
    },
    "presets": {
        "small": {"label": "Small", "request": {"cores": 1, "memory": "4G"}},
        "gpu": {"request": {"gpus": 1, "queue": "gpu.q", "environment": "ml"}},
    },
}
SITE = site(**FULL)


def spec(raw: dict[str, Any], policy: SitePolicy = SITE) -> JobSpec:
    """Return the job of a request."""
    return resolve(policy.parse(raw), policy, name="sgehub-0", home="/home/alice", log="/home/alice/log")


def refused(raw: object, policy: SitePolicy = SITE) -> dict[str, str]:
    """Return field -> sentence."""
    with pytest.raises(RequestRefusedError) as caught:
        policy.parse(raw)
    return {one.field: one.message for one in caught.value.violations}


def test_what_is_chosen_becomes_part_of_the_job():
    """Exactly what the site says that it adds, and nothing where nothing is chosen."""
    job = spec({"extra.licence": "matlab", "extra.quick": "yes", "extra.tmp": "007", "mail": "a@lab.test"})
    assert job.resources[2:] == (("matlab", "1"), ("ssd", "TRUE"), ("tmpfs", "7G"))
    assert job.switches == ("-A", "teaching", "-p", "-10")
    assert job.mail == ("ea", "a@lab.test")
    plain = spec({})
    assert (plain.switches, plain.mail, plain.reservation, plain.reserve) == ((), None, None, False)
    assert len(plain.resources) == 2


def test_the_first_parallel_environment_is_the_default():
    """Another one is named where it was chosen, and none with one core."""
    assert [spec(raw).pe for raw in ({"cores": 2}, {"cores": 2, "pe": "threaded"}, {"pe": "threaded"})] == [
        "smp",
        "threaded",
        None,
    ]


def test_large_sessions_ask_for_a_reservation():
    """And whoever names an advance reservation gets that one."""
    assert [spec({"cores": cores}).reserve for cores in (3, 4)] == [False, True]
    assert spec({"reservation": "17"}).reservation == 17


def test_resources_alone_may_decide_about_the_queue():
    """Unless somebody chose one."""
    policy = site(name_queues=False)
    assert [spec(raw, policy).queue for raw in ({}, {"queue": "long.q"})] == [None, "long.q"]
    assert spec({}).queue == "short.q,long.q,gpu.q"


def test_queues_that_are_not_for_everybody_are_named_all_the_same():
    """Grid Engine knows neither which queues are a project's nor what a rule says: the job has to."""
    projects = {"stars": {}, "genes": {"queues": ["gpu.q"]}}
    policy = site(name_queues=False, projects=projects, rules=[{"people": ["pupil"], "queues": ["short.q"]}])
    assert [spec({"project": name}, policy).queue for name in projects] == [None, "gpu.q"]
    assert spec({}, narrowed(policy, holding(policy, "pupil", []))).queue == "short.q"


@pytest.mark.parametrize(
    ("raw", "field", "sentence"),
    [
        ({"pe": "mpi"}, "pe", "There is no parallel environment mpi. Parallel environments are: smp, threaded."),
        ({"environment": "r"}, "environment", "There is no environment r. Environments are: base, ml."),
        ({"interface": "vnc"}, "interface", "There is no interface vnc. Interfaces are: lab, tree."),
        ({"folder": "/etc"}, "folder", "or one below /scratch/NAME."),
        ({"folder": "/scratch"}, "folder", "or one below /scratch/NAME."),
        ({"folder": "/scratchy/alice"}, "folder", "or one below /scratch/NAME."),
        ({"mail": "alice@elsewhere.test"}, "mail", "Write an address at lab.test."),
        ({"extra.licence": "abaqus"}, "extra.licence", "Choices are: matlab, none."),
        ({"extra.quick": "on"}, "extra.quick", 'Write "yes", or nothing.'),
        ({"extra.tmp": "101"}, "extra.tmp", "Write a whole number from 1 to 100."),
        ({"extra.tmp": "1e1"}, "extra.tmp", "Write a whole number from 1 to 100."),
        ({"extra.tmp": "\N{ARABIC-INDIC DIGIT TWO}"}, "extra.tmp", "Write a whole number from 1 to 100."),
        ({"extra.more": "x"}, "", "There is no field extra.more. Those of this site are: licence, quick, tmp."),
        ({"cores": 3, "project": "genes"}, "cores", "At most 2 cores for project genes."),
        ({"memory": "9G", "project": "genes"}, "memory", "At most 8G of memory for project genes."),
        ({"preset": "huge"}, "", 'There is no preset "huge". Presets are: small, gpu.'),
        ({"preset": ["small"]}, "", "Presets are: small, gpu."),
    ],
)
def test_what_the_site_does_not_offer_is_refused(raw: dict, field: str, sentence: str):
    """One sentence, beside its field, that says what there is."""
    found = refused(raw)
    assert list(found) == [field]
    assert found[field].endswith(sentence)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"pe": "smp2"}, "pe"),
        ({"environment": "base"}, "environment"),
        ({"interface": "lab"}, "interface"),
        ({"folder": "x"}, "folder"),
        ({"mail": "alice@lab.test"}, "mail"),
        ({"reservation": 1}, "reservation"),
        ({"extra.x": "1"}, ""),
        ({"preset": "small"}, ""),
    ],
)
def test_a_plain_site_offers_none_of_it(raw: dict, field: str):
    """Every such wish is refused where the site's file has no such key."""
    assert list(refused(raw, site())) == [field]


@pytest.mark.parametrize(
    "folder", ["x", "~/x", "~", "a b/c", "/scratch/alice", "/scratch/alice/run/", "/scratch/bob"]
)
def test_folders_below_the_sites_are_allowed(folder: str):
    """Whose folder it is, the file system knows: a session can open no more than its person."""
    assert SITE.parse({"folder": folder}).folder == (folder.rstrip("/"))


def test_only_a_part_of_the_home_may_be_offered():
    """A folder beside it is none of it."""
    policy = site(working_folders=["{home}/work"])
    assert policy.parse({"folder": "work/x"}).folder == "work/x"
    assert set(refused({"folder": "workshop"}, policy)) == {"folder"}
    assert refused({"folder": "/home/alice/work"}, policy)["folder"].startswith("Write a folder of your home/work")


def test_a_choice_that_is_required_has_to_be_made():
    """By everybody, presets included."""
    fields = {"cost": {"label": "Cost centre", "type": "choice", "choices": {"a": {}}, "required": True}}
    policy = site(fields=fields, defaults={**BASE["defaults"], "extra": {"cost": "a"}})
    assert policy.parse({}).extra == (("cost", "a"),)
    assert refused({"extra.cost": ""}, policy) == {"extra.cost": "Cost centre: please choose."}


def test_what_people_have_to_choose_may_be_open_in_the_form():
    """A default would be chosen for them; the site's file needs none, and an empty request is refused."""
    fields = {"cost": {"label": "Cost centre", "type": "choice", "choices": {"a": {}}, "required": True}}
    policy = site(fields=fields, projects={"stars": {}}, project_required=True, presets={"x": {"request": {}}})
    assert refused({}, policy).keys() == {"project", "extra.cost"}
    assert refused({"preset": "x", "extra.cost": "a"}, policy).keys() == {"project"}
    assert policy.parse({"project": "stars", "extra.cost": "a"}).extra == (("cost", "a"),)


def test_a_preset_stands_for_fields_that_are_not_named():
    """What is named beside it counts."""
    assert SITE.parse({"preset": "small"}).memory == Memory.parse("4G")
    assert SITE.parse({"preset": "small", "memory": "6G"}).memory == Memory.parse("6G")
    gpu = SITE.parse({"preset": "gpu"})
    assert (gpu.gpus, gpu.queue, gpu.environment) == (1, "gpu.q", "ml")


def test_fields_of_the_sites_own_may_stand_below_one_key():
    """In a preset as in what is locked; a person's own words still count where nothing is locked."""
    nested = {"extra": {"quick": "yes", "tmp": "7"}}
    policy = site(**{**FULL, "presets": {"disk": {"request": nested}}})
    assert policy.parse({"preset": "disk"}).extra == (("quick", "yes"), ("tmp", "7"))
    own = policy.parse({"preset": "disk", "extra.tmp": "8", "extra.quick": ""})
    assert own.extra == (("quick", ""), ("tmp", "8"))
    policy = site(**FULL, locked=nested, defaults={**BASE["defaults"], **nested})
    assert refused({"extra.tmp": "8"}, policy) == {"extra.tmp": "This is set to 7 here and cannot be changed."}
    assert refused({"extra": {"tmp": "8"}}, policy).keys() == {"extra.tmp"}


def test_domains_know_no_capital_letters():
    """Neither in the site's file nor in an address."""
    policy = site(mail={"domains": ["Lab.Test"]})
    assert policy.parse({"mail": "a@lab.TEST"}).mail == "a@lab.TEST"
    assert refused({"mail": "a@lab.test.org"}, policy) == {"mail": "Write an address at Lab.Test."}


def test_what_is_wrong_with_own_fields_is_said_beside_what_cannot_be_read():
    """Nobody corrects in two rounds."""
    assert refused({"cores": "x", "extra.tmp": "500"}).keys() == {"cores", "extra.tmp"}


def test_what_was_switched_off_stays_off():
    """Also when the request that was accepted is read again, as it is before every start."""
    policy = site(**FULL, defaults={**BASE["defaults"], "extra.quick": "yes"})
    off = policy.parse({"extra.quick": ""})
    assert policy.parse(off.as_options()) == off
    assert [spec(raw, policy).switches for raw in ({}, off.as_options())] == [("-p", "-10"), ()]
    assert policy.parse({"extra.gone": ""}).cores == 1


def test_locked_fields_have_their_value_or_the_request_is_refused():
    """Whatever way it came."""
    policy = site(
        **{**FULL, "presets": {}},
        locked={"runtime": "01:00:00", "queue": "long.q"},
        defaults={**BASE["defaults"], "queue": "long.q"},
    )
    assert policy.parse({"runtime": "3600"}).queue == "long.q"
    assert refused({"runtime": "02:00:00", "queue": ""}, policy) == {
        "runtime": "This is set to 01:00:00 here and cannot be changed.",
        "queue": "This is set to long.q here and cannot be changed.",
    }


def test_rules_narrow_choices_and_lock_fields():
    """Presets that do not fit are gone, too."""
    rules = [
        {"groups": ["class"], "environments": ["base"], "interfaces": ["tree"], "sessions_per_person": 1},
        {"groups": ["class"], "most": {"gpus": 0}, "locked": {"cores": 2}},
        {"groups": ["staff"], "presets": []},
    ]
    policy = site(**FULL, rules=rules, sessions_per_person=5)
    pupil, staff = (narrowed(policy, holding(policy, "x", [group])) for group in ("class", "staff"))
    assert (list(pupil.environments), list(pupil.interfaces), list(pupil.presets)) == (
        ["base"],
        ["tree"],
        ["small"],
    )
    assert (pupil.sessions_per_person, staff.sessions_per_person) == (1, 5)
    assert (pupil.parse({}).cores, pupil.defaults.cores) == (2, 2)
    assert refused({"cores": 1, "environment": "ml"}, pupil).keys() == {"cores", "environment"}
    assert staff.presets == {}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"presets": {"x": {"request": {"cores": 17}}}}, "At most 16 cores"),
        ({"presets": {"x": {"request": {"cpus": 1}}}}, "There is no field"),
        ({"locked": {"cores": 2}}, "cores is locked at 2: write the same here."),
        ({"locked": {"cores": "x"}}, "is not a whole number"),
        ({"rules": [{"environments": ["r"]}]}, "r is not in environments above."),
        ({"rules": [{"presets": ["r"]}]}, "r is not in presets above."),
        ({"rules": [{"locked": {"x": 1}}]}, "There is no field"),
        (
            {"queues": {"x.q": {**BASE["queues"]["long.q"], "projects": ["a"]}}},
            "x.q takes sessions of a, which is not in projects.",
        ),
        (
            {
                "queues": {**BASE["queues"], "x.q": {**BASE["queues"]["long.q"], "projects": ["a"]}},
                "projects": {"a": {"queues": ["long.q"]}},
            },
            "x.q takes sessions of a, which may not use it.",
        ),
        ({"texts": {"cpus": {"label": "x"}}}, "There is no such field of a request."),
        ({"fields": {"a": {"label": "A", "type": "choice"}}}, "name what can be chosen"),
        ({"fields": {"a": {"label": "A", "type": "switch", "choices": {"b": {}}}}}, "name what can be chosen"),
        ({"fields": {"a": {"label": "A", "type": "number", "least": 3, "most": 2}}}, "larger than most"),
        (
            {"fields": {"a": {"label": "A", "type": "switch", "adds": {"h_rt": "1"}}}},
            "it asks for h_rt, as another key does",
        ),
        ({"fields": {"a": {"label": "A", "type": "switch", "adds": {"x": "1,y=2"}}}}, "Write a value for qsub"),
        ({"fields": {"a": {"label": "A", "type": "switch", "options": ["-t", "1-9"]}}}, "Write switches"),
        ({"fields": {"a": {"label": "A", "type": "switch", "options": ["-A"]}}}, "Write switches"),
        ({"fields": {"a": {"label": "A", "type": "switch", "options": ["-A", "x y"]}}}, "-A takes letters"),
        ({"fields": {"a": {"label": "A", "type": "switch", "adds": {"x": "{value}"}}}}, "a switch has none"),
        ({"fields": {"a": {"label": "A", "type": "number", "adds": {"x": "4G"}}}}, "write {value} where"),
        (
            {"fields": {n: {"label": "A", "type": "switch", "adds": {"ssd": "1"}} for n in ("a", "b")}},
            "it asks for ssd, as another key does",
        ),
        ({"working_folders": ["scratch"]}, "is not absolute"),
        ({"environments": {"a": {"modules": ["a;b"]}}}, "should match pattern"),
        ({"environments": {"a": {"container": [""]}}}, "none of them empty"),
        ({"interfaces": {"a": {"url": "lab"}}}, "should match pattern"),
        ({"interfaces": {"a": {"url": "/lab'\n"}}}, "should match pattern"),
        ({"mail": {"when": "x"}}, "should match pattern"),
        ({"projects": {"a": {"most": {"cores": 0}}}}, "greater than or equal to 1"),
    ],
)
def test_mistakes_of_the_sites_file_are_found_when_it_is_read(changes: dict, sentence: str):
    """Not when somebody starts a session."""
    with pytest.raises(ValidationError) as caught:
        site(**changes)
    assert sentence in str(caught.value)


def test_a_preset_that_a_lock_contradicts_is_a_mistake_of_the_file():
    """The lock counts, so that the preset could never be what it says."""
    with pytest.raises(ValidationError, match=r"No GPUs in queue long\.q\."):
        site(**FULL, locked={"queue": "long.q"}, defaults={**BASE["defaults"], "queue": "long.q"})


def test_rules_only_narrow():
    """What the site asks of everybody, no rule takes back."""
    rule = {"people": ["x"], "project_required": False, "sessions_per_person": 9, "locked": {"cores": 8}}
    policy = site(
        projects={"a": {}}, project_required=True, sessions_per_person=1, locked={"cores": 1}, rules=[rule]
    )
    found = narrowed(policy, holding(policy, "x", ()))
    assert (found.project_required, found.sessions_per_person, found.locked) == (True, 1, {"cores": 1})


@pytest.mark.parametrize(
    ("defaults", "rule"),
    [
        ({"environment": "ml"}, {"environments": ["base"]}),
        ({"project": "stars"}, {"projects": ["genes"]}),
        ({"interface": "tree"}, {"interfaces": ["lab"]}),
    ],
)
def test_a_rule_that_takes_a_default_away_leaves_the_others(defaults: dict, rule: dict):
    """The form still begins with what the site thinks right."""
    base = {**BASE["defaults"], "cores": 2, "memory": "8G", **defaults}
    policy = site(**FULL, defaults=base, rules=[{"people": ["x"], **rule}])
    found = narrowed(policy, holding(policy, "x", ())).defaults
    assert (found.cores, str(found.memory), str(found.runtime)) == (2, "8G", "01:00:00")
    assert getattr(found, next(iter(defaults))) is None
