"""qsub, qdel, qacct and qhost: concrete values, and doubt that stays doubt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.errors import ClusterError, NoAnswerError, SubmissionRefusedError
from sgehub.gridengine.parse_qacct import parse_accounting
from sgehub.gridengine.parse_qdel import Deletion, parse_deletion
from sgehub.gridengine.parse_qhost import Host, QueueInstance, read_hosts, silent
from sgehub.gridengine.parse_qsub import parse_submission, parse_verification
from sgehub.gridengine.parse_xml import at_once
from sgehub.gridengine.runner import Completed
from sgehub.model.job import Accounting
from sgehub.model.whyended import why_it_ended
from tests.unit.gridengine.captured import captured

# qsub


@pytest.mark.parametrize(
    ("stdout", "number"),
    [
        ("4711\n", 4711),
        ("warning: no suitable queues\n4711\n", 4711),
        ("JSV says 12\n4711\n", 4711),
        ("99\n4711\n", 4711),
        ("4711.1-3:1\n", 4711),
        ('Your job 4711 ("x") has been submitted\n', 4711),
        ('Your job-array 4711.1-3:1 ("x") has been submitted\n', 4711),
    ],
)
def test_the_number_is_the_last_line_that_is_one(stdout: str, number: int) -> None:
    """Warnings of JSV and -w w stand before it; 8.1.9 prints a sentence without -terse."""
    assert parse_submission(Completed(0, stdout.encode(), b"")) == number


@pytest.mark.parametrize(
    "completed",
    [
        Completed(0, b"", b""),
        Completed(0, b"job 12 maybe\n", b""),
        Completed(-9, b"", b"Unable to run job: anything\n"),
        Completed(124, b"", b""),
        Completed(1, b"", b'Unable to run job: unable to send message to qmaster on host "h": got send error\n'),
        Completed(1, b"", b"Unable to run job: Error reading answer list from qmaster\nExiting.\n"),
        Completed(3, b"4711\n", b""),
    ],
    ids=["nothing", "no number", "killed", "timed out", "transport", "answer list", "number, then failure"],
)  # fmt: skip
def test_a_doubtful_submission_is_never_refused(completed: Completed) -> None:
    """The job may be queued."""
    with pytest.raises(NoAnswerError):
        parse_submission(completed)


def test_limits_say_that_it_may_work_later() -> None:
    for dialect in ("sge-8.1.9", "ocs-9.1.4"):
        with pytest.raises(SubmissionRefusedError, match=r"nly 1 jobs are allowed per user.* Try again"):
            parse_submission(captured(dialect, "qsub.max_u_jobs"))


def test_a_verdict_has_all_its_reasons() -> None:
    verdict = parse_verification(captured("ocs-9.1.4", "qsub.w-v.gpu3"))
    assert not verdict.possible
    assert verdict.reason.count(".q@node01") == 2
    assert "verification" not in verdict.reason
    with pytest.raises(NoAnswerError):
        parse_verification(captured("sge-8.1.9", "down.qsub.w-v"))


# qdel


@pytest.mark.parametrize(
    ("stdout", "number"),
    [("alice has deleted job 47", 4711), ("alice has deleted job 4711", 47), ("", 1), ("job 1 is odd", 1)],
)
def test_a_line_about_another_job_says_nothing(stdout: str, number: int) -> None:
    with pytest.raises(NoAnswerError):
        parse_deletion(Completed(0, stdout.encode(), b""), number)


@given(st.text(max_size=60), st.integers(-15, 255))
def test_no_text_but_qdels_own_means_that_a_job_is_gone(text: str, status: int) -> None:
    with pytest.raises(ClusterError):
        parse_deletion(Completed(status, text.encode(), b""), 4711)


def test_a_lost_race_with_the_execution_host_is_no_answer() -> None:
    said = b'alice unable to sync state with remote execd for the deletion of job "155"\n'
    with pytest.raises(NoAnswerError):
        parse_deletion(Completed(1, said, b""), 155)
    assert parse_deletion(captured("ocs-9.1.4", "lost.qdel-f.root"), 159) is Deletion.DELETED


# qacct


def test_a_record_of_8_1_9() -> None:
    """Units in words, ctime, the signal's name behind the status."""
    (record,) = parse_accounting(captured("sge-8.1.9", "qacct-j.HRT"))
    assert record == Accounting(
        number=86, owner="alice", name="hrt", queue="jupyter.q", host="node01",
        submitted=1795179634.0, started=1795179634.0, ended=1795179639.0, failed=37,
        failed_text="qmaster enforced h_rt, h_cpu, or h_vmem limit", exit_status=137,
        maxvmem_bytes=round(3.43 * 2**20), wallclock=5.0,
    )  # fmt: skip
    assert why_it_ended(record, h_rt=4) == "It reached its runtime of 4 seconds."


def test_a_record_of_open_cluster_scheduler() -> None:
    """Bare numbers, ISO with microseconds, who deleted it."""
    (record,) = parse_accounting(captured("ocs-9.1.4", "qacct-j.DEL"))
    assert record == Accounting(
        number=145, owner="alice", name="del", queue="long.q", host="node01",
        submitted=1795178768.404253, started=1795178768.413391, ended=1795178771.688784, failed=100,
        failed_text="assumedly after job", exit_status=137, maxvmem_bytes=5644288, wallclock=4.281,
        deleted_by="alice@head",
    )  # fmt: skip
    assert why_it_ended(record, h_rt=4) == "It was deleted by alice@head."


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("OK", "It ended by itself."),
        ("X3", "It ended with exit status 3."),
        ("HRTN", "It reached its runtime of 4 seconds."),
        ("SEGV", "It was ended by a signal (Segmentation fault)."),
        ("CMD", "Its program could not be started (exit status 127)."),
    ],
)
@pytest.mark.parametrize("dialect", ["sge-8.1.9", "ocs-9.1.4"])
def test_both_dialects_tell_the_same_end(dialect: str, name: str, sentence: str) -> None:
    assert why_it_ended(parse_accounting(captured(dialect, f"qacct-j.{name}"))[-1], h_rt=4) == sentence


def test_a_job_that_never_ran_has_no_times() -> None:
    (record,) = parse_accounting(captured("sge-8.1.9", "qacct-j.SH"))
    assert (record.started, record.ended, record.failed, record.final) == (None, None, 27, False)


def test_several_runs_are_several_records() -> None:
    records = parse_accounting(captured("ocs-9.1.4", "qacct-j.99"))
    assert [(each.failed, each.exit_status, each.host) for each in records] == [
        (25, 99, "node01"),
        (0, 0, "node02"),
    ]


@pytest.mark.parametrize(
    "key", ["owner", "jobname", "jobnumber", "failed", "exit_status", "end_time", "qsub_time"]
)
def test_half_a_record_is_refused(key: str) -> None:
    whole = captured("sge-8.1.9", "qacct-j.OK")
    lines = [line for line in whole.stdout.splitlines(keepends=True) if not line.startswith(key.encode() + b" ")]
    with pytest.raises(NoAnswerError):
        parse_accounting(Completed(0, b"".join(lines), b""))


@given(st.binary(max_size=300), st.integers(-15, 255))
def test_garbage_is_no_missing_record(stdout: bytes, status: int) -> None:
    with pytest.raises(NoAnswerError):
        parse_accounting(Completed(status, stdout, b""))


# qhost


@pytest.mark.parametrize(("dialect", "gpus"), [("sge-8.1.9", "2.000000"), ("ocs-9.1.4", "2")])
def test_hosts_and_what_they_offer(dialect: str, gpus: str) -> None:
    hosts = {host.name: host for host in at_once(read_hosts(captured(dialect, "empty.qhost.F-some.xml")))}
    assert list(hosts) == ["global", "node01", "node02"]
    assert hosts["node02"].resources["gpu"] == gpus
    assert hosts["node02"].resources["h_vmem"] == "8.000G"
    assert (hosts["node01"].cores, hosts["node01"].arch, hosts["global"].arch) == (2, "lx-amd64", None)
    assert hosts["node01"].memory_total == 23.5 * 2**30
    assert hosts["node01"].reachable
    assert not hosts["global"].reachable


@pytest.mark.parametrize("dialect", ["sge-8.1.9", "ocs-9.1.4"])
def test_a_lost_host_accepts_nothing(dialect: str) -> None:
    hosts = {host.name: host for host in at_once(read_hosts(captured(dialect, "lost.qhost.q.xml")))}
    assert not hosts["node02"].reachable
    assert hosts["node02"].queues == (QueueInstance("jupyter.q", 1, 0, 6, "u"),)
    assert not hosts["node02"].queues[0].accepts


@pytest.mark.parametrize("state", [*"audDEsSCco", "au", "aS"])
def test_only_a_queue_without_trouble_accepts(state: str) -> None:
    assert not QueueInstance("q", 0, 0, 4, state).accepts
    assert QueueInstance("q", 0, 0, 4, "").accepts


def host(name: str, load: float | None, *states: str) -> Host:
    queues = tuple(QueueInstance(f"{number}.q", 0, 0, 4, state) for number, state in enumerate(states))
    return Host(name, None, None, load, None, None, {}, queues)


@pytest.mark.parametrize(
    ("each", "is_silent"),
    [
        (host("n", None, "u"), True),
        (host("n", None, "au", "du", "adu"), True),
        (host("n", 0.1, "u", ""), False),
        (host("n", 0.1, "", "a"), False),
        (host("n", None, "d"), False),
        (host("n", None, ""), False),
        (host("n", 0.1), False),
        (host("n", None), True),
        (host("global", None), False),
    ],
)
def test_a_silent_host_is_one_that_is_unknown_to_all_its_queues(each: Host, *, is_silent: bool) -> None:
    """One without queues is told by its load; "global" stands for all hosts and is none."""
    assert silent([each]) == (frozenset({"n"}) if is_silent else frozenset())


@pytest.mark.parametrize("dialect", ["sge-8.1.9", "ocs-9.1.4"])
def test_silent_hosts_of_a_real_cluster(dialect: str) -> None:
    assert silent(at_once(read_hosts(captured(dialect, "lost.qhost.q.xml")))) == {"node01", "node02"}
    assert silent(at_once(read_hosts(captured(dialect, "empty.qhost.q.xml")))) == frozenset()


def test_only_the_wanted_hosts_are_kept() -> None:
    """A cluster has a thousand of them, and who asks for silent ones needs no other."""
    answer = captured("sge-8.1.9", "lost.qhost.q.xml")
    hosts = at_once(read_hosts(answer, lambda host: host.silent))
    assert hosts == tuple(host for host in at_once(read_hosts(answer)) if host.silent)
    assert {host.name for host in hosts} >= {"node01", "node02"}
