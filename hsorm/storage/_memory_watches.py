"""The watches of a memory storage (rules P1–P14); the time is an argument."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from hsorm.errors import UnknownWatchError
from hsorm.filter.ast import Node
from hsorm.kinds import Entity, Ref
from hsorm.ops.watch import (
    ENDED_KEPT,
    WatchRows,
    already_open,
    check_dis,
    has_expired,
    id_of_open,
    id_to_join,
    lease_of,
    on_a_filter,
    report,
)
from hsorm.storage._memory_state import MemoryState

__all__ = ["MemoryWatches"]


@dataclass(slots=True)
class _Watch:
    """One watch.

    Attributes:
        ids: The watched ids, with the place in the log from which their changes count.
        filter: What else it is on, if not ids.
        polled: The place up to which changes were reported.
        known: The ids that were there when they were last reported.
    """

    id: str
    dis: str
    lease: dt.timedelta
    renewed: dt.datetime
    polled: int
    filter: Node | None = None
    ids: dict[str, int] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)


class MemoryWatches:
    """All watches over one state."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state
        self._open: dict[str, _Watch] = {}
        # How and when the others have ended.
        self._ended: dict[str, tuple[str, dt.datetime]] = {}

    # ---- opening and closing --------------------------------------------------------------------

    def sub(
        self,
        watch_id: str | None,
        ids: Sequence[str],
        lease: Any,
        dis: str,
        now: dt.datetime,
        *,
        create: bool,
    ) -> WatchRows:
        """Open a watch on ids, or add ids to one; see `Watcher.watch_sub`."""
        name = id_to_join(watch_id, create=create)
        checked, dis = lease_of(lease, watch_id), check_dis(dis, watch_id)
        watch = self._living(name, now) if create else self._get(name, now)
        if watch is None:
            watch = self._new(name, checked, dis, now)
        elif lease is not None:
            watch.lease = checked
        self._ids_only(watch)
        watch.renewed = now
        for id in ids:
            if id not in watch.ids:
                watch.ids[id] = self._state.log.seq
            if self._state.is_there(id):
                watch.known.add(id)
        return self._rows(watch, ids)

    def filter(
        self, node: Node, watch_id: str | None, lease: Any, dis: str, now: dt.datetime
    ) -> WatchRows:
        """Open a watch on a filter; see `Watcher.watch_filter`."""
        name = id_to_join(watch_id)
        checked, dis = lease_of(lease, watch_id), check_dis(dis, watch_id)
        if self._living(name, now) is not None:
            raise already_open(name)
        watch = self._new(name, checked, dis, now)
        watch.filter = node
        watch.known = set(self._state.index.matching(node))
        return self._rows(watch, sorted(watch.known))

    def _new(self, watch_id: str, lease: dt.timedelta, dis: str, now: dt.datetime) -> _Watch:
        self._clear(now - ENDED_KEPT, now)
        watch = _Watch(watch_id, dis, lease, now, self._state.log.seq)
        self._open[watch_id] = watch
        return watch

    def unsub(self, watch_id: str, ids: Sequence[str], now: dt.datetime, *, close: bool) -> None:
        """Take ids out of a watch, or close it; see `Watcher.watch_unsub`."""
        try:
            watch = self._get(watch_id, now)
        except UnknownWatchError:  # which is fine (P10)
            return
        if close:
            self._end(watch, "closed", now)
            return
        if ids:
            self._ids_only(watch)
        watch.renewed = now
        for id in ids:
            watch.ids.pop(id, None)
            watch.known.discard(id)

    def _ids_only(self, watch: _Watch) -> None:
        if watch.filter is not None:
            raise on_a_filter(watch.id)

    # ---- living and ended -----------------------------------------------------------------------

    def _living(self, watch_id: str, now: dt.datetime) -> _Watch | None:
        """Return the watch of an id, None where the id is free for a new one."""
        if watch_id not in self._open and watch_id not in self._ended:
            return None
        return self._get(watch_id, now)

    def _get(self, watch_id: str, now: dt.datetime) -> _Watch:
        watch = self._open.get(id_of_open(watch_id))
        if watch is not None and has_expired(watch.renewed, watch.lease, now):
            self._end(watch, "expired", watch.renewed + watch.lease)
            watch = None
        if watch is None:
            state, _ = self._ended.get(watch_id, ("unknown", None))
            raise UnknownWatchError(watch_id, state)
        return watch

    def _end(self, watch: _Watch, state: str, when: dt.datetime) -> None:
        del self._open[watch.id]
        self._ended[watch.id] = state, when
        self._state.log.wake()

    def _clear(self, until: dt.datetime, now: dt.datetime) -> int:
        """Forget the watches that ended up to a time, and return how many they were."""
        for watch in list(self._open.values()):
            if has_expired(watch.renewed, watch.lease, now):
                self._end(watch, "expired", watch.renewed + watch.lease)
        old = [id for id, (_, when) in self._ended.items() if when <= until]
        for id in old:
            del self._ended[id]
        return len(old)

    def prune(self, older_than: dt.timedelta, now: dt.datetime) -> int:
        """Forget the watches that ended longer ago than this; see `ChangeFeed.prune`."""
        return self._clear(now - older_than, now)

    # ---- polling --------------------------------------------------------------------------------

    def poll(self, watch_id: str, now: dt.datetime, *, refresh: bool) -> WatchRows:
        """Return what has changed; see `Watcher.watch_poll`."""
        watch = self._get(watch_id, now)
        watch.renewed = now
        rows, removed = self._report(watch, refresh=refresh)
        watch.polled = self._state.log.seq
        watch.known.update(rows)
        watch.known.difference_update(removed)
        return self._rows(watch, rows, removed)

    def _report(self, watch: _Watch, *, refresh: bool) -> tuple[list[str], list[str]]:
        if watch.polled == self._state.log.seq and not refresh:
            return [], []  # most polls
        if watch.filter is None:
            changed = watch.ids if refresh else self._changed(watch)
            return report(watch.known, changed, self._state.is_there)
        matching = self._state.index.matching(watch.filter)
        shown = set(matching) if refresh else self._shown(watch, matching)
        return report(watch.known, shown | (watch.known - matching), matching.__contains__)

    def _shown(self, watch: _Watch, matching: Set[str]) -> set[str]:
        """Return what has begun to match, and what has changed and still does."""
        place_of = self._state.log.place_of
        changed = {id for id in watch.known & matching if place_of(id) > watch.polled}
        return changed | (matching - watch.known)

    def _changed(self, watch: _Watch) -> set[str]:
        """Return the ids of a watch that have changed since it last reported them."""
        log, ids = self._state.log, watch.ids
        if log.seq - watch.polled < len(ids):
            changed = {id for seq, id in log.since(watch.polled) if seq > ids.get(id, seq)}
        else:
            changed = {id for id, base in ids.items() if log.place_of(id) > max(base, watch.polled)}
        if log.forgotten > watch.polled:  # a removal that nobody remembers
            changed |= {id for id in watch.known if not self._state.is_there(id)}
        return changed

    def _rows(self, watch: _Watch, ids: Iterable[str], removed: Iterable[str] = ()) -> WatchRows:
        return WatchRows(
            map(self._row, ids),
            watch_id=watch.id,
            lease=watch.lease,
            removed=map(Ref, removed),
        )

    def _row(self, id: str) -> Entity:
        return self._state.index.copy_of(id) if self._state.is_there(id) else {}
