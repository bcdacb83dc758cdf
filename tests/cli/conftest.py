"""Running the command line in this process, on a database of the test's own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.ext.asyncio import create_async_engine

from hsorm.cli.app import run
from hsorm.codecs import hayson, trio, zinc
from hsorm.demo import building
from hsorm.kinds import Entity, Grid
from hsorm.sql.migrate import HEAD, VERSION_TABLE
from hsorm.sql.urls import engine_url
from hsorm.testing.isolation import drop_prefix
from tests.backends import KEPT, ServerMissingError, new_database
from tests.conftest import skip_missing


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Hsorm = Callable[..., Result]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HSORM_URL", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def hsorm(capsys: pytest.CaptureFixture[str]) -> Hsorm:
    """Runs `hsorm` with some arguments; no command of these tests may end in a traceback."""

    def call(*args: object) -> Result:
        code = run([str(arg) for arg in args])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "please report it" not in err
        return Result(code, out, err)

    return call


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs `python -m hsorm` in a process of its own."""

    def call(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "hsorm", *args],
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )

    return call


@pytest.fixture
def url(any_url: str) -> str:
    """The URL of an empty database, on each backend that keeps one; nothing is in it yet."""
    return any_url


@pytest.fixture(scope="session")
def entities() -> list[Entity]:
    return building()


@pytest.fixture(scope="session")
def files(entities: list[Entity], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo building as a file of each format."""
    folder = tmp_path_factory.mktemp("building")
    texts = {
        "json": hayson.dumps(Grid.of(entities)),
        "zinc": zinc.dumps(entities),
        "trio": trio.dumps(entities),
    }
    for format, written in texts.items():
        (folder / f"plant.{format}").write_text(written, "utf-8")
    return {format: folder / f"plant.{format}" for format in texts}


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Gives the URL of one database for each backend, the same for all tests of the session."""
    made: dict[str, str] = {}
    with ExitStack() as stack:

        def url_of(name: str) -> str:
            if name not in made:
                made[name] = (
                    f"sqlite:///{tmp_path_factory.mktemp('cli')}/shared.db"
                    if name == "sqlite"
                    else stack.enter_context(new_database(name))
                )
            return made[name]

        yield url_of


async def _clear(url: str) -> None:
    if url.startswith("redis"):
        server, _, prefix = url.partition("?prefix=")
        drop_prefix(server, prefix)
        return
    engine = create_async_engine(engine_url(url))
    async with engine.begin() as connection:
        if await connection.run_sync(lambda sync: inspect(sync).has_table(VERSION_TABLE)):
            for statement in (
                "DELETE FROM history",
                "DELETE FROM entities",
                f"UPDATE {VERSION_TABLE} SET version_num = '{HEAD}'",
            ):
                await connection.execute(text(statement))
    await engine.dispose()


@pytest.fixture(params=KEPT)
def loaded(
    request: pytest.FixtureRequest,
    databases: Callable[[str], str],
    files: dict[str, Path],
    hsorm: Hsorm,
    record_property: Callable[[str, object], None],
) -> str:
    """The URL of a database with nothing but the demo building, on each backend in turn."""
    record_property("backend", request.param)
    try:
        url = databases(request.param)
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    asyncio.run(_clear(url))
    assert hsorm("load", files["json"], "--url", url).code == 0
    return url


@pytest.fixture
def plant(hsorm: Hsorm, files: dict[str, Path], tmp_path: Path) -> str:
    """The URL of an SQLite file that holds the demo building."""
    url = f"sqlite:///{tmp_path}/plant.db"
    assert hsorm("load", files["json"], "--url", url).code == 0
    return url
