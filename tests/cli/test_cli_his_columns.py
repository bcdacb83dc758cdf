"""CSV by way of Arrow is what Python's reader makes of it, cell by cell."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsorm.cli._hiscolumns import CsvHistory
from hsorm.cli._hiscsv import items_of, read_cells
from hsorm.errors import CodecError
from hsorm.his import HisPoint, check_items
from hsorm.his.arrays import records_of_batch
from hsorm.zones import zone_of

POINTS = {
    "n": HisPoint("n", zone_of("New_York"), "Number", "°F"),
    "m": HisPoint("m", zone_of("Lord_Howe"), "Number"),
    "b": HisPoint("b", zone_of("New_York"), "Bool"),
    "s": HisPoint("s", zone_of("UTC"), "Str"),
}

Answer = dict[str, list[tuple[Any, Any]]] | str


def _by_cells(data: bytes) -> Answer:
    found: dict[str, list[tuple[Any, Any]]] = {}
    try:
        for cells in read_cells(data, "a.csv"):
            items = items_of(cells, POINTS[cells.id], "a.csv")
            found[cells.id] = [(item["ts"], val) for item, val in _checked(cells.id, items)]
    except CodecError as exc:
        return str(exc)
    return {id: items for id, items in found.items() if items}


def _checked(id: str, items: list[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], Any]]:
    return [(item, check_items(POINTS[id], [item])[0][1]) for item in items]


def _by_columns(data: bytes) -> Answer:
    found: dict[str, list[tuple[Any, Any]]] = {}
    try:
        history = CsvHistory(io.BytesIO(data), "a.csv", None, {})
        for id in history.points():
            POINTS[id]
        for _, batch in history.batches(POINTS):
            for id, ts, val in _records(batch):
                found.setdefault(id, []).append((ts, val))
    except CodecError as exc:
        return str(exc)
    return found


def _records(batch: pa.RecordBatch) -> Iterable[tuple[str, Any, Any]]:
    for id, ts, val in records_of_batch(batch):
        ((_, checked),) = check_items(POINTS[id], [{"ts": ts, "val": val}])
        yield id, ts, checked


def _same(data: bytes) -> None:
    by_cells, by_columns = _by_cells(data), _by_columns(data)
    if isinstance(by_cells, Mapping):
        assert repr(by_columns) == repr({id: by_cells[id] for id in by_columns})
        assert set(by_columns) == set(by_cells)
    else:  # of several errors either may be the first
        assert isinstance(by_columns, str), (by_cells, by_columns)
        if data.rstrip().count(b"\n") <= 1:
            assert by_columns.split(": ")[0] == by_cells.split(": ")[0]


STAMPS = (
    "2024-03-08 08:00", "2024-03-08T08:15:30.25", "2024-03-08 08:00:00.1234567",
    "2024-03-10 02:30", "2024-11-03 01:30", "2024-11-03 01:45", "2024-04-07 01:45",
    "2024-03-08T13:00:00Z", "2024-03-08T08:00:00-05:00 New_York", "2024-03-08T08:00-0500",
    "2024-03-08T13:00:00Z UTC", "2024-03-08 08:00 New_York", "2024-03-08T08:00:00-05:00 Nowhere",
    "2024-02-30 08:00", "2024-03-08", "2024-03-08 08", "2024-03-08 08-05:00", " 2024-03-08 08:00",
    "2024-03-08T08:00:00+25:00", "2024-03-08T24:00:00Z", "1949-12-31 23:00", "1950-01-01 00:00",
    "9999-12-31T23:00:00-05:00", "0001-01-01 00:00", "",
)  # fmt: skip
CELLS = (
    "70", "-1.5", "1e3", "-0", "007", " 8 ", "1.", ".5", "+1", "1e999", "NaN", "INF", "-INF", "nan",
    "72.5°F", "72.5°C", "NA", "R", "true", "false", "heat", " heat ", '"heat"', '"""N"""', "", " ",
    "1_000", "٣", "ø",
)  # fmt: skip
row = st.tuples(st.sampled_from(STAMPS), *[st.sampled_from(CELLS)] * 4).map(",".join)
SOLID = "2024-03-08 08:00,70,1,true,on"
ends = st.sampled_from(["\n", "\r\n"])


@settings(deadline=None, max_examples=60)
@given(st.lists(row, min_size=1, max_size=3), ends)
@example(["2024-03-08T08:00:00+25:00,1,,,", "2024-03-08T08:00:01+25:00,1,,,"], "\n")
@example([f"2024-0{month}-29T08:00:00Z,1,,," for month in (2, 1, 3)], "\n")
@example(["2024-03-08 08:00,1,,,", "2024-03-08 23:59,2,,,", "2024-03-10 02:30,3,,,"], "\n")
@example(["2023-02-28T08:00Z UTC,1,,,", "2023-02-29T08:00Z UTC,1,,,"], "\n")
@example(
    ["2024-03-08T23:59:59-05:00 New_York,1,,,", "2024-03-09T00:00:60-05:00 New_York,1,,,"], "\n"
)
@example([SOLID, "", SOLID], "\n")
@example([SOLID, ",,,,", SOLID], "\n")
@example([SOLID, SOLID + ",1"], "\n")
@example([SOLID, '"2024-03-08 08:00",70,1,true,"a\nb"'], "\n")
@example([SOLID, '2024-03-08 08:00,70,1,true,"a'], "\n")
@example([SOLID, "2024-03-08 08:00,70,1,true,a\rb"], "\n")
@example(["2024-11-03 01:30,1,1,,", "2024-11-03 01:45,2,2,,", "2024-11-03 01:30,3,3,,"], "\n")
def test_wide(rows: list[str], end: str) -> None:
    _same((end.join(["ts,n,m,b,s", *rows]) + end).encode())


long_row = st.tuples(
    st.sampled_from(["n", "@m", " b ", "s", "n", ""]),
    st.sampled_from(STAMPS),
    st.sampled_from(CELLS),
).map(",".join)


@settings(deadline=None, max_examples=60)
@given(st.lists(long_row, min_size=1, max_size=4), ends, st.booleans())
@example(["n,2024-11-03 01:30,1", "b,2024-11-03 01:30,true", "n,2024-11-03 01:30,2"], "\n", True)
@example(["n,2024-11-03 01:30,1", ",,", "n,2024-11-03 01:30,2"], "\n", True)
def test_long(rows: list[str], end: str, with_end: bool) -> None:
    _same((end.join(["id,ts,val", *rows]) + (end if with_end else "")).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n\n", b"\xef\xbb\xbfts,n\n2024-03-08 08:00,1\n", b"ts;n\n2024-03-08 08:00;1\n",
        b"\n\nts,n\r\n\r\n2024-03-08 08:00,x\r\n", b"ts,n\n2024-03-08 08:00,\xff\n", b"id,ts\n",
        b"ts,n\r2024-03-08 08:00,1\r", b'"ts","n"\n2024-03-08 08:00,1\n', b"ts,n,@n\n",
        b"val,ts,id\n1,2024-03-08 08:00,n\n", b"ts,n\n2024-03-08 08:00,1", b"ts,n", b"ts,n\n\n",
    ],
)  # fmt: skip
def test_files(data: bytes) -> None:
    _same(data)


def test_a_long_file_is_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are counted over blocks, local times go on, and quotes end what Arrow may split."""
    monkeypatch.setattr("hsorm.cli._hisblocks._BYTES", 64)
    rows = [
        f"2024-11-03 0{hour}:{minute:02},{minute}" for hour in (0, 1, 1) for minute in range(60)
    ]
    text = "\n".join(["ts,n", *rows])

    for data in (text, f'{text}\n2024-11-03 02:00,"7"\n', f"{text}\n2024-11-03 02:00,x\n{rows[0]}"):
        answer = _by_columns(data.encode())
        assert answer == _by_cells(data.encode())
    assert "line 182" in str(answer)
