"""The statements of commits, live tags and priority arrays: see `hsorm.sql.statements`.

Each is built once for a storage and executed with named values. Many rows are given as one JSON
text, which every driver takes and every database unfolds in one statement.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Delete,
    Insert,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    case,
    cast,
    collate,
    delete,
    exists,
    func,
    insert,
    literal_column,
    not_,
    null,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql.dml import ReturningDelete, ReturningInsert, ReturningUpdate
from sqlalchemy.types import JSON

from hsorm.sql.constructs import (
    Document,
    EachItem,
    EachTag,
    GivenRows,
    HasTag,
    IsListed,
    RefIn,
    SubDict,
    TextAt,
)
from hsorm.sql.models import Tables
from hsorm.sql.types import Instant

__all__ = [
    "dangling_refs",
    "delete_arrays",
    "delete_entities",
    "delete_histories",
    "delete_live",
    "expired_points",
    "given_rows",
    "insert_entities",
    "insert_into",
    "json_text",
    "known_entities",
    "last_mod",
    "listed_ids",
    "live_of_entities",
    "live_text",
    "lock_entities",
    "lock_free_entities",
    "lock_live",
    "merge_live",
    "merge_live_of_all",
    "next_change",
    "note_history",
    "put_array",
    "put_live",
    "put_live_tags",
    "referring",
    "select_array",
    "update_entities",
    "update_entity",
]


def listed_ids(column: ColumnElement[str]) -> ColumnElement[bool]:
    """Return the condition that a column is one of `ids`, a JSON array of texts."""
    return IsListed(column, bindparam("ids", type_=Text()))


def live_text(tables: Tables) -> ColumnElement[Any]:
    """Return the live tags of an entity as text, NULL where it has none.

    A subquery for each row that is returned, not a join: no plan is built around the live tags.
    """
    live = tables.live
    found = select(cast(live.c.tags, Text())).where(live.c.id == tables.entities.c.id)
    return found.scalar_subquery().label("live")


def given_rows() -> tuple[ColumnElement[str], ColumnElement[Any]]:
    """Return `id` and `tags` of the objects in `rows`, a JSON array."""
    given = GivenRows(bindparam("rows", type_=Text())).table_valued(Column("value", JSON()))
    return TextAt(given.c.value, "id"), SubDict(given.c.value, "tags")


def insert_into(dialect: str, table: Table) -> Any:
    """Return an INSERT that knows ON CONFLICT."""
    return postgresql_insert(table) if dialect == "postgresql" else sqlite_insert(table)


# ---- entities -----------------------------------------------------------------------------------


def lock_entities(tables: Tables, dialect: str) -> Select[Any]:
    """Select `id` and `tags` (as text) of `ids`; others must wait to change these.

    In order of id, so that two commits at a time wait for each other instead of failing. Writers of
    history need not wait: they only rely on the entity's being there.
    """
    entities = tables.entities
    return (
        select(entities.c.id, cast(entities.c.tags, Text()).label("tags"))
        .where(listed_ids(entities.c.id))
        .order_by(entities.c.id)
        .with_for_update(key_share=True)
    )


def known_entities(tables: Tables, dialect: str) -> Select[Any]:
    """Select those of `ids` that there are."""
    return select(tables.entities.c.id).where(listed_ids(tables.entities.c.id))


def last_mod(tables: Tables, dialect: str) -> Select[Any]:
    """Select the latest `mod` of `ids` as text, without Z; others must wait to change these."""
    entities = tables.entities
    mod: ColumnElement[Any] = TextAt(entities.c.tags, "mod", "val")
    if dialect == "sqlite":  # other people's rows may be no JSON
        mod = case((func.json_valid(entities.c.tags) == 1, mod), else_=null())
    locked = (
        select(cast(mod, Text()).label("mod"))
        .where(listed_ids(entities.c.id))
        .order_by(entities.c.id)
        .with_for_update(key_share=True)
        .subquery()
    )
    # A fraction of a second comes after none only where nothing follows it.
    text = func.rtrim(locked.c.mod, literal_column("'Z'"))
    return select(func.max(collate(text, "C") if dialect == "postgresql" else text))


def lock_free_entities(tables: Tables, dialect: str) -> Select[Any]:
    """Select as `lock_entities`, but those that somebody else has locked."""
    return lock_entities(tables, dialect).with_for_update(key_share=True, skip_locked=True)


def insert_entities(tables: Tables, dialect: str) -> ReturningInsert[Any]:
    """Insert the entities `rows` but those whose id is taken; returns the ids of the others."""
    id, tags = given_rows()
    rows = insert_into(dialect, tables.entities).from_select(
        ["id", "tags"], select(id, tags).where(true())
    )
    inserted: ReturningInsert[Any] = rows.on_conflict_do_nothing(index_elements=["id"]).returning(
        tables.entities.c.id
    )
    return inserted


def update_entities(tables: Tables, dialect: str) -> Update:
    """Replace the tags of the entities `rows`."""
    id, tags = given_rows()
    entities, given = tables.entities, select(id.label("id"), tags.label("tags")).subquery("given")
    return update(entities).values(tags=given.c.tags).where(entities.c.id == given.c.id)


def update_entity(tables: Tables, dialect: str) -> Update:
    """Replace the tags of one entity, `as_tags` of `of_id`, with a stamp of its own (SQLite).

    Executed once for each: it is one plain step for SQLite, which would take a document of all of
    them to pieces first.
    """
    entities = tables.entities
    return (
        update(entities)
        .values(
            tags=bindparam("as_tags", type_=Text()), changed=bindparam("stamp", type_=BigInteger())
        )
        .where(entities.c.id == bindparam("of_id", type_=Text()))
    )


def next_change(tables: Tables, dialect: str) -> ReturningUpdate[Any]:
    """Count one more change, and return its number: the stamp of what is written now (SQLite).

    A row that is written with it needs none by its trigger, which would write the row again.
    """
    clock = tables.change_clock
    return update(clock).values(n=clock.c.n + literal_column("1")).returning(clock.c.n)


def delete_entities(tables: Tables, dialect: str) -> ReturningDelete[Any]:
    """Delete the entities `ids`, and with them their live tags and arrays."""
    entities = tables.entities
    return delete(entities).where(listed_ids(entities.c.id)).returning(entities.c.id)


def delete_histories(tables: Tables, dialect: str) -> Delete:
    """Delete the whole history of the points `ids`."""
    return delete(tables.history).where(listed_ids(tables.history.c.point_id))


def _refs(tables: Tables) -> tuple[Select[Any], ColumnElement[str]]:
    """Select `id`, `tag` and `ref` of each ref of what is not in the trash; and the ref's id."""
    entities = tables.entities
    columns = (Column("value", JSON()), Column("type", Text()))
    tags = EachTag(entities.c.tags).table_valued(Column("key", Text()), *columns)
    items = EachItem(tags.c.value, tags.c.type).table_valued(*columns)
    ref = RefIn(items.c.value, items.c.type)
    rows = (
        select(entities.c.id, tags.c.key.label("tag"), ref.label("ref"))
        .select_from(entities.join(tags, true()).join(items, true()))
        .where(tags.c.key != "id", not_(HasTag(entities.c.tags, "trash")))
    )
    return rows, ref


def dangling_refs(tables: Tables, dialect: str) -> Select[Any]:
    """Select `id`, `tag` and `ref` of the refs to entities that do not exist."""
    rows, ref = _refs(tables)
    there = tables.entities.alias()
    return rows.where(ref.is_not(None), ~exists().where(there.c.id == ref))


def referring(tables: Tables, dialect: str) -> Select[Any]:
    """Select `id` and `tag` of the refs to the entity `id`."""
    rows, ref = _refs(tables)
    refs = rows.where(ref == bindparam("id", type_=Text())).subquery()
    return select(refs.c.id, refs.c.tag)


# ---- live tags ----------------------------------------------------------------------------------


def put_live(tables: Tables, dialect: str) -> Insert:
    """Insert or replace the live tags of the entities `rows`, which must be there."""
    id, tags = given_rows()
    rows = insert_into(dialect, tables.live).from_select(
        ["id", "tags"], select(id, tags).where(true())
    )
    put: Insert = rows.on_conflict_do_update(
        index_elements=["id"], set_={"tags": rows.excluded.tags}
    )
    return put


def lock_live(tables: Tables, dialect: str) -> Select[Any]:
    """Select `id` and `tags` (as text) of the live tags of `ids`; others wait to change them."""
    live = tables.live
    return (
        select(live.c.id, cast(live.c.tags, Text()).label("tags"))
        .where(listed_ids(live.c.id))
        .order_by(live.c.id)
        .with_for_update()
    )


def merge_live(tables: Tables, dialect: str) -> ReturningInsert[Any]:
    """Merge the live tags `rows`, null deletes one; returns which ids are there (PostgreSQL)."""
    known = _known_rows(tables)
    return _merging(tables, known.order_by(known.selected_columns.id))


def merge_live_of_all(tables: Tables, dialect: str) -> ReturningInsert[Any]:
    """Merge as `merge_live`, but nothing unless all `count` entities are there.

    So it is a whole transaction, which takes one round trip.
    """
    known = _known_rows(tables).cte("known")
    there = select(func.count()).select_from(known).scalar_subquery()
    all_there = there == bindparam("count", type_=BigInteger())
    return _merging(tables, select(known).where(all_there).order_by(known.c.id))


def _known_rows(tables: Tables) -> Select[Any]:
    id, tags = given_rows()
    given = select(id.label("id"), tags.label("tags")).subquery("given")
    entities = tables.entities
    return select(given.c.id, given.c.tags).join(entities, entities.c.id == given.c.id)


def _merging(tables: Tables, known: Select[Any]) -> ReturningInsert[Any]:
    live = tables.live
    rows = postgresql_insert(live).from_select(["id", "tags"], known)
    merged = func.jsonb_strip_nulls(live.c.tags.op("||")(rows.excluded.tags))
    return rows.on_conflict_do_update(index_elements=["id"], set_={"tags": merged}).returning(
        live.c.id
    )


def live_of_entities(tables: Tables, dialect: str) -> Select[Any]:
    """Select those of `ids` that there are, and their live tags as text, NULL for none."""
    return select(tables.entities.c.id, live_text(tables)).where(listed_ids(tables.entities.c.id))


def put_live_tags(tables: Tables, dialect: str) -> Insert:
    """Insert or replace the live tags of one entity; see `update_entity` (SQLite)."""
    rows = insert_into(dialect, tables.live).values(
        id=bindparam("of_id", type_=Text()),
        tags=bindparam("as_tags", type_=Text()),
        changed=bindparam("stamp", type_=BigInteger()),
    )
    new = {"tags": rows.excluded.tags, "changed": rows.excluded.changed}
    put: Insert = rows.on_conflict_do_update(index_elements=["id"], set_=new)
    return put


def delete_live(tables: Tables, dialect: str) -> Delete:
    """Delete all live tags of the entities `ids`."""
    return delete(tables.live).where(listed_ids(tables.live.c.id))


# ---- priority arrays ----------------------------------------------------------------------------


def select_array(tables: Tables, dialect: str) -> Select[Any]:
    """Select `id` and `levels` (as text) of the arrays of `ids`."""
    arrays = tables.point_arrays
    return select(arrays.c.id, cast(arrays.c.levels, Text())).where(listed_ids(arrays.c.id))


def put_array(tables: Tables, dialect: str) -> Insert:
    """Insert or replace the array `levels` of `id`, whose level 8 is released at `expires`."""
    rows = insert_into(dialect, tables.point_arrays).values(
        id=bindparam("id", type_=Text()),
        levels=bindparam("levels", type_=json_text(dialect)),
        expires=bindparam("expires", type_=Instant()),
    )
    new = {"levels": rows.excluded.levels, "expires": rows.excluded.expires}
    put: Insert = rows.on_conflict_do_update(index_elements=["id"], set_=new)
    return put


def json_text(dialect: str) -> Any:
    """Return the type of a bound text that is JSON already, for a column of JSON."""
    return Document() if dialect == "postgresql" else Text()


def delete_arrays(tables: Tables, dialect: str) -> Delete:
    """Delete the arrays of the points `ids`."""
    return delete(tables.point_arrays).where(listed_ids(tables.point_arrays.c.id))


def expired_points(tables: Tables, dialect: str) -> Select[Any]:
    """Select the ids of the points whose level 8 is to be released by `now`."""
    arrays = tables.point_arrays
    return select(arrays.c.id).where(arrays.c.expires < bindparam("now", type_=Instant()))


# ---- history ------------------------------------------------------------------------------------


def note_history(tables: Tables, dialect: str) -> Insert:
    """Note that the history of `points`, a JSON array of ids, was written."""
    points = bindparam("points", type_=json_text(dialect))
    return insert(tables.history_changes).values(point_ids=points)
