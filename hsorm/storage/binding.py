"""`bind`: the storage of a host's session, whichever database that is in."""

from __future__ import annotations

from typing import overload

from hsorm.errors import StorageUrlError
from hsorm.sql.models import Tables
from hsorm.sql.urls import safe_url
from hsorm.storage._host import AnySession, AsyncHost, SyncHost, host_of, tables_for
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.sync import SyncStorage

__all__ = ["bind"]


@overload
def bind(
    session: AsyncHost, *, prefix: str = "", schema: str | None = None, tables: Tables | None = None
) -> StorageAdapter: ...


@overload
def bind(
    session: SyncHost, *, prefix: str = "", schema: str | None = None, tables: Tables | None = None
) -> SyncStorage: ...


def bind(
    session: AnySession,
    *,
    prefix: str = "",
    schema: str | None = None,
    tables: Tables | None = None,
) -> StorageAdapter | SyncStorage:
    """Return the storage in the database of a session, in the session's own transaction.

    Each call takes part in that transaction: it sees what was written there, and what it writes
    is committed with it or rolled back with it, which is the host's to do. By itself a call is all
    or nothing: one that fails leaves the transaction as it was. It costs next to nothing to make:
    make one for each session.

    Args:
        session: An `AsyncSession` or `AsyncConnection` (over asyncpg, psycopg 3 or aiosqlite), or a
            `Session` or `Connection` (over psycopg 3 or sqlite3).
        prefix: Stands before every name of a table.
        schema: The schema of the tables.
        tables: The tables as `make_tables` has attached them to the host's MetaData, instead of
            both.

    Returns:
        An adapter; for a synchronous session one whose calls are not awaited.

    Raises:
        StorageUrlError: The session is over neither PostgreSQL nor SQLite.
        TypeError: It is no session.
    """
    host = host_of(session, tables or tables_for(prefix, schema))
    made: StorageAdapter | SyncStorage
    # The driver of another database may not be there.
    if host.dialect.name == "postgresql":
        from hsorm.storage.timescale import BoundTimescaleAdapter

        made = BoundTimescaleAdapter.of(session, prefix, schema, tables)
    elif host.dialect.name == "sqlite":
        from hsorm.storage.sqlite import BoundSqliteAdapter

        made = BoundSqliteAdapter.of(session, prefix, schema, tables)
    else:
        reason = f"a session over {host.dialect.name}: one over PostgreSQL or SQLite is needed"
        raise StorageUrlError(safe_url(host.engine.url), reason)
    return made
