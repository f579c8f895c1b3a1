"""The floors of the house hold: imports go downwards only, and each library of others has one home.

Two tables say what is allowed; whatever they do not name is not. They keep the floor plan of
docs/topic/architecture.rst true.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).resolve().parents[2] / "sgehub"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Floor 0: meanings and decisions. Floor 1: one outside thing each, and they do not know each other.
GROUND = ("model", "errors")
DOORS = ("gridengine", "script", "directory", "usage", "siteconfig", "history", "maintenance")

# A room is a module or package directly in sgehub. It may import itself and:
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "": (),  # sgehub itself
    "errors": (),
    "templates": (),
    "model": ("errors",),
    **dict.fromkeys(DOORS, GROUND),
    "usage": ("errors",),  # runs in the session's process, which is to stay small: not the model
    "hub": (*DOORS, *GROUND),
    "session": ("usage",),  # runs in the job, from whatever the site put there
    "asuser": (),  # runs as the person, by a bare Python
    "lab": (*DOORS, *GROUND),
    "cli": ("hub", "lab", "session", "asuser", *DOORS, *GROUND),
}

# Where a library of others may be imported.
HOMES: dict[str, tuple[str, ...]] = {
    "jinja2": ("script", "hub"),
    "aiohttp": ("hub",),  # JupyterHub's own client of the proxy
    "jupyterhub": ("hub",),
    "tornado": ("hub",),
    "traitlets": ("hub",),
    "batchspawner": ("hub",),
    "wrapspawner": ("hub",),
    "prometheus_client": ("hub",),
    "ldapauthenticator": ("hub",),
    "ldap3": ("directory",),
    "psutil": ("usage",),
    "yaml": ("siteconfig",),
    "sqlalchemy": (
        "history",
        "hub",
    ),  # hub: the session of JupyterHub's own records, to commit a job's number
    "dateutil": ("maintenance",),
    "pydantic_core": ("model",),  # pydantic's own errors, with more to say than a text
    "pydantic": (
        "model",
        "siteconfig",
    ),  # siteconfig: pydantic's ValidationError, to name the key of the site's file
}


def room_of(module: str) -> str:
    """Return the room of a dotted name: "gridengine" of "sgehub.gridengine.client", "" of "sgehub"."""
    return module.partition(".")[2].partition(".")[0]


def dotted_name(path: Path) -> str:
    parts = ("sgehub", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(source: str, module: str, *, package: bool) -> Iterator[str]:
    """Yield the absolute name of everything a module imports, also in functions and for the type checker."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[
                : None if package and node.level == 1 else (1 if package else 0) - node.level
            ]
            origin = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
            # `from sgehub import model` names the room only in its second half
            yield from (f"{origin}.{alias.name}" for alias in node.names) if origin == "sgehub" else (origin,)


def violations(source: str, module: str, *, package: bool = False) -> list[str]:
    """List what a module imports against the two tables."""
    room = room_of(module)
    wrong = []
    for name in imports(source, module, package=package):
        top = name.partition(".")[0]
        if top == "sgehub":
            target = room_of(name)
            known = target in MAY_IMPORT or (PACKAGE / target).is_dir()
            if known and target not in (room, "", *MAY_IMPORT[room]):
                wrong.append(f"{module} imports {name}, which is not below it")
        elif top not in sys.stdlib_module_names and room not in HOMES.get(top, ()):
            wrong.append(f"{module} imports {name}, whose home is {HOMES.get(top, 'nowhere')}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=dotted_name)
def test_imports_go_downwards_and_libraries_stay_at_home(path: Path) -> None:
    """A module imports its own room, what its floor may see, and the libraries that live with it."""
    assert violations(path.read_text(), dotted_name(path), package=path.name == "__init__.py") == []


def test_every_room_is_on_the_plan() -> None:
    """A new room in sgehub/ is entered in the table before anything can live in it."""
    assert {room_of(dotted_name(path)) for path in MODULES} <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sgehub.model.job", "from sgehub.gridengine import client"),
        ("sgehub.model.job", "import sgehub.hub.spawner"),
        ("sgehub.model.job", "from sgehub import script"),
        ("sgehub.model.job", "from ..gridengine import argv"),
        ("sgehub.model.job", "from .. import usage"),
        ("sgehub.model.job", "def late():\n    import jinja2"),
        ("sgehub.gridengine.client", "from sgehub.siteconfig import load_site"),
        ("sgehub.gridengine.client", "if TYPE_CHECKING:\n    from sgehub.hub.spawner import SGESpawner"),
        ("sgehub.gridengine.client", "import yaml"),
        ("sgehub.script", "from sgehub import gridengine"),
        ("sgehub.hub.spawner", "from sgehub.lab import lab"),
        ("sgehub.hub.spawner", "import ldap3"),
        ("sgehub.lab.cluster", "from sgehub.hub.form import render_form"),
        ("sgehub.session.main", "from sgehub.errors import SgehubError"),
        ("sgehub.session.main", "import psutil"),
        ("sgehub.asuser", "from sgehub.model import names"),
        ("sgehub.asuser", "import requests"),
        ("sgehub.cli", "import a_library_without_a_home"),
    ],
)
def test_a_breach_is_seen(module: str, source: str) -> None:
    """Each kind of forbidden import is found, wherever in the module and however it is written."""
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "sgehub.model.job",
            "from sgehub.model.units import Memory\nfrom sgehub.errors import SgehubError\nimport pydantic",
        ),
        ("sgehub.model.job", "from .units import Memory\nfrom . import names"),
        (
            "sgehub.gridengine.client",
            "from sgehub import __version__\nfrom sgehub.model.job import Job\nimport asyncio",
        ),
        (
            "sgehub.hub.spawner",
            "from jupyterhub.spawner import Spawner\nfrom sgehub import gridengine, script",
        ),
        (
            "sgehub.session.main",
            "from sgehub.usage import Usage\nfrom sgehub.session.server import run\nimport json",
        ),
        ("sgehub.asuser", "import json, os"),
        ("sgehub.cli", "from sgehub.lab import demo\nfrom sgehub.hub import configure"),
    ],
)
def test_the_plan_itself_is_no_breach(module: str, source: str) -> None:
    """What the plan allows is not reported."""
    assert violations(source, module) == []
