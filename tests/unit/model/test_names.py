"""The grammar of names that reach Grid Engine."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from sgehub.model import names

HOSTILE = ["", "-x", "a b", "a\n", "a;b", "$(id)", "a'b", 'a"b', "a,b", "../x", "ä", "a\x00", "a@b"]


@pytest.mark.parametrize("text", [*HOSTILE, ".q", "_q", "x" * 64])
def test_object_names_are_plain(text):
    """Queues, projects and complexes: letters, digits, dot, underscore, hyphen; a letter or a digit first."""
    with pytest.raises(ValidationError):
        TypeAdapter(names.ObjectName).validate_python(text)


@pytest.mark.parametrize("text", ["all.q", "smp", "gpu_card", "rse-com6012.q", "8way", "2020", "x" * 63])
def test_ordinary_object_names_pass(text):
    """Names of real sites."""
    assert TypeAdapter(names.ObjectName).validate_python(text) == text


@pytest.mark.parametrize("text", [*HOSTILE, "root\n", "+", "x" * 33])
def test_users_are_accounts(text):
    """What cannot be an account never reaches sudo."""
    with pytest.raises(ValueError, match="cannot be the name of an account"):
        names.check_user(text)


@pytest.mark.parametrize("text", ["node01", "node-01.cluster.example.org", "10.77.0.11", "n" * 63])
def test_host_names_and_addresses_pass(text):
    """The proxy takes names and IPv4 addresses."""
    assert TypeAdapter(names.HostName).validate_python(text) == text


@pytest.mark.parametrize("text", ["", "-n", "a..b", "a/b", "a:1", "a b", "node01\n", "a@b"])
def test_host_names_hold_nothing_that_changes_a_url(text):
    """A port, path or account inside a host name would send the proxy elsewhere."""
    with pytest.raises(ValidationError):
        TypeAdapter(names.HostName).validate_python(text)


@pytest.mark.parametrize(
    "path", ["relative", "/a,b", "/a:b", "/$HOME", "/a\nb", "/a'b", '/a"b', "/a`b", "/a\\b", "/a*", ""]
)
def test_paths_that_qsub_would_split_or_expand_are_refused(path):
    """qsub(1) splits -o and -wd at commas and colons and expands $NAMES."""
    with pytest.raises(ValueError, match=r"not absolute|does not take literally"):
        names.check_path(path)


@pytest.mark.parametrize("path", ["/home/alice", "/home/alice smith", "/data/ünïcode", "/a/{b}"])
def test_paths_with_spaces_are_ordinary(path):
    """Homes with spaces exist."""
    assert names.check_path(path) == path


def test_tags_are_random_and_job_names_carry_nothing_else():
    """Job names are public: they tell neither person nor server, and a tag never comes twice."""
    tags = {names.new_tag() for _ in range(200)}
    assert len(tags) == 200
    assert all(names.TAG.fullmatch(tag) for tag in tags)
    assert names.job_name("0123456789ab") == "sgehub-0123456789ab"
