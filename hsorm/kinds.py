"""The kinds of value that a tag can hold: immutable, with the equality of the Haystack reference.

Native Python types serve where they fit: `str`, `bool`, `datetime.date`, `datetime.time`, an aware
`datetime.datetime` with its IANA zone, `list` and `dict`. The rest are the small classes below.
Where a Number is meant, `int`, `float`, Decimals, Fractions and the scalars of NumPy will do as one
without unit, and where a bool is, NumPy's.

Use `equal()` to compare two kinds: Python compares two datetimes of one zone by wall clock, and
would call the two passes of a repeated hour the same instant.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, Final, TypeAlias, TypeGuard, Union

import msgspec
from msgspec.structs import force_setattr

__all__ = [
    "MARKER",
    "NA",
    "REMOVE",
    "Coord",
    "Entity",
    "Grid",
    "GridCol",
    "Kind",
    "Marker",
    "NAType",
    "Number",
    "Ref",
    "Remove",
    "Symbol",
    "Uri",
    "XStr",
    "as_ref",
    "equal",
    "id_texts",
    "is_ref_id",
    "is_tag_name",
    "kind_name",
    "kind_of",
    "native",
    "symbol_form",
]


class _Singleton:
    """A kind with one value, which stays one through copy and pickle."""

    __slots__ = ()
    _repr = ""
    _instance: _Singleton | None = None

    def __new__(cls) -> _Singleton:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return self._repr

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


class Marker(_Singleton):
    """The kind of `MARKER`: the tag is there, and that is all it says."""

    __slots__ = ()
    _repr = "MARKER"
    _instance = None


class NAType(_Singleton):
    """The kind of `NA`: a value that is not available; a value, not an absence (rule F33)."""

    __slots__ = ()
    _repr = "NA"
    _instance = None


class Remove(_Singleton):
    """The kind of `REMOVE`: "delete this tag" in an update, "this item" in a history write."""

    __slots__ = ()
    _repr = "REMOVE"
    _instance = None


MARKER: Final[Marker] = Marker()
NA: Final[NAType] = NAType()
REMOVE: Final[Remove] = Remove()


class Number(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A 64-bit float with an optional unit (`Number(72.5, "°F")`).

    Equal when the values are equal and the units are the same text; nothing is converted, and NaN
    equals NaN (rule K2, OC 1).
    """

    val: float
    unit: str | None = None

    def __post_init__(self) -> None:
        if type(self.val) is not float:
            force_setattr(self, "val", _float_of(self.val))
        # What is no number has no unit, so that its stored form, which drops it, loses nothing
        # (§1.1).
        unit = self.unit
        if unit is not None and (type(unit) is not str or not unit or not math.isfinite(self.val)):
            force_setattr(self, "unit", _text_of(unit) if math.isfinite(self.val) else None)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Number:
            return NotImplemented
        same = self.val == other.val or (self.val != self.val and other.val != other.val)
        return same and self.unit == other.unit

    def __hash__(self) -> int:
        # hash(nan) differs from object to object.
        return hash((None if self.val != self.val else self.val, self.unit))

    def __str__(self) -> str:
        return f"{number_text(self.val)}{self.unit or ''}"


class Ref(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A reference to an entity: `Ref("p:demo:r:1")`, without the `@`.

    `dis` is a display text and takes no part in equality, hash or order (rule K3).
    """

    val: str
    dis: str | None = None

    def __eq__(self, other: object) -> bool:
        return self.val == other.val if type(other) is Ref else NotImplemented

    def __hash__(self) -> int:
        return hash(self.val)

    def __str__(self) -> str:
        return f"@{self.val}"


class Uri(msgspec.Struct, frozen=True, gc=False):
    """A URI, compared as the text that it was given as (OC 2)."""

    val: str

    def __str__(self) -> str:
        return self.val


class Symbol(msgspec.Struct, frozen=True, gc=False):
    """A symbol such as `Symbol("hot-water")`, without the `^` (rule K22)."""

    val: str

    def __post_init__(self) -> None:
        if symbol_form(self.val) is None:
            raise ValueError(f"{self.val!r} is no symbol, such as 'hot-water' or 'lib:ph'")

    def __str__(self) -> str:
        return f"^{self.val}"


class XStr(msgspec.Struct, frozen=True, gc=False):
    """A typed string such as `XStr("Color", "red")` or `XStr("Span", "today")` (rule K23)."""

    type: str
    val: str

    def __post_init__(self) -> None:
        if not _XSTR_TYPE.fullmatch(self.type):
            raise ValueError(
                f"{self.type!r} is no XStr type: upper-case first, then letters, digits, _"
            )

    def __str__(self) -> str:
        return f"{self.type}({self.val!r})"


class Coord(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Latitude and longitude in degrees, compared in whole micro-degrees (rules K7, K24)."""

    lat: float
    lng: float

    def __post_init__(self) -> None:
        lat, lng = self.lat, self.lng
        if type(lat) is not float or type(lng) is not float:
            lat, lng = _float_of(lat), _float_of(lng)
            force_setattr(self, "lat", lat)
            force_setattr(self, "lng", lng)
        if not (abs(lat) <= 90 and abs(lng) <= 180):
            raise ValueError(
                f"C({lat},{lng}) is no place: latitudes end at ±90, longitudes at ±180"
            )

    @property
    def micro(self) -> tuple[int, int]:
        """Latitude and longitude in micro-degrees, truncated toward zero."""
        return int(self.lat * 1e6), int(self.lng * 1e6)

    def __eq__(self, other: object) -> bool:
        return self.micro == other.micro if type(other) is Coord else NotImplemented

    def __hash__(self) -> int:
        return hash(self.micro)

    def __str__(self) -> str:
        return f"C({self.lat!r},{self.lng!r})"


class GridCol(msgspec.Struct, frozen=True, eq=False):
    """One column of a grid: its name and its meta tags."""

    name: str
    meta: Mapping[str, Kind] = {}

    def __eq__(self, other: object) -> bool:
        if type(other) is not GridCol:
            return NotImplemented
        return self.name == other.name and equal(self.meta, other.meta)

    def __hash__(self) -> int:
        return hash(self.name)


class Grid(msgspec.Struct, frozen=True, eq=False):
    """A table of dicts: meta tags (without `ver`), columns in order, rows without absent tags."""

    meta: Mapping[str, Kind] = {}
    cols: tuple[GridCol, ...] = ()
    rows: tuple[Mapping[str, Kind], ...] = ()
    ver: str = "3.0"

    @staticmethod
    def of(rows: Iterable[Mapping[str, Kind]], meta: Mapping[str, Kind] | None = None) -> Grid:
        """Build a grid of dicts; columns are ordered `id def name … mod` (rule K29)."""
        rows = tuple(rows)
        names = {name for row in rows for name in row}
        first = [name for name in ("id", "def", "name") if name in names]
        last = [name for name in ("mod",) if name in names]
        middle = sorted(names.difference(first, last))
        return Grid(meta or {}, tuple(GridCol(name) for name in first + middle + last), rows)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Grid:
            return NotImplemented
        return (
            self.cols == other.cols
            and equal(self.meta, other.meta)
            and equal(list(self.rows), list(other.rows))
        )

    def __hash__(self) -> int:
        return hash((self.cols, len(self.rows)))


Kind: TypeAlias = Union[
    Marker, NAType, Remove, bool, Number, str, Uri, Ref, Symbol, dt.date, dt.time,
    dt.datetime, Coord, XStr, Grid, "Sequence[Kind]", "Mapping[str, Kind]",
]  # fmt: skip
"""Any value of a tag."""

Entity: TypeAlias = dict[str, Any]
"""A dict of tags with an `id`; its values are of `Kind` (`Any` spares every reader a cast)."""


_XSTR_TYPE = re.compile(r"[A-Z][A-Za-z0-9_]*")
_REF_ID = re.compile(r"[A-Za-z0-9_:\-.~]+")
_TAG_NAME = re.compile(r"[a-z][A-Za-z0-9_]*|_[A-Za-z0-9_]+")
_TAG_SYMBOL = re.compile(r"[a-z][A-Za-z0-9_]*")
_CONJUNCT = re.compile(r"[a-z][A-Za-z0-9_]*(?:-[a-z][A-Za-z0-9_]*)+")
_KEY_PART = r"[a-z](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?"
_KEY_SYMBOL = re.compile(f"{_KEY_PART}:{_KEY_PART}")


_NUMBERS: Final[Any] = Real, Decimal


def native(value: object) -> Number | bool | None:
    """Return a number or a truth value as a kind, also of another library; None for anything else.

    A cell of NumPy or pandas, a Decimal of a column NUMERIC and a Fraction stand for what a float
    or a bool does (§1.1).
    """
    if type(value) is bool:
        return value
    if type(value) in _KIND_NAMES:  # most are, and this is told at once
        return None
    if isinstance(value, _NUMBERS):
        return Number(_float_of(value))
    # Where NumPy is not imported nothing is of it.
    is_bool = isinstance(value, getattr(sys.modules.get("numpy"), "bool_", ()))
    return bool(value) if is_bool else None


def _text_of(unit: object) -> str | None:
    if not isinstance(unit, str):
        raise TypeError(f"a unit is text, not {unit!r}")
    return plain_text(unit) or None


def plain_text(text: str) -> str:
    """Return a text of a subclass of `str` (an enum, `numpy.str_`) as it is, whatever it prints."""
    return text if type(text) is str else str.__str__(text)


def _float_of(val: Any) -> float:
    if isinstance(val, bool) or not isinstance(val, _NUMBERS):
        raise TypeError(f"a number is needed, not {val!r:.80}")
    try:
        return float(val)
    except ValueError:  # the NaN of Decimal that signals
        return math.nan
    except OverflowError:  # an int beyond the doubles, as 1e999 is (rule F9)
        return math.inf if val > 0 else -math.inf


def number_text(val: float) -> str:
    """Return the shortest text of a double; whole ones up to 1e12 as integers, INF, -INF, NaN."""
    if val != val:
        return "NaN"
    if math.isinf(val):
        return "INF" if val > 0 else "-INF"
    return str(int(val)) if val.is_integer() and abs(val) <= 1e12 else repr(val)


def is_ref_id(text: str) -> bool:
    """Tell whether a text may be the id of a Ref (rule K20)."""
    return _REF_ID.fullmatch(text) is not None


def is_storable(text: str) -> bool:
    """Tell whether every database can hold a text: without U+0000 and halves of surrogate pairs."""
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def is_tag_name(text: str) -> bool:
    """Tell whether a text may be the name of a tag of an entity (rule K25)."""
    return len(text) <= 60 and _TAG_NAME.fullmatch(text) is not None


def symbol_form(text: str) -> str | None:
    """Return the form of a symbol (K22): `"tag"`, `"conjunct"`, `"key"`; None where it is none."""
    for form, pattern in (("tag", _TAG_SYMBOL), ("conjunct", _CONJUNCT), ("key", _KEY_SYMBOL)):
        if pattern.fullmatch(text):
            return form
    return None


def as_ref(id: Ref | str) -> Ref:
    """Return an id, given as a Ref or as text with or without its `@`, as a Ref.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(id, str):  # asked first: what a Struct is takes longer to ask than to make one
        return Ref(id.removeprefix("@"))
    if isinstance(id, Ref):
        return id
    raise TypeError(f"an id is a Ref or text, not {id!r:.80}")


def id_texts(ids: Iterable[Ref | str]) -> list[str]:
    """Return ids, each given as `as_ref` takes it, as text without `@`.

    Raises:
        TypeError: It is one id instead of several (the letters of a text are no ids), or one of
            them is none.
    """
    if isinstance(ids, (Ref, str)):
        raise TypeError(f"{ids!r:.80} is one id: give a list of ids")
    return [as_ref(id).val for id in ids]


_KIND_NAMES: Final[dict[type, str]] = {
    Marker: "Marker", NAType: "NA", Remove: "Remove", bool: "Bool", Number: "Number", str: "Str",
    Uri: "Uri", Ref: "Ref", Symbol: "Symbol", dt.date: "Date", dt.time: "Time",
    dt.datetime: "DateTime", Coord: "Coord", XStr: "XStr", Grid: "Grid", list: "List",
    tuple: "List", dict: "Dict",
}  # fmt: skip


def kind_name(value: object) -> str:
    """Return the Haystack name of a value's kind, as in the tag `kind` (`"Number"`, `"Bool"`…).

    Of a value of no kind it is the name of its type.
    """
    return kind_of(value) or type(value).__name__


def kind_of(value: object) -> str | None:
    """Return the Haystack name of a value's kind, None where it is of none."""
    name = _KIND_NAMES.get(type(value))
    if name is not None:
        return name
    # Subclasses: a str enum is a Str, a mapping proxy a Dict; bool and datetime come before their
    # bases.
    for base in (bool, dt.datetime, dt.date, dt.time, str):
        if isinstance(value, base):
            return _KIND_NAMES[base]
    if isinstance(value, Mapping):
        return "Dict"
    return "List" if is_list(value) else _KIND_NAMES.get(type(native(value)))


def is_list(value: object) -> TypeGuard[Sequence[Kind]]:
    """Tell whether a value is of kind List."""
    return isinstance(value, (list, tuple))


_FLAT: Final = frozenset(_KIND_NAMES) - {Grid, list, tuple, dict}
"""The types of values that nobody can change."""


def deep_copy(value: Any) -> Any:
    """Return a value whose lists, dicts and grids are new in every depth."""
    if isinstance(value, Mapping):
        # Most values are flat, and to ask one by one what they are takes longer than all the rest.
        if _FLAT.issuperset(map(type, value.values())):
            return dict(value)
        return {name: deep_copy(val) for name, val in value.items()}
    if isinstance(value, Grid):
        cols = tuple(GridCol(col.name, deep_copy(col.meta)) for col in value.cols)
        return Grid(deep_copy(value.meta), cols, tuple(map(deep_copy, value.rows)), value.ver)
    return [deep_copy(val) for val in value] if is_list(value) else value


def instant(value: dt.datetime) -> dt.timedelta:
    """Return the instant of a datetime as the time since year 1 in UTC (rule K4).

    Datetimes themselves will not do: two of one zone compare by wall clock, and in the first and
    last hours of the calendar UTC has no datetime for them.
    """
    return value.replace(tzinfo=None) - _YEAR_1 - (value.utcoffset() or dt.timedelta())


_YEAR_1: Final = dt.datetime(1, 1, 1)  # noqa: DTZ001 - only ever subtracted


def equal(a: object, b: object) -> bool:
    """Tell whether two kinds are equal by the rules K1–K8; different kinds never are."""
    if isinstance(a, dt.datetime) and isinstance(b, dt.datetime):
        return instant(a) == instant(b)
    if is_list(a) and is_list(b):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(equal(val, b[name]) for name, val in a.items())
    # By type, for Python's True == 1; str subclasses are Str.
    if type(a) is not type(b) and not (isinstance(a, str) and isinstance(b, str)):
        return False
    return a == b
