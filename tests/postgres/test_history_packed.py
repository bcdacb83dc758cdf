"""History that the server packs, of many points at once."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hsorm import MARKER, NA, Number, Ref
from hsorm.his import ALWAYS
from hsorm.storage.timescale import TimescaleAdapter

_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_EAGER = (
    "parallel_setup_cost=0", "parallel_tuple_cost=0", "min_parallel_table_scan_size=0",
    "min_parallel_index_scan_size=0", "max_parallel_workers_per_gather=2", "enable_indexscan=off",
    "enable_incremental_sort=off",
)  # fmt: skip


async def test_parallel_workers_do_not_mix_items_up(fresh_postgres_url: str) -> None:
    """Since PostgreSQL 16 bytes can be put together by several workers, each its part."""
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC"}
    items: dict[Any, list[dict[str, Any]]] = {
        f"p{n}": [
            {"ts": _START + i * dt.timedelta(minutes=1), "val": Number(i, "kW")}
            for i in range(n * 4_000)
        ]
        for n in range(4)
    }
    items["p1"][7]["val"] = NA
    options = "%20".join(f"-c%20{setting}" for setting in _EAGER)
    async with TimescaleAdapter(f"{fresh_postgres_url}?options={options}") as store:
        await store.load_entities([{"id": Ref(id), **point} for id in items])
        await store.his_write_batch(items)
        async with store._driver() as driver:
            await driver.execute("ANALYZE history")

        found = await store.his_read_batch([*items, Ref("p1")], ALWAYS)
        table = await store.his_arrow(items, ALWAYS)

    assert found == items | {Ref("p1"): items["p1"]}
    assert found[Ref("p1")] is not found["p1"]
    assert table.num_rows == 24_000
    assert table["ts"].to_pylist() == [item["ts"] for own in items.values() for item in own]
