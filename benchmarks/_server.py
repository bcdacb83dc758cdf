"""A database of the benchmarks' own, dropped at the end."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import make_url

__all__ = ["own_database", "server_url"]

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
