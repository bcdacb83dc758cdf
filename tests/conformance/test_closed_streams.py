"""Streams of a storage that is closed do not open it again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hsorm.errors import StorageUnavailableError
from hsorm.kinds import MARKER, Number, Ref
from hsorm.storage._sql import SqlAdapter
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.redis import RedisAdapter
from hsorm.storage.sqlite import SqliteAdapter


async def _all(stream: Any) -> list[Any]:
    return [rows async for rows in stream]


def _is_open(store: StorageAdapter) -> bool:
    """Tell whether a storage holds connections; memory has none."""
    return isinstance(store, (SqlAdapter, RedisAdapter)) and store._connected


async def _closed(store: Any, seconds: float) -> None:
    """Close a storage some time after a stream has begun, which then ends."""
    watch = await store.watch_sub(None, ["a"])
    everything = asyncio.ensure_future(_all(store.watch_stream(watch.watch_id)))
    await asyncio.sleep(seconds)
    await store.close()
    assert await asyncio.wait_for(everything, 10) == []


async def test_it_stays_closed_whatever_a_stream_is_at(store: StorageAdapter) -> None:
    await store.load_entities([{"id": Ref("a"), "site": MARKER}])
    for ms in range(0, 24, 2):
        await _closed(store, ms / 1_000)
        await asyncio.sleep(0.01)
        assert not _is_open(store), f"{ms} ms after the stream began"


async def test_it_stays_closed_where_another_stream_rests(store: StorageAdapter) -> None:
    """One whose reader is busy with its rows, while one that has just begun ends."""
    await store.load_entities([{"id": Ref("a"), "site": MARKER}])
    watch = await store.watch_sub(None, ["a"])
    await store.update({"id": Ref("a"), "n": Number(1)})
    resting = store.watch_stream(watch.watch_id)
    await anext(resting)
    beginning = asyncio.ensure_future(_all(store.watch_stream(watch.watch_id)))
    await asyncio.sleep(0)

    await store.close()

    assert await asyncio.wait_for(beginning, 10) == []
    await asyncio.sleep(0.2)
    listener = getattr(store, "_listener", None)
    assert listener is None or listener._task is None
    assert not _is_open(store)
    assert await _all(resting) == []


async def test_it_stays_closed_where_a_stream_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for a server that was lost: what that would do then is nothing."""
    store = SqliteAdapter(tmp_path / "a.db")

    async def lost(watch_id: str, refresh: bool, gone: Iterable[str]) -> Any:
        await store._ready()
        raise StorageUnavailableError(store.url, "gone")

    monkeypatch.setattr(store, "_poll_once", lost)
    await _closed(store, 0.2)
    assert not _is_open(store)
