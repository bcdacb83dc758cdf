"""Bring the database up and serve: `python -m devices_app [port]`."""

from __future__ import annotations

import asyncio
import sys

import uvicorn

from devices_app.database import make_engine, upgrade
from devices_app.main import make_app


async def main(port: int) -> None:
    engine = make_engine()
    await upgrade(engine)
    server = uvicorn.Server(uvicorn.Config(make_app(engine), host="127.0.0.1", port=port))
    await server.serve()
    await engine.dispose()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8_000))
