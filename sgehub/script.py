"""Render job scripts: the only Jinja outside the hub's pages, which take its environment from here.

Undefined names are errors, and everything that is not the site's own text is quoted for the shell. Nothing a
person typed is among the values: a request's numbers go on qsub's command line.
"""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Final

from jinja2 import (
    BytecodeCache,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateSyntaxError,
)
from jinja2.bccache import Bucket

from sgehub.errors import SiteConfigurationError

# What a site's template may end in; the others are errors of expressions in it.
TEMPLATE_ERRORS: Final = (TemplateError, TypeError, ValueError, AttributeError, LookupError, ArithmeticError)
TEMPLATE: Final = "job/session.sh.j2"


@dataclass(frozen=True, slots=True)
class JobScript:
    """What a job script is made of. Paths are absolute; prologue and epilogue are lines of bash."""

    home: str
    python: str
    program: str
    launch_file: str
    path: Sequence[str] = ()
    modules: Sequence[str] = ()
    conda: str | None = None
    prologue: str = ""
    epilogue: str = ""

    @property
    def command(self) -> str:
        """The session program's command line, quoted. -I: PYTHONPATH and the like do not reach it."""
        return shlex.join([self.python, "-I", self.program, self.launch_file])

    @property
    def standalone_command(self) -> str:
        """The same for a script that is not ours, with the site's folders before PATH."""
        folders = ":".join(shlex.quote(folder) for folder in self.path)
        return f'env PATH={folders}:"$PATH" {self.command}' if folders else self.command


class _Compiled(BytecodeCache):
    """Compiled templates, by name and file, for as long as their text stays as it was.

    Compiling the job script's takes 3 ms, at each start, in the event loop of the hub.
    """

    def __init__(self) -> None:
        self._codes: dict[str, tuple[str, CodeType | None]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Take what was compiled of this very text."""
        checksum, code = self._codes.get(bucket.key, ("", None))
        if checksum == bucket.checksum:
            bucket.code = code

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled, in the place of an earlier text."""
        self._codes[bucket.key] = (bucket.checksum, bucket.code)


_COMPILED: Final = {html: _Compiled() for html in (False, True)}  # escaping is compiled in


def environment(folders: Sequence[Path | str] = (), *, html: bool = False) -> Environment:
    """Return the Jinja environment: a site's `folders` first, then the templates that come with sgehub.

    With `html` every value is escaped for a page; without, it is for shell, where the filter sh quotes.
    """
    loaders = [FileSystemLoader(folders), PackageLoader("sgehub", "templates")]
    env = Environment(
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        autoescape=html,  # noqa: S701 - shell is no HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=not html,
        bytecode_cache=_COMPILED[html],
    )
    env.filters["sh"] = shlex.quote
    return env


def failure(error: Exception, name: str) -> str:
    """Say which template has failed and how, "FILE, line N: what"; `name` is said where Jinja knows no file.

    An included template is named itself.
    """
    if isinstance(error, TemplateSyntaxError):
        return f"{error.filename or name}, line {error.lineno}: {str(error.message).rstrip('.')}."
    frames = [  # Jinja puts the template's own lines into the traceback, and this mark beside them
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if "__jinja_exception__" in frame.f_globals
    ]
    file, line = frames[-1] if frames else (name, 0)
    where = name if file == "<template>" else file  # what was no file has none
    return f"{where}, line {line}: {error}." if line else f"{where}: {error}."


def render_job_script(job: JobScript, folders: Sequence[Path] = ()) -> str:
    """Return the text of the job script.

    Raises SiteConfigurationError naming template and line when a site's template fails.
    """
    env = environment(folders)
    return _render(TEMPLATE, lambda: env.get_template(TEMPLATE), {"job": job})


def render_batch_script(source: str, variables: Mapping[str, str]) -> str:
    """Render a `batch_script` written for batchspawner, with fixed variables that no request can override.

    Jinja if it holds "{{" or "{%", else str.format, as in batchspawner. Raises SiteConfigurationError.
    """
    if "{{" in source or "{%" in source:
        env = environment()
        return _render("batch_script", lambda: env.from_string(source), variables)
    try:
        return source.format(**variables)
    except (KeyError, IndexError, ValueError) as error:
        raise SiteConfigurationError(
            f"batch_script: {error} is not among the variables {', '.join(sorted(variables))}; "
            "write {{ and }} for literal braces."
        ) from None


def _render(name: str, load: Callable[[], Template], values: Mapping[str, object]) -> str:
    try:
        return load().render(values)
    except TEMPLATE_ERRORS as error:
        raise SiteConfigurationError(f"The job script cannot be rendered: {failure(error, name)}") from None
