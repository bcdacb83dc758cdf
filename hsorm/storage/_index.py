"""Entities in memory with inverted indexes, and the planner that answers a filter from them.

A filter is answered in two steps that together are exact: a candidate set from the indexes, and
where the indexes have not decided the whole filter, the reference predicate over each candidate.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping, Set
from typing import Any, Final

from hsorm.filter.ast import And, Cmp, CmpOp, Has, Missing, Node, Or, Path
from hsorm.filter.evaluate import Predicate, compile_predicate
from hsorm.kinds import Entity, Ref, is_list

__all__ = ["EntityIndex"]

_NONE: Final[frozenset[str]] = frozenset()


class EntityIndex:
    """Entities by id, and the ids of those that have a tag, or a certain ref under a tag.

    `entities` holds what was put, as it is read (with `id` and `mod`); callers must not change it.
    """

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self._tags: defaultdict[str, set[str]] = defaultdict(set)
        # A ref counts under its tag wherever the filter looks for it: as the value or in a list
        # (F45).
        self._refs: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        # Values that a path can go through without a ref: dicts and dateTimes (F53, F54).
        self._walkable: defaultdict[str, set[str]] = defaultdict(set)
        self._nested: set[str] = set()

    def all_ids(self) -> Set[str]:
        """Return the ids of all entities that are not in the trash."""
        return self.entities.keys() - self._tags.get("trash", _NONE)

    def copy_of(self, id: str) -> Entity:
        """Return a copy of an entity that the caller may change in every depth."""
        entity = self.entities[id]
        return _deep_copy(entity) if id in self._nested else dict(entity)

    def put(self, entity: Entity) -> None:
        """Insert or replace an entity."""
        id = entity["id"].val
        if id in self.entities:
            self.remove(id)
        self.entities[id] = entity
        tags = self._tags
        for name, value in entity.items():
            tags[name].add(id)
            if type(value) is Ref:
                self._refs[name, value.val].add(id)
            elif isinstance(value, (list, tuple, Mapping, dt.datetime)):
                self._put_compound(id, name, value)

    def _put_compound(self, id: str, name: str, value: Any) -> None:
        if is_list(value):
            for ref in _refs_in(value):
                self._refs[name, ref].add(id)
        else:
            self._walkable[name].add(id)
        if not isinstance(value, dt.datetime):
            self._nested.add(id)

    def remove(self, id: str) -> None:
        """Remove an entity."""
        for name, value in self.entities.pop(id).items():
            self._tags[name].discard(id)
            self._walkable[name].discard(id)
            for ref in _refs_in(value):
                self._refs[name, ref].discard(id)
        self._nested.discard(id)

    def matching(self, node: Node) -> Set[str]:
        """Return the ids of the entities that match a filter, without those in the trash (R10)."""
        found = self._matching(node)
        trash = self._tags.get("trash")
        return found - trash if trash else found

    def _matching(self, node: Node) -> Set[str]:
        exact = self._exact(node)
        if exact is not None:
            return exact
        if isinstance(node, And):
            return self._all_of(node.terms)
        if isinstance(node, Or):
            return set().union(*map(self._matching, node.terms))
        candidates: Set[str] = self.entities.keys()
        if isinstance(node, Cmp):
            candidates = self._tags.get(node.path.names[0], _NONE)
        return self._filtered(candidates, compile_predicate(node))

    def _all_of(self, terms: tuple[Node, ...]) -> Set[str]:
        """Intersect what the indexes answer, smallest first, and test the rest one by one."""
        rest: list[Node] = []
        sets: list[Set[str]] = []
        for term in terms:
            exact = self._exact(term)
            if exact is not None:
                sets.append(exact)
                continue
            rest.append(term)
            if isinstance(term, Cmp):
                sets.append(self._tags.get(term.path.names[0], _NONE))
        sets.sort(key=len)
        candidates: Set[str] = self.entities.keys()
        if sets:
            candidates = sets[0]
            for other in sets[1:]:
                candidates = candidates & other
        if not rest:
            return candidates
        return self._filtered(
            candidates, compile_predicate(rest[0] if len(rest) == 1 else And(tuple(rest)))
        )

    def _filtered(self, candidates: Set[str], test: Predicate) -> Set[str]:
        entities, deref = self.entities, self.entities.get
        return {id for id in candidates if test(entities[id], deref)}

    def _exact(self, node: Node) -> Set[str] | None:
        """Return the answer to a term that the indexes decide alone, None where they cannot."""
        match node:
            case Has(Path((name,))):
                return self._tags.get(name, _NONE)
            case Missing(Path((name,))):
                return self.entities.keys() - self._tags.get(name, _NONE)
            case Cmp(Path((name,)), CmpOp.EQ, Ref(val)):
                return self._refs.get((name, val), _NONE)
            case Has(path) | Cmp(path) if len(path.names) > 1:
                return self._through_ref(path.names[0], path.names[1:], node)
            case _:
                return None

    def _through_ref(self, name: str, rest: tuple[str, ...], node: Has | Cmp) -> Set[str] | None:
        """Answer `name->rest…` from its far end: who refers to an entity with what is asked for.

        That is all there is to `has` and comparisons over a ref or a list of refs (F51, F55); dicts
        and dateTimes on the way are tested one by one. Deref finds what is in the trash, too (F59).
        """
        path = Path(rest)
        beyond = Has(path) if isinstance(node, Has) else Cmp(path, node.op, node.val)
        targets = self._matching(beyond)
        if len(targets) > len(self._tags.get(name, _NONE)):
            return None  # fewer entities to start from than to end at
        found: set[str] = set()
        for target in targets:
            found |= self._refs.get((name, target), _NONE)
        if walkable := self._walkable.get(name):
            found |= self._filtered(walkable, compile_predicate(node))
        return found


def _refs_in(value: Any) -> list[str]:
    if type(value) is Ref:
        return [value.val]
    return [item.val for item in value if type(item) is Ref] if is_list(value) else []


def _deep_copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _deep_copy(val) for name, val in value.items()}
    return [_deep_copy(val) for val in value] if is_list(value) else value
