"""The form: what goes in is coerced and no more; what comes out is all that was typed, beside the reasons."""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.pages import SpawnHandler
from tornado import web
from tornado.httputil import HTTPFile

from sgehub.errors import RequestRefusedError, SiteConfigurationError, Violation
from sgehub.hub import form
from sgehub.model.clamping import Change
from sgehub.model.policy import SitePolicy
from sgehub.model.request import FIELDS, ResourceRequest
from tests.unit.hub.html import Page
from tests.unit.model.site import BASE, site

POLICY = site()
DEFAULTS = POLICY.defaults.as_options()
TEMPLATES = Path(str(files("sgehub.templates"))) / "hub"
FILE = HTTPFile(filename="a.txt", body=b"x", content_type="text/plain")


def apart(work: Callable[[], Any]) -> Any:
    """Run as a request of its own: what it remembers ends with it."""
    return contextvars.copy_context().run(work)


def rendered(
    values: dict[str, str] | None = None,
    violations: tuple[Violation, ...] = (),
    *,
    defaults: dict[str, object] = DEFAULTS,
    **changes: Any,
) -> Page:
    def work() -> str:
        if values is not None:
            form.remember("", values, violations)
        return form.render(site(**changes), defaults)

    return Page(apart(work))


# What is posted


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        ({}, {}),
        ({"cores": ["2"], "_xsrf": ["token"]}, {"cores": "2"}),
        ({"cores": ["1", "2"]}, {"cores": "2"}),
        ({"queue": [""]}, {"queue": ""}),
        ({"cores": []}, {}),
        ({"cores": [" 2 "], "memory": ["4 apples"]}, {"cores": " 2 ", "memory": "4 apples"}),
        ({"colour": ["red"]}, {"colour": "red"}),
        ({"colour": []}, {"colour": ""}),
        ({"memory_file": [FILE]}, {"memory_file": "(a file)"}),
        ({"memory": [FILE]}, {"memory": "(a file)"}),
        ({"x" * 5000: ["y" * 5000]}, {"x" * 64: "y" * 200}),
    ],
)
def test_the_last_value_of_each_field_is_taken(data: Any, taken: dict[str, str]) -> None:
    """Values come as they are; JupyterHub's token goes; a field that does not exist stays, cut short."""
    assert form.posted(data, POLICY) == taken


@pytest.mark.parametrize("data", [{"colour": ["red"]}, {"memory_file": [FILE]}, {"": ["x"]}, {"x" * 5000: ["y"]}])
def test_fields_that_do_not_exist_are_refused(data: Any) -> None:
    """The request model says so of whatever `posted` has kept, uploaded files included."""
    with pytest.raises(RequestRefusedError, match="There is no field"):
        POLICY.parse(form.posted(data, POLICY))


def test_an_empty_queue_is_any_queue() -> None:
    """A person can choose "any that fits" where the site's default is a certain queue."""
    policy = site(defaults={**BASE["defaults"], "queue": "long.q"})
    assert policy.parse(form.posted({"queue": [""]}, policy)).queue is None
    assert policy.parse(form.posted({}, policy)).queue == "long.q"


# What a link asks for


@pytest.mark.parametrize(
    ("query", "address", "taken"),
    [
        ({"cores": ["2"]}, ["opt-cores"], {"cores": "2"}),
        ({"cores": ["1", "2"]}, ["opt-cores"], {"cores": "2"}),
        ({"cores": ["2"]}, ["cores"], {}),
        ({"_xsrf": ["token"]}, ["_xsrf"], {}),
        ({"_xsrf": ["token"]}, ["opt-_xsrf"], {}),
        ({"cores": ["2"]}, ["opt-cores", "_xsrf", "utm_source"], {"cores": "2"}),
        ({"_xsrf": ["token"], "utm_source": ["x"]}, ["_xsrf", "utm_source"], {}),
        ({"colour": ["red"]}, ["opt-colour"], {"colour": "red"}),
        ({"cores": ["2"], "_xsrf": ["token"]}, None, {"cores": "2"}),
    ],
)
def test_only_options_of_a_link_count(query: Any, address: list[str] | None, taken: dict[str, str]) -> None:
    """What has no "opt-" is not for us; an option that does not exist stays, so that it is refused."""
    request = SimpleNamespace(query_arguments={name: [b"2"] for name in address or []})
    handler = None if address is None else SimpleNamespace(request=request)
    assert form.linked(query, handler, POLICY) == taken


# Whether there were options


def handler_of(kind: type[web.RequestHandler], method: str, body: bytes = b"") -> Any:
    """Return a handler as far as it looks at its request."""
    handler = object.__new__(kind)
    handler.request = SimpleNamespace(method=method, body=body)
    handler.application = SimpleNamespace(settings={})
    return handler


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b"", False),
        (b"{}", False),
        (b"null", False),
        (b"[]", False),
        (b" \n", False),
        (b'{"user_options": {}}', True),
        (b'{"user_options": {"cores": 2}}', True),
        (b'{"user_options": null}', False),
        (b'{"display_name": "mine"}', False),
        (b'{"display_name": "mine", "user_options": {}}', True),
        (b'{"cores": 2}', True),
        (b'{"cores": null}', True),
    ],
)
def test_rest_options_are_found_as_jupyterhub_finds_them(body: bytes, *, options: bool) -> None:
    """`{"user_options": {}}` asks for the site's defaults, no body for the last accepted request."""
    handler = handler_of(UserServerAPIHandler, "POST", body)
    assert form.options_given(handler) is options
    if body.strip():
        assert (handler.get_server_json_body()["user_options"] is not None) is options


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe\x00", b"[" * 100_000, b'"text"', b"7", b"[1]", b'{"a":' * 100_000, b"NaN"]
)
def test_malformed_bodies_carry_no_options(body: bytes) -> None:
    """JupyterHub refuses them; whoever asks here gets an answer all the same."""
    assert form.options_given(handler_of(UserServerAPIHandler, "POST", body)) is False


@pytest.mark.parametrize(
    ("handler", "options"),
    [
        (None, False),
        (handler_of(SpawnHandler, "GET"), False),
        (handler_of(SpawnHandler, "POST"), True),
        (handler_of(SpawnHandler, "POST", b"cores=2"), True),
        (handler_of(UserServerAPIHandler, "GET", b'{"cores": 2}'), False),
        (handler_of(UserServerAPIHandler, "PATCH", b'{"cores": 2}'), False),
    ],
)
def test_a_posted_form_carries_options_and_an_opened_page_none(handler: Any, *, options: bool) -> None:
    """A form is a form however empty it is."""
    assert form.options_given(handler) is options


# What is shown


def test_a_fresh_form_shows_the_defaults() -> None:
    """Every field has its label, its help, its limits, and nothing is marked as wrong."""
    page = rendered()
    assert page.values() == {"cores": "1", "memory": "2G", "gpus": "0", "runtime": "01:00:00", "queue": ""}
    assert page.reasons() == {}
    assert not list(page.with_(id="request-refused"))
    for name in page.values():
        (label,) = page.with_(**{"for": f"request-{name}"})
        assert label.text
        assert page.id(f"request-{name}").attributes["name"] == name
        assert page.id(page.id(f"request-{name}").attributes["aria-describedby"].split()[0]).text
    assert "1 to 16." in page.id("request-cores-help").text
    assert "256M to 64G" in page.id("request-memory-help").text
    assert "up to 48:00:00 (48 hours)" in page.id("request-runtime-help").text
    assert [one.text for one in page.elements if one.tag == "option"] == [
        "Any that fits",
        "short.q: 16 cores, 64G, no GPUs, 1 hour",
        "long.q: 16 cores, 64G, no GPUs, 48 hours",
        "gpu.q: 8 cores, 64G, 2 GPUs, 8 hours",
    ]


def test_all_values_stand_and_each_reason_is_beside_its_field() -> None:
    """What was typed comes back as it was typed; reasons of the whole request are on top."""
    typed = {"cores": "4 apples", "memory": "-1", "gpus": "0", "runtime": "01:00:00", "queue": "no.q"}
    reasons = (
        Violation("cores", "Not a number."),
        Violation("memory", "Too little."),
        Violation("memory", "And odd."),
        Violation("queue", "No such queue."),
        Violation("", "No queue offers all of this."),
        Violation("colour", "There is no colour."),
    )
    page = rendered(typed, reasons)
    assert page.values() == typed
    assert page.reasons() == {
        "cores": "Not a number.",
        "memory": "Too little. And odd.",
        "queue": "No such queue.",
    }
    summary = page.id("request-refused")
    assert summary.text == (
        "Nothing was started. No queue offers all of this. There is no colour. "
        "Please change Cores , Memory and Queue ."
    )
    links = [one.attributes["href"] for one in page.elements if one.tag == "a"]
    assert links == ["#request-cores", "#request-memory", "#request-queue"]


def test_typed_values_outrank_defaults() -> None:
    """What a link or a form does not name keeps its default."""
    assert rendered({"cores": "3", "memory": ""}).values() == {
        "cores": "3",
        "memory": "",
        "gpus": "0",
        "runtime": "01:00:00",
        "queue": "",
    }


CHOICES: dict[str, Any] = {
    "gpu": {
        "complex": "gpu",
        "counted": "job",
        "types": {
            "a100": {"label": "NVIDIA A100 <40 GB>", "adds": {"gpu_type": "a100"}},
            "k80": {"adds": {"gpu_type": "k80"}},
        },
    },
    "projects": {"astro": {"label": "Astronomy"}, "genomics": {}},
}


def test_types_of_gpu_and_projects_are_offered_where_the_site_has_them() -> None:
    """By their labels, below what stands for no choice; what was chosen comes back."""
    page = rendered(**CHOICES)
    assert set(page.values()) == {"cores", "gpus", "memory", "runtime", "queue", "gpu_type", "project"}
    words = [one.text for one in page.elements if one.tag == "option"]
    assert words[:3] == ["Any", "NVIDIA A100 <40 GB>", "k80"]
    assert words[3:6] == ["None", "Astronomy", "genomics"]
    kept = rendered(defaults={**DEFAULTS, "gpu_type": "k80", "project": "genomics"}, **CHOICES).values()
    assert (kept["gpu_type"], kept["project"]) == ("k80", "genomics")


def test_types_of_gpu_are_not_offered_where_no_gpus_may_be_asked_for() -> None:
    """They would mean nothing."""
    queues = {name: {**one, "gpus": 0} for name, one in BASE["queues"].items()}
    assert {"gpus", "gpu_type"}.isdisjoint(rendered(**{**CHOICES, "queues": queues}).values())
    assert "gpu_type" in rendered(**CHOICES).values()


def test_a_project_that_is_required_has_no_none() -> None:
    """The first entry asks for a choice, and starts nothing as it stands."""
    page = rendered(**CHOICES, project_required=True)
    assert "Please choose" in [one.text for one in page.elements if one.tag == "option"]
    assert "None" not in [one.text for one in page.elements if one.tag == "option"]


def test_a_site_without_gpus_does_not_ask_for_them() -> None:
    """Neither without a complex nor without a queue that has any; unless somebody asked for some."""
    queues = {"all.q": {"cores": 1, "memory": "8G", "runtime": "01:00:00"}}
    assert "gpus" not in rendered(gpu=None).values()
    assert "gpus" not in rendered(queues=queues).values()
    refused = rendered({"gpus": "1"}, (Violation("gpus", "None here."),), gpu=None)
    assert refused.values()["gpus"] == "1"
    assert refused.reasons() == {"gpus": "None here."}


def test_a_site_with_one_queue_does_not_ask_for_it() -> None:
    """There is nothing to choose; unless somebody asked for another one."""
    queues = {"all.q": {"cores": 4, "memory": "8G", "runtime": "01:00:00"}}
    assert "queue" not in rendered(queues=queues).values()
    assert rendered({"queue": "x.q"}, (Violation("queue", "No."),), queues=queues).values()["queue"] == "x.q"


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"memory": {"complex": "h_vmem", "counted": "slot"}}, "memory", "The cores share it equally."),
        ({"memory": {"complex": "m_mem_free", "counted": "job"}}, "memory", "such as 512M or 4G."),
        ({"gpu": {"complex": "gpu", "counted": "slot"}}, "gpus", "Each core gets the same number."),
        ({"gpu": {"complex": "gpu", "counted": "job"}}, "gpus", "0 to 2."),
        ({"parallel_environment": None}, "cores", "Sessions here have 1 core."),
    ],
)
def test_the_help_says_how_this_site_counts(changes: dict[str, Any], field: str, words: str) -> None:
    """Per slot, per job, or one core only."""
    assert rendered(**changes).id(f"request-{field}-help").text.endswith(words)


# Presets, locked fields, and fields of the site's own

FULL: dict[str, Any] = {
    **CHOICES,
    "environments": {"python": {"label": "Python", "help": "NumPy."}, "ml": {"label": "Machine learning"}},
    "interfaces": {"lab": {"url": "/lab"}, "tree": {"url": "/tree"}},
    "working_folders": ["{home}"],
    "mail": {},
    "advance_reservations": True,
    "parallel_environment": ["smp", "threaded"],
    "fields": {
        "a.b": {"label": "Licence", "type": "choice", "choices": {"m": {"label": "MATLAB"}, "n": {}}},
        "a-b": {"label": "Course", "help": "For teaching.", "type": "switch"},
        "disk": {"label": "Disk", "type": "number", "least": 1, "most": 9, "adds": {"tmpfs": "{value}G"}},
    },
    "presets": {
        "small": {"label": "Small", "help": "For a look.", "request": {"cores": 2, "runtime": "08:00:00"}},
        "gpu": {"request": {"gpus": 1, "gpu_type": "k80", "environment": "ml", "extra.a-b": "yes"}},
    },
}
CHOSEN = ("gpu_type", "project", "environment", "interface", "folder", "mail", "pe", "reservation")


def test_every_field_has_a_label_and_an_element_of_its_own() -> None:
    """Also where names of the site's fields differ by a dot only; ids are plain."""
    page = rendered(**FULL)
    fields = {"cores", "memory", "gpus", "runtime", "queue", *CHOSEN, "extra.a.b", "extra.a-b", "extra.disk"}
    assert set(page.values()) == {*fields, "preset"}
    shown = [one for one in page.elements if one.tag in {"input", "select"} and "id" in one.attributes]
    assert {one.attributes["name"] for one in shown} == fields
    for one in shown:
        (label,) = page.with_(**{"for": one.attributes["id"]})
        assert label.text == form.offered.labels(site(**FULL))[one.attributes["name"]]
        assert re.fullmatch("[a-z0-9_-]+", one.attributes["id"])
        for described in one.attributes["aria-describedby"].split():
            page.id(described)
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(ids) == len(set(ids))


def test_presets_are_cards_above_the_fields() -> None:
    """Each with its label, help and what it asks for; a person's own request is chosen first."""
    page = rendered(**FULL)
    cards = [one.text for one in page.with_(**{"class": "sgehub-card"})]
    assert cards == [
        "Small 2 cores, 2G, 8 hours For a look.",
        "gpu 1 core, 2G, 1 GPU (k80), 1 hour, Machine learning",
        "My own As filled in below.",
    ]
    assert page.values()["preset"] == ""
    assert [one.attributes["data-preset-now"] for one in page.elements if "data-preset-now" in one.attributes] == [
        "small",
        "gpu",
    ]
    assert "sgehub-card" not in {one.attributes.get("class") for one in rendered().elements}


def test_a_refusal_keeps_the_preset_and_all_that_was_typed() -> None:
    """Also the fields that the preset stands for; one that does not exist is no card."""
    typed = {"preset": "small", "cores": "5", "extra.a-b": "yes", "extra.disk": "77", "mail": "x"}
    page = rendered(typed, (Violation("extra.disk", "Too much."), Violation("mail", "No address.")), **FULL)
    assert page.values() | typed == page.values()
    assert page.reasons() == {"extra.disk": "Too much.", "mail": "No address."}
    links = [one.attributes["href"] for one in page.elements if one.tag == "a"]
    assert links == ["#request-mail", "#request-extra-2"]
    assert rendered({"preset": "none"}, (Violation("", "No such preset."),), **FULL).values()["preset"] == ""


@pytest.mark.parametrize(
    ("posted", "counts"),
    [
        ({"preset": "small", "cores": "5", "memory": "3G"}, {"preset": "small"}),
        ({"preset": "", "cores": "5"}, {"preset": "", "cores": "5"}),
        ({"preset": "none", "cores": "5"}, {"preset": "none", "cores": "5"}),
        ({"cores": "5"}, {"cores": "5"}),
        ({"preset": "gpu", "extra.a-b": "", "extra.disk": "3"}, {"preset": "gpu", "extra.disk": "3"}),
        (
            {"preset": "small", "gpus": "2", "gpu_type": "k80", "queue": "gpu.q", "project": "stars", "mail": "x"},
            {"preset": "small", "project": "stars", "mail": "x"},
        ),
    ],
)
def test_what_the_card_of_a_preset_says_counts(posted: dict[str, str], counts: dict[str, str]) -> None:
    """Its own fields and what else the card speaks of, which is the default; all others are the person's."""
    assert form.counting(posted, site(**FULL)) == counts


@pytest.mark.parametrize(
    ("linked", "values"),
    [
        ({"preset": ["small"]}, {"preset": "small", "cores": "2", "runtime": "08:00:00"}),
        ({"preset": ["small"], "mail": ["a@b.c"]}, {"preset": "small", "cores": "2", "mail": "a@b.c"}),
        ({"preset": ["small"], "cores": ["5"]}, {"cores": "5", "runtime": "08:00:00"}),
        ({"preset": ["small"], "gpus": ["1"]}, {"cores": "2", "gpus": "1"}),
        ({"preset": ["none"]}, {"preset": "none"}),
    ],
)
def test_a_link_to_a_preset_fills_its_fields(linked: dict[str, list[str]], values: dict[str, str]) -> None:
    """What the link names itself stands, and then it is a request of one's own."""
    taken = form.linked(linked, None, site(**FULL))
    assert taken | values == taken
    assert ("preset" in taken) == ("preset" in values)


def test_a_switch_posts_its_off() -> None:
    """What is not ticked would not be posted, and would mean the site's default."""
    page = rendered(**FULL)
    hidden, tick = page.with_(name="extra.a-b")
    assert (hidden.attributes["type"], hidden.attributes["value"]) == ("hidden", "")
    assert (tick.attributes["type"], tick.attributes["value"]) == ("checkbox", "yes")
    policy = site(**FULL, defaults={**BASE["defaults"], "extra.a-b": "yes"})
    assert dict(policy.parse(form.posted({"extra.a-b": [""]}, policy)).extra) == {"a-b": ""}
    assert dict(policy.parse(form.posted({"extra.a-b": ["", "yes"]}, policy)).extra) == {"a-b": "yes"}
    assert Page(form.render(policy, policy.defaults.as_options())).values()["extra.a-b"] == "yes"


def test_a_required_choice_is_beside_the_other_fields() -> None:
    """It does not hide among what is rarely needed."""
    fields = {
        **FULL["fields"],
        "must": {"label": "Must", "type": "choice", "choices": {"x": {}}, "required": True},
    }
    policy = site(**{**FULL, "fields": fields}, defaults={**BASE["defaults"], "extra.must": "x"})
    page = Page(form.render(policy, policy.defaults.as_options()))
    names = [one.attributes["name"] for one in page.elements if "name" in one.attributes]
    assert names.index("extra.must") < names.index("folder")
    assert "Please choose" in page.id("request-extra-3").text


@pytest.mark.parametrize(
    ("typed", "violations", "is_open"),
    [
        ({}, (), False),
        ({"cores": "7"}, (Violation("cores", "No."),), False),
        ({"folder": "x"}, (), True),
        ({"extra.a-b": "yes"}, (), True),
        ({}, (Violation("reservation", "No."),), True),
    ],
)
def test_what_is_rarely_needed_opens_when_it_matters(
    typed: dict[str, str], violations: tuple[Violation, ...], *, is_open: bool
) -> None:
    """When it says something else than usual, or is wrong."""
    assert ("open" in rendered(typed, violations, **FULL).id("request-more").attributes) is is_open


LOCKED: dict[str, Any] = {
    **FULL,
    "locked": {"memory": "2G", "environment": "python", "extra.a-b": "yes", "extra.disk": "3"},
    "defaults": {**BASE["defaults"], "environment": "python", "extra.a-b": "yes", "extra.disk": "3"},
    "presets": {"small": {"request": {"cores": 2, "memory": "2G"}}},
}


def refused_form(policy: SitePolicy, values: dict[str, str] | None) -> str:
    if values is not None:
        form.remember("", values, (Violation("memory", "No."),))
    return form.render(policy, policy.defaults.as_options())


def test_locked_fields_can_be_read_and_are_posted() -> None:
    """As the site has set them, whatever was typed, and in words; a preset does not touch them."""
    policy = site(**LOCKED)
    typed = {"memory": "9G", "environment": "ml", "extra.a-b": "", "extra.disk": "4"}
    for values in (None, typed):
        page = Page(apart(lambda values=values: refused_form(policy, values)))
        fixed = {"memory": "2G", "environment": "python", "extra.a-b": "yes", "extra.disk": "3"}
        assert page.values() | fixed == page.values()
        for name in ("request-memory", "request-environment", "request-extra-1", "request-extra-2"):
            assert page.id(f"{name}-help").text.endswith("Set by this site; it cannot be changed.")
        assert "readonly" in page.id("request-memory").attributes
        assert page.id("request-environment").text == "Python"
        assert "sgehub-locked" in page.id("request-environment").attributes["class"]
        posted = {name: value for name, value in page.values().items() if name != "preset"}
        assert _chosen(policy.parse(posted)) == _chosen(policy.defaults)
    assert json.loads(page.id("request-facts").text)["presets"] == {"small": {"cores": "2"}}


def _chosen(request: ResourceRequest) -> dict[str, object]:
    """Return the fields that are not empty."""
    return {name: value for name, value in request.as_options().items() if value != ""}


def test_a_sites_own_words_take_the_place_of_ours() -> None:
    """Of labels and help, also in the summary of what is wrong."""
    texts = {"memory": {"label": "RAM", "help": "Ask for what you need."}, "queue": {"help": "Leave it."}}
    page = rendered({"memory": "x"}, (Violation("memory", "No."),), texts=texts)
    assert [one.text for one in page.with_(**{"for": "request-memory"})] == ["RAM"]
    assert page.id("request-memory-help").text == "Ask for what you need."
    assert page.id("request-queue-help").text == "Leave it."
    assert "Please change RAM ." in page.id("request-refused").text


def test_what_had_to_change_is_said_in_words() -> None:
    """Labels of choices, words for nothing; what reads the same as before is no news."""
    changes = (
        Change("memory", "128G", "64G"),
        Change("queue", "old.q", ""),
        Change("environment", "ml", ""),
        Change("interface", "", "lab"),
        Change("extra.a.b", "m", ""),
        Change("extra.a-b", "", "yes"),
        Change("extra.gone", "1", ""),
    )
    said = Page(form.render(site(**FULL), DEFAULTS, changes=changes)).id("request-changed").text
    assert said.partition("allowed: ")[2] == (
        "Memory : 64G instead of 128G Queue : Any that fits instead of old.q "
        "Environment : Python instead of Machine learning Licence : None instead of MATLAB "
        "Course : on instead of off extra.gone : empty instead of 1"
    )
    html = form.render(site(**FULL), DEFAULTS, changes=(Change("interface", "", "lab"),))
    assert "request-changed" not in html


# Hostile input

HOSTILE = (
    '"><script>alert(1)</script>',
    "' onfocus=alert(1) x='",
    "{{ 7 * 7 }}{% raw %}",
    "<!--",
    "</select></form>",
    "&quot;&lt;b&gt;",
    "$(reboot)`reboot`",
    "\u0664\u0662",
    "</script><script>alert(1)</script>",
    "\u202egpj.exe\u200f",
    "`${alert(1)}`",
)


@pytest.mark.parametrize("text", [*HOSTILE[:-2], HOSTILE[-1]])
def test_hostile_words_of_a_site_stay_words(text: str) -> None:
    """Labels and help of everything that has some: no element, no attribute, and the script's facts are whole."""

    def words(text: str) -> dict[str, Any]:
        fields = {
            "a": {"label": text, "help": text, "type": "choice", "choices": {"x": {"label": text}}},
            "b": {"label": text, "help": text, "type": "switch"},
        }
        return {
            "gpu": {**CHOICES["gpu"], "types": {"k80": {"label": text, "adds": {"type": "k80"}}}},
            "projects": {"p": {"label": text}},
            "environments": {"e": {"label": text, "help": text}},
            "interfaces": {"i": {"label": text, "url": "/lab"}},
            "fields": fields,
            "presets": {"one": {"label": text, "help": text, "request": {"environment": "e"}}},
            "texts": {"cores": {"label": text, "help": text}},
        }

    page, plain = rendered(**words(text)), rendered(**words("x"))
    assert [(one.tag, set(one.attributes)) for one in page.elements] == [
        (one.tag, set(one.attributes)) for one in plain.elements
    ]
    assert " ".join(text.split()) in page.id("request-cores-help").text
    assert json.loads(page.id("request-facts").text) == json.loads(plain.id("request-facts").text)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_stay_out_of_the_scripts_facts(text: str) -> None:
    """What was typed is in fields only; defaults, which may come from `req_*`, are JSON and no markup."""
    typed = rendered(dict.fromkeys(FIELDS, text))
    assert typed.id("request-facts").text == rendered().id("request-facts").text
    html = form.render(POLICY, DEFAULTS, fresh={**DEFAULTS, "folder": text})
    assert json.loads(Page(html).id("request-facts").text)["fresh"]["folder"] == text
    block = html[html.index('<script type="application/json"') :]
    assert block.count("<") == 2
    assert block.isascii()


def test_the_form_of_a_large_site_is_light() -> None:
    """20 queues, 30 projects, 10 of everything else: under 150 KB with its script and its style."""
    long = "Some words about this that are as long as a sentence gets. " * 2
    queues = {f"queue{number}.q": BASE["queues"]["gpu.q"] for number in range(20)}
    page = form.render(
        large := site(
            queues=queues,
            projects={f"project{number}": {"label": long[:90], "queues": [*queues]} for number in range(30)},
            environments={f"environment{number}": {"label": long[:90], "help": long} for number in range(10)},
            interfaces={f"interface{number}": {"label": long[:90], "url": "/lab"} for number in range(10)},
            fields={
                f"field{number}": {
                    "label": long[:90],
                    "help": long,
                    "type": "choice",
                    "choices": {"x": {}, "y": {}},
                }
                for number in range(10)
            },
            presets={
                f"preset{number}": {"label": long[:90], "help": long, "request": BASE["defaults"]}
                for number in range(10)
            },
        ),
        large.defaults.as_options(),
    )
    beside = sum((TEMPLATES / name).stat().st_size for name in ("form.js", "sgehub.css", "spawn.html"))
    assert 30_000 < len(page.encode()) + beside < 150_000


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    """Typed values, reasons and defaults add no element, no attribute, and come back unchanged.

    But for marks of direction, which would turn around what stands beside them.
    """
    typed = dict.fromkeys(FIELDS, text)
    page = rendered(typed, tuple(Violation(name, text) for name in ("", *FIELDS)))
    plain = rendered(dict.fromkeys(FIELDS, "x"), tuple(Violation(name, "y") for name in ("", *FIELDS)))
    shown = re.sub("[\u200f\u202e]", "\ufffd", text)
    assert page.values() == dict.fromkeys(FIELDS, shown)
    assert page.reasons() == dict.fromkeys(FIELDS, " ".join(text.split()))
    assert [(one.tag, set(one.attributes)) for one in page.elements] == [
        (one.tag, set(one.attributes)) for one in plain.elements
    ]
    assert rendered(defaults={**DEFAULTS, "memory": text}).values()["memory"] == shown


@settings(deadline=None)  # the first form compiles the template
@given(st.text(st.characters(), max_size=300))
def test_any_text_comes_back_as_far_as_it_can_be_shown(text: str) -> None:
    """Controls, surrogates and marks of direction are shown as what they are: no text. The rest stands."""
    shown = rendered({"memory": text}, (Violation("memory", "No."),)).values()["memory"]
    shown.encode()
    kept = text.strip(" ")[:200]
    assert len(shown) == len(kept)
    assert all(one in (other, "\ufffd") for one, other in zip(shown, kept, strict=True))
    if kept.isascii() and kept.isprintable():
        assert shown == kept


def test_a_value_too_long_to_be_shown_is_cut_and_says_so() -> None:
    """The first 200 characters stand, blanks around them aside."""
    page = rendered({"memory": "  " + "9" * 1_000_000 + "  "}, (Violation("memory", "No."),))
    assert page.values()["memory"] == "9" * 200
    assert page.reasons()["memory"] == "No. Only the first 200 of 1,000,000 characters are shown."
    assert rendered({"memory": "9" * 200}, (Violation("memory", "No."),)).reasons()["memory"] == "No."


@pytest.mark.parametrize(
    "data",
    [
        {name: ["9" * 200_000] for name in FIELDS},
        {name: [" " * 200_000 + "x"] for name in FIELDS},
        {name: ["<&'\"" * 50_000] for name in FIELDS},
        {f"field{number}": [""] for number in range(100_000)},
        {"x" * 1_000_000: ["y" * 1_000_000]},
        {"cores": ["1"] * 300_000},
    ],
    ids=["digits", "blanks", "markup", "many fields", "a long field", "many values"],
)
def test_a_large_post_is_refused_quickly(data: dict[str, list[str]]) -> None:
    """A megabyte costs the hub less than 50 ms, judged and shown again, and a small page."""

    def work() -> str:
        values = form.posted(data, POLICY)
        try:
            POLICY.parse(values)
        except RequestRefusedError as error:
            form.remember("", values, error.violations)
        else:
            form.remember("", values)
        return form.render(POLICY, DEFAULTS)

    apart(work)
    times = []
    for _ in range(5):
        began = time.process_time()
        page = apart(work)
        times.append(time.process_time() - began)
    assert min(times) < 0.05
    assert len(page) < 40_000


# One request's words are not another's


async def test_requests_at_the_same_time_do_not_see_each_other() -> None:
    """Each task shows what it remembered itself, whatever others remember between."""

    async def request(number: int) -> str:
        form.remember("", {"cores": str(number)}, (Violation("cores", f"Not {number}."),))
        await asyncio.sleep(0.001 * (number % 3))
        return form.render(POLICY, DEFAULTS)

    pages = [Page(html) for html in await asyncio.gather(*map(request, range(2, 30)))]
    assert [page.values()["cores"] for page in pages] == [str(number) for number in range(2, 30)]
    assert [page.reasons()["cores"] for page in pages] == [f"Not {number}." for number in range(2, 30)]


async def test_nothing_leaks_into_the_next_request() -> None:
    """A connection serves one request after the other, each in a task of its own."""

    async def refused() -> str:
        form.remember("", {"cores": "0"}, (Violation("cores", "No."),))
        return form.render(POLICY, DEFAULTS)

    async def opened() -> str:
        return form.render(POLICY, DEFAULTS)

    assert Page(await asyncio.create_task(refused())).values()["cores"] == "0"
    assert Page(await asyncio.create_task(opened())).values()["cores"] == "1"


def test_a_second_verdict_takes_the_place_of_the_first() -> None:
    """The values are remembered before they are judged, then with what was found."""

    def work() -> str:
        form.remember("", {"cores": "0"})
        form.remember("", {"cores": "0"}, (Violation("cores", "No."),))
        return form.render(POLICY, DEFAULTS)

    assert Page(apart(work)).reasons() == {"cores": "No."}


# The site's own template


def test_a_site_can_have_a_form_of_its_own(tmp_path: Path) -> None:
    """Its folder is searched first, its text is escaped like ours, and changes are seen at once."""
    template = tmp_path / "hub" / "form.html"
    template.parent.mkdir()
    template.write_text("<p>{{ values.memory }}</p>")
    html = form.render(site(template_folders=[str(tmp_path)]), {**DEFAULTS, "memory": "<b>"})
    assert html == "<p>&lt;b&gt;</p>"
    assert "request-cores" in form.render(site(template_folders=[str(tmp_path / "none")]), DEFAULTS)


@pytest.mark.parametrize("text", ["{{ values.memory", "{{ nonsense }}", "{% include 'not/there.html' %}"])
def test_a_broken_form_of_a_site_is_named(tmp_path: Path, text: str) -> None:
    """The administrator reads which template fails and how."""
    template = tmp_path / "hub" / "form.html"
    template.parent.mkdir()
    template.write_text(text)
    with pytest.raises(SiteConfigurationError, match=r"cannot be rendered: .+"):
        form.render(site(template_folders=[str(tmp_path)]), DEFAULTS)
