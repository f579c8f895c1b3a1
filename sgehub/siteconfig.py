"""The only YAML: read ``site.yaml`` into a `SitePolicy`, with file and key path in every error."""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from sgehub.errors import SiteConfigurationError
from sgehub.model import names, sitechoices
from sgehub.model.policy import SitePolicy
from sgehub.model.sitevalues import model_inside

Lines = dict[tuple[str, ...], int]  # where in the file each key stands, from 1
_MERGE: Final = "tag:yaml.org,2002:merge"  # "<<", which brings keys that may stand here, too
_WORDS: Final = {  # pydantic's kind of error -> what to do
    "string_type": "write text, and numbers in quotes",
    "string_too_long": "write no more than {max_length} characters",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "decimal_type": "write a number, for example 1.5",
    "decimal_parsing": "write a number, for example 1.5",
    "tuple_type": "write a list in brackets",
    "too_long": "write no more than {max_length}",
    "too_short": "name at least {min_length}",
    "list_type": "write a list in brackets",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "greater_than_equal": "write {ge} or more",
    "less_than_equal": "write {le} or less",
}
_PATTERNS: Final = {  # the pattern that text does not match -> what to do
    f"^{names.OBJECT.pattern}$": "is no such name: write letters, digits and . _ - only, no sign first",
    f"^{names.HOST.pattern}$": "is not the name of a host: write letters, digits and dashes, dots between",
    f"^{names.USER.pattern}$": "is not the name of an account or a group",
    f"^{names.RESOURCE_VALUE.pattern}$": "cannot be a value for qsub: write letters, digits and _ . : + / - only",
    sitechoices.MODULE: "is no name of a module: write NAME or NAME/VERSION, of letters, digits and . _ + - /",
    sitechoices.URL_PATH: "is no page of a server: write its path from / on, for example /lab, without blanks",
    sitechoices.MAIL_MOMENTS: "write one or several of the letters b, e and a",
}
SIZE_LIMIT: Final = 1024 * 1024  # bytes; a larger file is not a description of a site


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice: the second would win in silence.

    What has a colon is text: YAML 1.1 would read 48:00 as 48 times 60.
    """

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> Any:
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call] # PyYAML is untyped
        is_text = kind is yaml.ScalarNode and implicit[0] and ":" in value
        return self.DEFAULT_SCALAR_TAG if is_text else tag

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the signature is PyYAML's
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{key}" stands twice', key_node.start_mark
                )
            if isinstance(key, Hashable):
                seen.add(key)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class SiteFile:
    """A site's file that has been read: what it says, and where."""

    policy: SitePolicy
    source: str
    lines: Lines

    def place(self, *path: str) -> str:
        """Return "FILE, line N: KEY" of a key, of the nearest one above it where it stands by default."""
        return _place(path, self.source, self.lines)


def load_site(path: Path) -> SitePolicy:
    """Read the site's file.

    Raises SiteConfigurationError naming the file, the place and what is wrong; all wrong keys at once.
    """
    return read_site(_read(path), str(path)).policy


def open_site(path: Path) -> SiteFile:
    """Read the site's file, and remember where each key stands. Raises as `load_site`."""
    return read_site(_read(path), str(path))


def quoted(text: str) -> str:
    """Return text as YAML reads it back: in quotes where it would be something else, such as "on" or "1e5"."""
    try:
        same = yaml.safe_load(text) == text and yaml.safe_load(f"[{text}]") == [text]
    except (yaml.YAMLError, ValueError):
        same = False
    return text if same else json.dumps(text)


def read_site(text: str, source: str) -> SiteFile:
    """Read a site's description from `text`; `source` names it in errors."""
    try:
        raw, lines = _load(text)
    except yaml.YAMLError as error:
        raise SiteConfigurationError(_yaml_sentence(error, source)) from None
    except ValueError as error:
        raise SiteConfigurationError(f"{source}: a value that YAML cannot read: {str(error)[:200]}.") from None
    except RecursionError:
        raise SiteConfigurationError(f"{source}: nested too deeply to be a site's description.") from None
    if not isinstance(raw, dict):
        raise SiteConfigurationError(f"{source}: expected keys such as cluster, queues and defaults; found none.")
    try:
        return SiteFile(SitePolicy.model_validate(raw), source, lines)
    except ValidationError as error:
        found = [_mistake(one, source, lines) for one in error.errors(include_url=False)]
        raise SiteConfigurationError("\n".join(found)) from None


def _load(text: str) -> tuple[object, Lines]:
    """Return what the text says, and on which line each key stands."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines: Lines = {}
        _note_lines(node, (), lines)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _note_lines(node: yaml.Node, path: tuple[str, ...], lines: Lines) -> None:
    if path in lines:
        return  # a second key of that name, which is refused, or an anchor that holds itself
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            _note_lines(value, below, lines)
            lines[below] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _note_lines(value, (*path, str(number)), lines)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise SiteConfigurationError(f"{path}: larger than {SIZE_LIMIT // 1024} KB; this is not a site file.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SiteConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise SiteConfigurationError(f"{path}: is not UTF-8 text (byte {error.start}).") from None


def _yaml_sentence(error: yaml.YAMLError, source: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "this is not YAML"
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces only"
    return f"{source}, line {mark.line + 1}: {problem}." if mark is not None else f"{source}: {problem}."


def _mistake(error: Any, source: str, lines: Lines) -> str:
    """Translate one of pydantic's findings: file, line, key, and what is allowed there."""
    path = tuple(str(part) for part in (*error["loc"], *error.get("ctx", {}).get("below", ())))
    return f"{_place(path, source, lines)}: {_sentence(error, path)}"


def _place(path: tuple[str, ...], source: str, lines: Lines) -> str:
    path = _in_file(path, lines)
    known = next(path[:length] for length in range(len(path), -1, -1) if path[:length] in lines)
    place = ".".join(part for part in path if part != "[key]") or "the file"
    return f"{source}, line {lines[known]}: {place}"


def _in_file(path: tuple[str, ...], lines: Lines) -> tuple[str, ...]:
    """Return a finding's path as the file has it: one thing may stand where a list of them is read."""
    found: tuple[str, ...] = ()
    for part in path:
        if not (part.isdigit() and (*found, part) not in lines and found in lines):
            found = (*found, part)
    return found


def _sentence(error: Any, path: tuple[str, ...]) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        keys = _keys(path[:-1])
        near = get_close_matches(path[-1], keys, 1)
        return (
            f'there is no such key. Did you mean "{near[0]}"?'
            if near
            else (f"there is no such key. Keys here are: {', '.join(keys)}.")
        )
    if kind == "missing":
        return f"is missing. {_described(path)}".rstrip()
    if kind in {"model_type", "dict_type"}:
        keys = _keys(path)
        return f"expected keys below it: {', '.join(keys)}." if keys else "expected names with keys below them."
    if kind in {"value_error", "site"}:
        text = str(error["msg"]).removeprefix("Value error, ")
        return text if text.endswith((".", "?")) else f"{text}."
    if kind in {"tuple_type", "list_type"} and (keys := _keys(path)):
        return f"write a list of entries with these keys: {', '.join(keys)}. {_described(path)}"
    ctx = error.get("ctx", {})
    if kind in _WORDS:
        words = _WORDS[kind].format_map(ctx)
    else:
        said = str(error["msg"]).replace("Input should be", "write").rstrip(".")
        words = _PATTERNS.get(ctx.get("pattern", ""), said)
    return f"{words}. {_described(path)}".rstrip()


def _keys(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that are allowed below a place of the file, none where names are the site's own."""
    model, is_name = _model(path)
    return () if model is None or is_name else tuple(model.model_fields)


def _described(path: tuple[str, ...]) -> str:
    """Return what the reference says of a key, "" where it says nothing."""
    model, _ = _model(path[:-1])
    field = model.model_fields.get(path[-1]) if model is not None and path else None
    return (field.description or "") if field is not None else ""


def _model(path: tuple[str, ...]) -> tuple[type[BaseModel] | None, bool]:
    """Return the model of a place, and whether its keys are names of the site's own."""
    model: type[BaseModel] | None = SitePolicy
    own = False
    for part in path:
        if own or part.isdigit():
            own = False
            continue
        field = model.model_fields.get(part) if model is not None else None
        model = None if field is None else model_inside(field.annotation)
        own = field is not None and "dict[" in str(field.annotation)
    return model, own
