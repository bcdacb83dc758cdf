"""The server of haystack-py (`hs_py`, 0.1.10 or newer) on any storage of ours.

    from hs_py.fastapi_server import create_fastapi_app
    from hsorm import open_storage
    from hsorm.interop.haystack_py import HaystackPyStorage, uncached

    storage = HaystackPyStorage(open_storage("postgresql://localhost/plant"))
    app = uncached(create_fastapi_app(storage=storage))

haystack-py needs Python 3.13 (the extra `haystack-py` brings it). Its published page describes
another interface than its release has: this is the one of `hs_py.storage.protocol`. Filters have
our meaning, that of the reference, and not that of its evaluator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from hsorm.errors import HsormError, MissingExtraError, UnknownEntityError, UnknownWatchError
from hsorm.filter.ast import And, Cmp, CmpOp, Has, Missing, Node, Or, Path
from hsorm.his import ALWAYS
from hsorm.interop._ops import public_text
from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Entity,
    Grid,
    GridCol,
    Marker,
    NAType,
    Number,
    Ref,
    Remove,
    Symbol,
    Uri,
    XStr,
)
from hsorm.storage.protocol import StorageAdapter

try:
    from hs_py import grid as hs_grid
    from hs_py import kinds as hs
    from hs_py.errors import HaystackError
    from hs_py.filter import ast as hs_ast
except ModuleNotFoundError:
    raise MissingExtraError(
        "hsorm.interop.haystack_py", "haystack-py (on Python 3.13 or newer)", "haystack-py"
    ) from None

__all__ = ["HaystackPyStorage", "from_hs", "node_from_hs", "to_hs", "uncached"]

App = TypeVar("App")

_LEASE: Final = 300
"""Seconds that the server tells its clients a watch lives, whatever the storage says."""


class HaystackPyStorage:
    """`hs_py.storage.protocol.StorageAdapter` over one of our storages.

    What goes wrong is a `hs_py.errors.HaystackError`, which its server answers with an error grid;
    of a watch that has ended a ValueError too, as the protocol has it.

    Args:
        store: The storage; the server connects it when it begins, and closes it at its end.
        who: Who writes to priority arrays where a request does not say.
    """

    def __init__(self, store: StorageAdapter, *, who: str = "haystack-py") -> None:
        self._store, self._who = store, who

    async def start(self) -> None:
        """Open the storage."""
        await self._store.connect()

    async def close(self) -> None:
        """Close the storage."""
        await self._store.close()

    async def load_entities(self, entities: Iterable[Mapping[str, Any]]) -> int:
        """Insert or replace entities by id, as the adapters of haystack-py do beside the protocol.

        Unlike theirs an entity without a Ref `id` is an error.
        """
        with _errors():
            return await self._store.load_entities([from_hs(entity) for entity in entities])

    # ---- reading --------------------------------------------------------------------------------

    async def read_by_filter(self, ast: Any, limit: int | None = None) -> list[dict[str, Any]]:
        """Read the entities that match a filter of `hs_py.filter`, sorted by id."""
        with _errors():
            return _rows(await self._store.read(node_from_hs(ast), limit))

    async def read_by_ids(self, ids: list[Any]) -> list[dict[str, Any] | None]:
        """Read entities by id, None for each that is not there."""
        with _errors():
            found = await self._store.read_by_ids([_id(ref) for ref in ids])
        return [None if entity is None else to_hs(entity) for entity in found]

    async def nav(self, nav_id: str | None = None) -> list[dict[str, Any]]:
        """Read one level of the navigation tree; nothing is below an id that is not there."""
        with _errors():
            try:
                return _rows(await self._store.nav(nav_id))
            except UnknownEntityError:
                return []

    # ---- history --------------------------------------------------------------------------------

    async def his_read(self, ref: Any, range_str: str | None = None) -> list[dict[str, Any]]:
        """Read the history of a point: of a range as `his_read` of ours reads it, or all."""
        with _errors():
            return _rows(await self._store.his_read(_id(ref), range_str or ALWAYS))

    async def his_write(self, ref: Any, items: list[dict[str, Any]]) -> None:
        """Write the history of a point; items without a value are none."""
        written = [from_hs(item) for item in items if item.get("val") is not None]
        with _errors():
            await self._store.his_write(_id(ref), written)

    # ---- priority arrays ------------------------------------------------------------------------

    async def point_write(
        self, ref: Any, level: int, val: Any, who: str = "", duration: Any = None
    ) -> None:
        """Write one level of a priority array, or release it with None."""
        with _errors():
            await self._store.point_write(
                _id(ref), level, from_hs(val), who or self._who, from_hs(duration)
            )

    async def point_read_array(self, ref: Any) -> list[dict[str, Any]]:
        """Read the 17 levels of a priority array."""
        with _errors():
            return _rows(await self._store.point_array(_id(ref)))

    # ---- watches --------------------------------------------------------------------------------

    async def watch_sub(
        self, watch_id: str | None, ids: list[Any], dis: str = "watch"
    ) -> tuple[str, list[dict[str, Any]]]:
        """Open a watch or add entities to one; what is not there is watched, but has no row.

        An id that no watch has is an error; the adapters of haystack-py open one under it.
        """
        with _errors():
            rows = await self._store.watch_sub(
                watch_id,
                [_id(ref) for ref in ids],
                lease=_LEASE,
                dis=dis,
                create=watch_id is None,
            )
        return rows.watch_id, _rows(row for row in rows if row)

    async def watch_unsub(self, watch_id: str, ids: list[Any], *, close: bool = False) -> None:
        """Take entities out of a watch, or close it."""
        with _errors():
            gone = () if close else [_id(ref) for ref in ids]
            await self._store.watch_unsub(watch_id, gone, close=close)

    async def watch_poll(self, watch_id: str, *, refresh: bool = False) -> list[dict[str, Any]]:
        """Read what has changed since the last poll, or all that is watched."""
        with _errors():
            return _rows(await self._store.watch_poll(watch_id, refresh))


def uncached(app: App) -> App:
    """Let an application of `create_fastapi_app` keep no answers, and return it.

    Its server (0.1.10) answers a read that it has answered before from memory until something is
    written through it: whatever other processes write is not seen, and every read by ids gets the
    answer of the first one.
    """
    state: Any = getattr(app, "state", None)
    for name in ("_response_cache", "_ws_grid_cache"):
        if isinstance(getattr(state, name, None), dict):
            setattr(state, name, _Forgetful())
    return app


class _Forgetful(dict[Any, Any]):
    """A dict in which nothing stays."""

    def __setitem__(self, key: Any, val: Any) -> None:
        pass


# ---- errors -------------------------------------------------------------------------------------


class _StorageError(HaystackError):  # type: ignore[misc]  # untyped where hs_py is not installed
    """An error of ours, as the server knows one."""


class _WatchError(_StorageError, ValueError):
    """A watch that has ended: polls look for a ValueError, what opens watches for the other."""


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except UnknownWatchError as exc:
        raise _WatchError(str(exc)) from exc
    except HsormError as exc:
        raise _StorageError(public_text(exc)) from exc


# ---- values -------------------------------------------------------------------------------------


def _rows(entities: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [to_hs(entity) for entity in entities]


def _id(ref: Any) -> Ref:
    return Ref(ref.val)


def to_hs(value: Any) -> Any:
    """Return a value of ours, in any depth, as haystack-py has it."""
    write = _TO_HS.get(type(value))
    return value if write is None else write(value)


def from_hs(value: Any) -> Any:
    """Return a value of haystack-py, in any depth, as we have it.

    Raises:
        HaystackError: It is none that we have: a symbol or a type of an XStr that the standard does
            not know.
    """
    read = _FROM_HS.get(type(value))
    if read is None:
        return value
    try:
        return read(value)
    except ValueError as exc:
        raise _StorageError(str(exc)) from exc


def _dict_to_hs(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_hs(val) for name, val in value.items()}


def _grid_to_hs(grid: Grid) -> Any:
    cols = tuple(hs_grid.Col(col.name, _dict_to_hs(col.meta)) for col in grid.cols)
    return hs_grid.Grid(_dict_to_hs(grid.meta), cols, tuple(map(_dict_to_hs, grid.rows)))


def _dict_from_hs(value: Mapping[str, Any]) -> Entity:
    return {name: from_hs(val) for name, val in value.items() if val is not None}


def _grid_from_hs(grid: Any) -> Grid:
    meta = {name: val for name, val in grid.meta.items() if name != "ver"}
    cols = tuple(GridCol(col.name, _dict_from_hs(col.meta)) for col in grid.cols)
    return Grid(_dict_from_hs(meta), cols, tuple(map(_dict_from_hs, grid.rows)))


_TO_HS: Final[dict[type, Callable[[Any], Any]]] = {
    Marker: lambda value: hs.MARKER,
    NAType: lambda value: hs.NA,
    Remove: lambda value: hs.REMOVE,
    Number: lambda value: hs.Number(value.val, value.unit),
    Ref: lambda value: hs.Ref(value.val, value.dis),
    Uri: lambda value: hs.Uri(value.val),
    Symbol: lambda value: hs.Symbol(value.val),
    Coord: lambda value: hs.Coord(value.lat, value.lng),
    XStr: lambda value: hs.XStr(value.type, value.val),
    Grid: _grid_to_hs,
    dict: _dict_to_hs,
    list: lambda value: list(map(to_hs, value)),
    tuple: lambda value: list(map(to_hs, value)),
}

_FROM_HS: Final[dict[type, Callable[[Any], Any]]] = {
    hs.Marker: lambda value: MARKER,
    hs.Na: lambda value: NA,
    hs.Remove: lambda value: REMOVE,
    hs.Number: lambda value: Number(value.val, value.unit),
    hs.Ref: lambda value: Ref(value.val, value.dis),
    hs.Uri: lambda value: Uri(value.val),
    hs.Symbol: lambda value: Symbol(value.val),
    hs.Coord: lambda value: Coord(value.lat, value.lng),
    hs.XStr: lambda value: XStr(value.type_name, value.val),
    hs_grid.Grid: _grid_from_hs,
    dict: _dict_from_hs,
    list: lambda value: list(map(from_hs, value)),
    tuple: lambda value: list(map(from_hs, value)),
}


# ---- filters ------------------------------------------------------------------------------------


def node_from_hs(node: Any) -> Node:
    """Return a filter of `hs_py.filter`, as parsed there, as ours.

    Raises:
        HaystackError: It is none that the standard has: `x == NaN`, or more terms than we take.
    """
    try:
        return _node(node)
    except (ValueError, TypeError) as exc:
        raise _StorageError(f"filter: {exc}") from exc


def _node(node: Any) -> Node:
    match node:
        case hs_ast.And():
            return And(tuple(map(_node, _flat(node, hs_ast.And))))
        case hs_ast.Or():
            return Or(tuple(map(_node, _flat(node, hs_ast.Or))))
        case hs_ast.Has(path):
            return Has(_path(path))
        case hs_ast.Missing(path):
            return Missing(_path(path))
        case hs_ast.Cmp(path, op, val):
            return Cmp(_path(path), CmpOp(op.value), from_hs(val))
        case _:
            raise TypeError(f"{type(node).__name__} is no node of hs_py.filter.ast")


def _path(path: Any) -> Path:
    return Path(tuple(path.names))


def _flat(node: Any, kind: Any) -> list[Any]:
    """Return the terms of a chain, in order: its parser nests one pair in the next."""
    terms: list[Any] = []
    todo = [node]
    while todo:
        at = todo.pop()
        if isinstance(at, kind):
            todo += (at.right, at.left)
        else:
            terms.append(at)
    return terms
