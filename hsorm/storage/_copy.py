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
from typing import Any, Final, TypeAlias

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
    "Packed",
    "UnfitError",
    "columns_of_packed",
    "encoded",
    "encoded_texts",
    "joined_columns",
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

Packed: TypeAlias = tuple[bytes, bytes, bytes | None, list[str] | None]
"""The items of a point: `ts` and `val`, and the `ts` and `obj` of what is no Number."""

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


def columns_of_packed(np: Any, rows: Sequence[Packed]) -> list[Columns]:
    """Return the rows of points, of what `hsorm.sql.history.items_packed` selects.

    Args:
        np: NumPy.
        rows: Of each point, what comes after its id.
    """
    # All at once: a call of NumPy for each of many points takes longer than its few items.
    ts = np.frombuffer(b"".join([row[0] for row in rows]), ">i8").astype(np.int64)
    val = np.frombuffer(b"".join([row[1] for row in rows]), ">f8").astype(np.float64)
    ts += _EPOCH_SHIFT
    found, first = [], 0
    for stamps, _, other_stamps, others in rows:
        past = first + len(stamps) // 8
        own = Columns(ts[first:past], val[first:past], {})
        if others:
            _put_others(np, own, np.frombuffer(other_stamps, ">i8") + _EPOCH_SHIFT, others)
        found.append(own)
        first = past
    return found


def joined_columns(np: Any, parts: Sequence[Columns]) -> Columns:
    """Return the rows of a point that came in parts."""
    ts = np.concatenate([part.ts for part in parts] or [np.array([], np.int64)])
    val = np.concatenate([part.val for part in parts] or [np.array([], np.float64)])
    obj: dict[int, str] = {}
    first = 0
    for part in parts:
        obj.update((first + place, text) for place, text in part.obj.items())
        first += len(part.ts)
    return Columns(ts, val, obj)


def _put_others(np: Any, own: Columns, stamps: Any, others: list[str]) -> None:
    """Put in what is no Number, given with its `ts`."""
    for place, text in zip(np.searchsorted(own.ts, stamps).tolist(), others, strict=True):
        kept, other = stored_text(text)
        own.val[place] = np.nan if kept is None else kept
        if other is not None:
            own.obj[place] = other


def _number_type(size: int) -> list[tuple[str, str]]:
    """Return the type of the row of a Number of a point whose id has so many bytes."""
    key = [("n", ">i2"), ("a", ">i4"), ("id", f"V{size}"), ("b", ">i4"), ("ts", ">i8")]
    return [*key, ("c", ">i4"), ("val", ">f8"), ("d", ">i4")]
