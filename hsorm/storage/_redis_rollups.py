"""`RedisRollups`: rollups by the series themselves, where their buckets are exact."""

from __future__ import annotations

from typing import Any, Final

from hsorm.redis_ops.rollups import AGGREGATED, Asking, Ends, ItemsNeededError, extent_of, runs_of
from hsorm.storage._redis_history import RedisHistory
from hsorm.storage._rollups import Asked, Rolled

__all__ = ["RedisRollups"]

_TRIES: Final = 3

_RUNS: Final = 1_000
"""With more runs of equal intervals than this, all items are read instead."""

_COMMANDS: Final = 2_000
"""So many commands are run at once at most, for the server does nothing else meanwhile."""

_POINTS_AT_ONCE: Final = 10
"""A year of minutes takes the server some 30 ms a point."""


class RedisRollups(RedisHistory):
    """The part of a Redis adapter that rolls up history."""

    async def _his_rollup(self, asked: Asked) -> Rolled:
        if asked.rollup.fold in AGGREGATED:
            try:
                for _ in range(_TRIES):
                    rolled = await self._by_series(asked)
                    if rolled is not None:
                        return rolled
            except ItemsNeededError:
                pass
        return await super()._his_rollup(asked)

    async def _by_series(self, asked: Asked) -> Rolled | None:
        """Return what the series answer, None where somebody has written there meanwhile.

        Raises:
            ItemsNeededError: The items themselves have to be looked at.
        """
        ids = [point.id for point in asked.points]
        found = await self._his_each(ids, lambda keys, _: Ends.commands(keys, asked.span))
        ends = {id: Ends.of(answers) for id, answers in found.items()}
        part, bounds = asked.bounds(extent_of(ends.values()))
        asking = Asking(asked.rollup, bounds, runs_of(bounds), part, asked.until(part))
        if len(asking.runs) > _RUNS:
            raise ItemsNeededError
        looked = len(Ends._fields) * 2
        most = len(asking.runs) * 2 * len(AGGREGATED[asked.rollup.fold]) + looked
        # Where history lies is looked at once more, at the same moment: or of a write in between
        # the answer would have a part alone.
        again = await self._his_each(
            ids,
            lambda keys, id: [*Ends.commands(keys, asked.span), *asking.commands(keys, ends[id])],
            max(1, min(_POINTS_AT_ONCE, _COMMANDS // most)),
        )
        values: list[dict[int, Any]] = []
        for point in asked.points:
            own, answers = ends[point.id], again[point.id]
            if Ends.of(answers[:looked]) != own:
                return None
            values.append(asking.values(point.unit, own, answers[looked:]))
        return Rolled(bounds, values)
