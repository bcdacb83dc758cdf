"""The geography column: made where PostGIS is, and no drift whether it is there or not."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, inspect, text

from alembic import command
from hsorm import Coord, Ref, near, within
from hsorm.errors import StorageError
from hsorm.ops.geo import Area
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.conformance.examples import ids
from hsorm.testing.conformance.geo import random_areas
from tests.migrations.test_migrations import alembic, look, migrate_by, on_plain, on_timescale, ran


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


_ODD: dict[str, Any] = {
    "north-of-north": {"_kind": "coord", "lat": 90.000001, "lng": 0},
    "far-east": {"_kind": "coord", "lat": 0, "lng": 181},
    "text": {"_kind": "coord", "lat": "0", "lng": "0"},
    "half": {"_kind": "coord", "lat": 0},
    "null": {"_kind": "coord", "lat": None, "lng": 0},
    "nested": {"_kind": "coord", "lat": [0], "lng": {"x": 0}},
    "no-kind": {"lat": 0, "lng": 0},
    "other-kind": {"_kind": "dict", "lat": 0, "lng": 0},
    "list": [{"_kind": "coord", "lat": 0, "lng": 0}],
    "number": 0,
    "string": "C(0,0)",
}
_ODD_JSON = {
    "huge": '{"_kind": "coord", "lat": 1e999, "lng": 0}',
    "long": '{"_kind": "coord", "lat": ' + "9" * 400 + ', "lng": -1e400}',
}
_RIGHT = {
    "origin": '{"_kind": "coord", "lat": 0, "lng": 0}',
    "tiny": '{"_kind": "coord", "lat": 1e-400, "lng": -1e-320}',
    "long-fraction": '{"_kind": "coord", "lat": 0.' + "0" * 500 + '1, "lng": 0.0}',
    "not-an-entity": '{"_kind": "coord", "lat": 0, "lng": 0}',
}


async def _insert_odd(sql: asyncpg.Connection[Any], table: str) -> None:
    coords = {name: json.dumps(val) for name, val in _ODD.items()} | _ODD_JSON | _RIGHT
    rows = [(name, f'{{"geoCoord": {coord}, "x": 1}}') for name, coord in coords.items()]
    rows += [("row-list", "[1]"), ("row-string", '"geoCoord"'), ("row-list-key", '["geoCoord"]')]
    insert = f"INSERT INTO {table} (id, tags) VALUES ($1, $2)"
    await sql.executemany(insert, rows)
    update = f"""UPDATE {table} SET tags = jsonb_set(tags, '{{geoCoord,lat}}', '5e500')
        WHERE id = 'not-an-entity'"""
    await sql.execute(update)


_FOUND = sorted(_RIGHT.keys() - {"not-an-entity"})


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

    for area in (
        near(Coord(0, 0), "1m"),
        within([Coord(-0.001, -0.001), Coord(0.001, 0.001)]),
        within([Coord(-0.001, -0.001), Coord(0.001, -0.001), Coord(0, 0.001)]),
    ):
        assert ids(await store.read("x", geo=area)) == _FOUND
        assert await store.read_count("x", geo=area) == len(_FOUND)
    everywhere = near(Coord(0, 0), "30000km")
    assert await store.read_count("x", geo=everywhere) == len(_FOUND)


@on_timescale
async def test_the_printed_sql_asks_for_postgis_where_it_is_required(
    fresh_postgres_url: str,
) -> None:
    without = await ran(fresh_postgres_url, "upgrade", "head", "--sql")
    required = await ran(fresh_postgres_url, "-x", "postgis=require", "upgrade", "head", "--sql")

    assert "postgis" not in without.replace("postgis=auto", "")
    assert "CREATE EXTENSION IF NOT EXISTS postgis" in required
    assert "geography(Point, 4326)" in required
