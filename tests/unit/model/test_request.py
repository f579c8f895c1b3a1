"""Requests from anywhere are read strictly, and refused with every reason at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.errors import RequestRefusedError
from sgehub.model.request import FIELDS, ResourceRequest, parse_request
from sgehub.model.units import Duration, Memory

DEFAULTS = {"cores": 1, "memory": "2G", "gpus": 0, "runtime": "01:00:00", "queue": None}


def refused(raw):
    """Return {field: message} of a refusal."""
    with pytest.raises(RequestRefusedError) as caught:
        parse_request(raw, DEFAULTS)
    return {one.field: one.message for one in caught.value.violations}


def test_forms_send_text_and_rest_sends_numbers():
    """Both ways in mean the same."""
    wanted = ResourceRequest(cores=2, memory="2G", gpus=1, runtime="00:30:00", queue="gpu.q")
    text = {"cores": "2", "memory": "2G", "gpus": "1", "runtime": "00:30:00", "queue": "gpu.q"}
    assert parse_request(text, DEFAULTS) == wanted
    assert parse_request({**text, "cores": 2, "gpus": 1}, DEFAULTS) == wanted
    assert wanted.memory == Memory(2 * 1024**3)
    assert wanted.runtime == Duration(1800)


def test_an_empty_request_means_the_defaults():
    """Missing fields take the site's values; an empty queue is any queue."""
    assert parse_request({}, DEFAULTS) == ResourceRequest(**DEFAULTS)
    assert parse_request({"queue": ""}, DEFAULTS).queue is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cores", "4 apples"),
        ("cores", "٤"),
        ("cores", "²"),
        ("cores", "1\n2"),
        ("cores", "$(id)"),
        ("cores", "-1"),
        ("cores", "1" * 40),
        ("cores", True),
        ("cores", 2.0),
        ("cores", None),
        ("cores", [1]),
        ("cores", ""),
        ("gpus", {"a": 1}),
        ("memory", "4 apples"),
        ("memory", 4),
        ("memory", "4G\n#$ -pe smp 64"),
        ("memory", "４G"),
        ("memory", "x" * 1_000_000),
        ("runtime", "1:30"),
        ("runtime", 3600),
        ("runtime", "01:00:00\x00"),
        ("queue", "no such"),
        ("queue", "a.q\n"),
        ("queue", "a.q,b.q"),
        ("queue", 7),
        ("queue", "'; rm -rf /"),
        ("environment", "ml;id"),
        ("interface", {"lab": 1}),
        ("pe", "smp 4"),
        ("folder", "../../etc"),
        ("folder", "a/../b"),
        ("folder", "$HOME/x"),
        ("folder", "-wd"),
        ("folder", "a\nb"),
        ("folder", "a\u202eb"),
        ("folder", "x" * 201),
        ("folder", ["x"]),
        ("mail", "a@b@c"),
        ("mail", "alice@lab.test,bob@lab.test"),
        ("mail", "alice@lab.test\nx"),
        ("mail", "-M@lab.test"),
        ("mail", "alice"),
        ("mail", "a@" + "b" * 200),
        ("reservation", "1;2"),
        ("reservation", "1.5"),
        ("reservation", -3),
    ],
)
def test_wrong_values_are_refused_beside_their_field(field, value):
    """A sentence names what was wrong; no more than a little of the input comes back."""
    found = refused({field: value})
    assert list(found) == [field]
    assert 20 < len(found[field]) < 200
    assert "\n" not in found[field]
    assert found[field].isascii()


def test_all_reasons_come_at_once():
    """Nobody corrects four mistakes in four attempts."""
    raw = {"cores": "x", "memory": "x", "gpus": "x", "runtime": "x", "queue": "x y", "nodes": 1}
    raw |= {"gpu_type": "$(id)", "project": 7, "pe": "a b", "environment": "-", "interface": [], "folder": "../x"}
    raw |= {"mail": "root", "reservation": "-1"}
    assert set(refused(raw)) == {*FIELDS, ""}


def test_unknown_fields_are_named():
    """A typing error in a field's name must not silently mean the default."""
    assert "mem" in refused({"mem": "4G"})[""]


@pytest.mark.parametrize("raw", [None, [], "cores=2", 7, b"x"])
def test_a_request_is_a_mapping(raw):
    """What the hub's database holds may be anything."""
    assert "set of fields" in refused(raw)[""]


def test_huge_requests_are_refused_quickly():
    """A thousand unknown keys give no thousand sentences."""
    with pytest.raises(RequestRefusedError) as caught:
        parse_request({f"k{n}": "v" for n in range(5_000)}, DEFAULTS)
    assert len(caught.value.violations) <= 20


@given(
    st.integers(min_value=0, max_value=10**9 - 1),
    st.integers(min_value=0, max_value=10**12),
    st.integers(min_value=0, max_value=10**8),
    st.sampled_from([None, "all.q", "gpu-1.q"]),
)
def test_requests_are_stored_and_read_back_unchanged(cores, memory, runtime, queue):
    """The last accepted request comes back exactly."""
    request = ResourceRequest(cores=cores, memory=Memory(memory), gpus=0, runtime=Duration(runtime), queue=queue)
    assert parse_request(request.as_options(), DEFAULTS) == request


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "x", "_xsrf"]),
        st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text())),
    )
)
def test_nothing_but_a_request_or_a_refusal_comes_out(raw):
    """Whatever goes in, no other error than a refusal does."""
    try:
        request = parse_request(raw, DEFAULTS)
    except RequestRefusedError as error:
        assert error.violations  # noqa: PT017 - both outcomes are right, an empty refusal is not
    else:
        assert set(raw) <= set(FIELDS)
        assert request.queue is None or request.queue.isascii()


def test_what_was_chosen_of_the_sites_own_fields_is_read_and_stored():
    """Flat as forms and links write it, or as one part; a tick is "yes", no tick is empty."""
    request = parse_request(
        {"extra.licence": "yes", "extra.quick": True, "extra.off": False, "extra.n": 7}, DEFAULTS
    )
    assert request.extra == (("licence", "yes"), ("n", "7"), ("off", ""), ("quick", "yes"))
    assert parse_request(request.as_options(), DEFAULTS) == request
    assert parse_request({"extra": {"licence": "yes"}}, DEFAULTS).extra == (("licence", "yes"),)
    assert parse_request({}, {**DEFAULTS, "extra.licence": "yes"}).extra == (("licence", "yes"),)
    assert parse_request({"extra.licence": ""}, {**DEFAULTS, "extra.licence": "yes"}).extra == (("licence", ""),)


@pytest.mark.parametrize(
    "raw",
    [
        {"extra.": "x"},
        {"extra.a b": "x"},
        {"extra.$(id)": "x"},
        {"extra.x": ["y"]},
        {"extra.x": 1.5},
        {"extra.x": "y" * 201},
        {"extra": "x"},
        {"extra": [("a", "b")]},
        {"extra": {7: "x"}},
        {"extra": {"x": {"y": "z"}}},
        {f"extra.n{n}": "x" for n in range(101)},
        {"extra": "x", "extra.y": "z"},
    ],
)
def test_fields_of_no_sites_own_are_refused(raw):
    """One sentence, whatever stood there."""
    found = refused(raw)
    assert list(found) == [""]
    assert len(found[""]) < 300
    assert found[""].isascii()


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("projects/x/", "projects/x"),
        (" /scratch/alice ", "/scratch/alice"),
        ("~/a b", "~/a b"),
        ("/", "/"),
        ("", None),
    ],
)
def test_folders_are_read_as_they_are(typed, read):
    """Without the blanks around them and the slash at their end."""
    assert parse_request({"folder": typed}, DEFAULTS).folder == read
