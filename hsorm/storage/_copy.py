"""History in the binary format of PostgreSQL's COPY, which is what the server keeps and sends.

To make it here costs half of what the driver's general encoder does, and NumPy reads it as it is.
"""

from __future__ import annotations

import datetime as dt
import struct
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from hsorm.errors import HisWriteError
from hsorm.his.arrays import SHORT_TEXT, Columns, load_numpy, stored_text
from hsorm.his.batches import PointItems
from hsorm.his.checks import Checked, HisPoint, check_items
from hsorm.his.columns import REMOVED, PointColumns
from hsorm.his.rows import to_row
from hsorm.his.stamps import SINCE_1970, SINCE_2000
from hsorm.kinds import REMOVE, Kind, Number

__all__ = [
    "CheckedRows",
    "UnfitError",
    "columns_of_copy",
    "columns_of_packed",
    "encoded",
    "encoded_texts",
    "unpacked",
]

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_FLUSH: Final = 1 << 18
_SLICE: Final = 4_096
_POINTS: Final = 1_024

# Between these, history has begun in every zone and not ended yet (H24).
_BEFORE: Final = dt.datetime(1950, 1, 3, tzinfo=dt.UTC)
_AFTER: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
_NULL: Final = b"\xff\xff\xff\xff"
_EPOCH_SHIFT: Final = (SINCE_2000 - SINCE_1970) // dt.timedelta(microseconds=1)


# ---- writing ------------------------------------------------------------------------------------


def encoded(points: Iterable[PointItems] | Iterable[PointColumns]) -> Iterator[bytes]:
    """Yield the rows of items (`point_id`, `ts`, `val`, `obj`), some 256 kB at a time."""
    return _framed(_encoded_parts(points))


def encoded_texts(rows: Iterable[tuple[str, str]]) -> Iterator[bytes]:
    """Yield rows of a text and of JSON as text (`id`, `tags`), some 256 kB at a time."""
    return _framed(_text_row(id.encode(), tags.encode()) for id, tags in rows)


def _framed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield rows between the header and the trailer of the format, in larger parts."""
    out = bytearray(_HEADER)
    for part in parts:
        out += part
        if len(out) > _FLUSH:
            yield bytes(out)
            out.clear()
    out += _TRAILER
    yield bytes(out)


def _text_row(key: bytes, text: bytes) -> bytes:
    # JSONB comes with the number of its format before the text.
    return struct.pack(f">hi{len(key)}sib", 2, len(key), key, len(text) + 1, 1) + text


def _encoded_parts(points: Iterable[PointItems] | Iterable[PointColumns]) -> Iterator[bytes]:
    alike: list[PointColumns] = []
    for point in points:
        if isinstance(point, PointColumns):
            if alike and not _are_alike(alike, point):
                yield from _encode_numbers(alike)
                alike = []
            if point.obj is None:
                alike.append(point)
            else:
                yield from _encode_columns(point, point.obj)
            continue
        id = point.id.encode()
        for first in range(0, len(point.items), _SLICE):
            out = bytearray()
            _encode(id, point.items[first : first + _SLICE], out, removing=True)
            yield bytes(out)
    if alike:
        yield from _encode_numbers(alike)


def _are_alike(alike: list[PointColumns], point: PointColumns) -> bool:
    """Tell whether the rows of a point are as wide as those of others, and these are not many."""
    same = point.obj is None and len(point.id.encode()) == len(alike[0].id.encode())
    return same and len(alike) < _POINTS and len(alike[-1].ts) < _SLICE


def _encode_numbers(points: list[PointColumns]) -> Iterator[bytes]:
    """Yield the rows of Numbers of points whose ids are of one length."""
    np = load_numpy("writing columns")
    ids = [point.id.encode() for point in points]
    size, many = len(ids[0]), sum(len(point.ts) for point in points)
    row = np.dtype(_number_type(size))
    if len(points) == 1:
        ts, val = points[0].ts, points[0].val
        owners = None
    else:
        ts = np.concatenate([point.ts for point in points])
        val = np.concatenate([point.val for point in points])
        owners = np.repeat(np.array(ids, f"V{size}"), [len(point.ts) for point in points])
    for first in range(0, many, _SLICE):
        part = slice(first, first + _SLICE)
        rows = np.empty(len(ts[part]), row)
        rows["n"], rows["a"], rows["b"], rows["c"], rows["d"] = 4, size, 8, 8, -1
        rows["id"] = np.void(ids[0]) if owners is None else owners[part]
        rows["ts"] = ts[part] - _EPOCH_SHIFT
        rows["val"] = val[part]
        yield rows.tobytes()


def _encode_columns(point: PointColumns, objs: Any) -> Iterator[bytes]:
    """Yield the rows of a point of which some are no Numbers."""
    id = point.id.encode()
    size = len(id)
    number = _number_row(size)
    for first in range(0, len(point.ts), _SLICE):
        out = bytearray()
        part = slice(first, first + _SLICE)
        stamps = (point.ts[part] - _EPOCH_SHIFT).tolist()
        for micros, val, obj in zip(
            stamps, point.val[part].tolist(), objs[part].tolist(), strict=True
        ):
            if obj is None:
                out += number(4, size, id, 8, micros, 8, val, -1)
            else:
                out += _key(id, micros) + _tail(val if obj in ("true", "false") else None, obj)
        yield bytes(out)


class UnfitError(Exception):
    """Items that cannot go straight into the table: out of order, or removals among them."""


class CheckedRows:
    """The rows of items that are checked as they are taken, so that the server works meanwhile."""

    def __init__(self, sources: Iterable[tuple[HisPoint, Sequence[Mapping[str, Any]]]]) -> None:
        self._sources = sources

    def __iter__(self) -> Iterator[bytes]:
        """Yield the rows as `encoded` does.

        Raises:
            HisWriteError: An item is not accepted.
            UnfitError: The items of a point are not in order, or there are removals.
        """
        out = bytearray(_HEADER)
        for point, items in self._sources:
            id = point.id.encode()
            last = _BEFORE
            for first in range(0, len(items), _SLICE):
                part = items[first : first + _SLICE]
                plain = _plain_numbers(point, id, part, last, out)
                if plain is not None:
                    last = plain
                else:
                    checked = _checked(point, part, first)
                    if checked[0][0] <= last:
                        raise UnfitError
                    last = checked[-1][0]
                    _encode(id, checked, out, removing=False)
                if len(out) > _FLUSH:
                    yield bytes(out)
                    out.clear()
        out += _TRAILER
        yield bytes(out)


def _checked(point: HisPoint, part: Sequence[Mapping[str, Any]], first: int) -> Checked:
    try:
        return check_items(point, part)
    except HisWriteError as exc:
        raise HisWriteError(point.id, first + exc.index, exc.reason) from None


def _plain_numbers(
    point: HisPoint,
    id: bytes,
    items: Sequence[Mapping[str, Any]],
    last: dt.datetime,
    out: bytearray,
) -> dt.datetime | None:
    """Encode items of the plainest form: floats and Numbers in order, with `ts` in UTC.

    Most bulk writes are of these alone, and this takes half of the time that `check_items` does.

    Returns:
        The last instant; None where any item is of another form, which is for `check_items` to
        judge. Then nothing was encoded.
    """
    if point.kind != "Number" or point.precision is not None:
        return None
    began, size, unit = len(out), len(id), point.unit
    pack, utc, exact = _number_row(size), dt.UTC, dt.datetime
    try:
        for item in items:
            ts, val = item["ts"], item["val"]
            if type(val) is not float:
                if type(val) is not Number or (val.unit != unit and val.unit is not None):
                    break
                val = val.val
            if type(ts) is not exact or ts.tzinfo is not utc or not last < ts < _AFTER:
                break
            since = ts - SINCE_2000
            micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
            out += pack(4, size, id, 8, micros, 8, val or 0.0, -1)  # -0 becomes 0 (rule H28)
            last = ts
        else:
            return last
    except (KeyError, TypeError):  # no item at all
        pass
    del out[began:]
    return None


def _encode(id: bytes, items: Checked, out: bytearray, *, removing: bool) -> None:
    size = len(id)
    number = _number_row(size)
    for ts, val in items:
        since = ts - SINCE_2000
        micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        if type(val) is Number:
            out += number(4, size, id, 8, micros, 8, val.val, -1)
        elif val is REMOVE and not removing:
            raise UnfitError
        else:
            out += _other_row(id, micros, val)


@lru_cache(maxsize=256)
def _number_row(size: int) -> Callable[..., bytes]:
    """Return what packs the row of a Number of a point whose id has so many bytes."""
    return struct.Struct(f">hi{size}siqidi").pack


def _other_row(id: bytes, micros: int, val: Kind) -> bytes:
    number, obj = (None, REMOVED) if val is REMOVE else to_row(val)
    return _key(id, micros) + _tail(number, obj or "")


def _key(id: bytes, micros: int) -> bytes:
    return struct.pack(f">hi{len(id)}siq", 4, len(id), id, 8, micros)


def _tail(number: float | None, obj: str) -> bytes:
    """Return `val` and `obj` of a row that is no Number; a state comes again and again."""
    return (_kept_tail if len(obj) <= SHORT_TEXT else _made_tail)(number, obj)


def _made_tail(number: float | None, obj: str) -> bytes:
    double = _NULL if number is None else struct.pack(">id", 8, number)
    # JSONB comes with the number of its format before the text.
    text = b"\x01" + obj.encode()
    return double + struct.pack(">i", len(text)) + text


_kept_tail = lru_cache(maxsize=4_096)(_made_tail)


# ---- reading ------------------------------------------------------------------------------------


def unpacked(data: bytes | None, code: str) -> array[Any]:
    """Return numbers of eight bytes each, in network order: integers (`"q"`) or doubles (`"d"`)."""
    found: array[Any] = array(code)
    found.frombytes(data or b"")
    if sys.byteorder == "little":
        found.byteswap()
    return found


def columns_of_copy(np: Any, parts: Iterable[bytes]) -> dict[str, Columns]:
    """Return the rows that COPY sent, by the id of their point.

    Args:
        np: NumPy.
        parts: Rows of `point_id`, `ts`, `val` and `obj`, by point and time.
    """
    return _Rows(np, b"".join(parts)).columns()


def columns_of_packed(
    np: Any, stamps: bytes, numbers: bytes, other_stamps: bytes | None, others: list[str] | None
) -> Columns:
    """Return the rows of one point that `hsorm.sql.history.items_packed` packs.

    Args:
        np: NumPy.
        stamps: All `ts`.
        numbers: All `val`, NaN where there is none.
        other_stamps: The `ts` of what is no Number.
        others: Its `obj`.
    """
    ts = np.frombuffer(stamps, ">i8").astype(np.int64) + _EPOCH_SHIFT
    val = np.frombuffer(numbers, ">f8").astype(np.float64)
    obj: dict[int, str] = {}
    if others:
        own = np.frombuffer(other_stamps, ">i8").astype(np.int64) + _EPOCH_SHIFT
        for place, text in zip(np.searchsorted(ts, own).tolist(), others, strict=True):
            kept, other = stored_text(text)
            val[place] = np.nan if kept is None else kept
            if other is not None:
                obj[place] = other
    return Columns(ts, val, obj)


class _Rows:
    """Takes rows from where one begins: as long as they are Numbers, and ids of one length, many.

    Each of those is of the width that the first one has, so that when its lengths are right, the
    next one begins behind it.
    """

    def __init__(self, np: Any, data: bytes) -> None:
        self._np = np
        self._data = data
        self._at = len(_HEADER)
        self._end = len(data) - len(_TRAILER)
        self._found: dict[str, list[tuple[Any, Any, dict[int, str]]]] = {}

    def columns(self) -> dict[str, Columns]:
        """Return the rows by id."""
        window = _LEAST
        while self._at < self._end:
            size = _LENGTH.unpack_from(self._data, self._at + 2)[0]
            taken = self._take_numbers(size, window)
            # A few at first, so that rows of other kinds cost no more than they must.
            window = min(window * 8, _MOST) if taken == window else _LEAST
            if taken < _LEAST and self._at < self._end:
                self._take_one()
        return {id: _joined(self._np, parts) for id, parts in self._found.items()}

    def _take_numbers(self, size: int, window: int) -> int:
        """Take Numbers of points whose id has so many bytes, and return how many there were."""
        np, dtype = self._np, _number_type(size)
        width = np.dtype(dtype).itemsize
        count = min((self._end - self._at) // width, window)
        rows = np.frombuffer(self._data, dtype, count, self._at)
        fits = (rows["n"] == 4) & (rows["a"] == size) & (rows["c"] == 8) & (rows["d"] == -1)
        count = count if fits.all() else int(fits.argmin())
        if count:
            self._at += count * width
            self._put_numbers(rows[:count])
        return count

    def _put_numbers(self, rows: Any) -> None:
        np, ids = self._np, rows["id"]
        ts = rows["ts"].astype(np.int64)
        ts += _EPOCH_SHIFT
        val = rows["val"].astype(np.float64)
        ends = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(rows)]
        for first, last in pairwise(ends):
            own = self._found.setdefault(bytes(ids[first]).decode(), [])
            own.append((ts[first:last], val[first:last], {}))

    def _take_one(self) -> None:
        """Take one row of any kind."""
        np, data, at = self._np, self._data, self._at + 6
        (size,) = _LENGTH.unpack_from(data, at - 4)
        id = data[at : at + size].decode()
        (micros,) = _STAMP.unpack_from(data, at + size + 4)
        at += size + 12
        number, text = np.nan, None
        if _LENGTH.unpack_from(data, at)[0] == 8:
            (number,) = _DOUBLE.unpack_from(data, at + 4)
            at += 8
        at += 4
        (length,) = _LENGTH.unpack_from(data, at)
        if length != -1:
            # JSONB comes with the number of its format before the text.
            kept, text = stored_text(data[at + 5 : at + 4 + length].decode())
            number = np.nan if kept is None else kept
            at += length
        self._at = at + 4
        own = self._found.setdefault(id, [])
        others = {} if text is None else {0: text}
        own.append((np.array([micros + _EPOCH_SHIFT]), np.array([number]), others))


_LENGTH: Final = struct.Struct(">i")
_STAMP: Final = struct.Struct(">q")
_DOUBLE: Final = struct.Struct(">d")
_LEAST: Final = 64
_MOST: Final = 1 << 18


def _number_type(size: int) -> list[tuple[str, str]]:
    """Return the type of the row of a Number of a point whose id has so many bytes."""
    key = [("n", ">i2"), ("a", ">i4"), ("id", f"V{size}"), ("b", ">i4"), ("ts", ">i8")]
    return [*key, ("c", ">i4"), ("val", ">f8"), ("d", ">i4")]


def _joined(np: Any, parts: list[tuple[Any, Any, dict[int, str]]]) -> Columns:
    if len(parts) == 1:
        return Columns(*parts[0])
    obj: dict[int, str] = {}
    first = 0
    for ts, _, others in parts:
        if others:
            obj.update((first + place, text) for place, text in others.items())
        first += len(ts)
    stamps, values, _ = zip(*parts, strict=True)
    return Columns(np.concatenate(stamps), np.concatenate(values), obj)
