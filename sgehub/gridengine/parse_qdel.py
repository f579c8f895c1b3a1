"""What qdel says of one job -> what became of the wish. qdel(1).

The law of this file: only a line that names the job counts. The exit status decides nothing but that qdel came to
its own end: a job that does not exist and one of another person's both give 1.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from sgehub.errors import ClusterError
from sgehub.gridengine.answers import is_transport_error, no_answer, sentence, text_of
from sgehub.gridengine.runner import Completed


class Deletion(enum.Enum):
    """What became of a wish to delete a job. Only DELETED and ABSENT say that it is gone."""

    DELETED = "deleted"
    REGISTERED = "registered"  # it will be, once its execution host has ended it
    ABSENT = "absent"


_LINES: Final = (
    (re.compile(r'denied: job "([0-9]+)" does not exist'), Deletion.ABSENT),
    (re.compile(r"(?:warning: )?\S+ has deleted job ([0-9]+)"), Deletion.DELETED),
    (re.compile(r"(?:warning: )?\S+ forced the deletion of job ([0-9]+)"), Deletion.DELETED),
    (re.compile(r"\S+ has registered the job ([0-9]+) for deletion"), Deletion.REGISTERED),
    (re.compile(r"job ([0-9]+) is already in deletion"), Deletion.REGISTERED),
)
_DENIED: Final = re.compile(r"do not have the necessary privileges|^denied: ", re.MULTILINE)


def parse_deletion(completed: Completed, number: int) -> Deletion:
    """Return what became of job `number`; ClusterError if it was denied, NoAnswerError if that is not known."""
    text = text_of(completed.stdout + b"\n" + completed.stderr)
    if completed.exit not in (0, 1):
        raise no_answer(f"qdel {number}", completed)
    for line in text.splitlines():
        for pattern, deletion in _LINES:
            match = pattern.fullmatch(line.strip())
            if match and int(match[1]) == number:
                return deletion
    if _DENIED.search(text) and not is_transport_error(completed):
        raise ClusterError(f"Grid Engine did not delete job {number}: {sentence(completed)}")
    raise no_answer(f"qdel {number}", completed)
