"""Rollups and writes with hours that are kept ready, beside the same calls without.

A part of `benchmarks.history`: `--only hours`. Two storages in one database have the same rows.
"""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections.abc import Mapping
from typing import Any

import asyncpg

from benchmarks._report import Report
from benchmarks._timing import Call, in_turns, ratio
from hsorm.his.span import Span
from hsorm.kinds import MARKER, Ref
from hsorm.storage.timescale import TimescaleAdapter

_SIDES = ("kept", "none")
_POINTS = [f"p{number:03}" for number in range(100)]
_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)
_MINUTE = dt.timedelta(minutes=1)

_ROLLUPS: dict[str, tuple[list[str], int, str]] = {
    "a day by hours, one point": (["minutes"], 1, "1hr"),
    "a year by hours, one point": (["minutes"], 365, "1hr"),
    "a year by days, one point": (["minutes"], 365, "1day"),
    "a year by months, one point": (["minutes"], 365, "1mo"),
    "30 days by days, 100 points": (_POINTS, 30, "1day"),
}


async def measure_hours(dsn: str, rounds: int, written: int) -> Report:
    """Measure rollups of a year of minutes and of 30 days of 100 points, and `written` items."""
    stores = {side: TimescaleAdapter(dsn, prefix=f"{side}_") for side in _SIDES}
    raw = await asyncpg.connect(dsn)
    for side, store in stores.items():
        await store.load_entities(map(_point, ["minutes", *_POINTS]))
        await _fill(raw, side, ["minutes"], 1, 365)
        await _fill(raw, side, _POINTS, 5, 30)
    await stores["kept"].set_his_policy(hourly=True)
    await raw.execute("VACUUM ANALYZE")
    refreshed = await _refreshed(stores["kept"], raw)
    lines = []
    for label, (ids, days, interval) in _ROLLUPS.items():
        span = Span(_START, _START + days * _DAY)
        calls = {side: _rollup(store, ids, span, interval) for side, store in stores.items()}
        lines.append(await _line(f"avg, {label}", calls, rounds))

    async def empty() -> None:
        await raw.execute("TRUNCATE kept_history, none_history")

    soon = dt.datetime.now(dt.UTC)
    for what, start, points in (
        ("new items, one point", soon, 1),
        ("late items, one point", _START, 1),
        ("late items, 100 points in the order of time", _START, 100),
    ):
        rows = [
            (_POINTS[i % points], start + i // points * _MINUTE, i * 0.1) for i in range(written)
        ]
        calls = {side: _copying(raw, side, rows) for side in stores}
        lines.append(await _line(f"COPY of {written:,} {what}", calls, rounds, empty))
    await raw.close()
    for store in stores.values():
        await store.close()
    return Report(
        "history-hours",
        f"Hours that are kept ready, {rounds} rounds in turns; {refreshed}",
        "",
        ("what", "time beside none kept", "with hours", "without"),
        lines,
    )


def _point(id: str) -> dict[str, Any]:
    return {"id": Ref(id), "point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}


async def _fill(raw: Any, side: str, ids: list[str], minutes: int, days: int) -> None:
    await raw.execute(
        f"INSERT INTO {side}_history (point_id, ts, val) "
        "SELECT id, $2::timestamptz + i * $3::interval, random() * 100 "
        "FROM unnest($1::text[]) id, generate_series(0, $4::int - 1) i",
        ids, _START, minutes * _MINUTE, days * 1_440 // minutes,
    )  # fmt: skip


async def _refreshed(store: TimescaleAdapter, raw: Any) -> str:
    """Work all hours out, and return what that took, in words."""
    start = time.perf_counter()
    while (await store.his_policy()).hourly_until is None:
        await store.run_his_policy()
    took = time.perf_counter() - start
    items, hours, size = await raw.fetchrow(
        "SELECT (SELECT count(*) FROM kept_history), (SELECT count(*) FROM kept_history_hours), "
        "pg_total_relation_size('kept_history_hours')"
    )
    rate = took / items * 1e6
    return f"to work them out took {rate:.1f} s a million items, an hour {size / hours:.0f} bytes"


def _rollup(store: TimescaleAdapter, ids: list[str], span: Span, interval: str) -> Call:
    async def call() -> object:
        return await store.his_rollup(ids, span, interval, "avg")

    return call


def _copying(raw: Any, side: str, rows: list[tuple[Any, ...]]) -> Call:
    async def call() -> object:
        columns = ["point_id", "ts", "val"]
        return await raw.copy_records_to_table(f"{side}_history", columns=columns, records=rows)

    return call


async def _line(
    label: str, calls: Mapping[str, Call], rounds: int, before: Call | None = None
) -> tuple[str, ...]:
    await in_turns(calls, 6 if before is None else 1, before)  # to warm up
    times = await in_turns(calls, rounds, before)
    _, text = ratio(times["kept"], times["none"])
    shown = (f"{statistics.median(times[side]) * 1_000:,.1f} ms" for side in _SIDES)
    return (label, text, *shown)
