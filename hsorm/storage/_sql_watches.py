"""`SqlWatches`: watches and the change feed, exact by `hsorm.sql.stamps`."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from sqlalchemy import Executable

from hsorm.codecs import hayson
from hsorm.errors import (
    CodecError,
    CursorExpiredError,
    InvalidCursorError,
    UnknownWatchError,
)
from hsorm.filter import parse, print_filter
from hsorm.filter.ast import Node, size_of
from hsorm.filter.parser import node_of
from hsorm.kinds import Entity, Ref, id_texts, is_storable
from hsorm.ops import watch as rules
from hsorm.ops.watch import Change, Changes, WatchRows
from hsorm.sql import watching
from hsorm.sql.models import Tables
from hsorm.sql.stamps import Cursor
from hsorm.storage._remembered import Remembered
from hsorm.storage._shared import page_size, utc_now
from hsorm.storage._sql_core import Statement, Work, as_listed, entity_of
from hsorm.storage._sql_points import SqlPoints
from hsorm.storage._streams import Streams
from hsorm.storage.protocol import Duration, Id

__all__ = ["Make", "SqlWatches", "of_filter"]

_log = logging.getLogger(__name__)

_EVERYTHING: Final = Cursor(2**62)
"""A cursor that has seen all there will ever be."""

_PRUNE_SECONDS: Final = 3_600.0


Make: TypeAlias = Callable[[Tables, Node], Executable]
"""Makes a statement over a filter."""

_SHORT_FILTER: Final = 4_096


def of_filter(make: Make, filter: Node, tables: Tables, dialect: str) -> Executable:
    """Make a statement over a filter; with the first two given, it is a `Statement`."""
    return make(tables, filter)


def _is_short(asked: tuple[Make, Node], statement: Statement) -> bool:
    return size_of(asked[1]) <= _SHORT_FILTER


@dataclass(frozen=True, slots=True)
class _Watch:
    """A watch as it is stored, locked for one transaction."""

    id: str
    filter: Node | None
    cursor: Cursor
    lease: dt.timedelta


class SqlWatches(SqlPoints, Streams):
    """The part of a SQL adapter that tells what has changed."""

    _pruned = float("-inf")

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._made: Remembered[tuple[Make, Node], Statement] = Remembered(1_024, _is_short)

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
        async with self._work() as work:
            watch = await (self._find if create else self._live_watch)(work, name)
            if watch is not None and watch.filter is not None:
                raise rules.on_a_filter(name)
            now, found = _read(await work.fetch(watching.current_of, ids=as_listed(wanted)))
            there = {id: (tags, live) for id, tags, live in found}
            # Decoded for each place anew: the caller may change one without changing the other.
            rows = [_shown(id, *there[id]) if id in there else {} for id in wanted]
            if watch is None:
                watch = await self._open(work, name, now, asked or rules.DEFAULT_LEASE, dis)
            else:
                watch = await self._renew(work, watch, watch.cursor, asked)
            known = {row["id"].val for row in rows if row}
            await self._join(work, name, now, set(wanted), known)
            # Of those that are in the watch already, too: what it has shown, it tells the end of.
            await self._mark(work, name, known, True)
        return WatchRows(rows, watch_id=name, lease=watch.lease)

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
        async with self._work() as work:
            if await self._find(work, name) is not None:
                raise rules.already_open(name)
            now, found = _read(await work.fetch(self._by_filter(watching.current_matching, node)))
            there = _there(found)
            await self._open(work, name, now, effective, dis, print_filter(node))
            await self._join(work, name, now, set(there), there.keys())
        rows = [there[id] for id in sorted(there)]
        return WatchRows(rows, watch_id=name, lease=effective)

    async def watch_unsub(self, watch_id: str, ids: Iterable[Id], *, close: bool = False) -> None:
        """Take entities out of a watch, or close it; see `Watcher.watch_unsub`."""
        dropped = id_texts(ids)
        async with self._work() as work:
            try:
                watch = await self._live_watch(work, watch_id)
            except UnknownWatchError:  # which is fine (P10)
                return
            if close:
                await work.fetch(
                    watching.close_watch, watch=watch_id, closed=True, expires=utc_now()
                )
                await work.fetch(watching.drop_all_members, ids=as_listed([watch_id]))
                return
            if dropped and watch.filter is not None:
                raise rules.on_a_filter(watch_id)
            await work.fetch(watching.drop_members, watch=watch_id, ids=as_listed(dropped))
            await self._renew(work, watch, watch.cursor)

    async def _find(self, work: Work, watch_id: str) -> _Watch | None:
        """Return a watch that has not ended, None where its id was never used."""
        rows = await work.fetch(watching.lock_watch, watch=watch_id)
        if not rows:
            return None
        filter, cursor, lease, expires, closed = rows[0]
        if closed or expires < utc_now():
            raise UnknownWatchError(watch_id, "closed" if closed else "expired")
        node = None if filter is None else parse(filter)
        return _Watch(watch_id, node, Cursor.parse(cursor), dt.timedelta(seconds=lease))

    async def _live_watch(self, work: Work, watch_id: str) -> _Watch:
        watch = await self._find(work, rules.id_of_open(watch_id))
        if watch is None:
            raise UnknownWatchError(watch_id)
        return watch

    async def _open(
        self,
        work: Work,
        watch_id: str,
        now: Cursor,
        lease: dt.timedelta,
        dis: str,
        filter: str | None = None,
    ) -> _Watch:
        opened = await work.fetch(
            watching.open_watch,
            watch=watch_id,
            dis=dis,
            filter=filter,
            cursor=str(now),
            lease=lease.total_seconds(),
            expires=utc_now() + lease,
            closed=False,
            pushed=False,
        )
        if not opened:
            raise rules.already_open(watch_id)  # by somebody else, just now
        return _Watch(watch_id, None, now, lease)

    async def _renew(
        self, work: Work, watch: _Watch, cursor: Cursor, lease: dt.timedelta | None = None
    ) -> _Watch:
        lease = lease or watch.lease
        await work.fetch(
            watching.renew_watch,
            watch=watch.id,
            cursor=str(cursor),
            lease=lease.total_seconds(),
            expires=utc_now() + lease,
        )
        return _Watch(watch.id, watch.filter, cursor, lease)

    async def _join(
        self, work: Work, watch_id: str, now: Cursor, ids: Iterable[str], there: Iterable[str]
    ) -> None:
        there = set(there)
        for known in (True, False):
            rows = [{"id": id} for id in sorted(ids) if (id in there) is known and is_storable(id)]
            if rows:
                joining = hayson.to_json(rows).decode()
                await work.fetch(
                    watching.add_members, watch=watch_id, since=str(now), known=known, rows=joining
                )

    # ---- polling --------------------------------------------------------------------------------

    async def watch_poll(self, watch_id: str, refresh: bool = False) -> WatchRows:
        """Return what has changed since the last poll; see `Watcher.watch_poll`."""
        return await self._poll_once(watch_id, refresh, set())

    async def _poll_once(self, watch_id: str, refresh: bool, gone: set[str]) -> WatchRows:
        """Poll a watch; `gone` gets what is removed even if the answer to the commit is lost."""
        await self._sweep_if_due()
        await self._prune_if_due()

        async def poll(work: Work) -> WatchRows:
            watch = await self._live_watch(work, watch_id)
            # By a statement of its own: that which waited for the watch sees how far changes had
            # come before.
            ((current, size),) = await work.fetch(watching.cursor_and_size, watch=watch_id)
            # A cursor of the future is of another server, whose dump was restored here.
            astray = watch.cursor.following > Cursor.parse(current).following
            changed = watching.changed_few if size <= watching.FEW else watching.changed_members
            rows, removed, now = await self._poll(
                work, watch, None if refresh or astray else changed
            )
            gone.update(removed)
            await self._renew(work, watch, now)
            refs = [Ref(id) for id in removed]
            return WatchRows(rows, watch_id=watch_id, lease=watch.lease, removed=refs)

        return await self._in_transaction(poll)

    async def _poll(
        self, work: Work, watch: _Watch, changed: Statement | None
    ) -> tuple[list[Entity], list[str], Cursor]:
        """Return the entities to report, the ids that are gone, and how far that goes.

        Args:
            work: The transaction.
            watch: The watch.
            changed: What finds the changes of a watch on ids; None reports all.
        """
        if watch.filter is None:
            return await self._poll_ids(work, watch, changed)
        return await self._poll_filter(work, watch, watch.filter, changed is None)

    async def _poll_ids(
        self, work: Work, watch: _Watch, changes: Statement | None
    ) -> tuple[list[Entity], list[str], Cursor]:
        if changes is None:
            found = await work.fetch(watching.current_members, watch=watch.id)
            now, rows = _read(found)
            changed = {row[0]: row for row in rows}
        else:
            found = await work.fetch(changes, watch=watch.id, **watch.cursor.bound())
            now, rows = _read(found)
            changed = {row[0]: row for row in rows if not Cursor.parse(row[4]).sees(row[5])}
        there = _there(changed.values())
        known = {id for id, row in changed.items() if row[3]}
        reported, removed = rules.report(known, changed, there.__contains__)
        await self._mark(work, watch.id, set(reported) - known, True)
        await self._mark(work, watch.id, removed, False)
        return [there[id] for id in reported], removed, now

    async def _mark(self, work: Work, watch_id: str, ids: Iterable[str], known: bool) -> None:
        if listed := list(ids):
            await work.fetch(
                watching.mark_members, watch=watch_id, ids=as_listed(listed), known=known
            )

    async def _poll_filter(
        self, work: Work, watch: _Watch, filter: Node, refresh: bool
    ) -> tuple[list[Entity], list[str], Cursor]:
        make = watching.all_matching if refresh else watching.changed_matching
        values = {} if refresh else watch.cursor.bound()
        found = await work.fetch(self._by_filter(make, filter), watch=watch.id, **values)
        now, rows = _read(found)
        there = _there(rows)
        removed = sorted(id for id, tags, _, _ in rows if tags is None)
        entered = {id for id, _, _, known in rows if id in there and not known}
        await self._join(work, watch.id, now, entered, entered)
        if removed:
            await work.fetch(watching.drop_members, watch=watch.id, ids=as_listed(removed))
        return [there[id] for id in sorted(there)], removed, now

    def _by_filter(self, make: Make, filter: Node) -> Statement:
        """Return a statement over a filter; of one that is not large the same one each time."""
        found = self._made.get((make, filter))
        if found is None:
            found = partial(of_filter, make, filter)
            self._made.put((make, filter), found)
        return found

    # ---- streaming ------------------------------------------------------------------------------

    async def _begin_stream(self, watch_id: str) -> dt.timedelta:
        async with self._work() as work:
            watch = await self._live_watch(work, watch_id)
            await work.fetch(watching.push_watch, watch=watch_id, pushed=True)
        return watch.lease

    # ---- the change feed ------------------------------------------------------------------------

    async def changes(self, since: str | None = None, *, limit: int = 10_000) -> Changes:
        """Return what has changed since a place in the feed; see `ChangeFeed.changes`."""
        limit = page_size(limit)
        await self._sweep_if_due()
        place = _Place() if since is None else self._place(since)
        told: list[Change] = []
        while True:
            page, following = await self._pass(place, limit - len(told), since or "")
            told += page
            # A pass that began with an earlier call may be over while there is more by now.
            began_earlier = place.until is not None
            place = following
            if place.until is not None or not began_earlier or len(told) == limit:
                break
        cursor = f"{self.dialect.name}/{place}"
        return Changes(told, cursor=cursor, more=place.until is not None)

    async def _pass(self, place: _Place, limit: int, cursor: str) -> tuple[list[Change], _Place]:
        """Return a part of a pass over the feed, and the place behind it."""
        statement, values = watching.feed_of_all, {}
        if place.since is not None:
            statement, values = watching.feed, place.since.bound()
        until = (place.until or _EVERYTHING).bound("until")
        rows = await self._look(
            statement, at=place.at, after=place.after, limit=limit + 1, **values, **until
        )
        now, found = _read(rows)
        since, forgotten = place.since, rows[0][1]
        # What is of the future is of another server, whose dump was restored here: a cursor leads
        # nowhere, and what was forgotten there is no loss to any cursor of this one.
        if forgotten is not None and forgotten >= now.following:
            forgotten = None
        if since is not None and not (
            since.knows_all_to(forgotten) and since.following <= now.following
        ):
            raise CursorExpiredError(cursor)
        until_then = place.until or now
        following = _Place(until_then)
        if len(found) > limit:
            last = found[limit - 1]
            following = _Place(place.since, until_then, last[4], last[0])
        return [_change(*row[:4]) for row in found[:limit]], following

    def _place(self, cursor: str) -> _Place:
        backend, _, text = cursor.partition("/") if isinstance(cursor, str) else ("", "", "")
        place = _Place.parse(text) if backend == self.dialect.name else None
        if place is None:
            raise InvalidCursorError(cursor)
        return place

    async def prune(self, older_than: dt.timedelta = rules.RETENTION) -> int:
        """Forget removals and ended watches; see `ChangeFeed.prune`."""
        self._pruned = time.monotonic()
        now = utc_now()
        before = now - older_than
        # What is older than the longest lease is known to every watch that lives.
        written_before = now - max(older_than, rules.MAX_LEASE)

        async def forget(work: Work) -> int:
            removals = await work.fetch(watching.forget_removals, before=before)
            written = await work.fetch(watching.forget_history, before=written_before)
            await self._note_forgotten(work, [stamp for (stamp,) in (*removals, *written)])
            watches = [id for (id,) in await work.fetch(watching.forget_watches, before=before)]
            if watches:
                await work.fetch(watching.drop_all_members, ids=as_listed(watches))
            return len(removals) + len(watches)

        return await self._in_transaction(forget)

    async def _note_forgotten(self, work: Work, stamps: Iterable[int]) -> None:
        ((current,),) = await work.fetch(watching.current_cursor)
        following = Cursor.parse(current).following
        # Those of the future are of another server, see `_pass`.
        if own := [stamp for stamp in stamps if stamp < following]:
            await work.fetch(watching.note_forgotten, stamp=max(own), following=following)

    async def _prune_if_due(self) -> None:
        if time.monotonic() - self._pruned > _PRUNE_SECONDS:
            await self.prune()


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the feed, `since|until|at|after` as text.

    A pass over the feed is what has changed since one cursor and up to another, in order of stamp
    and id; `at` and `after` are those told last. At the end of a pass `until` becomes `since`.
    """

    since: Cursor | None = None
    until: Cursor | None = None
    at: int = -1
    after: str = ""

    def __str__(self) -> str:
        cursors = ("" if cursor is None else str(cursor) for cursor in (self.since, self.until))
        return "|".join((*cursors, str(self.at), self.after))

    @classmethod
    def parse(cls, text: str) -> _Place | None:
        """Return the place of a text, None where it is none."""
        parts = text.split("|", 3)
        try:
            since, until, at, after = parts
            place = cls(_cursor(since), _cursor(until), int(at), after)
        except ValueError:
            return None
        numbers = [place.at, *(n for c in (place.since, place.until) if c for n in c.numbers)]
        return place if is_storable(after) and all(-1 <= n < 2**63 for n in numbers) else None


def _cursor(text: str) -> Cursor | None:
    return Cursor.parse(text) if text else None


def _change(id: str, tags: str | None, live: str | None, his: int) -> Change:
    entity = None if tags is None else _shown(id, tags, live)
    return Change(Ref(id), entity or None, bool(his))


def _there(rows: Iterable[Any]) -> dict[str, Entity]:
    """Return by id the entities that rows of `id`, `tags`, `live` and more show."""
    return {
        id: entity
        for id, tags, live, *_ in rows
        if tags is not None and (entity := _shown(id, tags, live))
    }


def _shown(id: str, tags: str, live: str | None) -> Entity:
    """Return an entity, an empty one where it is in the trash, or no entity at all.

    Other people's rows may be anything: what one of them is must not hold up all others.
    """
    try:
        entity = entity_of(id, tags, live)
    except CodecError as exc:
        _log.warning("left out: %s", exc)
        return {}
    return {} if "trash" in entity else entity


def _read(rows: Sequence[Any]) -> tuple[Cursor, list[Any]]:
    """Return the cursor beside rows, and the rows without it."""
    cursor = Cursor.parse(rows[0][0])
    return cursor, [tuple(row)[2:] for row in rows if row[2] is not None]
