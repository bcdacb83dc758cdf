"""Sessions of a host's, by every driver, in databases that have a storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import URL, NullPool, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from hsorm.storage import SqliteAdapter, StorageAdapter, TimescaleAdapter, bind
from tests.backends import Backends

ASYNC: Final[tuple[tuple[str, str], ...]] = (
    ("sqlite", "sqlite+aiosqlite"),
    ("postgres", "postgresql+asyncpg"),
    ("postgres", "postgresql+psycopg"),
    ("timescale", "postgresql+asyncpg"),
)
"""A backend of the tests, and the driver of a host's asynchronous session on it."""

SYNC: Final = (("sqlite", "sqlite"), ("postgres", "postgresql+psycopg"))
"""The same for synchronous sessions."""


def named(param: tuple[str, str]) -> str:
    """Return the name of a parameter in test ids."""
    return f"{param[0]}-{param[1].rpartition('+')[2]}"


async def store_of(backends: Backends, name: str) -> SqliteAdapter | TimescaleAdapter:
    """Return the storage of a backend, empty, as somebody else has it."""
    store = (await backends.get(name)).store
    assert isinstance(store, (SqliteAdapter, TimescaleAdapter))
    return store


def url_of(store: SqliteAdapter | TimescaleAdapter, driver: str) -> URL:
    """Return the URL of a storage's database for another driver."""
    return store.engine.url.set(drivername=driver)


def async_engine(url: URL, **settings: Any) -> AsyncEngine:
    """Return a host's engine; of its connections none stays open."""
    return create_async_engine(url, poolclass=NullPool, **settings)


@asynccontextmanager
async def bound_store(
    store: SqliteAdapter | TimescaleAdapter, driver: str, *, sync: bool
) -> AsyncIterator[StorageAdapter]:
    """Open a session, give the storage in it, and roll everything back."""
    url = url_of(store, driver)
    if sync:
        engine = create_engine(url, poolclass=NullPool)
        with Session(engine) as sync_session:
            own: Any = bind(sync_session)
            yield own._store
            sync_session.rollback()
    else:
        async with AsyncSession(async_engine(url)) as session:
            yield bind(session)
            await session.rollback()
