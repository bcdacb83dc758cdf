"""Entities in memory with inverted indexes, and the planner that answers a filter from them.

A filter is answered in two steps that together are exact: a candidate set from the indexes, and
where the indexes have not decided the whole filter, the reference predicate over each candidate.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set, Sized
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeGuard

from hsorm.filter.ast import And, Cmp, CmpOp, Has, Missing, Node, Or, Path
from hsorm.filter.evaluate import Predicate, compile_predicate, value_test
from hsorm.kinds import Entity, Grid, Marker, Number, Ref, Symbol, Uri, deep_copy, is_list
from hsorm.ops.live import LIVE_TAGS

__all__ = ["EntityIndex"]

_NO_REFS: Final = LIVE_TAGS | {"id"}
"""The tags whose refs say nothing of how a building hangs together (see `hsorm.ops.refs`)."""

_NONE: Final[frozenset[str]] = frozenset()

_Copiers: TypeAlias = tuple[tuple[str, Callable[[Any], Any]], ...]

# The kinds whose equality in Python is theirs in a filter, so that equal values share an answer.
# A time or dateTime is none of them: Python compares those by other rules (zones, `fold`).
_GROUPED: Final = frozenset((bool, Number, str, Ref, Uri, Symbol, dt.date))

# The commonest kinds with nothing in them that an index looks for.
_SIMPLE: Final = frozenset((Marker, bool, Number, str))

# Below this share of what an index covers it is cheaper to test the candidates one by one than to
# answer from the index (and perhaps to build it).
_WORTH: Final = 4


class _Values:
    """The ids of the entities that have a tag, grouped by the tag's value."""

    __slots__ = ("groups", "odd")

    def __init__(self) -> None:
        self.groups: defaultdict[tuple[type, Any], set[str]] = defaultdict(set)
        self.odd: set[str] = set()
        """Those whose value is of no grouped kind."""

    def add(self, id: str, value: Any) -> None:
        kind = type(value)
        (self.groups[kind, value] if kind in _GROUPED else self.odd).add(id)

    def discard(self, id: str, value: Any) -> None:
        key = type(value), value
        if key[0] not in _GROUPED:
            self.odd.discard(id)
            return
        self.groups[key].discard(id)
        if not self.groups[key]:
            del self.groups[key]


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
        self._lists: defaultdict[str, set[str]] = defaultdict(set)
        # Of each entity the tags whose values could be changed in place, and what copies them.
        self._nested: dict[str, _Copiers] = {}
        # Made for a tag when a filter first compares it, and kept up from then on.
        self._values: dict[str, _Values] = {}

    def all_ids(self) -> Set[str]:
        """Return the ids of all entities that are not in the trash."""
        return self.entities.keys() - self._tags.get("trash", _NONE)

    def copy_of(self, id: str) -> Entity:
        """Return a copy of an entity that the caller may change in every depth."""
        copy = dict(self.entities[id])
        for name, copier in self._nested.get(id, ()):
            copy[name] = copier(copy[name])
        return copy

    def put(self, entity: Entity) -> None:
        """Insert or replace an entity; what is replaced costs as much as what differs."""
        id = entity["id"].val
        old = self.entities.get(id)
        new: Mapping[str, Any] = entity
        if old is not None:
            # By identity: a changed entity shares what it keeps with the one before it.
            self._leave(id, {name: val for name, val in old.items() if entity.get(name) is not val})
            new = {name: val for name, val in entity.items() if old.get(name) is not val}
        self.entities[id] = entity
        tags = self._tags
        for name, value in new.items():
            tags[name].add(id)
            kind = type(value)
            if kind is Ref:
                self._refs[name, value.val].add(id)
            elif kind not in _SIMPLE and isinstance(
                value, (list, tuple, Mapping, Grid, dt.datetime)
            ):
                self._put_compound(id, name, value)
        for name in self._values.keys() & new.keys():
            self._values[name].add(id, new[name])

    def _put_compound(self, id: str, name: str, value: Any) -> None:
        if is_list(value):
            self._lists[name].add(id)
            for ref in _refs_in(value):
                self._refs[name, ref].add(id)
        elif not isinstance(value, Grid):  # grids are not walked (F56)
            self._walkable[name].add(id)
        if not isinstance(value, dt.datetime):
            copiers = (*self._nested.get(id, ()), (name, _copier_of(value)))
            self._nested[id] = _same(copiers)

    def remove(self, id: str) -> None:
        """Remove an entity."""
        self._leave(id, self.entities.pop(id))

    def _leave(self, id: str, tags: Mapping[str, Any]) -> None:
        for name, value in tags.items():
            self._tags[name].discard(id)
            self._walkable[name].discard(id)
            self._lists[name].discard(id)
            for ref in _refs_in(value):
                self._refs[name, ref].discard(id)
            if name in self._values:
                self._values[name].discard(id, value)
        if copiers := self._nested.pop(id, None):
            kept = tuple(copier for copier in copiers if copier[0] not in tags)
            if kept:
                self._nested[id] = _same(kept)

    def referring_to(self, id: str) -> Iterator[tuple[str, str]]:
        """Yield the id and the tag of each ref to an entity, but for those in the trash."""
        trash = self._tags.get("trash", _NONE)
        for name in self._tags.keys() - _NO_REFS:
            for other in self._refs.get((name, id), _NONE) - trash:
                yield other, name

    def dangling(self) -> Iterator[tuple[str, str, str]]:
        """Yield the id, the tag and the ref of each ref to nothing, but for those in the trash."""
        trash = self._tags.get("trash", _NONE)
        for (name, ref), ids in self._refs.items():
            if ref not in self.entities and name not in _NO_REFS:
                for id in ids - trash:
                    yield id, name, ref

    def matching(self, node: Node) -> Set[str]:
        """Return the ids of the entities that match a filter, without those in the trash (R10)."""
        found = self._matching(node)
        trash = self._tags.get("trash")
        return found - trash if trash else found

    def _matching(self, node: Node) -> Set[str]:
        exact = self._exact(node)
        if exact is not None:
            return exact
        match node:
            case And(terms):
                return self._all_of(terms)
            case Or(terms):
                return set().union(*map(self._matching, terms))
            case Missing(path):
                return self._without(self.entities.keys(), path)
            case Cmp(Path((_,))):
                return self._compared(node)
            case Cmp(path):
                candidates: Set[str] = self._tags.get(path.names[0], _NONE)
            case _:
                candidates = self.entities.keys()
        return self._filtered(candidates, compile_predicate(node))

    def _all_of(self, terms: tuple[Node, ...]) -> Set[str]:
        """Intersect what the indexes answer, smallest first, and test the rest one by one."""
        rest: list[Node] = []
        sets: list[Set[str]] = []
        paths = [term for term in terms if _is_path(term)]
        for term in (term for term in terms if not _is_path(term)):
            exact = self._exact(term)
            if exact is not None:
                sets.append(exact)
                continue
            rest.append(term)
            if isinstance(term, Cmp):
                sets.append(self._tags.get(term.path.names[0], _NONE))
        candidates: Set[str] | None = _common(sets) if sets else None
        for path in paths:
            found = self._through_ref(path.path.names[0], path.path.names[1:], path, candidates)
            if found is None:
                rest.append(path)
            else:
                candidates = found
        return self._narrowed(self.entities.keys() if candidates is None else candidates, rest)

    def _narrowed(self, candidates: Set[str], terms: Sequence[Node]) -> Set[str]:
        """Return those of the candidates that match all of the terms."""
        one_by_one: list[Node] = []
        # What leaves most of them comes last.
        for term in sorted(terms, key=lambda term: isinstance(term, Missing)):
            match term:
                case Missing(path):
                    candidates = self._without(candidates, path)
                case Cmp(Path((name,))) if _is_worth(candidates, self._tags.get(name, _NONE)):
                    candidates = candidates & self._compared(term)
                case And() | Or() if _is_worth(candidates, self.entities):
                    candidates = candidates & self._matching(term)
                case _:
                    one_by_one.append(term)
        if not one_by_one:
            return candidates
        rest = one_by_one[0] if len(one_by_one) == 1 else And(tuple(one_by_one))
        return self._filtered(candidates, compile_predicate(rest))

    def _branching(self, name: str) -> Set[str]:
        return self._lists.get(name, _NONE) | self._walkable.get(name, _NONE)

    def _filtered(self, candidates: Set[str], test: Predicate) -> Set[str]:
        entities, deref = self.entities, self.entities.get
        return {id for id in candidates if test(entities[id], deref)}

    def _exact(self, node: Node) -> Set[str] | None:
        """Return the answer to a term that the indexes decide alone, None where they cannot."""
        match node:
            case Has(Path((name,))):
                return self._tags.get(name, _NONE)
            case Cmp(Path((name,)), CmpOp.EQ, Ref(val)):
                return self._refs.get((name, val), _NONE)
            case Cmp(Path((name,)), CmpOp.EQ) if name in self._values:
                return self._compared(node)
            case Has(path) | Cmp(path) if len(path.names) > 1:
                return self._through_ref(path.names[0], path.names[1:], node)
            case _:
                return None

    def _compared(self, term: Cmp) -> Set[str]:
        """Answer a comparison of one tag: each of the tag's values is tested once."""
        (name,) = term.path.names
        values = self._values_of(name)
        found = self._passing(values, term)
        if values.odd and (odd := self._filtered(values.odd, compile_predicate(term))):
            return found | odd
        return found

    def _passing(self, values: _Values, term: Cmp) -> Set[str]:
        if term.op is CmpOp.EQ and type(term.val) in _GROUPED:
            return values.groups.get((type(term.val), term.val), _NONE)
        test = value_test(term)
        return set().union(*(ids for (_, value), ids in values.groups.items() if test(value)))

    def _values_of(self, name: str) -> _Values:
        values = self._values.get(name)
        if values is None:
            values = self._values[name] = _Values()
            for id in self._tags.get(name, _NONE):
                values.add(id, self.entities[id][name])
        return values

    def _without(self, candidates: Set[str], path: Path) -> Set[str]:
        """Return those of the candidates from which the path leads to nothing (F31)."""
        name, *rest = path.names
        if not rest:
            return candidates - self._tags.get(name, _NONE)
        if name not in self._tags or not (having := candidates & self._tags[name]):
            return candidates
        missing = compile_predicate(Missing(path))
        # By a list, a path may lead to a value and to nothing, both (F55): those are tested.
        odd = having & self._branching(name)
        one_way = not any(map(self._branching, rest[:-1]))
        reaching = self._through_ref(name, path.names[1:], Has(path)) if one_way else None
        if reaching is None:
            return (candidates - having) | self._filtered(having, missing)
        without = candidates - reaching
        return (without - odd) | self._filtered(odd, missing) if odd else without

    def _through_ref(
        self,
        name: str,
        rest: tuple[str, ...],
        node: Has | Cmp,
        within: Set[str] | None = None,
    ) -> Set[str] | None:
        """Answer `name->rest…` from its far end: who refers to an entity with what is asked for.

        Of those in `within` alone, where that is given.

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
            refs = self._refs.get((name, target), _NONE)
            found |= refs if within is None else refs & within
        if walkable := self._walkable.get(name):
            others = walkable if within is None else walkable & within
            found |= self._filtered(others, compile_predicate(node))
        return found


def _is_path(term: Node) -> TypeGuard[Has | Cmp]:
    return isinstance(term, (Has, Cmp)) and len(term.path.names) > 1


def _is_worth(candidates: Sized, indexed: Sized) -> bool:
    return len(candidates) * _WORTH > len(indexed)


def _common(sets: list[Set[str]]) -> Set[str]:
    first, *others = sorted(sets, key=len)
    for other in others:
        first = first & other
    return first


def _refs_in(value: Any) -> list[str]:
    if type(value) is Ref:
        return [value.val]
    return [item.val for item in value if type(item) is Ref] if is_list(value) else []


@lru_cache(maxsize=1024)
def _same(copiers: _Copiers) -> _Copiers:
    # Entities of one kind share one tuple.
    return copiers


def _copier_of(value: Any) -> Callable[[Any], Any]:
    """Return the fastest function that copies a dict or list in every depth."""
    if type(value) is dict and not any(_is_compound(val) for val in value.values()):
        return dict
    if type(value) is list and not any(map(_is_compound, value)):
        return list
    return deep_copy


def _is_compound(value: Any) -> bool:
    return isinstance(value, (Mapping, Grid)) or is_list(value)
