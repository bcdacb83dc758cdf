"""The value of one tag as an expression: in kinds, or as a typed column to order by and compare."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Date,
    Dialect,
    Double,
    and_,
    case,
    cast,
    func,
    null,
    or_,
    true,
    type_coerce,
)
from sqlalchemy.types import JSON, TypeDecorator

from hsorm.codecs import hayson
from hsorm.sql import constructs
from hsorm.sql.constructs import (
    AsDouble,
    IsInstant,
    KindAt,
    NumberAt,
    SubDict,
    TextAt,
    Variant,
    bound,
)

__all__ = ["TagValue"]


class _KindType(TypeDecorator[Any]):
    """One value in kinds."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        # Some drivers parse JSON themselves, and a text of theirs is a Str then.
        parsed = dialect.supports_native_json_deserialization
        read = hayson.decode if parsed else hayson.loads
        return lambda value: None if value is None else read(value)


class TagValue(SubDict):
    """The value of a tag, `Device.tags["area"]`: selected by itself it comes in kinds.

    The `as_…` methods are typed columns, NULL where the tag is missing or of another kind:
    `order_by(Device.tags["area"].as_number())`.
    """

    type = _KindType()
    inherit_cache = True

    def as_number(self, unit: str | None = None) -> ColumnElement[float]:
        """Return a Number's value as a float; with `unit` only of Numbers in that unit (K2)."""
        tags, names = self.tags, self.names
        kind, own_unit = KindAt(tags, *names), TextAt(tags, *names, "unit")
        bare = KindAt(tags, *names, "val") == constructs.constant("num")
        in_unit = true() if unit is None else own_unit == bound(unit)
        number = case(
            (
                kind == constructs.constant("num"),
                AsDouble(NumberAt(tags, *names)) if not unit else null(),
            ),
            (
                case((kind == constructs.constant("number"), and_(bare, in_unit)), else_=None),
                AsDouble(NumberAt(tags, *names, "val")),
            ),
        )
        return cast(number, Double())

    def as_string(self) -> ColumnElement[str]:
        """Return a Str, in the order of code points (OC 3)."""
        return case((self._is("str"), TextAt(self.tags, *self.names)))

    def as_bool(self) -> ColumnElement[bool]:
        """Return a Bool."""
        kind = KindAt(self.tags, *self.names)
        is_bool = or_(kind == constructs.constant("true"), kind == constructs.constant("false"))
        return type_coerce(case((is_bool, kind == constructs.constant("true"))), Boolean())

    def as_ref(self) -> ColumnElement[str]:
        """Return the id of a Ref."""
        return case((self._is("ref"), self._val()))

    def as_date(self) -> ColumnElement[Any]:
        """Return a Date."""
        text = case((self._is("date"), self._val()))
        is_date = IsInstant(func.coalesce(text, "").op("||")("T00:00:00Z"))
        safe = case((is_date, text))
        as_date: ColumnElement[Any] = cast(safe, Date())
        return type_coerce(Variant(as_date, safe), Date())

    def as_datetime(self) -> ColumnElement[Any]:
        """Return a DateTime as an instant in UTC (K4)."""
        from hsorm.sql.types import Instant

        text = case((self._is("dateTime"), self._val()))
        instant = case((IsInstant(text), constructs.Instant(text)))
        return type_coerce(instant, Instant())

    def _is(self, kind: str) -> ColumnElement[bool]:
        return KindAt(self.tags, *self.names) == constructs.constant(kind)

    def _val(self) -> ColumnElement[str]:
        return TextAt(self.tags, *self.names, "val")
