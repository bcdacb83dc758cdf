"""Filters in memory, beside rusty-haystack's EntityGraph on the same entities."""

from __future__ import annotations

import statistics
from importlib.metadata import version

import rusty_haystack

from benchmarks._data import Data
from benchmarks._report import Report
from benchmarks._timing import Call, Times, ratio, repeated
from hsorm.codecs import hayson
from hsorm.kinds import Grid
from hsorm.storage import InMemoryAdapter

__all__ = ["in_memory", "make_graph", "measure_memory"]

_COMPARED = ("dis", "kind", "unit", "area")


def _filters(data: Data) -> list[str]:
    return [
        "site",
        f"ahu and siteRef==@{data.site}",
        "discharge and air and temp and sensor",
        f"siteRef==@{data.site}",
        "point and equipRef->ahu",
        f"area > {data.area}",
        f'dis=="{data.dis}"',
        'point and kind=="Bool"',
        'unit=="kW"',
        "site or ahu",
        "equip and not ahu",
        "point and not equipRef->ahu",
        'not ahu and (equip or unit=="kW")',
    ]


async def measure_memory(data: Data, rounds: int) -> Report:
    """Measure every filter in one run."""
    graph = make_graph(data)
    storage = InMemoryAdapter(data.entities)
    rows = []
    for filter in _filters(data):
        calls = in_memory(filter, storage, graph)
        found, theirs = len(await calls["hsorm"]()), len(await calls["rusty"]())
        times = await repeated(calls, rounds)
        rows.append(_row(filter, found, theirs, times))
    return Report(
        "memory",
        "Filters in memory, `InMemoryAdapter` beside rusty-haystack's `EntityGraph`",
        f"{data.label}; rusty-haystack {version('rusty-haystack')}",
        (
            "filter",
            "found",
            "time of `read` : EntityGraph",
            "`read_count` : EntityGraph",
            "`read` (ms)",
            "`read_count` (ms)",
            "EntityGraph (ms)",
        ),
        rows,
    )


def make_graph(data: Data) -> rusty_haystack.EntityGraph:
    """Return their graph of the entities, with the indexes that it offers."""
    text = hayson.dumps(Grid.of(data.entities))
    grid = rusty_haystack.decode_grid("application/json", text)
    graph = rusty_haystack.EntityGraph.from_grid(grid)
    for tag in _COMPARED:  # what it offers for comparisons
        graph.index_field(tag)
    return graph


def in_memory(
    filter: str, storage: InMemoryAdapter, graph: rusty_haystack.EntityGraph
) -> dict[str, Call]:
    """Return the calls of both sides: ours (`hsorm`), its `count`, and `rusty`."""

    async def read() -> object:
        return await storage.read(filter)

    async def count() -> object:
        return await storage.read_count(filter)

    async def rusty() -> object:
        return graph.read(filter)

    return {"hsorm": read, "count": count, "rusty": rusty}


def _row(filter: str, found: int, theirs: int, times: Times) -> tuple[str, ...]:
    count = f"{found:,}" if found == theirs else f"{found:,}, EntityGraph {theirs:,}"
    ratios = (ratio(times[side], times["rusty"])[1] for side in ("hsorm", "count"))
    medians = (f"{statistics.median(times[side]) * 1e3:.3f}" for side in times)
    return (f"`{filter}`", count, *ratios, *medians)
