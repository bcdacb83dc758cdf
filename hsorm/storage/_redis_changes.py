"""`RedisChanges`: creating, changing and removing entities, and their live tags."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from hsorm.codecs import hayson
from hsorm.errors import EntityExistsError, UnknownEntityError
from hsorm.kinds import Entity, as_ref
from hsorm.ops import commits
from hsorm.ops.commits import Committed, Diff
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
from hsorm.ops.live import merge_live
from hsorm.ops.priority_array import (
    EMPTY,
    PointArray,
    at,
    dump,
    is_writable,
    live_changes,
    load,
)
from hsorm.ops.refs import DanglingRef, dangling, referenced, refs_in
from hsorm.redis_ops import query
from hsorm.redis_ops.entities import Stored, entity_of, live_of
from hsorm.redis_ops.scripts import REPLACED, REPLACED_LOCKED
from hsorm.redis_ops.transactions import Change, Deleted, Put, Staged, StaleError
from hsorm.storage._redis_core import RedisCore
from hsorm.storage._shared import last_of_each, utc_now
from hsorm.storage.protocol import Id

__all__ = ["RedisChanges", "array_of", "array_text"]

_LOADED_AT_ONCE: Final = 250
_LOOKED_AT_ONCE: Final = 1_000  # which takes some milliseconds
_KEPT_AFTER: Final = 50_000
"""After so many the buckets are locked for longer: it takes a second or two."""


class _Replaced(NamedTuple):
    """An entity that a load replaces: its stamp, its array and its `mod`, each as text."""

    based_on: str
    array: str
    mod: str


class RedisChanges(RedisCore):
    """The part of a Redis adapter that changes entities."""

    # ---- entities -------------------------------------------------------------------------------

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        """Add one entity; see `EntityWriter.create`."""
        checked = check_new(entity)

        async def attempt() -> Entity:
            made = stamp(checked, self._next_mod())
            try:
                await self.transactions.make([self._put(made, based_on="-")])
            except StaleError:
                raise EntityExistsError(made["id"].val) from None
            return made

        return as_read(await self._until_made(attempt))

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        """Merge tags into one entity; see `EntityWriter.update`."""
        changes = check_update(entity)
        id = changes["id"].val

        async def attempt() -> Entity:
            old = (await self._stored([id])).get(id)
            if old is None:
                raise UnknownEntityError(id)
            new = merge(old.entity, changes, self._next_mod())
            put, new = self._replacing(old, new)
            await self.transactions.make([put])
            return new

        new = await self._until_made(attempt)
        self._remember(new)
        return as_read(new)

    async def delete(self, id: Id, *, unless_referenced: bool = False) -> None:
        """Remove one entity and all that hangs on it; see `Committer.delete`."""
        val = as_ref(id).val

        async def attempt() -> None:
            if val not in await self._stored([val]):
                raise UnknownEntityError(val)
            if unless_referenced:
                error = referenced(val, await self._referring(val))
                if error is not None:
                    raise error
            # Whoever came to refer to it since is found by the script, on one bucket at least.
            unless = query.refers_to(val) if unless_referenced else ""
            await self.transactions.make([Deleted(val, "+")], unless=unless)

        await self._until_made(attempt)

    async def commit(self, diffs: Diff | Iterable[Diff]) -> list[Committed]:
        """Make a batch of changes, all or none; see `Committer.commit`."""
        checked = commits.check_diffs(diffs, utc_now())

        async def attempt() -> list[Committed]:
            stored = await self._stored(diff.id.val for diff in checked)
            old = {id: one.entity for id, one in stored.items()}
            mod = commits.commit_mod(checked, old, utc_now(), self._last_mod)
            changes: list[Change] = []
            answers: list[Committed] = []
            for diff in checked:
                was = stored.get(diff.id.val)
                new = commits.apply(diff, None if was is None else was.entity, mod)
                change, new = self._change(diff.id.val, was, new)
                changes.append(change)
                answers.append(
                    commits.committed(diff, None if was is None else was.entity, new, mod)
                )
            await self.transactions.make(changes)
            if not checked[0].transient:
                self._last_mod = mod
            return answers

        return await self._until_made(attempt)

    def _change(
        self, id: str, old: Stored | None, new: Entity | None
    ) -> tuple[Change, Entity | None]:
        """Return the change from what is stored to what is to be, and the latter."""
        if new is None:
            return Deleted(id, "+" if old is None else old.based_on), None
        if old is None:
            return self._put(new, based_on="-"), new
        return self._replacing(old, new)

    def _replacing(self, old: Stored, new: Entity) -> tuple[Put, Entity]:
        """Return the change that replaces an entity; one that can have no array loses it (W14)."""
        more: dict[str, Any] = {}
        if is_writable(old.entity) and not is_writable(new):
            shown = live_changes(EMPTY, new)
            new = {name: val for name, val in new.items() if name not in shown}
            more = {"new_array": "", "expires": "-"}
        return self._put(new, old.based_on, array=old.array, **more), new

    async def _referring(self, id: str) -> list[tuple[str, str]]:
        """Return who refers to an entity, as id and tag; nobody in the trash."""
        by: list[tuple[str, str]] = []
        for bucket in self.layout.buckets:
            for row in await self._search(bucket, query.refers_to(id), "tags"):
                entity = entity_of(row[b"tags"], None)
                by += [(entity["id"].val, tag) for tag, ref in refs_in(entity) if ref.val == id]
        return by

    async def check_refs(self) -> list[DanglingRef]:
        """Find the refs that lead nowhere; see `Committer.check_refs`."""
        await self._ready()
        missing = await self._missing_targets()
        lost = set(missing)
        found: list[tuple[str, str, str]] = []
        for bucket in self.layout.buckets:
            for i in range(0, len(missing), _LOADED_AT_ONCE):
                asked = query.refers_to_any(missing[i : i + _LOADED_AT_ONCE])
                for row in await self._search(bucket, asked, "tags"):
                    entity = entity_of(row[b"tags"], None)
                    refs = ((tag, ref.val) for tag, ref in refs_in(entity))
                    found += [(entity["id"].val, tag, to) for tag, to in refs if to in lost]
        return dangling(found)

    async def _missing_targets(self) -> list[str]:
        """Return the ids that somebody refers to, or did once, and that are not there."""
        targets: set[str] = set()
        for bucket in self.layout.buckets:
            for token in await self.server.read(bucket, "FT.TAGVALS", bucket.alias, "t"):
                if token[:1] == b"@":
                    targets.add(token[1:].decode())
        there = {id for id, (own,) in await self._hashes(targets, ("id",)) if own is not None}
        return sorted(targets - there)

    # ---- loading --------------------------------------------------------------------------------

    async def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> int:
        """Insert or replace many entities by id; see `EntityWriter.load_entities`."""
        await self._ready()
        last = last_of_each(entities)
        if not last:
            return 0
        # All are checked before anything is sent, and made anew should indexes be declared
        # meanwhile.
        checked = [check_loaded(raw) for raw in last.values()]
        load = self._load_few if len(checked) <= _LOADED_AT_ONCE else self._load_many
        await self._until_made(lambda: load(checked))
        return len(checked)

    async def _load_few(self, checked: Sequence[Entity]) -> None:
        ids = [entity["id"].val for entity in checked]
        found: dict[str, _Replaced] = {}
        for bucket, own in self.layout.by_bucket(ids).items():
            answer = await self.transactions.run(bucket, REPLACED, "", *own, reads=True)
            found |= _replaced(answer)
        mod = self._mod_above(found)
        changes = [self._loaded(stamp(one, mod), found.get(one["id"].val)) for one in checked]
        await self.transactions.make(changes)

    async def _load_many(self, checked: Sequence[Entity]) -> None:
        mod = self._next_mod()
        staged = self.transactions.begin()
        try:
            for i in range(0, len(checked), _LOADED_AT_ONCE):
                part = checked[i : i + _LOADED_AT_ONCE]
                await staged.add([self._put(stamp(one, mod)) for one in part])
            await staged.lock()
            # Now that nobody else can change one: arrays outlive the load, and show (W4); and what
            # was changed meanwhile, or by a clock that is ahead, gets a later `mod` all the same
            # (C6).
            found = await self._replaced(checked, mod, staged)
            later = self._mod_above(found, mod)
            again = [one for one in checked if one["id"].val in found]
            for i in range(0, len(again), _LOADED_AT_ONCE):
                if i and i % _KEPT_AFTER == 0:
                    await staged.lock()
                part = again[i : i + _LOADED_AT_ONCE]
                await staged.add(
                    [self._loaded(stamp(one, later), found[one["id"].val]) for one in part]
                )
        except BaseException:
            await staged.abort()
            raise
        await staged.commit()

    async def _replaced(
        self, checked: Sequence[Entity], mod: dt.datetime, staged: Staged
    ) -> dict[str, _Replaced]:
        """Return of what a load replaces that which cannot be replaced as it was staged."""
        found: dict[str, _Replaced] = {}
        floor = _mod_text(mod)
        empty = {
            bucket
            for bucket in self.layout.buckets
            if not await self.server.read(bucket, "EXISTS", bucket.log)
        }
        for i in range(0, len(checked), _LOOKED_AT_ONCE):
            if i and i % _KEPT_AFTER == 0:
                await staged.lock()
            ids = [entity["id"].val for entity in checked[i : i + _LOOKED_AT_ONCE]]
            for bucket, own in self.layout.by_bucket(ids).items():
                if bucket in empty:
                    continue
                answer = await self.server.run(bucket, REPLACED_LOCKED, floor, *own, reads=True)
                found |= _replaced(answer)
        return found

    def _mod_above(
        self, found: Mapping[str, _Replaced], mod: dt.datetime | None = None
    ) -> dt.datetime:
        """Return a `mod` that is later than those of what is to be replaced."""
        mod = mod or self._next_mod()
        latest = max((was.mod for was in found.values()), default="")
        if latest >= _mod_text(mod):
            mod = self._last_mod = next_mod(mod, dt.datetime.fromisoformat(f"{latest}+00:00"))
        return mod

    def _loaded(self, entity: Entity, was: _Replaced | None) -> Put:
        """Return the change that stores an entity of a load in the place of what was there."""
        if was is None:
            return self._put(entity, "-")
        if not was.array:
            return self._put(entity, was.based_on, array="")
        if not is_writable(entity):
            entity = merged_tags(entity, live_changes(EMPTY, entity))
            return self._put(entity, was.based_on, array=was.array, new_array="", expires="-")
        shown = live_changes(at(array_of(was.array), utc_now()), entity)
        return self._put(merged_tags(entity, shown), was.based_on, array=was.array)

    # ---- live tags ------------------------------------------------------------------------------

    async def set_live(self, id: Id, tags: Mapping[str, Any]) -> None:
        """Merge tags into an entity's live tags; see `LiveWriter.set_live`."""
        await self.set_live_batch({id: tags})

    async def set_live_batch(self, changes: Mapping[Id, Mapping[str, Any]]) -> None:
        """Merge tags into the live tags of many entities; see `LiveWriter.set_live_batch`."""
        if checked := check_live_batch(changes):
            await self._until_made(lambda: self._merge_live(checked))

    async def _merge_live(self, changes: Mapping[str, Entity]) -> None:
        found = {
            id: values
            for id, values in await self._hashes(changes, ("v", "live"))
            if values[0] is not None
        }
        puts = []
        for id, tags in changes.items():
            if id not in found:
                raise UnknownEntityError(id)
            if tags:
                based_on, text = found[id]
                live = merge_live(live_of(text), tags)
                puts.append(self._put_live(id, live, based_on.decode()))
        await self.transactions.make(puts)


def _replaced(answer: Sequence[Any]) -> dict[str, _Replaced]:
    return {row[0].decode(): _Replaced(*(part.decode() for part in row[1:])) for row in answer[1]}


def _mod_text(mod: dt.datetime) -> str:
    """Return a `mod` as it stands in what is stored, without its zone: it sorts as text."""
    text: str = hayson.encode(mod)["val"]
    return text.rstrip("Z")


def array_of(text: str) -> PointArray:
    """Return a priority array from its text, empty for none."""
    return load(msgspec.json.decode(text)) if text else EMPTY


def array_text(array: PointArray) -> str:
    """Return a priority array as text; an empty one for none."""
    return "" if array == EMPTY else hayson.to_json(dump(array)).decode()
