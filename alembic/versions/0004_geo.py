"""Where entities are, as a geography with an index, where PostGIS is in the database.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.hsorm")


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    wish = op.get_context().opts["hsorm"]["postgis"]
    schema = None if wish == "off" else _postgis(wish)
    if schema is None:
        log.info("entities have no geography column (postgis=%s)", wish)
        return
    entities, index = _name("entities"), _quoted(f"{_prefix()}entities_geo_gist")
    # Every row is written anew, for a generated column is stored. Most have no geoCoord, and are
    # in no index.
    op.execute(
        f"ALTER TABLE {entities} ADD COLUMN geo {schema}geography(Point, 4326) "
        f"GENERATED ALWAYS AS ({_geography(schema)}) STORED"
    )
    op.execute(f"CREATE INDEX {index} ON {entities} USING gist (geo) WHERE geo IS NOT NULL")
    log.info("entities have a geography column (postgis=%s)", wish)


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        # With its index. The extension stays: it may be anybody's.
        op.execute(f"ALTER TABLE {_name('entities')} DROP COLUMN IF EXISTS geo")


def _geography(schema: str) -> str:
    """Write the place of an entity; NULL, never an error, of whatever is no Coord on earth."""
    coord = "(tags -> 'geoCoord')"
    lat, lng = f"({coord} -> 'lat')", f"({coord} -> 'lng')"
    are_numbers = f"jsonb_typeof({lat}) = 'number' AND jsonb_typeof({lng}) = 'number'"
    on_earth = f"{lat}::numeric BETWEEN -90 AND 90 AND {lng}::numeric BETWEEN -180 AND 180"
    # Rounded, for a cast of what is too small for a double would fail.
    place = ", ".join(f"round({axis}::numeric, 20)::float8" for axis in (lat, lng)[::-1])
    point = f"{schema}geography({schema}ST_SetSRID({schema}ST_MakePoint({place}), 4326))"
    return (
        f"CASE WHEN {coord} ->> '_kind' = 'coord' AND {are_numbers} "
        f"THEN CASE WHEN {on_earth} THEN {point} END END"
    )


def _postgis(wish: str) -> str | None:
    """Return what stands before the names of PostGIS; None where it is not to be used.

    "auto" does not create the extension, which brings tables and a thousand functions into a schema
    that other people look at, too.
    """
    if wish == "require":
        op.execute("CREATE EXTENSION IF NOT EXISTS postgis")
    if op.get_context().as_sql:
        # A script has no server to ask.
        return "" if wish == "require" else None
    found = op.get_bind().scalar(
        sa.text(
            "SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace "
            "WHERE extname = 'postgis'"
        )
    )
    return None if found is None else f"{_quoted(found)}."


def _prefix() -> str:
    prefix: str = op.get_context().opts["hsorm"]["prefix"]
    return prefix


def _quoted(name: str) -> str:
    return str(op.get_context().dialect.identifier_preparer.quote(name))


def _name(table: str) -> str:
    """Return a table's name with prefix and schema, quoted where it must be."""
    schema = op.get_context().opts["hsorm"]["schema"]
    preparer = op.get_context().dialect.identifier_preparer
    return str(preparer.format_table(sa.table(f"{_prefix()}{table}", schema=schema)))
