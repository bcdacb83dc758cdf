"""What an upgrade of a large database keeps from others, and what it says of that."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from alembic import command
from hsorm.sql import migrate
from hsorm.sql.urls import engine_url

# Its transaction is open for seconds: not beside tests that bear none; see tests/postgres.
pytestmark = pytest.mark.xdist_group("long transactions")

_FILL_HISTORY = """
INSERT INTO history (point_id, ts, val)
SELECT 'p-' || point, timestamptz '2024-01-01Z' + minute * interval '1 min', minute % 100
FROM generate_series(1, 10) AS point, generate_series(1, $1::int) AS minute
"""

_FILL_ENTITIES = """
INSERT INTO entities (id, tags)
SELECT 'p-' || n, jsonb_build_object('point', jsonb_build_object('_kind', 'marker'), 'curVal', n)
FROM generate_series(1, 1000) AS n
"""

_READ = "SELECT count(*) FROM history WHERE point_id = 'p-1' AND ts < '2024-01-02Z'"
_WRITE = "INSERT INTO history VALUES ('p-1', now(), 1) ON CONFLICT (point_id, ts) DO NOTHING"

_LOCKS = """
SELECT relation::regclass::text AS name, mode FROM pg_locks
WHERE pid = $1 AND granted AND relation IN ('entities'::regclass, 'history'::regclass)
"""


@pytest.fixture
async def old(fresh_postgres_url: str, postgres_server: str) -> AsyncIterator[AsyncConnection]:
    """A transaction on a database of revision 0001 with 1,000,000 rows of history.

    With TimescaleDB a tenth of that: rows of a hypertable take several times as long to make.
    """
    engine = create_async_engine(engine_url(fresh_postgres_url), poolclass=NullPool)
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade, "0001")
    async with _somebody(fresh_postgres_url) as sql:
        if postgres_server == "postgres":
            await sql.execute("ALTER TABLE history SET UNLOGGED")  # the same to locks, and faster
        await sql.execute(_FILL_HISTORY, 100_000 if postgres_server == "postgres" else 10_000)
        await sql.execute(_FILL_ENTITIES)
    async with engine.connect() as connection, connection.begin():
        yield connection
    await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    command.upgrade(migrate.config(connection), revision)


@asynccontextmanager
async def _somebody(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Connect; who has to wait for a lock for long fails."""
    connection = await asyncpg.connect(url, server_settings={"lock_timeout": "20s"})
    try:
        yield connection
    finally:
        await connection.close()


async def _again(url: str, statement: str, over: asyncio.Event) -> int:
    """Run a statement again and again, and return how often."""
    count = 0
    async with _somebody(url) as sql:
        while not over.is_set():
            await sql.execute(statement)
            count += 1
    return count


async def test_history_is_read_and_written_while_a_large_database_is_upgraded(
    old: AsyncConnection, fresh_postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No revision locks `history`; of `entities`, which one does, the migration tells."""
    caplog.set_level("WARNING", "alembic.hsorm")  # as it is, unless somebody has read alembic.ini
    pid = (await old.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    over = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        others = [
            group.create_task(_again(fresh_postgres_url, what, over)) for what in (_READ, _WRITE)
        ]
        await old.run_sync(_upgrade, "head")
        over.set()
    async with _somebody(fresh_postgres_url) as sql:  # nothing is committed yet
        locks = {(row["name"], row["mode"]) for row in await sql.fetch(_LOCKS, pid)}
        await sql.execute(_READ)
        await sql.execute(_WRITE)
        await sql.execute("SET lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await sql.execute("SELECT FROM entities LIMIT 1")

    assert all(task.result() for task in others)
    assert {name for name, _ in locks} == {"entities"}
    assert ("entities", "AccessExclusiveLock") in locks
    (told,) = (record for record in caplog.records if record.name == "alembic.hsorm")
    assert told.getMessage().startswith("entities: nobody writes until this is done")


def test_entities_can_be_read_while_live_tags_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock that keeps readers out is taken after the rows were written."""
    monkeypatch.setenv("HSORM_URL", "postgresql://h/db")
    made = migrate.config()
    made.output_buffer = io.StringIO()

    command.upgrade(made, "0002:0003", sql=True)

    script = made.output_buffer.getvalue()
    steps = ("LOCK TABLE entities IN EXCLUSIVE", "UPDATE entities SET tags", "ALTER TABLE entities")
    places = [script.index(step) for step in steps]
    assert places == sorted(places)
