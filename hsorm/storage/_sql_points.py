"""`SqlPoints`: the priority arrays of writable points."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import msgspec

from hsorm.codecs import hayson
from hsorm.errors import CodecError, SessionBoundError, StorageError, UnknownEntityError
from hsorm.kinds import Entity, Number, as_ref, is_storable
from hsorm.ops import priority_array
from hsorm.ops.entities import as_read, merged_tags
from hsorm.ops.priority_array import EMPTY, PointArray, WritablePoint
from hsorm.sql import changing
from hsorm.storage._dberrors import database_errors
from hsorm.storage._shared import utc_now
from hsorm.storage._sql_changes import SqlChanges
from hsorm.storage._sql_core import Loaded, Rows, Work, as_listed, as_rows
from hsorm.storage.protocol import Duration, Id

__all__ = ["SqlPoints"]

_log = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 1.0


class SqlPoints(SqlChanges):
    """The part of a SQL adapter that writes points."""

    _swept = float("-inf")
    _behind = False

    async def point_write(
        self, id: Id, level: int | Number, val: Any, who: str, duration: Duration | None = None
    ) -> list[Entity]:
        """Write one level of a priority array; see `PointWriter.point_write`."""

        async def change(work: Work) -> list[Entity]:
            entity, point = await self._writable(work, id)
            made = priority_array.check_write(point, level, val, who, duration)
            old = (await self._arrays(work, [point.id])).get(point.id, EMPTY)
            now = utc_now()
            new = priority_array.write(old, made.level, made.val, made.who, now, made.duration)
            if new != old:
                await self._put(work, point.id, new)
            await self._show(work, new, entity)
            return priority_array.rows(new, now, point)

        return await self._in_transaction(change)

    async def point_array(self, id: Id) -> list[Entity]:
        """Read a priority array; see `PointWriter.point_array`."""
        (entity,) = await self._by_ids([id])
        if entity is None:
            raise UnknownEntityError(as_ref(id).val)
        point = priority_array.writable_point(entity)
        array = (await self._arrays_now([point.id])).get(point.id, EMPTY)
        return priority_array.rows(array, utc_now(), point)

    async def point_sweep(self) -> int:
        """Release the levels whose time is over; see `PointWriter.point_sweep`."""
        return await self._repeated(lambda: self._sweep(self._open_work))

    async def _sweep(self, open_work: Callable[[], AbstractAsyncContextManager[Work]]) -> int:
        self._swept = time.monotonic()
        now = utc_now()
        found = [id for (id,) in await self._look(changing.expired_points, now=now)]
        if not found:
            return 0
        with database_errors(self.url):
            return await self._release(open_work, found, now)

    async def _release(
        self,
        open_work: Callable[[], AbstractAsyncContextManager[Work]],
        found: list[str],
        now: dt.datetime,
    ) -> int:
        async with open_work() as work:
            # Whoever has one of them locked is about to write it: that releases it, too.
            entities = await self._lock(work, sorted(found), changing.lock_free_entities)
            released = 0
            for id, array in (await self._arrays(work, found)).items():
                new = priority_array.at(array, now)
                if new != array and id in entities:
                    await self._put(work, id, new)
                    await self._show(work, new, entities[id])
                    released += 1
        return released

    async def _sweep_if_due(self) -> None:
        """Release what is over before something is read, where that was not done for a second."""
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            self._behind = False
            try:
                await self._sweep(self._open_work_now)
            except (StorageError, SessionBoundError, CodecError) as exc:
                # A server, or a session, that cannot be written, a row that is none: no matter of
                # who reads.
                _log.info("levels were not released: %s", exc)
                self._behind = True

    async def _as_of_now(self, entities: list[Entity]) -> list[Entity]:
        """Return entities that were read as they would be if nothing that is over was left."""
        if not self._behind or not entities:
            return entities
        now = utc_now()
        over = {id for (id,) in await self._look(changing.expired_points, now=now)}
        shown = [entity["id"].val for entity in entities if entity["id"].val in over]
        arrays = await self._arrays_now(shown) if shown else {}
        return [_showing(arrays.get(entity["id"].val), entity, now) for entity in entities]

    async def _writable(self, work: Work, id: Id) -> tuple[Entity, WritablePoint]:
        """Return a writable point; others must wait to write to it."""
        val = as_ref(id).val
        entity = (await self._lock(work, [val])).get(val) if is_storable(val) else None
        if entity is None or "trash" in entity:
            raise UnknownEntityError(val)
        return entity, priority_array.writable_point(entity)

    async def _arrays(self, work: Work, ids: list[str]) -> dict[str, PointArray]:
        listed = as_listed(ids)
        return _loaded(await work.fetch(changing.select_array, ids=listed))

    async def _arrays_now(self, ids: list[str]) -> dict[str, PointArray]:
        """Return arrays without waiting for who writes them."""
        return _loaded(await self._look(changing.select_array, ids=as_listed(ids)))

    async def _put(self, work: Work, id: str, array: PointArray) -> None:
        levels = hayson.to_json(priority_array.dump(array)).decode()
        await work.fetch(changing.put_array, id=id, levels=levels, expires=array.expires)

    async def _show(self, work: Work, array: PointArray, entity: Entity) -> None:
        """Bring the live tags of a point in line with its array."""
        changes = priority_array.live_changes(priority_array.at(array, utc_now()), entity)
        if changes:
            await self._merge_live(work, {entity["id"].val: changes})

    async def _replace_live(self, work: Work, loaded: Sequence[Loaded]) -> None:
        """Replace the live tags of entities that were loaded, but show their arrays as ever."""
        ids = [row.id for row in loaded]
        listed = as_listed(ids)
        await work.fetch(changing.lock_live, ids=listed)  # in order of id, as everybody does
        await work.fetch(changing.delete_live, ids=listed)
        live = [(row.id, row.live) for row in loaded if row.live is not None]
        if live:
            await work.fetch(changing.put_live, rows=as_rows(live))
        arrays = await self._arrays(work, ids)
        entities = await self._lock(work, sorted(arrays)) if arrays else {}
        for id, array in arrays.items():
            await self._show(work, array, entities[id])
        lost = [id for id, entity in entities.items() if not priority_array.is_writable(entity)]
        if lost:
            await work.fetch(changing.delete_arrays, ids=as_listed(lost))


def _loaded(rows: Rows) -> dict[str, PointArray]:
    return {id: priority_array.load(msgspec.json.decode(levels)) for id, levels in rows}


def _showing(array: PointArray | None, entity: Entity, now: dt.datetime) -> Entity:
    if array is None:
        return entity
    changes = priority_array.live_changes(priority_array.at(array, now), entity)
    return as_read(merged_tags(entity, changes))
