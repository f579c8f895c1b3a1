"""The only YAML: read ``site.yaml`` into a `SitePolicy`, with file and key path in every error."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from sgehub.errors import SiteConfigurationError
from sgehub.model.policy import SitePolicy

SIZE_LIMIT: Final = 1024 * 1024  # bytes; a larger file is not a description of a site


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice: the second would win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the signature is PyYAML's
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key "{key}" stands twice', key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_site(path: Path) -> SitePolicy:
    """Read the site's file.

    Raises SiteConfigurationError naming the file, the place and what is wrong; all wrong keys at once.
    """
    return parse_site(_read(path), str(path))


def parse_site(text: str, source: str) -> SitePolicy:
    """Read a site's description from `text`; `source` names it in errors."""
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        raise SiteConfigurationError(f"{source}: {_yaml_sentence(error)}") from None
    if not isinstance(raw, dict):
        raise SiteConfigurationError(f"{source}: expected keys such as cluster, queues and defaults; found none.")
    try:
        return SitePolicy.model_validate(raw)
    except ValidationError as error:
        lines = [f"{_place(one)}: {_sentence(one)}" for one in error.errors(include_url=False)]
        raise SiteConfigurationError(f"{source}: " + "\n".join(lines)) from None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise SiteConfigurationError(f"{path}: larger than {SIZE_LIMIT // 1024} KB; this is not a site file.")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SiteConfigurationError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise SiteConfigurationError(f"{path}: is not UTF-8 text (byte {error.start}).") from None


def _yaml_sentence(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "is not YAML"
    return f"line {mark.line + 1}: {problem}." if mark is not None else f"{problem}."


def _place(error: Any) -> str:
    return ".".join(str(part) for part in error["loc"]) or "the file"


def _sentence(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such key."
    if error["type"] == "missing":
        return "is missing."
    text = str(error["msg"]).removeprefix("Value error, ")
    return text if text.endswith(".") else text + "."
