"""The priority array of a writable point: 17 levels, the lowest that holds a value wins (W1–W14).

State in and state out: an adapter loads the array, calls `write`, and stores array and live tags in
one transaction.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from hsorm.codecs import hayson
from hsorm.errors import InvalidTagError, PointWriteError
from hsorm.kinds import REMOVE, Entity, Kind, Number, as_ref, equal, kind_name, native
from hsorm.ops.durations import duration_of
from hsorm.ops.entities import check_tags

__all__ = [
    "EMPTY",
    "Level",
    "PointArray",
    "WritablePoint",
    "Write",
    "at",
    "check_write",
    "dump",
    "effective",
    "is_writable",
    "live_changes",
    "load",
    "rows",
    "without_lost_array",
    "writable_point",
    "write",
]

_LEVELS: Final = 17
_MANUAL: Final = 8
_KINDS: Final = ("Number", "Bool", "Str")
_LEVEL_DIS: Final = {1: "1 (emergency)", _MANUAL: "8 (manual)", _LEVELS: "def"}


class Level(msgspec.Struct, frozen=True):
    """One level: what it holds, None where it is released, and who wrote that last."""

    val: Any = None
    who: str | None = None


class PointArray(msgspec.Struct, frozen=True):
    """A priority array.

    Attributes:
        levels: The 17 levels, the highest priority first.
        expires: When level 8 is released by itself.
    """

    levels: tuple[Level, ...] = (Level(),) * _LEVELS
    expires: dt.datetime | None = None


EMPTY: Final = PointArray()
"""The array of a point that nobody has written to."""


@dataclass(frozen=True, slots=True)
class WritablePoint:
    """What a write needs to know of a point.

    Attributes:
        id: Its id, without `@`.
        kind: `"Number"`, `"Bool"` or `"Str"`; None or another where it takes no value.
        unit: The unit of its numbers.
        bool_texts: The texts of false and true, from its `enum`.
        cur_tracks_write: Whether what is written is its current value, too (W4).
    """

    id: str
    kind: str | None
    unit: str | None
    bool_texts: tuple[str, str]
    cur_tracks_write: bool


@dataclass(frozen=True, slots=True)
class Write:
    """A checked write: the level, the value (None releases it), who, and for how long."""

    level: int
    val: Kind | None
    who: str
    duration: dt.timedelta | None


# ---- what a point takes -------------------------------------------------------------------------


def is_writable(entity: Mapping[str, Any]) -> bool:
    """Tell whether an entity can have an array at all; one that it has is dropped else (W14)."""
    return "point" in entity and "writable" in entity


def writable_point(entity: Mapping[str, Any]) -> WritablePoint:
    """Return what there is to know of a point that has an array.

    Raises:
        PointWriteError: The entity is no writable point (W5, W12).
    """
    id = as_ref(entity["id"]).val
    for name in ("point", "writable"):
        if name not in entity:
            raise PointWriteError(id, f"the tag {name} is missing: writable points have one")
    kind, unit = entity.get("kind"), entity.get("unit")
    return WritablePoint(
        id,
        kind if isinstance(kind, str) else None,
        unit if isinstance(unit, str) and unit else None,
        _bool_texts(entity.get("enum")),
        "curTracksWrite" in entity,
    )


def _bool_texts(enum: object) -> tuple[str, str]:
    names = [name.strip() for name in enum.split(",")] if isinstance(enum, str) else []
    return (names[0], names[1]) if len(names) == 2 else ("false", "true")


def check_write(
    point: WritablePoint, level: Any, val: Any, who: Any, duration: Any = None
) -> Write:
    """Return a write as it is made, or refuse it (W5–W7).

    Args:
        point: Where it goes.
        level: 1 to 17, an int or a Number; a fraction is cut off (W6).
        val: A value of the point's kind, None to release the level. A plain number is a Number, one
            without unit has the point's (OC 21), Hayson objects are decoded.
        who: Who writes; not empty.
        duration: For how long, see `duration_of`; of no meaning but for a value on level 8 (W7).

    Raises:
        PointWriteError: One of them is wrong; the error says which and why.
    """
    if point.kind is None:
        raise PointWriteError(point.id, "the tag kind is missing: set it to Number, Bool or Str")
    number = _level_of(point, level)
    who = _plain(point, "who", who)
    if not (isinstance(who, str) and who.strip()):
        raise PointWriteError(point.id, f"who is {who!r}: say who writes, as text")
    value = None if val is None else _value_of(point, val)
    lasting = duration is None or number != _MANUAL or value is None
    return Write(number, value, who, None if lasting else _duration_of(point, duration))


def _level_of(point: WritablePoint, level: Any) -> int:
    number = level if isinstance(level, Number) else native(level)
    if not isinstance(number, Number) or not 1 <= number.val < _LEVELS + 1:
        raise PointWriteError(point.id, f"the level is {level!s}: it must be 1 to {_LEVELS}")
    return int(number.val)


def _value_of(point: WritablePoint, val: Any) -> Kind:
    val = _plain(point, "val", val)
    kind = kind_name(val)
    if point.kind not in _KINDS:
        kinds = ", ".join(_KINDS)
        raise PointWriteError(point.id, f"its kind is {point.kind}: only {kinds} can be written")
    if kind != point.kind:
        raise PointWriteError(point.id, f"the value is a {kind}: the point's kind is {point.kind}")
    if not isinstance(val, Number):
        checked: Kind = val
        return checked
    if val.unit is not None and val.unit != point.unit:
        has = f"the point's is {point.unit}" if point.unit else "the point has none"
        raise PointWriteError(point.id, f"the value's unit is {val.unit}: {has}")
    return Number(val.val, point.unit)


def _plain(point: WritablePoint, name: str, value: Any) -> Any:
    """Return an argument in kinds, and only if it can be stored."""
    try:
        return check_tags({name: value}, point.id)[name]
    except InvalidTagError as exc:
        raise PointWriteError(point.id, f"{name}: {exc.reason}") from None


def _duration_of(point: WritablePoint, duration: Any) -> dt.timedelta:
    try:
        return duration_of(duration)
    except ValueError as exc:
        raise PointWriteError(point.id, f"duration: {exc}") from None


# ---- the array ----------------------------------------------------------------------------------


def write(
    array: PointArray,
    level: int,
    val: Kind | None,
    who: str,
    now: dt.datetime,
    duration: dt.timedelta | None = None,
) -> PointArray:
    """Return the array with a level set, or released where `val` is None (W2, W8, W9).

    It equals `array` where the write changes nothing.

    Args:
        array: The array as stored; an expired level 8 is released first.
        level: 1 to 17.
        val: A value that `check_write` has taken.
        who: Who writes; kept also where the level is released.
        now: The present.
        duration: When given, a value on level 8 is released after this time.
    """
    array = at(array, now)
    levels = list(array.levels)
    levels[level - 1] = Level(val, who)
    expires = array.expires
    if level == _MANUAL:
        expires = _deadline(now, duration) if duration is not None and val is not None else None
    return PointArray(tuple(levels), expires)


def _deadline(now: dt.datetime, duration: dt.timedelta) -> dt.datetime | None:
    try:
        return now + duration
    except OverflowError:  # beyond the calendar is never
        return None


def at(array: PointArray, now: dt.datetime) -> PointArray:
    """Return the array as it is now: an expired level 8 is released, its `who` stays (W7)."""
    if array.expires is None or array.expires >= now:
        return array
    levels = list(array.levels)
    levels[_MANUAL - 1] = Level(None, levels[_MANUAL - 1].who)
    return PointArray(tuple(levels))


def effective(array: PointArray) -> tuple[Kind | None, int]:
    """Return the value that wins and its level; None and 17 where no level holds one (W3)."""
    for number, level in enumerate(array.levels, 1):
        if level.val is not None:
            return level.val, number
    return None, _LEVELS


def live_changes(array: PointArray, entity: Mapping[str, Any]) -> Entity:
    """Return what to change in a point's live tags so that they show its array (W4).

    Args:
        array: The array as of now.
        entity: The point with its live tags.

    Returns:
        The tags that differ, with REMOVE for those to delete; empty where nothing is to be done. Of
        an entity that cannot have an array, what showed one is deleted (W14).
    """
    if not is_writable(entity):
        return {name: REMOVE for name in ("writeVal", "writeLevel") if name in entity}
    val, level = effective(array)
    shown = REMOVE if val is None else val
    wanted: Entity = {"writeVal": shown, "writeLevel": Number(level)}
    if "curTracksWrite" in entity:
        wanted |= {"curVal": shown, "curStatus": "ok"}
    return {name: val for name, val in wanted.items() if not equal(entity.get(name, REMOVE), val)}


def without_lost_array(old: Mapping[str, Any], new: Entity) -> Entity:
    """Return an entity as changed, without what showed the array that it has lost by that (W14)."""
    if is_writable(new) or not is_writable(old):
        return new
    return {name: val for name, val in new.items() if name not in live_changes(EMPTY, new)}


def rows(array: PointArray, now: dt.datetime, point: WritablePoint) -> list[Entity]:
    """Return the 17 rows of an array, the highest priority first (W12).

    Each has `level` (Number) and `levelDis`; `val` and `valDis` where it holds a value; `who` where
    somebody has written it; level 8 has `expires`, the time that is left, where it expires.
    """
    array = at(array, now)
    out = [_row(number, level, point) for number, level in enumerate(array.levels, 1)]
    if array.expires is not None:
        out[_MANUAL - 1]["expires"] = Number((array.expires - now).total_seconds(), "sec")
    return out


def _row(number: int, level: Level, point: WritablePoint) -> Entity:
    row: Entity = {"level": Number(number), "levelDis": _LEVEL_DIS.get(number, str(number))}
    if level.val is not None:
        row |= {"val": level.val, "valDis": _text_of(level.val, point)}
    if level.who is not None:
        row["who"] = level.who
    return row


def _text_of(val: Kind, point: WritablePoint) -> str:
    return point.bool_texts[val] if isinstance(val, bool) else str(val)


# ---- as JSON ------------------------------------------------------------------------------------


def dump(array: PointArray) -> dict[str, Any]:
    """Return an array as JSON: `{"levels": {"8": {"val": …, "who": …}}, "expires": …}`."""
    levels = {
        str(number): {"val": None if level.val is None else hayson.encode(level.val)}
        | ({} if level.who is None else {"who": level.who})
        for number, level in enumerate(array.levels, 1)
        if level != Level()
    }
    expires = {} if array.expires is None else {"expires": array.expires.isoformat()}
    return {"levels": levels, **expires}


def load(stored: Mapping[str, Any]) -> PointArray:
    """Return the array of what `dump` gave."""
    levels = [Level()] * _LEVELS
    for number, level in stored["levels"].items():
        val = level.get("val")
        levels[int(number) - 1] = Level(
            None if val is None else hayson.decode(val), level.get("who")
        )
    expires = stored.get("expires")
    return PointArray(
        tuple(levels), None if expires is None else dt.datetime.fromisoformat(expires)
    )
