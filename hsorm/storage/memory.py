"""`InMemoryAdapter`: all in this process. The reference backend, and the one for unit tests."""

from __future__ import annotations

import datetime as dt
import platform
import re
import secrets
from collections.abc import AsyncIterator, Generator, Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from hsorm.errors import (
    CursorExpiredError,
    InvalidCursorError,
    UnknownEntityError,
    UnknownWatchError,
)
from hsorm.filter.ast import Node
from hsorm.filter.parser import node_of
from hsorm.his.batches import PointItems
from hsorm.his.checks import HisPoint
from hsorm.his.span import Span
from hsorm.kinds import Entity, Kind, Number, Ref, as_ref, id_texts
from hsorm.ops import priority_array
from hsorm.ops.display import dis_key
from hsorm.ops.entities import check_live_batch, check_loaded, merged_tags, stamp
from hsorm.ops.geo import Area, compile_area, located
from hsorm.ops.refs import DanglingRef, dangling
from hsorm.ops.search import compile_search, search_words
from hsorm.ops.watch import RETENTION, Change, Changes, WatchRows
from hsorm.storage._index import EntityIndex
from hsorm.storage._memory_state import MemoryState, Series
from hsorm.storage._memory_watches import MemoryWatches
from hsorm.storage._shared import about_entity, at_most, check_sort, page_size, utc_now
from hsorm.storage.base import Entities, History
from hsorm.storage.protocol import Duration, HisItem, Id, Sort

__all__ = ["InMemoryAdapter"]

_CURSOR: Final = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})")
_PATIENCE: Final = 0.5
"""Seconds that a stream waits at the most without having a look."""


class Loaded(int):
    """A number of entities that may be awaited too, as the other backends' answer must be."""

    def __await__(self) -> Generator[None, None, int]:
        yield from ()  # an awaitable is a generator; this one never waits
        return int(self)


class InMemoryAdapter(Entities, History):
    """A storage in memory, with inverted indexes over tags and refs; nothing outlives the process.

    Args:
        entities: What to begin with, as for `load_entities`.

    Raises:
        InvalidTagError: One of the entities cannot be stored.
    """

    def __init__(self, entities: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__()
        self._state = MemoryState()
        self._watches = MemoryWatches(self._state)
        # In every cursor: one that was made by another storage leads nowhere in this one.
        self._token = secrets.token_hex(4)
        self._closings = 0
        self.load_entities(entities)

    async def close(self) -> None:
        """Close the storage: streams end; what it holds stays."""
        self._closings += 1
        self._state.log.wake()

    async def about(self) -> Entity:
        """Describe the storage; see `StorageAdapter.about`."""
        count = len(self._state.index.all_ids())
        return about_entity("memory", f"Python {platform.python_version()}", count)

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
        index = self._current().index
        ids = _matching(index, filter_str, search, geo)
        entity = index.entities.__getitem__
        key = (lambda id: dis_key(entity(id))) if sort == "dis" else None
        ordered = sorted(ids, key=key)
        return [index.copy_of(id) for id in ordered[: at_most(limit)]]

    async def read_count(
        self, filter_str: str | Node, *, search: str | None = None, geo: Area | None = None
    ) -> int:
        """Count the entities that match a filter; see `EntityReader.read_count`."""
        return len(_matching(self._current().index, filter_str, search, geo))

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""
        state = self._current()
        return [state.index.copy_of(id) if state.is_there(id) else None for id in id_texts(ids)]

    def _current(self) -> MemoryState:
        """Return the state as of now: without the levels whose time is over."""
        self._state.release(utc_now())
        return self._state

    # ---- changing -------------------------------------------------------------------------------

    async def _fetch(self, ids: Sequence[str] | None = None) -> Mapping[str, Entity]:
        entities = self._current().index.entities
        return entities if ids is None else {id: entities[id] for id in ids if id in entities}

    async def _keep(self, changed: Mapping[str, Entity | None]) -> None:
        for id, entity in changed.items():
            if entity is None:
                self._state.remove(id, utc_now())
            else:
                self._state.put(entity)

    async def _put(self, entity: Entity) -> Entity:
        self._state.put(entity)
        return self._state.index.copy_of(entity["id"].val)

    def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> Loaded:
        """Insert or replace entities by id, at the call; see `EntityWriter.load_entities`.

        The answer may be awaited, so that the same code runs on every backend.
        """
        checked = {entity["id"].val: entity for entity in map(check_loaded, entities)}
        mod, now = self._next_mod(), utc_now()
        for entity in checked.values():
            self._state.put_loaded(stamp(entity, mod), now)
        return Loaded(len(checked))

    async def check_refs(self) -> list[DanglingRef]:
        """Find the refs that lead nowhere; see `Committer.check_refs`."""
        return dangling(self._state.index.dangling())

    async def _referring_to(self, id: str) -> Iterable[tuple[str, str]]:
        return self._state.index.referring_to(id)

    # ---- live tags and priority arrays ----------------------------------------------------------

    async def set_live_batch(self, changes: Mapping[Id, Mapping[str, Any]]) -> None:
        """Merge tags into the live tags of many entities; see `LiveWriter.set_live_batch`."""
        # As the base does it, without what a wait for a database needs: a quarter of the time.
        entities = self._current().index.entities
        checked = check_live_batch(changes)
        for id in checked:
            if id not in entities:
                raise UnknownEntityError(id)
        for id, live in checked.items():
            if live:
                self._state.put(merged_tags(entities[id], live))

    async def point_write(
        self, id: Id, level: int | Number, val: Any, who: str, duration: Duration | None = None
    ) -> list[Entity]:
        """Write one level of a priority array; see `PointWriter.point_write`."""
        now = utc_now()
        point = priority_array.writable_point(self._current().get(as_ref(id).val))
        write = priority_array.check_write(point, level, val, who, duration)
        array = priority_array.write(
            self._state.array_of(point.id), write.level, write.val, write.who, now, write.duration
        )
        self._state.put_array(point.id, array)
        return priority_array.rows(array, now, point)

    async def point_array(self, id: Id) -> list[Entity]:
        """Read a priority array; see `PointWriter.point_array`."""
        point = priority_array.writable_point(self._current().get(as_ref(id).val))
        return priority_array.rows(self._state.array_of(point.id), utc_now(), point)

    async def point_sweep(self) -> int:
        """Release the levels whose time is over; see `PointWriter.point_sweep`."""
        return self._state.release(utc_now())

    # ---- watches --------------------------------------------------------------------------------

    async def watch_sub(
        self,
        watch_id: str | None,
        ids: Iterable[Id],
        *,
        lease: Duration | None = None,
        dis: str = "",
        create: bool = True,
    ) -> WatchRows:
        """Open a watch on entities, or add entities to one; see `Watcher.watch_sub`."""
        self._current()
        return self._watches.sub(watch_id, id_texts(ids), lease, dis, utc_now(), create=create)

    async def watch_filter(
        self,
        filter_str: str | Node,
        watch_id: str | None = None,
        *,
        lease: Duration | None = None,
        dis: str = "",
    ) -> WatchRows:
        """Open a watch on whatever matches a filter; see `Watcher.watch_filter`."""
        self._current()
        return self._watches.filter(node_of(filter_str), watch_id, lease, dis, utc_now())

    async def watch_unsub(self, watch_id: str, ids: Iterable[Id], *, close: bool = False) -> None:
        """Take entities out of a watch, or close it; see `Watcher.watch_unsub`."""
        self._watches.unsub(watch_id, id_texts(ids), utc_now(), close=close)

    async def watch_poll(self, watch_id: str, refresh: bool = False) -> WatchRows:
        """Return what has changed since the last poll; see `Watcher.watch_poll`."""
        self._current()
        return self._watches.poll(watch_id, utc_now(), refresh=refresh)

    async def watch_stream(self, watch_id: str) -> AsyncIterator[WatchRows]:
        """Poll a watch whenever there is something to be told; see `Watcher.watch_stream`."""
        begun, closings = False, self._closings
        while closings == self._closings:
            seq = self._state.log.seq
            try:
                rows = await self.watch_poll(watch_id)
            except UnknownWatchError as exc:
                if begun and exc.state == "closed":
                    return
                raise
            begun = True
            if rows or rows.removed:
                yield rows
            else:
                # Not for ever: the lease is to be renewed, and levels released, in between.
                patience = min(_PATIENCE, rows.lease.total_seconds() / 3)
                await self._state.log.wait(seq, patience)

    # ---- the change feed ------------------------------------------------------------------------

    async def changes(self, since: str | None = None, *, limit: int = 10_000) -> Changes:
        """Return what has changed since a place in the feed; see `ChangeFeed.changes`."""
        limit = page_size(limit)
        state = self._current()
        begin = 0 if since is None else self._place(since)
        places = state.log.since(begin)
        if since is None:  # who knows of nothing need not hear of what is gone
            places = (place for place in places if state.is_there(place[1]))
        found = list(islice(places, limit + 1))
        part = found[:limit]
        more = len(found) > len(part)
        seq = part[-1][0] if more else state.log.seq
        answers = (self._change(id, begin) for _, id in part)
        return Changes(answers, cursor=f"{self._token}-{seq}", more=more)

    def _change(self, id: str, begin: int) -> Change:
        state = self._state
        entity = state.index.copy_of(id) if state.is_there(id) else None
        return Change(Ref(id), entity, state.log.history_since(id, begin))

    def _place(self, cursor: str) -> int:
        found = _CURSOR.fullmatch(cursor) if isinstance(cursor, str) else None
        if found is None:
            raise InvalidCursorError(cursor)
        seq = int(found[2])
        if found[1] != self._token or seq < self._state.log.forgotten:
            raise CursorExpiredError(cursor)
        if seq > self._state.log.seq:
            raise InvalidCursorError(cursor)
        return seq

    async def prune(self, older_than: dt.timedelta = RETENTION) -> int:
        """Forget removals and ended watches that are older; see `ChangeFeed.prune`."""
        now = utc_now()
        return self._state.log.forget(now - older_than) + self._watches.prune(older_than, now)

    # ---- history --------------------------------------------------------------------------------

    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        return [_items(self._series(point.id).within(span, limit), point, zone) for point in points]

    async def _his_before(self, point: HisPoint, ts: dt.datetime) -> list[HisItem]:
        return _items(self._series(point.id).before(ts), point, point.zone)

    async def _his_extent(self, id: str) -> tuple[int, dt.datetime | None, dt.datetime | None]:
        stamps = self._series(id).stamps
        return (len(stamps), stamps[0], stamps[-1]) if stamps else (0, None, None)

    def _series(self, id: str) -> Series:
        return self._state.history.get(id) or Series()

    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        for id, _ in points:
            self._state.get(id)  # a source may have taken its time, and the point be gone
        for id, items in points:
            series = self._state.history.setdefault(id, Series())
            if clear is not None:
                series.clear(clear)
            if items:
                series.write(items)
            self._state.log.note_history(id)

    async def _his_remove(self, id: str, span: Span) -> int:
        count = self._series(id).clear(span)
        if count:
            self._state.log.note_history(id)
        return count


def _items(
    items: Iterable[tuple[dt.datetime, Kind]], point: HisPoint, zone: ZoneInfo
) -> list[HisItem]:
    unit = point.unit
    return [{"ts": ts.astimezone(zone), "val": _with_unit(val, unit)} for ts, val in items]


def _matching(
    index: EntityIndex, filter: str | Node, search: str | None, area: Area | None
) -> Set[str]:
    words, node = search_words(search), node_of(filter)
    if area is not None:
        node = located(node, area)
    ids, entity = index.matching(node), index.entities.__getitem__
    if area is not None:
        inside = compile_area(area)
        ids = {id for id in ids if inside(entity(id))}
    if words:
        found = compile_search(words)
        ids = {id for id in ids if found(entity(id))}
    return ids


def _with_unit(val: Kind, unit: str | None) -> Kind:
    return Number(val.val, unit) if type(val) is Number and val.unit != unit else val
