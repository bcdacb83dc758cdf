"""The search index of SQLite: an FTS5 table over the texts of entities, and who keeps it.

It only says which entities cannot have a word; whether one has it is for the exact condition, which
stays beside it (`hsorm.sql.search`). For that, FTS5 must see a word begin wherever one begins for
us, and every case of its letters as the same letter. So our separators are separators there, too,
and only the beginning of a word is looked up that is made of letters and digits which FTS5 knows
since Unicode 3.2; its tables are of Unicode 6.1, and know nothing of later letters and cases.

FTS5 numbers its rows. Those of the entities may get other numbers by VACUUM, for their key is a
text; so a table beside it gives out the numbers, and keeps the texts as they were indexed, without
which FTS5 cannot take anything back. Triggers on the entities keep both, whoever writes.
"""

# ruff: noqa: S608 - SQL of names of our own, quoted; values are bound or read from rows

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final
from unicodedata import ucd_3_2_0 as known_to_all

from sqlalchemy import Column, Integer, MetaData, Select, Table, Text, select

from hsorm.ops.search import SEPARATORS, cases_of
from hsorm.sql.constructs import bound

__all__ = ["WordIndex", "make_word_index"]


_OF_FTS5: Final = ("config", "content", "data", "docsize", "idx")


@dataclass(frozen=True, slots=True, eq=False)
class WordIndex:
    """What can be asked of the search index of some entities, and how it is made and dropped.

    Attributes:
        words: The FTS5 table; MATCH is asked of the column of its own name.
        texts: The numbers and the texts.
        entities: The table of entities that it is about.
    """

    words: Table
    texts: Table
    entities: Table

    @property
    def name(self) -> str:
        """The name that it has among the indexes."""
        return self.words.name

    @property
    def parts(self) -> list[str]:
        """The names of all that it consists of: without one of them it is none."""
        return [self.words.name, self.texts.name, *(self._trigger(name) for name in _EVENTS)]

    def with_words(self, words: Iterable[str]) -> Select[tuple[Any]] | None:
        """Select the ids of the entities that may have all of the words, None where it cannot tell.

        Args:
            words: What `search_words` returned.
        """
        # Letters and digits alone: nothing in it means anything to FTS5 but what is written here.
        beginnings = [f'"{known}"*' for known in map(_known, words) if known]
        if not beginnings:
            return None
        matched = self.words.c[self.words.name].op("MATCH", is_comparison=True)
        numbered = self.texts.c.n == self.words.c.rowid
        found = select(self.texts.c.id).join_from(self.words, self.texts, numbered)
        return found.where(matched(bound(" ".join(beginnings))))

    # ---- keeping it --------------------------------------------------------------------------

    @property
    def table_names(self) -> list[str]:
        """The names of all that it is made of, with the tables that FTS5 makes for itself."""
        own = (f"{self.words.name}_{part}" for part in _OF_FTS5)
        return [self.texts.name, self.words.name, *own]

    def ddl(self) -> Iterator[str]:
        """Yield the statements that make it of the entities that are there."""
        schema, words, texts, entities = self._names()
        yield (
            f"CREATE TABLE {schema}{texts} "
            "(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, texts TEXT NOT NULL)"
        )
        # Nothing is kept that only ranks and phrases need.
        yield (
            f"CREATE VIRTUAL TABLE {schema}{words} USING fts5 (texts, content = {texts}, "
            "content_rowid = 'n', detail = none, columnsize = 0, "
            f"tokenize = \"unicode61 remove_diacritics 0 separators '{_BEYOND_ASCII}'\")"
        )
        yield (
            f"INSERT INTO {schema}{texts} (id, texts) SELECT id, {_texts_of('tags')} AS all_texts "
            f"FROM {schema}{entities} WHERE all_texts <> ''"
        )
        yield f"INSERT INTO {schema}{words} ({words}) VALUES ('rebuild')"
        # Inside a trigger names stand alone: they are those of its own schema.
        for name, body in _triggers(words, texts, entities):
            yield f"CREATE TRIGGER {schema}{_quoted(self._trigger(name))} {body}"

    def drop(self) -> Iterator[str]:
        """Yield the statements that take away what there is of it."""
        schema, words, texts, _ = self._names()
        for name in _EVENTS:
            yield f"DROP TRIGGER IF EXISTS {schema}{_quoted(self._trigger(name))}"
        yield f"DROP TABLE IF EXISTS {schema}{words}"
        yield f"DROP TABLE IF EXISTS {schema}{texts}"

    def _trigger(self, name: str) -> str:
        return f"{self.entities.name}_search_{name}"

    def _names(self) -> tuple[str, str, str, str]:
        """Return what stands before the names of the tables, and these, as SQL."""
        schema = f"{_quoted(self.words.schema)}." if self.words.schema else ""
        words, texts, entities = (
            _quoted(table.name) for table in (self.words, self.texts, self.entities)
        )
        return schema, words, texts, entities


def make_word_index(entities: Table) -> WordIndex:
    """Return the search index of a table of entities; its tables join no MetaData.

    What makes it is `WordIndex.ddl`.
    """
    name, schema = f"{entities.name}_search_ix", entities.schema
    numbers = Column("n", Integer(), primary_key=True), Column("id", Text())
    rows = Column("rowid", Integer(), primary_key=True), Column(name, Text())
    return WordIndex(
        Table(name, MetaData(), *rows, schema=schema),
        Table(f"{entities.name}_search_texts", MetaData(), *numbers, schema=schema),
        entities,
    )


# ---- letters ------------------------------------------------------------------------------------


_LATER_CASES: Final = {
    "ẞ": "ß", "\u0345": "ι",
    "\u1c80": "в", "\u1c81": "д", "\u1c82": "о", "\u1c83": "с", "\u1c84": "т", "\u1c85": "т",
    "\u1c86": "ъ", "\u1c87": "ѣ",
}  # fmt: skip
"""Cases of common letters that FTS5 does not know: indexed as the letter itself.

What stands here is in the indexes of existing files: to change it needs a migration. Other letters
with such a case (Georgian, Cherokee) are not looked up.
"""

_BEYOND_ASCII: Final = "".join(
    chr(code)
    for first, last in SEPARATORS
    for code in range(max(ord(first), 0x80), ord(last) + 1)
    if not 0xD800 <= code <= 0xDFFF
)
"""The separators, but for those of ASCII, which FTS5 has as we have them."""


@lru_cache(maxsize=1_024)
def _known(word: str) -> str:
    """Return as much of the beginning of a word as FTS5 reads as we do."""
    return "".join(takewhile(_is_known, word))


def _is_known(char: str) -> bool:
    return all(
        case in _LATER_CASES or known_to_all.category(case)[0] in "LN" for case in cases_of(char)
    )


# ---- triggers -----------------------------------------------------------------------------------


_EVENTS: Final = ("insert", "update", "delete")


def _triggers(words: str, texts: str, entities: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each trigger.

    `INSERT OR REPLACE` and its like delete a row without a DELETE trigger, and make any conflict in
    here a replacement as well: so whatever is indexed by an id is taken back before it is indexed.
    """
    old, new = _texts_of("OLD.tags"), _texts_of("NEW.tags")
    changes = f"NEW.id <> OLD.id OR {old} <> {new}"
    index = (
        f"INSERT INTO {texts} (id, texts) SELECT NEW.id, {new} AS all_texts WHERE all_texts <> ''; "
        f"INSERT INTO {words} (rowid, texts) SELECT n, texts FROM {texts} WHERE id = NEW.id;"
    )

    def take_back(ids: str) -> str:
        return (
            f"INSERT INTO {words} ({words}, rowid, texts) "
            f"SELECT 'delete', n, texts FROM {texts} WHERE id IN ({ids}); "
            f"DELETE FROM {texts} WHERE id IN ({ids});"
        )

    events = {
        "insert": (f"AFTER INSERT ON {entities}", f"{take_back('NEW.id')} {index}"),
        "update": (
            f"AFTER UPDATE OF id, tags ON {entities} WHEN {changes}",
            f"{take_back('OLD.id, NEW.id')} {index}",
        ),
        "delete": (f"AFTER DELETE ON {entities}", take_back("OLD.id")),
    }
    for name in _EVENTS:
        event, statements = events[name]
        yield name, f"{event} BEGIN {statements} END"


def _texts_of(tags: str) -> str:
    """Write the top-level texts of some tags in one, a new line before each; '' where are none.

    What is no JSON object has none. Names are not looked at: which tags count, the exact condition
    knows.
    """
    is_dict = f"WHEN json_valid({tags}) THEN CASE json_type({tags}) WHEN 'object' THEN {tags} END"
    texts = "group_concat(char(10) || t.value, '')"
    for later, letter in _LATER_CASES.items():
        texts = f"replace({texts}, '{later}', '{letter}')"
    each = f"json_each(CASE {is_dict} END) AS t"
    return f"coalesce((SELECT {texts} FROM {each} WHERE t.type = 'text'), '')"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
