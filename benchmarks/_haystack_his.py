"""haystack-py's side of `benchmarks.history`: a process of its own, for it wants Python 3.13.

Reads one request a line, JSON: `{"dsn": …}` first, then `{"rows": n, "points": n}`; answers each
with a line: `{"version": …}`, then seconds: `{"write": …, "read": …, "found": n}`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import time
from importlib.metadata import version
from typing import Any

from hs_py.kinds import Number, Ref
from hs_py.storage.timescale import TimescaleAdapter, create_timescale_pool

_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


async def main() -> None:
    pool = await create_timescale_pool(json.loads(sys.stdin.readline())["dsn"])
    adapter = TimescaleAdapter(pool)
    await adapter.start()
    print(json.dumps({"version": version("haystack-py")}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        async with pool.acquire() as connection:
            await connection.execute("TRUNCATE hs_history")
        print(json.dumps(await _measured(adapter, **json.loads(line))), flush=True)
    await adapter.close()


async def _measured(adapter: Any, rows: int, points: int) -> dict[str, Any]:
    each = rows // points
    items = {
        Ref(f"bench-{n:05}"): [
            {"ts": _START + dt.timedelta(minutes=i), "val": Number(i * 0.1, "kW")}
            for i in range(each)
        ]
        for n in range(points)
    }
    start = time.perf_counter()
    for ref, own in items.items():
        await adapter.his_write(ref, own)
    written = time.perf_counter()
    found = 0
    for ref in items:
        found += len(await adapter.his_read(ref, None))
    return {"write": written - start, "read": time.perf_counter() - written, "found": found}


if __name__ == "__main__":
    asyncio.run(main())
