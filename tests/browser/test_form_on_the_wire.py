"""The form as the hub answers it: every refusal is a 400 with reasons, and nothing but Start starts anything."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.unit.hub.html import Page

if TYPE_CHECKING:
    import requests

    from .hub_process import HubProcess, Person
    from .paper_cluster import PaperCluster

FRESH = {"cores": "1", "gpus": "0", "memory": "2G", "runtime": "01:00:00", "queue": ""}
GOOD = {"cores": "2", "gpus": "1", "memory": "4G", "runtime": "00:30:00", "queue": "gpu.q"}
BAD = {"cores": "4 apples", "gpus": "-1", "memory": "$(id)", "runtime": "soon", "queue": "<b>"}

HOSTILE = (
    "0",
    "-1",
    "1" + "0" * 30,
    "4 apples",
    "1\n2",
    "\x00",
    "\x1b[2J",
    "\"'><script>alert(1)</script>",
    "$(reboot)",
    "`reboot`",
    "\u0664",
    "\uff12",
    "\u202e2",
    "{{ 7 * 7 }}",
    "x" * 4000,
)


def form_of(answer: requests.Response) -> Page:
    found = re.search(r'<form id="spawn_form".*?</form>', answer.text, re.DOTALL)
    assert found, answer.text
    return Page(found[0])


def shown(answer: requests.Response) -> dict[str, str]:
    values = form_of(answer).values()
    values.pop("_xsrf")
    return values


def notice(answer: requests.Response) -> bool:
    return 'class="sgehub-notice"' in answer.text


@pytest.fixture(params=["hub/spawn", "hub/spawn/{name}", "hub/spawn/{name}/second"])
def address(request: pytest.FixtureRequest) -> str:
    """Give the form's address in each of its forms; the last one is a named server's."""
    return str(request.param)


@pytest.fixture
def games(person: Callable[[str], Person]) -> Person:
    """Log somebody in who starts nothing."""
    return person("games")


@pytest.fixture(autouse=True)
def nothing_started(cluster: PaperCluster) -> object:
    """Fail every test of this file after which a job was submitted."""
    before = cluster.submitted()
    yield
    assert cluster.submitted() == before


def test_a_fresh_form_shows_the_defaults(games: Person, address: str) -> None:
    """200, no message, the token in a field and not in the address."""
    answer = games.get(address.format(name="games"))
    assert answer.status_code == 200
    assert shown(answer) == FRESH
    assert "alert" not in {one for element in form_of(answer).elements for one in element.attributes.values()}
    assert '<div class="alert' not in answer.text
    (form,) = (one for one in form_of(answer).elements if one.tag == "form")
    assert form.attributes["action"] == "/" + address.format(name="games")


def test_a_refused_form_keeps_all_values_with_each_reason_beside_its_field(games: Person, address: str) -> None:
    """On default and named servers alike; and the next form on the same connection is a fresh one."""
    path = address.format(name="games")
    answer = games.post(path, BAD)
    assert answer.status_code == 400
    assert shown(answer) == BAD
    reasons = form_of(answer).reasons()
    assert set(reasons) == set(BAD)
    assert reasons["cores"].startswith('"4 apples" is not a whole number.')
    assert reasons["memory"].startswith('"$(id)" is not an amount of memory.')
    assert answer.text.count("Nothing was started.") == 1
    assert ("<strong>second</strong>" in answer.text) is path.endswith("/second")
    assert shown(games.get(path)) == FRESH


def test_reasons_that_concern_no_single_field_are_on_top(games: Person) -> None:
    """What no queue offers together, and fields that do not exist."""
    answer = games.post("hub/spawn", {**GOOD, "queue": "", "runtime": "40:00:00", "gpus": "2"})
    assert answer.status_code == 400
    assert "No queue offers all of this together" in form_of(answer).id("request-refused").text
    answer = games.post("hub/spawn", {**GOOD, "colour": "red"})
    assert answer.status_code == 400
    assert 'There is no field "colour"' in form_of(answer).id("request-refused").text
    assert shown(answer) == GOOD


def test_an_uploaded_file_is_refused(games: Person) -> None:
    """The form has no file; one that comes is no field."""
    answer = games.post("hub/spawn", GOOD, files={"memory": ("a.txt", b"8G")})
    assert answer.status_code == 400
    assert 'There is no field "memory_file"' in form_of(answer).id("request-refused").text


def test_a_link_fills_the_form_and_starts_nothing(games: Person, address: str) -> None:
    """However often it is followed; what it does not name keeps its default."""
    path = address.format(name="games")
    for _ in range(2):
        answer = games.get(f"{path}?opt-cores=2&opt-memory=4G&opt-queue=long.q")
        assert answer.status_code == 200
        assert shown(answer) == {**FRESH, "cores": "2", "memory": "4G", "queue": "long.q"}
        assert notice(answer)
    assert shown(games.get(path)) == FRESH


@pytest.mark.parametrize(
    ("query", "values", "says_so"),
    [
        ("opt-cores=2&_xsrf=token", {**FRESH, "cores": "2"}, True),
        ("opt-cores=3&opt-cores=2", {**FRESH, "cores": "2"}, True),
        ("opt-cores=2&next=%2Fhub%2Fhome", {**FRESH, "cores": "2"}, True),
        ("opt-cores=2&cores=5", {**FRESH, "cores": "2"}, True),
        ("_xsrf=token", FRESH, False),
        ("cores=2", FRESH, False),
        ("cores=2&memory=1T&utm_source=x", FRESH, False),
    ],
)
def test_only_options_count_in_a_link(games: Person, query: str, values: dict[str, str], *, says_so: bool) -> None:
    """JupyterHub's own arguments, and those of others, fill nothing and are no mistake."""
    answer = games.get(f"hub/spawn?{query}")
    assert answer.status_code == 200
    assert shown(answer) == values
    assert notice(answer) is says_so


def test_where_to_go_next_survives_the_form(games: Person) -> None:
    """The form leads on to where the person came from; the rest of the address is not sent again."""
    answer = games.get("hub/spawn?opt-cores=2&next=%2Fuser%2Fgames%2Flab%3Fx%3D%22&_xsrf=token")
    (form,) = (one for one in form_of(answer).elements if one.tag == "form")
    assert form.attributes["action"] == "/hub/spawn?next=%2Fuser%2Fgames%2Flab%3Fx%3D%22"


def test_a_link_that_asks_for_too_much_is_refused(games: Person, address: str) -> None:
    """With 400 and the reasons, as by form."""
    answer = games.get(f"{address.format(name='games')}?opt-cores=99&opt-runtime=99:00:00&opt-gpus=x")
    assert answer.status_code == 400
    assert shown(answer) == {**FRESH, "cores": "99", "runtime": "99:00:00", "gpus": "x"}
    assert "gpus" in form_of(answer).reasons()
    answer = games.get("hub/spawn?opt-colour=red")
    assert answer.status_code == 400
    assert 'There is no field "colour"' in form_of(answer).id("request-refused").text


# This site offers none of these: no page shows them until they are wrong.
NOT_OFFERED = ("pe", "environment", "interface", "folder", "mail", "reservation", "preset", "extra.disk", "colour")


@pytest.mark.parametrize("field", ["cores", "memory", "gpus", "runtime", "queue", *NOT_OFFERED])
def test_hostile_values_are_refused_the_same_by_form_and_link(games: Person, hub: HubProcess, field: str) -> None:
    """400 by every way in, with the same reasons, and never as markup; the REST API says the same words."""
    for value in HOSTILE[:: 3 if field in NOT_OFFERED else 1]:
        if (field, value) in {("gpus", "0"), ("queue", "")}:
            continue
        posted = games.post("hub/spawn", {**GOOD, field: value})
        linked = games.get(
            "hub/spawn", params={f"opt-{name}": one for name, one in {**GOOD, field: value}.items()}
        )
        by_rest = hub.api("POST", "users/games/server", json={"user_options": {**GOOD, field: value}})
        assert (posted.status_code, linked.status_code, by_rest.status_code) == (400, 400, 400), value
        assert form_of(posted).reasons() == form_of(linked).reasons()
        assert "<script>alert" not in posted.text + linked.text
        said = html.unescape(re.sub(r"<[^>]+>", " ", posted.text))
        for reason in [by_rest.json()["message"]] if field in NOT_OFFERED else form_of(posted).reasons().values():
            assert " ".join(reason.split()) in " ".join(said.split())


def test_large_input_is_refused_quickly(games: Person) -> None:
    """A form of a megabyte, a link of 8 KB: 400, a small page, and what fits of the value."""
    began = time.monotonic()
    posted = games.post("hub/spawn", {**GOOD, "memory": "9" * 1_000_000})
    linked = games.get("hub/spawn?opt-memory=" + "9" * 7500)
    assert time.monotonic() - began < 5
    for answer, length in ((posted, "1,000,000"), (linked, "7,500")):
        assert answer.status_code == 400
        assert len(answer.text) < 60_000
        assert shown(answer)["memory"] == "9" * 200
        assert f"Only the first 200 of {length} characters" in form_of(answer).reasons()["memory"]


def test_a_form_of_another_site_is_refused(games: Person) -> None:
    """Without the token of the page there is no start."""
    assert games.post("hub/spawn", {**GOOD, "_xsrf": "guess"}).status_code == 403
