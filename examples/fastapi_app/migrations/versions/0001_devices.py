"""Users, devices and uploads.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa

import hsorm.sql.types
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "device",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("serial", sa.String(), nullable=False),
        sa.Column("owner_id", sa.Integer(), sa.ForeignKey("user_account.id"), nullable=False),
        sa.Column("tags", hsorm.sql.types.Tags(), nullable=False),
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("device_tags", "device", ["tags"], postgresql_using="gin")
    op.create_table(
        "upload",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("device_id", sa.String(), sa.ForeignKey("device.id"), nullable=False),
        sa.Column("user_id", sa.Integer(), sa.ForeignKey("user_account.id"), nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    for table in ("upload", "device", "user_account"):
        op.drop_table(table)
