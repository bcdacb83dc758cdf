"""One file, several adapters and processes; and files that are no storage."""

# ruff: noqa: ASYNC220, ASYNC240 - files of a test, and processes that it must not wait for

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hsorm.errors import StorageError, StorageUnavailableError, StorageUrlError
from hsorm.kinds import MARKER, Number, Ref
from hsorm.storage.sqlite import _BUSY_SECONDS, SqliteAdapter
from hsorm.testing.conformance.examples import ALL, SITE, ids
from tests.backends import pool_use


@pytest.fixture(autouse=True)
def _counted(record_property: Callable[[str, object], None]) -> None:
    record_property("backend", "sqlite")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "building.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteAdapter]:
    async with SqliteAdapter(path) as adapter:
        yield adapter
        assert pool_use(adapter) == 0, "the test left a connection checked out of the pool"


@contextmanager
def _other(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of somebody else; its transactions are begun by hand."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


# ---- several at a time --------------------------------------------------------------------------


async def test_the_file_is_in_wal_mode(store: SqliteAdapter, path: Path) -> None:
    with _other(path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_writer_waits_for_another(store: SqliteAdapter, path: Path) -> None:
    """It sees what that one wrote."""
    await store.load_entities([SITE])

    with _other(path) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE entities SET tags = json_set(tags, '$.theirs', 1)")
        task = asyncio.ensure_future(store.update({"id": Ref("site-1"), "ours": Number(2)}))
        await asyncio.sleep(0.2)
        assert not task.done()
        other.execute("COMMIT")

    updated = await task
    assert (updated["theirs"], updated["ours"]) == (Number(1), Number(2))


async def test_a_reader_waits_for_nobody(store: SqliteAdapter, path: Path) -> None:
    """It sees the last committed state."""
    await store.load_entities([SITE])

    with _other(path) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM entities")
        async with asyncio.timeout(2):
            assert ids(await store.read("site")) == ["site-1"]
        other.execute("ROLLBACK")


async def test_a_cancelled_writer_leaves_the_storage_usable(
    store: SqliteAdapter, path: Path
) -> None:
    await store.load_entities([SITE])

    with _other(path) as other:
        other.execute("BEGIN IMMEDIATE")
        tasks = [asyncio.ensure_future(store.update({"id": Ref("site-1")})) for _ in range(3)]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        other.execute("COMMIT")
        answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert {type(answer) for answer in answers} == {asyncio.CancelledError}
    assert "x" in await store.update({"id": Ref("site-1"), "x": MARKER})


async def test_no_reader_sees_half_a_load(store: SqliteAdapter, path: Path) -> None:
    """From another adapter: all entities are of one load, always."""

    async def write() -> None:
        for n in range(5):
            await store.load_entities({"id": Ref(f"e{i}"), "n": Number(n)} for i in range(2_000))

    async with SqliteAdapter(path) as reader:
        writing = asyncio.ensure_future(write())
        seen = set()
        while not writing.done():
            counts = [await reader.read_count("id")]
            found = {entity["n"] for entity in (await reader.read("n"))[::300]}
            seen |= {(count, len(found) <= 1) for count in counts}
        await writing

    assert seen <= {(0, True), (2_000, True)}


_WRITER = """
import asyncio, sys
from hsorm import MARKER, Number, Ref, SqliteAdapter

async def main(path, name):
    async with SqliteAdapter(path) as store:
        for i in range(40):
            await store.update({"id": Ref("shared"), f"{name}{i}": Number(i)})
        await store.load_entities({"id": Ref(f"{name}-{i}"), "x": MARKER} for i in range(2_000))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_share_a_file(store: SqliteAdapter, path: Path) -> None:
    """Every change of each of them is there in the end."""
    await store.create({"id": Ref("shared")})

    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, path, name]) for name in "ab"]
    for i in range(40):
        await store.update({"id": Ref("shared"), f"c{i}": Number(i)})
    codes = [await asyncio.to_thread(writer.wait, 60) for writer in writers]

    assert codes == [0, 0]
    found = await store.read_by_id("shared")
    assert {f"{name}{i}" for name in "abc" for i in range(40)} <= found.keys()
    assert await store.read_count("x") == 4_000


async def test_a_new_file_may_be_opened_from_several_sides_at_once(path: Path) -> None:
    """One makes the tables, the others find them."""
    stores = [SqliteAdapter(path) for _ in range(4)]

    await asyncio.gather(*(store.load_entities([SITE]) for store in stores))

    assert [await store.read_count("site") for store in stores] == [1] * 4
    for store in stores:
        await store.close()


# ---- in memory ----------------------------------------------------------------------------------


async def test_a_database_in_memory_is_of_one_adapter() -> None:
    async with SqliteAdapter(":memory:") as one, SqliteAdapter(":memory:") as two:
        await one.load_entities(ALL)

        assert await one.read_count("id") == 3
        assert await two.read_count("id") == 0


async def test_a_database_in_memory_takes_calls_at_a_time() -> None:
    async with SqliteAdapter(":memory:") as store:
        await store.create({"id": Ref("a")})

        await asyncio.gather(
            *(store.update({"id": Ref("a"), f"t{i}": MARKER}) for i in range(10)),
            *(store.read("id") for _ in range(10)),
        )

        assert {f"t{i}" for i in range(10)} <= (await store.read_by_id("a")).keys()


async def test_a_long_source_of_history_for_a_database_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Points that only a later part names are looked up while the source is read."""
    monkeypatch.setattr("hsorm.storage._history._PART", 1)
    noon = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
    tags = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
    async with SqliteAdapter(":memory:") as store:
        await store.load_entities({"id": Ref(id), **tags} for id in "abc")

        count = await store.his_write_batch((id, noon, 1.0) for id in "abc")

        assert count == 3
        found = await store.his_read_batch(list("abc"), "2024-03-01")
        assert [len(items) for items in found.values()] == [1, 1, 1]


async def test_a_source_that_writes_to_its_own_file_is_told_so(
    store: SqliteAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has one writer at a time: it would wait for itself."""
    monkeypatch.setattr("hsorm.storage._history._PART", 1)
    tags = {"point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}
    await store.load_entities([{"id": Ref("p"), **tags}])
    since = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)

    async def source() -> AsyncIterator[tuple[str, dt.datetime, int]]:
        for i in range(3):
            if i == 2:  # in the third part, while the first two are being written
                assert await store.read_count("point") == 1
                await store.set_live("p", {"curVal": i})
            yield "p", since + dt.timedelta(seconds=i), i

    with pytest.raises(StorageError, match="gather it first"):
        await store.his_write_batch(source())
    assert await store.his_summary("p") == {}

    await store.set_live("p", {"curVal": 1})


async def test_a_database_in_memory_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with SqliteAdapter(":memory:") as store:
        await store.load_entities(ALL)

    assert list(tmp_path.iterdir()) == []


# ---- files that are no storage ------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"no database " * 100, b"x" * 5_000])
async def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    """An error that names the file; the file stays as it is."""
    path.write_bytes(content)
    store = SqliteAdapter(path)

    with pytest.raises(StorageUnavailableError, match="not a database") as caught:
        await store.read("site")

    await store.close()
    assert str(path) in caught.value.url
    assert path.read_bytes() == content


def test_an_empty_path_is_refused() -> None:
    """To SQLite it is a file of each connection's own: tables would come and go."""
    with pytest.raises(StorageUrlError, match="no file"):
        SqliteAdapter("")


@pytest.mark.parametrize("where", ["missing/building.db", "."])
async def test_a_file_that_cannot_be_opened(tmp_path: Path, where: str) -> None:
    """A folder that does not exist, a folder in place of a file."""
    store = SqliteAdapter(tmp_path / where)

    with pytest.raises(StorageUnavailableError, match="unable to open") as caught:
        await store.connect()

    await store.close()
    assert str(tmp_path) in caught.value.url
    assert not (tmp_path / "missing").exists()


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Be somebody whom the file system can refuse something: root it cannot."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_file_that_is_read_only() -> None:
    """A write is an error, and what is in the file stays."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "building.db"
        async with SqliteAdapter(path) as store:
            await store.load_entities([SITE])
        path.chmod(0o444)
        Path(folder).chmod(0o555)

        with _as_nobody():
            store = SqliteAdapter(path)
            with pytest.raises((StorageError, StorageUnavailableError), match=r"readonly|open"):
                await store.load_entities(ALL)
            await store.close()

        Path(folder).chmod(0o755)
        async with SqliteAdapter(path) as store:
            assert ids(await store.read("id")) == ["site-1"]


async def test_a_full_disk_keeps_what_was_there(store: SqliteAdapter, path: Path) -> None:
    """All or nothing: the database may not grow any further in the middle of a load."""
    await store.load_entities([SITE])
    async with store.engine.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}")

    with pytest.raises(StorageError, match="full"):
        await store.load_entities({"id": Ref(f"e{i}"), "n": Number(i)} for i in range(20_000))

    assert ids(await store.read("id")) == ["site-1"]


async def test_a_load_that_waits_lets_no_mod_go_back(store: SqliteAdapter, path: Path) -> None:
    """C6: what somebody else has changed while it waited has an earlier `mod` in the end."""
    await store.load_entities([SITE])
    async with SqliteAdapter(path) as another:
        # As if it had begun later, but come to write first.
        another._last_mod = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
        changed = await another.update({"id": SITE["id"], "area": 1})

        await store.load_entities([SITE])

        assert (await store.read_by_id(SITE["id"]))["mod"] > changed["mod"]


# ---- calls that are cancelled -------------------------------------------------------------------


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """Nothing is freed by chance: what SQLite waits for is a matter of who left it."""
    gc.disable()
    yield
    gc.enable()


async def _cancelled(call: Coroutine[Any, Any, object], seconds: float) -> None:
    task = asyncio.ensure_future(call)
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.usefixtures("_no_collection")
async def test_a_call_that_is_cancelled_leaves_no_lock(store: SqliteAdapter, path: Path) -> None:
    """Wherever a write or a read is interrupted, everybody else can write at once."""
    await store.load_entities([SITE])
    calls: list[Callable[[int], Coroutine[Any, Any, object]]] = [
        lambda n: store.update({"id": SITE["id"], "area": n}),
        lambda n: store.set_live(SITE["id"], {"curVal": n}),
        lambda n: store.load_entities([SITE, {"id": Ref(f"more-{n}")}]),
        lambda _: store.read("site"),
        lambda _: store.check_refs(),
    ]

    with _other(path) as other:
        other.execute("PRAGMA busy_timeout = 300")
        for n in range(200):
            await _cancelled(calls[n % len(calls)](n), seconds=n * 0.00003)
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        # A reader that was left would hold back what was written since.
        busy, _, _ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    assert busy == 0


async def test_in_memory_a_call_that_is_cancelled_loses_nothing() -> None:
    async with SqliteAdapter(":memory:") as store:
        await store.load_entities([SITE])

        for n in range(60):
            await _cancelled(store.update({"id": SITE["id"], "area": n}), seconds=n * 0.0001)

        assert [rec["id"] for rec in await store.read("site")] == [SITE["id"]]


async def test_readers_do_not_wait_where_a_level_is_to_be_released(
    store: SqliteAdapter, path: Path
) -> None:
    """W7: its end takes effect on what is read, although nobody can write it down now."""
    point = {"id": Ref("p"), "point": MARKER, "writable": MARKER, "kind": "Number"}
    await store.load_entities([{**point, "curTracksWrite": MARKER}, SITE])
    await store.point_write("p", 17, 1, "default")
    await store.point_write("p", 8, 5, "ana", dt.timedelta(seconds=0.1))
    store._swept = float("-inf")  # as after a second
    await asyncio.sleep(0.2)

    with _other(path) as other:
        other.execute("BEGIN IMMEDIATE")
        async with asyncio.timeout(_BUSY_SECONDS / 2):
            (read,) = await store.read("point")
            by_id = await store.read_by_ids(["nobody", "p", SITE["id"]])
            array = await store.point_array("p")
        other.execute("ROLLBACK")
    assert "val" not in array[7]
    assert (read["writeVal"], read["writeLevel"], read["curVal"]) == (
        Number(1),
        Number(17),
        Number(1),
    )
    assert by_id == [None, read, await store.read_by_id(SITE["id"])]
    store._swept = float("-inf")
    assert await store.read("writeVal == 1") == [read]


async def test_a_new_file_that_somebody_else_is_writing(path: Path) -> None:
    """It is waited for: for the lock that the first ones to open a file need, SQLite does not."""
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN IMMEDIATE")
    asyncio.get_running_loop().call_later(0.3, other.execute, "COMMIT")

    async with SqliteAdapter(path) as store:
        assert await store.read_count("id") == 0
    other.close()
