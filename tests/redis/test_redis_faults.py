"""What goes wrong: clients that die, connections that are lost, servers that let nobody in."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from hsorm.errors import (
    EntityExistsError,
    StorageError,
    StorageUnavailableError,
    StorageUrlError,
    UnknownEntityError,
)
from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.ops.commits import Diff
from hsorm.redis_ops.client import redis_errors
from hsorm.storage.redis import RedisAdapter
from hsorm.testing.conformance.examples import ids
from tests.conftest import Record
from tests.redis.dying import IDS, ITEMS, MANY

_OLD = sorted([id, 1.0] for id in IDS)
_NEW = {
    "commit": sorted([[id, 2.0] for id in IDS[1:]] + [["new", 2.0]]),
    "history": sorted([id, 1.0 + (ITEMS if id in IDS[:4] else 0)] for id in IDS),
    "load": sorted([f"e{i}", 2.0] for i in range(MANY)),
    "update": sorted([[IDS[0], 2.0], *([id, 1.0] for id in IDS[1:])]),
}

# ---- clients that die ---------------------------------------------------------------------------


@pytest.mark.parametrize("work", list(_NEW))
def test_a_client_that_is_killed_leaves_all_or_nothing(any_redis_url: str, work: str) -> None:
    """By kill -9 before each of its commands that write; whoever comes next sees to it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.redis.dying", any_redis_url, work],
        capture_output=True,
        timeout=110,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]

    assert [died for _, died, _ in told] == [True] * (len(told) - 1) + [False]
    found = [sorted(rows) for _, _, rows in told]
    assert all(rows in (_OLD, _NEW[work]) for rows in found)
    # Once it is made it stays made, however much was left to do.
    made = [rows == _NEW[work] for rows in found]
    assert made == sorted(made)
    assert (made[0], made[-1]) == (False, True)


async def test_a_transaction_that_takes_too_long_is_given_up(
    any_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its owner, should it live after all, changes nothing, and does it again."""
    monkeypatch.setattr("hsorm.redis_ops.transactions._LOCK_SECONDS", 0.1)
    async with RedisAdapter(any_redis_url) as slow, RedisAdapter(any_redis_url) as other:
        staged = slow.transactions.begin()
        await staged.add([slow._put({"id": Ref("a"), "n": Number(1)})])
        await staged.lock()

        await other.create({"id": Ref("a"), "n": Number(2)})
        with pytest.raises(Exception, match="None"):
            await staged.commit(locked=True)

        assert (await slow.read_by_id("a"))["n"] == Number(2)


async def test_readers_wait_for_a_change_that_is_being_made(any_redis_url: str) -> None:
    """A large load is seen by nobody before it is whole."""
    async with RedisAdapter(any_redis_url) as store, RedisAdapter(any_redis_url) as reader:
        await store.load_entities({"id": Ref(f"e{i}"), "n": Number(0)} for i in range(3_000))
        seen: set[int] = set()
        loading = True

        async def look() -> None:
            while loading:
                seen.add(await reader.read_count("done"))
                seen.add(sum("done" in (entity or {}) for entity in await reader.read_by_ids(some)))

        some = [f"e{i}" for i in range(0, 3_000, 1_000)]
        async with asyncio.TaskGroup() as group:
            group.create_task(look())
            await store.load_entities({"id": Ref(f"e{i}"), "done": MARKER} for i in range(3_000))
            loading = False

        assert await reader.read_count("done") == 3_000
        if not reader.server.is_cluster:  # on several nodes a reader meets one after the other
            assert seen <= {0, 3, 3_000}


# ---- connections that are lost ------------------------------------------------------------------


async def _cut(killer: RedisAdapter, name: str) -> int:
    """End all connections of a client, by its name."""
    listed = await killer.server._seed().client_list()
    mine = [one["id"] for one in listed if one["name"] == name]
    for id in mine:
        await killer.server._seed().client_kill_filter(_id=id)
    return len(mine)


async def test_a_lost_connection_is_replaced(redis_url: str) -> None:
    async with (
        RedisAdapter(f"{redis_url}&client_name=cut-me") as store,
        RedisAdapter(redis_url) as killer,
    ):
        await store.create({"id": Ref("a"), "x": MARKER})

        for _ in range(3):
            assert await _cut(killer, "cut-me") > 0
            assert ids(await store.read("x")) == ["a"]
        assert await _cut(killer, "cut-me") > 0
        await store.update({"id": Ref("a"), "n": Number(1)})

        assert (await killer.read_by_id("a"))["n"] == Number(1)


async def test_a_stream_survives_a_lost_connection(redis_url: str) -> None:
    async with (
        RedisAdapter(f"{redis_url}&client_name=cut-stream") as store,
        RedisAdapter(redis_url) as other,
    ):
        await store.create({"id": Ref("a"), "n": Number(0)})
        watch = await store.watch_sub(None, ["a"])
        stream = store.watch_stream(watch.watch_id)
        told: list[Any] = []
        for n in range(1, 4):
            coming = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0.1)
            assert await _cut(other, "cut-stream") > 0

            await other.update({"id": Ref("a"), "n": Number(n)})

            told += [row["n"].val for row in await asyncio.wait_for(coming, 10)]
        await stream.aclose()  # type: ignore[attr-defined]  # a generator

        assert told == [1, 2, 3]


async def test_a_change_is_not_repeated(redis_url: str) -> None:
    """What was lost may have been done: that is for the caller to find out."""
    async with RedisAdapter(redis_url) as store:
        calls = 0
        server, write = store.server, store.server._where_it_is

        async def failing(once: Any) -> Any:
            nonlocal calls
            calls += 1
            await write(once)
            raise ConnectionResetError("lost")

        server._where_it_is = failing  # type: ignore[method-assign]
        with pytest.raises(StorageUnavailableError):
            await store.create({"id": Ref("a")})
        server._where_it_is = write  # type: ignore[method-assign]

        assert calls == 1
        assert await store.read_count("id") == 1
        with pytest.raises(EntityExistsError):
            await store.create({"id": Ref("a")})


# ---- servers that let nobody in -----------------------------------------------------------------


async def test_nobody_is_there() -> None:
    with pytest.raises(StorageUnavailableError, match=r"127\.0\.0\.1:1") as caught:
        await RedisAdapter("redis://me:geheim@127.0.0.1:1").connect()

    assert "geheim" not in str(caught.value)
    assert caught.value.url == "redis://me:***@127.0.0.1:1"


async def test_a_wrong_password(redis_url: str) -> None:
    host = redis_url.partition("://")[2]

    with pytest.raises(StorageUnavailableError, match="password") as caught:
        await RedisAdapter(f"redis://somebody:geheim@{host}").connect()

    assert "geheim" not in str(caught.value)


def _acl_of_the_docs() -> str:
    text = (Path(__file__).parents[2] / "docs/redis.md").read_text("utf-8")
    found = re.search(r"ACL SETUSER hsorm on >password (.*?)```", text, re.DOTALL)
    assert found
    return found[1]


async def test_a_user_of_an_acl(redis_url: str, record_property: Record) -> None:
    """What docs/redis.md says is enough; with less the error says which command."""
    server, _, prefix = redis_url.partition("?prefix=")
    host, name = server.partition("://")[2], f"user_{prefix}"
    rules = _acl_of_the_docs().replace("plant:", f"{prefix}:").split()
    point: Entity = {"id": Ref("p"), "point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
    with Redis.from_url(server) as admin:
        admin.execute_command("ACL", "SETUSER", name, "on", ">pw", *rules)
        try:
            url = f"redis://{name}:pw@{host}?prefix={prefix}"
            async with RedisAdapter(url, index_tags={"n": "number"}) as store:
                await store.load_entities(
                    [point, *({"id": Ref(f"e{i}"), "n": i} for i in range(300))]
                )
                await store.his_write(
                    "p", [{"ts": dt.datetime(2024, 3, 1, tzinfo=dt.UTC), "val": 1}]
                )
                watch = await store.watch_sub(None, ["p"])
                await store.set_live("p", {"curVal": Number(1)})

                assert await store.read_count("n > 5") == 294
                assert (await store.explain("n > 5")).plan
                assert len(await store.his_read("p", "2024-03-01")) == 1
                assert ids([await anext(store.watch_stream(watch.watch_id))][0]) == ["p"]
                assert await store.check_refs() == []
                assert (await store.about())["backendVersion"] == "unknown"
            admin.execute_command("ACL", "SETUSER", name, "-ft.aggregate")
            async with RedisAdapter(url) as store:
                with pytest.raises(StorageError, match=r"FT\.AGGREGATE.*docs/redis\.md"):
                    await store.read("n")
        finally:
            admin.execute_command("ACL", "DELUSER", name)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://x", "no URL of Redis"),
        ("redis://x/1", "database 0"),
        ("redis://x?db=3", "database 0"),
        ("redis://x:port", "no URL of Redis"),
        ("redis://x?prefix={a}", "no prefix of keys"),
    ],
)
def test_a_url_that_is_none(url: str, reason: str) -> None:
    with pytest.raises(StorageUrlError, match=reason):
        RedisAdapter(url)


def test_arguments_that_are_none() -> None:
    with pytest.raises(ValueError, match="no prefix"):
        RedisAdapter(prefix="a b")
    with pytest.raises(ValueError, match="0 buckets"):
        RedisAdapter(buckets=0)
    with pytest.raises(ValueError, match="number, string, date or datetime"):
        RedisAdapter(index_tags={"area": "size"})  # type: ignore[dict-item]


# ---- several buckets on one server --------------------------------------------------------------


async def test_buckets_can_be_asked_for(redis_url: str) -> None:
    """As on a cluster, a change of several is one transaction; who connects later sees them."""
    async with RedisAdapter(redis_url, buckets=4) as store, RedisAdapter(redis_url) as other:
        await store.load_entities({"id": Ref(f"e{i}"), "n": Number(i)} for i in range(40))
        await store.commit([Diff.update(f"e{i}", {"x": MARKER}, force=True) for i in range(20)])
        with pytest.raises(UnknownEntityError):
            await store.commit([Diff.remove("e1", force=True), Diff.remove("none", force=True)])

        assert len(other.layout.buckets) == 4
        assert await other.read_count("x") == 20
        assert await other.read_count("id") == 40


async def test_errors_of_the_server_keep_what_was_asked_to_themselves(redis_url: str) -> None:
    async with RedisAdapter(redis_url) as store:
        bucket = store.layout.buckets[0]
        with redis_errors(store.url), pytest.raises(StorageError) as caught:
            await store.transactions.read(bucket, [("HGET", "geheim")])

    assert "wrong number of arguments" in str(caught.value)
    assert "geheim" not in str(caught.value)


async def test_a_stream_that_is_cancelled_ends(redis_store: RedisAdapter) -> None:
    """At whatever point: until Python 3.12 the driver loses some cancellations."""
    await redis_store.load_entities([{"id": Ref("a"), "x": MARKER}])
    watch = await redis_store.watch_filter("x")

    async def follow() -> None:
        async for _ in redis_store.watch_stream(watch.watch_id):
            pass

    for turn in range(60):
        following = asyncio.create_task(follow())
        await asyncio.sleep(0.02)
        await redis_store.set_live("a", {"curVal": turn})
        await asyncio.sleep(turn / 10_000)
        following.cancel()
        done, _ = await asyncio.wait([following], timeout=5)
        assert done, turn


async def test_a_task_that_is_cancelled_while_it_runs_asks_no_more(
    redis_store: RedisAdapter,
) -> None:
    """As Ctrl-C does, whose signal comes between two lines of it."""

    async def read() -> int:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        return await redis_store.read_count("x")

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(read())
