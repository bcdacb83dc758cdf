"""What a search box finds: the words of a text, at the beginning of words in an entity's texts.

An entity is found when every word of the search begins a word in one of its top-level Str tags (not
all in the same one), upper and lower case alike. Live tags (`curStatus` "ok") are left out: they
say how an entity is just now, not which one it is. A word is a run of characters that are no
separators; which ones are separators, and which letters are one letter in two cases, is written
here, so that no server's locale has a say in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from hsorm.errors import SearchError
from hsorm.ops.live import LIVE_TAGS

__all__ = [
    "MAX_LENGTH",
    "MAX_WORDS",
    "SEPARATORS",
    "cases_of",
    "compile_search",
    "is_plain",
    "search_words",
]

MAX_LENGTH: Final = 200
"""So many characters a search has at the most."""

MAX_WORDS: Final = 10
"""So many different words a search has at the most."""

SEPARATORS: Final = (
    ("\x00", "/"), (":", "@"), ("[", "`"), ("{", "©"), ("«", "±"), ("´", "´"), ("¶", "¸"),
    ("»", "»"), ("¿", "¿"), ("×", "×"), ("÷", "÷"), ("\u2000", "\u206f"), ("\u3000", "\u3004"),
    ("\u3008", "\u3020"), ("\u3030", "\u3030"), ("\ud800", "\udfff"), ("\ufeff", "\ufeff"),
    ("\uff00", "\uff0f"), ("\uff1a", "\uff20"), ("\uff3b", "\uff40"), ("\uff5b", "\uff65"),
)  # fmt: skip
"""The characters between words, as ranges with both ends: ASCII but for letters and digits, the
punctuation and signs of Latin-1, general punctuation and spaces, those of CJK and of full width;
and halves of surrogate pairs, which no database holds."""

Found = Callable[[Mapping[str, Any]], bool]
"""Tells whether a search finds an entity."""


def search_words(text: str | None) -> tuple[str, ...]:
    """Return the words that a search looks for, each once; none for a blank text.

    Raises:
        SearchError: The text is too long, or has too many words.
    """
    if not text:
        return ()
    if len(text) > MAX_LENGTH:
        raise SearchError(text, f"{len(text)} characters, and {MAX_LENGTH} are the most")
    words = [word for word in _BETWEEN.split(text) if word]
    once = tuple(dict.fromkeys("".join(map(_folded, word)) for word in words))
    if len(once) > MAX_WORDS:
        raise SearchError(text, f"{len(once)} words, and {MAX_WORDS} are the most")
    return once


def compile_search(words: tuple[str, ...]) -> Found:
    """Return what tells whether all of the words are found in an entity."""
    patterns = [_pattern(word) for word in words]

    def finds(entity: Mapping[str, Any]) -> bool:
        # In one text, with a separator between: no word goes beyond its own.
        texts = "\0".join(
            [val for name, val in entity.items() if isinstance(val, str) and name not in LIVE_TAGS]
        )
        return all(found(texts) for found in patterns)

    return finds


def _pattern(word: str) -> Callable[[str], object]:
    # The letter first and then what stands before it: `re` looks for a letter many times faster.
    first = f"[{re.escape(cases_of(word[0]))}]"
    behind = f"(?<!{_CLASS.replace('[', '[^', 1)}{first})"
    return re.compile(f"{first}{behind}{_of_cases(word[1:])}").search


_CLASS: Final = "[" + "".join(f"{re.escape(a)}-{re.escape(b)}" for a, b in SEPARATORS) + "]"
_BETWEEN: Final = re.compile(_CLASS)


def _of_cases(word: str) -> str:
    return "".join(f"[{re.escape(cases_of(char))}]" for char in word)


# ---- case ---------------------------------------------------------------------------------------


def cases_of(char: str) -> str:
    """Return a letter in all of its cases (`aA`, `μΜµ`), any other character alone."""
    if char.isascii():
        return char.lower() + char.upper() if char.isalpha() else char
    return _cases().get(_folded(char), char)


def _folded(char: str) -> str:
    # One character for one: what becomes two (`ß`, `İ`) keeps the case that it has. And a letter of
    # ASCII is no other letter's case, as it would be that of `ſ` and of the Kelvin sign.
    upper = _one(char.upper(), char)
    return _one(_one(upper.lower(), upper), char)


def _one(changed: str, char: str) -> str:
    same_alphabet = changed.isascii() == char.isascii()
    return changed if len(changed) == 1 and same_alphabet else char


_LAST_CASED: Final = 0x1EFFF  # everything behind it has no case


@cache
def _cases() -> dict[str, str]:
    alike: dict[str, set[str]] = {}
    for char in map(chr, range(0x80, _LAST_CASED)):
        if (folded := _folded(char)) != char:
            alike.setdefault(folded, {folded}).add(char)
    return {folded: "".join(sorted(chars)) for folded, chars in alike.items()}


def is_plain(char: str) -> bool:
    """Tell whether the lower case that a server's locale gives a letter is among its cases here."""
    cases = cases_of(char)
    return all(len(c.lower()) == 1 and unicodedata.category(c) != "Cn" for c in cases)
