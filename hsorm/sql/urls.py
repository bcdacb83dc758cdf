"""Database URLs: what people write, and what SQLAlchemy's async drivers need."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from hsorm.errors import StorageUrlError

__all__ = ["Target", "engine_url", "safe_url", "server_settings", "sqlite_path", "target_of"]

_DRIVERS: Final = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}


class Target(NamedTuple):
    """A URL, taken apart.

    Attributes:
        url: For `create_async_engine`; `server_settings` takes `options` out of it.
        prefix: What stands before every name of a table.
        schema: The schema of the tables, None for the database's own.
    """

    url: URL
    prefix: str
    schema: str | None


def target_of(url: str | URL) -> Target:
    """Return what a URL says: of which database, and of which tables in it.

    Args:
        url: `postgresql://…`, `postgres://…` or `sqlite:///file`, with or without the driver's
            name; `?prefix=hs_` and, on PostgreSQL, `schema=plant` say which tables.

    Raises:
        StorageUrlError: It is no URL, or of no database that we have a driver for.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # A password that spoils a URL may hold any of its signs: leave out all before the host.
        shown = re.sub(r"(?<=://).*@", "***@", str(url), flags=re.DOTALL)
        reason = "no URL, such as postgresql://user@host/database"
        raise StorageUrlError(shown, reason) from None
    driver = _DRIVERS.get(parsed.drivername)
    if driver is None:
        reason = (
            f"{parsed.drivername}:// is no SQL backend of ours: postgresql:// and sqlite:/// are"
        )
        raise StorageUrlError(safe_url(parsed), reason)
    found = _with_known_options(parsed.set(drivername=driver))
    prefix, schema = found.query.get("prefix"), found.query.get("schema")
    plain = found.difference_update_query(["prefix", "schema"])
    return Target(plain, _last(prefix) or "", _last(schema) or None)


def engine_url(url: str | URL) -> URL:
    """Return the database in a URL alone; see `target_of`."""
    return target_of(url).url


def _last(given: str | tuple[str, ...] | None) -> str | None:
    return given[-1] if isinstance(given, tuple) else given


# What follows the `?`, as SQLAlchemy and asyncpg call it; `sslmode` is what everybody writes.
_OPTIONS: Final = {
    "postgresql": {
        "sslmode": "ssl",
        "ssl": "ssl",
        "host": "host",
        "port": "port",
        "options": "options",
        "prefix": "prefix",
        "schema": "schema",
    },
    "sqlite": {"prefix": "prefix"},
}


def _with_known_options(url: URL) -> URL:
    options = _OPTIONS[url.get_backend_name()]
    unknown = url.query.keys() - options.keys()
    if unknown:
        known = ", ".join(options)
        raise StorageUrlError(safe_url(url), f"unknown option {min(unknown)!r}: known are {known}")
    return url.set(query={options[name]: value for name, value in url.query.items()})


def server_settings(url: URL) -> tuple[URL, dict[str, str]]:
    """Take `?options=-c name=value …` out of a URL, as `server_settings` of asyncpg.

    The server reads them itself, when a connection starts: `-c statement_timeout=5s`.
    """
    options = url.query.get("options")
    if options is None:
        return url, {}
    given = options if isinstance(options, str) else " ".join(options)
    return url.difference_update_query(["options"]), {"options": given}


def safe_url(url: URL, *, prefix: str = "", schema: str | None = None) -> str:
    """Return a URL as people write it, without driver and password, fit for messages."""
    name = url.drivername.partition("+")[0]
    tables = {"prefix": prefix, "schema": schema}
    said = {option: given for option, given in tables.items() if given}
    return url.set(drivername=name, password=None).update_query_dict(said).render_as_string()


def sqlite_path(url: str) -> str:
    """Return the path in `sqlite:///file.db` or `sqlite:////absolute/file.db`.

    Raises:
        StorageUrlError: There is none in it.
    """
    parsed = engine_url(url)
    if parsed.host or not parsed.database:
        raise StorageUrlError(safe_url(parsed), "no file behind three slashes: sqlite:///file.db")
    return parsed.database
