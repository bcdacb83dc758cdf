"""The meaning of a rollup: what the items of each interval come to. No database, no clock.

This is the reference: a backend may let its database do the work, and must come to the same.

**Intervals** are of the clock and the calendar of a time zone.

- Seconds, minutes and hours are counted from each local midnight, by the wall clock: 15-minute
  intervals begin at :00, :15, :30, :45, and 6-hour ones at 00:00, 06:00, 12:00 and 18:00, on every
  day. So on the day that loses an hour the first of the latter takes 5 hours, on the day that gains
  one it takes 7. A time that the clocks skip is passed when they do; a time that they pass twice
  begins an interval each time where the interval is no longer than what is repeated, else the first
  time only. So there are 23 or 25 hourly intervals on such days, each an hour long. (In Lord_Howe,
  where half an hour is lost or repeated, one is half an hour, or an hour and a half.) Where the
  interval does not divide a day, the last one of each day is shorter.
- Days are local days, from midnight to midnight: 23, 24 or 25 hours. Weeks begin on Monday. Months
  and years are those of the calendar; 3mo are the quarters. Several days and weeks are counted from
  2000-01-03 (a Monday), several months and years from the year 0.

The first and the last interval may lie partly outside of the range, and then tell of their part
inside alone; each is named by where it begins.

**Items.** NA, and a Number that is NaN, say that nothing is known. They are skipped by every fold.
A Bool counts as 1 or 0 where numbers are asked for; other kinds are skipped there. For `twa` and
`duration`, an item holds until the next one; the item before the range holds at its beginning, and
the last one until the end of the range, or until now where that is earlier. The time after an item
that says that nothing is known is left out.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, get_args

import msgspec

from hsorm.errors import InvalidRollupError
from hsorm.his.span import Span, first_instant
from hsorm.kinds import NA, Kind, Number

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from hsorm.his.checks import HisPoint

__all__ = [
    "Extent",
    "Fill",
    "Fold",
    "Held",
    "Interval",
    "Rollup",
    "bounds_of",
    "check_kind",
    "clipped",
    "filled",
    "fold_held",
    "is_known",
    "parse_interval",
    "rollup_items",
    "state_of",
    "unit_of",
]

Fold: TypeAlias = Literal[
    "avg", "min", "max", "sum", "count", "first", "last", "twa", "spread", "duration"
]
"""What becomes of the items of an interval; see `HistoryReader.his_rollup`."""

Fill: TypeAlias = Literal["none", "previous"]
"""What becomes of an interval without any: it is left out, or has the value of the one before."""

Item: TypeAlias = tuple[dt.datetime, Kind]

_FOLDS: Final = get_args(Fold)
_HELD: Final = ("twa", "duration")
_NUMERIC: Final = ("avg", "min", "max", "sum", "twa", "spread")
_NOT_CARRIED: Final = ("sum", "count", "duration")
_MOST: Final = 1_000_000
_DAY: Final = dt.timedelta(days=1)
_MONDAY: Final = dt.date(2000, 1, 3)


# ---- what is asked ------------------------------------------------------------------------------


class Interval(NamedTuple):
    """How long an interval is: so `many` of a unit: sec, min, hr, day, wk, mo or yr."""

    many: int
    unit: str

    def __str__(self) -> str:
        return f"{self.many}{self.unit}"

    @property
    def seconds(self) -> int:
        """About how many seconds it takes."""
        return self.many * _SECONDS[self.unit]


_SECONDS: Final = {
    "sec": 1,
    "min": 60,
    "hr": 3_600,
    "day": 86_400,
    "wk": 7 * 86_400,
    "mo": 28 * 86_400,
    "yr": 365 * 86_400,
}
_UNITS: Final = {
    **dict.fromkeys(("sec", "s", "second"), "sec"),
    **dict.fromkeys(("min", "minute"), "min"),
    **dict.fromkeys(("hr", "h", "hour"), "hr"),
    "day": "day",
    **dict.fromkeys(("wk", "week"), "wk"),
    **dict.fromkeys(("mo", "month"), "mo"),
    **dict.fromkeys(("yr", "year"), "yr"),
}
_CLOCK: Final = ("sec", "min", "hr")
_TEXT: Final = re.compile(r"([0-9]{1,6})\s?([a-z]+)")


class Rollup(msgspec.Struct, frozen=True):
    """A rollup that was checked: `Rollup.of` makes one."""

    interval: Interval
    fold: Fold
    fill: Fill = "none"

    @staticmethod
    def of(interval: str | Number | dt.timedelta, fold: str, fill: str = "none") -> Rollup:
        """Return what was asked for, checked.

        Raises:
            InvalidRollupError: The interval, the fold or the fill is none, or they do not fit.
        """
        if fold not in _FOLDS:
            raise InvalidRollupError(f"no fold {fold!r}: {', '.join(_FOLDS)}")
        if fill not in get_args(Fill):
            raise InvalidRollupError(f"no fill {fill!r}: none, previous")
        if fill == "previous" and fold in _NOT_CARRIED:
            raise InvalidRollupError(
                f"a {fold} is not carried forward into a gap: leave out fill='previous'"
            )
        return Rollup(parse_interval(interval), fold, fill)  # type: ignore[arg-type]  # just checked

    @property
    def is_held(self) -> bool:
        """Whether items count by the time for which they hold."""
        return self.fold in _HELD


def parse_interval(value: str | Number | dt.timedelta) -> Interval:
    """Return an interval: `"15min"`, `"1hr"`, `"1day"`, `"1wk"`, `"1mo"`, `"1yr"`.

    Args:
        value: Text, or a Number with such a unit, or a timedelta of whole seconds; one of 24 hours
            is a day of the calendar.

    Raises:
        InvalidRollupError: It is none of these; or it is of hours and longer than a day.
    """
    found = _interval(value)
    if found is None or found.many < 1:
        raise InvalidRollupError(
            f"no interval {value!s:.40}: write 30sec, 15min, 1hr, 1day, 1wk, 1mo or 1yr"
        )
    if found.unit in _CLOCK and found.seconds > _SECONDS["day"]:
        raise InvalidRollupError(
            f"the interval {found} is longer than a day: write it in day, wk, mo or yr"
        )
    return found


def _interval(value: object) -> Interval | None:
    if isinstance(value, str) and (match := _TEXT.fullmatch(value.strip())):
        value = Number(int(match[1]), match[2])
    if isinstance(value, Number) and value.val == value.val // 1 and value.val < 1e6:
        unit = _UNITS.get(value.unit or "")
        return None if unit is None else Interval(int(value.val), unit)
    if isinstance(value, dt.timedelta) and not value.microseconds and value.days >= 0:
        if not value.seconds:
            return Interval(value.days, "day")
        return Interval(value.days * 86_400 + value.seconds, "sec")
    return None


def check_kind(rollup: Rollup, point: HisPoint) -> None:
    """Refuse a fold that has no meaning for the kind of a point.

    Raises:
        InvalidRollupError: Numbers are asked of a Str or Coord point, or states of a Number point.
    """
    if rollup.fold in _NUMERIC and point.kind in ("Str", "Coord"):
        others = "count, first, last" + (" and duration" if point.kind == "Str" else "")
        raise InvalidRollupError(
            f"{rollup.fold} of @{point.id}, which is of kind {point.kind}: there are {others}"
        )
    if rollup.fold == "duration" and point.kind in ("Number", "Coord"):
        raise InvalidRollupError(
            f"duration of @{point.id}, which is of kind {point.kind}: it is for Bool and Str"
        )


def unit_of(fold: Fold, unit: str | None) -> str | None:
    """Return the unit of a fold's numbers: a count has none, the others have the point's."""
    return None if fold == "count" else unit


# ---- intervals ----------------------------------------------------------------------------------


def bounds_of(interval: Interval, span: Span, zone: ZoneInfo) -> list[dt.datetime]:
    """Return where the intervals of a span begin, in UTC, and at last where the last one ends.

    Args:
        interval: How long they are.
        span: What they cover. None are needed for one that is empty.
        zone: Whose clock and calendar they follow.

    Raises:
        InvalidRollupError: There are more than a million.
    """
    if span.start >= span.end:
        return []
    if (span.end - span.start).total_seconds() / interval.seconds > _MOST:
        raise InvalidRollupError(
            f"more than a million intervals of {interval}: ask for longer ones, or a shorter range"
        )
    bounds: list[dt.datetime] = []
    for part in _walk(interval, span.start, zone):
        if part and part[-1] <= span.start:
            bounds = part[-1:]
            continue
        bounds += part
        if part and part[-1] >= span.end:
            break
    first, last = bisect_right(bounds, span.start) - 1, bisect_left(bounds, span.end)
    return bounds[first : last + 1]


def _walk(interval: Interval, start: dt.datetime, zone: ZoneInfo) -> Iterator[list[dt.datetime]]:
    """Yield where intervals begin, some at a time, from one at or before `start` on, for ever."""
    # A day early: where midnight comes twice, the second begins no day.
    day = start.astimezone(zone).date() - _DAY
    if interval.unit in _CLOCK:
        following = first_instant(dt.datetime.combine(day, dt.time()), zone)
        while True:
            first, day = following, day + _DAY
            following = first_instant(dt.datetime.combine(day, dt.time()), zone)
            yield _clock(interval.seconds, day - _DAY, zone, first, following)
    day = _floor(interval, day)
    while True:
        yield [first_instant(dt.datetime.combine(day, dt.time()), zone)]
        day = _next(interval, day)


def _clock(
    step: int, day: dt.date, zone: ZoneInfo, first: dt.datetime, following: dt.datetime
) -> list[dt.datetime]:
    """Return where the intervals of one local day begin, counted from its midnight.

    Args:
        step: How many seconds they are long.
        day: The day.
        zone: The zone.
        first: When the day begins.
        following: When the next one does.
    """
    steps = _steps(step)
    if following - first == _DAY:  # the clocks stand still on no other day
        return [first + since for since in steps]
    wall = dt.datetime.combine(day, dt.time())
    found = set()
    for since in steps:
        at = wall + since
        instant = first_instant(at, zone)
        found.add(instant)
        again = at.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
        if again - instant >= dt.timedelta(seconds=step):
            found.add(again)
    return sorted(instant for instant in found if first <= instant < following)


@lru_cache(maxsize=8)
def _steps(step: int) -> list[dt.timedelta]:
    """Return how long after midnight the intervals of so many seconds begin."""
    return [dt.timedelta(seconds=second) for second in range(0, 86_400, step)]


def _floor(interval: Interval, day: dt.date) -> dt.date:
    """Return the first day of the interval that a day lies in."""
    match interval.unit:
        case "day" | "wk":
            days = interval.many * (7 if interval.unit == "wk" else 1)
            return day - dt.timedelta(days=(day - _MONDAY).days % days)
        case "mo":
            months = day.year * 12 + day.month - 1
            return _of_months(months - months % interval.many)
    return dt.date(max(day.year - day.year % interval.many, 1), 1, 1)


def _next(interval: Interval, day: dt.date) -> dt.date:
    """Return the first day of the interval after the one that begins with a day."""
    match interval.unit:
        case "day":
            return day + dt.timedelta(days=interval.many)
        case "wk":
            return day + dt.timedelta(days=7 * interval.many)
        case "mo":
            return _of_months(day.year * 12 + day.month - 1 + interval.many)
    return dt.date(day.year - day.year % interval.many + interval.many, 1, 1)


def _of_months(months: int) -> dt.date:
    return dt.date(max(months // 12, 1), months % 12 + 1, 1)


# ---- the range ----------------------------------------------------------------------------------


class Extent(NamedTuple):
    """Where history lies within a span.

    Attributes:
        first: The first item in the span, of any of the points; None where there is none.
        last: The last one.
        before: Whether one of the points has an item before the span.
    """

    first: dt.datetime | None
    last: dt.datetime | None
    before: bool = False


def clipped(rollup: Rollup, span: Span, extent: Extent, now: dt.datetime) -> Span:
    """Return the part of a span in which intervals can have a value.

    So a range may be as long as it likes; what it costs depends on the history in it.
    """
    start = span.start if rollup.is_held and extent.before else extent.first
    if start is None:
        return Span(span.start, span.start)
    end = (extent.last or start) + dt.timedelta(microseconds=1)
    if rollup.is_held or rollup.fill == "previous":
        end = max(end, now)
    return Span(start, max(min(span.end, end), start))


# ---- folds --------------------------------------------------------------------------------------


def is_known(val: Kind) -> bool:
    """Tell whether an item says something: NA and NaN do not."""
    return val is not NA and not (isinstance(val, Number) and math.isnan(val.val))


def rollup_items(
    rollup: Rollup,
    unit: str | None,
    bounds: Sequence[dt.datetime],
    items: Iterable[Item],
    *,
    before: Kind | None = None,
    until: Span,
) -> dict[int, Any]:
    """Return the value of each interval of a point that has one, by the interval's place.

    Args:
        rollup: What to do.
        unit: The unit of the point.
        bounds: As `bounds_of` returned them.
        items: The items of the span, ascending.
        before: For folds over time: the item before the span, None where there is none.
        until: Since when `before` holds, and until when the last item does.
    """
    parted: dict[int, list[Item]] = {}
    for item in items:
        parted.setdefault(bisect_right(bounds, item[0]) - 1, []).append(item)
    if rollup.is_held:
        held = _held_parts(rollup, bounds, parted, until.end)
        return fold_held(rollup, unit, bounds, held, state_of(rollup, before), until)
    out: dict[int, Any] = {}
    for place, part in parted.items():
        known = [val for _, val in part if is_known(val)]
        if rollup.fold in _NUMERIC:
            known = [val for val in known if isinstance(val, (Number, bool))]
        if known:
            out[place] = _folded(rollup.fold, unit, known)
    return filled(rollup, bounds, out, until.end)


def _folded(fold: Fold, unit: str | None, known: Sequence[Any]) -> Any:
    match fold:
        case "count":
            return Number(len(known))
        case "first":
            return known[0]
        case "last":
            return known[-1]
    numbers = [_number(val) for val in known]
    match fold:
        case "min":
            found = min(numbers)
        case "max":
            found = max(numbers)
        case "spread":
            found = max(numbers) - min(numbers)
        case "sum":
            found = sum(numbers)
        case _:
            found = sum(numbers) / len(numbers)
    return Number(found, unit)


def _number(val: Any) -> float:
    return float(val) if isinstance(val, bool) else val.val


def filled(
    rollup: Rollup, bounds: Sequence[dt.datetime], values: dict[int, Any], until: dt.datetime
) -> dict[int, Any]:
    """Carry values forward into the gaps, where that was asked for, up to an instant."""
    if rollup.fill == "none" or not values:
        return values
    out: dict[int, Any] = {}
    past = max(bisect_left(bounds, until, hi=len(bounds) - 1), max(values) + 1)
    current = None
    for place in range(min(values), past):
        current = out[place] = values.get(place, current)
    return out


# ---- folds over time ----------------------------------------------------------------------------


class Held(NamedTuple):
    """What the items of one interval come to, by the time for which they hold within it.

    Attributes:
        first: The first item's `ts`: until then holds what did before.
        states: Seconds by state; of `twa` under None, for all that is known.
        weighted: Of `twa`: the sum of the numbers, each times its seconds.
        last: The state of the last item, which goes on into the next interval; None is unknown.
    """

    first: dt.datetime
    states: dict[Any, float]
    weighted: float
    last: Any


def state_of(rollup: Rollup, val: Kind | None) -> Any:
    """Return what an item sets a point to, by a fold over time: None where it is not known."""
    if val is None or not is_known(val):
        return None
    if rollup.fold == "duration":
        return val if isinstance(val, (bool, str)) else None
    return _number(val) if isinstance(val, (Number, bool)) else None


def _held_parts(
    rollup: Rollup,
    bounds: Sequence[dt.datetime],
    parted: dict[int, list[Item]],
    until: dt.datetime,
) -> dict[int, Held]:
    items = [item for part in parted.values() for item in part]
    following = [ts for ts, _ in items[1:]]
    if items:
        following.append(max(items[-1][0], until))
    ends, out = iter(following), {}
    for place, part in parted.items():
        held = _Adding(rollup)
        for (ts, val), end in zip(part, ends, strict=False):
            held.add(state_of(rollup, val), min(end, bounds[place + 1]) - ts)
        out[place] = Held(part[0][0], held.states, held.weighted, state_of(rollup, part[-1][1]))
    return out


class _Adding:
    """Adds up how long states last."""

    def __init__(self, rollup: Rollup, held: Held | None = None) -> None:
        self._over_all = rollup.fold == "twa"
        self.states = {} if held is None else dict(held.states)
        self.weighted = 0.0 if held is None else held.weighted

    def add(self, state: Any, time: dt.timedelta) -> None:
        seconds = time.total_seconds()
        if state is None or seconds <= 0:
            return
        key = None if self._over_all else state
        self.states[key] = self.states.get(key, 0.0) + seconds
        if self._over_all:
            self.weighted += state * seconds

    def value(self, unit: str | None) -> Any:
        if not self._over_all:
            return {state: Number(seconds, "sec") for state, seconds in self.states.items()}
        return Number(self.weighted / self.states[None], unit)


def fold_held(
    rollup: Rollup,
    unit: str | None,
    bounds: Sequence[dt.datetime],
    held: dict[int, Held],
    state: Any,
    until: Span,
) -> dict[int, Any]:
    """Return the value of each interval, of what its own items come to and what came before.

    Args:
        rollup: What to do.
        unit: The unit of the point.
        bounds: As `bounds_of` returned them.
        held: What the items of an interval come to, by its place.
        state: The state before the span, None where it is not known.
        until: Since when this state holds, and until when the last item does.
    """
    out: dict[int, Any] = {}
    final = max(held, default=-1)
    for place, (start, end) in enumerate(pairwise(bounds)):
        part = held.get(place)
        adding = _Adding(rollup, part)
        upto = part.first if part else end if place < final else min(end, until.end)
        adding.add(state, upto - max(start, until.start))
        if part is not None:
            state = part.last
        if adding.states:
            out[place] = adding.value(unit)
    return filled(rollup, bounds, out, until.end)
