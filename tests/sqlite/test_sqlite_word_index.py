"""The search index of SQLite: that it answers, loses nothing, and stays right whoever writes."""

from __future__ import annotations

import ctypes
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import MetaData, create_engine, event

from hsorm import open_storage
from hsorm.errors import StorageError
from hsorm.kinds import MARKER, Entity, Ref
from hsorm.ops.search import SEPARATORS, cases_of
from hsorm.sql import make_tables, word_index
from hsorm.storage.sqlite import SqliteAdapter
from hsorm.testing.conformance.examples import ids


@pytest.fixture(autouse=True)
def _counted(record_property: Callable[[str, object], None]) -> None:
    record_property("backend", "sqlite")


def _building() -> Iterator[Entity]:
    for i in range(300):
        yield {"id": Ref(f"p{i:03}"), "point": MARKER, "dis": f"Point {i}", "navName": "Zähler"}
    yield {"id": Ref("s"), "site": MARKER, "dis": "Head Office", "doc": "Points everywhere"}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteAdapter]:
    async with SqliteAdapter(tmp_path / "a.db", index_search=True) as adapter:
        await adapter.load_entities(_building())
        yield adapter


@pytest.mark.parametrize(
    ("filter", "search", "count"),
    [
        ("id", "head", 1),
        ("id", "POINT", 301),
        ("point", "points", 0),
        ("point", "zäh 29", 11),
        ("not site", "p 7", 11),
    ],
)
async def test_the_index_answers(
    store: SqliteAdapter, filter: str, search: str, count: int
) -> None:
    """No statement goes through all entities."""
    plan = (await store.explain(filter, search=search)).plan

    assert any("SCAN entities_search_ix VIRTUAL TABLE" in step for step in plan)
    assert [step for step in plan if step.strip().startswith("SCAN entities USING")] == []
    assert [step for step in plan if step.strip() == "SCAN entities"] == []
    found = await store.read(filter, search=search)
    assert await store.read_count(filter, search=search) == len(found) == count


# ---- letters ------------------------------------------------------------------------------------


def _tokens(codes: Iterable[int], text: Callable[[int], str]) -> dict[int, list[str]]:
    """Return what FTS5 makes of a text for each character, with the options of the index."""
    words = next(sql for sql in make_tables(MetaData()).word_index.ddl() if "fts5" in sql)  # type: ignore[union-attr]
    tokenize = words[words.index("tokenize =") :].removesuffix(")")
    found: dict[int, list[str]] = {}
    with sqlite3.connect(":memory:") as connection:
        connection.execute(f"CREATE VIRTUAL TABLE f USING fts5 (t, {tokenize})")
        connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab (f, 'instance')")
        rows = ((code, text(code)) for code in codes)
        connection.executemany("INSERT INTO f (rowid, t) VALUES (?, ?)", rows)
        for doc, term in connection.execute("SELECT doc, term FROM v ORDER BY doc, offset"):
            found.setdefault(doc, []).append(term)
    return found


def test_every_separator_of_ours_separates_words_in_fts5() -> None:
    """U+2065 to U+2069 and U+FF00, which Unicode 6.1 does not have, are letters to it otherwise."""
    ours = [
        code
        for first, last in SEPARATORS
        for code in range(max(ord(first), 1), ord(last) + 1)
        if not 0xD800 <= code <= 0xDFFF
    ]

    found = _tokens(ours, lambda code: f"a{chr(code)}b")

    assert [hex(code) for code in ours if found[code] != ["a", "b"]] == []


def test_what_is_looked_up_is_one_letter_in_all_cases() -> None:
    """Of all of Unicode: a character is part of a word in FTS5, and its cases are the same one."""
    later = word_index._LATER_CASES
    every = (chr(code) for code in range(sys.maxunicode + 1))
    known = [ord(char) for char in every if word_index._is_known(char)]
    cases = {ord(case) for code in known for case in cases_of(chr(code))}

    found = _tokens(cases, lambda code: f"a{later.get(chr(code), chr(code))}b")

    assert len(known) > 90_000
    wrong = [
        hex(code)
        for code in known
        if {tuple(found[ord(case)]) for case in cases_of(chr(code))} != {tuple(found[code])}
        or len(found[code]) != 1
        or len(found[code][0]) != 3
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("disch", "disch"), ("вода", "вода"), ("οδοσ", "οδοσ"), ("straße", "straße"), ("2a", "2a"),
        ("会議室", "会議室"), ("a😀b", "a"), ("e\u0301t", "e"), ("😀", ""), ("აბ", ""),
    ],
)  # fmt: skip
def test_the_beginning_of_a_word_is_looked_up(word: str, known: str) -> None:
    assert word_index._known(word) == known


async def test_a_word_that_is_not_known_is_found_all_the_same(store: SqliteAdapter) -> None:
    await store.create({"id": Ref("q"), "dis": "😀b Ა"})

    assert [step for step in (await store.explain("id", search="😀")).plan if "_ix" in step] == []
    assert ids(await store.read("id", search="😀 ა")) == ["q"]


# ---- who writes ---------------------------------------------------------------------------------

_ONE = '{"a": "First text", "n": 1, "b": "second"}'
_TWO = '{"dis": "Zweiter ẞ", "l": ["not this"]}'

_CHANGES = [
    "INSERT INTO entities (id, tags) VALUES ('new', :two)",
    "INSERT OR REPLACE INTO entities (id, tags) VALUES ('one', :two)",
    "INSERT OR IGNORE INTO entities (id, tags) VALUES ('one', :two)",
    "INSERT INTO entities (id, tags) VALUES ('one', :two) ON CONFLICT DO NOTHING",
    "INSERT INTO entities (id, tags) VALUES ('one', :two) "
    "ON CONFLICT DO UPDATE SET tags = excluded.tags",
    "INSERT OR REPLACE INTO entities (id, tags) SELECT id, tags FROM entities",
    "UPDATE OR REPLACE entities SET id = 'one' WHERE id = 'other'",
    "UPDATE OR IGNORE entities SET id = 'one' WHERE id = 'other'",
    "UPDATE entities SET id = 'one' WHERE id = 'other'",
    "UPDATE entities SET id = 'renamed', tags = :two WHERE id = 'one'",
    "UPDATE entities SET tags = json_set(tags, '$.a', 'other words') WHERE json_valid(tags)",
    "UPDATE entities SET tags = json_remove(tags, '$.a') WHERE json_valid(tags)",
    "UPDATE entities SET tags = json_set(tags, '$.n', 2) WHERE json_valid(tags)",
    "UPDATE OR REPLACE entities SET tags = '{}'",
    "DELETE FROM entities WHERE id = 'one'",
    "DELETE FROM entities",
    "VACUUM",
    "REINDEX",
    """INSERT OR IGNORE INTO entities (id, tags) VALUES ('twice', '{"a": "x", "a": "y"}')""",
    """INSERT OR IGNORE INTO entities (id, tags) VALUES ('nul', '{"a": "x\\u0000y", "b": "z"}')""",
    "INSERT OR IGNORE INTO entities (id, tags) "
    """VALUES ('list', '["a"]'), ('scalar', '"b"'), ('broken', '{')""",
]


@pytest.mark.parametrize("recursive", [False, True])
@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(_CHANGES), max_size=8))
@example([change for change in _CHANGES for _ in range(2)])
def test_other_peoples_sql_leaves_it_right(recursive: bool, changes: list[str]) -> None:
    """It has the words of the entities that are there, and FTS5 finds it whole."""
    changed, anew = _database(), _database()
    changed.execute(f"PRAGMA recursive_triggers = {recursive}")
    rows = [("one", _ONE), ("other", _TWO)]
    changed.executemany("INSERT INTO entities (id, tags) VALUES (?, ?)", rows)

    for change in changes:
        try:
            changed.execute(change, {"two": _TWO} if ":two" in change else {})
        except sqlite3.IntegrityError:
            continue
    anew.executemany(
        "INSERT INTO entities (id, tags) VALUES (?, ?)",
        changed.execute("SELECT id, tags FROM entities"),
    )

    assert _said(changed) == _said(anew)
    changed.close()
    anew.close()


def _database() -> sqlite3.Connection:
    """Make the tables and the index in memory, with other people's hands."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    engine = create_engine("sqlite://", creator=lambda: connection)
    metadata = MetaData()
    tables = make_tables(metadata)
    metadata.create_all(engine)
    assert tables.word_index is not None
    for statement in tables.word_index.ddl():
        connection.execute(statement)
    return connection


def _said(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return the texts that are indexed, and which words lead to which entity."""
    # It compares what is indexed with the texts beside it.
    connection.execute("INSERT INTO entities_search_ix (entities_search_ix, rank) "
                       "VALUES ('integrity-check', 1)")  # fmt: skip
    texts = connection.execute("SELECT id, texts FROM entities_search_texts ORDER BY id")
    words = ["first", "text", "second", "zweiter", "ß", "other", "words", "not", "x", "z"]
    found = (
        "SELECT id FROM entities_search_ix AS i JOIN entities_search_texts ON n = i.rowid "
        "WHERE entities_search_ix MATCH ? ORDER BY id"
    )
    return {"": texts.fetchall()} | {
        word: connection.execute(found, (f'"{word}"*',)).fetchall() for word in words
    }


async def test_live_tags_among_the_others_are_not_searched(store: SqliteAdapter) -> None:
    """C8: other people's SQL may put them there."""
    with sqlite3.connect(store.engine.url.database or "") as connection:
        connection.execute(
            "INSERT INTO entities (id, tags) VALUES "
            """('live', '{"curVal": "Open"}'), ('both', '{"curVal": "Open", "dis": "Open"}'), """
            """('text', '"Open"'), ('list', '["Open"]')"""
        )

    found = ids(await store.read("not trash", search="open"))
    await store.drop_indexes(search=True)

    assert found == ids(await store.read("not trash", search="open")) == ["both"]


def test_it_goes_with_the_entities(tmp_path: Path) -> None:
    metadata, engine = MetaData(), create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    tables = make_tables(metadata)
    metadata.create_all(engine)
    assert tables.word_index is not None
    with engine.begin() as connection:
        for statement in tables.word_index.ddl():
            connection.exec_driver_sql(statement)

    metadata.drop_all(engine)

    with engine.connect() as connection:
        rest = connection.exec_driver_sql("SELECT name FROM sqlite_master")
        assert rest.scalars().all() == []
    engine.dispose()


# ---- made and dropped ---------------------------------------------------------------------------


async def test_it_is_made_for_who_asks_for_it(tmp_path: Path) -> None:
    """Of the entities that are there; `create="never"` makes none; another adapter uses it."""
    url = f"sqlite:///{tmp_path / 'made.db'}"

    async def is_used(store: Any) -> bool:
        assert ids(await store.read("id", search="off")) == ["s"]
        return any("_ix" in step for step in (await store.explain("id", search="off")).plan)

    async with open_storage(url) as first:
        await first.load_entities(_building())
        async with open_storage(url, create="never", index_search=True):
            assert not await is_used(first)
        async with open_storage(url, index_search=True) as second:
            assert await is_used(second)
            assert await is_used(first)
            assert await second.create_indexes(search=True) == []  # type: ignore[attr-defined]
            assert await second.drop_indexes({"n": "number"}, search=True) == [  # type: ignore[attr-defined]
                "entities_search_ix"
            ]
        assert not await is_used(first)


async def test_names_may_have_a_prefix(tmp_path: Path) -> None:
    async with SqliteAdapter(tmp_path / "a.db", prefix='h"s_', index_search=True) as store:
        await store.load_entities(_building())

        assert await store.read_count("id", search="point 29") == 11
        assert await store.drop_indexes(search=True) == ['h"s_entities_search_ix']


@pytest.mark.parametrize("event", ["insert", "update", "delete"])
async def test_it_is_not_used_where_a_trigger_is_gone(store: SqliteAdapter, event: str) -> None:
    """As when others make the table anew: it is made anew, too."""
    with sqlite3.connect(store.engine.url.database or "") as connection:
        connection.execute(f"DROP TRIGGER entities_search_{event}")
        connection.execute("UPDATE entities SET tags = json_set(tags, '$.dis', 'Hidden')")
        connection.execute("DELETE FROM entities WHERE id = 'p000'")
        connection.execute("""INSERT INTO entities (id, tags) VALUES ('x', '{"a": "Hidden"}')""")

    without = await store.read_count("id", search="hidden")
    made = await store.create_indexes(search=True)

    assert without == await store.read_count("id", search="hidden") == 301
    assert made == ["entities_search_ix"]


async def test_a_load_that_fails_leaves_it_right(store: SqliteAdapter) -> None:
    with pytest.raises(ValueError, match="x"):
        await store.load_entities([{"id": Ref("q"), "dis": "quick"}, {"id": Ref("r"), "x": None}])

    await store.create({"id": Ref("q"), "dis": "slow"})

    assert ids(await store.read("id", search="slow")) == ["q"]
    assert await store.read("id", search="quick") == []


# ---- without FTS5 -------------------------------------------------------------------------------


def _without_fts5(store: SqliteAdapter) -> None:
    """Take FTS5 out of the connections of an adapter, as a SQLite that was built without it."""
    library = ctypes.CDLL(__import__("_sqlite3").__file__)
    library.sqlite3_drop_modules.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    kept = (ctypes.c_char_p * 4)(b"json_each", b"json_tree", b"pragma_module_list", None)

    def drop(connection: Any, record: object) -> None:
        driver = connection.driver_connection._conn
        # The first field of Python's object behind its header is SQLite's own.
        own = ctypes.c_void_p.from_address(id(driver) + object.__basicsize__)
        assert library.sqlite3_drop_modules(own, kept) == 0

    event.listen(store.engine.sync_engine, "connect", drop)


async def test_without_fts5_it_cannot_be_made(tmp_path: Path) -> None:
    store = SqliteAdapter(tmp_path / "a.db", index_search=True)
    _without_fts5(store)

    with pytest.raises(StorageError, match=r"needs FTS5, which this Python's SQLite \(3.*without"):
        await store.connect()
    await store.close()

    plain = SqliteAdapter(tmp_path / "a.db")
    _without_fts5(plain)
    async with plain:
        await plain.load_entities(_building())
        assert await plain.read_count("id", search="point 29") == 11
        assert await plain.drop_indexes(search=True) == []


async def test_without_fts5_a_file_with_it_can_be_read(store: SqliteAdapter) -> None:
    """Searches look at every text; a write would leave the index wrong, and says why not."""
    other = SqliteAdapter(store.engine.url.database or "")
    _without_fts5(other)
    async with other:
        assert await other.read_count("id", search="point 29") == 11
        with pytest.raises(StorageError, match="FTS5"):
            await other.create({"id": Ref("new"), "dis": "New"})
        with pytest.raises(StorageError, match="FTS5"):
            await other.drop_indexes(search=True)

    assert await store.read_count("id", search="point 29") == 11
