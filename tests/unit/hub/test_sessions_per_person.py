"""How many sessions a person may have at once: what counts, and who says so."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from sgehub.hub.ledger import Ledger
from sgehub.hub.record import SessionRecord
from sgehub.hub.refusals import RequestRefused, StartFailed
from sgehub.hub.spawner import SGESpawner
from sgehub.model import names
from tests.unit.hub.gate_rig import spawner_of


class Ends:
    """Jobs that are being ended."""

    def __init__(self) -> None:
        self.tags: set[str] = set()

    def has(self, tag: str) -> bool:
        return tag in self.tags


@pytest.fixture
def limited() -> Iterator[SGESpawner]:
    """Return the spawner of a named server, where each person may have two sessions at once."""
    spawner = spawner_of("third", sessions_per_person=2)
    engine = sa.create_engine("sqlite://")
    with Session(engine) as session:
        spawner.service.ledger, spawner.service.ends = Ledger(session), Ends()
        spawner.user_options = {}
        yield spawner
    engine.dispose()


def begin(spawner: SGESpawner, server: str, *, person: str = "alice") -> str:
    """Enter a start into the ledger; return its tag."""
    tag = names.new_tag()
    spawner.service.ledger.begin(SessionRecord(tag, person, "/home/x", token_id=1, asked=1.0), server)
    return tag


async def test_one_session_too_many_is_refused_by_rest_and_start_alike(limited):
    """The others are named, the default one in words."""
    begin(limited, "")
    assert limited.accept()
    begin(limited, "second")
    with pytest.raises(RequestRefused) as caught:
        limited.accept()
    words = "You may have 2 sessions at once, and have: the default one, second. Stop one first."
    assert caught.value.jupyterhub_message == words
    for way in (lambda: limited.apply_user_options(limited, {}), limited.start):
        with pytest.raises(RequestRefused) as caught:
            await asyncio.ensure_future(done) if asyncio.iscoroutine(done := way()) else done
        assert caught.value.jupyterhub_message == words
    assert limited.record is None


def test_what_counts_is_the_same_persons_other_sessions_that_are_not_being_ended(limited):
    """A server is not in its own way, and neither is a job that is being deleted."""
    begin(limited, "third")
    begin(limited, "")
    begin(limited, "", person="bob")
    ending = begin(limited, "old")
    limited.service.ends.tags.add(ending)
    assert limited.accept()
    limited.service.ends.tags.clear()
    with pytest.raises(RequestRefused, match="the default one, old"):
        limited.accept()
    limited.service.ledger.close(ending)
    assert limited.accept()


def test_a_database_that_does_not_tell_is_a_failure_in_words(limited):
    """Not a start beyond the limit, and not an error page without a reason."""
    limited.service.ledger._session.execute(sa.text("drop table sgehub_starts"))
    with pytest.raises(StartFailed, match="does not tell what was started"):
        limited.accept()


async def test_two_starts_at_once_do_not_both_get_the_last_session(limited):
    """While one waits, another may have been submitted: what counts is the moment before the submission."""

    async def cleared(_person: str, _server: str) -> None:
        begin(limited, "second", person=limited.user.name)  # by another task of the hub

    counted: list[str] = []
    limited.user.name = pwd.getpwuid(os.getuid()).pw_name
    begin(limited, "first", person=limited.user.name)
    limited.service.ends = SimpleNamespace(cleared=cleared, has=lambda _tag: False)
    limited.service.metrics = SimpleNamespace(start_ended=counted.append)
    limited.commit = lambda: None
    with pytest.raises(StartFailed, match="You may have 2 sessions at once, and have: first, second") as caught:
        await limited.start()
    assert (caught.value.status_code, counted) == (400, ["refused"])
    assert limited.record is None
    assert len(limited.service.ledger.entries(limited.user.name)) == 2
