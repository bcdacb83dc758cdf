"""`SqlChanges`: creating, changing and removing entities, and their live tags."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from hsorm.codecs import hayson
from hsorm.errors import EntityExistsError, UnknownEntityError
from hsorm.kinds import REMOVE, Entity, as_ref, is_storable
from hsorm.ops import commits
from hsorm.ops.commits import Committed, Diff
from hsorm.ops.entities import (
    as_read,
    check_live_batch,
    check_loaded,
    check_new,
    check_update,
    merge,
    stamp,
)
from hsorm.ops.live import live_part, split
from hsorm.ops.priority_array import is_writable, without_lost_array
from hsorm.ops.refs import DanglingRef, dangling, referenced
from hsorm.sql import changing
from hsorm.storage._shared import applied, last_of_each, utc_now
from hsorm.storage._sql_core import (
    Loaded,
    SqlCore,
    Statement,
    Work,
    as_listed,
    as_rows,
    entity_of,
)
from hsorm.storage.protocol import Id

__all__ = ["SqlChanges"]


class SqlChanges(SqlCore):
    """The part of a SQL adapter that changes entities."""

    # ---- entities -------------------------------------------------------------------------------

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        """Add one entity; see `EntityWriter.create`."""
        made = stamp(check_new(entity), self._next_mod())
        await self._in_transaction(lambda work: self._save(work, [(None, made)]))
        return as_read(made)

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        """Merge tags into one entity; see `EntityWriter.update`."""
        changes = check_update(entity)
        id = changes["id"].val

        async def change(work: Work) -> Entity:
            old = (await self._lock(work, [id])).get(id)
            if old is None:
                raise UnknownEntityError(id)
            new = without_lost_array(old, merge(old, changes, self._next_mod()))
            await self._save(work, [(old, new)])
            return new

        new = await self._in_transaction(change)
        self._remember(new)
        return as_read(new)

    async def delete(self, id: Id, *, unless_referenced: bool = False) -> None:
        """Remove one entity; see `Committer.delete`."""
        val = as_ref(id).val
        if not is_storable(val):
            raise UnknownEntityError(val)

        async def remove(work: Work) -> None:
            if unless_referenced:
                if val not in await self._lock(work, [val]):
                    raise UnknownEntityError(val)
                await self._refuse_referenced(work, val)
            if val not in await self._remove(work, [val]):
                raise UnknownEntityError(val)

        await self._in_transaction(remove)

    async def commit(self, diffs: Diff | Iterable[Diff]) -> list[Committed]:
        """Make a batch of changes, all or none; see `Committer.commit`."""
        checked = commits.check_diffs(diffs, utc_now())
        return await self._in_transaction(lambda work: self._commit(work, checked))

    async def _commit(self, work: Work, checked: list[commits.CheckedDiff]) -> list[Committed]:
        old = await self._lock(work, [diff.id.val for diff in checked])
        mod = commits.commit_mod(checked, old, utc_now(), self._last_mod)
        if not checked[0].transient:
            self._last_mod = mod
        pairs = [(old.get(diff.id.val), diff) for diff in checked]
        changed = [(was, applied(diff, was, mod)) for was, diff in pairs]
        await self._save(work, changed)
        return [
            commits.committed(diff, was, new, mod)
            for diff, (was, new) in zip(checked, changed, strict=True)
        ]

    async def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> int:
        """Insert or replace many entities by id; see `EntityWriter.load_entities`."""
        await self._ready()
        last = last_of_each(entities)
        if last:
            # In order of id, so that two loads at a time wait for each other instead of failing.
            ids = sorted(last)

            def rows_of(mod: dt.datetime) -> Iterator[Loaded]:
                return (_loaded(id, last[id], mod) for id in ids)

            await self._repeated(lambda: self._store(ids, rows_of))
        return len(last)

    async def check_refs(self) -> list[DanglingRef]:
        """Find the refs that lead nowhere; see `Committer.check_refs`."""
        return dangling(await self._look(changing.dangling_refs))

    # ---- live tags ------------------------------------------------------------------------------

    async def set_live(self, id: Id, tags: Mapping[str, Any]) -> None:
        """Merge tags into an entity's live tags; see `LiveWriter.set_live`."""
        await self.set_live_batch({id: tags})

    async def set_live_batch(self, changes: Mapping[Id, Mapping[str, Any]]) -> None:
        """Merge tags into the live tags of many entities; see `LiveWriter.set_live_batch`."""
        if checked := check_live_batch(changes):
            await self._change_live(checked)

    async def _change_live(self, changes: Mapping[str, Entity]) -> None:
        """Merge live tags of entities that are all there, REMOVE deletes one; in a transaction."""
        await self._in_transaction(lambda work: self._set_live(work, changes))

    async def _set_live(self, work: Work, changes: Mapping[str, Entity]) -> None:
        there = await self._merge_live(work, {id: new for id, new in changes.items() if new})
        # Looked at only: locked behind the others, they would be out of order.
        if idle := [id for id, new in changes.items() if not new]:
            known = await work.fetch(changing.known_entities, ids=as_listed(idle))
            there |= {id for (id,) in known}
        for id in changes:
            if id not in there:
                raise UnknownEntityError(id)

    @abstractmethod
    async def _merge_live(self, work: Work, changes: Mapping[str, Entity]) -> set[str]:
        """Merge live tags by id, REMOVE deletes one; return which of the entities are there."""

    # ---- what both are made of ------------------------------------------------------------------

    async def _lock(
        self,
        work: Work,
        ids: Sequence[str],
        statement: Statement = changing.lock_entities,
    ) -> dict[str, Entity]:
        """Return entities with their live tags, be they in the trash; others wait to change them.

        Live tags are looked up by a statement of its own: that of who waited for a lock sees the
        row as it is now, and everything else as it was before.
        """
        listed = as_listed(ids)
        rows = await work.fetch(statement, ids=listed)
        live = dict(tuple(row) for row in await work.fetch(changing.lock_live, ids=listed))
        return {id: entity_of(id, tags, live.get(id)) for id, tags in rows}

    async def _save(
        self, work: Work, changed: Sequence[tuple[Entity | None, Entity | None]]
    ) -> None:
        """Store entities as they were and are: None before an addition, and after a removal."""
        await self._remove(work, [old["id"].val for old, new in changed if old and new is None])
        await self._insert(work, [new for old, new in changed if old is None and new])
        kept = [(old, new) for old, new in changed if old is not None and new is not None]
        # A change of live tags alone leaves the mod as it was, and the rest of the entity.
        stored = [new for old, new in kept if new.get("mod") != old.get("mod")]
        if stored:
            await self._replace(work, _texts(stored))
        live = {new["id"].val: _live_difference(old, new) for old, new in kept}
        if touched := {id: changes for id, changes in live.items() if changes is not None}:
            await self._merge_live(work, touched)
        lost = [new["id"].val for old, new in kept if is_writable(old) and not is_writable(new)]
        if lost:
            await work.fetch(changing.delete_arrays, ids=as_listed(lost))

    async def _replace(self, work: Work, rows: Iterable[tuple[str, str]]) -> None:
        """Replace the tags of entities; they come as ids and texts."""
        await work.fetch(changing.update_entities, rows=as_rows(rows))

    async def _insert(self, work: Work, entities: Sequence[Entity]) -> None:
        if not entities:
            return
        # Two that add the same ids at a time wait for each other, if in the same order.
        entities = sorted(entities, key=lambda entity: str(entity["id"].val))
        rows = await work.fetch(changing.insert_entities, rows=as_rows(_texts(entities)))
        inserted = {id for (id,) in rows}
        for entity in entities:
            if entity["id"].val not in inserted:
                raise EntityExistsError(entity["id"].val)
        live = [(entity["id"].val, split(entity)[1]) for entity in entities]
        texts = [(id, hayson.encode_entity(tags)) for id, tags in live if tags]
        if texts:
            await work.fetch(changing.put_live, rows=as_rows(texts))

    async def _remove(self, work: Work, ids: Sequence[str]) -> set[str]:
        """Delete entities with all that is theirs; return which were there."""
        if not ids:
            return set()
        listed = as_listed(ids)
        removed = {id for (id,) in await work.fetch(changing.delete_entities, ids=listed)}
        await work.fetch(changing.delete_histories, ids=listed)
        return removed

    async def _refuse_referenced(self, work: Work, id: str) -> None:
        by = await work.fetch(changing.referring, id=id)
        if (error := referenced(id, (tuple(row) for row in by))) is not None:
            raise error

    def _remember(self, new: Entity) -> None:
        mod = new.get("mod")
        if isinstance(mod, dt.datetime):
            self._last_mod = max(self._last_mod or mod, mod)


def _live_difference(old: Entity, new: Entity) -> Entity | None:
    """Return what to merge into live tags, None for nothing.

    A change of live tags alone is one even if they are as they were.
    """
    was, now = live_part(old), live_part(new)
    removed = dict.fromkeys(was.keys() - now.keys(), REMOVE)
    if new.get("mod") == old.get("mod"):
        return {**now, **removed}
    # What was not changed is the very same object.
    return {name: val for name, val in now.items() if was.get(name) is not val} | removed or None


def _texts(entities: Iterable[Entity]) -> Iterator[tuple[str, str]]:
    for entity in entities:
        yield entity["id"].val, hayson.encode_entity(split(entity)[0])


def _loaded(id: str, raw: Mapping[str, Any], mod: dt.datetime) -> Loaded:
    tags, live = split(stamp(check_loaded(raw), mod))
    text = hayson.encode_entity(tags)
    return Loaded(id, text, hayson.encode_entity(live) if live else None)
