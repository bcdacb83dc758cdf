"""History as arrays: Arrow tables, pandas frames and NumPy arrays, without an object per row.

NumPy and pyarrow are optional (the extra `arrow`), and only imported when they are asked for.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsorm.codecs import hayson
from hsorm.codecs.hayson import parse_json, to_json
from hsorm.errors import HisWriteError, MissingExtraError
from hsorm.his.checks import HisPoint
from hsorm.his.rows import from_row, to_row
from hsorm.his.stamps import SINCE_1970, local_stamps
from hsorm.kinds import Kind

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    import numpy as np
    import pandas
    import pyarrow as pa

__all__ = [
    "METADATA",
    "SHORT_TEXT",
    "Columns",
    "as_arrays",
    "as_frame",
    "as_table",
    "batches_of_arrow",
    "columns_of",
    "in_micros",
    "is_text",
    "load_arrow",
    "load_numpy",
    "records_of_arrow",
    "records_of_batch",
    "stored_text",
]

METADATA: Final = b"hsorm"
"""Under what the metadata of a schema or a field has its points."""

SHORT_TEXT: Final = 256
"""What is made of a longer text is not kept: it hardly comes again, and may be 32 kB."""

_PART: Final = 100_000
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TICK: Final = dt.timedelta(microseconds=1)


class Columns(NamedTuple):
    """The rows of one point, oldest first.

    Attributes:
        ts: Microseconds since 1970, int64.
        val: float64; NaN where there is none.
        obj: Hayson text of what is no Number, by the position of its row; only a Bool has `val`
            besides.
    """

    ts: np.ndarray[Any, np.dtype[np.int64]]
    val: np.ndarray[Any, np.dtype[np.float64]]
    obj: dict[int, str]


def load_numpy(what: str) -> Any:
    """Import NumPy.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import numpy
    except ImportError:
        raise MissingExtraError(what, "numpy", "arrow") from None
    return numpy


def load_arrow(what: str) -> Any:
    """Import pyarrow.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise MissingExtraError(what, "pyarrow", "arrow") from None
    return pyarrow


def columns_of(items: Iterable[tuple[dt.datetime, Kind]]) -> Columns:
    """Return items, oldest first, as columns."""
    np = load_numpy("history as arrays")
    stamps, values, obj = [], [], {}
    for place, (ts, val) in enumerate(items):
        number, text = to_row(val)
        stamps.append((ts - _EPOCH) // _TICK)
        values.append(np.nan if number is None else number)
        if text is not None:
            obj[place] = text
    return Columns(np.array(stamps, np.int64), np.array(values, np.float64), obj)


def stored_text(obj: str) -> tuple[float | None, str | None]:
    """Return `val` and `obj` of a row from its Hayson text, in whichever form a database has it."""
    return (_kept_text if len(obj) <= SHORT_TEXT else _made_text)(obj)


def _made_text(obj: str) -> tuple[float | None, str | None]:
    return to_row(from_row(None, obj, None))


_kept_text = lru_cache(maxsize=4_096)(_made_text)


def as_arrays(columns: Columns) -> tuple[Any, Any]:
    """Return `ts` as datetime64[us] in UTC, and `val`."""
    return columns.ts.view("datetime64[us]"), columns.val


# ---- tables -------------------------------------------------------------------------------------


def as_table(
    points: Sequence[HisPoint], found: Sequence[Columns], zone: ZoneInfo, *, wide: bool
) -> pa.Table:
    """Return the rows of points as a table; see `HistoryReader.his_arrow`."""
    pa = load_arrow("his_arrow")
    described = [_described(point, zone) for point in points]
    make = _wide if wide else _long
    table = make(pa, load_numpy("his_arrow"), points, found, zone, described)
    return table.replace_schema_metadata({METADATA: to_json(described)})


def _described(point: HisPoint, zone: ZoneInfo) -> dict[str, Any]:
    return {"id": point.id, "kind": point.kind, "unit": point.unit, "tz": zone.key}


def _stamps(pa: Any, ts: Any, zone: ZoneInfo) -> Any:
    return pa.array(ts).cast(pa.timestamp("us")).cast(pa.timestamp("us", tz=zone.key))


def _long(
    pa: Any,
    np: Any,
    points: Sequence[HisPoint],
    found: Sequence[Columns],
    zone: ZoneInfo,
    described: object,
) -> pa.Table:
    sizes = [len(columns.ts) for columns in found]
    codes = np.repeat(np.arange(len(points), dtype=np.int32), sizes)
    ids = pa.array([point.id for point in points], pa.string())
    ts = np.concatenate([columns.ts for columns in found] or [np.array([], np.int64)])
    val = np.concatenate([columns.val for columns in found] or [np.array([], np.float64)])
    obj, missing, first = pa.nulls(len(ts), pa.string()), None, 0
    if any(columns.obj for columns in found):
        texts: list[str | None] = [None] * len(ts)
        missing = np.zeros(len(ts), bool)
        for columns, size in zip(found, sizes, strict=True):
            for place, text in columns.obj.items():
                texts[first + place] = text
                missing[first + place] = text not in _BOOLS
            first += size
        obj = pa.array(texts, pa.string())
    return pa.table(
        {
            "id": pa.DictionaryArray.from_arrays(codes, ids),
            "ts": _stamps(pa, ts, zone),
            "val": pa.array(val, pa.float64(), mask=missing, from_pandas=False),
            "obj": obj,
        }
    )


_BOOLS: Final = {"true": True, "false": False}


def _wide(
    pa: Any,
    np: Any,
    points: Sequence[HisPoint],
    found: Sequence[Columns],
    zone: ZoneInfo,
    described: Sequence[dict[str, Any]],
) -> pa.Table:
    ts = np.unique(np.concatenate([columns.ts for columns in found] or [np.array([], np.int64)]))
    arrays = [_stamps(pa, ts, zone)]
    fields = [pa.field("ts", arrays[0].type)]
    for point, columns, about in zip(points, found, described, strict=True):
        array = _column(pa, np, point.kind, columns, np.searchsorted(ts, columns.ts), len(ts))
        arrays.append(array)
        fields.append(pa.field(point.id, array.type, metadata={METADATA: to_json(about)}))
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _column(pa: Any, np: Any, kind: str | None, columns: Columns, places: Any, size: int) -> Any:
    """Return the values of one point at their places among all instants."""
    if kind in ("Bool", "Str", "Coord"):
        values: list[Any] = [None] * size
        for place, text in columns.obj.items():
            values[places[place]] = _typed(kind, text)
        return pa.array(values, pa.bool_() if kind == "Bool" else pa.string())
    val = np.zeros(size)
    missing = np.ones(size, bool)
    val[places] = columns.val
    missing[places] = False
    missing[places[list(columns.obj)]] = True
    return pa.array(val, pa.float64(), mask=missing, from_pandas=False)


def _typed(kind: str, text: str) -> bool | str | None:
    if kind == "Bool":
        return _BOOLS.get(text)
    if kind == "Str":
        val = hayson.loads(text)
        return val if isinstance(val, str) else None
    return text if '"coord"' in text else None


def as_frame(table: pa.Table, *, wide: bool) -> pandas.DataFrame:
    """Return a table of `as_table` as a DataFrame; see `HistoryReader.his_pandas`."""
    try:
        import pandas  # noqa: F401 - pyarrow would raise an error of its own
    except ImportError:
        raise MissingExtraError("his_pandas", "pandas", "pandas") from None
    frame: pandas.DataFrame = table.to_pandas()
    if wide:
        frame = frame.set_index("ts")
    frame.attrs["hsorm"] = parse_json(table.schema.metadata[METADATA])
    return frame


# ---- records ------------------------------------------------------------------------------------


def records_of_arrow(source: object) -> Iterator[Iterable[tuple[Any, Any, Any]]]:
    """Take `(id, ts, val)` out of an Arrow stream with columns `id`, `ts`, `val` (and `obj`).

    Raises:
        HisWriteError: A column is missing.
    """
    return map(records_of_batch, batches_of_arrow(source))


def batches_of_arrow(source: object) -> Iterator[Any]:
    """Take record batches, none of them long, out of an Arrow stream of items.

    Raises:
        HisWriteError: A column is missing.
    """
    pa = load_arrow("writing an Arrow stream")
    reader = pa.RecordBatchReader.from_stream(source)
    for name in ("id", "ts", "val"):
        if name not in reader.schema.names:
            names = ", ".join(reader.schema.names)
            reason = f"the table has no column {name} (but {names}): give id, ts and val"
            raise HisWriteError("", 0, reason)
    for batch in reader:
        for first in range(0, batch.num_rows, _PART):
            yield batch.slice(first, _PART)


def records_of_batch(batch: Any) -> Iterable[tuple[Any, Any, Any]]:
    """Return the rows of a record batch as `(id, ts, val)`."""
    pa = load_arrow("writing an Arrow stream")
    vals = batch.column("val").to_pylist()
    if "obj" in batch.schema.names:
        texts = batch.column("obj").to_pylist()
        vals = [
            val if text is None else from_row(val, text, None)
            for val, text in zip(vals, texts, strict=True)
        ]
    stamps = _datetimes(pa, batch.column("ts"))
    return zip(batch.column("id").to_pylist(), stamps, vals, strict=True)


def _datetimes(pa: Any, ts: Any) -> list[Any]:
    if not pa.types.is_timestamp(ts.type):
        return ts.to_pylist()  # type: ignore[no-any-return]  # whatever it is, the check says
    ts = in_micros(pa, ts)
    if ts.type.tz is None or ts.null_count:
        return ts.to_pylist()  # type: ignore[no-any-return]
    try:
        return local_stamps(ts.cast(pa.int64()).to_pylist(), dt.UTC, SINCE_1970)
    except OverflowError:  # beyond all years
        return ts.to_pylist()  # type: ignore[no-any-return]


def in_micros(pa: Any, ts: Any) -> Any:
    """Return Arrow timestamps as microseconds: Python's datetimes end there, as do stored ones."""
    return ts.cast(pa.timestamp("us", ts.type.tz), safe=False)


def is_text(pa: Any, type: Any) -> bool:
    """Tell whether an Arrow type is of texts."""
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type))
