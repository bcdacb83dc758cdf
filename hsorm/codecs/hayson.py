"""Hayson, the JSON of Haystack 4: the stored form of every value, lossless for every kind.

`decode`/`encode` work on parsed JSON, `loads`/`dumps` on text. Source: docHaystack, Json.

Timestamps keep microseconds, the resolution of Python and PostgreSQL; further digits are cut off
on reading.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn

import msgspec

from hsorm.codecs._text import text_of
from hsorm.errors import CodecError
from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Entity,
    Grid,
    GridCol,
    Kind,
    Number,
    Ref,
    Symbol,
    Uri,
    XStr,
    is_ref_id,
    native,
    number_text,
    plain_text,
)
from hsorm.zones import city_of, with_zone, zone_of

__all__ = ["decode", "decode_entity", "dumps", "encode", "encode_entity", "loads"]


# ---- reading ------------------------------------------------------------------------------------


def loads(text: str | bytes) -> Any:
    """Read one value from Hayson text.

    Raises:
        CodecError: The text is no JSON, or the JSON is no Hayson; the error says where.
    """
    return decode(parse_json(text))


def parse_json(text: str | bytes) -> Any:
    """Parse JSON text; an error names line and column."""
    try:
        return msgspec.json.decode(text)
    except msgspec.ValidationError:
        return _parse_infinite(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise _json_error(text, str(exc)) from None
    except RecursionError:
        raise CodecError("JSON is nested too deep") from None


def _parse_infinite(text: str | bytes) -> Any:
    """Parse JSON that has a number beyond the doubles in it, which is INF (F9) to this parser."""
    try:
        return json.loads(text_of(text), parse_constant=_no_constant, parse_int=_int)
    except json.JSONDecodeError as exc:
        raise CodecError(f"no JSON: {exc.msg}", exc.lineno, exc.colno) from None
    except RecursionError:
        raise CodecError("JSON is nested too deep") from None


def _int(digits: str) -> int | float:
    # int() refuses thousands of digits; what has more than a double's 309 is infinite anyway.
    return int(digits) if len(digits) < 1000 else float(digits)


def _no_constant(name: str) -> NoReturn:
    raise CodecError(f"no JSON: {name} is none, write the object of a number")


def _json_error(text: str | bytes, reason: str) -> CodecError:
    found = re.search(r"^(?:JSON is malformed: )?(.*?)(?: \(byte (\d+)\))?$", reason)
    reason, byte = (found[1], found[2]) if found else (reason, None)
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if "truncated" in reason:
        byte, reason = str(len(raw)), "the text ends too early"
    if byte is None:
        return CodecError(f"no JSON: {reason}")
    before = raw[: int(byte)]
    line = before.count(b"\n") + 1
    column = len(before.rsplit(b"\n", 1)[-1].decode(errors="replace")) + 1
    return CodecError(f"no JSON: {reason}", line, column)


def decode(value: Any) -> Any:
    """Turn parsed JSON into a kind.

    Raises:
        CodecError: The JSON is no Hayson: an unknown `_kind`, a bad date, a ref id with a space…
    """
    try:
        return _decode(value, _checked_ref)
    except RecursionError:
        raise CodecError("value is nested too deep") from None


def decode_entity(stored: str | bytes | dict[str, Any]) -> Entity:
    """Read one stored entity, from text or parsed JSON, fast.

    Ref ids are taken as they are: what is already in a table can be read, whoever wrote it.
    """
    obj = stored if isinstance(stored, dict) else parse_json(stored)
    return _decode_dict(obj, _stored_ref)


# Refs are immutable and few are asked for often (siteRef, equipRef), so both factories remember.
@lru_cache(maxsize=65536)
def _stored_ref(val: str) -> Ref:
    return Ref(val)


@lru_cache(maxsize=65536)
def _checked_ref(val: str) -> Ref:
    if not isinstance(val, str) or not is_ref_id(val):
        raise CodecError(f"{val!r} is no ref id: letters, digits and _ : - . ~ only")
    return Ref(val)


_RefOf = Callable[[str], Ref]


def _decode(value: Any, ref: _RefOf) -> Any:
    kind = type(value)
    if kind is dict:
        return _decode_object(value, ref)
    if kind is list:
        return [_decode(item, ref) for item in value]
    if kind is int or kind is float:
        return Number(value)
    return value  # str, bool, and the null of a list


def _decode_dict(obj: dict[str, Any], ref: _RefOf) -> dict[str, Any]:
    # Most of the time of a read goes by here: the commonest kinds are told apart without a call.
    out: dict[str, Any] = {}
    name = ""
    try:
        for name, value in obj.items():
            kind = type(value)
            if kind is str or kind is bool:
                out[name] = value
            elif kind is dict:
                tag = value.get("_kind")
                if tag == "marker":
                    out[name] = MARKER
                elif tag == "ref" and len(value) == 2 and type(value.get("val")) is str:
                    out[name] = ref(value["val"])
                else:
                    out[name] = _decode_object(value, ref)
            elif value is not None:  # a null member is an absent tag
                out[name] = _decode(value, ref)
    except CodecError as exc:
        raise _inside(name, exc) from None
    return out


def _inside(name: str, exc: CodecError) -> CodecError:
    """Put the name of a tag before the place of an error in its value."""
    where = exc.where or ""
    dot = "." if where and not where.startswith("[") else ""
    return CodecError(exc.reason, exc.line, exc.column, f"{name}{dot}{where}")


def _decode_object(obj: dict[str, Any], ref: _RefOf) -> Any:
    tag = obj.get("_kind")
    if tag is None:
        return _decode_dict(obj, ref)
    if tag == "ref":
        return _ref(obj, ref)
    if tag == "dict":
        return _decode_dict({name: val for name, val in obj.items() if name != "_kind"}, ref)
    if tag == "grid":
        return _grid(obj, ref)
    decoder = _DECODERS.get(tag) if isinstance(tag, str) else None
    if decoder is None:
        raise CodecError(f"unknown _kind {tag!r}")
    try:
        return decoder(obj)
    except CodecError:
        raise
    except KeyError as exc:
        raise CodecError(f"{tag} without {exc.args[0]!r}: {_short(obj)}") from None
    except (ValueError, TypeError, AttributeError, LookupError) as exc:
        raise CodecError(f"bad {tag}: {exc}") from None


def _short(obj: object) -> str:
    try:
        text = msgspec.json.encode(obj).decode()
    except (TypeError, ValueError):  # given as objects, it need not be JSON at all
        text = repr(obj)
    return text if len(text) <= 80 else text[:77] + "…"


def _text(obj: dict[str, Any], name: str = "val") -> str:
    val = obj[name]
    if not isinstance(val, str):
        raise CodecError(f"{obj['_kind']} with a {name!r} that is no string: {_short(obj)}")
    return val


def _ref(obj: dict[str, Any], ref: _RefOf) -> Ref:
    if "val" not in obj:
        raise CodecError(f"ref without 'val': {_short(obj)}")
    plain = ref(_text(obj))
    dis = obj.get("dis")
    return plain if dis is None else Ref(plain.val, _text(obj, "dis"))


_SPECIAL: Final = {"INF": math.inf, "-INF": -math.inf, "NaN": math.nan}


def _number(obj: dict[str, Any]) -> Number:
    val, unit = obj["val"], obj.get("unit")
    if isinstance(val, str):
        val = _SPECIAL[val] if val in _SPECIAL else float(val)
    if unit is not None and not isinstance(unit, str):
        raise CodecError(f"number with a 'unit' that is no string: {_short(obj)}")
    return Number(val, unit)


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@lru_cache(maxsize=4096)
def date_of(text: str) -> dt.date:
    """Read `YYYY-MM-DD`."""
    if not _DATE.fullmatch(text):  # fromisoformat knows weeks, too
        raise ValueError(f"{text!r} is no date: YYYY-MM-DD")
    return dt.date.fromisoformat(text)


_TIME = re.compile(r"([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?")
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:[0-9]{2})"
)


@lru_cache(maxsize=4096)
def time_of(text: str) -> dt.time:
    """Read `hh:mm:ss` with an optional fraction of up to nine digits."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no time: hh:mm:ss")
    return dt.time.fromisoformat(found[1]).replace(microsecond=_micros(found[2]))


def _micros(digits: str | None) -> int:
    return int(digits.ljust(6, "0")[:6]) if digits else 0


@lru_cache(maxsize=4096)
def instant_of(text: str) -> dt.datetime:
    """Read an ISO 8601 date and time with offset or `Z`, as an instant in UTC."""
    found = _DATETIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no dateTime: YYYY-MM-DDThh:mm:ss with an offset or Z")
    offset = "+00:00" if found[3] == "Z" else found[3]
    try:
        instant = dt.datetime.fromisoformat(found[1] + offset).astimezone(dt.UTC)
    except OverflowError:
        raise ValueError(f"{text!r} is beyond the years 1 to 9999") from None
    return instant.replace(microsecond=_micros(found[2]))


def _datetime(obj: dict[str, Any]) -> dt.datetime:
    tz = obj.get("tz")
    try:
        # The stated offset defines the instant, the zone shows it (OC 27).
        return instant_of(_text(obj)).astimezone(zone_of("GMT" if tz is None else _text(obj, "tz")))
    except OverflowError:
        raise ValueError(f"{obj['val']!r} is beyond the years 1 to 9999") from None


def _coord(obj: dict[str, Any]) -> Coord:
    return Coord(obj["lat"], obj["lng"])


_DECODERS: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "marker": lambda obj: MARKER,
    "na": lambda obj: NA,
    "remove": lambda obj: REMOVE,
    "number": _number,
    "uri": lambda obj: Uri(_text(obj)),
    "symbol": lambda obj: Symbol(_text(obj)),
    "date": lambda obj: date_of(_text(obj)),
    "time": lambda obj: time_of(_text(obj)),
    "dateTime": _datetime,
    "coord": _coord,
    "xstr": lambda obj: XStr(_text(obj, "type"), _text(obj)),
}


GRID_VERSIONS: Final = ("2.0", "3.0")


def _grid(obj: dict[str, Any], ref: _RefOf) -> Grid:
    meta, cols, rows = obj.get("meta") or {}, obj.get("cols") or [], obj.get("rows") or []
    if not (isinstance(meta, dict) and isinstance(cols, list) and isinstance(rows, list)):
        raise CodecError("grid whose meta, cols or rows are no object and two arrays")
    ver = meta.get("ver", "3.0")
    if ver not in GRID_VERSIONS:
        raise CodecError(f"grid of version {ver!r}: {' and '.join(GRID_VERSIONS)} are known")
    tags = _decode_dict({name: val for name, val in meta.items() if name != "ver"}, ref)
    columns = tuple(_col(index, col, ref) for index, col in enumerate(cols))
    return Grid(tags, columns, tuple(_row(index, row, ref) for index, row in enumerate(rows)), ver)


def _col(index: int, col: Any, ref: _RefOf) -> GridCol:
    meta = col.get("meta") or {} if isinstance(col, dict) else None
    if not isinstance(meta, dict) or not isinstance(col.get("name"), str):
        raise CodecError("a column that is no object with a 'name'", where=f"cols[{index}]")
    return GridCol(col["name"], _decode_dict(meta, ref))


def _row(index: int, row: Any, ref: _RefOf) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise CodecError("a row that is no object", where=f"rows[{index}]")
    try:
        return _decode_dict(row, ref)
    except CodecError as exc:
        where = f"rows[{index}]" + (f".{exc.where}" if exc.where else "")
        raise CodecError(_named(exc.reason, row), where=where) from None


def _named(reason: str, row: dict[str, Any]) -> str:
    # The id finds the row in a large file faster than its number.
    id = row.get("id")
    val = id.get("val") if isinstance(id, dict) else None
    return f"{reason} (entity @{val})" if isinstance(val, str) else reason


# ---- writing ------------------------------------------------------------------------------------


def dumps(value: Kind | Mapping[str, Any], *, indent: int | None = None) -> str:
    """Write one value as Hayson text; with `indent` over several lines."""
    raw = to_json(encode(value))
    return (msgspec.json.format(raw, indent=indent) if indent else raw).decode()


def to_json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except UnicodeEncodeError as exc:
        raise CodecError(f"text with a lone surrogate: {exc.object[:40]!r}") from None


def _plain(value: object) -> str:
    """Return what msgspec takes for a text of a subclass of `str`, such as `numpy.str_`."""
    if isinstance(value, str):
        return plain_text(value)
    raise TypeError(f"{value!r} is nothing that JSON has")


def encode(value: Any) -> Any:
    """Turn a kind into what `json.dumps` takes.

    Numbers of Python and NumPy count as unitless ones; a None member of a dict is left out.

    Raises:
        CodecError: The value is of no kind.
    """
    try:
        encoder = _ENCODERS.get(type(value))
        return encoder(value) if encoder else _encode_other(value)
    except RecursionError:
        raise CodecError("value is nested too deep") from None


def encode_entity(entity: Mapping[str, Any]) -> str:
    """Write one entity as stored text.

    Markers, and refs, which repeat from entity to entity, are written as ready-made JSON, and so is
    one dateTime, the `mod` that all entities of a load have: that takes less than half of the time.
    """
    out: dict[str, Any] = {}
    for name, item in entity.items():
        kind = type(item)
        if kind is str or kind is bool:
            out[name] = item
        elif item is MARKER:
            out[name] = _MARKER_TEXT
        elif kind is Ref and item.dis is None:
            out[name] = _ref_text(item.val)
        elif kind is dt.datetime:
            out[name] = _datetime_json(item)
        elif item is not None:
            out[name] = encode(item)
    return to_json(_refuse_kind(out)).decode()


_MARKER_TEXT: Final = msgspec.Raw(b'{"_kind":"marker"}')


@lru_cache(maxsize=65536)
def _ref_text(val: str) -> msgspec.Raw:
    return msgspec.Raw(to_json({"_kind": "ref", "val": val}))


_last_datetime: tuple[dt.datetime, msgspec.Raw] | None = None


def _datetime_json(value: dt.datetime) -> msgspec.Raw:
    global _last_datetime
    last = _last_datetime
    if last is None or last[0] is not value:
        last = _last_datetime = (value, msgspec.Raw(to_json(_encode_datetime(value))))
    return last[1]


_MARKER_JSON: Final = {"_kind": "marker"}


def _encode_dict(value: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, item in value.items():
        kind = type(item)
        if kind is str or kind is bool:
            out[name] = item
        elif item is MARKER:
            out[name] = _MARKER_JSON
        elif item is not None:
            out[name] = encode(item)
    return _refuse_kind(out)


def _refuse_kind(out: dict[str, Any]) -> dict[str, Any]:
    if "_kind" in out:
        raise CodecError("a dict with a tag named _kind: the name is Hayson's own")
    return out


def _encode_number(value: Number) -> Any:
    val, unit = value.val, value.unit
    if val != val or math.isinf(val):  # always an object, and the unit is dropped (§1.1)
        return {"_kind": "number", "val": number_text(val)}
    plain: float = int(val) if val.is_integer() and abs(val) <= 1e12 else val
    return plain if unit is None else {"_kind": "number", "val": plain, "unit": unit}


def _encode_ref(value: Ref) -> dict[str, str]:
    if value.dis is None:
        return {"_kind": "ref", "val": value.val}
    return {"_kind": "ref", "val": value.val, "dis": value.dis}


def _spec_of(value: dt.time | dt.datetime) -> str:
    micros = value.microsecond
    return "seconds" if micros == 0 else "milliseconds" if micros % 1000 == 0 else "microseconds"


def time_text(value: dt.time) -> str:
    """Write the time of day as `hh:mm:ss`, with three or six further digits where it has them."""
    return value.replace(tzinfo=None).isoformat(_spec_of(value))


def _encode_datetime(value: dt.datetime) -> dict[str, str]:
    text, tz = datetime_text(value)
    if tz == "GMT":
        return {"_kind": "dateTime", "val": text}
    return {"_kind": "dateTime", "val": text, "tz": tz}


def datetime_text(value: dt.datetime) -> tuple[str, str]:
    """Write an aware datetime as ISO 8601 with its offset (`Z` for zero), and its zone's name."""
    if value.utcoffset() is None:
        raise CodecError(f"{value.isoformat()} has no time zone: a dateTime needs one")
    if value.tzinfo is dt.UTC:  # as every `mod` is
        return f"{value.isoformat('T', _spec_of(value))[:-6]}Z", "UTC"
    value = with_zone(value)
    offset = value.utcoffset() or dt.timedelta()
    if offset.seconds % 60:
        # Local mean times before some 1900 have seconds, ISO 8601 has not: the instant counts.
        return datetime_text(value.astimezone(dt.UTC))[0], city_of(value)
    # isoformat pads the year to four digits, strftime does not everywhere.
    text = value.isoformat("T", _spec_of(value))
    return text if offset else f"{text[:-6]}Z", city_of(value)


def _encode_grid(value: Grid) -> dict[str, Any]:
    if "ver" in value.meta:
        raise CodecError("a grid with ver in its meta: the version is `Grid.ver`")
    cols = [
        {"name": col.name, "meta": _encode_dict(col.meta)} if col.meta else {"name": col.name}
        for col in value.cols
    ]
    return {
        "_kind": "grid",
        "meta": {"ver": value.ver, **_encode_dict(value.meta)},
        "cols": cols,
        "rows": [_encode_dict(row) for row in value.rows],
    }


def _encode_list(value: Iterable[Any]) -> list[Any]:
    return [None if item is None else encode(item) for item in value]


def _encode_other(value: Any) -> Any:
    for base, encoder in _ENCODERS.items():
        # Subclasses (a str enum, a pandas timestamp); datetime stands before date in the table.
        if isinstance(value, base):
            return encoder(value)
    if isinstance(value, Mapping):
        return _encode_dict(value)
    found = native(value)
    if found is None:
        raise CodecError(f"{value!r:.80} is of no Haystack kind ({type(value).__name__})")
    return encode(found)


_ENCODERS: Final[dict[type, Callable[[Any], Any]]] = {
    type(MARKER): lambda value: _MARKER_JSON,
    type(NA): lambda value: {"_kind": "na"},
    type(REMOVE): lambda value: {"_kind": "remove"},
    bool: bool,
    int: lambda value: _encode_number(Number(value)),
    float: lambda value: _encode_number(Number(value)),
    Number: _encode_number,
    str: plain_text,
    Uri: lambda value: {"_kind": "uri", "val": value.val},
    Ref: _encode_ref,
    Symbol: lambda value: {"_kind": "symbol", "val": value.val},
    dt.datetime: _encode_datetime,
    dt.date: lambda value: {"_kind": "date", "val": value.isoformat()},
    dt.time: lambda value: {"_kind": "time", "val": time_text(value)},
    Coord: lambda value: {"_kind": "coord", "lat": value.lat, "lng": value.lng},
    XStr: lambda value: {"_kind": "xstr", "type": value.type, "val": value.val},
    Grid: _encode_grid,
    list: _encode_list,
    tuple: _encode_list,
    dict: _encode_dict,
}
