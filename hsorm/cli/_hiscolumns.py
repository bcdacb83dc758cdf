"""History in CSV as Arrow: what `_hiscsv` reads cell by cell, whole columns at a time.

Timestamps and numbers of the plain forms are converted by Arrow; every other cell is read by the
same functions as there, so that the answers and the errors are the same.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hsorm.cli._hisblocks import Block, CsvBlocks, pieces, split_piece
from hsorm.cli._hiscsv import ids_of_columns
from hsorm.cli._stamps import STAMP, cell_value, parse_stamp
from hsorm.codecs import zinc
from hsorm.errors import CodecError, HisWriteError
from hsorm.his import HisPoint, check_items
from hsorm.his.columns import stored_row
from hsorm.his.instants import from_micros, to_micros
from hsorm.kinds import NA
from hsorm.zones import zone_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["CsvHistory", "UnfitError", "ZincHistory"]

_LONG: Final = frozenset(("id", "ts", "val"))
_LOCAL: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?"
_PLAIN: Final = r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"  # as in `_stamps`
_ZINC_STAMP: Final = (
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|(Z|[+-]\d\d:\d\d) [A-Z][A-Za-z0-9_+/\-]*)$"
)
_DAY: Final = 86_400_000_000
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - a wall clock
_ANY_TIME: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_FIRST, _LAST = (to_micros(dt.datetime(year, 1, 3, tzinfo=dt.UTC)) for year in (1950, 9999))
_SEEN: Final = 100_000


class CsvHistory:
    """The history in a CSV file.

    Args:
        file: The file, which can seek.
        name: Its name, for errors.
        only: The point of a file with the header `ts,val`.
        ids: The ids of points by what the file calls them, where these are others.

    Raises:
        CodecError: The header is neither of the two forms, or the file is no CSV.
    """

    def __init__(self, file: BinaryIO, name: str, only: str | None, ids: Mapping[str, str]) -> None:
        self._csv, self._name, self._renamed = CsvBlocks(file, name), name, ids
        names = [cell.strip() for cell in self._csv.header]
        self._long = len(names) == len(_LONG) and set(names) == _LONG
        self._places = [names.index(cell) for cell in ("id", "ts", "val")] if self._long else []
        self._columns = [] if self._long else ids_of_columns(names, self._csv.line, name, only)
        self._ids = [ids.get(id, id) for id in self._columns]

    def points(self) -> dict[str, int]:
        """Return the points that the file names, each with the line where its first item may be."""
        if not self._long:
            return dict.fromkeys(self._ids, self._csv.line + 1)
        found: dict[str, int] = {}
        for block in self._csv.blocks():
            ids = block.columns[self._places[0]].dictionary_encode()
            codes = ids.indices.to_numpy()
            for code, name in enumerate(ids.dictionary.to_pylist()):
                # A row without id is an error that is told later, in its turn.
                if (id := self._id_of(name)) and id not in found:
                    found[id] = int(block.lines[(codes == code).argmax()])
        return found

    def _id_of(self, cell: str) -> str:
        id = cell.strip().removeprefix("@")
        return self._renamed.get(id, id)

    def batches(self, points: Mapping[str, HisPoint]) -> Iterator[tuple[int, Any]]:
        """Yield record batches of `id`, `ts`, `val` and `obj`, each after its bytes of the file.

        Raises:
            CodecError: A row is wrong; the error names file, line and reason.
        """
        cells = _Cells(self._name)
        for block in self._csv.blocks():
            if self._long:
                given = self._of_long(block, points)
            else:
                given = _of_wide(block, [points[id] for id in self._ids])
            yield block.size, cells.batch(*given)

    def _of_long(self, block: Block, points: Mapping[str, HisPoint]) -> tuple[Any, ...]:
        import numpy as np
        import pyarrow.compute as pc

        ids, stamps, values = (block.columns[place] for place in self._places)
        coded = ids.dictionary_encode()
        found = [self._id_of(name) for name in coded.dictionary.to_pylist()]
        blank = _lengths(pc.utf8_trim_whitespace(values)) == 0
        lacking = blank | np.array([not id for id in found])[coded.indices.to_numpy()]
        if lacking.any():
            place = int(lacking.argmax())
            what = "id" if not found[coded.indices[place].as_py()] else "val"
            reason = f"{what} is empty: NA says not available, R deletes an item"
            raise CodecError(reason, int(block.lines[place]), where=self._name)
        own = {id: code for code, id in enumerate(dict.fromkeys(found))}
        codes = np.array([own[id] for id in found], np.int32)[coded.indices.to_numpy()]
        rows = np.argsort(codes, kind="stable")
        order = rows.astype(np.int64)
        owners = [points[id] for id in own]
        return owners, codes[order], rows, block.lines, stamps, values.take(_array(order))


class ZincHistory:
    """The history in a Zinc file, a column a point, with nothing in it but the plainest.

    Args:
        file: The file, which can seek.
        start: Where the rows begin.
        points: The points of its columns, in their order.

    Raises:
        UnfitError: `zinc.loads` has to read it, or to say what is wrong with it.
    """

    def __init__(self, file: BinaryIO, start: int, points: Sequence[HisPoint]) -> None:
        self._file, self._start, self._points = file, start, points

    def batches(self) -> Iterator[tuple[int, Any]]:
        """Yield record batches as `CsvHistory.batches` does.

        Raises:
            UnfitError: As above.
        """
        cells, line = _ZincCells(""), 1
        for data in pieces(self._file, self._start):
            fits = _NESTED.search(data) is None
            block = split_piece(data, len(self._points) + 1, ",", line) if fits else None
            if block is None:
                raise UnfitError
            try:
                yield block.size, cells.batch(*_of_wide(block, self._points))
            except CodecError:
                raise UnfitError from None
            line += len(block.lines)


class UnfitError(Exception):
    """A file that is not of the plain form."""


_NESTED: Final = re.compile(rb'["`<\[{(\\]')


def _of_wide(block: Block, owners: Sequence[HisPoint]) -> tuple[Any, ...]:
    """Return what `_Cells.batch` takes, of a block with a column for each point."""
    import numpy as np
    import pyarrow as pa

    many = len(block.lines)
    codes = np.repeat(np.arange(len(owners), dtype=np.int32), many)
    rows = np.tile(np.arange(many), len(owners))
    stamps, *columns = block.columns
    return owners, codes, rows, block.lines, stamps, pa.concat_arrays(columns)


def _array(values: Any) -> Any:
    import pyarrow as pa

    return pa.array(values)


def _lengths(texts: Any) -> Any:
    import pyarrow.compute as pc

    return pc.binary_length(texts).to_numpy(zero_copy_only=False)


# ---- cells --------------------------------------------------------------------------------------


class _Cells:
    """Converts the cells of one file, block after block.

    Args:
        name: The file, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._before: dict[str, int] = {}
        self._seen: dict[tuple[str, str], tuple[float, str | None]] = {}

    def batch(
        self,
        owners: Sequence[HisPoint],
        codes: Any,
        rows: Any,
        lines: Any,
        stamps: Any,
        cells: Any,
    ) -> Any:
        """Return the items of a block.

        Args:
            owners: Its points.
            codes: Of each cell which of them it is of, ascending.
            rows: Of each cell in which row it stands; ascending within a point.
            lines: Of each row the line in the file.
            stamps: Of each row the timestamp, as text.
            cells: The values, as text; a blank one is no item.
        """
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        trimmed = pc.utf8_trim_whitespace(cells)
        there = self._are_there(trimmed)
        if not there.all():
            mask = pa.array(there)
            cells, trimmed = cells.filter(mask), trimmed.filter(mask)
            codes, rows = codes[there], rows[there]
        where = lines[rows]
        ts = self._stamps(owners, codes, rows, where, stamps)
        val, obj = self._values(owners, codes, where, cells, trimmed)
        self._check_years(owners, codes, where, ts)
        ids = pa.array([owner.id for owner in owners], pa.string())
        objs = pa.nulls(len(ts), pa.string()) if obj is None else pa.array(obj, pa.string())
        return pa.record_batch(
            {
                "id": pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), ids),
                "ts": pa.array(ts).cast(pa.timestamp("us", tz="UTC")),
                "val": pa.array(val),
                "obj": objs,
            }
        )

    def _are_there(self, trimmed: Any) -> Any:
        """Return which cells are items."""
        return _lengths(trimmed) > 0

    def _instants(self, stamps: Any, zone: ZoneInfo) -> tuple[Any, Any]:
        return _instants(stamps, zone)

    def _stamp(self, text: str, zone: ZoneInfo, after: dt.datetime | None) -> dt.datetime:
        """Read a timestamp that is not of the plain form."""
        return parse_stamp(text, zone, after)

    def _value(self, text: str, point: HisPoint) -> Any:
        """Read a value that is no plain number."""
        return cell_value(text, point)

    def _error(self, line: int, reason: str) -> CodecError:
        return CodecError(reason, int(line), where=self._name)

    def _stamps(
        self, owners: Sequence[HisPoint], codes: Any, rows: Any, where: Any, stamps: Any
    ) -> Any:
        import numpy as np

        ts, odd = np.zeros(len(codes), np.int64), np.zeros(len(codes), bool)
        zones = [owner.zone for owner in owners]
        for zone in dict.fromkeys(zones):
            found, strange = self._instants(stamps, zone)
            if len(set(zones)) == 1:
                ts, odd = found[rows], strange[rows]
            else:
                own = np.array([zone is other for other in zones])[codes]
                ts[own], odd[own] = found[rows[own]], strange[rows[own]]
        for place in np.flatnonzero(odd).tolist():
            owner = owners[codes[place]]
            follows = place > 0 and codes[place - 1] == codes[place]
            before = int(ts[place - 1]) if follows else self._before.get(owner.id)
            after = None if before is None else from_micros(before)
            text = stamps[int(rows[place])].as_py()
            try:
                instant = self._stamp(text, owner.zone, after)
            except ValueError as exc:
                raise self._error(where[place], f"@{owner.id}: {exc}") from None
            ts[place] = to_micros(instant)
        last = np.append(codes[1:] != codes[:-1], True)[: len(codes)]  # of its point
        for place in np.flatnonzero(last).tolist():
            self._before[owners[codes[place]].id] = int(ts[place])
        return ts

    def _values(
        self, owners: Sequence[HisPoint], codes: Any, where: Any, cells: Any, trimmed: Any
    ) -> tuple[Any, Any]:
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        trimmed = _without_units(owners, codes, trimmed)
        plain = pc.match_substring_regex(trimmed, _PLAIN).to_numpy(zero_copy_only=False)
        plain &= np.array([owner.kind == "Number" for owner in owners])[codes]
        val = np.zeros(len(codes))
        numbers = trimmed if plain.all() else trimmed.filter(pa.array(plain))
        try:
            val[plain] = numbers.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:  # beyond all doubles
            plain = np.zeros(len(codes), bool)
        if plain.all():
            return val, None
        obj = np.full(len(codes), None, object)
        places = np.flatnonzero(~plain)
        texts = cells.take(pa.array(places)).to_pylist()
        for place, text in zip(places.tolist(), texts, strict=True):
            val[place], obj[place] = self._row(owners[codes[place]], text, where[place])
        return val, obj

    def _row(self, point: HisPoint, text: str, line: int) -> tuple[float, str | None]:
        """Return what is stored for a cell that is no plain number; most come again and again."""
        if (row := self._seen.get((point.id, text))) is None:
            if len(self._seen) > _SEEN:
                self._seen.clear()
            try:
                item = {"ts": _ANY_TIME, "val": self._value(text, point)}
                ((_, val),) = check_items(point, [item])
            except CodecError as exc:
                reason = f"@{point.id}: {text.strip()!r}: {exc.reason}"
                raise self._error(line, reason) from None
            except HisWriteError as exc:
                raise self._error(line, f"@{point.id}: {exc.reason}") from None
            row = self._seen[point.id, text] = stored_row(val)
        return row

    def _check_years(self, owners: Sequence[HisPoint], codes: Any, where: Any, ts: Any) -> None:
        import numpy as np

        for place in np.flatnonzero((ts < _FIRST) | (ts >= _LAST)).tolist():
            owner = owners[codes[place]]
            try:
                check_items(owner, [{"ts": from_micros(int(ts[place])), "val": NA}])
            except HisWriteError as exc:
                raise self._error(where[place], f"@{owner.id}: {exc.reason}") from None


class _ZincCells(_Cells):
    """Converts the cells of a Zinc grid; what is not certain is an error, for others to judge."""

    def _are_there(self, trimmed: Any) -> Any:
        import pyarrow.compute as pc

        null = pc.equal(trimmed, "N").to_numpy(zero_copy_only=False)
        return super()._are_there(trimmed) & ~null

    def _instants(self, stamps: Any, zone: ZoneInfo) -> tuple[Any, Any]:
        import pyarrow.compute as pc

        # Where all differ in digits alone, what the first is the others are.
        of_form = pc.match_substring_regex(stamps[:1], _ZINC_STAMP)
        if (alike := _alike(stamps, zone)) is None:
            of_form = pc.match_substring_regex(stamps, _ZINC_STAMP)
        if not pc.all(of_form).as_py():
            raise CodecError("no dateTime of the plain form")
        return super()._instants(stamps, zone) if alike is None else alike

    def _stamp(self, text: str, zone: ZoneInfo, after: dt.datetime | None) -> dt.datetime:
        raise ValueError("no dateTime of the plain form")

    def _value(self, text: str, point: HisPoint) -> Any:
        return zinc.loads_value(text)


def _without_units(owners: Sequence[HisPoint], codes: Any, trimmed: Any) -> Any:
    """Take the unit of its point off each number that has it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    for unit in {owner.unit for owner in owners if owner.kind == "Number" and owner.unit}:
        own = np.array([owner.unit == unit and owner.kind == "Number" for owner in owners])[codes]
        ends = pc.and_(pc.ends_with(trimmed, unit), pa.array(own))
        if pc.any(ends).as_py():
            trimmed = pc.if_else(ends, pc.utf8_slice_codeunits(trimmed, 0, -len(unit)), trimmed)
    return trimmed


# ---- instants -----------------------------------------------------------------------------------


def _instants(texts: Any, zone: ZoneInfo) -> tuple[Any, Any]:
    """Return timestamps as microseconds since 1970, and which of them need a closer look."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if (alike := _alike(texts, zone)) is not None:
        return alike
    many = len(texts)
    odd = np.ones(many, bool)
    form = STAMP.fullmatch(texts[0].as_py()) if many else None
    if form is None:
        return np.zeros(many, np.int64), odd
    _, _, offset, name = form.groups()
    try:
        if name is not None:
            named = zone_of(name)
            zone = named if offset is None else zone
            ends = pc.ends_with(texts, f" {name}")
            texts = pc.if_else(ends, pc.utf8_slice_codeunits(texts, 0, -len(name) - 1), "")
    except LookupError:
        return np.zeros(many, np.int64), odd
    pattern = _LOCAL + ("$" if offset is None else r"(Z|[+-]\d\d:?\d\d)$")
    fits = pc.match_substring_regex(texts, pattern)
    texts = pc.if_else(fits, texts, "2000-01-01T00:00" + ("" if offset is None else "Z"))
    try:
        found = texts.cast(pa.timestamp("us", None if offset is None else "UTC"))
    except pa.ArrowInvalid:  # one of them is not in the calendar
        return np.zeros(many, np.int64), odd
    odd = ~fits.to_numpy(zero_copy_only=False)
    micros = found.cast(pa.int64()).to_numpy(zero_copy_only=False)
    if offset is None:
        micros, unsteady = _from_local(micros, zone)
        odd |= unsteady
    # Where a datetime in UTC ends, the calendar of a zone may, too.
    return micros, odd | (micros < _FIRST) | (micros >= _LAST)


def _alike(texts: Any, zone: ZoneInfo) -> tuple[Any, Any] | None:
    """Return what `_instants` does of texts that differ in digits alone, at a fifth of the cost.

    None where they differ in anything else: an offset, a zone, a length, or are not in the
    calendar.
    """
    import numpy as np

    size = len(texts[0].as_py().encode()) if len(texts) else 0
    form = STAMP.fullmatch(texts[0].as_py()) if size else None
    if form is None or not (_lengths(texts) == size).all():
        return None
    digits = form.end(2)
    if digits not in (16, 19):  # no fractions
        return None
    _, offsets, data = texts.buffers()
    start = int(np.frombuffer(offsets, np.int32)[texts.offset])
    marks = np.frombuffer(data, np.uint8, len(texts) * size, start).reshape(len(texts), size)
    steady = [4, 7, 10, 13, *range(16, 17 if digits == 19 else 16), *range(digits, size)]
    if not (marks[:, steady] == marks[0, steady]).all():
        return None
    instant = _counted(marks[:, :digits] - np.uint8(48))
    if instant is None:
        return None
    _, _, offset, name = form.groups()
    try:
        named = zone if name is None else zone_of(name)
        first = to_micros(parse_stamp(texts[0].as_py(), zone))
    except (LookupError, ValueError):
        return None
    if offset is None:
        micros, odd = _from_local(instant, named)
    else:
        micros = instant + (first - int(instant[0]))
        odd = np.zeros(len(micros), bool)
    return micros, odd | (micros < _FIRST) | (micros >= _LAST)


def _counted(digit: Any) -> Any:
    """Return wall clocks, given by digits, as microseconds since 1970; None if one is none."""
    import numpy as np

    def number(*places: int) -> Any:
        own = digit[:, places[0]].astype(np.int64)
        for place in places[1:]:
            own = own * 10 + digit[:, place]
        return own

    places = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18][: 12 if digit.shape[1] == 16 else 14]
    if not (digit[:, places] <= 9).all():
        return None
    year, month, day = number(0, 1, 2, 3), number(5, 6), number(8, 9)
    hour, minute = number(11, 12), number(14, 15)
    second = number(17, 18) if len(places) == 14 else np.zeros_like(hour)
    if not ((month - 1 < 12) & (month > 0) & (hour < 24) & (minute < 60) & (second < 60)).all():
        return None
    months = ((year - 1970) * 12 + month - 1).view("datetime64[M]")
    days = months.astype("datetime64[D]").view(np.int64)
    following = (months + 1).astype("datetime64[D]").view(np.int64)
    if not ((day > 0) & (day <= following - days)).all():
        return None
    seconds = (((days + day - 1) * 24 + hour) * 60 + minute) * 60 + second
    return seconds * 1_000_000


def _from_local(local: Any, zone: ZoneInfo) -> tuple[Any, Any]:
    """Return local times as instants, and which lie on days on which the clocks change."""
    import numpy as np

    days, which = np.unique(local // _DAY, return_inverse=True)
    offsets = [_steady_offset(day, zone) for day in days.tolist()]
    unsteady = np.array([offset is None for offset in offsets], bool)
    micros = local - np.array([offset or 0 for offset in offsets], np.int64)[which]
    return micros, unsteady[which]


@lru_cache(maxsize=100_000)
def _steady_offset(day: int, zone: ZoneInfo) -> int | None:
    """Return by how much a zone is ahead of UTC on a day; None where the clocks change."""
    try:
        begin = (_EPOCH + dt.timedelta(days=day)).replace(tzinfo=zone)
        end = begin + dt.timedelta(days=1)
    except OverflowError:
        return None
    found = {at.replace(fold=fold).utcoffset() for at in (begin, end) for fold in (0, 1)}
    offset = found.pop()
    if found or offset is None:
        return None
    return offset // dt.timedelta(microseconds=1)
