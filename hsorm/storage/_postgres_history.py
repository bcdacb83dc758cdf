"""`PostgresHistory`: history over COPY and packed rows, on the driver's own connection."""

from __future__ import annotations

import asyncio
import datetime as dt
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import Executable, Table
from sqlalchemy.schema import CreateTable

from hsorm.codecs import hayson
from hsorm.errors import StorageError, UnknownEntityError
from hsorm.his.arrays import Columns, load_numpy
from hsorm.his.batches import PointItems, all_items
from hsorm.his.checks import HisPoint, check_items, reading_point, writing_point
from hsorm.his.columns import REMOVED, ArrowPart, Gathered, PointColumns, arrow_parts
from hsorm.his.instants import from_micros
from hsorm.his.rows import from_row
from hsorm.his.span import Range, Span
from hsorm.his.stamps import SINCE_2000, packed_stamps
from hsorm.kinds import REMOVE, Entity, Number, Ref, id_texts
from hsorm.sql import history, statements
from hsorm.storage._copy import (
    CheckedRows,
    Packed,
    UnfitError,
    columns_of_packed,
    encoded,
    joined_columns,
    unpacked,
)
from hsorm.storage._dberrors import database_errors, sqlstate_of
from hsorm.storage._history import WritingPoints
from hsorm.storage._paused_gc import paused_gc
from hsorm.storage._sql import SqlAdapter
from hsorm.storage._sql_core import Rows, Statement, Work, as_listed
from hsorm.storage._sql_history import hold_points, ids_of, note_points
from hsorm.storage.protocol import HisItem, Id

__all__ = ["CopyWork", "PostgresHistory", "is_key_conflict"]

_TICK: Final = dt.timedelta(microseconds=1)
_WORTH_ASKING: Final = 500
"""Items from which on it pays to ask first whether any of them is there already."""

_MOST_ROWS: Final = 4_000_000
"""Rows of an Arrow stream that are put in order in memory: 16 bytes each, 64 MB."""

_ASKED: Final = 50
"""How many points are asked for."""

_MANY: Final = 40_000
"""Items of a point from which on it pays to read them in pages, in a transaction of their own."""

_PAGE: Final = 20_000

_LONG_PAGE: Final = 8_000_000

_TOO_LONG: Final = "54000"
"""More than a gigabyte in one value: 134 million items of a point."""

_NO_ITEMS: Final[Packed] = (b"", b"", None, None)

_LEAST_PACE: Final = 100
"""Items from which on a read tells how close they are."""


class CopyWork(Work, Protocol):
    """One transaction that writes, by COPY where there is much."""

    async def change(self, statement: Statement, **values: Any) -> int:
        """Run a statement and return how many rows it changed."""
        ...

    async def execute(self, statement: Executable) -> int:
        """Run a statement that is not built again, and return how many rows it changed."""
        ...

    async def copy_in(self, target: Table, rows: Iterable[bytes]) -> int:
        """COPY rows in the binary format into a table, and return how many they were."""
        ...

    async def copy_texts(self, target: Table, rows: Iterable[tuple[str, str]]) -> None:
        """COPY rows of a text and of JSON as text into a table."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[object]:
        """Open a transaction in the transaction, of which an error leaves nothing behind."""
        ...

    async def drop(self, staging: Table) -> None:
        """Drop a staging table, where that does not go with the transaction anyway."""
        ...


class PostgresHistory(SqlAdapter):
    """The part of a PostgreSQL adapter that reads and writes history."""

    @abstractmethod
    def _open_work(self) -> AbstractAsyncContextManager[CopyWork]:
        """Open a transaction that writes; leaving it commits, an error rolls back."""

    @abstractmethod
    def _snapshot(self) -> AbstractAsyncContextManager[Work]:
        """Open a transaction that reads, all of it as of one moment."""

    _in_pages = True
    """Whether long reads may be of several statements, in a transaction of their own."""

    _pace = 0.0
    """Items a second, of the point that was read last."""

    # ---- reading --------------------------------------------------------------------------------

    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        if len(points) == 1 and limit is None and self._in_pages and self._expected(span) >= _MANY:
            return [await self._his_pages(points[0], span, zone)]
        rows = await self._packed(points, span, limit)
        with paused_gc():
            found = [
                _items(point.unit, zone, *rows[point.id]) if point.id in rows else []
                for point in points
            ]
        if found:
            self._note_pace(found[0])
        return found

    async def _packed(
        self, points: Sequence[HisPoint], span: Span, most: int | None
    ) -> dict[str, Packed]:
        """Return the items of points by id, the first `most` of each; of those that have some."""
        rows = await self._look(
            history.items_packed,
            points=list({point.id: None for point in points}),
            start=span.start,
            end=span.end,
            most=None if most is None else min(most, 2**63 - 1),
        )
        return {id: tuple(packed) for id, *packed in rows}

    async def _his_pages(self, point: HisPoint, span: Span, zone: ZoneInfo) -> list[HisItem]:
        """Return the items of a point; the server looks for a page while one is decoded."""
        parts: list[list[HisItem]] = []
        await self._ready()
        with database_errors(self.url):
            async with (
                self._snapshot() as work,
                aclosing(_pages(work, point.id, span, _PAGE)) as pages,
            ):
                async for page in pages:
                    with paused_gc():
                        parts.append(_items(point.unit, zone, *page))
        # One list that grows would be looked through again and again by the garbage collector.
        found = list(chain.from_iterable(parts))
        self._note_pace(found)
        return found

    def _expected(self, span: Span) -> float:
        """Guess how many items a point has in a span; only a faster way depends on it."""
        return self._pace * (span.end - span.start).total_seconds()

    def _note_pace(self, items: Sequence[HisItem]) -> None:
        if len(items) >= _LEAST_PACE:
            # Not their difference: by wall clock the last may be before the first.
            seconds = items[-1]["ts"].timestamp() - items[0]["ts"].timestamp()
            self._pace = len(items) / seconds

    async def _his_columns(self, points: Sequence[HisPoint], span: Span) -> list[Columns]:
        np = load_numpy("history as arrays")
        try:
            rows = await self._packed(points, span, None)
        except StorageError as exc:
            if sqlstate_of(exc) != _TOO_LONG or not self._in_pages:
                raise
            return await self._long_columns(points, span)
        with paused_gc():
            return columns_of_packed(np, [rows.get(point.id, _NO_ITEMS) for point in points])

    async def _long_columns(self, points: Sequence[HisPoint], span: Span) -> list[Columns]:
        """Return the rows of points of which some have more than one answer of the server holds."""
        np = load_numpy("history as arrays")
        found = []
        await self._ready()
        with database_errors(self.url):
            async with self._snapshot() as work:
                for point in points:
                    async with aclosing(_pages(work, point.id, span, _LONG_PAGE)) as pages:
                        parts = [columns_of_packed(np, [page])[0] async for page in pages]
                    found.append(joined_columns(np, parts))
        return found

    async def _his_entities(self, ids: Sequence[Id]) -> list[Entity | None]:
        vals = id_texts(ids)
        configs = _Configs(await self._look(history.point_configs, ids=as_listed(vals)))
        return [configs.entity(val) if configs.has(val) else None for val in vals]

    async def _reading_points(self, ids: Sequence[Id]) -> list[HisPoint]:
        return await self._points(ids, reading_point)

    async def _writing_points(self, ids: Sequence[Id]) -> list[HisPoint]:
        return await self._points(ids, writing_point)

    async def _points(
        self, ids: Sequence[Id], make: Callable[[Entity], HisPoint]
    ) -> list[HisPoint]:
        vals = id_texts(ids)
        rows = await self._look(history.point_configs, ids=as_listed(vals))
        with paused_gc():
            return _Configs(rows).points(vals, make)

    # ---- writing --------------------------------------------------------------------------------

    async def _remove(self, work: Any, ids: Sequence[str]) -> set[str]:
        if ids:
            await work.change(history.stale_hours_of, ids=as_listed(ids))
        return await super()._remove(work, ids)

    async def _his_write(
        self,
        items: Mapping[str, list[Mapping[str, Any]]],
        clip: Span | None = None,
        clear: Range | None = None,
    ) -> int:
        if clip is not None or clear is not None:
            return await super()._his_write(items, clip, clear)
        return await self._repeated(lambda: self._write_checking(items))

    async def _write_checking(self, items: Mapping[str, list[Mapping[str, Any]]]) -> int:
        """Check items while they are sent, so that the server need not wait for it."""
        ids = sorted(items)
        async with self._history_work() as work:
            configs = _Configs(await work.fetch(history.point_configs_held, ids=as_listed(ids)))
            configs.check_there(ids)
            # One without items is not looked at (H21).
            points = configs.points([id for id in ids if items[id]], writing_point)
            if not points:
                return 0
            sources = [(point, items[point.id]) for point in points]
            count = await self._write_sources(work, sources)
            await note_points(work, [point.id for point in points])
        await self._keep_newest(points)
        return count

    async def _write_sources(
        self, work: CopyWork, sources: Sequence[tuple[HisPoint, list[Mapping[str, Any]]]]
    ) -> int:
        likely_there = await self._is_likely_there(work, _bounds_of_items(sources))
        try:
            if not likely_there:
                try:
                    return await self._send_new(work, CheckedRows(sources))
                except _KeyTakenError:
                    likely_there = True
            async with work.savepoint():
                staging = await self._make_staging(work)
                sent = await work.copy_in(staging, CheckedRows(sources))
            await self._upsert(work, staging)
            await work.drop(staging)
        except UnfitError:  # put in order they may fit
            points = [PointItems(point.id, check_items(point, own)) for point, own in sources]
            await self._merge_items(work, points, likely_there=likely_there)
            return all_items(points)
        return sent

    async def _write_arrow(self, source: object) -> int:
        """Write an Arrow stream, column by column: at once if it is short, else in parts."""
        points, found, parts = WritingPoints(self), Gathered(), arrow_parts(source)
        for part in parts:
            found.add(part.check(await points.known(part.ids)))
            await self._pause()
            if found.size > _MOST_ROWS:
                count = await self._his_store_parts(_checked_parts(found, points, parts))
                break
        else:
            settled = found.settled(await points.known(()))
            await self._his_store_columns(settled)
            count = sum(len(point.ts) for point in settled)
        await self._keep_newest((await points.known(())).values())
        return count

    async def _pause(self) -> None:
        """Let others run, and be cancelled."""
        await asyncio.sleep(0)

    async def _his_store_columns(self, points: Sequence[PointColumns]) -> None:
        """Merge items, put in order, into the history of points, all or nothing."""

        async def store() -> None:
            async with self._history_work() as work:
                ids = [point.id for point in points]
                await hold_points(work, ids)
                likely_there = await self._is_likely_there(work, _bounds_of_columns(points))
                removing = any(_removes(point) for point in points)
                rows = lambda: encoded(points)  # noqa: E731 - taken again where the first way fails
                await self._merge(work, rows, removing=removing, likely_there=likely_there)
                await note_points(work, ids)

        if points:
            await self._repeated(store)

    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        async def store() -> None:
            async with self._history_work() as work:
                await hold_points(work, ids_of(points))
                if clear is not None:
                    for id, _ in points:
                        await _delete_items(work, id, clear)
                if filled := [point for point in points if point.items]:
                    likely_there = await self._is_likely_there(work, _bounds_of_checked(filled))
                    await self._merge_items(work, filled, likely_there=likely_there)
                await note_points(work, ids_of(points))

        await self._repeated(store)

    async def _merge_items(
        self, work: CopyWork, points: Sequence[PointItems], *, likely_there: bool
    ) -> None:
        removing = any(val is REMOVE for _, items in points for _, val in items)
        await self._merge(
            work, lambda: encoded(points), removing=removing, likely_there=likely_there
        )

    async def _merge(
        self,
        work: CopyWork,
        rows: Callable[[], Iterable[bytes]],
        *,
        removing: bool,
        likely_there: bool,
    ) -> None:
        """Put rows in, be they new or not.

        COPY straight into the table is thrice as fast as what can replace a row, but ends at the
        first key that is there.
        """
        if not removing and not likely_there:
            try:
                await self._send_new(work, rows())
            except _KeyTakenError:
                pass
            else:
                return
        staging = await self._make_staging(work)
        await work.copy_in(staging, rows())
        await self._upsert(work, staging)
        if removing:
            await work.execute(history.delete_removed(self.tables, staging, REMOVED))
        await work.drop(staging)

    async def _upsert(self, work: CopyWork, staging: Table) -> None:
        """Insert or replace the rows of a staging table.

        They were sent by key, and so they are locked: two writers who lock in different orders wait
        for each other. For the same reason removals are written first, and deleted then.
        """
        await work.execute(statements.upsert(self.tables.history, "postgresql", staging))

    async def _is_likely_there(self, work: CopyWork, bounds: _Bounds | None) -> bool:
        """Tell whether there are items where some are about to be written.

        Asked of some of the points, where it costs little beside the writing.
        """
        if bounds is None or bounds.items < _WORTH_ASKING:
            return False
        some = bounds.ids[:: 1 + len(bounds.ids) // _ASKED]
        span = {"start": bounds.first, "end": bounds.last + _TICK}
        return bool(await work.fetch(history.is_there, points=some, **span))

    async def _his_store_parts(
        self, parts: AsyncIterator[list[PointItems]] | AsyncIterator[list[PointColumns]]
    ) -> int:
        async with self._history_work() as work:
            staging = await self._make_staging(work)
            ids: set[str] = set()
            async for points in parts:
                await work.copy_in(staging, encoded(points))
                ids.update(point.id for point in points)
            # Not before all are known: locks are taken by key.
            await hold_points(work, sorted(ids))
            count = await work.execute(history.upsert_latest(self.tables, staging))
            await work.execute(history.delete_removed(self.tables, staging, REMOVED))
            await note_points(work, sorted(ids))
            await work.drop(staging)
        return count

    async def _make_staging(self, work: CopyWork) -> Table:
        staging = statements.staging_of(self.tables.history)
        await work.execute(CreateTable(staging))
        return staging

    async def _send_new(self, work: CopyWork, rows: Iterable[bytes]) -> int:
        try:
            async with work.savepoint():
                return await work.copy_in(self.tables.history, rows)
        except Exception as exc:
            if is_key_conflict(exc):
                raise _KeyTakenError from exc
            raise

    async def _his_remove(self, id: str, span: Span) -> int:
        async def remove() -> int:
            async with self._history_work() as work:
                count = await _delete_items(work, id, span)
                if count:
                    await note_points(work, [id])
            return count

        return await self._repeated(remove)

    @asynccontextmanager
    async def _history_work(self) -> AsyncIterator[CopyWork]:
        await self._ready()
        with database_errors(self.url):
            async with self._open_work() as work:
                yield work


class _KeyTakenError(Exception):
    """A row cannot be inserted, for its key is there."""


class _Bounds(NamedTuple):
    """Between which instants how many items of which points are to be written."""

    ids: list[str]
    items: int
    first: dt.datetime
    last: dt.datetime


def _bounds_of_checked(points: Sequence[PointItems]) -> _Bounds:
    stamps = [ts for _, items in points for ts in (items[0][0], items[-1][0])]
    return _Bounds(ids_of(points), all_items(points), min(stamps), max(stamps))


def _bounds_of_columns(points: Sequence[PointColumns]) -> _Bounds:
    ids, count = [point.id for point in points], sum(len(point.ts) for point in points)
    first = min(int(point.ts[0]) for point in points)
    last = max(int(point.ts[-1]) for point in points)
    return _Bounds(ids, count, from_micros(first), from_micros(last))


def _removes(point: PointColumns) -> bool:
    return point.obj is not None and REMOVED in point.obj.tolist()


async def _checked_parts(
    found: Gathered, points: WritingPoints, parts: Iterable[ArrowPart]
) -> AsyncIterator[list[PointColumns]]:
    """Put the parts of a stream in order one by one, after those that are gathered."""
    yield found.settled(await points.known(()))
    for part in parts:
        own = Gathered()
        own.add(part.check(await points.known(part.ids)))
        yield own.settled(await points.known(()))


def _bounds_of_items(
    sources: Sequence[tuple[HisPoint, list[Mapping[str, Any]]]],
) -> _Bounds | None:
    """Return the bounds of items that nobody has checked; None where they do not even say when.

    In any order, they are a guess: only a faster way depends on it.
    """
    edges = [item for _, items in sources for item in (items[0], items[-1])]
    stamps = [item.get("ts") for item in edges if isinstance(item, dict)]
    aware = [ts for ts in stamps if isinstance(ts, dt.datetime) and ts.utcoffset() is not None]
    if len(aware) < len(edges):
        return None
    ids, count = [point.id for point, _ in sources], sum(len(items) for _, items in sources)
    return _Bounds(ids, count, min(aware), max(aware))


class _Configs:
    """What `point_configs` found: many points have the same tags, which are decoded once."""

    def __init__(self, rows: Rows) -> None:
        self._texts = {id: tuple(texts) for id, *texts in rows}
        self._decoded: dict[tuple[str | None, ...], Entity] = {}

    def entity(self, id: str) -> Entity:
        """Return the tags of a point, and its id.

        Raises:
            UnknownEntityError: It is not there.
        """
        return {**self._config(id), "id": Ref(id)}

    def _config(self, id: str) -> Entity:
        if (texts := self._texts.get(id)) is None:
            raise UnknownEntityError(id)
        if (config := self._decoded.get(texts)) is None:
            own = zip(history.CONFIG, texts, strict=True)
            config = {name: hayson.loads(text) for name, text in own if text is not None}
            self._decoded[texts] = config
        if "trash" in config:
            raise UnknownEntityError(id)
        return config

    def has(self, id: str) -> bool:
        """Tell whether a point is there."""
        try:
            self._config(id)
        except UnknownEntityError:
            return False
        return True

    def check_there(self, ids: Iterable[str]) -> None:
        """Refuse points that are not there.

        Raises:
            UnknownEntityError: One is not.
        """
        for id in ids:
            self._config(id)

    def points(self, ids: Iterable[str], make: Callable[[Entity], HisPoint]) -> list[HisPoint]:
        """Return points.

        Raises:
            UnknownEntityError: One is not there.
            HisConfigError: One is no point with history.
        """
        made: dict[tuple[str | None, ...], HisPoint] = {}
        out = []
        for id in ids:
            texts = self._texts.get(id, ())
            if (alike := made.get(texts)) is None:
                alike = made[texts] = make(self.entity(id))
            out.append(
                HisPoint(id, alike.zone, alike.kind, alike.unit, alike.precision, alike.most)
            )
        return out


def _items(
    unit: str | None,
    zone: ZoneInfo,
    stamps: bytes,
    numbers: bytes,
    other_stamps: bytes | None,
    others: list[str] | None,
) -> list[HisItem]:
    micros = unpacked(stamps, "q")
    vals: list[Any] = [Number(val, unit) for val in unpacked(numbers, "d")]
    if others:
        places = dict(zip(micros, range(len(micros)), strict=True))
        for micro, obj in zip(unpacked(other_stamps, "q"), others, strict=True):
            vals[places[micro]] = from_row(None, obj, unit)
    local = packed_stamps(micros, zone, SINCE_2000)
    return [{"ts": ts, "val": val} for ts, val in zip(local, vals, strict=True)]


async def _pages(work: Work, id: str, span: Span, most: int) -> AsyncGenerator[Packed, None]:
    """Yield the items of a point, so many at a time; the next ones are fetched meanwhile."""

    def fetching(start: dt.datetime) -> asyncio.Task[Rows]:
        values = {"points": [id], "start": start, "end": span.end, "most": most}
        return asyncio.create_task(work.fetch(history.items_packed, **values))

    coming = fetching(span.start)
    try:
        while rows := await coming:
            ((_, *packed),) = rows
            stamps = packed[0]
            if full := len(stamps) == 8 * most:
                coming = fetching(_after(stamps))
                await asyncio.sleep(0)  # now it is on its way
            yield tuple(packed)
            if not full:
                break
    finally:
        coming.cancel()
        await asyncio.wait([coming])


def _after(stamps: bytes) -> dt.datetime:
    """Return the instant after the last of a page."""
    return SINCE_2000 + dt.timedelta(0, 0, int.from_bytes(stamps[-8:], "big", signed=True) + 1)


async def _delete_items(work: CopyWork, id: str, span: Span) -> int:
    values = {"id": id, "start": span.start, "end": span.end}
    await work.change(history.stale_hours, **values)
    return await work.change(history.delete_items, **values)


def is_key_conflict(exc: Exception) -> bool:
    """Tell whether an error of the driver means that a key is there already."""
    # Citus reports the one of a worker as an internal error.
    state = getattr(exc, "sqlstate", None)
    return state == "23505" or (state == "XX000" and "duplicate key" in str(exc))
