"""Instants as whole microseconds since 1970, and as local datetimes, many at a time."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["from_micros", "in_zone", "local_datetimes", "to_micros"]

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY: Final = 86_400_000_000


def to_micros(ts: dt.datetime) -> int:
    """Return the instant of an aware datetime as a number."""
    since = ts - _EPOCH
    return since.days * _DAY + since.seconds * 1_000_000 + since.microseconds


def from_micros(stamp: int) -> dt.datetime:
    """Return an instant as a datetime in UTC."""
    return _EPOCH + dt.timedelta(0, 0, stamp)


def local_datetimes(stamps: Sequence[int], zone: ZoneInfo) -> list[dt.datetime]:
    """Return instants, ascending, as datetimes in a zone.

    Several times as fast as one `astimezone` for each. On a day of UTC on which the clocks stand
    still, it is one addition: no zone changes its clocks twice on a day (since 1950 the closest
    changes are a week apart). What is added comes back day by day where items are regular.
    """
    out: list[dt.datetime] = []
    first, offsets = 0, _Offsets()
    while first < len(stamps):
        day = stamps[first] - stamps[first] % _DAY
        past = bisect_left(stamps, day + _DAY, first)
        begin = from_micros(day).astimezone(zone)
        end = from_micros(day + _DAY - 1).astimezone(zone)
        if begin.utcoffset() != end.utcoffset() or begin.fold or end.fold:
            out += [from_micros(stamp).astimezone(zone) for stamp in stamps[first:past]]
        # Two values of one zone add up by wall clock, which is what is wanted here.
        elif offsets.are_worth_it(first):
            out += [begin + offsets[stamp - day] for stamp in stamps[first:past]]
        else:
            out += [begin + dt.timedelta(0, 0, stamp - day) for stamp in stamps[first:past]]
        first = past
    return out


def in_zone(instants: Sequence[dt.datetime], zone: ZoneInfo) -> list[dt.datetime]:
    """Return datetimes in UTC, ascending, as datetimes in a zone; see `local_datetimes`."""
    out: list[dt.datetime] = []
    first, day = 0, dt.timedelta(days=1)
    while first < len(instants):
        utc = instants[first]
        past = bisect_left(instants, day, first, key=lambda instant: instant - utc)
        begin, end = utc.astimezone(zone), instants[past - 1].astimezone(zone)
        if begin.utcoffset() != end.utcoffset() or begin.fold or end.fold:
            out += [instant.astimezone(zone) for instant in instants[first:past]]
        else:
            out += [begin + (instant - utc) for instant in instants[first:past]]
        first = past
    return out


class _Offsets(dict[int, dt.timedelta]):
    """Microseconds since midnight as timedeltas, which take longer to make than to look up."""

    def __missing__(self, offset: int) -> dt.timedelta:
        made = self[offset] = dt.timedelta(0, 0, offset)
        return made

    def are_worth_it(self, seen: int) -> bool:
        """Tell whether the instants seen so far had few offsets; of a first day nobody knows."""
        return seen > 0 and 4 * len(self) <= seen
