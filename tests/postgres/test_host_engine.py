"""An engine of the host's own under `TimescaleAdapter`."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hsorm.errors import StorageError, StorageUrlError
from hsorm.kinds import MARKER, Number, Ref
from hsorm.storage.timescale import TimescaleAdapter

_LEVELS = ("AUTOCOMMIT", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")


@pytest.fixture(params=_LEVELS)
async def engine(
    request: pytest.FixtureRequest, store: TimescaleAdapter
) -> AsyncIterator[AsyncEngine]:
    made = create_async_engine(store.engine.url, isolation_level=request.param)
    yield made
    await made.dispose()


async def test_it_works_at_any_isolation_level(engine: AsyncEngine) -> None:
    async with TimescaleAdapter(engine=engine) as store:
        await store.load_entities([{"id": Ref("a"), "n": Number(0)}, {"id": Ref("b")}])
        changes: list[dict[str, Any]] = [{"id": Ref("a"), f"t{i}": MARKER} for i in range(8)]
        await asyncio.gather(*map(store.update, changes))
        found = await store.read_by_id("a")

    assert {f"t{i}" for i in range(8)} <= found.keys()


async def test_what_fails_half_way_is_rolled_back(engine: AsyncEngine, sql: Any) -> None:
    """`delete` takes the entity first and its history then: neither goes alone."""
    async with TimescaleAdapter(engine=engine) as store:
        await store.create({"id": Ref("a"), "x": MARKER})
        await sql.execute("ALTER TABLE history RENAME TO history_away")
        try:
            with pytest.raises(StorageError):
                await store.delete("a")
        finally:
            await sql.execute("ALTER TABLE history_away RENAME TO history")

        assert await store.read_count("x") == 1


async def test_it_stays_open_and_as_it_was(engine: AsyncEngine, sql: Any) -> None:
    async with TimescaleAdapter(engine=engine) as store:
        await store.create({"id": Ref("a")})
        before = await sql.fetchval("SELECT count(*) FROM entities")

    async with engine.connect() as connection:
        rows = await connection.exec_driver_sql("SELECT count(*) FROM entities")
        assert rows.scalar() == before == 1


async def test_a_stream_leaves_a_pool_of_one_to_others(store: TimescaleAdapter, sql: Any) -> None:
    """What listens takes no connection away from who reads and writes."""
    listening = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    engine = create_async_engine(store.engine.url, pool_size=1, max_overflow=0, pool_timeout=3)
    async with TimescaleAdapter(engine=engine) as hosted:
        await hosted.create({"id": Ref("a")})
        watch = await hosted.watch_sub(None, ["a"])
        async with aclosing(hosted.watch_stream(watch.watch_id)) as stream:  # type: ignore[type-var]
            told = asyncio.ensure_future(anext(stream))
            async with asyncio.timeout(20):
                while not await sql.fetchval(listening):  # noqa: ASYNC110 - of the server
                    await asyncio.sleep(0.01)
                await hosted.set_live("a", {"curVal": 1})
                (row,) = await told
        assert row["curVal"] == Number(1)
    await engine.dispose()


async def test_a_day_is_one_of_the_points_zone_not_of_the_sessions(
    store: TimescaleAdapter,
) -> None:
    """Where the clocks of the session's time zone go forward, a day in UTC has its 24 hours."""
    settings = {"server_settings": {"timezone": "America/New_York"}}
    engine = create_async_engine(store.engine.url, connect_args=settings)
    midnight = dt.datetime(2024, 3, 10, tzinfo=dt.UTC)
    tags = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
    async with TimescaleAdapter(engine=engine) as hosted:
        await hosted.create({"id": Ref("p"), **tags})
        noon = midnight + dt.timedelta(hours=12)
        await hosted.his_write("p", [{"ts": midnight, "val": 1.0}, {"ts": noon, "val": 3.0}])
        found = await hosted.his_rollup("p", "2024-03-10", "1day", "twa")
    await engine.dispose()

    assert found["p"] == [{"ts": midnight, "val": Number(2)}]


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "sqlite+aiosqlite"])
def test_an_engine_of_another_driver_is_refused(driver: str) -> None:
    engine = create_async_engine(URL.create(driver, database="db"))

    with pytest.raises(StorageUrlError, match="asyncpg"):
        TimescaleAdapter(engine=engine)


def test_a_dsn_and_an_engine_are_one_too_many() -> None:
    engine = create_async_engine("postgresql+asyncpg://h/db")

    with pytest.raises(StorageUrlError, match="one of them"):
        TimescaleAdapter("postgresql://h/other", engine=engine)
