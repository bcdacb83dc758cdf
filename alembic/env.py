"""Where Alembic runs our migrations: on a connection that it is given, or on HSORM_URL.

Arguments (`-x name=value`): `url`, `schema`, `prefix`, `timescale=auto|require|off`,
`postgis=auto|require|off`, and `lose_data=yes` for a downgrade that drops rows.
"""

from __future__ import annotations

import asyncio
import os
import warnings
from logging.config import fileConfig
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateSchema

from alembic import context
from hsorm.sql.geo import is_geo
from hsorm.sql.indexes import is_declared
from hsorm.sql.migrate import VERSION_TABLE
from hsorm.sql.models import make_tables
from hsorm.sql.urls import engine_url, server_settings

# Two processes that migrate one database at a time: the second waits. Any number, but always the
# same.
_LOCK = 4_801_477_281

config = context.config
if config.config_file_name is not None and Path(config.config_file_name).is_file():
    fileConfig(config.config_file_name, disable_existing_loggers=False)

arguments = context.get_x_argument(as_dictionary=True)


def setting(name: str, default: Any = None) -> Any:
    """An argument of the command line, else what a program set."""
    return arguments.get(name) or config.attributes.get(name) or default


prefix, schema = setting("prefix", ""), setting("schema")
for extension in ("timescale", "postgis"):
    if setting(extension, "auto") not in ("auto", "require", "off"):
        raise SystemExit(f"{extension}={setting(extension)}: auto, require or off")
config.attributes.update(
    prefix=prefix,
    schema=schema,
    timescale=setting("timescale", "auto"),
    postgis=setting("postgis", "auto"),
    lose_data=setting("lose_data") == "yes",
)
metadata = MetaData()
make_tables(metadata, prefix=prefix, schema=schema)
ours = {table.name for table in metadata.tables.values()}


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """Compare our own tables only: the rest of the database is other people's."""
    if type_ == "schema":
        return name == schema
    return type_ != "table" or name in ours


def include_object(
    object_: Any, name: str | None, type_: str, reflected: bool, compare_to: Any
) -> bool:
    """Leave the GIN index to the database that has such indexes, and declared ones to people."""
    if type_ == "index" and reflected and is_declared(object_.table.name, name):
        return False
    if reflected and is_geo(f"{prefix}entities", object_, name, type_):
        return False
    is_gin = type_ == "index" and object_.dialect_options["postgresql"].get("using") == "gin"
    return not is_gin or context.get_context().dialect.name == "postgresql"


def run(connection: Connection | None, **options: Any) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=f"{prefix}{VERSION_TABLE}",
        version_table_schema=schema,
        include_schemas=schema is not None,
        include_name=include_name,
        include_object=include_object,
        render_as_batch=True,
        transactional_ddl=True,
        **options,
    )
    if connection is not None and connection.dialect.name == "sqlite":
        _begin_on_sqlite(connection)
    with context.begin_transaction(), warnings.catch_warnings():
        # A type that SQLAlchemy does not know without GeoAlchemy2, of a column that is left out.
        warnings.filterwarnings("ignore", "Did not recognize type 'geography'")
        if connection is not None and connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            if schema is not None:
                connection.execute(CreateSchema(schema, if_not_exists=True))
        context.run_migrations()


def _begin_on_sqlite(connection: Connection) -> None:
    """Begin: by itself Python's sqlite3 does so at the first change of rows, not of tables."""
    driver: Any = connection.connection.driver_connection
    if not driver.in_transaction:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


async def run_on_url() -> None:
    plain, settings = server_settings(engine_url(url()))
    given = {"server_settings": settings} if settings else {}  # nothing that SQLite knows of
    engine = create_async_engine(plain, poolclass=NullPool, connect_args=given)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


def url() -> str:
    found = arguments.get("url") or os.environ.get("HSORM_URL")
    if not found:
        raise SystemExit("which database? Set HSORM_URL, or give -x url=postgresql://…")
    return str(found)


if context.is_offline_mode():
    run(None, url=engine_url(url()), literal_binds=True)
elif config.attributes.get("connection") is not None:
    run(config.attributes["connection"])
else:
    asyncio.run(run_on_url())
