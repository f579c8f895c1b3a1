"""Write the reference of site.yaml's keys from the models themselves, so that the two cannot differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from sgehub.model.policy import SitePolicy
from sgehub.model.request import ResourceRequest
from sgehub.model.sitevalues import model_inside


def table() -> str:
    """Return a reStructuredText table of all keys: path, what it says, default."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 28 50 22", ""]
    for row in [("key", "what it says", "default"), *rows(SitePolicy)]:
        lines += [f"   {'* -' if cell is row[0] else '  -'} {cell}" for cell in row]
    return "\n".join(lines) + "\n"


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield a row for every key of a model and of the models below it."""
    for name, field in model.model_fields.items():
        below = model_inside(field.annotation)
        path = f"{prefix}{name}"
        if below is None or below is ResourceRequest:
            yield f"``{path}``", str(field.description), default(field)
            continue
        if field.description:
            yield f"``{path}``", field.description, default(field)
        yield from rows(below, f"{path}.NAME." if "dict" in str(field.annotation) else f"{path}.")


def default(field: Any) -> str:
    """Return a field's default as it would stand in the file."""
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if value is None or isinstance(value, BaseModel):
        return ""
    if isinstance(value, list | tuple):
        return f"``[{', '.join(str(one) for one in value)}]``"
    return f"``{value}``" if str(value) else ""
