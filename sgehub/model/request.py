"""A request in a person's words: cores, memory, GPUs, runtime, queue, project, environment, and what a site adds.

Every way in (form, link, REST, stored options, another account's start) ends in `parse_request`; what it
returns has types and no more. Whether it is *allowed* is `policy`'s to say. Input is never echoed in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, ValidationError, model_validator

from sgehub.errors import RequestRefusedError, Violation
from sgehub.model import names
from sgehub.model.units import Duration, Memory

EXTRA: Final = "extra."  # stands before the name of a field of the site's own
TEXT_LIMIT: Final = 200  # characters of a folder, an address or a value of a field of the site's own
_EXTRAS_LIMIT: Final = 100  # fields of the site's own in one request
ECHO_LIMIT: Final = 40  # characters of a person's input that may come back in a message
T = TypeVar("T", Memory, Duration)
_TOO_LARGE: Final = 10**9
_DIGITS: Final = re.compile(r"[0-9]{1,9}")
# What qsub -M takes as one address: RFC 5321's dot-string without what shells, lists or options know.
_ADDRESS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}@[A-Za-z0-9][A-Za-z0-9.-]{0,200}")


def echo(value: object) -> str:
    """Show a little of what was typed, with everything that is not plain made visible."""
    text = value if isinstance(value, str) else repr(value)
    shown = ascii(text[:ECHO_LIMIT])[1:-1]
    return f'"{shown}..."' if len(text) > ECHO_LIMIT else f'"{shown}"'


def _whole_number(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= _TOO_LARGE:  # such a number may have more digits than Python writes
            raise ValueError("This number is too large. Write digits only, for example 2.")
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


def _number(value: object) -> int | None:
    if value is None or value == "":
        return None
    number = _whole_number(value)
    if not number > 0:
        raise ValueError(f"{_said(str(number))} is not the number of an advance reservation.")
    return number


def _folder(value: object) -> str | None:
    """Read a path that no program takes for anything else; whether it may be used is `judging`'s to say."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(f"{_said(value)} is not the path of a folder.")  # noqa: TRY004 - as above
    path = value.strip(" ")
    if len(path) > TEXT_LIMIT or not path.isprintable() or "$" in path or path.startswith("-"):
        raise ValueError(f"{echo(value)} is not the path of a folder.")
    if ".." in path.split("/"):
        raise ValueError('Write the path of the folder itself, without "..".')
    return path.rstrip("/") or "/"


def _address(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str) and len(value) <= TEXT_LIMIT and _ADDRESS.fullmatch(value.strip(" ")):
        return value.strip(" ")
    raise ValueError(f"{_said(value)} is not an e-mail address.")


def _extras(value: object) -> tuple[tuple[str, str], ...]:
    """Read the fields of the site's own: names and values as plain text, in the order of the names.

    An empty value stays: it takes the place of a default.
    """
    if isinstance(value, tuple):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f'There is no field "extra": write {EXTRA}NAME.')  # noqa: TRY004 - as above
    found: dict[str, str] = {}
    for name, one in value.items():
        text = {True: "yes", False: "", None: ""}.get(one, one) if one is None or isinstance(one, bool) else one
        text = str(text) if isinstance(text, int) and abs(text) < _TOO_LARGE else text
        if not isinstance(name, str) or not names.OBJECT.fullmatch(name) or len(found) >= _EXTRAS_LIMIT:
            raise ValueError(f"There is no field {echo(f'{EXTRA}{name}')}.")
        if not isinstance(text, str) or len(text) > TEXT_LIMIT:
            raise ValueError(f"{_said(one)} cannot be the value of {EXTRA}{name}.")
        found[name] = text.strip(" ")
    return tuple(sorted(found.items()))


class ResourceRequest(BaseModel):
    """What one start asks for. `memory` is the total of the session; None means "any" or, of projects, none.

    `gpu_type` means nothing without GPUs, `pe` nothing with one core. `folder` is absolute or below the home
    folder. `extra` holds what was chosen in fields of the site's own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    cores: Annotated[int, BeforeValidator(_whole_number)]
    memory: Annotated[Memory, BeforeValidator(_memory), PlainSerializer(str)]
    gpus: Annotated[int, BeforeValidator(_whole_number)]
    runtime: Annotated[Duration, BeforeValidator(_duration), PlainSerializer(str)]
    queue: Annotated[str | None, BeforeValidator(_name_of("queue"))] = None
    gpu_type: Annotated[str | None, BeforeValidator(_name_of("type of GPU"))] = None
    project: Annotated[str | None, BeforeValidator(_name_of("project"))] = None
    pe: Annotated[str | None, BeforeValidator(_name_of("parallel environment"))] = None
    environment: Annotated[str | None, BeforeValidator(_name_of("environment"))] = None
    interface: Annotated[str | None, BeforeValidator(_name_of("interface"))] = None
    folder: Annotated[str | None, BeforeValidator(_folder)] = None
    mail: Annotated[str | None, BeforeValidator(_address)] = None
    reservation: Annotated[int | None, BeforeValidator(_number)] = None
    extra: Annotated[tuple[tuple[str, str], ...], BeforeValidator(_extras)] = ()

    @model_validator(mode="before")
    @classmethod
    def _gather_extras(cls, raw: object) -> object:
        """Take "extra.NAME", as forms and links write it, for a part of `extra`."""
        if not isinstance(raw, Mapping):
            return raw
        flat = {key for key in raw if isinstance(key, str) and key.startswith(EXTRA)}
        if not flat:
            return raw
        extras = {key[len(EXTRA) :]: raw[key] for key in flat}
        rest = {key: value for key, value in raw.items() if key not in flat}
        nested = rest.get("extra", ())
        return {**rest, "extra": {**extras, **dict(nested)} if isinstance(nested, Mapping | tuple) else nested}

    def as_options(self) -> dict[str, Any]:
        """Return the request as JSON-ready user_options that `parse_request` reads back unchanged."""
        return {**self.model_dump(exclude={"extra"}), **{EXTRA + name: value for name, value in self.extra}}


FIELDS: Final = tuple(name for name in ResourceRequest.model_fields if name != "extra")


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
        return Violation("" if field == "extra" else field, str(error["ctx"]["error"]))
    if field in FIELDS:
        return Violation(field, f'The field "{field}" is missing.')
    return Violation("", f"There is no field {echo(field)}. Fields are: {', '.join(FIELDS)}.")
