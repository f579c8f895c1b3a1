"""What qsub says -> a job's number, a refusal in its own sentence, or no answer. qsub(1).

The law of this file: only an exit status of qsub's own says anything. Refused means that there is no job for
certain; everything doubtful is NoAnswerError, since the job may be queued.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sgehub.errors import SubmissionRefusedError
from sgehub.gridengine.answers import is_transport_error, no_answer, plain, sentence, text_of
from sgehub.gridengine.runner import Completed

_TERSE: Final = re.compile(r"([0-9]{1,10})(\.[0-9]+-[0-9]+:[0-9]+)?")
_SUBMITTED: Final = re.compile(r"Your job(?:-array)? ([0-9]{1,10})(?:\.[0-9:-]+)? \(")
_SUITABLE: Final = re.compile(r"verification: found (possible assignment|suitable queue)")
_WITHDRAWN: Final = "could not be scheduled"  # -now y: submitted, and deleted again
_LIMITS: Final = {25, 27}  # max_u_jobs or max_jobs reached: 8.1.9, Open Cluster Scheduler


@dataclass(frozen=True, slots=True)
class Verification:
    """What `qsub -w p` or `-w v` found: whether the job could start (p) or ever run (v), and why not.

    `reason` is one readable text of it, `lines` are Grid Engine's own, without control characters.
    """

    possible: bool
    reason: str = ""
    lines: tuple[str, ...] = ()


def parse_submission(completed: Completed) -> int:
    """Return the job's number: the last line that is one, since JSV and -w w print warnings before it.

    Raises SubmissionRefusedError with qsub's own sentence, or NoAnswerError.
    """
    number = _number(text_of(completed.stdout))
    if completed.exit == 0 and number is not None:
        return number
    withdrawn = _WITHDRAWN in text_of(completed.stderr)
    if completed.exit == 0 or is_transport_error(completed) or (number is not None and not withdrawn):
        raise no_answer("qsub", completed, "it printed no job number.")
    raise SubmissionRefusedError(_refusal(completed))


def _number(text: str) -> int | None:
    lines = [line.strip() for line in text.splitlines()]
    matches = [pattern(line) for pattern in (_TERSE.fullmatch, _SUBMITTED.match) for line in reversed(lines)]
    return next((int(match[1]) for match in matches if match), None)


def parse_verification(completed: Completed) -> Verification:
    """Return whether the job could run, with qsub's reasons if not; NoAnswerError if it did not say."""
    if completed.exit == 0 and _SUITABLE.search(text_of(completed.stdout)):
        return Verification(possible=True)
    if completed.exit == 0 or is_transport_error(completed):
        raise no_answer("qsub -w", completed, "it printed no verdict.")
    return Verification(possible=False, reason=_refusal(completed), lines=_lines(completed))


def _lines(completed: Completed) -> tuple[str, ...]:
    """Return what qsub printed, line by line, as text that can be shown."""
    raw = text_of(completed.stderr or completed.stdout).splitlines()
    return tuple(line for each in raw if (line := plain(each)))


def _refusal(completed: Completed) -> str:
    said = sentence(Completed(completed.exit, b"", completed.stderr or completed.stdout))
    said = said or f"qsub refused the job without a reason (exit status {completed.exit})."
    return f"{said} Try again once another job has ended." if completed.exit in _LIMITS else said
