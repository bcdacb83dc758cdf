"""`SessionBound`: what makes a SQL adapter take part in a transaction of the host's."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar

from sqlalchemy import Connection, Index, Select

from hsorm.errors import SessionBoundError, StorageUrlError
from hsorm.filter.ast import Node
from hsorm.ops.geo import Area
from hsorm.sql import migrate
from hsorm.sql.indexes import Indexed
from hsorm.sql.models import Tables
from hsorm.sql.statements import Search
from hsorm.sql.urls import safe_url
from hsorm.storage._dberrors import database_errors
from hsorm.storage._host import AnySession, HostWork, compiled_on, host_of, is_sync, tables_for
from hsorm.storage._sql import SqlAdapter
from hsorm.storage._sql_core import Rows, Statement
from hsorm.storage._sql_watches import Make, of_filter
from hsorm.storage.protocol import Explanation
from hsorm.storage.sync import SyncStorage

__all__ = ["SessionBound", "check_alone", "in_session"]

_OWN = "use an adapter with an engine of its own for it"

_Any = TypeVar("_Any")


def in_session(cls: type[_Any], bound: type[Any]) -> _Any:
    """Return an adapter in a session, before `__init__`, of a class that is to make one.

    Raises:
        TypeError: The class is one of the host's, of which there is no such kind.
    """
    if not issubclass(bound, cls):
        raise TypeError(f"{cls.__name__}(session=…): only hsorm's own adapters have this argument")
    made: _Any = object.__new__(bound)
    return made


def check_alone(other: str | None, settings: Mapping[str, Any]) -> None:
    """Refuse what a session leaves no room for.

    Raises:
        StorageUrlError: There is another place to connect to.
        SessionBoundError: Indexes are asked for.
        TypeError: It is no setting at all.
    """
    other = other or ("an engine" if settings.get("engine") is not None else None)
    if other is not None:
        raise StorageUrlError("", f"{other} and a session: give one of them")
    if settings.get("index_tags") or settings.get("index_search"):
        _refuse("index_tags and index_search", _OWN)
    if unknown := settings.keys() - {"engine", "create", "index_tags", "index_search"}:
        raise TypeError(f"no setting of an adapter: {', '.join(sorted(unknown))}")


class SessionBound(SqlAdapter):
    """The part of an adapter in a session; it stands before the adapter that it changes.

    A call that writes is a savepoint in the host's transaction: all or nothing by itself, and
    nobody but the host commits it. A call that reads sees what that transaction has written.
    """

    _attempts = 1  # a transaction that clashed with another one is the host's to repeat

    def _take_part(
        self,
        session: AnySession,
        dialect: str,
        *,
        prefix: str,
        schema: str | None,
        tables: Tables | None,
    ) -> None:
        """Take part in the transaction of a session."""
        found = tables_for(prefix, schema) if tables is None else tables
        self._host = host_of(session, found)
        if self._host.dialect.name != dialect:
            url = safe_url(self._host.engine.url)
            raise StorageUrlError(url, f"a session over {self._host.dialect.name}, not {dialect}")
        self.tables, self.dialect = found, self._host.dialect
        # Of the tables as they are: they may have been given instead of names.
        prefix = found.entities.name.removesuffix("entities")
        self._names = {"prefix": prefix, "schema": found.entities.schema}
        self.url = safe_url(self._host.engine.url, **self._names)
        self._indexes, self._index_search = [], False
        self._create, self._owns_engine, self._connected = "never", False, True
        self._connecting, self._last_mod = asyncio.Lock(), None

    @classmethod
    def of(cls, session: AnySession, prefix: str, schema: str | None, tables: Tables | None) -> Any:
        """Return an adapter in a session, of the kind that the session is."""
        made: Any = cls
        adapter = made(session=session, prefix=prefix, schema=schema, tables=tables)
        return SyncStorage(adapter) if is_sync(session) else adapter

    # ---- life -----------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Do nothing: the session has its connection, and the tables are the host's to make."""

    async def close(self) -> None:
        """Do nothing: the session is the host's to close."""

    async def _ready(self) -> None:
        await self._host.flush()

    async def revision(self) -> str | None:
        """Return the revision of the tables, None where there are none; see `hsorm.sql.migrate`."""

        def run(connection: Connection) -> str | None:
            schema = connection.schema_for_object(self.tables.entities)
            return migrate.revision_of(connection, prefix=self._names["prefix"], schema=schema)

        with database_errors(self.url):
            return await self._host.call(run)

    # ---- statements -----------------------------------------------------------------------------

    def _new_work(self) -> HostWork:
        return HostWork(self._host, self.tables)

    @asynccontextmanager
    async def _open_work(self) -> AsyncIterator[Any]:
        work = self._new_work()
        if self.dialect.name == "sqlite":
            await work.begin()
        async with work.savepoint():
            yield work

    def _open_work_now(self) -> Any:
        return self._open_work()

    def _undoable(self) -> AbstractAsyncContextManager[object]:
        return self._new_work().undoable()

    async def _look(self, statement: Statement, **values: Any) -> Rows:
        await self._ready()
        with database_errors(self.url):
            return await self._new_work().fetch(statement, **values)

    async def _fetch(self, statement: Select[Any]) -> Rows:
        await self._ready()
        with database_errors(self.url):
            return await self._host.call(lambda connection: connection.execute(statement).all())

    async def _fetch_matching(self, filter: str | Node, most: int | None, search: Search) -> Rows:
        return await SqlAdapter._fetch_matching(self, filter, most, search)

    async def _fetch_count(self, filter: str | Node, search: Search) -> Rows:
        return await SqlAdapter._fetch_count(self, filter, search)

    def _by_filter(self, make: Make, filter: Node) -> Statement:
        # Made for this call: the adapter may live no longer than that.
        return partial(of_filter, make, filter)

    async def explain(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        search: str | None = None,
        geo: Area | None = None,
    ) -> Explanation:
        """Return the statement of a read and its plan; see `Explainer.explain`."""
        most = None if limit is None else max(limit, 0)
        statement = self._select_matching(filter_str, most, await self._search(search, geo))
        asked = "EXPLAIN QUERY PLAN" if self.dialect.name == "sqlite" else "EXPLAIN"

        def run(connection: Connection) -> Explanation:
            compiled = compiled_on(connection, statement)
            names, params = compiled.positiontup, compiled.params
            given = params if names is None else tuple(params[name] for name in names)
            plan = connection.exec_driver_sql(f"{asked} {compiled}", given)
            bound = tuple(params.values()) if names is None else given
            return Explanation(str(compiled), tuple(bound), tuple(str(row[-1]) for row in plan))

        await self._ready()
        with database_errors(self.url):
            return await self._host.call(run)

    # ---- what belongs to a transaction of its own -----------------------------------------------

    async def _prune_if_due(self) -> None:
        """Forget nothing: that is for who has a connection of its own."""

    async def _begin_stream(self, watch_id: str) -> dt.timedelta:
        _refuse("watch_stream", f"it would see nothing new before that ends; poll, or {_OWN}")

    def _wakes(self) -> NoReturn:
        _refuse("watch_stream", _OWN)

    async def upgrade(
        self, *, timescale: migrate.Extension = "auto", postgis: migrate.Extension = "auto"
    ) -> None:
        """Refuse to: migrations are for who has a connection of its own."""
        _refuse("upgrade", "run `hsorm db upgrade`, or hsorm's migrations beside your own")

    async def create_indexes(
        self, index_tags: Mapping[str, Indexed] | None = None, *, search: bool = False
    ) -> list[str]:
        """Refuse to: indexes are made while others read and write, outside of transactions."""
        _refuse("create_indexes", _OWN)

    async def drop_indexes(
        self, index_tags: Mapping[str, Indexed] | None = None, *, search: bool = False
    ) -> list[str]:
        """Refuse to, as `create_indexes` does."""
        _refuse("drop_indexes", _OWN)

    async def _make_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        _refuse("create_indexes", _OWN)

    async def _remove_indexes(self, indexes: Sequence[Index], *, search: bool) -> list[str]:
        _refuse("drop_indexes", _OWN)

    async def _plan(self, sql: str, params: Sequence[Any]) -> Iterable[str]:
        raise AssertionError("explain() does it here")

    def _begin(self, **_: Any) -> NoReturn:
        _refuse("a transaction of our own", _OWN)

    def _driver(self) -> NoReturn:
        _refuse("a policy of history", _OWN)


def _refuse(what: str, reason: str) -> NoReturn:
    raise SessionBoundError(what, reason)
