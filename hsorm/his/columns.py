"""Items of a write as columns: checked and put in order without an object per item.

What `check_items` would let through comes out, in the form in which it is stored. Whatever is not
certain to pass is left to `check_items` itself, so that there is one judge and one set of errors.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsorm.codecs import hayson
from hsorm.errors import HisWriteError
from hsorm.his.arrays import (
    batches_of_arrow,
    in_micros,
    is_text,
    load_arrow,
    load_numpy,
    records_of_batch,
)
from hsorm.his.batches import group_records
from hsorm.his.checks import Checked, HisPoint, check_items
from hsorm.his.instants import to_micros
from hsorm.his.rows import from_row, to_row
from hsorm.kinds import REMOVE, Kind, as_ref

if TYPE_CHECKING:
    import numpy as np

__all__ = ["REMOVED", "ArrowPart", "Gathered", "PointColumns", "arrow_parts", "stored_row"]

REMOVED: Final = hayson.dumps(REMOVE)
"""What stands for `obj` of an item that is to be deleted; no stored row has it (H15)."""

# Between these, history has begun in every zone and not ended yet (H24).
_BEFORE: Final = to_micros(dt.datetime(1950, 1, 3, tzinfo=dt.UTC))
_AFTER: Final = to_micros(dt.datetime(9999, 1, 1, tzinfo=dt.UTC))
_TICK: Final = dt.timedelta(microseconds=1)
_ROW: Final = 16
_ANY_TIME: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


class PointColumns(NamedTuple):
    """Checked items of one point, ascending by instant, one each.

    Attributes:
        id: Its id.
        ts: Microseconds since 1970, int64.
        val: float64; anything where there is none.
        obj: Hayson text of what is no Number, REMOVED of what is to be deleted, else None; None
            where all are Numbers. Of those with `obj` only a Bool has `val` besides.
    """

    id: str
    ts: np.ndarray[Any, np.dtype[np.int64]]
    val: np.ndarray[Any, np.dtype[np.float64]]
    obj: np.ndarray[Any, np.dtype[np.object_]] | None


_Part = tuple[Any, Any, Any]  # ts, val and obj of a PointColumns, in the order of the source


class Gathered:
    """The items of a source by point, until they are put in order.

    `size` tells in rows of Numbers, of 16 bytes each, how much memory they take.
    """

    def __init__(self) -> None:
        self._parts: dict[str, list[_Part]] = {}
        self.size = 0

    def add(self, found: Iterable[tuple[str, _Part]]) -> None:
        """Add checked items of points, after those that are there."""
        for id, part in found:
            self._parts.setdefault(id, []).append(part)
            self.size += len(part[0]) + _size_of(part[2]) // _ROW

    def settled(self, points: Mapping[str, HisPoint]) -> list[PointColumns]:
        """Return the items by id, in order and the last of each instant (rule H26)."""
        np = load_numpy("writing columns")
        return [_settled(np, points[id], self._parts[id]) for id in sorted(self._parts)]


def _size_of(obj: Any) -> int:
    """Return how many characters texts have."""
    return 0 if obj is None else sum(len(text) for text in obj.tolist() if text is not None)


def _settled(np: Any, point: HisPoint, parts: list[_Part]) -> PointColumns:
    ts, val, obj = parts[0] if len(parts) == 1 else _joined(np, parts)
    step = 1 if point.precision is None else point.precision // _TICK
    if step == 1 and bool((ts[1:] > ts[:-1]).all()):
        return PointColumns(point.id, ts, val, obj)
    order = np.argsort(ts, kind="stable")
    ts = ts[order]
    ts = ts - ts % step
    order = order[last := np.append(ts[1:] != ts[:-1], True)]
    return PointColumns(point.id, ts[last], val[order], None if obj is None else obj[order])


def _joined(np: Any, parts: list[_Part]) -> _Part:
    stamps, vals, objs = zip(*parts, strict=True)
    obj = None
    if any(texts is not None for texts in objs):
        obj = np.concatenate([
            np.full(len(ts), None, object) if texts is None else texts
            for ts, texts in zip(stamps, objs, strict=True)
        ])  # fmt: skip
    return np.concatenate(stamps), np.concatenate(vals), obj


# ---- Arrow --------------------------------------------------------------------------------------


def arrow_parts(source: object) -> Iterator[ArrowPart]:
    """Take an Arrow stream with columns `id`, `ts`, `val` (and `obj`) apart.

    Raises:
        HisWriteError: A column is missing.
    """
    place = 0
    for batch in batches_of_arrow(source):
        yield ArrowPart(batch, place)
        place += batch.num_rows


class ArrowPart:
    """A record batch of items.

    Args:
        batch: The batch.
        place: The place in the source of its first row.
    """

    def __init__(self, batch: Any, place: int) -> None:
        self._pa = load_arrow("writing an Arrow stream")
        self._np = load_numpy("writing an Arrow stream")
        self._batch, self._place = batch, place
        # Where the ids are not certain to be some, there are no names.
        coded: tuple[list[str], Any] = self._coded() or ([], None)
        self._names, self._codes = coded

    @property
    def ids(self) -> list[str]:
        """The points, each once.

        Raises:
            HisWriteError: A row names none.
        """
        if self._codes is None:
            return list(group_records(records_of_batch(self._batch), self._place).pairs)
        return self._names

    def check(self, points: Mapping[str, HisPoint]) -> Iterable[tuple[str, _Part]]:
        """Return the items by point, as they are stored and in their order.

        Raises:
            HisWriteError: An item is not accepted; `index` is its place in the source.
        """
        np = self._np
        columns = None if self._codes is None else self._columns(points)
        if columns is None:
            return self._one_by_one(points)
        codes, (ts, val, obj) = self._codes, columns
        if not bool((codes[1:] >= codes[:-1]).all()):
            order = np.argsort(codes, kind="stable")
            codes, ts, val = codes[order], ts[order], val[order]
            obj = None if obj is None else obj[order]
        edges = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)]
        return [
            (self._names[codes[first]], (ts[first:past], val[first:past], _some(obj, first, past)))
            for first, past in pairwise(edges)
            if past > first
        ]

    def _one_by_one(self, points: Mapping[str, HisPoint]) -> Iterable[tuple[str, _Part]]:
        grouped = group_records(records_of_batch(self._batch), self._place)
        return [(id, _of_items(self._np, items)) for id, items in grouped.check(points)]

    def _coded(self) -> tuple[list[str], Any] | None:
        """Return the ids that the rows name, and which of them each does."""
        pa, id = self._pa, self._batch.column("id")
        if not pa.types.is_dictionary(id.type):
            id = id.dictionary_encode()
        if id.null_count or not is_text(pa, id.dictionary.type) or id.dictionary.null_count:
            return None
        codes = id.indices.to_numpy(zero_copy_only=False).astype(self._np.int64, copy=False)
        texts = id.dictionary.to_pylist()
        # A dictionary may hold more than its rows use, and an id in two forms.
        used = self._np.flatnonzero(self._np.bincount(codes, minlength=len(texts))).tolist()
        own: dict[str, int] = {}
        places = self._np.zeros(len(texts), self._np.int64)
        try:
            for place in used:
                places[place] = own.setdefault(as_ref(texts[place]).val, len(own))
        except ValueError:
            return None
        return list(own), places[codes]

    def _columns(self, points: Mapping[str, HisPoint]) -> _Part | None:
        """Return the columns as they are stored; None where somebody has to look closer."""
        stamps = self._stamps()
        values = self._values()
        if stamps is None or values is None:
            return None
        val, objs = values
        is_number = self._np.array([points[name].kind == "Number" for name in self._names])
        plain = is_number[self._codes]
        if objs is not None:
            plain &= self._np.array([text is None for text in objs])
        if plain.all():
            return stamps, val, None
        stored = self._stored(points, val, objs, self._np.flatnonzero(~plain).tolist())
        return None if stored is None else (stamps, *stored)

    def _stamps(self) -> Any:
        pa, np, ts = self._pa, self._np, self._batch.column("ts")
        if not pa.types.is_timestamp(ts.type) or ts.type.tz is None or ts.null_count:
            return None
        micros = in_micros(pa, ts).cast(pa.int64()).to_numpy(zero_copy_only=False)
        if len(micros) and not (micros.min() >= _BEFORE and micros.max() < _AFTER):
            return None
        return np.ascontiguousarray(micros)

    def _values(self) -> tuple[Any, list[Any] | None] | None:
        """Return the numbers, and what stands for those that are none."""
        pa, batch = self._pa, self._batch
        val, objs = batch.column("val"), None
        if "obj" in batch.schema.names and batch.column("obj").null_count < len(val):
            objs = batch.column("obj")
            if not is_text(pa, objs.type):
                return None
            if (val.is_null().to_numpy(False) & objs.is_null().to_numpy(False)).any():
                return None
            objs = objs.to_pylist()
        elif val.null_count:
            return None
        if pa.types.is_boolean(val.type) and objs is None:
            flags = val.to_pylist()
            return self._np.array(flags, float), ["true" if flag else "false" for flag in flags]
        if not (pa.types.is_floating(val.type) or pa.types.is_integer(val.type)):
            return None
        numbers = val.cast(pa.float64(), safe=False).fill_null(0.0).to_numpy(zero_copy_only=False)
        return numbers + 0.0, objs  # -0 becomes 0 (rule H28)

    def _stored(
        self, points: Mapping[str, HisPoint], val: Any, objs: list[Any] | None, places: list[int]
    ) -> tuple[Any, Any] | None:
        """Return `val` and `obj`, of which those at some places are no plain Numbers."""
        if objs is None:  # a Number that is none of this point's
            return None
        out = self._np.full(len(val), None, object)
        val, seen = val.copy(), {}
        for place, code in zip(places, self._codes[places].tolist(), strict=True):
            key = (code, objs[place])
            if key not in seen:
                seen[key] = _accepted(points[self._names[code]], objs[place])
            row = seen[key]
            if row is None:
                return None
            val[place], out[place] = row
        return val, out


def _accepted(point: HisPoint, text: str | None) -> tuple[float, str | None] | None:
    """Return the row of a value, given as its Hayson text; None where it is not accepted."""
    if text is None:
        return None
    try:
        ((_, val),) = check_items(point, [{"ts": _ANY_TIME, "val": from_row(None, text, None)}])
    except (HisWriteError, ValueError):
        return None
    return stored_row(val)


def stored_row(val: Kind) -> tuple[float, str | None]:
    """Return `val` and `obj` of a checked value, as `PointColumns` has them."""
    number, obj = (None, REMOVED) if val is REMOVE else to_row(val)
    return 0.0 if number is None else number, obj


def _of_items(np: Any, items: Checked) -> _Part:
    rows = [stored_row(val) for _, val in items]
    obj = None
    if any(text is not None for _, text in rows):
        obj = np.full(len(rows), None, object)
        obj[:] = [text for _, text in rows]
    ts = np.array([to_micros(ts) for ts, _ in items], np.int64)
    return ts, np.array([number for number, _ in rows], np.float64), obj


def _some(obj: Any, first: int, past: int) -> Any:
    """Return a part of the texts, or None where it has none."""
    if obj is None:
        return None
    part = obj[first:past]
    return part if any(text is not None for text in part) else None
