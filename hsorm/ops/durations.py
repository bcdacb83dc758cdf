"""Durations as callers give them: a Number with a unit of time, a timedelta, or plain seconds."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from hsorm.codecs import hayson
from hsorm.errors import CodecError
from hsorm.kinds import Number, native

__all__ = ["duration_of"]

_SECONDS: Final = {
    **dict.fromkeys(("ms", "millisecond"), 0.001),
    **dict.fromkeys(("sec", "s", "second"), 1.0),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("hr", "h", "hour"), 3_600.0),
    "day": 86_400.0,
}


def duration_of(value: Any) -> dt.timedelta:
    """Return a duration, greater than nothing, as a timedelta.

    Args:
        value: A Number with one of the units ms, sec, min, hr, day (or their other names), a
            timedelta, or seconds as a plain number.

    Raises:
        ValueError: It is none of these, or not greater than nothing; the text says why.
    """
    found = _timedelta(value)
    if found is None:
        units = ", ".join(_SECONDS)
        raise ValueError(f"{value!r} is no duration: a Number in one of {units}, or a timedelta")
    if found <= dt.timedelta():
        raise ValueError(f"{value!s} is no duration: it must be greater than 0")
    return found


def _timedelta(value: Any) -> dt.timedelta | None:
    """Return a value as a timedelta, None where it cannot be one."""
    if isinstance(value, dt.timedelta):
        return value
    if isinstance(value, Mapping):
        value = _decoded(value)
    factor: float | None = 1.0
    if isinstance(value, Number):
        factor = _SECONDS.get(value.unit or "")
    else:
        value = native(value)
    if factor is None or not isinstance(value, Number):
        return None
    try:
        return dt.timedelta(seconds=value.val * factor)
    except (OverflowError, ValueError):  # infinite or far too long, or NaN
        return None


def _decoded(value: Mapping[str, Any]) -> Any:
    try:
        return hayson.decode(dict(value))
    except CodecError:
        return None
