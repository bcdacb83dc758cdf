"""`KeptConnections`: connections of a pool that stay with an adapter between its calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["KeptConnections"]


class KeptConnections:
    """Lends the driver's connections of a pool, and keeps some that come back.

    To take one from SQLAlchemy's pool and give it back costs as much as a round trip.

    Args:
        engine: Whose pool it is.
        most: How many are kept.
        may_keep: Tells, when one comes back, whether it may stay.
        driver_of: Returns the driver's connection under one of the pool; no transaction is open.
        is_closed: Tells whether a driver's connection is closed.
        in_transaction: Tells whether a transaction is open on a driver's connection.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        most: int,
        *,
        may_keep: Callable[[], bool],
        driver_of: Callable[[AsyncConnection], Awaitable[Any]],
        is_closed: Callable[[Any], bool],
        in_transaction: Callable[[Any], bool],
    ) -> None:
        self._engine, self._most, self._may_keep = engine, most, may_keep
        self._driver_of, self._is_closed = driver_of, is_closed
        self._in_transaction = in_transaction
        self._kept: list[_Kept] = []

    def __len__(self) -> int:
        return len(self._kept)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Any]:
        """Lend a connection of the driver's, on which no transaction is open."""
        kept = await self._take()
        try:
            yield kept.driver
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError) or self._in_transaction(kept.driver):
                # SQLAlchemy knows of no transaction that it would have to end.
                await kept.connection.invalidate()
            await kept.connection.close()
            raise
        if self._may_keep() and len(self._kept) < self._most:
            self._kept.append(kept)
        else:
            await kept.connection.close()

    async def close(self) -> None:
        """Give back those that are kept."""
        while self._kept:
            await self._kept.pop().connection.close()

    async def _take(self) -> _Kept:
        while self._kept:
            kept = self._kept.pop()
            if not self._is_closed(kept.driver):
                return kept
            await kept.connection.close()  # its server went away
        connection = await self._engine.connect()
        try:
            return _Kept(connection, await self._driver_of(connection))
        except BaseException:
            await connection.close()
            raise


class _Kept(NamedTuple):
    """A connection of the pool, and the driver's under it."""

    connection: AsyncConnection
    driver: Any
