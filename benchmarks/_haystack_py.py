"""haystack-py's side of `benchmarks.filters`: a process of its own, for it wants Python 3.13.

Reads one request a line, JSON: `{"dsn": …}` first, then `{"filter": …, "budget": seconds}`; answers
each with a line: `{"version": …}`, then `{"found": …, "seconds": […]}` or `{"error": …}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from importlib.metadata import version
from typing import Any

from hs_py.filter import parse
from hs_py.storage.timescale import TimescaleAdapter, create_timescale_pool


async def main() -> None:
    request = await _next()
    assert request is not None
    adapter = TimescaleAdapter(await create_timescale_pool(request["dsn"]))
    await adapter.start()
    _answer({"version": version("haystack-py")})
    while (request := await _next()) is not None:
        try:
            _answer(await _measured(adapter, **request))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is the answer
            _answer({"error": type(exc).__name__})
    await adapter.close()


async def _next() -> dict[str, Any] | None:
    line = await asyncio.to_thread(sys.stdin.readline)
    return json.loads(line) if line else None


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def _measured(adapter: Any, filter: str, budget: float) -> dict[str, Any]:
    node = parse(filter)
    found = len(await _read(adapter, node))
    seconds: list[float] = []
    end = time.perf_counter() + budget
    while not seconds or (time.perf_counter() < end and len(seconds) < 200):
        start = time.perf_counter()
        await _read(adapter, node)
        seconds.append(time.perf_counter() - start)
    return {"found": found, "seconds": seconds}


async def _read(adapter: Any, node: Any) -> list[dict[str, Any]]:
    # It keeps answers by the statement's text, without the values bound in it, for ever.
    adapter._read_cache.clear()
    found: list[dict[str, Any]] = await adapter.read_by_filter(node)
    return found


if __name__ == "__main__":
    asyncio.run(main())
