"""`SqlCore`: the life of an adapter over an engine, and how the others of its parts reach it."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from sqlalchemy import Connection, Executable, Index, MetaData, Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.codecs import hayson
from hsorm.errors import CodecError, SchemaOutdatedError, StorageError
from hsorm.kinds import Entity, Ref, is_storable
from hsorm.ops.entities import as_read, next_mod
from hsorm.ops.live import LIVE_TAGS, split
from hsorm.sql import changing, migrate, statements
from hsorm.sql.indexes import Indexed, tag_indexes
from hsorm.sql.models import Tables, make_tables
from hsorm.sql.urls import safe_url
from hsorm.storage._dberrors import database_errors
from hsorm.storage._remembered import Remembered
from hsorm.storage._repeat import ATTEMPTS, repeated
from hsorm.storage._shared import BaseAdapter, about_entity, check_loop, utc_now
from hsorm.storage.protocol import Create, Id

__all__ = [
    "Loaded",
    "Prepared",
    "Rows",
    "SqlCore",
    "Statement",
    "Work",
    "as_listed",
    "as_rows",
    "entity_of",
    "live_of",
]

_T = TypeVar("_T")

Rows: TypeAlias = Sequence[Any]

Statement: TypeAlias = Callable[[Tables, str], Executable]
"""Makes a statement for the tables of a storage and a dialect; values are bound by name."""


_REMEMBERED: Final = 1_024
_SHORT_STATEMENT: Final = 32_768
_SHORT_TEXTS: Final = 4_096


class Loaded(NamedTuple):
    """An entity to be stored, in Hayson; `live` is None where it has no live tags."""

    id: str
    tags: str
    live: str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement as a driver takes it.

    Attributes:
        sql: The statement.
        binds: The names of what it binds, in order, with values for those that are not given.
    """

    sql: str
    binds: tuple[tuple[str, Any], ...]

    def args(self, values: Mapping[str, Any]) -> list[Any]:
        """Return what is bound in it, where these values are given."""
        return [values.get(name, default) for name, default in self.binds]

    def in_order(self, names: Sequence[str]) -> Callable[[Sequence[Any]], Any]:
        """Return what puts values, that come in the order of these names, into its own."""
        return itemgetter(*(names.index(name) for name, _ in self.binds))

    def rows(self, found: Rows) -> Rows:
        """Return rows of the driver's as they are meant."""
        return found


class Work(Protocol):
    """One transaction that writes."""

    async def fetch(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement and return its rows; none of one that returns none."""
        ...


class SqlCore(BaseAdapter, ABC):
    """The part of a SQL adapter that all others stand on."""

    _attempts = ATTEMPTS

    _keeps_to_loop = False
    """Whether connections can be used in the event loop alone that they were made in."""

    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        owns_engine: bool,
        create: Create,
        prefix: str = "",
        schema: str | None = None,
        index_tags: Mapping[str, Indexed] | None = None,
        index_search: bool = False,
    ) -> None:
        if create not in ("auto", "never"):
            raise ValueError(f'create is "auto" or "never", not {create!r}')
        self.engine, self.dialect = engine, engine.dialect
        self.tables = make_tables(MetaData(), prefix=prefix, schema=schema)
        self.url = safe_url(engine.url, prefix=prefix, schema=schema)
        self._names: dict[str, Any] = {"prefix": prefix, "schema": schema}
        self._indexes, self._index_search = self._declared(index_tags), index_search
        self._create = create
        self._owns_engine = owns_engine
        self._connected = False
        self._connecting = asyncio.Lock()
        self._last_mod: dt.datetime | None = None
        self._remembered: Remembered[Statement, Prepared] = Remembered(_REMEMBERED, _is_short)

    # ---- life -----------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the storage and bring its tables up; see `StorageAdapter.connect`."""
        async with self._connecting:
            if not self._connected:
                with database_errors(self.url):
                    await self._ensure_tables()
                    if self._create == "auto" and (self._indexes or self._index_search):
                        await self._make_indexes(self._indexes, search=self._index_search)
                self._connected = True
                if self._owns_engine and self._keeps_to_loop:
                    self._loop = asyncio.get_running_loop()

    async def _ensure_tables(self) -> None:
        found = await self.revision()
        if found == migrate.HEAD:
            return
        if self._create == "never" or _is_newer(found):
            raise SchemaOutdatedError(self.url, found, migrate.HEAD)
        from alembic.util import CommandError

        try:
            await self.upgrade()
        except CommandError:
            found = await self.revision()
            if not _is_newer(found):
                raise
            # It has migrated while we waited for our turn.
            raise SchemaOutdatedError(self.url, found, migrate.HEAD) from None

    head = migrate.HEAD

    async def revision(self) -> str | None:
        """Return the revision of the tables, None where there are none; see `hsorm.sql.migrate`.

        Raises:
            StorageError: Some of the tables are there and some are not; the error says which.
        """

        def look(connection: Connection) -> tuple[str | None, str | None]:
            while True:
                found = migrate.revision_of(connection, **self._names)
                gap = migrate.gap_in(connection, self.tables, found, **self._names)
                # Somebody may have migrated between the two.
                if gap is None or found == migrate.revision_of(connection, **self._names):
                    return found, gap

        with database_errors(self.url):
            async with self.engine.connect() as connection:
                found, gap = await connection.run_sync(look)
        if gap is not None:
            raise StorageError(f"{self.url}: {gap}")
        return found

    async def upgrade(
        self, *, timescale: migrate.Extension = "auto", postgis: migrate.Extension = "auto"
    ) -> None:
        """Bring the tables to the newest revision.

        Args:
            timescale: Whether history becomes a TimescaleDB hypertable; only looked at when the
                tables are made.
            postgis: Whether entities get a geography column with an index for `geo=`; only looked
                at once, by the revision that makes it. `"auto"` creates no extension.
        """
        with database_errors(self.url):
            async with _alone(), self._begin() as connection:
                await connection.run_sync(
                    migrate.upgrade, timescale=timescale, postgis=postgis, **self._names
                )

    async def create_indexes(
        self, index_tags: Mapping[str, Indexed] | None = None, *, search: bool = False
    ) -> list[str]:
        """Index tags and searches, while others read and write.

        Args:
            index_tags: The kind of the values, by the tag: `"number"`, `"string"`, `"date"` or
                `"datetime"`.
            search: Whether to index searches, which needs pg_trgm on PostgreSQL and FTS5 on
                SQLite.

        Returns:
            The names of the indexes that were made; those that are there already stay.

        Raises:
            ValueError: There is no such kind of index, or a name is none of a tag.
            StorageError: An index cannot be made in this database; the error says why.
        """
        indexes = self._declared(index_tags)
        await self._ready()
        with database_errors(self.url):
            return await self._make_indexes(indexes, search=search)

    async def drop_indexes(
        self, index_tags: Mapping[str, Indexed] | None = None, *, search: bool = False
    ) -> list[str]:
        """Drop indexes; those that are not there are left out of the answer."""
        indexes = self._declared(index_tags)
        await self._ready()
        with database_errors(self.url):
            return await self._remove_indexes(indexes, search=search)

    def _declared(self, index_tags: Mapping[str, Indexed] | None) -> list[Index]:
        return tag_indexes(self.tables.entities, index_tags or {})

    async def close(self) -> None:
        """Close the storage; see `StorageAdapter.close`. An engine that was given stays open."""
        if self._owns_engine:
            await self.engine.dispose()
        self._connected, self._loop = False, None

    async def about(self) -> Entity:
        """Describe the storage; see `StorageAdapter.about`."""
        (count,) = (await self._fetch(statements.count_entities(self.tables)))[0]
        backend, version = await self._describe()
        return about_entity(backend, version, count, url=self.url)

    # ---- what the subclasses do -----------------------------------------------------------------

    @abstractmethod
    async def _describe(self) -> tuple[str, str]:
        """Return the backend's name and the version of the database."""

    @abstractmethod
    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""

    @abstractmethod
    async def _by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id, as they are now: `read_by_ids` may be answered by a replica."""

    @abstractmethod
    async def _fetch(self, statement: Select[Any]) -> Rows:
        """Run a statement that reads, by itself, and return its rows."""

    @abstractmethod
    async def _plan(self, sql: str, params: Sequence[Any]) -> Iterable[str]:
        """Return the plan of a statement, a line a step."""

    @abstractmethod
    def _begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that writes; leaving it commits, an error rolls back."""

    @abstractmethod
    def _open_work(self) -> AbstractAsyncContextManager[Work]:
        """Open a transaction as `_begin` does, for statements that are built once."""

    def _open_work_now(self) -> AbstractAsyncContextManager[Work]:
        """Open a transaction as `_open_work` does, or fail where it would wait for who writes."""
        return self._open_work()

    @abstractmethod
    async def _look(self, statement: Statement, **values: Any) -> Rows:
        """Run a statement that reads and is built once, by itself, and return its rows."""

    @abstractmethod
    async def _store(
        self, ids: Sequence[str], rows_of: Callable[[dt.datetime], Iterator[Loaded]]
    ) -> None:
        """Insert or replace entities, given by id, with their live tags, in one transaction.

        The rows are made for a `mod` while they are taken, maybe again for a later one; an
        InvalidTagError of one ends the transaction.
        """

    @abstractmethod
    async def _make_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        """Make the indexes that are missing and return their names.

        Args:
            indexes: Indexes over tags.
            search: Whether the one for searches is among them.
        """

    @abstractmethod
    async def _remove_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        """Drop the indexes that are there and return their names; see `_make_indexes`."""

    def _undoable(self) -> AbstractAsyncContextManager[object]:
        """Let reads fail without an end of the transaction that they are in, if they are in one."""
        return nullcontext()

    @asynccontextmanager
    async def _work(self) -> AsyncIterator[Work]:
        """Open a transaction that writes, with the errors of the database turned into ours."""
        await self._ready()
        with database_errors(self.url):
            async with self._open_work() as work:
                yield work

    async def _in_transaction(self, unit: Callable[[Work], Awaitable[_T]]) -> _T:
        """Run what writes in a transaction, again if that clashed with others; see `repeated`."""

        async def run() -> _T:
            async with self._work() as work:
                return await unit(work)

        return await self._repeated(run)

    async def _repeated(self, run: Callable[[], Awaitable[_T]]) -> _T:
        return await repeated(run, self._attempts)

    def _prepared(self, statement: Statement) -> Prepared:
        """Return a statement as the driver takes it; one that is not large is compiled once."""
        found = self._remembered.get(statement)
        if found is None:
            found = self._prepare(statement(self.tables, self.dialect.name))
            self._remembered.put(statement, found)
        return found

    def _prepare(self, built: Any) -> Prepared:
        compiled: SQLCompiler = built.compile(dialect=self.dialect)
        names = compiled.positiontup or ()
        return Prepared(compiled.string, tuple((name, compiled.params[name]) for name in names))

    async def _ready(self) -> None:
        if not self._connected:
            await self.connect()
        check_loop(self._loop, self.url)

    async def _mod_above(self, work: Work, ids: Sequence[str], mod: dt.datetime) -> dt.datetime:
        """Return a `mod` that is later than those of what is to be replaced, and lock that."""
        ((text,),) = await work.fetch(changing.last_mod, ids=as_listed(ids))
        stored = _instant(text)
        if stored is None or stored < mod:
            return mod
        self._last_mod = next_mod(mod, stored)
        return self._last_mod

    def _next_mod(self) -> dt.datetime:
        # Later than the last one, even if the clock has not moved since (C6).
        self._last_mod = next_mod(utc_now(), self._last_mod)
        return self._last_mod


_MIGRATING = threading.Lock()


@asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Wait until nobody else in this process migrates: Alembic's `op` and `context` are global.

    Asked for again and again, not waited for: who has it may need this very event loop to go on.
    """
    while not _MIGRATING.acquire(blocking=False):  # noqa: ASYNC110 - for all loops and threads
        await asyncio.sleep(0.02)
    try:
        yield
    finally:
        _MIGRATING.release()


def _is_short(statement: Statement, prepared: Prepared) -> bool:
    # What is bound may be a text of a megabyte, where the statement is over a filter.
    texts = sum(len(val) for _, val in prepared.binds if isinstance(val, str))
    return len(prepared.sql) <= _SHORT_STATEMENT and texts <= _SHORT_TEXTS


def entity_of(id: str, tags: str, live: str | None = None) -> Entity:
    """Return an entity as read from its row and its live tags, whoever wrote them (R12)."""
    entity = _decoded(id, tags)
    own = entity.get("id")
    if not LIVE_TAGS.isdisjoint(entity):
        # Other people's SQL may have put live tags among the others, where no filter finds them.
        entity = split(entity)[0]
    if live is not None:
        entity |= live_of(id, live)
    entity["id"] = Ref(id, own.dis if isinstance(own, Ref) else None)
    return as_read(entity)


def live_of(id: str, live: str | None) -> Entity:
    """Return the live tags of an entity; the id and what else is none of them left out."""
    if live is None:
        return {}
    return {name: val for name, val in _decoded(id, live).items() if name in LIVE_TAGS}


def _is_newer(found: str | None) -> bool:
    """Tell whether a revision is of a newer version: nothing here could bring it up."""
    return found is not None and found > migrate.HEAD


def _decoded(id: str, tags: str) -> Entity:
    try:
        return hayson.decode_entity(tags)
    except (CodecError, AttributeError) as exc:  # the latter where the tags are no JSON object
        reason = exc.reason if isinstance(exc, CodecError) else "its tags are no JSON object"
        raise CodecError(reason, where=f"entity @{id}") from None


def as_listed(ids: Iterable[str]) -> str:
    """Return ids as the JSON array that `ids` of a statement is; no row can have the others."""
    return hayson.to_json([id for id in ids if is_storable(id)]).decode()


def as_rows(texts: Iterable[tuple[str, str]]) -> str:
    """Return ids and JSON objects as the JSON array that `rows` of a statement is."""
    rows = (f'{{"id":{_quoted(id)},"tags":{tags}}}' for id, tags in texts)
    return f"[{','.join(rows)}]"


def _instant(text: str | None) -> dt.datetime | None:
    try:
        found = None if text is None else dt.datetime.fromisoformat(text)
    except ValueError:  # other people's rows may have anything there
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=dt.UTC)


def _quoted(text: str) -> str:
    return hayson.to_json(text).decode()
