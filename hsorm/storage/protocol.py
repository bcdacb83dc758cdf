"""What a backend promises: small capability protocols, and `StorageAdapter`, all of them in one.

A function that only reads should ask for `EntityReader`, not for a whole adapter. Every backend
gives the same answer to every call; the conformance suite in `hsorm.testing` is the proof.

Ids are `Ref` or text, with or without `@`. Entities are dicts of tags; what comes back is a fresh
dict that the caller may change. Errors are those of `hsorm.errors`; besides the ones named here,
every call may raise `StorageUnavailableError`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NamedTuple,
    Protocol,
    TypeAlias,
    TypedDict,
    TypeVar,
    runtime_checkable,
)

from hsorm.filter.ast import Node
from hsorm.his.rollup import Fill, Fold
from hsorm.his.span import Range, Span
from hsorm.kinds import Entity, Number, Ref
from hsorm.ops.commits import Committed, Diff
from hsorm.ops.geo import Area
from hsorm.ops.nav import NavNode
from hsorm.ops.refs import DanglingRef
from hsorm.ops.watch import RETENTION, Change, Changes, WatchRows

if TYPE_CHECKING:
    import numpy as np
    import pandas
    import pyarrow

__all__ = [
    "AnyId",
    "Area",
    "ArrowStream",
    "Change",
    "ChangeFeed",
    "Changes",
    "Committed",
    "Committer",
    "Create",
    "DanglingRef",
    "Diff",
    "Duration",
    "EntityReader",
    "EntityWriter",
    "Explainer",
    "Explanation",
    "HisArrays",
    "HisItem",
    "HisSource",
    "HistoryReader",
    "HistoryWriter",
    "Id",
    "LiveWriter",
    "NavNode",
    "Navigator",
    "PointWriter",
    "Range",
    "Sort",
    "Span",
    "StorageAdapter",
    "Versioned",
    "WatchRows",
    "Watcher",
]

Id: TypeAlias = Ref | str
"""The id of an entity: `Ref("p:demo:r:1")`, `"p:demo:r:1"` or `"@p:demo:r:1"`."""

AnyId = TypeVar("AnyId", bound=Ref | str)
"""An id in the form in which the caller has it."""

Create: TypeAlias = Literal["auto", "never"]
"""What `connect()` does about tables that are missing or behind: bring them up, or raise."""

Sort: TypeAlias = Literal["id", "dis"]
"""The order of a read: by id (by code point), or by display text as people expect it (rule R7)."""


Duration: TypeAlias = Number | dt.timedelta | float
"""A time: a Number in ms, sec, min, hr or day, a timedelta, or plain seconds."""


class HisItem(TypedDict):
    """One item of history: an aware timestamp and a value of any kind."""

    ts: dt.datetime
    val: Any


class HisArrays(NamedTuple):
    """The history of one point as two arrays of one length: `ts` in UTC and `val`."""

    ts: np.ndarray[Any, np.dtype[np.datetime64]]
    val: np.ndarray[Any, np.dtype[np.float64]]


class ArrowStream(Protocol):
    """What exports an Arrow stream: tables and readers of pyarrow, frames of polars and pandas."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the stream as a capsule; see the Arrow PyCapsule interface."""
        ...


HisRecord: TypeAlias = tuple[Id, dt.datetime, Any] | Mapping[str, Any]
"""One item of any point: `(id, ts, val)`, or `{"id", "ts", "val"}`."""

HisSource: TypeAlias = (
    Mapping[Any, Iterable[Mapping[str, Any]]]
    | Iterable[HisRecord]
    | AsyncIterable[HisRecord]
    | ArrowStream
)
"""What `his_write_batch` takes."""


@runtime_checkable
class EntityReader(Protocol):
    """Reading entities. None of these ever returns an entity in the trash (rule R10)."""

    async def read(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        sort: Sort = "id",
        search: str | None = None,
        geo: Area | None = None,
    ) -> list[Entity]:
        """Read all entities that match a filter.

        Args:
            filter_str: A Haystack filter, as text or parsed.
            limit: How many at the most, the first ones in the order asked for (OC 25); none or
                negative numbers of entities are an empty answer.
            sort: `"id"`, or `"dis"` for display text.
            search: Words that are to be found besides, each at the beginning of a word in any of
                the entity's Str tags but live ones, cases alike; see `hsorm.ops.search`. A blank
                text finds everything.
            geo: Where they are to be besides, made by `hsorm.near` or `hsorm.within`: by the Coord
                in `geoCoord`, or another tag. What has none there is nowhere.

        Returns:
            The entities; each has `id` (with its display text) and `mod`, a dateTime in UTC (rule
            R12).

        Raises:
            FilterSyntaxError: The text is no filter; the error shows where.
            SearchError: The search has more than 200 characters or 10 words.
            ValueError: There is no such order.
            TypeError: The filter is neither text nor parsed, or the limit is no whole number.
        """
        ...

    async def read_count(
        self, filter_str: str | Node, *, search: str | None = None, geo: Area | None = None
    ) -> int:
        """Count the entities that match a filter, a search and an area as in `read` (rule R9).

        Raises:
            FilterSyntaxError: The text is no filter.
            SearchError: The search has more than 200 characters or 10 words.
        """
        ...

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id: an answer for each, in the same order, None for an unknown (R2).

        Raises:
            TypeError: There is one id instead of a list, or one of them is neither Ref nor text.
        """
        ...

    async def read_by_id(self, id: Id) -> Entity:
        """Read one entity by id (rule R1).

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
        """
        ...


@runtime_checkable
class Navigator(Protocol):
    """Walking from sites to equips to points."""

    async def nav(self, nav_id: Id | None = None) -> list[Entity]:
        """Read one level of the navigation tree (rules N1–N4).

        Args:
            nav_id: None for the sites (without any, all equips; without those, all points); a site
                for its equips; an equip for its points; any other entity has nothing below it.

        Returns:
            Whole entities sorted by display text; each but the points has a `navId` equal to its
            id.

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
        """
        ...

    async def nav_tree(self, root: Id | None = None, *, points: bool = True) -> list[NavNode]:
        """Read the whole navigation tree, or what is below one entity, at once.

        The parent of an entity is the first one that exists of its `equipRef` (of an equip or a
        point), `spaceRef`, `floorRef` and `siteRef`; of a list of refs the first that exists. Sites
        are roots, and so are spaces, floors, equips and points without a parent. Each entity is in
        the tree once: a circle is cut at its smallest id.

        Args:
            root: Where to begin: the answer is its node alone. None for all roots.
            points: Whether points are in the tree.

        Returns:
            Nodes of an `entity` and its `children`, sorted by display text.

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
        """
        ...


@runtime_checkable
class EntityWriter(Protocol):
    """Changing entities. A call that fails has changed nothing.

    Live tags (`hsorm.ops.live.LIVE_TAGS`: `curVal`…) are taken with the others: a load replaces
    them as it does the whole entity, an update of live tags alone leaves `mod` as it is. `writeVal`
    and `writeLevel` of a point with a priority array show the array, whatever was loaded.
    """

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        """Add one entity.

        Args:
            entity: Its tags, with a Ref `id`; plain numbers and Hayson values (`{"_kind": …}`) are
                taken as the kinds that they mean. A `mod` in it is not looked at.

        Returns:
            The entity as stored, with its `mod`.

        Raises:
            InvalidTagError: The id, a tag name or a value cannot be stored (K20, K25, K28), or a
                tag is one that only the storage sets (`hisSize`…; C8).
            EntityExistsError: The id is taken, be it by an entity in the trash (C2).
        """
        ...

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        """Merge tags into one entity: a value sets a tag, REMOVE deletes it, others stay (C5).

        Args:
            entity: The `id` and the tags to change. With a `mod` among them, the change is only
                made when that is still the stored one. An entity in the trash can be updated (C12).

        Returns:
            The whole entity after the change, with its new `mod`.

        Raises:
            InvalidTagError: The id, a tag name or a value cannot be stored.
            UnknownEntityError: No entity has this id.
            ConflictError: The stored `mod` is another one (C4).
        """
        ...

    async def delete(self, id: Id) -> None:
        """Remove one entity, its history, live tags and priority array; refs to it dangle (C11).

        Raises:
            UnknownEntityError: No entity has this id.
        """
        ...

    def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> Awaitable[int]:
        """Insert or replace many entities by id, all or nothing, fast.

        Args:
            entities: As for `create`; of two with one id the last one counts. Each gets a new
                `mod`. Tags that only the storage sets (`hisSize`…) are left out.

        Returns:
            How many entities were stored.

        Raises:
            InvalidTagError: One of them cannot be stored; nothing was.
        """
        ...


@runtime_checkable
class HistoryReader(Protocol):
    """Reading history.

    A range is `today`, `yesterday`, `2024-03-10`, `2024-03-01,2024-03-31` (the last day included),
    a dateTime or two of them (the end excluded), a word such as `thisWeek` (rules §5.1 and §5.4),
    or a `Span`. Days are days in the point's `tz`. `hsorm.his.ALWAYS` is all that there is.
    """

    async def his_read(
        self, id: Id, range_str: Range, *, limit: int | None = None, around: bool = False
    ) -> list[HisItem]:
        """Read the history of one point, oldest first.

        Args:
            id: The point.
            range_str: The range.
            limit: How many items at the most, the oldest ones (OC 16).
            around: Return besides the items of the range the one before it and up to two at its end
                or after it, to interpolate between (H13, OC 15); not together with a limit.

        Returns:
            `{"ts", "val"}` items with distinct, ascending `ts` in the point's `tz`; numbers in the
            point's `unit`. Empty when the range holds none.

        Raises:
            RangeSyntaxError: `range_str` is none of these forms; the error shows where.
            UnknownEntityError: No entity has this id, or it is in the trash.
            HisConfigError: The entity is no point with history, or its `tz` is missing or unknown.
            ValueError: There are both a limit and `around`.
        """
        ...

    async def his_read_batch(
        self,
        ids: Iterable[AnyId],
        range_str: Range,
        *,
        tz: str | None = None,
        limit: int | None = None,
    ) -> dict[AnyId, list[HisItem]]:
        """Read the history of several points, as of one moment where the backend can (rule H11).

        `hsorm.his.his_grid` makes the grid of a batch read of it: `ts`, `v0`, `v1` and so on.

        Args:
            ids: The points; none of them is an empty answer.
            range_str: The range.
            tz: The zone of the range and of all timestamps, by its Haystack name; None where all
                points are in the same.
            limit: How many items of each point at the most, the oldest ones.

        Returns:
            The items of each point as `his_read` returns them, by its id as it was given, in order.

        Raises:
            RangeSyntaxError: `range_str` is no range.
            UnknownEntityError: No entity has one of the ids (H12).
            HisConfigError: One of the entities is no point with history; or they are in different
                zones and there is no `tz` (OC 14).
            LookupError: There is no such zone as `tz`.
        """
        ...

    def his_read_iter(self, id: Id, range_str: Range) -> AsyncIterator[HisItem]:
        """Read the history of one point as it is asked for, oldest first, in bounded memory.

        No connection is held between the items. What is written meanwhile is among them where they
        have not come to it yet.

        Raises:
            RangeSyntaxError: `range_str` is no range; when the first item is asked for.
            UnknownEntityError: No entity has this id.
            HisConfigError: The entity is no point with history.
        """
        ...

    async def his_summary(self, id: Id) -> Entity:
        """Tell how much history a point has (rule H17).

        Returns:
            `hisSize` (Number), `hisStart` and `hisEnd`, the dateTimes of the first and last item in
            the point's `tz`; `{}` where there is none.

        Raises:
            UnknownEntityError: No entity has this id.
            HisConfigError: The entity is no point with history.
        """
        ...

    async def his_arrow(
        self, ids: Id | Iterable[Id], range_str: Range, *, wide: bool = False, tz: str | None = None
    ) -> pyarrow.Table:
        """Read history into an Arrow table (needs the extra `arrow`).

        The metadata of the schema has, under `hsorm`, JSON with `id`, `kind`, `unit` and `tz` of
        each point; in a wide table that of a column is in the column's field, too.

        Args:
            ids: One point or several.
            range_str: The range.
            wide: Return a column a point instead of a row an item.
            tz: As for `his_read_batch`.

        Returns:
            Long: `id` (a dictionary of texts), `ts` (µs, in the zone), `val` (double) and `obj`
            (text), by point in the order asked for, oldest first. A Number is `val` alone, in its
            point's unit; a Bool is `val` 1 or 0 and `obj` `true` or `false`; any other value is
            `obj` alone, in Hayson.
            Wide: `ts`, each instant once, ascending, and for each point a column named by its id:
            double, bool or string by the point's `kind` (a Coord is Hayson text). Null where the
            point has no item, or one of another kind (NA).

        Raises:
            MissingExtraError: pyarrow is not installed.
            RangeSyntaxError: `range_str` is no range.
            UnknownEntityError: No entity has one of the ids.
            HisConfigError: As for `his_read_batch`.
        """
        ...

    async def his_pandas(
        self, ids: Id | Iterable[Id], range_str: Range, *, wide: bool = True, tz: str | None = None
    ) -> pandas.DataFrame:
        """Read history into a pandas DataFrame (needs the extras `arrow` and `pandas`).

        Returns:
            Wide: an index `ts` in the zone and a column a point. Long: the columns of `his_arrow`.
            `attrs["hsorm"]` has `id`, `kind`, `unit` and `tz` of each point.

        Raises:
            MissingExtraError: pandas or pyarrow is not installed.
            HsormError: As for `his_arrow`.
        """
        ...

    async def his_rollup(
        self,
        ids: AnyId | Iterable[AnyId],
        range_str: Range,
        interval: str | Number | dt.timedelta,
        fold: Fold,
        *,
        tz: str | None = None,
        fill: Fill = "none",
    ) -> dict[AnyId, list[HisItem]]:
        """Roll up the history of points: what its items come to, interval by interval.

        `hsorm.his.rollup` says what that means, on days of 23 and 25 hours as well.

        Args:
            ids: One point or several; none is an empty answer.
            range_str: The range.
            interval: `"15min"`, `"1hr"`, `"1day"`, `"1wk"`, `"1mo"`, `"1yr"`; such a Number, or a
                timedelta. They follow the clock and the calendar of the points' zone.
            fold: `avg`, `min`, `max`, `sum`, `spread` (the greatest less the least), `count`,
                `first` and `last` are of the items in the interval. `twa`, the time-weighted
                average, and `duration`, the time in each state of a Bool or Str point, count an
                item for as long as it holds: until the next one, at most until now.
            tz: As for `his_read_batch`.
            fill: Intervals without a value are left out (`none`), or have that of the one before
                (`previous`; not for `sum`, `count` and `duration`).

        Returns:
            For each point, by its id as it was given, `ts`, where the interval begins, and `val`: a
            Number in the point's unit, of `count` without one; of `first` and `last` the value; of
            `duration` a dict of Numbers in sec by state. NA and NaN are skipped, and a Bool counts
            as 1 or 0 in an average.

        Raises:
            InvalidRollupError: There is no such interval, fold or fill, the fold does not fit the
                kind of a point, or there are more than a million intervals.
            RangeSyntaxError: `range_str` is no range.
            UnknownEntityError: No entity has one of the ids.
            HisConfigError: As for `his_read_batch`.
            LookupError: There is no such zone as `tz`.
        """
        ...

    async def his_numpy(self, id: Id, range_str: Range) -> HisArrays:
        """Read the numbers of one point into NumPy arrays (needs the extra `arrow`).

        Returns:
            `ts` (datetime64[us], UTC) and `val` (float64), as many as there are items: a Bool is 1
            or 0, what is neither Number nor Bool is NaN.

        Raises:
            MissingExtraError: NumPy is not installed.
            HsormError: As for `his_read`.
        """
        ...


@runtime_checkable
class HistoryWriter(Protocol):
    """Writing history. A call that fails has written nothing."""

    async def his_write(
        self,
        id: Id,
        items: Iterable[Mapping[str, Any]],
        *,
        clip: Span | None = None,
        clear: Range | None = None,
    ) -> None:
        """Write items into the history of one point.

        Args:
            id: The point, with `point`, `his`, `kind` and `tz`.
            items: `{"ts": aware datetime, "val": value}` in any order; of two with one `ts` the
                last counts (OC 17). An item replaces what is stored at its `ts`; REMOVE deletes it,
                NA is stored as a value (H27). Numbers are in the point's unit or have none (H23).
            clip: Leave out items outside of this span without a word (H31).
            clear: Delete the items of this range first, also where there is nothing to write
                (H31, OC 19).

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
            HisConfigError: The entity is no point with history (H21).
            HisWriteError: An item does not fit its point (H22–H24); the error says which and why.
            RangeSyntaxError: `clear` is no range.
        """
        ...

    async def his_write_batch(self, source: HisSource) -> int:
        """Write items of any number of points, all or nothing.

        Args:
            source: Items as in `his_write`, by the id of their point; or an iterable, also an
                asynchronous one, of `(id, ts, val)` or of `{"id", "ts", "val"}`; or an Arrow table,
                reader or anything else that exports an Arrow stream, with columns `id`, `ts` and
                `val`, and optionally `obj`, as `his_arrow` returns them long. An iterable or a
                stream is written while it is read, in bounded memory.

        Returns:
            How many items were written or removed, each instant of a point once (H30). From a long
            stream, an item counts each time that it comes again more than 100,000 items later.

        Raises:
            UnknownEntityError: No entity has one of the ids.
            HisConfigError: One of the entities is no point with history.
            HisWriteError: An item does not fit its point; `index` counts the items of its point in
                a mapping, those of the whole source otherwise.
        """
        ...

    async def his_clear(self, id: Id, range_str: Range | None = None) -> int:
        """Delete items of one point.

        Args:
            id: The point.
            range_str: Which of them; None is all.

        Returns:
            How many there were.

        Raises:
            RangeSyntaxError: `range_str` is no range.
            UnknownEntityError: No entity has this id, or it is in the trash.
            HisConfigError: The entity is no point with history.
        """
        ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a database answers a read.

    Attributes:
        sql: The statement, as the driver gets it.
        params: The values bound in it, in order.
        plan: What the database's planner makes of it, in its own words, a line a step.
    """

    sql: str
    params: tuple[Any, ...]
    plan: tuple[str, ...]

    def __str__(self) -> str:
        bound = [f"  {number}: {value!r}" for number, value in enumerate(self.params, 1)]
        return "\n".join([self.sql, "", "Parameters", *bound, "", "Plan", *self.plan])


@runtime_checkable
class Explainer(Protocol):
    """Telling how a read is answered; on the backends that have a planner."""

    async def explain(
        self,
        filter_str: str | Node,
        limit: int | None = None,
        *,
        search: str | None = None,
        geo: Area | None = None,
    ) -> Explanation:
        """Return the statement of a read by id and its plan; nothing is read.

        Raises:
            FilterSyntaxError: The text is no filter.
            SearchError: The search has more than 200 characters or 10 words.
        """
        ...


@runtime_checkable
class Versioned(Protocol):
    """A storage whose tables, or keys, have a version; on the backends that keep them."""

    url: str
    head: str

    async def revision(self) -> str | None:
        """Return the version that is there, None where there is no storage yet."""
        ...

    async def upgrade(self) -> None:
        """Bring it to `head`, the version that this hsorm works with."""
        ...

    async def close(self) -> None:
        """Close it; closing twice is harmless."""
        ...


# ---- live data ----------------------------------------------------------------------------------


@runtime_checkable
class Committer(EntityWriter, Protocol):
    """Changing several entities at once, and looking after the refs between them."""

    async def commit(self, diffs: Diff | Iterable[Diff]) -> list[Committed]:
        """Make a batch of changes, all or none (rules C1–C14).

        Args:
            diffs: What to change: `Diff.add(…)`, `Diff.update(entity, …)`, `Diff.remove(entity)`,
                `Diff.trash(entity)`, `Diff.restore(entity)`; each entity at most once. A diff is
                based on the entity as it was read, unless it is made with `force=True`.

        Returns:
            For each diff, in order, the entity before and after. All persistent changes of a batch
            have one `mod`, later than each that they replace; transient ones leave it (C6).

        Raises:
            InvalidDiffError: The batch is empty, has an id twice, mixes transient and persistent
                diffs, or one of them breaks a rule; the error says which and why.
            InvalidTagError: An id, a tag name or a value cannot be stored.
            EntityExistsError: The id of an addition is taken, be it by an entity in the trash (C2).
            UnknownEntityError: No entity has the id of an update or a removal.
            ConflictError: The stored `mod` is another one (C4); `current` is the stored entity.
        """
        ...

    async def delete(self, id: Id, *, unless_referenced: bool = False) -> None:
        """Remove one entity, its history, live tags and priority array.

        Args:
            id: The entity, be it in the trash.
            unless_referenced: Leave it where another entity (not in the trash) refers to it, by a
                ref or in a list of refs; else refs to it stay and dangle (C11).

        Raises:
            UnknownEntityError: No entity has this id.
            ReferencedError: Others refer to it; the error says which.
        """
        ...

    async def check_refs(self) -> list[DanglingRef]:
        """Find the refs that lead nowhere, of entities that are not in the trash.

        A ref counts as the value of a tag or in a list that is the value. An entity in the trash
        still exists.

        Returns:
            They are sorted by id, tag and ref; each once.
        """
        ...


@runtime_checkable
class LiveWriter(Protocol):
    """Writing current values: often, fast, and without touching `mod`."""

    async def set_live(self, id: Id, tags: Mapping[str, Any]) -> None:
        """Merge tags into an entity's live tags: a value sets a tag, REMOVE deletes it.

        An entity in the trash can be written. Watches and the change feed report the entity, also
        where a value is the same as before; no tags are no change.

        Raises:
            UnknownEntityError: No entity has this id.
            InvalidTagError: A tag is none of `hsorm.ops.live.LIVE_TAGS`, or its value cannot be
                stored.
        """
        ...

    async def set_live_batch(self, changes: Mapping[Id, Mapping[str, Any]]) -> None:
        """Merge tags into the live tags of many entities, all or nothing; see `set_live`.

        Raises:
            UnknownEntityError: No entity has one of the ids.
            InvalidTagError: One of the tags cannot be set.
        """
        ...


@runtime_checkable
class PointWriter(Protocol):
    """The priority arrays of writable points (rules W1–W14).

    An array shows in the point's live tags: `writeVal` (absent where no level holds a value) and
    `writeLevel`; with the tag `curTracksWrite` in `curVal` and `curStatus`, too (W4). A point that
    loses `point` or `writable` loses its array: at the latest at the next call here.
    """

    async def point_write(
        self, id: Id, level: int | Number, val: Any, who: str, duration: Duration | None = None
    ) -> list[Entity]:
        """Write one level of a priority array, or release it.

        Writing what is there already changes nothing, but resets the time of level 8 (W8, W9).

        Args:
            id: The point, with `point`, `writable` and `kind` (Number, Bool or Str).
            level: 1 to 17; a fraction is cut off (W6).
            val: A value of the point's kind, in its unit or without; None releases the level.
            who: Who writes; not empty.
            duration: A value on level 8 is released after this time (W7).

        Returns:
            The array after the write, as of `point_array`.

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
            PointWriteError: The entity is no writable point, or an argument does not fit (W5).
        """
        ...

    async def point_array(self, id: Id) -> list[Entity]:
        """Read a priority array (W12).

        Returns:
            17 rows, the highest priority first: `level` (Number), `levelDis`; `val`, `valDis` where
            the level holds a value; `who` where somebody has written it; `expires` (Number in sec)
            on level 8, the time until it is released.

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
            PointWriteError: The entity is no writable point.
        """
        ...

    async def point_sweep(self) -> int:
        """Release the levels whose time is over.

        Reads do so by themselves where that has not been done for a second; any process may.

        Returns:
            How many levels were released.
        """
        ...


@runtime_checkable
class Watcher(Protocol):
    """Watches: being told what has changed among some entities (rules P1–P14).

    A watch lives in the storage, not in the adapter: what one process opens another one can poll.
    It ends when it is closed, or when nobody has asked for it as long as its lease; then calls with
    its id are an error.
    """

    async def watch_sub(
        self,
        watch_id: str | None,
        ids: Iterable[Id],
        *,
        lease: Duration | None = None,
        dis: str = "",
        create: bool = True,
    ) -> WatchRows:
        """Open a watch on entities, or add entities to one.

        Args:
            watch_id: None or an id never used opens a watch, the latter under this id.
            ids: The entities; those that do not exist are reported once they do (OC 23).
            lease: How long the watch lives without being asked: one minute unless told otherwise,
                an hour at most (P2).
            dis: What the watch is for, for people.
            create: Whether an id never used opens a watch. A server says no: who adds to a watch
                that has been forgotten must hear of it, and not wait for what else was in it.

        Returns:
            A row for each of `ids`, in their order: the entity as it is now, `{}` where there is
            none or it is in the trash (P3). Changes from now on are for `watch_poll` (OC 29).

        Raises:
            UnknownWatchError: The watch has ended, or there is none and none is to be opened (P1).
            InvalidWatchError: It is a watch on a filter; the id or the lease is none; `dis` cannot
                be stored; or there is no id, and no watch is to be opened.
        """
        ...

    async def watch_filter(
        self,
        filter_str: str | Node,
        watch_id: str | None = None,
        *,
        lease: Duration | None = None,
        dis: str = "",
    ) -> WatchRows:
        """Open a watch on whatever matches a filter.

        Polls report what begins to match and what has changed as rows, and in `removed` what does
        not match any longer.

        Args:
            filter_str: A filter, as text or parsed.
            watch_id: None, or an id never used.
            lease: As for `watch_sub`.
            dis: As for `watch_sub`.

        Returns:
            The entities that match, by id.

        Raises:
            FilterSyntaxError: The text is no filter.
            UnknownWatchError: A watch of this id has ended.
            InvalidWatchError: There is a watch of this id; the id or the lease is none; or `dis`
                cannot be stored.
        """
        ...

    async def watch_unsub(self, watch_id: str, ids: Iterable[Id], *, close: bool = False) -> None:
        """Take entities out of a watch, or close it.

        Ids that are not in it, and watches that there are not, change nothing (P10). A watch
        without entities goes on.

        Raises:
            InvalidWatchError: Ids are to be taken out of a watch on a filter.
        """
        ...

    async def watch_poll(self, watch_id: str, refresh: bool = False) -> WatchRows:
        """Return what has changed since the last poll, or else since it was put in the watch.

        Commits, live tags and history writes are changes (P6). Nothing is lost and nothing told
        twice, also with several pollers of one watch.

        Args:
            watch_id: The watch.
            refresh: Return all entities of the watch, changed or not (P8).

        Returns:
            The entities in their current state, each once, by id. `removed` has the ids that are
            gone, each in one poll only (P9).

        Raises:
            UnknownWatchError: There is no such watch, or it has ended (P11).
        """
        ...

    def watch_stream(self, watch_id: str) -> AsyncIterator[WatchRows]:
        """Poll a watch whenever there is something to be told, until it is closed.

        The lease is renewed while the stream waits, not while the caller is busy with the rows. A
        slow caller gets fewer, larger answers. Closing the watch or the storage ends the stream.

        Raises:
            UnknownWatchError: There is no such watch, or its lease has run out.
        """
        ...


@runtime_checkable
class ChangeFeed(Protocol):
    """What has changed in the whole storage, for those who follow it."""

    async def changes(self, since: str | None = None, *, limit: int = 10_000) -> Changes:
        """Return what has changed since a place in the feed, oldest first.

        Each entity comes at most once, where it has changed last, in its latest state. No change is
        lost, and none told twice to who goes on with the `cursor` of each answer.

        Args:
            since: The `cursor` of an answer before; None begins with all that there is.
            limit: How many changes at the most.

        Returns:
            The changes, with the `cursor` to go on with and whether there is `more`. Entities that
            were removed or moved to the trash have `entity=None`; one that the caller has never
            heard of may be among them.

        Raises:
            InvalidCursorError: The text is no cursor.
            CursorExpiredError: Removals since then have been forgotten: begin again with None.
        """
        ...

    async def prune(self, older_than: dt.timedelta = RETENTION) -> int:
        """Forget removals and ended watches that are older than this.

        Cursors from before a forgotten removal have expired then; watches miss nothing.

        Returns:
            How many removals and watches were forgotten.
        """
        ...


@runtime_checkable
class StorageAdapter(
    EntityReader,
    Navigator,
    Committer,
    HistoryReader,
    HistoryWriter,
    LiveWriter,
    PointWriter,
    Watcher,
    ChangeFeed,
    Protocol,
):
    """A whole backend: `async with open_storage(url) as store: …`."""

    async def about(self) -> Entity:
        """Describe the storage.

        Returns:
            Tags: `productName`, `productVersion`, `haystackVersion`, `serverTime` (dateTime in
            UTC), `backend` (`"memory"`, `"sqlite"`, `"postgresql"`, `"timescale"`, `"redis"`),
            `backendVersion`, `entities` (Number, without those in the trash), and `url` where there
            is one.
        """
        ...

    async def connect(self) -> None:
        """Open the storage, and make or upgrade its tables unless told otherwise.

        Every other call connects by itself where that has not been done.

        Raises:
            SchemaOutdatedError: The tables are missing or of another version, and may not be
                changed.
        """
        ...

    async def close(self) -> None:
        """Close the storage; closing twice is harmless."""
        ...

    async def __aenter__(self) -> StorageAdapter: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
