"""What the adapters share: the calls that are made of other calls, and the life of an adapter."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from operator import index
from types import TracebackType
from typing import Any, Final, Protocol, Self

from hsorm.errors import StorageError, UnknownEntityError
from hsorm.filter.ast import Node
from hsorm.kinds import Entity, Number, Ref, Uri, as_ref
from hsorm.ops.commits import CheckedDiff, apply
from hsorm.ops.entities import check_entity
from hsorm.ops.nav import ROOTS, NavNode, below, nav_rows, nav_tree, tree_filter
from hsorm.ops.priority_array import without_lost_array
from hsorm.storage.protocol import Id, Sort

__all__ = [
    "BaseAdapter",
    "about_entity",
    "applied",
    "at_most",
    "check_loop",
    "check_sort",
    "last_of_each",
    "page_size",
    "utc_now",
]

_MOST: Final = 2**31  # more than any answer holds, and a number that every database takes


def utc_now() -> dt.datetime:
    """Return the present in UTC: the one clock of the adapters."""
    return dt.datetime.now(dt.UTC)


def at_most(limit: int | None) -> int | None:
    """Return how many rows a limit asks for at the most, None for all.

    Raises:
        TypeError: It is no whole number.
    """
    return None if limit is None else min(max(int(index(limit)), 0), _MOST)


def page_size(limit: int) -> int:
    """Return how many changes a limit of the change feed asks for at the most.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is less than one.
    """
    if index(limit) < 1:
        raise ValueError(f"a limit of {limit}: ask for at least one change")
    return min(int(index(limit)), _MOST)


def check_sort(sort: Sort) -> None:
    """Refuse an order that there is not.

    Raises:
        ValueError: It is neither `"id"` nor `"dis"`.
    """
    if sort not in ("id", "dis"):
        raise ValueError(f'sort is "id" or "dis", not {sort!r}')


def check_loop(connected_in: asyncio.AbstractEventLoop | None, url: str) -> None:
    """Refuse another event loop than the one that connections were made in, None where any will do.

    What the driver would say of it has nothing to do with what was called.

    Raises:
        StorageError: This is another one.
    """
    if connected_in is not None and asyncio.get_running_loop() is not connected_in:
        raise StorageError(
            f"{url}: this is another event loop than the one that the storage was connected in, as "
            "each asyncio.run makes one: open a storage in each, by `async with`"
        )


class _ReadsByIds(Protocol):
    async def read_by_ids(self, ids: Sequence[Id]) -> list[Entity | None]: ...


class _Reads(_ReadsByIds, Protocol):
    async def read(self, filter_str: str | Node) -> list[Entity]: ...

    async def read_by_id(self, id: Id) -> Entity: ...


class BaseAdapter:
    """The part of an adapter that is the same for each: `read_by_id`, `nav`, `async with`."""

    async def connect(self) -> None:
        """Open the storage; here there is nothing to open."""

    async def close(self) -> None:
        """Close the storage; here there is nothing to close."""

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.close()  # nobody else will: `async with` has not begun
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        url = getattr(self, "url", None)  # without its password
        return f"<{type(self).__name__}>" if url is None else f"<{type(self).__name__} {url}>"

    async def read_by_id(self: _ReadsByIds, id: Id) -> Entity:
        """Read one entity by id; see `EntityReader.read_by_id`."""
        (found,) = await self.read_by_ids([id])
        if found is None:
            raise UnknownEntityError(as_ref(id).val)
        return found

    async def nav(self: _Reads, nav_id: Id | None = None) -> list[Entity]:
        """Read one level of the navigation tree; see `Navigator.nav`."""
        if nav_id is not None:
            filter = below(await self.read_by_id(nav_id))
            return nav_rows(await self.read(filter)) if filter is not None else []
        for filter in ROOTS:
            if found := await self.read(filter):
                return nav_rows(found)
        return []

    async def nav_tree(
        self: _Reads, root: Id | None = None, *, points: bool = True
    ) -> list[NavNode]:
        """Read the whole navigation tree; see `Navigator.nav_tree`."""
        top = None if root is None else await self.read_by_id(root)
        return nav_tree(await self.read(tree_filter(points=points)), top)


def about_entity(
    backend: str, backend_version: str, entities: int, *, url: str | None = None
) -> Entity:
    """Return the answer of `about()`; see `StorageAdapter.about`."""
    try:
        product_version = version("hsorm")
    except PackageNotFoundError:  # run from a folder that was never installed
        product_version = "unknown"
    about: Entity = {
        "productName": "hsorm",
        "productVersion": product_version,
        "haystackVersion": "4.0",
        "serverTime": utc_now(),
        "backend": backend,
        "backendVersion": backend_version,
        "entities": Number(entities),
    }
    return about if url is None else {**about, "url": Uri(url)}


def applied(diff: CheckedDiff, old: Entity | None, mod: dt.datetime) -> Entity | None:
    """Return an entity after a diff, as `commits.apply` does, without an array that it loses."""
    new = apply(diff, old, mod)
    return new if old is None or new is None else without_lost_array(old, new)


def last_of_each(entities: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return by id the entities to load, yet to be checked; the last one where an id repeats.

    Raises:
        InvalidTagError: An entity without an id, or one whose id comes again, cannot be stored.
    """
    last: dict[str, Mapping[str, Any]] = {}
    for raw in entities:
        id = raw.get("id")
        if type(id) is not Ref or type(id.val) is not str:
            id = check_entity(raw)["id"]
        if id.val in last:
            check_entity(last[id.val])
        last[id.val] = raw
    return last
