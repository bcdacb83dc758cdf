"""What has changed in memory, and when: the order that watches and the change feed follow."""

from __future__ import annotations

import asyncio
import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from operator import itemgetter

from hsorm.ops.watch import RETENTION

__all__ = ["ChangeLog"]

_LATE = dt.timedelta(hours=1)  # by which removals are forgotten late: many at a time

_SPARE = 1_000  # outdated places that are not worth clearing away


class ChangeLog:
    """A counter of changes, and for each id the place of its last one.

    Attributes:
        seq: The place of the last change of all.
        forgotten: The last place of a removal that is no longer known.
    """

    def __init__(self) -> None:
        self.seq = 0
        self.forgotten = 0
        self._last: dict[str, int] = {}
        self._his: dict[str, int] = {}
        self._removed: dict[str, dt.datetime] = {}
        # All places in order; those that are not in `_last` any more are outdated.
        self._order: list[tuple[int, str]] = []
        self._waiting: set[asyncio.Event] = set()

    # ---- writing --------------------------------------------------------------------------------

    def note(self, id: str) -> None:
        """Note that an entity has changed."""
        self.seq += 1
        self._last[id] = self.seq
        self._order.append((self.seq, id))
        if self._removed:
            self._removed.pop(id, None)
        if len(self._order) > 2 * len(self._last) + _SPARE:
            self._order = [place for place in self._order if self._last.get(place[1]) == place[0]]
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits have a look."""
        for event in self._waiting:
            event.set()

    def note_history(self, id: str) -> None:
        """Note that history of an entity was written (H33)."""
        self.note(id)
        self._his[id] = self.seq

    def note_removal(self, id: str, now: dt.datetime) -> None:
        """Note that an entity is there no more."""
        self.note(id)
        self._his.pop(id, None)
        self._removed[id] = now
        # In order of time, so that one look says whether there is anything to forget.
        if next(iter(self._removed.values())) <= now - RETENTION - _LATE:
            self.forget(now - RETENTION)

    def forget(self, until: dt.datetime) -> int:
        """Forget the removals up to a time, and return how many they were."""
        old = [id for id, when in self._removed.items() if when <= until]
        for id in old:
            del self._removed[id]
            self.forgotten = max(self.forgotten, self._last.pop(id))
        return len(old)

    # ---- reading --------------------------------------------------------------------------------

    def place_of(self, id: str) -> int:
        """Return the place of an id's last change, 0 where it has none."""
        return self._last.get(id, 0)

    def history_since(self, id: str, seq: int) -> bool:
        """Tell whether history of an entity was written after a place."""
        return self._his.get(id, 0) > seq

    def since(self, seq: int) -> Iterator[tuple[int, str]]:
        """Yield what has changed after a place, each id once, the oldest change first."""
        order = self._order
        for i in range(bisect_right(order, seq, key=itemgetter(0)), len(order)):
            place, id = order[i]
            if self._last.get(id) == place:
                yield place, id

    async def wait(self, seq: int, seconds: float) -> None:
        """Wait until something changes after a place, or until a time has passed."""
        if self.seq > seq:
            return
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            # Not `wait_for`: until Python 3.12 it loses a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await event.wait()
        finally:
            self._waiting.discard(event)
