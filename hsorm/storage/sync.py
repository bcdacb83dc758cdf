"""`SyncStorage`: the calls of a SQL adapter for code that does not await.

Nothing in a call of an adapter in a synchronous session waits for anything but that session. So
what is written once, as coroutines, runs to its end in one go: there is no second copy of it, and
no event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from hsorm.storage._sql import SqlAdapter

__all__ = ["SyncStorage"]

_T = TypeVar("_T")
_P = ParamSpec("_P")


def _finish(waiting: Awaitable[_T]) -> _T:
    steps = waiting.__await__()
    try:
        next(steps)
    except StopIteration as done:
        value: _T = done.value
        return value
    if (close := getattr(steps, "close", None)) is not None:
        close()  # which takes back what it has done
    raise RuntimeError(
        "this call waits for something, which a synchronous session cannot: an asynchronous source?"
    )


def _finished(
    call: Callable[Concatenate[SqlAdapter, _P], Awaitable[_T]],
) -> Callable[Concatenate[SyncStorage, _P], _T]:
    """Return a call of an adapter, as that does it itself, that is done when it returns."""

    @wraps(call)
    def method(self: SyncStorage, /, *args: _P.args, **kw: _P.kwargs) -> _T:
        own: Awaitable[_T] = getattr(self._store, call.__name__)(*args, **kw)
        return _finish(own)

    return method


def _iterated(
    call: Callable[Concatenate[SqlAdapter, _P], AsyncIterator[_T]],
) -> Callable[Concatenate[SyncStorage, _P], Iterator[_T]]:
    """Return a call of an adapter that gives one thing after the other."""

    @wraps(call)
    def method(self: SyncStorage, /, *args: _P.args, **kw: _P.kwargs) -> Iterator[_T]:
        items = getattr(self._store, call.__name__)(*args, **kw)
        while True:
            try:
                yield _finish(anext(items))
            except StopAsyncIteration:
                return

    return method


class SyncStorage:
    """A storage in a synchronous session: each call as on an adapter, without `await`.

    Made by `hsorm.storage.bind(session)`. There is everything but `watch_stream`, and what needs
    connections of its own. See `hsorm.storage.StorageAdapter` for what the calls do.
    """

    def __init__(self, store: SqlAdapter) -> None:
        self._store = store

    about = _finished(SqlAdapter.about)
    read = _finished(SqlAdapter.read)
    read_count = _finished(SqlAdapter.read_count)
    read_by_ids = _finished(SqlAdapter.read_by_ids)
    read_by_id = _finished(SqlAdapter.read_by_id)
    nav = _finished(SqlAdapter.nav)
    nav_tree = _finished(SqlAdapter.nav_tree)
    explain = _finished(SqlAdapter.explain)

    create = _finished(SqlAdapter.create)
    update = _finished(SqlAdapter.update)
    delete = _finished(SqlAdapter.delete)
    commit = _finished(SqlAdapter.commit)
    load_entities = _finished(SqlAdapter.load_entities)
    check_refs = _finished(SqlAdapter.check_refs)

    set_live = _finished(SqlAdapter.set_live)
    set_live_batch = _finished(SqlAdapter.set_live_batch)
    point_write = _finished(SqlAdapter.point_write)
    point_array = _finished(SqlAdapter.point_array)
    point_sweep = _finished(SqlAdapter.point_sweep)

    his_read = _finished(SqlAdapter.his_read)
    his_read_batch = _finished(SqlAdapter.his_read_batch)
    his_read_iter = _iterated(SqlAdapter.his_read_iter)
    his_summary = _finished(SqlAdapter.his_summary)
    his_rollup = _finished(SqlAdapter.his_rollup)
    his_arrow = _finished(SqlAdapter.his_arrow)
    his_pandas = _finished(SqlAdapter.his_pandas)
    his_numpy = _finished(SqlAdapter.his_numpy)
    his_write = _finished(SqlAdapter.his_write)
    his_write_batch = _finished(SqlAdapter.his_write_batch)
    his_clear = _finished(SqlAdapter.his_clear)

    watch_sub = _finished(SqlAdapter.watch_sub)
    watch_filter = _finished(SqlAdapter.watch_filter)
    watch_poll = _finished(SqlAdapter.watch_poll)
    watch_unsub = _finished(SqlAdapter.watch_unsub)
    changes = _finished(SqlAdapter.changes)
    prune = _finished(SqlAdapter.prune)
