"""A request in a person's words: cores, memory, GPUs, runtime, queue.

Every way in (form, link, REST, stored options, another account's start) ends in `parse_request`; what it
returns has types and no more. Whether it is *allowed* is `policy`'s to say. Input is never echoed in full.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError

from sgehub.errors import RequestRefusedError, Violation
from sgehub.model import names
from sgehub.model.units import Duration, Memory

ECHO_LIMIT: Final = 40  # characters of a person's input that may come back in a message
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


def _memory(value: object) -> Memory:
    if isinstance(value, Memory):
        return value
    if value == "":
        raise ValueError('This is empty. Write an amount of memory, for example "4G".')
    if isinstance(value, str):
        try:
            return Memory.parse(value.strip(" "))
        except ValueError as error:
            raise ValueError(f"{echo(value)} is not an amount of memory. {error}") from None
    raise ValueError(
        f'{_said(value)} is not an amount of memory. Write a number with a unit in quotes, for example "4G".'
    )


def _duration(value: object) -> Duration:
    if isinstance(value, Duration):
        return value
    if value == "":
        raise ValueError('This is empty. Write a runtime, for example "08:00:00".')
    if isinstance(value, str):
        try:
            return Duration.parse(value.strip(" "))
        except ValueError as error:
            raise ValueError(f"{echo(value)} is not a runtime. {error}") from None
    raise ValueError(f'{_said(value)} is not a runtime. Write hours:minutes:seconds in quotes, "08:00:00".')


def _queue(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and names.OBJECT.fullmatch(value):
        return value
    raise ValueError(f"{_said(value)} is not the name of a queue.")


def _said(value: object) -> str:
    """Name what came in place of text without formatting a huge or nested thing."""
    if isinstance(value, str):
        return echo(value)
    if value is None or isinstance(value, bool | float):
        return echo(value)
    return f"A value of type {type(value).__name__}"


class ResourceRequest(BaseModel):
    """What one start asks for. `memory` is the total of the session, `queue` None means "any that fits"."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    cores: Annotated[int, BeforeValidator(_whole_number)]
    memory: Annotated[Memory, BeforeValidator(_memory), PlainSerializer(str)]
    gpus: Annotated[int, BeforeValidator(_whole_number)]
    runtime: Annotated[Duration, BeforeValidator(_duration), PlainSerializer(str)]
    queue: Annotated[str | None, BeforeValidator(_queue)] = None

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
