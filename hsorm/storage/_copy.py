"""History in the binary format of PostgreSQL's COPY, which is what the server keeps and sends.

To make it here costs half of what the driver's general encoder does, and NumPy reads it as it is.
"""

from __future__ import annotations

import datetime as dt
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from hsorm.his.arrays import Columns
from hsorm.his.batches import PointItems
from hsorm.his.rows import to_row
from hsorm.his.stamps import SINCE_1970, SINCE_2000
from hsorm.kinds import REMOVE, Kind, Number

__all__ = ["REMOVED", "encoded", "rows_of_copy", "unpacked"]

REMOVED: Final = '{"_kind":"remove"}'
"""What stands in `obj` of a row that is to be deleted; no stored row has it (H15)."""

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_FLUSH: Final = 1 << 18
_NULL: Final = b"\xff\xff\xff\xff"
_EPOCH_SHIFT: Final = (SINCE_2000 - SINCE_1970) // dt.timedelta(microseconds=1)


# ---- writing ------------------------------------------------------------------------------------


def encoded(points: Iterable[PointItems]) -> Iterator[bytes]:
    """Yield the rows of items (`point_id`, `ts`, `val`, `obj`), 256 kB at a time."""
    out = bytearray(_HEADER)
    for point in points:
        id = point.id.encode()
        yield from _encode(id, _number_row(len(id)), point.items, out)
    out += _TRAILER
    yield bytes(out)


def _encode(
    id: bytes,
    number: Callable[..., bytes],
    items: Iterable[tuple[dt.datetime, Kind]],
    out: bytearray,
) -> Iterator[bytes]:
    size = len(id)
    for ts, val in items:
        since = ts - SINCE_2000
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if type(val) is Number:
            out += number(4, size, id, 8, micros, 8, val.val, -1)
        else:
            out += _other_row(id, micros, val)
        if len(out) > _FLUSH:
            yield bytes(out)
            out.clear()


@lru_cache(maxsize=256)
def _number_row(size: int) -> Callable[..., bytes]:
    """Return what packs the row of a Number of a point whose id has so many bytes."""
    return struct.Struct(f">hi{size}siqidi").pack


def _other_row(id: bytes, micros: int, val: Kind) -> bytes:
    number, obj = (None, REMOVED) if val is REMOVE else to_row(val)
    key = struct.pack(f">hi{len(id)}siq", 4, len(id), id, 8, micros)
    double = _NULL if number is None else struct.pack(">id", 8, number)
    # JSONB comes with the number of its format before the text.
    text = b"\x01" + (obj or "").encode()
    return key + double + struct.pack(">i", len(text)) + text


# ---- reading ------------------------------------------------------------------------------------


def unpacked(data: bytes | None, code: str) -> array[Any]:
    """Return numbers of eight bytes each, in network order: integers (`"q"`) or doubles (`"d"`)."""
    found: array[Any] = array(code)
    found.frombytes(data or b"")
    if sys.byteorder == "little":
        found.byteswap()
    return found


_FIELDS: Final = [("n", ">i2"), ("a", ">i4"), ("place", ">i4"), ("b", ">i4"), ("ts", ">i8")]
_REST: Final = [("c", ">i4"), ("val", ">f8"), ("d", ">i4"), ("other", "?")]


def rows_of_copy(np: Any, parts: Iterable[bytes], size: int) -> list[tuple[Columns, Any]]:
    """Return what COPY sent, by point.

    Args:
        np: NumPy.
        parts: Rows of `place` (integer, from 1 on), `ts`, `val` (double, never NULL), and whether
            there is an `obj` (bool); by place and time.
        size: How many points there are.

    Returns:
        For each point the columns, without `obj`, and which of the rows have one.
    """
    data = b"".join(parts)
    rows = np.frombuffer(data, np.dtype(_FIELDS + _REST), offset=len(_HEADER), count=_count(data))
    ts = rows["ts"].astype(np.int64)
    ts += _EPOCH_SHIFT
    val, other = rows["val"].astype(np.float64), rows["other"]
    places = np.arange(1, size + 2)
    ends = np.searchsorted(rows["place"], places).tolist() if size > 1 else [0, len(rows)]
    return [
        (Columns(ts[first:last], val[first:last], {}), other[first:last])
        for first, last in pairwise(ends)
    ]


def _count(data: bytes) -> int:
    count, rest = divmod(len(data) - len(_HEADER) - len(_TRAILER), _ROW_SIZE)
    if rest or not data.endswith(_TRAILER):  # a statement that does not select what it should
        raise ValueError(f"{len(data)} bytes of COPY are no whole number of rows")
    return count


_ROW_SIZE: Final = 2 + 4 + 4 + 4 + 8 + 4 + 8 + 4 + 1
