"""The rules of text search, as `hsorm.ops.search` has them."""

from __future__ import annotations

import pytest

from hsorm.errors import SearchError
from hsorm.ops.search import SEPARATORS, cases_of, compile_search, is_plain, search_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ()),
        ("", ()),
        (" -_/ \u3000", ()),
        ("AHU disch", ("ahu", "disch")),
        ("ahu-1 AHU_1", ("ahu", "1")),
        ("72.5°F m²", ("72", "5", "f", "m²")),
        ("ΟΔΟΣ οδος", ("οδοσ",)),
        ("İ i ß ẞ", ("İ", "i", "ß")),
        ("会議室、1", ("会議室", "1")),
    ],
)
def test_words(text: str | None, words: tuple[str, ...]) -> None:
    """Runs of what is no separator, each once, whichever case it is written in."""
    assert search_words(text) == words


def test_what_is_too_long_is_told() -> None:
    with pytest.raises(SearchError, match="201 characters, and 200 are the most") as caught:
        search_words("x" * 201)

    assert caught.value.text == "x" * 201
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("char", "cases"),
    [("a", "aA"), ("K", "kK"), ("5", "5"), ("σ", "Σςσ"), ("µ", "µΜμ"), ("İ", "İ"), ("会", "会")],
)
def test_cases(char: str, cases: str) -> None:
    """One character for one, and ASCII among itself."""
    assert cases_of(char) == cases


def test_every_letter_is_among_its_own_cases() -> None:
    """So that a word finds itself, and what it finds, finds it."""
    for char in map(chr, range(0x2FFFF)):
        cases = cases_of(char)
        assert char in cases
        assert all(cases_of(other) == cases for other in cases) or char.isascii()


def test_separators_are_ranges_in_order() -> None:
    assert all(first <= last for first, last in SEPARATORS)
    inside = [c for c in map(chr, range(128)) if any(a <= c <= b for a, b in SEPARATORS)]
    assert all(char.isalnum() != (char in inside) for char in map(chr, range(128)))
    assert not any(is_plain(char) for char in "İ")


def test_the_predicate() -> None:
    found = compile_search(search_words("ahu disch"))

    assert found({"dis": "AHU-1", "doc": "Discharge"})
    assert not found({"dis": "AHU-1", "doc": "recharge"})
    assert not found({"ahu": True, "disch": 5})
