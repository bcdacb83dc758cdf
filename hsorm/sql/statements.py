"""Every statement that the SQL adapters run, as SQLAlchemy constructs.

They are built here and executed elsewhere, so that a host application can run the same statement in
its own session.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Delete,
    Insert,
    MetaData,
    Select,
    Table,
    Text,
    Update,
    and_,
    bindparam,
    cast,
    delete,
    func,
    not_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql.dml import ReturningDelete, ReturningInsert
from sqlalchemy.types import JSON, TypeEngine

from hsorm.codecs.hayson import to_json
from hsorm.filter.ast import Node
from hsorm.sql.compile import compile_filter
from hsorm.sql.constructs import HasTag, IsListed, bound
from hsorm.sql.models import Tables
from hsorm.sql.types import Tags

__all__ = [
    "count_entities",
    "delete_entity",
    "delete_history_at",
    "delete_history_listed",
    "delete_history_of",
    "insert_entity",
    "select_by_ids",
    "select_entities",
    "select_entity_for_change",
    "select_entity_to_stay",
    "select_history",
    "staging_of",
    "update_entity",
    "upsert",
]


def _row(tables: Tables) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    # The tags as text, whatever JSON functions the engine has: the adapters decode them themselves.
    entities = tables.entities
    return entities.c.id, cast(entities.c.tags, Text()).label("tags")


def _in_use(tables: Tables) -> ColumnElement[bool]:
    """Nothing in the trash is ever found (R10)."""
    return not_(HasTag(tables.entities.c.tags, "trash"))


def select_entities(
    tables: Tables, filter: str | Node, limit: int | None = None, *, ordered: bool = True
) -> Select[Any]:
    """Select `id` and `tags` (as text) of the entities that match a filter, by id if `ordered`."""
    where = compile_filter(filter, tags=tables.entities.c.tags, id=tables.entities.c.id)
    statement = select(*_row(tables)).where(where, _in_use(tables))
    if ordered:
        statement = statement.order_by(tables.entities.c.id)
    return statement if limit is None else statement.limit(limit)


def count_entities(tables: Tables, filter: str | Node | None = None) -> Select[Any]:
    """Count the entities that match a filter, or all."""
    statement = select(func.count()).select_from(tables.entities).where(_in_use(tables))
    if filter is None:
        return statement
    where = compile_filter(filter, tags=tables.entities.c.tags, id=tables.entities.c.id)
    return statement.where(where)


def select_by_ids(tables: Tables, ids: Sequence[str]) -> Select[Any]:
    """Select `id` and `tags` (as text) of entities by id, in no order."""
    listed = IsListed(tables.entities.c.id, bound(to_json(list(ids)).decode()))
    return select(*_row(tables)).where(listed, _in_use(tables))


def select_entity_for_change(tables: Tables, id: str) -> Select[Any]:
    """Select the tags (as text) of one entity, be it trashed; others must wait to change it.

    Writers of its history need not: they only rely on its being there.
    """
    _, tags = _row(tables)
    return select(tags).where(tables.entities.c.id == bound(id)).with_for_update(key_share=True)


def select_entity_to_stay(tables: Tables, id: str) -> Select[Any]:
    """Select the id of one entity, which nobody deletes before the transaction ends."""
    entities = tables.entities
    statement = select(entities.c.id).where(entities.c.id == bound(id))
    return statement.with_for_update(read=True, key_share=True)


def insert_entity(tables: Tables, dialect: str) -> ReturningInsert[Any]:
    """Insert one row of `id` and `tags` unless the id is taken; returns the id when it was not."""
    insert = _insert(dialect)(tables.entities)
    unless_taken = insert.on_conflict_do_nothing(index_elements=["id"])
    returning: ReturningInsert[Any] = unless_taken.returning(tables.entities.c.id)
    return returning


def update_entity(tables: Tables) -> Update:
    """Replace the `tags` of the entity `entity_id`."""
    entities = tables.entities
    return update(entities).where(entities.c.id == bindparam("entity_id", type_=Text()))


def delete_entity(tables: Tables, id: str) -> ReturningDelete[Any]:
    """Delete one entity; returns its id when it was there."""
    entities = tables.entities
    return delete(entities).where(entities.c.id == bound(id)).returning(entities.c.id)


def delete_history_of(tables: Tables, id: str) -> Delete:
    """Delete the whole history of a point."""
    return delete(tables.history).where(tables.history.c.point_id == bound(id))


def upsert(table: Table, dialect: str, source: Table | None = None) -> Insert:
    """Insert rows, or replace those with the same key.

    Args:
        table: One of the tables; JSON is bound as text.
        dialect: The database's name.
        source: A table of the same columns to take the rows from; None binds them.
    """
    insert = _insert(dialect)(table)
    if source is not None:
        insert = insert.from_select([col.name for col in source.columns], select(source))
    else:
        insert = insert.values(
            {col.name: bindparam(col.name, type_=_bound_as(col)) for col in table.c}
        )
    key = [column.name for column in table.primary_key]
    rest = {col.name: insert.excluded[col.name] for col in table.columns if col.name not in key}
    upserting: Insert = insert.on_conflict_do_update(index_elements=key, set_=rest)
    return upserting


def _bound_as(column: Column[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(column.type, (Tags, JSON)) else column.type


def staging_of(table: Table) -> Table:
    """Return a temporary table of the same columns, keyless, that lasts for one transaction."""
    columns = [Column(col.name, col.type) for col in table.columns]
    return Table(
        "hsorm_staging",
        MetaData(),
        *columns,
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )


def _insert(dialect: str) -> Any:
    return postgresql_insert if dialect == "postgresql" else sqlite_insert


def select_history(tables: Tables, id: str, start: dt.datetime, end: dt.datetime) -> Select[Any]:
    """Select `ts`, `val` and `obj` (as text) of one point in `[start, end)`, oldest first."""
    history = tables.history
    # A span may cover several chunks, whose order is the planner's choice without ORDER BY; the key
    # yields this order by itself.
    return (
        select(history.c.ts, history.c.val, cast(history.c.obj, Text()).label("obj"))
        .where(history.c.point_id == bound(id), history.c.ts >= start, history.c.ts < end)
        .order_by(history.c.ts)
    )


def delete_history_listed(tables: Tables) -> Delete:
    """Delete the items of the point `item_point` at an array of timestamps (PostgreSQL)."""
    history = tables.history
    point = bindparam("item_point", type_=Text())
    stamps = bindparam("item_stamps", type_=ARRAY(TIMESTAMP(timezone=True)))
    return delete(history).where(history.c.point_id == point, history.c.ts == func.any(stamps))


def delete_history_at(tables: Tables) -> Delete:
    """Delete the items of the point `item_point` at `item_ts`, executed once for each item."""
    history = tables.history
    point = bindparam("item_point", type_=Text())
    ts = bindparam("item_ts", type_=history.c.ts.type)
    return delete(history).where(and_(history.c.point_id == point, history.c.ts == ts))
