"""Where Alembic runs our migrations: on a connection that it is given, or on HSORM_URL.

Arguments (`-x name=value`): `url`, `schema`, `prefix`, `timescale=auto|require|off`,
`postgis=auto|require|off`, and `lose_data=yes` for a downgrade that drops rows.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from logging.config import fileConfig
from typing import Any

from sqlalchemy import URL, Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from alembic import context
from hsorm.sql.alembic_host import included
from hsorm.sql.migrate import VERSION_TABLE, Settings, prepare
from hsorm.sql.urls import Target, server_settings, target_of

config = context.config
if config.file_config.has_section("loggers"):
    fileConfig(config.file_config, disable_existing_loggers=False)

arguments = context.get_x_argument(as_dictionary=True)


def setting(name: str, default: Any = None) -> Any:
    """An argument of the command line, else what a program set."""
    return arguments.get(name) or config.attributes.get(name) or default


def target() -> Target:
    """The database, and which tables in it, by its URL."""
    found = arguments.get("url") or os.environ.get("HSORM_URL")
    if not found:
        raise SystemExit("which database? Set HSORM_URL, or give -x url=postgresql://…")
    return target_of(found)


connection = None if context.is_offline_mode() else config.attributes.get("connection")
named = target() if connection is None else None
prefix = setting("prefix") or (named.prefix if named else "")
schema = setting("schema") or (named.schema if named else None)
for extension in ("timescale", "postgis"):
    if setting(extension, "auto") not in ("auto", "require", "off"):
        raise SystemExit(f"{extension}={setting(extension)}: auto, require or off")
chosen = Settings(
    prefix=prefix,
    schema=schema,
    timescale=setting("timescale", "auto"),
    postgis=setting("postgis", "auto"),
    lose_data=setting("lose_data") == "yes",
)


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """Leave out what is not ours: the rest of the database is other people's."""
    return type_ not in ("schema", "table")


ours = included(MetaData(), prefix=prefix, schema=schema, include_name=include_name)
ours["hsorm"] = chosen


def run(connection: Connection | None, **options: Any) -> None:
    context.configure(
        connection=connection,
        version_table=f"{prefix}{VERSION_TABLE}",
        version_table_schema=schema,
        render_as_batch=True,
        transactional_ddl=True,
        **ours,
        **options,
    )
    with context.begin_transaction(), warnings.catch_warnings():
        # A type that SQLAlchemy does not know without GeoAlchemy2, of a column that is left out.
        warnings.filterwarnings("ignore", "Did not recognize type 'geography'")
        prepare(context.get_context(), schema)
        context.run_migrations()


async def run_on(url: URL) -> None:
    plain, settings = server_settings(url)
    given = {"server_settings": settings} if settings else {}  # nothing that SQLite knows of
    engine = create_async_engine(plain, poolclass=NullPool, connect_args=given)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


if named is None:
    run(connection)
elif context.is_offline_mode():
    run(None, url=named.url, literal_binds=True)
else:
    asyncio.run(run_on(named.url))
