"""Storages in Redis made for one test, by the URL that a test may spoil."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest

from hsorm.storage.redis import RedisAdapter
from tests.backends import REDIS, ServerMissingError, new_database
from tests.conftest import Record, skip_missing


@pytest.fixture
def redis_url(record_property: Record) -> Iterator[str]:
    """The URL of an empty storage on the single server."""
    yield from _new("redis", record_property)


@pytest.fixture(params=REDIS)
def any_redis_url(request: pytest.FixtureRequest, record_property: Record) -> Iterator[str]:
    """The URL of an empty storage, on the single server and on the cluster."""
    yield from _new(str(request.param), record_property)


def _new(name: str, record_property: Record) -> Iterator[str]:
    record_property("backend", name)
    with ExitStack() as stack:
        try:
            url = stack.enter_context(new_database(name))
        except ServerMissingError as exc:
            skip_missing(exc, record_property)
        yield url


@pytest.fixture
async def redis_store(redis_url: str) -> AsyncIterator[RedisAdapter]:
    """An empty storage on the single server."""
    async with RedisAdapter(redis_url) as store:
        yield store
