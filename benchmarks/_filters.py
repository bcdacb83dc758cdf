"""Filters on PostgreSQL, beside SQL written by hand over an asyncpg pool."""

from __future__ import annotations

import json
import statistics
from importlib.metadata import version
from typing import Any

import asyncpg

from benchmarks._data import Data
from benchmarks._hand import by_hand, hand_pool
from benchmarks._report import Report
from benchmarks._shapes import SPINE, Shape, make_shapes
from benchmarks._timing import Call, Times, ratio, repeated
from hsorm.codecs import hayson
from hsorm.storage.timescale import TimescaleAdapter

__all__ = ["measure_filters"]


async def measure_filters(dsn: str, data: Data, rounds: int) -> Report:
    """Measure every filter in one run; both sides decode what they get."""
    # Without the reset, a pool saves a round trip to the server each time it lends a connection.
    async with (
        TimescaleAdapter(dsn) as storage,
        hand_pool(dsn) as pool,
        hand_pool(dsn, reset=_no_reset) as bare_pool,
    ):
        await storage.load_entities(data.entities)
        await pool.execute("VACUUM ANALYZE entities")
        rows = []
        for shape in make_shapes(data):
            if shape.name in SPINE:
                calls = _calls(shape, storage, pool, bare_pool)
                found = await _checked(calls)
                rows.append(_row(shape.filter, found, await repeated(calls, rounds * 5)))
        server = await pool.fetchval("SHOW server_version")
    return Report(
        "filters",
        "Filters on PostgreSQL, hsorm `read` beside SQL by hand, decoding counted on both sides",
        f"{data.label}; PostgreSQL {server.split()[0]}, asyncpg {version('asyncpg')}, "
        f"SQLAlchemy {version('SQLAlchemy')}",
        (
            "filter",
            "found",
            "time of hsorm : by hand",
            "by hand, pool without reset",
            "by hand, `json.loads` only",
            "hsorm (ms)",
            "by hand (ms)",
        ),
        rows,
    )


async def _no_reset(connection: asyncpg.Connection[Any]) -> None:
    """Give a connection back as it is."""


def _calls(
    shape: Shape,
    storage: TimescaleAdapter,
    pool: asyncpg.Pool[Any],
    bare_pool: asyncpg.Pool[Any],
) -> dict[str, Call]:
    async def by_hsorm() -> list[Any]:
        return await storage.read(shape.filter)

    return {
        "hsorm": by_hsorm,
        "hand": by_hand(pool, shape.loose, hayson.decode_entity),
        "bare": by_hand(bare_pool, shape.loose, hayson.decode_entity),
        "json": by_hand(pool, shape.loose, json.loads),
    }


async def _checked(calls: dict[str, Call]) -> int:
    """Return how many entities there are; every side has to find the same ones."""
    ours, by_hand = [{entity["id"] for entity in await calls[side]()} for side in ("hsorm", "hand")]
    assert ours == by_hand
    return len(ours)


def _row(filter: str, found: int, times: Times) -> tuple[str, ...]:
    ratios = (ratio(times["hsorm"], times[side])[1] for side in ("hand", "bare", "json"))
    medians = (f"{statistics.median(times[side]) * 1e3:.2f}" for side in ("hsorm", "hand"))
    return (f"`{filter}`", f"{found:,}", *ratios, *medians)
