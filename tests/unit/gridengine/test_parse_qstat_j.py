"""`qstat -j`: reasons, and when it may be said that there is no such job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.errors import NoAnswerError
from sgehub.gridengine.parse_qstat_j import read_detail
from sgehub.gridengine.parse_xml import at_once
from sgehub.gridengine.runner import Completed
from sgehub.model.job import Absent, JobDetail
from tests.unit.gridengine.captured import captured


def read(completed: Completed, number: int) -> JobDetail | Absent:
    return at_once(read_detail(completed, number))


@pytest.mark.parametrize(
    ("dialect", "number", "submitted"), [("sge-8.1.9", 75, 1795179556.0), ("ocs-9.1.4", 107, 1795178634.110783)]
)
def test_an_error_state_tells_its_reason_without_stamp(dialect: str, number: int, submitted: float) -> None:
    """Both dialects hide it in different elements."""
    detail = read(captured(dialect, "j.EQW.qstat-j.xml"), number)
    assert isinstance(detail, JobDetail)
    assert (detail.owner, detail.name, detail.submitted) == ("alice", "eqw", submitted)
    assert detail.error_reasons == ('can\'t open output file "/nonexistent/dir/out": No such file or directory',)


@pytest.mark.parametrize(("dialect", "number"), [("sge-8.1.9", 80), ("ocs-9.1.4", 112)])
def test_reasons_of_this_job_come_before_those_of_queues(dialect: str, number: int) -> None:
    detail = read(captured(dialect, "j.QWP.qstat-j.xml"), number)
    assert isinstance(detail, JobDetail)
    assert detail.error_reasons == ()
    assert detail.pending_reasons[0].lower() == 'cannot run in queue "long.q" because pe "smp" is not in pe list'
    assert detail.pending_reasons[1] == 'cannot run in PE "smp" because it only offers 0 slots'
    assert 'queue instance "jupyter.q@node01" dropped because it is full' in detail.pending_reasons[2:]


def test_a_job_may_be_asked_for_by_its_name() -> None:
    """A name of ours is one job's; the answer must speak of that name."""
    found = at_once(read_detail(captured("sge-8.1.9", "j.EQW.qstat-j.xml"), "eqw"))
    assert isinstance(found, JobDetail)
    assert (found.number, found.owner) == (75, "alice")
    with pytest.raises(NoAnswerError):
        at_once(read_detail(captured("sge-8.1.9", "j.EQW.qstat-j.xml"), "sgehub-0123456789ab"))
    said = b"error: Following jobs do not exist: sgehub-0123456789ab\n"
    assert at_once(read_detail(Completed(1, b"", said), "sgehub-0123456789ab")) == Absent()


def test_no_messages_are_no_reasons() -> None:
    detail = read(captured("ocs-9.1.4", "j.lost.qstat-j.xml"), 159)
    assert isinstance(detail, JobDetail)
    assert detail.pending_reasons == ()


@pytest.mark.parametrize(
    ("stderr", "number", "absent"),
    [
        ("error: Following jobs do not exist: 99999\n", 99999, True),
        ("error: Following jobs do not exist: 1, 99999\n", 99999, True),
        ("Following jobs do not exist: \n99999\n", 99999, True),
        ("error: Following jobs do not exist: 99999\n", 9999, False),
        ("error: Following jobs do not exist: \n", 99999, False),
        ("error: commlib error: got select error (Connection refused)\n", 99999, False),
        ("", 99999, False),
    ],
)
def test_a_plain_answer_must_name_the_very_job(stderr: str, number: int, *, absent: bool) -> None:
    """Open Cluster Scheduler 9.2 says on stderr, with exit status 1, what others say in XML."""
    completed = Completed(1, b"", stderr.encode())
    if absent:
        assert read(completed, number) == Absent()
    else:
        with pytest.raises(NoAnswerError):
            read(completed, number)


@pytest.mark.parametrize("dialect", ["sge-8.1.9", "ocs-9.1.4"])
def test_an_unknown_job_is_not_another_unknown_job(dialect: str) -> None:
    completed = captured(dialect, "empty.qstat-j-unknown.xml")
    assert read(completed, 99999) == Absent()
    with pytest.raises(NoAnswerError):
        read(completed, 9999)


def test_the_qmasters_absence_is_told_in_its_own_words() -> None:
    """8.1.9 exits 0 with XML when it cannot reach the qmaster."""
    with pytest.raises(NoAnswerError, match="unable to send message to qmaster"):
        read(captured("sge-8.1.9", "down.qstat-j.xml"), 1)


@pytest.mark.parametrize("name", ["j.two.xml", "j.all.xml", "j.RUN.qstat-j.xml"])
def test_an_answer_about_other_jobs_is_no_answer(name: str) -> None:
    with pytest.raises(NoAnswerError, match="another job"):
        read(captured("sge-8.1.9", name), 4711)


@given(st.binary(max_size=300), st.binary(max_size=100), st.integers(-15, 255))
def test_garbage_is_never_absence(stdout: bytes, stderr: bytes, status: int) -> None:
    with pytest.raises(NoAnswerError):
        read(Completed(status, stdout, stderr), 4711)
