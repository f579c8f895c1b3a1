"""`qstat -j JOB -xml`, a number or a name -> what is known of one job, or that there is none. qstat(1).

The law of this file: `Absent` only where Grid Engine says in so many words that this very job does not exist. An
answer that merely does not speak of the job is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element

from sgehub.gridengine.answers import instant, no_answer, text_of
from sgehub.gridengine.parse_xml import IllFormedError, Steps, child_texts, local, tree
from sgehub.gridengine.runner import Completed
from sgehub.model.job import Absent, JobDetail

# Open Cluster Scheduler 9.2 in one line with "error: " before, plain `qstat -j` of all dialects in two.
_NOT_EXISTING: Final = re.compile(r"Following jobs do not exist:\s*([0-9A-Za-z-, \n]+)")

# Before a reason stand time, user, process: "11/20/2026 12:59:16 [3001:35]: error: ".
_STAMP: Final = re.compile(r"^[0-9/-]+ [0-9:.]+ (\[[0-9:]+\]: )?(error: )?")
_NOTHING: Final = re.compile(r"There are no messages available|.*schedd_job_info")


def read_detail(completed: Completed, wanted: int | str) -> Steps[JobDetail | Absent]:
    """Read the answer about a job, by number or by name, step by step; NoAnswerError unless it speaks of this job.

    Dialects: 8.1.9 exits 0 with a root `comunication_error` (sic) when the qmaster is down, with `unknown_jobs`
    when there is no such job; 9.1.4 writes the latter ill-formed; 9.2 exits 1 and says so on stderr.
    """
    missing = _NOT_EXISTING.search(text_of(completed.stderr))
    if missing and not completed.stdout.strip():
        if str(wanted) in re.split(r"[,\s]+", missing[1]):
            return Absent()
        raise no_answer(f"qstat -j {wanted}", completed)
    if completed.exit != 0 or not completed.stdout.strip():
        raise no_answer(f"qstat -j {wanted}", completed, "it printed nothing.")
    try:
        root = yield from tree(completed.stdout)
    except IllFormedError as error:
        raise _refused(wanted, f"no whole document ({error}).") from error
    kind = local(root.tag)
    if kind == "unknown_jobs" and _texts(root, "ST_name") == [str(wanted)]:
        return Absent()
    if kind != "detailed_job_info":
        raise _refused(wanted, " ".join(_texts(root, "AN_text")) or f"it answered with {kind}.")
    for element in root.iterfind("djob_info/*"):
        number = element.findtext("JB_job_number", "").strip()
        if str(wanted) in (number, element.findtext("JB_job_name", "").strip()) and number.isdecimal():
            return _detail(root, element, int(number))
    raise _refused(wanted, "it spoke of another job.")


def _refused(wanted: int | str, why: str) -> Exception:
    return no_answer(f"qstat -j {wanted}", Completed(0, b"", b""), why)


def _detail(root: Element, element: Element, number: int) -> JobDetail:
    texts = child_texts(element)
    if not texts.get("JB_owner") or "JB_job_name" not in texts:
        raise _refused(number, "it lacked owner or name.")
    return JobDetail(
        number=number,
        owner=texts["JB_owner"],
        name=texts["JB_job_name"],
        submitted=instant(texts.get("JB_submission_time", "")),
        error_reasons=_unique(_STAMP.sub("", text) for text in _texts(element, "QIM_message")),
        pending_reasons=_unique(_pending(root, number)),
    )


def _pending(root: Element, number: int) -> Iterable[str]:
    """Yield the scheduler's messages: those about this job, then those about queues, if schedd_job_info is on."""
    for message in root.iterfind("messages/*/SME_message_list/*"):
        if str(number) in _texts(message, "ULNG_value"):
            yield from _texts(message, "MES_message")
    for message in root.iterfind("messages/*/SME_global_message_list/*"):
        yield from _texts(message, "MES_message")


def _texts(element: Element, tag: str) -> list[str]:
    return [" ".join((found.text or "").split()) for found in element.iter(tag)]


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text and not _NOTHING.match(text)))
