"""Filters on PostgreSQL, beside SQL written by hand over an asyncpg pool."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import asyncpg

from benchmarks._data import Data
from benchmarks._report import Report
from benchmarks._timing import Call, Times, ratio, repeated
from hsorm.codecs import hayson
from hsorm.storage.timescale import TimescaleAdapter

__all__ = ["measure_filters"]


@dataclass(frozen=True, slots=True)
class _Case:
    """A filter, and the condition that somebody who knows the data would write for it."""

    filter: str
    condition: str
    args: tuple[str, ...] = ()

    @property
    def sql(self) -> str:
        return f"SELECT id, tags FROM entities WHERE {self.condition}"


def _cases(data: Data) -> list[_Case]:
    at_site = json.dumps({"siteRef": {"_kind": "ref", "val": data.site}})
    number = data.area.rstrip("²abcdefghijklmnopqrstuvwxyz")
    unit = data.area[len(number) :]
    return [
        _Case("site", "tags ? 'site'"),
        _Case(f"ahu and siteRef==@{data.site}", "tags ? 'ahu' AND tags @> $1::jsonb", (at_site,)),
        _Case(
            "discharge and air and temp and sensor",
            "tags ?& ARRAY['discharge', 'air', 'temp', 'sensor']",
        ),
        _Case(f"siteRef==@{data.site}", "tags @> $1::jsonb", (at_site,)),
        _Case(
            "point and equipRef->ahu",
            "tags ? 'point' AND tags -> 'equipRef' ->> 'val' IN "
            "(SELECT id FROM entities WHERE tags ? 'ahu')",
        ),
        _Case(
            f"area > {data.area}",
            "tags ? 'area' AND tags -> 'area' ->> 'unit' = $1 "
            f"AND (tags -> 'area' ->> 'val')::numeric > {number}",
            (unit,),
        ),
    ]


async def measure_filters(dsn: str, data: Data, rounds: int) -> Report:
    """Measure every filter in one run; both sides decode what they get."""
    # Without the reset, a pool saves a round trip to the server each time it lends a connection.
    async with (
        TimescaleAdapter(dsn) as storage,
        asyncpg.create_pool(dsn, min_size=1) as pool,
        asyncpg.create_pool(dsn, min_size=1, reset=_no_reset) as bare_pool,
    ):
        await storage.load_entities(data.entities)
        await pool.execute("VACUUM ANALYZE entities")
        rows = []
        for case in _cases(data):
            calls = _calls(case, storage, pool, bare_pool)
            found = await _checked(calls)
            rows.append(_row(case.filter, found, await repeated(calls, rounds * 5)))
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


async def _no_reset(connection: asyncpg.Connection) -> None:
    """Give a connection back as it is."""


def _calls(
    case: _Case, storage: TimescaleAdapter, pool: asyncpg.Pool, bare_pool: asyncpg.Pool
) -> dict[str, Call]:
    def by_hand(from_pool: asyncpg.Pool, decode: Callable[[str], Any]) -> Call:
        async def call() -> list[Any]:
            rows = await from_pool.fetch(case.sql, *case.args)
            return [decode(tags) for _, tags in rows]

        return call

    async def by_hsorm() -> list[Any]:
        return await storage.read(case.filter)

    return {
        "hsorm": by_hsorm,
        "hand": by_hand(pool, hayson.decode_entity),
        "bare": by_hand(bare_pool, hayson.decode_entity),
        "json": by_hand(pool, json.loads),
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
