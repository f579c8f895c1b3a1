"""Grid Engine's own lines, as real clusters printed them, become one sentence in the words of the form."""

from __future__ import annotations

import re

import pytest

from sgehub.errors import Violation
from sgehub.gridengine.parse_qsub import parse_verification
from sgehub.model import verdict
from sgehub.model.policy import SitePolicy
from sgehub.model.units import Duration, Memory
from sgehub.model.verdict import Kind, Verdict
from sgehub.model.wish import Wish, in_tenths, listed, readable
from tests.unit.gridengine.captured import captured, everything
from tests.unit.model.site import BASE, site

LARGE = {"cores": 100, "memory": "4000G", "gpus": 8, "runtime": "300:00:00"}
POLICY = site(
    queues=dict.fromkeys(BASE["queues"], LARGE),
    gpu={"complex": "gpu", "counted": "job", "types": {"v100": {"adds": {"gpu_model": "v100"}}}},
    projects={"astro": {}},
)
SMP = "parallel environment smp"
TOGETHER = "Would wait: {}parallel environment smp has no free place for {} together."


def asked(command: str, policy: SitePolicy = POLICY) -> Wish:
    """Return the wish behind a captured command."""
    request = policy.defaults
    cores = int(found[1]) if (found := re.search(r"-pe \w+ (\d+)", command)) else 1
    values = dict(re.findall(r"([\w.]+)=([\w:.]+)", command))
    memory = Memory.parse(values.get("h_vmem", "1G")).times(cores)
    queue = found[1] if (found := re.search(r"-q ([\w.]+)(?= |$)", command)) else None
    request = request.model_copy(
        update={
            "cores": cores,
            "memory": memory,
            "gpus": int(values.get("gpu", "0")),
            "runtime": Duration.parse(values.get("h_rt", "60")),
            "gpu_type": values.get("gpu_model"),
            "queue": queue if queue in policy.queues else None,
        }
    )
    person = found[1] if (found := re.search(r"# as (\w+)", command)) else "alice"
    return Wish(person, request, policy)


def judged(dialect: str, name: str, policy: SitePolicy = POLICY) -> Verdict:
    """Judge a captured pair of answers, `-w p` and `-w v`, as the hub does."""
    now, ever = (parse_verification(captured(dialect, name.format(mode))) for mode in "pv")
    command = next(
        each.command for each in everything() if (each.dialect, each.name) == (dialect, name.format("p"))
    )
    wish = asked(command, policy)
    if now.possible:
        return verdict.could_start()
    if ever.possible:
        return verdict.would_wait(wish, now.lines)
    return verdict.never(wish, now.lines, ever.lines)


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("free", "Could start now."),
        ("free-pe", "Could start now."),
        ("many-cores", "Could start now."),
        ("own-project", "Could start now."),
        ("load-alarm", "Could start now."),
        ("max-u-jobs", "Could start now."),
        ("one-silent", "Could start now."),
        ("much-memory", "Can never run: the hosts have at most 64G of memory, not 100G."),
        ("much-memory-pe", f"Can never run: {SMP} has no place for 4 cores and 120G of memory together."),
        ("many-gpus", "Can never run: it is more than the resource quota gpus_per_user allows."),
        (
            "many-gpus-anywhere",
            "Can never run: 2 hosts have no GPUs; it is more than the resource quota gpus_per_user allows.",
        ),
        ("long-runtime", "Can never run: short.q, long.q and gpu.q do not allow so long a runtime."),
        ("long-runtime-pe", "Can never run: short.q, long.q and gpu.q do not allow so long a runtime."),
        ("long-runtime-short", "Can never run: short.q does not allow so long a runtime."),
        ("foreign-project", "Can never run: project astro is not open to bob."),
        (
            "quota-slots",
            "Can never run: it is more than the resource quota slots_per_user allows.",
        ),
        ("gpus-taken", "Would wait: no host of gpu.q has GPUs free now."),
        ("gpus-taken-2", "Would wait: no host of gpu.q has GPUs free now."),
        ("gpus-taken-pe", TOGETHER.format("", "2 cores, 4G of memory and 1 GPU")),
        ("gpus-taken-own-quota", "Would wait: the resource quota gpus_per_user has no room for it now."),
        ("one-gpu-taken", "Would wait: the hosts of gpu.q have at most 1 GPU free now, not 2."),
        ("memory-taken", "Would wait: the hosts have at most 4G of memory free now, not 20G."),
        ("memory-differs", "Would wait: the hosts have at most 14G of memory free now, not 20G."),
        (
            "memory-taken-pe",
            TOGETHER.format("3 hosts have at most 4G of memory free now, not 20G; ", "4 cores and 20G of memory"),
        ),
        (
            "memory-or-gpu",
            "Would wait: 2 hosts have at most 4G of memory free now, not 20G; 1 host has no GPUs free now.",
        ),
        ("slots-taken", "Would wait: no host of long.q has cores free now."),
        (
            "slots-taken-pe",
            TOGETHER.format("3 hosts of long.q have no cores free now; ", "2 cores and 2G of memory"),
        ),
        ("host-slots", f"Can never run: {SMP} has no place for 8 cores and 8G of memory together."),
        ("host-slots-used", "Would wait: no host has cores free now."),
        ("pe-slots", f"Can never run: {SMP} has no place for 8 cores and 8G of memory together."),
        ("pe-slots-used", f"Would wait: {SMP} has 1 of 2 slots free now."),
        ("quota-used", "Would wait: the resource quota slots_per_user has no room for it now."),
        ("quota-used-pe", "Would wait: the resource quota slots_per_user has no room for it now."),
        ("disabled", "Would wait: short.q, long.q and gpu.q take no jobs now."),
        (
            "disabled-pe",
            TOGETHER.format("short.q, long.q and gpu.q take no jobs now on 3 hosts; ", "2 cores and 2G of memory"),
        ),
        ("calendar", "Would wait: short.q and long.q take no jobs now."),
        ("hosts-silent", "Would wait: long.q takes no jobs now."),
        ("away-or-full", TOGETHER.format("long.q takes no jobs now on 1 host; ", "2 cores and 2G of memory")),
        ("queue-access", "Can never run: short.q and long.q are not open to bob."),
        ("queue-access-pe", "Can never run: short.q and long.q are not open to bob."),
        ("queue-projects", "Can never run: short.q and long.q are for projects only."),
        ("pe-access", f"Can never run: {SMP} is not open to bob."),
        ("host-access", "Can never run: node03, node01 and node02 are not open to bob."),
        ("global", "Can never run: the whole cluster has at most 1 lic."),
        ("global-used", "Would wait: the whole cluster has no lic free now."),
        ("forced", "Can never run: short.q is only for jobs that ask for special."),
        ("gpu-type", "Can never run: the hosts of gpu.q have no GPUs of type v100."),
        ("mix", "Would wait: no host of long.q has cores free now."),
        (
            "mix-pe",
            TOGETHER.format("3 hosts of long.q have no cores free now; ", "2 cores and 2G of memory"),
        ),
    ],
)
def test_what_8_1_9_says_becomes_one_sentence(case, sentence):
    """Each is a situation that was made on a real cluster; what passes with time stands before what does not."""
    found = judged("sge-8.1.9", f"verdict.w-{{}}.{case}")
    assert found.sentence == sentence
    assert found.sentence.startswith(
        {Kind.NOW: "Could start now.", Kind.WAITS: "Would wait: ", Kind.NEVER: "Can never run: "}[found.kind]
    )


@pytest.mark.parametrize("case", ["load-value", "load-value-pe"])
def test_a_no_to_a_load_value_is_never_a_never(case):
    """`-w v` of 8.1.9 knows no load values and says no to every job that asks for one: nobody knows."""
    found = judged("sge-8.1.9", f"verdict.w-{{}}.{case}")
    assert found.kind is Kind.UNKNOWN
    assert found.sentence.startswith("Cannot start now: ")
    assert "at most 21.8G of mem_free free now" in found.sentence
    assert found.sentence.endswith("Grid Engine does not say whether it ever could.")


def test_a_parallel_environment_hides_a_load_value():
    """It names no complex: where the site's file may ask for a load value, "never" is not believed."""
    memory = [{"complex": "h_vmem", "counted": "slot"}, {"complex": "mem_free", "counted": "host"}]
    several = judged(
        "sge-8.1.9", "verdict.w-{}.much-memory-pe", site(**{**BASE, "queues": {"a.q": LARGE}, "memory": memory})
    )
    assert several.kind is Kind.UNKNOWN
    one = judged(
        "sge-8.1.9", "verdict.w-{}.much-memory", site(**{**BASE, "queues": {"a.q": LARGE}, "memory": memory})
    )
    assert one.kind is Kind.NEVER


MORE = {
    ("ocs-9.1.4", "bad-l"): "Grid Engine knows no resource nosuch; long.q and jupyter.q do not allow this.",
    ("ocs-9.1.4", "bad-host"): "the hosts of long.q and jupyter.q have another hostname than asked for.",
}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bad-mem", "the hosts have at most 8G of memory, not 100G."),
        ("big-pe", "parallel environment smp has no place for 64 cores and 64G of memory together."),
        ("bad-pe", "Grid Engine knows no parallel environment nosuch."),
        ("bad-q", "Grid Engine knows no queue nosuch.q."),
        ("bad-l", "Grid Engine knows no resource nosuch."),
        ("bad-P", "Grid Engine knows no project nosuch."),
        ("bad-hrt", "jupyter.q does not allow so long a runtime."),
        ("gpu2-rqs", "it is more than the resource quota gpulim allows."),
        ("bad-host", 'Grid Engine says: can\'t resolve hostname "nosuch".'),
    ],
)
@pytest.mark.parametrize("dialect", ["sge-8.1.9", "ocs-9.1.4"])
def test_both_dialects_are_understood(dialect, name, sentence):
    """Open Cluster Scheduler puts full stops, and gives a reason for each queue as well."""
    each = next(one for one in everything() if (one.dialect, one.name) == (dialect, f"qsub.w-v.{name}"))
    lines = parse_verification(each.completed).lines
    found = verdict.never(asked(each.command), lines, lines)
    assert found.sentence == f"Can never run: {MORE.get((dialect, name), sentence)}"
    assert found.details == lines


def test_gpus_that_some_hosts_lack_altogether_are_counted():
    """Open Cluster Scheduler calls what a host does not have an unknown resource."""
    each = next(one for one in everything() if (one.dialect, one.name) == ("ocs-9.1.4", "qsub.w-v.gpu3"))
    lines = parse_verification(each.completed).lines
    found = verdict.never(asked(each.command), lines, lines)
    assert found.kind is Kind.NEVER
    assert "at most 2 GPUs, not 3" in found.sentence


TYPES = site(
    gpu={
        "complex": "gpu",
        "counted": "job",
        "types": {"a100": {"adds": {"a100": "1"}}, "k80": {"adds": {"gt": "k80", "gpu_memory": "12G"}}},
    }
)
NONE = 'Job 7 (-l a100=1) cannot run at host "{}" because it offers only hc:a100=0.000000'
ONE = 'Job 7 (-l a100=1) cannot run at host "{}" because it offers only hc:a100=1.000000'
UNKNOWN = 'Job 7 (-l a100=1) cannot run in queue "gpu.q@{}" because job requests unknown resource (a100)'
NO_GPU = 'Job 7 cannot run at host "{}" because it offers only hc:gpu=0.000000'
TEXT = 'Job 7 (-l gt=k80) cannot run at host "{}" because it offers only hf:gt=a100'
SMALL = 'Job 7 (-l gpu_memory=12G) cannot run at host "{}" because it offers only hf:gpu_memory=8.000G'


@pytest.mark.parametrize(
    ("kind", "lines", "now", "ever"),
    [
        (
            "a100",
            [NONE],
            "no host of gpu.q has GPUs of type a100 free now.",
            "no host of gpu.q has GPUs of type a100.",
        ),
        ("a100", [NONE, NONE], "no host of gpu.q has GPUs of type a100 free now.", None),
        (
            "a100",
            [NONE, NONE, NO_GPU],
            "2 hosts of gpu.q have no GPUs of type a100 free now; 1 host of gpu.q has no GPUs free now.",
            "2 hosts of gpu.q have no GPUs of type a100; 1 host of gpu.q has no GPUs.",
        ),
        (
            "a100",
            [NONE, NO_GPU],
            "1 host of gpu.q has no GPUs of type a100 free now; 1 host of gpu.q has no GPUs free now.",
            None,
        ),
        ("a100", [ONE, NONE], "the hosts of gpu.q have at most 1 GPU of type a100 free now.", None),
        ("a100", [UNKNOWN], None, "no host of gpu.q has GPUs of type a100."),
        ("a100", [UNKNOWN, NONE], None, "no host of gpu.q has GPUs of type a100."),
        ("a100", [UNKNOWN, ONE], None, "the hosts of gpu.q have at most 1 GPU of type a100."),
        ("k80", [TEXT], None, "the hosts of gpu.q have no GPUs of type k80."),
        ("k80", [TEXT, NO_GPU], None, "1 host of gpu.q has no GPUs of type k80; 1 host of gpu.q has no GPUs."),
        ("k80", [SMALL], None, "the hosts of gpu.q have at most 8G of gpu_memory."),
    ],
)
def test_a_type_of_gpu_is_told_by_its_name(kind, lines, now, ever):
    """Whether its complex is a number, a text, an amount of memory, or unknown to a host."""
    request = TYPES.defaults.model_copy(update={"gpus": 1, "gpu_type": kind, "queue": "gpu.q"})
    wish = Wish("alice", request, TYPES)
    said = [line.format(f"n{number}") for number, line in enumerate(lines)]
    if now is not None:
        assert verdict.would_wait(wish, said).sentence == f"Would wait: {now}"
    if ever is not None:
        assert verdict.never(wish, said, said).sentence == f"Can never run: {ever}"


@pytest.mark.parametrize(
    ("offers", "sentence"),
    [
        (["h_vmem=-2.000G"], "no host has memory free now."),
        (["h_vmem=-2.000G", "h_vmem=1.000G"], "the hosts have at most 1G of memory free now, not 2G."),
        (["h_vmem=-2.000G", "h_vmem=0.000"], "no host has memory free now."),
        (["gpu=-1.000000"], "no host has GPUs free now."),
        (["gpu=-1.000000", "h_vmem=-0.500G"], "1 host has no GPUs free now; 1 host has no memory free now."),
    ],
)
def test_an_overbooked_host_has_nothing_free(offers, sentence):
    """A complex that was lowered under running jobs has a negative rest."""
    lines = [f'Job 7 cannot run at host "n{at}" because it offers only hc:{one}' for at, one in enumerate(offers)]
    assert verdict.would_wait(asked("h_vmem=2G"), lines).sentence == f"Would wait: {sentence}"


NO_ROOM = 'Job 7 cannot run in PE "smp" because it only offers 0 slots'
NO_PE = 'Job 7 cannot run in queue "{}" because PE "smp" is not in PE list'
NOT_RESERVED = 'Job 7 cannot run in queue "{}" because it was not reserved by advance reservation 2'
NOT_ASKED = 'Job 7 cannot run in queue "{}" because it is not contained in its hard queue list (-q)'
NO_PLACE = f"{SMP} has no place for 2 cores and 2G of memory together"


@pytest.mark.parametrize(
    ("lines", "queue", "sentence"),
    [
        ([NO_PE.format("gpu.q")], "gpu.q", "gpu.q does not offer the parallel environment smp."),
        ([NO_PE.format("gpu.q"), NO_ROOM], "gpu.q", "gpu.q does not offer the parallel environment smp."),
        (
            [NO_PE.format("gpu.q@n1"), NO_PE.format("gpu.q@n2"), NOT_ASKED.format("all.q"), NO_ROOM],
            "gpu.q",
            "gpu.q does not offer the parallel environment smp.",
        ),
        (
            [NO_PE.format(name) for name in ("short.q", "long.q", "gpu.q")],
            None,
            "short.q, long.q and gpu.q do not offer the parallel environment smp.",
        ),
        # The other queues offer it, and have no room.
        (
            [NO_PE.format("long.q"), NO_ROOM],
            None,
            f"long.q does not offer the parallel environment smp; {NO_PLACE}.",
        ),
        ([NOT_RESERVED.format("gpu.q@n1")], "gpu.q", "advance reservation 2 has no place in gpu.q."),
        ([NOT_RESERVED.format("gpu.q@n1"), NO_ROOM], "gpu.q", f"{NO_PLACE}."),
        (
            [NOT_RESERVED.format("gpu.q"), NOT_ASKED.format("all.q")],
            "gpu.q",
            "advance reservation 2 has no place in gpu.q.",
        ),
    ],
)
def test_queues_that_cannot_have_the_job_are_named(lines, queue, sentence):
    """A queue without the parallel environment is the reason if no other queue is left."""
    policy = site()
    wish = Wish("alice", policy.defaults.model_copy(update={"cores": 2, "queue": queue}), policy)
    ended = [f"{line}." for line in lines]
    for said in (lines, ended, [line.replace("PE list", "pe list") for line in lines]):
        assert verdict.never(wish, said, said).sentence == f"Can never run: {sentence}"


FIVE = f"{SMP} has no free place for 5 cores and 5G of memory together"


@pytest.mark.parametrize(
    ("dialect", "name", "sentence"),
    [
        ("sge-8.1.9", "j.QWP.qstat-j.xml", f"Would wait: {FIVE}; jupyter.q takes no jobs now on 2 hosts."),
        ("ocs-9.1.4", "j.QWP.qstat-j.xml", f"Would wait: {FIVE}; jupyter.q takes no jobs now on 2 hosts."),
        ("sge-8.1.9", "j.inar.qstat-j.xml", "Would wait: advance reservation 2 has no place in jupyter.q."),
    ],
)
def test_no_line_of_a_waiting_job_is_strange(dialect, name, sentence):
    """The scheduler has the same words for jobs that wait."""
    each = next(one for one in everything() if (one.dialect, one.name) == (dialect, name))
    lines = re.findall(r"<MES_message>(.*?)</MES_message>", each.text)
    lines = [line.replace("&quot;", '"') for line in lines]
    assert verdict.would_wait(asked("-pe smp 5"), lines).sentence == sentence


def test_a_queue_without_the_parallel_environment_leaves_a_doubt_only_if_there_are_others():
    """A load value is hidden where another queue offers it and has no room."""
    policy = site(memory={"complex": "mem_free", "counted": "host"})
    wish = Wish("alice", policy.defaults.model_copy(update={"cores": 2, "queue": "gpu.q"}), policy)
    lines = [NO_PE.format("gpu.q"), NO_ROOM]
    assert verdict.never(wish, lines, lines).kind is Kind.NEVER
    wish = Wish("alice", wish.request.model_copy(update={"queue": None}), policy)
    assert verdict.never(wish, lines, lines).kind is Kind.UNKNOWN
    lines = [NOT_RESERVED.format("gpu.q@n1"), NO_ROOM]
    assert verdict.never(wish, lines, lines).kind is Kind.UNKNOWN


LIMIT_AND_FREE = site(
    memory=[
        {"complex": "h_vmem", "counted": "slot", "headroom": 1.5},
        {"complex": "mem_free", "counted": "host"},
    ]
)


@pytest.mark.parametrize(
    ("offers", "sentence"),
    [
        (["hc:h_vmem=9.000G"], "the hosts have at most 6G of memory free now, not 8G."),
        (["hc:h_vmem=10.000G"], "the hosts have at most 6.6G of memory free now, not 8G."),
        (["hc:h_vmem=11.999G"], "the hosts have at most 7.9G of memory free now, not 8G."),
        (["hl:mem_free=7.500G"], "the hosts have at most 7.5G of memory free now, not 8G."),
        (["hc:h_vmem=0.000"], "no host has memory free now."),
    ],
)
def test_memory_is_told_as_people_ask_for_it(offers, sentence):
    """What a job gets beyond that (headroom) is nobody's word; the panel of what is free takes it off as well."""
    request = LIMIT_AND_FREE.defaults.model_copy(update={"memory": Memory.parse("8G")})
    for cores in (1, 3):
        wish = Wish("alice", request.model_copy(update={"cores": cores}), LIMIT_AND_FREE)
        lines = [f'Job 7 cannot run at host "n1" because it offers only {one}' for one in offers]
        assert verdict.would_wait(wish, lines).sentence == f"Would wait: {sentence}"


@pytest.mark.parametrize(
    ("offer", "sentence"),
    [
        ("hf:h_vmem=NONE", "the hosts have less memory than asked for."),
        ("qf:h_rt=8:0:0", "the hosts have less runtime than asked for."),
        ("hc:slots=none", "the hosts have fewer cores than asked for."),
        ("hf:arch=lx-x86", "the hosts have another arch than asked for."),
    ],
)
def test_an_amount_that_cannot_be_read_is_no_riddle(offer, sentence):
    """It is less than was asked for, and that is said."""
    line = f'Job 7 cannot run at host "n1" because it offers only {offer}'
    assert verdict.would_wait(asked(""), [line]).sentence == f"Would wait: {sentence}"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([], "Would wait: Grid Engine does not say why."),
        (["verification: no suitable queues", "Exiting."], "Would wait: Grid Engine does not say why."),
        (["Job 7 is out of luck"], "Would wait: Grid Engine says: is out of luck."),
        (["Unable to run job: denied: no!"], "Would wait: Grid Engine says: denied: no!"),
        (["x" * 5000], f"Would wait: Grid Engine says: {'x' * 200}…"),
    ],
)
def test_what_is_not_understood_is_shown_as_it_stands(lines, sentence):
    """Another version may say it otherwise; nothing is made up, and nothing breaks the page."""
    assert verdict.would_wait(asked(""), lines).sentence == sentence


def test_the_original_lines_are_kept_and_bounded():
    """A large site has a line for each host."""
    line = 'Job 1 (-l h_vmem=9G) cannot run at host "n{}" because it offers only hc:h_vmem=1.000G'
    found = verdict.would_wait(asked("h_vmem=9G"), [line.format(number) for number in range(5000)])
    assert found.sentence == "Would wait: the hosts have at most 1G of memory free now, not 9G."
    assert len(found.details) == verdict.LINES + 1
    assert found.details[-1] == "… and 4970 more lines."
    assert len(verdict.shown(["y" * 9999])[0]) == verdict.LINE_LIMIT + 1


def test_what_the_site_refuses_has_the_words_of_start():
    """All reasons at once, and nothing of Grid Engine's."""
    found = verdict.refused([Violation("cores", "At most 2 cores."), Violation("gpus", "No GPUs.")])
    assert found.as_json() == {"kind": "refused", "sentence": "At most 2 cores. No GPUs.", "details": []}


def test_many_names_are_cut_short():
    """Nobody reads the names of a thousand hosts."""
    assert [listed(names) for names in ("a", "ab", "abcd", "abcdef")] == [
        "a",
        "a and b",
        "a, b, c and d",
        "a, b, c and 3 more",
    ]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (2**30, "1G"), (int(21.891 * 2**30), "21.8G"), (1536 * 2**20, "1536M")]
)
def test_amounts_are_short(size, text):
    """Grid Engine prints three digits behind the point; people read one, and never more than there is."""
    assert readable(size) == text


G = 2**30


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0K"),
        (512 * 1024**2, "512M"),
        (G, "1G"),
        (G - 1, "1023.9M"),
        (int(1.55 * G), "1.5G"),
        (64 * G - 1024**2, "63.9G"),
        (192 * G, "192G"),
        (1536 * G, "1.5T"),
    ],
)
def test_memory_is_rounded_down_and_can_be_typed(number, text):
    """Nobody is offered more than there is, and the form reads what the page says."""
    assert in_tenths(number) == text
    assert Memory.parse(text).bytes <= number
