"""The list of jobs: concrete values, ill-formed lists, hostile ones, and its steps."""

from __future__ import annotations

import gc
import re
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.errors import NoAnswerError
from sgehub.gridengine.parse_qstat import read_jobs
from sgehub.gridengine.parse_xml import PIECE, at_once, by_and_by
from sgehub.gridengine.runner import Completed
from sgehub.model.job import Job, JobState, JobTable
from tests.unit.gridengine.captured import captured
from tests.unit.turns import turns_during

HEAD = "<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"http://example.org/qstat.xsd\">\n  <queue_info>\n"
MIDDLE = "  </queue_info>\n  <job_info>\n"
TAIL = "  </job_info>\n</job_info>\n"


def element(number: int = 1, name: str = "n", state: str = "r", **changes: str) -> str:
    fields = {"JB_job_number": str(number), "JAT_prio": "0.5", "JB_name": name, "JB_owner": "alice",
              "state": state, "queue_name": "q@h", "slots": "1", **changes}  # fmt: skip
    inner = "".join(f"      <{tag}>{text}</{tag}>\n" for tag, text in fields.items())
    return f'    <job_list state="running">\n{inner}    </job_list>\n'


def document(*elements: str) -> bytes:
    return (HEAD + "".join(elements) + MIDDLE + TAIL).encode("utf-8", "surrogateescape")


def read(data: bytes, named: str = "") -> JobTable:
    return at_once(read_jobs(Completed(0, data, b""), 12.5, named=named))


@pytest.mark.parametrize(
    ("dialect", "name", "job"),
    [
        ("sge-8.1.9", "mix.qstat.u-all.s-prs.xml",
         Job(70, "smp2", "alice", JobState.parse("r"), "jupyter.q", "node02", 2, None, 1795179555.0, 0.37503)),
        ("sge-8.1.9", "mix.qstat.u-all.s-prs.xml",
         Job(75, "eqw", "alice", JobState.parse("Eqw"), None, None, 1, 1795179556.0, None, 0.25)),
        ("ocs-9.1.4", "mix.qstat.u-all.s-prs.xml",
         Job(102, "smp2", "alice", JobState.parse("r"), "jupyter.q", "node02", 2, None, 1795178632.941705,
             0.37503)),
        ("ocs-9.1.4", "mix.qstat.u-all.s-prs.r.xml",
         Job(112, "pendpe", "bob", JobState.parse("qw"), None, None, 5, 1795178634.197371, None, 0.75)),
        ("sge-8.1.9", "dr.qstat.xml",
         Job(69, "run1", "alice", JobState.parse("dr"), "jupyter.q", "node01", 1, None, 1795179555.0, 0.25003)),
    ],
)  # fmt: skip
def test_values_of_both_dialects(dialect: str, name: str, job: Job) -> None:
    """Times by shape, pending without queue and host, slots and priority as printed."""
    found = at_once(read_jobs(captured(dialect, name), 1.0)).jobs[job.number]
    assert found == job


def test_finished_jobs_do_not_read_as_alive() -> None:
    """Open Cluster Scheduler lists them in the letters of their last state."""
    table = at_once(read_jobs(captured("ocs-9.1.4", "mix.qstat.s-z.xml"), 1.0))
    assert {str(job.state) for job in table.jobs.values()} == {"z"}


def test_strange_names_are_read() -> None:
    """Names with all that Grid Engine lets through, raw control characters and broken UTF-8 among them."""
    table = at_once(read_jobs(captured("ocs-9.1.4", "qsub.names.qstat.xml"), 1.0))
    names = {job.name for job in table.jobs.values()}
    assert {"a%lt;b", "a&b", 'a"b', "a'b", "a b", "a>b", "aäb", "ab", "a\ufffdb"} <= names


def test_a_table_carries_the_instant_of_the_question() -> None:
    assert read(document()) == JobTable(12.5)


STRANGE = ["a<b", "a&b", "</JB_name>", "<b>", "a\x01\x02\x1f", "\udce4", "]]>", "&bogus;", "\ufffe"]


@pytest.mark.parametrize("name", STRANGE)
def test_one_name_that_breaks_the_xml_costs_at_most_that_job(name: str) -> None:
    """The others are read; the one is read too, or reported by its number."""
    table = read(document(element(1), element(2, name=name), element(3)))
    assert {1, 3} <= set(table.jobs)
    assert (2 in table.jobs) or table.broken == {2}
    assert table.skipped == 0


SOME_JOB = st.tuples(st.integers(1, 10**7), st.text(max_size=12), st.sampled_from(["qw", "r", "dr", "Eqw"]))


@given(st.lists(SOME_JOB, max_size=6, unique_by=lambda job: job[0]), st.binary(max_size=6))
def test_whatever_stands_in_names_the_rest_of_the_list_is_read(
    jobs: list[tuple[int, str, str]], junk: bytes
) -> None:
    """Escaped as Grid Engine does, or raw: no job is lost, none is made up."""
    escape = {"&": "&amp;", "<": "%lt;", ">": "&gt;", '"': "&quot;"}
    elements = [element(n, name="".join(escape.get(c, c) for c in name), state=state) for n, name, state in jobs]
    data = document(*elements).replace(b"<slots>", junk.replace(b"<", b"") + b"<slots>", 1)
    table = read(data)
    assert set(table.jobs) | table.broken == {number for number, _, _ in jobs}
    assert table.skipped == 0


@pytest.mark.parametrize("lost", ["JB_job_number", "JB_owner", "JB_name", "state", "slots"])
def test_a_job_without_what_decides_is_reported(lost: str) -> None:
    """By its number if that is there."""
    bad = re.sub(rf" *<{lost}>.*\n", "", element(2))
    table = read(document(element(1), bad))
    assert set(table.jobs) == {1}
    assert (table.skipped, table.broken) == ((1, frozenset()) if lost == "JB_job_number" else (0, {2}))


def test_an_unclosed_job_costs_itself() -> None:
    bad = element(2).replace("    </job_list>\n", "")
    table = read(document(element(1), bad, element(3)))
    assert (set(table.jobs), table.broken) == ({1, 3}, {2})


@pytest.mark.parametrize(
    "data",
    [
        b"", b"  \n", b"garbage", b"<job_info></job_info>", b"<other/>", b"{}", HEAD.encode(),
        document().replace(b"</job_info>\n</job_info>", b"</job_info>"),
        document(element(1)).replace(b"<queue_info>", b"<cluster_queue_summary>"),
        document() + document(),
        document(element(1)) + b"error: lost",
    ],
)  # fmt: skip
def test_what_is_no_whole_list_is_no_answer(data: bytes) -> None:
    with pytest.raises(NoAnswerError):
        read(data)


# Several entries of one number


@pytest.mark.parametrize("dialect", ["sge-8.1.9", "ocs-9.1.4"])
def test_the_master_host_of_a_job_is_where_it_is(dialect: str) -> None:
    """A site's sge_qstat file may hold "-g t", which lists a job once a host and a slot."""
    listed = at_once(read_jobs(captured(dialect, "mix.qstat.u-all.gt.xml"), 1.0))
    usual = at_once(read_jobs(captured(dialect, "mix.qstat.u-all.s-prs.xml"), 1.0))
    parallel = {number: job.host for number, job in usual.jobs.items() if job.slots > 1}
    assert len(parallel) > 1
    assert {number: listed.jobs[number].host for number in parallel} == parallel


def test_a_slaves_host_is_not_the_jobs_wherever_it_is_listed() -> None:
    """Hosts are listed by their names; a job of which only slaves can be read is there nevertheless."""
    slave, master = element(1, queue_name="q@a", master="SLAVE"), element(1, queue_name="q@b", master="MASTER")
    assert read(document(slave, master)).jobs[1].host == "b"
    assert read(document(master, slave)).jobs[1].host == "b"
    alone = read(document(slave, master.replace("<slots>1", "<slots>?")))
    assert (alone.jobs[1].host, alone.broken) == ("a", frozenset())


def test_an_array_is_there_as_long_as_one_task_is() -> None:
    """Its first listed task stands for it, whatever can not be read of the others."""
    tasks = [element(1, state="r", tasks="2"), element(1, state="qw", tasks="3-9:1"), element(1, state="")]
    table = read(document(*tasks, element(2)))
    assert (set(table.jobs), str(table.jobs[1].state), table.broken) == ({1, 2}, "r", frozenset())


# Jobs of others


def test_of_the_jobs_of_others_only_their_place_in_the_queue_is_kept() -> None:
    """By the name, which all jobs of ours have in common; a job that cannot be read may be ours."""
    table = read(
        document(
            element(1, "sgehub-1", "qw", JAT_prio="0.3"),
            element(2, "other", "qw", JAT_prio="0.7"),
            element(3, "other", "hqw", JAT_prio="0.9"),
            element(4, "other", "Eqw"),
            element(5, "other", "r"),
            element(6, "other", "qw", JAT_prio="0.1"),
            element(7, "not sgehub-", slots="?"),
            element(8, "sgehub-8", slots="?"),
            element(9).replace("JB_name", "name"),
        ),
        named="sgehub-",
    )
    assert set(table.jobs) == {1}
    assert (len(table.waiting), table.ahead_of(table.jobs[1])) == (3, 1)
    assert table.broken == {8, 9}


def test_a_job_of_others_costs_next_to_no_memory() -> None:
    """A tenth of 2 KB would be plenty, and nothing that the garbage collector has to look at for each of them."""
    data = document(*(element(number, state="r" if number % 2 else "qw") for number in range(1, 12_001)))
    read(data, "sgehub-")
    gc.collect()
    objects = len(gc.get_objects())
    tracemalloc.start()
    table = read(data, "sgehub-")
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept / 12_000 < 100
    assert len(gc.get_objects()) - objects < 100
    assert len(table.waiting) == 6_000


MARKS = ["<!DOCTYPE job_info [<!ENTITY a 'b'>]>", "<!doctype x>", "<!ENTITY a 'b'>", "<!DOC\x01TYPE x>"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("before", ["", " " * (PIECE - 60)])
def test_entities_are_not_defined(mark: str, before: str) -> None:
    """No document type reaches the parser, across the seam of two pieces either."""
    data = document(element(1)).replace(b"<job_info ", f"{before}{mark}<job_info ".encode(), 1)
    with pytest.raises(NoAnswerError):
        read(data)


def test_a_character_cut_by_a_seam_is_whole() -> None:
    """Pieces end anywhere; names do not change."""
    for shift in range(4):
        padding = "x" * (PIECE - len(HEAD) - len(element(1, name="")) + shift - 30)
        table = read(document(element(1, name=padding), element(2, name="äöü€😀" * 9)))
        assert table.jobs[2].name == "äöü€😀" * 9


@given(
    st.integers(0, 3 * PIECE), st.sampled_from([element(2), element(2, name="a&amp;b"), element(2, name="a<b")])
)
def test_an_entry_cut_by_a_seam_is_whole(shift: int, entry: str) -> None:
    """Wherever a piece ends: in a tag, between two entries, in the frame."""
    table = read(document("\n" * shift, element(1), entry, element(3)))
    assert (set(table.jobs), table.broken, table.skipped) == ({1, 2, 3}, frozenset(), 0)


def test_an_entry_without_an_end_is_not_waited_for() -> None:
    """Not in quadratic time at any rate: such a list is refused."""
    with pytest.raises(NoAnswerError):
        read(document(element(1)[: -len("</job_list>\n")] + "x" * 2_000_000))


async def test_a_long_list_lets_others_work() -> None:
    """4 MB are read in steps of at most a piece: another task runs between any two."""
    data = document(*(element(number) for number in range(1, 12_001)))
    table, turns = await turns_during(by_and_by(read_jobs(Completed(0, data, b""), 1.0)))
    assert len(table.jobs) == 12_000
    assert turns >= len(data) // PIECE


def test_a_long_list_does_not_set_off_the_garbage_collector() -> None:
    """One look at all of a hub's memory is a step of 0.2 s, whoever's objects set it off."""
    data = document(*(element(number, name=f"job{number}") for number in range(1, 30_001)))
    gc.collect()
    before = [generation["collections"] for generation in gc.get_stats()]
    read(data, "sgehub-")
    young, _, old = (each["collections"] - count for each, count in zip(gc.get_stats(), before, strict=True))
    assert young < 100
    assert old == 0


def test_a_job_that_has_not_changed_is_the_one_that_was_known() -> None:
    """What lives from one list to the next makes Python's garbage collector look through everything."""
    before = read(document(element(1), element(2, state="qw"), element(3)))
    data = document(element(1), element(2, state="r"), element(4))
    table = at_once(read_jobs(Completed(0, data, b""), 13.5, known=before.jobs))
    assert table.jobs == read(data).jobs
    assert table.jobs[1] is before.jobs[1]
    assert table.jobs[2] is not before.jobs[2]
    assert set(table.jobs) == {1, 2, 4}


async def test_a_long_ill_formed_list_lets_others_work_too() -> None:
    data = document(*(element(number, name="a<b" if number == 7 else "n") for number in range(1, 12_001)))
    steps = read_jobs(Completed(0, data, b""), 1.0)
    count = 0
    try:
        while True:
            next(steps)
            count += 1
    except StopIteration as end:
        table: JobTable = end.value
    assert len(table.jobs) == 12_000
    assert count >= len(data) // PIECE


def test_half_an_answer_of_a_qstat_that_was_killed_is_no_answer_and_costs_no_time():
    """Of thousands of jobs, a person reads nothing, and the hub's loop must not wait for a text of them."""
    entry = """<job_list state="running">
      <JB_job_number>{number}</JB_job_number>
      <JB_name>job{number}</JB_name>
      <JAT_start_time>2026-11-20T12:00:00</JAT_start_time>
    </job_list>
"""
    half = "<job_info>\n<queue_info>\n" + "".join(entry.format(number=number) for number in range(20_000))
    begun = time.perf_counter()
    with pytest.raises(NoAnswerError, match="to qstat: signal 9 has ended it") as refused:
        at_once(read_jobs(Completed(-9, half.encode(), b""), 1.0))
    assert time.perf_counter() - begun < 0.5
    assert len(str(refused.value)) < 600
