"""Coords of other people's SQL on SQLite."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hsorm.storage.sqlite import SqliteAdapter
from tests.coords import ODD_ROWS, check_rows_at_origin


async def test_odd_coords_of_other_people_end_nothing(tmp_path: Path) -> None:
    """Neither their inserts nor our reads: what is no coord on earth is nowhere."""
    path = tmp_path / "other.db"
    async with SqliteAdapter(path) as store:
        assert await store.read_count("id") == 0
        other = sqlite3.connect(path)
        other.executemany("INSERT INTO entities (id, tags) VALUES (?, ?)", ODD_ROWS)
        other.commit()
        other.close()

        await check_rows_at_origin(store)
