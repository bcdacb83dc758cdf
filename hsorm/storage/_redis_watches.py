"""`RedisWatches`: watches and the change feed, exact by the stamps of each bucket."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from hsorm.errors import CursorExpiredError, InvalidCursorError, UnknownWatchError
from hsorm.filter import parse, print_filter
from hsorm.filter.ast import Node
from hsorm.filter.parser import node_of
from hsorm.kinds import Entity, Ref, id_texts
from hsorm.ops import watch as rules
from hsorm.ops.watch import Change, Changes, WatchRows
from hsorm.redis_ops import scripts
from hsorm.redis_ops.client import redis_errors
from hsorm.redis_ops.entities import entity_of
from hsorm.redis_ops.keys import Bucket, is_possible
from hsorm.storage._listener import Listener, Tell
from hsorm.storage._redis_reads import Found, RedisReads
from hsorm.storage._shared import page_size, utc_now
from hsorm.storage._streams import Streams, Wake
from hsorm.storage.protocol import Duration, Id

__all__ = ["RedisWatches"]

_log = logging.getLogger(__name__)

_PRUNE_SECONDS: Final = 3_600.0

_PING_SECONDS: Final = 5.0
"""A listener that has heard nothing for so long sees whether its connection is still there."""


@dataclass(frozen=True, slots=True)
class _Watch:
    """A watch whose lease was just renewed."""

    id: str
    filter: Node | None
    lease: dt.timedelta


class RedisWatches(RedisReads, Streams):
    """The part of a Redis adapter that tells what has changed."""

    _pruned = float("-inf")
    _listener: Listener | None = None

    # ---- opening and closing --------------------------------------------------------------------

    async def watch_sub(
        self,
        watch_id: str | None,
        ids: Iterable[Id],
        *,
        lease: Duration | None = None,
        dis: str = "",
        create: bool = True,
    ) -> WatchRows:
        """Open a watch on entities, or add entities to one; see `Watcher.watch_sub`."""
        wanted = id_texts(ids)
        name = rules.id_to_join(watch_id, create=create)
        asked = None if lease is None else rules.lease_of(lease, watch_id)
        dis = rules.check_dis(dis, watch_id)
        await self._sweep_if_due()
        _, watch = await self._head(name, asked, opens=create, dis=dis)
        if watch.filter is not None:
            raise rules.on_a_filter(name)
        found: dict[str, Sequence[bytes]] = {}
        possible = [id for id in dict.fromkeys(wanted) if is_possible(id)]
        for bucket, own in self.layout.by_bucket(possible).items():
            _, rows = await self.transactions.run(bucket, scripts.WATCH_JOIN, name, *own)
            found |= zip(own, rows, strict=True)
        # Decoded for each place anew: the caller may change one without changing the other.
        now = [_shown(id, found.get(id)) for id in wanted]
        return WatchRows(now, watch_id=name, lease=watch.lease)

    async def watch_filter(
        self,
        filter_str: str | Node,
        watch_id: str | None = None,
        *,
        lease: Duration | None = None,
        dis: str = "",
    ) -> WatchRows:
        """Open a watch on whatever matches a filter; see `Watcher.watch_filter`."""
        node = node_of(filter_str)
        name = rules.id_to_join(watch_id)
        effective, dis = rules.lease_of(lease, watch_id), rules.check_dis(dis, watch_id)
        await self._sweep_if_due()
        state, _ = await self._head(name, effective, opens=True, dis=dis, filter=print_filter(node))
        if state != b"new":
            raise rules.already_open(name)
        rows, _ = await self._poll_filter(name, node, True, set())
        return WatchRows(rows, watch_id=name, lease=effective)

    async def watch_unsub(self, watch_id: str, ids: Iterable[Id], *, close: bool = False) -> None:
        """Take entities out of a watch, or close it; see `Watcher.watch_unsub`."""
        dropped = [id for id in id_texts(ids) if is_possible(id)]
        try:
            watch = await self._find(watch_id)
        except UnknownWatchError:  # which is fine (P10)
            return
        if close:
            await self._close_watch(watch_id)
            return
        if dropped and watch.filter is not None:
            raise rules.on_a_filter(watch_id)
        for bucket, own in self.layout.by_bucket(dropped).items():
            await self.server.run(bucket, scripts.WATCH_LEAVE, watch_id, *own)

    async def _close_watch(self, watch_id: str) -> None:
        home, channel = self.layout.bucket_of(watch_id), self.layout.channel
        await self.server.run(home, scripts.WATCH_CLOSE, watch_id, channel)
        await self._forget_members([watch_id])

    async def _forget_members(self, watches: Iterable[str]) -> None:
        for watch in watches:
            for bucket in self.layout.buckets:
                await self.server.run(bucket, scripts.WATCH_LEAVE, watch)

    async def _find(self, watch_id: str) -> _Watch:
        """Return a watch and renew its lease.

        Raises:
            UnknownWatchError: There is none, or it has ended.
        """
        return (await self._head(rules.id_of_open(watch_id)))[1]

    async def _head(
        self,
        watch_id: str,
        lease: dt.timedelta | None = None,
        *,
        opens: bool = False,
        dis: str = "",
        filter: str = "",
    ) -> tuple[bytes, _Watch]:
        """Return what a watch is (`new`, `open`), and the watch with its lease renewed."""
        await self._ready()
        asked = lease or (rules.DEFAULT_LEASE if opens else None)
        home = self.layout.bucket_of(watch_id)
        state, *told = await self.transactions.run(
            home, scripts.WATCH_HEAD, watch_id, int(opens), _millis(lease), _millis(asked), dis,
            filter,
        )  # fmt: skip
        if state not in (b"new", b"open"):
            raise UnknownWatchError(watch_id, state.decode())
        text, millis = told
        node = parse(text.decode()) if text else None
        return state, _Watch(watch_id, node, dt.timedelta(milliseconds=int(millis)))

    # ---- polling --------------------------------------------------------------------------------

    async def watch_poll(self, watch_id: str, refresh: bool = False) -> WatchRows:
        """Return what has changed since the last poll; see `Watcher.watch_poll`."""
        return await self._poll_once(watch_id, refresh, None)

    async def _poll_once(self, watch_id: str, refresh: bool, gone: set[str] | None) -> WatchRows:
        """Poll a watch; `gone` gets what is removed before anything notes that it was told."""
        await self._sweep_if_due()
        await self._prune_if_due()
        watch = await self._find(watch_id)
        if watch.filter is None:
            rows, removed = await self._poll_ids(watch_id, refresh, gone)
        else:
            noted = set[str]() if gone is None else gone
            rows, removed = await self._poll_filter(watch_id, watch.filter, refresh, noted)
        return WatchRows(
            rows, watch_id=watch_id, lease=watch.lease, removed=[Ref(id) for id in removed]
        )

    async def _poll_ids(
        self, watch_id: str, refresh: bool, gone: set[str] | None
    ) -> tuple[list[Entity], list[str]]:
        rows: list[Entity] = []
        removed: list[str] = []
        for bucket in self.layout.buckets:
            found, left = await self._changed(watch_id, bucket, refresh, gone)
            rows += [entity_of(tags, live, id.decode()) for id, tags, live in found]
            removed += left
        return sorted(rows, key=lambda row: str(row["id"].val)), sorted(removed)

    async def _changed(
        self, watch_id: str, bucket: Bucket, refresh: bool, gone: set[str] | None
    ) -> tuple[list[Sequence[bytes]], list[str]]:
        """Return what has changed among the ids of a watch in a bucket, and which are gone.

        In one step where nobody asks what is gone beforehand, else in two: the first, which notes
        nothing of what it tells, can be repeated.
        """
        looks = gone is not None
        while True:
            _, found, left, count, stamp, notes = await self.transactions.run(
                bucket, scripts.WATCH_CHANGED, watch_id, int(refresh), int(looks), reads=looks
            )
            removed = [id.decode() for id in left]
            if gone is None or not notes:
                return found, removed
            gone.update(removed)
            if await self._settle(watch_id, bucket, count, stamp, notes):
                return found, removed
            gone.difference_update(removed)  # which somebody else has told

    async def _poll_filter(
        self, watch_id: str, filter: Node, refresh: bool, gone: set[str]
    ) -> tuple[list[Entity], list[str]]:
        """Return what has begun to match or changed, and what does not match any longer.

        Which entities match may hang on others, in other buckets: so where anything has changed,
        all that match are compared with what was told of each.
        """
        while True:
            parts = {bucket: await self._known(watch_id, bucket) for bucket in self.layout.buckets}
            if not refresh and all(part.stamp == part.told_to for part in parts.values()):
                return [], []
            parts = {
                bucket: await self._known(watch_id, bucket, whole=True)
                for bucket in self.layout.buckets
            }
            matching = await self._matching(filter, stamped=True)
            by_bucket: dict[Bucket, list[Found]] = {bucket: [] for bucket in parts}
            for one in matching:
                by_bucket[self.layout.bucket_of(one.entity["id"].val)].append(one)
            rows: list[Entity] = []
            removed: list[str] = []
            settled = True
            for bucket, part in parts.items():
                new, left = part.differences(by_bucket[bucket], refresh=refresh)
                told = [text for one in new for text in (one.entity["id"].val, one.stamp)]
                gone.update(left)
                if await self._settle(watch_id, bucket, part.count, part.stamp, told, left):
                    rows += [one.entity for one in new]
                    removed += left
                else:
                    gone.difference_update(left)
                    settled = False
            # What another poller has told of one bucket meanwhile, it has told.
            if settled or rows or removed:
                return sorted(rows, key=lambda row: str(row["id"].val)), sorted(removed)

    async def _known(self, watch_id: str, bucket: Bucket, *, whole: bool = False) -> _Part:
        _, stamp, told_to, count, *more = await self.transactions.run(
            bucket, scripts.WATCH_KNOWN, watch_id, int(whole), reads=True
        )
        told, written = more if whole else ([], [])
        pairs = zip(told[::2], told[1::2], strict=True)
        return _Part(
            stamp.decode(),
            told_to.decode(),
            count.decode(),
            {id.decode(): at.decode() for id, at in pairs},
            {id.decode() for id in written},
        )

    async def _settle(
        self,
        watch_id: str,
        bucket: Bucket,
        count: str | bytes,
        stamp: str | bytes,
        told: Sequence[str | bytes],
        forgotten: Sequence[str] = (),
    ) -> bool:
        """Note what is about to be told; False where another poller has told something since."""
        answer = await self.transactions.run(
            bucket,
            scripts.WATCH_SETTLE,
            watch_id,
            count,
            stamp,
            len(told) // 2,
            *told,
            *forgotten,
        )
        return bool(answer[0] == b"done")

    # ---- streaming ------------------------------------------------------------------------------

    async def _begin_stream(self, watch_id: str) -> dt.timedelta:
        return (await self._find(watch_id)).lease

    @asynccontextmanager
    async def _wakes(self) -> AsyncIterator[Wake]:
        self._listener = self._listener or Listener(self._listen)
        async with self._listener.wake() as wake:
            yield wake

    async def _listen(self, tell: Tell) -> None:
        """Listen until the connection is lost: on one of its own, to any node of a cluster."""
        await self._ready()
        with redis_errors(self.url):
            async with self.server.node(self.layout.buckets[0]).pubsub() as listening:
                await listening.subscribe(self.layout.channel)
                while True:
                    # The first message is that of having subscribed.
                    if await listening.get_message(timeout=_PING_SECONDS) is None:
                        await listening.ping()
                    else:
                        tell()

    async def close(self) -> None:
        """Close the storage; see `StorageAdapter.close`."""
        await self._end_streams(self._listener)
        await super().close()

    # ---- the change feed ------------------------------------------------------------------------

    async def changes(self, since: str | None = None, *, limit: int = 10_000) -> Changes:
        """Return what has changed since a place in the feed; see `ChangeFeed.changes`."""
        limit = page_size(limit)
        await self._ready()
        await self._sweep_if_due()
        places = [0] * len(self.layout.buckets) if since is None else self._places(since)
        told: list[Change] = []
        more = True
        while more and len(told) < limit:
            page, places, more = await self._page(places, limit - len(told), since)
            # Who knows of nothing need not hear of what is gone.
            told += [one for one in page if since is not None or one.entity is not None]
        cursor = f"redis/{self._token}/{'.'.join(map(str, places))}"
        return Changes(told, cursor=cursor, more=more)

    async def _page(
        self, places: Sequence[int], limit: int, since: str | None
    ) -> tuple[list[Change], list[int], bool]:
        """Return the next changes of all buckets, the places behind them, and whether more."""
        found: list[tuple[int, int, Change]] = []
        ends: list[int] = []
        for bucket, place in zip(self.layout.buckets, places, strict=True):
            _, stamp, forgotten, rows = await self.transactions.run(
                bucket, scripts.FEED, place, limit + 1, reads=True
            )
            if since is not None and not int(forgotten) <= place <= int(stamp):
                raise CursorExpiredError(since)
            ends.append(int(stamp))
            found += [(int(row[1]), bucket.number, _change(row)) for row in rows]
        found.sort(key=lambda one: one[:2])
        part = found[:limit]
        if len(found) > limit:
            ends = list(places)
            for stamp, number, _ in part:
                ends[number] = stamp
        return [change for _, _, change in part], ends, len(found) > limit

    def _places(self, cursor: str) -> list[int]:
        backend, token, text = [*str(cursor).split("/"), "", "", ""][:3]
        try:
            places = [int(place) for place in text.split(".") if place.isdecimal()]
        except ValueError:
            places = []
        if backend != "redis" or text != ".".join(map(str, places)) or not text:
            raise InvalidCursorError(cursor)
        if token != self._token or len(places) != len(self.layout.buckets):
            raise CursorExpiredError(cursor)
        return places

    async def prune(self, older_than: dt.timedelta = rules.RETENTION) -> int:
        """Forget removals and ended watches; see `ChangeFeed.prune`."""
        await self._ready()
        self._pruned = time.monotonic()
        before = int((utc_now() - older_than).timestamp() * 1000)
        count = 0
        for bucket in self.layout.buckets:
            _, removals, watches = await self.transactions.run(bucket, scripts.PRUNE, before)
            count += removals + len(watches)
            await self._forget_members(watch.decode() for watch in watches)
        return count

    async def _prune_if_due(self) -> None:
        if time.monotonic() - self._pruned > _PRUNE_SECONDS:
            await self.prune()


@dataclass(frozen=True, slots=True)
class _Part:
    """How far a watch on a filter has followed a bucket.

    Attributes:
        stamp: The last one of the bucket.
        told_to: The one up to which history writes were told.
        count: How often something was told.
        told: By the ids that matched, the stamp that was told.
        written: The ids whose history was written since.
    """

    stamp: str
    told_to: str
    count: str
    told: dict[str, str]
    written: set[str]

    def differences(
        self, matching: Sequence[Found], *, refresh: bool
    ) -> tuple[list[Found], list[str]]:
        """Return of what matches now that which is to be told, and what does not any longer."""
        new = [one for one in matching if refresh or self._is_new(one)]
        here = {one.entity["id"].val for one in matching}
        return new, sorted(self.told.keys() - here)

    def _is_new(self, one: Found) -> bool:
        id = one.entity["id"].val
        return self.told.get(id) != one.stamp or id in self.written


def _shown(id: str, row: Sequence[bytes] | None) -> Entity:
    return entity_of(row[0], row[1], id) if row else {}


def _change(row: Sequence[Any]) -> Change:
    id, _, tags, live, trashed, his = row
    there = tags is not None and trashed != b"1"
    entity = entity_of(tags, live, id.decode()) if there else None
    return Change(Ref(id.decode()), entity, bool(his))


def _millis(lease: dt.timedelta | None) -> str:
    return "" if lease is None else str(max(1, int(lease.total_seconds() * 1000)))
