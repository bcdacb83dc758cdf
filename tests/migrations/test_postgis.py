"""The geography column: made where PostGIS is, and no drift whether it is there or not."""

from __future__ import annotations

from random import Random
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, inspect, text

from alembic import command
from hsorm import Coord, Ref, near
from hsorm.errors import StorageError
from hsorm.ops.geo import Area
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.conformance.examples import ids
from hsorm.testing.conformance.geo import random_areas
from tests.conftest import on_plain, on_timescale
from tests.coords import ODD_ROWS, check_rows_at_origin
from tests.migrations.test_migrations import alembic, look, migrate_by, ran


def _has_column(connection: Connection) -> bool:
    found = text("SELECT 1 FROM pg_attribute WHERE attname = 'geo' AND NOT attisdropped")
    return connection.scalar(found) is not None


@on_plain
async def test_require_without_postgis_fails_and_leaves_nothing(fresh_postgres_url: str) -> None:
    store = TimescaleAdapter(fresh_postgres_url)

    with pytest.raises(StorageError, match="postgis"):
        await store.upgrade(postgis="require")

    assert await look(fresh_postgres_url, lambda c: inspect(c).get_table_names()) == []
    await store.close()


@on_timescale
async def test_every_combination_is_clean_and_no_drift(fresh_postgres_url: str) -> None:
    """In one database, for the extension takes seconds to make: up, down and up again each time."""
    url, made = fresh_postgres_url, []

    async def up(wish: str) -> None:
        await migrate_by(url, command.upgrade, "head", postgis=wish)
        await migrate_by(url, command.check)
        made.append((wish, await look(url, _has_column)))

    await up("auto")  # the server offers it, the database has it not
    await migrate_by(url, command.downgrade, "0003")
    for wish in ("require", "off", "auto", "auto"):
        await up(wish)
        await migrate_by(url, command.downgrade, "0003")
    await up("auto")
    await migrate_by(url, command.downgrade, "base")

    assert made == [
        ("auto", False), ("require", True), ("off", False), ("auto", True), ("auto", True),
        ("auto", True),
    ]  # fmt: skip
    left = await look(url, lambda c: inspect(c).get_table_names())
    assert set(left) == {"hsorm_version", "spatial_ref_sys"}


@on_plain
async def test_a_wish_that_is_none_is_refused(fresh_postgres_url: str) -> None:
    done = await alembic(fresh_postgres_url, "-x", "postgis=yes", "upgrade", "head")

    assert (done.returncode, "postgis=yes: auto, require or off" in done.stderr) == (1, True)


async def _insert_odd(sql: asyncpg.Connection[Any], table: str) -> None:
    rows = [*ODD_ROWS, ("moved", ODD_ROWS[0][1])]
    insert = f"INSERT INTO {table} (id, tags) VALUES ($1, $2)"
    await sql.executemany(insert, rows)
    update = f"""UPDATE {table} SET tags = jsonb_set(tags, '{{geoCoord,lat}}', '5e500')
        WHERE id = 'moved'"""
    await sql.execute(update)


async def test_odd_coords_of_other_people_end_nothing(fresh_postgres_url: str) -> None:
    """Neither their inserts and updates nor our reads; without PostGIS, on both servers."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await _check_odd(store, fresh_postgres_url, "entities")


@on_timescale
async def test_the_column_changes_no_answer(fresh_postgres_url: str) -> None:
    """With PostGIS in a schema of its own, tables in another, and odd coords beside the others."""
    sql = await asyncpg.connect(fresh_postgres_url)
    await sql.execute('CREATE SCHEMA "Gis"')
    await sql.execute('CREATE EXTENSION postgis SCHEMA "Gis"')
    await sql.close()
    rng = Random(11)
    places = [Coord(rng.uniform(-90, 90), rng.uniform(-180, 180)) for _ in range(2_000)]
    entities = [{"id": Ref(f"e{i:04}"), "geoCoord": place} for i, place in enumerate(places)]
    memory = InMemoryAdapter(entities)
    async with TimescaleAdapter(fresh_postgres_url, prefix="a_", schema="bms") as store:
        await store.load_entities(entities)
        await _check_odd(store, fresh_postgres_url, "bms.a_entities")
        await store.load_entities(entities)  # by way of a staging table

        for area in random_areas(rng, places):
            assert await _read_ids(store, area) == await _read_ids(memory, area), area
        explained = await store.explain("id", geo=near(Coord(1, 1), "20km"))

    assert '"Gis".ST_DWithin' in explained.sql
    assert "a_entities_geo_gist" in str(explained)


async def _read_ids(store: StorageAdapter, area: Area) -> list[str]:
    return ids(await store.read("id >= @e0000 and id < @f", geo=area))


async def _check_odd(store: TimescaleAdapter, url: str, table: str) -> None:
    sql = await asyncpg.connect(url)
    try:
        await _insert_odd(sql, table)
    finally:
        await sql.close()

    await check_rows_at_origin(store)


@on_timescale
async def test_the_printed_sql_asks_for_postgis_where_it_is_required(
    fresh_postgres_url: str,
) -> None:
    without = await ran(fresh_postgres_url, "upgrade", "head", "--sql")
    required = await ran(fresh_postgres_url, "-x", "postgis=require", "upgrade", "head", "--sql")

    assert "postgis" not in without.replace("postgis=auto", "")
    assert "CREATE EXTENSION IF NOT EXISTS postgis" in required
    assert "geography(Point, 4326)" in required
