"""`Streams`: `watch_stream` of polls, for adapters over a server or a file."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final, Protocol

from hsorm.errors import StorageUnavailableError, UnknownWatchError
from hsorm.kinds import Ref
from hsorm.ops.watch import WatchRows
from hsorm.storage._listener import Listener

__all__ = ["Streams", "Wake"]

_RETRY_SECONDS: Final = (0.05, 2.0)

# How long a stream waits before it looks by itself: should a wake-up be lost, because the writer
# began before the stream was there, or with the connection.
_LOOK_SECONDS: Final = 1.0

# How long who closes the storage waits for polls that hang.
_END_SECONDS: Final = 5.0


class Wake(Protocol):
    """Tells that something may have changed."""

    async def wait(self, seconds: float) -> None:
        """Wait until something may have changed, at most so long."""
        ...


class Streams(ABC):
    """The part of an adapter that polls a watch whenever there is something to be told."""

    _closings = 0
    """How often the storage was closed: streams from before end."""

    _streaming = 0
    """How many streams are at something that would open the storage again."""

    @abstractmethod
    async def watch_poll(self, watch_id: str, refresh: bool = False) -> WatchRows:
        """Return what has changed since the last poll; see `Watcher.watch_poll`."""

    async def _poll_once(self, watch_id: str, refresh: bool, gone: set[str]) -> WatchRows:
        """Poll a watch; `gone` gets what is removed, if it can also where the answer is lost."""
        rows = await self.watch_poll(watch_id, refresh)
        gone.update(ref.val for ref in rows.removed)
        return rows

    @abstractmethod
    async def _begin_stream(self, watch_id: str) -> dt.timedelta:
        """Return the lease of a watch that is about to be followed.

        Raises:
            UnknownWatchError: There is none.
        """

    @abstractmethod
    def _wakes(self) -> AbstractAsyncContextManager[Wake]:
        """Listen for changes, of whatever process."""

    async def watch_stream(self, watch_id: str) -> AsyncIterator[WatchRows]:
        """Poll a watch whenever there is something to be told; see `Watcher.watch_stream`."""
        closings = self._closings
        with self._at_work():
            lease = await self._begin_stream(watch_id)
        if closings != self._closings:
            return
        # Often enough to renew the lease, whatever may get lost on the way.
        patience = min(lease.total_seconds() / 3, _LOOK_SECONDS)
        async with self._wakes() as wake:
            while (rows := await self._poll_again(watch_id, lease, closings)) is not None:
                if rows or rows.removed:
                    yield rows
                else:
                    with self._at_work():
                        await wake.wait(patience)

    async def _end_streams(self, listener: Listener | None = None) -> None:
        """Have the streams end before the storage is closed, and wait for what they are at."""
        self._closings += 1
        if listener is not None:
            await listener.close()
        deadline = time.monotonic() + _END_SECONDS
        while self._streaming and time.monotonic() < deadline:  # noqa: ASYNC110 - once, and short
            await asyncio.sleep(0.01)

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._streaming += 1
        try:
            yield
        finally:
            self._streaming -= 1

    async def _poll_again(
        self, watch_id: str, lease: dt.timedelta, closings: int
    ) -> WatchRows | None:
        """Poll until it succeeds, as long as the watch can live.

        None when the watch was closed, or the storage, as `closings` tells.
        """
        pause, most = _RETRY_SECONDS
        deadline = time.monotonic() + lease.total_seconds()
        lost = False
        gone: set[str] = set()
        while closings == self._closings:
            try:
                # An answer that was lost may have taken its changes along: then all is told again.
                with self._at_work():
                    rows = await self._poll_once(watch_id, lost, gone)
            except UnknownWatchError as exc:
                if exc.state != "closed":
                    raise
                return None
            except StorageUnavailableError:
                lost = True
                if closings != self._closings:
                    return None
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
                pause = min(pause * 2, most)
            else:
                there = {row["id"].val for row in rows}
                rows.removed = [Ref(id) for id in sorted(gone - there)]
                return rows
        return None
