"""Values as people read them in a table: `✓`, `@id`, `72.5°F`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from hsorm.codecs import zinc
from hsorm.errors import CodecError
from hsorm.kinds import MARKER, Number, Ref, Uri

__all__ = ["clean", "text_of"]

# Data is not trusted to send control sequences to a terminal, nor to break a row in two.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def clean(text: str) -> str:
    """Return a text on one line, without control characters."""
    return _CONTROL.sub(" ", text)


def text_of(value: Any) -> str:
    """Return the text of one value, on one line; empty for an absent one."""
    if value is None:
        return ""
    if value is MARKER:
        return "✓"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, Uri, Ref, Number)):
        return clean(str(value))
    return clean(_zinc(value))


def _zinc(value: Any) -> str:
    try:
        return zinc.dumps_value(value)
    except CodecError:  # a unit or a name inside that has no form in Zinc
        return str(dict(value) if isinstance(value, Mapping) else value)
