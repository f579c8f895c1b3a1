"""Argument lists: whole, explicit, and nothing in them that Grid Engine would split or expand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.errors import AccountError, SiteConfigurationError
from sgehub.gridengine import argv
from sgehub.model.jobspec import JobSpec

SPEC = JobSpec(
    name="sgehub-0123456789ab", slots=2, pe="smp", resources=(("h_rt", "00:30:00"), ("h_vmem", "1G")),
    queue="short.q", project="astro", home="/home/alice", log="/home/alice/.sgehub/log/x.log",
)  # fmt: skip


def test_the_decisive_options_are_all_there() -> None:
    """Each once, with its value."""
    assert argv.submit_options(SPEC) == (
        "-terse", "-b", "n", "-now", "n", "-S", "/bin/bash", "-wd", "/home/alice", "-j", "y",
        "-o", "/home/alice/.sgehub/log/x.log", "-N", "sgehub-0123456789ab", "-r", "n", "-notify",
        "-l", "h_rt=00:30:00,h_vmem=1G", "-pe", "smp", "2", "-q", "short.q", "-P", "astro",
    )  # fmt: skip


def test_what_is_not_asked_for_is_not_there() -> None:
    spec = replace(SPEC, pe=None, resources=(), queue=None, project=None, notify=False)
    assert not {"-l", "-pe", "-q", "-P", "-notify"} & set(argv.submit_options(spec))


def test_names_may_begin_with_a_digit_or_be_a_number() -> None:
    """All but the job's own, which qsub refuses."""
    spec = replace(SPEC, pe="8", project="2020", queue="1week.q,7", resources=(("4gpu", "1"),))
    options = argv.submit_options(spec)
    assert options[options.index("-l") :] == ("-l", "4gpu=1", "-pe", "8", "2", "-q", "1week.q,7", "-P", "2020")


@pytest.mark.parametrize("character", list(",:$\n\t\x00\x7f"))
@pytest.mark.parametrize("field", ["home", "log"])
def test_a_path_that_is_not_taken_literally_is_the_accounts_trouble(field: str, character: str) -> None:
    """Measured: "," and ":" split -o, "$" begins a pseudo variable."""
    with pytest.raises(AccountError, match="because of the character"):
        argv.submit_options(replace(SPEC, **{field: f"/home/a{character}b"}))


@given(st.text(st.characters(exclude_characters=",:$", exclude_categories=("Cc", "Cs")), max_size=20))
def test_every_other_path_stands_as_it_is(name: str) -> None:
    options = argv.submit_options(replace(SPEC, home=f"/home/{name}"))
    assert options[options.index("-wd") + 1] == f"/home/{name}"


@pytest.mark.parametrize("path", ["", "home/alice", "-o", "~"])
def test_a_relative_path_is_refused(path: str) -> None:
    with pytest.raises(AccountError):
        argv.submit_options(replace(SPEC, home=path))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "1abc"}, {"name": "a b"}, {"name": ""}, {"name": "-N"}, {"name": "a\nb"}, {"name": "a/b"},
        {"name": "aä"},
        {"resources": (("h_rt", "1,gpu=2"),)}, {"resources": (("h_rt", ""),)}, {"resources": (("h rt", "1"),)},
        {"resources": (("a=b", "1"),)}, {"resources": (("h_rt", "1 -V"),)}, {"resources": (("h_rt", "1\n"),)},
        {"pe": "a b"}, {"pe": "-t"}, {"pe": ""}, {"slots": 0}, {"slots": -1}, {"queue": "-t"}, {"queue": "a,,b"},
        {"queue": "a b"}, {"queue": ""}, {"project": "-t"}, {"project": "a\n"}, {"project": ""},
    ],
)  # fmt: skip
def test_no_value_becomes_another_option(changes: dict[str, object]) -> None:
    with pytest.raises(SiteConfigurationError):
        argv.submit_options(replace(SPEC, **changes))


@pytest.mark.parametrize("queue", ["a.q", "a.q,b.q", "a.q@node01", "*@@gpu", "a.q@host.example.org,b"])
def test_queues_as_sites_name_them(queue: str) -> None:
    options = argv.submit_options(replace(SPEC, queue=queue))
    assert options[options.index("-q") + 1] == queue


def test_questions_name_every_switch() -> None:
    """Nothing is left to sge_qstat files that can be said here."""
    assert argv.qstat_list("/b") == ["/b/qstat", "-u", "*", "-s", "prs", "-xml"]
    assert argv.qstat_list("/b", ()) == argv.qstat_list("/b")
    assert argv.qstat_list("/b", {"carol", "bob", "al.i-ce"})[1:3] == ["-u", "al.i-ce,bob,carol"]
    assert argv.qstat_detail("/b", 7) == ["/b/qstat", "-j", "7", "-xml"]
    assert argv.qacct("/b", 7) == ["/b/qacct", "-j", "7"]
    assert argv.qhost("/b") == ["/b/qhost", "-q", "-xml"]
    assert argv.qhost("/b", ["h_vmem", "gpu"]) == ["/b/qhost", "-q", "-F", "h_vmem,gpu", "-xml"]
    assert argv.qconf("/b", "-sq", "a.q", "b.q") == ["/b/qconf", "-sq", "a.q,b.q"]


@pytest.mark.parametrize("owner", ["", "*", "a,b", "-xml", "a b", "a*", "$user", "@group", "alice\n"])
def test_only_names_of_accounts_are_asked_for(owner: str) -> None:
    """A name that qstat would split or expand would ask for others."""
    with pytest.raises(AccountError):
        argv.qstat_list("/b", {"alice", owner})


@pytest.mark.parametrize("switch", ["-mq", "-dq", "-aq", "-km", "-rattr"])
def test_the_configuration_is_only_looked_at(switch: str) -> None:
    with pytest.raises(SiteConfigurationError):
        argv.qconf("/b", switch)


@pytest.mark.parametrize("name", ["", "-dq", "a,b", "*", "a.q@node01", "a b", "a\n", "1$"])
def test_only_names_are_shown(name: str) -> None:
    """A list, a pattern or a switch in a name's place would ask for something else."""
    with pytest.raises(SiteConfigurationError):
        argv.qconf("/b", "-sq", "a.q", name)
