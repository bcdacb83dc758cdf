"""What somebody writes by hand for one storage: commits, live tags, polls, points and the feed.

On the tables of hsorm and with its triggers, for the same effect and the same answer: entities are
decoded by `json.loads`, not into kinds. Rows that change are given as arrays or by `executemany`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
from redis.asyncio import Redis

from hsorm.redis_ops.keys import Bucket

__all__ = ["PostgresHand", "RedisHand", "SqliteHand"]

_T = TypeVar("_T")

_LEASE = dt.timedelta(minutes=10)
_LIVE_TOKENS = "curVal,curStatus,curStatus=ok"


def _changed(tags: str | bytes, note: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an entity before and after its note and mod were changed."""
    old = json.loads(tags)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return old, {**old, "note": str(note), "mod": {"_kind": "dateTime", "val": now, "tz": "UTC"}}


def _live(number: int) -> str:
    return json.dumps({"curVal": number, "curStatus": "ok"})


def _levels(number: int, who: str) -> str:
    return json.dumps({"levels": {"16": {"val": number, "who": who}}})


class PostgresHand:
    """Over one connection of asyncpg's."""

    def __init__(self, connection: asyncpg.Connection[Any], watch: str) -> None:
        self._connection = connection
        self._watch = watch
        self._cursor = 0

    async def commit(self, ids: Sequence[str], note: int) -> object:
        async with self._connection.transaction():
            rows = await self._connection.fetch(
                "SELECT id, tags::text FROM entities WHERE id = ANY($1) "
                "ORDER BY id FOR NO KEY UPDATE",
                ids,
            )
            live = await self._connection.fetch(
                "SELECT id, tags::text FROM live WHERE id = ANY($1)", ids
            )
            pairs = [(id, *_changed(tags, note)) for id, tags in rows]
            await self._connection.execute(
                "UPDATE entities e SET tags = g.tags "
                "FROM unnest($1::text[], $2::jsonb[]) AS g(id, tags) WHERE e.id = g.id",
                [id for id, _, _ in pairs],
                [json.dumps(new) for _, _, new in pairs],
            )
        return pairs, [json.loads(tags) for _, tags in live]

    async def set_live(self, ids: Sequence[str], number: int) -> object:
        return await self._connection.execute(
            "INSERT INTO live (id, tags) SELECT id, tags "
            "FROM unnest($1::text[], $2::jsonb[]) AS g(id, tags) ORDER BY id "
            "ON CONFLICT (id) DO UPDATE SET tags = live.tags || excluded.tags",
            sorted(ids),
            [_live(number) for _ in ids],  # in earnest each has another value
        )

    async def poll(self) -> list[Any]:
        async with self._connection.transaction():
            await self._connection.fetch(
                "SELECT cursor FROM watches WHERE id = $1 FOR UPDATE", self._watch
            )
            # What was open when the snapshot was taken is told again: nothing is lost.
            now = await self._connection.fetchval(
                "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
            )
            rows = await self._connection.fetch(
                "SELECT e.id, e.tags::text, l.tags::text FROM ("
                "SELECT id FROM entities WHERE changed >= $2 "
                "UNION SELECT id FROM live WHERE changed >= $2) c "
                "JOIN watch_ids w ON w.watch_id = $1 AND w.entity_id = c.id "
                "JOIN entities e ON e.id = c.id LEFT JOIN live l ON l.id = c.id",
                self._watch,
                self._cursor,
            )
            await self._connection.execute(
                "UPDATE watches SET cursor = $2, expires = $3 WHERE id = $1",
                self._watch,
                f"{now}:",
                dt.datetime.now(dt.UTC) + _LEASE,
            )
        self._cursor = now
        return [json.loads(tags) | json.loads(live or "{}") for _, tags, live in rows]

    async def point_write(self, id: str, number: int) -> object:
        async with self._connection.transaction():
            tags, levels = await self._connection.fetchrow(
                "SELECT e.tags::text, p.levels::text FROM entities e "
                "LEFT JOIN point_arrays p ON p.id = e.id WHERE e.id = $1 FOR UPDATE OF e",
                id,
            )
            old = json.loads(tags), json.loads(levels or "{}")
            await self._connection.execute(
                "INSERT INTO point_arrays (id, levels) VALUES ($1, $2) "
                "ON CONFLICT (id) DO UPDATE SET levels = excluded.levels",
                id,
                _levels(number, "hand"),
            )
            await self._connection.execute(
                "INSERT INTO live (id, tags) VALUES ($1, $2) "
                "ON CONFLICT (id) DO UPDATE SET tags = live.tags || excluded.tags",
                id,
                json.dumps({"writeVal": number, "writeLevel": 16}),
            )
        return old

    async def feed(self, limit: int) -> list[Any]:
        rows = await self._connection.fetch(
            "SELECT e.id, e.tags::text, l.tags::text FROM entities e LEFT JOIN live l USING (id) "
            "ORDER BY e.changed, e.id LIMIT $1",
            limit,
        )
        return [json.loads(tags) | json.loads(live or "{}") for _, tags, live in rows]


class SqliteHand:
    """Over one connection of `sqlite3`, on a thread of its own: nothing blocks the event loop.

    Each call is one errand to that thread.
    """

    def __init__(self, path: Path, watch: str) -> None:
        self._path, self._watch = path, watch
        self._cursor = 0
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def open(self) -> None:
        """Connect, with settings as ours; that there is an entity is for its foreign key to say."""
        await self._run(self._connect)

    def _connect(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._rows("PRAGMA synchronous = NORMAL")
        self._rows("PRAGMA foreign_keys = ON")

    async def close(self) -> None:
        await self._run(self._connection.close)
        self._thread.shutdown()

    async def _run(self, call: Callable[..., _T], *args: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()

    async def commit(self, ids: Sequence[str], note: int) -> object:
        return await self._run(self._commit, ids, note)

    def _commit(self, ids: Sequence[str], note: int) -> object:
        self._rows("BEGIN IMMEDIATE")
        listed = json.dumps(ids)
        given = "IN (SELECT value FROM json_each(?))"
        rows = self._rows(f"SELECT id, tags FROM entities WHERE id {given}", listed)
        live = self._rows(f"SELECT id, tags FROM live WHERE id {given}", listed)
        pairs = [(id, *_changed(tags, note)) for id, tags in rows]
        self._connection.executemany(
            "UPDATE entities SET tags = ? WHERE id = ?",
            [(json.dumps(new), id) for id, _, new in pairs],
        )
        self._rows("COMMIT")
        return pairs, [json.loads(tags) for _, tags in live]

    async def set_live(self, ids: Sequence[str], number: int) -> object:
        return await self._run(self._set_live, ids, number)

    def _set_live(self, ids: Sequence[str], number: int) -> object:
        self._rows("BEGIN IMMEDIATE")
        self._connection.executemany(
            "INSERT INTO live (id, tags) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET "
            "tags = json_set(tags, '$.curVal', excluded.tags -> '$.curVal', "
            "'$.curStatus', excluded.tags ->> '$.curStatus')",
            [(id, _live(number)) for id in ids],
        )
        return self._rows("COMMIT")

    async def poll(self) -> list[Any]:
        return await self._run(self._poll)

    def _poll(self) -> list[Any]:
        self._rows("BEGIN IMMEDIATE")
        ((now,),) = self._rows("SELECT n FROM change_clock")
        rows = self._rows(
            "SELECT e.id, e.tags, l.tags FROM ("
            "SELECT id FROM entities WHERE changed > ?2 "
            "UNION SELECT id FROM live WHERE changed > ?2) c "
            "JOIN watch_ids w ON w.watch_id = ?1 AND w.entity_id = c.id "
            "JOIN entities e ON e.id = c.id LEFT JOIN live l ON l.id = c.id",
            self._watch,
            self._cursor,
        )
        expires = int((dt.datetime.now(dt.UTC) + _LEASE).timestamp() * 1_000_000)
        self._rows(
            "UPDATE watches SET cursor = ?, expires = ? WHERE id = ?",
            f"{now + 1}:",
            expires,
            self._watch,
        )
        self._rows("COMMIT")
        self._cursor = now
        return [json.loads(tags) | json.loads(live or "{}") for _, tags, live in rows]

    async def point_write(self, id: str, number: int) -> object:
        return await self._run(self._point_write, id, number)

    def _point_write(self, id: str, number: int) -> object:
        self._rows("BEGIN IMMEDIATE")
        ((tags, levels),) = self._rows(
            "SELECT e.tags, p.levels FROM entities e LEFT JOIN point_arrays p USING (id) "
            "WHERE e.id = ?",
            id,
        )
        old = json.loads(tags), json.loads(levels or "{}")
        self._rows(
            "INSERT INTO point_arrays (id, levels) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET levels = excluded.levels",
            id,
            _levels(number, "hand"),
        )
        self._rows(
            "INSERT INTO live (id, tags) VALUES (?, ?) "
            "ON CONFLICT (id) DO UPDATE SET tags = json_patch(tags, excluded.tags)",
            id,
            json.dumps({"writeVal": number, "writeLevel": 16}),
        )
        self._rows("COMMIT")
        return old

    async def feed(self, limit: int) -> list[Any]:
        return await self._run(self._feed, limit)

    def _feed(self, limit: int) -> list[Any]:
        rows = self._rows(
            "SELECT e.id, e.tags, l.tags FROM entities e LEFT JOIN live l USING (id) "
            "ORDER BY e.changed, e.id LIMIT ?",
            limit,
        )
        return [json.loads(tags) | json.loads(live or "{}") for _, tags, live in rows]


class RedisHand:
    """Pipelines of redis-py over one connection, where nobody looks whether others were faster."""

    def __init__(self, client: Redis, bucket: Bucket) -> None:
        self._client, self._bucket = client, bucket
        self._stamp = itertools.count(int(time.time() * 1_000_000))

    async def _read(self, ids: Sequence[str]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for id in ids:
                pipe.hmget(self._bucket.entity(id), "tags", "live", "t")
            return list(await pipe.execute())

    async def commit(self, ids: Sequence[str], note: int) -> object:
        rows = await self._read(ids)
        pairs = [_changed(tags, note) for tags, _, _ in rows]
        fields = [
            {"tags": json.dumps(new), "t": _tokens(tokens, note)}
            for (_, new), (_, _, tokens) in zip(pairs, rows, strict=True)
        ]
        await self._write(ids, fields)
        return pairs, [json.loads(live or "{}") for _, live, _ in rows]

    async def set_live(self, ids: Sequence[str], number: int) -> object:
        rows = await self._read(ids)
        new = [
            json.dumps(json.loads(live or "{}") | json.loads(_live(number))) for _, live, _ in rows
        ]
        await self._write(ids, [{"live": live, "l": _LIVE_TOKENS} for live in new])
        return None

    async def _write(self, ids: Sequence[str], fields: Sequence[dict[Any, Any]]) -> None:
        async with self._client.pipeline(transaction=True) as pipe:
            for id, changed in zip(ids, fields, strict=True):
                stamp = next(self._stamp)
                pipe.hset(self._bucket.entity(id), mapping={**changed, "v": str(stamp)})
                pipe.zadd(self._bucket.log, {id: stamp})
            await pipe.execute()


def _tokens(tokens: bytes, note: int) -> str:
    """Return the tokens by which an entity is found after its note was changed."""
    kept = (token for token in tokens.decode().split(",") if not token.startswith("note"))
    return ",".join((*kept, "note", f"note={note}"))
