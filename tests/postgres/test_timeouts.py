"""What takes too long: by `statement_timeout` of the server, by `asyncio.timeout` of the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg
import pytest
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hsorm.errors import StorageError, StorageUnavailableError
from hsorm.kinds import MARKER, Number, Ref
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.conformance.examples import ALL, ids
from tests.backends import pool_use

_BY_OPTIONS = {"options": "-c statement_timeout=500ms"}


def _of_engine(url: URL) -> AsyncEngine:
    settings = {"server_settings": {"statement_timeout": "500ms", "jit": "off"}}
    return create_async_engine(url, connect_args=settings)


@pytest.fixture(params=["engine", "dsn"])
async def hasty(
    request: pytest.FixtureRequest, store: TimescaleAdapter
) -> AsyncIterator[TimescaleAdapter]:
    """An adapter over the same data whose statements may take 0.5 s, said in either way."""
    url = store.engine.url
    async with AsyncExitStack() as stack:
        if request.param == "engine":
            engine = _of_engine(url)
            stack.push_async_callback(engine.dispose)
            adapter = TimescaleAdapter(engine=engine)
        else:
            dsn = url.set(drivername="postgresql", query=_BY_OPTIONS)
            adapter = TimescaleAdapter(dsn.render_as_string(hide_password=False))
        await _connected(adapter)
        yield await stack.enter_async_context(adapter)
        assert pool_use(adapter) == 0


async def _connected(adapter: TimescaleAdapter) -> None:
    """Connect, which on a busy machine may take longer than a statement may."""
    for _ in range(10):
        with suppress(StorageError):
            return await adapter.connect()
    return await adapter.connect()


async def _everybody_waits(sql: asyncpg.Connection[Any]) -> None:
    await sql.execute("LOCK TABLE entities, history IN ACCESS EXCLUSIVE MODE")


_WAITING = (
    "SELECT array_agg(pid) FROM pg_locks WHERE NOT granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

_SLOW: dict[str, Callable[[TimescaleAdapter], Awaitable[Any]]] = {
    "read": lambda store: store.read("site and not ahu"),
    "path": lambda store: store.read("equipRef->siteRef->site"),
    "read_count": lambda store: store.read_count("site"),
    "update": lambda store: store.update({"id": Ref("site-1"), "x": MARKER}),
    "load_entities": lambda store: store.load_entities(ALL),
}


@pytest.mark.parametrize("call", _SLOW)
async def test_a_statement_that_takes_too_long_is_an_error(
    store: TimescaleAdapter, hasty: TimescaleAdapter, sql: asyncpg.Connection[Any], call: str
) -> None:
    """It names the setting; nothing was changed, and the connection is as good as before."""
    await store.load_entities(ALL)

    async with sql.transaction():
        await _everybody_waits(sql)
        with pytest.raises(StorageError, match="statement_timeout") as it:
            await _SLOW[call](hasty)

    assert not isinstance(it.value, StorageUnavailableError)
    assert pool_use(hasty) == 0
    assert ids(await hasty.read("id")) == ["ahu-1", "site-1", "temp-1"]
    assert "x" not in await hasty.read_by_id("site-1")


async def test_a_filter_that_computes_too_long_is_an_error(
    store: TimescaleAdapter, hasty: TimescaleAdapter
) -> None:
    """Not only one that waits: the server looks at the clock while it works."""
    word = "x" * 1_000
    many = {f"t{i}": Number(i) for i in range(50)}
    await store.load_entities({"id": Ref(f"e{i}"), "s": word, **many} for i in range(8_000))
    slow = " or ".join(f'(s > "{word}{i}" and t{i % 50} > {i})' for i in range(150))

    with pytest.raises(StorageError, match="statement_timeout"):
        await hasty.read(slow)

    assert ids(await hasty.read("id == @e7")) == ["e7"]


async def test_one_that_somebody_cancels_has_no_advice(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """The same SQLSTATE, and no timeout."""
    await store.load_entities(ALL)

    async with sql.transaction():
        await _everybody_waits(sql)
        task = asyncio.ensure_future(store.read("site"))
        async with asyncio.timeout(5):
            while not (pids := await sql.fetchval(_WAITING)):
                await sql.execute("SELECT pg_sleep(0.01)")
        await sql.fetch("SELECT pg_cancel_backend(pid) FROM unnest($1::int[]) AS pid", pids)
        with pytest.raises(StorageError, match="user request") as it:
            await task

    assert "statement_timeout" not in str(it.value)


@pytest.mark.parametrize("call", _SLOW)
async def test_a_caller_that_waits_no_longer_leaves_the_pool_usable(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], call: str
) -> None:
    """`asyncio.timeout` cancels the task; the server stops, too, and no lock is left behind."""
    await store.load_entities(ALL)

    async with sql.transaction():
        await _everybody_waits(sql)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await _SLOW[call](store)
        async with asyncio.timeout(5):  # the driver asks for it in the background
            while await sql.fetchval(_WAITING):
                await sql.execute("SELECT pg_sleep(0.01)")

    assert pool_use(store) == 0
    counts = await asyncio.gather(*(store.read_count("site") for _ in range(20)))
    assert counts == [1] * 20
    assert "x" not in await store.read_by_id("site-1")
