"""A small host application: a mapped class of its own with a column of tags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.embedding.host import DEVICES, Base


@pytest.fixture
def host_url(sql_url: str) -> str:
    """The URL of the host's database, empty, with a driver that is not asynchronous."""
    return sql_url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def host_engine(host_url: str) -> Iterator[Engine]:
    """The host's engine over psycopg or sqlite3, with its devices in the table."""
    engine = create_engine(host_url)
    try:
        Base.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(Base.metadata.tables["device"].insert(), DEVICES)
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
async def host_async_engine(host_engine: Engine) -> AsyncIterator[AsyncEngine]:
    """The host's engine over asyncpg or aiosqlite, on the same table."""
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
    url = host_engine.url.set(drivername=drivers[host_engine.dialect.name])
    engine = create_async_engine(url)
    try:
        yield engine
    finally:
        await engine.dispose()
