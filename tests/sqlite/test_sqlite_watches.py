"""Watches tell what other people's SQL, in other processes, has written to the file."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from hsorm.errors import CodecError, ConflictError, UnknownEntityError
from hsorm.kinds import REMOVE, Number, Ref
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


_COPIES = (
    "CREATE TABLE copy AS SELECT * FROM {table}",
    "UPDATE {table} SET tags = '{{}}' WHERE id = 'a'",
    "INSERT INTO {table} SELECT * FROM copy WHERE true "
    "ON CONFLICT (id) DO UPDATE SET tags = excluded.tags, changed = excluded.changed",
)


@pytest.mark.parametrize("table", ["entities", "live"])
async def test_rows_that_are_copied_with_their_stamps_are_told(tmp_path: Path, table: str) -> None:
    """A stamp is one only if it was counted for this very change."""
    async with SqliteAdapter(tmp_path / "a.db") as store:
        await store.load_entities([{"id": Ref("a"), "n": Number(0), "curVal": Number(1)}])
        await store.set_live("a", {"curVal": Number(2)})
        await store.update({"id": Ref("a"), "n": Number(1)})
        watch = (await store.watch_sub(None, ["a"])).watch_id

        other = sqlite3.connect(tmp_path / "a.db")
        for statement in _COPIES:
            other.execute(statement.format(table=table))
            other.commit()
            if statement.startswith("UPDATE"):
                assert len(await store.watch_poll(watch)) == 1
        other.close()

        (row,) = await store.watch_poll(watch)
        assert (row["n"], row["curVal"]) == (Number(1), Number(2))
        assert await store.watch_poll(watch) == []


async def test_live_tags_of_other_people_stay_as_they_wrote_them(tmp_path: Path) -> None:
    """What a change does not name is kept to the letter; what is no live tag is dropped."""
    async with SqliteAdapter(tmp_path / "a.db") as store:
        await store.load_entities([{"id": Ref("a")}, {"id": Ref("b")}])
        other = sqlite3.connect(tmp_path / "a.db")
        odd = '{"curVal": 1, "curVal": 2.50, "curErr": "x", "dis": "y", "curStatus": null}'
        other.execute("INSERT INTO live (id, tags) VALUES ('a', ?), ('b', '[1]')", (odd,))
        other.commit()

        await store.set_live("a", {"writeVal": 3, "curErr": REMOVE})

        (text,) = other.execute("SELECT tags FROM live WHERE id = 'a'").fetchone()
        other.close()
        assert text == '{"curVal":2.50,"curStatus":null,"writeVal":3}'
        read = await store.read_by_id("a")
        assert (read["curVal"], "curStatus" in read, "dis" in read) == (Number(2.5), False, False)
        with pytest.raises(CodecError, match="@b"):
            await store.set_live("b", {"curVal": 1})


async def test_live_tags_of_nobody_are_refused(tmp_path: Path) -> None:
    """Also where other people's SQL has left some of an entity that is not there."""
    async with SqliteAdapter(tmp_path / "a.db") as store:
        await store.load_entities([{"id": Ref("a"), "curVal": Number(1)}])
        other = sqlite3.connect(tmp_path / "a.db")
        other.execute("INSERT INTO live (id, tags) VALUES ('nobody', '{}')")
        other.commit()
        other.close()

        with pytest.raises(UnknownEntityError):
            await store.set_live_batch({"a": {"curVal": 2}, "nobody": {"curVal": 2}})

        assert (await store.read_by_id("a"))["curVal"] == Number(1)


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


async def test_nothing_large_is_kept_of_the_filters_of_watches(tmp_path: Path) -> None:
    """A thousand filters of a megabyte would be that much memory for good."""
    async with SqliteAdapter(tmp_path / "a.db") as store:
        await store.load_entities([{"id": Ref("a"), "n": Number(0)}])
        for filter in ("n", "n"):
            watch = (await store.watch_filter(filter)).watch_id
            await store.watch_poll(watch)
        kept = len(store._made), len(store._remembered)

        large = f'n and dis != "{"x" * 5_000}"'
        long = "n and " + " and ".join(f"siteRef->equipRef->a{i}" for i in range(20))
        for filter in (large, long):
            watch = (await store.watch_filter(filter)).watch_id
            assert await store.watch_poll(watch) == []
            assert await store.watch_poll(watch, refresh=True) == []

        assert kept[0] == 2
        assert (len(store._made) - kept[0], len(store._remembered) - kept[1]) == (3, 0)
