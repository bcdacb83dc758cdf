"""Storages for tests, each empty and alone on a backend of any kind: what the pytest plugin uses.

To make tables takes many times as long as to empty them. So each session has one place, a file, a
schema or a prefix of its own, which every test finds empty.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hsorm.demo import building
from hsorm.kinds import Entity
from hsorm.storage.memory import InMemoryAdapter

if TYPE_CHECKING:
    from hsorm.storage.protocol import StorageAdapter
    from hsorm.storage.redis import RedisAdapter
    from hsorm.storage.sqlite import SqliteAdapter
    from hsorm.storage.timescale import TimescaleAdapter

__all__ = ["Places", "clear_redis", "clear_sql", "drop_prefix"]


class Places:
    """Where the storages of a test session are.

    Args:
        where: `memory`, `sqlite`, or the URL of a PostgreSQL or Redis server.
        folder: Where a file may be made.

    Raises:
        ValueError: It is none of these.
    """

    def __init__(self, where: str, folder: Path) -> None:
        # Random, for several workers and several runs share a server.
        name = f"hs_test_{secrets.token_hex(6)}"
        self._used = False
        self._drop: Callable[[], None] | None = None
        self._make: Callable[[], StorageAdapter]
        match where.partition("://")[0].partition("+")[0]:
            case "memory":
                self._make = InMemoryAdapter
            case "sqlite" if where in ("sqlite", "sqlite://"):
                self._make = lambda: _sqlite(folder / f"{name}.db")
            case "postgresql" | "postgres":
                self._make = lambda: _postgres(where, name)
                self._drop = lambda: _apart(_drop_schema(where, name))
            case "redis" | "rediss":
                self._make = lambda: _redis(where, name)
                self._drop = lambda: drop_prefix(where, name)
            case _:
                raise ValueError(
                    f"{where!r} is none of memory, sqlite (a file of its own for each session), "
                    "postgresql://… and redis://…"
                )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[StorageAdapter]:
        """Open an empty storage in this event loop."""
        async with self._make() as store:
            await self._clear(store)
            yield store

    @contextmanager
    def unopened(self) -> Iterator[StorageAdapter]:
        """Give an empty storage that nobody has opened."""
        if not self._is_in_memory():
            _apart(self._clear_once())
        yield self._make()

    async def load(self, store: StorageAdapter) -> None:
        """Put the demo building into a storage."""
        await store.load_entities(_demo_building())

    def load_apart(self, store: StorageAdapter) -> None:
        """Put the demo building into a storage that nobody has opened, and leave it so."""
        if isinstance(store, InMemoryAdapter):
            store.load_entities(_demo_building())
        else:
            _apart(self._load_once())

    def drop(self) -> None:
        """Drop what was made on a server."""
        if self._used and self._drop is not None:
            self._drop()

    def _is_in_memory(self) -> bool:
        return self._make is InMemoryAdapter

    async def _clear_once(self) -> None:
        async with self.opened():
            pass

    async def _load_once(self) -> None:
        async with self._make() as store:
            await self.load(store)

    async def _clear(self, store: StorageAdapter) -> None:
        # At the beginning, not at the end: a test that was stopped has cleaned up nothing.
        if self._used and not self._is_in_memory():
            await _clear(store)
        self._used = True


@cache
def _demo_building() -> list[Entity]:
    return building()


def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in an event loop of its own: the one of this thread is somebody else's."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as exc:  # noqa: BLE001 - raised again where it was waited for
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


# ---- backends: each is imported when it is asked for --------------------------------------------


def _sqlite(path: Path) -> SqliteAdapter:
    from hsorm.storage.sqlite import SqliteAdapter

    return SqliteAdapter(path)


def _postgres(url: str, schema: str) -> TimescaleAdapter:
    from hsorm.storage.timescale import TimescaleAdapter

    return TimescaleAdapter(url, schema=schema)


def _redis(url: str, prefix: str) -> RedisAdapter:
    from hsorm.storage.redis import RedisAdapter

    return RedisAdapter(url, prefix=prefix)


async def _clear(store: Any) -> None:
    clear: Callable[[Any], Awaitable[None]] = clear_sql if hasattr(store, "tables") else clear_redis
    await clear(store)


async def clear_sql(store: SqliteAdapter | TimescaleAdapter) -> None:
    """Delete every row of a storage, which is many times faster than new tables."""
    from sqlalchemy import delete

    # As the adapter does it: a test may have had the server end all connections.
    async with store._begin() as connection:
        entities = store.tables.entities
        await connection.execute(delete(entities))  # which notes the removals
        for table in entities.metadata.sorted_tables:
            await connection.execute(delete(table))


async def clear_redis(store: RedisAdapter) -> None:
    """Delete every key of a storage but what says how it is made."""
    for bucket in store.layout.buckets:
        await store.server.node(bucket).eval(_CLEAR, 1, bucket.base, bucket.fields)


_CLEAR: Final = """
for _, key in ipairs(redis.call('KEYS', KEYS[1] .. '*')) do
  if key ~= ARGV[1] then redis.call('DEL', key) end
end
"""


async def _drop_schema(url: str, schema: str) -> None:
    from sqlalchemy.schema import DropSchema

    store = _postgres(url, schema)
    try:
        async with store._begin() as connection:
            await connection.execute(DropSchema(schema, cascade=True, if_exists=True))
    finally:
        await store.close()


def drop_prefix(url: str, prefix: str) -> None:
    """Delete all keys and indexes of a storage in Redis, on every node of a cluster."""
    from redis import Redis
    from redis.exceptions import ResponseError

    with ExitStack() as stack:
        nodes = [stack.enter_context(Redis.from_url(url))]
        with suppress(ResponseError):  # no cluster
            slots = nodes[0].execute_command("CLUSTER", "SLOTS")
            places = {(node[0].decode(), node[1]) for _, _, node, *_ in slots}
            nodes = [stack.enter_context(Redis(host=host, port=port)) for host, port in places]
        for node in nodes:
            for index in node.execute_command("FT._LIST"):
                if index.startswith(f"{{{prefix}:".encode()):
                    node.execute_command("FT.DROPINDEX", index)
            with node.pipeline(transaction=False) as pipe:
                for pattern in (f"{{{prefix}:*", f"{prefix}:*"):
                    for key in node.keys(pattern):
                        pipe.unlink(key)
                pipe.execute()
