"""An adapter in another event loop than the one that it was connected in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest

from hsorm.errors import StorageError
from hsorm.kinds import Ref
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import ALL, SITE
from tests.backends import Backend

_CALLS: Final[dict[str, Callable[[StorageAdapter], Awaitable[Any]]]] = {
    "about": lambda store: store.about(),
    "read": lambda store: store.read("site"),
    "create": lambda store: store.create({"id": Ref("new")}),
    "load_entities": lambda store: store.load_entities([SITE]),
    "set_live": lambda store: store.set_live("temp-1", {"curVal": 1}),
    "his_read": lambda store: store.his_read("temp-1", "today"),
    "his_clear": lambda store: store.his_clear("temp-1"),
    "watch_sub": lambda store: store.watch_sub("mine", ["site-1"]),
    "changes": lambda store: store.changes(),
}


@pytest.mark.parametrize("call", _CALLS)
async def test_another_event_loop_does_or_is_told(backend: Backend, call: str) -> None:
    """As by two `asyncio.run`: where a driver's sockets are in the way, in words of ours."""
    store = backend.store
    await store.load_entities(ALL)

    async def elsewhere() -> None:
        await _CALLS[call](store)

    try:
        await asyncio.to_thread(asyncio.run, elsewhere())
    except StorageError as exc:
        assert "another event loop" in str(exc)  # noqa: PT017 - some do it

    assert await store.read_count("site") == 1
