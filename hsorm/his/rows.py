"""The stored form of one history value: a double, and Hayson text for what is no Number.

So a row says itself what kind it was written as (rule H16), and the double alone serves rollups
and plain SQL. A Number's unit is the point's and not stored: numbers follow when it changes (H29).
"""

from __future__ import annotations

import math

from hsorm.codecs import hayson
from hsorm.kinds import REMOVE, Kind, Number

__all__ = ["from_row", "to_row"]


def to_row(val: Kind) -> tuple[float | None, str | None]:
    """Return a checked value as the columns `val` and `obj` of its row.

    Args:
        val: What `check_items` let through, but for REMOVE: that deletes a row and has none.
    """
    if isinstance(val, Number):
        return val.val, None
    if isinstance(val, bool):
        return (1.0, "true") if val else (0.0, "false")
    if val is REMOVE:
        raise ValueError("REMOVE deletes an item, it is not stored (rule H15)")
    return None, hayson.dumps(val)


def from_row(val: float | None, obj: str | None, unit: str | None) -> Kind:
    """Return the value of a row, the inverse of `to_row`.

    Args:
        val: The double.
        obj: The Hayson text, None for a Number.
        unit: The point's unit, which its numbers take.
    """
    if obj is None:
        # SQLite has no NaN and keeps it as NULL: a row with neither column is that number.
        return Number(math.nan if val is None else val, unit)
    if obj == "true":
        return True
    if obj == "false":
        return False
    value: Kind = hayson.loads(obj)
    return Number(value.val, unit) if isinstance(value, Number) else value
