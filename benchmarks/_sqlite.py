"""Filters on SQLite, beside reading the whole table and doing nothing with it."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import aiosqlite

from benchmarks._data import Data
from benchmarks._report import Report
from benchmarks._shapes import make_shapes
from benchmarks._timing import ratio, repeated
from hsorm.storage.sqlite import SqliteAdapter

__all__ = ["measure_sqlite"]


async def measure_sqlite(data: Data) -> Report:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.db"
        async with SqliteAdapter(path) as storage, aiosqlite.connect(path) as connection:
            for clone in data.clones():
                await storage.load_entities(clone)
            rows = [await _row(shape.filter, storage, connection) for shape in make_shapes(data)]
            ((version,),) = await connection.execute_fetchall("SELECT sqlite_version()")
    return Report(
        "sqlite",
        "Filters on SQLite, hsorm `read` beside `SELECT id, tags` of the whole table, not decoded",
        f"{data.label}; SQLite {version}",
        ("filter", "found", "time of hsorm : whole table", "hsorm (ms)", "whole table (ms)"),
        rows,
    )


async def _row(
    filter: str, storage: SqliteAdapter, connection: aiosqlite.Connection
) -> tuple[str, ...]:
    async def read() -> object:
        return await storage.read(filter)

    async def scan() -> object:
        return await connection.execute_fetchall("SELECT id, tags FROM entities")

    times = await repeated({"hsorm": read, "scan": scan}, 3, budget=1.0, warm=1)
    medians = (f"{statistics.median(times[side]) * 1e3:.2f}" for side in ("hsorm", "scan"))
    found = await storage.read_count(filter)
    return (f"`{filter}`", f"{found:,}", ratio(times["hsorm"], times["scan"])[1], *medians)
