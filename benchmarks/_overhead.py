"""What a filter costs beside its statement: again, with other literals, and in memory for ever."""

from __future__ import annotations

import gc
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg

from benchmarks._data import Data
from benchmarks._report import Report
from benchmarks._timing import Call, in_turns
from hsorm.storage.timescale import TimescaleAdapter

__all__ = ["measure_overhead"]

# Filters that find nothing, so that no row is decoded on either side.
_REPEATED = "ahu and siteRef==@nowhere"
_SHAPES: dict[str, Callable[[int], str]] = {
    "marker and ref ==": lambda i: f"ahu and siteRef==@nowhere-{i}",
    "number >, str ==": lambda i: f'rare and area > {i}ft² and dis == "text {i}"',
    "deref": lambda i: f'rare and siteRef->dis == "text {i}"',
}
_ROUNDS = 400
_CALLS = 50
_WARM = 20_000


async def measure_overhead(storage: TimescaleAdapter, data: Data, different: int) -> Report:
    """Measure beside a prepared statement of the same SQL on a connection of asyncpg."""
    connection = await asyncpg.connect(
        storage.engine.url.set(drivername="postgresql").render_as_string(hide_password=False),
        server_settings={"jit": "off"},
    )
    rows = [
        await _beside_prepared(storage, connection, "again, the same text", lambda _: _REPEATED, 30)
    ]
    for name, filter_of in _SHAPES.items():
        label = f"{name}, other literals"
        rows.append(await _beside_prepared(storage, connection, label, filter_of, 600))
    await connection.close()
    rows.append(await _memory(storage, different))
    return Report(
        "overhead",
        "What a filter costs beside executing its prepared statement on asyncpg; nothing is found",
        data.label,
        (
            "case",
            "beside the statement",
            "goal",
            "quartiles",
            "processor time of that",
            "statement (µs)",
        ),
        rows,
    )


async def _beside_prepared(
    storage: TimescaleAdapter,
    connection: asyncpg.Connection[object],
    label: str,
    filter_of: Callable[[int], str],
    goal: int,
) -> tuple[str, ...]:
    """Measure reads of a shape that is known, each with the next literals."""
    numbers = itertools.count()
    explained = await storage.explain(filter_of(-1))
    prepared = await connection.prepare(explained.sql)

    async def by_hsorm() -> None:
        assert await storage.read(filter_of(next(numbers))) == []

    async def by_statement() -> None:
        assert await prepared.fetch(*explained.params) == []

    calls = {"hsorm": by_hsorm, "statement": by_statement}
    await in_turns(calls, 20)
    times = await in_turns(calls, _ROUNDS)
    pairs = zip(times["hsorm"], times["statement"], strict=True)
    low, middle, high = statistics.quantiles((one - other for one, other in pairs), n=4)
    statement = statistics.median(times["statement"]) * 1e6
    spread = f"{low * 1e6:,.0f}–{high * 1e6:,.0f} µs"
    here = statistics.median([await _processor(by_hsorm) for _ in range(5)])
    there = statistics.median([await _processor(by_statement) for _ in range(5)])
    return (
        label,
        f"{middle * 1e6:,.0f} µs",
        f"≤ {goal} µs",
        spread,
        f"{(here - there) * 1e6:,.0f} µs",
        f"{statement:,.0f}",
    )


async def _processor(call: Call) -> float:
    """Return the processor time that a call takes in this process, which others cannot lengthen."""
    start = time.process_time()
    for _ in range(_CALLS):
        await call()
    return (time.process_time() - start) / _CALLS


async def _memory(storage: TimescaleAdapter, different: int) -> tuple[str, ...]:
    """Read many filters, all different, of a few hundred shapes; memory must stay what it was.

    Both are counted: the objects of Python, for memory that was free before hides what grows, and
    what the process has, for not all memory is in such objects.
    """
    sizes = [_resident()]
    blocks = []
    for start, end in ((0, min(_WARM, different)), (_WARM, different)):
        for i in range(start, end):
            await storage.read(f"t{i % 300} == {i}")
        gc.collect()
        sizes.append(_resident())
        blocks.append(sys.getallocatedblocks())
    before, warm, after = (size / 2**20 for size in sizes)
    return (
        f"memory over {different:,} different filters",
        f"{after - warm:+.1f} MiB, {blocks[1] - blocks[0]:+,} objects",
        "flat",
        f"{before:,.0f} MiB before, {warm:,.0f} after {min(_WARM, different):,}, {after:,.0f} then",
        "",
        "",
    )


def _resident() -> int:
    """Return the bytes of memory that this process has, 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
