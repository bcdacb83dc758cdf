"""`SqliteAdapter`: one file, no server. The default storage of the command line."""

from __future__ import annotations

import asyncio
import datetime as dt
import secrets
import sqlite3
import threading
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal, Protocol, Self, TypeVar, cast, overload
from weakref import WeakSet
from zoneinfo import ZoneInfo

import aiosqlite
import msgspec
from sqlalchemy import (
    URL,
    AsyncAdaptedQueuePool,
    Executable,
    Index,
    Select,
    column,
    event,
    exists,
    func,
    select,
    table,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, DropIndex

from hsorm.codecs import hayson
from hsorm.errors import CodecError, StorageError, StorageUrlError
from hsorm.his.batches import PointItems, all_items
from hsorm.his.rows import to_row
from hsorm.his.span import Span
from hsorm.his.stamps import SINCE_1970, local_stamps
from hsorm.kinds import REMOVE, Entity
from hsorm.ops.live import LIVE_TAGS
from hsorm.sql import changing, history, statements, watching
from hsorm.sql.indexes import Indexed, indexed_tags
from hsorm.sql.models import Tables
from hsorm.sql.tag_index import TagIndex
from hsorm.sql.types import to_micros
from hsorm.sql.word_index import WordIndex
from hsorm.storage._dberrors import database_errors
from hsorm.storage._host import AnySession, AsyncHost, HostWork, SyncHost
from hsorm.storage._kept import KeptConnections
from hsorm.storage._session_bound import SessionBound, check_alone, in_session
from hsorm.storage._sql import SqlAdapter
from hsorm.storage._sql_core import Loaded, Prepared, Rows, Statement, Work, as_listed
from hsorm.storage._sql_history import hold_points, ids_of, note_points
from hsorm.storage._streams import Wake
from hsorm.storage.protocol import Create
from hsorm.storage.sync import SyncStorage

__all__ = ["SqliteAdapter"]

_T = TypeVar("_T")

_BUSY_SECONDS = 10
_BATCH = 5_000
_KEPT = 4
_WRITES = "hsorm_writes"
_BUSY = "hsorm_busy"
_LOOK_SECONDS = 0.04
_MASTER = table("sqlite_master", column("type"), column("name"), column("tbl_name"))
_MODULES = func.pragma_module_list().table_valued("name")
_HAS_FTS5 = select(_MODULES.c.name).where(_MODULES.c.name == "fts5")


class SqliteAdapter(SqlAdapter):
    """A storage in one SQLite file, which any number of processes may use at a time.

    Readers see the last committed state and never wait; writers follow each other, and give up when
    another process has been writing for ten seconds.

    Args:
        path: The file; it is made when it is not there, its folder must be. `":memory:"` is a
            database of this adapter alone, gone when it is closed.
        session: A session (or connection) of the host's own over aiosqlite, instead of a path:
            every call takes part in its transaction; see docs/embedding.md.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.
        index_tags: Tags to index on `connect()`, with the kind of their values, as in
            `{"area": "number"}`; see docs/filters.md.
        index_search: Whether to make an index for searches on `connect()`, which needs an SQLite
            with FTS5. Without it they look at every text.

    Raises:
        StorageUrlError: The path is empty, or there is one beside a session.
        ValueError: There is no such kind of index, or a name is none of a tag.
    """

    _memory: str | None = None

    def __new__(cls, *args: Any, session: AsyncHost | None = None, **settings: Any) -> Self:
        """Make an adapter with a connection of its own, or one in a session."""
        return in_session(cls, BoundSqliteAdapter) if session is not None else super().__new__(cls)

    def __init__(
        self,
        path: str | Path = "",
        *,
        session: AsyncHost | None = None,
        create: Create = "auto",
        prefix: str = "",
        index_tags: Mapping[str, Indexed] | None = None,
        index_search: bool = False,
    ) -> None:
        if not str(path):  # to SQLite that is a file of each connection's own
            raise StorageUrlError("sqlite://", "no file: give a path, :memory:, or a session")
        self._memory = _memory_uri() if str(path) == ":memory:" else None
        self._alive: sqlite3.Connection | None = None
        super().__init__(
            _engine(str(path)) if self._memory is None else _memory_engine(self._memory),
            owns_engine=True,
            create=create,
            prefix=prefix,
            index_tags=index_tags,
            index_search=index_search,
        )
        self._kept = KeptConnections(
            self.engine,
            0 if self._memory else _KEPT,
            may_keep=lambda: self._connected,
            driver_of=_driver_of,
            is_closed=_is_closed,
            in_transaction=_in_transaction,
        )
        # Writers of one process queue here, first come first served, instead of polling for the
        # lock.
        self._writing = _Turn()

    @overload
    def bind(self, session: AsyncHost) -> SqliteAdapter: ...

    @overload
    def bind(self, session: SyncHost) -> SyncStorage: ...

    def bind(self, session: AnySession) -> SqliteAdapter | SyncStorage:
        """Return the same storage in a session of the host's own; see `hsorm.storage.bind`."""
        names = self._names
        made: SqliteAdapter | SyncStorage = BoundSqliteAdapter.of(
            session, names["prefix"], names["schema"], self.tables
        )
        return made

    async def close(self) -> None:
        """Close the storage; see `StorageAdapter.close`."""
        await self._end_streams()
        self._connected = False
        await self._kept.close()
        await super().close()
        if self._alive is not None:
            self._alive.close()
            self._alive = None

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
    async def _begin(self, *, busy: float = _BUSY_SECONDS) -> AsyncIterator[AsyncConnection]:
        async with self._writing, self.engine.connect() as connection:
            await connection.execution_options(**{_WRITES: True, _BUSY: busy})
            async with connection.begin():
                yield connection

    async def _make_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        # Looked at first: a write would wait for whoever writes, for nothing most of the time.
        there = await self._index_names()
        missing = [index for index in indexes if index.name not in there]
        _check_cases(missing, there)
        if missing:
            async with self._begin() as connection:
                for index in missing:
                    await connection.execute(CreateIndex(index, if_not_exists=True))
            await self._note_indexes()
        made = [str(index.name) for index in missing]
        return [*made, *(await self._make_word_index() if search else ())]

    async def _make_word_index(self) -> list[str]:
        async with self.engine.connect() as connection:
            if await self._is_word_index_there(connection):
                return []
        async with self._begin() as connection:
            if await self._is_word_index_there(connection):
                return []
            await self._check_fts5(connection)
            for statement in chain(self._word_index.drop(), self._word_index.ddl()):
                await connection.exec_driver_sql(statement)
        return [self._word_index.name]

    async def _remove_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        there = await self._index_names()
        found = [index for index in indexes if index.name in there]
        dropped = [str(index.name) for index in found]
        async with self._begin() as connection:
            for index in found:
                await connection.execute(DropIndex(index, if_exists=True))
            if search and await self._is_word_index_there(connection):
                await self._check_fts5(connection)
                for statement in self._word_index.drop():
                    await connection.exec_driver_sql(statement)
                dropped.append(self._word_index.name)
        await self._note_indexes()
        return dropped

    async def _is_word_index_there(self, connection: AsyncConnection) -> bool:
        """Tell whether the search index is whole: triggers go when others make a table anew."""
        return await connection.scalar(self._select_parts()) == len(self._word_index.parts)

    def _select_parts(self) -> Select[int]:
        ours = _MASTER.c.name.in_(self._word_index.parts)
        return select(func.count()).select_from(_MASTER).where(ours)

    async def _check_fts5(self, connection: AsyncConnection) -> None:
        if not await connection.scalar(_HAS_FTS5):
            version = await connection.scalar(select(func.sqlite_version()))
            raise StorageError(
                f"a search index needs FTS5, which this Python's SQLite ({version}) was built "
                "without; searches work without, by looking at every text"
            )

    async def _has_search_index(self) -> bool:
        ((parts,),) = await self._fetch(self._select_parts().where(exists(_HAS_FTS5)))
        return bool(parts == len(self._word_index.parts))

    async def _ensure_tables(self) -> None:
        if self._memory is not None and self._alive is None:
            # A database in memory is there as long as a connection is. Those of the pool are not to
            # be relied on: one that a call was cancelled on is closed.
            self._alive = sqlite3.connect(self._memory, uri=True)
        await super()._ensure_tables()
        await self._note_indexes()

    @property
    def _tag_index(self) -> TagIndex:
        return cast("TagIndex", self.tables.tag_index)

    @property
    def _word_index(self) -> WordIndex:
        return cast("WordIndex", self.tables.word_index)

    async def _note_indexes(self) -> None:
        """Leave to the indexes of tags what they answer; others' are used when connecting anew."""
        declared = indexed_tags(self.tables.entities.name, await self._index_names())
        index = replace(self._tag_index, declared=declared)
        self.tables = replace(self.tables, tag_index=index)

    async def _index_names(self) -> set[str]:
        of_ours = _MASTER.c.tbl_name == self.tables.entities.name
        names = select(_MASTER.c.name).where(_MASTER.c.type == "index", of_ours)
        async with self.engine.connect() as connection:
            return set(await connection.scalars(names))

    @asynccontextmanager
    async def _open_work(self) -> AsyncIterator[Work]:
        async with self._writing, self._kept.lend() as driver, _writing(driver):
            yield _DriverWork(driver, self._prepared)

    async def _in_transaction(self, unit: Callable[[Work], Awaitable[_T]]) -> _T:
        """Run what writes in a transaction; the whole of it on the thread of one connection.

        Else each statement would be an errand to that thread, on a busy machine of milliseconds.
        """
        await self._ready()
        with database_errors(self.url):
            async with self._writing, self._kept.lend() as driver:
                return cast("_T", await driver.run(partial(_at_once, unit, self._prepared)))

    @asynccontextmanager
    async def _open_rows(self) -> AsyncIterator[RowWork]:
        """Open a transaction that writes row by row."""
        async with self._begin() as connection:
            yield await _work_on(connection, self._prepared)

    @asynccontextmanager
    async def _open_work_now(self) -> AsyncIterator[RowWork]:
        if self._writing.locked():
            raise StorageError("somebody else is writing")
        async with self._begin(busy=0) as connection:
            yield await _work_on(connection, self._prepared)

    async def _look(self, statement: Statement, **values: Any) -> Rows:
        await self._ready()
        with database_errors(self.url):
            async with self._kept.lend() as driver:
                return await _DriverWork(driver, self._prepared).fetch(statement, **values)

    def _prepare(self, built: Any) -> Prepared:
        compiled: Any = built.compile(dialect=self.dialect)
        dialect, binds = self.dialect, compiled.positiontup or ()
        columns = getattr(built, "exported_columns", ())
        return _Prepared(
            compiled.string,
            tuple((name, compiled.params[name]) for name in binds),
            tuple(
                compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect)
                for name in binds
            ),
            tuple(
                column.type.dialect_impl(dialect).result_processor(dialect, None)
                for column in columns
            ),
        )

    # ---- changing ---------------------------------------------------------------------------
    # Each row with a stamp that it needs no trigger for.

    async def _replace(self, work: Work, rows: Iterable[tuple[str, str]]) -> None:
        await _stamped(work, changing.update_entity, rows)

    async def _merge_live(self, work: Work, changes: Mapping[str, Entity]) -> set[str]:
        found = dict(await work.fetch(changing.live_of_entities, ids=as_listed(changes)))
        new = ((id, _merged(id, found[id], changes[id])) for id in changes if id in found)
        await _stamped(work, changing.put_live_tags, new)
        return set(found)

    async def _store(
        self, ids: Sequence[str], rows_of: Callable[[dt.datetime], Iterator[Loaded]]
    ) -> None:
        upsert = statements.upsert(self.tables.entities, "sqlite")
        with database_errors(self.url):
            async with self._open_rows() as work:
                index = await work.located(self._tag_index)
                rows = rows_of(await self._mod_above(work, ids, self._next_mod()))
                # The triggers would write the rows of one entity after the other all over the side
                # table, which takes several times as long as those of a batch in order.
                await work.execute(index.pause())
                while batch := list(islice(rows, _BATCH)):
                    listed = {"ids": as_listed(row.id for row in batch)}
                    await work.execute(index.forget(), listed)
                    values = [{"id": row.id, "tags": row.tags} for row in batch]
                    await work.execute(upsert, values)
                    await work.execute(index.note(), listed)
                    await self._replace_live(work, batch)
                await work.execute(index.resume())

    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        async with self._work_here() as work:
            await hold_points(work, ids_of(points))
            if clear is not None:
                for id, _ in points:
                    await work.fetch(history.delete_items, id=id, start=clear.start, end=clear.end)
            await self._merge_items(work, points)
            await note_points(work, ids_of(points))

    async def _his_store_parts(self, parts: AsyncIterator[list[PointItems]]) -> int:
        if self._memory is not None:
            # The one connection is needed to look points up while the parts are made.
            return await super()._his_store_parts(parts)
        count = 0
        async with self._work_here() as work:
            held: set[str] = set()
            async for points in parts:
                await hold_points(work, [id for id in ids_of(points) if id not in held])
                held.update(ids_of(points))
                await self._merge_items(work, points)
                count += all_items(points)
            await note_points(work, sorted(held))
        return count

    async def _merge_items(self, work: RowWork, points: Sequence[PointItems]) -> None:
        removed, written = [], []
        for id, items in points:
            for ts, val in items:
                if val is REMOVE:
                    removed.append({"item_point": id, "item_ts": ts})
                else:
                    written.append((id, to_micros(ts), *to_row(val)))
        if removed:
            await work.execute(statements.delete_history_at(self.tables), removed)
        if written:
            # As the driver takes them: SQLAlchemy would look at each value of each row.
            await work.each(_upsert_history, ("point_id", "ts", "val", "obj"), written)

    def _stamps(self, rows: Sequence[Any], zone: ZoneInfo) -> list[dt.datetime]:
        return local_stamps((row[0] for row in rows), zone, SINCE_1970)

    async def _his_remove(self, id: str, span: Span) -> int:
        async with self._work_here() as work:
            values = {"id": id, "start": span.start, "end": span.end}
            count = await work.execute(history.delete_items(self.tables, "sqlite"), values)
            if count:
                await note_points(work, [id])
        return count

    @asynccontextmanager
    async def _work_here(self) -> AsyncIterator[RowWork]:
        await self._ready()
        with database_errors(self.url):
            async with self._open_rows() as work:
                yield work

    @asynccontextmanager
    async def _wakes(self) -> AsyncIterator[Wake]:
        yield _Look(self)


class BoundSqliteAdapter(SessionBound, SqliteAdapter):
    """A `SqliteAdapter` in a session."""

    def __init__(
        self,
        path: str | Path = "",
        *,
        session: AnySession,
        tables: Tables | None = None,
        prefix: str = "",
        schema: str | None = None,
        **settings: Any,
    ) -> None:
        check_alone("a path" if str(path) else None, settings)
        self._take_part(session, "sqlite", prefix=prefix, schema=schema, tables=tables)

    async def _in_transaction(self, unit: Callable[[Work], Awaitable[_T]]) -> _T:
        return await SqlAdapter._in_transaction(self, unit)

    def _open_rows(self) -> Any:
        return self._open_work()


class RowWork(Work, Protocol):
    """One transaction that writes row by row."""

    async def each(
        self, statement: Statement, names: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Run a statement for each row of values that the driver takes as they are."""
        ...

    async def execute(self, statement: Executable, values: Any = None) -> int:
        """Run a statement that is not built again, for values or a list of them."""
        ...

    async def located(self, index: TagIndex) -> TagIndex:
        """Return an index with its tables where they are in this transaction."""
        ...


def _upsert_history(tables: Tables, dialect: str) -> Executable:
    return statements.upsert(tables.history, dialect)


def _check_cases(indexes: Sequence[Index], there: Iterable[str]) -> None:
    # IF NOT EXISTS would take the other one for what is asked for, and say nothing.
    others = {name.casefold(): name for name in there}
    for name in (str(index.name) for index in indexes):
        other = others.setdefault(name.casefold(), name)
        if other != name:
            raise StorageError(
                f"the index {name} cannot stand beside {other}: SQLite does not tell names that "
                "differ in case alone; drop the other one, or rename the tag"
            )


@dataclass(frozen=True, slots=True)
class _Prepared(Prepared):
    """A statement, and how its values are written for the driver and read.

    Attributes:
        writers: What makes of each value that is bound one that the driver takes, None where it is
            one.
        readers: The same for each column of the rows.
    """

    writers: tuple[Callable[[Any], Any] | None, ...]
    readers: tuple[Callable[[Any], Any] | None, ...]

    def args(self, values: Mapping[str, Any]) -> list[Any]:
        """Return what is bound in it, where these values are given."""
        given = (values.get(name, default) for name, default in self.binds)
        return list(map(_passed, self.writers, given))

    def rows(self, found: Rows) -> Rows:
        """Return rows of the driver's as they are meant."""
        if not any(self.readers):
            return found
        return [tuple(map(_passed, self.readers, row)) for row in found]


def _passed(through: Callable[[Any], Any] | None, val: Any) -> Any:
    return val if through is None else through(val)


class _Driver(aiosqlite.Connection):
    """A connection, and the thread on which it is used."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        # As SQLAlchemy has it for its own: who forgets to close one can end all the same.
        self._thread.daemon = True

    async def run(self, task: Callable[[sqlite3.Connection, threading.Event], _T]) -> _T:
        """Run a task on the thread; the event tells it that nobody waits for it any longer."""
        left = threading.Event()
        try:
            execute: Any = self._execute
            return cast("_T", await execute(task, self._conn, left))
        except asyncio.CancelledError:
            left.set()
            raise


class _ThreadWork:
    """A transaction on a connection, for who is on its thread."""

    def __init__(
        self, connection: sqlite3.Connection, prepared: Callable[[Statement], Prepared]
    ) -> None:
        self._connection, self._prepared = connection, prepared

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement and return its rows; none of one that returns none."""
        prepared = self._prepared(statement)
        found = self._connection.execute(prepared.sql, prepared.args(values))
        return prepared.rows(found.fetchall())

    async def each(
        self, statement: Statement, names: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Run a statement for each row of values that the driver takes as they are."""
        prepared = self._prepared(statement)
        self._connection.executemany(prepared.sql, map(prepared.in_order(names), rows))


def _at_once(
    unit: Callable[[Work], Awaitable[_T]],
    prepared: Callable[[Statement], Prepared],
    connection: sqlite3.Connection,
    left: threading.Event,
) -> _T:
    """Run a unit of work in a transaction, on the thread of the connection."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _result_of(unit(_ThreadWork(connection, prepared)))
    except BaseException:
        connection.rollback()
        raise
    if left.is_set():
        connection.rollback()
        raise asyncio.CancelledError
    connection.commit()
    return done


def _result_of(unit: Awaitable[_T]) -> _T:
    """Run what awaits nothing but the work that it was given, which never lets it wait."""
    try:
        unit.__await__().send(None)
    except StopIteration as exc:
        return cast("_T", exc.value)
    raise AssertionError("a unit of work waits for something else")


class _DriverWork:
    """A transaction on a connection of the driver's, for who is on the thread of the loop."""

    def __init__(self, driver: _Driver, prepared: Callable[[Statement], Prepared]) -> None:
        self.driver = driver
        self._prepared = prepared

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement and return its rows; none of one that returns none."""
        prepared = self._prepared(statement)
        found = await self.driver.execute_fetchall(prepared.sql, prepared.args(values))
        return prepared.rows(list(found))

    async def each(
        self, statement: Statement, names: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Run a statement for each row of values that the driver takes as they are."""
        prepared = self._prepared(statement)
        ordered = list(map(prepared.in_order(names), rows))
        async with self.driver.executemany(prepared.sql, ordered):
            pass


class _ConnectionWork(_DriverWork):
    """A transaction that SQLAlchemy has begun on a connection of its own."""

    def __init__(self, connection: AsyncConnection, *args: Any) -> None:
        super().__init__(*args)
        self._connection = connection

    async def execute(self, statement: Executable, values: Any = None) -> int:
        """Run a statement that is not built again, and return how many rows it changed."""
        return (await self._connection.execute(statement, values)).rowcount

    async def located(self, index: TagIndex) -> TagIndex:
        """Return the index as it is: these tables are where they say."""
        return index


async def _work_on(
    connection: AsyncConnection, prepared: Callable[[Statement], Prepared]
) -> _ConnectionWork:
    return _ConnectionWork(connection, await _driver_of(connection), prepared)


async def _driver_of(connection: AsyncConnection) -> _Driver:
    """Return the driver's connection under one of the pool."""
    return cast("_Driver", (await connection.get_raw_connection()).driver_connection)


def _is_closed(driver: _Driver) -> bool:
    try:
        driver.in_transaction  # noqa: B018 - it says so by its error alone
    except ValueError:
        return True
    return False


def _in_transaction(driver: _Driver) -> bool:
    return not _is_closed(driver) and driver.in_transaction


@asynccontextmanager
async def _writing(driver: _Driver) -> AsyncIterator[None]:
    """Run the block in a transaction that writes."""
    # It takes the lock at once: two readers that both turn writers would lock each other out.
    await driver.execute_fetchall("BEGIN IMMEDIATE")
    try:
        yield
    except asyncio.CancelledError:
        raise  # the connection is about to be closed, and the transaction with it
    except BaseException:
        await driver.rollback()
        raise
    await driver.commit()


async def _stamped(work: Work, statement: Statement, rows: Iterable[tuple[str, str]]) -> None:
    """Write the tags of entities, given as ids and texts, by a statement for each."""
    ((stamp,),) = await work.fetch(changing.next_change)
    values = ((id, tags, stamp) for id, tags in rows)
    own = cast("_DriverWork | _ThreadWork | HostWork", work)
    await own.each(statement, ("of_id", "as_tags", "stamp"), values)


_LIVE_TEXTS: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(
    dict[str, msgspec.Raw]
)


def _merged(id: str, stored: str | None, changes: Mapping[str, Any]) -> str:
    """Return live tags after a change as text; those that stay are not read any further."""
    try:
        live = {} if stored is None else _LIVE_TEXTS.decode(stored)
    except msgspec.DecodeError as exc:
        raise CodecError(str(exc), where=f"entity @{id}") from None
    if not LIVE_TAGS.issuperset(live):
        live = {name: text for name, text in live.items() if name in LIVE_TAGS}
    for name, val in changes.items():
        if val is REMOVE:
            live.pop(name, None)
        else:
            live[name] = hayson.encode(val)
    return hayson.to_json(live).decode()


class _Turn(asyncio.Lock):
    """The turn of who writes; who would wait for itself is told so, instead of for ever."""

    _whose: asyncio.Task[Any] | None = None

    async def acquire(self) -> Literal[True]:
        task = asyncio.current_task()
        if task is not None and self._whose is task:
            raise StorageError(
                "what a write is made of writes to the same file, which has one writer at a time: "
                "gather it first, or write by another task once this one is done"
            )
        await super().acquire()
        self._whose = task
        return True

    def release(self) -> None:
        self._whose = None
        super().release()


class _Look:
    """There is nobody to tell of a change in another process: look again and again.

    At a number alone: a poll is a write, and would be in the way of all others.
    """

    def __init__(self, adapter: SqliteAdapter) -> None:
        self._adapter = adapter
        self._closings = adapter._closings
        self._seen: object = None

    async def wait(self, seconds: float) -> None:
        """Wait until something may have changed, at most so long."""
        deadline = time.monotonic() + seconds
        while self._closings == self._adapter._closings and time.monotonic() < deadline:
            ((now,),) = await self._adapter._look(watching.current_cursor)
            if now != self._seen:
                self._seen = now
                return
            await asyncio.sleep(_LOOK_SECONDS)


class _Connection(sqlite3.Connection):
    """A connection that leaves nothing behind when it is closed.

    SQLite keeps a connection, and the lock or the snapshot that it has, until the last of its
    statements is done. A call that was cancelled may leave one to the garbage collector: until that
    comes, nobody could write to the file.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *args: Any, **settings: Any) -> Any:
        cursor = super().cursor(*args, **settings)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()
        super().close()


_CONNECTING: Final[dict[str, Any]] = {
    "timeout": _BUSY_SECONDS,
    "factory": _Connection,
    # The driver's own transactions begin late and break savepoints; ours begin in `_begin`.
    "isolation_level": None,
}


def _engine(path: str) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=path)
    return _prepared(create_async_engine(url, async_creator=partial(_connected, path)))


def _connected(database: str, *, uri: bool = False) -> _Driver:
    return _Driver(partial(_opened, database, uri=uri), iter_chunk_size=64)


def _opened(database: str, *, uri: bool) -> sqlite3.Connection:
    """Open a database, on the thread of the connection."""
    connection: sqlite3.Connection = sqlite3.connect(database, uri=uri, **_CONNECTING)
    try:
        _let_readers_read(connection)
        connection.execute("PRAGMA synchronous = NORMAL")  # with WAL a crash loses no consistency
    except BaseException:
        connection.close()
        raise
    return connection


def _let_readers_read(connection: sqlite3.Connection) -> None:
    """Have readers not wait for writers; whoever opens a file first changes its mode.

    SQLite does not wait for the lock that this takes.
    """
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return


def _memory_uri() -> str:
    """Return the name of a database in memory that several connections of a process can open."""
    return f"file:/hsorm-{secrets.token_hex(8)}?vfs=memdb"


def _memory_engine(uri: str) -> AsyncEngine:
    # One connection at a time: there is no WAL in memory, readers and writers would wait.
    return _prepared(
        create_async_engine(
            URL.create("sqlite+aiosqlite", database=":memory:"),
            poolclass=AsyncAdaptedQueuePool,
            pool_size=1,
            max_overflow=0,
            async_creator=partial(_connected, uri, uri=True),
        )
    )


def _prepared(engine: AsyncEngine) -> AsyncEngine:
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _begin(connection: Any) -> None:
    # A write takes the lock at once: two readers that both turn writers would lock each other out.
    options = connection.get_execution_options()
    if not options.get(_WRITES, False):
        connection.exec_driver_sql("BEGIN")
    elif (busy := options[_BUSY]) == _BUSY_SECONDS:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(busy * 1_000)}")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        finally:
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1_000}")
