"""From what a person typed to qsub's arguments and the script: checked against an oracle that shares no code.

At least half of the requests are acceptable, so that both outcomes are looked at.
"""

from __future__ import annotations

import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sgehub.errors import RequestRefusedError
from sgehub.gridengine.argv import submit_options
from sgehub.hub import surroundings
from sgehub.model.jobspec import resolve
from sgehub.model.judging import violations
from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.script import JobScript, render_job_script
from tests.unit.request_oracle import SITES, allowed, described, effective, expected

POLICIES = {name: SitePolicy.model_validate(described(name)) for name in SITES}
HOMES = st.from_regex(r"/home/[a-z][a-z0-9 _.\-{}&;()<>|!#~+=%^éß]{0,12}", fullmatch=True)
TAGS = st.from_regex(r"[0-9a-f]{12}", fullmatch=True)
# What people ask for, field by field: the first words are what most ask for, the last ones are refused somewhere.
WORDS: dict[str, tuple[Any, ...]] = {
    "cores": ("1", 1, "2", 3, "4", 5, "6", 8, " 2", "16", "17"),
    "memory": ("512M", "1G", "3g", "2.5G", "7000000000", "1048577K", "16G", "1G", "2G", "100M", "65G"),
    "gpus": ("0", 0, "0", 0, "0", 0, "1", 2, "0", 4),
    "runtime": ("00:10:00", "1:0:0", "::3600", "600", "7:59:59", "1:0:0", "600", "59", "48:00:01"),
    "queue": ("", None, "", None, "long.q", "gpu.q", "short.q", "closed.q"),
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "gpu_type": ("", None, "a100", "a100", "a100", "k80", "v100"),
    "project": ("", None, "astro", "astro", "genomics", "physics"),
    "pe": ("", None, "smp", "threaded", "threaded", "mpi"),
    "environment": ("", None, "base", "ml", "image", "r"),
    "interface": ("", None, "tree", "tree", "lab", "vnc"),
    "folder": ("", None, "thesis", "~/a b/c", "/scratch/alice", "/scratch/x/$", "/etc"),
    "mail": ("", None, "a.b+c@lab.test", "x@lab.test", "x@elsewhere.test"),
    "reservation": ("", None, 7, "17", "007"),
    "extra.licence": ("", None, "matlab", "abaqus", "comsol"),
    "extra.polite": ("", "yes", "yes", "yes", "no"),
    "extra.disk": ("", "1", "100", "040", "101"),
    "preset": ("", None, "small", "gpu", "huge"),
}
HOSTILE: tuple[Any, ...] = (
    "$(id)",
    "`id`",
    "1;2",
    "1\n#$ -pe smp 64",
    "x\n-q *",
    "'",
    '"',
    "-1",
    "-t 1-9",
    "99999999999",
    "4G,h_rt=1",
    "smp,mpi",
    "a@lab.test,b@lab.test",
    "a@lab.test\n",
    "../../etc",
    "x" * 5000,
    "\x00",
    "\x1b[2J",
    "\N{RIGHT-TO-LEFT OVERRIDE}x",
    "\N{ARABIC-INDIC DIGIT FOUR}",
    "INFINITY",
    "{value}",
    1.5,
    True,
    10**30,
    ["4G"],
    {"a": "b"},
)
NOISE = st.dictionaries(
    st.sampled_from([*WORDS, *CHOICES, "extra", "extra.", "extra.x y", "cmd", "_xsrf"]),
    st.text(max_size=20) | st.sampled_from(HOSTILE),
    max_size=2,
)
COUNT = 20_000
FIXED_THERE = {
    "one core": ("cores", "gpus", "queue", "runtime"),
    "locked": ("queue", "interface", "extra.polite", "preset"),
    "required": ("extra.licence", "preset"),
}
FIXED = {"home": "/home/x", "launch_file": "/home/x/run/0.json"}


def judge(name: str, words: dict[str, Any], home: str, tag: str) -> bool:
    """Check one request: refused in words, or exactly the oracle's job. Return whether it was accepted."""
    policy, raw_site = POLICIES[name], described(name)
    try:
        request = policy.parse(words)
    except RequestRefusedError as error:
        assert error.violations  # noqa: PT017 - both outcomes are right
        assert all(one.message for one in error.violations)  # noqa: PT017 - both outcomes are right
        return False
    assert violations(request, policy) == ()
    assert policy.parse(request.as_options()) == request  # as before every start
    job = resolve(request, policy, name=f"sgehub-{tag}", home=home, log=f"{home}/.sgehub/log/{tag}.log")
    assert list(submit_options(job)) == expected(raw_site, words, home, tag)
    check_surroundings(name, words, request)
    return True


def check_surroundings(name: str, words: dict[str, Any], request: ResourceRequest) -> None:
    """Check that of all words only an environment changes the script, in the site's own words."""
    policy, wish = POLICIES[name], effective(described(name), words)
    alone = policy.defaults.model_copy(update={"environment": wish.get("environment")})
    assert surroundings.job_script(policy, request, **FIXED) == surroundings.job_script(policy, alone, **FIXED)
    options = request.as_options()
    container = described(name).get("environments", {}).get(wish.get("environment"), {}).get("container", [])
    assert surroundings.command(policy, options, ["jupyterhub-singleuser"]) == [
        *container,
        "jupyterhub-singleuser",
    ]
    found = surroundings.variables(policy, options)
    assert found.keys() <= {"JUPYTERHUB_DEFAULT_URL", "JUPYTERHUB_ROOT_DIR"}
    assert all(one.isprintable() for one in found.values())


def some(choose: random.Random, words: tuple[Any, ...]) -> Any:
    """Choose one of the words; those at the end, which are refused somewhere, are rare."""
    return choose.choice(words if choose.random() < 0.08 else words[: len(words) * 2 // 3])


def request(choose: random.Random, name: str) -> dict[str, Any]:
    """Return what somebody might ask for at a site; most people leave alone what they cannot change there."""
    offered = CHOICES if "fields" in SITES[name] or choose.random() < 0.1 else {}
    odds = dict.fromkeys(WORDS, 0.8) | dict.fromkeys(offered, 0.4) | dict.fromkeys(FIXED_THERE.get(name, ()), 0.03)
    return {
        field: some(choose, values)
        for field, values in {**WORDS, **CHOICES}.items()
        if choose.random() < odds.get(field, 0)
    }


@pytest.mark.parametrize("name", SITES)
def test_of_many_requests_each_becomes_the_oracles_job_or_none(name: str):
    """And it becomes one exactly where the oracle, too, finds that the site allows it."""
    choose = random.Random(name)  # noqa: S311 - the same requests every time, no secret
    count, accepted = COUNT // len(SITES), 0
    for number in range(count):
        words = request(choose, name)
        accepts = judge(name, words, "/home/alice", f"{number:012x}")
        assert accepts == allowed(described(name), words), words
        accepted += accepts
    assert count / 2 <= accepted < count * 0.97


@pytest.mark.parametrize("name", SITES)
@pytest.mark.parametrize("field", [*WORDS, *CHOICES, "extra", "extra.x", "cmd"])
def test_hostile_words_reach_no_job(name: str, field: str):
    """Whatever field they stand in; those that a folder may be called like never leave the launch file."""
    for hostile in HOSTILE:
        accepted = judge(name, {field: hostile}, "/home/alice", "0" * 12)
        assert not accepted or field == "folder" or (field, hostile) == ("extra.polite", True), (field, hostile)


def test_arguments_are_those_of_the_oracle_whatever_is_typed():
    """Homes and words that nobody has thought of; of 2,500 requests at least half are acceptable."""
    accepted: list[bool] = []
    good = st.fixed_dictionaries({name: st.sampled_from(values[:-2]) for name, values in WORDS.items()})
    noise = st.one_of(st.just({}), st.just({}), st.just({}), NOISE)

    @settings(max_examples=2500)
    @given(st.sampled_from(sorted(SITES)), good, noise, HOMES, TAGS)
    def agree(name: str, good: dict, noise: dict, home: str, tag: str) -> None:
        accepted.append(judge(name, {**good, **noise}, home, tag))

    agree()
    assert sum(accepted) * 2 >= len(accepted)


PLAIN = JobScript(
    home="/home/x", python="/opt/p", program="/opt/s", launch_file="/home/x/run/0.json", path=["/env"]
)
SHAPE = re.compile(r"'(?:[^']|'\"'\"')*'|/[\w@%+=,./-]*", re.ASCII)  # shlex.quote's two outcomes


@given(home=HOMES, environment=HOMES, tag=TAGS)
def test_the_scripts_lines_are_the_templates(home: str, environment: str, tag: str):
    """Homes and environments change words inside the lines, never the lines, and bring no option for qsub."""
    job = JobScript(
        home=home, python="/opt/p", program="/opt/s", launch_file=f"{home}/run/{tag}.json", path=[environment]
    )
    script, plain = render_job_script(job), render_job_script(PLAIN)
    assert len(script.split("\n")) == len(plain.split("\n"))
    assert not re.search(r"^#\$", script, re.MULTILINE)
    for line, model in zip(script.split("\n"), plain.split("\n"), strict=True):
        assert SHAPE.sub("V", line) == SHAPE.sub("V", model)
