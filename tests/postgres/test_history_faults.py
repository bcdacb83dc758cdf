"""History writes that are killed, cancelled, starved of room, or in each other's way."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from benchmarks.soak import Server
from hsorm.errors import StorageError, StorageUnavailableError
from hsorm.his import ALWAYS
from hsorm.kinds import MARKER, REMOVE, Entity, Ref
from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import pool_use

_NOON = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
_SECOND = dt.timedelta(seconds=1)
_MANY = 120_000


def _point(id: str) -> Entity:
    point = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
    return {"id": Ref(id), **point}


def _items(count: int) -> list[dict[str, Any]]:
    return [{"ts": _NOON + i * _SECOND, "val": i} for i in range(count)]


def _records(count: int) -> Iterator[tuple[str, dt.datetime, float]]:
    return (("ab"[i % 2], _NOON + i * _SECOND, i) for i in range(count))


@pytest.fixture
async def points(fresh_postgres_url: str) -> str:
    """The URL of a storage with two points."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.load_entities([_point("a"), _point("b")])
    return fresh_postgres_url


@asynccontextmanager
async def _raw(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _stopped_in_the_middle(url: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Let writers come as far as one key, which somebody else is about to write.

    Gives what waits until one has come there, and returns its server process.
    """

    async def arrived() -> int:
        waits = """
            SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'
            AND datname = current_database() AND application_name = 'hsorm'
        """
        async with asyncio.timeout(60):
            while (pid := await watching.fetchval(waits)) is None:  # noqa: ASYNC110 - of the server
                await asyncio.sleep(0.01)
        return int(pid)

    async with _raw(url) as watching:
        blocking = await asyncpg.connect(url)
        await blocking.execute("BEGIN")
        middle = _NOON + _MANY // 2 * _SECOND
        await blocking.execute("INSERT INTO history (point_id, ts) VALUES ('a', $1)", middle)
        try:
            yield arrived
        finally:
            blocking.terminate()  # what it wrote never was


async def _until_gone(sql: asyncpg.Connection[Any]) -> None:
    ours = "datname = current_database() AND application_name = 'hsorm'"
    async with asyncio.timeout(30):
        while await sql.fetchval(  # noqa: ASYNC110 - of the server
            f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"
        ):
            await asyncio.sleep(0.01)


# ---- who writes is killed -----------------------------------------------------------------------

_WRITER = """
import asyncio, sys
from hsorm.storage.timescale import TimescaleAdapter
from tests.postgres.test_history_faults import _MANY, _items, _records

async def main():
    async with TimescaleAdapter(sys.argv[1]) as store:
        if sys.argv[2] == "straight":
            await store.his_write("a", _items(_MANY))
        else:
            await store.his_write_batch(_records(_MANY))

asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["straight", "stream"])
async def test_a_writer_that_is_killed_leaves_nothing(points: str, way: str) -> None:
    """In the middle of COPY, or of the merge after it, by SIGKILL."""
    command = [sys.executable, "-c", _WRITER, points, way]
    async with _stopped_in_the_middle(points) as arrived:
        writer = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
        await arrived()
        writer.send_signal(signal.SIGKILL)
        assert await writer.wait() == -signal.SIGKILL

    async with _raw(points) as sql:
        await _until_gone(sql)
        assert await sql.fetchval("SELECT count(*) FROM history") == 0
        assert await sql.fetchval("SELECT count(*) FROM history_changes") == 0


@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
async def test_a_writer_that_is_cancelled_leaves_nothing(points: str, there: bool) -> None:
    """And its pool can be used."""
    async with TimescaleAdapter(points) as store:
        if there:
            await store.his_write("a", _items(10))
        async with _stopped_in_the_middle(points) as arrived:
            writing = asyncio.ensure_future(store.his_write("a", _items(_MANY)))
            await arrived()
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing

        assert pool_use(store) == 0
        assert len(await store.his_read("a", ALWAYS)) == (10 if there else 0)
        await store.his_write("a", _items(20))
        assert len(await store.his_read("a", ALWAYS)) == 20


async def test_a_source_that_is_slow_can_be_cancelled(points: str) -> None:
    """While nothing comes from it."""

    async def records() -> AsyncIterator[Any]:
        for record in _records(150_000):
            yield record
        await asyncio.sleep(3_600)

    async with TimescaleAdapter(points) as store:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(store.his_write_batch(records()), 5)

        assert pool_use(store) == 0
        assert await store.his_read("a", ALWAYS) == []


async def test_a_connection_that_is_lost_leaves_nothing(points: str) -> None:
    """A clear error; the next write works."""
    async with TimescaleAdapter(points) as store, _raw(points) as sql:
        async with _stopped_in_the_middle(points) as arrived:
            writing = asyncio.ensure_future(store.his_write("a", _items(_MANY)))
            await sql.execute("SELECT pg_terminate_backend($1)", await arrived())
            with pytest.raises(StorageUnavailableError):
                await writing

        assert await store.his_read("a", ALWAYS) == []
        await store.his_write("a", _items(20))
        assert pool_use(store) == 0


# ---- writers in each other's way ----------------------------------------------------------------


async def test_writers_on_the_same_points_never_deadlock(points: str) -> None:
    """H27: new, there, removed, streamed, cleared; in opposite orders. The server counts none."""
    ids = [f"p{n}" for n in range(8)]
    seconds = range(400)

    def records(n: int) -> list[tuple[str, dt.datetime, Any]]:
        written: list[tuple[str, dt.datetime, Any]] = [
            (id, _NOON + s * _SECOND, n) for id in ids for s in seconds
        ]
        if n % 3 == 0:
            written += [(id, _NOON - _SECOND * (1 + n % 2), REMOVE) for id in ids]
        return written if n % 2 else written[::-1]

    async def write(store: TimescaleAdapter, n: int) -> None:
        if n % 4 == 3:
            # Long enough to be staged: most of it is one item again and again.
            again = ((ids[-1], _NOON, n) for _ in range(100_001))
            await store.his_write_batch([*again, *records(n)])
        else:
            await store.his_write_batch(records(n))

    async with TimescaleAdapter(points) as one, TimescaleAdapter(points) as other:
        await one.load_entities(map(_point, ids))
        await asyncio.gather(*(write(one if n % 2 else other, n) for n in range(12)))
        found = await one.his_read_batch(ids, ALWAYS)

    assert {len(items) for items in found.values()} == {len(seconds)}
    assert len({item["val"] for items in found.values() for item in items}) == 1
    async with _raw(points) as sql:
        counted = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await sql.fetchval(counted) == 0


# ---- room ---------------------------------------------------------------------------------------


async def test_a_stream_beyond_the_room_for_sorting(points: str) -> None:
    """`temp_file_limit`: the error says so, nothing was written."""
    limits = "?options=-c work_mem=64kB -c temp_file_limit=256kB"
    async with TimescaleAdapter(points + limits) as store:
        with pytest.raises(StorageError, match="temp_file_limit"):
            await store.his_write_batch(_records(_MANY))

        assert await store.his_read("a", ALWAYS) == []
        assert await store.his_write_batch(_records(100)) == 100
        assert pool_use(store) == 0


# ---- the server's own end -----------------------------------------------------------------------


# Who starts a server lets go of it, for it goes on: Python says so when it collects the process.
_STARTS_A_SERVER = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A PostgreSQL of this module's own, which may be killed."""
    folder = tmp_path_factory.mktemp("server")
    for parent in (folder, *folder.parents[:3]):  # it runs as a user of its own
        if parent.owner() != "root" or str(parent) not in ("/", "/tmp"):  # noqa: S108 - compared
            parent.chmod(0o755)
    try:
        server = Server(folder)
    except SystemExit as exc:
        pytest.skip(str(exc))
    yield server
    server.end()


@_STARTS_A_SERVER
async def test_a_server_process_that_is_killed_leaves_nothing(server: Server) -> None:
    """By SIGKILL in the middle of COPY: the whole server recovers from its log."""
    async with TimescaleAdapter(server.url) as store:
        await store.load_entities([_point("a"), _point("b")])
        await store.his_write("b", _items(1_000))
        async with _stopped_in_the_middle(server.url) as arrived:
            writing = asyncio.ensure_future(store.his_write("a", _items(_MANY)))
            os.kill(await arrived(), signal.SIGKILL)
            with pytest.raises(StorageUnavailableError):
                await writing

        found = await _when_back(store)
    assert (len(found["a"]), len(found["b"])) == (0, 1_000)


@_STARTS_A_SERVER
async def test_a_server_that_is_stopped_at_once_leaves_nothing(server: Server) -> None:
    """As by a crash, in the middle of a stream."""
    async with TimescaleAdapter(server.url) as store:
        await store.load_entities([_point("a"), _point("b")])
        await store.his_clear("a")
        await store.his_clear("b")
        async with _stopped_in_the_middle(server.url) as arrived:
            writing = asyncio.ensure_future(store.his_write_batch(_records(_MANY)))
            await arrived()
            await asyncio.to_thread(server.crash)
            with pytest.raises(StorageUnavailableError):
                await writing

        found = await _when_back(store)
        assert (found["a"], found["b"]) == ([], [])
        await store.his_write("a", _items(10))
        assert len(await store.his_read("a", ALWAYS)) == 10


def _mounted(disk: Path, owner: int) -> bool:
    """Mount a small file system that a user owns, where that is allowed."""
    options = f"size=8m,mode=0700,uid={owner}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
    return subprocess.run(mount, check=False, capture_output=True).returncode == 0


@_STARTS_A_SERVER
async def test_a_full_disk_is_a_clear_error(server: Server, tmp_path_factory: Any) -> None:
    """The table is on a file system of 8 MB; with room again, all works."""
    disk = tmp_path_factory.mktemp("disk")
    if not _mounted(disk, server.owner):
        pytest.skip("a file system of its own takes the right to mount one")
    try:
        async with TimescaleAdapter(server.url) as store, _raw(server.url) as sql:
            await store.load_entities([_point("a"), _point("b")])
            await store.his_clear("a")
            await store.his_clear("b")
            await sql.execute(f"CREATE TABLESPACE tiny LOCATION '{disk}'")
            await sql.execute("ALTER TABLE history SET TABLESPACE tiny")
            await store.his_write("b", _items(100))

            with pytest.raises(StorageError, match="No space left on device"):
                await store.his_write("a", _items(3 * _MANY))

            assert await store.his_read("a", ALWAYS) == []
            assert len(await store.his_read("b", ALWAYS)) == 100
            await sql.execute("ALTER TABLE history SET TABLESPACE pg_default")
            await store.his_write("a", _items(100))
            assert len(await store.his_read("a", ALWAYS)) == 100
            assert pool_use(store) == 0
            await sql.execute("DROP TABLESPACE tiny")
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", disk], check=True)


async def _when_back(store: TimescaleAdapter) -> dict[str, Any]:
    """Read both points, once the server answers again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await store.his_read_batch(["a", "b"], ALWAYS)
            except (StorageUnavailableError, StorageError):
                await asyncio.sleep(0.1)
