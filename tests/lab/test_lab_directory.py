"""The lab's directory: people log in with their names as passwords, over TLS only."""

from __future__ import annotations

from subprocess import CompletedProcess

import pytest

from sgehub.lab.cluster import Lab
from sgehub.lab.slapd import dn

LDAPS = ("-H", "ldaps://head")
START_TLS = ("-H", "ldap://head", "-ZZ")
PLAIN = ("-H", "ldap://head")


def search(lab: Lab, *options: str, host: str = "node01") -> CompletedProcess[str]:
    """Search the directory as a program on some host does, with the settings of its /etc/ldap/ldap.conf."""
    return lab.run(host, ["ldapsearch", "-x", "-LLL", *options])


@pytest.mark.parametrize("way", [LDAPS, START_TLS], ids=["ldaps", "StartTLS"])
def test_a_person_reads_the_own_entry(lab: Lab, way: tuple[str, ...]) -> None:
    """With her name as password alice finds her entry and her groups; the certificate is checked."""
    who = ("-D", dn("alice"), "-w", "alice")
    entry = search(lab, *way, *who, "uid=alice", "mail", "userPassword")
    assert entry.returncode == 0, entry.stderr
    assert "mail: alice@lab.test" in entry.stdout
    assert "userPassword" not in entry.stdout
    named = search(lab, *way, *who, f"(member={dn('alice')})", "cn").stdout
    posix = search(lab, *way, *who, "(&(objectClass=posixGroup)(memberUid=alice))", "cn").stdout
    for groups in (named, posix):
        assert {line for line in groups.splitlines() if line.startswith("cn:")} == {"cn: astro", "cn: sgehub"}


@pytest.mark.parametrize("way", [LDAPS, START_TLS], ids=["ldaps", "StartTLS"])
def test_a_wrong_password_is_refused(lab: Lab, way: tuple[str, ...]) -> None:
    """Invalid credentials (49), also for the name of another person as password."""
    done = search(lab, *way, "-D", dn("alice"), "-w", "bob", "uid=alice")
    assert done.returncode == 49, done.stdout


def test_a_password_in_the_clear_is_refused(lab: Lab) -> None:
    """Without TLS not even the right password is taken: confidentiality required (13)."""
    assert search(lab, *PLAIN, "-D", dn("alice"), "-w", "alice", "uid=alice").returncode == 13


def test_nobody_reads_anonymously(lab: Lab) -> None:
    """Who has not logged in sees no entry."""
    done = search(lab, *LDAPS, "uid=alice")
    assert "uid:" not in done.stdout


def test_another_authority_is_not_believed(lab: Lab) -> None:
    """A client that trusts the machine's authorities, not the lab's, does not talk to this server."""
    done = lab.run(
        "node01",
        ["ldapsearch", "-x", *LDAPS, "-D", dn("alice"), "-w", "alice", "uid=alice"],
        env={"LDAPTLS_CACERT": "/dev/null", "LDAPTLS_CACERTDIR": "/dev/null"},
    )
    assert done.returncode != 0
    assert "uid:" not in done.stdout


def test_the_servers_key_is_closed_to_people(lab: Lab) -> None:
    """Neither the key nor the database can be read by a person on the head."""
    assert lab.run("head", ["ls", "/srv/slapd"], user="alice").returncode != 0
