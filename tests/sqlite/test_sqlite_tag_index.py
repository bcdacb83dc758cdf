"""The side table `entity_tags`: which plans use it, and that it stays right whoever writes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine

from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.sql import make_tables
from hsorm.storage.sqlite import SqliteAdapter
from hsorm.testing.conformance.examples import ids


@pytest.fixture(autouse=True)
def _counted(record_property: Callable[[str, object], None]) -> None:
    record_property("backend", "sqlite")


def _building() -> Iterator[Entity]:
    yield {"id": Ref("s"), "site": MARKER, "dis": "Site", "geo": {"city": "Oslo"}}
    for i in range(20):
        yield {"id": Ref(f"e{i:02}"), "equip": MARKER, "siteRef": Ref("s"), "n": Number(i)}
    for i in range(200):
        refs = [Ref("e00"), Ref("e00"), Ref(f"e{i % 20:02}")]
        yield {"id": Ref(f"p{i:03}"), "point": MARKER, "equipRef": refs[2], "refs": refs}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteAdapter]:
    async with SqliteAdapter(tmp_path / "a.db") as adapter:
        await adapter.load_entities(_building())
        yield adapter


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ("site", 1),
        ("point and equip", 0),
        ("siteRef == @s", 20),
        ("refs == @e07", 10),
        ('dis == "Site"', 1),
        ("equip and siteRef == @s and n > 10", 9),
        ("site or equip", 21),
        ('point and equipRef->siteRef->dis == "Site"', 200),
        ("refs->n == 7", 10),
        ("equip and not siteRef->site", 0),
        ("^site", 1),
    ],
)
async def test_the_side_table_answers(store: SqliteAdapter, filter: str, count: int) -> None:
    """F30, F34, F45, F51: no statement goes through all entities."""
    plan = (await store.explain(filter)).plan

    assert any("entity_tags" in step for step in plan)
    assert [step for step in plan if "SCAN entities" in step] == []
    assert await store.read_count(filter) == len(await store.read(filter)) == count


_ONE = '{"a": {"_kind": "marker"}, "r": {"_kind": "ref", "val": "x"}, "s": "text"}'
_TWO = '{"b": 1, "r": [{"_kind": "ref", "val": "y"}, {"_kind": "ref", "val": "y"}], "n": null}'


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO entities (id, tags) VALUES ('new', :two)",
        "INSERT OR REPLACE INTO entities (id, tags) VALUES ('one', :two)",
        "INSERT OR IGNORE INTO entities (id, tags) VALUES ('one', :two)",
        "INSERT INTO entities (id, tags) VALUES ('one', :two) ON CONFLICT DO NOTHING",
        "INSERT INTO entities (id, tags) VALUES ('one', :two) "
        "ON CONFLICT DO UPDATE SET tags = excluded.tags",
        "UPDATE OR REPLACE entities SET id = 'one' WHERE id = 'other'",
        "UPDATE OR IGNORE entities SET id = 'one' WHERE id = 'other'",
        "UPDATE entities SET id = 'renamed', tags = :two WHERE id = 'one'",
        "UPDATE entities SET tags = json_remove(tags, '$.r')",
        "DELETE FROM entities WHERE id = 'one'",
        "DELETE FROM entities",
        """INSERT OR ABORT INTO entities (id, tags) VALUES ('twice', '{"a": 1, "a": 2}')""",
        """INSERT INTO entities (id, tags) VALUES ('empty name', '{"": 1}')""",
        "INSERT INTO entities (id, tags) "
        "VALUES ('list', '[1, 2]'), ('scalar', '5'), ('broken', '{')",
    ],
)
@pytest.mark.parametrize("recursive", [False, True])
def test_other_peoples_sql_leaves_it_right(tmp_path: Path, change: str, recursive: bool) -> None:
    """It is what a new database with the same entities has, and notes are of no entity."""
    changed, anew = _database(tmp_path / "a.db"), _database(tmp_path / "b.db")
    changed.execute(f"PRAGMA recursive_triggers = {recursive}")
    rows = [("one", _ONE), ("other", _TWO)]
    changed.executemany("INSERT INTO entities (id, tags) VALUES (?, ?)", rows)

    for _ in range(2):
        changed.execute("INSERT OR IGNORE INTO entities (id, tags) VALUES ('one', '{\"z\": 1}')")
        if "INSERT OR ABORT" not in change or _ == 0:
            try:
                changed.execute(change, {"two": _TWO})
            except sqlite3.IntegrityError:
                continue
    anew.executemany(
        "INSERT INTO entities (id, tags) VALUES (?, ?)",
        changed.execute("SELECT id, tags FROM entities"),
    )

    said = "SELECT * FROM entity_tags WHERE tag <> '' ORDER BY 1, 2, 3"
    assert changed.execute(said).fetchall() == anew.execute(said).fetchall()
    changed.close()
    anew.close()


def _database(path: Path) -> sqlite3.Connection:
    metadata, engine = MetaData(), create_engine(f"sqlite:///{path}")
    make_tables(metadata)
    metadata.create_all(engine)
    engine.dispose()
    return sqlite3.connect(path, isolation_level=None)


async def test_a_load_that_fails_leaves_the_triggers_on(store: SqliteAdapter) -> None:
    """What `load_entities` puts off is part of its transaction."""
    with pytest.raises(ValueError, match="x"):
        await store.load_entities([{"id": Ref("q"), "quick": MARKER}, {"id": Ref("r"), "x": None}])

    await store.create({"id": Ref("q"), "slow": MARKER})

    assert ids(await store.read("slow")) == ["q"]
    assert await store.read("quick") == []


async def test_a_load_replaces_what_was_said(store: SqliteAdapter) -> None:
    await store.load_entities([{"id": Ref("s"), "closed": MARKER}])

    assert ids(await store.read("closed")) == ["s"]
    assert await store.read('site or dis == "Site"') == []
