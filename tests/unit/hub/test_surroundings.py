"""What a request chooses of its server's surroundings, and what becomes of a choice that is gone."""

from __future__ import annotations

from typing import Any

import pytest

from sgehub.hub.surroundings import command, job_script, variables
from sgehub.script import render_job_script
from tests.unit.model.site import site

SITE = site(
    environments={
        "base": {"path": ["/opt/base/bin"]},
        "ml": {
            "path": ["/opt/ml/bin"],
            "modules": ["cuda"],
            "conda": "/opt/conda/envs/ml",
            "prologue": "echo ml",
            "epilogue": "echo bye",
            "default_url": "/tree",
        },
        "image": {"container": ["apptainer", "exec", "/images/a b.sif"]},
    },
    interfaces={"lab": {"url": "/lab"}, "terminal": {"url": "/terminals/1"}},
    session={"path": ["/opt/site/bin"], "prologue": "echo site", "epilogue": "echo end"},
    working_folders=["{home}", "/scratch"],
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"JUPYTERHUB_DEFAULT_URL": "/lab"}),
        ({"interface": "terminal", "environment": "ml"}, {"JUPYTERHUB_DEFAULT_URL": "/terminals/1"}),
        ({"environment": "ml"}, {"JUPYTERHUB_DEFAULT_URL": "/tree"}),
        ({"interface": "", "environment": "ml"}, {"JUPYTERHUB_DEFAULT_URL": "/tree"}),
        ({"interface": "gone", "environment": "ml"}, {"JUPYTERHUB_DEFAULT_URL": "/tree"}),
        ({"interface": "gone"}, {"JUPYTERHUB_DEFAULT_URL": "/lab"}),
        ({"interface": "lab", "environment": "ml"}, {"JUPYTERHUB_DEFAULT_URL": "/lab"}),
        ({"folder": "a/b"}, {"JUPYTERHUB_DEFAULT_URL": "/lab", "JUPYTERHUB_ROOT_DIR": "~/a/b"}),
        ({"folder": "~/a"}, {"JUPYTERHUB_DEFAULT_URL": "/lab", "JUPYTERHUB_ROOT_DIR": "~/a"}),
        ({"folder": "~"}, {"JUPYTERHUB_DEFAULT_URL": "/lab", "JUPYTERHUB_ROOT_DIR": "~/"}),
        ({"folder": "/scratch/x"}, {"JUPYTERHUB_DEFAULT_URL": "/lab", "JUPYTERHUB_ROOT_DIR": "/scratch/x"}),
    ],
)
def test_the_server_is_told_its_page_and_its_folder(options: dict[str, Any], expected: dict[str, str]) -> None:
    """An interface that was chosen comes before what an environment opens with, which comes before the first."""
    assert variables(SITE, options) == expected


def test_a_plain_site_tells_the_server_nothing() -> None:
    """What JupyterHub's own settings say stays."""
    assert variables(site(), {}) == {}
    assert command(site(), {}, ["jupyterhub-singleuser"]) == ["jupyterhub-singleuser"]


def test_a_container_is_put_before_the_servers_command() -> None:
    """Word by word; an environment that is gone is as the site's session alone."""
    words = ["jupyterhub-singleuser", "--x"]
    assert command(SITE, {"environment": "image"}, words) == ["apptainer", "exec", "/images/a b.sif", *words]
    assert command(SITE, {"environment": "gone"}, words) == words


def test_the_script_has_the_lines_of_the_site_and_of_the_environment() -> None:
    """In the order in which each can rely on the one before; afterwards in the other."""
    request = SITE.parse({"environment": "ml"})
    job = job_script(
        SITE, request, home="/home/x", launch_file="/home/x/1.json", prologue="echo c", epilogue="echo d"
    )
    assert job.path == ["/opt/ml/bin", "/opt/site/bin"]
    assert job.prologue == "echo site\necho ml\necho c"
    assert job.epilogue == "echo d\necho bye\necho end"
    assert (job.modules, job.conda) == (["cuda"], "/opt/conda/envs/ml")
    assert "/opt/base/bin" in render_job_script(
        job_script(SITE, SITE.defaults, home="/home/x", launch_file="/home/x/1.json")
    )
