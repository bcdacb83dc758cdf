"""Declared indexes on SQLite: which one answers, by the database's own plan."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hsorm.errors import StorageError
from hsorm.sql.indexes import Indexed
from hsorm.storage.sqlite import SqliteAdapter
from tests.indexed import DECLARED, FEW, ranges, stamped_building

# On one worker, for each would load the entities anew.
pytestmark = pytest.mark.xdist_group("declared indexes on SQLite")


@pytest.fixture(scope="module")
async def indexed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SqliteAdapter]:
    """20,000 entities with an index of each kind; to be read only."""
    path = tmp_path_factory.mktemp("indexed") / "indexed.db"
    async with SqliteAdapter(path, index_tags=DECLARED) as store:
        await store.load_entities(stamped_building())
        yield store


async def test_a_declared_index_answers_comparisons(indexed: SqliteAdapter) -> None:
    """Of each kind, numbers with and without a unit; equality of numbers too."""
    for filter, tag, count in [*ranges(FEW), ("n == 77", "n", 1)]:
        plan = (await indexed.explain(filter)).plan
        name = f"entities_{tag}_{DECLARED[tag]}_ix"

        assert any(f"SEARCH entities USING INDEX {name}" in step for step in plan), (filter, plan)
        assert await indexed.read_count(filter) == count


async def test_branches_and_refs_use_them_too(indexed: SqliteAdapter) -> None:
    """F50: where the index is for, not only at the top."""
    either = (await indexed.explain('n > 18990 or dis > "Point 9998"')).plan
    behind = (await indexed.explain("equipRef->n > 18990")).plan

    assert {name for name in ("entities_n_number_ix", "entities_dis_string_ix")
            for step in either if f"USING INDEX {name}" in step} == {
        "entities_n_number_ix", "entities_dis_string_ix",
    }  # fmt: skip
    assert any("USING INDEX entities_n_number_ix" in step for step in behind)


async def test_they_are_made_and_dropped_by_name(tmp_path: Path) -> None:
    """Each once; `create="never"` makes none."""
    path = tmp_path / "made.db"

    def there() -> set[str]:
        with sqlite3.connect(path) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%_ix'")
            return {name for (name,) in found}

    async with SqliteAdapter(path):
        pass
    async with SqliteAdapter(path, create="never", index_tags={"area": "number"}):
        assert there() == set()
    async with SqliteAdapter(path, index_tags={"area": "number"}) as store:
        assert there() == {"entities_area_number_ix"}
        assert await store.create_indexes({"area": "number", "dis": "string"}) == [
            "entities_dis_string_ix"
        ]
        assert await store.drop_indexes({"area": "number", "gone": "date"}) == [
            "entities_area_number_ix"
        ]
        assert there() == {"entities_dis_string_ix"}


async def test_names_that_differ_in_case_alone_are_the_same(tmp_path: Path) -> None:
    """To SQLite, which would make the second one and say nothing."""
    async with SqliteAdapter(tmp_path / "case.db") as store:
        assert await store.create_indexes({"siteArea": "number"}) == ["entities_siteArea_number_ix"]

        clashing: list[dict[str, Indexed]] = [
            {"sitearea": "number"},
            {"n": "number", "sitearea": "number"},
        ]
        for declared in clashing:
            with pytest.raises(StorageError, match="entities_siteArea_number_ix") as caught:
                await store.create_indexes(declared)
            assert "case" in str(caught.value)
        with pytest.raises(StorageError, match="case"):
            await store.create_indexes({"aB": "date", "ab": "date"})

        assert await store.create_indexes({"siteArea": "number", "sitearea": "string"}) == [
            "entities_sitearea_string_ix"
        ]
        assert await store.drop_indexes({"sitearea": "number", "n": "number"}) == []
        assert await store.drop_indexes({"siteArea": "number"}) == ["entities_siteArea_number_ix"]
        assert await store.create_indexes({"sitearea": "number"}) == ["entities_sitearea_number_ix"]
