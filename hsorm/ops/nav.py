"""The navigation tree: which filter finds the level below an entity (rules N1–N4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsorm.filter.ast import And, Cmp, CmpOp, Has, Node, Path
from hsorm.kinds import Entity, Ref
from hsorm.ops.display import dis_key

__all__ = ["ROOTS", "below", "nav_rows"]

ROOTS: tuple[Node, ...] = (Has(Path(("site",))), Has(Path(("equip",))), Has(Path(("point",))))
"""The filters of the first level; the first one that finds something counts (N1)."""


def below(entity: Mapping[str, Any]) -> Node | None:
    """Return the filter that finds what is below an entity, None where nothing can be (N2)."""
    if "site" in entity:
        return _child("equip", "siteRef", entity["id"])
    if "equip" in entity:
        return _child("point", "equipRef", entity["id"])
    return None


def _child(marker: str, ref: str, parent: Ref) -> Node:
    return And((Has(Path((marker,))), Cmp(Path((ref,)), CmpOp.EQ, Ref(parent.val))))


def nav_rows(entities: list[Entity]) -> list[Entity]:
    """Return the rows of a nav answer: by display text, with `navId` except on points (N3)."""
    rows = sorted(entities, key=dis_key)
    return [row if "point" in row else {**row, "navId": row["id"]} for row in rows]
