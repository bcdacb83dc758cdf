"""Bring the database up and serve: `python -m devices_app [port]`."""

from __future__ import annotations

import asyncio
import sys

import uvicorn

from devices_app.database import make_engine, upgrade


async def prepare() -> None:
    """Bring the tables up: once, and not in each of the processes that serve."""
    engine = make_engine()
    await upgrade(engine)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(prepare())
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8_000
    uvicorn.run("devices_app.main:make_app", factory=True, host="127.0.0.1", port=port)
