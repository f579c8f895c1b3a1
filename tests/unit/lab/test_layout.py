"""Where things are in a lab: names, addresses, people, and a layout that another process can read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sgehub.lab.errors import LabError
from sgehub.lab.layout import Layout, people_named

LAYOUT = Layout(
    name="lab",
    subnet="10.77.3",
    root=Path("/var/tmp/sgehub-lab-lab"),
    nodes=3,
    people=("alice", "bob", "carol"),
    install=Path("/opt/venv"),
    site=Path("/checkout"),
)


def test_hosts_are_numbered_in_name_and_address() -> None:
    """The head comes first, and each host's address follows from its place."""
    assert LAYOUT.hosts == ("head", "node01", "node02", "node03")
    assert [LAYOUT.address(host) for host in LAYOUT.hosts] == [f"10.77.3.{number}" for number in (10, 11, 12, 13)]


def test_an_unknown_host_is_refused_with_those_there_are() -> None:
    """The sentence names the hosts."""
    with pytest.raises(LabError, match="no host 'node04'; it has head, node01, node02, node03"):
        LAYOUT.address("node04")


def test_simulated_hosts_are_names_only() -> None:
    """They are execution hosts of the cluster, but no hosts that one could boot, crash or enter; many may be."""
    layout = replace(LAYOUT, nodes=1000, simulated=True)
    assert (layout.hosts, layout.node_names[0], layout.node_names[-1]) == (("head",), "sim0001", "sim1000")
    assert Layout.from_json(layout.to_json()) == layout
    with pytest.raises(LabError, match="no host 'sim0001'"):
        layout.address("sim0001")
    with pytest.raises(LabError, match="simulated hosts, not 0"):
        replace(layout, nodes=0)


@pytest.mark.parametrize("install", [None, Path("/opt/venv")])
def test_a_layout_survives_the_way_through_its_file(install: Path | None) -> None:
    """What one process wrote another reads as the same value."""
    layout = replace(LAYOUT, install=install)
    assert Layout.from_json(layout.to_json()) == layout


def test_people_are_named_first_and_numbered_then() -> None:
    """The three with names come first; all are in sgehub, and everybody is in a project's group."""
    assert people_named(2) == ("alice", "bob")
    assert people_named(5) == ("alice", "bob", "carol", "u004", "u005")
    many = replace(LAYOUT, people=people_named(60))
    assert len(many.members("sgehub")) == 60
    assert set(many.members("astro")) | set(many.members("genomics")) == set(many.people)
    assert len({person.uid for person in many.persons}) == 60


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("name", "Lab", "lower-case"),
        ("name", "a/b", "lower-case"),
        ("name", "", "lower-case"),
        ("subnet", "10.77", "three numbers"),
        ("subnet", "10.77.256", "three numbers"),
        ("subnet", "10.77.0.0", "three numbers"),
        ("nodes", 0, "execution hosts"),
        ("nodes", 201, "execution hosts"),
        ("people", (), "people"),
        ("people", ("alice", "alice"), "same name"),
        ("people", ("root:x",), "cannot be the name"),
        ("people", ("jupyterhub",), "cannot be the name"),
        ("people", ("astro",), "cannot be the name"),
        ("root", Path("relative"), "absolute"),
        ("root", Path("/var/tmp/a b"), "without spaces"),
    ],
)
def test_what_would_make_a_wrong_file_is_refused(field: str, value: object, why: str) -> None:
    """A layout that exists is one that can be built."""
    with pytest.raises(LabError, match=why):
        replace(LAYOUT, **{field: value})
