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
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import tee
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import Boolean, Index, Select, Table, Text, column, func, select, table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable, DropIndex
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.codecs import hayson
from hsorm.codecs.hayson import to_json
from hsorm.errors import (
    MissingExtraError,
    SchemaOutdatedError,
    StorageError,
    StorageUrlError,
    UnknownEntityError,
)
from hsorm.filter import parse
from hsorm.filter.ast import Node, size_of
from hsorm.filter.shape import shape_of
from hsorm.kinds import REMOVE, Entity
from hsorm.sql import changing, migrate, statements
from hsorm.sql.constructs import recording
from hsorm.sql.indexes import Indexed
from hsorm.sql.search import search_index
from hsorm.sql.statements import Search
from hsorm.sql.templates import Template, template_of
from hsorm.sql.urls import engine_url, safe_url, server_settings
from hsorm.storage._dberrors import database_errors
from hsorm.storage._listener import Listener
from hsorm.storage._pg_listen import listen_to
from hsorm.storage._postgres_citus import PostgresCitus
from hsorm.storage._postgres_history import PostgresHistory, is_key_conflict
from hsorm.storage._postgres_policies import PostgresPolicies
from hsorm.storage._postgres_rollups import PostgresRollups
from hsorm.storage._remembered import Remembered
from hsorm.storage._replicas import may_lag
from hsorm.storage._sql_core import Loaded, Rows, Statement, Work, as_rows, is_possible
from hsorm.storage._streams import Wake
from hsorm.storage.protocol import Create

try:
    import asyncpg
except ImportError:
    raise MissingExtraError("TimescaleAdapter", "asyncpg", "postgres") from None

__all__ = ["TimescaleAdapter"]

_REMEMBERED = 1_024
_CONNECT_SECONDS = 10
_KEPT = 4
_LATER = 100

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
    size = len(filter) if isinstance(filter, str) else size_of(filter)
    return size <= _SHORT_FILTER and len(statement[0]) <= _SHORT_SQL


class TimescaleAdapter(PostgresPolicies, PostgresCitus, PostgresRollups, PostgresHistory):
    """A storage in PostgreSQL 14 or newer, with or without TimescaleDB.

    Args:
        dsn: `postgresql://user:password@host/database` (or `postgres://`); None is TIMESCALE_DSN.
            `?options=-c statement_timeout=5s` sets what the server has settings for.
        engine: An engine of the host's own over asyncpg, instead of a dsn; it stays open on close.
            Turn `jit` off on it (`server_settings`), or filters over refs may take thrice as long.
        read_engine: An engine of the host's own over asyncpg, to a replica of the same database:
            reads of entities and of history are answered there, and may not see yet what was just
            written; docs/scaling.md lists the calls. It stays open on close.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.
        schema: The schema of the tables; None is the first one of the search path.
        index_tags: Tags to index on `connect()`, with the kind of their values, as in
            `{"area": "number"}`; see docs/filters.md.
        index_search: Whether to make an index for searches on `connect()`, which needs the
            extension pg_trgm. Without it they look at every text.

    Raises:
        StorageUrlError: The dsn is none, or there is none, or one beside an engine; the engine is
            of another driver.
        ValueError: There is no such kind of index, or a name is none of a tag.
    """

    _replica: TimescaleAdapter | None = None

    def __init__(
        self,
        dsn: str | None = None,
        *,
        engine: AsyncEngine | None = None,
        read_engine: AsyncEngine | None = None,
        create: Create = "auto",
        prefix: str = "",
        schema: str | None = None,
        index_tags: Mapping[str, Indexed] | None = None,
        index_search: bool = False,
    ) -> None:
        super().__init__(
            _engine(dsn) if engine is None else _checked(engine, dsn),
            owns_engine=engine is None,
            create=create,
            prefix=prefix,
            schema=schema,
            index_tags=index_tags,
            index_search=index_search,
        )
        # There are no such tables here, and statements take half as long to build without.
        self.tables = replace(self.tables, tag_index=None, word_index=None)
        self._templates: Remembered[Hashable, Template] = Remembered(
            _REMEMBERED, lambda key, template: len(template.sql) <= _SHORT_SQL
        )
        self._statements: Remembered[_Asked, _Statement] = Remembered(_REMEMBERED, _is_short)
        self._prepared = lru_cache(_REMEMBERED)(self._prepare)
        self._listener: Listener | None = None
        self._kept: list[_Kept] = []
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
        node = parse(filter) if isinstance(filter, str) else filter
        shape = None if search.words else shape_of(node)
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

        To take one from SQLAlchemy's pool and give it back costs as much as a round trip. So a few
        stay with the adapter, if the pool is its own.
        """
        kept = await self._take()
        try:
            yield kept.driver
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError) or kept.driver.is_in_transaction():
                # SQLAlchemy knows of no transaction that it would have to end.
                await kept.connection.invalidate()
            await kept.connection.close()
            raise
        if self._owns_engine and self._connected and len(self._kept) < _KEPT:
            self._kept.append(kept)
        else:
            await kept.connection.close()

    async def _take(self) -> _Kept:
        while self._kept:
            kept = self._kept.pop()
            if not kept.driver.is_closed():
                return kept
            await kept.connection.close()  # its server went away
        connection = await self.engine.connect()
        try:
            driver = await _sound(connection)
            if driver.is_in_transaction():  # a host's "connect" event began it
                await connection.run_sync(lambda sync: sync.connection.commit())
        except BaseException:
            await connection.close()
            raise
        return _Kept(connection, driver)

    async def close(self) -> None:
        """Close the storage; see `StorageAdapter.close`. An engine that was given stays open."""
        self._connected = False
        while self._kept:
            await self._kept.pop().connection.close()
        if self._listener is not None:
            await self._listener.close()
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
        statement = self._select_indexes()
        named = statement.selected_columns.relname == self._search_index().name
        valid = statement.selected_columns.indisvalid
        return self._compiled(statement.where(named, valid))

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
        for name, valid in await connection.execute(self._select_indexes()):
            names[valid].add(name)
        return names[True], names[False]

    def _select_indexes(self) -> Select[Any]:
        """Select `relname` and `indisvalid` of the indexes on entities."""
        valid = column("indisvalid", Boolean())
        index = table("pg_index", column("indexrelid"), column("indrelid"), valid)
        named = table("pg_class", column("oid"), column("relname", Text()))
        own = func.to_regclass(self._quoted(self.tables.entities))
        return (
            select(named.c.relname, index.c.indisvalid)
            .join_from(index, named, named.c.oid == index.c.indexrelid)
            .where(index.c.indrelid == own)
        )

    def _quoted(self, table: Table) -> str:
        return self.engine.dialect.identifier_preparer.format_table(table)

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

                if await self._copy(work.driver, self.tables.entities, stored(mod), later):
                    await self._replace_live(work, loaded)
                elif live := [(row.id, row.live) for row in loaded if row.live is not None]:
                    await work.fetch(changing.put_live, rows=as_rows(live))

    async def _copy(
        self,
        driver: asyncpg.Connection[Any],
        target: Table,
        rows: Iterable[Any],
        instead: Callable[[], Awaitable[Iterable[Any] | None]] | None = None,
    ) -> bool:
        """COPY rows into a table, inside the connection's transaction, replacing by key.

        The rows are taken as they are sent, so that making them overlaps with the server's work.

        Args:
            driver: The connection.
            target: The table.
            rows: The rows.
            instead: Asked when rows are to be replaced; returns other rows to replace them by, None
                for the same.

        Returns:
            Whether a row of these keys was there.
        """
        rows, again = tee(rows)
        try:
            async with driver.transaction():  # a savepoint, for a key that exists ends the COPY
                await _copy_into(driver, target, rows)
        except asyncpg.PostgresError as exc:
            if not is_key_conflict(exc):
                raise
            staging = statements.staging_of(target)
            await driver.execute(self._compiled(CreateTable(staging))[0])
            replacing = None if instead is None else await instead()
            await _copy_into(driver, staging, again if replacing is None else replacing)
            upsert = statements.upsert(target, "postgresql", staging)
            await driver.execute(self._compiled(upsert)[0])
            return True
        return False

    async def _merge_live(self, work: Work, changes: Mapping[str, Entity]) -> set[str]:
        if not changes:
            return set()
        rows = ((id, _changes_text(changes[id])) for id in sorted(changes) if is_possible(id))
        try:
            found = await work.fetch(changing.merge_live, rows=as_rows(rows))
        except asyncpg.ForeignKeyViolationError as exc:  # removed since it was looked up
            id = str(exc.detail).partition(")=(")[2].partition(")")[0]
            raise UnknownEntityError(id) from None
        return {id for (id,) in found}

    # ---- transactions on the driver -------------------------------------------------------------

    @asynccontextmanager
    async def _open_work(self) -> AsyncIterator[_DriverWork]:
        # Read committed, whatever a host's engine is set to: under stricter levels a row lock that
        # was waited for fails.
        async with self._driver() as driver, driver.transaction(isolation="read_committed"):
            yield _DriverWork(driver, self._prepared)

    async def _look(self, statement: Statement, **values: Any) -> Rows:
        await self._ready()
        with database_errors(self.url):
            async with self._driver() as driver:
                return await _DriverWork(driver, self._prepared).fetch(statement, **values)

    def _prepare(self, statement: Statement) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """Return the SQL of a statement, and the names that it binds with values of their own."""
        built: Any = statement(self.tables, "postgresql")
        compiled: SQLCompiler = built.compile(dialect=self.engine.dialect)
        names = compiled.positiontup or ()
        return compiled.string, tuple((name, compiled.params[name]) for name in names)

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


class _Kept(NamedTuple):
    """A connection of the pool, and the driver's under it."""

    connection: AsyncConnection
    driver: asyncpg.Connection[Any]


class _DriverWork:
    """A transaction on a connection of asyncpg's."""

    def __init__(
        self,
        driver: asyncpg.Connection[Any],
        prepared: Callable[[Statement], tuple[str, tuple[tuple[str, Any], ...]]],
    ) -> None:
        self.driver = driver
        self._prepared = prepared

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement and return its rows; none of one that returns none."""
        sql, bound = self._prepared(statement)
        rows: Rows = await self.driver.fetch(sql, *(values.get(name, val) for name, val in bound))
        return rows


def _changes_text(changes: Mapping[str, Any]) -> str:
    """Return changes of live tags as JSON, where null deletes a tag."""
    encoded = {name: None if val is REMOVE else hayson.encode(val) for name, val in changes.items()}
    return to_json(encoded).decode()


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


async def _copy_into(driver: asyncpg.Connection[Any], target: Table, rows: Iterable[Any]) -> None:
    columns = [column.name for column in statements.stored_columns(target)]
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
