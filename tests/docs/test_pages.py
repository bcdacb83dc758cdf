"""Every block of code in README and the pages runs as written."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.backends import ServerMissingError, new_database
from tests.conftest import Record, skip_missing
from tests.docs.pages import CHECKOUT, RUN, SHOWN, blocks_of, pages

PAGES: Final = pages()
_COMMAND: Final = re.compile(r"^(\$ |hsorm |pip |make |docker |python |export )", re.MULTILINE)


def _with_blocks(variable: str | None) -> list[Path]:
    """The pages that have something to run and ask for this variable, or for none."""
    found = []
    for page in PAGES:
        code = "".join(
            block.code if block.language != "sql" else "DATABASE_URL"
            for block in blocks_of(page)
            if block.is_run
        )
        asked = {name for name in ("DATABASE_URL", "REDIS_URL") if name in code}
        if code and (variable in asked if variable else not asked):
            found.append(page)
    return found


def _name(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


async def run(page: Path, folder: Path, **environment: str) -> None:
    """Run a page in a folder; each block that is to be run must have been."""
    report = folder / "report.txt"
    (folder / "work").mkdir()
    without = {"HSORM_URL", "FORCE_COLOR", "TTY_COMPATIBLE"}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-m", "tests.docs.run_page", str(page), str(report)],
        cwd=folder / "work",
        env={
            **{name: value for name, value in os.environ.items() if name not in without},
            "PYTHONPATH": str(CHECKOUT),
            "COLUMNS": "120",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    ran = report.read_text("utf-8").splitlines()
    assert ran == [block.place for block in blocks_of(page) if block.is_run]


@pytest.mark.parametrize("page", _with_blocks(None), ids=_name)
async def test_a_page_runs(page: Path, tmp_path: Path) -> None:
    await run(page, tmp_path)


# On one server: what the pages show is tested on both elsewhere.
@pytest.mark.parametrize("postgres_server", ["timescale"], indirect=True)
@pytest.mark.parametrize("page", _with_blocks("DATABASE_URL"), ids=_name)
async def test_a_page_with_postgres_runs(
    page: Path, tmp_path: Path, fresh_postgres_url: str
) -> None:
    await run(page, tmp_path, DATABASE_URL=fresh_postgres_url)


@pytest.fixture
def fresh_redis_url(record_property: Record) -> Iterator[str]:
    record_property("backend", "redis")
    try:
        with new_database("redis") as url:
            yield url
    except ServerMissingError as exc:
        skip_missing(exc, record_property)


@pytest.mark.parametrize("page", _with_blocks("REDIS_URL"), ids=_name)
async def test_a_page_with_redis_runs(page: Path, tmp_path: Path, fresh_redis_url: str) -> None:
    await run(page, tmp_path, REDIS_URL=fresh_redis_url)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_each_block_is_run_or_says_why_not(page: Path) -> None:
    blocks = blocks_of(page)

    assert [block.place for block in blocks if block.language not in RUN | SHOWN] == []
    assert [
        block.place
        for block in blocks
        if block.language in SHOWN and not block.not_run and _COMMAND.search(block.code)
    ] == [], "commands that no language is said of"
    assert page.read_text("utf-8").count("```") == 2 * len(blocks), "a fence that is not seen"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
