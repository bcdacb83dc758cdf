"""Where Alembic runs the application's own migrations.

hsorm's tables are in the same database, under migrations and a version table of their own: what is
not in the application's MetaData is not compared.
"""

from __future__ import annotations

import asyncio
from typing import Any

from devices_app.database import make_engine
from devices_app.models import Base
from sqlalchemy import Connection

from alembic import context


def is_ours(name: str | None, type_: str, parents: Any) -> bool:
    """Leave the tables of others alone."""
    return type_ != "table" or name in Base.metadata.tables


def is_here(object_: Any, name: str | None, type_: str, reflected: bool, other: Any) -> bool:
    """Compare the GIN index where there is one: on PostgreSQL."""
    is_gin = type_ == "index" and object_.dialect_options["postgresql"].get("using") == "gin"
    return not is_gin or context.get_context().dialect.name == "postgresql"


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        include_name=is_ours,
        include_object=is_here,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on_engine() -> None:
    engine = make_engine()
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


given = context.config.attributes.get("connection")
if given is None:
    asyncio.run(run_on_engine())
else:
    run(given)
