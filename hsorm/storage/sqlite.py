"""`SqliteAdapter`: one file, no server. The default storage of the command line."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    URL,
    AsyncAdaptedQueuePool,
    Executable,
    Index,
    Select,
    column,
    event,
    func,
    select,
    table,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, DropIndex

from hsorm.errors import StorageUrlError, UnknownEntityError
from hsorm.his.rows import to_row
from hsorm.kinds import REMOVE, Kind
from hsorm.sql import changing, statements, watching
from hsorm.sql.indexes import Indexed, indexed_tags
from hsorm.sql.tag_index import TagIndex
from hsorm.storage._dberrors import database_errors
from hsorm.storage._sql import SqlAdapter
from hsorm.storage._sql_core import Loaded, Rows, Statement, Work, as_listed
from hsorm.storage._streams import Wake
from hsorm.storage.protocol import Create

__all__ = ["SqliteAdapter"]

_BUSY_SECONDS = 10
_BATCH = 5_000
_WRITES = "hsorm_writes"
_LOOK_SECONDS = 0.04


class SqliteAdapter(SqlAdapter):
    """A storage in one SQLite file, which any number of processes may use at a time.

    Readers see the last committed state and never wait; writers follow each other, and give up when
    another process has been writing for ten seconds.

    Args:
        path: The file; it is made when it is not there, its folder must be. `":memory:"` is a
            database of this adapter alone, gone when it is closed.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.
        index_tags: Tags to index on `connect()`, with the kind of their values, as in
            `{"area": "number"}`; see docs/filters.md.

    Raises:
        StorageUrlError: The path is empty.
        ValueError: There is no such kind of index, or a name is none of a tag.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        create: Create = "auto",
        prefix: str = "",
        index_tags: Mapping[str, Indexed] | None = None,
    ) -> None:
        if not str(path):  # to SQLite that is a file of each connection's own
            raise StorageUrlError("sqlite://", "no file: give a path, or :memory:")
        super().__init__(
            _engine(str(path)),
            owns_engine=True,
            create=create,
            prefix=prefix,
            index_tags=index_tags,
        )
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

    async def _make_indexes(self, indexes: Sequence[Index]) -> list[str]:
        # Looked at first: a write would wait for whoever writes, for nothing most of the time.
        there = await self._index_names()
        missing = [index for index in indexes if index.name not in there]
        if missing:
            async with self._begin() as connection:
                for index in missing:
                    await connection.execute(CreateIndex(index, if_not_exists=True))
            await self._note_indexes()
        return [str(index.name) for index in missing]

    async def _remove_indexes(self, indexes: Sequence[Index]) -> list[str]:
        there = await self._index_names()
        found = [index for index in indexes if index.name in there]
        async with self._begin() as connection:
            for index in found:
                await connection.execute(DropIndex(index, if_exists=True))
        await self._note_indexes()
        return [str(index.name) for index in found]

    async def _ensure_tables(self) -> None:
        await super()._ensure_tables()
        await self._note_indexes()

    @property
    def _tag_index(self) -> TagIndex:
        return cast("TagIndex", self.tables.tag_index)

    async def _note_indexes(self) -> None:
        """Leave to the indexes of tags what they answer; others' are used when connecting anew."""
        declared = indexed_tags(self.tables.entities.name, await self._index_names())
        index = replace(self._tag_index, declared=declared)
        self.tables = replace(self.tables, tag_index=index)

    async def _index_names(self) -> set[str]:
        master = table("sqlite_master", column("type"), column("name"), column("tbl_name"))
        of_ours = master.c.tbl_name == self.tables.entities.name
        names = select(master.c.name).where(master.c.type == "index", of_ours)
        async with self.engine.connect() as connection:
            return set(await connection.scalars(names))

    @asynccontextmanager
    async def _open_work(self) -> AsyncIterator[Work]:
        async with self._begin() as connection:
            yield _ConnectionWork(connection, self._built)

    async def _look(self, statement: Statement, **values: Any) -> Rows:
        await self._ready()
        with database_errors(self.url):
            async with self.engine.connect() as connection:
                return await _ConnectionWork(connection, self._built).fetch(statement, **values)

    @lru_cache(maxsize=1_024)  # noqa: B019 - as long-lived as the adapter itself
    def _built(self, statement: Statement) -> Executable:
        return statement(self.tables, "sqlite")

    async def _store(self, rows: Iterator[Loaded]) -> None:
        upsert, index = statements.upsert(self.tables.entities, "sqlite"), self._tag_index
        with database_errors(self.url):
            async with self._begin() as connection:
                work = _ConnectionWork(connection, self._built)
                # The triggers would write the rows of one entity after the other all over the side
                # table, which takes several times as long as those of a batch in order.
                await connection.execute(index.pause())
                while batch := list(islice(rows, _BATCH)):
                    ids = {"ids": as_listed(row.id for row in batch)}
                    await connection.execute(index.forget(), ids)
                    values = [{"id": row.id, "tags": row.tags} for row in batch]
                    await connection.execute(upsert, values)
                    await connection.execute(index.note(), ids)
                    await self._replace_live(work, batch)
                await connection.execute(index.resume())

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
            work = _ConnectionWork(connection, self._built)
            await work.fetch(changing.note_history, points=as_listed([id]))

    @asynccontextmanager
    async def _wakes(self) -> AsyncIterator[Wake]:
        yield _Look(self)


class _ConnectionWork:
    """A transaction on a connection of SQLAlchemy's."""

    def __init__(
        self, connection: AsyncConnection, built: Callable[[Statement], Executable]
    ) -> None:
        self._connection = connection
        self._built = built

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement and return its rows; none of one that returns none."""
        found = await self._connection.execute(self._built(statement), values)
        return found.all() if found.returns_rows else ()


class _Look:
    """There is nobody to tell of a change in another process: look again and again.

    At a number alone: a poll is a write, and would be in the way of all others.
    """

    def __init__(self, adapter: SqliteAdapter) -> None:
        self._adapter = adapter
        self._seen: object = None

    async def wait(self, seconds: float) -> None:
        """Wait until something may have changed, at most so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ((now,),) = await self._adapter._look(watching.current_cursor)
            if now != self._seen:
                self._seen = now
                return
            await asyncio.sleep(_LOOK_SECONDS)


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
