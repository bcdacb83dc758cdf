"""What an adapter of your own can stand on: all of the contract's rules, over calls that keep data.

`Entities` makes reading, navigation, commits and live tags of two calls, `History` makes reading,
writing and rollups of history of two more. An adapter that inherits from both writes these four,
and overrides whatever else its database does better; `examples/json_adapter.py` is one, hsorm's own
in memory is another. Calls that begin with an underscore are for subclasses to write.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from hsorm.errors import EntityExistsError, UnknownEntityError
from hsorm.filter.ast import Node
from hsorm.filter.evaluate import compile_predicate
from hsorm.filter.parser import node_of
from hsorm.kinds import Entity, as_ref, deep_copy, id_texts
from hsorm.ops.commits import Committed, Diff, check_diffs, commit_mod, committed
from hsorm.ops.display import dis_key
from hsorm.ops.entities import (
    as_read,
    check_live_batch,
    check_loaded,
    check_new,
    check_update,
    merge,
    merged_tags,
    next_mod,
    stamp,
)
from hsorm.ops.geo import Area, compile_area
from hsorm.ops.priority_array import without_lost_array
from hsorm.ops.refs import DanglingRef, dangling, referenced, refs_in
from hsorm.ops.search import compile_search, search_words
from hsorm.storage._history import History
from hsorm.storage._shared import BaseAdapter, about_entity, applied, at_most, check_sort, utc_now
from hsorm.storage.protocol import Id, Sort

__all__ = ["BaseAdapter", "Entities", "History", "about_entity"]


class Entities(BaseAdapter, ABC):
    """`EntityReader`, `Navigator`, `Committer` and `LiveWriter`, over what a backend keeps.

    Reads look at all entities: override them where a database can find those that match.
    """

    def __init__(self) -> None:
        self._last_mod: dt.datetime | None = None
        self._lock = asyncio.Lock()

    # ---- what the backends do -------------------------------------------------------------------

    @abstractmethod
    async def _fetch(self, ids: Sequence[str] | None = None) -> Mapping[str, Entity]:
        """Return entities by id as they are kept, live tags and those in the trash included.

        Args:
            ids: Which of them, as far as they are there; None is all.
        """

    @abstractmethod
    async def _keep(self, changed: Mapping[str, Entity | None]) -> None:
        """Keep entities by id, new or changed, all or nothing.

        None removes one that is there, with its history.
        """

    def _changing(self) -> AbstractAsyncContextManager[object]:
        """Keep others out between what is fetched and what is kept of it.

        Here, the other calls of this adapter: a database that others write, too, has transactions.
        """
        return self._lock

    # ---- reading --------------------------------------------------------------------------------

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
        rows = [as_read(dict(entity)) for entity in await self._matching(filter_str, search, geo)]
        rows.sort(key=dis_key if sort == "dis" else _id_of)
        return [deep_copy(row) for row in rows[: at_most(limit)]]

    async def read_count(
        self, filter_str: str | Node, *, search: str | None = None, geo: Area | None = None
    ) -> int:
        """Count the entities that match a filter; see `EntityReader.read_count`."""
        return len(await self._matching(filter_str, search, geo))

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""
        vals = id_texts(ids)
        found = await self._fetch(vals)
        return [_copy_of(found[val]) if _is_there(found, val) else None for val in vals]

    async def _matching(
        self, filter: str | Node, search: str | None, geo: Area | None
    ) -> list[Entity]:
        matches = compile_predicate(node_of(filter))
        finds = compile_search(search_words(search))
        inside = None if geo is None else compile_area(geo)
        stored = await self._fetch()
        return [
            entity
            for entity in stored.values()
            if "trash" not in entity
            and matches(entity, stored.get)
            and finds(entity)
            and (inside is None or inside(entity))
        ]

    # ---- changing -------------------------------------------------------------------------------

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        """Add one entity; see `EntityWriter.create`."""
        checked = check_new(entity)
        id = checked["id"].val
        async with self._changing():
            if await self._fetch([id]):
                raise EntityExistsError(id)
            return await self._put(stamp(checked, self._next_mod()))

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        """Merge tags into one entity; see `EntityWriter.update`."""
        changes = check_update(entity)
        async with self._changing():
            old = await self._stored(changes["id"].val)
            merged = merge(old, changes, self._next_mod())
            self._last_mod = max(self._last_mod or merged["mod"], merged["mod"])
            return await self._put(without_lost_array(old, merged))

    async def delete(self, id: Id, *, unless_referenced: bool = False) -> None:
        """Remove one entity and all that hangs on it; see `Committer.delete`."""
        val = as_ref(id).val
        async with self._changing():
            await self._stored(val)
            if unless_referenced:
                error = referenced(val, await self._referring_to(val))
                if error is not None:
                    raise error
            await self._keep({val: None})

    def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> Awaitable[int]:
        """Insert or replace many entities by id; see `EntityWriter.load_entities`."""
        return self._load(entities)

    async def _load(self, entities: Iterable[Mapping[str, Any]]) -> int:
        checked = {entity["id"].val: entity for entity in map(check_loaded, entities)}
        async with self._changing():
            mod = self._next_mod()
            await self._keep({id: stamp(entity, mod) for id, entity in checked.items()})
        return len(checked)

    async def commit(self, diffs: Diff | Iterable[Diff]) -> list[Committed]:
        """Make a batch of changes, all or none; see `Committer.commit`."""
        now = utc_now()
        checked = check_diffs(diffs, now)
        async with self._changing():
            old = await self._fetch([diff.id.val for diff in checked])
            mod = commit_mod(checked, old, now, self._last_mod)
            new = {diff.id.val: applied(diff, old.get(diff.id.val), mod) for diff in checked}
            self._last_mod = mod
            # A copy of what was, in case that what is kept is changed in place.
            answers = [
                committed(diff, old.get(diff.id.val), new[diff.id.val], mod) for diff in checked
            ]
            await self._keep(new)
        return answers

    async def check_refs(self) -> list[DanglingRef]:
        """Find the refs that lead nowhere; see `Committer.check_refs`."""
        stored = await self._fetch()
        return dangling(found for found in _refs_of(stored) if found[2] not in stored)

    async def _referring_to(self, id: str) -> Iterable[tuple[str, str]]:
        """Return the ids of the entities that refer to one, and the tags."""
        refs = _refs_of(await self._fetch())
        return [(other, tag) for other, tag, ref in refs if ref == id]

    async def _stored(self, id: str) -> Entity:
        found = (await self._fetch([id])).get(id)
        if found is None:
            raise UnknownEntityError(id)
        return found

    async def _put(self, entity: Entity) -> Entity:
        await self._keep({entity["id"].val: entity})
        return _copy_of(entity)

    def _next_mod(self) -> dt.datetime:
        self._last_mod = next_mod(utc_now(), self._last_mod)
        return self._last_mod

    # ---- live tags ------------------------------------------------------------------------------

    async def set_live(self, id: Id, tags: Mapping[str, Any]) -> None:
        """Merge tags into an entity's live tags; see `LiveWriter.set_live`."""
        await self.set_live_batch({id: tags})

    async def set_live_batch(self, changes: Mapping[Id, Mapping[str, Any]]) -> None:
        """Merge tags into the live tags of many entities; see `LiveWriter.set_live_batch`."""
        checked = check_live_batch(changes)
        async with self._changing():
            stored = await self._fetch(list(checked))
            for id in checked:
                if id not in stored:
                    raise UnknownEntityError(id)
            await self._keep(
                {id: merged_tags(stored[id], live) for id, live in checked.items() if live}
            )


def _id_of(entity: Entity) -> str:
    val: str = entity["id"].val
    return val


def _copy_of(entity: Entity) -> Entity:
    return as_read(deep_copy(entity))


def _is_there(stored: Mapping[str, Entity], id: str) -> bool:
    return id in stored and "trash" not in stored[id]


def _refs_of(stored: Mapping[str, Entity]) -> Iterator[tuple[str, str, str]]:
    """Yield the refs of entities that are not in the trash: who has it, in which tag, to whom."""
    for id, entity in stored.items():
        if "trash" not in entity:
            for tag, ref in refs_in(entity):
                yield id, tag, ref.val
