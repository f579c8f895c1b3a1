"""Which qsub may run: one that neither the hub's account nor any person can have changed."""

from __future__ import annotations

import os
import pwd

import pytest

from sgehub import asuser

PERSON, HUB, OTHER, SYSTEM = 52001, 51999, 52002, 700
STAFF = 777  # a system group


@pytest.fixture
def ge(tmp_path):
    """Give a folder with a safe qsub; a link in another folder leads to it."""
    folder = tmp_path / "ge" / "bin"
    folder.mkdir(parents=True)
    (folder / "qsub").touch(mode=0o755)
    (tmp_path / "ge" / "link").symlink_to("bin")
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "link").symlink_to(folder)
    return tmp_path / "ge"


def trust(hub=HUB, owners="/nonexistent"):
    person = pwd.struct_passwd(("alice", "x", PERSON, PERSON, "", "/home/alice", "/bin/sh"))
    return asuser.Trust(person, hub, owners=str(owners))


def test_what_is_roots_alone_is_safe(ge):
    """Also by a link, by .., and below a sticky folder of root such as /tmp."""
    for path in ("bin/qsub", "link/qsub", "bin/../link/qsub"):
        trust().require(f"{ge}/{path}")


@pytest.mark.parametrize("target", ["bin/qsub", "bin", "."])
@pytest.mark.parametrize(
    ("owner", "mode", "safe"),
    [
        ((0, 0), 0o755, True),
        ((SYSTEM, OTHER), 0o755, True),  # such as sgeadmin
        ((PERSON, 0), 0o555, False),
        ((HUB, 0), 0o555, False),
        ((OTHER, 0), 0o755, False),  # the hub may have served that person before
        ((0, 0), 0o777, False),
        ((0, 0), 0o775, True),
        ((0, STAFF), 0o775, True),
        ((0, OTHER), 0o775, False),
    ],
)
def test_owner_and_mode_decide_at_every_step(ge, target, owner, mode, safe):
    """The file, its folder and every folder above must be a system account's, and closed to others."""
    os.chown(ge / target, *owner)
    (ge / target).chmod(mode)
    if safe:
        trust(hub=None).require(f"{ge}/bin/qsub")
        return
    with pytest.raises(asuser.RefusedError) as caught:
        trust(hub=HUB if owner[0] == HUB else None).require(f"{ge}/bin/qsub")
    assert caught.value.why == "command-unsafe"
    assert str((ge / target).resolve()) in caught.value.message


def test_a_link_that_somebody_else_holds_is_unsafe(ge):
    """It could lead elsewhere by the time qsub is run."""
    people = ge.parent / "people"
    trust().require(f"{people}/link/qsub")
    os.chown(people / "link", OTHER, OTHER, follow_symlinks=False)
    with pytest.raises(asuser.RefusedError, match="people/link"):
        trust().require(f"{people}/link/qsub")
    os.chown(people / "link", 0, 0, follow_symlinks=False)
    os.chown(people, OTHER, OTHER)
    with pytest.raises(asuser.RefusedError, match="people can be changed"):
        trust().require(f"{people}/link/qsub")


def test_a_group_of_the_hub_or_the_person_is_no_safe_group(ge):
    """A system group may write, unless one of the two is in it; an unknown hub is in every group."""
    os.chown(ge, 0, STAFF)
    ge.chmod(0o775)
    trust(hub=0).require(f"{ge}/bin/qsub")
    with pytest.raises(asuser.RefusedError, match="hub's account is unknown"):
        trust(hub=HUB).require(f"{ge}/bin/qsub")
    games = pwd.getpwnam("games")
    os.chown(ge, 0, games.pw_gid)
    with pytest.raises(asuser.RefusedError, match="ge can be changed"):
        trust(hub=games.pw_uid).require(f"{ge}/bin/qsub")


def test_root_may_name_further_owners(ge, tmp_path):
    """Grid Engine's account may have a person's id; only root's own closed list says so."""
    account = max(pwd.getpwall(), key=lambda entry: entry.pw_uid)
    assert account.pw_uid >= asuser.FIRST_PERSON
    owners = tmp_path / "trusted-owners"
    owners.write_text(f"somebody\n{account.pw_name}\n")
    owners.chmod(0o644)
    os.chown(ge, account.pw_uid, 0)
    trust(owners=owners).require(f"{ge}/bin/qsub")
    for uid, mode, names in ((OTHER, 0o644, account.pw_name), (0, 0o666, account.pw_name), (0, 0o644, "somebody")):
        owners.write_text(names)
        os.chown(owners, uid, 0)
        owners.chmod(mode)
        with pytest.raises(asuser.RefusedError):
            trust(owners=owners).require(f"{ge}/bin/qsub")


def test_what_is_not_there_is_said(ge):
    """A missing program, and links in a circle, are refused by name."""
    (ge / "circle").symlink_to("circle")
    for name, reason in (("missing", "No such file"), ("circle", "Too many levels")):
        with pytest.raises(asuser.RefusedError, match=reason):
            trust().require(f"{ge}/{name}")
