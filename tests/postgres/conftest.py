"""Fixtures over both PostgreSQL servers: plain, and with TimescaleDB."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import POSTGRES, Backends, ServerMissingError, libpq, new_database
from tests.conftest import Record, skip_missing


class FilledServers:
    """A database with the same in it on each server, made when first asked for.

    Args:
        fill: Puts it into an empty storage.
    """

    def __init__(self, fill: Callable[[TimescaleAdapter], Awaitable[None]]) -> None:
        self.stack = AsyncExitStack()
        self._fill = fill
        self._stores: dict[str, TimescaleAdapter] = {}

    async def get(self, name: str, record_property: Record) -> TimescaleAdapter:
        """Return the storage on a server, or skip the test where there is no such server."""
        record_property("backend", name)
        try:
            if name not in self._stores:
                url = self.stack.enter_context(new_database(name))
                store = await self.stack.enter_async_context(TimescaleAdapter(url))
                await self._fill(store)
                self._stores[name] = store
            return self._stores[name]
        except ServerMissingError as exc:
            skip_missing(exc, record_property)


@pytest.fixture(params=POSTGRES)
async def store(
    request: pytest.FixtureRequest, backends: Backends, record_property: Record
) -> AsyncIterator[TimescaleAdapter]:
    """An empty storage on each server; at the end no connection of its pool may be in use."""
    name = str(request.param)
    record_property("backend", name)
    try:
        backend = await backends.get(name)
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    assert isinstance(backend.store, TimescaleAdapter)
    yield backend.store
    assert backend.checked_out() == 0, "the test left a connection checked out of the pool"


@pytest.fixture
async def sql(store: TimescaleAdapter) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of somebody else to the same database."""
    connection = await asyncpg.connect(libpq(store.engine.url))
    try:
        yield connection
    finally:
        await connection.close()
