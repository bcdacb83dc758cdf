"""haystack-py's side of `benchmarks.redis`: a process of its own, for it wants Python 3.13.

Reads one request a line, JSON, and answers each with a line: `{"url": …}` first, then
`{"load": file}`, `{"write": id, "items": n}`, `{"read": id}` or `{"filter": …}`, each answered with
`{"seconds": …, "count": …}` or `{"error": …}`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hs_py.encoding.json import decode_val
from hs_py.filter import parse
from hs_py.kinds import Number, Ref
from hs_py.storage.redis import RedisAdapter, create_redis_client

FIRST = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


async def main() -> None:
    request = await _next()
    assert request is not None
    adapter = RedisAdapter(create_redis_client(request["url"]))
    await adapter.start()
    _answer({"version": f"haystack-py {version('haystack-py')}, redis-py {version('redis')}"})
    while (request := await _next()) is not None:
        try:
            _answer(await _measured(adapter, request))
        except Exception as exc:  # noqa: BLE001 - whatever it is, it is the answer
            _answer({"error": f"{type(exc).__name__}: {exc}"[:200]})
    await adapter.close()


async def _next() -> dict[str, Any] | None:
    line = await asyncio.to_thread(sys.stdin.readline)
    return json.loads(line) if line else None


def _answer(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def _measured(adapter: Any, request: dict[str, Any]) -> dict[str, Any]:
    if "load" in request:
        entities = _entities(request["load"])
        await adapter._ensure_search_index()
        return await _timed(adapter.load_entities(entities))
    if "write" in request:
        items = [
            {"ts": FIRST + dt.timedelta(minutes=at), "val": Number(20 + at % 97 / 10, "kW")}
            for at in range(request["items"])
        ]
        return await _timed(adapter.his_write(Ref(request["write"]), items))
    if "read" in request:
        return await _timed(adapter.his_read(Ref(request["read"])))
    return await _timed(adapter.read_by_filter(parse(request["filter"])))


def _entities(path: str) -> list[dict[str, Any]]:
    rows = json.loads(Path(path).read_text("utf-8"))
    return [{name: decode_val(val) for name, val in row.items()} for row in rows]


async def _timed(work: Any) -> dict[str, Any]:
    start = time.perf_counter()
    found = await work
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "count": len(found) if isinstance(found, list) else found}


if __name__ == "__main__":
    asyncio.run(main())
