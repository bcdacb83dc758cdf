"""Values and durations as people type them on the command line."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hsorm.cli._session import UsageError
from hsorm.cli._stamps import parse_value
from hsorm.errors import CodecError
from hsorm.ops.durations import duration_of

__all__ = ["typed_duration", "typed_value"]


def typed_value(text: str) -> Any:
    """Read a value in Zinc, or `true` and `false`.

    Raises:
        UsageError: It is neither.
    """
    try:
        return parse_value(text)
    except CodecError as exc:
        hint = ", a text needs quotes: '\"text\"'" if text[:1].isalpha() else ""
        raise UsageError(f"VALUE {text!r}: {exc.reason}{hint}") from None


def typed_duration(option: str, text: str | None) -> dt.timedelta | None:
    """Read a duration such as `90s`, `5min` or `2hr`; a plain number is seconds.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    try:
        value = parse_value(text)
        return duration_of(value.val if getattr(value, "unit", "") is None else value)
    except (CodecError, ValueError):
        raise UsageError(
            f"{option} {text!r} is no duration: write 90s, 5min, 2hr or 1day"
        ) from None
