"""Lost connections, locks, cancelled tasks and errors in the middle: from the server itself."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from hsorm.errors import ConflictError, StorageError, StorageUnavailableError
from hsorm.kinds import MARKER, REMOVE, Number, Ref
from hsorm.storage._dberrors import database_errors
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.conformance.examples import ALL, SITE, TEMP, ids
from tests.backends import pool_use

_NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)

_OURS = "datname = current_database() AND application_name = 'hsorm'"

_Call = Callable[[TimescaleAdapter], Awaitable[Any]]
_CALLS: dict[str, _Call] = {
    "read": lambda store: store.read("site"),
    "read_count": lambda store: store.read_count("site"),
    "read_by_ids": lambda store: store.read_by_ids(["site-1"]),
    "create": lambda store: store.create({"id": Ref("new")}),
    "update": lambda store: store.update({"id": Ref("site-1"), "x": MARKER}),
    "delete": lambda store: store.delete("site-1"),
    "load_entities": lambda store: store.load_entities(ALL),
    "his_read": lambda store: store.his_read("temp-1", "2024-03-01"),
    "his_write": lambda store: store.his_write("temp-1", [{"ts": _NOON, "val": 1}]),
}


@pytest.fixture(params=_CALLS)
def call(request: pytest.FixtureRequest) -> _Call:
    return _CALLS[request.param]


async def _terminate(sql: asyncpg.Connection[Any], which: str = "true") -> int:
    """End the server processes of our adapters; return how many."""
    ended = await sql.fetch(
        f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {_OURS} AND {which}"
    )
    return len(ended)


@asynccontextmanager
async def _locked(sql: asyncpg.Connection[Any]) -> AsyncIterator[None]:
    """Keep everybody else out of both tables."""
    async with sql.transaction():
        await sql.execute("LOCK TABLE entities, history IN ACCESS EXCLUSIVE MODE")
        yield


async def _until_one_waits(sql: asyncpg.Connection[Any]) -> None:
    waits = f"SELECT count(*) FROM pg_stat_activity WHERE {_OURS} AND wait_event_type = 'Lock'"
    async with asyncio.timeout(5):
        while not await sql.fetchval(waits):
            # Within a transaction the activity stays that of the first look.
            await sql.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.01)


# ---- lost connections ---------------------------------------------------------------------------


async def test_a_connection_lost_while_idle_is_replaced(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], call: _Call
) -> None:
    """Nothing was under way, so nothing is lost: the call takes a new connection."""
    await store.load_entities(ALL)
    await asyncio.gather(*(store.read("id") for _ in range(5)))
    assert await _terminate(sql) >= 2
    await asyncio.sleep(0.05)

    await call(store)


async def test_a_connection_lost_during_a_call_is_an_error(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], call: _Call
) -> None:
    """Never part of an answer; the next call works."""
    await store.load_entities(ALL)

    async with _locked(sql):
        task = asyncio.ensure_future(call(store))
        await _until_one_waits(sql)
        assert await _terminate(sql, "wait_event_type = 'Lock'") == 1
        with pytest.raises(StorageUnavailableError) as caught:
            await task

    assert "hsorm:hsorm" not in str(caught.value)
    assert pool_use(store) == 0
    assert ids(await store.read("site")) == ["site-1"]
    assert ids(await store.read("id")) == ["ahu-1", "site-1", "temp-1"]


async def test_what_the_driver_refuses_is_no_lost_connection(store: TimescaleAdapter) -> None:
    """Nobody should try again and again: the connection is as good as before."""
    await store.connect()
    many = "SELECT " + ", ".join(f"${i}::int" for i in range(1, 32_769))

    for sql, args in ((many, [1] * 32_768), ("SELECT $1::int", ["a"]), ("SELECT 1", [1])):
        with pytest.raises(StorageError) as caught:
            await store._fetch_compiled(sql, args)
        assert not isinstance(caught.value, StorageUnavailableError)
        with pytest.raises(StorageError) as caught, database_errors(store.url):
            async with store._connection() as connection:
                await connection.exec_driver_sql(sql, tuple(args))
        assert not isinstance(caught.value, StorageUnavailableError)

    assert pool_use(store) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"port": 1},
        {"host": "localhost.invalid"},
        {"database": "no_such_database"},
        {"username": "nobody_of_this_name", "password": "s3cret"},
        {"password": "s3cret-and-wrong"},
    ],
    ids=["no server", "no host", "no database", "no user", "wrong password"],
)
async def test_a_server_that_lets_nobody_in(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], change: dict[str, Any]
) -> None:
    """The error says where, without the password."""
    url = make_url(store.engine.url.render_as_string(hide_password=False)).set(**change)
    if change.get("password") == "s3cret-and-wrong" and await _trusts(url.render_as_string(False)):
        pytest.skip("this server asks for no password")

    async with _closing(url) as adapter:
        with pytest.raises(StorageUnavailableError) as caught:
            await adapter.read("site")

    assert "s3cret" not in str(caught.value)
    assert str(url.port) in caught.value.url


async def _trusts(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    await connection.close()
    return True


@asynccontextmanager
async def _closing(url: Any) -> AsyncIterator[TimescaleAdapter]:
    adapter = TimescaleAdapter(url.render_as_string(hide_password=False))
    try:
        yield adapter
    finally:
        await adapter.close()


# ---- cancelled tasks ----------------------------------------------------------------------------


async def test_a_cancelled_call_leaves_the_pool_usable(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], call: _Call
) -> None:
    """Cancellation passes through, the connection goes back, and nothing was changed."""
    await store.load_entities(ALL)

    async with _locked(sql):
        task = asyncio.ensure_future(call(store))
        await _until_one_waits(sql)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert pool_use(store) == 0
    assert ids(await store.read("id")) == ["ahu-1", "site-1", "temp-1"]
    assert "x" not in await store.read_by_id("site-1")
    assert await store.his_read("temp-1", "2024-03-01") == []


async def test_many_cancelled_calls(store: TimescaleAdapter, sql: asyncpg.Connection[Any]) -> None:
    """More than the pool holds: those that wait for a connection as well."""
    await store.load_entities(ALL)

    async with _locked(sql):
        tasks = [asyncio.ensure_future(store.read("site")) for _ in range(40)]
        await _until_one_waits(sql)
        for task in tasks:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(answer) for answer in answers} == {asyncio.CancelledError}
    assert pool_use(store) == 0
    assert await asyncio.gather(*(store.read_count("site") for _ in range(40))) == [1] * 40


# ---- locks --------------------------------------------------------------------------------------


async def test_an_update_waits_for_a_lock_and_sees_what_is_newer(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """C5: another writer's change is neither lost nor overwritten."""
    await store.load_entities([SITE])

    async with sql.transaction():
        await sql.execute(
            "UPDATE entities SET tags = tags || '{\"theirs\": 1}' WHERE id = 'site-1'"
        )
        task = asyncio.ensure_future(store.update({"id": Ref("site-1"), "ours": Number(2)}))
        await _until_one_waits(sql)

    updated = await task

    assert (updated["theirs"], updated["ours"]) == (Number(1), Number(2))
    assert await store.read_by_id("site-1") == updated


async def test_of_two_that_wait_with_one_mod_one_conflicts(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """C4."""
    await store.load_entities([SITE])
    base = await store.read_by_id("site-1")

    async with sql.transaction():
        await sql.execute("SELECT FROM entities WHERE id = 'site-1' FOR UPDATE")
        tasks = [asyncio.ensure_future(store.update({**base, "n": Number(i)})) for i in range(2)]
        await _until_one_waits(sql)
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert sum(isinstance(answer, ConflictError) for answer in answers) == 1
    (won,) = [answer for answer in answers if isinstance(answer, dict)]
    assert await store.read_by_id("site-1") == won


async def test_readers_do_not_wait_for_a_load(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """They see what was committed."""
    await store.load_entities([SITE])

    async with sql.transaction():
        await sql.execute("UPDATE entities SET tags = '{\"half\": 1}'")
        async with asyncio.timeout(5):
            assert ids(await store.read("site")) == ["site-1"]
            assert await store.read("half") == []


# ---- errors in the middle -----------------------------------------------------------------------


@asynccontextmanager
async def _refusing(sql: asyncpg.Connection[Any], table: str, check: str) -> AsyncIterator[None]:
    await sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT refusing CHECK ({check}) NOT VALID")
    try:
        yield
    finally:
        await sql.execute(f"ALTER TABLE {table} DROP CONSTRAINT refusing")


@pytest.mark.parametrize("known", [[], [{"id": Ref("e500"), "old": MARKER}]], ids=["new", "known"])
async def test_a_load_that_fails_in_the_middle_stores_nothing(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], known: list[dict[str, Any]]
) -> None:
    """Straight by COPY as well as through the staging table."""
    await store.load_entities(known)

    async with _refusing(sql, "entities", "id <> 'e900'"):
        with pytest.raises(StorageError, match="refusing"):
            await store.load_entities({"id": Ref(f"e{i}"), "n": Number(i)} for i in range(1_000))

    assert await store.read_count("n") == 0
    assert await store.read_count("old") == len(known)
    assert pool_use(store) == 0
    assert (
        await store.load_entities({"id": Ref(f"e{i}"), "n": Number(i)} for i in range(1_000))
        == 1_000
    )


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
async def test_a_history_write_that_fails_in_the_middle_stores_nothing(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], known: bool
) -> None:
    """REMOVE included."""
    await store.load_entities([TEMP])
    items = [{"ts": _NOON + dt.timedelta(seconds=i), "val": i} for i in range(1_000)]
    first: list[dict[str, Any]] = [items[0], *(items[10:20] if known else [])]
    await store.his_write("temp-1", first)

    async with _refusing(sql, "history", "val IS NULL OR val <> 900"):
        with pytest.raises(StorageError, match="refusing"):
            await store.his_write("temp-1", [{**items[0], "val": REMOVE}, *items[1:]])

    assert len(await store.his_read("temp-1", "2024-03-01")) == len(first)


async def test_a_load_of_known_and_new_ids_replaces_by_one_transaction(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any]
) -> None:
    """The fallback of COPY: every row is of one transaction, and the staging table is gone."""
    await store.load_entities({"id": Ref(f"e{i}"), "old": MARKER} for i in range(0, 1_000, 2))

    await store.load_entities({"id": Ref(f"e{i}"), "new": MARKER} for i in range(1_000))

    stamps = await sql.fetchval("SELECT count(DISTINCT xmin::text) FROM entities")
    left = await sql.fetchval("SELECT count(*) FROM pg_class WHERE relname LIKE 'hsorm_staging%'")
    assert (stamps, left) == (1, 0)
    assert (await store.read_count("new"), await store.read_count("old")) == (1_000, 0)


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE entities; --", "$$; DELETE FROM history; --", "\\'; --", '"; --', "%s"]
)
async def test_text_is_never_sql(
    store: TimescaleAdapter, sql: asyncpg.Connection[Any], text: str
) -> None:
    """As a value, in a filter, in a nested name, as a display text, in history, as an id."""
    entity = {**TEMP, "kind": "Str", "x": text, "y": {text: [text]}, "z": Ref("a", text)}
    await store.load_entities([entity])
    await store.load_entities([entity])
    await store.his_write("temp-1", [{"ts": _NOON, "val": text}])
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')

    assert ids(await store.read(f'x == "{quoted}" and x >= "{quoted}"')) == ["temp-1"]
    assert await store.read_by_ids([text]) == [None]
    assert (await store.his_read("temp-1", "2024-03-01"))[0]["val"] == text
    assert (await store.read_by_id("temp-1"))["y"] == {text: [text]}
    assert await sql.fetchval("SELECT count(*) FROM entities") == 1
