"""`RedisPoints`: the priority arrays of writable points."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any, Final

from hsorm.errors import CodecError, StorageError, UnknownEntityError
from hsorm.kinds import Entity, Number, as_ref
from hsorm.ops import priority_array
from hsorm.ops.live import merge_live, split
from hsorm.ops.priority_array import PointArray
from hsorm.redis_ops.entities import Stored
from hsorm.redis_ops.transactions import Put
from hsorm.storage._redis_changes import RedisChanges, array_of, array_text
from hsorm.storage._shared import utc_now
from hsorm.storage.protocol import Duration, Id

__all__ = ["RedisPoints"]

_log = logging.getLogger(__name__)

_SWEEP_SECONDS: Final = 1.0


class RedisPoints(RedisChanges):
    """The part of a Redis adapter that writes points."""

    _swept = float("-inf")

    async def point_write(
        self, id: Id, level: int | Number, val: Any, who: str, duration: Duration | None = None
    ) -> list[Entity]:
        """Write one level of a priority array; see `PointWriter.point_write`."""
        key = as_ref(id).val

        async def attempt() -> list[Entity]:
            stored = await self._writable(key)
            point = priority_array.writable_point(stored.entity)
            made = priority_array.check_write(point, level, val, who, duration)
            now = utc_now()
            old = array_of(stored.array)
            new = priority_array.write(old, made.level, made.val, made.who, now, made.duration)
            await self._keep(key, stored, old, new)
            return priority_array.rows(new, now, point)

        return await self._until_made(attempt)

    async def point_array(self, id: Id) -> list[Entity]:
        """Read a priority array; see `PointWriter.point_array`."""
        await self._sweep_if_due()
        stored = await self._writable(as_ref(id).val)
        point = priority_array.writable_point(stored.entity)
        return priority_array.rows(array_of(stored.array), utc_now(), point)

    async def _writable(self, id: str) -> Stored:
        stored = (await self._stored([id])).get(id)
        if stored is None or "trash" in stored.entity:
            raise UnknownEntityError(id)
        return stored

    async def _keep(self, id: str, stored: Stored, old: PointArray, new: PointArray) -> None:
        """Store an array, and bring the live tags of its point in line with it."""
        shown = priority_array.live_changes(priority_array.at(new, utc_now()), stored.entity)
        if new == old and not shown:
            return
        live = merge_live(split(stored.entity)[1], shown)
        put: Put = self._put_live(
            id,
            live,
            stored.based_on,
            array=stored.array,
            new_array=array_text(new),
            expires="-" if new.expires is None else str(int(new.expires.timestamp() * 1000) + 1),
            silent=not shown,  # of an array nobody is told but by what shows
        )
        await self.transactions.make([put])

    async def point_sweep(self) -> int:
        """Release the levels whose time is over; see `PointWriter.point_sweep`."""
        await self._ready()
        self._swept = time.monotonic()
        released = 0
        now = int(utc_now().timestamp() * 1000)
        for bucket in self.layout.buckets:
            (found,) = await self.transactions.read(
                bucket, [("ZRANGE", f"{bucket.base}x", "-inf", now, "BYSCORE")]
            )
            for id in found:
                released += await self._until_made(partial(self._release, id.decode()))
        return released

    async def _release(self, id: str) -> int:
        stored = (await self._stored([id])).get(id)
        if stored is None:
            return 0
        old = array_of(stored.array)
        new = priority_array.at(old, utc_now())
        if new == old:  # by somebody else, just now
            return 0
        await self._keep(id, stored, old, new)
        return 1

    async def _sweep_if_due(self) -> None:
        """Release what is over before something is read, where that was not done for a second."""
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            try:
                await self.point_sweep()
            except (StorageError, CodecError) as exc:
                # A server that cannot be written: no matter of who reads.
                _log.info("levels were not released: %s", exc)
