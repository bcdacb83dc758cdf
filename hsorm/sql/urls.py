"""Database URLs: what people write, and what SQLAlchemy's async drivers need."""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from hsorm.errors import StorageUrlError

__all__ = ["engine_url", "safe_url", "sqlite_path"]

_DRIVERS: Final = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}


def engine_url(url: str | URL) -> URL:
    """Return a URL for `create_async_engine`.

    Args:
        url: `postgresql://…`, `postgres://…` or `sqlite:///file`, with or without the driver's
        name.

    Raises:
        StorageUrlError: It is no URL, or of no database that we have a driver for.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        shown = re.sub(r"(?<=:)[^:/@]*(?=@)", "***", str(url))
        reason = "no URL, such as postgresql://user@host/database"
        raise StorageUrlError(shown, reason) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        reason = (
            f"{parsed.drivername}:// is no SQL backend of ours: postgresql:// and sqlite:/// are"
        )
        raise StorageUrlError(safe_url(parsed), reason)
    return parsed.set(drivername=driver)


def safe_url(url: URL) -> str:
    """Return a URL as people write it, without driver and password, fit for messages."""
    name = url.drivername.partition("+")[0]
    return url.set(drivername=name, password=None).render_as_string()


def sqlite_path(url: str) -> str:
    """Return the path in `sqlite:///file.db` or `sqlite:////absolute/file.db`.

    Raises:
        StorageUrlError: There is none in it.
    """
    path = engine_url(url).database
    if not path:
        raise StorageUrlError(url, "no file in it: sqlite:///file.db")
    return path
