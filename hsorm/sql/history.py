"""The statements of history: see `hsorm.sql.statements`.

Each is built once for a storage and executed with named values.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Delete,
    Insert,
    Interval,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, distinct_on
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.selectable import TableValuedAlias

from hsorm.sql.changing import insert_into
from hsorm.sql.constructs import IsListed, SubDict
from hsorm.sql.models import Tables

__all__ = [
    "CONFIG",
    "delete_items",
    "delete_removed",
    "is_there",
    "item_beyond",
    "items_before",
    "items_extent",
    "items_listed",
    "items_of",
    "items_of_first",
    "items_packed",
    "lock_points",
    "point_configs",
    "point_configs_held",
    "stale_hours",
    "stale_hours_of",
    "upsert_latest",
]


def _row(tables: Tables, dialect: str) -> tuple[ColumnElement[Any], ...]:
    columns = tables.history.c
    ts: ColumnElement[Any] = columns.ts
    if dialect == "sqlite":  # microseconds, of which many are made datetimes faster than each
        ts = type_coerce(ts, BigInteger())
    return ts, columns.val, cast(columns.obj, Text()).label("obj")


def _span(columns: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    """Return the condition that an item lies in `[start, end)`."""
    start, end = (bindparam(name, type_=columns.ts.type) for name in ("start", "end"))
    return and_(columns.ts >= start, columns.ts < end)


def _of_point(columns: ReadOnlyColumnCollection[str, Any]) -> ColumnElement[bool]:
    own: ColumnElement[bool] = columns.point_id == bindparam("id", type_=Text())
    return own


def items_of(tables: Tables, dialect: str) -> Select[Any]:
    """Select `ts`, `val` and `obj` (as text) of the point `id` in `[start, end)`, oldest first.

    On SQLite `ts` is microseconds since 1970, here and below.
    """
    columns = tables.history.c
    # A span may cover several chunks, whose order is the planner's choice without ORDER BY; the key
    # yields this order by itself.
    return (
        select(*_row(tables, dialect))
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
    return (
        select(*_row(tables, dialect)).where(_of_point(columns), earlier).order_by(*newest).limit(1)
    )


def item_beyond(tables: Tables, dialect: str) -> Select[Any]:
    """Select the `ts` of the newest item of the point `id` but the `most` newest ones."""
    columns = tables.history.c
    newest = (columns.point_id.desc(), columns.ts.desc())
    return (
        select(columns.ts)
        .where(_of_point(columns))
        .order_by(*newest)
        .limit(1)
        .offset(bindparam("most", type_=BigInteger()))
    )


def items_listed(tables: Tables, dialect: str) -> Select[Any]:
    """Select `point_id`, `ts`, `val` and `obj` of points in `[start, end)`, by point and time.

    The points are `ids`, a JSON array.
    """
    columns = tables.history.c
    listed = IsListed(columns.point_id, bindparam("ids", type_=Text()))
    return (
        select(columns.point_id, *_row(tables, dialect))
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


def stale_hours(tables: Tables, dialect: str) -> Insert:
    """Mark what is ready of the point `id` for rollups from `start` to `end` (PostgreSQL).

    The triggers do so for items that are deleted; but hours may outlive their items.
    """
    sums, hour = tables.hours.sums, literal_column("interval '1 hour'", Interval())
    start, end = (bindparam(name, type_=sums.c.ts.type) for name in ("start", "end"))
    touched = and_(_of_point(sums.c), sums.c.ts > start - hour, sums.c.ts < end)
    return _stale(tables, touched)


def stale_hours_of(tables: Tables, dialect: str) -> Insert:
    """Mark what is ready of the points `ids`, a JSON array, for rollups (PostgreSQL)."""
    return _stale(tables, IsListed(tables.hours.sums.c.point_id, bindparam("ids", type_=Text())))


def _stale(tables: Tables, condition: ColumnElement[bool]) -> Insert:
    sums, stale = tables.hours.sums.c, tables.hours.stale
    own = select(sums.point_id, sums.ts).where(condition)
    return insert(stale).from_select(["point_id", "ts"], own)


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


# ---- PostgreSQL ---------------------------------------------------------------------------------


def _given() -> TableValuedAlias:
    """Return `points`, an array of ids, as rows of `id`."""
    ids = func.unnest(bindparam("points", type_=ARRAY(Text())))
    return ids.table_valued("id", name="given").render_derived()


def _given_items(tables: Tables, given: TableValuedAlias) -> Select[Any]:
    columns = tables.history.c
    return (
        select(columns.ts, columns.val, columns.obj)
        .where(columns.point_id == given.c.id, _span(columns))
        .order_by(columns.ts)
        .correlate(given)
    )


def items_packed(tables: Tables, dialect: str) -> Select[Any]:
    """Select the items of `points` in `[start, end)`, a row for each point that has some.

    At most the first `most` of each, all where it is NULL. A row has the id, all `ts` and all `val`
    as bytes, eight each in network order, the former in microseconds since 2000; and the `ts` of
    what is no Number beside an array of their `obj` as texts. A value object per item would cost
    the driver four times as much.
    """
    given = _given()
    # A limit, even of NULL, is a fence: the rows come out of it in their order.
    items = _given_items(tables, given).limit(bindparam("most", type_=BigInteger()))
    own = items.lateral("own")
    empty: ColumnElement[bytes] = literal_column("''::bytea")
    stamp, is_other = func.timestamptz_send(own.c.ts), own.c.obj.is_not(None)
    double = func.coalesce(func.float8send(own.c.val), literal_column(_NO_NUMBER))
    packed = (
        select(
            func.string_agg(stamp, empty).label("stamps"),
            func.string_agg(double, empty).label("numbers"),
            func.string_agg(stamp, empty).filter(is_other).label("other_stamps"),
            func.array_agg(cast(own.c.obj, Text())).filter(is_other).label("others"),
        )
        .correlate(given)
        .lateral("packed")
    )
    return select(given.c.id, *packed.c).where(packed.c.stamps.is_not(None))


_NO_NUMBER: Final = "'\\x7ff8000000000000'::bytea"  # NaN


CONFIG: Final = (
    "point",
    "his",
    "aux",
    "kind",
    "tz",
    "unit",
    "hisTsPrecision",
    "hisMaxItems",
    "trash",
)
"""The tags that history asks for."""


def point_configs(tables: Tables, dialect: str) -> Select[Any]:
    """Select `id` and, as JSON text, the tags `CONFIG` of `ids`, a JSON array.

    A column each: to build one object of them takes the server twice as long.
    """
    entities = tables.entities
    tags = (cast(SubDict(entities.c.tags, name), Text()).label(name) for name in CONFIG)
    listed = IsListed(entities.c.id, bindparam("ids", type_=Text()))
    return select(entities.c.id, *tags).where(listed).order_by(entities.c.id)


def point_configs_held(tables: Tables, dialect: str) -> Select[Any]:
    """Select as `point_configs`; nobody deletes these entities before the end."""
    return point_configs(tables, dialect).with_for_update(read=True, key_share=True)


def is_there(tables: Tables, dialect: str) -> Select[Any]:
    """Select one row where any point of `points` has an item in `[start, end)`."""
    given = _given()
    return select(given.c.id).where(exists(_given_items(tables, given))).limit(1)


def _cast_to_json(text: str) -> ColumnElement[Any]:
    return cast(bindparam(None, text, type_=Text()), JSONB())


def upsert_latest(tables: Tables, staging: Table) -> Insert:
    """Insert the rows of a staging table, by key; of those with one key the last that came."""
    # Nothing is ever deleted there, so that rows lie in the order in which they came.
    own = staging.c
    came: ColumnElement[Any] = literal_column(f"{staging.name}.ctid")
    latest = (
        select(own.point_id, own.ts, own.val, own.obj)
        .ext(distinct_on(own.point_id, own.ts))
        .order_by(own.point_id, own.ts, came.desc())
    )
    insert = insert_into("postgresql", tables.history)
    rest = {name: insert.excluded[name] for name in ("val", "obj")}
    upserting: Insert = insert.from_select(
        ["point_id", "ts", "val", "obj"], latest
    ).on_conflict_do_update(index_elements=["point_id", "ts"], set_=rest)
    return upserting


def delete_removed(tables: Tables, staging: Table, removed: str) -> Delete:
    """Delete the items whose row, of a staging table just merged, has `removed` as its `obj`."""
    columns, own = tables.history.c, staging.c
    return delete(tables.history).where(
        columns.point_id == own.point_id,
        columns.ts == own.ts,
        own.obj == _cast_to_json(removed),
        columns.obj == _cast_to_json(removed),
    )
