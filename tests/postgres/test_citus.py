"""History on Citus: the SQL as text, what of it is plain PostgreSQL, and the error of its COPY."""

from __future__ import annotations

import datetime as dt
from typing import Any

import asyncpg
import pytest
from sqlalchemy import MetaData

from hsorm import MARKER, Number, Ref
from hsorm.errors import StorageError
from hsorm.sql import make_tables
from hsorm.sql.citus import distribution
from hsorm.storage.timescale import TimescaleAdapter

TS = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)


def point(id: str) -> dict[str, Any]:
    return {"id": Ref(id), "point": MARKER, "his": MARKER, "kind": "Number", "tz": "UTC"}


def items(count: int, val: float) -> list[dict[str, Any]]:
    return [{"ts": TS + dt.timedelta(minutes=i), "val": Number(val + i)} for i in range(count)]


def test_history_is_distributed_by_point() -> None:
    steps = distribution(make_tables(MetaData()))

    assert steps.script == (
        "BEGIN;\n"
        "SELECT citus_add_local_table_to_metadata('entities', cascade_via_foreign_keys => true);\n"
        "SELECT create_distributed_table('history', 'point_id');\n"
        "COMMIT;\n"
    )


def test_partitions_are_made_before_rows_are_copied_and_compressed_outside() -> None:
    tables = make_tables(MetaData(), prefix="hs_", schema="b'ms")
    steps = distribution(tables, partition="1mo", columnar_after="6mo")

    old = '"b\'ms".hs_history_unpartitioned'
    assert steps.script.splitlines() == [
        "BEGIN;",
        "SELECT citus_add_local_table_to_metadata('\"b''ms\".hs_entities', "
        "cascade_via_foreign_keys => true);",
        'ALTER TABLE "b\'ms".hs_history RENAME TO hs_history_unpartitioned;',
        f'CREATE TABLE "b\'ms".hs_history (LIKE {old} INCLUDING DEFAULTS, '
        "PRIMARY KEY (point_id, ts)) PARTITION BY RANGE (ts);",
        "SELECT create_distributed_table('\"b''ms\".hs_history', 'point_id');",
        "SELECT create_time_partitions('\"b''ms\".hs_history', "
        "partition_interval => interval '1 months', "
        f"start_from => (SELECT least(min(ts), now()) FROM {old}), "
        f"end_at => (SELECT greatest(max(ts), now()) FROM {old}) + 12 * interval '1 months');",
        f'INSERT INTO "b\'ms".hs_history SELECT * FROM {old};',
        f"DROP TABLE {old};",
        "COMMIT;",
        "CALL alter_old_partitions_set_access_method('\"b''ms\".hs_history', "
        "now() - interval '6 months', 'columnar');",
    ]


def test_only_partitions_are_compressed() -> None:
    with pytest.raises(ValueError, match="columnar_after is of partitions"):
        distribution(make_tables(MetaData()), columnar_after="6mo")


async def test_without_citus_it_is_one_clear_error(store: TimescaleAdapter) -> None:
    with pytest.raises(StorageError, match="this database has no Citus") as caught:
        await store.distribute_history()

    with_timescale = (await store.about())["backend"] == "timescale"
    assert ("It has TimescaleDB" in str(caught.value)) is with_timescale


_STAND_INS = """
CREATE FUNCTION citus_add_local_table_to_metadata(regclass, cascade_via_foreign_keys boolean)
RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION create_distributed_table(regclass, text) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION create_time_partitions(
    name regclass, partition_interval interval, end_at timestamptz, start_from timestamptz
) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('CREATE TABLE part PARTITION OF %s FOR VALUES FROM (%L) TO (%L)',
                   name, start_from, end_at);
END $$;
"""


@pytest.mark.parametrize("postgres_server", ["postgres"], indirect=True)
async def test_history_goes_on_in_a_partitioned_table(fresh_postgres_url: str) -> None:
    """What is PostgreSQL's own in the script, with functions of ours in place of Citus's."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.load_entities([point("a")])
        await store.his_write("a", items(10, 0))
        sql = await asyncpg.connect(fresh_postgres_url)
        try:
            await sql.execute(_STAND_INS)
            steps = distribution(store.tables, partition="1mo")
            await sql.execute(";".join(steps.transaction))
        finally:
            await sql.close()

        await store.his_write("a", items(15, 100))  # COPY fails, staging and upsert do it
        await store.his_clear("a", "2024-03-01T00:12:00Z,2024-03-01T00:14:00Z")
        found = await store.his_read("a", "2024-03-01")

    assert [item["val"].val for item in found] == [100.0 + i for i in (*range(12), 14)]


_AS_CITUS_SAYS = """
CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF current_query() ILIKE 'COPY %' AND EXISTS (SELECT 1 FROM {table} WHERE {key}) THEN
        RAISE 'duplicate key value violates unique constraint "{table}_pkey_102010"'
        USING ERRCODE = 'XX000';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER conflict BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION conflict();
"""

_UNLIKE_CITUS = """
CREATE FUNCTION failure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE 'could not read block 0' USING ERRCODE = 'XX000';
END $$;
CREATE TRIGGER failure BEFORE INSERT ON history FOR EACH ROW EXECUTE FUNCTION failure();
"""


async def test_the_conflict_of_a_worker_is_one_of_ours(fresh_postgres_url: str) -> None:
    """As an internal error (XX000), in history as in entities."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.load_entities([point("a")])
        await store.his_write("a", items(3, 0))
        sql = await asyncpg.connect(fresh_postgres_url)
        try:
            key = "point_id = NEW.point_id AND ts = NEW.ts"
            await sql.execute(_AS_CITUS_SAYS.format(table="history", key=key))
            await store.his_write("a", items(5, 100))
            await sql.execute("DROP FUNCTION conflict CASCADE")
            await sql.execute(_AS_CITUS_SAYS.format(table="entities", key="id = NEW.id"))
            await store.load_entities([{**point("a"), "n": Number(2)}, point("b")])
            await sql.execute(_UNLIKE_CITUS)
            with pytest.raises(StorageError, match="could not read block 0"):
                await store.his_write("b", items(1, 0))
        finally:
            await sql.close()

        assert [item["val"].val for item in await store.his_read("a", "2024-03-01")] == [
            *(100.0 + i for i in range(5)),
        ]
        assert await store.read_count("n == 2") == 1
        assert await store.read_count("id") == 2
