"""What tags an entity has, on SQLite: a side table that triggers keep.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    for statement in _statements():
        op.execute(sa.text(statement.replace(":", r"\:")))


def downgrade() -> None:
    if op.get_context().dialect.name != "sqlite":
        return
    before, index, entities = _names()
    for name, _ in _triggers(index, entities):
        op.execute(sa.text(f"DROP TRIGGER {before}{_trigger(name)}".replace(":", r"\:")))
    op.execute(sa.text(f"DROP TABLE {before}{index}".replace(":", r"\:")))


def _names() -> tuple[str, str, str]:
    """Return what stands before names in SQL, and the names of the two tables."""
    settings = op.get_context().opts["hsorm"]
    prefix, schema = settings["prefix"], settings["schema"]
    before = f"{_quoted(schema)}." if schema else ""
    return before, _quoted(f"{prefix}entity_tags"), _quoted(f"{prefix}entities")


def _trigger(name: str) -> str:
    prefix = op.get_context().opts["hsorm"]["prefix"]
    return _quoted(f"{prefix}entity_tags_{name}")


def _statements() -> Iterator[str]:
    before, index, entities = _names()
    yield (
        f"CREATE TABLE {before}{index} (tag TEXT NOT NULL, val TEXT NOT NULL, id TEXT NOT NULL, "
        "PRIMARY KEY (tag, val, id)) WITHOUT ROWID"
    )
    said = _said_of("e.tags", "e.id", f"{before}{entities} AS e CROSS JOIN ")
    # In order of the key, each page is written once.
    yield f"INSERT INTO {before}{index} SELECT * FROM ({said}) ORDER BY 1, 2, 3"
    for name, body in _triggers(index, entities):
        yield f"CREATE TRIGGER {before}{_trigger(name)} {body}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_MARKER: Final = '{"_kind":"marker"}'


# What follows is what `hsorm.sql.tag_index` has now, and is to stay as it was: later versions of
# that change the table by revisions of their own.
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
        f"CASE t.type WHEN 'text' THEN CASE WHEN length(t.value) <= 64 "
        "THEN '\"' || t.value END WHEN 'object' THEN "
        f"CASE coalesce(t.value ->> '_kind', 'dict') WHEN 'ref' THEN {ref.format('t.value')} "
        "WHEN 'dict' THEN '{' END END"
    )
    in_list = (
        "CASE WHEN r.type = 'object' AND r.value ->> '_kind' = 'ref' "
        f"THEN {ref.format('r.value')} END"
    )
    known = f"{where}t.key NOT IN ('', 'id', 'mod')"
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
