"""What a request to sgehub-as-user may say: decided before anything is touched."""

from __future__ import annotations

import ast
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub import asuser

CLUSTER = {"bin": "/usr/lib/gridengine", "environment": {"SGE_ROOT": "/var/lib/gridengine", "SGE_CELL": "default"}}
SUBMIT = {
    "verb": "submit",
    "deadline": 10,
    "cluster": CLUSTER,
    "folder": "/home/alice/.sgehub",
    "tag": "0123456789ab",
    "options": ["-terse", "-N", "sgehub-0123456789ab"],
    "script": "#!/bin/bash\nexec true\n",
    "launch": {"token": "x"},
}
GOOD = [
    SUBMIT,
    {**SUBMIT, "keep_logs": 1},
    {**SUBMIT, "expires": 12345.6},
    {**SUBMIT, "options": ["-clear", "-@", "/var/lib/gridengine/default/common/sge_request"]},
    {**SUBMIT, "folder": "/home/J\u00f6rg M\u00fcller/.sgehub"},
    {"verb": "verify", "deadline": 1.5, "cluster": CLUSTER, "options": [], "script": "true\n", "mode": "v"},
    {"verb": "cancel", "deadline": 120, "cluster": CLUSTER, "job": 17},
    {"verb": "tail", "deadline": 5, "folder": "/h/.sgehub", "tag": "0123456789ab", "lines": 200},
    {"verb": "discard", "deadline": 5, "folder": "/h/.sgehub", "tag": "0123456789ab"},
    {"verb": "launch", "deadline": 5, "folder": "/h/.sgehub", "tag": "0123456789ab", "launch": {"token": "x"}},
]
BAD = [
    [],
    "submit",
    {},
    {**SUBMIT, "verb": "qsub"},
    {**SUBMIT, "verb": ["submit"]},
    {**SUBMIT, "verb": None},
    {**SUBMIT, "job": 1},
    {**SUBMIT, "surprise\n": 1},
    {name: value for name, value in SUBMIT.items() if name != "launch"},
    {name: value for name, value in SUBMIT.items() if name != "deadline"},
    *(
        {**SUBMIT, "deadline": value}
        for value in (0, 121, -1, True, "10", None, float("nan"), float("inf"), 10**400)
    ),
    *({**SUBMIT, "expires": value} for value in (-1, True, "10", float("nan"), float("inf"))),
    *(
        {**SUBMIT, "tag": value}
        for value in ("0123456789AB", "0123456789a", "0123456789ab\n", "../../../x", 7, "")
    ),
    *(
        {**SUBMIT, "folder": value}
        for value in ("home", "/", "/a/../b", "/a//b", "/a/", "/a\n", "/a\0", "/\ud800", 1)
    ),
    *({**SUBMIT, "options": value} for value in ("-terse", [1], ["-N", "a\nb"], ["a\0"], ["\u2028"], {"-N": 1})),
    {**SUBMIT, "options": ["-jsv", "/home/bob/program"]},
    *({**SUBMIT, "script": value} for value in ("a\0b", 1, ["a"], "a\rb", "\x1b[2J", "\ud800")),
    *({**SUBMIT, "launch": value} for value in ("{}", [], None, 1)),
    *({**SUBMIT, "keep_logs": value} for value in (0, -1, True, 1.5, "10", 10**30)),
    *({**SUBMIT, "cluster": {**CLUSTER, "bin": value}} for value in ("bin", "", "/usr/../tmp", 1, None)),
    {**SUBMIT, "cluster": {"bin": "/usr/bin"}},
    {**SUBMIT, "cluster": {**CLUSTER, "more": 1}},
    *(
        {**SUBMIT, "cluster": {**CLUSTER, "environment": {"SGE_ROOT": "/ge", **value}}}
        for value in (
            {"LD_PRELOAD": "/home/bob/x.so"},
            {"SGE_DEBUG_TARGET": "/home/alice/thesis"},
            {"SGE_CELL": "../cell"},
            {"SGE_CELL": 1},
            {"SGE_ROOT": "relative"},
        )
    ),
    {**SUBMIT, "cluster": {**CLUSTER, "environment": {}}},
    *(
        {"verb": "cancel", "deadline": 5, "cluster": CLUSTER, "job": value}
        for value in (0, -1, True, "17", 1.5, [1])
    ),
    *(
        {"verb": "tail", "deadline": 5, "folder": "/h", "tag": "0123456789ab", "lines": value}
        for value in (0, 201, True, "5", None)
    ),
    {"verb": "verify", "deadline": 5, "cluster": CLUSTER, "options": [], "script": "", "mode": "e"},
    {"verb": "launch", "deadline": 5, "folder": "/h/.sgehub", "tag": "0123456789ab"},
    {"verb": "launch", "deadline": 5, "folder": "/h/.sgehub", "tag": "../../.ssh/x", "launch": {}},
    {"verb": "launch", "deadline": 5, "folder": "/h/.sgehub", "tag": "0123456789ab", "launch": "text"},
    {"verb": "launch", "deadline": 5, "cluster": CLUSTER, "folder": "/h", "tag": "0123456789ab", "launch": {}},
]


@pytest.mark.parametrize("request_", GOOD, ids=lambda request: request["verb"])
def test_a_complete_request_is_taken_as_it_is(request_):
    """Only the defaults of absent optional fields are added."""
    taken = asuser.check_request(json.dumps(request_).encode())
    assert {name: taken[name] for name in request_} == request_
    assert set(taken) - set(request_) <= {"keep_logs", "expires"}


@pytest.mark.parametrize("request_", BAD)
def test_anything_else_is_refused_with_one_sentence(request_):
    """Wrong types, unknown keys, missing keys and hostile values are bad requests, never a traceback."""
    with pytest.raises(asuser.RefusedError) as caught:
        asuser.check_request(json.dumps(request_).encode())
    assert caught.value.why == "bad-request"
    assert caught.value.message.endswith(".")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 500_000, b'{"verb": "tail"} {}', b"1" * 5000])
def test_what_is_not_json_is_refused(data):
    """Also what makes a parser give up for other reasons than grammar."""
    with pytest.raises(asuser.RefusedError, match=r"\."):
        asuser.check_request(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    field=st.sampled_from(sorted({name for request in GOOD for name in request})),
    value=JSON,
    base=st.sampled_from(GOOD),
)
def test_no_value_of_any_field_gets_past_the_types(field, value, base):
    """A request is refused as such, or everything in it has the type that the verbs rely on."""
    try:
        taken = asuser.check_request(json.dumps({**base, field: value}).encode())
    except asuser.RefusedError:
        return
    for word in taken.get("options", []):
        assert isinstance(word, str)
        assert not {unicodedata.category(one) for one in word} & {"Cc", "Zl", "Zp"}  # controls, ends of lines
    assert "\0" not in taken.get("script", "")
    assert isinstance(taken["deadline"], (int, float))
    assert 1 <= taken["deadline"] <= 120
    assert taken.get("folder", "/x").startswith("/")
    assert isinstance(taken.get("launch", {}), dict)


def test_the_program_is_python_3_6():
    """A submit host's own /usr/bin/python3 may be as old as that."""
    source = Path(asuser.__file__).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 6))
    assert source.startswith("#!/usr/bin/python3 -IS\n")


def test_the_program_imports_the_standard_library_only():
    """It may be installed alone, and every import is paid for at each submission."""
    tree = ast.parse(Path(asuser.__file__).read_text(encoding="utf-8"))
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    allowed = {"contextlib", "errno", "json", "os", "pwd", "re", "select", "signal", "stat", "sys", "time"}
    assert imported <= allowed
    assert not [node for node in tree.body if isinstance(node, ast.ImportFrom)]
