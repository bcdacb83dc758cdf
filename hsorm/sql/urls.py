"""Database URLs: what people write, and what SQLAlchemy's async drivers need."""

from __future__ import annotations

from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from hsorm.errors import StorageUrlError

__all__ = ["engine_url", "safe_url"]

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
        raise StorageUrlError(str(url), "no URL, such as postgresql://user@host/database") from None
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
