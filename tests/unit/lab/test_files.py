"""The files of a lab's hosts: accounts beside the machine's system accounts, the cluster, the directory."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from sgehub.lab import cell_files, etc, slapd
from sgehub.lab.layout import people_named
from tests.unit.lab.test_layout import LAYOUT

PASSWD = """root:x:0:0:root:/root:/bin/bash
sgeadmin:x:104:107::/var/lib/gridengine:/bin/false
jupyterhub:x:105:108::/:/bin/false
mallory:x:1000:1000::/home/mallory:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
+nis::::::
"""
GROUP = """root:x:0:
shadow:x:42:mallory
sgehub:x:120:mallory
people:x:1000:mallory
nogroup:x:65534:
"""


def names(text: str) -> list[str]:
    """Return the first fields of lines."""
    return [line.split(":")[0] for line in text.splitlines()]


def test_hosts_never_resolve_to_loopback() -> None:
    """Each host has the line of its address, and only localhost has 127.x."""
    text = etc.hosts_text(LAYOUT)
    assert "10.77.3.10 head\n" in text
    assert "10.77.3.13 node03\n" in text
    assert [line for line in text.splitlines() if line.startswith("127.")] == ["127.0.0.1 localhost"]


def test_passwd_keeps_system_accounts_and_no_people_of_the_machine() -> None:
    """System accounts stay, for daemons; the machine's people do not; accounts of our names are ours."""
    text = etc.passwd_text(PASSWD, LAYOUT)
    assert names(text) == ["root", "sgeadmin", "nobody", "jupyterhub", "alice", "bob", "carol"]
    assert "jupyterhub:x:1999:1999:JupyterHub:/srv/jupyterhub:/usr/sbin/nologin\n" in text
    assert "alice:x:2001:2001:Alice:/home/alice:/bin/bash\n" in text


def test_group_holds_the_labs_groups_and_nobody_of_the_machine() -> None:
    """Groups of our names are ours, and no group has members that the lab does not know."""
    text = etc.group_text(GROUP, LAYOUT)
    assert "mallory" not in text
    assert "sgehub:x:1990:alice,bob,carol\n" in text
    assert "astro:x:1991:alice,carol\n" in text
    assert "genomics:x:1992:bob,carol\n" in text
    assert len(names(text)) == len(set(names(text)))


def test_shadow_has_a_line_for_everybody_sudo_asks_about() -> None:
    """Root and the hub's account are locked; people have their hashes, one each."""
    text = etc.shadow_text(LAYOUT, ["h1", "h2", "h3"])
    assert text.startswith("root:*:")
    assert "jupyterhub:*:" in text
    assert "carol:h3:" in text
    with pytest.raises(ValueError, match="shorter"):
        etc.shadow_text(LAYOUT, ["h1", "h2"])


def test_replacing_a_key_that_is_not_there_is_an_error() -> None:
    """A setting that a version of Grid Engine does not have is not dropped in silence."""
    assert cell_files.changed("a 1\nb  2\n# c\n", {"b": "3"}) == "a 1\nb 3\n# c\n"
    with pytest.raises(KeyError, match="zz"):
        cell_files.changed("a 1\n", {"zz": "3"})


def test_only_the_last_host_has_gpus() -> None:
    """Memory is everywhere, GPUs on the last host, and gpu.q is there alone."""
    assert cell_files.offers(LAYOUT) == {"h_vmem=64G,gpu=0": ("node01", "node02"), "h_vmem=64G,gpu=2": ("node03",)}
    assert cell_files.offers(replace(LAYOUT, nodes=1)) == {"h_vmem=64G,gpu=2": ("node01",)}
    assert "hostlist node03\n" in cell_files.host_groups(LAYOUT)["@gpu"]
    assert "hostlist @gpu\n" in cell_files.queues()["gpu.q"]
    assert etc.gpus_text(LAYOUT) == "node03 0 1\n"


def test_simulated_hosts_are_names_of_the_head() -> None:
    """Each has a line of its own, after the head's, by which the address is known."""
    lines = etc.hosts_text(replace(LAYOUT, simulated=True)).splitlines()
    assert [line for line in lines if line.startswith("10.")] == [
        f"10.77.3.10 {name}" for name in ("head", "sim0001", "sim0002", "sim0003")
    ]


def test_an_access_list_without_people_is_none() -> None:
    """With alice alone nobody is in genomics, and Grid Engine wants the word NONE for that."""
    alone = replace(LAYOUT, people=("alice",))
    assert "entries alice\n" in cell_files.usersets(alone)["astro"]
    assert "entries NONE\n" in cell_files.usersets(alone)["genomics"]


def test_passwords_of_the_directory_are_the_names() -> None:
    """A userPassword of the scheme SSHA is hash and salt of the name."""
    value = slapd.password_hash("alice", b"salt")
    raw = base64.b64decode(value.removeprefix("{SSHA}"))
    assert raw == hashlib.sha1(b"alicesalt").digest() + b"salt"  # noqa: S324 - the scheme under test


def test_the_directory_holds_everybody_once_and_no_empty_group() -> None:
    """Each person has one entry; a groupOfNames without members, which LDAP forbids, is left out."""
    text = slapd.ldif(replace(LAYOUT, people=people_named(60)))
    assert text.count("\nobjectClass: inetOrgPerson\n") == 60
    assert text.count("dn: uid=u060,ou=people,dc=lab,dc=test\n") == 1
    alone = slapd.ldif(replace(LAYOUT, people=("alice",)))
    assert "cn=genomics,ou=groups" not in alone
    assert "cn=genomics,ou=posix" in alone
