"""`TimescaleAdapter`: PostgreSQL, with TimescaleDB where it is to be had."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import tee
from operator import itemgetter
from typing import Any

from sqlalchemy import Select, Table, column, func, select, table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateTable

from hsorm.errors import MissingExtraError, StorageUrlError, UnknownEntityError
from hsorm.filter.ast import Node
from hsorm.his.rows import to_row
from hsorm.kinds import REMOVE, Kind
from hsorm.sql import statements
from hsorm.sql.urls import engine_url, safe_url
from hsorm.storage._dberrors import database_errors
from hsorm.storage._sql import SqlAdapter
from hsorm.storage.protocol import Create

try:
    import asyncpg
except ImportError:
    raise MissingExtraError("TimescaleAdapter", "asyncpg", "postgres") from None

__all__ = ["TimescaleAdapter"]

_REMEMBERED = 1_024
_CONNECT_SECONDS = 10

_ID = itemgetter(0)

_SETTINGS = {
    "application_name": "hsorm",
    # The planner knows little of JSONB; its guesses switch the compiler on where that costs most.
    "jit": "off",
}


class TimescaleAdapter(SqlAdapter):
    """A storage in PostgreSQL 14 or newer, with or without TimescaleDB.

    Args:
        dsn: `postgresql://user:password@host/database` (or `postgres://`); None is TIMESCALE_DSN.
        engine: An engine of the host's own over asyncpg, instead of a dsn; it stays open on close.
            Turn `jit` off on it (`server_settings`), or filters over refs may take thrice as long.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.
        schema: The schema of the tables; None is the first one of the search path.

    Raises:
        StorageUrlError: The dsn is none, or there is none, or one beside an engine; the engine is
            of another driver.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        engine: AsyncEngine | None = None,
        create: Create = "auto",
        prefix: str = "",
        schema: str | None = None,
    ) -> None:
        super().__init__(
            _engine(dsn) if engine is None else _checked(engine, dsn),
            owns_engine=engine is None,
            create=create,
            prefix=prefix,
            schema=schema,
        )
        self._selection = lru_cache(_REMEMBERED)(self._compiled_read)
        self._count = lru_cache(_REMEMBERED)(self._compile_count)

    async def _describe(self) -> tuple[str, str]:
        ((version,),) = await self._fetch(select(func.current_setting("server_version")))
        extension = table("pg_extension", column("extname"), column("extversion"))
        found = await self._fetch(
            select(extension.c.extversion).where(extension.c.extname == "timescaledb")
        )
        if not found:
            return "postgresql", version
        return "timescale", f"{version}, TimescaleDB {found[0][0]}"

    # ---- statements, compiled once and run on the driver ----------------------------------------
    # SQLAlchemy's own execution costs four times a round trip to a server on this machine; a
    # prepared statement on its pooled connection costs none of that. docs/decisions.md has the
    # figures.

    def _compiled_read(self, filter: str | Node, most: int | None) -> tuple[str, list[Any]]:
        ordered = most is not None
        statement = statements.select_entities(self.tables, filter, most, ordered=ordered)
        return self._compiled(statement)

    def _compile_count(self, filter: str | Node) -> tuple[str, list[Any]]:
        return self._compiled(statements.count_entities(self.tables, filter))

    async def _fetch(self, statement: Select[Any]) -> Sequence[Any]:
        return await self._fetch_compiled(*self._compiled(statement))

    async def _fetch_compiled(self, sql: str, args: Iterable[Any]) -> Sequence[Any]:
        await self._ready()
        with database_errors(self.url):
            async with self._driver() as driver:
                rows: Sequence[Any] = await driver.fetch(sql, *args)
                return rows

    async def _read_rows(self, filter: str | Node, most: int | None) -> Sequence[Any]:
        rows = await self._fetch_compiled(*self._selection(filter, most))
        # The database would sort whole rows, on disk beyond some 4 MB; here it is the ids alone.
        return rows if most is not None else sorted(rows, key=_ID)

    async def read_count(self, filter_str: str | Node) -> int:
        """Count the entities that match a filter; see `EntityReader.read_count`."""
        ((count,),) = await self._fetch_compiled(*self._count(filter_str))
        return int(count)

    async def _plan(self, sql: str, params: Sequence[Any]) -> Iterable[str]:
        return [line for (line,) in await self._fetch_compiled(f"EXPLAIN {sql}", params)]

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Lend the asyncpg connection under a pooled one; no transaction is open on it."""
        async with self._connection() as connection:
            yield (await connection.get_raw_connection()).driver_connection

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Take a connection from the pool; one that was lost while it lay there is replaced."""
        async with self.engine.connect() as connection:
            # When the server went away meanwhile, it did so for all that lay there.
            while await _is_lost(connection):
                await connection.invalidate()
            yield connection

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with self._connection() as connection:
            # Not what a host's engine may be set to: without transactions (AUTOCOMMIT) nothing
            # would be rolled back, and under stricter ones a row lock that was waited for fails.
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                yield connection

    # ---- bulk -----------------------------------------------------------------------------------

    async def _store(self, rows: Iterator[tuple[str, str]]) -> None:
        async with self._driver() as driver, driver.transaction():
            await self._copy(driver, self.tables.entities, rows)

    async def _write_items(self, id: str, items: Sequence[tuple[dt.datetime, Kind]]) -> None:
        removed = [ts for ts, val in items if val is REMOVE]
        written = [(id, ts, *to_row(val)) for ts, val in items if val is not REMOVE]
        sql, args = self._compiled(statements.select_entity_to_stay(self.tables, id))
        async with self._driver() as driver, driver.transaction():
            if await driver.fetchval(sql, *args) is None:  # deleted since it was looked up
                raise UnknownEntityError(id)
            if removed:
                sql, _ = self._compiled(statements.delete_history_listed(self.tables))
                await driver.execute(sql, id, removed)
            if written:
                await self._copy(driver, self.tables.history, written)

    async def _copy(
        self, driver: asyncpg.Connection[Any], target: Table, rows: Iterable[Any]
    ) -> None:
        """COPY rows into a table, inside the connection's transaction, replacing by key.

        The rows are taken as they are sent, so that making them overlaps with the server's work.
        """
        rows, again = tee(rows)
        try:
            async with driver.transaction():  # a savepoint, for a key that exists ends the COPY
                await _copy_into(driver, target, rows)
        except asyncpg.PostgresError as exc:
            if not _is_key_conflict(exc):
                raise
            staging = statements.staging_of(target)
            await driver.execute(self._compiled(CreateTable(staging))[0])
            await _copy_into(driver, staging, again)
            upsert = statements.upsert(target, "postgresql", staging)
            await driver.execute(self._compiled(upsert)[0])


def _is_key_conflict(exc: asyncpg.PostgresError) -> bool:
    # Citus reports the one of a worker as an internal error.
    return exc.sqlstate == "23505" or (exc.sqlstate == "XX000" and "duplicate key" in str(exc))


async def _is_lost(connection: AsyncConnection) -> bool:
    driver = (await connection.get_raw_connection()).driver_connection
    return driver is None or bool(driver.is_closed())


async def _copy_into(driver: asyncpg.Connection[Any], target: Table, rows: Iterable[Any]) -> None:
    columns = [column.name for column in target.columns]
    await driver.copy_records_to_table(
        target.name, schema_name=target.schema, columns=columns, records=rows
    )


def _checked(engine: AsyncEngine, dsn: str | None) -> AsyncEngine:
    if dsn is not None:
        raise StorageUrlError(safe_url(engine.url), "a dsn and an engine: give one of them")
    if (engine.dialect.name, engine.dialect.driver) != ("postgresql", "asyncpg"):
        reason = f"an engine over {engine.dialect.driver}: make one for postgresql+asyncpg://"
        raise StorageUrlError(safe_url(engine.url), reason)
    return engine


def _engine(dsn: str | None) -> AsyncEngine:
    dsn = dsn or os.environ.get("TIMESCALE_DSN")
    if not dsn:
        reason = "no dsn: give postgresql://user@host/database, or set TIMESCALE_DSN"
        raise StorageUrlError("", reason)
    url = engine_url(dsn)
    if url.get_backend_name() != "postgresql":
        raise StorageUrlError(dsn, "no PostgreSQL: postgresql://user@host/database")
    return create_async_engine(
        url,
        connect_args={
            "server_settings": _SETTINGS,
            "statement_cache_size": _REMEMBERED,
            "timeout": _CONNECT_SECONDS,
        },
    )
