"""A request in a person's words: cores, memory, GPUs and their type, runtime, queue, project.

Every way in (form, link, REST, stored options, another account's start) ends in `parse_request`; what it
returns has types and no more. Whether it is *allowed* is `policy`'s to say. Input is never echoed in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from sgehub.errors import RequestRefusedError, Violation
from sgehub.model import names
from sgehub.model.units import Duration, Memory

ECHO_LIMIT: Final = 40  # characters of a person's input that may come back in a message
T = TypeVar("T", Memory, Duration)
_DIGITS: Final = re.compile(r"[0-9]{1,9}")


def echo(value: object) -> str:
    """Show a little of what was typed, with everything that is not plain made visible."""
    text = value if isinstance(value, str) else repr(value)
    shown = ascii(text[:ECHO_LIMIT])[1:-1]
    return f'"{shown}..."' if len(text) > ECHO_LIMIT else f'"{shown}"'


def _whole_number(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip(" ")):
        return int(value)
    if value == "":
        raise ValueError("This is empty. Write a whole number, for example 2.")
    raise ValueError(f"{_said(value)} is not a whole number. Write digits only, for example 2.")


def _reader(kind: type[T], what: str, example: str, notation: str) -> Callable[[object], T]:
    """Return what reads text in Grid Engine's notation into `kind`, with sentences of its own."""

    def read(value: object) -> T:
        if isinstance(value, kind):
            return value
        if value == "":
            raise ValueError(f"This is empty. Write {what}, for example {example}.")
        if not isinstance(value, str):
            raise ValueError(  # noqa: TRY004 - pydantic collects ValueErrors as findings, not TypeErrors
                f"{_said(value)} is not {what}. Write {notation} in quotes, for example {example}."
            )
        try:
            return kind.parse(value.strip(" "))
        except ValueError as error:
            raise ValueError(f"{echo(value)} is not {what}. {error}") from None

    return read


_memory: Final = _reader(Memory, "an amount of memory", '"4G"', "a number with a unit")
_duration: Final = _reader(Duration, "a runtime", '"08:00:00"', "hours:minutes:seconds")


def _name_of(what: str) -> Callable[[object], str | None]:
    """Return what reads a name of Grid Engine's, None where nothing was chosen."""

    def read(value: object) -> str | None:
        if value is None or value == "":
            return None
        if isinstance(value, str) and names.OBJECT.fullmatch(value):
            return value
        raise ValueError(f"{_said(value)} is not the name of a {what}.")

    return read


def _said(value: object) -> str:
    """Name what came in place of text without formatting a huge or nested thing."""
    if isinstance(value, str):
        return echo(value)
    if value is None or isinstance(value, bool | float):
        return echo(value)
    return f"A value of type {type(value).__name__}"


class ResourceRequest(BaseModel):
    """What one start asks for. `memory` is the total of the session; None means "any" or, of projects, none.

    `gpu_type` means nothing without GPUs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    cores: Annotated[int, BeforeValidator(_whole_number)]
    memory: Annotated[Memory, BeforeValidator(_memory), PlainSerializer(str)]
    gpus: Annotated[int, BeforeValidator(_whole_number)]
    runtime: Annotated[Duration, BeforeValidator(_duration), PlainSerializer(str)]
    queue: Annotated[str | None, BeforeValidator(_name_of("queue"))] = None
    gpu_type: Annotated[str | None, BeforeValidator(_name_of("type of GPU"))] = None
    project: Annotated[str | None, BeforeValidator(_name_of("project"))] = None

    def as_options(self) -> dict[str, Any]:
        """Return the request as JSON-ready user_options that `parse_request` reads back unchanged."""
        return self.model_dump()


FIELDS: Final = tuple(ResourceRequest.model_fields)


def parse_request(raw: object, defaults: Mapping[str, object]) -> ResourceRequest:
    """Read a request from a mapping of anything; fields that are missing take `defaults`.

    Raises RequestRefusedError with all violations at once.
    """
    if not isinstance(raw, Mapping):
        raise RequestRefusedError((Violation("", f"A request is a set of fields: {', '.join(FIELDS)}."),))
    try:
        return ResourceRequest.model_validate({**defaults, **raw})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestRefusedError(tuple(_violation(one) for one in found[:20])) from None


def _violation(error: Any) -> Violation:
    """Translate one of pydantic's findings."""
    field = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "value_error":
        return Violation(field, str(error["ctx"]["error"]))
    if field in FIELDS:
        return Violation(field, f'The field "{field}" is missing.')
    return Violation("", f"There is no field {echo(field)}. Fields are: {', '.join(FIELDS)}.")
