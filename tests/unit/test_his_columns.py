"""Columns of an Arrow stream come to what `check_items` makes of their rows."""

from __future__ import annotations

import datetime as dt
import gc
import math
import struct
import tracemalloc
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsorm.codecs import hayson
from hsorm.errors import CodecError, HisWriteError
from hsorm.his import HisPoint
from hsorm.his.arrays import records_of_arrow
from hsorm.his.batches import group_records, joined
from hsorm.his.columns import Gathered, PointColumns, arrow_parts
from hsorm.his.instants import from_micros
from hsorm.his.rows import from_row
from hsorm.kinds import MARKER, NA, REMOVE, Coord, Number
from hsorm.storage._copy import columns_of_packed, encoded
from hsorm.zones import zone_of

POINTS = {
    "n": HisPoint("n", zone_of("New_York"), "Number", "kW"),
    "m": HisPoint("m", zone_of("UTC"), "Number", None, dt.timedelta(seconds=1)),
    "b": HisPoint("b", zone_of("UTC"), "Bool"),
    "str": HisPoint("str", zone_of("UTC"), "Str"),
}
NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
OBJS = [
    None,
    "true",
    "false",
    '"on"',
    *(hayson.dumps(v) for v in (NA, REMOVE, Number(3, "kW"), MARKER)),
]

stamps = st.one_of(
    st.integers(0, 6).map(lambda n: NOON + dt.timedelta(milliseconds=400 * n)),
    st.sampled_from([
        dt.datetime(1950, 1, 1, 2, tzinfo=dt.UTC), dt.datetime(1950, 1, 1, 6, tzinfo=dt.UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 7, dt.UTC), dt.datetime(9999, 12, 30, tzinfo=dt.UTC),
    ]),
)  # fmt: skip
vals = st.sampled_from([None, 0.0, -0.0, 1.0, 2.5, math.nan, -math.inf])
rows = st.tuples(st.sampled_from([*POINTS, "@n"]), stamps, vals, st.sampled_from(OBJS))
Row = tuple[str, dt.datetime, Any, str | None]


def _table(given: list[Row], *, with_obj: bool = True) -> pa.Table:
    ids, ts, val, obj = zip(*given, strict=True)
    columns: dict[str, Any] = {"id": list(ids), "ts": list(ts), "val": pa.array(val, pa.float64())}
    return pa.table(columns | ({"obj": pa.array(obj, pa.string())} if with_obj else {}))


def _by_rows(table: pa.Table) -> Any:
    place, parts = 0, []
    try:
        for part in map(list, records_of_arrow(table)):
            parts.append(group_records(part, place).check(POINTS))
            place += len(part)
    except HisWriteError as exc:
        return str(exc)
    if any(POINTS[id].precision for own in parts for id, _ in own) and len(parts) > 1:
        return None  # of a long source the last counts, not the last in time
    return {id: [(ts, _shown(val)) for ts, val in items] for id, items in joined(parts)}


def _by_columns(table: pa.Table) -> Any:
    found = Gathered()
    try:
        for part in arrow_parts(table):
            assert set(part.ids) <= set(POINTS)
            found.add(part.check(POINTS))
    except HisWriteError as exc:
        return str(exc)
    return {point.id: _items(point) for point in found.settled(POINTS)}


def _items(point: PointColumns) -> list[tuple[dt.datetime, str]]:
    objs = [None] * len(point.ts) if point.obj is None else point.obj.tolist()
    unit = POINTS[point.id].unit
    return [
        (from_micros(ts), _shown(from_row(val, obj, unit)))
        for ts, val, obj in zip(point.ts.tolist(), point.val.tolist(), objs, strict=True)
    ]


def _shown(val: Any) -> str:
    return repr(val)


@given(st.lists(rows, min_size=1, max_size=5), st.booleans())
@example([("n", NOON, 1.0, None), ("m", NOON, 2.0, None), ("n", NOON, -0.0, None)], False)
@example([("b", NOON, None, "true"), ("str", NOON, None, '"on"'), ("n", NOON, None, OBJS[4])], True)
@example([("m", NOON + dt.timedelta(milliseconds=n), n, None) for n in (900, 100, 800)], False)
def test_any_table(given: list[Row], with_obj: bool) -> None:
    table = _table(given, with_obj=with_obj)

    assert _by_columns(table) == _by_rows(table)


@pytest.mark.parametrize(
    "columns",
    [
        {"id": ["b", "b"], "val": [True, False]},
        {"id": ["str", "str"], "val": ["on", "off"]},
        {"id": ["n", "n"], "val": [1, 2]},
        {"id": ["n", "n"], "val": pa.array([1, 2], pa.float32())},
        {"id": ["n", "b"], "val": [True, False]},
        {"id": ["n", None], "val": [1.0, 2.0]},
        {"id": ["n", "n"], "val": [None, 2.0]},
        {"id": ["n", "n"], "val": [1, 2], "ts": [NOON.replace(tzinfo=None)] * 2},
        {"id": ["n", "n"], "val": [1, 2], "ts": [NOON, None]},
        {"id": ["n", "n"], "val": [1, 2], "ts": pa.array([-1, 1999], pa.timestamp("ns", "UTC"))},
        {"id": ["n", "n"], "val": [1, 2], "ts": pa.array([0, 1], pa.timestamp("s", "Asia/Tokyo"))},
        {"id": pa.array(["n", "n"]).dictionary_encode(), "val": [1, 2]},
        {"id": pa.DictionaryArray.from_arrays([1, 1], ["b", "n", "m"]), "val": [1, 2]},
        {"id": [], "val": pa.array([], pa.float64()), "ts": pa.array([], pa.timestamp("s", "UTC"))},
    ],
)
def test_types(columns: dict[str, Any]) -> None:
    table = pa.table({"ts": [NOON, NOON + dt.timedelta(seconds=1)], **columns})

    assert _by_columns(table) == _by_rows(table)


def test_only_points_that_rows_name_are_looked_up() -> None:
    """A dictionary may hold more: of a table of which a part was taken it does."""
    ids = pa.DictionaryArray.from_arrays([1, 1, 1], ["no id!", "n", "gone"])
    (part,) = arrow_parts(pa.table({"id": ids, "ts": [NOON] * 3, "val": [1.0, 2.0, 3.0]}))

    assert part.ids == ["n"]


def test_an_id_in_two_forms_is_one_point() -> None:
    """H26: the last of one instant counts, in whichever form."""
    table = _table([(id, NOON, float(place), None) for place, id in enumerate(("n", "@n", "n"))])

    assert _by_columns(table) == _by_rows(table) == {"n": [(NOON, _shown(Number(2, "kW")))]}


def test_parts_of_a_stream_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """H26, and the place of an error counts from the beginning of the stream."""
    monkeypatch.setattr("hsorm.his.arrays._PART", 2)
    ids = ["n", "b", "n", "str", "n"]
    objs = [None, "true", OBJS[4], '"on"', None]
    given: list[Row] = [
        (id, NOON - dt.timedelta(seconds=n % 2), 1.0 + n if obj is None else None, obj)
        for n, (id, obj) in enumerate(zip(ids, objs, strict=True))
    ]

    good, bad = _table(given), _table([*given, ("n", NOON, None, None)])

    assert _by_columns(good) == _by_rows(good)
    assert _by_columns(bad) == _by_rows(bad)
    assert "item 5" in _by_columns(bad) or "5" in _by_columns(bad)


def test_rows_for_the_server_are_those_of_items() -> None:
    """Of many points, of ids of several lengths, and of items of other kinds among Numbers."""
    np = pytest.importorskip("numpy")
    points = []
    for n in range(40):
        ts = np.arange(n, dtype=np.int64) * 1_000_000
        states = np.array(["true" if i % 2 else None for i in range(n)], object)
        obj = states if n % 7 == 3 else None
        points.append(PointColumns("p" * (1 + n // 15) + f"{n:02}", ts, ts / 2.0 + 1.0, obj))

    assert list(_sent(encoded(points))) == [
        (point.id, ts, val, None if point.obj is None else point.obj[i])
        for point in points
        for i, (ts, val) in enumerate(zip(point.ts.tolist(), point.val.tolist(), strict=True))
    ]


def _sent(parts: Iterable[bytes]) -> Iterator[tuple[str, int, float | None, str | None]]:
    """Read the binary format of COPY, as the documentation of PostgreSQL describes it."""
    data, at = b"".join(parts), 19
    assert data.startswith(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    while data[at : at + 2] != b"\xff\xff":
        fields: list[bytes | None] = []
        (count,) = struct.unpack_from(">h", data, at)
        at += 2
        for _ in range(count):
            (size,) = struct.unpack_from(">i", data, at)
            fields.append(None if size == -1 else data[at + 4 : at + 4 + size])
            at += 4 + max(size, 0)
        id, ts, val, obj = fields
        assert id is not None
        assert ts is not None
        micros = struct.unpack(">q", ts)[0] + _SINCE_1970
        number = None if val is None else struct.unpack(">d", val)[0]
        yield id.decode(), micros, number, None if obj is None else obj[1:].decode()
    assert at + 2 == len(data)


_SINCE_1970 = 946_684_800_000_000  # of 2000, from which on PostgreSQL counts


def test_long_texts_are_not_kept() -> None:
    """What is made of a state is kept, for it comes again; a thousand of the longest are 60 MB."""
    np = pytest.importorskip("numpy")
    ts = np.arange(100, dtype=np.int64) * 1_000_000
    stamps = ts.astype(">i8").tobytes()

    def write_and_read(salt: str) -> None:
        texts = np.array([f'"{salt}{n:032000}"' for n in range(100)], object)
        assert len(list(encoded([PointColumns("p", ts, ts / 1.0, texts)]))) > 1
        (found,) = columns_of_packed(np, [(stamps, stamps, stamps, texts.tolist())])
        assert len(found.obj) == 100

    write_and_read("a")  # and what is made once
    tracemalloc.start()
    try:
        write_and_read("b")
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 1_000_000


def test_long_texts_count_as_many_rows() -> None:
    """What is put in order in memory is bounded by its size, not by its number of rows."""
    table = _table([("str", NOON, None, hayson.dumps("x" * 16_000))])
    found = Gathered()
    for part in arrow_parts(table):
        found.add(part.check(POINTS))

    assert found.size > 1_000


def test_broken_hayson_is_an_error_of_its_own() -> None:
    table = _table([("n", NOON, None, "{")])

    with pytest.raises(CodecError):
        _by_columns(table)


def test_all_kinds_are_stored() -> None:
    point = HisPoint("c", zone_of("UTC"), "Coord")
    table = _table([("c", NOON, None, hayson.dumps(Coord(1, 2)))])
    found = Gathered()
    for part in arrow_parts(table):
        found.add(part.check({"c": point}))

    (columns,) = found.settled({"c": point})

    assert columns.obj is not None
    assert from_row(None, columns.obj[0], None) == Coord(1, 2)
