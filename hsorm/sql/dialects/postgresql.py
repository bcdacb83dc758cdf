"""The constructs in PostgreSQL: JSONB operators, which GIN answers where it can.

Also how a statement is shown that is printed without saying for which database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Uuid
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.ops.live import LIVE_TAGS
from hsorm.sql.constructs import (
    AnyRef,
    AsDouble,
    ChangedSince,
    CurrentCursor,
    EachItem,
    EachTag,
    GivenRows,
    GivenTexts,
    HasKey,
    HasTag,
    IdText,
    Instant,
    IsInstant,
    IsListed,
    KindAt,
    NumberAt,
    RefIn,
    SubDict,
    TextAt,
    ThisChange,
    ThisInstant,
    Variant,
    plain_type,
)
from hsorm.sql.geo import CoordAt, InRing, WithinCircle
from hsorm.sql.keys import CUT, DateKey, InstantKey, NumberKey, NumberLiteral, StringKey, UtcTime
from hsorm.sql.search import SomeText, Texts

__all__ = ["in_ring"]

# Texts of other people's SQL may be no dates at all, and a cast that fails would end the whole
# query: only what this accepts is cast. It knows how long months are, and leap years.
_ISO_INSTANT = (
    r"^(?!0000)(\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)"
    r"|02-(0[1-9]|1\d|2[0-8]))|(\d\d(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29)"
    r"T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-](0\d|1[0-5]):[0-5]\d)$"
)


def _json(compiler: SQLCompiler, tags: Any, names: tuple[str, ...], **kw: Any) -> str:
    """Write the JSONB value that the names lead to."""
    steps = "".join(f" -> '{name}'" for name in names)
    return f"({compiler.process(tags, **kw)}{steps})"


@compiles(HasKey)
def _has_key(element: HasKey, compiler: SQLCompiler, **kw: Any) -> str:
    (name,) = element.names
    return f"({compiler.process(element.tags, **kw)} ? '{name}')"


@compiles(HasTag)
def _has_tag(element: HasTag, compiler: SQLCompiler, **kw: Any) -> str:
    tags, (name,) = compiler.process(element.tags, **kw), element.names
    # The first half is what GIN answers, the second sees a JSON null, which is no tag (F32).
    # IS TRUE, for what is no dict at all may have an element of that name, but no such member.
    return f"({tags} ? '{name}' AND (({tags} -> '{name}') <> 'null') IS TRUE)"


@compiles(KindAt)
def _kind_at(element: KindAt, compiler: SQLCompiler, **kw: Any) -> str:
    value = _json(compiler, element.tags, element.names, **kw)
    return (
        f"CASE jsonb_typeof({value}) WHEN 'object' THEN coalesce({value} ->> '_kind', 'dict') "
        f"WHEN 'string' THEN 'str' WHEN 'number' THEN 'num' WHEN 'array' THEN 'list' "
        f"WHEN 'boolean' THEN {value} #>> '{{}}' ELSE '' END"
    )


@compiles(TextAt)
def _text_at(element: TextAt, compiler: SQLCompiler, **kw: Any) -> str:
    *way, last = element.names
    return f"(({_json(compiler, element.tags, tuple(way), **kw)} ->> '{last}') COLLATE \"C\")"


@compiles(NumberAt)
def _number_at(element: NumberAt, compiler: SQLCompiler, **kw: Any) -> str:
    # numeric, not float8: a number of other people's that no double holds must not end the query.
    return f"{_json(compiler, element.tags, element.names, **kw)}::numeric"


# Where a double is infinite, and where it is zero: a cast would end the query there.
_INFINITE = 2**1024 - 2**970
_ZERO = "2.4703282292062327208e-324"


@compiles(AsDouble)
def _as_double(element: AsDouble, compiler: SQLCompiler, **kw: Any) -> str:
    number = compiler.process(element.number, **kw)
    return (
        f"CASE WHEN {number} >= {_INFINITE} THEN 'Infinity' WHEN {number} <= -{_INFINITE} THEN "
        f"'-Infinity' WHEN abs({number}) <= {_ZERO} THEN 0 ELSE {number}::float8 END"
    )


@compiles(SubDict)
def _sub_dict(element: SubDict, compiler: SQLCompiler, **kw: Any) -> str:
    return _json(compiler, element.tags, element.names, **kw)


@compiles(AnyRef)
def _any_ref(element: AnyRef, compiler: SQLCompiler, **kw: Any) -> str:
    value = _json(compiler, element.tags, (element.name,), **kw)
    test = compiler.process(element.test, **kw)
    return (
        "EXISTS (SELECT 1 FROM (SELECT (hs_e.value ->> 'val') COLLATE \"C\" AS ref "
        f"FROM jsonb_array_elements({value}) AS hs_e WHERE hs_e.value ->> '_kind' = 'ref') AS hs_r "
        f"WHERE {test})"
    )


@compiles(IsInstant)
def _is_instant(element: IsInstant, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.text, **kw)} ~ '{_ISO_INSTANT}')"


@compiles(Instant)
def _instant(element: Instant, compiler: SQLCompiler, **kw: Any) -> str:
    # Cut after microseconds, as it is read; by itself PostgreSQL rounds.
    text = rf"regexp_replace({compiler.process(element.text, **kw)}, '(\.\d{{6}})\d+', '\1')"
    return f"CAST({text} AS TIMESTAMP WITH TIME ZONE)"


@compiles(Variant)
def _variant(element: Variant, compiler: SQLCompiler, **kw: Any) -> str:
    # In parentheses: it may be an OR, and stand beside an AND or behind a NOT.
    return f"({compiler.process(element.indexed, **kw)})"


@compiles(IdText)
def _id_text(element: IdText, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    own = plain_type(element.column)
    if isinstance(own, Uuid) and not own.native_uuid:  # 32 digits, which it reads as well
        column = f"CAST({column} AS UUID)"
    return f'(CAST({column} AS TEXT) COLLATE "C")'


@compiles(IsListed)
def _is_listed(element: IsListed, compiler: SQLCompiler, **kw: Any) -> str:
    column, array = (compiler.process(part, **kw) for part in (element.column, element.array))
    # One array for the whole statement, which the key's index takes as it is.
    return f"{column} = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST({array} AS JSONB))))"


_XMAX = "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT) AS BIGINT)"


@compiles(ThisChange)
def _this_change(element: ThisChange, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)"


@compiles(ThisInstant)
def _this_instant(element: ThisInstant, compiler: SQLCompiler, **kw: Any) -> str:
    return "now()"


@compiles(CurrentCursor)
def _current_cursor(element: CurrentCursor, compiler: SQLCompiler, **kw: Any) -> str:
    # Without its xmin, which the list of open transactions makes needless; and with its own, which
    # is not in that list, for it may go on to change what has been seen of it.
    own = "coalesce(',' || CAST(pg_current_xact_id_if_assigned() AS TEXT), '')"
    return rf"(regexp_replace(CAST(pg_current_snapshot() AS TEXT), '^\d+:', '') || {own})"


@compiles(ChangedSince)
def _changed_since(element: ChangedSince, compiler: SQLCompiler, **kw: Any) -> str:
    parts = (element.changed, element.following, element.open, element.least)
    changed, following, open, least = (compiler.process(part, **kw) for part in parts)
    numbers = f"SELECT CAST(jsonb_array_elements_text(CAST({open} AS JSONB)) AS BIGINT)"
    # A stamp of the future is of another server, whose dump was restored here: no change. The range
    # is what an index and the planner understand; of an OR it would expect a fifth of the table.
    return (
        f"({changed} >= {least} AND {changed} < {_XMAX} AND CASE WHEN {changed} >= {following} "
        f"THEN true ELSE {changed} = ANY (ARRAY({numbers})) END)"
    )


@compiles(GivenRows)
def _given_rows(element: GivenRows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"jsonb_array_elements(CAST({compiler.process(element.clauses, **kw)} AS JSONB))"


@compiles(GivenTexts)
def _given_texts(element: GivenTexts, compiler: SQLCompiler, **kw: Any) -> str:
    return f"jsonb_array_elements_text(CAST({compiler.process(element.clauses, **kw)} AS JSONB))"


def _clauses(element: Any, compiler: SQLCompiler, **kw: Any) -> list[str]:
    return [compiler.process(clause, **kw) for clause in element.clauses]


@compiles(EachTag)
def _each_tag(element: EachTag, compiler: SQLCompiler, **kw: Any) -> str:
    (tags,) = _clauses(element, compiler, **kw)
    return f"jsonb_each(CASE jsonb_typeof({tags}) WHEN 'object' THEN {tags} ELSE '{{}}' END)"


@compiles(EachItem)
def _each_item(element: EachItem, compiler: SQLCompiler, **kw: Any) -> str:
    value, _ = _clauses(element, compiler, **kw)
    return (
        f"jsonb_array_elements(CASE jsonb_typeof({value}) WHEN 'array' THEN {value} "
        f"ELSE jsonb_build_array({value}) END)"
    )


@compiles(RefIn)
def _ref_in(element: RefIn, compiler: SQLCompiler, **kw: Any) -> str:
    value, _ = _clauses(element, compiler, **kw)
    return f"(CASE {value} ->> '_kind' WHEN 'ref' THEN {value} ->> 'val' END COLLATE \"C\")"


# ---- keys: immutable all of them, and none fails ------------------------------------------------


_SPECIAL_KEYS = "WHEN 'INF' THEN 9e999 WHEN '-INF' THEN -9e999 WHEN 'NaN' THEN -9e999"


@compiles(NumberKey)
def _number_key(element: NumberKey, compiler: SQLCompiler, **kw: Any) -> str:
    value = _json(compiler, element.tags, element.names, **kw)
    special = f"CASE {value} ->> 'val' {_SPECIAL_KEYS} END"
    finite = _short(f"({value} -> 'val')")
    of_object = (
        f"CASE {value} ->> '_kind' WHEN 'number' THEN CASE jsonb_typeof({value} -> 'val') "
        f"WHEN 'number' THEN {finite} WHEN 'string' THEN {special} END END"
    )
    return (
        f"(CASE jsonb_typeof({value}) WHEN 'number' THEN {_short(value)} "
        f"WHEN 'object' THEN {of_object} END)"
    )


@compiles(NumberLiteral)
def _number_literal(element: NumberLiteral, compiler: SQLCompiler, **kw: Any) -> str:
    return _short(compiler.process(element.text, **kw))


def _short(number: str) -> str:
    # Whatever its size, doubles are no larger, and no index takes a number of 6,000 digits.
    return f"least(greatest(round({number}::numeric, 20), -9e999), 9e999)"


@compiles(StringKey)
def _string_key(element: StringKey, compiler: SQLCompiler, **kw: Any) -> str:
    value = _json(compiler, element.tags, element.names, **kw)
    text = f"left({value} #>> '{{}}', {CUT}) COLLATE \"C\""
    return f"(CASE jsonb_typeof({value}) WHEN 'string' THEN {text} END)"


@compiles(DateKey)
def _date_key(element: DateKey, compiler: SQLCompiler, **kw: Any) -> str:
    value = _json(compiler, element.tags, element.names, **kw)
    text = f"left({value} ->> 'val', {CUT}) COLLATE \"C\""
    return f"(CASE {value} ->> '_kind' WHEN 'date' THEN {text} END)"


@compiles(InstantKey)
def _instant_key(element: InstantKey, compiler: SQLCompiler, **kw: Any) -> str:
    value = _json(compiler, element.tags, element.names, **kw)
    text = f"(({value} ->> 'val') COLLATE \"C\")"
    utc = f"CASE WHEN {text} ~ '{_ISO_INSTANT}' THEN {_utc_of(text)} END"
    return f"(CASE {value} ->> '_kind' WHEN 'dateTime' THEN {utc} END)"


def _utc_of(text: str) -> str:
    """Write the instant that an ISO 8601 text means as a timestamp in UTC.

    From its digits: a cast of text depends on the settings of a session, and no index takes one.
    """
    year, month, day, hour, minute = (
        f"substr({text}, {start}, {size})::int"
        for start, size in ((1, 4), (6, 2), (9, 2), (12, 2), (15, 2))
    )
    # `ss` and up to six digits of a fraction, before the Z or the offset.
    zone = f"CASE right({text}, 1) WHEN 'Z' THEN 18 ELSE 23 END"
    second = f"substr({text}, 18, least(9, length({text}) - {zone}))::float8"
    local = f"make_timestamp({year}, {month}, {day}, {hour}, {minute}, {second})"
    sign = f"substr(right({text}, 6), 1, 1)"
    hours = f"substr(right({text}, 6), 1, 3)::int"
    minutes = f"({sign} || right({text}, 2))::int"
    offset = f"make_interval(0, 0, 0, 0, {hours}, {minutes})"
    return f"CASE right({text}, 1) WHEN 'Z' THEN {local} ELSE {local} - {offset} END"


@compiles(UtcTime)
def _utc_time(element: UtcTime, compiler: SQLCompiler, **kw: Any) -> str:
    # A timestamp without zone has no use for the Z at the end, and takes no offence.
    return f"CAST({compiler.process(element.text, **kw)} AS TIMESTAMP WITHOUT TIME ZONE)"


# ---- search -------------------------------------------------------------------------------------


@compiles(SomeText)
def _some_text(element: SomeText, compiler: SQLCompiler, **kw: Any) -> str:
    tags, path = compiler.process(element.tags, **kw), compiler.process(element.path, **kw)
    # Silent, and then NULL, about what is no dict.
    fits = f"jsonb_path_exists({tags}, {path}, '{{}}', true) IS TRUE"
    # Other people's SQL may have put live tags here. A path that looks at names takes twice as long
    # as one that does not, and this only where that one has found something.
    without = f"jsonb_path_exists({tags} - {_LIVE}, {path}, '{{}}', true)"
    return f"(CASE WHEN {fits} THEN NOT {tags} ?| {_LIVE} OR {without} ELSE false END)"


_LIVE = "'{" + ",".join(sorted(LIVE_TAGS)) + "}'::text[]"


@compiles(Texts)
def _texts(element: Texts, compiler: SQLCompiler, **kw: Any) -> str:
    tags = compiler.process(element.tags, **kw)
    path = """'strict $.* ? (@.type() == "string")'"""
    return f"(jsonb_path_query_array({tags}, {path}, '{{}}', true)::text COLLATE \"C\")"


# ---- places -------------------------------------------------------------------------------------


@compiles(CoordAt)
def _coord_at(element: CoordAt, compiler: SQLCompiler, **kw: Any) -> str:
    value = _json(compiler, element.tags, element.names, **kw)
    lat, lng = f"({value} -> 'lat')", f"({value} -> 'lng')"
    are_numbers = f"jsonb_typeof({lat}) = 'number' AND jsonb_typeof({lng}) = 'number'"
    on_earth = f"{lat}::numeric BETWEEN -90 AND 90 AND {lng}::numeric BETWEEN -180 AND 180"
    # Rounded, for a cast of what is too small for a double would end the query.
    axis = f"round(({value} -> '{element.axis}')::numeric, 20)::float8"
    return (
        f"(CASE WHEN {value} ->> '_kind' = 'coord' AND {are_numbers} "
        f"THEN CASE WHEN {on_earth} THEN {axis} END END)"
    )


@compiles(InRing)
def _in_ring(element: InRing, compiler: SQLCompiler, **kw: Any) -> str:
    lat, lng, edges = (
        compiler.process(part, **kw) for part in (element.lat, element.lng, element.edges)
    )
    each = f"jsonb_array_elements(CAST({edges} AS JSONB)) AS hs_e"
    return in_ring(lat, lng, each, [f"(hs_e.value -> {place})::float8" for place in range(5)])


def in_ring(lat: str, lng: str, each: str, edge: Sequence[str]) -> str:
    """Write that a place is in a ring, of how each edge is a row and what is in it."""
    west, east, base, width, rise = edge
    meridian = f"CASE WHEN {lng} = 180 THEN -180 ELSE {lng} END"
    met = (
        f"CASE WHEN {west} <= {east} THEN hs_p.lng >= {west} AND hs_p.lng < {east} "
        f"ELSE hs_p.lng >= {west} OR hs_p.lng < {east} END"
    )
    degrees = f"(hs_p.lng - {west})"
    turn = f"CASE WHEN {degrees} < 0 THEN 360 WHEN {degrees} >= 360 THEN -360 ELSE 0 END"
    # `&`, for a percent sign would have to be doubled for some drivers alone.
    return (
        f"(((SELECT count(*) FROM (SELECT {lat} AS lat, {meridian} AS lng) AS hs_p "
        f"CROSS JOIN {each} WHERE {met} "
        f"AND {base} + {rise} * (({degrees} + {turn}) / {width}) > hs_p.lat) & 1) = 1)"
    )


@compiles(WithinCircle)
def _within_circle(element: WithinCircle, compiler: SQLCompiler, **kw: Any) -> str:
    column, lat, lng, metres = (
        compiler.process(part, **kw)
        for part in (element.column, element.lat, element.lng, element.metres)
    )
    before = ""
    if element.schema is not None:
        before = f"{compiler.preparer.quote_schema(element.schema)}."
    point = f"{before}geography({before}ST_SetSRID({before}ST_MakePoint({lng}, {lat}), 4326))"
    return f"{before}ST_DWithin({column}, {point}, {metres}, false)"
