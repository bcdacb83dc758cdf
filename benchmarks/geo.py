"""Measure places: `python -m benchmarks.geo [--entities 50000]`, on each backend that is there.

Ten sites in a hundred entities have a place; a read near one of them, and a load.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import psycopg

from hsorm import MARKER, Coord, Entity, InMemoryAdapter, Ref, near, within
from hsorm.ops.geo import Area
from hsorm.storage import open_storage
from hsorm.storage.protocol import StorageAdapter
from tests.backends import new_database, why_missing

_RUNS = 9


def _entities(count: int) -> list[Entity]:
    rng = Random(3)
    return [
        {"id": Ref(f"e{i}"), "dis": f"Site {i}", "site": MARKER}
        | ({"geoCoord": Coord(rng.uniform(45, 60), rng.uniform(0, 30))} if i % 10 == 0 else {})
        for i in range(count)
    ]


_CENTER = Coord(52, 13)
_AREAS: dict[str, Area] = {
    "5 km": near(_CENTER, "5km"),
    "50 km": near(_CENTER, "50km"),
    "box of a degree": within([_CENTER, Coord(53, 14)]),
    "triangle of a degree": within([_CENTER, Coord(53, 13), Coord(52, 14)]),
}


@contextmanager
def _urls(folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        urls = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/geo.db"}
        for name in ("timescale", "redis"):
            if why_missing(name) is None:
                urls[name] = stack.enter_context(new_database(name))
        if "timescale" in urls:
            urls["timescale + postgis"] = url = stack.enter_context(new_database("timescale"))
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION postgis")
        yield urls


async def _timed(store: StorageAdapter, area: Area) -> tuple[float, int]:
    times, found = [], 0
    for _ in range(_RUNS):
        start = time.perf_counter()
        found = await store.read_count("site", geo=area)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000, found


async def _measure(name: str, url: str, entities: list[Entity]) -> None:
    store = InMemoryAdapter() if name == "memory" else open_storage(url)
    async with store:
        start = time.perf_counter()
        await store.load_entities(entities)
        cells = [f"{time.perf_counter() - start:.2f} s"]
        if "timescale" in name:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE entities")
        for area in _AREAS.values():
            median, found = await _timed(store, area)
            cells.append(f"{median:.2f} ms ({found})")
    print(f"| {name} | {' | '.join(cells)} |")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=50_000)
    entities = _entities(parser.parse_args().entities)
    print(f"| | load | {' | '.join(_AREAS)} |\n|{'---|' * (len(_AREAS) + 2)}")
    with TemporaryDirectory() as folder, _urls(Path(folder)) as urls:
        for name, url in urls.items():
            await _measure(name, url, entities)


if __name__ == "__main__":
    asyncio.run(main())
