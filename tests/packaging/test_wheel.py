"""The wheel in a clean environment: what a user gets who has never seen the checkout."""

from __future__ import annotations

import json
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

from hsorm.sql.migrate import HEAD
from tests.packaging.conftest import CHECKOUT, PYTHONS
from tests.packaging.environments import Environment, pip, run

pytestmark = [pytest.mark.wheel, pytest.mark.xdist_group("wheel")]

_SITE = {"id": {"_kind": "ref", "val": "s"}, "site": {"_kind": "marker"}, "dis": "Office"}


def _project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((CHECKOUT / "pyproject.toml").read_text("utf-8"))
    return dict(found["project"])


# ---- what is in it ------------------------------------------------------------------------------


def _content(wheel: Path) -> dict[str, bytes]:
    """Return what is in a wheel, without the list of it."""
    with zipfile.ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if "/RECORD" not in name}


def _one(content: dict[str, bytes], ending: str) -> str:
    (name,) = (name for name in content if name.endswith(ending))
    return content[name].decode()


def test_the_wheel_carries_types_and_migrations_and_no_tests(wheel: Path) -> None:
    content = _content(wheel)

    assert {"hsorm/py.typed", "hsorm/_alembic/env.py", "hsorm_pytest.py"} <= content.keys()
    assert "hsorm/_alembic/versions/0001_baseline.py" in content
    points = _one(content, "/entry_points.txt")
    assert "[pytest11]\nhsorm_pytest = hsorm_pytest\n" in points
    others = ("tests/", "benchmarks/", "alembic/")
    assert not [name for name in content if name.startswith(others)]


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    content = _content(wheel)
    told: Message = Parser().parsestr(_one(content, "/METADATA"))
    runs_on = [f"Programming Language :: Python :: {version}" for version in PYTHONS]

    assert told["License-Expression"] == "MIT"
    assert "MIT License" in _one(content, "/licenses/LICENSE")
    assert told["Requires-Python"] == f">={PYTHONS[0]}"
    classified = told.get_all("Classifier") or ()
    assert [each for each in classified if ":: Python :: 3." in each] == runs_on
    assert "Typing :: Typed" in classified
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload() == (CHECKOUT / "README.md").read_text("utf-8")
    assert set(told.get_all("Provides-Extra") or ()) == _project()["optional-dependencies"].keys()


def test_the_sdist_is_built_into_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    pip(
        *("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, sdist),
        cwd=tmp_path,
    )

    (again,) = tmp_path.glob("hsorm-*.whl")
    assert again.name == wheel.name
    assert _content(again) == _content(wheel)


def test_the_sdist_carries_what_its_tests_and_documentation_need(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}

    kept = run("git", "ls-files", cwd=CHECKOUT).splitlines() if (CHECKOUT / ".git").exists() else []
    apart = (".ci/", ".gitignore")
    assert {name for name in kept if not name.startswith(apart)} <= names


# ---- on each Python -----------------------------------------------------------------------------


def test_db_upgrade_load_and_read_from_the_wheel(each_plain: Environment, tmp_path: Path) -> None:
    hsorm = each_plain.bin / "hsorm"
    (tmp_path / "site.json").write_text(json.dumps([_SITE]))

    assert f"to revision {HEAD}" in run(hsorm, "db", "upgrade", cwd=tmp_path)
    run(hsorm, "load", "site.json", cwd=tmp_path)

    assert "Office" in run(hsorm, "read", "site", cwd=tmp_path)


def test_the_sdist_is_installed_by_a_build_of_its_own(
    clean: Environment, sdist: Path, tmp_path: Path
) -> None:
    """With the build system that pip fetches for it."""
    made = Environment.make(tmp_path / "env", str(clean.bin / "python"), clean.version)
    made.install("--no-deps", sdist)
    # What it asks for is that of the wheel.
    (made.packages / "below.pth").write_text(f"{clean.packages}\n", "utf-8")

    assert run(made.bin / "hsorm", "--version", cwd=tmp_path).startswith("hsorm ")
    where = made.run("-c", "import hsorm; print(hsorm.__file__)", cwd=tmp_path)
    assert where.startswith(str(made.packages))


def test_a_host_s_alembic_finds_the_migrations_in_the_wheel(
    clean: Environment, tmp_path: Path
) -> None:
    (tmp_path / "alembic.ini").write_text("[hsorm]\nscript_location = hsorm:_alembic\n")
    alembic = clean.bin / "alembic", "-n", "hsorm", "-x", "url=sqlite:///host.db"

    run(*alembic, "upgrade", "head", cwd=tmp_path)
    assert f"{HEAD} (head)" in run(*alembic, "current", cwd=tmp_path)
    run(*alembic, "downgrade", "base", cwd=tmp_path)

    assert HEAD not in run(*alembic, "current", cwd=tmp_path)


# ---- extras -------------------------------------------------------------------------------------

_HISTORY = """
import asyncio, datetime as dt
from hsorm import MARKER, InMemoryAdapter, Ref
point = {"id": Ref("p"), "point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
async def read(how):
    async with InMemoryAdapter([point]) as store:
        await store.his_write("p", [{"ts": dt.datetime.now(dt.timezone.utc), "val": 1.5}])
        return await getattr(store, how)("p", "2020-01-01,2099-01-01")
"""

_PROMISES = {
    "postgres": """
from hsorm.storage.timescale import TimescaleAdapter
TimescaleAdapter("postgresql://nobody@localhost/none")
""",
    "redis": """
from hsorm.storage.redis import RedisAdapter
RedisAdapter("redis://localhost")
import hiredis
""",
    "plot": """
import pathlib
from hsorm.cli.app import run
ITEMS = "ts,p\\n2024-03-01T00:00:00Z,1.5\\n2024-03-01T01:00:00Z,2.5\\n"
pathlib.Path("p.json").write_text(
    '[{"id": {"_kind": "ref", "val": "p"}, "point": {"_kind": "marker"},'
    ' "his": {"_kind": "marker"}, "kind": "Number", "tz": "UTC"}]')
pathlib.Path("p.csv").write_text(ITEMS)
assert run(["load", "p.json"]) == 0
assert run(["his", "import", "p.csv"]) == 0
code = run(["his", "plot", "p", "2024-03-01", "--png", "p.png"])
assert code or pathlib.Path("p.png").read_bytes().startswith(b"\\x89PNG")
raise SystemExit(code)
""",
    "arrow": f"""{_HISTORY}
assert asyncio.run(read("his_arrow")).num_rows == 1
assert asyncio.run(read("his_numpy")).val.tolist() == [1.5]
""",
    "pandas": f"""{_HISTORY}
assert asyncio.run(read("his_pandas"))["p"].tolist() == [1.5]
""",
    "geo": """
from hsorm.sql.geography import geography_column
geography_column()
""",
    "server": """
from hsorm import InMemoryAdapter
from hsorm.interop.server import HaystackApi
HaystackApi(InMemoryAdapter(), name="test").app(None)
import uvicorn
""",
}
"""What each extra promises, as a program."""


def test_every_extra_is_tried() -> None:
    # tests/interop installs and uses haystack-py, which needs Python 3.13.
    apart = {"all", "haystack-py"}
    extras = _project()["optional-dependencies"]

    assert _PROMISES.keys() == extras.keys() - apart
    (everything,) = extras["all"]
    assert set(everything[len("hsorm[") : -1].split(",")) == _PROMISES.keys() - {"arrow"}


@pytest.mark.parametrize("extra", _PROMISES)
def test_an_extra_alone_gives_what_it_promises(
    with_extra: Callable[[str], Environment], extra: str, tmp_path: Path
) -> None:
    with_extra(extra).run("-c", _PROMISES[extra], cwd=tmp_path)


@pytest.mark.parametrize("extra", _PROMISES)
def test_an_extra_that_is_missing_is_named(clean: Environment, extra: str, tmp_path: Path) -> None:
    done = clean.ask("-c", _PROMISES[extra], cwd=tmp_path)

    assert done.returncode == 1
    named = "arrow" if extra == "pandas" else extra  # which comes first
    assert f'pip install "hsorm[{named}]"' in done.stderr


def test_a_missing_driver_is_named_by_the_command(clean: Environment, tmp_path: Path) -> None:
    done = clean.ask("-m", "hsorm", "-u", "postgresql://localhost/x", "about", cwd=tmp_path)

    assert done.returncode == 1
    assert 'pip install "hsorm[postgres]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_db_upgrade_on_postgresql_from_the_wheel(
    with_extra: Callable[[str], Environment], fresh_postgres_url: str, tmp_path: Path
) -> None:
    hsorm = ("-m", "hsorm", "--url", fresh_postgres_url)

    done = with_extra("postgres").run(*hsorm, "db", "upgrade", cwd=tmp_path)

    assert f"to revision {HEAD}" in done
