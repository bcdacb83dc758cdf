"""What an import brings along: nothing that was not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

_EXTRAS = (
    *("asyncpg", "fastapi", "geoalchemy2", "hs_py", "matplotlib", "numpy", "pandas", "psycopg"),
    *("pyarrow", "pytest", "redis", "starlette", "uvicorn"),
)


def _imported(statement: str, names: tuple[str, ...]) -> str:
    """Import in a process of its own, and return which of some modules came along."""
    code = f"import sys\n{statement}\nprint([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_hsorm_alone_is_light() -> None:
    needed = ("aiosqlite", "alembic", "asyncio", "plotext", "rich", "sqlalchemy", "typer")

    assert _imported("import hsorm", (*_EXTRAS, *needed)) == "[]"


@pytest.mark.parametrize(
    "module", ["hsorm.storage.factory", "hsorm.storage.sqlite", "hsorm.sql.views", "hsorm.cli.app"]
)
def test_no_extra_is_imported_unless_it_is_used(module: str) -> None:
    assert _imported(f"import {module}", _EXTRAS) == "[]"
