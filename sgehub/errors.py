"""Every error of ours, one root, each class saying whose fault it is.

A message is one or two whole sentences for the person who reads it: what is wrong and what to do.
Errors of outside things (subprocess, XML, YAML) are translated into these once, at the edge of a floor.
"""

from __future__ import annotations

from dataclasses import dataclass


class SgehubError(Exception):
    """Root of all errors raised by sgehub."""


@dataclass(frozen=True)
class Violation:
    """One reason why a request is refused.

    `field` is the name of the request's field ("memory"), or "" for the request as a whole;
    `message` is a sentence in the words of the form.
    """

    field: str
    message: str


class RequestRefusedError(SgehubError):
    """The request's fault: what the person asked for is malformed or not allowed.

    Carries every reason at once, as `violations`.
    """

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(" ".join(violation.message for violation in violations))
        self.violations = violations


class SiteConfigurationError(SgehubError):
    """The site's fault: a file of the administrator is wrong. Names file and key."""


class ClusterError(SgehubError):
    """The cluster's side: Grid Engine did not do what it was asked."""


class NoAnswerError(ClusterError):
    """Grid Engine did not answer, or answered something that is no complete answer.

    "Don't know", never "no": nobody may conclude from it that a job is gone.
    """


class JobRenamedError(NoAnswerError):
    """Grid Engine has a job under our job's number that may be ours, but under another name or owner."""


class SubmissionRefusedError(ClusterError):
    """Grid Engine answered, and refused the job. The message is qsub's own sentence."""


class AccountError(ClusterError):
    """The person's account stands in the way: no home, a full home, no right to be used by the hub."""
