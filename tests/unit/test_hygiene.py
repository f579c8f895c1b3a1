"""The checkout keeps its own house rules: what a linter does not see, and what documents promise."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tokenize
from configparser import ConfigParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("sgehub", "templates", "tests", "bench", "config", "docs", "scripts")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and not {"__pycache__", "_build", "data"} & set(path.parts)  # data: what Grid Engine said
)
PYTHON = [path for path in SOURCES if path.suffix == ".py"]
OURS = [path for path in PYTHON if path.is_relative_to(ROOT / "sgehub")]

EXCEPTION = re.compile(r"#\s*(noqa\b|type:\s*ignore|mypy:|pragma:|ruff:)")
EXCEPTION_WITH_REASON = re.compile(
    r"# (noqa: [A-Z]+\d+(, ?[A-Z]+\d+)*|type: ignore\[[a-z-]+(, ?[a-z-]+)*\]|pragma: no (cover|branch))"
    r" +(- |# )\w.{3,}"  # the reason
)
# Assembled, so that this file does not hold them itself.
FORBIDDEN = re.compile(
    "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX" + r"\b", "HA" + "CK", "breakpoint" + r"\("])
)
MOST_LINES = 300
LONGER = {"sgehub/asuser.py": "is installed alone on submit hosts, so it cannot be divided"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def unreasoned(comment: str) -> bool:
    """Whether a comment switches a check off without saying why."""
    return bool(EXCEPTION.search(comment)) and not EXCEPTION_WITH_REASON.search(comment)


def make_targets() -> set[str]:
    listing = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
    )
    return set(re.findall(r"^make ([a-z-]+)", listing.stdout, re.MULTILINE))


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_every_lint_exception_says_why(path: Path) -> None:
    """A noqa, a type: ignore or a pragma names its rule and carries its reason on the line."""
    assert [f"{path.name}:{line} {comment}" for line, comment in comments(path) if unreasoned(comment)] == []


@pytest.mark.parametrize(
    ("comment", "wrong"),
    [
        ("# why this is so", False),
        ("# no" + "qa: S603 - the list is ours", False),
        ("# no" + "qa: S603, S607 - the list is ours", False),
        ("# type: " + "ignore[misc] # traitlets has no types", False),
        ("# prag" + "ma: no cover - runs in the job only", False),
        ("# no" + "qa", True),
        ("# no" + "qa: S603", True),
        ("# no" + "qa: S603 -", True),
        ("# type: " + "ignore", True),
        ("# type: " + "ignore[misc]", True),
        ("# ruff: no" + "qa", True),
    ],
)
def test_a_lint_exception_without_reason_is_seen(comment: str, *, wrong: bool) -> None:
    """The check above sees what it is for."""
    assert unreasoned(comment) is wrong


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_nothing_is_left_for_later(path: Path) -> None:
    """No file holds a note that work is left: work that is left is in the tracker."""
    text = path.read_bytes().decode("utf-8", "replace") if path.suffix != ".png" else ""
    assert FORBIDDEN.findall(text) == []


@pytest.mark.parametrize("path", OURS, ids=name)
def test_a_module_is_short_and_states_its_law(path: Path) -> None:
    """A module has under 300 lines, or a good reason in the table above, and opens with a docstring."""
    text = path.read_text()
    assert name(path) in LONGER or len(text.splitlines()) < MOST_LINES
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", [path for path in OURS if path.name != "cli.py"], ids=name)
def test_only_the_command_line_prints(path: Path) -> None:
    """No module but the command line's writes to the terminal."""
    assert re.findall(r"^\s*print\(", path.read_text(), re.MULTILINE) == []


def test_the_wheel_holds_everything() -> None:
    """Every package and every file in it is named by setup.cfg: what is forgotten there is missing on clusters."""
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = set(setup["options"]["packages"].split())
    templates = {f"sgehub.{path.parent.name}" for path in ROOT.glob("templates/__init__.py")}
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in OURS if path.name == "__init__.py"}
    assert packages == folders | templates
    held: set[Path] = set()
    for package, patterns in setup["options.package_data"].items():
        folder = (
            ROOT / package.removeprefix("sgehub.") if package in templates else ROOT / package.replace(".", "/")
        )
        held.update(path for pattern in re.split(r"[,\s]+", patterns.strip()) for path in folder.glob(pattern))
    within = [*(ROOT / "sgehub").rglob("*"), *(ROOT / "templates").rglob("*")]
    files = {path for path in within if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert {name(path) for path in files - held} == set()


def test_documents_name_every_make_target() -> None:
    """Each target of `make help` stands in the reference of commands, and nothing else does."""
    reference = (ROOT / "docs/reference/commands.rst").read_text()
    assert set(re.findall(r"^``make ([a-z-]+)", reference, re.MULTILINE)) == make_targets()


@pytest.mark.parametrize("document", ["README.rst", *(name(path) for path in SOURCES if path.suffix == ".rst")])
def test_documents_call_targets_that_exist(document: str) -> None:
    """Whoever copies a `make` command from a document gets no "No rule to make target"."""
    named = set(
        re.findall(r"(?:``|^ +(?:\$ |# |sudo )?)make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE)
    )
    assert named <= make_targets()


def test_the_readme_tests_what_ci_tests() -> None:
    """The command in .ci/run is the README's test command."""
    assert "make test" in (ROOT / "README.rst").read_text()
    assert re.search(r"^exec make test$", (ROOT / ".ci/run").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "body",
    [
        "import pytest\n\ndef test_it():\n    pytest.skip('no reason')\n",
        "import pytest\n\n@pytest.mark.skip(reason='no reason')\ndef test_it():\n    pass\n",
        "import pytest\n\n@pytest.mark.xfail(reason='no reason')\ndef test_it():\n    assert 1 == 2\n",
        "import pytest\n\npytest.importorskip('no_such_library_of_ours')\n",
    ],
    ids=["by call", "by mark", "by expectation", "by module"],
)
def test_a_skip_is_a_failure(tmp_path: Path, body: str) -> None:
    """A test that does not run fails the run, however it got out of it."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(body)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode != 0
    assert "a skip is a failure" in run.stdout
