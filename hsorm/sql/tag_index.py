"""The side table `entity_tags` of SQLite, which has no inverted index: what it asks, who keeps it.

A row (`tag`, `val`, `id`) says one thing of the entity `id`, and its key is the whole row:

* `val` is empty: the entity has the tag, whatever its value;
* `@` and an id: the value is this ref, or a list with it;
* `"` and a text: the value is this Str, of at most 64 characters;
* `{`: the value is a dict, into which a path may go.

So what has a tag, and what has a ref, comes in order of id, and whether a given entity is among
them is one look. Nothing is said of `id` and `mod`, which every entity has, and live tags are
elsewhere. Triggers on the entities keep the table, so that rows of other people's SQL are in it.
"""

# ruff: noqa: S608 - SQL of names of our own, quoted; values are bound or read from rows

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    FromClause,
    Insert,
    MetaData,
    Select,
    Table,
    Text,
    TextClause,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    text,
    union_all,
)

from hsorm.ops.live import LIVE_TAGS
from hsorm.sql.constructs import bound

__all__ = ["LONGEST", "Entry", "TagIndex", "make_tag_index", "moved"]

LONGEST: Final = 64
"""Texts of more characters are not looked up by value."""

_UNSAID: Final = ("id", "mod")
_ENOUGH: Final = 1_000

Entry: TypeAlias = tuple[str, str]
"""A tag's name, and the `val` that is asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class TagIndex:
    """What can be asked of the side table of some entities.

    Attributes:
        table: The side table.
        entities: The table of entities that it is about.
        declared: The tags that have an index of their own, which answers comparisons.
    """

    table: Table
    entities: Table
    declared: frozenset[str] = frozenset()

    @staticmethod
    def knows(tag: str) -> bool:
        """Tell whether the table says anything of a tag."""
        return tag not in _UNSAID and tag not in LIVE_TAGS

    def with_all(self, entries: Sequence[Entry]) -> Select[tuple[Any]]:
        """Select in order the ids of the entities of which all entries are said.

        SQLite does not know how often a tag is there, so the statement finds out: it goes through
        the entry with the fewest rows, as far as a thousand tell, and looks the others up.
        """
        found = self.table.alias()
        if len(entries) == 1:
            ((tag, val),) = entries
            return select(found.c.id).where(found.c.tag == bound(tag), found.c.val == bound(val))
        rarest = self._rarest(entries)
        drives = found.c.tag == rarest.c.tag, found.c.val == rarest.c.val
        others = (self.says(entry, found.c.id) for entry in entries)
        return select(found.c.id).select_from(rarest, found).where(*drives, *others)

    def with_ref_to(
        self, tag: str, targets: Select[tuple[Any]], others: Sequence[Entry]
    ) -> Select[tuple[Any]]:
        """Select the ids of the entities with a ref to one of these, of which all else is said."""
        found = self.table.alias()
        marked = select(literal_column("'@'").op("||")(targets.selected_columns[0]))
        leads = found.c.tag == bound(tag), found.c.val.in_(marked)
        return select(found.c.id).where(*leads, *(self.says(entry, found.c.id) for entry in others))

    def with_dict(self, tag: str) -> Select[tuple[Any]]:
        """Select the ids of the entities whose value of a tag is a dict."""
        return self.with_all([(tag, "{")])

    def says(self, entry: Entry, id: ColumnElement[Any]) -> ColumnElement[bool]:
        """Return the condition that an entry is said of an id."""
        (tag, val), other = entry, self.table.alias()
        there = other.c.tag == bound(tag), other.c.val == bound(val), other.c.id == id
        return exists(literal_column("1")).where(*there)

    def _rarest(self, entries: Sequence[Entry]) -> FromClause:
        arms = [
            select(bound(tag).label("tag"), bound(val).label("val"), self._few(tag, val).label("n"))
            for tag, val in entries
        ]
        counted = union_all(*arms).subquery()
        return select(counted.c.tag, counted.c.val).order_by(counted.c.n).limit(1).subquery()

    def _few(self, tag: str, val: str) -> ColumnElement[int]:
        """Count the rows of an entry, up to a thousand."""
        some = self.table.alias()
        rows = select(some.c.id).where(some.c.tag == bound(tag), some.c.val == bound(val))
        return select(func.count()).select_from(rows.limit(_ENOUGH).subquery()).scalar_subquery()

    # ---- keeping it --------------------------------------------------------------------------

    def ddl(self) -> Iterator[str]:
        """Yield the statements that make the table and the triggers that keep it."""
        table, entities, schema = self._names()
        yield (
            f"CREATE TABLE {table} (tag TEXT NOT NULL, val TEXT NOT NULL, id TEXT NOT NULL, "
            "PRIMARY KEY (tag, val, id)) WITHOUT ROWID"
        )
        # Inside a trigger names stand alone: they are those of its own schema.
        for name, body in _triggers(table.removeprefix(schema), entities.removeprefix(schema)):
            trigger = _quoted(f"{self.table.name}_{name}")
            yield f"CREATE TRIGGER {schema}{trigger} {body}"

    def pause(self) -> Insert:
        """Have the triggers do nothing in this transaction: who writes says what is so at its end.

        Nobody else sees it, and it is gone with the transaction if that fails.
        """
        return insert(self.table).values(tag="", val="", id="")

    def resume(self) -> Delete:
        """End the pause."""
        return delete(self.table).where(*(column == bound("") for column in self.table.c))

    def forget(self) -> TextClause:
        """Take back what is said of the entities `ids`, a JSON array, as they are stored now."""
        return self._of_stored("DELETE FROM {} WHERE (tag, val, id) IN (SELECT * FROM ({}))")

    def note(self) -> TextClause:
        """Say what is so of the entities `ids`, a JSON array, of which nothing is said yet.

        In order of the key: a page of the table is then written once, not once for each entity.
        """
        return self._of_stored("INSERT INTO {} SELECT * FROM ({}) ORDER BY 1, 2, 3")

    def _of_stored(self, sql: str) -> TextClause:
        table, entities, _ = (name.replace(":", r"\:") for name in self._names())
        listed = f"json_each(:ids) AS i CROSS JOIN {entities} AS e ON e.id = i.value CROSS JOIN "
        said = _said_of("e.tags", "e.id", listed)
        return text(sql.format(table, said)).bindparams(bindparam("ids", type_=Text()))

    def moved(self, schemas: Mapping[str | None, str | None]) -> TagIndex:
        """Return the same with tables in other schemas, as of a `schema_translate_map`.

        SQLAlchemy does not know what is in a text.
        """
        table, entities = moved(self.table, schemas), moved(self.entities, schemas)
        return replace(self, table=table, entities=entities)

    def _names(self) -> tuple[str, str, str]:
        """Return the names of both tables, and what stands before them, as SQL."""
        schema = f"{_quoted(self.table.schema)}." if self.table.schema else ""
        return (
            f"{schema}{_quoted(self.table.name)}",
            f"{schema}{_quoted(self.entities.name)}",
            schema,
        )


def moved(table: Table, schemas: Mapping[str | None, str | None]) -> Table:
    """Return a table in another schema, as of a `schema_translate_map`."""
    schema: Any = schemas.get(table.schema, table.schema)
    return table.to_metadata(MetaData(), schema=schema)


def make_tag_index(entities: Table, prefix: str) -> TagIndex:
    """Return the index beside a table of entities; its table joins no MetaData, SQLite's alone.

    What makes it is `TagIndex.ddl`.
    """
    names = ("tag", "val", "id")
    columns = (Column(name, Text(), primary_key=True) for name in names)
    table = Table(f"{prefix}entity_tags", MetaData(), *columns, schema=entities.schema)
    return TagIndex(table, entities)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_MARKER: Final = '{"_kind":"marker"}'


def _said_of(tags: str, id: str, source: str = "", where: str = "") -> str:
    """Write the SELECT of all rows (`tag`, `val`, `id`) about some tags, each once.

    What is no JSON object has no tags, and a JSON null is none (F32). `UNION`, for a list may hold
    a ref twice, and other people's JSON a name.
    """
    is_dict = f"WHEN json_valid({tags}) THEN CASE json_type({tags}) WHEN 'object' THEN {tags} END"
    each = f"{source}json_each(CASE {is_dict} END) AS t"
    list_ = "json_each(CASE t.type WHEN 'array' THEN t.value END) AS r"
    ref = "CASE typeof({0} ->> 'val') WHEN 'text' THEN '@' || ({0} ->> 'val') END"
    val = (
        f"CASE t.type WHEN 'text' THEN CASE WHEN length(t.value) <= {LONGEST} "
        "THEN '\"' || t.value END WHEN 'object' THEN "
        f"CASE coalesce(t.value ->> '_kind', 'dict') WHEN 'ref' THEN {ref.format('t.value')} "
        "WHEN 'dict' THEN '{' END END"
    )
    in_list = (
        "CASE WHEN r.type = 'object' AND r.value ->> '_kind' = 'ref' "
        f"THEN {ref.format('r.value')} END"
    )
    known = f"{where}t.key NOT IN ('', {', '.join(map(repr, _UNSAID))})"
    return (
        f"SELECT t.key, '', {id} FROM {each} WHERE {known} AND t.type <> 'null' "
        f"UNION SELECT t.key, {val} AS v, {id} FROM {each} "
        # Most values are markers, of which nothing more is said: no need to parse each.
        f"WHERE {known} AND t.value <> '{_MARKER}' AND v IS NOT NULL "
        f"UNION SELECT t.key, {in_list} AS v, {id} FROM {each} CROSS JOIN {list_} "
        f"WHERE {known} AND t.type = 'array' AND v IS NOT NULL"
    )


def _triggers(table: str, entities: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each trigger.

    A conflict clause of the statement that fires a trigger holds inside of it as well, so that
    nothing in here may conflict. And `INSERT OR REPLACE` deletes a row without a DELETE trigger: so
    before each insert the row that it may replace is noted (as `tag` '', `val` its tags); what was
    said of it is taken back only after the insert, which may have been ignored instead.
    """
    go = f"NOT EXISTS (SELECT 1 FROM {table} WHERE tag = '' AND val = '' AND id = '')"
    taken = f"EXISTS (SELECT 1 FROM {entities} WHERE id = NEW.id)"
    moves = "NEW.id <> OLD.id AND"
    old, new = (f"SELECT * FROM ({_said_of(f'{row}.tags', f'{row}.id')})" for row in ("OLD", "NEW"))
    replaced = f"{table} AS n CROSS JOIN ", "n.tag = '' AND n.id = NEW.id AND "
    noted = f"SELECT * FROM ({_said_of('n.val', 'n.id', *replaced)})"
    # A SELECT of a SELECT, for SQLite takes a row IN (… UNION …) for a reason to scan the table.
    unsay = f"DELETE FROM {table} WHERE (tag, val, id) IN"
    clear = f"DELETE FROM {table} WHERE tag = ''"
    say = f"INSERT INTO {table}"
    note = f"{clear}; {say} SELECT '', tags, id FROM {entities} WHERE id = NEW.id"
    events = {
        "replace": (f"BEFORE INSERT ON {entities} WHEN {go} AND {taken}", note),
        "rename": (f"BEFORE UPDATE OF id ON {entities} WHEN {moves} {go} AND {taken}", note),
        "insert": (
            f"AFTER INSERT ON {entities} WHEN {go}",
            f"{unsay} ({noted}); {clear}; {say} {new}",
        ),
        "update": (
            f"AFTER UPDATE OF id, tags ON {entities} WHEN {go}",
            f"{unsay} ({noted} WHERE NEW.id <> OLD.id); {clear}; "
            f"{unsay} (SELECT * FROM ({old} EXCEPT {new})); {say} {new} EXCEPT {old}",
        ),
        "delete": (f"AFTER DELETE ON {entities} WHEN {go}", f"{unsay} ({old})"),
    }
    for name, (event, statements) in events.items():
        yield name, f"{event} BEGIN {statements}; END"
