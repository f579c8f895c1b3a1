"""What may be concluded from state letters, tables and records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.model.job import (
    CLOCK_SKEW,
    Absent,
    Accounting,
    Job,
    JobDetail,
    JobIdentity,
    JobState,
    JobTable,
    Phase,
    Unknown,
    last_run,
    place,
)
from sgehub.model.whyended import why_it_ended

KNOWN = "dESThRqrstwxz"
JOB = Job(7, "sgehub-0123456789ab", "alice", JobState.parse("r"), "long.q", "node01", 1, None, 100.0, 0.5)
MINE = JobIdentity(7, "alice", "sgehub-0123456789ab", 100.0)
RECORD = Accounting(
    number=7, owner="alice", name="sgehub-0123456789ab", queue="long.q", host="node01", submitted=99.0,
    started=100.0, ended=160.0, failed=0, failed_text="", exit_status=0, maxvmem_bytes=None, wallclock=60.0,
)  # fmt: skip


# State letters


@pytest.mark.parametrize(
    ("letters", "phase"),
    [
        *((letters, Phase.QUEUED) for letters in ("qw", "Rq", "q", "w")),
        *((letters, Phase.HELD) for letters in ("hqw", "hRwq", "hRq")),
        *((letters, Phase.ERROR) for letters in ("Eqw", "Ehqw", "EhRqw")),
        *((letters, Phase.DISPATCHED) for letters in ("t", "Rt", "ht")),
        *((letters, Phase.RUNNING) for letters in ("r", "hr", "Rr")),
        *((letters, Phase.SUSPENDED) for letters in ("s", "S", "T", "ts", "tS", "tT", "Rs", "RtS", "Ss", "hs")),
        *((letters, Phase.ENDING) for letters in ("dr", "dt", "dRr", "ds", "dS", "dT", "dqw", "dEqw", "z", "x")),
        *((letters, Phase.UNKNOWN) for letters in ("", "R", "?", "k")),
    ],
)
def test_every_combination_of_sge_status_has_its_phase(letters: str, phase: Phase) -> None:
    """sge_status(5), with d, E and the suspensions before what they add to."""
    assert JobState.parse(letters).phase is phase
    assert JobState.parse(letters).rerun == ("R" in letters)


@given(st.text(alphabet=KNOWN + "aQ?é0", max_size=8), st.randoms())
def test_letters_are_a_set(letters: str, random: object) -> None:
    """Order and repetition mean nothing, nothing is lost, and nothing is fatal."""
    shuffled = list(letters * 2)
    random.shuffle(shuffled)
    state = JobState.parse("".join(shuffled))
    assert state == JobState.parse(letters) == JobState.parse(str(state))
    assert set(str(state)) == set(letters)


@given(st.text(alphabet=KNOWN, max_size=8), st.text(alphabet="abCDfg", max_size=3))
def test_unknown_letters_do_not_change_what_known_ones_mean(known: str, strange: str) -> None:
    assert JobState.parse(known + strange).phase is JobState.parse(known).phase


@given(st.text(alphabet=KNOWN, max_size=8))
def test_a_job_that_is_being_deleted_is_never_anything_else(letters: str) -> None:
    assert JobState.parse("d" + letters).phase is Phase.ENDING


def test_letters_are_printed_in_grid_engines_order() -> None:
    assert str(JobState.parse("wqRh")) == "hRqw"


# Tables


def test_a_job_is_found_by_number_owner_and_name() -> None:
    assert JobTable(200.0, {7: JOB}).find(MINE) == JOB


@pytest.mark.parametrize("other", [replace(JOB, owner="bob"), replace(JOB, name="sgehub-ba9876543210")])
def test_a_reused_number_is_another_job(other: Job) -> None:
    """Numbers are reused; then the job that was looked for is missing."""
    assert JobTable(200.0, {7: other}).find(MINE) == Absent()


@pytest.mark.parametrize("apart", [-CLOCK_SKEW - 1, CLOCK_SKEW + 1])
def test_a_job_submitted_at_another_time_is_another_job(apart: float) -> None:
    """Either way; clocks that differ by less mean nothing, and neither does a time that is not listed."""
    other = replace(JOB, submitted=100.0 + apart)
    assert JobTable(9e9, {7: other}).find(MINE) == Absent()
    near = replace(JOB, submitted=100.0 + 0.99 * apart)
    assert JobTable(9e9, {7: near}).find(MINE) == near
    assert last_run([replace(RECORD, submitted=100.0 + apart)], MINE) is None
    assert last_run([replace(RECORD, submitted=100.0 + 0.99 * apart)], MINE) is not None


def test_a_job_of_somebody_who_was_not_asked_for_is_unknown() -> None:
    """A list of some people's jobs says nothing of others'."""
    table = JobTable(200.0, owners=frozenset({"bob"}))
    found = table.find(MINE)
    assert isinstance(found, Unknown)
    assert found.reason.endswith(".")
    assert (table.covers("bob"), table.covers("alice"), table.narrow) == (True, False, True)
    assert table.find(replace(MINE, owner="bob")) == Absent()
    assert JobTable(200.0).covers("alice")
    assert not JobTable(200.0).narrow


def test_the_place_in_the_queue_is_known_only_of_everybodys_jobs() -> None:
    """Those of a higher priority are ahead, and of those of the same the older ones."""
    queued = [(0.1, 1), (0.5, 6), (0.5, 7), (0.5, 8), (0.50001, 9_999_999), (1.2, 9)]
    waiting = tuple(sorted(place(*one) for one in queued))
    assert JobTable(200.0, waiting=waiting).ahead_of(JOB) == 3
    assert JobTable(200.0, waiting=waiting, owners=frozenset({"alice"})).ahead_of(JOB) is None


@pytest.mark.parametrize(
    "table",
    [
        JobTable(100.0),
        JobTable(99.0),
        JobTable(200.0, skipped=1),
        JobTable(200.0, broken=frozenset({7})),
        JobTable(99.0, {7: replace(JOB, owner="bob")}),
    ],
    ids=["same instant", "older", "skipped", "broken", "older and reused"],
)
def test_a_job_missing_from_a_table_that_proves_nothing_is_unknown(table: JobTable) -> None:
    found = table.find(MINE)
    assert isinstance(found, Unknown)
    assert found.reason.endswith(".")


def test_another_jobs_broken_element_does_not_hide_ours() -> None:
    """One bad job costs itself: others can still be told to be gone."""
    assert JobTable(200.0, broken=frozenset({8})).find(MINE) == Absent()


@given(
    asked=st.floats(0, 1e10),
    submitted=st.floats(0, 1e10),
    skipped=st.integers(0, 2),
    broken=st.frozensets(st.integers(1, 9)),
    owners=st.none() | st.frozensets(st.sampled_from(["alice", "bob"]), min_size=1),
    listed=st.booleans(),
    same=st.booleans(),
)
def test_absent_is_only_ever_said_of_a_whole_table_asked_for_later(
    asked: float,
    submitted: float,
    skipped: int,
    broken: frozenset[int],
    owners: frozenset[str] | None,
    *,
    listed: bool,
    same: bool,
) -> None:
    """The first promise, whatever the table."""
    jobs = {7: JOB if same else replace(JOB, owner="bob")} if listed else {}
    found = JobTable(asked, jobs, skipped, broken, owners).find(replace(MINE, submitted=submitted))
    covered = owners is None or "alice" in owners
    may_be_absent = covered and asked > submitted and not skipped and 7 not in broken
    if listed and same:
        assert found == JOB
    else:
        assert isinstance(found, Absent) == may_be_absent


def test_a_job_is_healed_by_its_name_only_for_its_owner() -> None:
    """Names are public: somebody else's job of that name is not ours."""
    table = JobTable(200.0, {7: JOB})
    assert table.by_name(JOB.name, owner="alice") == JOB
    assert table.by_name(JOB.name, owner="bob") is None


# Records


@pytest.mark.parametrize(
    ("detail", "known", "expected"),
    [
        (JobDetail(7, "alice", "sgehub-0123456789ab", 10**7), 100.0, True),  # as it was submitted
        (JobDetail(7, "alice", "mine", 100.0), 100.4, None),  # renamed: answers round in their own ways
        (JobDetail(7, "Alice", "sgehub-0123456789ab", 100.0), 100.0, None),
        (JobDetail(7, "alice", "mine", 130.0), 100.0, False),  # the number was given to another job
        (JobDetail(7, "alice", "mine", 130.0), None, None),
        (JobDetail(7, "alice", "mine", None), 100.0, None),
        (JobDetail(7, "alice", "mine", 101.0 + CLOCK_SKEW), None, False),
    ],
)
def test_another_name_alone_makes_no_other_job(detail: JobDetail, known: float | None, expected: bool) -> None:  # noqa: FBT001 - a row of the table
    """Names change; a number comes again, but not with the same time of submission."""
    assert detail.is_of(replace(MINE, submission_time=known)) is expected


@pytest.mark.parametrize(("submitted", "expected"), [(130.0, False), (100.0, None), (101.0, None), (None, None)])
def test_what_was_submitted_after_ours_ran_is_another_job(submitted, expected):
    """A list shows the time of submission of waiting jobs only, and some never wait."""
    detail = JobDetail(7, "alice", "mine", submitted)
    assert detail.is_of(replace(MINE, run_started=100.0)) is expected


def test_the_last_run_counts() -> None:
    again = replace(RECORD, started=200.0)
    assert last_run([RECORD, again], MINE) == again


@pytest.mark.parametrize(
    "other", [replace(RECORD, number=8), replace(RECORD, owner="bob"), replace(RECORD, name="x"),
              replace(RECORD, submitted=99.0 - 3 * 3600)]
)  # fmt: skip
def test_a_record_of_another_job_is_none_of_ours(other: Accounting) -> None:
    assert last_run([other], MINE) is None


@pytest.mark.parametrize(
    ("failed", "final"), [(0, True), (37, True), (100, True), (25, False), (27, False), (30, False)]
)
def test_a_record_of_a_run_that_may_be_followed_by_another_is_not_final(failed: int, *, final: bool) -> None:
    """Rescheduled, or left in the error state: the job outlives its record."""
    assert replace(RECORD, failed=failed).final is final


H = 128
G = 1024**3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "It ended by itself."),
        ({"exit_status": 3}, "It ended with exit status 3."),
        ({"exit_status": 127}, "Its program could not be started (exit status 127)."),
        ({"exit_status": H + 11}, "It was ended by a signal (Segmentation fault)."),
        ({"exit_status": H + 9}, "It was killed on its host, probably because memory ran out."),
        ({"failed": 100, "exit_status": H + 9}, "It was killed: deleted, or memory ran out on its host."),
        ({"failed": 100, "exit_status": H + 12}, "It was deleted."),
        ({"failed": 100, "exit_status": 0}, "It was ended from outside, probably deleted."),
        ({"failed": 100, "exit_status": H + 9, "deleted_by": "root@head"}, "It was deleted by root@head."),
        ({"failed": 37, "deleted_by": "root@head", "ended": 5000.0}, "It was deleted by root@head."),
        ({"failed": 37, "exit_status": H + 9, "ended": 1900.0}, "It reached its runtime of 30 minutes."),
        (
            {"failed": 100, "exit_status": H + 12, "deleted_by": "execd@node01", "ended": 1901.0},
            "It reached its runtime of 30 minutes.",
        ),
        ({"ended": 1900.5}, "It reached its runtime of 30 minutes."),
        ({"started": None, "wallclock": 1800.0, "failed": 37}, "It reached its runtime of 30 minutes."),
        ({"failed": 100, "exit_status": H + 9, "maxvmem_bytes": 2 * G}, "It used up its memory of 2G."),
        ({"failed": 37, "exit_status": H + 9, "maxvmem_bytes": 2 * G}, "It used up its memory of 2G."),
        ({"exit_status": H + 6, "maxvmem_bytes": 2 * G}, "It used up its memory of 2G."),
        (
            {"exit_status": 1, "maxvmem_bytes": 2 * G},
            "It ended with exit status 1, and had used up its memory of 2G.",
        ),
        ({"maxvmem_bytes": 2 * G}, "It ended by itself."),
        ({"failed": 37, "exit_status": H + 9}, "It passed a limit of its runtime or its memory."),
        (
            {"failed": 28, "failed_text": "changing to working directory"},
            "Its home folder could not be entered on the execution host (changing to working directory).",
        ),
        (
            {"failed": 19, "failed_text": "before writing exit_status"},
            "Its execution host was lost, probably by a crash or a power cut (before writing exit_status).",
        ),
        ({"failed": 77}, "Grid Engine reports a failure: 77."),
        ({"exit_status": 255}, "It ended with exit status 255."),
    ],
)
def test_the_sentence_for_every_end(changes: dict[str, object], sentence: str) -> None:
    """By sge_status(5) and by what was measured; who deleted a job is named before anything is guessed."""
    record = replace(RECORD, **changes)
    assert why_it_ended(record, h_rt=1800, memory_limit=2 * G) == sentence


@given(st.integers(0, 255), st.integers(0, 110), st.integers(0, 2**40), st.sampled_from([None, "a@h", "execd@n"]))
def test_every_record_gets_one_sentence(status: int, failed: int, used: int, by: str | None) -> None:
    record = replace(RECORD, exit_status=status, failed=failed, maxvmem_bytes=used, deleted_by=by)
    for limits in ({}, {"h_rt": 60, "memory_limit": 2**30}):
        said = why_it_ended(record, **limits)
        assert said.endswith(".")
        assert "\n" not in said
        assert "None" not in said
