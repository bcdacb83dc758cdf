"""Generated histories of changes: every backend does what a plain model of the rules does."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsorm.errors import (
    ConflictError,
    EntityExistsError,
    HsormError,
    InvalidDiffError,
    UnknownEntityError,
)
from hsorm.kinds import MARKER, REMOVE, Entity, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.storage.protocol import DanglingRef, StorageAdapter, WatchRows
from hsorm.testing.conformance.examples import ids, without_stamp

_IDS = ["a", "b", "c"]
_FILTER = "x and not curStatus"

_BOUNDED = settings(
    max_examples=1_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# ---- what happens -------------------------------------------------------------------------------

Op: TypeAlias = tuple[str, Any]

_VALUES = st.one_of(
    st.just(MARKER), st.integers(0, 3).map(Number), st.sampled_from([*_IDS, "gone"]).map(Ref)
)
_TAGS = st.dictionaries(st.sampled_from(["x", "y", "aRef"]), _VALUES, max_size=2)
_CHANGES = st.dictionaries(
    st.sampled_from(["x", "y", "aRef", "trash"]),
    st.one_of(_VALUES, st.just(REMOVE)),
    max_size=2,
)
_LIVE = st.dictionaries(
    st.sampled_from(["curVal", "curStatus"]),
    st.one_of(st.integers(0, 3).map(Number), st.just(REMOVE)),
    min_size=1,
    max_size=2,
)
_ID = st.sampled_from(_IDS)
# What a diff is based on: the entity as it is, as it was some changes ago, or nothing (force).
_BASE = st.sampled_from(["now", "now", "old", "old", "force"])
_DIFFS: st.SearchStrategy[tuple[str, str, Any, str]] = st.one_of(
    st.tuples(st.just("add"), _ID, _TAGS, st.just("force")),
    st.tuples(st.just("update"), _ID, _CHANGES, _BASE),
    st.tuples(st.just("update"), _ID, _CHANGES, _BASE),
    st.tuples(st.just("remove"), _ID, st.just({}), _BASE),
)
_TRANSIENT = st.tuples(st.just("transient"), _ID, _LIVE, _BASE)
_OPS: st.SearchStrategy[Op] = st.one_of(
    st.tuples(st.just("commit"), st.lists(_DIFFS, min_size=1, max_size=3)),
    st.tuples(st.just("commit"), st.lists(_DIFFS, min_size=1, max_size=3)),
    st.tuples(st.just("commit"), st.lists(_TRANSIENT, min_size=1, max_size=2)),
    st.tuples(st.just("load"), st.dictionaries(_ID, st.tuples(_TAGS, _LIVE), max_size=3)),
    st.tuples(st.just("live"), st.dictionaries(_ID, _LIVE, min_size=1, max_size=2)),
    st.tuples(st.just("delete"), _ID),
    st.tuples(st.just("poll"), st.booleans()),
    st.tuples(st.just("poll"), st.just(False)),
)


# ---- the model ----------------------------------------------------------------------------------


def _merge(tags: Entity, changes: Entity) -> Entity:
    return {name: val for name, val in {**tags, **changes}.items() if val is not REMOVE}


@dataclass
class Told:
    """What a watch, or who follows the feed, has been told."""

    matches: Callable[[Entity], bool]
    known: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)

    def poll(self, world: dict[str, Entity], *, refresh: bool) -> tuple[list[str], list[str]]:
        there = {id for id, tags in world.items() if "trash" not in tags and self.matches(tags)}
        rows = there if refresh else there & (self.changed | (there - self.known))
        removed = self.known - there
        self.known, self.changed = there, set()
        return sorted(rows), sorted(removed)


@dataclass
class Model:
    """Entities by id without `mod`, and how often each has changed."""

    world: dict[str, Entity] = field(default_factory=dict)
    listeners: list[Told] = field(default_factory=list)

    def note(self, id: str) -> None:
        for listener in self.listeners:
            listener.changed.add(id)

    def commit(self, diffs: list[tuple[str, str, Entity, str]], stale: set[str]) -> None:
        if len({id for _, id, _, _ in diffs}) < len(diffs):
            raise InvalidDiffError(None, None, "twice")
        after = dict(self.world)
        for op, id, changes, base in diffs:
            if op == "add":
                if id in after:
                    raise EntityExistsError(id)
                after[id] = _merge({}, changes)
                continue
            if id not in after:
                raise UnknownEntityError(id)
            if base == "old" and id in stale:
                raise ConflictError(id)
            if op == "remove":
                del after[id]
            else:
                after[id] = _merge(after[id], changes)
        self.world = after
        for _, id, _, _ in diffs:
            self.note(id)

    def dangling(self) -> list[DanglingRef]:
        return [
            DanglingRef(Ref(id), name, val)
            for id, tags in sorted(self.world.items())
            if "trash" not in tags
            for name, val in sorted(tags.items(), key=lambda item: item[0])
            if isinstance(val, Ref) and val.val not in self.world
        ]


# ---- both of them -------------------------------------------------------------------------------


class Run:
    """One history of changes, made in a storage and in the model."""

    def __init__(self, store: StorageAdapter) -> None:
        self.store = store
        by_ids = Told(lambda tags: True)
        by_filter = Told(lambda tags: "x" in tags and "curStatus" not in tags)
        self.feed = Told(lambda tags: True)
        self.model = Model(listeners=[by_ids, by_filter, self.feed])
        self.watches: list[tuple[Told, str]] = []
        self.cursor = ""
        # The states of each entity that have been read: the first and the last one.
        self.first: dict[str, Entity] = {}
        self.last: dict[str, Entity] = {}

    async def begin(self) -> None:
        await self.store.load_entities([{"id": Ref(id)} for id in _IDS])
        await self.store.delete("c")
        self.model.world = {"a": {}, "b": {}}
        for told in self.model.listeners:
            told.poll(self.model.world, refresh=True)
        await self._read()
        watches = [
            await self.store.watch_sub(None, _IDS),
            await self.store.watch_filter(_FILTER),
        ]
        listeners = self.model.listeners
        self.watches = [(listeners[i], rows.watch_id) for i, rows in enumerate(watches)]
        self.cursor = (await self.store.changes()).cursor

    async def do(self, op: Op) -> None:
        name, argument = op
        await getattr(self, f"_{name}")(argument)
        await self._read()

    async def _read(self) -> None:
        found = {entity["id"].val: entity for entity in await self.store.read("id")}
        visible = {id: tags for id, tags in self.model.world.items() if "trash" not in tags}
        assert {id: _tags(entity) for id, entity in found.items()} == visible
        for id, entity in found.items():
            self.first.setdefault(id, entity)
            self.last[id] = entity
        self.last = {id: entity for id, entity in self.last.items() if id in self.model.world}
        self.first = {id: entity for id, entity in self.first.items() if id in self.model.world}

    async def _commit(self, diffs: list[tuple[str, str, Entity, str]]) -> None:
        # What is in the trash cannot be read, so that a diff of it is forced.
        usable = [
            (op, id, changes, base if self._can_base(id) else "force")
            for op, id, changes, base in diffs
        ]
        stale = {id for id in self.first if self.first[id]["mod"] != self.last[id]["mod"]}
        expected = _error_of(lambda: self.model.commit(usable, stale))
        before = {id: dict(entity) for id, entity in self.last.items()}
        batch = [self._diff(*diff) for diff in usable]
        if expected is not None:
            with pytest.raises(expected):
                await self.store.commit(batch)
            return
        done = await self.store.commit(batch)
        for (_, id, _, _), entry in zip(usable, done, strict=True):
            new = self.model.world.get(id)
            assert (None if entry.new is None else _tags(entry.new)) == new
            if entry.old is not None and id in before and "trash" not in entry.old:
                assert _tags(entry.old) == _tags(before[id])

    def _can_base(self, id: str) -> bool:
        return id in self.last and "trash" not in self.model.world.get(id, {"trash": MARKER})

    def _diff(self, op: str, id: str, changes: Entity, base: str) -> Diff:
        if op == "add":
            return Diff.add(changes, id)
        options: dict[str, Any] = {"force": base == "force"}
        if base != "force":
            options["mod"] = (self.first if base == "old" else self.last)[id]["mod"]
        if op == "remove":
            return Diff.remove(id, **options)
        return Diff.update(id, changes, transient=op == "transient", **options)

    async def _load(self, entities: dict[str, tuple[Entity, Entity]]) -> None:
        loaded = {id: _merge(tags, live) for id, (tags, live) in entities.items()}
        await self.store.load_entities([{"id": Ref(id), **tags} for id, tags in loaded.items()])
        self.model.world |= loaded
        for id in loaded:
            self.model.note(id)

    async def _live(self, changes: dict[str, Entity]) -> None:
        try:
            await self.store.set_live_batch({Ref(id): tags for id, tags in changes.items()})
        except UnknownEntityError:
            assert changes.keys() - self.model.world.keys()
            return
        for id, tags in changes.items():
            self.model.world[id] = _merge(self.model.world[id], tags)
            self.model.note(id)

    async def _delete(self, id: str) -> None:
        try:
            await self.store.delete(id)
        except UnknownEntityError:
            assert id not in self.model.world
            return
        del self.model.world[id]
        self.model.note(id)

    async def _poll(self, refresh: bool) -> None:
        world = self.model.world
        for told, watch_id in self.watches:
            rows = await self.store.watch_poll(watch_id, refresh=refresh)
            assert _told(rows) == told.poll(world, refresh=refresh)
            assert [_tags(row) for row in rows] == [world[id] for id in ids(rows)]
        await self._follow()

    async def _follow(self) -> None:
        changed = self.feed.changed
        self.feed.changed = set()
        changes = await self.store.changes(self.cursor)
        self.cursor = changes.cursor
        assert sorted(change.id.val for change in changes) == sorted(changed)
        for change in changes:
            tags = self.model.world.get(change.id.val, {"trash": MARKER})
            expected = None if "trash" in tags else tags
            assert (None if change.entity is None else _tags(change.entity)) == expected

    async def end(self) -> None:
        await self._poll(False)
        assert await self.store.check_refs() == self.model.dangling()
        for _, watch_id in self.watches:
            await self.store.watch_unsub(watch_id, [], close=True)


def _tags(entity: Entity) -> Entity:
    return {name: val for name, val in without_stamp(entity).items() if name != "id"}


def _told(rows: WatchRows) -> tuple[list[str], list[str]]:
    return ids(rows), [ref.val for ref in rows.removed]


def _error_of(call: Callable[[], None]) -> type[HsormError] | None:
    try:
        call()
    except HsormError as exc:
        return type(exc)
    return None


@_BOUNDED
@given(ops=st.lists(_OPS, min_size=3, max_size=15))
async def test_every_backend_does_as_the_model(store: StorageAdapter, ops: list[Op]) -> None:
    """C1–C14, P3–P9: commits, live tags, two watches and the feed, whatever happens in a row."""
    run = Run(store)
    await run.begin()
    for op in ops:
        await run.do(op)
    await run.end()
