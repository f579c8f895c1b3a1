"""From what a person typed to qsub's arguments and the script: checked against an oracle that shares no code.

At least half of the inputs are acceptable, so that both outcomes are looked at.
"""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil

from hypothesis import given, settings
from hypothesis import strategies as st

from sgehub.errors import RequestRefusedError
from sgehub.gridengine.argv import submit_options
from sgehub.model.jobspec import resolve
from sgehub.model.policy import SitePolicy
from sgehub.script import JobScript, render_job_script
from tests.unit.model.site import BASE, site

SITES = {
    "slot": site(),
    "job": site(memory={"complex": "m_mem_free", "counted": "job"}),
    "gpu slot": site(gpu={"complex": "gpu", "counted": "slot"}),
    "limit and free": site(
        memory=[
            {"complex": "h_vmem", "counted": "slot", "headroom": 1.3},
            {"complex": "mem_free", "counted": "host"},
        ]
    ),
    "choices": site(
        gpu={
            "complex": "gpu",
            "counted": "job",
            "types": {"a100": {"adds": {"gpu_a100": "TRUE", "gmem": "40G"}}, "k80": {"adds": {"gpu_k80": "TRUE"}}},
        },
        projects={"astro": {}, "genomics": {"queues": ["gpu.q"]}},
        queues={**BASE["queues"], "gpu.q": {**BASE["queues"]["gpu.q"], "gpu_types": ["a100"]}},
    ),
    "per core queue": site(parallel_environment="smp-1", memory={"complex": "rmem", "counted": "slot"}),
}
HOMES = st.from_regex(r"/home/[a-z][a-z0-9 _.\-{}&;()<>|!#~+=%^éß]{0,12}", fullmatch=True)
TAGS = st.from_regex(r"[0-9a-f]{12}", fullmatch=True)
GOOD = st.fixed_dictionaries(
    {
        "cores": st.integers(1, 8).map(str) | st.integers(1, 8),
        "memory": st.sampled_from(["512M", "1G", "3g", "2.5G", "7000000000", "1048577K", "16G"]),
        "gpus": st.sampled_from(["0", 0, "0", 0, "1", 2]),
        "runtime": st.sampled_from(["00:10:00", "1:0:0", "::3600", "600", "7:59:59"]),
        "queue": st.sampled_from(["", None, "", "long.q", "gpu.q"]),
    }
)
CHOICES = st.fixed_dictionaries(
    {
        "gpu_type": st.sampled_from(["", None, "a100", "a100", "k80"]),
        "project": st.sampled_from(["", None, "astro", "astro", "genomics"]),
    }
)
TEXT = st.text(max_size=20) | st.sampled_from(
    [
        "$(id)",
        "`id`",
        "1;2",
        "1\n#$ -pe smp 64",
        "'",
        '"',
        "-1",
        "0",
        "99999999999",
        "4G,h_rt=1",
        "x" * 5000,
        "\x00",
        "٤",
        "INFINITY",
    ]
)
NOISE = st.dictionaries(
    st.sampled_from(["cores", "memory", "gpus", "runtime", "queue", "gpu_type", "project", "cmd", "_xsrf"]),
    TEXT,
    max_size=2,
)
UNITS = {
    "": 1,
    "k": 1000,
    "K": 1024,
    "m": 1000**2,
    "M": 1024**2,
    "g": 1000**3,
    "G": 1024**3,
    "t": 10**12,
    "T": 2**40,
}


def amount(text: str) -> int:
    """Read memory as sge_types(1) says, exactly."""
    digits = text.rstrip("kKmMgGtT")
    return ceil(Fraction(digits) * UNITS[text[len(digits) :]])


def seconds(text: str) -> int:
    """Read a time as sge_types(1) says."""
    parts = [int(part or 0) for part in text.split(":")]
    return parts[0] if len(parts) == 1 else parts[0] * 3600 + parts[1] * 60 + parts[2]


def expected(policy: SitePolicy, raw: dict, home: str, tag: str) -> list[str]:
    """Work qsub's arguments out from the request, Grid Engine's rules and the site's file alone."""
    cores, gpus = int(raw["cores"]), int(raw["gpus"])
    wanted = []
    for one in policy.memory:
        parts = cores if one.counted == "slot" else 1
        kib = ceil(ceil(amount(raw["memory"]) * Fraction(one.headroom)) / Fraction(parts * 1024))
        unit = next(power for power in (3, 2, 1, 0) if kib % 1024**power == 0)
        wanted.append(f"{one.complex}={kib // 1024**unit}{'KMGT'[unit]}")
    shares = cores if "slot" in [one.counted for one in policy.memory] else 1
    kib = ceil(Fraction(amount(raw["memory"]), shares * 1024))
    total = seconds(raw["runtime"])
    wanted.append(f"h_rt={total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}")
    kind, project = raw.get("gpu_type") or None, raw.get("project") or None
    if gpus:
        wanted.append(f"gpu={gpus // cores if policy.gpu and policy.gpu.counted == 'slot' else gpus}")
    if gpus and kind:
        wanted += {"a100": ["gpu_a100=TRUE", "gmem=40G"], "k80": ["gpu_k80=TRUE"]}[kind]
    queues = (
        [raw["queue"]]
        if raw["queue"]
        else [
            name
            for name, most in policy.queues.items()
            if cores <= most.cores
            and kib * 1024 * shares <= most.memory.bytes
            and gpus <= most.gpus
            and total <= most.runtime.seconds
            and (project != "genomics" or name == "gpu.q")
        ]
    )
    return [
        *("-terse", "-b", "n", "-now", "n", "-S", "/bin/bash", "-wd", home, "-j", "y"),
        *("-o", f"{home}/.sgehub/log/{tag}.log", "-N", f"sgehub-{tag}", "-r", "n", "-notify"),
        *("-l", ",".join(wanted)),
        *(["-pe", policy.parallel_environment[0], str(cores)] if cores > 1 else []),
        *("-q", ",".join(queues)),
        *(["-P", project] if project else []),
    ]


CASES = {
    "policy": st.sampled_from(sorted(SITES)),
    "good": GOOD,
    "choices": CHOICES,
    "noise": st.one_of(st.just({}), st.just({}), st.just({}), NOISE),
    "home": HOMES,
    "tag": TAGS,
}


def test_arguments_are_those_of_the_oracle_or_there_are_none():
    """What is accepted becomes exactly these arguments; of 2,500 requests at least half are acceptable."""
    accepted: list[bool] = []

    @settings(max_examples=2500)
    @given(**CASES)
    def agree(policy: str, good: dict, choices: dict, noise: dict, home: str, tag: str) -> None:
        raw = {**good, **(choices if policy == "choices" else {}), **noise}
        try:
            request = SITES[policy].parse(raw)
        except RequestRefusedError as error:
            accepted.append(False)
            assert all(one.message for one in error.violations)  # noqa: PT017 - both outcomes are right
            return
        accepted.append(True)
        job = resolve(request, SITES[policy], name=f"sgehub-{tag}", home=home, log=f"{home}/.sgehub/log/{tag}.log")
        assert list(submit_options(job)) == expected(SITES[policy], raw, home, tag)

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
