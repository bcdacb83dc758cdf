"""`RedisHistory`: the history of points."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo

from hsorm.errors import UnknownEntityError
from hsorm.his.arrays import Columns, load_numpy
from hsorm.his.batches import PointItems
from hsorm.his.checks import HisPoint
from hsorm.his.span import Span
from hsorm.redis_ops.client import Command
from hsorm.redis_ops.history import (
    Extent,
    HisKeys,
    Rows,
    keys_within,
    packed,
)
from hsorm.redis_ops.keys import Bucket
from hsorm.redis_ops.scripts import HIS_CLEAR
from hsorm.redis_ops.transactions import HistoryWritten, StaleError
from hsorm.storage._history import History
from hsorm.storage._paused_gc import paused_gc
from hsorm.storage._redis_reads import RedisReads
from hsorm.storage.protocol import HisItem

__all__ = ["RedisHistory"]

_POINTS_AT_ONCE: Final = 100
_MOST: Final = 2**31  # more than a series is asked for at once, and a number that Redis takes


class RedisHistory(RedisReads, History):
    """The part of a Redis adapter that keeps history."""

    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        if limit == 0:
            return [[] for _ in points]
        with paused_gc():
            most = None if limit is None else min(limit, _MOST)
            found = await self._his_rows([point.id for point in points], span, most)
            return [found[point.id].items(zone, point.unit, limit) for point in points]

    async def _his_columns(self, points: Sequence[HisPoint], span: Span) -> list[Columns]:
        load_numpy("history as arrays")
        with paused_gc():
            found = await self._his_rows([point.id for point in points], span, None)
            return [Columns(*found[point.id].samples()) for point in points]

    async def _his_rows(self, ids: Sequence[str], span: Span, limit: int | None) -> dict[str, Rows]:
        rows: dict[str, Rows] = {}
        for bucket, own in self.layout.by_bucket(list(dict.fromkeys(ids))).items():
            for at in range(0, len(own), _POINTS_AT_ONCE):
                page = own[at : at + _POINTS_AT_ONCE]
                commands = [
                    command
                    for id in page
                    for command in Rows.commands(HisKeys.of(bucket.base, id), span, limit)
                ]
                answers = await self._his_answers(bucket, commands)
                size = len(answers) // len(page)
                for place, id in enumerate(page):
                    rows[id] = Rows.of(answers[place * size : (place + 1) * size])
        return rows

    async def _his_before(self, point: HisPoint, ts: dt.datetime) -> list[HisItem]:
        bucket = self.layout.bucket_of(point.id)
        commands = Rows.commands_before(HisKeys.of(bucket.base, point.id), ts)
        rows = Rows.of(await self._his_answers(bucket, commands))
        return rows.items(point.zone, point.unit)[-1:]

    async def _his_extent(self, id: str) -> tuple[int, dt.datetime | None, dt.datetime | None]:
        """Return how many items a point has, and the instants of its first and last."""
        bucket = self.layout.bucket_of(id)
        commands = Extent.commands(HisKeys.of(bucket.base, id))
        return Extent.of(await self._his_answers(bucket, commands))

    async def _his_answers(self, bucket: Bucket, commands: Sequence[Command]) -> list[Any]:
        # A series that is not there is an error, which stands for no items.
        return await self.transactions.read(bucket, commands, raises=False)

    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        changes = [
            change
            for id, items in points
            for change in HistoryWritten.of(id, *packed(items, clear))
        ]

        async def attempt() -> None:
            try:
                await self.transactions.make(changes)
            except StaleError as exc:
                if exc.id is None:  # somebody else held the bucket for too long
                    raise
                raise UnknownEntityError(exc.id) from None

        await self._until_made(attempt)

    async def _his_remove(self, id: str, span: Span) -> int:
        if span.start >= span.end:
            return 0
        await self._ready()
        bucket = self.layout.bucket_of(id)
        answer = await self.transactions.run(
            bucket, HIS_CLEAR, self.layout.channel, id, *keys_within(span)
        )
        if answer[0] != b"done":
            raise UnknownEntityError(id)
        return int(answer[1])
