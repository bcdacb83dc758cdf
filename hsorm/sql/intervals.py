"""Lengths of time as PostgreSQL writes them."""

from __future__ import annotations

from typing import Any, Final

from hsorm.his.rollup import Interval, parse_interval

__all__ = ["interval_text"]

_UNITS: Final = {
    "sec": "seconds",
    "min": "minutes",
    "hr": "hours",
    "day": "days",
    "wk": "weeks",
    "mo": "months",
    "yr": "years",
}


def interval_text(value: Any) -> str:
    """Return the text of an interval, such as `6 months`.

    Args:
        value: As the interval of a rollup: `"7day"`, `"6mo"`, `"2yr"`, a Number or a timedelta.

    Raises:
        InvalidRollupError: It is none.
    """
    interval: Interval = parse_interval(value)
    return f"{interval.many} {_UNITS[interval.unit]}"
