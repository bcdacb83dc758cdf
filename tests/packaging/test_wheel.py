"""The wheel in a clean environment: what a user gets who has never seen the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from hsorm.sql.migrate import HEAD

CHECKOUT = Path(__file__).parents[2]

pytestmark = [pytest.mark.wheel, pytest.mark.xdist_group("wheel")]


# Nothing of the checkout is to be found in an environment that is clean.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", folder, CHECKOUT),
        cwd=folder,
    )
    (built,) = folder.glob("hsorm-*.whl")
    return built


@pytest.fixture(scope="session")
def clean_bin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel and what it asks for: no extra, no driver."""
    folder = tmp_path_factory.mktemp("clean") / "env"
    venv.create(folder, with_pip=True)
    bin = folder / ("Scripts" if os.name == "nt" else "bin")
    run(bin / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return bin


@pytest.fixture(scope="session")
def bin_with_postgres(clean_bin: Path, wheel: Path) -> Path:
    run(
        *(clean_bin / "python", "-m", "pip", "install", "--quiet", f"{wheel}[postgres]"),
        cwd=wheel.parent,
    )
    return clean_bin


def test_the_wheel_carries_types_and_migrations_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert {"hsorm/py.typed", "hsorm/_alembic/env.py"} <= set(names)
    assert "hsorm/_alembic/versions/0001_baseline.py" in names
    assert "hsorm_pytest.py" in names
    (points,) = (name for name in names if name.endswith("/entry_points.txt"))
    told = zipfile.ZipFile(wheel).read(points).decode()
    assert "[pytest11]\nhsorm_pytest = hsorm_pytest\n" in told
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "alembic/"))]


def test_db_upgrade_load_and_read_from_the_wheel(clean_bin: Path, tmp_path: Path) -> None:
    hsorm = clean_bin / "hsorm"
    site = {"id": {"_kind": "ref", "val": "s"}, "site": {"_kind": "marker"}, "dis": "Office"}
    (tmp_path / "site.json").write_text(json.dumps([site]))

    run(hsorm, "db", "upgrade", cwd=tmp_path)
    assert "Up to date" in run(hsorm, "db", "status", cwd=tmp_path)
    run(hsorm, "load", "site.json", cwd=tmp_path)

    assert "Office" in run(hsorm, "read", "site", cwd=tmp_path)


def test_a_host_s_alembic_finds_the_migrations_in_the_wheel(
    clean_bin: Path, tmp_path: Path
) -> None:
    (tmp_path / "alembic.ini").write_text("[hsorm]\nscript_location = hsorm:_alembic\n")
    alembic = clean_bin / "alembic", "-n", "hsorm", "-x", "url=sqlite:///host.db"

    run(*alembic, "upgrade", "head", cwd=tmp_path)
    assert f"{HEAD} (head)" in run(*alembic, "current", cwd=tmp_path)
    run(*alembic, "downgrade", "base", cwd=tmp_path)

    assert HEAD not in run(*alembic, "current", cwd=tmp_path)


def test_a_missing_driver_is_named_with_its_extra(clean_bin: Path, tmp_path: Path) -> None:
    asked = [str(clean_bin / "hsorm"), "--url", "postgresql://localhost/x", "about"]

    done = subprocess.run(
        asked, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert 'pip install "hsorm[postgres]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_db_upgrade_on_postgresql_from_the_wheel(
    bin_with_postgres: Path, fresh_postgres_url: str, tmp_path: Path
) -> None:
    hsorm = bin_with_postgres / "hsorm"

    run(hsorm, "--url", fresh_postgres_url, "db", "upgrade", cwd=tmp_path)

    status = run(hsorm, "--url", fresh_postgres_url, "db", "status", cwd=tmp_path)
    assert "Up to date" in status
