"""A geography column for a host's own class, kept by PostgreSQL; needs the extra `geo` and PostGIS.

It makes nothing possible that `Device.tags.near(…)` cannot do without; it has an index, and other
people's tools can draw it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Computed, Index, column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import MappedColumn, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.errors import MissingExtraError
from hsorm.sql.constructs import AtTag
from hsorm.sql.geo import GEO_TAG, CoordAt

try:
    from geoalchemy2 import Geography
except ImportError:
    raise MissingExtraError("a geography column", "geoalchemy2", "geo") from None

__all__ = ["geography_column", "geography_index"]


class GeographyOf(AtTag):
    """The Coord in a tag as a geography; NULL, never an error, of whatever is no place on earth."""


@compiles(GeographyOf)
def _geography_of(element: GeographyOf, compiler: SQLCompiler, **kw: Any) -> str:
    (name,) = element.names
    lat, lng = (
        compiler.process(CoordAt(element.tags, name, axis), **kw) for axis in ("lat", "lng")
    )
    return f"geography(ST_SetSRID(ST_MakePoint({lng}, {lat}), 4326))"


def geography_column(tags: str = "tags", *, tag: str = GEO_TAG) -> MappedColumn[Any]:
    """Return a column with the place of an entity, as PostgreSQL works it out of the tags.

    `geo: Mapped[WKBElement | None] = geography_column()`; give it to `Device.tags.near(…,
    geo=Device.geo)` so that its index is used, and index it with `geography_index`.

    Args:
        tags: The name of the column of tags.
        tag: The tag that says where an entity is.
    """
    place: ColumnElement[Any] = GeographyOf(column(tags), tag)
    # An index of GeoAlchemy2's own would hold the rows without a place as well.
    type_ = Geography("POINT", srid=4326, spatial_index=False)
    return mapped_column(type_, Computed(place, persisted=True), nullable=True)


def geography_index(name: str, geo: str = "geo") -> Index:
    """Return an index on such a column, for `__table_args__`, of the rows that have a place."""
    where = column(geo).is_not(None)
    return Index(name, geo, postgresql_using="gist", postgresql_where=where)
