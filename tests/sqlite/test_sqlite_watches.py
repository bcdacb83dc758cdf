"""Watches tell what other people's SQL, in other processes, has written to the file."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hsorm.errors import ConflictError
from hsorm.kinds import Number, Ref
from hsorm.ops.commits import Diff
from hsorm.storage.sqlite import SqliteAdapter

_REPLACE = """INSERT OR REPLACE INTO entities (id, tags) VALUES ('a', '{"n": 1}')"""
_UPDATE = """UPDATE entities SET tags = '{"n": 1}' WHERE id = 'a'"""
_LIVE = """INSERT OR REPLACE INTO live (id, tags) VALUES ('a', '{"curVal": 1}')"""
_DELETE = "DELETE FROM entities WHERE id = 'a'"


@pytest.mark.parametrize("statement", [_REPLACE, _UPDATE, _LIVE, _DELETE])
async def test_raw_sql_is_told_once(tmp_path: Path, statement: str) -> None:
    """INSERT OR REPLACE, UPDATE, DELETE; each in exactly one poll."""
    async with SqliteAdapter(tmp_path / "a.db") as store:
        await store.load_entities([{"id": Ref("a"), "n": Number(0)}, {"id": Ref("b")}])
        watch = (await store.watch_sub(None, ["a", "b"])).watch_id

        other = sqlite3.connect(tmp_path / "a.db")
        other.execute(statement)
        other.commit()
        other.close()

        rows = await store.watch_poll(watch)
        assert [row["id"].val for row in rows] + [ref.val for ref in rows.removed] == ["a"]
        again = await store.watch_poll(watch)
        assert (list(again), again.removed) == ([], [])


async def test_live_tags_that_raw_sql_deletes_are_told(tmp_path: Path) -> None:
    async with SqliteAdapter(tmp_path / "a.db") as store:
        await store.load_entities([{"id": Ref("a"), "n": Number(0), "curVal": Number(1)}])
        ids = (await store.watch_sub(None, ["a"])).watch_id
        matching = (await store.watch_filter("n")).watch_id
        cursor = (await store.changes()).cursor

        other = sqlite3.connect(tmp_path / "a.db")
        other.execute("DELETE FROM live")
        other.commit()
        other.close()

        for watch in (ids, matching):
            assert ["curVal" in row for row in await store.watch_poll(watch)] == [False]
        assert [change.id for change in await store.changes(cursor)] == [Ref("a")]


async def test_an_entity_without_mod_is_committed_as_it_was_read(tmp_path: Path) -> None:
    """C4: nobody has changed it meanwhile, or there would be a mod."""
    async with SqliteAdapter(tmp_path / "a.db") as store:
        other = sqlite3.connect(tmp_path / "a.db")
        other.execute(_REPLACE)
        other.commit()
        other.close()
        read = await store.read_by_id("a")

        (done,) = await store.commit(Diff.update(read, {"n": Number(2)}))

        assert done.new is not None
        assert (done.old_mod, done.new["n"], done.new["mod"]) == (None, Number(2), done.mod)
        with pytest.raises(ConflictError):
            await store.commit(Diff.update(read, {"n": Number(3)}))


async def test_a_stream_hears_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqliteAdapter(path) as store:
        await store.load_entities([{"id": Ref("a"), "n": Number(0)}])
        watch = (await store.watch_sub(None, ["a"])).watch_id
        stream = store.watch_stream(watch)
        first = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0.1)

        program = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
            "c.execute(sys.argv[2]); c.commit()"
        )
        await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program, str(path), _UPDATE], check=True
        )

        rows = await asyncio.wait_for(first, 5)
        assert [row["n"] for row in rows] == [Number(1)]
        await stream.aclose()  # type: ignore[attr-defined]
