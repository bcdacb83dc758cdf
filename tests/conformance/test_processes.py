"""Several processes that write the same point at once."""

from __future__ import annotations

import asyncio
import sys

from hsorm import open_storage
from hsorm.kinds import MARKER, Number, Ref

_POINT = {"id": Ref("p"), "point": MARKER, "writable": MARKER, "kind": "Number"}
_WRITES = 60

_WRITER = """
import asyncio, sys
from hsorm import open_storage

async def main(url, level, writes):
    async with open_storage(url) as store:
        for n in range(1, writes + 1):
            await store.point_write("p", level, level * 1000 + n, f"writer {level}")
            await store.point_write("p", 8, None if n % 2 else n, f"writer {level}")

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


async def _write(url: str, level: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _WRITER, url, str(level), str(_WRITES)
    )
    assert await process.wait() == 0


async def test_no_write_to_a_point_is_lost_among_processes(any_url: str) -> None:
    """W2, W3: each has levels of its own and one that they share; array and live tags agree."""
    async with open_storage(any_url) as store:
        await store.load_entities([_POINT])

        await asyncio.gather(*(_write(any_url, level) for level in (10, 12, 14)))

        array = await store.point_array("p")
        point = await store.read_by_id("p")
    held = {int(row["level"].val): row["val"] for row in array if "val" in row}
    last = {level: Number(level * 1000 + _WRITES) for level in (10, 12, 14)}
    assert held == {8: Number(_WRITES), **last} or held == last
    assert point["writeVal"] == held[min(held)]
    assert point["writeLevel"] == Number(min(held))
