"""Navigation: the level below an entity (rules N1–N4), and the whole tree of a building."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hsorm.filter.ast import And, Cmp, CmpOp, Has, Missing, Node, Path
from hsorm.kinds import Entity, Ref, is_list
from hsorm.ops.display import dis_key

__all__ = ["ROOTS", "NavNode", "below", "nav_rows", "nav_tree", "tree_filter"]

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


# ---- the whole tree -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NavNode:
    """An entity in the tree, and what is below it, by display text."""

    entity: Entity
    children: list[NavNode] = field(default_factory=list)


_MARKERS: Final = frozenset(("site", "space", "floor", "equip", "point"))
_UPWARD: Final = ("spaceRef", "floorRef", "siteRef")


def tree_filter(*, points: bool) -> Node:
    """Return the filter of what `nav_tree` needs to read."""
    everything = Has(Path(("id",)))
    return everything if points else And((everything, Missing(Path(("point",)))))


def nav_tree(entities: Iterable[Entity], root: Entity | None = None) -> list[NavNode]:
    """Return the tree of a building: sites, spaces, equips and points, each entity once.

    The parent of an entity is the first one that exists of its `equipRef` (of an equip or a point),
    `spaceRef`, `floorRef` and `siteRef`. A site is a root, and so is what has no parent. What is
    its own ancestor is cut loose at the smallest id of the circle, which becomes a root.

    Args:
        entities: All entities, as read.
        root: Where to begin; None for all roots. It need not be among the entities.
    """
    by_id = {entity["id"].val: entity for entity in entities}
    if root is not None:
        by_id.setdefault(root["id"].val, root)
    parents = _without_circles({id: _parent(by_id[id], by_id) for id in sorted(by_id)})
    nodes = {id: NavNode(entity) for id, entity in by_id.items()}
    for id in sorted(by_id, key=lambda id: dis_key(by_id[id])):
        parent = parents[id]
        if parent is not None:
            nodes[parent].children.append(nodes[id])
    if root is not None:
        return [nodes[root["id"].val]]
    roots = [
        node
        for id, node in nodes.items()
        if parents[id] is None and (node.children or not _MARKERS.isdisjoint(node.entity))
    ]
    return sorted(roots, key=lambda node: dis_key(node.entity))


def _parent(entity: Entity, by_id: Mapping[str, Entity]) -> str | None:
    if "site" in entity:
        return None
    first = ("equipRef",) if "equip" in entity or "point" in entity else ()
    for name in first + _UPWARD:
        for ref in _refs(entity.get(name)):
            if ref.val in by_id:
                return ref.val
    return None


def _refs(value: Any) -> list[Ref]:
    if isinstance(value, Ref):
        return [value]
    return [item for item in value if isinstance(item, Ref)] if is_list(value) else []


def _without_circles(parents: dict[str, str | None]) -> dict[str, str | None]:
    """Take its parent from the smallest id of each circle."""
    safe: set[str] = set()  # those from which a root is reached
    for id in parents:
        way: dict[str, None] = {}
        at: str | None = id
        while at is not None and at not in safe and at not in way:
            way[at] = None
            at = parents[at]
        if at is not None and at in way:
            circle = list(way)[list(way).index(at) :]
            parents[min(circle)] = None
        safe.update(way)
    return parents
