"""What a backend promises: small capability protocols, and `StorageAdapter`, all of them in one.

A function that only reads should ask for `EntityReader`, not for a whole adapter. Every backend
gives the same answer to every call; the conformance suite in `hsorm.testing` is the proof.

Ids are `Ref` or text, with or without `@`. Entities are dicts of tags; what comes back is a fresh
dict that the caller may change. Errors are those of `hsorm.errors`; besides the ones named here,
every call may raise `StorageUnavailableError`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, runtime_checkable

from hsorm.filter.ast import Node
from hsorm.kinds import Entity, Ref

__all__ = [
    "Create",
    "EntityReader",
    "EntityWriter",
    "Explainer",
    "Explanation",
    "HisItem",
    "HistoryReader",
    "HistoryWriter",
    "Id",
    "Navigator",
    "Sort",
    "StorageAdapter",
]

Id: TypeAlias = Ref | str
"""The id of an entity: `Ref("p:demo:r:1")`, `"p:demo:r:1"` or `"@p:demo:r:1"`."""

Create: TypeAlias = Literal["auto", "never"]
"""What `connect()` does about tables that are missing or behind: bring them up, or raise."""

Sort: TypeAlias = Literal["id", "dis"]
"""The order of a read: by id (by code point), or by display text as people expect it (rule R7)."""


class HisItem(TypedDict):
    """One item of history: an aware timestamp and a value of any kind."""

    ts: dt.datetime
    val: Any


@runtime_checkable
class EntityReader(Protocol):
    """Reading entities. None of these ever returns an entity in the trash (rule R10)."""

    async def read(
        self, filter_str: str | Node, limit: int | None = None, *, sort: Sort = "id"
    ) -> list[Entity]:
        """Read all entities that match a filter.

        Args:
            filter_str: A Haystack filter, as text or parsed.
            limit: How many at the most, the first ones in the order asked for (OC 25); none or
                negative numbers of entities are an empty answer.
            sort: `"id"`, or `"dis"` for display text.

        Returns:
            The entities; each has `id` (with its display text) and `mod`, a dateTime in UTC (rule
            R12).

        Raises:
            FilterSyntaxError: The text is no filter; the error shows where.
        """
        ...

    async def read_count(self, filter_str: str | Node) -> int:
        """Count the entities that match a filter (rule R9).

        Raises:
            FilterSyntaxError: The text is no filter.
        """
        ...

    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]:
        """Read entities by id: an answer for each, in the same order, None for an unknown (R2)."""
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
            for
                its equips; an equip for its points; any other entity has nothing below it.

        Returns:
            Whole entities sorted by display text; each but the points has a `navId` equal to its
            id.

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
        """
        ...


@runtime_checkable
class EntityWriter(Protocol):
    """Changing entities. A call that fails has changed nothing."""

    async def create(self, entity: Mapping[str, Any]) -> Entity:
        """Add one entity.

        Args:
            entity: Its tags, with a Ref `id`; plain numbers and Hayson values (`{"_kind": …}`) are
                taken as the kinds that they mean. A `mod` in it is not looked at.

        Returns:
            The entity as stored, with its `mod`.

        Raises:
            InvalidTagError: The id, a tag name or a value cannot be stored (K20, K25, K28).
            EntityExistsError: The id is taken, be it by an entity in the trash (C2).
        """
        ...

    async def update(self, entity: Mapping[str, Any]) -> Entity:
        """Merge tags into one entity: a value sets a tag, REMOVE deletes it, others stay (C5).

        Args:
            entity: The `id` and the tags to change. With a `mod` among them, the change is only
            made
                when that is still the stored one. An entity in the trash can be updated (C12).

        Returns:
            The whole entity after the change, with its new `mod`.

        Raises:
            InvalidTagError: The id, a tag name or a value cannot be stored.
            UnknownEntityError: No entity has this id.
            ConflictError: The stored `mod` is another one (C4).
        """
        ...

    async def delete(self, id: Id) -> None:
        """Remove one entity and its history; refs to it stay and dangle (C11).

        Raises:
            UnknownEntityError: No entity has this id.
        """
        ...

    def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> Awaitable[int]:
        """Insert or replace many entities by id, all or nothing, fast.

        Args:
            entities: As for `create`; of two with one id the last one counts. Each gets a new
            `mod`.

        Returns:
            How many entities were stored.

        Raises:
            InvalidTagError: One of them cannot be stored; nothing was.
        """
        ...


@runtime_checkable
class HistoryReader(Protocol):
    """Reading history."""

    async def his_read(self, id: Id, range_str: str) -> list[HisItem]:
        """Read the history of one point, oldest first.

        Args:
            id: The point.
            range_str: `today`, `yesterday`, `2024-03-10`, `2024-03-01,2024-03-31` (the last day
                included), a dateTime or two of them (the end excluded), or a word such as
                `thisWeek` (rules §5.1 and §5.4). Days are days in the point's `tz`.

        Returns:
            `{"ts", "val"}` items with distinct, ascending `ts` in the point's `tz`; numbers in the
            point's `unit`. Empty when the range holds none.

        Raises:
            RangeSyntaxError: `range_str` is none of these forms; the error shows where.
            UnknownEntityError: No entity has this id, or it is in the trash.
            HisConfigError: The entity is no point with history, or its `tz` is missing or unknown.
        """
        ...


@runtime_checkable
class HistoryWriter(Protocol):
    """Writing history. A call that fails has written nothing."""

    async def his_write(self, id: Id, items: Iterable[Mapping[str, Any]]) -> None:
        """Write items into the history of one point.

        Args:
            id: The point, with `point`, `his`, `kind` and `tz`.
            items: `{"ts": aware datetime, "val": value}` in any order; of two with one `ts` the
            last
                counts (OC 17). An item replaces what is stored at its `ts`; REMOVE deletes it, NA
                is stored as a value (H27). Numbers are in the point's unit or have none (H23).

        Raises:
            UnknownEntityError: No entity has this id, or it is in the trash.
            HisConfigError: The entity is no point with history (H21).
            HisWriteError: An item does not fit its point (H22–H24); the error says which and why.
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

    async def explain(self, filter_str: str | Node, limit: int | None = None) -> Explanation:
        """Return the statement of a read by id and its plan; nothing is read.

        Raises:
            FilterSyntaxError: The text is no filter.
        """
        ...


@runtime_checkable
class StorageAdapter(EntityReader, EntityWriter, Navigator, HistoryReader, HistoryWriter, Protocol):
    """A whole backend: `async with open_storage(url) as store: …`."""

    async def about(self) -> Entity:
        """Describe the storage.

        Returns:
            Tags: `productName`, `productVersion`, `haystackVersion`, `serverTime` (dateTime in
            UTC), `backend` (`"memory"`, `"sqlite"`, `"postgresql"`, `"timescale"`),
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
