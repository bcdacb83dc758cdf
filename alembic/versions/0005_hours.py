"""Hours of history that are kept ready for rollups, on PostgreSQL.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = ("history_hours", "history_hours_until", "history_hours_stale", "history_hours_state")
_TRIGGERS = ("insert", "update", "move", "delete", "truncate")
_ROUTINES = ("mark_new_hour", "mark_old_hour", "forget_hours", "refresh_hours")


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    prefix, schema = _names()
    hours, until, stale, state = (f"{prefix}{name}" for name in _TABLES)
    instant = sa.TIMESTAMP(timezone=True)

    def point(*, key: bool = False) -> sa.Column[str]:
        return sa.Column("point_id", sa.Text(collation="C"), primary_key=key, nullable=False)

    op.create_table(
        hours,
        point(key=True),
        sa.Column("ts", instant, primary_key=True),
        sa.Column("known", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer()),
        sa.Column("total", sa.Double()),
        sa.Column("low", sa.Double()),
        sa.Column("high", sa.Double()),
        schema=schema,
    )
    op.create_table(
        until,
        point(key=True),
        sa.Column("until", instant, nullable=False),
        schema=schema,
    )
    op.create_table(stale, point(), sa.Column("ts", instant, nullable=False), schema=schema)
    op.create_index(f"{stale}_ts", stale, ["point_id", "ts"], schema=schema)
    op.create_table(
        state,
        sa.Column("noted_at", instant),
        sa.Column("noted", sa.BigInteger()),
        sa.Column("settled", instant),
        sa.Column("until", instant),
        sa.Column("hours", sa.BigInteger(), nullable=False),
        schema=schema,
    )


def downgrade() -> None:
    """Drop them: what is in them can be worked out again, but for items that are dropped."""
    if op.get_context().dialect.name != "postgresql":
        return
    prefix, schema = _names()
    refresh = _name("hsorm_refresh_hours").replace("'", "''")
    op.execute(f"""
DO $hsorm$ BEGIN
    IF to_regclass('timescaledb_information.jobs') IS NOT NULL THEN
        PERFORM delete_job(job_id) FROM timescaledb_information.jobs
        WHERE to_regproc(quote_ident(proc_schema) || '.' || quote_ident(proc_name))
            = to_regproc('{refresh}');
    END IF;
END $hsorm$""")
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER IF EXISTS hsorm_hours_{name} ON {_name('history')}")
    for name in _ROUTINES:
        op.execute(f"DROP ROUTINE IF EXISTS {_name(f'hsorm_{name}')}")
    for name in reversed(_TABLES):
        op.drop_table(f"{prefix}{name}", schema=schema)


def _names() -> tuple[str, str | None]:
    """Return the prefix of the tables' names, and their schema."""
    settings = op.get_context().opts["hsorm"]
    return settings["prefix"], settings["schema"]


def _name(table: str) -> str:
    """Return a table's name with prefix and schema, quoted where it must be."""
    prefix, schema = _names()
    preparer = op.get_context().dialect.identifier_preparer
    return str(preparer.format_table(sa.table(f"{prefix}{table}", schema=schema)))
