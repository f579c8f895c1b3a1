"""What the keys of ``site.yaml`` hold: memory, runtimes, folders, fields of a request; and how errors are placed.

The law of this file: it knows kinds of values, and no key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError

from sgehub.model import names
from sgehub.model.request import EXTRA
from sgehub.model.units import Duration, Memory

HOME: Final = "{home}"  # stand for a person's own in folders
USERNAME: Final = "{username}"
EXTRAS: Final = "extra"  # fields of the site's own may be written below it, too


def _reader(parse: Callable[[str], Any], kind: type) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        if isinstance(value, kind):
            return value
        if isinstance(value, int | str) and not isinstance(value, bool):
            return parse(str(value))
        raise ValueError("Write it as text in quotes.")

    return read


MemoryValue = Annotated[Memory, BeforeValidator(_reader(Memory.parse, Memory))]
DurationValue = Annotated[Duration, BeforeValidator(_reader(Duration.parse, Duration))]


def _check_folder(pattern: str) -> str:
    rest = pattern.removeprefix(HOME).replace(USERNAME, "x")
    if "{" in rest or "}" in rest:
        raise ValueError(f"In {pattern!r}, only {HOME} at the beginning and {USERNAME} stand for something.")
    names.check_path(f"/home/x{rest}" if pattern.startswith(HOME) else rest)
    return pattern


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a request with each field of the site's own under its own name, however it was written."""
    nested = fields.get(EXTRAS)
    if not isinstance(nested, Mapping):
        return fields
    rest = {name: value for name, value in fields.items() if name != EXTRAS}
    return {**rest, **{f"{EXTRA}{name}": value for name, value in nested.items()}}


Folder = Annotated[str, AfterValidator(_check_folder)]
RequestFields = Annotated[dict[str, Any], AfterValidator(_flat)]


def error_at(key: str, sentence: str, *above: str) -> PydanticCustomError:
    """Return an error of a whole model that belongs to one of its keys, below others; `siteconfig` names them."""
    return PydanticCustomError("site", "{sentence}", {"sentence": sentence, "below": (*above, key)})


def model_inside(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as dict[str, Limits] or GpuSite | None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := model_inside(part))), None)


class Closed(BaseModel):
    """A part of the site's file; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
