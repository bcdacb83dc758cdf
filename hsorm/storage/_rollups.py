"""`Rollups`: rollups as every adapter does them, by the reference unless its database can."""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from hsorm.his.batches import one_zone
from hsorm.his.checks import HisPoint
from hsorm.his.instants import in_zone
from hsorm.his.rollup import (
    Extent,
    Fill,
    Fold,
    Rollup,
    bounds_of,
    check_kind,
    clipped,
    rollup_items,
)
from hsorm.his.span import Range, Span, span_of
from hsorm.kinds import Number, Ref
from hsorm.storage._paused_gc import paused_gc
from hsorm.storage._shared import utc_now
from hsorm.storage.protocol import AnyId, HisItem, Id
from hsorm.zones import UTC

__all__ = ["Asked", "Rolled", "Rollups"]


class Asked(NamedTuple):
    """A rollup of some points.

    Attributes:
        rollup: What to do.
        points: The points, one at least, each once.
        span: The range.
        zone: Whose clock the intervals follow.
        now: The present.
    """

    rollup: Rollup
    points: Sequence[HisPoint]
    span: Span
    zone: ZoneInfo
    now: dt.datetime

    def bounds(self, extent: Extent) -> tuple[Span, list[dt.datetime]]:
        """Return the part of the range that can have values, and its intervals."""
        part = clipped(self.rollup, self.span, extent, self.now)
        return part, bounds_of(self.rollup.interval, part, self.zone)

    def until(self, part: Span) -> Span:
        """Return since when what was before holds, and until when the last items do."""
        return Span(part.start, min(self.span.end, self.now))


class Rolled(NamedTuple):
    """The answer: where intervals begin, and of each point the values by the interval's place."""

    bounds: Sequence[dt.datetime]
    values: Sequence[dict[int, Any]]


class Rollups(ABC):
    """`HistoryReader.his_rollup`, over what a backend does with its rows."""

    @abstractmethod
    async def _reading_points(self, ids: Sequence[Id]) -> list[HisPoint]:
        """Return what a read needs to know of points."""

    @abstractmethod
    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        """Return the items of each point in a span."""

    @abstractmethod
    async def _his_before(self, point: HisPoint, ts: dt.datetime) -> list[HisItem]:
        """Return the last item of a point before an instant, or none."""

    async def his_rollup(
        self,
        ids: AnyId | Iterable[AnyId],
        range_str: Range,
        interval: str | Number | dt.timedelta,
        fold: Fold,
        *,
        tz: str | None = None,
        fill: Fill = "none",
    ) -> dict[AnyId, list[HisItem]]:
        """Roll up the history of points; see `HistoryReader.his_rollup`."""
        rollup = Rollup.of(interval, fold, fill)
        listed: Iterable[Any] = [ids] if isinstance(ids, (str, Ref)) else ids
        wanted = list(dict.fromkeys(listed))
        points = await self._reading_points(wanted)
        for point in points:
            check_kind(rollup, point)
        if not points:
            return {}
        zone, now = one_zone(points, tz), utc_now()
        # Two forms of one id are one point to the backends.
        own = list({point.id: point for point in points}.values())
        asked = Asked(rollup, own, span_of(range_str, zone, now), zone, now)
        bounds, values = await self._his_rollup(asked)
        by_id = {point.id: found for point, found in zip(own, values, strict=True)}
        with paused_gc():
            stamps = in_zone(bounds, zone)
            return {
                id: [
                    {"ts": stamps[place], "val": by_id[point.id][place]}
                    for place in sorted(by_id[point.id])
                ]
                for id, point in zip(wanted, points, strict=True)
            }

    async def _his_rollup(self, asked: Asked) -> Rolled:
        """Return the values of all intervals; here, of all items."""
        rollup = asked.rollup
        found = await self._his_items(asked.points, asked.span, UTC, None)
        before: list[list[HisItem]] = [[] for _ in found]
        if rollup.is_held:
            before = [await self._his_before(point, asked.span.start) for point in asked.points]
        extent = Extent(
            min((items[0]["ts"] for items in found if items), default=None),
            max((items[-1]["ts"] for items in found if items), default=None),
            any(before),
        )
        part, bounds = asked.bounds(extent)
        values = [
            rollup_items(
                rollup,
                point.unit,
                bounds,
                ((item["ts"], item["val"]) for item in items),
                before=earlier[0]["val"] if earlier else None,
                until=asked.until(part),
            )
            for point, items, earlier in zip(asked.points, found, before, strict=True)
        ]
        return Rolled(bounds, values)
