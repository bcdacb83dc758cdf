"""Loading entities into PostgreSQL, beside a COPY written by hand into the same table."""

from __future__ import annotations

import datetime as dt
import statistics
from importlib.metadata import version

import asyncpg

from benchmarks._data import Data
from benchmarks._report import Report
from benchmarks._timing import Times, in_turns, ratio
from hsorm.codecs import hayson
from hsorm.kinds import Entity
from hsorm.storage.timescale import TimescaleAdapter

__all__ = ["measure_load"]

_MOD = dt.datetime(2024, 1, 1, 12, 0, 0, 123000, tzinfo=dt.UTC)

_HANDS = {
    "COPY, JSON text ready made": "texts",
    "COPY, JSON encoded from the entities": "encode",
}


async def measure_load(dsn: str, data: Data, rounds: int) -> Report:
    """Measure both sides into a truncated table, which has new files and an empty index."""
    ready = _rows(data.entities)
    connection = await asyncpg.connect(dsn)
    async with TimescaleAdapter(dsn) as storage:

        async def empty() -> None:
            await connection.execute("TRUNCATE entities")
            await connection.execute("CHECKPOINT")

        async def by_hsorm() -> None:
            await storage.load_entities(data.entities)

        async def by_copy() -> None:
            await _copy(connection, ready)

        async def by_encoding_copy() -> None:
            await _copy(connection, _rows(data.entities))

        calls = {"hsorm": by_hsorm, "texts": by_copy, "encode": by_encoding_copy}
        times = await in_turns(calls, rounds, before=empty)
    server = await connection.fetchval("SHOW server_version")
    await connection.close()
    versions = f"{data.label}; PostgreSQL {server.split()[0]}, {_drivers()}"
    return _report(times, len(data.entities), versions)


def _drivers() -> str:
    return f"asyncpg {version('asyncpg')}, SQLAlchemy {version('SQLAlchemy')}"


def _rows(entities: list[Entity]) -> list[tuple[str, str]]:
    return [
        (entity["id"].val, hayson.encode_entity({**entity, "mod": _MOD})) for entity in entities
    ]


async def _copy(connection: asyncpg.Connection, rows: list[tuple[str, str]]) -> None:
    async with connection.transaction():
        await connection.copy_records_to_table("entities", columns=["id", "tags"], records=rows)


def _report(times: Times, count: int, versions: str) -> Report:
    def cells(side: str) -> tuple[str, str]:
        rates = sorted(count / seconds for seconds in times[side])
        return (
            f"{statistics.median(rates):,.0f}/s",
            f"{rates[0]:,.0f}–{rates[-1]:,.0f}/s",
        )

    rows = [("hsorm `load_entities`", "", *cells("hsorm"))]
    for label, side in _HANDS.items():
        _, speed = ratio(times[side], times["hsorm"])
        rows.append((label, speed, *cells(side)))
    return Report(
        "load",
        f"Load into the indexed table on PostgreSQL, {len(times['hsorm'])} rounds in turns",
        versions,
        ("side", "speed of hsorm beside it", "entities a second (median)", "lowest–highest"),
        rows,
    )
