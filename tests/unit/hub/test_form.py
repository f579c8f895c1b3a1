"""The form: what goes in is coerced and no more; what comes out is all that was typed, beside the reasons."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jupyterhub.apihandlers.users import UserServerAPIHandler
from jupyterhub.handlers.pages import SpawnHandler
from tornado import web
from tornado.httputil import HTTPFile

from sgehub.errors import RequestRefusedError, SiteConfigurationError, Violation
from sgehub.hub import form
from sgehub.model.request import FIELDS
from tests.unit.hub.html import Page
from tests.unit.model.site import BASE, site

if TYPE_CHECKING:
    from pathlib import Path

POLICY = site()
DEFAULTS = POLICY.defaults.as_options()
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
            form.remember(values, violations)
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
        assert page.id(page.id(f"request-{name}").attributes["aria-describedby"]).text
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
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_text(text: str) -> None:
    """Typed values, reasons and defaults add no element, no attribute, and come back unchanged."""
    typed = dict.fromkeys(FIELDS, text)
    page = rendered(typed, tuple(Violation(name, text) for name in ("", *FIELDS)))
    plain = rendered(dict.fromkeys(FIELDS, "x"), tuple(Violation(name, "y") for name in ("", *FIELDS)))
    assert page.values() == typed
    assert page.reasons() == dict.fromkeys(FIELDS, " ".join(text.split()))
    assert [(one.tag, set(one.attributes)) for one in page.elements] == [
        (one.tag, set(one.attributes)) for one in plain.elements
    ]
    assert rendered(defaults={**DEFAULTS, "memory": text}).values()["memory"] == text


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
            form.remember(values, error.violations)
        else:
            form.remember(values)
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
        form.remember({"cores": str(number)}, (Violation("cores", f"Not {number}."),))
        await asyncio.sleep(0.001 * (number % 3))
        return form.render(POLICY, DEFAULTS)

    pages = [Page(html) for html in await asyncio.gather(*map(request, range(2, 30)))]
    assert [page.values()["cores"] for page in pages] == [str(number) for number in range(2, 30)]
    assert [page.reasons()["cores"] for page in pages] == [f"Not {number}." for number in range(2, 30)]


async def test_nothing_leaks_into_the_next_request() -> None:
    """A connection serves one request after the other, each in a task of its own."""

    async def refused() -> str:
        form.remember({"cores": "0"}, (Violation("cores", "No."),))
        return form.render(POLICY, DEFAULTS)

    async def opened() -> str:
        return form.render(POLICY, DEFAULTS)

    assert Page(await asyncio.create_task(refused())).values()["cores"] == "0"
    assert Page(await asyncio.create_task(opened())).values()["cores"] == "1"


def test_a_second_verdict_takes_the_place_of_the_first() -> None:
    """The values are remembered before they are judged, then with what was found."""

    def work() -> str:
        form.remember({"cores": "0"})
        form.remember({"cores": "0"}, (Violation("cores", "No."),))
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
