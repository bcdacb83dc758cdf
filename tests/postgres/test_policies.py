"""What becomes of history as it grows old: on each server, and with the community licence."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hsorm.errors import InvalidRollupError, StorageError
from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.storage.timescale import TimescaleAdapter
from scripts.servers_state import ServersError
from scripts.timescale_wasm import serving

_POINT: Entity = {
    "id": Ref("p"), "point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC",
}  # fmt: skip
_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


async def _weeks(store: TimescaleAdapter, count: int = 4) -> None:
    """Write an item an hour for some weeks, by SQL: there is no COPY in the WebAssembly build."""
    await store.create(_POINT)
    async with store._driver() as driver:
        await driver.execute(
            f"INSERT INTO {store.tables.history.name} (point_id, ts, val) SELECT 'p', "
            "CAST($1 AS timestamptz) + hour * interval '1 hour', hour "
            "FROM generate_series(0, CAST($2 AS int)) hour",
            _START,
            count * 7 * 24 - 1,
        )


# ---- with the community licence -----------------------------------------------------------------


@pytest.fixture(scope="module")
async def community_engine() -> AsyncIterator[AsyncEngine]:
    """A server under the community licence, with one connection: it takes one at a time."""
    if os.environ.get("HSORM_TEST_NO_SERVERS"):
        pytest.skip("left out by HSORM_TEST_NO_SERVERS")
    with ExitStack() as stack:
        try:
            url = make_url(stack.enter_context(serving()))
        except ServersError as exc:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(f"no community-licensed TimescaleDB: {exc}")
        engine = create_async_engine(
            url.set(drivername="postgresql+asyncpg", query={}),
            pool_size=1,
            max_overflow=0,
            connect_args={"ssl": False},
        )
        yield engine
    await engine.dispose()  # after the server: it never answers to who says goodbye


@pytest.fixture
async def community(community_engine: AsyncEngine) -> TimescaleAdapter:
    """A storage of its own there: names have a prefix, for there is one database only."""
    store = TimescaleAdapter(engine=community_engine, prefix=f"t{os.urandom(3).hex()}_")
    await store.connect()
    return store


async def test_compression_by_point_in_the_order_of_time(community: TimescaleAdapter) -> None:
    before = await community.his_policy()
    policy = await community.set_his_policy(chunk="1day", compress_after="30day", keep="2yr")

    assert (before.edition, before.hypertable, before.chunk) == ("community", True, "7 days")
    assert (policy.chunk, policy.compress_after, policy.keep) == ("1 day", "30 days", "2 years")
    async with community._driver() as driver:
        settings = await driver.fetch(
            "SELECT attname, segmentby_column_index, orderby_column_index, orderby_asc "
            "FROM timescaledb_information.compression_settings WHERE hypertable_name = $1 "
            "ORDER BY attname",
            community.tables.history.name,
        )
    assert [tuple(row) for row in settings] == [("point_id", 1, None, None), ("ts", None, 1, True)]


async def test_a_policy_is_set_again_and_taken_back(community: TimescaleAdapter) -> None:
    await community.set_his_policy(compress_after="1wk", keep="1yr")
    changed = await community.set_his_policy(compress_after="2wk")
    removed = await community.remove_his_policy("compress_after", "keep")
    again = await community.remove_his_policy("keep")

    assert (changed.compress_after, changed.keep) == ("14 days", "1 year")
    assert (removed.compress_after, removed.keep) == (None, None)
    assert again == removed


async def test_what_a_policy_runs(community: TimescaleAdapter) -> None:
    """Old chunks are dropped, the others compressed; reading them is the same."""
    await _weeks(community)
    before = await community.his_read("p", "2024-01-25,2024-01-28")
    rolled = await community.his_rollup("p", "2024-01-25,2024-01-28", "1day", "twa")

    run = await community.run_his_policy(compress_after="1day")
    twice = await community.run_his_policy(compress_after="1day")

    policy = await community.his_policy()
    assert run.compressed == policy.compressed == policy.chunks
    assert twice.compressed == 0
    assert len(before) == 96
    assert await community.his_read("p", "2024-01-25,2024-01-28") == before
    assert await community.his_rollup("p", "2024-01-25,2024-01-28", "1day", "twa") == rolled
    await community.his_clear("p", "2024-01-25")
    assert await community.his_read("p", "2024-01-25,2024-01-28") == before[24:]


async def test_a_job_works_out_hours(community: TimescaleAdapter) -> None:
    """It is there as long as hours are kept, and can do with what the job gives it."""
    await _weeks(community)
    before = await community.his_rollup("p", "2024-01-01,2024-02-01", "1day", "sum")

    kept = await community.set_his_policy(hourly=True)
    async with community._driver() as driver:
        for (job,) in await driver.fetch(_JOB, community.tables.history.name):
            await driver.execute(f"CALL run_job({job})")
    worked = await community.his_policy()
    removed = await community.remove_his_policy("hourly")

    assert (kept.hourly, kept.hourly_until) == (True, None)
    assert worked.hourly_until is not None
    assert await community.his_rollup("p", "2024-01-01,2024-02-01", "1day", "sum") == before
    assert not removed.hourly
    async with community._driver() as driver:
        assert await driver.fetch(_JOB, community.tables.history.name) == []


_JOB = """
SELECT job_id FROM timescaledb_information.jobs
WHERE proc_name = replace($1, 'history', 'hsorm_refresh_hours')
"""


async def test_what_is_written_into_compressed_chunks_is_marked(
    community: TimescaleAdapter,
) -> None:
    await _weeks(community)
    await community.set_his_policy(hourly=True)
    run = await community.run_his_policy(compress_after="1day")
    assert run.compressed

    async def rolled(day: str) -> float:
        found = await community.his_rollup("p", day, "1day", "sum")
        return float(sum(item["val"].val for item in found["p"]))

    history = community.tables.history.name
    async with community._driver() as driver:
        await driver.execute(f"INSERT INTO {history} VALUES ('p', '2024-01-02 00:30Z', 1000)")
        await driver.execute(f"UPDATE {history} SET val = 1000 WHERE ts = '2024-01-03 00:00Z'")
        await driver.execute(
            f"INSERT INTO {history} VALUES ('p', '2024-01-04 00:00Z', 1000) "
            "ON CONFLICT (point_id, ts) DO UPDATE SET val = excluded.val"
        )
        await driver.execute(f"DELETE FROM {history} WHERE ts < '2024-01-02 00:00Z'")
    for _ in range(2):
        days = [await rolled(f"2024-01-0{day}") for day in (1, 2, 3, 4)]
        plain = [sum(24 * day + hour for hour in range(24)) for day in range(4)]
        assert days == [0, plain[1] + 1000, plain[2] - 48 + 1000, plain[3] - 72 + 1000]
        await community.run_his_policy()
    async with community._driver() as driver:
        await driver.execute(f"DELETE FROM {history} WHERE point_id = 'p'")  # whole batches
    assert await rolled("2024-01-05") == 0


# ---- on the servers -----------------------------------------------------------------------------


@pytest.fixture
async def fresh(fresh_postgres_url: str) -> AsyncIterator[TimescaleAdapter]:
    async with TimescaleAdapter(fresh_postgres_url) as store:
        yield store


async def test_each_server_says_what_it_cannot(fresh: TimescaleAdapter) -> None:
    """A plain PostgreSQL has no chunks, the Apache edition compresses none; nothing was changed."""
    policy = await fresh.his_policy()
    says = "no TimescaleDB" if policy.edition == "none" else "community licence"

    settings: list[dict[str, Any]] = [
        {"compress_after": "30day"},
        {"keep": "1yr"},
        {"chunk": "1day", "keep": "1yr"},
    ]
    for setting in settings:
        with pytest.raises(StorageError, match=says):
            await fresh.set_his_policy(**setting)
    with pytest.raises(StorageError, match=says):
        await fresh.run_his_policy(compress_after="30day")

    assert await fresh.his_policy() == policy
    assert policy.edition in ("none", "apache")


async def test_chunks_and_dropping_them_work_with_the_apache_edition(
    fresh: TimescaleAdapter,
) -> None:
    if (await fresh.his_policy()).edition == "none":
        with pytest.raises(StorageError, match="plain table"):
            await fresh.set_his_policy(chunk="1day")
        return
    assert (await fresh.set_his_policy(chunk="1day")).chunk == "1 day"
    await _weeks(fresh)

    run = await fresh.run_his_policy(keep="1mo")

    assert run.dropped == 28
    assert (await fresh.his_policy()).chunks == 0
    assert await fresh.his_read("p", "2024-01-01") == []


async def test_a_plain_table_on_a_server_with_timescale(fresh_postgres_url: str) -> None:
    store = TimescaleAdapter(fresh_postgres_url, create="never")
    await store.upgrade(timescale="off")

    if (await store.his_policy()).edition != "none":
        with pytest.raises(StorageError, match="plain table"):
            await store.set_his_policy(chunk="1day")
    await store.close()


async def test_a_time_that_is_none(fresh: TimescaleAdapter) -> None:
    with pytest.raises(InvalidRollupError):
        await fresh.set_his_policy(keep="some years")
    assert (await fresh.his_policy()).keep is None


async def test_a_number_is_a_time(fresh: TimescaleAdapter) -> None:
    if (await fresh.his_policy()).edition != "none":
        policy = await fresh.set_his_policy(chunk=Number(12, "hr"))
        assert policy.chunk == "12:00:00"
