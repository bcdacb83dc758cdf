"""`SqlHistory`: history in SQL, but for what each database writes in its own way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from hsorm.errors import UnknownEntityError
from hsorm.his.batches import PointItems
from hsorm.his.checks import HisPoint
from hsorm.his.rows import from_row
from hsorm.his.span import Span
from hsorm.sql import changing, history
from hsorm.storage._history import History
from hsorm.storage._sql_core import Work, as_listed
from hsorm.storage._sql_rollups import SqlRollups
from hsorm.storage.protocol import HisItem

__all__ = ["SqlHistory"]

_MOST = 2**63 - 1  # the greatest LIMIT that a database takes


class SqlHistory(SqlRollups, History):
    """The part of a SQL adapter that reads history."""

    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        if limit is not None:
            return [await self._first_items(point, span, zone, limit) for point in points]
        if len(points) == 1:
            return [await self._all_items(points[0], span, zone)]
        rows: dict[str, list[Any]] = {point.id: [] for point in points}
        values = {"ids": as_listed(rows), "start": span.start, "end": span.end}
        for id, *row in await self._look(history.items_listed, **values):
            rows[id].append(row)
        return [self._as_items(rows[point.id], point, zone) for point in points]

    async def _all_items(self, point: HisPoint, span: Span, zone: ZoneInfo) -> list[HisItem]:
        rows = await self._look(history.items_of, id=point.id, start=span.start, end=span.end)
        return self._as_items(rows, point, zone)

    async def _first_items(
        self, point: HisPoint, span: Span, zone: ZoneInfo, limit: int
    ) -> list[HisItem]:
        values = {"id": point.id, "start": span.start, "end": span.end, "most": min(limit, _MOST)}
        rows = await self._look(history.items_of_first, **values)
        return self._as_items(rows, point, zone)

    async def _his_before(self, point: HisPoint, ts: dt.datetime) -> list[HisItem]:
        rows = await self._look(history.items_before, id=point.id, end=ts)
        return self._as_items(rows, point, point.zone)

    async def _his_extent(self, id: str) -> tuple[int, dt.datetime | None, dt.datetime | None]:
        ((size, first, last),) = await self._look(history.items_extent, id=id)
        return size, first, last

    async def _his_beyond(self, point: HisPoint, most: int) -> dt.datetime | None:
        rows = await self._look(history.item_beyond, id=point.id, most=most)
        return rows[0][0] if rows else None

    def _as_items(self, rows: Sequence[Any], point: HisPoint, zone: ZoneInfo) -> list[HisItem]:
        stamps, unit = self._stamps(rows, zone), point.unit
        vals = [from_row(val, obj, unit) for _, val, obj in rows]
        return [{"ts": ts, "val": val} for ts, val in zip(stamps, vals, strict=True)]

    def _stamps(self, rows: Sequence[Any], zone: ZoneInfo) -> list[dt.datetime]:
        """Return the `ts` of rows in a zone."""
        return [row[0].astimezone(zone) for row in rows]


async def hold_points(work: Work, ids: Sequence[str]) -> None:
    """Keep points from being deleted before the end of a transaction.

    Raises:
        UnknownEntityError: One was deleted since it was looked up.
    """
    found = {id for (id,) in await work.fetch(history.lock_points, ids=as_listed(ids))}
    for id in ids:
        if id not in found:
            raise UnknownEntityError(id)


async def note_points(work: Work, ids: Sequence[str]) -> None:
    """Note for watches that the history of points has changed (H33)."""
    await work.fetch(changing.note_history, points=as_listed(ids))


def ids_of(points: Iterable[PointItems]) -> list[str]:
    """Return the ids of points."""
    return [point.id for point in points]
