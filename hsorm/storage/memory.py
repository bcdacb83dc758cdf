"""`InMemoryAdapter`: all in this process. The reference backend, and the one for unit tests."""

from __future__ import annotations

import datetime as dt
import platform
from bisect import bisect_left
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any

from hsorm.errors import EntityExistsError, UnknownEntityError
from hsorm.filter import parse
from hsorm.filter.ast import Node
from hsorm.his.checks import check_items, reading_point, writing_point
from hsorm.his.span import Span, parse_range
from hsorm.kinds import REMOVE, Entity, Kind, Number, Ref, as_ref
from hsorm.ops.display import dis_key
from hsorm.ops.entities import as_read, check_changes, check_entity, merge, next_mod, stamp
from hsorm.storage._index import EntityIndex
from hsorm.storage._shared import BaseAdapter, about_entity, utc_now
from hsorm.storage.protocol import HisItem, Id, Sort

__all__ = ["InMemoryAdapter"]


class Loaded(int):
    """A number of entities that may be awaited too, as the other backends' answer must be."""

    def __await__(self) -> Generator[None, None, int]:
        yield from ()  # an awaitable is a generator; this one never waits
        return int(self)


class InMemoryAdapter(BaseAdapter):
    """A storage in memory, with inverted indexes over tags and refs; nothing outlives the process.

    Args:
        entities: What to begin with, as for `load_entities`.

    Raises:
        InvalidTagError: One of the entities cannot be stored.
    """

    def __init__(self, entities: Iterable[Mapping[str, Any]] = ()) -> None:
        self._index = EntityIndex()
        self._history: dict[str, _Series] = {}
        self._last_mod: dt.datetime | None = None
        self.load_entities(entities)

    async def about(self) -> Entity:
        """Describe the storage; see `StorageAdapter.about`."""
        count = len(self._index.all_ids())
        return about_entity("memory", f"Python {platform.python_version()}", count)

    async def read(
        self, filter_str: str | Node, limit: int | None = None, *, sort: Sort = "id"
    ) -> list[Entity]:
        """Read all entities that match a filter; see `EntityReader.read`."""
        ids = self._index.matching(_node(filter_str))
        entity = self._index.entities.__getitem__
        key = (lambda id: dis_key(entity(id))) if sort == "dis" else None
        ordered = sorted(ids, key=key)
        wanted = ordered if limit is None else ordered[: max(limit, 0)]
        return [self._index.copy_of(id) for id in wanted]

    async def read_count(self, filter_str: str | Node) -> int:
        """Count the entities that match a filter; see `EntityReader.read_count`."""
        return len(self._index.matching(_node(filter_str)))

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""
        return [self._find(id) for id in ids]

    def _find(self, id: Id) -> Entity | None:
        val = as_ref(id).val
        entity = self._index.entities.get(val)
        return None if entity is None or "trash" in entity else self._index.copy_of(val)

    def _live(self, id: Id) -> Entity:
        val = as_ref(id).val
        entity = self._index.entities.get(val)
        if entity is None or "trash" in entity:
            raise UnknownEntityError(val)
        return entity

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        """Add one entity; see `EntityWriter.create`."""
        checked = check_entity(entity)
        id: Ref = checked["id"]
        if id.val in self._index.entities:
            raise EntityExistsError(id.val)
        return self._store(stamp(checked, self._next_mod()))

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        """Merge tags into one entity; see `EntityWriter.update`."""
        changes = check_changes(entity)
        old = self._index.entities.get(changes["id"].val)
        if old is None:
            raise UnknownEntityError(changes["id"].val)
        merged = merge(old, changes, self._next_mod())
        self._last_mod = merged["mod"]
        return self._store(merged)

    async def delete(self, id: Id) -> None:
        """Remove one entity and its history; see `EntityWriter.delete`."""
        val = as_ref(id).val
        if val not in self._index.entities:
            raise UnknownEntityError(val)
        self._index.remove(val)
        self._history.pop(val, None)

    def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> Loaded:
        """Insert or replace entities by id, at the call; see `EntityWriter.load_entities`.

        The answer may be awaited, so that the same code runs on every backend.
        """
        checked = {entity["id"].val: entity for entity in map(check_entity, entities)}
        mod = self._next_mod()
        for entity in checked.values():
            self._index.put(as_read(stamp(entity, mod)))
        return Loaded(len(checked))

    def _store(self, entity: Entity) -> Entity:
        self._index.put(as_read(entity))
        return self._index.copy_of(entity["id"].val)

    def _next_mod(self) -> dt.datetime:
        self._last_mod = next_mod(utc_now(), self._last_mod)
        return self._last_mod

    async def his_read(self, id: Id, range_str: str) -> list[HisItem]:
        """Read the history of one point; see `HistoryReader.his_read`."""
        point = reading_point(self._live(id))
        span = parse_range(range_str, point.zone, utc_now())
        series = self._history.get(point.id)
        if series is None:
            return []
        return [
            {"ts": ts.astimezone(point.zone), "val": _with_unit(val, point.unit)}
            for ts, val in series.within(span)
        ]

    async def his_write(self, id: Id, items: Iterable[Mapping[str, Any]]) -> None:
        """Write items into the history of one point; see `HistoryWriter.his_write`."""
        entity = self._live(id)
        items = list(items)
        if not items:  # nothing to write, nothing to check (H21)
            return
        point = writing_point(entity)
        self._history.setdefault(point.id, _Series()).write(check_items(point, items))


def _node(filter: str | Node) -> Node:
    return parse(filter) if isinstance(filter, str) else filter


def _with_unit(val: Kind, unit: str | None) -> Kind:
    return Number(val.val, unit) if type(val) is Number and val.unit != unit else val


class _Series:
    """The history of one point: timestamps in order beside their values."""

    __slots__ = ("stamps", "values")

    def __init__(self) -> None:
        self.stamps: list[dt.datetime] = []
        self.values: list[Kind] = []

    def within(self, span: Span) -> Iterable[tuple[dt.datetime, Kind]]:
        first, last = (bisect_left(self.stamps, ts) for ts in (span.start, span.end))
        return zip(self.stamps[first:last], self.values[first:last], strict=True)

    def write(self, items: Sequence[tuple[dt.datetime, Kind]]) -> None:
        """Merge items in ascending order of ts, each ts once; REMOVE deletes (H27)."""
        first = bisect_left(self.stamps, items[0][0])
        # Everything before the first new item stays as it is; the usual append merges with nothing.
        merged = dict(zip(self.stamps[first:], self.values[first:], strict=True))
        appending = not merged
        merged.update(items)
        kept = [(ts, merged[ts]) for ts in (merged if appending else sorted(merged))]
        self.stamps[first:] = [ts for ts, val in kept if val is not REMOVE]
        self.values[first:] = [val for _, val in kept if val is not REMOVE]
