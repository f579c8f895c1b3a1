"""A person's account and groups are asked for in a thread, and believed for a minute."""

from __future__ import annotations

import grp
import os
import pwd
import threading

import pytest

from sgehub.errors import AccountError
from sgehub.hub.people import BELIEVED, LEFT, People, account_of, groups_of
from tests.unit.model.site import site

POLICY = site(rules=[{"groups": ["astro"], "queues": ["gpu.q"]}])


class Accounts:
    """An account database that counts its answers, and who asks."""

    def __init__(self) -> None:
        self.groups = frozenset({"astro"})
        self.asked: list[bool] = []  # whether by the thread of the hub's loop

    def __call__(self, _person: str) -> frozenset[str]:
        """Answer."""
        self.asked.append(threading.current_thread() is threading.main_thread())
        return self.groups


async def test_groups_are_learned_in_a_thread_and_believed_for_a_while():
    """Who is put into a group sees it within a minute, without a restart."""
    accounts, now = Accounts(), [1000.0]
    accounts.groups = frozenset()
    people = People(POLICY, lambda: now[0], accounts)
    await people.learn("alice")
    assert list(people.policy_of("alice").queues) == ["short.q", "long.q", "gpu.q"]
    accounts.groups = frozenset({"astro"})
    await people.learn("alice")
    assert list(people.policy_of("alice").queues) == ["short.q", "long.q", "gpu.q"]
    now[0] += BELIEVED
    await people.learn("alice")
    assert list(people.policy_of("alice").queues) == ["gpu.q"]
    assert accounts.asked == [False, False]


async def test_who_has_left_a_group_sees_it_later():
    """A directory that has just begun may answer half: a group is gone after a quarter of an hour without it."""
    accounts, now = Accounts(), [1000.0]
    people = People(POLICY, lambda: now[0], accounts)
    for groups, then, queues in [
        ({"astro", "users"}, 0, ["gpu.q"]),
        ({"users"}, 3600, ["gpu.q"]),
        ({"astro", "users"}, BELIEVED, ["gpu.q"]),
        ({"users"}, 3600, ["gpu.q"]),
        ({"users"}, LEFT - BELIEVED, ["gpu.q"]),
        ({"users"}, BELIEVED, ["short.q", "long.q", "gpu.q"]),
    ]:
        accounts.groups = frozenset(groups)
        now[0] += then
        await people.learn("alice")
        assert list(people.policy_of("alice").queues) == queues


async def test_an_account_that_is_not_known_yet_is_asked_for_again():
    """A machine that has just booted knows nobody for some seconds."""
    answers = [None, frozenset({"astro"})]
    people = People(POLICY, lambda: 0.0, lambda _person: answers.pop(0))
    await people.learn("alice")
    await people.learn("alice")
    assert list(people.policy_of("alice").queues) == ["gpu.q"]


async def test_a_site_without_rules_asks_nobody():
    """Nor does it make a policy of its own for each person."""
    accounts, policy = Accounts(), site()
    people = People(policy, lambda: 0.0, accounts)
    await people.learn("alice")
    assert people.policy_of("alice") is policy
    assert accounts.asked == []


def test_a_person_who_was_not_learned_is_asked_for_at_once():
    """Options may be judged where no form was opened before."""
    accounts = Accounts()
    people = People(POLICY, lambda: 0.0, accounts)
    assert list(people.policy_of("alice").queues) == ["gpu.q"]
    assert people.policy_of("alice") is people.policy_of("alice")
    assert accounts.asked == [True]


def test_the_groups_are_those_of_the_account():
    """The primary one and the others; nobody has none."""
    name = pwd.getpwuid(os.getuid()).pw_name
    assert grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name in groups_of(name)
    assert groups_of("nosuchperson") is None
    assert groups_of("with\0zero") is None


@pytest.mark.parametrize("nobody", ["nosuchperson", "with\0zero", "-u"])
def test_a_person_without_an_account_is_told_so(nobody):
    """Also where the name could be none: it reaches no command."""
    own = pwd.getpwuid(os.getuid())
    assert account_of(own.pw_name) == own
    with pytest.raises(AccountError, match="There is no account"):
        account_of(nobody)


def test_an_account_that_is_spelt_otherwise_is_refused_with_what_to_do(monkeypatch):
    """A directory finds "alice" though the account is "Alice", to whom the jobs would belong."""
    own = pwd.getpwuid(os.getuid())
    found = pwd.struct_passwd(("Alice", *own[1:]))
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: found)
    with pytest.raises(AccountError, match=r"username_map = \{'alice': 'Alice'\}"):
        account_of("alice")
    assert account_of("Alice") == found


@pytest.mark.parametrize("said", [None, frozenset({"users", "4711"})])
async def test_a_directory_that_fails_allows_nobody_more(said):
    """Groups that were known hold on: rules only narrow, and a group that is missing would widen."""
    rule = {"groups": ["class"], "most": {"cores": 2}}
    now, answers = [0.0], [frozenset({"class"}), said]
    people = People(site(rules=[rule]), lambda: now[0], lambda _person: answers.pop(0))
    await people.learn("alice")
    now[0] += 3600
    await people.learn("alice")
    assert answers == []
    assert people.policy_of("alice").queues["short.q"].cores == 2
