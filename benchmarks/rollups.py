"""Rollups beside time_bucket SQL by hand, and imports beside a bare COPY of the same rows.

Two parts of `benchmarks.history`: `--only rollups`, `--only imports`.
"""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks._report import Report
from benchmarks._timing import in_turns, ratio
from hsorm.cli._session import Session
from hsorm.cli.his import export, import_
from hsorm.kinds import MARKER, Ref
from hsorm.storage.timescale import TimescaleAdapter

_YEAR = "2024-01-01,2024-12-30"
_SPAN = "ts >= '2024-01-01Z' AND ts < '2024-12-31Z'"
_ITEMS = f"FROM history WHERE point_id = 'utc' AND {_SPAN}"
_LOCAL = _ITEMS.replace("'utc'", "'ny'").replace("Z'", " America/New_York'")
_HELD = f"SELECT ts, val, lead(ts) OVER (ORDER BY ts) AS following {_ITEMS}"

_CASES: dict[str, tuple[str, str, str, str]] = {
    "avg, 15min, UTC": (
        "utc", "15min", "avg",
        f"SELECT time_bucket('15 min', ts) b, avg(val) {_ITEMS} GROUP BY b ORDER BY b",
    ),
    "avg, 1day, UTC": (
        "utc", "1day", "avg",
        f"SELECT time_bucket('1 day', ts) b, avg(val) {_ITEMS} GROUP BY b ORDER BY b",
    ),
    "max, 1hr, New_York": (
        "ny", "1hr", "max",
        f"SELECT time_bucket('1 hour', ts) b, max(val) {_LOCAL} GROUP BY b ORDER BY b",
    ),
    "avg, 1day, New_York": (
        "ny", "1day", "avg",
        f"SELECT time_bucket('1 day', ts, 'America/New_York') b, avg(val) {_LOCAL} "
        "GROUP BY b ORDER BY b",
    ),
    "avg, 1mo, New_York": (
        "ny", "1mo", "avg",
        f"SELECT time_bucket('1 month', ts, 'America/New_York') b, avg(val) {_LOCAL} "
        "GROUP BY b ORDER BY b",
    ),
    "last, 1day, UTC": (
        "utc", "1day", "last",
        f"SELECT time_bucket('1 day', ts) b, last(val, ts) {_ITEMS} GROUP BY b ORDER BY b",
    ),
    "last, 15min, UTC": (
        "utc", "15min", "last",
        f"SELECT time_bucket('15 min', ts) b, last(val, ts) {_ITEMS} GROUP BY b ORDER BY b",
    ),
    "twa, 15min, UTC": (
        "utc", "15min", "twa",
        "SELECT time_bucket('15 min', ts) b, sum(val * date_part('epoch', "
        "least(following, time_bucket('15 min', ts) + interval '15 min') - ts)) / 900 "
        f"FROM ({_HELD}) held GROUP BY b ORDER BY b",
    ),
}  # fmt: skip


async def measure_rollups(dsn: str, rows: int, rounds: int) -> Report:
    """Measure each case on as many rows of one point, spread over a year."""
    raw = await asyncpg.connect(dsn, server_settings={"jit": "off"})
    async with TimescaleAdapter(dsn) as store:
        zones = {"utc": "UTC", "ny": "New_York"}
        await store.load_entities(_point(id, tz) for id, tz in zones.items())
        for id in zones:
            await raw.execute(
                "INSERT INTO history (point_id, ts, val) SELECT $1, '2024-01-01Z'::timestamptz + "
                "i * (interval '365 days' / $2::int), random() * 100 "
                "FROM generate_series(0, $2::int - 1) i",
                id, rows,
            )  # fmt: skip
        await raw.execute("VACUUM ANALYZE history")
        lines = []
        for label, (id, interval, fold, sql) in _CASES.items():

            async def ours(id: str = id, interval: str = interval, fold: Any = fold) -> object:
                return await store.his_rollup(id, _YEAR, interval, fold)

            async def hand(sql: str = sql) -> object:
                return await raw.fetch(sql)

            lines.append(await _line(label, ours, hand, rounds))
    await raw.close()
    return Report(
        "history-rollups",
        f"Rollups of {rows:,} rows over a year, {rounds} rounds in turns",
        "goal: at most 1.1 ×",
        ("rollup", "time beside SQL by hand", "hsorm", "by hand"),
        lines,
    )


async def measure_imports(dsn: str, rows: int, rounds: int, folder: Path) -> Report:
    """Measure the import of new rows of a point, beside COPY of rows that are ready."""
    raw = await asyncpg.connect(dsn)
    session = Session(dsn)
    async with TimescaleAdapter(dsn) as store:
        await store.load_entities([_point("imported", "UTC")])
    await raw.execute(
        "INSERT INTO history (point_id, ts, val) SELECT 'imported', '2020-01-01Z'::timestamptz + "
        "i * interval '10 sec', round((random() * 100)::numeric, 2) "
        "FROM generate_series(0, $1::int - 1) i",
        rows,
    )
    ready = [tuple(row) for row in await raw.fetch(
        "SELECT point_id, ts, val, obj FROM history WHERE point_id = 'imported'"
    )]  # fmt: skip
    lines = []
    for suffix in ("csv", "parquet", "zinc"):
        file = folder / f"all.{suffix}"
        await export(session, ["imported"], file)

        async def ours(file: Path = file) -> object:
            await import_(session, [file])
            return None

        async def hand() -> object:
            columns = ["point_id", "ts", "val", "obj"]
            return await raw.copy_records_to_table("history", columns=columns, records=ready)

        async def clear() -> object:
            return await raw.execute("TRUNCATE history, history_changes")

        lines.append(await _line(suffix, ours, hand, rounds, clear))
    await raw.close()
    return Report(
        "history-imports",
        f"`his import` of {rows:,} new rows, {rounds} rounds in turns",
        "goal: at most 1.25 ×",
        ("file", "time beside a bare COPY", "hsorm", "COPY"),
        lines,
    )


async def _line(
    label: str,
    ours: Callable[[], Awaitable[object]],
    hand: Callable[[], Awaitable[object]],
    rounds: int,
    before: Callable[[], Awaitable[object]] | None = None,
) -> tuple[str, str, str, str]:
    if before is None:
        await in_turns({"ours": ours, "hand": hand}, 1)  # to warm up
    times = await in_turns({"ours": ours, "hand": hand}, rounds, before)
    _, text = ratio(times["ours"], times["hand"])
    shown = (f"{statistics.median(times[side]) * 1_000:,.0f} ms" for side in ("ours", "hand"))
    return (label, text, *shown)  # type: ignore[return-value]  # two of them


def _point(id: str, tz: str) -> dict[str, Any]:
    return {"id": Ref(id), "point": MARKER, "his": MARKER, "kind": "Number", "tz": tz}
