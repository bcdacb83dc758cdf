"""JSON version 3, the older JSON of Haystack: every scalar is a string with a letter in front.

Reading only; what is written is Hayson. Source: docHaystack, Json (version 3).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

from hsorm.codecs.hayson import GRID_VERSIONS, date_of, parse_json
from hsorm.codecs.zinc import MAX_DEPTH, datetime_of, short_time_of
from hsorm.errors import CodecError
from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Grid,
    GridCol,
    Number,
    Ref,
    Symbol,
    Uri,
    XStr,
    is_ref_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["decode", "loads"]


def loads(text: str | bytes) -> Grid:
    """Read one grid.

    Raises:
        CodecError: The text is no JSON or no grid of version 3; the error says where.
    """
    value = decode(parse_json(text))
    if not isinstance(value, Grid):
        raise CodecError("no grid: expected an object with 'meta', 'cols' and 'rows'")
    return value


def decode(value: Any) -> Any:
    """Turn parsed JSON of version 3 into a kind.

    An object with `meta`, `cols` and `rows` is a grid. Null members of a dict are dropped.

    Raises:
        CodecError: A string has an unknown letter in front, or is no value of its kind.
    """
    return _decode(value, 0)


def _decode(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _scalar(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return Number(value)
    if depth >= MAX_DEPTH:
        raise CodecError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_at(f"[{at}]", item, depth + 1) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        raise CodecError(f"{value!r} is no JSON value")
    is_grid = all(value.get(name) is not None for name in ("meta", "cols", "rows"))
    return _grid(value, depth + 1) if is_grid else _dict(value, depth + 1)


def _at(where: str, value: Any, depth: int) -> Any:
    """Read a member; an error gets its path in front."""
    try:
        return _decode(value, depth)
    except CodecError as exc:
        inner = exc.where or ""
        joint = "." if inner and not inner.startswith("[") else ""
        raise CodecError(exc.reason, where=where + joint + inner) from None


def _dict(obj: dict[str, Any], depth: int) -> dict[str, Any]:
    return {name: _at(name, item, depth) for name, item in obj.items() if item is not None}


# ---- grids --------------------------------------------------------------------------------------


def _grid(obj: dict[str, Any], depth: int) -> Grid:
    meta, cols, rows = obj["meta"], obj["cols"], obj["rows"]
    if not (isinstance(meta, dict) and isinstance(cols, list) and isinstance(rows, list)):
        raise CodecError("grid whose meta, cols or rows are no object and two arrays")
    ver = meta.get("ver")
    if ver not in GRID_VERSIONS:
        raise CodecError(f"grid of version {ver!r}: 2.0 and 3.0 are known", where="meta.ver")
    tags = _dict({name: item for name, item in meta.items() if name != "ver"}, depth)
    columns = tuple(_col(at, col, depth) for at, col in enumerate(cols))
    return Grid(tags, columns, tuple(_row(at, row, depth) for at, row in enumerate(rows)), ver)


def _col(at: int, col: Any, depth: int) -> GridCol:
    if not isinstance(col, dict) or not isinstance(col.get("name"), str):
        raise CodecError("a column that is no object with a 'name'", where=f"cols[{at}]")
    meta = {name: item for name, item in col.items() if name != "name"}
    return GridCol(col["name"], _dict(meta, depth))


def _row(at: int, row: Any, depth: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise CodecError("a row that is no object", where=f"rows[{at}]")
    try:
        return _dict(row, depth)
    except CodecError as exc:
        raise CodecError(exc.reason, where=f"rows[{at}].{exc.where}") from None


# ---- scalars ------------------------------------------------------------------------------------


def _scalar(text: str) -> Any:
    if text[1:2] != ":":
        return text
    read = _READERS.get(text[0])
    try:
        if read is None:
            raise ValueError("unknown letter before the colon; a plain string begins 's:'")  # noqa: TRY301 - one place makes the error
        return read(text[2:])
    except (ValueError, LookupError, OverflowError) as exc:
        raise CodecError(f"{text[:60]!r}: {exc}") from None


def _only(value: Any) -> Callable[[str], Any]:
    def read(rest: str) -> Any:
        if rest:
            raise ValueError("nothing may follow the colon")
        return value

    return read


# float() alone would take "1_0", "infinity", blanks and the digits of every script.
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_SPECIAL: Final = {"INF": math.inf, "-INF": -math.inf, "NaN": math.nan}


def _number(text: str) -> Number:
    val, _, unit = text.partition(" ")
    return Number(_SPECIAL[val] if val in _SPECIAL else _float(val), unit or None)


def _float(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


def _ref(text: str) -> Ref:
    id, space, dis = text.partition(" ")
    if not is_ref_id(id):
        raise ValueError("no ref id: letters, digits and _ : - . ~ only")
    return Ref(id, dis if space else None)


def _datetime(text: str) -> Any:
    stamp, _, zone = text.partition(" ")
    return datetime_of(stamp, zone or None)


def _time(text: str) -> Any:
    if len(text) < 4:
        raise ValueError("no time: hh:mm:ss")
    return short_time_of(text)


def _coord(text: str) -> Coord:
    lat, _, lng = text.partition(",")
    return Coord(_float(lat), _float(lng))


def _x(text: str) -> Any:
    if not text:
        return REMOVE  # the form of version 2
    type, colon, val = text.partition(":")
    if not colon:
        raise ValueError("an XStr is 'x:Type:value'")
    return XStr(type, val)


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "m": _only(MARKER),
    "z": _only(NA),
    "-": _only(REMOVE),
    "n": _number,
    "r": _ref,
    "s": str,
    "u": Uri,
    "y": Symbol,
    "d": date_of,
    "h": _time,
    "t": _datetime,
    "c": _coord,
    "b": lambda text: XStr("Bin", text),
    "x": _x,
}
