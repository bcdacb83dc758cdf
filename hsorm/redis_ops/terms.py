"""What RediSearch knows of an entity: tokens for what a filter can ask, and numbers.

All tokens are in two TAG fields, so that an index has as few fields as can be: those of live tags
in `l`, which is written often, and all others in `t`.

==============  ==================================================================================
`ahu`           the entity has the tag
`siteRef@a-1`   the tag is this ref
`refs[@a-1`     the tag is a list that holds this ref
`@a-1`          some tag is this ref, or a list that holds it (live tags left out)
`dis=AHU 1`     the tag is this text; one of other characters, or a long one, stands as its hash
`on?1`, `on?0`  the tag is true, false
`def^ahu`       the tag is this symbol
`href~…`        the tag is this URI
`refs[]`        the tag is a list
`custom{}`      the tag is a dict or a dateTime, into which a path may lead
`area+ft²`      the tag is a number in this unit (`area+` without one), and indexed as such
`area+NaN!`     the tag is the number NaN, and indexed as one
==============  ==================================================================================

A text in a token is of few characters, so that nothing in it means anything to RediSearch.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from hsorm.kinds import Marker, Number, Ref, Symbol, Uri, instant, is_list
from hsorm.ops.index_tags import Indexed, check_index_tags
from hsorm.ops.live import LIVE_TAGS

__all__ = [
    "SEPARATOR",
    "Indexed",
    "Indexes",
    "any_ref",
    "check_indexes",
    "encoded",
    "field_name",
    "listed_ref",
    "number_of",
    "numbers_of",
    "token_field",
    "tokens_of",
    "unit_token",
    "value_token",
]

Indexes: TypeAlias = frozenset[tuple[str, str]]
"""The declared indexes, as tag and kind."""

SEPARATOR: Final = ","
"""Stands between tokens, and in none."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_:\-.~]+(?: [A-Za-z0-9_:\-.~]+)*")
_LONGEST: Final = 64

_FIELDS: Final = {"number": "n", "date": "d", "datetime": "t"}

# RediSearch keeps doubles: whole numbers up to this are exact.
_EXACT: Final = 2**53


def encoded(text: str) -> str:
    """Return a text as it stands in a token: itself, or its hash, which begins with `#`."""
    if len(text) <= _LONGEST and _PLAIN.fullmatch(text):
        return text
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16)
    return f"#{digest.hexdigest()}"


def value_token(name: str, val: Any) -> str | None:
    """Return the token of a tag with this value, None for a kind that has none."""
    kind = type(val)
    if kind is Ref:
        return f"{name}@{val.val}"
    if isinstance(val, str):
        return f"{name}={encoded(val)}"
    if kind is bool:
        return f"{name}?{val:d}"
    if kind is Symbol:
        return f"{name}^{encoded(val.val)}"
    if kind is Uri:
        return f"{name}~{encoded(val.val)}"
    return None


def listed_ref(name: str, id: str) -> str:
    """Return the token of a tag that is a list with this ref."""
    return f"{name}[@{id}"


def any_ref(id: str) -> str:
    """Return the token of an entity that has this ref anywhere."""
    return f"@{id}"


def unit_token(name: str, unit: str | None) -> str:
    """Return the token of a tag that is a number in this unit."""
    return f"{name}+{encoded(unit) if unit else ''}"


def nan_token(name: str) -> str:
    """Return the token of a tag that is not a number, but of that kind."""
    return f"{name}+NaN!"


def list_token(name: str) -> str:
    """Return the token of a tag that is a list."""
    return f"{name}[]"


def walkable_token(name: str) -> str:
    """Return the token of a tag that is a dict or a dateTime."""
    return f"{name}{{}}"


def token_field(name: str) -> str:
    """Return the field with the tokens of a tag."""
    return "l" if name in LIVE_TAGS else "t"


def tokens_of(entity: Mapping[str, Any], indexes: Indexes = frozenset()) -> str:
    """Return the tokens of an entity's tags, or of its live tags, as the index takes them.

    `id` and `mod` are left out, which all entities have.
    """
    tokens: list[str] = []
    add = tokens.append
    for name, val in entity.items():
        if name == "id" or name == "mod":
            continue
        add(name)
        kind = type(val)
        if kind is Marker:  # the commonest kinds first; it has no token but that of its name
            continue
        if kind is str:
            add(f"{name}={val if _is_plain(val) else encoded(val)}")
        elif kind is Ref:
            add(f"{name}@{val.val}")
            if name not in LIVE_TAGS:
                add(f"@{val.val}")
        else:
            tokens.extend(_other_tokens(name, val, indexes))
    return SEPARATOR.join(tokens)


def _is_plain(text: str) -> bool:
    return text.isalnum() and text.isascii() and len(text) <= _LONGEST


def _other_tokens(name: str, val: Any, indexes: Indexes) -> Iterator[str]:
    token = value_token(name, val)
    if token is not None:
        yield token
    elif isinstance(val, Number):
        if (name, "number") in indexes:
            yield nan_token(name) if math.isnan(val.val) else unit_token(name, val.unit)
    elif is_list(val):
        yield list_token(name)
        for item in val:
            if isinstance(item, Ref):
                yield listed_ref(name, item.val)
                if name not in LIVE_TAGS:
                    yield any_ref(item.val)
    elif isinstance(val, (Mapping, dt.datetime)):
        yield walkable_token(name)


# ---- numbers ------------------------------------------------------------------------------------


def check_indexes(declared: Mapping[str, str]) -> Indexes:
    """Return declared indexes, given as the kind by the tag.

    Raises:
        ValueError: There is no such kind of index, or a name is none of a tag.
    """
    check_index_tags(declared)
    return frozenset(declared.items())


def field_name(name: str, kind: str) -> str | None:
    """Return the field of an index over a tag; None for one that needs none."""
    return f"{_FIELDS[kind]}_{name}" if kind in _FIELDS else None


def number_of(val: Any, kind: str) -> str | None:
    """Return a value as a field of this kind has it, None where it has not.

    Dates are days, dateTimes microseconds since the year 1970; one beyond what a double holds
    exactly stands at the end, so that it is on the right side of all that can be asked exactly.
    """
    if kind == "number" and isinstance(val, Number) and not math.isnan(val.val):
        return repr(val.val + 0.0)  # -0.0 is 0
    if kind == "date" and isinstance(val, dt.date) and not isinstance(val, dt.datetime):
        return str(val.toordinal())
    if kind == "datetime" and isinstance(val, dt.datetime):
        return str(max(-_EXACT, min(_EXACT, _micros(val))))
    return None


def is_exact(val: Any) -> bool:
    """Tell whether a dateTime can be compared by its number."""
    return not isinstance(val, dt.datetime) or abs(_micros(val)) < _EXACT


_1970: Final = instant(dt.datetime(1970, 1, 1, tzinfo=dt.UTC))


def _micros(val: dt.datetime) -> int:
    return (instant(val) - _1970) // dt.timedelta(microseconds=1)


def numbers_of(entity: Mapping[str, Any], indexes: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the fields of the declared indexes that an entity has a value for."""
    fields: dict[str, str] = {}
    for name, kind in indexes:
        field, number = field_name(name, kind), number_of(entity.get(name), kind)
        if field is not None and number is not None:
            fields[field] = number
    return fields
