"""The servers that the tests may use, the databases made on them, and the adapters over these."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import psycopg
from pytest_postgresql.janitor import DatabaseJanitor
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import URL, make_url

from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.redis import RedisAdapter
from hsorm.storage.sqlite import SqliteAdapter
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.isolation import clear_redis, clear_sql, drop_prefix

ALL: Final = ("memory", "sqlite", "postgres", "timescale", "redis", "redis-cluster")
"""The backends that run the conformance suite, by the name in test ids."""

POSTGRES: Final = ("postgres", "timescale")
"""The backends that are PostgreSQL."""

REDIS: Final = ("redis", "redis-cluster")
"""The backends that are Redis."""

SERVERS: Final = {
    "postgres": "HSORM_TEST_PLAIN_POSTGRES_URL",
    "timescale": "HSORM_TEST_POSTGRES_URL",
    "redis": "HSORM_TEST_REDIS_URL",
    "redis-cluster": "HSORM_TEST_REDIS_CLUSTER_URL",
}
"""The backends that need a server, and the variable that says where it is."""

PLANNERS: Final = ("memory", "sqlite", *POSTGRES, "redis")
"""The backends that answer filters each in its own way: a cluster does as its nodes do."""

KEPT: Final = ("sqlite", *POSTGRES, "redis")
"""The backends whose data outlives an adapter, each kind once: what the command line runs on."""

_SERVERS_ENV = Path(__file__).parent.parent / ".servers.env"


class ServerMissingError(Exception):
    """A server is not there; the text says which variable, and what to do."""


# ---- servers ------------------------------------------------------------------------------------


def variable(name: str) -> str | None:
    """Return a variable of the environment, or else of what `make servers` wrote."""
    if given := os.environ.get(name):
        return given
    noted = _SERVERS_ENV.read_text("utf-8") if _SERVERS_ENV.is_file() else ""
    found = re.search(rf"^(?:export )?{name}=(\S+)", noted, re.MULTILINE)
    return found[1].strip("'\"") if found else None


@cache
def why_missing(backend: str) -> str | None:
    """Return why a backend's server cannot be used, None where it answers."""
    name = SERVERS[backend]
    if os.environ.get("HSORM_TEST_NO_SERVERS"):
        return "left out by HSORM_TEST_NO_SERVERS"
    url = variable(name)
    if url is None:
        return f"{name} is not set: make servers"
    try:
        if backend in REDIS:
            with Redis.from_url(url) as client:
                client.ping()
        else:
            psycopg.connect(libpq(make_url(url)), connect_timeout=5).close()
    except (psycopg.OperationalError, RedisError) as exc:
        return f"{name} does not answer ({str(exc).splitlines()[0]}): make servers"
    return None


def server_url(backend: str) -> URL:
    """Return the URL of a backend's server.

    Raises:
        ServerMissingError: It is not there.
    """
    if (reason := why_missing(backend)) is not None:
        raise ServerMissingError(reason)
    url = variable(SERVERS[backend])
    assert url is not None
    return make_url(url)


def libpq(url: URL) -> str:
    """Return a URL of PostgreSQL as its own tools and drivers read it, with its password."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def new_database(backend: str) -> Iterator[str]:
    """Make an empty database on a backend's server and give its URL; it is dropped at the end.

    On Redis that is a prefix of keys.
    """
    server = server_url(backend)
    # Random, for several workers and several runs share a server.
    name = f"hsorm_test_{secrets.token_hex(6)}"
    if backend in REDIS:
        url = server.render_as_string(hide_password=False)
        try:
            yield url + ("&" if "?" in url else "?") + f"prefix={name}"
        finally:
            drop_prefix(url, name)
        return
    janitor = DatabaseJanitor(
        user=server.username or "postgres",
        password=server.password,
        host=server.host or "127.0.0.1",
        port=server.port or 5432,
        dbname=name,
        maintenance_dbname=server.database or "postgres",
        connection_timeout=10,
    )
    with janitor:
        yield libpq(server.set(database=name))


# ---- adapters -----------------------------------------------------------------------------------


@dataclass
class Backend:
    """One storage of the test session.

    Attributes:
        name: One of `ALL`.
        store: An adapter over it, connected once and used by every test.
        another: Makes one more adapter over the same data, None where that cannot be.
    """

    name: str
    store: StorageAdapter
    another: Callable[[], StorageAdapter] | None = None

    async def clear(self) -> None:
        """Delete everything: rows only, which is many times faster than new tables."""
        if isinstance(self.store, (SqliteAdapter, TimescaleAdapter)):
            await clear_sql(self.store)
        elif isinstance(self.store, RedisAdapter):
            await clear_redis(self.store)

    def checked_out(self) -> int:
        """Return how many connections somebody has taken from the pool and not given back."""
        if isinstance(self.store, (SqliteAdapter, TimescaleAdapter)):
            return pool_use(self.store)
        if isinstance(self.store, RedisAdapter):
            return self.store.server.checked_out()
        return 0


def pool_use(store: SqliteAdapter | TimescaleAdapter) -> int:
    """Return how many connections of an adapter's pool are in use."""
    return int(store.engine.pool.checkedout()) - len(store._kept)  # type: ignore[attr-defined]  # queue pools


@dataclass
class Backends:
    """The storages of one test session (of one worker), each opened when first asked for."""

    folder: Path
    _open: dict[str, Backend] = field(default_factory=dict)
    _databases: ExitStack = field(default_factory=ExitStack)

    async def get(self, name: str) -> Backend:
        """Return an open storage with nothing in it.

        Raises:
            ServerMissingError: It needs a server that is not there.
        """
        if name == "memory":
            return Backend("memory", InMemoryAdapter())
        if name not in self._open:
            self._open[name] = self._make(name)
            await self._open[name].store.connect()
        await self._open[name].clear()
        return self._open[name]

    def _make(self, name: str) -> Backend:
        if name == "sqlite":
            path = self.folder / "conformance.db"
            return Backend(name, SqliteAdapter(path), lambda: SqliteAdapter(path))
        url = self._databases.enter_context(new_database(name))
        if name in REDIS:
            return Backend(name, RedisAdapter(url), lambda: RedisAdapter(url))
        return Backend(name, TimescaleAdapter(url), lambda: TimescaleAdapter(url))

    async def close(self) -> None:
        """Close the adapters and drop what was made for them."""
        for backend in self._open.values():
            await backend.store.close()
        self._databases.close()
