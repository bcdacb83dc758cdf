"""The value of a tag as a key that an index can hold, and comparisons as ranges of such keys.

A key is one expression without anything bound in it, NULL where the tag has another kind: the same
in an index that somebody declares (`hsorm.sql.indexes`) and in every filter, which need not know
whether there is one. It neither fails nor grows long, whatever is stored: an index must not refuse
a row.

A range of keys holds whatever a comparison is true of, and perhaps a little more: numbers of other
units, texts that only begin alike. The exact condition stands beside it, and is what is never NULL.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import BigInteger, Text, TypeEngine

from hsorm.filter.ast import CmpOp
from hsorm.kinds import Number
from hsorm.ops.index_tags import Indexed
from hsorm.sql.constructs import NUMBER, AtTag, OfText, bound_number, bound_of

__all__ = [
    "CUT",
    "DateKey",
    "Indexed",
    "InstantKey",
    "NumberKey",
    "NumberLiteral",
    "StringKey",
    "UtcTime",
    "key_of",
    "range_of",
    "utc_text",
]

CUT: Final = 250
"""So many characters of a text are in its key: PostgreSQL takes no more than 2,700 bytes."""

_Bool: TypeAlias = ColumnElement[bool]

_UTC: TypeEngine[dt.datetime] = TIMESTAMP().with_variant(BigInteger(), "sqlite")


class NumberKey(AtTag):
    """A Number of any unit; NaN, which is below every number (F38), stands beside -INF."""

    type = NUMBER


class NumberLiteral(OfText):
    """A number that is bound, as what `NumberKey` compares with."""

    type = NUMBER


class StringKey(AtTag):
    """The first `CUT` characters of a Str, by code point."""

    type = Text()


class DateKey(AtTag):
    """The first `CUT` characters of the text of a Date."""

    type = Text()


class InstantKey(AtTag):
    """The instant of a DateTime: in UTC on PostgreSQL, in microseconds since 1970 on SQLite."""

    type = _UTC


class UtcTime(OfText):
    """A text in UTC, as `2024-03-10T12:00:00.000000Z`, as what `InstantKey` compares with."""

    type = _UTC


_KEYS: Final[dict[Indexed, type[AtTag]]] = {
    "number": NumberKey,
    "string": StringKey,
    "date": DateKey,
    "datetime": InstantKey,
}


def key_of(tags: ColumnElement[Any], name: str, kind: Indexed) -> ColumnElement[Any]:
    """Return what an index over the values of a tag holds."""
    return _KEYS[kind](tags, name)


def range_of(tags: ColumnElement[Any], name: str, op: CmpOp, val: Any) -> _Bool | None:
    """Return the range of keys outside of which a comparison is never true.

    Args:
        tags: The dict as JSON.
        name: The tag.
        op: Any operator but `!=`.
        val: The literal; None is returned for one of a kind that no index is for.
    """
    match val:
        case Number():
            return _range(NumberKey(tags, name), op, NumberLiteral(bound_number(val)))
        case str():
            return _range(StringKey(tags, name), op, bound_of(_cut, val))
        case dt.datetime():
            return _range(InstantKey(tags, name), op, UtcTime(bound_of(utc_text, val)))
        case dt.date():
            return _range(DateKey(tags, name), op, bound_of(dt.date.isoformat, val))
        case _:
            return None


def _cut(text: str) -> str:
    return text[:CUT]


def _range(key: ColumnElement[Any], op: CmpOp, literal: ColumnElement[Any]) -> _Bool:
    # The ends belong to it: two values may share a key, and the literal may be one of them.
    match op:
        case CmpOp.EQ:
            return key == literal
        case CmpOp.LT | CmpOp.LE:
            return key <= literal
        case _:
            return key >= literal


def utc_text(ts: dt.datetime) -> str:
    """Return an instant as text in UTC."""
    return ts.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
