"""`read_engine=`: which calls a replica answers, and that nothing else goes there."""

from __future__ import annotations

import asyncio
import datetime as dt
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from hsorm import MARKER, Diff, Number, Ref
from hsorm.errors import SchemaOutdatedError, StorageUnavailableError, StorageUrlError
from hsorm.sql.urls import engine_url
from hsorm.storage.timescale import TimescaleAdapter

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text("utf-8")

Call: TypeAlias = Callable[[TimescaleAdapter], Awaitable[object]]

TS = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
ITEMS = [{"ts": TS, "val": Number(1)}]
POINT = {
    "id": Ref("p"),
    "point": MARKER,
    "his": MARKER,
    "writable": MARKER,
    "kind": "Number",
    "tz": "UTC",
}


async def _first(items: AsyncIterator[Any]) -> None:
    """Take the first, and close."""
    async for _ in items:
        break
    await items.aclose()  # type: ignore[attr-defined]


async def _stream(store: TimescaleAdapter) -> None:
    await store.set_live("p", {"curVal": Number(3)})  # something to be told
    await _first(store.watch_stream("w"))


READS: dict[str, Call] = {
    "read": lambda s: s.read("point"),
    "read_count": lambda s: s.read_count("point", search="x"),
    "read_by_id": lambda s: s.read_by_id("p"),
    "read_by_ids": lambda s: s.read_by_ids(["p", "q"]),
    "nav": lambda s: s.nav(),
    "nav_tree": lambda s: s.nav_tree(),
    "explain": lambda s: s.explain("point"),
    "check_refs": lambda s: s.check_refs(),
    "his_read": lambda s: s.his_read("p", "2024-03-01", around=True),
    "his_read_batch": lambda s: s.his_read_batch(["p"], "2024-03-01"),
    "his_read_iter": lambda s: _first(s.his_read_iter("p", "2024-03-01")),
    "his_summary": lambda s: s.his_summary("p"),
    "his_rollup": lambda s: s.his_rollup("p", "2024-03-01", "1hr", "twa"),
    "his_arrow": lambda s: s.his_arrow("p", "2024-03-01"),
    "his_pandas": lambda s: s.his_pandas("p", "2024-03-01"),
    "his_numpy": lambda s: s.his_numpy("p", "2024-03-01"),
}

OTHERS: dict[str, Call] = {
    "about": lambda s: s.about(),
    "create": lambda s: s.create({"id": Ref("q")}),
    "update": lambda s: s.update({"id": Ref("q"), "n": 1}),
    "commit": lambda s: s.commit(Diff.add({"x": MARKER})),
    "delete": lambda s: s.delete("q"),
    "load_entities": lambda s: s.load_entities([POINT]),
    "set_live": lambda s: s.set_live("p", {"curVal": Number(1)}),
    "set_live_batch": lambda s: s.set_live_batch({"p": {"curVal": Number(2)}}),
    "his_write": lambda s: s.his_write("p", ITEMS, clear="2024-03-01"),
    "his_write_batch": lambda s: s.his_write_batch([{"id": "p", **ITEMS[0]}]),
    "his_clear": lambda s: s.his_clear("p", "2024-03-02"),
    "point_write": lambda s: s.point_write("p", 10, Number(1), "me"),
    "point_array": lambda s: s.point_array("p"),
    "point_sweep": lambda s: s.point_sweep(),
    "watch_sub": lambda s: s.watch_sub("w", ["p"]),
    "watch_filter": lambda s: s.watch_filter("point", "f"),
    "watch_poll": lambda s: s.watch_poll("w"),
    "watch_stream": _stream,
    "watch_unsub": lambda s: s.watch_unsub("w", ["p"]),
    "changes": lambda s: s.changes(),
    "prune": lambda s: s.prune(),
    "revision": lambda s: s.revision(),
    "upgrade": lambda s: s.upgrade(),
    "create_indexes": lambda s: s.create_indexes({"area": "number"}),
    "drop_indexes": lambda s: s.drop_indexes({"area": "number"}),
    "his_policy": lambda s: s.his_policy(),
}


@contextmanager
def _used(engines: dict[str, AsyncEngine]) -> Iterator[set[str]]:
    """Note from which engines a connection is taken."""
    used: set[str] = set()
    notes = {name: lambda *args, name=name: used.add(name) for name in engines}
    for name, engine in engines.items():
        event.listen(engine.sync_engine, "checkout", notes[name])
    try:
        yield used
    finally:
        for name, engine in engines.items():
            event.remove(engine.sync_engine, "checkout", notes[name])


@pytest.fixture
async def engines(store: TimescaleAdapter) -> AsyncIterator[dict[str, AsyncEngine]]:
    """The primary, and what nobody can write on: the same database, which never lags."""
    read_only = {"server_settings": {"default_transaction_read_only": "on"}}
    made = {
        "primary": create_async_engine(store.engine.url),
        "replica": create_async_engine(store.engine.url, connect_args=read_only),
    }
    yield made
    for engine in made.values():
        await engine.dispose()


def _over(engines: dict[str, AsyncEngine]) -> TimescaleAdapter:
    return TimescaleAdapter(engine=engines["primary"], read_engine=engines["replica"])


async def test_each_call_goes_where_it_belongs(engines: dict[str, AsyncEngine]) -> None:
    went: dict[str, set[str]] = {}
    async with _over(engines) as store:
        await store.load_entities([POINT])
        await store.read("point")  # which connects to the replica, too
        for name, call in (OTHERS | READS).items():
            with _used(engines) as used:
                await call(store)
            went[name] = used

    assert {name: went[name] for name in READS} == {name: {"replica"} for name in READS}
    assert {name: went[name] for name in OTHERS} == {name: {"primary"} for name in OTHERS}


def test_the_page_names_every_call() -> None:
    table = PAGE.partition("| where | calls |")[2].partition("\n\n")[0]
    on_replica, _, on_primary = table.partition("| primary |")
    calls = {
        name
        for name, found in inspect.getmembers(TimescaleAdapter, callable)
        if not name.startswith("_") and name != "close"
    }

    assert set(re.findall(r"`(\w+)`", on_replica)) == set(READS)
    assert set(re.findall(r"`(\w+)`", on_primary)) == calls - set(READS)
    assert calls - set(READS) - set(OTHERS) == {
        *("bind", "connect", "distribute_history"),
        *("set_his_policy", "remove_his_policy", "run_his_policy"),
    }


async def test_an_override_that_is_over_shows_as_released(engines: dict[str, AsyncEngine]) -> None:
    async with _over(engines) as store:
        await store.load_entities([POINT])
        await store.point_write("p", 8, Number(1), "me", Number(0.01, "sec"))
        await asyncio.sleep(0.02)

        assert (await store.read_by_id("p")).get("writeLevel") != Number(8)


# The primary and what stands for its replica are databases of one server.
on_plain = pytest.mark.parametrize(
    ("store", "postgres_server"), [("postgres", "postgres")], indirect=True
)


@pytest.fixture
async def lagging(fresh_postgres_url: str, store: TimescaleAdapter) -> AsyncIterator[AsyncEngine]:
    """A replica that is far behind: another database, which is empty."""
    engine = create_async_engine(engine_url(fresh_postgres_url))
    yield engine
    await engine.dispose()


@on_plain
async def test_a_write_looks_at_the_primary_alone(
    lagging: AsyncEngine, store: TimescaleAdapter
) -> None:
    await TimescaleAdapter(engine=lagging).upgrade()
    async with TimescaleAdapter(engine=store.engine, read_engine=lagging) as both:
        await both.create(POINT)
        await both.his_write("p", ITEMS)
        await both.his_write("p", ITEMS, clip=None, clear="2024-03-01")
        await both.his_write_batch([{"id": "p", **ITEMS[0]}])
        await both.point_write("p", 10, Number(3), "me")
        await both.update({"id": Ref("p"), "n": 1})

        assert await both.read_count("point") == 0
        assert len(await both.point_array("p")) == 17
        assert len((await both.watch_sub(None, ["p"]))[0]) > 0
    assert await store.his_read("p", "2024-03-01") == ITEMS


@on_plain
async def test_the_first_read_waits_until_the_replica_has_the_tables(
    lagging: AsyncEngine, store: TimescaleAdapter
) -> None:
    async with TimescaleAdapter(engine=store.engine, read_engine=lagging) as both:
        reading = asyncio.ensure_future(both.read_count("id"))
        await asyncio.sleep(0)
        await TimescaleAdapter(engine=lagging).upgrade()

        assert await reading == 0


@on_plain
async def test_a_read_may_be_what_makes_the_tables(
    lagging: AsyncEngine, store: TimescaleAdapter
) -> None:
    both = TimescaleAdapter(engine=lagging, read_engine=lagging)

    assert await both.read_count("id") == 0


@on_plain
async def test_a_replica_without_tables_is_told(
    lagging: AsyncEngine, store: TimescaleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hsorm.storage.timescale._LATER", 1)
    async with TimescaleAdapter(engine=store.engine, read_engine=lagging) as both:
        with pytest.raises(SchemaOutdatedError) as caught:
            await both.read("id")

    assert str(lagging.url.database) in str(caught.value)


@on_plain
async def test_a_replica_is_waited_for_once_not_by_each_read(
    lagging: AsyncEngine, store: TimescaleAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads that wait one after the other would pile up for as long as it has no tables."""
    monkeypatch.setattr("hsorm.storage.timescale._LATER", 2)
    asked = []
    event.listen(lagging.sync_engine, "checkout", lambda *args: asked.append(args))
    async with TimescaleAdapter(engine=store.engine, read_engine=lagging) as both:
        found = await asyncio.gather(*[both.read("id") for _ in range(5)], return_exceptions=True)

    assert [type(error) for error in found] == [SchemaOutdatedError] * 5
    assert len(asked) < 2 * 5


async def test_a_replica_that_is_away_keeps_nobody_from_writing(store: TimescaleAdapter) -> None:
    away = create_async_engine("postgresql+asyncpg://127.0.0.1:1/db")
    async with TimescaleAdapter(engine=store.engine, read_engine=away) as both:
        await both.create(POINT)
        with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1:1/db"):
            await both.read("point")

        assert len(await both.watch_sub(None, ["p"])) == 1
    await away.dispose()


def test_a_replica_of_another_driver_is_refused() -> None:
    other = create_async_engine(URL.create("sqlite+aiosqlite", database="db"))

    with pytest.raises(StorageUrlError, match="asyncpg"):
        TimescaleAdapter("postgresql://h/db", read_engine=other)
