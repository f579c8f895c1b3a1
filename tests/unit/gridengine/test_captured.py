"""Every captured answer of both dialects is read right or refused; none is read half."""

from __future__ import annotations

import re

import pytest

from sgehub.errors import ClusterError, NoAnswerError, SubmissionRefusedError
from sgehub.gridengine.parse_qacct import parse_accounting
from sgehub.gridengine.parse_qdel import parse_deletion
from sgehub.gridengine.parse_qhost import read_hosts
from sgehub.gridengine.parse_qstat import read_jobs
from sgehub.gridengine.parse_qstat_j import read_detail
from sgehub.gridengine.parse_qsub import parse_submission, parse_verification
from sgehub.gridengine.parse_xml import at_once
from sgehub.gridengine.runner import Completed
from sgehub.model.job import JobDetail
from tests.unit.gridengine.captured import DATA, Captured, everything

EVERYTHING = everything()
DOCUMENTS = {"list", "detail", "hosts"}


def of(*programs: str) -> list[Captured]:
    return [each for each in EVERYTHING if each.program in programs]


def is_list(each: Captured) -> bool:
    return each.program == "qstat" and " -j " not in each.command


def meaning_of(each: Captured) -> str:
    """Read an answer with the parser for its command, and name the outcome as the index does."""
    readers = {"qacct": _records, "qsub": _submission, "qdel": _deletion, "qhost": _hosts}
    read = readers.get(each.program, _list if is_list(each) else _detail)
    try:
        return read(each)
    except SubmissionRefusedError:
        return "refused"
    except NoAnswerError:
        return "no answer"
    except ClusterError:
        return "denied"


def _list(each: Captured) -> str:
    table = at_once(read_jobs(each.completed, 0.0))
    assert (table.skipped, table.broken) == (0, frozenset())
    return f"list {len(table.jobs)}"


def _detail(each: Captured) -> str:
    found = at_once(read_detail(each.completed, each.number))
    return f"detail {found.owner} {found.name}" if isinstance(found, JobDetail) else "absent"


def _records(each: Captured) -> str:
    return f"records {len(parse_accounting(each.completed))}"


def _submission(each: Captured) -> str:
    if re.search(r"-w [vp]", each.command):
        return "possible" if parse_verification(each.completed).possible else "impossible"
    return f"job {parse_submission(each.completed)}"


def _deletion(each: Captured) -> str:
    return parse_deletion(each.completed, each.number).value


def _hosts(each: Captured) -> str:
    return f"hosts {len(at_once(read_hosts(each.completed)))}"


@pytest.mark.parametrize("each", EVERYTHING, ids=str)
def test_every_captured_answer_means_what_the_index_says(each: Captured) -> None:
    """The index was read by people; the parsers agree with it, file by file."""
    assert meaning_of(each) == each.meaning


def test_the_index_names_every_file() -> None:
    """No captured file is left out of the table above."""
    named = {(each.dialect, each.name) for each in EVERYTHING}
    dialects = {each.dialect for each in EVERYTHING}
    files = [path for path in DATA.glob("*/*.*") if path.parent.name in dialects]
    there = {(path.parent.name, path.name.rpartition(".")[0]) for path in files}
    assert there <= named
    assert len(named) == 769


@pytest.mark.parametrize("each", [each for each in EVERYTHING if is_list(each)], ids=str)
def test_a_list_that_is_read_holds_every_job_that_it_names(each: Captured) -> None:
    """An independent count: the numbers that stand in the text, no more, no fewer."""
    if each.meaning == "no answer":
        with pytest.raises(NoAnswerError):
            at_once(read_jobs(each.completed, 0.0))
        return
    numbers = {int(number) for number in re.findall(r"<JB_job_number>(\d+)<", each.text)}
    states = dict(re.findall(r"<JB_job_number>(\d+)<.*?<state>(\w+)<", each.text, re.DOTALL)[::-1])
    table = at_once(read_jobs(each.completed, 0.0))
    assert set(table.jobs) == numbers
    if "z" not in each.command.partition("-s ")[2]:
        assert {str(number): str(job.state) for number, job in table.jobs.items()} == states


@pytest.mark.parametrize(
    "each", [each for each in EVERYTHING if each.meaning.partition(" ")[0] in DOCUMENTS], ids=str
)
def test_no_beginning_of_a_document_is_taken_for_the_whole(each: Captured) -> None:
    """Half an answer is no answer, wherever the cut is, and whatever the exit status."""
    whole = each.completed.stdout.rstrip()
    for cut in sorted({0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 40, len(whole) - 5, len(whole) - 1}):
        part = Captured(each.dialect, each.name, "", each.command, Completed(0, whole[:cut], b""))
        assert meaning_of(part) == "no answer"


@pytest.mark.parametrize("each", of("qstat", "qhost"), ids=str)
def test_a_failed_command_says_nothing_about_jobs(each: Captured) -> None:
    """A list printed by a command that then failed is not believed."""
    if each.meaning == "absent":
        return  # Open Cluster Scheduler 9.2 fails where it says that there is no such job
    failed = Captured(each.dialect, each.name, "", each.command, Completed(1, each.completed.stdout, b""))
    assert meaning_of(failed) == "no answer"
