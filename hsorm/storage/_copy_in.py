"""How rows in the binary format of COPY get into a table, by each driver that can."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.engine import AdaptedConnection

from hsorm.errors import StorageError
from hsorm.sql import statements

__all__ = ["columns_of", "copy_by_asyncpg", "copy_in", "count_of"]


def columns_of(target: Table) -> list[str]:
    """Return the columns of a table that are written, in order."""
    return [column.name for column in statements.stored_columns(target)]


def copy_in(connection: Connection, target: Table, rows: Iterable[bytes]) -> int:
    """COPY rows into a table, on the driver's connection under one of SQLAlchemy's.

    In its transaction, which has begun: SQLAlchemy begins that of asyncpg with a first statement.

    Returns:
        How many rows they were.

    Raises:
        StorageError: The driver is none that we know.
    """
    # As SQLAlchemy does for what it runs itself: the schema may be one for each tenant of a host.
    names = connection.get_execution_options().get("schema_translate_map") or {}
    schema = names.get(target.schema, target.schema)
    columns = columns_of(target)
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.driver == "asyncpg" and isinstance(driver, AdaptedConnection):
        return driver.run_async(
            lambda own: copy_by_asyncpg(own, target.name, schema, columns, rows)
        )
    if connection.dialect.driver != "psycopg":
        raise StorageError(
            f"COPY over {connection.dialect.driver}: take a session over psycopg 3 or asyncpg"
        )
    quote = connection.dialect.identifier_preparer.quote
    name = f"{quote(schema)}.{quote(target.name)}" if schema else quote(target.name)
    sql = f"COPY {name} ({', '.join(map(quote, columns))}) FROM STDIN (FORMAT BINARY)"
    if isinstance(driver, AdaptedConnection):
        return driver.run_async(lambda own: _copy_by_async_psycopg(own, sql, rows))
    return _copy_by_psycopg(driver, sql, rows)


async def copy_by_asyncpg(
    driver: Any, table: str, schema: str | None, columns: Sequence[str], rows: Iterable[bytes]
) -> int:
    """COPY rows into a table on a connection of asyncpg's, and return how many they were."""
    status = await driver.copy_to_table(
        table, schema_name=schema, columns=columns, source=_each(rows), format="binary"
    )
    return count_of(status)


async def _copy_by_async_psycopg(driver: Any, sql: str, rows: Iterable[bytes]) -> int:
    async with driver.cursor() as cursor:
        async with cursor.copy(sql) as copy:
            for part in rows:
                await copy.write(part)
        return int(cursor.rowcount)


def _copy_by_psycopg(driver: Any, sql: str, rows: Iterable[bytes]) -> int:
    with driver.cursor() as cursor:
        with cursor.copy(sql) as copy:
            for part in rows:
                copy.write(part)
        return int(cursor.rowcount)


async def _each(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def count_of(status: str) -> int:
    """Return how many rows a statement changed, from its status: `DELETE 5`, `INSERT 0 5`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0  # that of a CREATE TABLE has no number
