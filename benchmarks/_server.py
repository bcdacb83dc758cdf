"""Databases and servers of the benchmarks' own, gone at the end."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

from scripts.own_redis import OwnRedis, stack_here

__all__ = ["own_database", "own_redis", "server_url"]

_NAME = "HSORM_TEST_POSTGRES_URL"
_ENV = Path(__file__).resolve().parents[1] / ".servers.env"


def server_url() -> str:
    """Return the URL of the server, from the environment or from `.servers.env`.

    Raises:
        SystemExit: There is none.
    """
    url = os.environ.get(_NAME)
    if url is None and _ENV.is_file():
        found = re.search(rf"^export {_NAME}=(\S+)$", _ENV.read_text(), re.MULTILINE)
        url = found[1] if found else None
    if url is None:
        raise SystemExit(f"no server: set {_NAME}, or start one with `make servers`")
    return url


@asynccontextmanager
async def own_database() -> AsyncIterator[str]:
    """Make a database, lend its URL, and drop it."""
    url = make_url(server_url())
    name = f"hsorm_bench_{os.getpid()}"
    server = await asyncpg.connect(url.render_as_string(hide_password=False))
    try:
        await server.execute(f"CREATE DATABASE {name}")
        try:
            yield url.set(database=name).render_as_string(hide_password=False)
        finally:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


@contextmanager
def own_redis(url: str | None = None) -> Iterator[str]:
    """Start a Redis without persistence and lend its URL; or lend the one that is given."""
    if url is not None:
        yield url
        return
    stack = stack_here()
    if stack is None:
        raise SystemExit("no Redis Stack from packages here (make servers): give --url")
    with tempfile.TemporaryDirectory(prefix="hsorm-bench-") as folder:
        server = OwnRedis(Path(folder), stack)
        try:
            server.wait()
            yield server.url
        finally:
            server.end()
