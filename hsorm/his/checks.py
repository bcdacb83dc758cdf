"""Which entities have history, and which items a write accepts (rules H12, H21–H28).

`check_items` is the one gate for every backend: what comes out is sorted, has one item for an
instant, and carries values as they will be read again.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import msgspec

from hsorm.codecs import hayson
from hsorm.errors import CodecError, HisConfigError, HisWriteError
from hsorm.his.span import Span, midnight
from hsorm.kinds import (
    MARKER,
    Coord,
    Entity,
    Kind,
    NAType,
    Number,
    Ref,
    Remove,
    Symbol,
    as_ref,
    kind_name,
    kind_of,
    native,
    plain_text,
)
from hsorm.zones import zone_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = [
    "Checked",
    "HisPoint",
    "check_items",
    "check_pairs",
    "reading_point",
    "settled",
    "writing_point",
]

_KINDS: Final = ("Number", "Bool", "Str", "Coord")
_SECOND: Final = dt.timedelta(seconds=1)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_PRECISIONS: Final = {
    **dict.fromkeys((Number(1, "s"), Number(1, "sec"), Number(1, "second")), _SECOND),
    **dict.fromkeys((Number(1, "ms"), Number(1, "millisecond")), _MILLISECOND),
}


class HisPoint(msgspec.Struct, frozen=True):
    """What history needs to know of a point.

    Attributes:
        id: Its id, without `@`.
        zone: Its `tz`.
        kind: `"Number"`, `"Bool"`, `"Str"`, `"Coord"`; reading does without.
        unit: The unit of its numbers.
        precision: What timestamps are floored to: 1 s, 1 ms, or None to keep them (OC 31).
        most: How many items are kept, the newest ones; None keeps all (H32, OC 20).
    """

    id: str
    zone: ZoneInfo
    kind: str | None = None
    unit: str | None = None
    precision: dt.timedelta | None = None
    most: int | None = None


# ---- points -------------------------------------------------------------------------------------


def reading_point(entity: Entity) -> HisPoint:
    """Return what a history read needs to know of an entity (rule H12).

    Raises:
        HisConfigError: `tz` is missing or wrong, `point` or `his` is missing, or `aux` is there.
    """
    id = as_ref(entity["id"]).val
    zone = _zone(id, entity)
    for name in ("point", "his"):
        if name not in entity:
            raise HisConfigError(id, f"the tag {name} is missing: points with his have history")
    _no_aux(id, entity)
    kind, unit = entity.get("kind"), entity.get("unit")
    return HisPoint(
        id,
        zone,
        kind if isinstance(kind, str) else None,
        unit if isinstance(unit, str) and unit else None,
        _precision_of(entity),
    )


def writing_point(entity: Entity) -> HisPoint:
    """Return what a history write needs to know of an entity (rule H21, in its order).

    Raises:
        HisConfigError: A tag is missing or wrong; the error says which and what to set.
    """
    id = as_ref(entity["id"]).val
    for name in ("point", "his"):
        if entity.get(name) is not MARKER:
            raise HisConfigError(id, f"the tag {name} is {_shown(entity, name)}: set it to MARKER")
    _no_aux(id, entity)
    kind = entity.get("kind")
    if kind not in _KINDS:
        raise HisConfigError(
            id, f"the tag kind is {_shown(entity, 'kind')}: set it to one of {', '.join(_KINDS)}"
        )
    zone = _zone(id, entity)
    unit = entity.get("unit")
    if unit is not None and not (isinstance(unit, str) and unit):
        raise HisConfigError(
            id,
            f"the tag unit is {_shown(entity, 'unit')}: set it to text such as kW, or remove it",
        )
    precision = _precision_of(entity)
    if precision is None and "hisTsPrecision" in entity:
        raise HisConfigError(
            id,
            f"the tag hisTsPrecision is {_shown(entity, 'hisTsPrecision')}: "
            "set it to 1s or 1ms, or remove it",
        )
    return HisPoint(id, zone, kind, unit, precision, _most_of(id, entity))


def _most_of(id: str, entity: Entity) -> int | None:
    most = entity.get("hisMaxItems")
    if most is None:
        return None
    if isinstance(most, Number) and 1 <= most.val < 2**62 and most.val == int(most.val):
        return int(most.val)
    raise HisConfigError(
        id,
        f"the tag hisMaxItems is {_shown(entity, 'hisMaxItems')}: "
        "set it to a whole number such as 1000, or remove it",
    )


def _shown(entity: Entity, name: str) -> str:
    return _short(entity[name]) if name in entity else "missing"


def _zone(id: str, entity: Entity) -> ZoneInfo:
    tz = entity.get("tz")
    if not isinstance(tz, str):
        raise HisConfigError(
            id, f"the tag tz is {_shown(entity, 'tz')}: set it to a city such as Denver, or UTC"
        )
    try:
        return zone_of(tz)
    except LookupError as exc:
        raise HisConfigError(id, f"the tag tz: {exc}") from None


def _no_aux(id: str, entity: Entity) -> None:
    if "aux" in entity:
        raise HisConfigError(id, "the tag aux is there: remove it, its points have no history")


def _precision_of(entity: Entity) -> dt.timedelta | None:
    precision = entity.get("hisTsPrecision")
    return _PRECISIONS.get(precision) if isinstance(precision, Number) else None


# ---- items --------------------------------------------------------------------------------------


class _ItemError(ValueError):
    """Why one item is not accepted; `check_items` adds which one it is."""


# The last instants of datetime have no local time in half of the zones; a day is ample.
_LAST: Final = dt.datetime(9999, 12, 30, tzinfo=dt.UTC)


@lru_cache(maxsize=1_024)
def _first(zone: ZoneInfo) -> dt.datetime:
    """Return the instant from which on a zone has history (H24)."""
    return midnight(dt.date(1950, 1, 1), zone)


Checked: TypeAlias = list[tuple[dt.datetime, Kind]]
"""Items as they are stored: instant in UTC and value, ascending by instant, one each."""

_PAIR: Final = itemgetter("ts", "val")


def check_items(
    point: HisPoint, items: Iterable[Mapping[str, Any]], *, clip: Span | None = None
) -> Checked:
    """Return the items of one write as they are stored, or refuse them all (rules H22–H28).

    Args:
        point: Where they go.
        items: `{"ts", "val"}` in any order. A `ts` is any aware datetime (OC 32); a value is of the
            point's kind, NA, or REMOVE to delete the item at that instant. Numbers of
            Python and NumPy count as Numbers, and one without unit has the point's (OC 21). Hayson
            objects (`{"_kind": …}`) are decoded.
        clip: Leave out those outside of this span, whatever their value is (H31).

    Returns:
        Instant in UTC and value, ascending by instant, one each: of several the last in time, then
        in input order, wins (H26, OC 17). Microseconds are kept unless the point has a precision.

    Raises:
        HisWriteError: An item is not accepted; `index` is its position in `items`.
    """
    items = items if isinstance(items, Sequence) else list(items)
    if clip is not None:
        items, places = _clipped(point, items, clip)
    try:
        return check_pairs(point, map(_PAIR, items), items)
    except HisWriteError as exc:
        if clip is None:
            raise
        raise HisWriteError(point.id, places[exc.index], exc.reason) from None


def check_pairs(
    point: HisPoint, pairs: Iterable[tuple[Any, Any]], items: Sequence[object] = ()
) -> Checked:
    """Return the items of one write as they are stored; see `check_items`.

    Args:
        point: Where they go.
        pairs: `ts` and `val` of each.
        items: What the pairs were made of, to be shown where one could not.
    """
    accept = _acceptor(point)
    first = _first(point.zone)
    utc, exact = dt.UTC, dt.datetime
    out: Checked = []
    append = out.append
    before, ascending = first - _SECOND, True
    # This loop is most of the cost of a bulk write: each item that went well is in `out`, so its
    # length is the index of the next, and UTC, the commonest zone, needs no call.
    try:
        for ts, val in pairs:
            if type(ts) is not exact or ts.tzinfo is not utc:
                ts = _instant(ts)
            if not first <= ts < _LAST:
                _out_of_years(ts)
            append((ts, accept(val)))
            if ts <= before:
                ascending = False
            before = ts
    except _ItemError as exc:
        raise HisWriteError(point.id, len(out), str(exc)) from None
    except (KeyError, TypeError):
        if items:
            _no_item(point, len(out), items[len(out)])
        raise  # it is one: the error is ours
    return out if ascending and point.precision is None else settled(out, point.precision)


def _clipped(
    point: HisPoint, items: Sequence[Mapping[str, Any]], clip: Span
) -> tuple[list[Mapping[str, Any]], list[int]]:
    """Return the items in a span, by their floored `ts`, and their positions."""
    precision = point.precision or dt.timedelta(microseconds=1)
    step = precision // dt.timedelta(microseconds=1)
    first = _first(point.zone)
    kept, places = [], []
    for place, item in enumerate(items):
        try:
            ts = _instant(item["ts"])
            if not first <= ts < _LAST:
                _out_of_years(ts)
        except _ItemError as exc:
            raise HisWriteError(point.id, place, str(exc)) from None
        except (KeyError, TypeError):
            _no_item(point, place, item)
            raise
        if clip.start <= _floor(ts, step) < clip.end:
            kept.append(item)
            places.append(place)
    return kept, places


def _no_item(point: HisPoint, index: int, item: object) -> None:
    """Raise if this is not what an item looks like."""
    if not (isinstance(item, Mapping) and "ts" in item and "val" in item):
        raise HisWriteError(point.id, index, f"{_short(item)} is no item: {{'ts': …, 'val': …}}")


def settled(items: Checked, precision: dt.timedelta | None = None) -> Checked:
    """Sort by raw instant, then floor, then keep the last of each (rule H26)."""
    items.sort(key=itemgetter(0))
    if precision is not None:
        step = precision // dt.timedelta(microseconds=1)
        items = [(_floor(ts, step), val) for ts, val in items]
    # A dict keeps the place of the first and the value of the last.
    return list(dict(items).items())


def _floor(ts: dt.datetime, step: int) -> dt.datetime:
    # Within its second a datetime counts upward at all times: a true floor in any year (OC 28).
    odd = ts.microsecond % step
    return ts.replace(microsecond=ts.microsecond - odd) if odd else ts


def _instant(ts: Any) -> dt.datetime:
    """Turn the `ts` of an item into a plain datetime in UTC."""
    if isinstance(ts, dict) and "_kind" in ts:
        ts = _decoded(ts)
    # The NaT of pandas is a datetime, and unequal to itself.
    if not isinstance(ts, dt.datetime) or (type(ts) is not dt.datetime and ts != ts):
        raise _ItemError(f"ts is {_short(ts)} ({kind_name(ts)}): give an aware datetime")
    if ts.utcoffset() is None:
        raise _ItemError(f"ts {ts.isoformat()} has no time zone: give an aware datetime")
    try:
        ts = ts.astimezone(dt.UTC)
    except OverflowError:
        _out_of_years(ts)
    # Subclasses, such as a timestamp of pandas, become what every driver knows.
    return ts if type(ts) is dt.datetime else dt.datetime.combine(ts.date(), ts.time(), dt.UTC)


def _out_of_years(ts: dt.datetime) -> NoReturn:
    years = "history begins with 1950, in the zone of its point, and ends with 9999-12-29"
    raise _ItemError(f"ts {ts.isoformat()}: {years}")


def _decoded(val: dict[str, Any]) -> Any:
    try:
        return hayson.decode(val)
    except CodecError as exc:
        raise _ItemError(f"no Hayson: {exc}") from None


_Accept = Callable[[Any], Kind]


def _acceptor(point: HisPoint) -> _Accept:
    """Return the function that takes a value of this point's kind, or refuses it."""
    match point.kind:
        case "Number":
            return _numbers(point.unit)
        case "Bool":
            return _plain(point, bool)
        case "Str":
            return _strings(point)
        case "Coord":
            return _plain(point, Coord)
    raise HisConfigError(point.id, f"kind {point.kind!r} has no history: {', '.join(_KINDS)} have")


def _numbers(unit: str | None) -> _Accept:
    zero = Number(0.0, unit)

    def accept(val: Any) -> Kind:
        kind = type(val)
        if kind is Number:
            if val.unit == unit:
                return val if val.val else zero
            if val.unit is not None:
                raise _ItemError(_unit_reason(val, unit))
            return Number(val.val, unit) if val.val else zero
        if kind is float or kind is int:
            return Number(val, unit) if val else zero  # -0 becomes 0 (rule H28)
        return _special(val, "Number", accept)

    return accept


def _unit_reason(val: Number, unit: str | None) -> str:
    if unit is None:
        return f"{val} has the unit {val.unit!r}, the point has none: set its tag unit, or drop it"
    return f"{val} has the unit {val.unit!r}, the point has {unit!r}: units are not converted"


def _plain(point: HisPoint, expected: type[bool | Coord]) -> _Accept:
    def accept(val: Any) -> Kind:
        if type(val) is expected:
            return val
        return _special(val, str(point.kind), accept)

    return accept


def _strings(point: HisPoint) -> _Accept:
    def accept(val: Any) -> Kind:
        if not isinstance(val, str):
            return _special(val, str(point.kind), accept)
        if "\0" in val:
            raise _ItemError(f"{val[:40]!r} holds U+0000, which databases refuse: take it out")
        if not val.isascii():
            _no_surrogates(val)
        return plain_text(val)

    return accept


def _no_surrogates(val: str) -> None:
    try:
        val.encode()
    except UnicodeEncodeError as exc:
        lone = f"U+{ord(val[exc.start]):04X}"
        raise _ItemError(f"{val[:40]!r} holds a lone surrogate ({lone}): take it out") from None


def _special(val: Any, expected: str, accept: _Accept) -> Kind:
    """Take NA, REMOVE and Hayson objects; refuse everything else (rules H22, H27)."""
    if isinstance(val, (NAType, Remove)):
        return val
    if isinstance(val, dict) and "_kind" in val:
        decoded = _decoded(val)
        if not isinstance(decoded, dict):  # {"_kind": "dict"} would come back for ever
            return accept(decoded)
    if val is None:
        raise _ItemError("val is null: leave the item out, or give REMOVE to delete what is stored")
    found = native(val)
    if found is not None and type(found) is not type(val):
        return accept(found)
    kind = kind_of(val)
    if kind is None:
        raise _ItemError(
            f"val {_short(val)} is of no Haystack kind: give a {expected}, or NA for an unknown one"
        )
    raise _ItemError(f"val {_short(val)} is of kind {kind}, the point's kind is {expected}")


def _short(val: object) -> str:
    text = str(val) if isinstance(val, (Number, Ref, Symbol)) else repr(val)
    return text if len(text) <= 60 else f"{text[:59]}…"
