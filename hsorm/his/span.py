"""Range texts of `his_read`, as spans of instants in the point's time zone (rules H1–H6, §5.4).

A day is what the calendar says: the span from one midnight to the next, which takes 23, 25 or some
other number of hours when the clocks change (rule H3). Nothing here adds 24 hours to anything.
"""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import msgspec

from hsorm.codecs.hayson import instant_of
from hsorm.errors import RangeSyntaxError
from hsorm.zones import zone_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["ALWAYS", "Range", "Span", "first_instant", "midnight", "parse_range", "span_of"]

_DAY: Final = dt.timedelta(days=1)


class Span(msgspec.Struct, frozen=True):
    """Half-open, as rule K26: the instants from `start` on and before `end`, aware, in UTC."""

    start: dt.datetime
    end: dt.datetime


Range: TypeAlias = str | Span
"""What to read of a history: a range text, or the span itself."""

ALWAYS: Final = Span(dt.datetime(1, 1, 3, tzinfo=dt.UTC), dt.datetime(9999, 12, 30, tzinfo=dt.UTC))
"""All of a history: no item lies outside (H24)."""


def span_of(range: Range, zone: ZoneInfo, now: dt.datetime) -> Span:
    """Return the span that a range means for a point: of a text as `parse_range` reads it.

    Args:
        range: A text, or a span of aware datetimes in any zone.
        zone: The point's time zone.
        now: The current instant, aware.

    Raises:
        RangeSyntaxError: The text is no range.
        ValueError: A span begins or ends with a naive datetime, or outside of the years 1 to 9999
            in UTC, or ends before it begins.
        TypeError: It is neither a text nor a span.
    """
    if not isinstance(range, Span):
        if not isinstance(range, str | None):
            raise TypeError(f"a range is text or a Span, not {range!r:.80}")
        return parse_range(range, zone, now)
    if range.start.utcoffset() is None or range.end.utcoffset() is None:
        raise ValueError(f"{range} has no time zone: give aware datetimes")
    try:
        span = Span(range.start.astimezone(dt.UTC), range.end.astimezone(dt.UTC))
    except OverflowError:
        raise ValueError(f"{range} is beyond the years 1 to 9999 in UTC") from None
    if span.end < span.start:
        raise ValueError(f"{range} ends before it begins")
    return span


def midnight(day: dt.date, zone: ZoneInfo) -> dt.datetime:
    """Return the first instant of a local date, in UTC (OC 11).

    Where the clocks skip midnight it is the moment they do so; where midnight comes twice, the
    first. A date that a zone left out altogether begins, and ends, when the clocks jumped over it.

    Raises:
        OverflowError: The instant lies before the year 1 or after 9999 in UTC.
    """
    return first_instant(dt.datetime.combine(day, dt.time()), zone)


def first_instant(wall: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return the first instant of a local time (naive), in UTC; see `midnight`.

    Raises:
        OverflowError: The instant lies before the year 1 or after 9999 in UTC.
    """
    # To UTC at once: two aware values that share a tzinfo compare and subtract by wall clock.
    first = wall.replace(tzinfo=zone).astimezone(dt.UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    # A gap: read with the offset from before it, it comes too late; with the later offset
    # (fold=1) too early. The jump lies between the two, not always at 00:00 (Toronto, 1919).
    early = wall.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)

    def reached(second: int) -> bool:
        local = (early + dt.timedelta(seconds=second)).astimezone(zone)
        return local.replace(tzinfo=None) >= wall

    seconds = range(int((first - early).total_seconds()))
    return early + dt.timedelta(seconds=bisect_left(seconds, True, key=reached))


# ---- words --------------------------------------------------------------------------------------


def _month(day: dt.date, months: int) -> dt.date:
    """Return the first day of the month that lies `months` after the month of `day`."""
    years, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return dt.date(years, month + 1, 1)


def _quarter(day: dt.date, quarters: int) -> dt.date:
    return _month(day, 3 * quarters - (day.month - 1) % 3)


def _year(day: dt.date, years: int) -> dt.date:
    return dt.date(day.year + years, 1, 1)


def _week(day: dt.date, weeks: int, week_start: int) -> dt.date:
    return day + dt.timedelta(days=7 * weeks - (day.weekday() - week_start) % 7)


_Bounds = Callable[[dt.date, int], tuple[dt.date, dt.date]]


def _past(days: int) -> _Bounds:
    return lambda today, _: (today - dt.timedelta(days=days), today)


# Today and the first weekday -> first day, and the day after the last (§5.4, OC 13, OC 26).
_WORDS: Final[dict[str, _Bounds]] = {
    "today": lambda today, _: (today, today + _DAY),
    "yesterday": _past(1),
    "thisWeek": lambda today, start: (_week(today, 0, start), _week(today, 1, start)),
    "lastWeek": lambda today, start: (_week(today, -1, start), _week(today, 0, start)),
    "pastWeek": _past(7),
    "thisMonth": lambda today, _: (_month(today, 0), _month(today, 1)),
    "lastMonth": lambda today, _: (_month(today, -1), _month(today, 0)),
    "pastMonth": _past(28),
    "thisQuarter": lambda today, _: (_quarter(today, 0), _quarter(today, 1)),
    "lastQuarter": lambda today, _: (_quarter(today, -1), _quarter(today, 0)),
    "pastQuarter": _past(90),
    "thisYear": lambda today, _: (_year(today, 0), _year(today, 1)),
    "lastYear": lambda today, _: (_year(today, -1), _year(today, 0)),
    "pastYear": _past(365),
}

# ---- dates and dateTimes ------------------------------------------------------------------------

_FORMS: Final = (
    "a date (2024-03-10), two dates (2024-03-10,2024-03-12, both days included), one or two "
    "dateTimes with offset and zone (2024-03-10T08:00:00-04:00 New_York, or plain Z), or one of "
    f"the words {' '.join(_WORDS)}"
)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2}))(?: ([A-Z][A-Za-z0-9_+\-]*))?"
)
_LOOKS_TIMED: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T")


class _Stamp(NamedTuple):
    """A dateTime of a range: its instant in UTC, and the zone that it was written in."""

    instant: dt.datetime
    zone: ZoneInfo


class _Part(NamedTuple):
    """One side of the comma: its text without the blanks around it, and where it begins."""

    range: str
    text: str
    pos: int

    def error(self, expected: str) -> RangeSyntaxError:
        return RangeSyntaxError(self.range, self.pos, expected)


def parse_range(text: str | None, zone: ZoneInfo, now: dt.datetime, *, week_start: int = 0) -> Span:
    """Return the span that a range text means for a point.

    Args:
        text: `today`, `yesterday` or another word of rule table 5.4; one date; two dates, both
            days included; a dateTime (until `now`); or two dateTimes (rules H1–H6, OC 13).
        zone: The point's time zone: dates are days there, and so is today (OC 12).
        now: The current instant, aware.
        week_start: The first day of the week, 0 for Monday to 6 for Sunday.

    Raises:
        RangeSyntaxError: The text is none of these forms; the error shows where.
        ValueError: `now` is naive.

    Source: docHaystack/Ops#hisRead (start inclusive, end exclusive; midnights in the point's zone).
    """
    if now.tzinfo is None:
        raise ValueError("now is naive: give an aware datetime, such as datetime.now(UTC)")
    if not text or text.isspace():
        raise RangeSyntaxError(text or "", 0, _FORMS)
    if (word := _WORDS.get(text)) is not None:
        first, past = word(now.astimezone(zone).date(), week_start)
        return Span(midnight(first, zone), midnight(past, zone))
    parts = _split(text)
    values = [_value(part) for part in parts]
    match values:
        case [dt.date() as day]:
            return _days(parts, day, day, zone)
        case [_Stamp() as stamp]:
            return _until_now(parts[0], stamp, now)
        case [dt.date() as first, dt.date() as last]:
            return _days(parts, first, last, zone)
        case [_Stamp() as start, _Stamp() as end]:
            return _between(parts[1], start, end)
    same = "a dateTime with offset and zone" if isinstance(values[0], _Stamp) else "a date"
    raise parts[1].error(f"{same}, as before the comma")


def _split(text: str) -> list[_Part]:
    parts, pos = [], 0
    for raw in text.split(",", 2):  # what is after two parts is an error, however much it is
        stripped = raw.lstrip(" \t")
        parts.append(_Part(text, stripped.rstrip(" \t"), pos + len(raw) - len(stripped)))
        pos += len(raw) + 1
    if len(parts) > 2:
        raise parts[2].error("the end: a range has one or two parts")
    return parts


def _value(part: _Part) -> dt.date | _Stamp:
    if _DATE.fullmatch(part.text):
        try:
            return dt.date.fromisoformat(part.text)
        except ValueError:
            raise part.error("a day of the calendar, YYYY-MM-DD") from None
    found = _TIMESTAMP.fullmatch(part.text)
    if found is not None and (found[2] == "Z" or found[3]):  # only Z may stand alone (rule F13)
        return _stamp(part, found)
    if _LOOKS_TIMED.match(part.text):
        raise part.error(
            "a dateTime as YYYY-MM-DDThh:mm:ss with an offset and, after one space, the city of "
            "its zone (2024-03-10T08:00:00-04:00 New_York), or with a plain Z"
        )
    if part.text in _WORDS:
        raise part.error(f"{part.text!r} to stand alone, without blanks and without a comma")
    raise part.error(_FORMS)


def _stamp(part: _Part, found: re.Match[str]) -> _Stamp:
    try:
        instant = instant_of(found[1])
    except ValueError:
        raise part.error("a dateTime of the calendar and the clock") from None
    try:
        return _Stamp(instant, zone_of(found[3] or "UTC"))
    except LookupError as exc:
        raise part._replace(pos=part.pos + found.start(3)).error(f"a zone: {exc}") from None


def _days(parts: list[_Part], first: dt.date, last: dt.date, zone: ZoneInfo) -> Span:
    try:
        if last < first - _DAY:
            raise parts[-1].error(f"a date not before {first - _DAY}")
        return Span(midnight(first, zone), midnight(last + _DAY, zone))
    except OverflowError:
        raise parts[0].error("days after 0001-01-02 and before 9999-12-30") from None


def _until_now(part: _Part, stamp: _Stamp, now: dt.datetime) -> Span:
    end = now.astimezone(dt.UTC)
    if stamp.instant > end:
        raise part.error(f"a dateTime that is not later than now ({end.isoformat()})")
    return Span(stamp.instant, end)


def _between(part: _Part, start: _Stamp, end: _Stamp) -> Span:
    if end.zone.key != start.zone.key:
        raise part.error(f"the same zone on both sides of the comma ({start.zone.key})")
    if end.instant < start.instant:
        raise part.error("a dateTime that is not before the first one")
    return Span(start.instant, end.instant)
