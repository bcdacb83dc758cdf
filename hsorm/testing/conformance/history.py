"""History: what a write accepts, and what a range finds (rules H1–H29)."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from hsorm.errors import HisConfigError, HisWriteError, RangeSyntaxError, UnknownEntityError
from hsorm.kinds import MARKER, NA, REMOVE, Coord, Entity, Number, Ref, equal
from hsorm.storage.protocol import HisItem, StorageAdapter
from hsorm.testing.conformance.examples import foreign

__all__ = ["HistoryRangeTests", "HistoryWriteTests"]

_UTC: Final = dt.UTC
_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=_UTC)
_DAY: Final = "2024-03-01"
_SECOND: Final = dt.timedelta(seconds=1)
_HOUR: Final = dt.timedelta(hours=1)


def _point(id: str = "p", **tags: Any) -> Entity:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC"}
    return {"id": Ref(id), **point, **tags}


async def _values(store: StorageAdapter, range: str = _DAY, id: str = "p") -> list[Any]:
    return [item["val"] for item in await store.his_read(id, range)]


async def _stamps(store: StorageAdapter, range: str, id: str = "p") -> list[dt.datetime]:
    return [item["ts"].astimezone(_UTC) for item in await store.his_read(id, range)]


def _items(*vals: Any) -> list[dict[str, Any]]:
    """Return items a second apart from noon on."""
    return [{"ts": _NOON + i * _SECOND, "val": val} for i, val in enumerate(vals)]


_KINDS: Final[dict[str, tuple[str, list[Any]]]] = {
    "numbers": ("Number", [Number(1.5, "kW"), Number(-3, "kW"), Number(1e300, "kW")]),
    "odd numbers": ("Number", [Number(math.inf), Number(-math.inf), Number(math.nan)]),
    "fractions": ("Number", [Number(0.1, "kW"), Number(1 / 3, "kW"), Number(5e-324, "kW")]),
    "bools": ("Bool", [True, False, True]),
    "texts": ("Str", ["", "on", 'it\'s "😀"\n', "x" * 40_000, "true", "null", "5"]),
    "places": ("Coord", [Coord(59.9, 10.7), Coord(-90, 180)]),
    "not available": ("Number", [NA, Number(1, "kW"), NA]),
}


class HistoryWriteTests:
    """`his_write` (rules H20–H29)."""

    @pytest.mark.parametrize("case", _KINDS)
    async def test_values_come_back_as_they_were(self, store: StorageAdapter, case: str) -> None:
        """H16, H22, H27, H28, OC 18."""
        kind, values = _KINDS[case]
        await store.load_entities([_point(kind=kind)])

        await store.his_write("p", _items(*values))

        assert equal(await _values(store), values)

    async def test_a_number_takes_the_points_unit(self, store: StorageAdapter) -> None:
        """H23, OC 21: native numbers and Numbers without unit."""
        await store.load_entities([_point()])

        await store.his_write("p", _items(1, 2.5, Number(3), Number(4, "kW"), -0.0))

        assert await _values(store) == [Number(n, "kW") for n in (1, 2.5, 3, 4, 0)]

    @pytest.mark.parametrize("make", [Decimal, Fraction, "int64", "float32", "float64"])
    async def test_numbers_of_other_libraries_are_taken(
        self, store: StorageAdapter, make: Any
    ) -> None:
        """H22: what a column NUMERIC or a cell of a data frame holds, among others."""
        await store.load_entities([_point(), _point("q")])
        items = _items(1, foreign(make, 5), 2.5, foreign(make, 0))

        await store.his_write("p", items)
        await store.his_write_batch([("q", item["ts"], item["val"]) for item in items])

        expected = [Number(val, "kW") for val in (1, 5, 2.5, 0)]
        assert await _values(store) == await _values(store, id="q") == expected

    async def test_truth_values_of_numpy_are_taken(self, store: StorageAdapter) -> None:
        """H22: by what they stand for."""
        await store.load_entities([_point(kind="Bool")])

        await store.his_write("p", _items(foreign("bool_", True), False, foreign("bool_", False)))

        assert await _values(store) == [True, False, False]

    async def test_what_is_of_no_kind_is_told(self, store: StorageAdapter) -> None:
        """H22: with what to give instead."""
        await store.load_entities([_point()])

        with pytest.raises(HisWriteError, match=r"object.* of no Haystack kind: give .*Number"):
            await store.his_write("p", _items(1, object()))

    async def test_numbers_follow_the_points_unit(self, store: StorageAdapter) -> None:
        """H29: the value stays; without unit they have none."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1, NA))

        await store.update({"id": Ref("p"), "unit": "hp"})
        in_hp = await _values(store)
        await store.update({"id": Ref("p"), "unit": REMOVE})

        assert in_hp == [Number(1, "hp"), NA]
        assert await _values(store) == [Number(1), NA]

    async def test_values_stay_of_their_kind(self, store: StorageAdapter) -> None:
        """H16: after a change of the point's kind."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1))

        await store.update({"id": Ref("p"), "kind": "Bool"})
        await store.his_write("p", [{"ts": _NOON + _SECOND, "val": True}])

        assert await _values(store) == [Number(1, "kW"), True]

    async def test_any_order_will_do(self, store: StorageAdapter) -> None:
        """H26: what comes back is ascending."""
        await store.load_entities([_point()])
        items = _items(*range(50))

        await store.his_write("p", [items[i * 17 % 50] for i in range(50)])

        assert await _values(store) == [Number(i, "kW") for i in range(50)]

    async def test_the_last_of_one_ts_wins(self, store: StorageAdapter) -> None:
        """H26, OC 17."""
        await store.load_entities([_point()])

        first, *_ = _items(1)
        await store.his_write(
            "p", [first, {**first, "val": 2}, *_items(0, 5)[1:], {**first, "val": 3}]
        )

        assert await _values(store) == [Number(3, "kW"), Number(5, "kW")]

    async def test_a_new_item_replaces_a_stored_one(self, store: StorageAdapter) -> None:
        """H27: others stay."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1, 2, 3))

        await store.his_write("p", [{"ts": _NOON + _SECOND, "val": 20}])

        assert await _values(store) == [Number(n, "kW") for n in (1, 20, 3)]

    async def test_writing_twice_is_writing_once(self, store: StorageAdapter) -> None:
        """H27."""
        await store.load_entities([_point()])

        for _ in range(2):
            await store.his_write("p", _items(1, 2, NA))

        assert await _values(store) == [Number(1, "kW"), Number(2, "kW"), NA]

    async def test_new_and_stored_items_in_one_call(self, store: StorageAdapter) -> None:
        """H27: earlier, between, later."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(*range(20))[5:15:2])

        await store.his_write("p", _items(*(100 + i for i in range(20)))[::3])

        expected = {i: i for i in range(5, 15, 2)} | {i: 100 + i for i in range(0, 20, 3)}
        assert await _values(store) == [Number(expected[i], "kW") for i in sorted(expected)]

    async def test_remove_deletes_the_item(self, store: StorageAdapter) -> None:
        """H15, H27: none there is no error; the last of one ts wins here, too."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1, 2, 3, 4))

        await store.his_write(
            "p", [*_items(REMOVE, 20, REMOVE), {"ts": _NOON - _HOUR, "val": REMOVE}]
        )
        await store.his_write("p", [*_items(REMOVE), *_items(5)])
        await store.his_write("p", [*_items(0, 0, 0, 9), *_items(0, 0, 0, REMOVE)][3::4])

        assert await _values(store) == [Number(5, "kW"), Number(20, "kW")]

    async def test_only_removes(self, store: StorageAdapter) -> None:
        """H27: on a point without any history as well."""
        await store.load_entities([_point()])

        await store.his_write("p", _items(REMOVE, REMOVE))

        assert await _values(store) == []

    async def test_timestamps_keep_their_microseconds(self, store: StorageAdapter) -> None:
        """OC 31."""
        await store.load_entities([_point()])
        stamps = [_NOON + dt.timedelta(microseconds=n) for n in (0, 1, 999_999)]

        await store.his_write("p", [{"ts": ts, "val": 1} for ts in stamps])

        assert await _stamps(store, _DAY) == stamps

    @pytest.mark.parametrize(("unit", "kept"), [("s", 0), ("ms", 123_000)])
    async def test_the_points_precision_floors(
        self, store: StorageAdapter, unit: str, kept: int
    ) -> None:
        """H25, H26, OC 31: of those that fall together the last in time wins."""
        await store.load_entities([_point(hisTsPrecision=Number(1, unit))])

        later, earlier = _NOON.replace(microsecond=123_999), _NOON.replace(microsecond=123_456)
        await store.his_write("p", [{"ts": later, "val": 2}, {"ts": earlier, "val": 1}])

        (item,) = await store.his_read("p", _DAY)
        assert item == {"ts": _NOON.replace(microsecond=kept), "val": Number(2, "kW")}

    async def test_any_zone_will_do(self, store: StorageAdapter) -> None:
        """OC 32: the instant counts, and is read in the point's zone."""
        await store.load_entities([_point(tz="New_York")])
        tokyo = _NOON.astimezone(ZoneInfo("Asia/Tokyo"))
        offset = (_NOON + _SECOND).astimezone(dt.timezone(dt.timedelta(hours=-3)))

        await store.his_write("p", [{"ts": tokyo, "val": 1}, {"ts": offset, "val": 2}])

        found = await store.his_read("p", _DAY)
        assert [item["ts"] for item in found] == [_NOON, _NOON + _SECOND]
        assert {item["ts"].tzinfo for item in found} == {ZoneInfo("America/New_York")}

    async def test_the_repeated_hour_is_two_hours(self, store: StorageAdapter) -> None:
        """H16, K4: one wall clock, two instants."""
        await store.load_entities([_point(tz="New_York")])
        zone = ZoneInfo("America/New_York")
        passes = [dt.datetime(2024, 11, 3, 1, 30, tzinfo=zone, fold=fold) for fold in (0, 1)]

        await store.his_write("p", [{"ts": ts, "val": ts.fold} for ts in reversed(passes)])

        found = await store.his_read("p", "2024-11-03")
        assert [item["val"] for item in found] == [Number(0, "kW"), Number(1, "kW")]
        assert [item["ts"].fold for item in found] == [0, 1]
        assert found[1]["ts"].astimezone(_UTC) - found[0]["ts"].astimezone(_UTC) == _HOUR

    async def test_old_and_future_items(self, store: StorageAdapter) -> None:
        """H24: from 1950 on, without an end."""
        await store.load_entities([_point()])
        years = [dt.datetime(year, 1, 1, tzinfo=_UTC) for year in (1950, 1969, 2099)]

        await store.his_write("p", [{"ts": ts, "val": 1} for ts in years])

        assert await _stamps(store, "1950-01-01,2099-12-31") == years

    async def test_points_are_separate(self, store: StorageAdapter) -> None:
        """H16."""
        await store.load_entities([_point("p"), _point("q")])

        await store.his_write("p", _items(1))
        await store.his_write("q", _items(2))

        assert await _values(store, id="p") == [Number(1, "kW")]
        assert await _values(store, id="@q") == [Number(2, "kW")]

    async def test_writes_at_a_time(self, store: StorageAdapter) -> None:
        """H27: overlapping items from several sides, none lost, none waits for ever."""
        await store.load_entities([_point()])

        async def write(n: int) -> None:
            items = [{"ts": _NOON + i * _SECOND, "val": n} for i in range(n, n + 40)]
            await store.his_write("p", items[:: 1 if n % 2 else -1])

        await asyncio.gather(*(write(n) for n in range(0, 50, 10)))

        assert len(await _values(store)) == 80

    async def test_many_items(self, store: StorageAdapter) -> None:
        """More than one batch of any backend; written again as well."""
        await store.load_entities([_point()])
        items = [{"ts": _NOON + i * _SECOND, "val": i} for i in range(12_000)]

        await store.his_write("p", items)
        await store.his_write("p", items[5_000:])

        assert await _values(store, "2024-03-01,2024-03-02") == [
            Number(i, "kW") for i in range(12_000)
        ]

    async def test_nothing_to_write_is_nothing(self, store: StorageAdapter) -> None:
        """H21: but the entity must be there; its tags are not looked at."""
        await store.load_entities([{"id": Ref("p")}])

        await store.his_write("p", [])

        with pytest.raises(UnknownEntityError):
            await store.his_write("gone", [])

    async def test_an_unknown_point_is_an_error(self, store: StorageAdapter) -> None:
        """H21."""
        with pytest.raises(UnknownEntityError) as caught:
            await store.his_write("gone", _items(1))

        assert caught.value.id == "gone"

    @pytest.mark.parametrize(
        "tags",
        [
            {"point": REMOVE},
            {"point": True},
            {"his": REMOVE},
            {"his": "yes"},
            {"aux": MARKER},
            {"kind": REMOVE},
            {"kind": "Date"},
            {"kind": Number(1)},
            {"tz": REMOVE},
            {"tz": "Atlantis"},
            {"tz": Number(1)},
            {"unit": Number(1)},
            {"hisTsPrecision": Number(1, "min")},
            {"hisMaxItems": Number(1.5)},
            {"hisMaxItems": "1000"},
        ],
        ids=str,
    )
    async def test_a_point_that_is_not_configured(
        self, store: StorageAdapter, tags: dict[str, Any]
    ) -> None:
        """H21: before anything is stored."""
        await store.load_entities([_point()])
        await store.update({"id": Ref("p"), **tags})

        with pytest.raises(HisConfigError) as caught:
            await store.his_write("p", _items(1))

        assert caught.value.id == "p"
        await store.load_entities([_point()])
        assert await _values(store) == []

    async def test_the_newest_items_are_kept(self, store: StorageAdapter) -> None:
        """H32, OC 20: as many as hisMaxItems says, by whichever call they come; else all."""
        await store.load_entities([_point(hisMaxItems=Number(3))])

        await store.his_write("p", _items(0, 1, 2, 3, 4))
        assert await _values(store) == [Number(n, "kW") for n in (2, 3, 4)]
        await store.his_write("p", _items(7))  # older than all that are kept
        assert await _values(store) == [Number(n, "kW") for n in (2, 3, 4)]
        later = _NOON + dt.timedelta(minutes=9)
        await store.his_write_batch([("p", later, 9)])
        assert await _values(store) == [Number(n, "kW") for n in (3, 4, 9)]
        await store.update({"id": Ref("p"), "hisMaxItems": REMOVE})
        await store.his_write("p", _items(0, 1, 2))
        assert len(await _values(store)) == 6

    @pytest.mark.parametrize(
        ("kind", "bad"),
        [
            ("Number", {"ts": _NOON, "val": "1"}),
            ("Number", {"ts": _NOON, "val": True}),
            ("Number", {"ts": _NOON, "val": None}),
            ("Number", {"ts": _NOON, "val": Number(1, "hp")}),
            ("Number", {"ts": _NOON, "val": MARKER}),
            ("Number", {"ts": _NOON, "val": 1j}),
            ("Bool", {"ts": _NOON, "val": 1}),
            ("Bool", {"ts": _NOON, "val": Decimal(1)}),
            ("Str", {"ts": _NOON, "val": Number(1)}),
            ("Str", {"ts": _NOON, "val": "\0"}),
            ("Str", {"ts": _NOON, "val": "\ud800"}),
            ("Coord", {"ts": _NOON, "val": "C(1,2)"}),
            ("Number", {"ts": dt.datetime(2024, 3, 1), "val": 1}),  # noqa: DTZ001 - what is refused
            ("Number", {"ts": dt.date(2024, 3, 1), "val": 1}),
            ("Number", {"ts": "2024-03-01T12:00:00Z", "val": 1}),
            ("Number", {"ts": dt.datetime(1949, 12, 31, 23, tzinfo=_UTC), "val": 1}),
            ("Number", {"ts": dt.datetime.max.replace(tzinfo=_UTC), "val": 1}),
            ("Number", {"val": 1}),
            ("Number", {"ts": _NOON}),
            ("Number", "no item"),
        ],
        ids=str,
    )
    async def test_one_bad_item_keeps_all_out(
        self, store: StorageAdapter, kind: str, bad: Any
    ) -> None:
        """H22–H24: the error says which one."""
        good: dict[str, Any] = {"Number": 1, "Bool": True, "Str": "x", "Coord": Coord(1, 2)}
        await store.load_entities([_point(kind=kind)])

        with pytest.raises(HisWriteError) as caught:
            await store.his_write("p", [*_items(good[kind], good[kind]), bad, *_items(good[kind])])

        assert caught.value.index == 2
        assert caught.value.id == "p"
        assert await _values(store) == []

    async def test_a_unit_on_a_point_without(self, store: StorageAdapter) -> None:
        """H23."""
        await store.load_entities([_point(unit=REMOVE)])

        with pytest.raises(HisWriteError):
            await store.his_write("p", _items(Number(1, "kW")))


async def _hours(store: StorageAdapter, tz: str, first: str, hours: int) -> None:
    """Write an item on every hour from an instant on, each with its number."""
    await store.load_entities([_point(tz=tz)])
    start = dt.datetime.fromisoformat(first)
    await store.his_write("p", [{"ts": start + i * _HOUR, "val": i} for i in range(hours)])


class HistoryRangeTests:
    """`his_read` (rules H1–H16, §5.4)."""

    async def test_a_day_is_a_day_in_the_points_zone(self, store: StorageAdapter) -> None:
        """H3: from midnight on, before the next."""
        await _hours(store, "Tokyo", "2024-02-29T00:00:00Z", 72)

        stamps = await _stamps(store, "2024-03-01")

        assert stamps[0] == dt.datetime(2024, 2, 29, 15, tzinfo=_UTC)
        assert stamps[-1] == dt.datetime(2024, 3, 1, 14, tzinfo=_UTC)
        assert len(stamps) == 24

    @pytest.mark.parametrize(
        ("tz", "day", "hours"),
        [
            ("New_York", "2024-03-10", 23),
            ("New_York", "2024-11-03", 25),
            ("Berlin", "2024-03-31", 23),
            ("Berlin", "2024-10-27", 25),
            ("Santiago", "2024-09-08", 23),
            ("Havana", "2024-11-03", 25),
            ("UTC", "2024-03-10", 24),
        ],
    )
    async def test_days_when_the_clocks_change(
        self, store: StorageAdapter, tz: str, day: str, hours: int
    ) -> None:
        """H3, OC 11: 23 and 25 hours, midnight skipped and repeated among them."""
        before = dt.date.fromisoformat(day) - dt.timedelta(days=1)
        await _hours(store, tz, f"{before}T00:00:00Z", 96)

        stamps = await _stamps(store, day)

        assert len(stamps) == hours
        assert stamps[-1] - stamps[0] == (hours - 1) * _HOUR

    async def test_days_touch_without_gap_or_overlap(self, store: StorageAdapter) -> None:
        """H3: over the clocks' change every item is in one day."""
        await _hours(store, "New_York", "2024-11-01T12:00:00Z", 96)
        days = [f"2024-11-0{n}" for n in range(1, 7)]

        one_by_one = [ts for day in days for ts in await _stamps(store, day)]

        assert one_by_one == await _stamps(store, "2024-11-01,2024-11-06")
        assert len(one_by_one) == 96

    async def test_two_dates_include_the_last_day(self, store: StorageAdapter) -> None:
        """§5.1, H4: the day before the first is a span of nothing."""
        await _hours(store, "UTC", "2024-03-01T00:00:00Z", 96)

        assert await _values(store, "2024-03-02,2024-03-03") == [
            Number(i, "kW") for i in range(24, 72)
        ]
        assert await _values(store, "2024-03-02,2024-03-02") == await _values(store, "2024-03-02")
        assert await _values(store, "2024-03-02,2024-03-01") == []

    async def test_two_datetimes_exclude_the_end(self, store: StorageAdapter) -> None:
        """§5.1, H4: the start is in it."""
        await _hours(store, "New_York", "2024-03-01T00:00:00Z", 24)

        found = await _values(store, "2024-03-01T05:00:00Z,2024-03-01T08:00:00Z")

        assert found == [Number(i, "kW") for i in (5, 6, 7)]
        assert await _values(store, "2024-03-01T05:00:00Z,2024-03-01T05:00:00Z") == []

    async def test_datetimes_of_another_zone(self, store: StorageAdapter) -> None:
        """H5: instants; the answer is in the point's zone."""
        await _hours(store, "New_York", "2024-03-01T00:00:00Z", 24)
        tokyo = "2024-03-01T14:00:00+09:00 Tokyo , 2024-03-01T16:00:00+09:00 Tokyo"

        found = await store.his_read("p", tokyo)

        assert [item["val"] for item in found] == [Number(5, "kW"), Number(6, "kW")]
        assert {item["ts"].tzinfo for item in found} == {ZoneInfo("America/New_York")}

    async def test_a_datetime_alone_ends_now(self, store: StorageAdapter) -> None:
        """§5.1: what lies in the future is not in it."""
        now = dt.datetime.now(_UTC)
        await store.load_entities([_point()])
        stamps = [now - 2 * _HOUR, now - _HOUR, now + _HOUR]
        await store.his_write("p", [{"ts": ts, "val": 1} for ts in stamps])

        start = (now - _HOUR).isoformat().replace("+00:00", "Z")

        assert await _stamps(store, start) == [now - _HOUR]

    async def test_words_mean_days_in_the_points_zone(self, store: StorageAdapter) -> None:
        """OC 12, OC 13: where it is about noon now, so that no midnight comes in between."""
        now = dt.datetime.now(_UTC)
        hours = 12 - now.hour
        zone = dt.timezone(dt.timedelta(hours=hours))
        await store.load_entities([_point(tz=f"GMT{-hours:+d}" if hours else "GMT")])
        noon = now.astimezone(zone).replace(hour=12, minute=0, second=0, microsecond=0)
        days = {n: noon - dt.timedelta(days=n) for n in (0, 1, 7, 8, 28, 29, 365, 366)}
        await store.his_write("p", [{"ts": ts, "val": n} for n, ts in days.items()])

        async def found(word: str) -> list[int]:
            return [int(val.val) for val in await _values(store, word)]

        assert await found("today") == [0]
        assert await found("yesterday") == [1]
        assert await found("pastWeek") == [7, 1]
        assert await found("pastMonth") == [28, 8, 7, 1]
        assert await found("pastYear") == [365, 29, 28, 8, 7, 1]
        monday = (noon - dt.timedelta(days=noon.weekday())).date()
        assert await found("thisWeek") == [
            n for n in sorted(days, reverse=True) if days[n].date() >= monday
        ]
        year = [n for n in sorted(days, reverse=True) if days[n].year == noon.year]
        assert await found("thisYear") == year

    @pytest.mark.parametrize(
        "range",
        [
            "", " ", "now", "Today", " today", "last24hours", "2024", "2024-01", "2024-02-30",
            "2024-03-02,2024-02-29", "2024-03-01,", ",2024-03-01",
            "2024-03-01,2024-03-02,2024-03-03",
            "2024-03-01,2024-03-02T00:00:00Z", "2024-03-01T00:00:00", "2024-03-01T00:00:00-05:00",
            "2024-03-01T00:00:00Z,2024-03-01T00:00:00+00:00 London",
            "2024-03-02T00:00:00Z,2024-03-01T00:00:00Z", "9999-01-01T00:00:00Z", "2024-03-01 x",
            "'; DROP TABLE history; --", "\0",
        ],
    )  # fmt: skip
    async def test_any_other_range_is_an_error(self, store: StorageAdapter, range: str) -> None:
        """H2, H4–H6: the error shows where."""
        await store.load_entities([_point()])

        with pytest.raises(RangeSyntaxError) as caught:
            await store.his_read("p", range)

        assert caught.value.text == range
        assert 0 <= caught.value.pos <= len(range)

    @pytest.mark.parametrize(
        "tags",
        [{"tz": REMOVE}, {"tz": "Atlantis"}, {"point": REMOVE}, {"his": REMOVE}, {"aux": MARKER}],
        ids=str,
    )
    async def test_a_point_that_is_not_configured(
        self, store: StorageAdapter, tags: dict[str, Any]
    ) -> None:
        """H12."""
        await store.load_entities([_point()])
        await store.update({"id": Ref("p"), **tags})

        with pytest.raises(HisConfigError) as caught:
            await store.his_read("p", "today")

        assert caught.value.id == "p"

    async def test_reading_does_without_a_kind(self, store: StorageAdapter) -> None:
        """H12."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1))
        await store.update({"id": Ref("p"), "kind": REMOVE})

        assert await _values(store) == [Number(1, "kW")]

    async def test_the_zone_of_the_answer_follows_the_point(self, store: StorageAdapter) -> None:
        """H29, C15: the instants stay."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1))

        await store.update({"id": Ref("p"), "tz": "Tokyo"})

        found: list[HisItem] = await store.his_read("p", _DAY)
        assert found[0]["ts"] == _NOON
        assert found[0]["ts"].tzinfo == ZoneInfo("Asia/Tokyo")

    async def test_no_history_is_an_empty_answer(self, store: StorageAdapter) -> None:
        """H10."""
        await store.load_entities([_point()])

        assert await store.his_read("p", "today") == []
        assert await store.his_read("p", "1950-01-01,2099-12-31") == []

    async def test_an_unknown_point_is_an_error(self, store: StorageAdapter) -> None:
        """H12: before the range is looked at."""
        with pytest.raises(UnknownEntityError):
            await store.his_read("gone", "no range")
