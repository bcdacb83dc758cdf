"""`open_storage`: the adapter that a URL asks for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from hsorm.errors import StorageUrlError
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import Create, StorageAdapter

if TYPE_CHECKING:
    from hsorm.sql.indexes import Indexed

__all__ = ["DEFAULT_URL", "open_storage"]

DEFAULT_URL: Final = "sqlite:///hsorm.db"
"""The storage where nothing else is said: a file in the current folder."""

_FORMS = "memory://, sqlite:///file.db, postgresql://user@host/database, or redis://host"


def open_storage(
    url: str | None = None,
    *,
    create: Create = "auto",
    index_tags: Mapping[str, Indexed] | None = None,
    index_search: bool = False,
) -> StorageAdapter:
    """Return the adapter for a URL; it connects at `async with`, `connect()` or the first call.

    Args:
        url: `memory://`, `sqlite:///file.db` (or `sqlite:////absolute/file.db`), or
            `postgresql://user:password@host/database`, or `redis://host` (`rediss://` with TLS).
            None is HSORM_URL, or else `hsorm.db` in the current folder. `?prefix=` names one of
            several storages in a database, on PostgreSQL `?schema=`, too.
        create: `"auto"` makes or upgrades tables on connecting, `"never"` raises instead.
        index_tags: Tags to index on connecting, with the kind of their values, as in
            `{"area": "number"}`; memory indexes what filters compare by itself.
        index_search: Whether to index searches on connecting, which needs pg_trgm on PostgreSQL and
            FTS5 on SQLite; without, and in memory, they look at every text.

    Raises:
        StorageUrlError: The URL names no backend of ours.
        MissingExtraError: The driver of the backend is not installed; the error names the extra.
        ValueError: There is no such kind of index, or a name is none of a tag.
    """
    url = url or os.environ.get("HSORM_URL") or DEFAULT_URL
    scheme, sep, _ = url.partition("://")
    if not sep:
        raise StorageUrlError(url, f"no URL: a file is sqlite:///{url}; others are {_FORMS}")
    # Each backend is imported when it is asked for: memory needs no SQLAlchemy, and the driver of
    # PostgreSQL is an extra.
    match scheme.partition("+")[0]:
        case "memory":
            return InMemoryAdapter()
        case "sqlite":
            from hsorm.sql.urls import sqlite_path, target_of
            from hsorm.storage.sqlite import SqliteAdapter

            return SqliteAdapter(
                sqlite_path(url),
                create=create,
                prefix=target_of(url).prefix,
                index_tags=index_tags,
                index_search=index_search,
            )
        case "postgres" | "postgresql":
            from hsorm.storage.timescale import TimescaleAdapter

            return TimescaleAdapter(
                url, create=create, index_tags=index_tags, index_search=index_search
            )
        case "redis" | "rediss":
            from hsorm.storage.redis import RedisAdapter

            return RedisAdapter(url, create=create, index_tags=index_tags)
        case _:
            raise StorageUrlError(f"{scheme}://…", f"no backend of ours: {_FORMS}")
