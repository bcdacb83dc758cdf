"""History beyond one point and one list: batches, streams, edges, clearing (H11–H17, H30, H31)."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from hsorm.errors import (
    HisConfigError,
    HisWriteError,
    RangeSyntaxError,
    UnknownEntityError,
)
from hsorm.his import ALWAYS, Span, his_grid
from hsorm.kinds import MARKER, NA, REMOVE, Coord, Entity, Number, Ref
from hsorm.storage.protocol import StorageAdapter

__all__ = ["HistoryBatchReadTests", "HistoryBatchWriteTests", "HistoryClearTests"]

_UTC: Final = dt.UTC
_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=_UTC)
_DAY: Final = "2024-03-01"
_SECOND: Final = dt.timedelta(seconds=1)
_PART: Final = 100_000


def _point(id: str = "p", **tags: Any) -> Entity:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC"}
    return {"id": Ref(id), **point, **tags}


def _items(*vals: Any) -> list[dict[str, Any]]:
    """Return items a second apart from noon on."""
    return [{"ts": _at(i), "val": val} for i, val in enumerate(vals)]


def _at(second: int) -> dt.datetime:
    return _NOON + second * _SECOND


def _kw(*vals: float) -> list[Number]:
    return [Number(val, "kW") for val in vals]


async def _values(store: StorageAdapter, id: str = "p", range: Any = _DAY) -> list[Any]:
    return [item["val"] for item in await store.his_read(id, range)]


class HistoryBatchReadTests:
    """`his_read` with options, `his_read_batch`, `his_read_iter`, `his_summary`."""

    async def test_a_limit_takes_the_oldest(self, store: StorageAdapter) -> None:
        """H14, OC 16."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(*range(5)))

        found = {
            limit: [item["val"] for item in await store.his_read("p", _DAY, limit=limit)]
            for limit in (0, 1, 3, 5, 6, -1, 2**70)
        }

        assert found == {
            0: [], 1: _kw(0), 3: _kw(0, 1, 2), 5: _kw(*range(5)), 6: _kw(*range(5)), -1: [],
            2**70: _kw(*range(5)),
        }  # fmt: skip

    async def test_a_span_is_a_range(self, store: StorageAdapter) -> None:
        """K26: half open; in any zone."""
        await store.load_entities([_point(tz="Tokyo")])
        await store.his_write("p", _items(*range(5)))
        zone = ZoneInfo("America/New_York")

        found = await store.his_read("p", Span(_at(1).astimezone(zone), _at(3).astimezone(zone)))

        assert [item["val"] for item in found] == _kw(1, 2)
        assert {item["ts"].tzinfo for item in found} == {ZoneInfo("Asia/Tokyo")}
        assert await _values(store, range=ALWAYS) == _kw(*range(5))
        assert await _values(store, range=Span(_at(2), _at(2))) == []

    @pytest.mark.parametrize(
        ("first", "past", "expected"),
        [
            (2, 4, [1, 2, 3, 4, 5]),
            (0, 2, [0, 1, 2, 3]),
            (4, 6, [3, 4, 5]),
            (3, 3, [2, 3, 4]),
            (-9, -5, [0, 1]),
            (9, 12, [5]),
            (-9, 99, [0, 1, 2, 3, 4, 5]),
        ],
    )
    async def test_the_items_around_a_range(
        self, store: StorageAdapter, first: int, past: int, expected: list[int]
    ) -> None:
        """H13, OC 15: one before, up to two from the end on; also of a range without items."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(*range(6)))

        found = await store.his_read("p", Span(_at(first), _at(past)), around=True)

        assert [item["val"] for item in found] == _kw(*expected)
        with pytest.raises(ValueError, match="limit"):
            await store.his_read("p", _DAY, limit=1, around=True)

    async def test_several_points(self, store: StorageAdapter) -> None:
        """H11: by id as given, in the order asked for; one without items among them."""
        ids = ["c", "a", "b"]
        await store.load_entities([_point(id, unit="kW" if id != "b" else "°C") for id in ids])
        await store.his_write("a", _items(1, NA, 3))
        await store.his_write("b", [{"ts": _at(1), "val": 20}])

        asked: list[Ref | str] = [Ref("c"), "b", "@a", "b"]
        found = await store.his_read_batch(asked, _DAY)

        assert list(found) == [Ref("c"), "b", "@a"]
        assert found[Ref("c")] == []
        assert found["b"] == [{"ts": _at(1), "val": Number(20, "°C")}]
        assert found["@a"] == await store.his_read("a", _DAY)
        assert await store.his_read_batch([], _DAY) == {}

    async def test_the_grid_of_several_points(self, store: StorageAdapter) -> None:
        """H11: a row an instant, no cell where there is no item, also in the hour that repeats."""
        await store.load_entities([_point("a", tz="New_York"), _point("b", tz="New_York")])
        hours = [dt.datetime(2024, 11, 3, hour, 30, tzinfo=_UTC) for hour in (4, 5, 6)]
        await store.his_write("a", [{"ts": hours[i], "val": i} for i in (0, 1, 2)])
        await store.his_write("b", [{"ts": hours[i], "val": 10 + i} for i in (1,)])

        grid = his_grid(await store.his_read_batch(["b", "a"], "2024-11-03"))

        assert [col.name for col in grid.cols] == ["ts", "v0", "v1"]
        assert [col.meta.get("id") for col in grid.cols] == [None, Ref("b"), Ref("a")]
        assert [row["ts"].astimezone(_UTC) for row in grid.rows] == hours  # type: ignore[union-attr]
        assert [row.get("v0") for row in grid.rows] == [None, Number(11, "kW"), None]
        assert [row.get("v1") for row in grid.rows] == _kw(0, 1, 2)
        assert grid.meta == {"hisStart": grid.rows[0]["ts"], "hisEnd": grid.rows[-1]["ts"]}
        assert his_grid({"a": []}).rows == ()

    async def test_the_grid_keeps_instants_apart(self, store: StorageAdapter) -> None:
        """H11: in years whose microseconds since 1970 no double tells apart, too."""
        await store.load_entities([_point("a"), _point("b")])
        late = dt.datetime(9000, 1, 1, tzinfo=_UTC)
        later = late + dt.timedelta(microseconds=1)
        await store.his_write("a", [{"ts": late, "val": 1}])
        await store.his_write("b", [{"ts": later, "val": 2}])

        grid = his_grid(await store.his_read_batch(["a", "b"], ALWAYS))

        assert [row["ts"] for row in grid.rows] == [late, later]

    async def test_points_in_several_zones(self, store: StorageAdapter) -> None:
        """H11, OC 14: an error, but where the zone is told: range and timestamps are in that."""
        await store.load_entities([_point("a", tz="UTC"), _point("b", tz="Tokyo")])
        for id in ("a", "b"):
            await store.his_write(id, [{"ts": _NOON + dt.timedelta(hours=4), "val": 1}])

        with pytest.raises(HisConfigError) as caught:
            await store.his_read_batch(["a", "b"], _DAY)
        in_tokyo = await store.his_read_batch(["a", "b"], "2024-03-02", tz="Tokyo")

        assert caught.value.id == "b"
        zones = {item["ts"].tzinfo for items in in_tokyo.values() for item in items}
        assert zones == {ZoneInfo("Asia/Tokyo")}
        assert [len(items) for items in in_tokyo.values()] == [1, 1]
        assert await store.his_read_batch(["b"], "2024-03-02") == {"b": in_tokyo["b"]}
        with pytest.raises(LookupError):
            await store.his_read_batch(["a"], _DAY, tz="Atlantis")

    async def test_one_bad_id_fails_the_batch(self, store: StorageAdapter) -> None:
        """H12."""
        await store.load_entities([_point("a"), _point("trash", trash=MARKER), {"id": Ref("x")}])

        for bad in ("gone", "trash", "\0"):
            with pytest.raises(UnknownEntityError):
                await store.his_read_batch(["a", bad], _DAY)
        with pytest.raises(HisConfigError):
            await store.his_read_batch(["a", "x"], _DAY)
        with pytest.raises(RangeSyntaxError):
            await store.his_read_batch(["a"], "no range")

    async def test_a_limit_for_each_point(self, store: StorageAdapter) -> None:
        """H14: the oldest of each."""
        await store.load_entities([_point("a"), _point("b")])
        await store.his_write_batch({"a": _items(1, 2, 3), "b": _items(4)})

        found = await store.his_read_batch(["a", "b"], _DAY, limit=2)

        assert [[item["val"] for item in items] for items in found.values()] == [
            _kw(1, 2),
            _kw(4),
        ]

    async def test_reading_item_by_item(self, store: StorageAdapter) -> None:
        """H10: more than one page of any backend, and none at all."""
        await store.load_entities([_point(tz="New_York")])
        start = dt.datetime(2024, 11, 3, 4, tzinfo=_UTC)
        items = [{"ts": start + i * _SECOND, "val": i} for i in range(20_000)]
        await store.his_write("p", items)

        found = [item async for item in store.his_read_iter("p", ALWAYS)]

        assert found == await store.his_read("p", ALWAYS)
        assert [item["val"] for item in found] == _kw(*range(20_000))
        assert [item async for item in store.his_read_iter("p", "1999-01-01")] == []
        with pytest.raises(UnknownEntityError):
            await anext(store.his_read_iter("gone", ALWAYS))

    async def test_a_reader_may_stop_and_write(self, store: StorageAdapter) -> None:
        """No connection is held: what comes behind is found, what lies before is not."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(*range(15_000)))
        seen = []

        async for item in store.his_read_iter("p", ALWAYS):
            seen.append(item["val"].val)
            if len(seen) == 1:
                await store.his_write("p", [{"ts": _at(-1), "val": -1}])
                await store.his_write("p", [{"ts": _at(14_999), "val": 7}])
            if len(seen) == 15_000:
                break

        assert seen == [*range(14_999), 7]

    async def test_how_much_there_is(self, store: StorageAdapter) -> None:
        """H17."""
        await store.load_entities([_point("a", tz="Tokyo"), _point("b")])
        await store.his_write("a", _items(1, NA, 3))

        found = await store.his_summary("a")

        assert found == {"hisSize": Number(3), "hisStart": _at(0), "hisEnd": _at(2)}
        assert found["hisStart"].tzinfo == ZoneInfo("Asia/Tokyo")
        assert await store.his_summary("b") == {}
        with pytest.raises(UnknownEntityError):
            await store.his_summary("gone")


_Make = Callable[[list[tuple[str, dt.datetime, Any]]], Any]


async def _stream(records: list[tuple[str, dt.datetime, Any]]) -> AsyncIterator[Any]:
    for record in records:
        await asyncio.sleep(0)
        yield record


_SOURCES: Final[dict[str, _Make]] = {
    "records": lambda records: records,
    "a generator": lambda records: (record for record in records),
    "dicts": lambda records: [{"id": Ref(id), "ts": ts, "val": val} for id, ts, val in records],
    "a stream": _stream,
}


class HistoryBatchWriteTests:
    """`his_write` with options, and `his_write_batch`."""

    async def test_items_by_point(self, store: StorageAdapter) -> None:
        """H26, H27, H30: in any order, by any form of the id, nothing for one of them."""
        await store.load_entities([_point("a"), _point("b", kind="Bool"), {"id": Ref("c")}])
        await store.his_write("a", _items(1, 2, 3))

        count = await store.his_write_batch(
            {
                Ref("b"): _items(True, NA),
                "@a": [{"ts": _at(3), "val": 4}, *_items(10, REMOVE), {"ts": _at(0), "val": 11}],
                "c": [],
            }
        )

        assert count == 5
        assert await _values(store, "a") == _kw(11, 3, 4)
        assert await _values(store, "b") == [True, NA]

    async def test_one_point_in_two_forms(self, store: StorageAdapter) -> None:
        """OC 17: the later counts."""
        await store.load_entities([_point()])

        await store.his_write_batch({"p": _items(1, 2), "@p": _items(3)})

        assert await _values(store) == _kw(3, 2)

    @pytest.mark.parametrize("source", _SOURCES)
    async def test_records_of_any_point(self, store: StorageAdapter, source: str) -> None:
        """H26, H27: the points mixed; the last of one instant counts."""
        await store.load_entities([_point("a"), _point("b", kind="Str", unit=REMOVE)])
        records: list[tuple[str, dt.datetime, Any]] = [
            ("b", _at(1), "x"),
            ("a", _at(2), 2),
            ("a", _at(1), 1),
            ("b", _at(0), NA),
            ("a", _at(2), 3),
        ]

        count = await store.his_write_batch(_SOURCES[source](records))

        assert count == 4
        assert await _values(store, "a") == _kw(1, 3)
        assert await _values(store, "b") == [NA, "x"]

    async def test_nothing_to_write(self, store: StorageAdapter) -> None:
        """H21: but what is named must be there."""
        await store.load_entities([{"id": Ref("x")}])

        assert await store.his_write_batch({}) == 0
        assert await store.his_write_batch([]) == 0
        assert await store.his_write_batch({"x": []}) == 0
        with pytest.raises(UnknownEntityError):
            await store.his_write_batch({"gone": []})

    async def test_many_points(self, store: StorageAdapter) -> None:
        """A sample of each: the everyday write of a site."""
        ids = [f"p{n:04}" for n in range(2_000)]
        await store.load_entities([_point(id) for id in ids])

        for second in (0, 1, 1):
            count = await store.his_write_batch(
                {id: [{"ts": _at(second), "val": n}] for n, id in enumerate(ids)}
            )
            assert count == 2_000

        found = await store.his_read_batch(ids, _DAY)
        assert [[item["val"].val for item in items] for items in found.values()] == [
            [n, n] for n in range(2_000)
        ]

    async def test_a_long_stream(self, store: StorageAdapter) -> None:
        """More than what is held at a time; later parts replace, and remove, what earlier wrote."""
        await store.load_entities([_point("a"), _point("b")])
        await store.his_write("b", _items(*range(10)))

        def records() -> Any:
            for i in range(_PART + 10):
                yield "ab"[i % 2], _at(_PART - i), i
            yield from (("b", _at(i), REMOVE) for i in range(5))
            yield "b", _at(4), -1
            yield "a", _at(100), -2

        await store.his_write_batch(records())

        a = await store.his_read("a", ALWAYS)
        b = await store.his_read("b", ALWAYS)
        assert len(a) == (_PART + 10) // 2
        by_second = {round((item["ts"] - _NOON) / _SECOND): item["val"].val for item in a}
        assert by_second == {_PART - i: i for i in range(0, _PART + 10, 2)} | {100: -2}
        seconds = {round((item["ts"] - _NOON) / _SECOND): item["val"].val for item in b}
        expected = {i: i for i in range(10)} | {_PART - i: i for i in range(1, _PART + 10, 2)}
        assert seconds == {s: v for s, v in expected.items() if s not in range(5)} | {4: -1}

    @pytest.mark.parametrize("place", [3, _PART + 3])
    @pytest.mark.parametrize("bad", ["value", "point", "unknown", "record"])
    async def test_one_bad_record_keeps_all_out(
        self, store: StorageAdapter, place: int, bad: str
    ) -> None:
        """H21–H24: all or nothing; the error says which item of which point."""
        await store.load_entities([_point("a"), _point("b"), {"id": Ref("x")}])
        wrong: Any = {
            "value": ("b", _at(0), "text"),
            "point": ("x", _at(0), 1),
            "unknown": ("gone", _at(0), 1),
            "record": ("b", _at(0)),
        }[bad]
        errors = {"point": HisConfigError, "unknown": UnknownEntityError}

        def records() -> Any:
            yield from (("ab"[i % 2], _at(i), i) for i in range(place))
            yield wrong
            yield "a", _at(-1), 1

        with pytest.raises(errors.get(bad, HisWriteError)) as caught:
            await store.his_write_batch(records())

        if isinstance(caught.value, HisWriteError):
            assert caught.value.index == place
            assert caught.value.id == ("b" if bad == "value" else "")
        assert await store.his_summary("a") == {}
        assert await store.his_summary("b") == {}

    async def test_one_bad_item_of_a_mapping(self, store: StorageAdapter) -> None:
        """H22: the index is that among the items of its point."""
        await store.load_entities([_point("a"), _point("b")])

        with pytest.raises(HisWriteError) as caught:
            await store.his_write_batch({"a": _items(1, 2), "b": _items(1, "text")})

        assert (caught.value.id, caught.value.index) == ("b", 1)
        assert await _values(store, "a") == []

    async def test_a_source_that_fails(self, store: StorageAdapter) -> None:
        """Its error comes through, and nothing was written."""
        await store.load_entities([_point()])

        def records() -> Any:
            yield from (("p", _at(i), i) for i in range(_PART + 1))
            raise OSError("the file ends here")

        with pytest.raises(OSError, match="the file ends here"):
            await store.his_write_batch(records())

        assert await store.his_summary("p") == {}

    async def test_writers_of_the_same_points(self, store: StorageAdapter) -> None:
        """H27: in opposite orders, with removals; none waits for ever, nothing is lost."""
        ids = [f"p{n}" for n in range(20)]
        await store.load_entities([_point(id) for id in ids])
        seconds = list(range(50))

        async def write(n: int) -> None:
            records = [(id, _at(s), n) for id in ids for s in seconds]
            removals = [(id, _at(60 + n), REMOVE) for id in ids]
            both = [*records, *removals]
            await store.his_write_batch(both if n % 2 else both[::-1])

        await asyncio.gather(*(write(n) for n in range(6)))

        found = await store.his_read_batch(ids, _DAY)
        assert {len(items) for items in found.values()} == {50}
        # Whoever came last has written all of it.
        assert len({item["val"] for items in found.values() for item in items}) == 1

    async def test_clipping(self, store: StorageAdapter) -> None:
        """H31: by the floored ts, whatever the value; all of them, too. The index stays true."""
        await store.load_entities([_point(hisTsPrecision=Number(1, "s"))])
        late = dt.timedelta(milliseconds=900)
        items: list[dict[str, Any]] = [
            {"ts": _at(0), "val": "wrong"},
            {"ts": _at(1), "val": 1},
            {"ts": _at(2) + late, "val": 2},
            {"ts": _at(3), "val": None},
        ]

        await store.his_write("p", items, clip=Span(_at(1), _at(2) + 0.5 * _SECOND))
        await store.his_write("p", items, clip=Span(_at(10), _at(11)))

        assert await _values(store) == _kw(1, 2)
        with pytest.raises(HisWriteError) as caught:
            await store.his_write("p", items, clip=Span(_at(1), _at(4)))
        assert caught.value.index == 3
        old = {"ts": dt.datetime(1940, 1, 1, tzinfo=_UTC), "val": 1}
        with pytest.raises(HisWriteError):  # the years come before
            await store.his_write("p", [old], clip=Span(_at(1), _at(4)))

    async def test_clearing_first(self, store: StorageAdapter) -> None:
        """H31, OC 19: then writing; also where there is nothing to write."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(*range(6)))

        await store.his_write("p", [{"ts": _at(4), "val": 40}], clear=Span(_at(2), _at(5)))
        between = await _values(store)
        await store.his_write("p", [], clear=Span(_at(5), _at(9)))
        after = await _values(store)
        with pytest.raises(HisWriteError):
            await store.his_write("p", _items("text"), clear=_DAY)
        with pytest.raises(RangeSyntaxError):
            await store.his_write("p", _items(1), clear="no range")
        kept = await _values(store)
        await store.his_write("p", _items(7), clear=_DAY)

        assert between == _kw(0, 1, 40, 5)
        assert after == kept == _kw(0, 1, 40)
        assert await _values(store) == _kw(7)

    async def test_kinds_in_one_batch(self, store: StorageAdapter) -> None:
        """H16: each as its point has it."""
        kinds: dict[str, Any] = {
            "Number": Number(1),
            "Bool": False,
            "Str": "ø",
            "Coord": Coord(1, 2),
        }
        await store.load_entities([_point(kind, kind=kind, unit=REMOVE) for kind in kinds])

        await store.his_write_batch([(kind, _at(0), val) for kind, val in kinds.items()])

        found = await store.his_read_batch(kinds, _DAY)
        assert {kind: items[0]["val"] for kind, items in found.items()} == kinds

    async def test_watches_are_told_once(self, store: StorageAdapter) -> None:
        """H33: of each point of a batch; `mod` stays."""
        await store.load_entities([_point("a"), _point("b"), _point("c")])
        before = await store.read_by_ids(["a", "b"])
        rows = await store.watch_sub(None, ["a", "b", "c"])

        await store.his_write_batch({"b": _items(1), "a": _items(2)})

        polled = await store.watch_poll(rows.watch_id)
        assert [row["id"] for row in polled] == [Ref("a"), Ref("b")]
        assert await store.read_by_ids(["a", "b"]) == before
        assert list(await store.watch_poll(rows.watch_id)) == []


class HistoryClearTests:
    """`his_clear`."""

    async def test_a_range_or_all(self, store: StorageAdapter) -> None:
        """Other points keep theirs; the answer counts."""
        await store.load_entities([_point("p", tz="Tokyo"), _point("q")])
        for id in ("p", "q"):
            await store.his_write(id, _items(*range(6)))

        counts = [
            await store.his_clear("p", Span(_at(2), _at(4))),
            await store.his_clear("p", Span(_at(2), _at(4))),
            await store.his_clear("p", "2024-03-02"),
        ]
        left = await _values(store)
        counts += [await store.his_clear(Ref("p")), await store.his_clear("p")]

        assert counts == [2, 0, 0, 4, 0]
        assert left == _kw(0, 1, 4, 5)
        assert await _values(store, range=ALWAYS) == []
        assert await _values(store, "q") == _kw(*range(6))

    async def test_days_are_those_of_the_point(self, store: StorageAdapter) -> None:
        """H3: 25 hours of them."""
        await store.load_entities([_point(tz="New_York")])
        first = dt.datetime(2024, 11, 3, 3, 30, tzinfo=_UTC)
        hour = dt.timedelta(hours=1)
        await store.his_write("p", [{"ts": first + i * hour, "val": i} for i in range(28)])

        count = await store.his_clear("p", "2024-11-03")

        assert count == 25
        assert await _values(store, range=ALWAYS) == _kw(0, 26, 27)

    async def test_what_cannot_be_cleared(self, store: StorageAdapter) -> None:
        """H12, as for reading; nothing is gone."""
        await store.load_entities([_point(), {"id": Ref("x")}])
        await store.his_write("p", _items(1))

        with pytest.raises(UnknownEntityError):
            await store.his_clear("gone")
        with pytest.raises(HisConfigError):
            await store.his_clear("x")
        with pytest.raises(RangeSyntaxError):
            await store.his_clear("p", "no range")
        assert await _values(store) == _kw(1)

    async def test_watches_are_told(self, store: StorageAdapter) -> None:
        """H33: where something was cleared."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1))
        rows = await store.watch_sub(None, ["p"])

        await store.his_clear("p")
        told = [row["id"] for row in await store.watch_poll(rows.watch_id)]
        await store.his_clear("p")

        assert told == [Ref("p")]
        assert list(await store.watch_poll(rows.watch_id)) == []

    async def test_written_again_after_clearing(self, store: StorageAdapter) -> None:
        """Nothing of the old ones comes back."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1, NA, 3))

        await store.his_clear("p")
        await store.his_write("p", [{"ts": _at(1), "val": 2}])

        assert await _values(store) == _kw(2)

    async def test_deleting_a_point_deletes_its_history(self, store: StorageAdapter) -> None:
        """Made again, it begins with none."""
        await store.load_entities([_point()])
        await store.his_write("p", _items(1))

        await store.delete("p")
        await store.load_entities([_point()])

        assert await _values(store, range=ALWAYS) == []

    async def test_zone_and_unit_of_cleared_and_kept(self, store: StorageAdapter) -> None:
        """C15, H29: items follow, in batches as well."""
        await store.load_entities([_point("a"), _point("b")])
        await store.his_write_batch({"a": _items(1, NA), "b": _items(2)})

        for id in ("a", "b"):
            await store.update({"id": Ref(id), "tz": "Kathmandu", "unit": "hp"})

        found = await store.his_read_batch(["a", "b"], _DAY)
        assert found["a"] == [
            {"ts": _at(0), "val": Number(1, "hp")},
            {"ts": _at(1), "val": NA},
        ]
        assert {item["ts"].tzinfo for items in found.values() for item in items} == {
            ZoneInfo("Asia/Kathmandu")
        }
