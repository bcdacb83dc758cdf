"""`PostgresRollups`: rollups on PostgreSQL, with TimescaleDB or without."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, repeat
from typing import Any, Final

from sqlalchemy import column, select, table

from hsorm.errors import StorageError
from hsorm.his.rollup import Extent
from hsorm.sql import rollups
from hsorm.storage._copy import unpacked
from hsorm.storage._dberrors import sqlstate_of
from hsorm.storage._rollups import Asked, Rolled, Rollups
from hsorm.storage._sql import SqlAdapter
from hsorm.storage._sql_core import as_listed

__all__ = ["PostgresRollups"]

# So many intervals are looked up one by one in a hypertable: it takes 0.1 ms each, for each of its
# chunks is to be left out. In a plain table it takes 0.005 ms.
_SEEKS: Final = 2_000

_OUT_OF_RANGE: Final = "22003"

# So many seconds nobody asks again whether hours are kept that were not: it takes a sixth of the
# time of a small rollup. Items come to the same.
_UNASKED: Final = 60.0

_HOUR: Final = dt.timedelta(hours=1)
_TICK: Final = dt.timedelta(microseconds=1)


class PostgresRollups(SqlAdapter):
    """The part of an adapter over asyncpg that rolls up history."""

    _timescale: bool | None = None
    _no_hours_before: float = 0.0

    async def _his_rollup(self, asked: Asked) -> Rolled:
        try:
            async with self._undoable():
                return await super()._his_rollup(asked)
        except StorageError as exc:
            # A sum beyond all doubles is INF everywhere else.
            if sqlstate_of(exc) != _OUT_OF_RANGE:
                raise
            return await Rollups._his_rollup(self, asked)

    async def _extent(self, asked: Asked) -> tuple[Extent, dict[str, Any]]:
        extent, before = await super()._extent(asked)
        hours = _hours_within(asked.span.start, asked.span.end)
        if not self._may_have_hours(asked) or hours is None:
            return extent, before
        # Hours may outlive their items.
        ids = as_listed(point.id for point in asked.points)
        rows = await self._look(rollups.hour_extents, ids=ids, **hours)
        if not rows[0][0]:
            self._no_hours_before = time.monotonic() + _UNASKED
            return extent, before
        firsts = [extent.first, *(first for _, first, _ in rows)]
        lasts = [extent.last, *(last and last + _HOUR - _TICK for *_, last in rows)]
        first, last = (
            edge((ts for ts in found if ts is not None), default=None)
            for edge, found in ((min, firsts), (max, lasts))
        )
        return extent._replace(first=first, last=last), before

    async def _rollup_rows(
        self, asked: Asked, bounds: Sequence[dt.datetime], values: dict[str, Any]
    ) -> Iterable[Sequence[Any]]:
        fold, many = asked.rollup.fold, len(bounds) * len(asked.points)
        picks = fold in ("first", "last")
        if picks and not (many > _SEEKS and await self._has_timescale()):
            values.update(begins=bounds[:-1], ends=bounds[1:])
            return await self._look(rollups.ends(fold), **values)
        step = _even(bounds)
        values.update(bounds=bounds, step=step, origin=bounds[0])
        by: rollups.By = "width_bucket"
        if step is not None:
            by = "time_bucket" if await self._has_timescale() else "date_bin"
        if asked.rollup.is_held:
            return await self._look(rollups.held(fold, by), **values)
        if not picks:
            hours = await self._hours(asked, bounds, values)
            if hours is not None:
                hourly = rollups.hourly_numbers(fold, by)
                return _unpacked(await self._look(hourly, **values, **hours))
            values["id"], alone = asked.points[0].id, len(asked.points) == 1
            return _unpacked(await self._look(rollups.numbers(fold, by, alone=alone), **values))
        rows = await self._look(rollups.picked_numbers(fold, by), **values)
        if any(others for *_, others in rows):
            return await self._look(rollups.picked(fold, by), **values)
        return ((*row, None) for row in _unpacked([row[:3] for row in rows]))

    async def _hours(
        self, asked: Asked, bounds: Sequence[dt.datetime], values: dict[str, Any]
    ) -> dict[str, Any] | None:
        """Return between which hours some are ready, None where none are or they would not do."""
        if not self._may_have_hours(asked):
            return None
        hours = _hours_within(values["start"], values["end"])
        if hours is None or not all(bound == _floor(bound) for bound in bounds):
            return None
        ((are_kept, are_ready),) = await self._look(
            rollups.are_hours_ready, ids=values["ids"], hours_start=hours["hours_start"]
        )
        if not are_kept:
            self._no_hours_before = time.monotonic() + _UNASKED
        return hours if are_ready else None

    def _may_have_hours(self, asked: Asked) -> bool:
        return asked.rollup.fold in rollups.HOURLY and time.monotonic() >= self._no_hours_before

    async def _has_timescale(self) -> bool:
        if self._timescale is None:
            extension = table("pg_extension", column("extname"))
            found = select(extension.c.extname).where(extension.c.extname == "timescaledb")
            self._timescale = bool(await self._fetch(found))
        return self._timescale


def _unpacked(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[str, int, float]]:
    """Yield id, place and number, of what `rollups.numbers` selects."""
    for id, places, numbers in rows:
        yield from zip(repeat(id), unpacked(places, "q"), unpacked(numbers, "d"), strict=False)


def _floor(ts: dt.datetime) -> dt.datetime:
    return ts.replace(minute=0, second=0, microsecond=0)


def _hours_within(start: dt.datetime, end: dt.datetime) -> dict[str, dt.datetime] | None:
    """Return between which hours all are whole in `[start, end)`, None where there is none."""
    first, last = _floor(start), _floor(end)
    if first < start:
        first += _HOUR
    return {"hours_start": first, "hours_end": last} if first < last else None


def _even(bounds: Sequence[dt.datetime]) -> dt.timedelta | None:
    """Return how long intervals are, if they are equally long."""
    step = bounds[1] - bounds[0]
    return step if all(after - before == step for before, after in pairwise(bounds)) else None
