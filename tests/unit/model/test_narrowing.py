"""What one person may ask for is never more than the site allows, and is all that other code needs to know."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sgehub.errors import RequestRefusedError
from sgehub.model.judging import violations, wrong_defaults
from sgehub.model.narrowing import holding, narrowed
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Duration, Memory
from tests.unit.model.site import BASE, site

RULES: list[dict[str, Any]] = [
    {"most": {"cores": 8}},
    {"groups": ["astro"], "queues": ["short.q", "gpu.q"], "projects": ["stars"], "defaults": {"project": "stars"}},
    {"groups": ["genomics"], "queues": ["long.q"], "projects": ["genes"], "most": {"memory": "16G"}},
    {"people": ["carol"], "most": {"cores": 4}, "project_required": True},
]
SITE = site(projects={"stars": {}, "genes": {}}, rules=RULES)


def of(person: str, *groups: str, policy: SitePolicy = SITE) -> SitePolicy:
    """Return the policy of a person."""
    return narrowed(policy, holding(policy, person, groups))


def test_each_group_has_its_queues_projects_and_limits():
    """What is not theirs does not exist for them; the sentences are those of any other request."""
    alice, bob = of("alice", "astro"), of("bob", "genomics")
    assert (list(alice.queues), list(alice.projects)) == (["short.q", "gpu.q"], ["stars"])
    assert (list(bob.queues), list(bob.projects)) == (["long.q"], ["genes"])
    assert {one.cores for one in (*alice.queues.values(), *bob.queues.values())} == {8}
    assert bob.queues["long.q"].memory == Memory(16 * 1024**3)
    assert alice.defaults.project == "stars"
    with pytest.raises(RequestRefusedError, match=r"There is no queue long\.q\. Queues are: short\.q, gpu\.q\."):
        alice.parse({"queue": "long.q"})
    with pytest.raises(RequestRefusedError, match=r"There is no project stars\. Projects are: genes"):
        bob.parse({"project": "stars"})


def test_the_last_rule_that_says_something_counts():
    """Carol is in both groups, and has a rule of her own."""
    carol = of("carol", "astro", "genomics")
    assert list(carol.queues) == ["long.q"]
    assert carol.queues["long.q"].cores == 4
    assert carol.project_required
    with pytest.raises(RequestRefusedError, match="Every session needs a project: genes"):
        carol.parse({})


def test_a_project_is_offered_with_the_queues_that_are_open_to_its_person_or_not_at_all():
    """Names of queues that are closed to somebody stand nowhere."""
    projects = {"stars": {"queues": ["gpu.q", "long.q"]}, "genes": {"queues": ["gpu.q"]}, "any": {}}
    policy = site(projects=projects, rules=[{"people": ["bob"], "queues": ["long.q"]}])
    bob = of("bob", policy=policy)
    assert {name: one.queues for name, one in bob.projects.items()} == {"stars": ["long.q"], "any": None}
    with pytest.raises(RequestRefusedError, match=r"There is no project genes\. Projects are: stars, any\."):
        bob.parse({"project": "genes"})


def test_a_queue_for_some_projects_is_offered_to_those_who_may_choose_one_of_them():
    """Its other projects stand nowhere; who has none of them does not see the queue."""
    queues = {**BASE["queues"], "gpu.q": {**BASE["queues"]["gpu.q"], "projects": ["stars", "genes"]}}
    rules = [{"people": ["bob"], "projects": ["stars"]}, {"people": ["eve"], "projects": []}]
    policy = site(queues=queues, projects={"stars": {}, "genes": {}}, rules=rules)
    assert of("bob", policy=policy).queues["gpu.q"].projects == ["stars"]
    assert list(of("eve", policy=policy).queues) == ["short.q", "long.q"]


@pytest.mark.parametrize(
    ("limit", "locked", "field", "now"),
    [
        ({"most": {"runtime": "01:00:00"}}, {"runtime": "08:00:00"}, "runtime", "01:00:00"),
        ({"queues": ["short.q"]}, {"queue": "gpu.q"}, "queue", None),
        ({"most": {"memory": "1G"}}, {"cores": 2, "memory": "8G"}, "memory", "1G"),
    ],
)
def test_two_rules_that_exclude_each_other_lock_nobody_out(limit, locked, field, now):
    """The lock becomes the nearest that the other rule allows, and that is still the only value."""
    rules = [{"groups": ["students"], **limit}, {"groups": ["gpuusers"], "locked": locked}]
    both = of("x", "students", "gpuusers", policy=site(rules=rules))
    assert both.parse({}).as_options()[field] == now
    assert {name: both.locked[name] for name in locked if name != field} == {
        name: value for name, value in locked.items() if name != field
    }
    with pytest.raises(RequestRefusedError, match=r"cannot be changed|There is no queue"):
        both.parse({field: locked[field]})


def test_who_is_in_no_rule_has_what_everybody_has():
    """And without rules the policy itself is the answer."""
    dave = of("dave", "physics")
    assert list(dave.queues) == list(SITE.queues)
    assert {one.cores for one in dave.queues.values()} == {8}
    assert narrowed(site(), ()) == site()


def test_defaults_are_cut_to_what_is_left():
    """The form opens for everybody, whatever the site's defaults are."""
    policy = site(
        defaults={**BASE["defaults"], "cores": 8, "memory": "32G", "runtime": "24:00:00", "queue": "long.q"},
        rules=[{"people": ["eve"], "queues": ["short.q"], "most": {"cores": 2, "memory": "1G"}}],
    )
    eve = of("eve", policy=policy)
    assert (eve.defaults.cores, eve.defaults.memory) == (2, Memory(1024**3))
    assert (eve.defaults.runtime, eve.defaults.queue) == (Duration(3600), None)


TYPES = {"a100": {"adds": {"kind": "a100"}}, "k80": {"adds": {"kind": "k80"}}, "v100": {"adds": {"kind": "v100"}}}


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"queues": ["new.q", "short.q"]}, ["a100"]),
        ({"queues": ["new.q", "old.q"]}, ["a100", "k80"]),
        ({"queues": ["new.q", "gpu.q"]}, ["a100", "k80", "v100"]),
        ({"queues": ["short.q"]}, []),
        ({"most": {"gpus": 0}}, []),
        ({"queues": ["new.q"], "locked": {"gpu_type": "k80"}}, ["a100", "k80"]),
    ],
)
def test_types_of_gpu_are_those_of_ones_queues(rule: dict, left: list[str]):
    """A queue that names none has all; what is locked stays, as it counts for sessions with GPUs only."""
    types = {"new.q": ["a100"], "old.q": ["k80"], "gpu.q": None}
    queues = {name: {**BASE["queues"]["gpu.q"], "gpu_types": named} for name, named in types.items()}
    policy = site(
        gpu={**BASE["gpu"], "types": TYPES},
        queues={"short.q": {**BASE["queues"]["short.q"], "gpu_types": ["v100"]}, **queues},
        rules=[{"people": ["frank"], **rule}],
    )
    frank = of("frank", policy=policy)
    assert list(frank.gpu_types) == left
    assert frank.parse({}).gpus == 0
    assert list(of("dave", policy=policy).gpu_types) == list(TYPES)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"queues": ["no.q"]}, "no.q is not in queues above"),
        ({"projects": ["physics"]}, "physics is not in projects above"),
        ({"queues": []}, "at least 1 item"),
        ({"defaults": {"cores": "many"}}, "is not a whole number"),
        ({"defaults": {"nodes": 1}}, "There is no field"),
        ({"groups": ["a b"]}, "pattern"),
        ({"most": {"cores": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_rule_that_cannot_hold_is_refused(rule: dict, said: str):
    """When the site's file is read, not when somebody comes."""
    with pytest.raises(ValidationError, match=said):
        site(rules=[rule])


QUEUES = st.lists(st.sampled_from(list(BASE["queues"])), min_size=1, unique=True)
MOST = st.fixed_dictionaries(
    {},
    optional={
        "cores": st.integers(1, 40),
        "memory": st.sampled_from(["256M", "1G", "20G", "200G"]),
        "gpus": st.integers(0, 4),
        "runtime": st.sampled_from(["0:1:0", "3:0:0", "99:0:0"]),
    },
)
RULE = st.fixed_dictionaries(
    {},
    optional={
        "queues": QUEUES,
        "most": MOST,
        "projects": st.lists(st.sampled_from(["stars", "genes"]), unique=True),
        "project_required": st.booleans(),
        "defaults": st.fixed_dictionaries(
            {}, optional={"cores": st.integers(1, 20), "memory": st.just("8G"), "project": st.just("stars")}
        ),
    },
)


@given(
    rules=st.lists(RULE, max_size=4),
    cores=st.integers(1, 20),
    gigabytes=st.integers(1, 70),
    gpus=st.sampled_from([0, 0, 1, 3]),
    hours=st.integers(1, 50),
    project=st.sampled_from([None, "stars", "genes"]),
)
def test_rules_never_allow_more_and_always_leave_a_form(rules, cores, gigabytes, gpus, hours, project):
    """What a narrowed policy accepts the site's own accepts, and its defaults are allowed but for a project."""
    policy = site(projects={"stars": {}, "genes": {}}, rules=rules)
    mine = of("alice", policy=policy)
    raw = {"cores": cores, "memory": f"{gigabytes}G", "gpus": gpus, "runtime": f"{hours}:0:0", "project": project}
    try:
        request = mine.parse(raw)
    except RequestRefusedError:
        request = None
    if request is not None:
        assert violations(request, policy) == ()
    assert wrong_defaults(mine.defaults, mine) == ()
