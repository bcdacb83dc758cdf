"""Column types: a dict of tags, and an instant."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Dialect, String
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.types import JSON, TypeDecorator, TypeEngine

from hsorm.codecs import hayson
from hsorm.filter.ast import Node
from hsorm.kinds import Coord, Entity
from hsorm.ops import geo as places
from hsorm.sql.compile import compile_filter
from hsorm.sql.constructs import HasTag
from hsorm.sql.geo import GeoColumn, is_in
from hsorm.sql.sources import LiveSource, RefText
from hsorm.sql.values import TagValue

__all__ = ["Instant", "LiveTags", "Tags"]


class Tags(TypeDecorator[Entity]):
    """A dict of tags: JSONB on PostgreSQL, JSON text elsewhere, kinds in Python.

    `Device.tags.matches("ahu and siteRef==@a")` is a filter on the column's mapped class or table.

    Args:
        refs: Where the refs of a tag lead, by the tag's name, for filters that follow them:
            `Tags(refs={"siteRef": lambda: Site})`. What is not named leads to the column's own
            table. See `compile_filter`.
        ref: How an id of this column's table is written in a Ref, when not alone, such as
            `lambda id: "p:demo:r:" + cast(id, Text)`.
        live: Where live tags are kept, if apart from the others, in a table like ours.
    """

    impl = JSON
    cache_ok = True

    def __init__(
        self,
        *,
        refs: Mapping[str, Any] | None = None,
        ref: RefText | None = None,
        live: LiveSource | None = None,
    ) -> None:
        super().__init__()
        # No part of SQLAlchemy's key for the type.
        self._refs, self._ref, self._live = refs, ref, live

    @property
    def refs(self) -> Mapping[str, Any] | None:
        """Where the refs of a tag lead."""
        return self._refs

    @property
    def ref(self) -> RefText | None:
        """How an id of this column's table is written in a Ref."""
        return self._ref

    @property
    def live(self) -> LiveSource | None:
        """Where live tags are kept."""
        return self._live

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        own = JSONB() if dialect.name == "postgresql" else JSON()
        return dialect.type_descriptor(own)

    # Whole processors, not process_bind_param and the like: those stand before the JSON functions
    # of the engine, which may be a host's own; Hayson is written and read past them.

    def bind_processor(self, dialect: Dialect) -> Any:
        """Return the function that writes entities for the driver."""
        return _write

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:
        """Return the function that reads entities from the driver."""
        return _read

    def literal_processor(self, dialect: Dialect) -> Any:
        """Return the function that writes entities into SQL text."""
        quote: Any = String().literal_processor(dialect)  # type: ignore[no-untyped-call]
        return lambda value: "NULL" if value is None else quote(_write(value))

    class Comparator(JSON.Comparator[Entity]):
        """What can be asked of a column of tags."""

        def matches(
            self, filter: str | Node, *, refs: Mapping[str, Any] | None = None
        ) -> ColumnElement[bool]:
            """Return the condition that a filter is true of this column's dict.

            Args:
                filter: The filter, as text or parsed.
                refs: Where the refs of a tag lead, instead of what the column says.

            Raises:
                FilterSyntaxError: The text is no filter.
            """
            own: Any = self.type
            named = own.refs if refs is None else refs
            return compile_filter(filter, tags=self.expr, ref=own.ref, refs=named, live=own.live)

        def has(self, name: str) -> ColumnElement[bool]:
            """Return the condition that a tag is there, whatever its value (F30)."""
            return HasTag(self.expr, name)

        def near(
            self,
            center: Coord,
            distance: places.Distance,
            *,
            tag: str = "geoCoord",
            geo: Any = None,
        ) -> ColumnElement[bool]:
            """Return the condition that the Coord in a tag is no farther from a place.

            Args:
                center: The place.
                distance: `"5km"`, `Number(5, "km")`, or metres.
                tag: The tag that says where an entity is.
                geo: A geography column of PostGIS with the same place, whose index is used: see
                    `hsorm.sql.geography`. The answer is the same without.

            Raises:
                GeoError: The place or the distance is none.
            """
            return self._in(places.near(center, distance, tag=tag), geo)

        def within(
            self, corners: Iterable[Coord], *, tag: str = "geoCoord", geo: Any = None
        ) -> ColumnElement[bool]:
            """Return the condition that the Coord in a tag is in a box or a polygon.

            Args:
                corners: South-west and north-east, or three corners and more; see
                    `hsorm.ops.geo.within`.
                tag: The tag that says where an entity is.
                geo: As for `near`.

            Raises:
                GeoError: The corners are none of a box or a polygon.
            """
            return self._in(places.within(corners, tag=tag), geo)

        def _in(self, area: places.Area, geo: Any) -> ColumnElement[bool]:
            if geo is not None and hasattr(geo, "__clause_element__"):
                geo = geo.__clause_element__()
            return is_in(area, self.expr, None if geo is None else GeoColumn(geo))

        def __getitem__(self, name: Any) -> TagValue:
            """Return the value of a tag: `Device.tags["area"].as_number()`."""
            return TagValue(self.expr, name)

    comparator_factory = Comparator


class LiveTags(Tags):
    """A dict of live tags, where an entity has its others in another column."""

    cache_ok = True


def _write(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else hayson.encode_entity(value)


def _read(value: Any) -> Entity | None:
    # Text, or parsed JSON where the driver has JSON functions of its own (asyncpg, psycopg).
    return None if value is None else hayson.decode_entity(value)


class Instant(TypeDecorator[dt.datetime]):
    """An instant in UTC: TIMESTAMPTZ on PostgreSQL, microseconds since 1970 on SQLite."""

    impl = TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        own = BigInteger() if dialect.name == "sqlite" else TIMESTAMP(timezone=True)
        return dialect.type_descriptor(own)

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> Any:
        """Turn an aware datetime into what the database stores."""
        return value if value is None or dialect.name != "sqlite" else to_micros(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dt.datetime | None:
        """Turn what the database stores into an aware datetime in UTC."""
        return value if value is None or dialect.name != "sqlite" else from_micros(value)


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def to_micros(ts: dt.datetime) -> int:
    """Return an aware datetime as microseconds since 1970."""
    since = ts - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def from_micros(micros: int) -> dt.datetime:
    """Return microseconds since 1970 as a datetime in UTC."""
    return _EPOCH + dt.timedelta(microseconds=micros)
