"""Timestamps and values as people type them, in files and on the command line."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final

from hsorm.codecs import zinc
from hsorm.kinds import NA, REMOVE, Number
from hsorm.zones import zone_of

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from hsorm.his import HisPoint

__all__ = ["STAMP", "cell_value", "parse_stamp", "parse_value"]

STAMP: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)"
    r"\s?(Z|[+-]\d\d:?\d\d)?(?: ([A-Z][A-Za-z0-9_+/\-]*))?",
    re.ASCII,
)
"""A dateTime: its date, time, offset and zone."""

_FORM: Final = "2024-03-10T08:00:00-04:00, 2024-03-10 08:00 New_York or 2024-03-10T12:00:00Z"
_PLAIN: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)


def parse_stamp(
    text: str, zone: ZoneInfo | None = None, after: dt.datetime | None = None
) -> dt.datetime:
    """Read a dateTime.

    Args:
        text: ISO date and time, with an offset, a zone, or both.
        zone: The zone of a time without either; None refuses such a time.
        after: The dateTime before this one in its series, in UTC: a local time that the clocks
            pass twice means the later pass when the earlier one does not follow it.

    Returns:
        The instant in UTC.

    Raises:
        ValueError: The text is no dateTime, or one that the clocks skipped; the message says so.
    """
    found = STAMP.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no dateTime such as {_FORM}")
    day, time, offset, name = found.groups()
    try:
        wall = dt.datetime.fromisoformat(f"{day}T{time[:15]}")
        if offset is not None:
            return _with_offset(wall, offset, name)
        zone = zone_of(name) if name else zone
    except LookupError as exc:
        raise ValueError(f"{text!r}: {exc}") from None
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not in the calendar or on the clock") from None
    if zone is None:
        raise ValueError(f"{text!r} has neither an offset nor a zone: write {_FORM}")
    try:
        return _local(text, wall, zone, after)
    except OverflowError:
        raise ValueError(f"{text!r} is beyond the calendar in {zone.key}") from None


def _with_offset(wall: dt.datetime, offset: str, name: str | None) -> dt.datetime:
    if name is not None:
        zone_of(name)  # the offset says it all, but a zone that is none is a mistake
    return dt.datetime.fromisoformat(wall.isoformat() + offset).astimezone(dt.UTC)


def _local(text: str, wall: dt.datetime, zone: ZoneInfo, after: dt.datetime | None) -> dt.datetime:
    first = wall.replace(tzinfo=zone).astimezone(dt.UTC)
    if first.astimezone(zone).replace(tzinfo=None) != wall:
        raise ValueError(f"{text!r}: the clocks of {zone.key} skip this time: give an offset")
    if after is not None and first <= after:
        second = wall.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
        return second if second > after else first
    return first


def parse_value(text: str) -> Any:
    """Read a value in Zinc, or the words `true` and `false`.

    Raises:
        CodecError: It is neither.
    """
    words = {"true": True, "false": False}
    stripped = text.strip()
    return words[stripped] if stripped in words else zinc.loads_value(stripped)


def cell_value(text: str, point: HisPoint) -> Any:
    """Read the value of a cell for a point: a Str point takes bare text, others as `parse_value`.

    Raises:
        CodecError: The text is no value.
    """
    stripped = text.strip()
    if _PLAIN.fullmatch(stripped) and point.kind == "Number":
        return Number(float(stripped), point.unit)
    if point.kind == "Str" and not stripped.startswith('"'):
        return {"NA": NA, "R": REMOVE}.get(stripped, text)
    return parse_value(stripped)
