"""The constructs in PostgreSQL: JSONB operators, which GIN answers where it can.

Also how a statement is shown that is printed without saying for which database.
"""

from __future__ import annotations

from typing import Any

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
    return f"CAST({compiler.process(element.text, **kw)} AS TIMESTAMP WITH TIME ZONE)"


@compiles(Variant)
def _variant(element: Variant, compiler: SQLCompiler, **kw: Any) -> str:
    # In parentheses: it may be an OR, and stand beside an AND or behind a NOT.
    return f"({compiler.process(element.indexed, **kw)})"


@compiles(IdText)
def _id_text(element: IdText, compiler: SQLCompiler, **kw: Any) -> str:
    return f'(CAST({compiler.process(element.column, **kw)} AS TEXT) COLLATE "C")'


@compiles(IsListed)
def _is_listed(element: IsListed, compiler: SQLCompiler, **kw: Any) -> str:
    column, array = (compiler.process(part, **kw) for part in (element.column, element.array))
    # One array for the whole statement, which the key's index takes as it is.
    return f"{column} = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST({array} AS JSONB))))"
