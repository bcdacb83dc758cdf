"""A process that streams history, and says how much memory it took.

Run by `benchmarks.history` as `python -m benchmarks._history_flat DSN write|read ROWS`. Answers
with JSON: seconds, rows, and the highest resident size in MB after a tenth of them and at the end.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any

from hsorm.his import ALWAYS
from hsorm.storage.timescale import TimescaleAdapter

_START = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_SECOND = dt.timedelta(seconds=1)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def main(dsn: str, what: str, rows: int) -> None:
    early, seen = 0.0, 0

    def records() -> Iterator[tuple[str, dt.datetime, float]]:
        nonlocal early, seen
        for i in range(rows):
            seen += 1
            if seen == rows // 10:
                early = _peak()
            yield "bench-flat", _START + i * _SECOND, i * 0.5

    start = time.perf_counter()
    async with TimescaleAdapter(dsn) as store:
        if what == "write":
            await store.his_write_batch(records())
        else:
            async for _ in store.his_read_iter("bench-flat", ALWAYS):
                seen += 1
                if seen == rows // 10:
                    early = _peak()
    answer: dict[str, Any] = {"seconds": time.perf_counter() - start, "rows": seen}
    print(json.dumps(answer | {"early": early, "late": _peak()}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
