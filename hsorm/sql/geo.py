"""Where entities are, as SQLAlchemy conditions with the exact meaning of `hsorm.ops.geo`.

They need no PostGIS: what they compute is haversines and comparisons of doubles. Where there is a
geography column, it only narrows down what is looked at, so that the answer is the same with it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from sqlalchemy import (
    Boolean,
    ColumnClause,
    ColumnElement,
    Double,
    Select,
    Table,
    Text,
    and_,
    case,
    column,
    false,
    func,
    literal,
    select,
    table,
)
from sqlalchemy.sql.visitors import InternalTraversal

from hsorm.codecs.hayson import to_json
from hsorm.ops.geo import (
    HALF_RADIANS,
    RADIANS,
    Area,
    Box,
    Near,
    Polygon,
    edges_of,
    enclosing,
)
from hsorm.sql.constructs import AtTag, Construct, HasKey, Variant, bound

__all__ = [
    "GEO_COLUMN",
    "GEO_INDEX",
    "GEO_TAG",
    "CoordAt",
    "GeoColumn",
    "InRing",
    "WithinCircle",
    "column_of",
    "is_geo",
    "is_in",
    "select_geo_schema",
]

GEO_COLUMN: Final = "geo"
"""The column of entities with their `geoCoord`, where PostGIS was there when it was made."""

GEO_INDEX: Final = "geo_gist"
"""The end of the name of the index on it."""

GEO_TAG: Final = "geoCoord"
"""The tag that the column of our own tables is made of."""

_MARGIN: Final = 1.001
"""PostGIS rounds in its own way: what it finds is looked at again."""


class GeoColumn(NamedTuple):
    """A column of type geography to narrow a search down with, on PostgreSQL.

    Attributes:
        column: The column.
        schema: Where the functions of PostGIS are; None is the search path.
    """

    column: Any
    schema: str | None = None


class CoordAt(AtTag):
    """One axis of the Coord in a tag, in degrees; NULL of whatever is no place on earth."""

    type = Double()
    _traverse_internals = [*AtTag._traverse_internals, ("axis", InternalTraversal.dp_string)]

    def __init__(self, tags: ColumnElement[Any], name: str, axis: str) -> None:
        super().__init__(tags, name)
        self.axis = axis


class InRing(Construct):
    """A place is inside of a ring, given as JSON: a list of `hsorm.ops.geo.Edge`; never NULL."""

    type = Boolean()
    _parts = ("lat", "lng", "edges")
    _traverse_internals = [(part, InternalTraversal.dp_clauseelement) for part in _parts]

    def __init__(
        self, lat: ColumnElement[float], lng: ColumnElement[float], edges: ColumnElement[str]
    ) -> None:
        self.lat, self.lng, self.edges = lat, lng, edges


class WithinCircle(Construct):
    """A geography is no farther from a place than some metres, by PostGIS and its index."""

    type = Boolean()
    _parts = ("column", "lat", "lng", "metres")
    _traverse_internals = [
        *((part, InternalTraversal.dp_clauseelement) for part in _parts),
        ("schema", InternalTraversal.dp_plain_obj),
    ]

    def __init__(self, geo: GeoColumn, circle: Near) -> None:
        self.column, self.schema = geo.column, geo.schema
        self.lat, self.lng = _number(circle.lat), _number(circle.lng)
        self.metres = _number(circle.metres * _MARGIN + 1)


def column_of(entities: Table) -> ColumnElement[Any]:
    """Return the geography column of our own table of entities, which no model has."""
    return ColumnClause(GEO_COLUMN, _selectable=entities)


def is_geo(entities: str, object_: Any, name: str | None, type_: str) -> bool:
    """Tell whether something in the database is the column, or its index, that no model has.

    Args:
        entities: The name of the table of entities.
        object_: What Alembic's `include_object` is given, and so are the others.
        name: Its name.
        type_: Its type.
    """
    own = {"column": GEO_COLUMN, "index": f"{entities}_{GEO_INDEX}"}
    return own.get(type_) == name and object_.table.name == entities


def select_geo_schema(entities: str) -> Select[Any]:
    """Select the schema that PostGIS is in, if entities have a geography column (PostgreSQL).

    Args:
        entities: The table's name with its schema, quoted.
    """
    attribute = table("pg_attribute", column("attrelid"), column("attname"), column("atttypid"))
    type_ = table("pg_type", column("oid"), column("typname"), column("typnamespace"))
    schema = table("pg_namespace", column("oid"), column("nspname", Text()))
    return (
        select(schema.c.nspname)
        .join_from(attribute, type_, attribute.c.atttypid == type_.c.oid)
        .join(schema, schema.c.oid == type_.c.typnamespace)
        .where(
            attribute.c.attrelid == func.to_regclass(entities),
            attribute.c.attname == GEO_COLUMN,
            type_.c.typname == "geography",
        )
    )


def is_in(
    area: Area, tags: ColumnElement[Any], geo: GeoColumn | None = None
) -> ColumnElement[bool]:
    """Return the condition that an entity is in an area; it is never NULL.

    Args:
        area: The area.
        tags: The dict as JSON.
        geo: A column that has the same coord, where there is one.
    """
    lat, lng = (CoordAt(tags, area.tag, axis) for axis in ("lat", "lng"))
    inside = _inside(area, lat, lng)
    circle = enclosing(area) if geo is not None else None
    # The key is what GIN answers, and the first thing that SQLite looks at.
    by_key = and_(HasKey(tags, area.tag), inside)
    if geo is None or circle is None:
        return by_key
    return Variant(and_(WithinCircle(geo, circle), inside), by_key)


def _inside(
    area: Area, lat: ColumnElement[float], lng: ColumnElement[float]
) -> ColumnElement[bool]:
    match area:
        case Near():
            found = _haversine(area, lat, lng) <= _number(area.most)
            return func.coalesce(found, false())
        case Box(south, west, north):
            high = and_(lat >= _number(south), lat <= _number(north))
            wide = _eastward(west, lng) <= _number(area.width)
            return func.coalesce(and_(high, wide), false())
        case Polygon():
            return InRing(lat, lng, bound(to_json(edges_of(area)).decode()))


def _haversine(
    center: Near, lat: ColumnElement[float], lng: ColumnElement[float]
) -> ColumnElement[float]:
    half = _number(HALF_RADIANS)
    north = func.power(func.sin((lat - _number(center.lat)) * half), _number(2.0))
    east = func.power(func.sin((lng - _number(center.lng)) * half), _number(2.0))
    # In the order of the predicate, so that both round alike.
    narrowing = func.cos(lat * _number(RADIANS)) * func.cos(_number(center.lat * RADIANS))
    haversine: ColumnElement[float] = north + narrowing * east
    return haversine


def _eastward(west: float, lng: ColumnElement[float]) -> ColumnElement[float]:
    degrees = lng - _number(west)
    return case(
        (degrees < _number(0.0), degrees + _number(360.0)),
        (degrees >= _number(360.0), degrees - _number(360.0)),
        else_=degrees,
    )


def _number(value: float) -> ColumnElement[float]:
    return literal(value, Double())
