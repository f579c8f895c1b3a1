"""Environments, interfaces and folders on a real cluster: the server runs in what its person has chosen."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from sgehub.lab.cluster import Lab
from tests.lab.conftest import Site, running_hub

SMALL = {"memory": "1G", "runtime": "00:30:00"}
ENVIRONMENTS = {
    "plain": {},
    "full": {
        "label": "Everything",
        "prologue": "export FLAVOUR=full",
        "epilogue": 'echo "epilogue of $FLAVOUR" > "$HOME/epilogue"',
        "container": ["/bin/sh", "-c", 'echo "container of $FLAVOUR" > "$HOME/container"; exec "$@"', "sh"],
        "default_url": "/terminals/1",
    },
    "broken": {"modules": ["no/such"]},
    "nowhere": {"conda": "/opt/no-such-environment"},
}


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Site]:
    """Run a hub whose site offers environments, interfaces and folders of the home."""
    changes = {
        "environments": ENVIRONMENTS,
        "interfaces": {"lab": {"url": "/lab"}, "files": {"url": "/tree/data"}, "document": {"url": "/doc"}},
        "working_folders": ["{home}"],
    }
    with running_hub(lab, site=changes) as running:
        yield running


def test_a_session_runs_in_the_environment_the_folder_and_the_page_that_were_chosen(site: Site):
    """Prologue before, container around, epilogue after the server; it opens where its person wanted."""
    home = site.home("alice")
    folder = home / "work" / "first try"
    folder.mkdir(parents=True)
    (folder / "data.txt").write_text("1\n")
    owner = home.stat()
    for one in (folder.parent, folder, folder / "data.txt"):
        os.chown(one, owner.st_uid, owner.st_gid)
    alice = site.person("alice")
    wanted = {**SMALL, "environment": "full", "interface": "files", "folder": "work/first try"}
    assert alice.start(wanted).status in (201, 202)
    alice.wait_until(ready=True)
    listing = alice.open("/user/alice/api/contents", Authorization=f"token {alice.token}")
    assert [one["name"] for one in json.loads(listing.text)["content"]] == ["data.txt"]
    page = alice.open("/user/alice/", Authorization=f"token {alice.token}")
    assert page.url.endswith("/user/alice/tree/data")
    assert (home / "container").read_text() == "container of full\n"
    alice.stop()
    site.wait_for_jobs(0)
    assert (home / "epilogue").read_text() == "epilogue of full\n"


def test_an_interface_can_be_jupyterlab_with_one_document(site: Site):
    """The page of the sample site's second interface opens, and is JupyterLab's."""
    carol = site.person("carol")
    assert carol.start({**SMALL, "interface": "document"}).status in (201, 202)
    carol.wait_until(ready=True)
    page = carol.open("/user/carol/", Authorization=f"token {carol.token}")
    assert (page.status, page.url.endswith("/user/carol/doc")) == (200, True)
    assert "<title>JupyterLab</title>" in page.text
    assert '"mode": "single-document"' in page.text
    carol.stop()
    site.wait_for_jobs(0)


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"environment": "broken"}, "the module no/such cannot be loaded on "),
        ({"environment": "nowhere"}, "the conda environment /opt/no-such-environment is not on "),
        (
            {"folder": "no/such"},
            "there is no folder /home/bob/no/such on this host; choose another working folder.",
        ),
    ],
)
def test_what_is_not_there_is_said_to_the_person(site: Site, wish: dict[str, str], words: str):
    """The start fails with the job's own words."""
    bob = site.person("bob")
    bob.start({**SMALL, **wish})
    said = bob.progress()[-1]
    assert said.get("failed")
    assert words in said["message"] + said.get("html_message", "")
    site.wait_for_jobs(0)
