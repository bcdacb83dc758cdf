"""Transactions on SQLite that begin where SQLAlchemy says so, for a host's own engine."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["begin_on_sqlite"]


def begin_on_sqlite(engine: Engine | AsyncEngine) -> None:
    """Have an engine over SQLite begin its transactions itself, with a BEGIN.

    By itself Python's sqlite3 begins one at the first INSERT, UPDATE or DELETE, which it tells by
    the first word of a statement. An UPDATE or DELETE by a filter that follows refs begins with
    WITH instead, and would be committed at once. Call it before the engine connects.
    """
    own = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    if own.dialect.name != "sqlite":
        return
    event.listen(own, "connect", _leave_it_to_us)
    event.listen(own, "begin", _begin)


def _leave_it_to_us(connection: Any, record: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")
