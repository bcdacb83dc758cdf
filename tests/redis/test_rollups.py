"""Rollups by TS.RANGE … AGGREGATION: they come to what the reference comes to, item by item."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from hsorm.his.rollup import Interval, bounds_of
from hsorm.his.span import Span
from hsorm.kinds import MARKER, NA, Entity, Number, Ref
from hsorm.redis_ops.rollups import Run, runs_of
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.redis import RedisAdapter
from hsorm.zones import zone_of

UTC = dt.UTC
MICRO = dt.timedelta(microseconds=1)
HOUR = dt.timedelta(hours=1)
FOLDS: list[Any] = ["avg", "min", "max", "sum", "count", "first", "last", "spread"]
INTERVALS = ["6hr", "7hr", "1day", "1wk", "1mo"]


def _point(**tags: Any) -> Entity:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "New_York"}
    return {"id": Ref("p"), **point, **tags}


class Both:
    """One point in two storages: in Redis, where all that is read is by series, and in memory."""

    def __init__(self, store: RedisAdapter) -> None:
        self.store, self.reference = store, InMemoryAdapter()
        self.read_items = 0
        items = store._his_items

        async def counting(*args: Any) -> Any:
            self.read_items += 1
            return await items(*args)

        store._his_items = counting  # type: ignore[assignment, method-assign]

    async def write(self, items: Sequence[tuple[dt.datetime, Any]], **tags: Any) -> None:
        for each in (self.store, self.reference):
            await each.load_entities([_point(**tags)])
            await each.his_write("p", [{"ts": ts, "val": val} for ts, val in items])

    async def roll(self, range: Any, interval: str, fold: Any, **given: Any) -> tuple[Any, Any]:
        found, expected = [
            await each.his_rollup("p", range, interval, fold, **given)
            for each in (self.store, self.reference)
        ]
        return found["p"], expected["p"]


@pytest.fixture(params=[2, 3])
async def both(redis_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Both]:
    """By either protocol; on a cluster the conformance suite rolls up."""
    async with RedisAdapter(f"{redis_url}&protocol={request.param}") as store:
        yield Both(store)


def _each(start: dt.datetime, step: dt.timedelta, count: int) -> list[dt.datetime]:
    return [start + at * step for at in range(count)]


@pytest.mark.parametrize("tz", ["New_York", "Lord_Howe", "Kathmandu"])
async def test_a_year_is_rolled_up_without_reading_its_items(both: Both, tz: str) -> None:
    """Also over the days on which the clocks change, and by months."""
    stamps = _each(dt.datetime(2024, 1, 1, 3, 17, tzinfo=UTC), 25 * HOUR, 350)
    await both.write([(ts, at * 7 % 100) for at, ts in enumerate(stamps)], tz=tz)

    for interval in INTERVALS:
        for fold in ("avg", "last", "spread"):
            found, expected = await both.roll("2024-01-02,2024-12-30", interval, fold)
            assert found == expected, (interval, fold)
    assert both.read_items == 0


async def test_gaps_are_filled(both: Both) -> None:
    stamps = _each(dt.datetime(2024, 3, 9, tzinfo=UTC), 7 * HOUR, 10)
    await both.write([(ts, at) for at, ts in enumerate(stamps)])

    found, expected = await both.roll("2024-03-09,2024-03-12", "1hr", "last", fill="previous")

    assert found == expected
    assert both.read_items == 0


async def test_what_says_nothing_is_no_reason_to_read_items(both: Both) -> None:
    """NA and NaN, which no series holds, and INF in an interval of its own."""
    start = dt.datetime(2024, 3, 9, tzinfo=UTC)
    values = [1, NA, math.nan, 3, NA, NA, math.inf, NA]
    await both.write(list(zip(_each(start, HOUR / 2, 8), values, strict=True)))

    for fold in FOLDS:
        assert_same(*await both.roll("2024-03-08,2024-03-10", "1hr", fold))
    assert both.read_items == 0


@pytest.mark.parametrize("odd", [math.inf, True])
async def test_what_two_keys_speak_of_is_rolled_up_item_by_item(both: Both, odd: Any) -> None:
    """Of one that was a Bool point before, and where a Number is INF."""
    start = dt.datetime(2024, 3, 9, tzinfo=UTC)
    values = [1, 3, odd, 4, 5, 1e308, 1e308, -7]
    kinds = "Bool" if odd is True else "Number"
    await both.write([(start + HOUR, odd)], kind=kinds)
    await both.write(
        [
            (ts, val)
            for ts, val in zip(_each(start, HOUR / 2, 8), values, strict=True)
            if val is not odd
        ]
    )

    for fold in FOLDS:
        assert_same(*await both.roll("2024-03-08,2024-03-10", "1hr", fold))
    assert both.read_items == len(FOLDS)


async def test_bools_are_rolled_up_by_their_series(both: Both) -> None:
    start = dt.datetime(2024, 3, 9, 23, tzinfo=UTC)
    stamps = _each(start, HOUR / 3, 30)
    await both.write([(ts, at % 3 == 0) for at, ts in enumerate(stamps)], kind="Bool")

    for fold in FOLDS:
        assert_same(*await both.roll("2024-03-08,2024-03-11", "1hr", fold))
    assert both.read_items == 0


async def test_texts_are_rolled_up(both: Both) -> None:
    stamps = _each(dt.datetime(2024, 3, 9, 23, tzinfo=UTC), HOUR / 3, 30)
    await both.write([(ts, f"mode {at % 3}") for at, ts in enumerate(stamps)], kind="Str")

    for fold in ("count", "first", "last"):
        assert_same(*await both.roll("2024-03-08,2024-03-11", "1hr", fold))


async def test_each_microsecond_is_on_its_side_of_a_bound(both: Both) -> None:
    """OC 31; the range ends within an interval, too."""
    midnight = dt.datetime(2024, 3, 10, 5, tzinfo=UTC)
    stamps = [midnight - MICRO, midnight, midnight + HOUR - MICRO, midnight + HOUR]
    await both.write([(ts, at + 1) for at, ts in enumerate(stamps)])
    cut = Span(midnight, midnight + HOUR - MICRO)

    for fold in FOLDS:
        assert_same(*await both.roll("2024-03-09,2024-03-10", "1hr", fold))
        assert_same(*await both.roll("2024-03-10", "1day", fold))
        assert_same(*await both.roll(cut, "15min", fold))
    assert both.read_items == 0


async def test_what_was_before_1970(both: Both) -> None:
    """No series knows of it."""
    stamps = _each(dt.datetime(1969, 12, 31, tzinfo=UTC), HOUR, 60)
    await both.write([(ts, at) for at, ts in enumerate(stamps)])

    for interval in ("1hr", "6hr", "1wk"):
        for fold in FOLDS:
            assert_same(*await both.roll("1969-12-30,1970-01-05", interval, fold))


async def test_a_write_in_between_is_seen_whole(redis_url: str) -> None:
    """Where history lies is asked first: a batch beyond that, written since, is no half of one."""
    start = dt.datetime(2024, 3, 9, tzinfo=UTC)
    async with RedisAdapter(redis_url) as store, RedisAdapter(redis_url) as other:
        await store.load_entities([_point(tz="UTC")])
        await store.his_write("p", [{"ts": start, "val": 1}])
        look, looks = store._his_each, 0

        async def looking(*args: Any) -> Any:
            nonlocal looks
            looks += 1
            answers = await look(*args)
            if looks == 1:
                stamps = (start + 5 * HOUR, start + HOUR / 2)
                await other.his_write("p", [{"ts": ts, "val": 2} for ts in stamps])
            return answers

        store._his_each = looking  # type: ignore[assignment, method-assign]
        found = await store.his_rollup("p", "2024-03-09", "1hr", "count")

    assert found["p"] == [
        {"ts": start, "val": Number(2)},
        {"ts": start + 5 * HOUR, "val": Number(1)},
    ]


def test_intervals_are_runs_while_the_clocks_stand_still() -> None:
    zone = zone_of("New_York")
    start, end = (dt.datetime(2024, month, 1, tzinfo=zone).astimezone(UTC) for month in (3, 4))
    bounds = bounds_of(Interval(1, "day"), Span(start, end), zone)

    runs = runs_of(bounds)

    day = 86_400_000_000
    assert [(run.place, run.step / day * 24) for run in runs] == [(0, 24), (9, 23), (10, 24)]
    assert [run.end for run in runs[:-1]] == [run.start for run in runs[1:]]
    assert runs_of([]) == runs_of([start]) == []
    assert runs_of([start, start + MICRO]) == [Run(0, runs[0].start, 1, runs[0].start + 1)]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    """Assert that values are of the same kind and, but for the last digits of sums, equal."""
    assert [_plain(item) for item in found] == [_plain(item) for item in expected]


def _plain(item: Any) -> tuple[Any, ...]:
    ts, val = item["ts"], item["val"]
    if isinstance(val, Number):
        return ts, Number, pytest.approx(val.val, rel=1e-12, nan_ok=True), val.unit
    return ts, type(val), val
