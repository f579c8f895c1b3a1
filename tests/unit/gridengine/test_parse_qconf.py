"""qconf: what a cluster has is read whole, and "there is none" is only what qconf itself says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from sgehub.errors import NoAnswerError, SiteConfigurationError
from sgehub.gridengine.client import ClusterSettings, GridEngine
from sgehub.gridengine.parse_qconf import (
    ClusterQueue,
    Complex,
    ParallelEnvironment,
    PerHost,
    parse_complexes,
    parse_host_values,
    parse_names,
    parse_pe,
    parse_queues,
    parse_values_of_hosts,
)
from sgehub.gridengine.runner import Completed, Runner
from tests.unit.gridengine.captured import DATA

DIALECTS = ("sge-8.1.9", "ocs-9.1.4")
NOT_FOUND = b'No cluster queue or queue instance matches the phrase "nosuch.q"\n'
DOWN = b"error: commlib error: got select error (Connection refused)\n"

Parser = Callable[[Completed], object]
PARSERS: list[Parser] = [
    parse_complexes,
    parse_queues,
    parse_pe,
    parse_host_values,
    parse_values_of_hosts,
    parse_names,
]

# What each captured file is: its parser, and qconf's exit status in both dialects.
FILES: dict[str, tuple[Parser, int, int]] = {
    "qconf.sc": (parse_complexes, 0, 0),
    "qconf.sql": (parse_names, 0, 0),
    "qconf.spl": (parse_names, 0, 0),
    "qconf.sprjl": (parse_names, 0, 0),
    "qconf.sq.jupyter.q": (parse_queues, 0, 0),
    "qconf.sq.jupyter.q-node02": (parse_queues, 0, 0),
    "qconf.sq.jupyter.q.long.q": (parse_queues, 0, 0),
    "qconf.sp.smp": (parse_pe, 0, 0),
    "qconf.sq.nosuch.q": (parse_queues, 1, 1),
    "qconf.sp.nosuch": (parse_pe, 1, 1),
    "qconf.scall": (parse_names, 1, 1),
    "qconf.sckptl": (parse_names, 1, 1),
    "qconf.sprj.proj1": (parse_names, 0, 0),
    "qconf.se.node02": (parse_host_values, 0, 0),
    "qconf.stl": (parse_names, 1, 1),
    "down.qconf.sc": (parse_complexes, 1, 0),
    "down.qconf.sql": (parse_names, 1, 1),
}
REFUSED = ("qconf.sprj.proj1", "qconf.stl", "down.qconf.sc", "down.qconf.sql")
PRINTED = [name for name, (_, status, _) in FILES.items() if status == 0 and name not in REFUSED]


def answer(dialect: str, name: str) -> Completed:
    """Return what qconf printed."""
    paths = [DATA / dialect / "qconf" / f"{name}.{kind}" for kind in ("out", "err")]
    stdout, stderr = (path.read_bytes() if path.exists() else b"" for path in paths)
    assert stdout or stderr
    return Completed(FILES[name][1 + DIALECTS.index(dialect)], stdout, stderr)


def printed(text: str) -> Completed:
    return Completed(0, text.encode(), b"")


def queue_text(**changes: str | None) -> str:
    """Return a queue as 8.1.9 prints it, with other values, without those that are None."""
    lines = answer("sge-8.1.9", "qconf.sq.jupyter.q").stdout.decode().splitlines()
    values = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    return "".join(f"{key:<21} {value}\n" for key, value in {**values, **changes}.items() if value is not None)


def queue(**changes: str | None) -> ClusterQueue:
    (found,) = parse_queues(printed(queue_text(**changes)))
    return found


# Captured answers


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_captured_answer_of_qconf_is_in_the_table(dialect: str) -> None:
    assert {path.name.rpartition(".")[0] for path in (DATA / dialect / "qconf").iterdir()} == set(FILES)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_complexes_as_both_dialects_print_them(dialect: str) -> None:
    found = parse_complexes(answer(dialect, "qconf.sc"))
    new = dialect != "sge-8.1.9"
    assert len(found) == (54 if new else 55)
    assert all(found[name].name == name for name in found)
    assert found["h_vmem"] == Complex("h_vmem", "h_vmem", "MEMORY", requestable=True, consumable="YES")
    assert found["gpu"] == Complex("gpu", "gpu", "RSMAP" if new else "INT", requestable=True, consumable="YES")
    assert found["scratch"].consumable == ("HOST" if new else "JOB")
    assert found["lic"].consumable == "JOB"
    assert found["arch"] == Complex(
        "arch", "a", "RESTRING" if new else "STRING", requestable=True, consumable="NO"
    )
    assert not found["load_avg"].requestable


@pytest.mark.parametrize("dialect", DIALECTS)
def test_two_queues_in_one_answer(dialect: str) -> None:
    """Each begins with its qname."""
    first, second = parse_queues(answer(dialect, "qconf.sq.jupyter.q.long.q"))
    assert (first.name, second.name) == ("jupyter.q", "long.q")
    assert first.attributes["slots"] == PerHost("4", {"node02": "6"})
    assert (first.slots, first.h_rt, first.pe_lists) == (6, 8 * 3600, {"smp", "mpi"})
    assert (second.slots, second.h_rt, second.pe_lists) == (2, None, frozenset())
    assert (second.projects, second.user_lists, second.xuser_lists) == (None, frozenset(), frozenset())
    assert first.attributes["qtype"].default == "BATCH INTERACTIVE"
    assert first.attributes["h_vmem"].default == "INFINITY"
    assert parse_queues(answer(dialect, "qconf.sq.jupyter.q")) == (first,)
    (instance,) = parse_queues(answer(dialect, "qconf.sq.jupyter.q-node02"))
    assert (instance.name, instance.slots, instance.attributes["hostname"].every()) == (
        "jupyter.q",
        6,
        ("node02",),
    )


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_qconf_says_is_not_there_is_not_there(dialect: str) -> None:
    """The sentence decides; the exit status is 1."""
    assert parse_queues(answer(dialect, "qconf.sq.nosuch.q")) == ()
    assert parse_pe(answer(dialect, "qconf.sp.nosuch")) is None
    assert parse_names(answer(dialect, "qconf.scall")) == ()
    assert parse_names(answer(dialect, "qconf.sckptl")) == ()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_parallel_environments_and_names(dialect: str) -> None:
    assert parse_pe(answer(dialect, "qconf.sp.smp")) == ParallelEnvironment("smp", 999, "$pe_slots", frozenset())
    assert parse_names(answer(dialect, "qconf.sql")) == ("jupyter.q", "long.q")
    assert parse_names(answer(dialect, "qconf.spl")) == ("mpi", "smp")
    assert parse_names(answer(dialect, "qconf.sprjl")) == ("proj1",)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_answer_is_refused(dialect: str, name: str) -> None:
    """The qmaster is down, with exit 0 on one of them; or qconf shows something else."""
    with pytest.raises(NoAnswerError, match="no answer to qconf"):
        FILES[name][0](answer(dialect, name))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_error_has_the_words_of_qconf(dialect: str) -> None:
    with pytest.raises(NoAnswerError, match="Connection refused"):
        parse_names(answer(dialect, "down.qconf.sql"))


# No answer


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize(
    "completed",
    [
        Completed(0, b"", b""), Completed(0, b"\n \r\n", b""), Completed(1, b"", b""), Completed(0, b"", DOWN),
        Completed(1, b"", DOWN), Completed(0, b"", b"anything else\n"), Completed(1, b"", b"anything else\n"),
        Completed(0, b"\xff\xfe\x00\x80\n", b""), Completed(0, b"\xff\n", b""), Completed(0, b"# \n", b""),
        Completed(1, b"", NOT_FOUND + DOWN), Completed(1, b"", b"no project list defined\n" + DOWN),
        Completed(1, b"", b"nosuch is not a parallel environment\nand more\n"),
        Completed(-15, b"", NOT_FOUND), Completed(124, b"", b"no project list defined\n"),
        Completed(2, b"", b"nosuch is not a parallel environment\n"),
    ],
)  # fmt: skip
def test_nothing_garbage_and_failures_are_no_answer(parse: Parser, completed: Completed) -> None:
    """Neither an empty output nor a sentence beside others says that there are none."""
    with pytest.raises(NoAnswerError):
        parse(completed)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", PRINTED)
def test_what_a_failed_or_unconnected_qconf_printed_is_not_believed(dialect: str, name: str) -> None:
    parse, whole = FILES[name][0], answer(dialect, name).stdout
    for completed in (Completed(1, whole, b""), Completed(-9, whole, b""), Completed(0, whole, DOWN)):
        with pytest.raises(NoAnswerError):
            parse(completed)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", [name for name in PRINTED if name.startswith(("qconf.sc", "qconf.sq."))])
def test_no_beginning_is_taken_for_the_whole(dialect: str, name: str) -> None:
    """Wherever the cut is, except between two queues."""
    parse, whole = FILES[name][0], answer(dialect, name).stdout
    between = whole.find(b"qname", 1)
    assert parse(Completed(0, whole, b""))
    for cut in (cut for cut in range(len(whole)) if cut != between):
        with pytest.raises(NoAnswerError):
            parse(Completed(0, whole[:cut], b""))


@pytest.mark.parametrize(
    ("name", "end"), [("qconf.sql", -1), ("qconf.sql", -3), ("qconf.sp.smp", -1), ("qconf.sp.smp", 60)]
)
def test_a_line_without_an_end_is_no_answer(name: str, end: int) -> None:
    """A name or a value may have been cut."""
    with pytest.raises(NoAnswerError):
        FILES[name][0](Completed(0, answer("sge-8.1.9", name).stdout[:end], b""))


@pytest.mark.parametrize("name", ["pe_name", "slots", "allocation_rule", "user_lists"])
def test_a_parallel_environment_without_what_decides_is_no_answer(name: str) -> None:
    lines = answer("ocs-9.1.4", "qconf.sp.smp").stdout.decode().splitlines(keepends=True)
    with pytest.raises(NoAnswerError):
        parse_pe(printed("".join(line for line in lines if not line.startswith(f"{name} "))))


@pytest.mark.parametrize(
    "name", ["qname", "slots", "pe_list", "h_rt", "projects", "user_lists", "xuser_lists", "h_vmem"]
)
def test_a_queue_without_what_decides_is_no_answer(name: str) -> None:
    with pytest.raises(NoAnswerError):
        parse_queues(printed(queue_text(**{name: None})))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slots", "4,[node02=6"), ("slots", "4,[node02=6]]"), ("slots", "4,[node02]"), ("slots", "4,[=6]"),
        ("slots", "4,[node02=]"), ("slots", "[node02=6]"), ("slots", ",[node02=6]"), ("slots", "4,[node02=6],"),
        ("slots", "4[node02=6]"), ("slots", "4,[node02=6],2"), ("slots", "four"), ("slots", "4,[node02=many]"),
        ("h_rt", "8h"), ("h_rt", "08:00:00,[node02=soon]"), ("pe_list", "smp,[node02=mpi"),
        ("complex_values", "gpu=2,[a"), ("qname", "a b"), ("qname", "a\ufffd"), ("seq_no", "0\nseq_no 1"),
        ("seq_no", "0\n/:!"), ("seq_no", ""),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_read_spoils_the_answer(name: str, value: str) -> None:
    with pytest.raises(NoAnswerError, match="its answer is not whole"):
        parse_queues(printed(queue_text(**{name: value})))


@pytest.mark.parametrize(
    "row",
    [
        "gpu gpu INT <= YES YES 0",
        "gpu gpu INT <= MAYBE YES 0 0",
        "gpu gpu INT <= YES TWICE 0 0",
        "gpu",
        "g\ufffdu gpu INT <= YES YES 0 0",
    ],
)
def test_a_complex_that_cannot_be_read_spoils_the_table(row: str) -> None:
    """One row less would be a complex that the cluster does not have."""
    text = "#name shortcut type relop requestable consumable default urgency\n{}\n# >#< starts a comment\n"
    good = "gpu gpu INT <= FORCED YES 0 0"
    assert parse_complexes(printed(text.format(good)))["gpu"].requestable
    with pytest.raises(NoAnswerError):
        parse_complexes(printed(text.format(f"{good}\n{row}")))


@pytest.mark.parametrize(
    "text", ["jupyter.q\nlong q\n", "a.q,b.q\n", "error: something\n", "a.q\nb\x00.q\n", "a.q@node01\n"]
)
def test_a_line_that_is_no_name_spoils_the_list(text: str) -> None:
    with pytest.raises(NoAnswerError):
        parse_names(printed(text))


@pytest.mark.parametrize(
    ("parse", "printed_too", "sentence"),
    [
        (parse_names, b"a.q\n", b"no cqueue list defined\n"),
        (parse_pe, b"pe_name smp\n", b"smp is not a parallel environment\n"),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(parse: Parser, printed_too: bytes, sentence: bytes) -> None:
    assert not parse(Completed(1, b"", sentence))
    with pytest.raises(NoAnswerError):
        parse(Completed(1, printed_too, sentence))


# Queues


@pytest.mark.parametrize("status", [0, 1])
def test_a_queue_that_is_not_there_does_not_hide_the_others(status: int) -> None:
    """It is absent from the result, whatever the exit status; but half a queue beside it stays no answer."""
    text = queue_text().encode()
    assert [one.name for one in parse_queues(Completed(status, text, NOT_FOUND))] == ["jupyter.q"]
    assert parse_queues(Completed(status, b"", NOT_FOUND * 2)) == ()
    assert parse_queues(Completed(status, b"", b"error: " + NOT_FOUND.rstrip() + b".\r\n")) == ()
    for wrong in (Completed(status, text[:900], NOT_FOUND), Completed(status, text, NOT_FOUND + DOWN)):
        with pytest.raises(NoAnswerError):
            parse_queues(wrong)


@pytest.mark.parametrize(
    ("value", "default", "hosts"),
    [
        ("4", "4", {}),
        ("4,[node02=6],[@big=8]", "4", {"node02": "6", "@big": "8"}),
        ("4, [node02=6] , [@big=8]", "4", {"node02": "6", "@big": "8"}),
        ("4,[node02=6], \\\n                      [@big=8]", "4", {"node02": "6", "@big": "8"}),
        ("4,[node02=6],\\\n[@big=8], \\\n  [a.b-c=9]", "4", {"node02": "6", "@big": "8", "a.b-c": "9"}),
    ],
)
def test_slots_by_host(value: str, default: str, hosts: dict[str, str]) -> None:
    """queue_conf(5): blanks may stand around commas; qconf(1) breaks long lines with a backslash."""
    found = queue(slots=value)
    assert found.attributes["slots"] == PerHost(default, hosts)
    assert found.attributes["slots"].every() == (default, *hosts.values())
    assert found.slots == max(map(int, (default, *hosts.values())))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("NONE", set()),
        ("smp mpi", {"smp", "mpi"}),
        ("smp,mpi", {"smp", "mpi"}),
        ("make \\\n        smp \\\n        mpi", {"make", "smp", "mpi"}),
        ("NONE,[node02=smp],[@big=mpi-4 mpi-8]", {"smp", "mpi-4", "mpi-8"}),
        ("smp mpi,[node02=smp,one],[node03=NONE]", {"smp", "mpi", "one"}),
        ("smp,[node02=mpi \\\n        one]", {"smp", "mpi", "one"}),
    ],
)
def test_lists_hold_the_names_of_all_hosts(value: str, names: set[str]) -> None:
    found = queue(pe_list=value, user_lists=value, xuser_lists=value)
    assert found.pe_lists == found.user_lists == found.xuser_lists == names


@pytest.mark.parametrize(
    ("value", "projects"),
    [
        ("NONE", None),
        ("astro", {"astro"}),
        ("astro bio,[node02=chem]", {"astro", "bio", "chem"}),
        ("astro,[node02=NONE]", None),
        ("NONE,[node02=astro]", None),
    ],
)
def test_a_queue_is_open_to_all_where_one_of_its_hosts_is(value: str, projects: set[str] | None) -> None:
    assert queue(projects=value).projects == projects


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("INFINITY", None),
        ("08:00:00", 28800),
        ("3600", 3600),
        ("0:0:5", 5),
        ("8:00:00,[node02=24:00:00]", 86400),
        ("24:00:00,[node02=8:00:00]", 86400),
        ("08:00:00,[@big=INFINITY]", None),
        ("INFINITY,[@big=08:00:00]", None),
    ],
)
def test_the_limit_of_time_is_that_of_the_most_generous_host(value: str, seconds: int | None) -> None:
    assert queue(h_rt=value).h_rt == seconds


def test_values_may_hold_commas_and_equals_signs() -> None:
    found = queue(complex_values="NONE,[node02=gpu=2,h_vmem=8G]", load_thresholds="np_load_avg=1.75,mem_free=1G")
    assert found.attributes["complex_values"] == PerHost("NONE", {"node02": "gpu=2,h_vmem=8G"})
    assert found.attributes["load_thresholds"] == PerHost("np_load_avg=1.75,mem_free=1G", {})


@pytest.mark.parametrize("name", PRINTED)
def test_ends_of_lines_and_blanks_change_nothing(name: str) -> None:
    """With CRLF, with blanks at the end of lines, with empty lines between queues."""
    parse, whole = FILES[name][0], answer("sge-8.1.9", name).stdout
    usual = parse(Completed(0, whole, b""))
    for other in (
        whole.replace(b"\n", b"\r\n"),
        whole.replace(b"\n", b"  \t\n"),
        whole.replace(b"qname", b"\nqname"),
    ):
        assert parse(Completed(0, other, b"")) == usual


def test_broken_lines_may_end_in_crlf() -> None:
    text = queue_text(slots="4,[node02=6], \\\n    [@big=8]").replace("\n", "\r\n")
    assert parse_queues(printed(text))[0].slots == 8


@pytest.mark.parametrize(
    ("dialect", "gpu"),
    [("sge-8.1.9", {"slots": "16", "gpu": "2"}), ("ocs-9.1.4", {"slots": "2", "gpu": "2(0 1)"})],
)
def test_what_a_host_has_is_read_as_printed(dialect: str, gpu: dict[str, str]) -> None:
    """Capacities, not what is free; an RSMAP names its devices."""
    assert parse_host_values(answer(dialect, "qconf.se.node02")) == {"h_vmem": "8G", "scratch": "100G", **gpu}


def test_a_host_without_consumables_has_none() -> None:
    assert parse_host_values(printed("hostname  node01\ncomplex_values  NONE\n")) == {}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_several_hosts_are_told_apart(dialect: str) -> None:
    """`qconf -se A -se B` prints one after the other; half of one spoils the answer."""
    one = answer(dialect, "qconf.se.node02")
    other = one.stdout.replace(b"node02", b"node03").replace(b"h_vmem=8G", b"h_vmem=16G")
    found = parse_values_of_hosts(Completed(0, one.stdout + other, b""))
    assert {name: values["h_vmem"] for name, values in found.items()} == {"node02": "8G", "node03": "16G"}
    assert found["node02"] == parse_host_values(one)
    with pytest.raises(NoAnswerError):
        parse_values_of_hosts(Completed(0, one.stdout + b"hostname node03\n", b""))


# The client


class Answering(Runner):
    """Answer every command alike and keep what was asked."""

    def __init__(self, completed: Completed) -> None:
        super().__init__()
        self.completed = completed
        self.asked: list[list[str]] = []

    async def run(self, argv: Sequence[str], **_: object) -> Completed:
        self.asked.append(list(argv))
        return self.completed


def cluster(completed: Completed) -> tuple[GridEngine, Answering]:
    runner = Answering(completed)
    return GridEngine(ClusterSettings(root="/sge", bin="/b"), runner), runner


async def test_the_client_asks_qconf_for_what_it_shows() -> None:
    """Each verb with its switch and the parser for it."""
    for name, verb, command in (
        ("qconf.sc", lambda engine: engine.complexes(), ["-sc"]),
        ("qconf.sql", lambda engine: engine.queue_names(), ["-sql"]),
        ("qconf.sq.jupyter.q", lambda engine: engine.queues(["jupyter.q", "x.q"]), ["-sq", "jupyter.q,x.q"]),
        ("qconf.sp.smp", lambda engine: engine.parallel_environment("smp"), ["-sp", "smp"]),
        ("qconf.sprjl", lambda engine: engine.project_names(), ["-sprjl"]),
        ("qconf.spl", lambda engine: engine.parallel_environment_names(), ["-spl"]),
        ("qconf.se.node02", lambda engine: engine.host_values("node02"), ["-se", "node02"]),
    ):
        completed = answer("ocs-9.1.4", name)
        engine, runner = cluster(completed)
        assert await verb(engine) == FILES[name][0](completed)
        assert runner.asked == [["/b/qconf", *command]]
        silent, _ = cluster(Completed(0, b"", DOWN))
        with pytest.raises(NoAnswerError):
            await verb(silent)


async def test_several_hosts_are_one_question() -> None:
    """However many: a process for each would cost more than what they tell is worth."""
    engine, runner = cluster(answer("sge-8.1.9", "qconf.se.node02"))
    assert list(await engine.values_of_hosts(["node02", "node03"])) == ["node02"]
    assert runner.asked == [["/b/qconf", "-se", "node02", "-se", "node03"]]
    with pytest.raises(SiteConfigurationError):
        await engine.values_of_hosts(["node02", "-ks"])


async def test_nothing_is_asked_for_where_none_is_named() -> None:
    """`qconf -sq` alone prints the template of a queue."""
    engine, runner = cluster(answer("sge-8.1.9", "qconf.sq.jupyter.q"))
    assert await engine.queues([]) == ()
    assert await engine.values_of_hosts([]) == {}
    assert runner.asked == []


@pytest.mark.parametrize("name", ["", "-mq", "a,b", "*", "a.q@node01", "a b", "a\n"])
async def test_a_name_that_would_ask_for_others_is_refused(name: str) -> None:
    engine, runner = cluster(Completed(0, b"", b""))
    with pytest.raises(SiteConfigurationError):
        await engine.queues(["a.q", name])
    with pytest.raises(SiteConfigurationError):
        await engine.parallel_environment(name)
    assert runner.asked == []
