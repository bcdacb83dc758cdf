"""`RedisHistory`: the history of points."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import chain, islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from hsorm.errors import StorageUnavailableError, UnknownEntityError
from hsorm.his.arrays import Columns, load_numpy
from hsorm.his.batches import PointItems, all_items
from hsorm.his.checks import HisPoint
from hsorm.his.span import ALWAYS, Span
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
from hsorm.zones import UTC

__all__ = ["RedisHistory"]

_POINTS_AT_ONCE: Final = 100


class RedisHistory(RedisReads, History):
    """The part of a Redis adapter that keeps history."""

    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        if limit == 0:
            return [[] for _ in points]
        with paused_gc():
            found = await self._his_rows([point.id for point in points], span, limit)
            return [found[point.id].items(zone, point.unit, limit) for point in points]

    async def _his_columns(self, points: Sequence[HisPoint], span: Span) -> list[Columns]:
        load_numpy("history as arrays")
        with paused_gc():
            found = await self._his_rows([point.id for point in points], span, None)
            return [Columns(*found[point.id].samples()) for point in points]

    async def _his_rows(self, ids: Sequence[str], span: Span, limit: int | None) -> dict[str, Rows]:
        found = await self._his_each(ids, lambda keys, _: Rows.commands(keys, span, limit))
        return {id: Rows.of(answers) for id, answers in found.items()}

    async def _his_each(
        self,
        ids: Sequence[str],
        commands_of: Callable[[HisKeys, str], Sequence[Command]],
        at_once: int = _POINTS_AT_ONCE,
    ) -> dict[str, list[Any]]:
        """Return the answers to commands about each of some points; of so many points at once."""
        found: dict[str, list[Any]] = {}
        for bucket, own in self.layout.by_bucket(list(dict.fromkeys(ids))).items():
            for at in range(0, len(own), at_once):
                page = {
                    id: commands_of(HisKeys.of(bucket.base, id), id)
                    for id in own[at : at + at_once]
                }
                answers = iter(await self._his_answers(bucket, list(chain(*page.values()))))
                for id, commands in page.items():
                    found[id] = list(islice(answers, len(commands)))
        return found

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

    async def _his_beyond(self, point: HisPoint, most: int) -> dt.datetime | None:
        size, _, _ = await self._his_extent(point.id)
        if size <= most:
            return None
        bucket = self.layout.bucket_of(point.id)
        keys = HisKeys.of(bucket.base, point.id)
        asked = Extent.commands(keys)
        # How many there are is asked again along with the oldest: others may have deleted some.
        answers = await self._his_answers(
            bucket, [*asked, *Rows.commands(keys, ALWAYS, size - most)]
        )
        left = Extent.of(answers[: len(asked)]).size - most
        oldest = Rows.of(answers[len(asked) :]).items(UTC, None, size - most)
        return oldest[:left][-1]["ts"] if left > 0 else None

    async def _his_answers(self, bucket: Bucket, commands: Sequence[Command]) -> list[Any]:
        # A series that is not there is an error, which stands for no items.
        return await self.transactions.read(bucket, commands, raises=False)

    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        changes = _changes(points, clear)

        async def attempt() -> None:
            try:
                await self.transactions.make(changes)
            except StaleError as exc:
                if exc.id is None:  # somebody else held the bucket for too long
                    raise
                raise UnknownEntityError(exc.id) from None

        await self._until_made(attempt)

    async def _his_store_parts(self, parts: AsyncIterator[list[PointItems]]) -> int:
        await self._ready()
        staged = self.transactions.begin()
        # Each part is staged as it comes, and then let go. Their order stays: of items at one
        # instant the last counts.
        written: dict[str, HistoryWritten] = {}
        count = 0
        try:
            async for points in parts:
                await staged.add(_changes(points))
                written |= {id: HistoryWritten(id) for id, _ in points if id not in written}
                count += all_items(points)
            await staged.lock(written.values())
        except StaleError as exc:
            if exc.id is None:
                raise _too_slow(self.url) from None
            raise UnknownEntityError(exc.id) from None
        except BaseException:
            await staged.abort()
            raise
        try:
            await staged.commit()
        except StaleError:
            raise _too_slow(self.url) from None
        return count

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


def _changes(points: Sequence[PointItems], clear: Span | None = None) -> list[HistoryWritten]:
    return [
        change for id, items in points for change in HistoryWritten.of(id, *packed(items, clear))
    ]


def _too_slow(url: str) -> StorageUnavailableError:
    return StorageUnavailableError(url, "what was staged is gone: nothing was written, try again")
