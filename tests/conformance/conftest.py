"""What the conformance kit asks for: `store`, `capabilities` and `another_store`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance import Capability
from tests.backends import Backend


@pytest.fixture
def store(backend: Backend) -> StorageAdapter:
    """The empty storage that a test of the kit runs on."""
    return backend.store


@pytest.fixture
def capabilities(backend: Backend) -> frozenset[Capability]:
    """What a backend offers beside what each must."""
    if backend.another is None:
        return frozenset()
    return frozenset(Capability)


@pytest.fixture
async def another_store(
    backend: Backend,
) -> AsyncIterator[Callable[[], Awaitable[StorageAdapter]]]:
    """Opens one more adapter over the data of `store`."""
    async with AsyncExitStack() as stack:

        async def another() -> StorageAdapter:
            assert backend.another is not None
            return await stack.enter_async_context(backend.another())

        yield another
