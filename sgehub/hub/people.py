"""A person's account and Unix groups, and so what the site's file allows them.

The law of this file: the account database may answer slowly, so it is asked in a thread before anything is judged,
and what it said is believed for a while. It knows nothing of requests.
"""

from __future__ import annotations

import asyncio
import grp
import math
import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sgehub.errors import AccountError
from sgehub.model import names
from sgehub.model.narrowing import holding, narrowed
from sgehub.model.policy import SitePolicy

BELIEVED: Final = 60.0  # seconds
LEFT: Final = 900.0  # seconds that a group has to be missing until its person has left it


@dataclass(frozen=True, slots=True)
class _Groups:
    """What counts as a person's groups since when, and which of them the answers have lacked since when."""

    asked: float
    names: frozenset[str]
    missing: Mapping[str, float] = field(default_factory=dict)


def account_of(person: str) -> pwd.struct_passwd:
    """Return a person's account. Raises AccountError where there is none, or one that is spelt otherwise.

    Directories may find an account whatever its case; Grid Engine names a job's owner as the account is spelt.
    """
    try:
        account = pwd.getpwnam(names.check_user(person))
    except (KeyError, ValueError):
        raise AccountError(
            f"There is no account {person!r} on this machine, so that no job can be submitted for it."
        ) from None
    if account.pw_name != person:
        raise AccountError(
            f"The account of {person!r} is spelt {account.pw_name!r}, so that the hub could not tell whose its"
            " jobs are: have an administrator set"
            f" c.Authenticator.username_map = {{{person!r}: {account.pw_name!r}}}, then log in again."
        )
    return account


def groups_of(person: str) -> frozenset[str] | None:
    """Return the names of an account's groups, a number where one has none; None if nobody knows the account."""
    try:
        own = pwd.getpwnam(person).pw_gid
    except (KeyError, ValueError):
        return None
    return frozenset(map(_group, os.getgrouplist(person, own)))


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)  # a group without a name is in no rule: names begin with a letter


class People:
    """What each person may ask for under one site's policy."""

    def __init__(
        self,
        policy: SitePolicy,
        clock: Callable[[], float],
        groups: Callable[[str], frozenset[str] | None] = groups_of,
    ) -> None:
        self._policy, self._clock, self._groups = policy, clock, groups
        self._known: dict[str, _Groups] = {}
        self._narrowed: dict[tuple[int, ...], SitePolicy] = {(): policy}

    def take(self, policy: SitePolicy) -> None:
        """Judge by another policy; what is known of people's groups stays."""
        self._policy, self._narrowed = policy, {(): policy}

    def knows(self, person: str) -> bool:
        """Tell whether `policy_of` can answer without asking the account database."""
        return not self._policy.rules or person in self._known

    async def learn(self, person: str) -> None:
        """Ask for a person's groups without holding anybody up, unless they are known."""
        if self._policy.rules and not self._is_fresh(person):
            self._keep(person, await asyncio.to_thread(self._groups, person))

    def policy_of(self, person: str) -> SitePolicy:
        """Return the policy as it is for this person."""
        if not self._policy.rules:
            return self._policy
        if not self.knows(person):
            self._keep(person, self._groups(person))
        rules = holding(self._policy, person, self._known[person].names)
        if rules not in self._narrowed:
            self._narrowed[rules] = narrowed(self._policy, rules)
        return self._narrowed[rules]

    def _is_fresh(self, person: str) -> bool:
        return person in self._known and self._clock() - self._known[person].asked < BELIEVED

    def _keep(self, person: str, groups: frozenset[str] | None) -> None:
        """Keep what was said; where a directory does not answer, or says half, what it said before holds.

        Rules only narrow, so that a group which is not known would allow more.
        """
        now, before = self._clock(), self._known.get(person)
        if before is None:
            self._known[person] = _Groups(-math.inf, frozenset()) if groups is None else _Groups(now, groups)
            return
        if groups is None or any(name.isdigit() for name in groups - before.names):
            self._known[person] = replace(before, asked=now)
            return
        missing = {name: before.missing.get(name, now) for name in before.names - groups}
        missing = {name: since for name, since in missing.items() if now - since < LEFT}
        self._known[person] = _Groups(now, groups | missing.keys(), missing)
