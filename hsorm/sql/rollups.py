"""The statements of rollups: see `hsorm.his.rollup` for what they have to come to.

Where intervals begin is worked out in Python, by the clock and the calendar of a zone, and given to
the database: so an interval is the same on each. PostgreSQL finds the interval of an item among
them with `width_bucket`, or with `date_bin` where all are equally long. SQLite looks up the items
of each interval by key. Points are `ids`, a JSON array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Dialect,
    Double,
    Executable,
    FromClause,
    Integer,
    Interval,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal_column,
    or_,
    select,
    true,
    type_coerce,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import Grouping

from hsorm.his.rollup import Fold
from hsorm.sql.constructs import GivenTexts
from hsorm.sql.models import Tables
from hsorm.sql.types import Instant

__all__ = [
    "HOURLY",
    "By",
    "are_hours_ready",
    "ends",
    "extents",
    "held",
    "hour_extents",
    "hourly_numbers",
    "numbers",
    "picked",
    "picked_numbers",
    "said",
]

By: TypeAlias = Literal["time_bucket", "date_bin", "width_bucket"]
"""How PostgreSQL finds the interval of an item: the first two where all are equally long."""

_Built = Callable[[Tables, str], Executable]

_NAN: Final[ColumnElement[float]] = literal_column("CAST('NaN' AS double precision)", Double())


def _each(alone: bool) -> tuple[FromClause | None, ColumnElement[Any]]:
    """Return the points, and the id of each; of one that is `id` there are no points to go through.

    Of a point that comes from a list, PostgreSQL looks through no two chunks at a time.
    """
    if alone:
        return None, bindparam("id", type_=Text())
    given = _given()
    return given, given.c.value


def _grouped(given: FromClause | None, statement: Select[Any], name: str) -> FromClause:
    """Return a statement as what is selected from, for each point where there are several."""
    if given is None:
        return statement.subquery(name)
    return statement.correlate(given).lateral(name)


def _given() -> FromClause:
    return GivenTexts(bindparam("ids", type_=Text())).table_valued(
        Column("value", Text()), name="given"
    )


def _intervals() -> FromClause:
    """Return the intervals as rows (SQLite): `key` is the place, `value` is `[begin, end]`.

    Both lie within `[start, end]`: of two conditions `ts >= …` SQLite would look up but one.
    """
    return func.json_each(bindparam("bounds", type_=Text())).table_valued(
        Column("key", BigInteger()), Column("value", Text()), name="intervals"
    )


def _of(columns: Any, point: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that an item is of a point and lies in `[start, end)`."""
    start, end = (bindparam(name, type_=columns.ts.type) for name in ("start", "end"))
    return and_(columns.point_id == point, columns.ts >= start, columns.ts < end)


def _within(columns: Any, point: ColumnElement[Any], intervals: Any) -> ColumnElement[bool]:
    """Return the condition that an item is of a point and lies in an interval (SQLite)."""
    begin, end = _ends_of(intervals)
    return and_(columns.point_id == point, columns.ts >= begin, columns.ts < end)


def _ends_of(intervals: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    value = intervals.c.value
    begin, end = (func.json_extract(value, literal_column(f"'$[{i}]'")) for i in (0, 1))
    return type_coerce(begin, BigInteger()), type_coerce(end, BigInteger())


def _is_number(columns: Any, dialect: str) -> ColumnElement[bool]:
    """Return the condition that an item is a number that is one; SQLite has no NaN."""
    there: ColumnElement[bool] = columns.val.is_not(None)
    return there if dialect == "sqlite" else columns.val != _NAN  # nor is NULL other than NaN


def _is_known(columns: Any, dialect: str) -> ColumnElement[bool]:
    """Return the condition that an item is neither NA nor NaN."""
    if dialect == "sqlite":
        kind = func.json_extract(columns.obj, literal_column("'$._kind'"))
    else:
        kind = cast(columns.obj, columns.obj.type)[literal_column("'_kind'", Text())].as_string()
    not_na = kind.is_distinct_from(literal_column("'na'", Text()))
    number = and_(columns.obj.is_(None), _is_number(columns, dialect))
    return or_(number, and_(columns.obj.is_not(None), not_na))


def _bucket(ts: ColumnElement[Any], by: By) -> ColumnElement[Any]:
    """Return what names the interval of an item (PostgreSQL): its place, or where it begins."""
    if by == "width_bucket":
        return func.width_bucket(ts, _bounds(), type_=BigInteger())
    step, origin = bindparam("step", type_=Interval()), bindparam("origin", type_=Instant())
    # Of time_bucket TimescaleDB knows that it ascends as ts does: what is asked for in its order
    # it groups as the key yields it, without a hash table.
    return getattr(func, by)(step, ts, origin, type_=Instant())  # type: ignore[no-any-return]


def _end_of(bucket: ColumnElement[Any], by: By) -> ColumnElement[Any]:
    """Return where an interval on PostgreSQL ends, of what `_bucket` returned."""
    if by != "width_bucket":
        # In seconds: a day would be one of the session's time zone, of 23 hours in spring.
        none: ColumnElement[int] = literal_column("0")
        epoch: ColumnElement[str] = literal_column("'epoch'")
        seconds = func.date_part(epoch, bindparam("step", type_=Interval()))
        return bucket + func.make_interval(*[none] * 6, seconds, type_=Interval())
    end: ColumnElement[Any] = Grouping(_bounds())[bucket + 1]
    return end


def _bounds() -> ColumnElement[Any]:
    return bindparam("bounds", type_=ARRAY(Instant()))


# ---- where history lies -------------------------------------------------------------------------


def extents(tables: Tables, dialect: str) -> Select[Any]:
    """Select of each point its id, its first and last `ts` in `[start, end)`, and what was before.

    That is `ts`, `val` and `obj` (as text) of the last item before `start`, or NULL.
    """
    given, own = _given(), tables.history.alias("own").c
    # Not min() and max(): over a hypertable PostgreSQL looks at every item for these.
    first, last = (
        type_coerce(
            select(own.ts)
            .where(_of(own, given.c.value))
            .order_by(order)
            .limit(1)
            .correlate(given)
            .scalar_subquery(),
            Instant(),
        )
        for order in (own.ts, own.ts.desc())
    )
    before: Any = tables.history.alias("before")
    earlier: Any = tables.history.alias("earlier")
    newest = (
        select(earlier.c.ts, earlier.c.val, earlier.c.obj)
        .where(earlier.c.point_id == given.c.value)
        .where(earlier.c.ts < bindparam("start", type_=Instant()))
        .order_by(earlier.c.ts.desc())
        .limit(1)
        .correlate(given)
    )
    if dialect == "sqlite":
        ts = newest.with_only_columns(earlier.c.ts).scalar_subquery()
        there = and_(before.c.point_id == given.c.value, before.c.ts == ts)
    else:  # to join by the ts would be to read the whole table
        before, there = newest.lateral("before"), true()
    row = (before.c.ts, before.c.val, cast(before.c.obj, Text()))
    return select(given.c.value, first, last, *row).select_from(given.outerjoin(before, there))


# ---- folds of the items of an interval ----------------------------------------------------------


def _folded(fold: Fold, val: ColumnElement[Any]) -> ColumnElement[Any]:
    match fold:
        case "avg":
            # Not avg(): PostgreSQL's works out the variance along with it, which overflows sooner.
            return func.sum(val) / type_coerce(func.count(), Double())
        case "min":
            return func.min(val)
        case "max":
            return func.max(val)
        case "spread":
            return func.max(val) - func.min(val)
        case "sum":
            return func.sum(val)
    return func.count()


@cache
def numbers(fold: Fold, by: By, *, alone: bool = False) -> _Built:
    """Return what makes the statement of `avg`, `min`, `max`, `sum`, `spread` or `count`.

    With `alone` of one point, `id`.

    Intervals without one are left out. On SQLite it selects the id of a point, the place of an
    interval, and the number; on PostgreSQL a row a point, see `_packed`.
    """

    def of(columns: Any, dialect: str) -> ColumnElement[bool]:
        return (_is_known if fold == "count" else _is_number)(columns, dialect)

    def on_sqlite(tables: Tables) -> Select[Any]:
        given, intervals, history = _given(), _intervals(), tables.history
        columns = history.c
        found = and_(_within(columns, given.c.value, intervals), of(columns, "sqlite"))
        number = func.count(columns.ts) if fold == "count" else _folded(fold, columns.val)
        # Outer joins, for SQLite does not turn them around: it would walk all items of a point, and
        # look for the interval of each among all. The condition after grouping leaves them so.
        return (
            select(given.c.value, intervals.c.key, number)
            .select_from(given.outerjoin(intervals, true()).outerjoin(history, found))
            .group_by(given.c.value, intervals.c.key)
            .having(func.count(columns.ts) > 0)
        )

    def build(tables: Tables, dialect: str) -> Executable:
        if dialect == "sqlite":
            return on_sqlite(tables)
        (given, point), columns = _each(alone), tables.history.c
        bucket = _bucket(columns.ts, by).label("bucket")
        # A subquery for each point: to group by point and interval costs half as much again.
        statement = (
            select(bucket, _folded(fold, columns.val).label("number"))
            .where(_of(columns, point), of(columns, dialect))
            .group_by(bucket)
            .order_by(bucket)
        )
        grouped = _grouped(given, statement, "grouped")
        return _packed(given, point, grouped, grouped.c.number, by=by)

    return build


def _packed(
    given: FromClause | None,
    point: ColumnElement[Any],
    grouped: Any,
    number: ColumnElement[Any],
    *others: ColumnElement[Any],
    by: By,
) -> Select[Any]:
    """Select of each point its id, and places and numbers as bytes, eight each in network order.

    A value object for each interval would cost the driver several times as much, and most of all
    one for where it begins.
    """
    empty: ColumnElement[bytes] = literal_column("''::bytea")
    place = func.int8send(_place(grouped.c.bucket, by))
    statement = select(
        func.string_agg(place, empty).label("places"),
        func.string_agg(func.float8send(cast(number, Double())), empty).label("numbers"),
        *others,
    ).select_from(grouped)
    packed = _grouped(given, statement, "packed")
    source = packed if given is None else given.join(packed, true())
    return select(point, *packed.c).select_from(source)


def _place(bucket: ColumnElement[Any], by: By) -> ColumnElement[Any]:
    """Return the place of an interval, from 0 on, of what `_bucket` returned."""
    if by == "width_bucket":
        return cast(bucket - 1, BigInteger())
    origin, step = bindparam("origin", type_=Instant()), bindparam("step", type_=Interval())
    epoch: ColumnElement[str] = literal_column("'epoch'")
    since: ColumnElement[float] = func.date_part(epoch, bucket - origin, type_=Double())
    each: ColumnElement[float] = func.date_part(epoch, step, type_=Double())
    return cast(since / each, BigInteger())


# ---- folds of hours that are ready: see `hsorm.sql.hours` ---------------------------------------

HOURLY: Final = ("avg", "min", "max", "sum", "spread", "count")
"""The folds of an interval that follow from those of its hours."""


def said(tables: Tables, dialect: Dialect) -> dict[str, str]:
    """Return as SQL when a row `item` of history says something, and when it is a number."""
    columns, inline = tables.history.alias("item").c, {"literal_binds": True}
    conditions = {"known": _is_known, "number": _is_number}
    return {
        name: str(of(columns, "postgresql").compile(dialect=dialect, compile_kwargs=inline))
        for name, of in conditions.items()
    }


def are_hours_ready(tables: Tables, dialect: str) -> Select[Any]:
    """Select whether hours are kept at all, and whether a point has some after `hours_start`."""
    until, given = tables.hours.until, _given()
    there = and_(until.c.point_id == given.c.value, until.c.until > _hours_start())
    ready = select(until.c.point_id).select_from(given.join(until, there))
    found: list[ColumnElement[Any]] = [_are_hours_kept(tables), exists(ready)]
    return select(*found)


def _are_hours_kept(tables: Tables) -> ColumnElement[Any]:
    """Tell whether hours are kept at all, as SQL."""
    return exists(select(tables.hours.state.c.hours))


def hour_extents(tables: Tables, dialect: str) -> Select[Any]:
    """Select whether hours are kept, and the first and last ready one of a point, or NULL.

    A row for each point; of its hours those in `[hours_start, hours_end)`.
    """
    given, sums = _given(), tables.hours.sums.c
    ends: Iterator[ColumnElement[Any]] = (
        type_coerce(
            select(sums.ts)
            .where(_in_hours(sums, given.c.value), ~_is_stale(tables))
            .order_by(order)
            .limit(1)
            .correlate(given)
            .scalar_subquery(),
            Instant(),
        )
        for order in (sums.ts, sums.ts.desc())
    )
    return select(_are_hours_kept(tables), *ends).select_from(given)


def _hours_start() -> ColumnElement[Any]:
    return bindparam("hours_start", type_=Instant())


def _hours_end() -> ColumnElement[Any]:
    return bindparam("hours_end", type_=Instant())


def _in_hours(columns: Any, point: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(columns.point_id == point, columns.ts >= _hours_start(), columns.ts < _hours_end())


def _is_stale(tables: Tables) -> ColumnElement[bool]:
    sums, marks = tables.hours.sums.c, tables.hours.stale.c
    return exists().where(marks.point_id == sums.point_id, marks.ts == sums.ts)


@cache
def hourly_numbers(fold: Fold, by: By) -> _Built:
    """Return what makes the statement of `numbers` that takes hours where they are ready.

    Those in `[hours_start, hours_end)`, which lies in `[start, end)`; and the items elsewhere, and
    of hours that are stale. All in one statement, and so of one state of the database.
    """

    def build(tables: Tables, dialect: str) -> Executable:
        given = _given_until(tables)
        parts = union_all(
            *_items_beside(tables, given, fold), _ready_hours(tables, given, fold)
        ).subquery("parts")
        bucket = _bucket(parts.c.ts, by).label("bucket")
        n, total = func.sum(parts.c.n), func.sum(parts.c.total)
        low, high = func.min(parts.c.low), func.max(parts.c.high)
        numbers: dict[str, ColumnElement[Any]] = {
            "count": n,
            "sum": total,
            "avg": total / cast(n, Double()),
            "min": low,
            "max": high,
            "spread": high - low,
        }
        grouped = (
            select(bucket, numbers[fold].label("number"))
            .group_by(bucket)
            .order_by(bucket)
            .correlate(given)
            .lateral("grouped")
        )
        return _packed(given, given.c.value, grouped, grouped.c.number, by=by)

    return build


def _given_until(tables: Tables) -> Any:
    """Return the points with `since`, where the items that no ready hour stands for begin again."""
    given, until = _given(), tables.hours.until.c
    never: ColumnElement[Any] = literal_column("CAST('-infinity' AS timestamptz)", Instant())
    ready = func.least(_hours_end(), func.coalesce(until.until, never))
    since = func.greatest(_hours_start(), ready).label("since")
    joined = given.outerjoin(tables.hours.until, until.point_id == given.c.value)
    return select(given.c.value, since).select_from(joined).subquery("points")


def _ready_hours(tables: Tables, given: Any, fold: Fold) -> Select[Any]:
    sums = tables.hours.sums.c
    n = sums.known if fold == "count" else sums.n
    return (
        select(sums.ts, n.label("n"), sums.total, sums.low, sums.high)
        .where(_in_hours(sums, given.c.value), sums.ts < given.c.since, n > 0, ~_is_stale(tables))
        .correlate(given)
    )


def _items_beside(tables: Tables, given: Any, fold: Fold) -> Iterator[Select[Any]]:
    """Yield the selects of the items before, after and in between what ready hours stand for."""
    item: Any = tables.history.alias("item")
    of = (_is_known if fold == "count" else _is_number)(item.c, "postgresql")
    start, end = (bindparam(name, type_=Instant()) for name in ("start", "end"))

    def items(*within: ColumnElement[bool]) -> Select[Any]:
        one: ColumnElement[int] = literal_column("1", Integer())
        numbers = (item.c.val.label(name) for name in ("total", "low", "high"))
        statement = select(item.c.ts, one.label("n"), *numbers)
        return statement.where(item.c.point_id == given.c.value, *within, of).correlate(given)

    yield items(item.c.ts >= start, item.c.ts < _hours_start())
    # What follows from the others anyway leaves out chunks as the statement is planned.
    yield items(item.c.ts >= given.c.since, item.c.ts >= _hours_start(), item.c.ts < end)
    marks, sums = tables.hours.stale.c, tables.hours.sums.c
    stale = [
        select(columns.ts)
        .where(_in_hours(columns, given.c.value), columns.ts < given.c.since, *huge)
        .correlate(given)
        for columns, *huge in ((marks,), (sums, sums.n.is_(None)))
    ]
    again = (stale[0].distinct() if fold == "count" else union(*stale)).subquery("again")
    hour: ColumnElement[Any] = literal_column("interval '1 hour'", Interval())
    there = and_(item.c.ts >= again.c.ts, item.c.ts < again.c.ts + hour)
    within = and_(item.c.ts >= _hours_start(), item.c.ts < _hours_end())
    yield items(within).select_from(again.join(item, there))


@cache
def ends(fold: Fold) -> _Built:
    """Return what makes the statement of `first` or `last`, looked up for each interval by key.

    It selects the id of a point, the place of an interval, and `val` and `obj` (as text).
    """

    def build(tables: Tables, dialect: str) -> Executable:
        return _ends_sqlite(tables, fold) if dialect == "sqlite" else _ends_postgresql(tables, fold)

    return build


def _end(tables: Tables, fold: Fold, within: ColumnElement[bool], dialect: str) -> Any:
    """Return the select of the first or last item that is known, within an interval."""
    columns = tables.history.c
    return (
        select(columns.ts, columns.val, cast(columns.obj, Text()).label("obj"))
        .where(within, _is_known(columns, dialect))
        .order_by(columns.ts if fold == "first" else columns.ts.desc())
        .limit(1)
    )


def _ends_postgresql(tables: Tables, fold: Fold) -> Select[Any]:
    given, columns = _given(), tables.history.c
    begin, end = (bindparam(name, type_=ARRAY(Instant())) for name in ("begins", "ends"))
    intervals = (
        func.unnest(begin, end)
        .table_valued("begin", "end", with_ordinality="place", name="intervals")
        .render_derived()
    )
    within = and_(columns.ts >= intervals.c.begin, columns.ts < intervals.c.end)
    within = and_(_of(columns, given.c.value), within)
    item = _end(tables, fold, within, "postgresql").lateral("item")
    source = given.join(intervals, true()).join(item, true())
    place = intervals.c.place - 1
    return select(given.c.value, place, item.c.val, item.c.obj).select_from(source)


def _ends_sqlite(tables: Tables, fold: Fold) -> Select[Any]:
    given, intervals, item = _given(), _intervals(), tables.history.alias("item")
    within = _within(tables.history.c, given.c.value, intervals)
    wanted = _end(tables, fold, within, "sqlite")
    ts = wanted.with_only_columns(tables.history.c.ts).correlate(given, intervals)
    there = and_(item.c.point_id == given.c.value, item.c.ts == ts.scalar_subquery())
    # One item is all that there is to group: see `numbers` for why.
    return (
        select(
            given.c.value,
            intervals.c.key,
            func.max(item.c.val),
            func.max(cast(item.c.obj, Text())),
        )
        .select_from(given.outerjoin(intervals, true()).outerjoin(item, there))
        .group_by(given.c.value, intervals.c.key)
        .having(func.count(item.c.ts) > 0)
    )


@cache
def picked_numbers(fold: Fold, by: By) -> _Built:
    """Return what makes the statement of `first` or `last` by the functions of TimescaleDB.

    It is as that of `numbers`, with how many of the items are no Numbers besides: where there are
    some, only `picked` says which of them it is. To pick a text as well takes as long again.
    """

    def build(tables: Tables, dialect: str) -> Executable:
        given, columns = _given(), tables.history.c
        bucket = _bucket(columns.ts, by).label("bucket")
        grouped = (
            select(
                bucket,
                getattr(func, fold)(columns.val, columns.ts).label("number"),
                func.count(columns.obj).label("others"),
            )
            .where(_of(columns, given.c.value), _is_known(columns, dialect))
            .group_by(bucket)
            .order_by(bucket)
            .correlate(given)
            .lateral("grouped")
        )
        number = func.coalesce(grouped.c.number, _NAN)
        others = func.sum(grouped.c.others).label("others")
        return _packed(given, given.c.value, grouped, number, others, by=by)

    return build


@cache
def picked(fold: Fold, by: By) -> _Built:
    """Return what makes the statement of `first` or `last` by the functions of TimescaleDB.

    It selects the id of a point, the place of an interval, and `val` and `obj` (as text).
    """

    def build(tables: Tables, dialect: str) -> Executable:
        given, columns = _given(), tables.history.c
        bucket = _bucket(columns.ts, by).label("bucket")
        pick = getattr(func, fold)
        grouped = (
            select(
                bucket,
                pick(columns.val, columns.ts).label("val"),
                pick(cast(columns.obj, Text()), columns.ts).label("obj"),
            )
            .where(_of(columns, given.c.value), _is_known(columns, dialect))
            .group_by(bucket)
            .lateral("grouped")
        )
        row = (_place(grouped.c.bucket, by), grouped.c.val, grouped.c.obj)
        return select(given.c.value, *row).select_from(given.join(grouped, true()))

    return build


# ---- folds over time ----------------------------------------------------------------------------


@cache
def held(fold: Fold, by: By) -> _Built:
    """Return what makes the statement of `twa` or `duration`.

    It selects the id of a point, the place of an interval, the `ts` of the first item in it,
    seconds, whether the interval's last item is among these, and of `twa` the numbers times their
    seconds, and the last one, NULL where it is not known; of `duration`, for each state, its `val`
    and `obj` (as text). What the item before the interval adds is for the caller to add.
    """

    def build(tables: Tables, dialect: str) -> Executable:
        if dialect == "sqlite":
            items = _items_sqlite(tables)
            point = items.c.point
            return _of_items(fold, items, dialect, point).group_by(point)
        given = _given()
        items = _items_postgresql(tables, given, by=by)
        grouped = _of_items(fold, items, dialect).lateral("grouped")
        _, *row = grouped.c
        place = _place(grouped.c.bucket, by)
        return select(given.c.value, place, *row).select_from(given.join(grouped, true()))

    return build


def _items_sqlite(tables: Tables) -> Any:
    given, intervals, columns = _given(), _intervals(), tables.history.c
    found = _within(columns, given.c.value, intervals)
    following = func.lead(columns.ts).over(partition_by=given.c.value, order_by=columns.ts)
    return (
        select(
            given.c.value.label("point"),
            intervals.c.key.label("bucket"),
            _ends_of(intervals)[1].label("bucket_end"),
            type_coerce(columns.ts, BigInteger()).label("ts"),
            columns.val,
            columns.obj,
            type_coerce(following, BigInteger()).label("following"),
        )
        .select_from(given.outerjoin(intervals, true()).outerjoin(tables.history, found))
        .subquery("items")
    )


def _items_postgresql(tables: Tables, given: FromClause, by: By) -> Any:
    columns = tables.history.c
    bucket = _bucket(columns.ts, by)
    following = func.lead(columns.ts).over(order_by=columns.ts)
    inner = (
        select(
            bucket.label("bucket"),
            columns.ts,
            columns.val,
            columns.obj,
            following.label("following"),
        )
        .where(_of(columns, given.c.value))
        .correlate(given)
        .subquery("inner_items")
    )
    end = _end_of(inner.c.bucket, by)
    return select(inner, type_coerce(end, Instant()).label("bucket_end")).subquery("items")


def _of_items(fold: Fold, items: Any, dialect: str, *own: ColumnElement[Any]) -> Select[Any]:
    item = items.c
    seconds = _seconds(item, dialect)
    # The last item of an interval is the one after which comes none, or one of another interval.
    is_last = or_(item.following.is_(None), item.following >= item.bucket_end)
    number = case((_is_number(item, dialect), item.val))
    first = func.min(item.ts, type_=Instant()) if dialect == "sqlite" else func.min(item.ts)
    among = func.max(case((is_last, 1), else_=0))
    statement = select(*own, item.bucket, first.label("first"))
    if fold == "twa":
        known = case((_is_number(item, dialect), seconds))
        statement = statement.add_columns(
            func.sum(known).label("seconds"),
            among.label("is_last"),
            func.sum(number * seconds).label("weighted"),
            func.max(case((is_last, number))).label("last"),
        ).group_by(item.bucket)
    else:
        obj = cast(item.obj, Text())
        statement = statement.add_columns(
            func.sum(seconds).label("seconds"),
            among.label("is_last"),
            item.val.label("val"),
            obj.label("obj"),
        ).group_by(item.bucket, item.val, obj)
    return statement.where(item.ts.is_not(None)) if dialect == "sqlite" else statement


def _seconds(item: Any, dialect: str) -> ColumnElement[Any]:
    """Return for how many seconds an item holds within its interval, NULL for none.

    The last one of all holds until `until`.
    """
    if dialect == "sqlite":
        until = bindparam("until", type_=Instant())
        upto: ColumnElement[Any] = func.coalesce(
            item.following, func.max(item.ts, until, type_=BigInteger())
        )
        micros = func.min(upto, item.bucket_end) - item.ts
        return func.nullif(micros / literal_column("1000000.0", Double()), 0, type_=Double())
    until = bindparam("until", type_=Instant())
    upto = func.least(func.coalesce(item.following, func.greatest(item.ts, until)), item.bucket_end)
    # Not extract(), which comes to a numeric: that is three times as slow.
    epoch = func.date_part(literal_column("'epoch'"), upto - item.ts)
    return func.nullif(epoch, 0, type_=Double())
