"""History in CSV: a column for each point (`ts,<id>,…`), or a line for each item (`id,ts,val`)."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hsorm.cli._output import csv_text
from hsorm.cli._stamps import cell_value, parse_stamp
from hsorm.codecs import zinc
from hsorm.codecs._text import text_of
from hsorm.errors import CodecError, HisWriteError
from hsorm.his import HisPoint, check_items
from hsorm.kinds import NA, Grid, Number

if TYPE_CHECKING:
    from hsorm.storage.protocol import HisItem

__all__ = ["Cells", "ids_of_columns", "items_of", "read_cells", "write_grid_items", "write_items"]

_LONG: Final = frozenset(("id", "ts", "val"))


class Cells(NamedTuple):
    """The cells of one point: line, timestamp and value, as text and in the order of the file."""

    id: str
    rows: list[tuple[int, str, str]]


class _Source(NamedTuple):
    """Where lines come from, for errors."""

    name: str

    def error(self, line: int, reason: str) -> CodecError:
        return CodecError(reason, line, where=self.name)


# ---- text to cells ------------------------------------------------------------------------------


def read_cells(data: bytes, name: str, only: str | None = None) -> list[Cells]:
    """Split a file into the cells of its points.

    Args:
        data: The file.
        name: Its name, for errors.
        only: The point of a file with the header `ts,val`.

    Raises:
        CodecError: The header is neither of the two forms, a row is too long or too short, or the
            bytes are no UTF-8.
    """
    source = _Source(name)
    try:
        text = text_of(data)
    except CodecError as exc:
        raise CodecError(exc.reason, exc.line, exc.column, name) from None
    rows = _rows(text, source)
    header = next(rows, None)
    if header is None:
        raise CodecError("the file is empty", where=name)
    line, names = header[0], [cell.strip() for cell in header[1]]
    if len(names) == len(_LONG) and set(names) == _LONG:
        return _long(rows, names, source)
    return _wide(rows, ids_of_columns(names, line, name, only), source)


def ids_of_columns(names: Sequence[str], line: int, name: str, only: str | None) -> list[str]:
    """Return the points of a file with a column for each; see `read_cells`.

    Args:
        names: The cells of its header.
        line: The line of it.
        name: The file, for errors.
        only: The point of a file with the header `ts,val`.

    Raises:
        CodecError: It is no such header.
    """
    source = _Source(name)
    if list(names) == ["ts", "val"] and only is not None:
        return [only]
    if len(names) > 1 and names[0] == "ts" and all(names):
        return _ids(names[1:], line, source)
    raise source.error(line, "expected the header ts,<point id>,… or id,ts,val")


def _rows(text: str, source: _Source) -> Iterator[tuple[int, list[str]]]:
    first = text.lstrip("\r\n").partition("\n")[0]
    # Spreadsheets of many countries write semicolons.
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as exc:
        raise source.error(reader.line_num, f"no CSV: {exc}") from None


def _ids(names: Sequence[str], line: int, source: _Source) -> list[str]:
    ids = [name.removeprefix("@") for name in names]
    for at, id in enumerate(ids):
        if id in ids[:at]:
            raise source.error(line, f"two columns for @{id}")
    return ids


def _wide(rows: Iterable[tuple[int, list[str]]], ids: list[str], source: _Source) -> list[Cells]:
    out = [Cells(id, []) for id in ids]
    for line, row in rows:
        if len(row) != len(ids) + 1:
            raise source.error(line, f"{len(row)} cells, the header has {len(ids) + 1}")
        for cells, cell in zip(out, row[1:], strict=True):
            if cell.strip():  # no item of this point at this time
                cells.rows.append((line, row[0], cell))
    return out


def _long(rows: Iterable[tuple[int, list[str]]], names: list[str], source: _Source) -> list[Cells]:
    at = {name: place for place, name in enumerate(names)}
    out: dict[str, Cells] = {}
    for line, row in rows:
        if len(row) != len(names):
            raise source.error(line, f"{len(row)} cells, the header has {len(names)}")
        id, val = row[at["id"]].strip().removeprefix("@"), row[at["val"]]
        if not id or not val.strip():
            what = "val" if id else "id"
            raise source.error(line, f"{what} is empty: NA says not available, R deletes an item")
        out.setdefault(id, Cells(id, [])).rows.append((line, row[at["ts"]], val))
    return list(out.values())


# ---- cells to items -----------------------------------------------------------------------------


def items_of(cells: Cells, point: HisPoint, name: str) -> list[dict[str, Any]]:
    """Return the items of one point, checked as a write will check them.

    Args:
        cells: What the file says.
        point: The point: a time without offset is in its zone.
        name: The file, for errors.

    Raises:
        CodecError: A row is wrong; the error names file, line and reason.
    """
    source, items = _Source(name), []
    before: dt.datetime | None = None
    for line, stamp, cell in cells.rows:
        try:
            before = parse_stamp(stamp, point.zone, before)
            items.append({"ts": before, "val": cell_value(cell, point)})
        except CodecError as exc:
            raise source.error(line, f"@{cells.id}: {cell.strip()!r}: {exc.reason}") from None
        except ValueError as exc:
            raise source.error(line, f"@{cells.id}: {exc}") from None
    try:
        check_items(point, items)
    except HisWriteError as exc:
        raise source.error(cells.rows[exc.index][0], f"@{cells.id}: {exc.reason}") from None
    return items


# ---- items to text ------------------------------------------------------------------------------

_READ_OTHERWISE: Final = re.compile(r'\s*(?:"|NA\s*\Z|R\s*\Z|\Z)')


def write_items(id: str, items: Iterable[HisItem]) -> str:
    """Return the history of one point as CSV, in the wide form that `read_cells` reads."""
    return csv_text(("ts", id), ((_stamp_text(item["ts"]), _cell(item["val"])) for item in items))


def write_grid_items(ids: Sequence[str], grid: Grid) -> str:
    """Return the history of several points (`his_grid`) as CSV, in the wide form."""
    names = [f"v{number}" for number, _ in enumerate(ids)]
    rows = (
        (_stamp_text(row["ts"]), *(_cell(row[name]) if name in row else "" for name in names))
        for row in grid.rows
    )
    return csv_text(("ts", *ids), rows)


def _stamp_text(ts: Any) -> str:
    return zinc.dumps_value(ts)


def _cell(value: Any) -> str:
    """Return a value as a cell: numbers without their unit, which is the point's."""
    match value:
        case bool():
            return "true" if value else "false"
        case Number():
            return str(Number(value.val))
        case str() if not _READ_OTHERWISE.match(value):
            return value
        case _ if value is NA:
            return "NA"
    return zinc.dumps_value(value)
