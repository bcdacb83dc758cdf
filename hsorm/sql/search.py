"""A search as a SQLAlchemy condition with the exact meaning of `hsorm.ops.search`.

Cases and separators are spelled out in the patterns, so that it is the same in every locale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Index, MetaData, Table, and_, literal, true
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import Text

from hsorm.ops.search import SEPARATORS, cases_of, is_plain
from hsorm.sql.constructs import Construct, bound

__all__ = ["SomeText", "Texts", "matches_words", "search_index"]


class SomeText(Construct):
    """One of the top-level texts of a dict, live tags left out, has a word that begins so."""

    type = Boolean()
    _parts = ("tags", "path", "start", "anywhere", "inside")
    _traverse_internals = [(part, InternalTraversal.dp_clauseelement) for part in _parts]

    def __init__(
        self,
        tags: ColumnElement[Any],
        path: ColumnElement[Any],
        start: ColumnElement[str],
        anywhere: ColumnElement[str],
        inside: ColumnElement[str],
    ) -> None:
        self.tags = tags
        self.path = path  # PostgreSQL's
        self.start = start  # SQLite's, for the beginning of a text
        self.anywhere = anywhere  # for anywhere in it, at the beginning of a word or not
        self.inside = inside  # and for the beginning of any word but the first


class Texts(Construct):
    """All top-level texts of a dict in one, as PostgreSQL indexes them by three letters each."""

    type = Text()
    _parts = ("tags",)
    _traverse_internals = [("tags", InternalTraversal.dp_clauseelement)]

    def __init__(self, tags: ColumnElement[Any]) -> None:
        self.tags = tags


def matches_words(
    tags: ColumnElement[Any], words: Iterable[str], *, indexed: bool = False
) -> ColumnElement[bool]:
    """Return the condition that all of the words are found in a dict; it is never NULL.

    Args:
        tags: The dict as JSON.
        words: What `search_words` returned.
        indexed: Whether there is an index as `search_index` makes it (PostgreSQL).
    """
    found: list[ColumnElement[bool]] = []
    for word in words:
        if indexed and (three := _around(word)) is not None:
            found.append(Texts(tags).op("~", is_comparison=True)(bound(three)))
        found.append(_begins_somewhere(tags, word))
    return and_(true(), *found)


def _begins_somewhere(tags: ColumnElement[Any], word: str) -> ColumnElement[bool]:
    cased = "".join(f"[{cases_of(char)}]" for char in word)
    regex = json.dumps(f"(^|{_CLASS}){cased}")
    path = f'strict $.* ? (@.type() == "string" && @ like_regex {regex})'
    globs = f"{cased}*", f"*{cased}*", f"*{_CLASS}{cased}*"
    return SomeText(tags, literal(path, JSONPATH()), *map(bound, globs))


# No database holds U+0000 in a text or binds it, nor half a surrogate pair. The `]` and the `\` are
# inside a range, which needs no escaping in regular expressions and in SQLite's GLOB alike.
_CLASS: Final = "[" + "".join(
    f"{max(a, chr(1))}-{b}" for a, b in SEPARATORS if not "\ud800" <= a <= "\udfff"
) + "]"  # fmt: skip


def _around(word: str) -> str | None:
    """Return a regular expression that every text with the word fits, None where it says nothing.

    The index holds texts in lower case as the server's locale has it. A letter that this may turn
    into one that is none of its cases here is left open.
    """
    cased = "".join(f"[{cases_of(char)}]" if is_plain(char) else "." for char in word)
    return cased if cased.strip(".") else None


def search_index(entities: Table) -> Index:
    """Return the index of PostgreSQL over the texts of entities; it needs the extension pg_trgm."""
    copy = entities.to_metadata(MetaData())
    return Index(
        f"{entities.name}_search_ix",
        Texts(copy.c.tags).label("texts"),
        postgresql_using="gin",
        postgresql_ops={"texts": "gin_trgm_ops"},
    )
