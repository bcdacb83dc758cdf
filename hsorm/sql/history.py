"""The statements of history: see `hsorm.sql.statements`.

Each is built once for a storage and executed with named values.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Delete,
    Select,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    select,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from hsorm.sql.constructs import IsListed
from hsorm.sql.models import Tables

__all__ = [
    "delete_items",
    "items_before",
    "items_extent",
    "items_listed",
    "items_of",
    "items_of_first",
    "lock_points",
]


def _row(tables: Tables) -> tuple[ColumnElement[Any], ...]:
    history = tables.history
    return history.c.ts, history.c.val, cast(history.c.obj, Text()).label("obj")


def _span(columns: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    """Return the condition that an item lies in `[start, end)`."""
    start, end = (bindparam(name, type_=columns.ts.type) for name in ("start", "end"))
    return and_(columns.ts >= start, columns.ts < end)


def _of_point(columns: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    own: ColumnElement[bool] = columns.point_id == bindparam("id", type_=Text())
    return own


def items_of(tables: Tables, dialect: str) -> Select[Any]:
    """Select `ts`, `val` and `obj` (as text) of the point `id` in `[start, end)`, oldest first."""
    columns = tables.history.c
    # A span may cover several chunks, whose order is the planner's choice without ORDER BY; the key
    # yields this order by itself.
    return (
        select(*_row(tables))
        .where(_of_point(columns), _span(columns))
        .order_by(columns.point_id, columns.ts)
    )


def items_of_first(tables: Tables, dialect: str) -> Select[Any]:
    """Select as `items_of`, but the first `most` alone."""
    return items_of(tables, dialect).limit(bindparam("most", type_=BigInteger()))


def items_before(tables: Tables, dialect: str) -> Select[Any]:
    """Select `ts`, `val` and `obj` of the last item of the point `id` before `end`."""
    columns = tables.history.c
    earlier = columns.ts < bindparam("end", type_=columns.ts.type)
    newest = (columns.point_id.desc(), columns.ts.desc())
    return select(*_row(tables)).where(_of_point(columns), earlier).order_by(*newest).limit(1)


def items_listed(tables: Tables, dialect: str) -> Select[Any]:
    """Select `point_id`, `ts`, `val` and `obj` of points in `[start, end)`, by point and time.

    The points are `ids`, a JSON array.
    """
    columns = tables.history.c
    listed = IsListed(columns.point_id, bindparam("ids", type_=Text()))
    return (
        select(columns.point_id, *_row(tables))
        .where(listed, _span(columns))
        .order_by(columns.point_id, columns.ts)
    )


def items_extent(tables: Tables, dialect: str) -> Select[int, Any, Any]:
    """Select how many items the point `id` has, and the first and last `ts`."""
    columns = tables.history.c
    return select(func.count(), func.min(columns.ts), func.max(columns.ts)).where(
        _of_point(columns)
    )


def delete_items(tables: Tables, dialect: str) -> Delete:
    """Delete the items of the point `id` in `[start, end)`."""
    columns = tables.history.c
    return delete(tables.history).where(_of_point(columns), _span(columns))


def lock_points(tables: Tables, dialect: str) -> Select[Any]:
    """Select those of `ids`, a JSON array, that are there; nobody deletes them before the end."""
    entities = tables.entities
    listed = IsListed(entities.c.id, bindparam("ids", type_=Text()))
    # By id, as everybody locks: two who lock in different orders wait for each other.
    return (
        select(entities.c.id)
        .where(listed)
        .order_by(entities.c.id)
        .with_for_update(read=True, key_share=True)
    )
