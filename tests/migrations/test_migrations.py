"""The migrations: up, down and up again on every database, and equal to the models."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from alembic import command
from hsorm.errors import SchemaOutdatedError, StorageError
from hsorm.kinds import Ref
from hsorm.sql import make_tables, migrate
from hsorm.sql.urls import engine_url
from hsorm.storage import open_storage
from hsorm.storage.timescale import TimescaleAdapter

CHECKOUT = Path(__file__).parents[2]


on_timescale = pytest.mark.parametrize("postgres_server", ["timescale"], indirect=True)
on_plain = pytest.mark.parametrize("postgres_server", ["postgres"], indirect=True)


async def alembic(url: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Alembic's own command line from the checkout, as its users do."""
    command = [sys.executable, "-m", "alembic", *args]
    environment = {**os.environ, "HSORM_URL": url}
    return await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


async def migrate_by(url: str, command: Callable[..., Any], *args: str, **settings: Any) -> None:
    """Run one of Alembic's commands in this process, as the adapters do."""

    def run(connection: Connection) -> None:
        config = migrate.config(connection)
        config.stdout = io.StringIO()  # its default is the stdout of when Alembic was imported
        config.attributes.update(settings)
        command(config, *args)

    await look(url, run)


async def ran(url: str, *args: str) -> str:
    done = await alembic(url, *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


async def look(url: str, function: Any) -> Any:
    engine = create_async_engine(engine_url(url), poolclass=NullPool)
    async with engine.begin() as connection:
        found = await connection.run_sync(function)
    await engine.dispose()
    return found


def shape(connection: Connection) -> dict[str, Any]:
    """Everything about our tables that a difference could hide in."""
    inspector = inspect(connection)
    return {
        name: {
            "columns": [
                (
                    col["name"],
                    str(col["type"]),
                    col["nullable"],
                    getattr(col["type"], "collation", None),
                )
                for col in inspector.get_columns(name)
            ],
            "key": inspector.get_pk_constraint(name)["constrained_columns"],
            "indexes": sorted(
                (
                    index["name"],
                    tuple(index["column_names"]),
                    index.get("dialect_options", {}).get("postgresql_using"),
                )
                for index in inspector.get_indexes(name)
            ),
        }
        for name in ("entities", "history")
    }


def hypertables(connection: Connection) -> list[str]:
    found = connection.execute(
        text("SELECT hypertable_name FROM timescaledb_information.hypertables")
    )
    return list(found.scalars())


def test_head_is_the_newest_revision() -> None:
    script = ScriptDirectory.from_config(migrate.config())

    assert script.get_current_head() == migrate.HEAD


async def test_up_down_up_is_clean_and_leaves_no_drift(any_url: str) -> None:
    await migrate_by(any_url, command.upgrade, "head")
    await migrate_by(any_url, command.check)
    first = await look(any_url, shape)

    await migrate_by(any_url, command.downgrade, "base")
    left = await look(any_url, lambda connection: inspect(connection).get_table_names())
    await migrate_by(any_url, command.upgrade, "head")

    assert left == ["hsorm_version"]
    assert await look(any_url, shape) == first


async def test_a_downgrade_that_would_lose_rows_stops(any_url: str) -> None:
    async with open_storage(any_url) as store:
        await store.load_entities([{"id": Ref("a")}])

    with pytest.raises(SystemExit, match="entities has rows"):
        await migrate_by(any_url, command.downgrade, "base")

    async with open_storage(any_url) as store:
        assert await store.read_count("id") == 1
    await migrate_by(any_url, command.downgrade, "base", lose_data="yes")


async def test_the_migrated_tables_are_the_models_tables(any_url: str) -> None:
    await migrate_by(any_url, command.upgrade, "head")
    migrated = await look(any_url, shape)
    await migrate_by(any_url, command.downgrade, "base")

    metadata = MetaData()
    make_tables(metadata)
    await look(any_url, metadata.create_all)

    assert await look(any_url, shape) == migrated


async def test_the_printed_sql_makes_the_same_tables(fresh_postgres_url: str) -> None:
    await migrate_by(fresh_postgres_url, command.upgrade, "head", timescale="off")
    migrated = await look(fresh_postgres_url, shape)
    script = (await alembic(fresh_postgres_url, "upgrade", "head", "--sql")).stdout
    await migrate_by(fresh_postgres_url, command.downgrade, "base")
    await look(fresh_postgres_url, lambda c: c.exec_driver_sql("DROP TABLE hsorm_version"))

    psql = await asyncpg.connect(fresh_postgres_url)  # the driver takes a whole script at once
    try:
        await psql.execute(script)
    finally:
        await psql.close()

    assert await look(fresh_postgres_url, shape) == migrated


@on_timescale
async def test_auto_makes_a_hypertable_with_no_index_but_its_key(fresh_postgres_url: str) -> None:
    said = await ran(fresh_postgres_url, "upgrade", "head")

    assert "history is a TimescaleDB hypertable (timescale=auto)" in said
    assert await look(fresh_postgres_url, hypertables) == ["history"]
    assert (await look(fresh_postgres_url, shape))["history"]["indexes"] == []


@on_timescale
async def test_off_leaves_a_plain_table_beside_timescale(fresh_postgres_url: str) -> None:
    said = await ran(fresh_postgres_url, "-x", "timescale=off", "upgrade", "head")

    assert "history is a plain table (timescale=off)" in said
    await ran(fresh_postgres_url, "check")


@on_plain
async def test_require_without_timescale_fails_and_leaves_nothing(fresh_postgres_url: str) -> None:
    store = TimescaleAdapter(fresh_postgres_url)

    with pytest.raises(StorageError, match="timescaledb"):
        await store.upgrade(timescale="require")

    assert (
        await look(fresh_postgres_url, lambda connection: inspect(connection).get_table_names())
        == []
    )
    await store.close()


async def test_connect_tells_what_to_run_when_it_may_not_create(any_url: str) -> None:
    with pytest.raises(SchemaOutdatedError, match="db upgrade") as caught:
        async with open_storage(any_url, create="never"):
            pass

    assert (caught.value.found, caught.value.needed) == (None, migrate.HEAD)


async def test_a_database_of_a_newer_version_is_left_alone(any_url: str) -> None:
    await migrate_by(any_url, command.upgrade, "head")
    await look(any_url, lambda c: c.execute(text("UPDATE hsorm_version SET version_num = '9999'")))

    with pytest.raises(SchemaOutdatedError, match="9999"):
        async with open_storage(any_url):
            pass


async def test_two_that_connect_at_once_to_an_empty_database_both_can(any_url: str) -> None:
    async def open_and_count() -> int:
        async with open_storage(any_url) as store:
            return await store.read_count("id")

    counts = await asyncio.gather(open_and_count(), open_and_count(), open_and_count())

    assert list(counts) == [0, 0, 0]


@pytest.mark.parametrize(("prefix", "schema"), [("hs_", "bms"), ('Two "words"_', 'B"MS; --')])
async def test_prefix_and_schema_name_every_table(
    fresh_postgres_url: str, prefix: str, schema: str
) -> None:
    async with TimescaleAdapter(fresh_postgres_url, prefix=prefix, schema=schema) as store:
        await store.load_entities([{"id": Ref("a"), "r": Ref("a")}])
        assert await store.read_count("r->id==@a") == 1
        await store.load_entities(
            [{"id": Ref("a")}, {"id": Ref("b")}]
        )  # the way over a staging table
        assert await store.read_count("id") == 2

    names = await look(
        fresh_postgres_url, lambda connection: sorted(inspect(connection).get_table_names(schema))
    )
    assert names == [f"{prefix}{name}" for name in ("entities", "history", "hsorm_version")]
    await ran(fresh_postgres_url, "-x", f"schema={schema}", "-x", f"prefix={prefix}", "check")


async def test_a_wish_that_is_none_is_refused(fresh_postgres_url: str) -> None:
    done = await alembic(fresh_postgres_url, "-x", "timescale=yes", "upgrade", "head")

    assert done.returncode == 1
    assert "timescale=yes: auto, require or off" in done.stderr
    assert (
        await look(fresh_postgres_url, lambda connection: inspect(connection).get_table_names())
        == []
    )
