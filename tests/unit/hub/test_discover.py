"""A cluster that nobody has described: what is proposed can be read, and the cluster has all of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sgehub.errors import SiteConfigurationError
from sgehub.gridengine.client import ClusterSettings
from sgehub.gridengine.parse_qconf import ClusterQueue, Complex, ParallelEnvironment, PerHost
from sgehub.gridengine.parse_qhost import Host, QueueInstance
from sgehub.hub import sitecheck
from sgehub.hub.discover import describe
from sgehub.hub.sitefacts import Facts
from sgehub.hub.survey import Survey, settings_of, survey
from sgehub.model.policy import SitePolicy
from sgehub.siteconfig import read_site

GIB = 1024**3
SETTINGS = ClusterSettings(root="/opt/sge", cell="lab", bin="/opt/sge/bin/lx-amd64", qmaster_port=6444)


def complex_(name: str, kind: str, consumable: str, *, requestable: bool = True) -> Complex:
    """Return a complex."""
    return Complex(name, name, kind, requestable=requestable, consumable=consumable)


def queue(
    name: str, h_rt: str = "INFINITY", slots: str = "16", pes: str = "smp mpi", qtype: str = "BATCH", **more: str
) -> ClusterQueue:
    """Return a cluster queue."""
    lists = {"projects": "NONE", "user_lists": "NONE", "xuser_lists": "NONE", "h_vmem": "INFINITY"}
    given = {"slots": slots, "pe_list": pes, "h_rt": h_rt, "qtype": qtype, **lists, **more}
    return ClusterQueue(name, {key: PerHost(value, {}) for key, value in given.items()})


def host(name: str, *queues: str, slots: int = 16, memory: float | None = 128 * GIB) -> Host:
    """Return a host with instances of queues."""
    instances = tuple(QueueInstance(one, 0, 0, slots, "") for one in queues)
    return Host(name, "lx-amd64", slots, 0.1, None if memory is None else int(memory), 0, {}, instances)


def pe(name: str, rule: str = "$pe_slots", slots: int = 999) -> ParallelEnvironment:
    """Return a parallel environment."""
    return ParallelEnvironment(name, slots, rule, frozenset())


SURVEY = Survey(
    complexes={
        one.name: one
        for one in (
            complex_("gpu", "INT", "JOB"),
            complex_("h_vmem", "MEMORY", "YES"),
            complex_("mem_free", "MEMORY", "NO"),
            complex_("scratch", "MEMORY", "YES"),
            complex_("slots", "INT", "YES"),
        )
    },
    queues=(
        queue("short.q", "1:0:0"),
        queue("long.q"),
        queue("gpu.q", "8:00:00"),
        queue("desk.q", qtype="INTERACTIVE"),
    ),
    pes=(pe("mpi", "$fill_up"), pe("smp"), pe("alone")),
    projects=("astro", "genomics"),
    hosts=(
        host("node01", "short.q", "long.q", "desk.q"),
        host("node02", "short.q", "gpu.q", slots=32),
    ),
    values={
        "node01": {"h_vmem": "64G", "scratch": "1T", "slots": "16"},
        "node02": {"h_vmem": "96.5G", "gpu": "4(0 1 2 3)", "slots": "32"},
    },
)


def described(found: Survey) -> SitePolicy:
    """Return the proposal as it is read again; the cluster has all that it names, and can give what it offers.

    Who may use something is no mistake of the file.
    """
    text = describe(found, SETTINGS, "/opt/sgehub/bin")
    policy = read_site(text, "site.yaml").policy
    facts = Facts(
        complexes=found.complexes,
        queue_names=tuple(one.name for one in found.queues),
        queues={one.name: one for one in found.queues},
        pes={one.name: one for one in found.pes if one.name in policy.parallel_environment},
        projects=found.projects,
    )
    assert [one for one in sitecheck.compare(policy, facts) if not one.wish] == []
    return policy


def test_a_proposal_is_what_the_cluster_has():
    """Queues with what their largest host has; memory and GPUs by the consumables that hosts have."""
    policy = described(SURVEY)
    assert (policy.memory[0].complex, policy.memory[0].counted) == ("h_vmem", "slot")
    assert policy.gpu is not None
    assert (policy.gpu.complex, policy.gpu.counted) == ("gpu", "job")
    assert policy.parallel_environment == ("smp",)
    offered = {
        name: (one.cores, str(one.memory), one.gpus, str(one.runtime)) for name, one in policy.queues.items()
    }
    assert offered == {
        "short.q": (16, "98816M", 4, "01:00:00"),
        "long.q": (16, "64G", 0, "24:00:00"),
        "gpu.q": (16, "98816M", 4, "08:00:00"),
    }
    assert (policy.cluster.root, policy.cluster.cell, policy.cluster.qmaster_port) == ("/opt/sge", "lab", 6444)
    assert policy.session.folder == "/opt/sgehub/bin"


def test_projects_are_proposed_and_nobody_is_asked():
    """Who may use one is not known before somebody tries."""
    text = describe(SURVEY, SETTINGS, "/opt/sgehub/bin")
    assert "#   astro: {}" in text
    assert described(SURVEY).projects == {}
    assert read_site(
        text.replace("# projects:", "projects:").replace("#   ", "  "), "x"
    ).policy.projects.keys() == {
        "astro",
        "genomics",
    }


def test_a_queues_own_limit_of_memory_counts_for_each_slot():
    """What one slot may have is also the most that the form shows first."""
    queues = (queue("short.q", h_vmem="1G"), queue("long.q", h_vmem="1T"), queue("gpu.q", pes="mpi", h_vmem="3G"))
    text = describe(replace(SURVEY, queues=queues), SETTINGS, "/opt/sgehub/bin")
    assert "  # its own h_vmem is 1G for each slot; the queue itself has no limit of time" in text
    policy = described(replace(SURVEY, queues=queues))
    offered = {name: (one.cores, str(one.memory)) for name, one in policy.queues.items()}
    assert offered == {"short.q": (16, "16G"), "long.q": (16, "64G"), "gpu.q": (1, "3G")}
    assert str(policy.defaults.memory) == "1G"


def test_who_may_use_a_queue_stands_beside_it():
    """Access lists are people, of whom the file says nothing by itself."""
    queues = (queue("short.q", user_lists="chem bio"), queue("long.q", xuser_lists="guests"))
    found = replace(SURVEY, queues=queues, pes=(replace(pe("smp"), user_lists=frozenset({"hpc"})),))
    text = describe(found, SETTINGS, "/opt/sgehub/bin")
    assert described(found).queues.keys() == {"short.q", "long.q"}
    assert "; only for access lists bio, chem\n" in text
    assert "; not for access lists guests\n" in text
    assert "\nparallel_environment: smp  # only for access lists hpc\n" in text


def test_projects_that_queues_need_are_in_the_file():
    """With the queues of each, and required where no queue runs without."""
    queues = (queue("short.q", projects="astro genomics"), queue("gpu.q", projects="genomics"))
    policy = described(replace(SURVEY, queues=queues, projects=("astro", "genomics", "history")))
    assert {name: one.queues for name, one in policy.projects.items()} == {"astro": ["short.q"], "genomics": None}
    assert policy.project_required
    mixed = replace(SURVEY, queues=(queue("short.q"), queues[1]))
    assert not described(mixed).project_required
    assert described(mixed).projects["astro"].queues == ["short.q"]
    assert "# Sessions without a project do not run in gpu.q." in describe(mixed, SETTINGS, "/opt/sgehub/bin")


def test_gpus_may_belong_to_a_queue():
    """Where hosts have none of their own."""
    values = {name: {key: one[key] for key in ("h_vmem",)} for name, one in SURVEY.values.items()}
    queues = (queue("short.q"), queue("gpu.q", complex_values="gpu=2,scratch=1T"))
    policy = described(replace(SURVEY, queues=queues, values=values))
    assert policy.gpu is not None
    assert {name: one.gpus for name, one in policy.queues.items()} == {"short.q": 0, "gpu.q": 2}


@pytest.mark.parametrize("name", ["1week.q", "2020", "on", "null", "1.5", "0x10", "1_000", "1e5"])
def test_a_name_that_looks_like_something_else_is_read_back_as_a_name(name: str):
    """Grid Engine has no rules of YAML."""
    found = replace(
        SURVEY,
        queues=(queue(name, pes=name, projects=name),),
        hosts=(host("node01", name),),
        pes=(pe(name),),
        projects=(name,),
    )
    policy = described(found)
    assert (list(policy.queues), policy.parallel_environment, list(policy.projects)) == ([name], (name,), [name])
    assert policy.queues[name].cores == 16


def test_what_is_left_out_is_said():
    """With its reason, beside what is offered."""
    unfit = (("queue", "_old"), ("parallel environment", "smp+"))
    text = describe(replace(SURVEY, unfit=unfit), SETTINGS, "/opt/sgehub/bin")
    assert "\n  # desk.q is left out: it takes no batch jobs.\n" in text
    assert "\n# The queue _old is left out: no site's file can hold its name.\n" in text
    assert "\n# The parallel environment smp+ is left out: no site's file can hold its name.\n" in text


class Silent:
    """A cluster that has names only."""

    async def queue_names(self) -> tuple[str, ...]:
        """Return names of queues."""
        return ("8.q", "_q")

    async def parallel_environment_names(self) -> tuple[str, ...]:
        """Return names of parallel environments."""
        return ("smp", "-pe")

    async def project_names(self) -> tuple[str, ...]:
        """Return names of projects."""
        return ()

    async def parallel_environment(self, name: str) -> ParallelEnvironment:
        """Return one."""
        return pe(name)

    async def hosts(self) -> tuple[Host, ...]:
        """Return none."""
        return ()

    async def complexes(self) -> dict[str, Complex]:
        """Return none."""
        return {}

    async def queues(self, names: tuple[str, ...]) -> tuple[ClusterQueue, ...]:
        """Return queues of these names."""
        return tuple(map(queue, names))


async def test_names_that_no_file_can_hold_are_not_asked_for():
    """And not forgotten."""
    found = await survey(Silent())
    assert [one.name for one in (*found.queues, *found.pes)] == ["8.q", "smp"]
    assert found.unfit == (("queue", "_q"), ("parallel environment", "-pe"))


@pytest.mark.parametrize(
    ("complexes", "values", "expected"),
    [
        (
            [complex_("rmem", "MEMORY", "YES"), complex_("h_vmem", "MEMORY", "NO")],
            {"rmem": "128G"},
            ("rmem", "slot"),
        ),
        ([complex_("m_mem_free", "MEMORY", "HOST")], {"m_mem_free": "100G"}, ("m_mem_free", "host")),
        ([complex_("memory", "MEMORY", "JOB")], {"memory": "100G"}, ("memory", "job")),
        ([complex_("h_vmem", "MEMORY", "NO"), complex_("mem_free", "MEMORY", "NO")], {}, ("h_vmem", "slot")),
        ([complex_("mem_free", "MEMORY", "NO")], {}, ("mem_free", "host")),
    ],
)
def test_each_kind_of_memory_is_counted_as_grid_engine_does(complexes: list, values: dict, expected: tuple):
    """Without a consumable the machine's own memory is the most."""
    found = replace(
        SURVEY,
        complexes={one.name: one for one in complexes},
        values=dict.fromkeys(("node01", "node02"), values),
    )
    [memory] = described(found).memory
    assert (memory.complex, memory.counted) == expected


def test_without_a_parallel_environment_on_one_host_there_is_one_core():
    """An environment that spreads slots would give cores that a session cannot use."""
    policy = described(replace(SURVEY, pes=(pe("mpi", "$round_robin"),)))
    assert policy.parallel_environment == ()
    assert {one.cores for one in policy.queues.values()} == {1}


def test_a_small_cluster_has_small_defaults():
    """What the form shows first must fit everywhere."""
    small = replace(
        SURVEY,
        queues=(queue("tiny.q", "0:10:0", slots="1"),),
        hosts=(host("node01", "tiny.q", slots=1, memory=GIB),),
        values={},
        complexes={"h_vmem": complex_("h_vmem", "MEMORY", "NO")},
    )
    policy = described(small)
    assert (str(policy.defaults.memory), str(policy.defaults.runtime)) == ("1G", "00:10:00")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"queues": ()}, "No queue takes batch jobs"),
        ({"hosts": ()}, "No queue takes batch jobs"),
        ({"complexes": {}}, "No complex of memory can be requested"),
        ({"queues": (queue("closed.q", projects="x"),), "hosts": (host("node01", "closed.q"),)}, "no project"),
    ],
)
def test_a_cluster_without_anything_to_run_in_is_said_so(changes: dict, said: str):
    """No file is better than one that cannot work."""
    with pytest.raises(SiteConfigurationError, match=said):
        describe(replace(SURVEY, **changes), SETTINGS, "/opt/sgehub/bin")


def test_where_the_cluster_is_comes_from_grid_engines_own_variables(tmp_path: Path):
    """The real programs are preferred to wrappers; what is missing is said."""
    arch = tmp_path / "bin" / "lx-amd64"
    arch.mkdir(parents=True)
    (arch / "qstat").write_bytes(b"\x7fELF and so on")
    found = settings_of({"SGE_ROOT": str(tmp_path), "SGE_QMASTER_PORT": "6444", "SGE_EXECD_PORT": "none"})
    assert (found.bin, found.cell, found.qmaster_port, found.execd_port) == (str(arch), "default", 6444, None)
    with pytest.raises(SiteConfigurationError, match="SGE_ROOT is not set"):
        settings_of({})
