"""Rules for groups on a real cluster: people see what is theirs, and Grid Engine gets what they ask for."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.conftest import Site, running_hub

RULES = [
    {"groups": ["astro"], "queues": ["short.q", "gpu.q"], "projects": ["astro"], "defaults": {"project": "astro"}},
    {"groups": ["genomics"], "queues": ["long.q"], "projects": ["genomics"], "most": {"cores": 2}},
    {"people": ["carol"], "sessions_per_person": 1},
]
PROJECTS = {"astro": {"label": "Astronomy"}, "genomics": {"label": "Genomics"}}


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Run a hub whose site has projects, and rules for two groups: alice is an astronomer, bob a geneticist."""
    with running_hub(lab, site={"projects": PROJECTS, "rules": RULES}) as running:
        yield running


def test_two_groups_see_different_forms(site: Site):
    """Queues, projects and limits; what somebody else may have is not on the page."""
    alice, bob = (site.person(name).open("/hub/spawn").text for name in ("alice", "bob"))
    assert "Astronomy" in alice
    assert "Genomics" not in alice
    assert "short.q" in alice
    assert "long.q" not in alice
    assert "1 to 16." in alice
    assert "Genomics" in bob
    assert "Astronomy" not in bob
    assert "gpu.q" not in bob
    assert "1 to 2." in bob


@pytest.mark.parametrize(
    ("name", "request_", "words"),
    [
        ("alice", {"queue": "long.q"}, "There is no queue long.q. Queues are: short.q, gpu.q."),
        ("bob", {"project": "astro"}, "There is no project astro. Projects are: genomics."),
        ("bob", {"cores": 3}, "At most 2 cores."),
    ],
)
def test_what_the_form_does_not_offer_is_refused_by_rest_in_the_same_words(
    site: Site, name: str, request_: dict, words: str
):
    """Nobody has to open a form to be judged."""
    answer = site.person(name).start(request_)
    assert answer.status == 400
    assert words in answer.text
    assert site.jobs() == []


def test_the_project_of_a_rule_is_the_jobs(site: Site):
    """A request that names none takes the default of its person's rule; Grid Engine lets it in."""
    alice = site.person("alice")
    assert alice.start({"memory": "1G"}).status in (201, 202)
    alice.wait_until(ready=True)
    [number] = site.jobs()
    shown = site.qstat("-j", str(number))
    assert re.search(r"^project:\s+astro$", shown, re.MULTILINE)
    assert re.search(r"^hard_queue_list:\s+short\.q,gpu\.q$", shown, re.MULTILINE)
    alice.stop()
    site.wait_for_jobs(0)


def test_one_session_too_many_is_refused_by_form_and_rest_until_another_has_ended(site: Site):
    """In the same words, which name the other one; a stopped session is none."""
    carol, small = site.person("carol"), {"memory": "1G", "runtime": "00:30:00"}
    assert carol.start(small).status in (201, 202)
    carol.wait_until(ready=True)
    words = "You may have 1 session at once, and have: the default one. Stop one first."
    for answer in (carol.start(small, server="second"), carol.post_form(small, server="second")):
        assert answer.status == 400
        assert words in html.unescape(answer.text)
    assert len(site.jobs()) == 1
    carol.stop()
    site.wait_for_jobs(0)
    assert carol.post_form(small, server="second").status == 302
    carol.wait_until(ready=True, server="second")
    answer = carol.start(small)
    assert answer.status == 400
    assert words.replace("the default one", "second") in answer.text
    carol.stop("second")
    site.wait_for_jobs(0)
