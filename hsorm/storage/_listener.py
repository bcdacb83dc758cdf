"""`Listener`: one connection that listens to PostgreSQL's notifications, for all streams of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from hsorm.errors import StorageError, StorageUnavailableError
from hsorm.storage._dberrors import database_errors

__all__ = ["Listener"]

_log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.2

# A burst of commits wakes a stream this often at the most: it polls once for many of them.
_PAUSE_SECONDS: Final = 0.02


class Listener:
    """Listens as long as somebody waits, on a connection of its own; one that is lost is replaced.

    Notifications only wake up who waits. What is lost of them delays a stream until it looks by
    itself; what there is to tell is in the database.

    Args:
        connect: Takes a connection from the pool.
        channel: The channel that the triggers notify.
        url: Where that is, for messages.
    """

    def __init__(
        self,
        connect: Callable[[], AbstractAsyncContextManager[AsyncConnection]],
        channel: str,
        url: str,
    ) -> None:
        self._connect = connect
        self._url = url
        self._channel = channel
        self._waiting: set[asyncio.Event] = set()
        self._task: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def wake(self) -> AsyncIterator[_Event]:
        """Listen for as long as the block runs."""
        event = asyncio.Event()
        self._waiting.add(event)
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        try:
            yield _Event(event)
        finally:
            self._waiting.discard(event)
            if not self._waiting:
                await self.close()

    async def close(self) -> None:
        """Listen no longer; who waits looks by itself."""
        if self._task is not None:
            task, self._task = self._task, None
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        while True:
            try:
                with database_errors(self._url):
                    async with self._connect() as connection:
                        driver = (await connection.get_raw_connection()).driver_connection
                        await self._listen_on(driver)
            except (StorageError, StorageUnavailableError) as exc:
                _log.info("not listening for changes: %s", exc)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen_on(self, driver: Any) -> None:
        """Listen until the connection is lost."""
        lost = asyncio.Event()

        def on_lost(connection: Any) -> None:
            lost.set()

        driver.add_termination_listener(on_lost)
        await driver.add_listener(self._channel, self._tell)
        self._tell()  # what has changed before is to be looked for
        try:
            await lost.wait()
        finally:
            driver.remove_termination_listener(on_lost)
            if not driver.is_closed():
                await driver.remove_listener(self._channel, self._tell)

    def _tell(self, *notification: object) -> None:
        for event in self._waiting:
            event.set()


class _Event:
    """The waking of one stream."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event
        self._last = float("-inf")

    async def wait(self, seconds: float) -> None:
        """Wait until something may have changed, at most so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)
        pause = self._last + _PAUSE_SECONDS - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._event.clear()
        self._last = time.monotonic()
