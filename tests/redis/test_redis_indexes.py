"""Declared indexes in Redis: what is searched is in the index, whoever changes it meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hsorm.errors import StorageError, StorageUnavailableError
from hsorm.kinds import Number, Ref
from hsorm.redis_ops import index
from hsorm.redis_ops.keys import Bucket
from hsorm.redis_ops.terms import field_name
from hsorm.storage import _streams
from hsorm.storage.redis import RedisAdapter


async def _indexed(store: RedisAdapter, bucket: Bucket) -> set[str]:
    """Return the fields of the index that searches go to."""
    info = index.pairs(await store.server.read(bucket, "FT.INFO", bucket.alias))
    return {index.pairs(field)[b"identifier"].decode() for field in info[b"attributes"]}


async def _searched(store: RedisAdapter, bucket: Bucket) -> set[str]:
    """Return the fields that searches may ask for."""
    searched = (await store._fields_of(bucket)).searched
    return {field for tag, kind in searched if (field := field_name(tag, kind))}


async def test_several_who_declare_at_the_same_time(
    any_redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And others who connect meanwhile: a search that finds no field finds nothing."""
    slow = RedisAdapter._write_anew

    async def slowly(self: RedisAdapter, bucket: Bucket) -> None:
        await asyncio.sleep(0.05 if ("area", "number") in self._declared else 0.01)
        await slow(self, bucket)

    monkeypatch.setattr(RedisAdapter, "_write_anew", slowly)
    over = asyncio.Event()

    async def connect() -> None:
        while not over.is_set():
            async with RedisAdapter(any_redis_url):
                await asyncio.sleep(0)

    async def declare(tag: str) -> None:
        async with RedisAdapter(any_redis_url, index_tags={tag: "number"}) as store:
            assert await store.read_count(f"{tag} > 5") == 94

    async with RedisAdapter(any_redis_url) as store:
        tags = ("area", "temp", "n")
        await store.load_entities(
            {"id": Ref(f"e{i}"), **dict.fromkeys(tags, Number(i))} for i in range(100)
        )

        async def look() -> None:
            while not over.is_set():
                for bucket in store.layout.buckets:
                    searched: Any = await _searched(store, bucket)
                    assert searched <= await _indexed(store, bucket)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(look())
            group.create_task(connect())
            await asyncio.gather(*map(declare, tags))
            over.set()

        for bucket in store.layout.buckets:
            assert len(await _searched(store, bucket)) == 3
            assert await _searched(store, bucket) <= await _indexed(store, bucket)


async def test_who_has_lost_the_turn_takes_nothing_away(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that stood still for long, while another one had its turn."""
    write_anew, ensure_index = RedisAdapter._write_anew, index.ensure_index
    async with RedisAdapter(redis_url) as one, RedisAdapter(redis_url) as two:
        others = [two]

        async def slowly(self: RedisAdapter, bucket: Bucket) -> None:
            while self is one and others:
                await one.server.write(bucket, "DEL", bucket.indexing)
                await others.pop().create_indexes({"b": "number"})
            await write_anew(self, bucket)

        async def checked(server: Any, bucket: Bucket, indexes: Any) -> bool:
            assert (await two._fields_of(bucket)).searched <= indexes
            return await ensure_index(server, bucket, indexes)

        monkeypatch.setattr(RedisAdapter, "_write_anew", slowly)
        monkeypatch.setattr(index, "ensure_index", checked)
        assert await one.create_indexes({"a": "number"}) == ["entities_a_number_ix"]
        (bucket,) = one.layout.buckets
        assert await _searched(one, bucket) == {"n_a", "n_b"} <= await _indexed(one, bucket)
        assert await one.server.read(bucket, "EXISTS", bucket.indexing) == 0


async def test_one_that_is_closed_while_it_declares(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, and does not wait for itself."""
    async with RedisAdapter(redis_url) as store:
        await store.create({"id": Ref("e")})
    write_anew = RedisAdapter._write_anew

    async def cut_off(self: RedisAdapter, bucket: Bucket) -> None:
        await self.close()
        await write_anew(self, bucket)

    monkeypatch.setattr(RedisAdapter, "_write_anew", cut_off)
    async with asyncio.timeout(30):
        with pytest.raises(StorageError, match="closed while it was being opened"):
            await RedisAdapter(redis_url, index_tags={"a": "number"}).connect()
    monkeypatch.undo()
    async with asyncio.timeout(60), RedisAdapter(redis_url, index_tags={"a": "number"}) as store:
        assert await store.read_count("a > 1") == 0


async def test_a_stream_that_cannot_connect_does_not_wait_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_streams, "_END_SECONDS", 1_000)
    async with asyncio.timeout(60):
        with pytest.raises(StorageUnavailableError):
            await anext(RedisAdapter("redis://127.0.0.1:1").watch_stream("w"))
