"""The documented table of faults is complete, sorted, and as the tests have written it."""

from __future__ import annotations

from pathlib import Path

from tests.lab.fault_table import FAULTS, FILE, HEADER, Row, key, merge, parse, plain, render


def row(number: int, variant: str = "", **changes: str) -> Row:
    """Return a row of a test."""
    texts = {"done": "cut", "outcome": "lives", "saw": "nothing", **changes}
    return Row(number, variant, **texts, lost=0, orphans=0, seconds=1.26, log=("first", "second"))


def test_every_declared_fault_is_documented():
    """All 27, none twice in the same variant, none that nobody declared, in order."""
    text = FILE.read_text(encoding="utf-8")
    rows = parse(text)
    assert list(FAULTS) == list(range(1, 28))
    assert {number for number, _ in rows} == set(FAULTS)
    assert list(rows) == sorted(rows)
    assert text.count("   * - ") == len(rows) + 1


def test_the_documented_table_says_that_nothing_was_lost():
    """It is as it was written: nobody edits it by hand."""
    text = FILE.read_text(encoding="utf-8")
    rows = parse(text)
    assert render(rows.values()) == text
    for cells in rows.values():
        assert len(cells) == len(HEADER)
        assert cells[4:6] == ["0", "0"]
        assert float(cells[6]) >= 0


def test_rows_are_merged_by_number_and_variant(tmp_path: Path):
    """A new measurement replaces the old one; others stay; two come before ten."""
    file = tmp_path / "faults.inc"
    merge([row(10), row(2, "b"), row(2, "a", done="old")], file)
    merge([row(2, "a", done="new")], file)
    rows = parse(file.read_text())
    assert [key(cells) for cells in rows.values()] == [(2, "a"), (2, "b"), (10, "")]
    assert rows[2, "a"] == ["2, a", "new", "lives", "nothing", "0", "0", "1.3", "first / second"]


def test_what_a_log_says_is_shown_as_it_is():
    """Markup in a message is no markup in the documentation, and a line break none either."""
    assert plain("a*b `c` |d| e_ <f>\n  g") == "a\\*b \\`c\\` \\|d\\| e\\_ \\<f\\> g"
    assert plain("") == "\\-"
