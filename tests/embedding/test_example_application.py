"""The example application: its own tests, and one command that runs it."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "fastapi_app"


@pytest.mark.parametrize("postgres_server", ["postgres"], indirect=True)
async def test_its_tests_pass(fresh_postgres_url: str) -> None:
    """On SQLite, and on PostgreSQL."""
    url = fresh_postgres_url.replace("postgresql://", "postgresql+asyncpg://")
    # The plugin by name, for this checkout may be installed without its entry point.
    plugins = ["-p", "hsorm_pytest", "-p", "no:cacheprovider"]
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", *plugins, "-c", "pytest.ini"),
        cwd=FOLDER,
        env={**os.environ, "TEST_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await run.communicate()

    assert run.returncode == 0, told.decode()


async def test_one_command_runs_it(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"sqlite+aiosqlite:///{tmp_path}/app.db"
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devices_app", str(port)),
        cwd=FOLDER,
        env={**os.environ, "DATABASE_URL": url},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answer = await _first_answer(client, server)
    finally:
        server.terminate()
        await server.wait()

    assert (answer.status_code, answer.json()) == (200, [])


async def test_its_alembic_brings_up_both(tmp_path: Path) -> None:
    """As anybody calls it; `-P` for the folder is not on the path of the command `alembic`."""
    path = tmp_path / "app.db"
    url = f"sqlite+aiosqlite:///{path}"
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "alembic", "upgrade", "head"),
        cwd=FOLDER,
        env={**os.environ, "DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told, _ = await run.communicate()
    assert run.returncode == 0, told.decode()

    with closing(sqlite3.connect(path)) as database:
        names = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
    assert {"device", "alembic_version", "entities", "hsorm_version"} <= names


async def _first_answer(
    client: httpx.AsyncClient, server: asyncio.subprocess.Process
) -> httpx.Response:
    while server.returncode is None:
        try:
            return await client.get("/devices")
        except httpx.ConnectError:  # it is still making its tables
            await asyncio.sleep(0.1)
    raise AssertionError(f"the server has ended: {server.returncode}")
