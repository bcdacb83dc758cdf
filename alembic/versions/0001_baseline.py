"""Entities and history.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.hsorm")


def upgrade() -> None:
    on_postgresql = op.get_context().dialect.name == "postgresql"
    # Ids compare by code point, as everywhere in Haystack.
    id_type = sa.Text(collation="C") if on_postgresql else sa.Text()
    json = postgresql.JSONB() if on_postgresql else sa.JSON()
    instant = sa.TIMESTAMP(timezone=True) if on_postgresql else sa.BigInteger()
    prefix, schema = _names()
    op.create_table(
        f"{prefix}entities",
        sa.Column("id", id_type, primary_key=True),
        sa.Column("tags", json, nullable=False),
        schema=schema,
    )
    op.create_table(
        f"{prefix}history",
        sa.Column("point_id", id_type, primary_key=True),
        sa.Column("ts", instant, primary_key=True),
        sa.Column("val", sa.Double()),
        sa.Column("obj", json),
        schema=schema,
        sqlite_with_rowid=False,
    )
    if on_postgresql:
        op.create_index(
            f"{prefix}entities_tags_gin",
            f"{prefix}entities",
            ["tags"],
            schema=schema,
            postgresql_using="gin",
        )
        _make_hypertable(f"{prefix}history", schema)


def downgrade() -> None:
    prefix, schema = _names()
    names = (f"{prefix}history", f"{prefix}entities")
    if not (op.get_context().as_sql or op.get_context().opts["hsorm"]["lose_data"]):
        _refuse_to_lose_data(names, schema)
    for name in names:
        op.drop_table(name, schema=schema)


def _refuse_to_lose_data(names: tuple[str, ...], schema: str | None) -> None:
    for name in names:
        rows = sa.table(name, schema=schema)
        if op.get_bind().scalar(sa.select(sa.literal(1)).select_from(rows).limit(1)):
            may = "-x lose_data=yes, or lose_data=True in a revision of a host's"
            raise SystemExit(f"{name} has rows, which the downgrade would drop: {may}")


def _names() -> tuple[str, str | None]:
    """Return the prefix of the tables' names, and their schema."""
    settings = op.get_context().opts["hsorm"]
    return settings["prefix"], settings["schema"]


def _make_hypertable(table: str, schema: str | None) -> None:
    """Make history a hypertable where TimescaleDB is to be had; without, the plain table serves."""
    wish = op.get_context().opts["hsorm"]["timescale"]
    if wish == "off" or not _has_timescale(wish):
        log.info("history is a plain table (timescale=%s)", wish)
        return
    quoted = op.get_context().dialect.identifier_preparer.format_table
    name = quoted(sa.table(table, schema=schema))
    # Its own index on ts would be one that no model knows, and one more to keep up on every write.
    op.execute(
        sa.text(
            "SELECT create_hypertable(CAST(:name AS regclass), by_range('ts'),"
            " create_default_indexes => false)"
        ).bindparams(name=name)
    )
    log.info("history is a TimescaleDB hypertable (timescale=%s)", wish)


def _has_timescale(wish: str) -> bool:
    """Have the extension in this database, if the server offers it and we may create it."""
    if op.get_context().as_sql:
        # A script has no server to ask: "auto" is a plain table there, so say "require" if it is to
        # be a hypertable.
        if wish == "require":
            op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        return wish == "require"
    bind = op.get_bind()
    installed = bind.scalar(sa.text("SELECT 1 FROM pg_extension WHERE extname = 'timescaledb'"))
    if installed or wish == "require":
        op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        return True
    offered = bind.scalar(
        sa.text("SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb'")
    )
    return bool(offered) and _try_to_create(bind)


def _try_to_create(bind: sa.Connection) -> bool:
    try:
        with bind.begin_nested():
            bind.exec_driver_sql("CREATE EXTENSION timescaledb")
    except sa.exc.DBAPIError as exc:
        log.warning("TimescaleDB is there but cannot be created: %s", exc.orig)
        return False
    return True
