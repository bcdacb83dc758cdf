"""The display text of an entity, and the order in which people expect such texts (rule R7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hsorm.kinds import Ref

__all__ = ["dis_key", "dis_of"]

_DIS_TAGS = ("dis", "disMacro", "disKey", "name", "def", "tag")
_MACRO = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def dis_of(entity: Mapping[str, Any]) -> str | None:
    """Return the display text of an entity; None where it has none and its id must do.

    The first present of `dis`, `disMacro` (expanded), `disKey`, `name`, `def`, `tag`, then the id's
    own `dis`.
    """
    dis = entity.get("dis")
    if type(dis) is str:  # nearly always
        return dis
    for name in _DIS_TAGS:
        value = entity.get(name)
        if value is not None:
            return _expand(str(value), entity) if name == "disMacro" else str(value)
    id = entity.get("id")
    return id.dis if isinstance(id, Ref) else None


def _expand(macro: str, entity: Mapping[str, Any]) -> str:
    """Put the tags that a macro names in their places: `$equipRef ${navName}`."""

    def text_of(found: re.Match[str]) -> str:
        value = entity.get(found[1] or found[2])
        if isinstance(value, Ref):
            return value.dis or value.val
        return found[0] if value is None else str(value)

    return _MACRO.sub(text_of, macro)


def dis_key(entity: Mapping[str, Any]) -> tuple[str, int, str, str]:
    """Return a sort key by display text: case-insensitive, `Foo-2` before `Foo-10`; then by id.

    Trailing digits count as a number behind their prefix for every pair of texts. The reference
    does so for equal prefixes only, which is no order: `a2 < a10 < a1z < a2`.
    """
    id = entity.get("id")
    val = id.val if isinstance(id, Ref) else ""
    text = (dis_of(entity) or val).lower()
    prefix = text.rstrip("0123456789")
    digits = text[len(prefix) :]
    number = digits.lstrip("0")
    return prefix, len(number) if digits else -1, number, val
