"""History by hand, over asyncpg and ADBC: what an expert would write for the same answer."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import adbc_driver_postgresql.dbapi as adbc
import asyncpg

__all__ = ["COLUMNS", "Row", "adbc_table", "copy_new", "fetch", "upsert"]

Row = tuple[str, dt.datetime, float, None]

COLUMNS = ["point_id", "ts", "val", "obj"]

_FETCH = """
SELECT point_id, ts, val, obj::text FROM history
WHERE point_id = ANY($1::text[]) AND ts >= $2 AND ts < $3 ORDER BY point_id, ts
"""
_FETCH_ONE = """
SELECT ts, val, obj::text FROM history
WHERE point_id = $1 AND ts >= $2 AND ts < $3 ORDER BY ts
"""


async def copy_new(connection: Any, rows: Sequence[Row]) -> None:
    """Insert rows that are new."""
    await connection.copy_records_to_table("history", columns=COLUMNS, records=rows)


async def upsert(connection: Any, rows: Sequence[Row]) -> None:
    """Insert or replace rows, by way of a temporary table."""
    async with connection.transaction():
        await connection.execute(
            "CREATE TEMPORARY TABLE by_hand (point_id text, ts timestamptz, val float8, obj jsonb) "
            "ON COMMIT DROP"
        )
        await connection.copy_records_to_table("by_hand", columns=COLUMNS, records=rows)
        await connection.execute(
            "INSERT INTO history SELECT * FROM by_hand ON CONFLICT (point_id, ts) "
            "DO UPDATE SET val = excluded.val, obj = excluded.obj",
            timeout=3_600,
        )


async def fetch(
    connection: Any, ids: Sequence[str], start: dt.datetime, end: dt.datetime
) -> list[asyncpg.Record]:
    """Read the rows of points in a span."""
    if len(ids) == 1:
        found: list[asyncpg.Record] = await connection.fetch(_FETCH_ONE, ids[0], start, end)
    else:
        found = await connection.fetch(_FETCH, ids, start, end)
    return found


def adbc_table(
    connection: adbc.Connection, ids: Sequence[str], start: dt.datetime, end: dt.datetime
) -> Any:
    """Read the rows of points in a span into an Arrow table: what one would write by hand."""
    with connection.cursor() as cursor:
        listed = ", ".join(f"'{id}'" for id in ids)
        columns = "ts, val, obj" if len(ids) == 1 else "point_id, ts, val, obj"
        cursor.execute(
            f"SELECT {columns} FROM history WHERE point_id IN ({listed}) "
            f"AND ts >= '{start.isoformat()}' AND ts < '{end.isoformat()}' ORDER BY point_id, ts"
        )
        return cursor.fetch_arrow_table()
