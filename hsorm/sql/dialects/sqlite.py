"""The constructs in SQLite (3.38 or newer): its JSON functions over text."""

from __future__ import annotations

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
from hsorm.sql.dialects.postgresql import in_ring
from hsorm.sql.geo import CoordAt, InRing, WithinCircle
from hsorm.sql.keys import CUT, DateKey, InstantKey, NumberKey, NumberLiteral, StringKey, UtcTime
from hsorm.sql.search import SomeText

__all__: list[str] = []


def _path(*names: str) -> str:
    return "'$" + "".join(f'."{name}"' for name in names) + "'"


@compiles(HasKey, "sqlite")
@compiles(HasTag, "sqlite")
def _has_tag(element: HasKey | HasTag, compiler: SQLCompiler, **kw: Any) -> str:
    tags = compiler.process(element.tags, **kw)
    # json_type is NULL for an absent tag and 'null' for a JSON null, which is no tag either (F32).
    return f"(coalesce(json_type({tags}, {_path(*element.names)}), 'null') <> 'null')"


@compiles(KindAt, "sqlite")
def _kind_at(element: KindAt, compiler: SQLCompiler, **kw: Any) -> str:
    tags, path = compiler.process(element.tags, **kw), _path(*element.names)
    kind = f"coalesce({tags} ->> {_path(*element.names, '_kind')}, 'dict')"
    return (
        f"CASE json_type({tags}, {path}) WHEN 'object' THEN {kind} WHEN 'text' THEN 'str' "
        f"WHEN 'integer' THEN 'num' WHEN 'real' THEN 'num' WHEN 'array' THEN 'list' "
        f"WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE '' END"
    )


@compiles(TextAt, "sqlite")
@compiles(NumberAt, "sqlite")
def _value_at(element: TextAt | NumberAt, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.tags, **kw)} ->> {_path(*element.names)})"


@compiles(AsDouble, "sqlite")
def _as_double(element: AsDouble, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.number, **kw)} AS REAL)"


@compiles(SubDict, "sqlite")
def _sub_dict(element: SubDict, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.tags, **kw)} -> {_path(*element.names)})"


@compiles(AnyRef, "sqlite")
def _any_ref(element: AnyRef, compiler: SQLCompiler, **kw: Any) -> str:
    tags, test = compiler.process(element.tags, **kw), compiler.process(element.test, **kw)
    # An element that is no object comes as a bare text, which need not be JSON: hence the CASE.
    ref = (
        "CASE WHEN hs_e.type = 'object' AND hs_e.value ->> '$._kind' = 'ref' "
        "THEN hs_e.value ->> '$.val' END"
    )
    return (
        f"EXISTS (SELECT 1 FROM (SELECT {ref} AS ref FROM json_each({tags}, {_path(element.name)}) "
        f"AS hs_e) AS hs_r WHERE hs_r.ref IS NOT NULL AND ({test}))"
    )


@compiles(IsInstant, "sqlite")
def _is_instant(element: IsInstant, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({_seconds(compiler.process(element.text, **kw))} IS NOT NULL)"


@compiles(UtcTime, "sqlite")
@compiles(Instant, "sqlite")
def _instant(element: Instant | UtcTime, compiler: SQLCompiler, **kw: Any) -> str:
    # Microseconds since 1970, for SQLite has no type for an instant and its own functions stop at
    # milliseconds. A fraction begins at character 20 and ends before the Z or the offset.
    return _micros(compiler.process(element.text, **kw))


def _micros(text: str) -> str:
    digits = f"length({text}) - CASE WHEN {text} LIKE '%Z' THEN 21 ELSE 26 END"
    fraction = f"CAST(substr(substr({text}, 21, {digits}) || '000000', 1, 6) AS INTEGER)"
    micros = f"CASE WHEN substr({text}, 20, 1) = '.' THEN {fraction} ELSE 0 END"
    return f"({_seconds(text)} * 1000000 + {micros})"


def _seconds(text: str) -> str:
    offset = f"CASE WHEN {text} LIKE '%Z' THEN 'Z' ELSE substr({text}, -6) END"
    return f"unixepoch(substr({text}, 1, 19) || {offset})"


@compiles(Variant, "sqlite")
def _variant(element: Variant, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.plain, **kw)})"


@compiles(IdText, "sqlite")
def _id_text(element: IdText, compiler: SQLCompiler, **kw: Any) -> str:
    text = f"CAST({compiler.process(element.column, **kw)} AS TEXT)"
    if not isinstance(plain_type(element.column), Uuid):
        return f"({text} COLLATE BINARY)"
    # SQLAlchemy keeps a UUID as 32 digits here.
    parts = (f"substr({text}, {start}, {size})" for start, size in _UUID_PARTS)
    return "(" + " || '-' || ".join(parts) + ")"


_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


@compiles(IsListed, "sqlite")
def _is_listed(element: IsListed, compiler: SQLCompiler, **kw: Any) -> str:
    column, array = (compiler.process(part, **kw) for part in (element.column, element.array))
    return f"{column} IN (SELECT value FROM json_each({array}))"


@compiles(ThisChange, "sqlite")
def _this_change(element: ThisChange, compiler: SQLCompiler, **kw: Any) -> str:
    return "0"


@compiles(ThisInstant, "sqlite")
def _this_instant(element: ThisInstant, compiler: SQLCompiler, **kw: Any) -> str:
    return "(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)"


@compiles(CurrentCursor, "sqlite")
def _current_cursor(element: CurrentCursor, compiler: SQLCompiler, **kw: Any) -> str:
    clock = element.clock
    name = compiler.preparer.format_table(clock.table)
    return f"((SELECT n + 1 FROM {name}) || ':')"


@compiles(ChangedSince, "sqlite")
def _changed_since(element: ChangedSince, compiler: SQLCompiler, **kw: Any) -> str:
    # One writer at a time: changes become visible in the order of their numbers.
    changed, following = (
        compiler.process(part, **kw) for part in (element.changed, element.following)
    )
    return f"({changed} >= {following})"


@compiles(GivenRows, "sqlite")
@compiles(GivenTexts, "sqlite")
def _given(element: GivenRows | GivenTexts, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **kw)})"


def _clauses(element: Any, compiler: SQLCompiler, **kw: Any) -> list[str]:
    return [compiler.process(clause, **kw) for clause in element.clauses]


@compiles(EachTag, "sqlite")
def _each_tag(element: EachTag, compiler: SQLCompiler, **kw: Any) -> str:
    (tags,) = _clauses(element, compiler, **kw)
    return f"json_each(CASE json_type({tags}) WHEN 'object' THEN {tags} ELSE '{{}}' END)"


@compiles(EachItem, "sqlite")
def _each_item(element: EachItem, compiler: SQLCompiler, **kw: Any) -> str:
    value, type_ = _clauses(element, compiler, **kw)
    alone = f"WHEN 'object' THEN json_array(json({value}))"
    return f"json_each(CASE {type_} WHEN 'array' THEN {value} {alone} ELSE '[]' END)"


@compiles(RefIn, "sqlite")
def _ref_in(element: RefIn, compiler: SQLCompiler, **kw: Any) -> str:
    value, type_ = _clauses(element, compiler, **kw)
    is_ref = f"{type_} = 'object' AND {value} ->> '$._kind' = 'ref'"
    return f"(CASE WHEN {is_ref} THEN {value} ->> '$.val' END)"


# ---- keys: none fails, whatever is stored -------------------------------------------------------


_SPECIAL_KEYS = "WHEN 'INF' THEN 9e999 WHEN '-INF' THEN -9e999 WHEN 'NaN' THEN -9e999"


@compiles(NumberKey, "sqlite")
def _number_key(element: NumberKey, compiler: SQLCompiler, **kw: Any) -> str:
    tags, (name,) = compiler.process(element.tags, **kw), element.names
    val, own = _at(tags, name, "val"), _at(tags, name)
    special = f"CASE {val} {_SPECIAL_KEYS} END"
    is_number = f"json_type({tags}, {_path(name, 'val')}) IN ('integer', 'real')"
    number = f"CASE WHEN {is_number} THEN {val} ELSE {special} END"
    of_object = f"CASE {_at(tags, name, '_kind')} WHEN 'number' THEN {number} END"
    return (
        f"(CASE json_type({tags}, {_path(name)}) WHEN 'integer' THEN {own} "
        f"WHEN 'real' THEN {own} WHEN 'object' THEN {of_object} END)"
    )


@compiles(NumberLiteral, "sqlite")
def _number_literal(element: NumberLiteral, compiler: SQLCompiler, **kw: Any) -> str:
    # What comes out of a CAST has an affinity, and SQLite looks no such thing up in an index.
    return f"(0 + {compiler.process(element.text, **kw)})"


def _at(tags: str, *names: str) -> str:
    return f"({tags} ->> {_path(*names)})"


@compiles(StringKey, "sqlite")
def _string_key(element: StringKey, compiler: SQLCompiler, **kw: Any) -> str:
    tags, (name,) = compiler.process(element.tags, **kw), element.names
    text = f"substr({_at(tags, name)}, 1, {CUT})"
    return f"(CASE json_type({tags}, {_path(name)}) WHEN 'text' THEN {text} END)"


@compiles(DateKey, "sqlite")
def _date_key(element: DateKey, compiler: SQLCompiler, **kw: Any) -> str:
    tags, (name,) = compiler.process(element.tags, **kw), element.names
    text = f"substr({_at(tags, name, 'val')}, 1, {CUT})"
    return f"(CASE {_at(tags, name, '_kind')} WHEN 'date' THEN {text} END)"


@compiles(InstantKey, "sqlite")
def _instant_key(element: InstantKey, compiler: SQLCompiler, **kw: Any) -> str:
    tags, (name,) = compiler.process(element.tags, **kw), element.names
    micros = _micros(_at(tags, name, "val"))
    return f"(CASE {_at(tags, name, '_kind')} WHEN 'dateTime' THEN {micros} END)"


# ---- search -------------------------------------------------------------------------------------


@compiles(SomeText, "sqlite")
def _some_text(element: SomeText, compiler: SQLCompiler, **kw: Any) -> str:
    parts = (element.tags, element.start, element.anywhere, element.inside)
    tags, start, anywhere, inside = (compiler.process(part, **kw) for part in parts)
    # Only the elements of a dict have a key that is a text. To look for separators takes four times
    # as long as to look for the word, which most texts do not have at all.
    return (
        f"EXISTS (SELECT 1 FROM json_each({tags}) AS hs_e WHERE hs_e.type = 'text' "
        f"AND typeof(hs_e.key) = 'text' AND (hs_e.value GLOB {start} "
        f"OR hs_e.value GLOB {anywhere} AND hs_e.value GLOB {inside}) "
        f"AND hs_e.key NOT IN ({_LIVE}))"
    )


_LIVE = ", ".join(f"'{name}'" for name in sorted(LIVE_TAGS))


# ---- places -------------------------------------------------------------------------------------


@compiles(CoordAt, "sqlite")
def _coord_at(element: CoordAt, compiler: SQLCompiler, **kw: Any) -> str:
    tags, (name,) = compiler.process(element.tags, **kw), element.names
    are_numbers = " AND ".join(
        f"json_type({tags}, {_path(name, axis)}) IN ('integer', 'real')" for axis in ("lat", "lng")
    )
    on_earth = (
        f"{_at(tags, name, 'lat')} BETWEEN -90 AND 90 "
        f"AND {_at(tags, name, 'lng')} BETWEEN -180 AND 180"
    )
    # As a double: of two integers a quotient would be one.
    axis = f"CAST({_at(tags, name, element.axis)} AS REAL)"
    return (
        f"(CASE WHEN {_at(tags, name, '_kind')} = 'coord' AND {are_numbers} AND {on_earth} "
        f"THEN {axis} END)"
    )


@compiles(InRing, "sqlite")
def _in_ring(element: InRing, compiler: SQLCompiler, **kw: Any) -> str:
    lat, lng, edges = (
        compiler.process(part, **kw) for part in (element.lat, element.lng, element.edges)
    )
    edge = [f"CAST(hs_e.value ->> {place} AS REAL)" for place in range(5)]
    return in_ring(lat, lng, f"json_each({edges}) AS hs_e", edge)


@compiles(WithinCircle, "sqlite")
def _within_circle(element: WithinCircle, compiler: SQLCompiler, **kw: Any) -> str:
    return "1"  # nothing is left out beforehand
