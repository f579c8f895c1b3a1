"""What the form asks while it changes, as the hub answers it: to the right people, and nothing but forms."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import requests

if TYPE_CHECKING:
    from .hub_process import HubProcess, Person
    from .paper_cluster import PaperCluster

FORM = {"cores": "2", "gpus": "1", "memory": "4G", "runtime": "00:30:00", "queue": "gpu.q"}
TAKEN = 'Job 4 (-l gpu=1) cannot run at host "node03" because it offers only hc:gpu=0.000000'


def body(**changes: str) -> bytes:
    """Return a form's fields. Answers are kept for seconds: each test has a runtime of its own."""
    return json.dumps({**FORM, **changes}).encode()


@pytest.fixture
def games(person: Callable[[str], Person]) -> Person:
    """Log somebody in."""
    return person("games")


def test_each_verdict_has_its_words_and_grid_engines_own(games: Person, cluster: PaperCluster) -> None:
    """Asked as the person, once, by what the gate made of the form."""
    before = cluster.submitted()
    answer = games.ask("sgehub/verdict/games", body(runtime="00:10:01"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json() == {"kind": "now", "sentence": "Could start now.", "details": []}
    ((person, mode, options),) = cluster.verified()
    assert (person, mode) == ("games", "p")
    assert isinstance(options, list)
    assert options[options.index("-q") + 1] == "gpu.q"
    cluster.say("verify-p", TAKEN)
    answer = games.ask("sgehub/verdict/games", body(runtime="00:10:01", cores="1"))
    assert answer.json() == {
        "kind": "waits",
        "sentence": "Would wait: no host of gpu.q has GPUs free now.",
        "details": [TAKEN],
    }
    cluster.say("verify-v", TAKEN)
    assert games.ask("sgehub/verdict/games", body(runtime="00:10:01", cores="3")).json()["kind"] == "never"
    assert games.ask("sgehub/verdict/games", body(runtime="00:10:01", cores="99")).json() == {
        "kind": "refused",
        "sentence": "At most 8 cores in queue gpu.q.",
        "details": [],
    }
    assert [mode for _, mode, _ in cluster.verified()] == ["p", "p", "v", "p", "v"]
    assert cluster.submitted() == before


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"null",
        b"[]",
        b'"cores"',
        b"1",
        b"{",
        b'{"cores": 1}',
        b'{"cores": null}',
        b'{"cores": true}',
        b'{"cores": ["1"]}',
        b'{"cores": {"a": "b"}}',
        b"\xff\xfe",
        b"[" * 16000,
        b'{"cores": "' + b"1" * 70000 + b'"}',
    ],
)
def test_what_is_no_form_is_answered_by_a_sentence(games: Person, cluster: PaperCluster, sent: bytes) -> None:
    """400, nothing is asked, and the hub lives."""
    answer = games.ask("sgehub/verdict/games", sent)
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"].startswith("Send the form's fields as one JSON object of texts")
    assert cluster.verified() == []


@pytest.mark.parametrize(
    "value",
    [
        "$(reboot)",
        "`id`",
        "1\n-l h=evil",
        "\x00",
        "<script>alert(1)</script>",
        "-jsv /tmp/x",
        "\ud800",
        "x" * 9000,
    ],
)
@pytest.mark.parametrize("field", ["cores", "memory", "queue", "nodes"])
def test_what_a_form_may_not_hold_never_reaches_qsub(
    games: Person, cluster: PaperCluster, field: str, value: str
) -> None:
    """The gate says why, in the words of the form, and cuts what it repeats."""
    found = games.ask("sgehub/verdict/games", body(**{field: value})).json()
    assert (found["kind"], cluster.verified()) == ("refused", [])
    assert "<script>" not in found["sentence"] or '"<script>' in found["sentence"]
    assert len(found["sentence"]) < 500


def test_only_a_page_of_the_hub_may_ask_with_the_cookie(games: Person, cluster: PaperCluster) -> None:
    """Another page that the person has open can make no browser ask."""
    for headers in ({"X-XSRFToken": ""}, {"X-XSRFToken": "x" * 20}, {"Content-Type": "text/plain"}):
        assert games.ask("sgehub/verdict/games", body(runtime="00:10:04"), **headers).status_code == 403
    assert games.get("hub/api/sgehub/verdict/games").status_code == 405
    assert cluster.verified() == []


def test_a_named_server_has_an_address_of_its_own(games: Person, cluster: PaperCluster) -> None:
    """Its form leads there; a server that is not there is judged as the default one, and not made."""
    page = games.get("hub/spawn/games/third").text
    assert 'data-address="/hub/api/sgehub/verdict/games/third"' in page
    assert games.ask("sgehub/verdict/games/third", body(runtime="00:10:20")).json()["kind"] == "now"
    assert games.ask("sgehub/verdict/games/nosuch", body(runtime="00:10:21")).json()["kind"] == "now"
    assert len(cluster.verified()) == 2
    servers = games.hub.api("GET", "users/games?include_stopped_servers=1").json()["servers"]
    assert "nosuch" not in servers


def test_nobody_asks_for_others(person: Callable[[str], Person], cluster: PaperCluster) -> None:
    """Only those who may start servers of that person; a person that is not there looks the same to the others."""
    games = person("games")
    person("news")
    for name in ("news", "nobody-there", "root"):
        assert games.ask(f"sgehub/verdict/{name}", body(runtime="00:10:05")).status_code == 404
    assert cluster.verified() == []
    root = person("root")
    assert root.ask("sgehub/verdict/news", body(runtime="00:10:05")).json()["kind"] == "now"
    assert root.ask("sgehub/verdict/nobody-there", body(runtime="00:10:05")).status_code == 404
    assert [asked[0] for asked in cluster.verified()] == ["news"]


def test_a_token_needs_the_scope_to_start_servers(hub: HubProcess, games: Person, cluster: PaperCluster) -> None:
    """A script may ask as a page may, with a token that could also start the server."""

    def token(*scopes: str) -> str:
        made = games.ask("users/games/tokens", json.dumps({"scopes": scopes}).encode())
        assert made.status_code == 201, made.text
        return str(made.json()["token"])

    enough, little = token("servers!user=games"), token("read:users!user=games")

    def status(secret: str, name: str = "games") -> int:
        headers = {"Authorization": f"token {secret}"}
        address = f"{hub.url}hub/api/sgehub/verdict/{name}"
        return requests.post(address, data=body(runtime="00:10:06"), headers=headers, timeout=20).status_code

    assert [status(enough), status(enough, "news"), status(little), status("")] == [200, 404, 403, 403]
    assert len(cluster.verified()) == 1


def test_silence_is_answered_in_time(games: Person, cluster: PaperCluster) -> None:
    """A page waits a few seconds, whatever Grid Engine does; the person can start all the same."""
    cluster.say("silent", "8")
    begun = time.monotonic()
    found = games.ask("sgehub/verdict/games", body(runtime="00:10:07", memory="5G")).json()
    assert time.monotonic() - begun < 6
    assert found["kind"] == "unknown"
    assert found["sentence"] == "Grid Engine is not answering; you can press Start all the same."
    cluster.say("silent", "0")
    time.sleep(4.5)  # the question itself ends by itself
    assert games.ask("sgehub/verdict/games", body(runtime="00:10:07", memory="5G")).json()["kind"] == "now"
