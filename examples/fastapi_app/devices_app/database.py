"""The engine, and the migrations: the application's own, which bring hsorm's along."""

from __future__ import annotations

import os
from pathlib import Path

from alembic.config import Config
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from alembic import command
from hsorm.sql import begin_on_sqlite

FOLDER = Path(__file__).parents[1]


def make_engine(url: str | None = None) -> AsyncEngine:
    """Return an engine for a URL, for DATABASE_URL, or for a file in this folder."""
    default = f"sqlite+aiosqlite:///{FOLDER / 'devices.db'}"
    url = url or os.environ.get("DATABASE_URL", default)
    settings = {} if url.startswith("sqlite") else {"server_settings": {"jit": "off"}}
    engine = create_async_engine(url, connect_args=settings)
    begin_on_sqlite(engine)
    return engine


def own_config(connection: Connection | None = None) -> Config:
    """Return the configuration of the application's own migrations."""
    config = Config(FOLDER / "alembic.ini")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(own_config(connection), "head")


async def upgrade(engine: AsyncEngine) -> None:
    """Bring all tables to the newest revision, in one transaction; `alembic upgrade head` alike."""
    async with engine.begin() as connection:
        await connection.run_sync(_upgrade)
