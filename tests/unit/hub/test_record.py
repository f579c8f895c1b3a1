"""What the hub's database keeps of a start."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from types import SimpleNamespace

import pytest

from sgehub.hub.record import SessionRecord
from sgehub.model.job import JobIdentity

RECORD = SessionRecord(
    tag="0123456789ab", person="alice", folder="/home/alice/.sgehub", token_id=7, asked=1000.0
).answered(42, 1001.5)


def test_a_record_survives_the_database():
    """JSON and back, unchanged."""
    assert SessionRecord.from_state(json.loads(json.dumps(RECORD.as_state()))) == RECORD


def test_a_later_versions_fields_are_passed_over():
    """A hub that was upgraded and taken back still finds its sessions."""
    assert SessionRecord.from_state({**RECORD.as_state(), "new": 1}) == RECORD


def test_a_record_of_an_earlier_version_still_loads():
    """A hub that was upgraded keeps its sessions."""
    new = ("submission_time", "launch_owed")
    state = {key: value for key, value in RECORD.as_state().items() if key not in new}
    assert SessionRecord.from_state(state) == RECORD


def test_another_run_is_owed_a_launch_file_until_it_reports():
    """A session that has reported has read it, though nobody has heard that it was written."""
    renewed = RECORD.renewed(8, 2000.0, 2001.0)
    assert (renewed.token_id, renewed.token_made, renewed.queued) == (8, 2000.0, 2001.0)
    assert renewed.lacks_launch
    assert not replace(renewed, port=24000).lacks_launch
    assert not RECORD.lacks_launch


def test_grid_engines_time_of_the_submission_is_kept_once_it_was_seen():
    """8.1.9 shows it only while the job waits."""
    assert RECORD.seen(None) is RECORD
    assert RECORD.seen(998.0).seen(None).seen(1234.0).submission_time == 998.0


def test_a_start_is_one_job_once_its_number_is_known():
    """With Grid Engine's own times as far as lists have shown them; half a database falls back on the request."""
    seen = RECORD.seen(998.0).placed("node01", 1002.0)
    assert seen.identity == JobIdentity(42, "alice", "sgehub-0123456789ab", 1001.5, 998.0, 1002.0)
    assert replace(RECORD, submitted=None).identity == JobIdentity(42, "alice", RECORD.job_name, 1000.0)
    assert replace(RECORD, number=None).identity is None


def test_a_time_that_is_none_is_seen_before_it_is_compared():
    """A database may hold anything."""
    assert RECORD.sound
    for name in ("submitted", "run_started", "submission_time"):
        assert not replace(RECORD, **{name: "yesterday"}).sound


@pytest.mark.parametrize("state", [None, {}, [], "x", {"tag": "0123456789ab"}])
def test_what_is_no_record_is_none(state):
    """Half a record is no session that could be polled or deleted by guess."""
    assert SessionRecord.from_state(state) is None


def test_the_jobs_name_is_the_tag():
    """Neither person nor server show in it."""
    assert RECORD.job_name == "sgehub-0123456789ab"


def token(number: int, made: float) -> SimpleNamespace:
    """Return what the hub's database knows of a token; it keeps UTC without saying so."""
    return SimpleNamespace(id=number, created=datetime.fromtimestamp(made, timezone.utc).replace(tzinfo=None))


@pytest.mark.parametrize(
    ("number", "made", "expected"),
    [(7, 999.9, True), (7, 1000.0, True), (8, 999.9, False), (7, 1000.1, False), (7, 2000.0, False)],
)
def test_a_token_is_its_record_and_no_later_one_of_that_number(number, made, expected):
    """A database gives the number of a revoked token to the next one, which a person may have made herself."""
    assert RECORD.is_token(token(number, made)) is expected


@pytest.mark.parametrize(("now", "asked", "submitted"), [(2000.0, 1000.0, 1001.5), (700.0, 700.0, 700.0)])
def test_what_an_earlier_hub_did_lies_in_the_past(now, asked, submitted):
    """A clock that was set back must not make every list of jobs too old to prove anything."""
    found = RECORD.by_clock(now)
    assert (found.asked, found.submitted) == (asked, submitted)
    assert found.number == RECORD.number
