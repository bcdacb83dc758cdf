"""The constructs in SQLite (3.38 or newer): its JSON functions over text."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Uuid
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.sql.constructs import (
    AnyRef,
    HasKey,
    HasTag,
    IdText,
    Instant,
    IsInstant,
    IsListed,
    KindAt,
    NumberAt,
    SubDict,
    TextAt,
    Variant,
)

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


@compiles(Instant, "sqlite")
def _instant(element: Instant, compiler: SQLCompiler, **kw: Any) -> str:
    # Microseconds since 1970, for SQLite has no type for an instant and its own functions stop at
    # milliseconds. A fraction begins at character 20 and ends before the Z or the offset.
    text = compiler.process(element.text, **kw)
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
    if not isinstance(element.column.type, Uuid):
        return f"({text} COLLATE BINARY)"
    # SQLAlchemy keeps a UUID as 32 digits here.
    parts = (f"substr({text}, {start}, {size})" for start, size in _UUID_PARTS)
    return "(" + " || '-' || ".join(parts) + ")"


_UUID_PARTS = ((1, 8), (9, 4), (13, 4), (17, 4), (21, 12))


@compiles(IsListed, "sqlite")
def _is_listed(element: IsListed, compiler: SQLCompiler, **kw: Any) -> str:
    column, array = (compiler.process(part, **kw) for part in (element.column, element.array))
    return f"{column} IN (SELECT value FROM json_each({array}))"
