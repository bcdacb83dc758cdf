"""History and the entity that it belongs to, changed at the same time."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import asyncpg
import pytest

from hsorm import MARKER, Ref
from hsorm.errors import UnknownEntityError
from hsorm.storage.timescale import TimescaleAdapter

POINT = {
    "id": Ref("p"), "point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC",
}  # fmt: skip
ITEMS = [{"ts": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "val": 1}]


async def test_a_write_leaves_no_history_of_a_point_deleted_meanwhile(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """H21: the point is looked up, then deleted by somebody, then its items would be written."""
    await store.load_entities([POINT])
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute("DELETE FROM entities")

    writing = asyncio.ensure_future(store.his_write("p", ITEMS))
    await asyncio.sleep(0.2)
    waits = not writing.done()
    await transaction.commit()

    with pytest.raises(UnknownEntityError):
        await writing
    assert waits
    assert await sql.fetchval("SELECT count(*) FROM history") == 0


async def test_a_write_does_not_wait_for_an_update(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """Readings come in while somebody takes a long time to change a tag of the point."""
    await store.load_entities([POINT])

    async with sql.transaction():
        await sql.execute("SELECT tags FROM entities FOR NO KEY UPDATE")
        await asyncio.wait_for(store.his_write("p", ITEMS), timeout=5)

    assert len(await store.his_read("p", "2024-01-01")) == 1
