"""What the site allows, and how an allowed request becomes a job."""

from __future__ import annotations

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st
from pydantic import ValidationError

from sgehub.errors import RequestRefusedError
from sgehub.model.jobspec import memory_limit, resolve
from sgehub.model.judging import fitting_queues
from tests.unit.model.site import BASE, site

NAME, HOME, LOG = "sgehub-0123456789ab", "/home/alice", "/home/alice/.sgehub/log/0123456789ab.log"


def reasons(policy, **raw):
    """Return [(field, message)] of a refusal, [] for an allowed request."""
    try:
        policy.parse(raw)
    except RequestRefusedError as error:
        return [(one.field, one.message) for one in error.violations]
    return []


def spec(policy, **raw):
    """Return the job that an allowed request becomes."""
    return resolve(policy.parse(raw), policy, name=NAME, home=HOME, log=LOG)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"cores": 0}, [("cores", "A session needs at least 1 core.")]),
        ({"cores": -4}, [("cores", "A session needs at least 1 core.")]),
        ({"cores": 10**8}, [("cores", "At most 16 cores.")]),
        ({"cores": 9, "queue": "gpu.q"}, [("cores", "At most 8 cores in queue gpu.q.")]),
        ({"memory": "65G"}, [("memory", "At most 64G of memory.")]),
        ({"memory": "4"}, [("memory", "A session needs at least 256M of memory.")]),
        ({"gpus": -1}, [("gpus", "The number of GPUs cannot be negative.")]),
        ({"gpus": 3}, [("gpus", "At most 2 GPUs.")]),
        ({"gpus": 1, "queue": "short.q"}, [("gpus", "No GPUs in queue short.q.")]),
        ({"runtime": "48:00:01"}, [("runtime", "At most 48:00:00 (48 hours).")]),
        ({"runtime": "2:0:0", "queue": "short.q"}, [("runtime", "At most 01:00:00 (1 hour) in queue short.q.")]),
        ({"runtime": "0:0:1"}, [("runtime", "The shortest runtime is 1 minute.")]),
        ({"queue": "no.q"}, [("queue", "There is no queue no.q. Queues are: short.q, long.q, gpu.q.")]),
    ],
)
def test_each_limit_has_its_sentence(raw, expected):
    """The words are those of the form, and name the limit."""
    assert reasons(site(), **raw) == expected


def test_a_number_that_python_cannot_write_is_refused():
    """JSON may hold 4,300 digits."""
    huge = 9 * 10**4299
    found = reasons(site(), **{"cores": huge, "gpus": -huge, "reservation": huge, "extra.x": huge})
    too_large = "This number is too large. Write digits only, for example 2."
    assert found[:3] == [("cores", too_large), ("gpus", too_large), ("reservation", too_large)]
    assert found[3][1] == "A value of type int cannot be the value of extra.x."


def test_fields_that_can_be_read_are_judged_beside_those_that_cannot():
    """Nobody corrects in two rounds."""
    found = dict(reasons(site(), cores="4 apples", memory="65G", gpus=9, runtime=""))
    assert set(found) == {"cores", "memory", "gpus", "runtime"}
    assert found["gpus"] == "At most 2 GPUs."
    assert found["runtime"].startswith("This is empty.")


def test_limits_are_checked_after_rounding():
    """64G over 3 cores is rounded up beyond 64G; the sentence names what does fit, and that fits."""
    ((field, message),) = reasons(site(), cores=3, memory="64G")
    assert field == "memory"
    assert "At most 67108863K" in message
    assert reasons(site(), cores=3, memory="67108863K") == []
    assert reasons(site(memory={"complex": "h_vmem", "counted": "job"}), cores=3, memory="64G") == []


def test_each_complex_of_memory_has_its_own_count_and_headroom():
    """Addresses per slot with a third more, free memory of the host once; the person's limit is what was asked."""
    policy = site(
        memory=[
            {"complex": "h_vmem", "counted": "slot", "headroom": "1.3"},
            {"complex": "mem_free", "counted": "host"},
        ]
    )
    asked = dict(spec(policy, cores=4, memory="8G").resources)
    assert (asked["h_vmem"], asked["mem_free"]) == ("2726298K", "8G")
    assert memory_limit(policy.parse({"cores": 4, "memory": "8G"}), policy).bytes == 4 * 2726298 * 1024
    assert reasons(policy, cores=4, memory="64G") == []


def test_limits_that_no_queue_offers_together():
    """Each wish alone fits some queue: say what each queue offers."""
    ((field, message),) = reasons(site(), gpus=1, runtime="24:00:00")
    assert field == ""
    assert "gpu.q offers at most 8 cores, 64G, 2 GPUs and 8 hours" in message


CHOICES = site(
    gpu={
        "complex": "gpu",
        "counted": "job",
        "types": {"a100": {"adds": {"gpu_type": "a100"}}, "k80": {"adds": {"gpu_type": "k80"}}},
    },
    queues={**BASE["queues"], "gpu.q": {**BASE["queues"]["gpu.q"], "gpu_types": ["a100"]}},
    projects={"astro": {"label": "Astronomy"}, "genomics": {"queues": ["short.q"]}},
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"gpu_type": "h100"}, [("gpu_type", "There is no type of GPU called h100. Types are: a100, k80.")]),
        ({"gpus": 1, "gpu_type": "k80"}, [("gpu_type", "No queue has GPUs of type k80 and the rest of this.")]),
        (
            {"gpus": 1, "gpu_type": "k80", "queue": "gpu.q"},
            [("gpu_type", "No GPUs of type k80 in queue gpu.q.")],
        ),
        ({"gpus": 0, "gpu_type": "k80"}, []),
        ({"gpus": 1, "gpu_type": "a100", "project": "astro"}, []),
        ({"project": "physics"}, [("project", "There is no project physics. Projects are: astro, genomics.")]),
        (
            {"project": "genomics", "queue": "long.q"},
            [("queue", "Project genomics may not use long.q, only short.q.")],
        ),
        (
            {"project": "genomics", "runtime": "5:00:00"},
            [("project", "Project genomics may use short.q only, which offers less.")],
        ),
    ],
)
def test_types_of_gpu_and_projects_are_those_of_the_site(raw, expected):
    """Each has its sentence, beside the field that has to change."""
    assert reasons(CHOICES, **raw) == expected


def test_what_a_site_does_not_have_cannot_be_asked_for():
    """A link or the REST API may name it all the same."""
    assert [field for field, _ in reasons(site(), gpu_type="a100", project="astro")] == ["gpu_type", "project"]


def test_a_required_project_has_to_be_named():
    """By everybody, and the site's defaults need not name one."""
    policy = site(projects={"astro": {}, "genomics": {}}, project_required=True)
    assert reasons(policy) == [("project", "Every session needs a project: astro, genomics.")]
    assert spec(policy, project="astro").project == "astro"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"queues": {"a.q": {**BASE["queues"]["gpu.q"], "gpu_types": ["h100"]}}}, "a.q has GPUs of type h100"),
        ({"projects": {"astro": {"queues": ["no.q"]}}}, "astro may use the queue no.q, which is not in queues"),
        ({"project_required": True}, "there are no projects to choose from"),
        (
            {"project_required": True, "projects": {"astro": {}}, "defaults": {**BASE["defaults"], "cores": 99}},
            "At most 16 cores",
        ),
        ({"projects": {"astro": {"label": "two\nlines"}}}, "Write a label in one line"),
        (
            {"gpu": {"complex": "gpu", "counted": "job", "types": {"x": {"adds": {"h_vmem": "1G"}}}}},
            "not for h_vmem",
        ),
        ({"gpu": {"complex": "gpu", "counted": "job", "types": {"x": {"adds": {"a": "1,h_rt=1"}}}}}, "pattern"),
    ],
)
def test_a_site_that_contradicts_itself_is_refused(changes, said):
    """Before anybody can be offered what does not exist."""
    with pytest.raises(ValidationError, match=said):
        site(**changes)


def test_one_core_only_where_there_is_no_parallel_environment():
    """Without a PE Grid Engine would silently grant one slot."""
    policy = site(parallel_environment=None)
    assert reasons(policy, cores=2) == [
        ("cores", "Sessions of this cluster have 1 core: it has no parallel environment.")
    ]
    assert spec(policy, cores=1).pe is None


def test_no_gpus_where_there_are_none():
    """A cluster without a GPU complex refuses them and never mentions them to qsub."""
    policy = site(gpu=None)
    assert reasons(policy, gpus=1) == [("gpus", "This cluster offers no GPUs: ask for 0.")]
    assert "gpu" not in dict(spec(policy).resources)


def test_gpus_counted_per_slot_come_in_multiples_of_the_cores():
    """Where Grid Engine multiplies by the slots, the nearest possible numbers are named."""
    policy = site(gpu={"complex": "gpu", "counted": "slot"})
    assert reasons(policy, cores=2, gpus=1) == [
        ("gpus", "Each core gets the same number of GPUs here: with 2 cores ask for 0 or 2 GPUs.")
    ]
    assert dict(spec(policy, cores=2, gpus=2).resources)["gpu"] == "1"


@pytest.mark.parametrize(
    ("wish", "counts"),
    [
        ({"cores": 4, "gpus": 1}, "4 cores ask for 0"),
        ({"cores": 2, "gpus": 9}, "2 cores ask for 2"),
        ({"cores": 2, "gpus": 1, "queue": "short.q"}, "2 cores ask for 0"),
        ({"cores": 2, "gpus": 1, "project": "few"}, "2 cores ask for 0"),
        ({"cores": 2, "gpus": 1, "project": "short"}, "2 cores ask for 0"),
        ({"cores": 2, "gpus": 1, "project": "any"}, "2 cores ask for 0 or 2"),
    ],
)
def test_no_number_of_gpus_is_named_that_would_be_refused(wish, counts):
    """Not more than a queue has for so many cores, the queue or the project that was chosen included."""
    projects = {"few": {"most": {"gpus": 1}}, "short": {"queues": ["short.q"]}, "any": {}}
    policy = site(gpu={"complex": "gpu", "counted": "slot"}, projects=projects)
    assert reasons(policy, **wish) == [
        ("gpus", f"Each core gets the same number of GPUs here: with {counts} GPUs.")
    ]


@pytest.mark.parametrize(
    ("cores", "gpus", "pe", "memory", "gpu"),
    [
        (1, 0, None, "2G", None),
        (1, 1, None, "2G", "1"),
        (1, 2, None, "2G", "2"),
        (2, 0, "smp", "1G", None),
        (2, 1, "smp", "1G", "1"),
        (2, 2, "smp", "1G", "2"),
    ],
)
def test_what_was_asked_is_what_qsub_is_asked(cores, gpus, pe, memory, gpu):
    """One GPU is one GPU, two cores are a PE with two slots, memory is divided by them."""
    job = spec(site(), cores=cores, gpus=gpus, memory="2G")
    resources = dict(job.resources)
    assert (job.pe, job.slots, resources["h_vmem"], resources.get("gpu")) == (pe, cores, memory, gpu)
    assert resources["h_rt"] == "01:00:00"


def test_the_queues_that_fit_are_asked_for():
    """Without a wish every queue of the site's file that fits, no other of the cluster; with one, that one."""
    assert spec(site()).queue == "short.q,long.q,gpu.q"
    assert spec(site(), runtime="2:0:0").queue == "long.q,gpu.q"
    assert spec(site(), gpus=1).queue == "gpu.q"
    assert spec(site(), queue="long.q").queue == "long.q"


def test_a_sites_defaults_must_be_allowed():
    """A form that opens with something that is refused would be nobody's help."""
    with pytest.raises(ValidationError, match="At most 16 cores"):
        site(defaults={**BASE["defaults"], "cores": 99})


@pytest.mark.parametrize("ports", [[30000, 20000], [80, 90], [1024, 70000]])
def test_ports_are_a_range_that_people_may_bind(ports):
    """Else the first session would find it out."""
    with pytest.raises(ValidationError, match="first and the last port"):
        site(session={"ports": ports})


SITES = [
    site(),
    site(memory={"complex": "m_mem_free", "counted": "job"}),
    site(memory={"complex": "rmem", "counted": "slot"}, gpu={"complex": "gpu", "counted": "slot"}),
    site(parallel_environment=None, gpu=None, queues={"all.q": {"cores": 1, "memory": "8G", "runtime": "4:0:0"}}),
]


@given(
    policy=st.sampled_from(SITES),
    cores=st.one_of(st.integers(min_value=1, max_value=16), st.integers(min_value=-1, max_value=99)),
    kib=st.one_of(
        st.integers(min_value=262_144, max_value=8 * 1024**2), st.integers(min_value=0, max_value=80 * 1024**2)
    ),
    gpus=st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
    minutes=st.one_of(st.integers(min_value=1, max_value=60), st.integers(min_value=0, max_value=3000)),
    queue=st.sampled_from([None, None, None, "long.q", "gpu.q"]),
)
def test_resolved_jobs_agree_with_an_independent_oracle(policy, cores, kib, gpus, minutes, queue):
    """Worked out here from what Grid Engine will count, not from how the code divides."""
    raw = {"cores": cores, "memory": f"{kib}K", "gpus": gpus, "runtime": f"0:{minutes}:0", "queue": queue}
    found = reasons(policy, **raw)
    event("refused" if found else "accepted")
    if found:
        return
    job = spec(policy, **raw)
    asked = dict(job.resources)
    unit = {"K": 1, "M": 1024, "G": 1024**2, "T": 1024**3}
    [memory] = policy.memory
    value = asked[memory.complex]
    granted = int(value[:-1]) * unit[value[-1]] * (job.slots if memory.counted == "slot" else 1)
    devices = int(asked.get("gpu", 0)) * (job.slots if policy.gpu and policy.gpu.counted == "slot" else 1)
    hours, mins, secs = (int(part) for part in asked["h_rt"].split(":"))
    assert job.slots == cores
    assert (job.pe is None) == (cores == 1)
    assert kib <= granted < kib + job.slots
    assert devices == gpus
    assert hours * 60 + mins == minutes
    assert secs == 0
    assert queue in (None, job.queue)
    for name in (job.queue or "").split(","):
        limits = policy.queues[name]
        assert cores <= limits.cores
        assert granted * 1024 <= limits.memory.bytes
        assert gpus <= limits.gpus
        assert minutes * 60 <= limits.runtime.seconds


@given(st.integers(min_value=1, max_value=16), st.integers(min_value=1, max_value=48))
def test_a_request_is_refused_exactly_when_no_queue_fits(cores, hours):
    """The sentences and the choice of queues never contradict each other."""
    policy = site()
    assume(cores <= 16)
    raw = {"cores": cores, "runtime": f"{hours}:0:0"}
    assert (reasons(policy, **raw) == []) == bool(fitting_queues(policy.parse(raw), policy))


def test_a_queue_may_be_for_some_projects_only():
    """A project opens it; without one it is closed, and the sentence names those that open it."""
    queues = {**BASE["queues"], "gpu.q": {**BASE["queues"]["gpu.q"], "projects": ["stars", "genes"]}}
    projects = {"stars": {}, "genes": {"most": {"gpus": 0}}, "other": {}}
    policy = site(queues=queues, projects=projects)
    assert reasons(policy, gpus=1, project="stars") == []
    assert reasons(policy, queue="gpu.q", project="genes") == []
    assert reasons(policy, queue="gpu.q") == [("queue", "Queue gpu.q takes sessions of stars, genes only.")]
    assert reasons(policy, gpus=1) == [("project", "The queues that offer this take sessions of stars only.")]
    assert reasons(policy, gpus=1, project="other") == reasons(policy, gpus=1)
    required = site(queues={"gpu.q": queues["gpu.q"]}, projects=projects, project_required=True)
    assert reasons(required) == [("project", "Every session needs a project: stars, genes, other.")]
