"""`SqliteAdapter`: one file, no server. The default storage of the command line."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import URL, AsyncAdaptedQueuePool, Select, event, func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hsorm.errors import StorageUrlError, UnknownEntityError
from hsorm.his.rows import to_row
from hsorm.kinds import REMOVE, Kind
from hsorm.sql import statements
from hsorm.storage._dberrors import database_errors
from hsorm.storage._sql import SqlAdapter
from hsorm.storage.protocol import Create

__all__ = ["SqliteAdapter"]

_BUSY_SECONDS = 10
_BATCH = 5_000
_WRITES = "hsorm_writes"


class SqliteAdapter(SqlAdapter):
    """A storage in one SQLite file, which any number of processes may use at a time.

    Readers see the last committed state and never wait; writers follow each other, and give up when
    another process has been writing for ten seconds.

    Args:
        path: The file; it is made when it is not there, its folder must be. `":memory:"` is a
            database of this adapter alone, gone when it is closed.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.

    Raises:
        StorageUrlError: The path is empty.
    """

    def __init__(self, path: str | Path, *, create: Create = "auto", prefix: str = "") -> None:
        if not str(path):  # to SQLite that is a file of each connection's own
            raise StorageUrlError("sqlite://", "no file: give a path, or :memory:")
        super().__init__(_engine(str(path)), owns_engine=True, create=create, prefix=prefix)
        # Writers of one process queue here, first come first served, instead of polling for the
        # lock.
        self._writing = asyncio.Lock()

    async def _describe(self) -> tuple[str, str]:
        rows = await self._fetch(select(func.sqlite_version()))
        return "sqlite", rows[0][0]

    async def _fetch(self, statement: Select[Any]) -> Sequence[Any]:
        await self._ready()
        with database_errors(self.url):
            async with self.engine.connect() as connection:
                rows: Sequence[Any] = (await connection.execute(statement)).all()
                return rows

    async def _plan(self, sql: str, params: Sequence[Any]) -> Iterable[str]:
        await self._ready()
        with database_errors(self.url):
            async with self.engine.connect() as connection:
                asked = f"EXPLAIN QUERY PLAN {sql}"
                steps: list[Any] = list(await connection.exec_driver_sql(asked, tuple(params)))
        depth = {0: -1}
        for id, parent, _, _ in steps:
            depth[id] = depth.get(parent, -1) + 1
        return ["  " * depth[id] + detail for id, _, _, detail in steps]

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with self._writing, self.engine.connect() as connection:
            await connection.execution_options(**{_WRITES: True})
            async with connection.begin():
                yield connection

    async def _store(self, rows: Iterator[tuple[str, str]]) -> None:
        upsert = statements.upsert(self.tables.entities, "sqlite")
        async with self._begin() as connection:
            while batch := [{"id": id, "tags": tags} for id, tags in islice(rows, _BATCH)]:
                await connection.execute(upsert, batch)

    async def _write_items(self, id: str, items: Sequence[tuple[dt.datetime, Kind]]) -> None:
        removed = [{"item_point": id, "item_ts": ts} for ts, val in items if val is REMOVE]
        written = [_history_row(id, ts, val) for ts, val in items if val is not REMOVE]
        async with self._begin() as connection:
            found = await connection.execute(statements.select_entity_to_stay(self.tables, id))
            if found.first() is None:  # deleted since it was looked up
                raise UnknownEntityError(id)
            if removed:
                await connection.execute(statements.delete_history_at(self.tables), removed)
            if written:
                upsert = statements.upsert(self.tables.history, "sqlite")
                await connection.execute(upsert, written)


def _history_row(id: str, ts: dt.datetime, val: Kind) -> dict[str, Any]:
    number, obj = to_row(val)  # SQLite makes a NULL of NaN, and `from_row` NaN of no value at all
    return {"point_id": id, "ts": ts, "val": number, "obj": obj}


def _engine(path: str) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=path)
    if path == ":memory:":
        # The one connection is the database.
        engine = create_async_engine(
            url, poolclass=AsyncAdaptedQueuePool, pool_size=1, max_overflow=0
        )
    else:
        engine = create_async_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare(connection: Any, record: object) -> None:
    # The driver's own transactions begin late and break savepoints; ours begin in `_begin`.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")  # readers do not wait for writers
    cursor.execute("PRAGMA synchronous = NORMAL")  # with WAL a crash loses no consistency
    cursor.close()


def _begin(connection: Any) -> None:
    # A write takes the lock at once: two readers that both turn writers would lock each other out.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
