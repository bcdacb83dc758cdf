"""What goes wrong: one clear text on standard error and exit code 1 or 2, on each backend."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from redis import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from hsorm.sql.urls import engine_url
from tests.cli.conftest import Hsorm

Process = Callable[..., CompletedProcess[bytes]]
READING = (
    ("read", "site"),
    ("get", "demo"),
    ("nav",),
    ("about",),
    ("his", "read", "demo.elec-main.power", "today"),
    ("his", "write", "demo.elec-main.power", "now", "5"),
    ("his", "plot", "demo.elec-main.power"),
)


def set_revision(url: str, revision: str) -> None:
    async def change() -> None:
        engine = create_async_engine(engine_url(url))
        async with engine.begin() as connection:
            update = text("UPDATE hsorm_version SET version_num = :revision")
            await connection.execute(update, {"revision": revision})
        await engine.dispose()

    if url.startswith("redis"):
        server, _, prefix = url.partition("?prefix=")
        with Redis.from_url(server) as client:
            meta = json.loads(client.get(f"{prefix}:meta") or b"")
            client.set(f"{prefix}:meta", json.dumps({**meta, "layout": revision}))
        return
    asyncio.run(change())


def test_a_bad_filter_shows_the_caret(hsorm: Hsorm, loaded: str) -> None:
    result = hsorm("read", "ahu and siteRef== and x", "--url", loaded)

    assert (result.code, result.out) == (2, "")
    first, shown, caret = result.err.splitlines()
    assert first.startswith("hsorm: filter, column 19: expected ")
    assert shown == "  ahu and siteRef== and x"
    assert caret == " " * (2 + 18) + "^"


def test_a_bad_range_shows_the_caret(hsorm: Hsorm, loaded: str) -> None:
    result = hsorm("his", "read", "demo.elec-main.power", "2024-03-01,lastWeek", "--url", loaded)

    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines()[-1] == " " * (2 + 11) + "^"


@pytest.mark.parametrize(
    "args",
    [("nav", "nope"), ("his", "read", "nope", "today"), ("get", "nope"), ("his", "plot", "nope")],
)
def test_an_unknown_id_is_one_line(hsorm: Hsorm, loaded: str, args: tuple[str, ...]) -> None:
    result = hsorm(*args, "--url", loaded)

    assert result == (1, "", "hsorm: no entity has the id @nope\n")


@pytest.mark.parametrize("args", READING)
def test_tables_that_are_behind_name_the_command_to_run(
    hsorm: Hsorm, loaded: str, args: tuple[str, ...], files: dict[str, Path]
) -> None:
    set_revision(loaded, "0000")

    for command in (args, ("load", str(files["json"]))):
        result = hsorm(*command, "--url", loaded)
        assert (result.code, result.out) == (1, "")
        assert "is at revision 0000" in result.err
        assert "db upgrade" in result.err
        assert result.err.count("\n") == 1


def test_an_empty_database_names_the_command_to_run(hsorm: Hsorm, url: str) -> None:
    result = hsorm("read", "site", "--url", url)

    assert (result.code, result.out) == (1, "")
    assert ("there is no file" if url.startswith("sqlite") else "has no hsorm tables") in result.err


def test_status_and_upgrade(hsorm: Hsorm, url: str) -> None:
    before = hsorm("db", "status", "--url", url)
    upgrade = hsorm("db", "upgrade", "--url", url)
    after = hsorm("db", "status", "--url", url)
    again = hsorm("db", "upgrade", "--url", url)

    assert before.code == 1
    assert "revision  none" in before.out
    assert "db upgrade" in before.out
    assert upgrade.code == 0, upgrade.err
    assert "was upgraded from nothing to revision" in upgrade.out
    assert not url.startswith("postgres") or "history is a " in upgrade.out
    assert (after.code, after.out.splitlines()[-1]) == (0, "Up to date.")
    assert (again.code, "is up to date" in again.out) == (0, True)


def test_tables_of_a_newer_version_are_left_alone(hsorm: Hsorm, loaded: str) -> None:
    set_revision(loaded, "9999")

    for command in ("upgrade", "status"):
        result = hsorm("db", command, "--url", loaded)
        assert (result.code, result.out) == (1, "")
        assert "newer than this version" in result.err


def test_a_revision_that_nobody_knows_is_one_line(hsorm: Hsorm, loaded: str) -> None:
    set_revision(loaded, "0000")

    result = hsorm("db", "upgrade", "--url", loaded)

    assert (result.code, result.out) == (1, "")
    assert "cannot be upgraded" in result.err


@pytest.mark.parametrize("args", [*READING, ("db", "status"), ("db", "upgrade")])
def test_a_server_that_is_down_is_one_line_without_the_password(
    hsorm: Hsorm, args: tuple[str, ...]
) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql://me:geheim@127.0.0.1:{taken.getsockname()[1]}/x"
        result = hsorm(*args, "--url", url)

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("hsorm: cannot reach postgresql://")
    assert "geheim" not in result.err
    assert result.err.count("\n") == 1


def test_a_file_that_is_no_database_is_one_line(hsorm: Hsorm, tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database at all" * 100)

    for args in (("read", "site"), ("db", "upgrade"), ("db", "status")):
        result = hsorm(*args, "-u", "sqlite:///x.db")
        assert (result.code, result.out) == (1, "")
        assert result.err == "hsorm: cannot reach sqlite:///x.db: file is not a database\n"
    assert (tmp_path / "x.db").read_bytes() == b"no database at all" * 100


def test_a_folder_that_does_not_exist_is_one_line(hsorm: Hsorm, files: dict[str, Path]) -> None:
    for _ in range(20):  # a thread of the driver must not outlive the event loop
        result = hsorm("load", files["trio"], "-u", "sqlite:///no/such/x.db")
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("hsorm: cannot reach sqlite:///no/such/x.db: ")
        assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "plant.db", "sqlite://", "http://", "postgresql://me:pw@h:port/x"]
)
def test_a_wrong_url_is_wrong_usage(hsorm: Hsorm, url: str) -> None:
    for args in (("read", "site"), ("db", "status"), ("about",)):
        result = hsorm(*args, "--url", url)
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith("hsorm: storage URL ")
        assert ":pw@" not in result.err
        assert result.err.count("\n") == 1


@pytest.mark.parametrize("args", READING)
def test_a_file_that_does_not_exist_is_not_made(hsorm: Hsorm, args: tuple[str, ...]) -> None:
    result = hsorm(*args)

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("hsorm: there is no file hsorm.db: ")
    assert "hsorm load" in result.err
    assert not Path("hsorm.db").exists()


def test_memory_needs_files(hsorm: Hsorm, files: dict[str, Path]) -> None:
    result = hsorm("read", "site", "--url", "memory://")
    both = hsorm("read", "site", "--url", "sqlite:///x.db", "--from", files["json"])

    assert (result.code, both.code) == (2, 2)
    assert "--from FILE" in result.err
    assert "leave out --url" in both.err


@pytest.mark.parametrize(
    "args",
    [
        ("read",),
        ("read", "site", "--nope"),
        ("read", "site", "--json", "--csv"),
        ("read", "site", "--limit", "-1"),
        ("read", "site", "--limit", "x"),
        ("read", "site", "--sort", "area"),
        ("read", "site", "--cols", "Not A Tag"),
        ("read", "site", "--count", "--limit", "1"),
        ("nosuch",),
        ("his", "read"),
        ("nav", "--depth", "0"),
        ("load",),
        ("load", "x.json", "--format", "xml"),
        ("db", "upgrade", "--timescale", "perhaps"),
        ("db", "upgrade", "--postgis", "perhaps"),
    ],
)
def test_wrong_usage_is_one_line_and_two(hsorm: Hsorm, plant: str, args: tuple[str, ...]) -> None:
    result = hsorm("--url", plant, *args)

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("hsorm: ")
    assert result.err.count("\n") == 1
    assert "Value error" not in result.err


def test_a_filter_without_quotes_is_told_to_have_some(hsorm: Hsorm, plant: str) -> None:
    result = hsorm("read", "point", "and", "site", "-u", plant)

    assert result.code == 2
    assert "(and site); what has blanks in it goes into quotes" in result.err


def test_a_file_instead_of_a_url_is_told_its_url(hsorm: Hsorm) -> None:
    result = hsorm("read", "site", "-u", "plant.db")

    assert result.code == 2
    assert "sqlite:///plant.db" in result.err


def test_no_command_shows_the_help(hsorm: Hsorm, plant: str) -> None:
    result = hsorm("--url", plant)

    assert result.code == 0
    assert "Usage: hsorm" in result.out


# ---- around the commands ------------------------------------------------------------------------


def test_the_url_may_stand_before_and_after_the_command_and_in_the_environment(
    hsorm: Hsorm, plant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hsorm("-u", plant, "read", "site", "-c").out == "1\n"
    assert hsorm("--url", "sqlite:///other.db", "read", "site", "-c", "-u", plant).out == "1\n"
    assert hsorm("his", "-u", plant, "read", "demo.elec-main.power").code == 0
    monkeypatch.setenv("HSORM_URL", plant)
    assert hsorm("read", "site", "-c").out == "1\n"


@pytest.mark.parametrize(
    "args",
    [(), ("load",), ("read",), ("get",), ("nav",), ("about",), ("demo",), ("his",), ("db",),
        ("his", "read"), ("his", "write"), ("his", "import"), ("his", "plot"), ("db", "upgrade"),
        ("db", "status")],
)  # fmt: skip
def test_every_command_has_help(hsorm: Hsorm, args: tuple[str, ...]) -> None:
    result = hsorm(*args, "--help")

    assert (result.code, result.err) == (0, "")
    assert f"Usage: {' '.join(('hsorm', *args))} " in result.out
    assert "<bool>" not in result.out  # a flag takes no value
    if args not in ((), ("his",), ("db",)):
        assert "Examples" in result.out
        assert "--url" in result.out


def test_version(hsorm: Hsorm) -> None:
    assert hsorm("--version").out.startswith("hsorm 0.")


def test_debug_shows_the_traceback(process: Process) -> None:
    for args in (("--debug", "read", "site ("), ("read", "site (", "--debug")):
        done = process(*args)
        assert done.returncode != 0
        assert b"Traceback" in done.stderr
        assert b"FilterSyntaxError" in done.stderr


@pytest.mark.parametrize("output", ["--json", "--limit=400"])
def test_a_closed_pipe_is_quiet(hsorm: Hsorm, plant: str, output: str) -> None:
    command = [sys.executable, "-m", "hsorm", "-u", plant, "read", "point", output]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(10)
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(30) == 0


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_error(plant: str, closed: str) -> None:
    command = [sys.executable, "-m", "hsorm", "-u", plant, "read", "site", "--cols", "dis"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *command], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert ("Harbor House" in done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_ctrl_c_is_quiet_and_130(tmp_path: Path) -> None:
    # Standard input never ends: the command waits until it is interrupted.
    command = [sys.executable, "-m", "hsorm", "load", "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        assert running.stdin is not None
        # More than a pipe holds: when all of it is written, the command is reading.
        running.stdin.write(b"id: @a\n" + b"// a comment\n" * 100_000)
        running.stdin.flush()
        time.sleep(1)  # and by now it waits for more
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 130  # though standard input is still open
        out, err = running.communicate()

    assert (out, err) == (b"", b"")
    assert not (tmp_path / "hsorm.db").exists()


def test_output_is_utf_8_whatever_the_locale(process: Process, hsorm: Hsorm, plant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setenv("LC_ALL", "C")

    done = process("read", "vav", "--cols", "id,vav", "-u", plant)

    assert done.returncode == 0, done.stderr
    assert "✓" in done.stdout.decode()


def test_nothing_is_read_from_the_home_folder(
    process: Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))

    assert process("read", "site", "-u", plant).returncode == 0
    assert not (tmp_path / "nowhere").exists()


def test_heavy_libraries_are_imported_where_they_are_used() -> None:
    code = (
        "import sys\nfrom hsorm.cli.app import run\nrun(['--help'])\n"
        "print([n for n in ('alembic', 'matplotlib', 'plotext', 'asyncpg') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


def test_the_installed_command_is_the_same(plant: str) -> None:
    script = shutil.which("hsorm", path=str(Path(sys.executable).parent) + os.pathsep + os.defpath)
    assert script is not None
    done = subprocess.run(
        [script, "read", "site", "-c", "-u", plant], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "1\n")
