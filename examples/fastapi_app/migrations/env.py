"""Where Alembic runs the application's own migrations, and hsorm's before them.

hsorm's tables are in the same database, under migrations and a version table of their own: an
`upgrade` brings them up, too, and autogenerate leaves them alone.
"""

from __future__ import annotations

import asyncio

from devices_app.database import make_engine
from devices_app.models import Base
from sqlalchemy import Connection

from alembic import context
from hsorm.sql import alembic_host


def run(connection: Connection) -> None:
    options = alembic_host.beside(Base.metadata, render_as_batch=True)
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        alembic_host.run_beside()
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
