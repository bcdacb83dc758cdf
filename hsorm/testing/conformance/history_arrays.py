"""History as arrays: `his_arrow`, `his_pandas`, `his_numpy`; Arrow streams as a source."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any, Final

import pytest

from hsorm.errors import HisConfigError, HisWriteError, UnknownEntityError
from hsorm.his import ALWAYS
from hsorm.kinds import MARKER, NA, REMOVE, Coord, Entity, Number, Ref
from hsorm.storage.protocol import StorageAdapter

__all__ = ["HistoryArrayTests"]

_UTC: Final = dt.UTC
_NOON: Final = dt.datetime(2024, 3, 1, 12, tzinfo=_UTC)
_DAY: Final = "2024-03-01"


def _point(id: str, kind: str = "Number", **tags: Any) -> Entity:
    point = {"point": MARKER, "his": MARKER, "kind": kind, "tz": "New_York"}
    return {"id": Ref(id), **point, **tags}


def _at(second: int) -> dt.datetime:
    return _NOON + second * dt.timedelta(seconds=1)


def _items(*vals: Any) -> list[dict[str, Any]]:
    return [{"ts": _at(i), "val": val} for i, val in enumerate(vals)]


async def _load(store: StorageAdapter) -> None:
    """Write a point of each kind; each has an NA."""
    await store.load_entities(
        [
            _point("n", unit="kW"),
            _point("b", "Bool"),
            _point("s", "Str"),
            _point("c", "Coord"),
            _point("none"),
        ]
    )
    await store.his_write_batch(
        {
            "n": _items(1.5, NA, math.nan, -math.inf),
            "b": _items(True, NA, False),
            "s": [{"ts": _at(1), "val": "ø"}, {"ts": _at(9), "val": NA}],
            "c": _items(Coord(1, 2), NA),
        }
    )


class HistoryArrayTests:
    """The same answers on every backend; without pyarrow these are skipped."""

    async def test_a_long_table(self, store: StorageAdapter) -> None:
        """A row an item, by point in the order asked for; `obj` is what is no Number."""
        pa = pytest.importorskip("pyarrow")
        await _load(store)

        table = await store.his_arrow(["s", Ref("n"), "@b", "none"], _DAY)

        assert table.schema.names == ["id", "ts", "val", "obj"]
        assert table.schema.field("id").type == pa.dictionary(pa.int32(), pa.string())
        assert table.schema.field("ts").type == pa.timestamp("us", tz="America/New_York")
        rows = [tuple(row.values()) for row in table.to_pylist()]
        assert [(id, ts.astimezone(_UTC)) for id, ts, _, _ in rows] == [
            *(("s", _at(i)) for i in (1, 9)),
            *(("n", _at(i)) for i in range(4)),
            *(("b", _at(i)) for i in range(3)),
        ]
        na = '{"_kind":"na"}'
        assert [repr(val) for _, _, val, _ in rows] == [
            "None", "None", "1.5", "None", "nan", "-inf", "1.0", "None", "0.0",
        ]  # fmt: skip
        assert [obj for *_, obj in rows] == ['"ø"', na, None, na, None, None, "true", na, "false"]

    async def test_points_whose_ids_differ_in_length(self, store: StorageAdapter) -> None:
        """Few items of each, so that every row may be of another width."""
        pytest.importorskip("pyarrow")
        ids = ["p", "pp", "p.p.p", "pq"]
        await store.load_entities([_point(id) for id in ids])
        await store.his_write_batch({id: _items(1, NA, 2) for id in ids})

        table = await store.his_arrow(ids, _DAY)

        assert table["id"].to_pylist() == [id for id in ids for _ in range(3)]
        assert table["val"].to_pylist() == [1.0, None, 2.0] * len(ids)

    async def test_a_wide_table(self, store: StorageAdapter) -> None:
        """A row an instant, a column a point of its kind; unit and zone beside it."""
        pa = pytest.importorskip("pyarrow")
        await _load(store)

        table = await store.his_arrow(["n", "b", "s", "c", "none"], _DAY, wide=True)

        assert {field.name: field.type for field in table.schema} == {
            "ts": pa.timestamp("us", tz="America/New_York"),
            "n": pa.float64(),
            "b": pa.bool_(),
            "s": pa.string(),
            "c": pa.string(),
            "none": pa.float64(),
        }
        found = table.to_pydict()
        assert [ts.astimezone(_UTC) for ts in found["ts"]] == [_at(i) for i in (0, 1, 2, 3, 9)]
        assert repr(found["n"]) == "[1.5, None, nan, -inf, None]"
        assert found["b"] == [True, None, False, None, None]
        assert found["s"] == [None, "ø", None, None, None]
        assert found["c"] == ['{"_kind":"coord","lat":1.0,"lng":2.0}', *[None] * 4]
        assert found["none"] == [None] * 5
        about = table.schema.field("n").metadata[b"hsorm"]
        assert about == b'{"id":"n","kind":"Number","unit":"kW","tz":"America/New_York"}'
        assert table.schema.metadata[b"hsorm"].startswith(b"[" + about)

    async def test_zones_and_errors(self, store: StorageAdapter) -> None:
        """H11, H12, OC 14: as for `his_read_batch`."""
        pytest.importorskip("pyarrow")
        await _load(store)
        await store.update({"id": Ref("n"), "tz": "Tokyo"})

        in_tokyo = await store.his_arrow(["n", "b"], ALWAYS, tz="Tokyo")

        assert in_tokyo.num_rows == 7
        assert in_tokyo.schema.field("ts").type.tz == "Asia/Tokyo"
        with pytest.raises(HisConfigError):
            await store.his_arrow(["n", "b"], ALWAYS)
        with pytest.raises(UnknownEntityError):
            await store.his_arrow(["n", "gone"], ALWAYS)
        for wide in (False, True):
            assert (await store.his_arrow([], ALWAYS, wide=wide)).num_rows == 0
            assert (await store.his_arrow("none", ALWAYS, wide=wide)).num_rows == 0

    async def test_values_of_an_earlier_kind(self, store: StorageAdapter) -> None:
        """H16: in a wide table they have no place."""
        pytest.importorskip("pyarrow")
        await _load(store)
        for id, kind in (("n", "Str"), ("b", "Number"), ("s", "Bool")):
            await store.update({"id": Ref(id), "kind": kind, "unit": REMOVE})

        table = await store.his_arrow(["n", "b", "s"], _DAY, wide=True)

        assert [table.column(name).null_count for name in ("n", "b", "s")] == [5, 5, 5]

    async def test_a_frame(self, store: StorageAdapter) -> None:
        """Wide by default: indexed by ts."""
        pytest.importorskip("pandas")
        await _load(store)

        wide = await store.his_pandas(["n", "b"], _DAY)
        long = await store.his_pandas("n", _DAY, wide=False)

        assert list(wide.columns) == ["n", "b"]
        assert str(wide.index.dtype) == "datetime64[us, America/New_York]"
        assert wide["n"].iloc[0] == 1.5
        assert [about["unit"] for about in wide.attrs["hsorm"]] == ["kW", None]
        assert list(long.columns) == ["id", "ts", "val", "obj"]
        assert list(long["id"]) == ["n"] * 4

    async def test_two_arrays(self, store: StorageAdapter) -> None:
        """Numbers, and Bools as 1 and 0."""
        np = pytest.importorskip("numpy")
        await _load(store)

        n, b, none = [await store.his_numpy(id, _DAY) for id in ("n", "b", "none")]

        naive = [_at(i).replace(tzinfo=None) for i in range(4)]
        assert n.ts.tolist() == naive
        assert n.ts.dtype == np.dtype("datetime64[us]")
        assert repr(n.val.tolist()) == "[1.5, nan, nan, -inf]"
        assert repr(b.val.tolist()) == "[1.0, nan, 0.0]"
        assert (len(none.ts), len(none.val)) == (0, 0)

    async def test_old_stamps_and_microseconds(self, store: StorageAdapter) -> None:
        """H24, OC 31: before 1970, too."""
        np = pytest.importorskip("numpy")
        await store.load_entities([_point("n")])
        stamps = [
            dt.datetime(1950, 1, 2, tzinfo=_UTC),
            dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=_UTC),
            dt.datetime(2099, 1, 1, 0, 0, 0, 1, tzinfo=_UTC),
        ]
        await store.his_write("n", [{"ts": ts, "val": 1} for ts in stamps])

        found = await store.his_numpy("n", ALWAYS)

        assert found.ts.tolist() == [ts.replace(tzinfo=None) for ts in stamps]
        assert found.val.tolist() == [1.0] * 3
        assert np.all(np.diff(found.ts.astype("int64")) > 0)

    async def test_what_was_read_can_be_written(self, store: StorageAdapter) -> None:
        """A long table, a reader over it: every kind comes back."""
        pytest.importorskip("pyarrow")
        await _load(store)
        ids = ["n", "b", "s", "c"]
        before = await store.his_read_batch(ids, ALWAYS)
        table = await store.his_arrow(ids, ALWAYS)

        for source in (table, table.to_reader(max_chunksize=2)):
            for id in ids:
                await store.his_clear(id)
            assert await store.his_write_batch(source) == table.num_rows
            after = await store.his_read_batch(ids, ALWAYS)
            assert repr(after) == repr(before)

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    async def test_a_table_of_numbers(self, store: StorageAdapter, unit: str) -> None:
        """Ids and numbers of any Arrow type; the last of one instant counts."""
        pa = pytest.importorskip("pyarrow")
        await store.load_entities([_point("a", unit="kW"), _point("b")])
        stamps = pa.array([_at(i) for i in (2, 0, 1, 2)], pa.timestamp(unit, tz="UTC"))
        ids = pa.array(["a", "@b", "a", "a"]).dictionary_encode()
        table = pa.table({"val": pa.array([2, 7, 1, 3], pa.int32()), "id": ids, "ts": stamps})

        count = await store.his_write_batch(table)

        assert count == 3
        a, b = (await store.his_read_batch(["a", "b"], _DAY)).values()
        assert [item["val"] for item in a] == [Number(1, "kW"), Number(3, "kW")]
        assert b == [{"ts": _at(0), "val": Number(7)}]

    async def test_a_table_of_each_kind(self, store: StorageAdapter) -> None:
        """A column of bools, one of texts."""
        pa = pytest.importorskip("pyarrow")
        await _load(store)
        ts = pa.array([_at(50)], pa.timestamp("us", tz="Asia/Tokyo"))

        for id, val in (("b", True), ("s", "x"), ("n", 0.5)):
            await store.his_write_batch(pa.table({"id": [id], "ts": ts, "val": [val]}))

        found = await store.his_read_batch(["b", "s", "n"], _DAY)
        assert [items[-1]["val"] for items in found.values()] == [True, "x", Number(0.5, "kW")]

    @pytest.mark.parametrize("bad", ["null", "naive", "text", "unknown", "old", "column", "id"])
    async def test_a_table_that_does_not_fit(self, store: StorageAdapter, bad: str) -> None:
        """H22–H24: all or nothing; the index is the row."""
        pa = pytest.importorskip("pyarrow")
        await store.load_entities([_point("a"), _point("s", "Str")])
        ids: list[Any] = ["a", "a", "a"]
        vals: list[Any] = [1.0, 2.0, 3.0]
        stamps = [_at(0), _at(1), _at(2)]
        match bad:
            case "null":
                vals[1] = None
            case "text":
                ids[1] = "s"
            case "unknown":
                ids[1] = "gone"
            case "old":
                stamps[1] = dt.datetime(1900, 1, 1, tzinfo=_UTC)
            case "id":
                ids[1] = None
        zone = None if bad == "naive" else "UTC"
        columns = {"id": ids, "ts": pa.array(stamps, pa.timestamp("us", tz=zone)), "val": vals}
        if bad == "column":
            del columns["ts"]

        with pytest.raises(UnknownEntityError if bad == "unknown" else HisWriteError) as caught:
            await store.his_write_batch(pa.table(columns))

        if isinstance(caught.value, HisWriteError):
            assert caught.value.index == (0 if bad in ("column", "naive") else 1)
        assert await store.his_summary("a") == {}
