"""`SqlAdapter`: what the SQL backends share, between `hsorm.sql` and `hsorm.ops`."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeAlias

from sqlalchemy import ClauseElement, MetaData, Select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.compiler import SQLCompiler

from hsorm.codecs import hayson
from hsorm.errors import CodecError, EntityExistsError, SchemaOutdatedError, UnknownEntityError
from hsorm.filter.ast import Node
from hsorm.his.checks import check_items, reading_point, writing_point
from hsorm.his.rows import from_row
from hsorm.his.span import parse_range
from hsorm.kinds import Entity, Kind, Ref, as_ref
from hsorm.ops.display import dis_key
from hsorm.ops.entities import as_read, check_changes, check_entity, merge, next_mod, stamp
from hsorm.sql import migrate, statements
from hsorm.sql.models import make_tables
from hsorm.sql.urls import safe_url
from hsorm.storage._dberrors import database_errors
from hsorm.storage._shared import BaseAdapter, about_entity, utc_now
from hsorm.storage.protocol import Create, Explanation, HisItem, Id, Sort

__all__ = ["SqlAdapter"]

_Rows: TypeAlias = Sequence[Any]

_MOST = 2**63 - 1  # the greatest LIMIT that a database takes


class SqlAdapter(BaseAdapter, ABC):
    """An adapter over an `AsyncEngine`; a subclass says how rows are fetched and written in bulk.

    Args:
        engine: The engine; it is disposed of on `close()` when `owns_engine`.
        owns_engine: Whether the engine was made for this adapter alone.
        create: `"auto"` makes or upgrades the tables on `connect()`, `"never"` raises instead.
        prefix: Stands before every name of a table.
        schema: The schema of the tables.
    """

    _backend = "sql"

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        owns_engine: bool,
        create: Create,
        prefix: str = "",
        schema: str | None = None,
    ) -> None:
        if create not in ("auto", "never"):
            raise ValueError(f'create is "auto" or "never", not {create!r}')
        self.engine = engine
        self.tables = make_tables(MetaData(), prefix=prefix, schema=schema)
        self.url = safe_url(engine.url)
        self._names: dict[str, Any] = {"prefix": prefix, "schema": schema}
        self._create = create
        self._owns_engine = owns_engine
        self._connected = False
        self._connecting = asyncio.Lock()
        self._last_mod: dt.datetime | None = None

    # ---- life -----------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Open the storage and bring its tables up; see `StorageAdapter.connect`."""
        async with self._connecting:
            if not self._connected:
                with database_errors(self.url):
                    await self._ensure_tables()
                self._connected = True

    async def _ensure_tables(self) -> None:
        found = await self.revision()
        if found == migrate.HEAD:
            return
        # A revision that we do not know is of a newer version: nothing here could bring it up.
        if self._create == "never" or (found is not None and found > migrate.HEAD):
            raise SchemaOutdatedError(self.url, found, migrate.HEAD)
        await self.upgrade()

    async def revision(self) -> str | None:
        """Return the revision of the tables, None where there are none; see `hsorm.sql.migrate`."""
        with database_errors(self.url):
            async with self.engine.connect() as connection:
                return await connection.run_sync(migrate.revision_of, **self._names)

    async def upgrade(self, *, timescale: migrate.Extension = "auto") -> None:
        """Bring the tables to the newest revision.

        Args:
            timescale: Whether history becomes a TimescaleDB hypertable; only looked at when the
                tables are made.
        """
        with database_errors(self.url):
            async with _alone(), self._begin() as connection:
                await connection.run_sync(migrate.upgrade, timescale=timescale, **self._names)

    async def close(self) -> None:
        """Close the storage; see `StorageAdapter.close`. An engine that was given stays open."""
        if self._owns_engine:
            await self.engine.dispose()
        self._connected = False

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
    async def _fetch(self, statement: Select[Any]) -> _Rows:
        """Run a statement that reads, by itself, and return its rows."""

    @abstractmethod
    async def _plan(self, sql: str, params: Sequence[Any]) -> Iterable[str]:
        """Return the plan of a statement, a line a step."""

    @abstractmethod
    def _begin(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """Open a transaction that writes; leaving it commits, an error rolls back."""

    @abstractmethod
    async def _store(self, rows: Iterator[tuple[str, str]]) -> None:
        """Insert or replace entities, given as id and Hayson text by id, in one transaction.

        The rows are made while they are taken; an InvalidTagError of one ends the transaction.
        """

    @abstractmethod
    async def _write_items(self, id: str, items: Sequence[tuple[dt.datetime, Kind]]) -> None:
        """Merge checked items into the history of a point, in one transaction."""

    @asynccontextmanager
    async def _change(self) -> AsyncIterator[AsyncConnection]:
        """Open a transaction that writes, with the errors of the database turned into ours."""
        await self._ready()
        with database_errors(self.url):
            async with self._begin() as connection:
                yield connection

    async def _ready(self) -> None:
        if not self._connected:
            await self.connect()

    # ---- reading --------------------------------------------------------------------------------

    async def read(
        self, filter_str: str | Node, limit: int | None = None, *, sort: Sort = "id"
    ) -> list[Entity]:
        """Read all entities that match a filter; see `EntityReader.read`."""
        if sort == "dis":
            # The order of display texts is nothing that a database knows (R7).
            found = sorted(await self._read(filter_str, None), key=dis_key)
            return found if limit is None else found[: max(limit, 0)]
        return await self._read(filter_str, limit)

    async def _read(self, filter: str | Node, limit: int | None) -> list[Entity]:
        most = None if limit is None else min(max(limit, 0), _MOST)
        return [_entity(id, tags) for id, tags in await self._read_rows(filter, most)]

    async def _read_rows(self, filter: str | Node, most: int | None) -> _Rows:
        """Return `id` and `tags` as text of the entities that match, by id."""
        return await self._fetch(statements.select_entities(self.tables, filter, most))

    async def read_count(self, filter_str: str | Node) -> int:
        """Count the entities that match a filter; see `EntityReader.read_count`."""
        rows = await self._fetch(statements.count_entities(self.tables, filter_str))
        count: int = rows[0][0]
        return count

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""
        wanted = [as_ref(id).val for id in ids]
        possible = [id for id in wanted if _is_possible(id)]
        rows = await self._fetch(statements.select_by_ids(self.tables, possible))
        tags_of = dict(tuple(row) for row in rows)
        # Decoded for each place anew: the caller may change one without changing the other.
        return [_entity(id, tags_of[id]) if id in tags_of else None for id in wanted]

    async def explain(self, filter_str: str | Node, limit: int | None = None) -> Explanation:
        """Return the statement of a read and its plan; see `Explainer.explain`."""
        most = None if limit is None else max(limit, 0)
        sql, params = self._compiled_read(filter_str, most)
        return Explanation(sql, tuple(params), tuple(await self._plan(sql, params)))

    def _compiled_read(self, filter: str | Node, most: int | None) -> tuple[str, list[Any]]:
        """Return the SQL of a read, and what is bound in it."""
        return self._compiled(statements.select_entities(self.tables, filter, most))

    def _compiled(self, statement: ClauseElement) -> tuple[str, list[Any]]:
        compiled = statement.compile(
            dialect=self.engine.dialect, compile_kwargs={"render_postcompile": True}
        )
        names = compiled.positiontup if isinstance(compiled, SQLCompiler) else None
        params = compiled.params
        return compiled.string, [params[name] for name in names or ()]

    # ---- changing -------------------------------------------------------------------------------

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        """Add one entity; see `EntityWriter.create`."""
        made = stamp(check_entity(entity), self._next_mod())
        id: Ref = made["id"]
        insert = statements.insert_entity(self.tables, self.engine.dialect.name)
        async with self._change() as connection:
            inserted = await connection.execute(insert, {"id": id.val, "tags": made})
            if inserted.first() is None:
                raise EntityExistsError(id.val)
        return as_read(made)

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        """Merge tags into one entity; see `EntityWriter.update`."""
        changes = check_changes(entity)
        id = changes["id"].val
        async with self._change() as connection:
            found = await connection.execute(statements.select_entity_for_change(self.tables, id))
            tags = found.scalar()
            if tags is None:
                raise UnknownEntityError(id)
            merged = merge(_entity(id, tags), changes, self._next_mod())
            update = statements.update_entity(self.tables)
            await connection.execute(update, {"entity_id": id, "tags": merged})
        self._last_mod = max(self._last_mod or merged["mod"], merged["mod"])
        return as_read(merged)

    async def delete(self, id: Id) -> None:
        """Remove one entity and its history; see `EntityWriter.delete`."""
        val = as_ref(id).val
        if not _is_possible(val):
            raise UnknownEntityError(val)
        async with self._change() as connection:
            deleted = await connection.execute(statements.delete_entity(self.tables, val))
            if deleted.first() is None:
                raise UnknownEntityError(val)
            await connection.execute(statements.delete_history_of(self.tables, val))

    async def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> int:
        """Insert or replace many entities by id; see `EntityWriter.load_entities`."""
        await self._ready()
        last = _last_of_each(entities)
        if last:
            mod = self._next_mod()
            # In order of id, so that two loads at a time wait for each other instead of failing.
            rows = ((id, _stored(last[id], mod)) for id in sorted(last))
            with database_errors(self.url):
                await self._store(rows)
        return len(last)

    def _next_mod(self) -> dt.datetime:
        # What a load replaces is not read, so that its mods are later is for the clock to say; one
        # that has not moved since is what this is for (C6).
        self._last_mod = next_mod(utc_now(), self._last_mod)
        return self._last_mod

    # ---- history --------------------------------------------------------------------------------

    async def his_read(self, id: Id, range_str: str) -> list[HisItem]:
        """Read the history of one point; see `HistoryReader.his_read`."""
        point = reading_point(await self.read_by_id(id))
        span = parse_range(range_str, point.zone, utc_now())
        rows = await self._fetch(
            statements.select_history(self.tables, point.id, span.start, span.end)
        )
        zone, unit = point.zone, point.unit
        return [
            {"ts": ts.astimezone(zone), "val": from_row(val, obj, unit)} for ts, val, obj in rows
        ]

    async def his_write(self, id: Id, items: Iterable[Mapping[str, Any]]) -> None:
        """Write items into the history of one point; see `HistoryWriter.his_write`."""
        entity = await self.read_by_id(id)
        items = list(items)
        if not items:  # nothing to write, nothing to check (H21)
            return
        point = writing_point(entity)
        checked = check_items(point, items)
        with database_errors(self.url):
            await self._write_items(point.id, checked)


def _last_of_each(entities: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return by id the entities to load, yet to be checked; the last one where an id repeats.

    Raises:
        InvalidTagError: An entity without an id, or one whose id comes again, cannot be stored.
    """
    last: dict[str, Mapping[str, Any]] = {}
    for raw in entities:
        id = raw.get("id")
        if type(id) is not Ref:
            id = check_entity(raw)["id"]
        if id.val in last:
            check_entity(last[id.val])
        last[id.val] = raw
    return last


def _stored(raw: Mapping[str, Any], mod: dt.datetime) -> str:
    return hayson.encode_entity(stamp(check_entity(raw), mod))


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


def _is_possible(id: str) -> bool:
    """Tell whether a row can have this id at all: not with U+0000 or half a surrogate pair."""
    if id.isascii():
        return "\0" not in id
    return "\0" not in id and not any("\ud800" <= char <= "\udfff" for char in id)


def _entity(id: str, tags: str) -> Entity:
    """Return an entity as read from its row, whoever wrote that (R12)."""
    try:
        entity = hayson.decode_entity(tags)
    except (CodecError, AttributeError) as exc:  # the latter where the tags are no JSON object
        reason = exc.reason if isinstance(exc, CodecError) else "its tags are no JSON object"
        raise CodecError(reason, where=f"entity @{id}") from None
    own = entity.get("id")
    entity["id"] = Ref(id, own.dis if isinstance(own, Ref) else None)
    return as_read(entity)
