"""What the hub must know of one start, in a form that its database keeps.

A job of ours is a number *and* an owner, a name and a time: numbers are reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import timezone
from typing import Any, Final

from sgehub.model import names
from sgehub.model.job import JobIdentity

DEFAULT_PATIENCE: Final = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One start of one server. `number` is None until qsub has answered; times are the hub's clock.

    `token_id` is the id of the hub's API token record that this start was given: people can make tokens with
    the same scopes, never the same record; `token_made` is when. `host` and `run_started` (Grid Engine's clock)
    name the run that the job is in, as far as the table has shown it; `port` is what that run has reported;
    `queued` is since when it waits, if it is not the first. `submission_time` is when Grid Engine says (its
    clock) that the job was submitted, once that was seen: with the number it is the job, whatever its name.
    `launch_owed` tells that another run of the job still waits for its launch file.
    `patience` (seconds) is how long the job may wait in its queue, `runtime` (seconds) and `memory` (bytes) are
    what was asked for.
    """

    tag: str
    person: str
    folder: str
    token_id: int
    asked: float
    number: int | None = None
    submitted: float | None = None
    host: str | None = None
    port: int | None = None
    run_started: float | None = None
    token_made: float | None = None
    queued: float | None = None
    patience: float = DEFAULT_PATIENCE
    runtime: int | None = None
    memory: int | None = None
    submission_time: float | None = None
    launch_owed: bool = False

    @property
    def job_name(self) -> str:
        """The job's public name."""
        return names.job_name(self.tag)

    @property
    def identity(self) -> JobIdentity | None:
        """The job, None as long as its number is not known."""
        if self.number is None:
            return None
        return JobIdentity(
            self.number,
            self.person,
            self.job_name,
            self.submitted_or_asked,
            self.submission_time,
            self.run_started,
        )

    @property
    def submitted_or_asked(self) -> float:
        """When qsub had answered, or, as long as it has not, when the session was asked for."""
        return self.asked if self.submitted is None else self.submitted

    @property
    def sound(self) -> bool:
        """Whether the fields that name a job are what they have to be; a database may hold anything."""
        numbers = (self.number, self.submitted, self.run_started, self.submission_time)
        return (
            isinstance(self.tag, str)
            and names.TAG.fullmatch(self.tag) is not None
            and isinstance(self.person, str)
            and isinstance(self.folder, str)
            and isinstance(self.asked, (int, float))
            and all(value is None or isinstance(value, (int, float)) for value in numbers)
            and (self.number is None or type(self.number) is int)
        )

    def is_token(self, token: Any) -> bool:
        """Tell whether a token record (`orm.APIToken`) is the one that this start was given.

        A database may give the number of a deleted record to the next one, which is younger than this start.
        """
        made = token.created.replace(tzinfo=timezone.utc).timestamp()
        newest = self.asked if self.token_made is None else self.token_made
        return bool(token.id == self.token_id and made <= newest)

    def answered(self, number: int, now: float) -> SessionRecord:
        """Return the record with the number that qsub gave, at `now`."""
        return replace(self, number=number, submitted=now)

    def seen(self, submission_time: float | None) -> SessionRecord:
        """Return the record with Grid Engine's time of the submission, if it is shown; the first one stays."""
        known = submission_time is None or self.submission_time is not None
        return self if known else replace(self, submission_time=submission_time)

    def by_clock(self, now: float) -> SessionRecord:
        """Return the record for a hub whose clock shows `now`: what was done before it began lies in the past."""
        submitted = None if self.submitted is None else min(self.submitted, now)
        return replace(self, asked=min(self.asked, now), submitted=submitted)

    def placed(self, host: str, started: float | None) -> SessionRecord:
        """Return the record with the run that the table shows."""
        return (
            self
            if (host, started) == (self.host, self.run_started)
            else replace(self, host=host, run_started=started)
        )

    def renewed(self, token_id: int, made: float, now: float) -> SessionRecord:
        """Return the record for another run of the job, of which nothing is known but its new token."""
        anew = replace(self, host=None, port=None, run_started=None, queued=now)
        return anew.with_token(token_id, made)

    def with_token(self, token_id: int, made: float) -> SessionRecord:
        """Return the record with a new token, which the session does not know yet."""
        return replace(self, token_id=token_id, token_made=made, launch_owed=True)

    @property
    def lacks_launch(self) -> bool:
        """Whether the session may still wait for its launch file: one that has reported its port has read it."""
        return self.launch_owed and self.port is None

    def as_state(self) -> dict[str, Any]:
        """Return a JSON-ready dict."""
        return asdict(self)

    @classmethod
    def from_state(cls, state: object) -> SessionRecord | None:
        """Read what `as_state` wrote; None for anything that is not a whole record."""
        if not isinstance(state, Mapping):
            return None
        known = {field.name for field in fields(cls)}
        try:
            return cls(**{key: value for key, value in state.items() if key in known})
        except TypeError:
            return None
