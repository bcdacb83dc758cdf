"""Times taken in turns, so that a pause of the machine hits every side alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ["Call", "Times", "in_turns", "ratio", "repeated"]

Call: TypeAlias = Callable[[], Awaitable[Any]]

Times: TypeAlias = Mapping[str, Sequence[float]]
"""Seconds by side, one for each round."""


async def in_turns(calls: Mapping[str, Call], rounds: int, before: Call | None = None) -> Times:
    """Run each call once a round, forwards and backwards by turns.

    Args:
        calls: What to measure, by side.
        rounds: How often.
        before: What each call needs done first; it is not in the times.
    """
    times: dict[str, list[float]] = {side: [] for side in calls}
    for number in range(rounds):
        sides = list(calls)[:: 1 if number % 2 == 0 else -1]
        for side in sides:
            if before is not None:
                await before()
            times[side].append(await _seconds(calls[side]))
    return times


async def repeated(
    calls: Mapping[str, Call], least: int, budget: float = 3.0, warm: int = 8
) -> Times:
    """Run calls in turns for some `budget` seconds: `least` times or more, at most 1,000.

    The `warm` rounds before that warm up, as many as the budget allows: PostgreSQL settles on its
    plan at the sixth execution.
    """
    end, one_round = time.perf_counter() + budget, float("inf")
    for _ in range(warm):
        (*took,) = (await in_turns(calls, 1)).values()
        one_round = min(one_round, sum(seconds for (seconds,) in took))
        if time.perf_counter() > end:
            break
    return await in_turns(calls, max(least, min(1000, int(budget / one_round))))


async def _seconds(call: Call) -> float:
    start = time.perf_counter()
    await call()
    return time.perf_counter() - start


def ratio(above: Sequence[float], below: Sequence[float]) -> tuple[float, str]:
    """Return the median over the rounds of `above : below`, and as text with its quartiles."""
    ratios = [one / other for one, other in zip(above, below, strict=True)]
    middle = statistics.median(ratios)
    if len(ratios) < 2:
        return middle, f"{middle:.2f} ×"
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return middle, f"{middle:.2f} × ({low:.2f}–{high:.2f})"
