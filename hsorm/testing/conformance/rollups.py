"""Rollups: what the items of each interval come to; `hsorm.his.rollup` has the rules."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from typing import Any, Final

import pytest

from hsorm.errors import (
    HisConfigError,
    InvalidRollupError,
    RangeSyntaxError,
    UnknownEntityError,
)
from hsorm.kinds import MARKER, NA, Coord, Entity, Kind, Number, Ref
from hsorm.storage.protocol import HisItem, StorageAdapter
from hsorm.zones import zone_of

__all__ = ["RollupTests"]

_HOUR: Final = dt.timedelta(hours=1)
_DAY: Final = "2024-03-01"
_MIDNIGHT: Final = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)


def _point(id: str = "p", **tags: Any) -> Entity:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC"}
    return {"id": Ref(id), **point, **tags}


def _items(hours: Iterable[tuple[float, Any]], start: dt.datetime = _MIDNIGHT) -> list[Any]:
    return [{"ts": start + at * _HOUR, "val": val} for at, val in hours]


async def _store(store: StorageAdapter, *hours: tuple[float, Any], **tags: Any) -> None:
    await store.load_entities([_point(**tags)])
    await store.his_write("p", _items(hours))


async def _roll(store: StorageAdapter, fold: Any, interval: str = "1hr", **given: Any) -> Any:
    """Return the values of @p on the day, by the hour at which their interval begins."""
    found = await store.his_rollup("p", given.pop("range", _DAY), interval, fold, **given)
    return {(item["ts"] - _MIDNIGHT) / _HOUR: item["val"] for item in found["p"]}


def _kw(values: dict[float, float]) -> dict[float, Kind]:
    return {at: Number(value, "kW") for at, value in values.items()}


_SOME: Final = [
    (0, 4), (0.25, NA), (0.5, 2), (0.75, math.nan), (2, 6), (2.5, NA), (5, NA), (23.75, -1),
]  # fmt: skip
_FOLDS: Final = {
    "avg": _kw({0: 3, 2: 6, 23: -1}),
    "min": _kw({0: 2, 2: 6, 23: -1}),
    "max": _kw({0: 4, 2: 6, 23: -1}),
    "sum": _kw({0: 6, 2: 6, 23: -1}),
    "spread": _kw({0: 2, 2: 0, 23: 0}),
    "count": {0: Number(2), 2: Number(1), 23: Number(1)},
    "first": _kw({0: 4, 2: 6, 23: -1}),
    "last": _kw({0: 2, 2: 6, 23: -1}),
    "twa": _kw({0: 3, 2: 6, 23: -1}),
}


class RollupTests:
    """`his_rollup`."""

    @pytest.mark.parametrize("fold", _FOLDS)
    async def test_na_and_nan_are_skipped(self, store: StorageAdapter, fold: str) -> None:
        """And intervals without anything else are left out."""
        await _store(store, *_SOME)

        assert await _roll(store, fold) == _FOLDS[fold]

    @pytest.mark.parametrize("fold", ["avg", "first", "last", "twa"])
    async def test_gaps_are_carried_forward(self, store: StorageAdapter, fold: Any) -> None:
        """From the first value on, to the end of the range."""
        await _store(store, (2, 4), (2.5, NA), (6, 8), (6.5, NA))

        found = await _roll(store, fold, fill="previous")

        assert found == _kw({at: 4 if at < 6 else 8 for at in range(2, 24)})

    async def test_the_time_weighted_average(self, store: StorageAdapter) -> None:
        """What was before the range holds at its beginning; after the last item it holds on."""
        await _store(store, (-5, 10), (0.75, 20), (3.25, 30), (3.5, NA), (23, 50))

        found = await _roll(store, "twa")

        assert found == _kw({0: 12.5, 1: 20, 2: 20, 3: (20 + 30) / 2, 23: 50})

    async def test_items_of_the_future_hold_until_the_next(self, store: StorageAdapter) -> None:
        """But not the last one: nobody knows how long."""
        day = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        day += dt.timedelta(days=2)
        await store.load_entities([_point()])
        await store.his_write("p", _items([(1, 4), (2.5, 8)], day))

        found = await store.his_rollup("p", f"{day:%Y-%m-%d}", "1hr", "twa")

        expected = [(1, 4), (2, 4)]
        assert found["p"] == [
            {"ts": day + at * _HOUR, "val": Number(val, "kW")} for at, val in expected
        ]

    async def test_how_long_a_bool_was_what(self, store: StorageAdapter) -> None:
        """In sec, of the intervals' states; NA is none."""
        await _store(
            store, (-1, False), (0.25, True), (2.5, NA), (3, True), (3.5, False), (4, NA),
            kind="Bool",
        )  # fmt: skip

        assert await _roll(store, "duration") == {
            0: {False: Number(900, "sec"), True: Number(2700, "sec")},
            1: {True: Number(3600, "sec")},
            2: {True: Number(1800, "sec")},
            3: {True: Number(1800, "sec"), False: Number(1800, "sec")},
        }

    async def test_how_long_a_text_was_what(self, store: StorageAdapter) -> None:
        """Any text is a state."""
        texts = ["", "it's", '"', "na", "true", "😀"]
        await _store(store, *enumerate(texts), (6, NA), kind="Str")

        (found,) = (await _roll(store, "duration", "1day")).values()

        assert found == {text: Number(3600, "sec") for text in texts}

    async def test_bools_count_as_1_and_0(self, store: StorageAdapter) -> None:
        """Where numbers are asked for; `first` and `last` are as they are."""
        await _store(store, (0, True), (0.25, False), (0.5, False), (0.75, False), kind="Bool")

        assert await _roll(store, "avg") == _kw({0: 0.25})
        assert await _roll(store, "max") == _kw({0: 1})
        assert await _roll(store, "twa", range="2024-03-01T00:00:00Z,2024-03-01T01:00:00Z") == _kw(
            {0: 0.25}
        )
        assert await _roll(store, "first") == {0: True}
        assert await _roll(store, "count") == {0: Number(4)}

    @pytest.mark.parametrize(
        ("kind", "values"), [("Str", ["b", NA, "a"]), ("Coord", [Coord(1, 2), NA, Coord(3, 4)])]
    )
    async def test_other_kinds(self, store: StorageAdapter, kind: str, values: list[Any]) -> None:
        """They are counted, and there is a first and a last."""
        await _store(store, *enumerate(values), kind=kind)

        assert await _roll(store, "first", "1day") == {0: values[0]}
        assert await _roll(store, "last", "1day") == {0: values[2]}
        assert await _roll(store, "count", "1day") == {0: Number(2)}

    async def test_infinity_and_sums_beyond_all_doubles(self, store: StorageAdapter) -> None:
        """As Python's floats."""
        values = (math.inf, 1, math.inf, -math.inf, 1e308, 1e308)
        await _store(store, *((at / 2, value) for at, value in enumerate(values)))

        found = await _roll(store, "sum")

        assert found[0] == found[2] == Number(math.inf, "kW")
        assert math.isnan(found[1].val)

    @pytest.mark.parametrize(
        ("tz", "day", "hours"),
        [
            ("New_York", "2024-03-10", 23),
            ("New_York", "2024-11-03", 25),
            ("London", "2024-03-31", 23),
            ("London", "2024-10-27", 25),
            ("Sydney", "2024-10-06", 23),
            ("Sydney", "2024-04-07", 25),
            ("Lord_Howe", "2024-10-06", 23.5),
            ("Lord_Howe", "2024-04-07", 24.5),
            ("Kathmandu", "2024-03-10", 24),
            ("UTC", "2024-03-10", 24),
        ],
    )
    async def test_a_day_is_a_day_in_the_points_zone(
        self, store: StorageAdapter, tz: str, day: str, hours: float
    ) -> None:
        """H3: an item each half hour; hours follow the clock, whatever it does."""
        await store.load_entities([_point(tz=tz)])
        zone, first = zone_of(tz), dt.date.fromisoformat(day)
        begin = dt.datetime.combine(first, dt.time(), zone).astimezone(dt.UTC) - 24 * _HOUR
        await store.his_write("p", _items(((at / 2, 1) for at in range(144)), begin))

        daily = await store.his_rollup("p", day, "1day", "count")
        hourly = await store.his_rollup("p", day, "1hr", "count")
        six = await store.his_rollup("p", day, "6hr", "count")

        midnight = dt.datetime.combine(first, dt.time(), zone)
        assert daily["p"] == [{"ts": midnight, "val": Number(2 * hours)}]
        assert sum(item["val"].val for item in hourly["p"]) == 2 * hours
        assert all(item["ts"].tzinfo is zone for item in hourly["p"])
        if hours % 1 == 0:
            assert [item["val"] for item in hourly["p"]] == [Number(2)] * int(hours)
        assert [item["ts"].hour for item in six["p"]] == [0, 6, 12, 18]

    async def test_months_weeks_and_years(self, store: StorageAdapter) -> None:
        """Named by where they begin, the first before the range."""
        await store.load_entities([_point(tz="New_York")])
        zone = zone_of("New_York")
        days = [
            dt.datetime(2024, month, day, 12, tzinfo=zone) for month in (2, 3) for day in (1, 9)
        ]
        await store.his_write("p", [{"ts": ts, "val": ts.day} for ts in days])

        async def rolled(interval: str) -> dict[str, float]:
            found = await store.his_rollup("p", "2024-02-05,2024-03-31", interval, "sum")
            return {f"{item['ts']:%Y-%m-%d %H:%M}": item["val"].val for item in found["p"]}

        assert await rolled("1mo") == {"2024-02-01 00:00": 9, "2024-03-01 00:00": 10}
        assert await rolled("1wk") == {
            "2024-02-05 00:00": 9, "2024-02-26 00:00": 1, "2024-03-04 00:00": 9,
        }  # fmt: skip
        assert await rolled("1yr") == {"2024-01-01 00:00": 19}

    async def test_several_points(self, store: StorageAdapter) -> None:
        """By their ids as they were given, each with its own unit."""
        await store.load_entities([_point(), _point("q", unit="°C"), _point("empty")])
        await store.his_write("p", _items([(0, 1), (1, 2)]))
        await store.his_write("q", _items([(1, 5)]))

        ids: list[Any] = ["@q", Ref("p"), "empty", "p"]
        found = await store.his_rollup(ids, _DAY, "1day", "sum")

        def one(val: float, unit: str) -> list[HisItem]:
            return [{"ts": _MIDNIGHT, "val": Number(val, unit)}]

        assert list(found.items()) == [
            ("@q", one(5, "°C")),
            (Ref("p"), one(3, "kW")),
            ("empty", []),
            ("p", one(3, "kW")),
        ]
        assert await store.his_rollup([], _DAY, "1day", "sum") == {}

    async def test_zones_that_differ(self, store: StorageAdapter) -> None:
        """OC 14: an error, unless it is said in which to count."""
        await store.load_entities([_point(), _point("q", tz="New_York")])
        await store.his_write("q", _items([(1, 5)]))

        with pytest.raises(HisConfigError):
            await store.his_rollup(["p", "q"], _DAY, "1day", "sum")
        found = await store.his_rollup(["p", "q"], _DAY, "1day", "sum", tz="Tokyo")

        assert found["q"] == [
            {"ts": dt.datetime(2024, 3, 1, tzinfo=zone_of("Tokyo")), "val": Number(5, "kW")}
        ]

    async def test_a_long_range_costs_what_is_in_it(self, store: StorageAdapter) -> None:
        """Not what could be: there are half a billion minutes in this one."""
        await _store(store, (0, 1), (1.5, 3))

        for fold in ("avg", "last", "twa"):
            found = await _roll(store, fold, "30min", range="1951-01-01,2951-01-01")
            first, *_ = found.items()
            assert first == (0, Number(1, "kW"))

    @pytest.mark.parametrize("kind", ["Number", "Str"])
    async def test_many_intervals(self, store: StorageAdapter, kind: str) -> None:
        """More than anybody would look up one by one: 2,880 minutes, some without an item."""
        values = [at if kind == "Number" else str(at) for at in range(4_000)]
        await _store(store, *((at / 90, val) for at, val in enumerate(values)), kind=kind)

        for fold, wanted in (("first", 0), ("last", -1), ("count", None)):
            found = await _roll(store, fold, "1min", range="2024-03-01,2024-03-02")

            by_minute: dict[int, list[Any]] = {}
            for at, val in enumerate(values):
                by_minute.setdefault(at * 60 // 90, []).append(val)
            expected: dict[float, Any] = {
                minute / 60: Number(len(vals)) if wanted is None else vals[wanted]
                for minute, vals in by_minute.items()
                if minute < 2_880
            }
            if wanted is not None and kind == "Number":
                expected = {at: Number(val, "kW") for at, val in expected.items()}
            assert found == expected

    async def test_the_range_cuts_the_first_and_the_last_interval(
        self, store: StorageAdapter
    ) -> None:
        """They tell of their part inside, and are named by where they begin."""
        await _store(store, *((at / 4, 1) for at in range(12)))

        found = await _roll(store, "count", range="2024-03-01T00:30:00Z,2024-03-01T02:15:00Z")

        assert found == {0: Number(2), 1: Number(4), 2: Number(1)}

    async def test_no_history_is_an_empty_answer(self, store: StorageAdapter) -> None:
        """Of every fold."""
        await store.load_entities([_point()])

        for fold in _FOLDS:
            assert await _roll(store, fold) == {}
            assert await _roll(store, fold, range="1950-01-01,2900-01-01") == {}

    @pytest.mark.parametrize(
        ("args", "error"),
        [
            (("p", _DAY, "1fortnight", "avg"), InvalidRollupError),
            (("p", _DAY, "1hr", "median"), InvalidRollupError),
            (("text", _DAY, "1hr", "avg"), InvalidRollupError),
            (("p", _DAY, "1hr", "duration"), InvalidRollupError),
            (("p", "someday", "1hr", "avg"), RangeSyntaxError),
            (("gone", _DAY, "1hr", "avg"), UnknownEntityError),
            (("bare", _DAY, "1hr", "avg"), HisConfigError),
        ],
    )
    async def test_what_is_asked_in_a_wrong_way(
        self, store: StorageAdapter, args: tuple[Any, ...], error: type[Exception]
    ) -> None:
        """One clear error each."""
        await store.load_entities([_point(), _point("text", kind="Str"), {"id": Ref("bare")}])

        with pytest.raises(error):
            await store.his_rollup(*args)
