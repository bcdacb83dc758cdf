"""`Listener`: one connection that hears of changes, for all streams of an adapter."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from hsorm.errors import StorageError, StorageUnavailableError

__all__ = ["Listen", "Listener", "Tell"]

Tell: TypeAlias = Callable[..., None]
"""What is to be called at every change, whatever it is called with."""

Listen: TypeAlias = Callable[[Tell], Awaitable[None]]
"""Listens until the connection is lost; once it does, it tells so, for what was missed before."""

_log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.2

# A burst of commits wakes a stream this often at the most: it polls once for many of them.
_PAUSE_SECONDS: Final = 0.02


class Listener:
    """Listens as long as somebody waits, on a connection of its own; one that is lost is replaced.

    Notifications only wake up who waits. What is lost of them delays a stream until it looks by
    itself; what there is to tell is in the database.

    Args:
        listen: How to listen.
    """

    def __init__(self, listen: Listen) -> None:
        self._listen_once = listen
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
        """Listen no longer; who waits has a look now, and then looks by itself."""
        if self._task is not None:
            task, self._task = self._task, None
            while not task.done():  # a driver may lose a cancellation: see `redis_ops.client`
                task.cancel()
                # Not for its outcome: a cancellation here is the caller's.
                await asyncio.wait([task], timeout=_RETRY_SECONDS)
        self._tell()

    async def _listen(self) -> None:
        while True:
            try:
                await self._listen_once(self._tell)
            except (StorageError, StorageUnavailableError) as exc:
                _log.info("not listening for changes: %s", exc)
            await asyncio.sleep(_RETRY_SECONDS)

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
        # Not `wait_for`: until Python 3.12 it loses a cancellation that comes with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        pause = self._last + _PAUSE_SECONDS - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)
        self._event.clear()
        self._last = time.monotonic()
