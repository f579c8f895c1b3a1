"""Times, amounts and sentences, whatever the dialect writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgehub.gridengine.answers import amount, instant, is_transport_error, sentence
from sgehub.gridengine.runner import Completed

NOON = 1795176000.0  # 2026-11-20 12:00:00 UTC


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-11-20T12:00:00", NOON),
        ("2026-11-20 12:00:00.250000", NOON + 0.25),
        ("2026-11-20T12:00:00.250Z", NOON + 0.25),
        ("Fri Nov 20 12:00:00 2026", NOON),
        ("Fri Nov  6 12:00:00 2026", NOON - 14 * 86400),
        ("1795176000", NOON),
        ("1795176000250", NOON + 0.25),
        ("1795176000250000", NOON + 0.25),
        *(
            (text, None)
            for text in ("0", "", "-/-", "-", "undefined", "2026-13-40T99:00:00", "Fri Foo 20 12:00:00 2026")
        ),
    ],
)
def test_a_time_is_read_by_its_shape(text: str, value: float | None) -> None:
    """Seconds, milli- and microseconds, ISO, ctime; unset is None, nonsense too."""
    assert instant(text) == value


@given(st.text(max_size=40))
def test_no_text_is_fatal(text: str) -> None:
    assert isinstance(instant(text), float | None)
    assert isinstance(amount(text), float | None)


@pytest.mark.parametrize(
    ("text", "value"),
    [("8.000G", 8 * 2**30), ("3.430MB", 3.43 * 2**20), ("107374182400", 1e11 * 1.073741824), ("0.002s", 0.002),
     ("0.0", 0.0), ("1.07374e+11", 1.07374e11), ("2.000000", 2.0), ("-", None), ("", None), ("lx-amd64", None)],
)  # fmt: skip
def test_an_amount_is_read_as_printed(text: str, value: float | None) -> None:
    assert amount(text) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("stderr", "said"),
    [
        ('Unable to run job: job rejected: the requested project "x" does not exist.\nExiting.\n',
         'The requested project "x" does not exist.'),
        ('Unable to run job: Job 9 (-l m=9G) cannot run at host "a"\nverification: no suitable queues\nExiting.',
         'It cannot run at host "a".'),
        ("qsub: ERROR! argument to -N option must not contain / \n", "Argument to -N option must not contain /."),
        ("SGE 8.1.9\nusage: qstat [options]\n  [-ext]  more\n", ""),
        ("denied: \x1b[31mno\x07 \n\n", "[31mno."),
        ("", ""),
    ],
)  # fmt: skip
def test_what_a_command_said_becomes_sentences(stderr: str, said: str) -> None:
    """Without prefixes, numbers of jobs that will never be, usage and control characters."""
    assert sentence(Completed(1, b"", stderr.encode())) == said


def test_a_long_answer_is_cut_where_people_stop_reading() -> None:
    """Between two words, with a mark; what is said twice is said once."""
    reasons = "".join(f'Job 9 cannot run at host "node{number:03}"\n' for number in range(900))
    said = sentence(Completed(1, b"", f"denied: no\ndenied: no\n{reasons}".encode()))
    assert said.startswith('No. It cannot run at host "node000". It cannot run at host "node001". ')
    assert said.endswith(" …")
    assert 400 < len(said) <= 500
    assert len(sentence(Completed(1, b"x" * 10_000, b""))) <= 500


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_sentences_hold_no_control_character_and_no_line_break(stdout: bytes, stderr: bytes) -> None:
    said = sentence(Completed(1, stdout, stderr))
    assert all(character >= " " and not "\x7f" <= character <= "\x9f" for character in said)


@pytest.mark.parametrize("status", [-9, -15, 124, 137, 143, 255])
def test_a_command_that_was_ended_did_not_answer(status: int) -> None:
    assert is_transport_error(Completed(status, b"", b""))
