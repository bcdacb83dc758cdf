"""haystack-py in a process and an environment of its own, made when first asked for."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks._pythons import pythons, version_of

__all__ = [
    "Haystack",
    "Measured",
    "haystack_python",
    "haystack_server_python",
    "open_haystack",
    "run_haystack",
]

_RELEASE = "0.1.10"
_PROJECT = Path(__file__).parents[1] / "pyproject.toml"
_SCRIPT = Path(__file__).with_name("_haystack_py.py")


@dataclass(frozen=True, slots=True)
class Measured:
    """What it found in how many seconds; or the name of the error that it raised."""

    found: int | None
    seconds: list[float]
    error: str = ""


def haystack_python(driver: str | None = None) -> Path | None:
    """Return a Python with haystack-py in it, installed by pip as this machine has it set up.

    Args:
        driver: The driver to install with it, as pip is told; asyncpg as it is here by default.

    Returns:
        None where there is no Python 3.13, which haystack-py needs, or pip cannot install it.
    """
    driver = driver or f"asyncpg=={version('asyncpg')}"
    name = f"haystack-py-{_RELEASE}"
    if not driver.startswith("asyncpg"):
        name = f"{name}-{driver.replace('==', '-')}"
    return _environment(name, [f"haystack-py=={_RELEASE}", driver])


def haystack_server_python() -> Path | None:
    """Return a Python with the server of haystack-py, and with all that hsorm needs, but hsorm.

    Returns:
        None as `haystack_python` does.
    """
    project = tomllib.loads(_PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *(f"haystack-py[server]=={_RELEASE}", *project["dependencies"]),
        *(*extras["postgres"], *extras["redis"]),
    ]
    # Another name for other packages: an environment is made once and then taken as it is.
    digest = sha256("\n".join(wanted).encode()).hexdigest()[:8]
    return _environment(f"haystack-py-{_RELEASE}-server-{digest}", wanted)


def _environment(name: str, wanted: list[str]) -> Path | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "hsorm-benchmarks" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        if not (folder / ".ready").exists():
            python = next(_pythons(), None)
            if python is None or not _install(python, folder, wanted):
                return None
            (folder / ".ready").touch()
    return folder / "bin" / "python"


def _pythons() -> Iterator[str]:
    named = os.environ.get("HSORM_BENCH_PYTHON313")
    for python in (*filter(None, [named]), sys.executable, *pythons("3.13")):
        if (version_of(python) or (0, 0)) >= (3, 13):
            yield python


def _install(python: str, folder: Path, wanted: list[str]) -> bool:
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *wanted]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        print(f"haystack-py is left out, pip says: {done.stderr}", file=sys.stderr)
    return done.returncode == 0


class Haystack:
    """A running process; it has the same rows in a table of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the process of haystack-py has ended: see above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def measure(self, filter: str, budget: float = 1.0) -> Measured:
        answer = await self.ask({"filter": filter, "budget": budget})
        return Measured(answer.get("found"), answer.get("seconds", []), answer.get("error", ""))


@asynccontextmanager
async def open_haystack(dsn: str, python: Path) -> AsyncIterator[Haystack]:
    """Start the process, and give it the rows of `entities`: what it would store is the same."""
    async with run_haystack(python, _SCRIPT) as haystack:
        await haystack.ask({"dsn": dsn})
        await _copy_rows(dsn)
        yield haystack


@asynccontextmanager
async def run_haystack(python: Path, script: Path) -> AsyncIterator[Haystack]:
    """Start a script that answers each line with a line, and end it."""
    pipe = asyncio.subprocess.PIPE
    # -P: what lies beside the script is ours, and not what it means by its imports.
    process = await asyncio.create_subprocess_exec(
        str(python), "-P", str(script), stdin=pipe, stdout=pipe, limit=2**24, cwd=script.anchor,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    try:
        yield Haystack(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _copy_rows(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "INSERT INTO hs_entities (id, tags) SELECT id, tags FROM entities", timeout=600
        )
        await connection.execute("VACUUM ANALYZE hs_entities", timeout=600)
    finally:
        await connection.close()
