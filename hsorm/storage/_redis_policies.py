"""`RedisPolicies`: what becomes of history in Redis as it grows old.

Not by the series' own RETENTION: that counts back from a series' last item instead of from now,
refuses to take what is older, and knows nothing of texts and NA beside the numbers. Old items are
deleted, of whatever kind, as `his_clear` does it, but nobody is told, as on TimescaleDB.
"""

from __future__ import annotations

import calendar
import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from hsorm.errors import StorageError
from hsorm.his.batches import PointItems
from hsorm.his.rollup import Interval, parse_interval
from hsorm.his.span import ALWAYS, Span
from hsorm.redis_ops.history import keys_within
from hsorm.redis_ops.keys import policy_key
from hsorm.redis_ops.scripts import HIS_CLEAR
from hsorm.storage._policies import HisPolicy, PolicyName, PolicyRun
from hsorm.storage._redis_core import place_of
from hsorm.storage._redis_history import RedisHistory
from hsorm.storage._shared import utc_now

__all__ = ["RedisPolicies"]

_log = logging.getLogger(__name__)

_EACH_SECONDS: Final = 3_600.0
"""How often it is seen to by itself: by whoever writes history, once for all of them."""

_DAYS: Final = {"day": 1, "wk": 7}
_SECONDS: Final = {"sec": 1, "min": 60, "hr": 3_600}
_MONTHS: Final = {"mo": 1, "yr": 12}


class RedisPolicies(RedisHistory):
    """The part of a Redis adapter that deletes old history.

    Times are as the intervals of a rollup: `"7day"`, `"6mo"`, `"2yr"`, a Number or a timedelta.
    """

    _kept = float("-inf")

    async def his_policy(self) -> HisPolicy:
        """Return what becomes of history as it grows old."""
        await self._ready()
        keep, _ = await self._policy()
        return HisPolicy("none", keep=keep)

    async def set_his_policy(
        self,
        *,
        chunk: Any = None,
        compress_after: Any = None,
        keep: Any = None,
        hourly: bool = False,
    ) -> HisPolicy:
        """Set what becomes of history as it grows old.

        Args:
            chunk: Not here.
            compress_after: Not here: series are compressed from the start.
            keep: Delete items that are older: by itself once an hour, as history is written.
            hourly: Not here.

        Returns:
            What holds now.

        Raises:
            StorageError: Another one than `keep` was given.
            InvalidRollupError: It is no time.
        """
        if chunk is not None or compress_after is not None:
            raise StorageError(
                "chunks and their compression are for TimescaleDB: here there is keep alone, and "
                "series are compressed from the start"
            )
        if hourly:
            raise StorageError(
                "hours are kept ready on PostgreSQL: here there is keep alone, and rollups of "
                "whole days read the series"
            )
        if keep is not None:
            await self._ready()
            key, text = policy_key(self.prefix), str(parse_interval(keep))
            await self.server.write(place_of(key), "HSET", key, "keep", text, "ran", 0)
            self._kept = float("-inf")
        return await self.his_policy()

    async def remove_his_policy(self, *names: PolicyName) -> HisPolicy:
        """Take back what was set; nothing more is deleted."""
        await self._ready()
        key = policy_key(self.prefix)
        if "keep" in names:
            await self.server.write(place_of(key), "DEL", key)
        return await self.his_policy()

    async def run_his_policy(self, *, compress_after: Any = None, keep: Any = None) -> PolicyRun:
        """Do now what the policy does by itself from time to time.

        Args:
            compress_after: Not here.
            keep: Delete items that are older, instead of what the policy says.

        Raises:
            StorageError: `compress_after` was given.
            InvalidRollupError: A time is none.
        """
        if compress_after is not None:
            raise StorageError("compression is for TimescaleDB: here series are compressed anyway")
        await self._ready()
        found = keep
        if found is None:
            found, _ = await self._policy()
        if found is None:
            return PolicyRun(0, 0)
        now = utc_now()
        dropped = await self._drop(before(now, parse_interval(found)))
        if keep is None:
            key = policy_key(self.prefix)
            ran = str(int(now.timestamp()))
            await self.server.write(place_of(key), "HSET", key, "ran", ran)
        return PolicyRun(0, dropped)

    async def _policy(self) -> tuple[str | None, int]:
        """Return what is kept, and when that was seen to, in seconds since 1970."""
        key = policy_key(self.prefix)
        keep, ran = await self.server.read(place_of(key), "HMGET", key, "keep", "ran")
        return None if keep is None else keep.decode(), int(ran or 0)

    async def _drop(self, end: dt.datetime) -> int:
        """Delete the items of all points before an instant, and return how many there were."""
        keys = keys_within(Span(ALWAYS.start, end))
        count = 0
        for bucket in self.layout.buckets:
            for id in await self.server.read(bucket, "ZRANGE", f"{bucket.base}his", 0, -1):
                answer = await self.transactions.run(bucket, HIS_CLEAR, "", id, *keys)
                if answer[0] == b"done":  # else it was removed just now
                    count += int(answer[1])
        return count

    # ---- by itself ------------------------------------------------------------------------------

    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        await super()._his_store(points, clear)
        await self._keep_if_due()

    async def _his_store_parts(self, parts: AsyncIterator[list[PointItems]]) -> int:
        count = await super()._his_store_parts(parts)
        await self._keep_if_due()
        return count

    async def _keep_if_due(self) -> None:
        """Delete what is too old, where nobody did so for an hour."""
        if time.monotonic() - self._kept < _EACH_SECONDS:
            return
        self._kept = time.monotonic()
        try:
            keep, ran = await self._policy()
            if keep is not None and utc_now().timestamp() - ran > _EACH_SECONDS:
                await self.run_his_policy()
        except StorageError as exc:
            # What was to be written is written.
            _log.warning("old history was not deleted: %s", exc)


def before(now: dt.datetime, interval: Interval) -> dt.datetime:
    """Return when something began that is as old as an interval now, months by the calendar."""
    many, unit = interval
    try:
        if unit in _SECONDS:
            return now - dt.timedelta(seconds=many * _SECONDS[unit])
        if unit in _DAYS:
            return now - dt.timedelta(days=many * _DAYS[unit])
        months = now.year * 12 + now.month - 1 - many * _MONTHS[unit]
        year, month = months // 12, months % 12 + 1
        day = min(now.day, calendar.monthrange(max(year, 1), month)[1])
        return max(now.replace(year=year, month=month, day=day), ALWAYS.start)
    except (OverflowError, ValueError):  # before the year 1
        return ALWAYS.start
