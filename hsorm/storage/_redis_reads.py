"""`RedisReads`: entities by filter and by id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from hsorm.filter import print_filter
from hsorm.filter.ast import Node
from hsorm.filter.evaluate import Predicate, compile_predicate
from hsorm.filter.parser import node_of
from hsorm.kinds import Entity, id_texts
from hsorm.ops.display import dis_key
from hsorm.ops.geo import Area, compile_area, located
from hsorm.ops.search import compile_search, search_words
from hsorm.redis_ops import query
from hsorm.redis_ops.entities import entity_of
from hsorm.redis_ops.keys import Bucket
from hsorm.redis_ops.query import ALL, Answer, Plan, Question
from hsorm.redis_ops.terms import Indexes
from hsorm.redis_ops.transactions import FieldsError
from hsorm.storage._paused_gc import paused_gc
from hsorm.storage._redis_core import counting, selecting
from hsorm.storage._redis_points import RedisPoints
from hsorm.storage._remembered import Remembered
from hsorm.storage._shared import at_most, check_sort
from hsorm.storage.protocol import Explanation, Id, Sort

__all__ = ["Found", "RedisReads"]

_T = TypeVar("_T")

_Besides: TypeAlias = Sequence[Callable[[Mapping[str, Any]], bool]]
"""What has to be true of an entity besides the filter."""

_MOST: Final = 1_000_000
"""RediSearch returns no more where it sorts (MAXSEARCHRESULTS)."""

_LOADED: Final = ("tags", "live")
_STAMPED: Final = (*_LOADED, "v")

_FAR_FEW: Final = 200

_REMEMBERED: Final = 1_000
_LONGEST: Final = 1_000

_PASSES: Final = 16  # more than a path has names


@dataclass(frozen=True, slots=True)
class Found:
    """An entity that was found, and the stamp of its last change, where that was asked for."""

    entity: Entity
    stamp: str


class _FarPart(NamedTuple):
    """What a bucket has of the far side of a path.

    Attributes:
        odd: Whether there is a value under the tag that is no ref.
        total: How many entities match.
        rows: Their ids, None where they are too many for one step.
    """

    odd: bool
    total: int
    rows: list[Mapping[bytes, Any]] | None


class RedisReads(RedisPoints):
    """The part of a Redis adapter that reads."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._plans: Remembered[tuple[Node, Indexes], Plan] = Remembered(_REMEMBERED, _is_short)
        """Of filters that ask for nothing first: to plan takes some 30 µs."""

    async def read(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        sort: Sort = "id",
        search: str | None = None,
        geo: Area | None = None,
    ) -> list[Entity]:
        """Read all entities that match a filter; see `EntityReader.read`."""
        check_sort(sort)
        node, besides = _asked_for(filter_str, search, geo)
        most = at_most(limit)
        await self._sweep_if_due()
        # The order of display texts is nothing that RediSearch knows (R7).
        first = most if sort == "id" else None
        found = [one.entity for one in await self._matching(node, besides, first)]
        if sort == "dis":
            found.sort(key=dis_key)
        return found if most is None else found[:most]

    async def read_count(
        self, filter_str: str | Node, *, search: str | None = None, geo: Area | None = None
    ) -> int:
        """Count the entities that match a filter; see `EntityReader.read_count`."""
        node, besides = _asked_for(filter_str, search, geo)
        await self._sweep_if_due()
        return await self._anew_if_declared(lambda: self._count(node, besides))

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""
        wanted = id_texts(ids)
        await self._sweep_if_due()
        found = {
            id: values
            for id, values in await self._hashes(wanted, ("tags", "live", "z"))
            if values[0] is not None and values[2] != b"1"
        }
        # Decoded for each place anew: the caller may change one without changing the other.
        return [entity_of(found[id][0], found[id][1], id) if id in found else None for id in wanted]

    async def explain(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        search: str | None = None,
        geo: Area | None = None,
    ) -> Explanation:
        """Return the query of a read and what is left to be looked at; see `Explainer.explain`."""
        node, besides = _asked_for(filter_str, search, geo)
        plan = await self._anew_if_declared(lambda: self._plan(node))
        most = at_most(limit)
        cut = most if _is_exact(plan, besides) else None
        command = selecting(self.layout.buckets[0], _asked(plan), _LOADED, cut)
        told = " ".join(map(str, command)) if plan.query is not None else "nothing matches"
        lines = [f"exact: {print_filter(term)}" for term in plan.exact]
        if plan.residual is not None:
            lines.append(f"residual, on each entity found: {print_filter(plan.residual)}")
        lines += [f"search, on each entity found: {word}" for word in search_words(search)]
        if geo is not None:
            lines.append(f"place, of each entity found: {geo}")
        if plan.query is not None:
            for bucket in self.layout.buckets:
                tree = await self.server.read(
                    bucket, "FT.EXPLAINCLI", bucket.alias, _asked(plan), "DIALECT", 2
                )
                lines += [f"bucket {bucket.number}", *_lines(tree)]
        return Explanation(told, (), tuple(lines))

    # ---- matching -------------------------------------------------------------------------------

    async def _matching(
        self,
        node: Node,
        besides: _Besides = (),
        most: int | None = None,
        *,
        stamped: bool = False,
    ) -> list[Found]:
        """Return the entities that match and are not in the trash, by id."""
        if most == 0:
            return []
        fields = _STAMPED if stamped else _LOADED
        return await self._anew_if_declared(lambda: self._match(node, besides, most, fields))

    async def _match(
        self,
        node: Node,
        besides: _Besides,
        most: int | None,
        fields: Sequence[str] = _LOADED,
    ) -> list[Found]:
        plan = await self._plan(node)
        if plan.query is None:
            return []
        cut = most if _is_exact(plan, besides) and most is not None and most <= _MOST else None
        found: list[Found] = []
        with paused_gc():
            for bucket in self.layout.buckets:
                rows = await self._search(bucket, _asked(plan), *fields, most=cut)
                found += map(_found, rows)
        if plan.residual is not None:
            found = await self._decide(plan.residual, found)
        for holds in besides:
            found = [one for one in found if holds(one.entity)]
        found.sort(key=lambda one: one.entity["id"].val)
        return found if most is None else found[:most]

    async def _count(self, node: Node, besides: _Besides) -> int:
        plan = await self._plan(node)
        if plan.query is None:
            return 0
        if not _is_exact(plan, besides):
            return len(await self._match(node, besides, None))
        count = 0
        for bucket in self.layout.buckets:
            count += await self._count_found(bucket, _asked(plan))
        return count

    async def _anew_if_declared(self, read: Callable[[], Awaitable[_T]]) -> _T:
        """Read, and once more where the plan was made for other indexes than there are now."""
        await self._ready()
        while True:
            try:
                return await read()
            except FieldsError:
                await self._load_fields()

    # ---- planning -------------------------------------------------------------------------------

    async def _plan(self, node: Node) -> Plan:
        searched = [self._fields[bucket].searched for bucket in self.layout.buckets]
        indexes = frozenset.intersection(*searched)
        planned = self._plans.get((node, indexes))
        if planned is not None:
            return planned
        answers: dict[Node, Answer] = {}
        for question in query.questions(node):
            answers[question.term] = await self._answer(question)
        planned = query.plan(node, indexes, answers)
        if not answers:  # else it is one of this moment
            self._plans.put((node, indexes), planned)
        return planned

    async def _answer(self, question: Question) -> Answer:
        """Return what is on the far side of a path; what is in the trash is there, too (F59)."""
        asked: query.Query = None
        residual: Node | None = None
        too_many = False
        if question.far is not None:
            try:
                asked, residual = query.far_query(question, await self._plan(question.far))
            except LookupError:
                too_many = True
        odd = query.any_of(question.name, question.odd) or ALL
        parts = [await self._far_part(bucket, odd, asked) for bucket in self.layout.buckets]
        is_odd = any(part.odd for part in parts)
        if too_many or sum(part.total for part in parts) > query.MAX_FAR:
            return Answer(None, is_odd)
        if asked is None:
            return Answer((), is_odd)
        return Answer(await self._far_ids(asked, residual, parts), is_odd)

    async def _far_part(self, bucket: Bucket, odd: str, asked: query.Query) -> _FarPart:
        """Return in one step what a bucket has of a far side: the ids, where there are few."""
        commands = [counting(bucket, odd)]
        if asked is not None:
            commands += [counting(bucket, asked), selecting(bucket, asked, ("id",), cut=_FAR_FEW)]
        (odd_count, _), *found = await self._found(bucket, commands)
        if not found:
            return _FarPart(odd_count > 0, 0, [])
        (total, _), (_, rows) = found
        return _FarPart(odd_count > 0, total, rows if len(rows) == total else None)

    async def _far_ids(
        self, asked: str, residual: Node | None, parts: Sequence[_FarPart]
    ) -> list[str]:
        ids: list[str] = []
        if residual is None:
            for bucket, part in zip(self.layout.buckets, parts, strict=True):
                rows = part.rows
                if rows is None:
                    rows = await self._search(bucket, asked, "id")
                ids += [row[b"id"].decode() for row in rows]
            return sorted(ids)
        found: list[Found] = []
        for bucket in self.layout.buckets:
            found += map(_found, await self._search(bucket, asked, *_LOADED))
        return sorted(one.entity["id"].val for one in await self._decide(residual, found))

    # ---- what the query has left ----------------------------------------------------------------

    async def _decide(self, residual: Node, found: list[Found]) -> list[Found]:
        """Return those for which a filter is true.

        The entities behind refs are read all at once: those that the filter asked for on its way,
        until it asks for no more.
        """
        matches = compile_predicate(residual)
        known: dict[str, Entity | None] = {one.entity["id"].val: one.entity for one in found}
        for _ in range(_PASSES):
            asked: set[str] = set()
            kept = _those(matches, found, known, asked)
            if not asked:
                return kept
            stored = await self._stored(asked)
            known |= {id: stored[id].entity if id in stored else None for id in asked}
        raise AssertionError("a path is longer than paths are")


def _those(
    matches: Predicate, found: list[Found], known: Mapping[str, Entity | None], asked: set[str]
) -> list[Found]:
    def deref(id: str) -> Entity | None:
        if id not in known:
            asked.add(id)
            return None
        return known[id]

    return [one for one in found if matches(one.entity, deref)]


def _is_short(_: object, plan: Plan) -> bool:
    return plan.query is not None and len(plan.query) <= _LONGEST and len(plan.exact) <= _LONGEST


def _asked_for(filter: str | Node, search: str | None, area: Area | None) -> tuple[Node, _Besides]:
    """Return the filter that the index is asked, and what is looked at in each entity found."""
    node, besides = node_of(filter), []
    if area is not None:
        node = located(node, area)
        besides.append(compile_area(area))
    if words := search_words(search):
        besides.append(compile_search(words))
    return node, besides


def _is_exact(plan: Plan, besides: _Besides) -> bool:
    return plan.residual is None and not besides


def _found(row: Mapping[bytes, Any]) -> Found:
    return Found(entity_of(row[b"tags"], row.get(b"live")), row.get(b"v", b"").decode())


def _asked(plan: Plan) -> str:
    return query.outside_trash(plan.query) or ALL


def _lines(tree: Any) -> list[str]:
    lines = tree if isinstance(tree, list) else tree.splitlines()
    return [line.decode() if isinstance(line, bytes) else str(line) for line in lines]
