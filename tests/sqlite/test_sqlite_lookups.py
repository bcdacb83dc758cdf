"""Changes and polls look entities up by their key: no table is scanned for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from hsorm.sql import changing
from hsorm.storage.sqlite import SqliteAdapter


@pytest.mark.parametrize(
    "statement",
    [
        changing.lock_entities,
        changing.lock_live,
        changing.delete_entities,
        changing.delete_histories,
        changing.select_array,
    ],
)
async def test_listed_ids_are_looked_up(tmp_path: Path, statement: Any) -> None:
    async with SqliteAdapter(tmp_path / "a.db") as store:
        sql = str(statement(store.tables, "sqlite").compile(dialect=store.engine.dialect))
        async with store.engine.connect() as connection:
            asked = text(f"EXPLAIN QUERY PLAN {sql.replace('?', ':ids')}")
            plan = [row.detail for row in await connection.execute(asked, {"ids": "[]"})]

    assert any(step.startswith("SEARCH") for step in plan)
    assert not any(step.startswith("SCAN") and "json_each" not in step for step in plan), plan
