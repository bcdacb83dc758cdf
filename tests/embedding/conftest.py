"""A small host application: a mapped class of its own with a column of tags."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.backends import ServerMissingError, new_database
from tests.conftest import Record, skip_missing
from tests.embedding.host import DEVICES, Base

_DATABASES = ("sqlite", "postgres", "timescale")


@pytest.fixture(params=_DATABASES)
def host_url(
    request: pytest.FixtureRequest, tmp_path: Path, record_property: Record
) -> Iterator[str]:
    """The URL of the host's database, empty, with a driver that is not asynchronous."""
    name = str(request.param)
    record_property("backend", name)
    if name == "sqlite":
        yield f"sqlite:///{tmp_path}/host.db"
        return
    try:
        with new_database(name) as url:
            yield make_url(url).set(drivername="postgresql+psycopg").render_as_string(False)
    except ServerMissingError as exc:
        skip_missing(exc, record_property)


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
