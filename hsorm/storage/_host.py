"""The session of a host application, and work in the transaction that it has.

All statements run as SQLAlchemy runs them, so that whatever the host has set on its engine holds:
`schema_translate_map`, names of prepared statements, listeners, another driver. Only COPY is the
driver's, on the very connection. What is written here is synchronous; an `AsyncSession` runs it as
SQLAlchemy runs its own code there (`run_sync`), a `Session` just so.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import lru_cache, partial
from typing import Any, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Dialect, Engine, Executable, MetaData, NestedTransaction, Table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.schema import DropTable
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.errors import SessionBoundError
from hsorm.sql.models import Tables, make_tables
from hsorm.sql.tag_index import TagIndex, moved
from hsorm.storage._copy import encoded_texts
from hsorm.storage._copy_in import copy_in
from hsorm.storage._sql_core import Rows, Statement

__all__ = [
    "AnySession",
    "AsyncHost",
    "Host",
    "HostWork",
    "SyncHost",
    "compiled_on",
    "host_of",
    "is_sync",
    "tables_for",
]

_T = TypeVar("_T")

AsyncHost: TypeAlias = AsyncSession | AsyncConnection | async_scoped_session[Any]
"""What asynchronous code has a transaction in."""

SyncHost: TypeAlias = Session | Connection | scoped_session[Any]
"""What synchronous code has a transaction in."""

AnySession: TypeAlias = AsyncHost | SyncHost


@lru_cache(maxsize=256)
def tables_for(prefix: str, schema: str | None) -> Tables:
    """Return the tables of a storage, made once: an adapter may live for a request alone."""
    return make_tables(MetaData(), prefix=prefix, schema=schema)


def is_sync(given: AnySession) -> bool:
    """Tell whether a session or a connection is for synchronous code."""
    return isinstance(given, (Session, Connection, scoped_session))


class Host(Protocol):
    """A transaction of the host's, wherever it is."""

    dialect: Dialect
    engine: Engine

    async def call(self, run: Callable[[Connection], _T]) -> _T:
        """Run something on the connection of the transaction; it begins where none has."""
        ...

    async def flush(self) -> None:
        """Write what the host's unit of work holds back, as its session does before a query."""
        ...

    async def pause(self) -> None:
        """Let others run, where the host's code is asynchronous."""
        ...


def host_of(given: AnySession, tables: Tables) -> Host:
    """Return the host of a session or a connection, which has the storage of these tables.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(given, (scoped_session, async_scoped_session)):
        given = given()
    if isinstance(given, (Session, Connection)):
        return _SyncHost(given, tables)
    if isinstance(given, (AsyncSession, AsyncConnection)):
        return _AsyncHost(given, tables)
    raise TypeError(f"{given!r} is no session and no connection of SQLAlchemy's")


class _Place:
    """Where the transaction of a session is."""

    def __init__(self, given: Session | Connection, tables: Tables) -> None:
        self.given = given
        # A session may have an engine for each table.
        self._clause: Any = {"clause": tables.entities}
        bind = given if isinstance(given, Connection) else given.get_bind(**self._clause)
        self.dialect, self.engine = bind.dialect, bind.engine

    def connection(self) -> Connection:
        if isinstance(self.given, Connection):
            return self.given
        return self.given.connection(bind_arguments=self._clause)

    @property
    def holds_back(self) -> bool:
        session = self.given
        if isinstance(session, Connection) or not session.autoflush:
            return False
        return bool(session.new or session.dirty or session.deleted)

    def flush(self) -> None:
        if isinstance(self.given, Session):
            self.given.flush()


class _SyncHost:
    def __init__(self, given: Session | Connection, tables: Tables) -> None:
        self._place = _Place(given, tables)
        self.dialect, self.engine = self._place.dialect, self._place.engine

    async def call(self, run: Callable[[Connection], _T]) -> _T:
        return run(self._place.connection())

    async def flush(self) -> None:
        if self._place.holds_back:
            self._place.flush()

    async def pause(self) -> None:
        pass


class _AsyncHost:
    def __init__(self, given: AsyncSession | AsyncConnection, tables: Tables) -> None:
        self._given = given
        own = given.sync_session if isinstance(given, AsyncSession) else given.sync_connection
        if own is None:
            raise TypeError("the connection has not been opened: await it, or use `async with`")
        self._place = _Place(own, tables)
        self.dialect, self.engine = self._place.dialect, self._place.engine

    async def call(self, run: Callable[[Connection], _T]) -> _T:
        return await self._given.run_sync(lambda _: run(self._place.connection()))

    async def flush(self) -> None:
        if self._place.holds_back:
            await self._given.run_sync(lambda _: self._place.flush())

    async def pause(self) -> None:
        await asyncio.sleep(0)


@lru_cache(maxsize=4_096)
def _remembered(statement: Statement, tables: Tables, dialect: str) -> Executable:
    return statement(tables, dialect)


def _built(statement: Statement, tables: Tables, dialect: str) -> Executable:
    # One over a filter is another one each time, and as large as the filter.
    if isinstance(statement, partial):
        built: Executable = statement(tables, dialect)
        return built
    return _remembered(statement, tables, dialect)


class HostWork:
    """Work in the transaction of a host, which alone ends it."""

    def __init__(self, host: Host, tables: Tables) -> None:
        self._host = host
        self._tables = tables

    # ---- statements -----------------------------------------------------------------------------

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement and return its rows; none of one that returns none."""
        built = _built(statement, self._tables, self._host.dialect.name)

        def run(connection: Connection) -> Rows:
            found = connection.execute(built, values)
            return found.all() if found.returns_rows else ()

        return await self._host.call(run)

    async def change(self, statement: Statement, **values: Any) -> int:
        """Run a statement and return how many rows it changed."""
        built = _built(statement, self._tables, self._host.dialect.name)
        return await self.execute(built, values)

    async def execute(
        self,
        statement: Executable,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> int:
        """Run a statement that is not built again, and return how many rows it changed."""
        return await self._host.call(
            lambda connection: connection.execute(statement, values).rowcount
        )

    async def each(
        self, statement: Statement, names: Sequence[str], rows: Iterable[Sequence[Any]]
    ) -> None:
        """Run a statement for each row of values that the driver takes as they are (SQLite)."""
        built = _built(statement, self._tables, self._host.dialect.name)

        def run(connection: Connection) -> None:
            compiled = compiled_on(connection, built)
            places = [names.index(name) for name in compiled.positiontup or ()]
            given = [tuple(row[place] for place in places) for row in rows]
            if given:
                connection.exec_driver_sql(str(compiled), given)

        await self._host.call(run)

    # ---- the transaction ------------------------------------------------------------------------

    async def begin(self) -> None:
        """Begin a transaction where the host's has yet to (SQLite).

        Python's sqlite3 does so at an INSERT, UPDATE or DELETE, not at one behind a WITH; and what
        a SAVEPOINT begins by itself, its RELEASE commits.
        """

        def run(connection: Connection) -> None:
            _refuse_autocommit(connection)  # in which nothing would end what begins here
            driver: Any = connection.connection.driver_connection
            if not driver.in_transaction:
                connection.exec_driver_sql("BEGIN IMMEDIATE")

        await self._host.call(run)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Open a transaction in the transaction, of which an error leaves nothing behind."""
        inner = await self._host.call(_begin_nested)
        try:
            yield
        except BaseException:
            with suppress(SQLAlchemyError):  # a connection that was lost: the first error says more
                await self._host.call(lambda _: inner.rollback())
            raise
        await self._host.call(lambda _: inner.commit())

    @asynccontextmanager
    async def undoable(self) -> AsyncIterator[None]:
        """Let reads fail without an end of the transaction, where there is one."""
        if await self._host.call(_commits_by_itself):
            yield
        else:
            async with self.savepoint():
                yield

    # ---- COPY -----------------------------------------------------------------------------------

    async def copy_in(self, target: Table, rows: Iterable[bytes]) -> int:
        """COPY rows in the binary format into a table, and return how many they were."""
        return await self._host.call(lambda connection: copy_in(connection, target, rows))

    async def copy_texts(self, target: Table, rows: Iterable[tuple[str, str]]) -> None:
        """COPY rows of a text and of JSON as text into a table."""
        await self.copy_in(target, encoded_texts(rows))

    async def drop(self, staging: Table) -> None:
        """Drop a staging table: the host's transaction may go on, and write again."""
        await self.execute(DropTable(staging))

    async def located(self, index: TagIndex) -> TagIndex:
        """Return an index whose tables are where the host's `schema_translate_map` puts them."""
        names = await self._host.call(_translation)
        return index.moved(names) if names else index

    async def located_table(self, table: Table) -> Table:
        """Return a table where the host's `schema_translate_map` puts it."""
        names = await self._host.call(_translation)
        return moved(table, names) if names else table


def _commits_by_itself(connection: Connection) -> bool:
    own: Any = connection.connection.dbapi_connection
    if connection.dialect.driver == "aiosqlite":  # which says so nowhere but in what it wraps
        own = getattr(own.driver_connection, "_conn", own)
    return getattr(own, "autocommit", False) is True


def _refuse_autocommit(connection: Connection) -> None:
    if _commits_by_itself(connection):
        reason = "it is in AUTOCOMMIT, where a failure would leave half of it behind"
        raise SessionBoundError("a write", f"{reason}: give the session a transaction")


def _begin_nested(connection: Connection) -> NestedTransaction:
    _refuse_autocommit(connection)
    return connection.begin_nested()


def compiled_on(connection: Connection, statement: Any) -> SQLCompiler:
    """Return a statement as SQL of a connection, with its schemas where the host puts them."""
    names = _translation(connection)
    compiled: SQLCompiler = statement.compile(
        dialect=connection.dialect,
        schema_translate_map=names,
        render_schema_translate=bool(names),
        compile_kwargs={"render_postcompile": True},
    )
    return compiled


def _translation(connection: Connection) -> Mapping[str | None, str | None] | None:
    return connection.get_execution_options().get("schema_translate_map")
