"""What is exact about live data on PostgreSQL: whoever writes, and however transactions overlap."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from itertools import combinations
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from hsorm.errors import CursorExpiredError, InvalidCursorError
from hsorm.kinds import MARKER, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.sql.urls import engine_url
from hsorm.storage.timescale import TimescaleAdapter

_SET = "UPDATE entities SET tags = jsonb_set(tags, '{n}', $2::jsonb) WHERE id = $1"


@pytest.fixture
async def store(fresh_postgres_url: str) -> AsyncIterator[TimescaleAdapter]:
    async with TimescaleAdapter(fresh_postgres_url) as opened:
        await opened.load_entities([{"id": Ref(id), "n": Number(0)} for id in "abc"])
        yield opened


def told(rows: Any) -> tuple[dict[str, float], list[str]]:
    return {row["id"].val: row["n"].val for row in rows}, [ref.val for ref in rows.removed]


class Writer:
    """A transaction of other people's SQL, one step at a time."""

    def __init__(self, connection: asyncpg.Connection[Any], id: str, commits: bool) -> None:
        self.connection, self.id, self.commits = connection, id, commits

    async def step(self, number: int) -> None:
        match number:
            case 0:
                await self.connection.execute("BEGIN")
                await self.connection.execute("SELECT pg_current_xact_id()")
            case 1:
                await self.connection.execute(_SET, self.id, "1")
            case 2:
                await self.connection.execute("SAVEPOINT s")
                await self.connection.execute(_SET, self.id, "2")
                await self.connection.execute("ROLLBACK TO s")
            case _:
                await self.connection.execute("COMMIT" if self.commits else "ROLLBACK")


def schedules() -> list[Sequence[int]]:
    """Return all ways in which the four steps of two writers can follow each other."""
    return [
        [0 if place in first else 1 for place in range(8)] for first in combinations(range(8), 4)
    ]


@pytest.mark.parametrize("commits", [(True, True), (True, False), (False, True)])
async def test_a_change_is_told_once_however_transactions_overlap(
    store: TimescaleAdapter, fresh_postgres_url: str, commits: tuple[bool, bool]
) -> None:
    """P5: two transactions, a poll behind each of their steps, in every order of these."""
    async with AsyncExitStack() as stack:
        connections = [await asyncpg.connect(fresh_postgres_url) for _ in range(2)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        for schedule in schedules():
            await store.load_entities([{"id": Ref(id), "n": Number(0)} for id in "ab"])
            watch = await store.watch_sub(None, ["a", "b", "c"])
            writers = [
                Writer(*arguments) for arguments in zip(connections, "ab", commits, strict=True)
            ]
            steps = [0, 0]
            seen: list[str] = []
            for which in schedule:
                await writers[which].step(steps[which])
                steps[which] += 1
                rows = await store.watch_poll(watch.watch_id)
                seen += [f"{row['id'].val}={row['n'].val:g}" for row in rows]

            expected = [f"{writer.id}=1" for writer in writers if writer.commits]
            assert sorted(seen) == expected, schedule
            await store.watch_unsub(watch.watch_id, [], close=True)


async def test_plain_sql_is_told(store: TimescaleAdapter, fresh_postgres_url: str) -> None:
    watch = await store.watch_sub(None, ["a", "b", "c", "new"])
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        await plain.execute("""INSERT INTO entities (id, tags) VALUES ('new', '{"n": 7}')""")
        await plain.execute("DELETE FROM entities WHERE id = 'b'")
        await plain.execute("""INSERT INTO live (id, tags) VALUES ('c', '{"curVal": 3}')""")
        first = await store.watch_poll(watch.watch_id)
        await plain.execute("""UPDATE live SET tags = '{"curVal": 4}'""")
        second = await store.watch_poll(watch.watch_id)
        await plain.execute("TRUNCATE entities CASCADE")
        third = await store.watch_poll(watch.watch_id)
    finally:
        await plain.close()

    assert told(first) == ({"c": 0, "new": 7}, ["b"])
    assert [row["curVal"] for row in first if "curVal" in row] == [Number(3)]
    assert [(row["id"].val, row["curVal"]) for row in second] == [("c", Number(4))]
    assert told(third) == ({}, ["a", "c", "new"])


_USE = (
    "SELECT n_tup_upd, n_tup_hot_upd, pg_relation_size('live') "
    "FROM pg_stat_user_tables WHERE relname = 'live'"
)


@pytest.mark.parametrize("statement", ["DELETE FROM live", "TRUNCATE live"])
async def test_live_tags_that_plain_sql_deletes_are_told(
    store: TimescaleAdapter, fresh_postgres_url: str, statement: str
) -> None:
    await store.set_live("a", {"curVal": 1})
    ids = (await store.watch_sub(None, list("abc"))).watch_id
    matching = (await store.watch_filter("n")).watch_id
    cursor = (await store.changes()).cursor

    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        await plain.execute(statement)
    finally:
        await plain.close()

    for watch in (ids, matching):
        told = [(row["id"], "curVal" in row) for row in await store.watch_poll(watch)]
        assert told == [(Ref("a"), False)]
    assert [change.id for change in await store.changes(cursor)] == [Ref("a")]


# PostgreSQL keeps what was changed since a transaction that writes began, and tells of those that
# are open on the whole server: not beside tests that fill large tables.
_ALONE = pytest.mark.xdist_group("long transactions")


@_ALONE
async def test_live_updates_stay_in_their_pages(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    """HOT, and so nothing grows: 100 points, each written 50 times.

    A snapshot that a process of the server's own (an ANALYZE by itself) holds meanwhile keeps old
    versions from being cleared away. So a round begins while nobody holds one, and there are
    several; what grew in one must do for the next.
    """
    ids = [f"p{i}" for i in range(100)]
    await store.load_entities([{"id": Ref(id)} for id in ids])
    await store.set_live_batch({id: {"curVal": 0, "curStatus": "ok"} for id in ids})
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        for _ in range(30):
            await _wait_for_quiet(plain)
            updated, hot, size = await _round(store, plain, ids)
            if hot / updated > 0.9 and size <= 4:
                break
    finally:
        await plain.close()

    assert updated == 5_000
    assert hot / updated > 0.9
    assert size <= 4


async def _wait_for_quiet(plain: asyncpg.Connection[Any]) -> None:
    """Wait, not for ever, until nobody else on the server is in a transaction of some length.

    In another database, too: what was changed since a transaction that writes began is kept.
    """
    for _ in range(300):
        held = await plain.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) "
            "AND xact_start < clock_timestamp() - interval '0.2 s' AND pid <> pg_backend_pid()"
        )
        if held == 0:
            return
        await asyncio.sleep(0.1)


async def _round(
    store: TimescaleAdapter, plain: asyncpg.Connection[Any], ids: Sequence[str]
) -> tuple[int, int, float]:
    """Write each id 50 times; return the updates, those that were HOT, and the growth."""
    before = await plain.fetchrow(_USE)
    for n in range(50):
        await store.set_live_batch({id: {"curVal": n} for id in ids})
    await store.close()  # which hands its statistics in
    for _ in range(50):
        after = await plain.fetchrow(_USE)
        if after[0] - before[0] >= 50 * len(ids):
            break
        await asyncio.sleep(0.1)
    return after[0] - before[0], after[1] - before[1], after[2] / before[2]


async def test_a_stream_survives_the_loss_of_all_connections(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    """What was changed meanwhile is told; nothing twice."""
    watch = await store.watch_sub(None, ["a", "b"])
    plain = await asyncpg.connect(fresh_postgres_url)
    heard: list[tuple[str, float]] = []

    async def follow() -> None:
        async with aclosing(store.watch_stream(watch.watch_id)) as stream:  # type: ignore[type-var]
            async for rows in stream:
                heard.extend((row["id"].val, row["n"].val) for row in rows)
                if ("a", 20) in heard:
                    return

    try:
        following = asyncio.create_task(follow())
        for n in range(1, 21):
            await plain.execute(_SET, "a", str(n))
            if n % 5 == 0:
                await plain.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'hsorm' AND datname = current_database()"
                )
            await asyncio.sleep(0.05)
        await asyncio.wait_for(following, 20)
    finally:
        await plain.close()

    heard = [row for row in heard if row[0] == "a"]
    assert heard == sorted(heard)  # all is told again after an answer that was lost
    assert heard[-1] == ("a", 20)


async def test_a_role_that_may_write_entities_needs_no_more(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    """Whatever stands behind them is the business of triggers."""
    watch = await store.watch_sub(None, ["a", "b", "new"])
    plain = await asyncpg.connect(fresh_postgres_url)
    role = f"hsorm_test_{id(watch)}"
    try:
        await plain.execute(f"CREATE ROLE {role}")
        await plain.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON entities TO {role}")
        await plain.execute(f"SET ROLE {role}")
        await plain.execute("""INSERT INTO entities (id, tags) VALUES ('new', '{"n": 7}')""")
        await plain.execute("DELETE FROM entities WHERE id = 'b'")
        await plain.execute("UPDATE entities SET id = 'renamed' WHERE id = 'a'")
        await plain.execute("RESET ROLE")
    finally:
        await plain.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
        await plain.close()

    assert told(await store.watch_poll(watch.watch_id)) == ({"new": 7}, ["a", "b"])


async def test_a_row_that_is_no_entity_holds_nothing_up(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    cursor = (await store.changes()).cursor
    watch = await store.watch_sub(None, ["odd", "c"])
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        await plain.execute("INSERT INTO entities (id, tags) VALUES ('odd', '[1]')")
    finally:
        await plain.close()
    await store.update({"id": Ref("c"), "n": Number(1)})

    assert [change.id.val for change in await store.changes(cursor)] == ["odd", "c"]
    assert told(await store.watch_poll(watch.watch_id)) == ({"c": 1}, [])


async def test_a_cursor_of_the_future_has_expired(store: TimescaleAdapter) -> None:
    """It is of another server, whose dump was restored here."""
    for cursor in ("postgresql/999999999999:||-1|", "postgresql/99999999999999999999:||-1|"):
        with pytest.raises((CursorExpiredError, InvalidCursorError)):
            await store.changes(cursor)


@pytest.mark.parametrize("on_filter", [False, True])
async def test_a_watch_from_another_server_tells_all(
    store: TimescaleAdapter, fresh_postgres_url: str, on_filter: bool
) -> None:
    """Its dump was restored here: what it has seen says nothing of this server's changes."""
    ids = ["a", "b", "c"]
    watch = await (store.watch_filter("n") if on_filter else store.watch_sub(None, ids))
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        await plain.execute("UPDATE watches SET cursor = '999999999999:'")
    finally:
        await plain.close()
    await store.delete("b")

    assert told(await store.watch_poll(watch.watch_id)) == ({"a": 0, "c": 0}, ["b"])
    assert told(await store.watch_poll(watch.watch_id)) == ({}, [])


@_ALONE
async def test_the_feed_works_where_a_dump_of_another_server_was_restored(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    """What was forgotten there has the number of a transaction that is far away here."""
    await store.delete("b")
    await store.prune(dt.timedelta(0))
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        await plain.execute("SET session_replication_role = replica")
        for table in ("entities", "removals"):
            await plain.execute(f"UPDATE {table} SET changed = changed + 50000000")

        cursor = (await store.changes()).cursor
        await store.set_live("a", {"curVal": 1})
        await store.delete("c")
        told = {change.id.val for change in await store.changes(cursor)}
        await store.prune(dt.timedelta(0))
        # Until no transaction is open that began before the removal.
        await asyncio.sleep(0.3)
        await _wait_for_quiet(plain)
    finally:
        await plain.close()

    assert {"a", "c"} <= told
    with pytest.raises(CursorExpiredError):  # what is forgotten here is a loss, as ever
        await store.changes(cursor)
    await store.changes((await store.changes()).cursor)


async def test_a_hosts_connect_event_loses_nothing(fresh_postgres_url: str) -> None:
    """One that runs a statement leaves a transaction open, which nobody would commit."""
    engine = create_async_engine(engine_url(fresh_postgres_url))

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, record: object) -> None:
        connection.cursor().execute("SET statement_timeout = '60s'")

    async with TimescaleAdapter(engine=engine) as store:
        await asyncio.gather(*(store.create({"id": Ref(f"e{i}")}) for i in range(8)))
    await engine.dispose()

    async with TimescaleAdapter(fresh_postgres_url) as other:
        assert await other.read_count("id") == 8


async def test_a_cancelled_write_leaves_no_transaction_open(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    for i in range(60):
        writing = asyncio.create_task(store.set_live("a", {"curVal": i}))
        await asyncio.sleep(i / 20_000)
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
    await store.set_live("a", {"curVal": 99})

    assert (await store.read_by_id("a"))["curVal"] == Number(99)
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        idle = await plain.fetchval(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
    finally:
        await plain.close()
    assert idle == 0


async def test_batches_of_live_tags_do_not_lock_each_other_out(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    """Each names an entity without changing it: the one that the other changes."""

    async def repeat(writer: TimescaleAdapter, idle: str, changed: str) -> None:
        for n in range(100):
            await writer.set_live_batch({idle: {}, changed: {"curVal": n}})

    async with TimescaleAdapter(fresh_postgres_url) as another:
        await store.set_live_batch({id: {"curVal": 0} for id in "ab"})
        await asyncio.gather(repeat(store, "a", "b"), repeat(another, "b", "a"))


async def test_a_load_that_waits_lets_no_mod_go_back(
    store: TimescaleAdapter, fresh_postgres_url: str
) -> None:
    """C6: what is changed while the load waits for a row has an earlier `mod` in the end."""
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        await plain.execute("BEGIN")
        await plain.execute("UPDATE entities SET tags = tags WHERE id = 'a'")
        load = asyncio.create_task(store.load_entities([{"id": Ref("a")}, {"id": Ref("c")}]))
        of_us = "datname = current_database() AND wait_event_type = 'Lock'"
        while not await plain.fetch(f"SELECT FROM pg_stat_activity WHERE {of_us}"):  # noqa: ASYNC110 - of the server, a constant
            await asyncio.sleep(0.01)
        async with TimescaleAdapter(fresh_postgres_url) as another:
            changed = await another.update({"id": Ref("c"), "n": 1})
        await plain.execute("COMMIT")
        await load
    finally:
        await plain.close()

    assert (await store.read_by_id("c"))["mod"] > changed["mod"]


async def test_calls_that_are_cancelled_while_they_connect_say_nothing(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "call_exception_handler", complaints.append)
    async with TimescaleAdapter(fresh_postgres_url) as store:
        for n in range(40):
            calls = [asyncio.create_task(store.read("site")) for _ in range(8)]
            await asyncio.sleep(n * 0.0005)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
    await asyncio.sleep(0.2)
    gc.collect()

    assert complaints == []


async def test_two_that_add_the_same_do_not_lock_each_other_out(store: TimescaleAdapter) -> None:
    """One of them is told that they exist."""
    ids = [f"n{i}" for i in range(200)]
    for order in (ids, ids[::-1]):
        done = await asyncio.gather(
            store.commit([Diff.add({}, id) for id in ids]),
            store.commit([Diff.add({}, id) for id in order[::-1]]),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in done) in (
            ["EntityExistsError", "list"],
            ["EntityExistsError", "EntityExistsError"],
        )


_DELETE = "DELETE FROM live WHERE id = '{}'"
_HOLD = "SELECT FROM live WHERE id = '{}' FOR UPDATE"
_CLASHES: dict[str, tuple[str, str, Callable[[TimescaleAdapter], Awaitable[object]]]] = {
    "set_live": (
        _DELETE.format("b"),
        _DELETE.format("a"),
        lambda store: store.set_live_batch({"a": {"curVal": 1}, "b": {"curVal": 1}}),
    ),
    "commit": (
        _DELETE.format("b"),
        _DELETE.format("a"),
        lambda store: store.commit(
            Diff.update(id, {"curVal": 1}, transient=True, force=True) for id in "ab"
        ),
    ),
    "point_write": (
        _HOLD.format("a"),
        _DELETE.format("a"),
        lambda store: store.point_write("a", 10, 1, "ana"),
    ),
}


@pytest.mark.parametrize("call", _CLASHES)
async def test_a_call_that_clashes_with_plain_sql_is_run_again(
    store: TimescaleAdapter, fresh_postgres_url: str, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who deletes live tags locks them in any order; of a deadlock the server ends one: ours."""
    first, second, change = _CLASHES[call]
    point = {"point": MARKER, "writable": MARKER, "kind": "Number", "curTracksWrite": MARKER}
    await store.load_entities([{"id": Ref(id), "curVal": 0, **point} for id in "ab"])
    caplog.set_level("INFO")
    plain = await asyncpg.connect(fresh_postgres_url)
    try:
        await plain.execute("SET deadlock_timeout = '1min'")
        await plain.execute("BEGIN")
        await plain.execute(first)
        url = engine_url(fresh_postgres_url).set(drivername="postgresql")
        hasty = url.update_query_dict({"options": "-c deadlock_timeout=500ms"})
        async with TimescaleAdapter(hasty.render_as_string(hide_password=False)) as adapter:
            ours = asyncio.ensure_future(change(adapter))
            of_us = "datname = current_database() AND wait_event_type = 'Lock'"
            there = f"SELECT FROM pg_stat_activity WHERE {of_us}"
            while not ours.done() and not await plain.fetch(there):
                await plain.execute("SELECT pg_stat_clear_snapshot()")
                await asyncio.sleep(0.01)
            await plain.execute(second)
            await plain.execute("COMMIT")
            await ours
    finally:
        await plain.close()

    assert "clashed" in caplog.text
    assert (await store.read_by_id("a"))["curVal"] == Number(1)
