"""History as every adapter does it: what is asked and checked here, rows are the backend's."""

from __future__ import annotations

import datetime as dt
from abc import abstractmethod
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
    Sequence,
)
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, cast
from zoneinfo import ZoneInfo

from hsorm.errors import UnknownEntityError
from hsorm.his.arrays import Columns, as_arrays, as_frame, as_table, columns_of, records_of_arrow
from hsorm.his.batches import PointItems, all_items, group_records, joined, one_zone
from hsorm.his.checks import HisPoint, check_items, reading_point, writing_point
from hsorm.his.span import ALWAYS, Range, Span, span_of
from hsorm.kinds import REMOVE, Entity, Number, Ref, as_ref
from hsorm.storage._paused_gc import paused_gc
from hsorm.storage._rollups import Rollups
from hsorm.storage._shared import at_most, utc_now
from hsorm.storage.protocol import AnyId, HisArrays, HisItem, HisSource, Id
from hsorm.zones import UTC

if TYPE_CHECKING:
    import pandas
    import pyarrow

__all__ = ["History", "WritingPoints", "points_to_write"]

_PAGE: Final = 10_000
"""Items that a reader of any length of history holds at a time."""

_PART: Final = 100_000
"""Items that a writer of any number of items holds at a time."""

_TICK: Final = dt.timedelta(microseconds=1)


class History(Rollups):
    """`HistoryReader` and `HistoryWriter`, over what a backend does with its rows."""

    # ---- what the backends do -------------------------------------------------------------------

    @abstractmethod
    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id; see `EntityReader.read_by_ids`."""

    @abstractmethod
    async def _his_items(
        self, points: Sequence[HisPoint], span: Span, zone: ZoneInfo, limit: int | None
    ) -> list[list[HisItem]]:
        """Return the items of each point in a span, with `ts` in `zone`, oldest first.

        With a limit (not negative), so many of each point.
        """

    @abstractmethod
    async def _his_store(self, points: Sequence[PointItems], clear: Span | None = None) -> None:
        """Merge checked items into the history of points (by id, each once), all or nothing.

        Args:
            points: The items; REMOVE deletes the one at its instant.
            clear: Delete the items of these points in this span first.

        Raises:
            UnknownEntityError: One of the points was deleted meanwhile.
        """

    # ---- what they may do better ----------------------------------------------------------------

    async def _his_store_parts(self, parts: AsyncIterator[list[PointItems]]) -> int:
        """Merge checked items that come in parts, in this order, all or nothing.

        Here all at once, for backends that hold the whole of a write anyway.

        Returns:
            How many they were.
        """
        points = joined([part async for part in parts])
        await self._his_store(points)
        return all_items(points)

    async def _his_before(self, point: HisPoint, ts: dt.datetime) -> list[HisItem]:
        """Return the last item of a point before an instant, or none."""
        (items,) = await self._his_items([point], Span(ALWAYS.start, ts), point.zone, None)
        return items[-1:]

    async def _his_extent(self, id: str) -> tuple[int, dt.datetime | None, dt.datetime | None]:
        """Return how many items a point has, and the instants of its first and last."""
        items = await self._his_stored(id, ALWAYS)
        return (len(items), items[0]["ts"], items[-1]["ts"]) if items else (0, None, None)

    async def _his_remove(self, id: str, span: Span) -> int:
        """Delete the items of a point in a span, and return how many there were."""
        items = await self._his_stored(id, span)
        if items:
            await self._his_store([PointItems(id, [(item["ts"], REMOVE) for item in items])])
        return len(items)

    async def _his_stored(self, id: str, span: Span) -> list[HisItem]:
        (items,) = await self._his_items([HisPoint(id, UTC)], span, UTC, None)
        return items

    async def _his_beyond(self, point: HisPoint, most: int) -> dt.datetime | None:
        """Return the instant of the newest item of a point but the `most` newest ones, or None."""
        size, _, _ = await self._his_extent(point.id)
        if size <= most:
            return None
        items = await self._his_stored(point.id, ALWAYS)
        return items[-most - 1]["ts"] if len(items) > most else None

    async def _his_columns(self, points: Sequence[HisPoint], span: Span) -> list[Columns]:
        """Return the rows of each point in a span as columns, oldest first."""
        found = await self._his_items(points, span, UTC, None)
        return [columns_of((item["ts"], item["val"]) for item in items) for items in found]

    async def _his_entities(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities, as `read_by_ids` does; the tags that history asks for are enough."""
        return await self.read_by_ids(ids)

    # ---- reading --------------------------------------------------------------------------------

    async def his_read(
        self, id: Id, range_str: Range, *, limit: int | None = None, around: bool = False
    ) -> list[HisItem]:
        """Read the history of one point; see `HistoryReader.his_read`."""
        if around and limit is not None:
            raise ValueError("a limit and around: give one of them")
        (point,) = await self._reading_points([id])
        span = span_of(range_str, point.zone, utc_now())
        most = at_most(limit)
        (items,) = await self._his_items([point], span, point.zone, most)
        if not around:
            return items
        rest = Span(span.end, ALWAYS.end)
        (after,) = await self._his_items([point], rest, point.zone, 2)
        return [*await self._his_before(point, span.start), *items, *after]

    async def his_read_batch(
        self,
        ids: Iterable[AnyId],
        range_str: Range,
        *,
        tz: str | None = None,
        limit: int | None = None,
    ) -> dict[AnyId, list[HisItem]]:
        """Read the history of several points; see `HistoryReader.his_read_batch`."""
        if isinstance(ids, (str, Ref)):  # the letters of a text are no ids
            raise TypeError(f"{ids!r:.80} is one id: give a list of ids, or use his_read")
        wanted = list(dict.fromkeys(ids))
        points = await self._reading_points(wanted)
        if not points:
            return {}
        zone = one_zone(points, tz)
        span = span_of(range_str, zone, utc_now())
        most = at_most(limit)
        found = await self._his_items(points, span, zone, most)
        return dict(zip(wanted, found, strict=True))

    async def his_read_iter(self, id: Id, range_str: Range) -> AsyncIterator[HisItem]:
        """Read the history of one point as it is asked for; see `HistoryReader.his_read_iter`."""
        (point,) = await self._reading_points([id])
        span = span_of(range_str, point.zone, utc_now())
        while True:
            (items,) = await self._his_items([point], span, point.zone, _PAGE)
            for item in items:
                yield item
            if len(items) < _PAGE:
                return
            span = Span(items[-1]["ts"].astimezone(dt.UTC) + _TICK, span.end)

    async def his_summary(self, id: Id) -> Entity:
        """Tell how much history a point has; see `HistoryReader.his_summary`."""
        (point,) = await self._reading_points([id])
        size, first, last = await self._his_extent(point.id)
        if first is None or last is None:
            return {}
        return {
            "hisSize": Number(size),
            "hisStart": first.astimezone(point.zone),
            "hisEnd": last.astimezone(point.zone),
        }

    async def his_arrow(
        self, ids: Id | Iterable[Id], range_str: Range, *, wide: bool = False, tz: str | None = None
    ) -> pyarrow.Table:
        """Read history into an Arrow table; see `HistoryReader.his_arrow`."""
        listed = [ids] if isinstance(ids, (str, Ref)) else ids
        points = await self._reading_points(list(dict.fromkeys(map(_val, listed))))
        zone = one_zone(points, tz) if points or tz else UTC
        span = span_of(range_str, zone, utc_now())
        found = await self._his_columns(points, span)
        with paused_gc():
            return as_table(points, found, zone, wide=wide)

    async def his_pandas(
        self, ids: Id | Iterable[Id], range_str: Range, *, wide: bool = True, tz: str | None = None
    ) -> pandas.DataFrame:
        """Read history into a pandas DataFrame; see `HistoryReader.his_pandas`."""
        return as_frame(await self.his_arrow(ids, range_str, wide=wide, tz=tz), wide=wide)

    async def his_numpy(self, id: Id, range_str: Range) -> HisArrays:
        """Read the numbers of one point into NumPy arrays; see `HistoryReader.his_numpy`."""
        (point,) = await self._reading_points([id])
        span = span_of(range_str, point.zone, utc_now())
        (columns,) = await self._his_columns([point], span)
        return HisArrays(*as_arrays(columns))

    async def _reading_points(self, ids: Sequence[Id]) -> list[HisPoint]:
        entities = await self._his_entities(ids)
        return [reading_point(_there(id, entity)) for id, entity in zip(ids, entities, strict=True)]

    async def _writing_points(self, ids: Sequence[Id]) -> list[HisPoint]:
        entities = await self._his_entities(ids)
        return [writing_point(_there(id, entity)) for id, entity in zip(ids, entities, strict=True)]

    # ---- writing --------------------------------------------------------------------------------

    async def his_write(
        self,
        id: Id,
        items: Iterable[Mapping[str, Any]],
        *,
        clip: Span | None = None,
        clear: Range | None = None,
    ) -> None:
        """Write items into the history of one point; see `HistoryWriter.his_write`."""
        await self._his_write({_val(id): list(items)}, clip, clear)

    async def his_write_batch(self, source: HisSource) -> int:
        """Write items of any number of points; see `HistoryWriter.his_write_batch`."""
        if isinstance(source, Mapping):
            return await self._write_mapping(source)
        if hasattr(source, "__arrow_c_stream__"):
            return await self._write_arrow(source)
        return await self._write_records(_parts(source))

    async def _write_arrow(self, source: object) -> int:
        """Write an Arrow stream; here, as records."""
        return await self._write_records(_parts(chain.from_iterable(records_of_arrow(source))))

    async def _write_records(self, parts: AsyncIterator[tuple[int, list[Any]]]) -> int:
        points = WritingPoints(self)
        first = await anext(parts, None)
        if first is None:
            return 0
        second = await anext(parts, None)
        checked = await points.check(*first)
        if second is not None:
            count = await self._his_store_parts(points.checked(checked, second, parts))
        else:
            await self._his_store(checked)
            count = all_items(checked)
        await self._keep_newest((await points.known(())).values())
        return count

    async def _write_mapping(self, source: Mapping[Any, Iterable[Mapping[str, Any]]]) -> int:
        items: dict[str, list[Mapping[str, Any]]] = {}
        for id, own in source.items():
            items.setdefault(_val(id), []).extend(own)
        return await self._his_write(items)

    async def _his_write(
        self,
        items: Mapping[str, list[Mapping[str, Any]]],
        clip: Span | None = None,
        clear: Range | None = None,
    ) -> int:
        """Check and write the items of points, by id, and return how many they were."""
        ids = sorted(items)
        entities = zip(ids, await self._his_entities(ids), strict=True)
        configured = points_to_write(entities, items, clearing=clear is not None)
        points, clearing = [], None
        for point in configured:
            now = utc_now()
            clearing = None if clear is None else span_of(clear, point.zone, now)
            clipping = None if clip is None else span_of(clip, point.zone, now)
            points.append(PointItems(point.id, check_items(point, items[point.id], clip=clipping)))
        count = all_items(points)
        if count or (points and clearing is not None):
            await self._his_store(points, clearing)
            await self._keep_newest(configured)
        return count

    async def _keep_newest(self, points: Iterable[HisPoint]) -> None:
        """Delete the oldest items of points that keep but so many (H32, OC 20).

        After the write: there were as many newer items as are kept when it was asked which is the
        newest beyond them, so that of several writers none deletes too much.
        """
        for point in points:
            if point.most is not None:
                beyond = await self._his_beyond(point, point.most)
                if beyond is not None:
                    span = Span(ALWAYS.start, beyond.astimezone(dt.UTC) + _TICK)
                    await self._his_remove(point.id, span)

    async def his_clear(self, id: Id, range_str: Range | None = None) -> int:
        """Delete items of one point; see `HistoryWriter.his_clear`."""
        (point,) = await self._reading_points([id])
        wanted = ALWAYS if range_str is None else range_str
        return await self._his_remove(point.id, span_of(wanted, point.zone, utc_now()))


class WritingPoints:
    """The points of a write that does not know them beforehand, looked up once."""

    def __init__(self, store: History) -> None:
        self._store = store
        self._known: dict[str, HisPoint] = {}

    async def check(self, place: int, records: list[Any]) -> list[PointItems]:
        """Return the items of a part of the source, checked, by id."""
        grouped = group_records(records, place)
        return grouped.check(await self.known(grouped.pairs))

    async def known(self, ids: Iterable[str]) -> Mapping[str, HisPoint]:
        """Return points by id, of which some are looked up.

        Raises:
            UnknownEntityError: One is not there.
            HisConfigError: One is no point with history.
        """
        new = [id for id in ids if id not in self._known]
        if new:
            self._known.update(zip(new, await self._store._writing_points(new), strict=True))
        return self._known

    async def checked(
        self,
        first: list[PointItems],
        second: tuple[int, list[Any]],
        parts: AsyncIterator[tuple[int, list[Any]]],
    ) -> AsyncIterator[list[PointItems]]:
        """Check the parts of a source one by one."""
        yield first
        yield await self.check(*second)
        async for part in parts:
            yield await self.check(*part)


async def _parts(source: Any) -> AsyncIterator[tuple[int, list[Any]]]:
    """Take records out of a source, so many at a time, with the place of the first of them."""
    place = 0
    if isinstance(source, AsyncIterable):
        part: list[Any] = []
        async for record in source:
            part.append(record)
            if len(part) == _PART:
                yield place, part
                place, part = place + _PART, []
        if part:
            yield place, part
        return
    records = iter(cast("Iterable[Any]", source))
    while part := list(islice(records, _PART)):
        yield place, part
        place += _PART


def points_to_write(
    entities: Iterable[tuple[str, Entity | None]],
    items: Mapping[str, Sequence[object]],
    *,
    clearing: bool = False,
) -> list[HisPoint]:
    """Return the points of a write; one without items is not looked at (H21), but must be there.

    Raises:
        UnknownEntityError: One is not there.
        HisConfigError: One is no point with history.
    """
    found = [(id, _there(id, entity)) for id, entity in entities]
    return [writing_point(entity) for id, entity in found if items[id] or clearing]


def _there(id: Id, entity: Entity | None) -> Entity:
    if entity is None:
        raise UnknownEntityError(_val(id))
    return entity


def _val(id: Id) -> str:
    return as_ref(id).val
