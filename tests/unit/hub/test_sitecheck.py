"""A site's file beside its cluster: each difference is named once, with its key; what is right is not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sgehub.errors import AccountError, NoAnswerError
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex, ParallelEnvironment, PerHost
from sgehub.gridengine.parse_qsub import Verification, parse_verification
from sgehub.hub import sitecheck
from sgehub.hub.sitecheck import check
from sgehub.hub.sitefacts import Facts
from sgehub.hub.siteverify import verify
from sgehub.model.policy import SitePolicy
from sgehub.siteconfig import read_site
from tests.unit.gridengine.captured import DATA, captured
from tests.unit.model.site import BASE, site


def queue(name: str, **attributes: str) -> ClusterQueue:
    """Return a queue of 16 slots that offers smp; a value may be "4,[node02=6]"."""
    given = {"slots": "16", "pe_list": "make smp", "h_rt": "INFINITY", "projects": "NONE", "h_vmem": "INFINITY"}
    given |= {"user_lists": "NONE", "xuser_lists": "NONE", **attributes}
    return ClusterQueue(name, {key: PerHost(value, {}) for key, value in given.items()})


COMPLEXES = {
    one.name: one
    for one in (
        Complex("h_vmem", "h_vmem", "MEMORY", requestable=True, consumable="YES"),
        Complex("mem_free", "mf", "MEMORY", requestable=True, consumable="NO"),
        Complex("gpu", "gpu", "INT", requestable=True, consumable="JOB"),
        Complex("gpu_type", "gt", "STRING", requestable=True, consumable="NO"),
        Complex("load_avg", "la", "DOUBLE", requestable=False, consumable="NO"),
    )
}


class Cluster:
    """A cluster in memory that has what the base site names."""

    def __init__(self) -> None:
        self.all = [queue("short.q"), queue("long.q"), queue("gpu.q"), queue("other.q")]
        self.pe: ParallelEnvironment | None = ParallelEnvironment("smp", 999, "$pe_slots", frozenset())
        self.further: ParallelEnvironment | None = None
        self.projects = ("astro",)
        self.known: Mapping[str, Complex] = COMPLEXES
        self.silent = False
        self.verdict = Verification(possible=True)
        self.now: Verification | None = None  # what -w p says, by default the same
        self.verified: list[tuple[str, tuple[str, ...]]] = []
        self.modes: list[str] = []

    async def complexes(self) -> Mapping[str, Complex]:
        """Return all complexes."""
        return self.known

    async def queue_names(self) -> tuple[str, ...]:
        """Return the names of all queues, or do not answer."""
        if self.silent:
            raise NoAnswerError("Grid Engine gave no answer to qconf.")
        return tuple(one.name for one in self.all)

    async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
        """Return some queues."""
        return tuple(one for one in self.all if one.name in names)

    async def parallel_environment(self, name: str) -> ParallelEnvironment | None:
        """Return the parallel environment of that name."""
        return next((one for one in (self.pe, self.further) if one is not None and one.name == name), None)

    async def project_names(self) -> tuple[str, ...]:
        """Return the names of all projects."""
        return self.projects

    async def verify(
        self, person: str, options: tuple[str, ...], _script: str, *, mode: str = "v"
    ) -> Verification:
        """Give qsub's verdict."""
        if person == "nobody":
            raise AccountError("There is no account 'nobody'.")
        self.modes.append(mode)
        if mode == "p":
            return self.now or self.verdict
        self.verified.append((person, options))
        return self.verdict


async def said(policy: SitePolicy, cluster: Cluster, **more: Any) -> list[tuple[str, str]]:
    """Return (key, sentence) of every complaint."""
    return [(".".join(one.path), one.sentence) for one in await check(policy, cluster, **more)]


async def test_a_file_that_fits_its_cluster_has_no_mistakes():
    """Nor does the sample of all that a site may name."""
    assert await said(site(), Cluster()) == []
    gpu = {**BASE["gpu"], "types": {"a100": {"adds": {"gpu_type": "a100"}}}}
    assert await said(site(gpu=gpu, projects={"astro": {}}), Cluster()) == []


@pytest.mark.parametrize(
    ("changes", "key", "sentence"),
    [
        ({"parallel_environment": "mpi"}, "parallel_environment", "there is none called mpi."),
        ({"memory": {"complex": "rmem", "counted": "slot"}}, "memory.0.complex", "there is no complex rmem"),
        ({"memory": {"complex": "gpu_type", "counted": "job"}}, "memory.0.complex", "type STRING, not MEMORY"),
        ({"memory": {"complex": "load_avg", "counted": "job"}}, "memory.0.complex", "cannot be requested"),
        ({"memory": {"complex": "h_vmem", "counted": "job"}}, "memory.0.counted", "kind YES: write slot"),
        ({"memory": {"complex": "mem_free", "counted": "slot"}}, "memory.0.counted", "no consumable"),
        ({"gpu": {"complex": "gpu", "counted": "slot"}}, "gpu.counted", "kind JOB: write job"),
        (
            {"gpu": {**BASE["gpu"], "types": {"x": {"adds": {"model": "x"}}}}},
            "gpu.types.x.adds.model",
            "there is no complex model.",
        ),
        ({"projects": {"physics": {}}}, "projects.physics", "There are: astro."),
        (
            {"queues": {**BASE["queues"], "no.q": BASE["queues"]["short.q"]}},
            "queues.no.q",
            "There are: short.q, long.q, gpu.q, other.q.",
        ),
        ({"template_folders": ["{tmp}"]}, "template_folders", "job/session.sh.j2, line 2"),
    ],
)
async def test_what_the_cluster_does_not_have_is_named(tmp_path: Path, changes: dict, key: str, sentence: str):
    """One complaint for one mistake, at its key."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "session.sh.j2").write_text("#!/bin/bash\n{{ job.nothing }}\n")
    if "template_folders" in changes:
        changes = {"template_folders": [str(tmp_path)]}
    [(place, text)] = await said(site(**changes), Cluster())
    assert place == key
    assert sentence in text or (key == "template_folders" and "nothing" in text)


@pytest.mark.parametrize(
    ("attributes", "key", "sentence"),
    [
        ({"h_rt": "24:00:00"}, "queues.long.q.runtime", "the queue's own h_rt is 24:00:00."),
        ({"slots": "8"}, "queues.long.q.cores", "none of its hosts has more than 8 slots."),
        ({"pe_list": "make"}, "queues.long.q.cores", "it does not offer the parallel environment smp."),
        ({"h_vmem": "3G"}, "queues.long.q.memory", "the queue's own h_vmem is 3G for each slot."),
        (
            {"projects": "genes stars"},
            "queues.long.q",
            "only sessions of the projects genes, stars can run there, and the file lets nobody choose one here.",
        ),
    ],
)
async def test_what_a_queue_cannot_give_is_named(attributes: dict, key: str, sentence: str):
    """The file may offer less than a queue has, never more."""
    cluster = Cluster()
    cluster.all[1] = queue("long.q", **attributes)
    assert await said(site(), cluster) == [(key, sentence)]


async def test_who_may_use_a_queue_is_worth_a_word():
    """People who may not are told by Grid Engine only; the file has rules and projects for it."""
    cluster = Cluster()
    cluster.projects = ("astro", "genes")
    cluster.pe = replace(cluster.pe, user_lists=frozenset({"hpc"}))
    cluster.all[1] = queue("long.q", user_lists="chem", xuser_lists="guests b", projects="astro", h_vmem="4G")
    found = await check(site(projects={"astro": {}, "genes": {}}), cluster)
    assert all(one.wish for one in found)
    assert [(".".join(one.path), one.sentence) for one in found] == [
        ("parallel_environment", "smp: only members of the access list hpc may use it."),
        (
            "queues.long.q",
            "only sessions of the project astro can run there: those without a project wait for others.",
        ),
        ("projects.genes", "it may not use long.q: name its queues."),
        ("queues.long.q", "only members of the access list chem may use it."),
        ("queues.long.q", "members of the access lists b, guests may not use it."),
    ]
    projects = {"astro": {}, "genes": {"queues": ["short.q"]}}
    cluster.all[1] = queue("long.q", projects="astro")
    cluster.pe = replace(cluster.pe, user_lists=frozenset())
    assert await check(site(projects=projects, project_required=True), cluster) == ()


async def test_a_parallel_environment_over_several_hosts_is_worth_a_word():
    """Sessions start, with fewer cores than they asked for on the host of their server."""
    cluster = Cluster()
    cluster.pe = replace(cluster.pe, allocation_rule="$fill_up")
    [one] = await check(site(), cluster)
    assert one.wish
    assert "allocation_rule $fill_up" in one.sentence
    cluster.pe = replace(cluster.pe, slots=4, allocation_rule="$pe_slots")
    assert ("queues.short.q.cores", "smp has 4 slots in all.") in await said(site(), cluster)


async def test_each_queue_is_compared_with_the_parallel_environments_that_it_offers():
    """Named is the one with most slots; and qsub is asked for one that the queue has."""
    cluster = Cluster()
    cluster.further = ParallelEnvironment("gpupe", 4, "$pe_slots", frozenset())
    cluster.all[1] = queue("long.q", pe_list="gpupe smp")
    cluster.all[2] = queue("gpu.q", pe_list="gpupe")
    pes = ["smp", "gpupe"]
    assert await said(site(parallel_environment=pes), cluster) == [
        ("queues.gpu.q.cores", "gpupe has 4 slots in all.")
    ]
    cluster.further = replace(cluster.further, slots=8)
    assert await said(site(parallel_environment=pes), cluster, person="alice") == []
    asked = [options[options.index("-pe") + 1] for _, options in cluster.verified if "-pe" in options]
    assert asked == ["smp", "smp", "gpupe"]


async def test_the_defaults_and_the_most_of_each_queue_are_verified_for_a_person():
    """With the arguments that a start has, GPUs included where the queue has them."""
    cluster = Cluster()
    assert await said(site(), cluster, person="alice") == []
    asked = [
        (options[options.index("-q") + 1], options[options.index("-l") + 1]) for _, options in cluster.verified
    ]
    assert asked == [
        ("short.q,long.q,gpu.q", "h_vmem=2G,h_rt=01:00:00"),
        ("short.q", "h_vmem=4G,h_rt=01:00:00"),
        ("long.q", "h_vmem=4G,h_rt=48:00:00"),
        ("gpu.q", "h_vmem=8G,h_rt=08:00:00,gpu=2"),
    ]
    cluster.verdict = Verification(possible=False, reason="cannot run in queue.")
    found = await said(site(), cluster, person="alice")
    assert found[0] == ("defaults", "such a job can never run for alice: cannot run in queue.")
    assert [key for key, _ in found] == ["defaults", "queues.short.q", "queues.long.q", "queues.gpu.q"]


NOTHING = Facts({}, (), {}, {}, ())  # of what the cluster has


def answers(case: str) -> tuple[Verification, Verification]:
    """Return what 8.1.9 said of one job, to -w p and to -w v."""
    p, v = (parse_verification(captured("sge-8.1.9", f"verdict.w-{mode}.{case}")) for mode in "pv")
    return p, v


@pytest.mark.parametrize("file", ["limit-and-free.yaml", "one-core.yaml"])
@pytest.mark.parametrize("case", ["load-value", "load-value-pe"])
async def test_a_load_value_is_no_mistake_of_the_file(file: str, case: str):
    """`-w v` of 8.1.9 says no to every job that asks for one: with "now" it is known better, or not at all."""
    policy = read_site((DATA / "sites" / file).read_text(), file).policy
    cluster = Cluster()
    cluster.now, cluster.verdict = answers(case)
    found = await verify(policy, NOTHING, cluster, "alice")
    assert found
    assert all(one.wish for one in found)
    words = "Grid Engine does not say whether such a job could ever run for alice. It could not start now: "
    assert all(one.sentence.startswith(words) for one in found)
    cluster.now = Verification(possible=True)
    assert await verify(policy, NOTHING, cluster, "alice") == ()
    assert cluster.modes[:2] == ["v", "p"]


async def test_what_can_never_run_is_a_mistake_beside_a_load_value_too():
    """Where Grid Engine names what all hosts have too little of, and nothing hides the load value."""
    policy = read_site((DATA / "sites" / "limit-and-free.yaml").read_text(), "site.yaml").policy
    cluster = Cluster()
    cluster.now, cluster.verdict = answers("much-memory")
    found = await verify(policy, NOTHING, cluster, "alice")
    assert found
    assert not any(one.wish for one in found)
    assert all(one.sentence.startswith("such a job can never run for alice: ") for one in found)


async def test_what_could_ever_run_is_not_asked_about_now():
    """A full cluster is no mistake."""
    cluster = Cluster()
    cluster.now = Verification(possible=False, reason="full.")
    assert await said(site(), cluster, person="alice") == []
    assert set(cluster.modes) == {"v"}


async def test_a_queue_whose_most_has_to_be_divided_is_verified_all_the_same():
    """64G over 12 cores is not a whole number of K; and each project may be the only one for a queue."""
    cluster = Cluster()
    queues = {"short.q": {**BASE["queues"]["short.q"], "cores": 12}, "long.q": BASE["queues"]["long.q"]}
    projects = {"astro": {"queues": ["short.q"]}, "genes": {"queues": ["long.q"]}}
    cluster.projects = ("astro", "genes")
    policy = site(queues=queues, projects=projects, project_required=True)
    assert await said(policy, cluster, person="alice") == []
    asked = [
        (options[options.index("-q") + 1], options[options.index("-P") + 1]) for _, options in cluster.verified
    ]
    assert asked == [("short.q", "astro"), ("short.q", "astro"), ("long.q", "genes")]


async def test_a_queue_that_needs_a_project_is_verified_with_one():
    """Also where sessions without a project can run elsewhere."""
    cluster = Cluster()
    cluster.projects = ("astro", "genes")
    cluster.all[1] = queue("long.q", projects="genes")
    await said(site(projects={"astro": {"queues": ["short.q"]}, "genes": {}}), cluster, person="alice")
    asked = [options[options.index("-P") + 1] if "-P" in options else "" for _, options in cluster.verified]
    assert asked == ["", "", "genes", ""]


async def test_a_cluster_that_falls_silent_is_no_mistake_of_the_file():
    """Nothing more is known, and that is what the exit status says."""

    class Silent(Cluster):
        async def verify(self, *_: object, **__: object) -> Verification:
            raise NoAnswerError("silent")

    with pytest.raises(NoAnswerError):
        await check(site(), Silent(), person="alice")


async def test_a_complex_may_be_named_by_its_shortcut():
    """As on qsub's command line."""
    assert await said(site(memory={"complex": "mf", "counted": "host"}), Cluster()) == []


async def test_presets_are_verified_too():
    """Each where it stands in the file; one that no project may have cannot be asked about."""
    presets = {"small": {"request": {"cores": 1}}, "gpu": {"request": {"gpus": 2, "queue": "gpu.q"}}}
    cluster = Cluster()
    cluster.verdict = Verification(possible=False, reason="cannot run in queue.")
    found = await said(site(presets=presets), cluster, person="alice")
    assert [key for key, _ in found][:3] == ["defaults", "presets.small", "presets.gpu"]
    assert "gpu=2" in cluster.verified[2][1][cluster.verified[2][1].index("-l") + 1]


async def test_the_complexes_of_further_fields_have_to_be_there():
    """And to be requestable."""
    fields = {
        "a": {"label": "A", "type": "switch", "adds": {"gpu_type": "x", "ssd": "1"}},
        "b": {"label": "B", "type": "choice", "choices": {"c": {"adds": {"load_avg": "1"}}}},
    }
    assert await said(site(fields=fields), Cluster()) == [
        ("fields.a", "there is no complex ssd."),
        ("fields.b", "load_avg cannot be requested."),
    ]


@pytest.mark.parametrize(
    ("changes", "key", "sentence"),
    [
        ({"session": {"prologue": "echo a\nfi"}}, "session.prologue", "bash cannot read line 2 of it: "),
        ({"session": {"epilogue": "echo 'a"}}, "session.epilogue", "bash cannot read line 1 of it: "),
        ({"environments": {"ml": {"prologue": "if true"}}}, "environments.ml.prologue", "bash cannot read line "),
        ({"environments": {"ml": {"epilogue": "done"}}}, "environments.ml.epilogue", "bash cannot read line 1"),
    ],
)
async def test_lines_that_bash_cannot_read_are_named(changes: dict, key: str, sentence: str):
    """Before they fail in somebody's job; nothing of them is run."""
    [(found, words)] = await said(site(**changes), Cluster())
    assert found == key
    assert words.startswith(sentence)


async def test_a_script_that_bash_cannot_read_is_the_templates_fault(tmp_path: Path):
    """Where the fragments by themselves are well."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "session.sh.j2").write_text("if true; then\n{{ job.command }}\n")
    [(key, words)] = await said(site(template_folders=[str(tmp_path)]), Cluster())
    assert key == "template_folders"
    assert words.startswith("the job script: bash cannot read line ")


@pytest.mark.parametrize(
    ("name", "text"), [("hub/form.html", "{{ most.memory + 1 }}"), ("job/session.sh.j2", "{{ 1 / 0 }}")]
)
async def test_a_template_that_fails_in_an_expression_is_a_complaint(tmp_path: Path, name: str, text: str):
    """Whatever Python calls the error."""
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(text)
    [(key, sentence)] = await said(site(template_folders=[str(tmp_path)]), Cluster())
    assert key == "template_folders"
    assert name in sentence


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("hub/ended.html", "\n{{ nope.x }}", 2),
        ("hub/ended.html", "{% if not ended.job %}{{ nope.x }}{% endif %}", 1),
        ("hub/verdict.html", "{% if verdict %}\n{{ nope.x }}{% endif %}", 2),
        ("hub/form.html", "{% for one in changes %}{{ one.nope }}{% endfor %}", 1),
        ("hub/form.html", "\n\n{% if problems['cores'] %}{{ nope.x }}{% endif %}", 3),
        ("hub/form.html", "{% if problems[''] %}{{ nope.x }}{% endif %}", 1),
        ("hub/form.html", "{% if cut %}{{ nope.x }}{% endif %}", 1),
        ("hub/spawn.html", "\n{% if %}", 2),
        ("hub/home.html", "{{ nope( }}", 1),
        ("hub/not_running.html", "{% endblock %}", 1),
        ("hub/parts/foot.html", "{{ 'a' | nofilter }}", 1),
        ("hub/sgehub.css", "{# a comment", 1),
    ],
)
async def test_a_template_that_fails_in_some_state_only_is_a_complaint(
    tmp_path: Path, name: str, text: str, line: int
):
    """Nobody sees it while writing; then it is an error for all who are refused, or whose session has ended."""
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    [(key, sentence)] = await said(site(template_folders=[str(tmp_path)]), Cluster())
    assert key == "template_folders"
    assert f"{file}, line {line}: " in sentence


async def test_templates_that_cannot_be_read_are_named(tmp_path: Path):
    """All of them; what is no template may be what it likes."""
    (tmp_path / "hub").mkdir()
    for name in ("home.html", "spawn.html", "form.html~", "logo.png"):
        (tmp_path / "hub" / name).write_bytes(b"\xff{{")
    found = await said(site(template_folders=[str(tmp_path)]), Cluster())
    assert [text for _, text in found] == [
        f"{tmp_path}/hub/{name}: is not UTF-8 text (byte 0)." for name in ("home.html", "spawn.html")
    ]


async def test_a_person_who_cannot_be_asked_for_is_a_mistake_of_the_helper():
    """The rest of the file has been compared all the same."""
    assert await said(site(), Cluster(), person="nobody") == [
        ("helper", "no job could be verified for nobody: There is no account 'nobody'.")
    ]


async def test_a_silent_cluster_is_no_complaint():
    """Not known is not wrong."""
    cluster = Cluster()
    cluster.silent = True
    with pytest.raises(NoAnswerError):
        await check(site(), cluster)


async def test_a_queue_that_is_named_and_not_shown_is_no_complaint():
    """An answer that was cut between two queues looks whole."""

    class Cut(Cluster):
        async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
            return (await super().queues(names))[:-1]

    with pytest.raises(NoAnswerError, match=r"gpu\.q"):
        await check(site(), Cut())


def test_a_complaint_is_placed_where_the_file_says_so():
    """By line, also where one entry stands for a list, and where the key stands by default."""
    text = (Path(__file__).parents[3] / "config" / "site.yaml").read_text()
    file = read_site(text, "site.yaml")
    lines = text.splitlines()
    wanted = 1 + next(number for number, line in enumerate(lines) if "complex: h_vmem" in line)
    assert file.place("memory", "0", "complex") == f"site.yaml, line {wanted}: memory.complex"
    first = 1 + next(number for number, line in enumerate(lines) if line.startswith("cluster:"))
    assert file.place("template_folders") == f"site.yaml, line {first}: template_folders"
    assert list(sitecheck.render(file.policy)) == []
