"""Rollups by the server: what its series are asked, and what their answers come to.

`TS.RANGE … AGGREGATION` divides time into buckets of one length from an instant on (`ALIGN`). The
intervals of a rollup follow a clock and a calendar; but as long as they are equally long, which is
until a zone changes its clocks or a month has other days, they are such buckets. So each of these
runs is one command, and its buckets are exact. What is no sum, count, least, greatest, first or
last of an interval is left to the reference: RedisTimeSeries' own `twa` draws lines between items,
where an item here holds until the next one.

A point's items are in three keys (see `history`). NA and NaN are in none of the series, and say
nothing; an interval in which two of the keys say something is left to the reference as well.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from hsorm.his.instants import from_micros, to_micros
from hsorm.his.rollup import Extent, Rollup, filled, rollup_items, unit_of
from hsorm.his.span import Span
from hsorm.kinds import Kind, Number
from hsorm.redis_ops.history import Command, HisKeys, Rows, found_by, with_floats

__all__ = ["AGGREGATED", "Asking", "Ends", "ItemsNeededError", "Run", "extent_of", "runs_of"]

AGGREGATED: Final[Mapping[str, tuple[str, ...]]] = {
    # Not `avg`: it gives the average of what sums up beyond all doubles, where the reference has
    # INF.
    "avg": ("sum", "count"),
    "min": ("min",),
    "max": ("max",),
    "sum": ("sum",),
    "count": ("count",),
    "first": ("first",),
    "last": ("last",),
    "spread": ("max", "min"),
}
"""The folds that series can be asked for, and by which aggregators."""

_COMBINED: Final[Mapping[str, Callable[[float, float], float]]] = {
    "avg": lambda sum, count: sum / count,
    "spread": lambda most, least: most - least,
}


class ItemsNeededError(Exception):
    """Only the items themselves tell what an interval comes to: two keys say something of it."""


# ---- where history lies -------------------------------------------------------------------------


class Ends(NamedTuple):
    """The stamps of the first and the last item of each key in a span; None where it has none."""

    numbers: tuple[int, int] | None
    bools: tuple[int, int] | None
    others: tuple[int, int] | None

    @staticmethod
    def commands(keys: HisKeys, span: Span) -> list[Command]:
        """Return the commands that tell, to be run at once like those of `Rows`."""
        return [*Rows.commands(keys, span, 1), *Rows.commands_before(keys, span.end)]

    @staticmethod
    def of(answers: Sequence[Any]) -> Ends:
        """Return what the answers to `commands` say."""
        firsts, lasts = (Rows.of(part).stamps() for part in (answers[:3], answers[3:]))
        # The last one before the end is in the span only where there is a first one in it.
        numbers, bools, others = (
            (first[0], last[0]) if first else None
            for first, last in zip(firsts, lasts, strict=True)
        )
        return Ends(numbers, bools, others)


def extent_of(ends: Iterable[Ends]) -> Extent:
    """Return where the history of several points lies within the span."""
    found = [pair for one in ends for pair in one if pair is not None]
    if not found:
        return Extent(None, None)
    first, last = min(first for first, _ in found), max(last for _, last in found)
    return Extent(from_micros(first), from_micros(last))


# ---- intervals as buckets -----------------------------------------------------------------------


class Run(NamedTuple):
    """Intervals, one after the other, that are equally long.

    Attributes:
        place: That of the first of them.
        start: Where it begins, in microseconds.
        step: How long each of them is.
        end: Where the last one ends.
    """

    place: int
    start: int
    step: int
    end: int


def runs_of(bounds: Sequence[dt.datetime]) -> list[Run]:
    """Return intervals, given by their bounds, as runs."""
    runs: list[Run] = []
    stamps = list(map(to_micros, bounds))
    place, step = 0, 0
    for at, (start, end) in enumerate(pairwise(stamps)):
        if end - start != step:
            if step:
                runs.append(Run(place, stamps[place], step, start))
            place, step = at, end - start
    if step:
        runs.append(Run(place, stamps[place], step, stamps[-1]))
    return runs


class Asking(NamedTuple):
    """A rollup as series are asked for it.

    Attributes:
        rollup: What to do; its fold is one of `AGGREGATED`.
        bounds: The bounds of the intervals.
        runs: The same as runs.
        part: The part of the range that has items, see `clipped`.
        until: As in `rollup_items`.
    """

    rollup: Rollup
    bounds: Sequence[dt.datetime]
    runs: Sequence[Run]
    part: Span
    until: Span

    def commands(self, keys: HisKeys, ends: Ends) -> list[Command]:
        """Return the commands that roll up a point, of the keys that have items."""
        commands: list[Command] = []
        for key, pair in ((keys.numbers, ends.numbers), (keys.bools, ends.bools)):
            if pair is not None:
                commands += self._of_series(key)
        if ends.others is not None:
            commands.append(Rows.commands(keys, self.part)[2])
        return commands

    def _of_series(self, key: str) -> Iterator[Command]:
        for run, first, last in self._within():
            for aggregator in AGGREGATED[self.rollup.fold]:
                # Any bound will do for ALIGN; one before 1970 it does not take.
                yield (
                    "TS.RANGE", key, first, last,
                    "ALIGN", run.start % run.step, "AGGREGATION", aggregator, run.step,
                )  # fmt: skip

    def _within(self) -> Iterator[tuple[Run, int, int]]:
        """Yield the runs that a series can have items in, with the first and the last stamp."""
        start, end = to_micros(self.part.start), to_micros(self.part.end)
        for run in self.runs:
            first, last = max(run.start, start, 0), min(run.end, end) - 1
            if first <= last:  # nothing is before 1970
                yield run, first, last

    def values(self, unit: str | None, ends: Ends, answers: Sequence[Any]) -> dict[int, Any]:
        """Return the value of each interval that has one, by its place.

        Args:
            unit: The point's.
            ends: As for `commands`.
            answers: Those to `commands`.

        Raises:
            ItemsNeededError: See there.
        """
        coming = iter(answers)
        fold = self.rollup.fold
        numbers = self._numbers(coming) if ends.numbers is not None else {}
        bools = self._numbers(coming) if ends.bools is not None else {}
        parts: list[dict[int, Any]] = [
            {place: Number(val, unit_of(fold, unit)) for place, val in numbers.items()}
        ]
        if fold in ("first", "last"):
            parts.append({place: val == 1.0 for place, val in bools.items()})
        else:
            parts.append({place: Number(val, unit_of(fold, unit)) for place, val in bools.items()})
        if ends.others is not None:
            parts.append(self._of_others(unit, next(coming)))
        found: dict[int, Any] = {}
        for part in parts:
            if not found.keys().isdisjoint(part):
                raise ItemsNeededError
            found |= part
        return filled(self.rollup, self.bounds, found, self.until.end)

    def _numbers(self, coming: Iterator[Any]) -> dict[int, float]:
        """Return what the answers about one series come to, by the place of the interval."""
        found: dict[int, float] = {}
        combined = _COMBINED.get(self.rollup.fold)
        for run, _, _ in self._within():
            rows = with_floats(found_by(next(coming)))
            if combined is not None:
                more = with_floats(found_by(next(coming)))
                rows = [
                    (stamp, combined(one, other))
                    for (stamp, one), (_, other) in zip(rows, more, strict=True)
                ]
            # One that begins before 1970 is said to begin then.
            found.update((run.place + (stamp - run.start) // run.step, val) for stamp, val in rows)
        return found

    def _of_others(self, unit: str | None, answer: Any) -> dict[int, Any]:
        items: list[tuple[dt.datetime, Kind]] = [
            (from_micros(stamp), val) for stamp, val in Rows((), (), answer).merged(unit)
        ]
        plain = Rollup(self.rollup.interval, self.rollup.fold)
        return rollup_items(plain, unit, self.bounds, items, until=self.until)
