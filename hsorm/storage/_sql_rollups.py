"""`SqlRollups`: rollups in SQL."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from hsorm.his.checks import HisPoint
from hsorm.his.rollup import Extent, Held, Rollup, filled, fold_held, state_of, unit_of
from hsorm.his.rows import from_row
from hsorm.his.span import Span
from hsorm.kinds import Number
from hsorm.sql import rollups
from hsorm.sql.types import to_micros
from hsorm.storage._paused_gc import paused_gc
from hsorm.storage._rollups import Asked, Rolled
from hsorm.storage._sql_core import Rows, SqlCore, as_listed

__all__ = ["SqlRollups"]

_FEW = 1_000
"""So many intervals are worked out without asking first where history lies."""


class SqlRollups(SqlCore):
    """The part of a SQL adapter that rolls up history."""

    async def _his_rollup(self, asked: Asked) -> Rolled:
        """Return the values of all intervals; see `Rollups`."""
        before: dict[str, Any] = {}
        if self._needs_extent(asked):
            extent, before = await self._extent(asked)
        else:
            extent = Extent(asked.span.start, asked.span.end)
        part, bounds = asked.bounds(extent)
        if not bounds:
            return Rolled([], [{} for _ in asked.points])
        values: dict[str, Any] = {
            "ids": as_listed(point.id for point in asked.points),
            "start": part.start,
            "end": part.end,
            "until": asked.until(part).end,
        }
        until, answer = asked.until(part), await self._rollup_rows(asked, bounds, values)
        with paused_gc():
            rows = _by_point(asked.points, answer)
            found = [
                _values(asked, point, bounds, rows[point.id], before.get(point.id), until)
                for point in asked.points
            ]
        return Rolled(bounds, found)

    @staticmethod
    def _needs_extent(asked: Asked) -> bool:
        rollup, span = asked.rollup, asked.span
        seconds = (span.end - span.start).total_seconds()
        many = seconds / rollup.interval.seconds > _FEW
        return rollup.is_held or rollup.fill == "previous" or many

    async def _extent(self, asked: Asked) -> tuple[Extent, dict[str, Any]]:
        """Return where history lies in the span, and of each point what it was before."""
        rows = await self._look(
            rollups.extents,
            ids=as_listed(point.id for point in asked.points),
            start=asked.span.start,
            end=asked.span.end,
        )
        units = {point.id: point.unit for point in asked.points}
        before = {
            id: from_row(val, obj, units[id]) for id, _, _, ts, val, obj in rows if ts is not None
        }
        firsts = [row[1] for row in rows if row[1] is not None]
        lasts = [row[2] for row in rows if row[2] is not None]
        return Extent(min(firsts, default=None), max(lasts, default=None), bool(before)), before

    async def _rollup_rows(
        self, asked: Asked, bounds: Sequence[dt.datetime], values: dict[str, Any]
    ) -> Iterable[Sequence[Any]]:
        """Return the rows of the statement, with the place of the interval (from 0) as second."""
        fold = asked.rollup.fold
        inner = [values["start"], *bounds[1:-1], values["end"]]
        pairs = [[to_micros(begin), to_micros(end)] for begin, end in pairwise(inner)]
        values["bounds"] = json.dumps(pairs, separators=(",", ":"))
        if fold in ("first", "last"):
            return await self._look(rollups.ends(fold), **values)
        make = rollups.held if asked.rollup.is_held else rollups.numbers
        return await self._look(make(fold, "width_bucket"), **values)


def _by_point(
    points: Sequence[HisPoint], rows: Iterable[Sequence[Any]]
) -> dict[str, list[Sequence[Any]]]:
    out: dict[str, list[Sequence[Any]]] = {point.id: [] for point in points}
    for row in rows:
        out[row[0]].append(row)
    return out


def _values(
    asked: Asked,
    point: HisPoint,
    bounds: Sequence[dt.datetime],
    rows: Rows,
    before: Any,
    until: Span,
) -> dict[int, Any]:
    """Return the values of one point, of the rows of the statement of its fold."""
    rollup, unit = asked.rollup, unit_of(asked.rollup.fold, point.unit)
    if rollup.is_held:
        parts = _twa_parts(rows) if rollup.fold == "twa" else _duration_parts(rollup, rows)
        return fold_held(rollup, unit, bounds, dict(parts), state_of(rollup, before), until)
    if rollup.fold in ("first", "last"):
        found = {place: from_row(val, obj, unit) for _, place, val, obj in rows}
    else:
        # The sum of INF and -INF is NaN, which SQLite says as NULL.
        found = {place: Number(math.nan if x is None else x, unit) for _, place, x in rows}
    return filled(rollup, bounds, found, until.end)


def _twa_parts(rows: Rows) -> Iterator[tuple[int, Held]]:
    for _, place, first, seconds, _, weighted, last in rows:
        states: dict[Any, float] = {None: seconds} if seconds else {}
        weight = math.nan if weighted is None and states else weighted or 0.0
        yield place, Held(first, states, weight, last)


def _duration_parts(rollup: Rollup, rows: Rows) -> Iterator[tuple[int, Held]]:
    found: dict[int, list[Sequence[Any]]] = {}
    for row in rows:
        found.setdefault(row[1], []).append(row)
    for place, own in found.items():
        states: dict[Any, float] = {}
        last = None
        for _, _, _, seconds, is_last, val, obj in own:
            state = state_of(rollup, from_row(val, obj, None))
            if state is not None and seconds:
                states[state] = states.get(state, 0.0) + seconds
            if is_last:
                last = state
        yield place, Held(min(row[2] for row in own), states, 0.0, last)
