"""AST to filter text, such that parsing the text gives the AST back."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final, assert_never

from hsorm.filter.ast import (
    And,
    Cmp,
    Has,
    IsA,
    IsSpec,
    Literal,
    Missing,
    Node,
    Or,
    is_bare_not,
)
from hsorm.kinds import Number, Ref, Symbol, Uri, number_text
from hsorm.zones import city_of, with_zone

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["print_filter", "print_literal"]


def print_filter(node: Node) -> str:
    """Return the text of a filter, with no more parentheses than it needs.

    `parse(print_filter(node)) == node` for every node. What has no text of its own comes back as an
    equal literal: a dateTime whose zone a filter cannot name is written in UTC, and the display
    text of a Ref is left out.
    """
    out: list[str] = []
    _write(node, out)
    return "".join(out)


def _write(node: Node, out: list[str]) -> None:
    # One frame for each level: trees may be two hundred deep.
    if not isinstance(node, (And, Or)):
        out.append(_term(node))
        return
    word, wrapped = (" and ", (And, Or)) if isinstance(node, And) else (" or ", (Or,))
    for index, term in enumerate(node.terms):
        # Before `and` and `or`, a bare `not` would take that word for the name of its path (F3).
        brackets = isinstance(term, wrapped) or is_bare_not(term)
        out.append((word if index else "") + ("(" if brackets else ""))
        _write(term, out)
        out.append(")" if brackets else "")


def _term(node: Has | Missing | Cmp | IsA | IsSpec) -> str:
    match node:
        case Has(path):
            return str(path)
        case Missing(path):
            return f"not {path}"
        case Cmp(path, op, val):
            return f"{path} {op.value} {print_literal(val)}"
        case IsA(symbol):
            return str(symbol)
        case IsSpec(name):
            return name
        case _:
            assert_never(node)


def print_literal(val: Literal) -> str:
    """Return the text of a literal (rules F8–F17)."""
    return _PRINTERS[type(val)](val)


def _number(val: Number) -> str:
    text, unit = number_text(val.val), val.unit or ""
    text = text.replace("INF", "1e999")  # too large for a double, hence infinite (F9)
    if _EXPONENT.match(unit) and "e" not in text:
        return f"{text}e0{unit}"
    if text in ("0", "-0") and unit.startswith("x"):
        return f"0.0{unit}"  # 0xFF would be hex
    return text + unit


_EXPONENT = re.compile(r"[eE][0-9]")
_ESCAPED = re.compile(r'[\x00-\x1f"\\\x7f]')
_ESCAPED_IN_URI = re.compile(r"[\x00-\x1f`\x7f]|\\(?:[:/?#\[\]@\\&=;])?")
_SHORT: Final = {
    '"': r"\"", "\\": r"\\", "`": r"\`", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r",
    "\t": r"\t",
}  # fmt: skip


def _escape(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}"


def _escape_in_uri(found: re.Match[str]) -> str:
    if len(found[0]) == 2:
        return found[0]  # a backslash with a character of the URI syntax stands as it is (F15)
    return r"\u005c" if found[0] == "\\" else _escape(found)


def _datetime(val: dt.datetime) -> str:
    try:
        shown = with_zone(val)
        zone = city_of(shown)
    except OverflowError:  # the fixed offset's zone would leave the years 1 to 9999
        shown, zone = val, ""
    offset = shown.utcoffset() or dt.timedelta()
    if not _ZONE.fullmatch(zone):
        shown, zone = shown.astimezone(dt.UTC), "UTC"
    elif offset == dt.timedelta() or offset % dt.timedelta(minutes=1):
        shown = shown.astimezone(dt.UTC)  # offsets with seconds (before some 1900) have no text
    utc = shown.utcoffset() == dt.timedelta()
    text = shown.replace(tzinfo=None).isoformat() + ("Z" if utc else shown.isoformat()[-6:])
    return text if zone == "UTC" else f"{text} {zone}"


_ZONE = re.compile(r"[A-Z][A-Za-z0-9_+\-]*")

_PRINTERS: Final[dict[type, Callable[[Any], str]]] = {
    bool: lambda val: "true" if val else "false",
    Number: _number,
    str: lambda val: f'"{_ESCAPED.sub(_escape, val)}"',
    Ref: str,
    Uri: lambda val: f"`{_ESCAPED_IN_URI.sub(_escape_in_uri, val.val)}`",
    Symbol: str,
    dt.datetime: _datetime,
    dt.date: dt.date.isoformat,
    dt.time: dt.time.isoformat,
}
