"""SQL written by hand, over an asyncpg pool."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from operator import itemgetter
from typing import Any

import asyncpg

from benchmarks._shapes import Sql
from benchmarks._timing import Call, in_turns

__all__ = ["LONGEST", "by_hand", "fastest", "hand_pool"]

LONGEST = 30
"""Seconds that a statement may take."""


@asynccontextmanager
async def hand_pool(dsn: str, **options: Any) -> AsyncIterator[asyncpg.Pool[Any]]:
    """Open a pool as somebody would who knows JSONB: without `jit`."""
    settings = {"jit": "off", "statement_timeout": f"{LONGEST}s"}
    async with asyncpg.create_pool(dsn, min_size=1, server_settings=settings, **options) as pool:
        yield pool


def by_hand(
    pool: asyncpg.Pool[Any], sql: Sql, decode: Callable[[str], Any], *, ordered: bool = False
) -> Call:
    """Return a call that fetches and decodes; `ordered` is by id, as every read of ours is."""

    async def call() -> list[Any]:
        rows = await pool.fetch(sql.text, *sql.args)
        if ordered:
            rows = sorted(rows, key=itemgetter(0))
        return [decode(tags) for _, tags in rows]

    return call


async def fastest(calls: Iterable[Call]) -> Call:
    """Return the fastest of several calls, tried a few times each.

    Raises:
        asyncpg.QueryCanceledError: All of them take longer than a statement may.
    """
    tried = {str(number): call for number, call in enumerate(calls)}
    for number, call in list(tried.items()):
        try:
            await call()
        except asyncpg.QueryCanceledError:
            del tried[number]
            if not tried:
                raise
    if len(tried) == 1:
        return next(iter(tried.values()))
    times = await in_turns(tried, 3)
    return tried[min(tried, key=lambda side: statistics.median(times[side]))]
