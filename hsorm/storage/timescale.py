"""`TimescaleAdapter`: PostgreSQL, with TimescaleDB where it is to be had."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import cached_property
from itertools import tee
from typing import Any, Self, TypeAlias, overload

from sqlalchemy import (
    URL,
    Boolean,
    Executable,
    Index,
    Select,
    Table,
    Text,
    column,
    func,
    select,
    table,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex

from hsorm.codecs import hayson
from hsorm.codecs.hayson import to_json
from hsorm.errors import (
    MissingExtraError,
    SchemaOutdatedError,
    StorageError,
    StorageUrlError,
    UnknownEntityError,
)
from hsorm.filter.ast import Node, size_of
from hsorm.filter.parser import node_of
from hsorm.filter.shape import shape_of
from hsorm.kinds import REMOVE, Entity, is_storable
from hsorm.ops.geo import Area
from hsorm.sql import changing, migrate, statements
from hsorm.sql.constructs import recording
from hsorm.sql.geo import GEO_TAG, GeoColumn, column_of, select_geo_schema
from hsorm.sql.indexes import Indexed
from hsorm.sql.models import Tables
from hsorm.sql.search import search_index
from hsorm.sql.statements import Search
from hsorm.sql.templates import Template, template_of
from hsorm.sql.urls import Target, safe_url, server_settings, target_of
from hsorm.storage._copy_in import columns_of, copy_by_asyncpg, count_of
from hsorm.storage._dberrors import database_errors, detail_of, sqlstate_of
from hsorm.storage._host import AnySession, AsyncHost, SyncHost
from hsorm.storage._kept import KeptConnections
from hsorm.storage._listener import Listener
from hsorm.storage._pg_listen import listen_to
from hsorm.storage._postgres_citus import PostgresCitus
from hsorm.storage._postgres_history import CopyWork, PostgresHistory, is_key_conflict
from hsorm.storage._postgres_policies import PostgresPolicies
from hsorm.storage._postgres_rollups import PostgresRollups
from hsorm.storage._remembered import Remembered
from hsorm.storage._replicas import may_lag
from hsorm.storage._session_bound import SessionBound, check_alone, in_session
from hsorm.storage._sql_core import Loaded, Prepared, Rows, Statement, Work, as_rows
from hsorm.storage._streams import Wake
from hsorm.storage.protocol import Create
from hsorm.storage.sync import SyncStorage

try:
    import asyncpg
except ImportError:  # a session may be over psycopg
    asyncpg = None

__all__ = ["TimescaleAdapter"]

_REMEMBERED = 1_024
_CONNECT_SECONDS = 10
_KEPT = 4
_LATER = 100
_NO_SUCH_ROW = "23503"  # a foreign key leads nowhere

# The planner knows little of JSONB. Its guesses switch the compiler on where that costs most. And
# where it expects more ids behind a ref than fit into memory, it does not hash them, but looks
# through all of them for each row: at a million entities that never ends.
_OPTIONS = "-c jit=off -c work_mem=64MB"


_SHORT_SQL = 32_768  # a path of eight names is 23,000 characters, most filters are 1,000 to 8,000
_SHORT_FILTER = 4_096

_Asked: TypeAlias = tuple[str, str | Node, int | None, Search]
"""What is asked for, of which filter, with which limit and search."""

_Statement: TypeAlias = tuple[str, list[Any]]
"""SQL, and what is bound in it."""


def _is_short(asked: _Asked, statement: _Statement) -> bool:
    filter = asked[1]
    if asked[3].area is not None:  # a polygon may have many corners
        return False
    size = len(filter) if isinstance(filter, str) else size_of(filter)
    return size <= _SHORT_FILTER and len(statement[0]) <= _SHORT_SQL


class TimescaleAdapter(PostgresPolicies, PostgresCitus, PostgresRollups, PostgresHistory):
    """A storage in PostgreSQL 14 or newer, with or without TimescaleDB.

    Args:
        dsn: `postgresql://user:password@host/database` (or `postgres://`); None is TIMESCALE_DSN.
            `?options=-c statement_timeout=5s` sets what the server has settings for, `?prefix=hs_`
            and `schema=plant` are as the arguments, which count where both are given.
        engine: An engine of the host's own over asyncpg, instead of a dsn; it stays open on close.
            Turn `jit` off on it (`server_settings`), or filters over refs may take thrice as long.
        read_engine: An engine of the host's own over asyncpg, to a replica of the same database:
            reads of entities and of history are answered there, and may not see yet what was just
            written; docs/scaling.md lists the calls. It stays open on close.
        session: A session (or connection) of the host's own over asyncpg or psycopg 3, instead of
            either: every call takes part in its transaction; see docs/embedding.md.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.
        schema: The schema of the tables; None is the first one of the search path.
        index_tags: Tags to index on `connect()`, with the kind of their values, as in
            `{"area": "number"}`; see docs/filters.md.
        index_search: Whether to make an index for searches on `connect()`, which needs the
            extension pg_trgm. Without it they look at every text.

    Raises:
        StorageUrlError: The dsn is none, or there is none, or one beside an engine or a session;
            the engine is of another driver.
        MissingExtraError: asyncpg is not installed, and no session is given.
        ValueError: There is no such kind of index, or a name is none of a tag.
    """

    _keeps_to_loop = True
    _replica: TimescaleAdapter | None = None

    def __new__(cls, *args: Any, session: AsyncHost | None = None, **settings: Any) -> Self:
        """Make an adapter with connections of its own, or one in a session."""
        return (
            in_session(cls, BoundTimescaleAdapter) if session is not None else super().__new__(cls)
        )

    def __init__(
        self,
        dsn: str | None = None,
        *,
        engine: AsyncEngine | None = None,
        read_engine: AsyncEngine | None = None,
        session: AsyncHost | None = None,
        create: Create = "auto",
        prefix: str = "",
        schema: str | None = None,
        index_tags: Mapping[str, Indexed] | None = None,
        index_search: bool = False,
    ) -> None:
        if asyncpg is None:
            raise MissingExtraError("TimescaleAdapter", "asyncpg", "postgres")
        target = _target(dsn) if engine is None else Target(engine.url, "", None)
        super().__init__(
            _engine(target.url) if engine is None else _checked(engine, dsn),
            owns_engine=engine is None,
            create=create,
            prefix=prefix or target.prefix,
            schema=target.schema if schema is None else schema,
            index_tags=index_tags,
            index_search=index_search,
        )
        # There are no such tables here, and statements take half as long to build without.
        self.tables = replace(self.tables, tag_index=None, word_index=None)
        self._templates: Remembered[Hashable, Template] = Remembered(
            _REMEMBERED, lambda key, template: len(template.sql) <= _SHORT_SQL
        )
        self._statements: Remembered[_Asked, _Statement] = Remembered(_REMEMBERED, _is_short)
        self._listener: Listener | None = None
        self._kept = KeptConnections(
            self.engine,
            _KEPT,
            may_keep=lambda: self._owns_engine and self._connected,
            driver_of=_idle,
            is_closed=asyncpg.Connection.is_closed,
            in_transaction=asyncpg.Connection.is_in_transaction,
        )
        if read_engine is not None:
            self._replica = _Replica(read_engine, self)

    # ---- reads that may lag ---------------------------------------------------------------------

    check_refs = may_lag(PostgresHistory.check_refs)
    explain = may_lag(PostgresHistory.explain)
    his_arrow = may_lag(PostgresHistory.his_arrow)
    his_numpy = may_lag(PostgresHistory.his_numpy)
    his_pandas = may_lag(PostgresHistory.his_pandas)
    his_read = may_lag(PostgresHistory.his_read)
    his_read_batch = may_lag(PostgresHistory.his_read_batch)
    his_read_iter = may_lag(PostgresHistory.his_read_iter)
    his_rollup = may_lag(PostgresRollups.his_rollup)
    his_summary = may_lag(PostgresHistory.his_summary)
    nav = may_lag(PostgresHistory.nav)
    nav_tree = may_lag(PostgresHistory.nav_tree)
    read = may_lag(PostgresHistory.read)
    read_by_id = may_lag(PostgresHistory.read_by_id)
    read_by_ids = may_lag(PostgresHistory.read_by_ids)
    read_count = may_lag(PostgresHistory.read_count)

    @overload
    def bind(self, session: AsyncHost) -> TimescaleAdapter: ...

    @overload
    def bind(self, session: SyncHost) -> SyncStorage: ...

    def bind(self, session: AnySession) -> TimescaleAdapter | SyncStorage:
        """Return the same storage in a session of the host's own; see `hsorm.storage.bind`."""
        names = self._names
        made: TimescaleAdapter | SyncStorage = BoundTimescaleAdapter.of(
            session, names["prefix"], names["schema"], self.tables
        )
        return made

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

    def _select(self, filter: str | Node, most: int | None, search: Search) -> _Statement:
        """Return the SQL of a read, and what is bound in it."""

        def build(node: Node) -> Select[Any]:
            return self._select_matching(node, most, search)

        return self._templated(("read", most is None), filter, most, search, build)

    def _select_count(self, filter: str | Node, search: Search) -> _Statement:
        """Return the SQL of a count, and what is bound in it."""

        def build(node: Node) -> Select[Any]:
            return statements.count_entities(self.tables, node, search=search)

        return self._templated("count", filter, None, search, build)

    def _templated(
        self,
        use: Hashable,
        filter: str | Node,
        most: int | None,
        search: Search,
        build: Callable[[Node], Select[Any]],
    ) -> _Statement:
        """Return SQL and what is bound in it, for a filter of a known shape without building it."""
        node = node_of(filter)
        shape = None if search.words or search.area is not None else shape_of(node)
        if shape is None:
            return self._compiled(build(node))
        key = use, shape.key
        template = self._templates.get(key)
        if template is None:
            with recording() as recorder:
                sql, names, params = self._named(build(node))
            found = template_of(sql, names, params, shape) if recorder.complete else None
            if found is None:
                return self._compiled(build(node))
            self._templates.put(key, found)
            template = found
        return template.sql, template.args(shape, most)

    async def _fetch(self, statement: Select[Any]) -> Sequence[Any]:
        return await self._fetch_compiled(*self._compiled(statement))

    async def _fetch_compiled(self, sql: str, args: Iterable[Any]) -> Sequence[Any]:
        await self._ready()
        with database_errors(self.url):
            async with self._driver() as driver:
                rows: Sequence[Any] = await driver.fetch(sql, *args)
                return rows

    async def _fetch_matching(self, filter: str | Node, most: int | None, search: Search) -> Rows:
        asked = "read", filter, most, search
        found = self._statements.get(asked)
        if found is None:
            found = self._select(filter, most, search)
            self._statements.put(asked, found)
        return await self._fetch_compiled(*found)

    async def _fetch_count(self, filter: str | Node, search: Search) -> Rows:
        asked = "count", filter, None, search
        found = self._statements.get(asked)
        if found is None:
            found = self._select_count(filter, search)
            self._statements.put(asked, found)
        return await self._fetch_compiled(*found)

    async def _plan(self, sql: str, params: Sequence[Any]) -> Iterable[str]:
        return [line for (line,) in await self._fetch_compiled(f"EXPLAIN {sql}", params)]

    @asynccontextmanager
    async def _driver(self) -> AsyncIterator[asyncpg.Connection[Any]]:
        """Lend an asyncpg connection from the pool; no transaction is open on it.

        A few stay with the adapter, if the pool is its own.
        """
        async with self._kept.lend() as driver:
            yield driver

    async def close(self) -> None:
        """Close the storage; see `StorageAdapter.close`. An engine that was given stays open."""
        await self._end_streams(self._listener)
        self._connected = False
        await self._kept.close()
        if self._replica is not None:
            await self._replica.close()
        await super().close()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Take a connection from the pool; one that was lost while it lay there is replaced."""
        async with self.engine.connect() as connection:
            await _sound(connection)
            yield connection

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[AsyncConnection]:
        async with self._connection() as connection:
            # Not what a host's engine may be set to: without transactions (AUTOCOMMIT) nothing
            # would be rolled back, and under stricter ones a row lock that was waited for fails.
            await connection.execution_options(isolation_level="READ COMMITTED")
            async with connection.begin():
                yield connection

    # ---- declared indexes -----------------------------------------------------------------------

    async def _make_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        indexes = self._all(indexes, search)
        async with self._autocommit() as connection:
            valid, _ = await self._found(connection)
            if all(index.name in valid for index in indexes):
                return []
            async with _taking_turns(connection):
                return await self._make_missing(connection, indexes)

    async def _make_missing(
        self, connection: AsyncConnection, indexes: Sequence[Index]
    ) -> list[str]:
        valid, broken = await self._found(connection)
        missing = [_concurrent(index) for index in indexes if index.name not in valid]
        for index in missing:
            if index.name == self._search_index().name:
                await self._create_trigrams(connection)
            if index.name in broken:  # somebody stopped before it was whole
                await connection.execute(DropIndex(index, if_exists=True))
            await connection.execute(CreateIndex(index, if_not_exists=True))
        if missing:
            # What the planner knows of an index on expressions comes from here alone.
            entities = self._quoted(self.tables.entities)
            await connection.exec_driver_sql(f"ANALYZE {entities}")
        return [str(index.name) for index in missing]

    async def _create_trigrams(self, connection: AsyncConnection) -> None:
        try:
            await connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        except DBAPIError as exc:
            raise StorageError(
                "a search index needs the extension pg_trgm, which cannot be created here "
                f"({str(exc.orig).rpartition(': ')[2]}); searches work without, by looking at "
                "every text"
            ) from exc

    def _all(self, indexes: Sequence[Index], search: bool) -> list[Index]:
        return [*indexes, self._search_index()] if search else list(indexes)

    def _search_index(self) -> Index:
        return search_index(self.tables.entities)

    async def _has_search_index(self) -> bool:
        sql, args = self._search_index_there
        return bool(await self._fetch_compiled(sql, args))

    @cached_property
    def _search_index_there(self) -> tuple[str, list[Any]]:
        return self._compiled(self._select_search_index(self.tables.entities))

    async def _geo_column(self, area: Area) -> GeoColumn | None:
        if area.tag != GEO_TAG:
            return None
        found = await self._geo_schema()
        if not found:
            return None
        # Asked each time: others make and drop it. And it is none of the models' columns.
        ((schema,),) = found
        return GeoColumn(column_of(self.tables.entities), schema)

    async def _geo_schema(self) -> Rows:
        """Return the schema of PostGIS, if entities have a geography column."""
        return await self._fetch_compiled(*self._geo_column_there)

    @cached_property
    def _geo_column_there(self) -> tuple[str, list[Any]]:
        return self._compiled(select_geo_schema(self._quoted(self.tables.entities)))

    async def _remove_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        indexes = self._all(indexes, search)
        async with self._autocommit() as connection, _taking_turns(connection):
            valid, broken = await self._found(connection)
            found = [_concurrent(index) for index in indexes if index.name in valid | broken]
            for index in found:
                await connection.execute(DropIndex(index, if_exists=True))
        return [str(index.name) for index in found]

    async def _found(self, connection: AsyncConnection) -> tuple[set[str], set[str]]:
        """Return the names of the indexes on entities: those that are whole, and the others."""
        names: dict[bool, set[str]] = {True: set(), False: set()}
        for name, valid in await connection.execute(self._select_indexes(self.tables.entities)):
            names[valid].add(name)
        return names[True], names[False]

    def _select_search_index(self, entities: Table) -> Select[Any]:
        """Select one row where there is an index for searches on a table of entities."""
        statement = self._select_indexes(entities)
        named = statement.selected_columns.relname == search_index(entities).name
        return statement.where(named, statement.selected_columns.indisvalid)

    def _select_indexes(self, entities: Table) -> Select[Any]:
        """Select `relname` and `indisvalid` of the indexes on a table of entities."""
        valid = column("indisvalid", Boolean())
        index = table("pg_index", column("indexrelid"), column("indrelid"), valid)
        named = table("pg_class", column("oid"), column("relname", Text()))
        own = func.to_regclass(self._quoted(entities))
        return (
            select(named.c.relname, index.c.indisvalid)
            .join_from(index, named, named.c.oid == index.c.indexrelid)
            .where(index.c.indrelid == own)
        )

    def _quoted(self, table: Table) -> str:
        return self.dialect.identifier_preparer.format_table(table)

    @asynccontextmanager
    async def _autocommit(self) -> AsyncIterator[AsyncConnection]:
        """Take a connection on which every statement is a transaction of its own."""
        async with self._connection() as connection:
            yield await connection.execution_options(isolation_level="AUTOCOMMIT")

    # ---- bulk -----------------------------------------------------------------------------------

    async def _store(
        self, ids: Sequence[str], rows_of: Callable[[dt.datetime], Iterator[Loaded]]
    ) -> None:
        loaded: list[Loaded] = []
        mod = self._next_mod()

        def stored(mod: dt.datetime) -> Iterator[tuple[str, str]]:
            loaded.clear()
            for row in rows_of(mod):
                # The tags are sent, and needed no more.
                loaded.append(Loaded(row.id, "", row.live))
                yield row.id, row.tags

        with database_errors(self.url):
            async with self._open_work() as work:

                async def later() -> Iterator[tuple[str, str]] | None:
                    above = await self._mod_above(work, ids, mod)
                    return None if above == mod else stored(above)

                if await self._copy(work, self.tables.entities, stored(mod), later):
                    await self._replace_live(work, loaded)
                elif live := [(row.id, row.live) for row in loaded if row.live is not None]:
                    await work.fetch(changing.put_live, rows=as_rows(live))

    async def _copy(
        self,
        work: CopyWork,
        target: Table,
        rows: Iterable[tuple[str, str]],
        instead: Callable[[], Awaitable[Iterable[tuple[str, str]] | None]],
    ) -> bool:
        """COPY rows into a table, inside of a transaction, replacing by key.

        The rows are taken as they are sent, so that making them overlaps with the server's work.

        Args:
            work: The transaction.
            target: The table.
            rows: The rows.
            instead: Asked when rows are to be replaced; returns other rows to replace them by, None
                for the same.

        Returns:
            Whether a row of these keys was there.
        """
        rows, again = tee(rows)
        try:
            async with work.savepoint():  # for a key that exists ends the COPY
                await work.copy_texts(target, rows)
        except Exception as exc:
            if not is_key_conflict(exc):
                raise
            staging = statements.staging_of(target)
            await work.execute(CreateTable(staging))
            replacing = await instead()
            await work.copy_texts(staging, again if replacing is None else replacing)
            await work.execute(statements.upsert(target, "postgresql", staging))
            await work.drop(staging)
            return True
        return False

    async def _change_live(self, changes: Mapping[str, Entity]) -> None:
        """Merge live tags of entities; by one statement, that is one round trip, if all is well."""
        if all(changes.values()) and all(map(is_storable, changes)):
            rows = _live_rows(changes)

            async def merge() -> Rows:
                return await self._look(changing.merge_live_of_all, rows=rows, count=len(changes))

            try:
                if await self._repeated(merge):
                    return
            except StorageError as exc:  # one is being removed
                if sqlstate_of(exc) != _NO_SUCH_ROW:
                    raise
        # Nothing was changed: one is not there, and it is for this to say which.
        await super()._change_live(changes)

    async def _merge_live(self, work: Work, changes: Mapping[str, Entity]) -> set[str]:
        if not changes:
            return set()
        try:
            found = await work.fetch(changing.merge_live, rows=_live_rows(changes))
        except Exception as exc:
            if sqlstate_of(exc) != _NO_SUCH_ROW:
                raise
            # Removed since it was looked up.
            raise UnknownEntityError(detail_of(exc).partition(")=(")[2].partition(")")[0]) from None
        return {id for (id,) in found}

    # ---- transactions on the driver -------------------------------------------------------------

    @asynccontextmanager
    async def _open_work(self) -> AsyncIterator[_DriverWork]:
        # Read committed, whatever a host's engine is set to: under stricter levels a row lock that
        # was waited for fails.
        async with self._driver() as driver, driver.transaction(isolation="read_committed"):
            yield _DriverWork(driver, self._prepared, self._compiled)

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[_DriverWork]:
        settings = {"isolation": "repeatable_read", "readonly": True}
        async with self._driver() as driver, driver.transaction(**settings):
            yield _DriverWork(driver, self._prepared, self._compiled)

    async def _look(self, statement: Statement, **values: Any) -> Rows:
        await self._ready()
        with database_errors(self.url):
            async with self._driver() as driver:
                work = _DriverWork(driver, self._prepared, self._compiled)
                return await work.fetch(statement, **values)

    # ---- being told of changes ------------------------------------------------------------------

    @asynccontextmanager
    async def _wakes(self) -> AsyncIterator[Wake]:
        self._listener = self._listener or Listener(
            listen_to(self._connection, f"{self._names['prefix']}hsorm", self.url)
        )
        async with self._listener.wake() as wake:
            yield wake


class _Replica(TimescaleAdapter):
    """The reads of an adapter, on a replica of its database."""

    # Nothing can be written there: what is read is shown as it would be.
    _behind = True

    def __init__(self, engine: AsyncEngine, primary: TimescaleAdapter) -> None:
        super().__init__(engine=engine, create="never", **primary._names)
        self._primary = primary
        self._tries = _LATER

    async def _sweep_if_due(self) -> None:
        """Leave it to who can write."""

    async def _ready(self) -> None:
        if self._primary._create == "auto":
            await self._primary._ready()
        await super()._ready()

    async def _ensure_tables(self) -> None:
        # What the primary has just made comes here a little later. That is waited for once, not by
        # each call anew.
        while (found := await self.revision()) != migrate.HEAD:
            if not self._tries:
                raise SchemaOutdatedError(self.url, found, migrate.HEAD)
            self._tries -= 1
            await asyncio.sleep(0.1)


class _DriverWork:
    """A transaction on a connection of asyncpg's."""

    def __init__(
        self,
        driver: asyncpg.Connection[Any],
        prepared: Callable[[Statement], Prepared],
        compiled: Callable[[Any], tuple[str, list[Any]]],
    ) -> None:
        self._driver = driver
        self._prepared = prepared
        self._compiled = compiled

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement and return its rows; none of one that returns none."""
        prepared = self._prepared(statement)
        rows: Rows = await self._driver.fetch(prepared.sql, *prepared.args(values))
        return rows

    async def change(self, statement: Statement, **values: Any) -> int:
        """Run a statement and return how many rows it changed."""
        prepared = self._prepared(statement)
        return count_of(await self._driver.execute(prepared.sql, *prepared.args(values)))

    async def execute(self, statement: Executable) -> int:
        """Run a statement that is not built again, and return how many rows it changed."""
        sql, args = self._compiled(statement)
        return count_of(await self._driver.execute(sql, *args))

    async def copy_in(self, target: Table, rows: Iterable[bytes]) -> int:
        """COPY rows in the binary format into a table, and return how many they were."""
        return await copy_by_asyncpg(
            self._driver, target.name, target.schema, columns_of(target), rows
        )

    async def copy_texts(self, target: Table, rows: Iterable[tuple[str, str]]) -> None:
        """COPY rows of a text and of JSON as text into a table."""
        await self._driver.copy_records_to_table(
            target.name, schema_name=target.schema, columns=columns_of(target), records=rows
        )

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """Open a transaction in the transaction, of which an error leaves nothing behind."""
        inner: AbstractAsyncContextManager[object] = self._driver.transaction()
        return inner

    async def drop(self, staging: Table) -> None:
        """Leave a staging table to the end of the transaction."""


class BoundTimescaleAdapter(SessionBound, TimescaleAdapter):
    """A `TimescaleAdapter` in a session."""

    _in_pages = False

    def __init__(
        self,
        dsn: str | None = None,
        *,
        session: AnySession,
        tables: Tables | None = None,
        prefix: str = "",
        schema: str | None = None,
        **settings: Any,
    ) -> None:
        check_alone(dsn and "a dsn", settings)
        self._take_part(session, "postgresql", prefix=prefix, schema=schema, tables=tables)
        self.tables = replace(self.tables, tag_index=None, word_index=None)

    async def _has_search_index(self) -> bool:
        entities = await self._new_work().located_table(self.tables.entities)
        return bool(await self._fetch(self._select_search_index(entities)))

    async def _geo_schema(self) -> Rows:
        entities = await self._new_work().located_table(self.tables.entities)
        return await self._fetch(select_geo_schema(self._quoted(entities)))

    async def _change_live(self, changes: Mapping[str, Entity]) -> None:
        # What refers to an entity that is just being removed would end the host's transaction.
        await PostgresHistory._change_live(self, changes)

    async def _pause(self) -> None:
        await self._host.pause()


def _live_rows(changes: Mapping[str, Entity]) -> str:
    """Return changes of live tags as `rows`; sorted, for so they are locked."""
    rows = ({"id": id, "tags": _encoded(changes[id])} for id in sorted(changes) if is_storable(id))
    return to_json(list(rows)).decode()


def _encoded(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of live tags in Hayson, where null deletes a tag."""
    return {name: None if val is REMOVE else hayson.encode(val) for name, val in changes.items()}


# Any number, but always the same.
_INDEXING = 4_801_477_282


@asynccontextmanager
async def _taking_turns(connection: AsyncConnection) -> AsyncIterator[None]:
    """Wait until nobody else makes or drops declared indexes in this database.

    Asked for again and again: an index that is made concurrently waits for every statement that
    began before it, one that waits for a lock among them.
    """
    lock, unlock = func.pg_try_advisory_lock(_INDEXING), func.pg_advisory_unlock(_INDEXING)
    while not (await connection.execute(select(lock))).scalar():  # noqa: ASYNC110 - of processes
        await asyncio.sleep(0.1)
    try:
        yield
    finally:
        if not connection.invalidated:  # else it was lost or cancelled, and the lock with it
            await connection.execute(select(unlock))


def _concurrent(index: Index) -> Index:
    """Let an index be made and dropped while others write."""
    index.dialect_options["postgresql"]["concurrently"] = True
    return index


async def _sound(connection: AsyncConnection) -> Any:
    """Return the driver's connection under one of the pool; one that was lost there is replaced."""
    while True:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if driver is not None and not driver.is_closed():
            return driver
        # When the server went away meanwhile, it did so for all that lay there.
        await connection.invalidate()


async def _idle(connection: AsyncConnection) -> Any:
    """Return the driver's connection under one of the pool, with no transaction open on it."""
    driver = await _sound(connection)
    if driver.is_in_transaction():  # a host's "connect" event began it
        await connection.run_sync(lambda sync: sync.connection.commit())
    return driver


def _checked(engine: AsyncEngine, dsn: str | None) -> AsyncEngine:
    if dsn is not None:
        raise StorageUrlError(safe_url(engine.url), "a dsn and an engine: give one of them")
    if (engine.dialect.name, engine.dialect.driver) != ("postgresql", "asyncpg"):
        reason = f"an engine over {engine.dialect.driver}: make one for postgresql+asyncpg://"
        raise StorageUrlError(safe_url(engine.url), reason)
    return engine


def _target(dsn: str | None) -> Target:
    dsn = dsn or os.environ.get("TIMESCALE_DSN")
    if not dsn:
        reason = "no dsn: give postgresql://user@host/database, or set TIMESCALE_DSN"
        raise StorageUrlError("", reason)
    found = target_of(dsn)
    if found.url.get_backend_name() != "postgresql":
        raise StorageUrlError(dsn, "no PostgreSQL: postgresql://user@host/database")
    return found


def _engine(url: URL) -> AsyncEngine:
    url, settings = server_settings(url)
    return create_async_engine(
        url,
        connect_args={
            # Of a setting that is there twice, the server takes the last one.
            "server_settings": {
                "application_name": "hsorm",
                "options": " ".join((_OPTIONS, *settings.values())),
            },
            "statement_cache_size": _REMEMBERED,
            "timeout": _CONNECT_SECONDS,
            "async_creator_fn": _connected,
        },
    )


async def _connected(*args: Any, **settings: Any) -> asyncpg.Connection[Any]:
    """Connect, to the end even if that is cancelled.

    An asyncpg that is cancelled while it connects leaves a future behind with an error that nobody
    asks for, about which asyncio complains on stderr.
    """
    connecting = asyncio.ensure_future(asyncpg.connect(*args, **settings))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_discard)
        raise


def _discard(connecting: asyncio.Future[asyncpg.Connection[Any]]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()
