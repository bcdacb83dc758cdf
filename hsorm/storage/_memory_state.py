"""What a memory storage holds: entities, history, priority arrays, and the log of their changes."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from hsorm.errors import UnknownEntityError
from hsorm.his.span import Span
from hsorm.kinds import REMOVE, Entity, Kind
from hsorm.ops.entities import as_read, merged_tags
from hsorm.ops.priority_array import EMPTY, PointArray, at, is_writable, live_changes
from hsorm.storage._index import EntityIndex
from hsorm.storage._memory_log import ChangeLog

__all__ = ["MemoryState", "Series"]


class Series:
    """The history of one point: timestamps in order beside their values."""

    __slots__ = ("stamps", "values")

    def __init__(self) -> None:
        self.stamps: list[dt.datetime] = []
        self.values: list[Kind] = []

    def within(self, span: Span, limit: int | None = None) -> Iterable[tuple[dt.datetime, Kind]]:
        """Return the items of a span, oldest first, so many at the most."""
        first, last = self._places(span)
        if limit is not None:
            last = min(last, first + limit)
        return zip(self.stamps[first:last], self.values[first:last], strict=True)

    def before(self, ts: dt.datetime) -> Iterable[tuple[dt.datetime, Kind]]:
        """Return the last item before an instant, or none."""
        last = bisect_left(self.stamps, ts)
        first = max(last - 1, 0)
        return zip(self.stamps[first:last], self.values[first:last], strict=True)

    def clear(self, span: Span) -> int:
        """Delete the items of a span, and return how many there were."""
        first, last = self._places(span)
        del self.stamps[first:last], self.values[first:last]
        return max(last - first, 0)

    def _places(self, span: Span) -> tuple[int, int]:
        return bisect_left(self.stamps, span.start), bisect_left(self.stamps, span.end)

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


class MemoryState:
    """The data of one memory storage; every change goes through here, so that it is noted."""

    def __init__(self) -> None:
        self.index = EntityIndex()
        self.history: dict[str, Series] = {}
        self.log = ChangeLog()
        self._arrays: dict[str, PointArray] = {}
        # When levels are to be released, and the first of these times: a read looks at that only.
        self._expiring: dict[str, dt.datetime] = {}
        self._next_release: dt.datetime | None = None

    # ---- entities -------------------------------------------------------------------------------

    def find(self, id: str) -> Entity | None:
        """Return an entity that is not in the trash, as it is kept; None where there is none."""
        entity = self.index.entities.get(id)
        return None if entity is None or "trash" in entity else entity

    def get(self, id: str) -> Entity:
        """Return an entity that is not in the trash, as it is kept.

        Raises:
            UnknownEntityError: There is none.
        """
        entity = self.find(id)
        if entity is None:
            raise UnknownEntityError(id)
        return entity

    def is_there(self, id: str) -> bool:
        """Tell whether there is an entity that is not in the trash."""
        return self.find(id) is not None

    def put(self, entity: Entity) -> Entity:
        """Keep an entity, new or changed, and return what is kept."""
        id = entity["id"].val
        if id in self._arrays and not is_writable(entity):  # it loses its array (W14)
            self._keep_array(id, EMPTY)
            entity = merged_tags(entity, live_changes(EMPTY, entity))
        self.index.put(as_read(entity))
        self.log.note(id)
        return entity

    def put_loaded(self, entity: Entity, now: dt.datetime) -> None:
        """Keep an entity of a load; a priority array that it has outlives the load, and shows."""
        id = entity["id"].val
        if id in self._arrays:
            changes = live_changes(at(self._arrays[id], now), entity)
            entity = merged_tags(entity, changes)
        self.put(entity)

    def remove(self, id: str, now: dt.datetime) -> None:
        """Forget an entity and all that hangs on it."""
        self.index.remove(id)
        self.history.pop(id, None)
        self._keep_array(id, EMPTY)
        self.log.note_removal(id, now)

    # ---- priority arrays ------------------------------------------------------------------------

    def array_of(self, id: str) -> PointArray:
        """Return the priority array of a point."""
        return self._arrays.get(id, EMPTY)

    def put_array(self, id: str, array: PointArray) -> None:
        """Keep the priority array of a point, and show it in the point's live tags."""
        self._keep_array(id, array)
        entity = self.index.entities[id]
        if changes := live_changes(array, entity):
            self.put(merged_tags(entity, changes))

    def _keep_array(self, id: str, array: PointArray) -> None:
        if array == EMPTY:
            self._arrays.pop(id, None)
        else:
            self._arrays[id] = array
        expired = self._expiring.pop(id, None)
        if array.expires is not None:
            self._expiring[id] = array.expires
        if expired is not None or array.expires is not None:
            self._next_release = min(self._expiring.values(), default=None)

    def release(self, now: dt.datetime) -> int:
        """Release the levels whose time is over, and return how many they were (W7)."""
        if self._next_release is None or self._next_release >= now:
            return 0
        over = [id for id, expires in self._expiring.items() if expires < now]
        for id in over:
            self.put_array(id, at(self._arrays[id], now))
        return len(over)
