"""Fixtures over both PostgreSQL servers: plain, and with TimescaleDB."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import SERVERS, Backends, ServerMissingError
from tests.conftest import Record, skip_missing


@pytest.fixture(params=list(SERVERS))
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
    url = store.engine.url.set(drivername="postgresql")
    connection = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        yield connection
    finally:
        await connection.close()
