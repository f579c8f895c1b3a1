"""Memory and durations in Grid Engine's notation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.model.units import MULTIPLIERS, Duration, Memory

SIZES = st.integers(min_value=0, max_value=10**15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("4G", 4 * 1024**3),
        ("4g", 4 * 1000**3),
        ("512M", 512 * 1024**2),
        ("1k", 1000),
        ("1K", 1024),
        ("1.5G", 1536 * 1024**2),
        ("0.0001K", 1),
        ("2T", 2 * 1024**4),
    ],
)
def test_memory_reads_sge_types_notation(text, expected):
    """Small letters count in 1000, capitals in 1024; a fraction of a byte is rounded up."""
    assert Memory.parse(text) == Memory(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "G",
        "4 G",
        " 4G",
        "4GB",
        "-1G",
        "+4G",
        "1e3",
        "4G\n",
        "٤G",
        "0x10",
        "1.G",
        ".5G",
        "9" * 40,
        "4G,h_vmem=1",
    ],
)
def test_memory_refuses_everything_else(text):
    """What qsub would read differently, or not at all, is refused with a sentence."""
    with pytest.raises(ValueError, match="Write memory as a number with a unit"):
        Memory.parse(text)


@given(SIZES)
def test_memory_is_printed_exactly(amount):
    """What is printed is read back as the same amount."""
    assert Memory.parse(str(Memory(amount))) == Memory(amount)


@given(st.integers(min_value=1, max_value=10**15), st.integers(min_value=1, max_value=4096))
def test_a_slots_share_is_whole_k_and_never_too_little(amount, slots):
    """The shares add up to at least what was asked for, and to less than one K a slot more."""
    total = Memory(amount).per_slot(slots).times(slots)
    assert Memory(amount).per_slot(slots).bytes % 1024 == 0
    assert 0 <= total.bytes - amount < 1024 * slots


def test_units_are_those_of_the_man_page():
    """sge_types(1): k m g t are powers of 1000, K M G T powers of 1024."""
    assert [MULTIPLIERS[u] for u in "kmgt"] == [1000**n for n in (1, 2, 3, 4)]
    assert [MULTIPLIERS[u] for u in "KMGT"] == [1024**n for n in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("08:00:00", 28800),
        ("0:30:0", 1800),
        ("::30", 30),
        ("90", 90),
        ("1::", 3600),
        (":90:", 5400),
        ("100:00:00", 360000),
    ],
)
def test_durations_read_sge_types_notation(text, expected):
    """Seconds, or [h]:[m]:[s] with parts that may be empty. sge_types(1)."""
    assert Duration.parse(text) == Duration(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8h",
        "1:30",
        "-1:0:0",
        "INFINITY",
        "1:2:3:4",
        "01:00:00\n",
        "1 :0:0",
        "٠١:٠٠:٠٠",
        "1:0:0,gpu=1",
        "9" * 12,
    ],
)
def test_durations_refuse_everything_else(text):
    """A notebook's runtime is finite and written with ASCII digits."""
    with pytest.raises(ValueError, match="hours:minutes:seconds"):
        Duration.parse(text)


@given(st.integers(min_value=0, max_value=10**8))
def test_durations_are_printed_exactly(seconds):
    """What is printed is read back as the same length."""
    assert Duration.parse(str(Duration(seconds))) == Duration(seconds)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (1800, "30 minutes"), (5400, "1 hour 30 minutes"), (172800, "48 hours")],
)
def test_durations_in_words(seconds, words):
    """People read hours and minutes."""
    assert Duration(seconds).words() == words
