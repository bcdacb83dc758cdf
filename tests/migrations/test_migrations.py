"""The migrations: up, down and up again on every database, and equal to the models."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from threading import Thread
from typing import Any

import asyncpg
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from alembic import command
from hsorm.errors import SchemaOutdatedError, StorageError
from hsorm.kinds import Number, Ref
from hsorm.sql import make_tables, migrate
from hsorm.sql.urls import engine_url
from hsorm.storage import open_storage
from hsorm.storage.timescale import TimescaleAdapter
from tests.conftest import on_plain, on_timescale

CHECKOUT = Path(__file__).parents[2]


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


_HOURS = (
    "history_hours",
    "history_hours_stale",
    "history_hours_state",
    "history_hours_until",
)
_TABLES = (
    "entities",
    "history",
    "history_changes",
    "live",
    "point_arrays",
    "removals",
    "watch_ids",
    "watches",
)


def shape(connection: Connection) -> dict[str, Any]:
    """Everything about our tables that a difference could hide in."""
    inspector = inspect(connection)
    on_postgresql = connection.dialect.name == "postgresql"
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
        for name in (*_TABLES, *(_HOURS if on_postgresql else ()))
    }


def hypertables(connection: Connection) -> list[str]:
    found = connection.execute(
        text("SELECT hypertable_name FROM timescaledb_information.hypertables")
    )
    return list(found.scalars())


def test_head_is_the_newest_revision() -> None:
    script = ScriptDirectory.from_config(migrate.config())

    assert script.get_current_head() == migrate.HEAD


async def test_up_down_up_is_clean_and_leaves_no_drift(sql_url: str) -> None:
    await migrate_by(sql_url, command.upgrade, "head")
    await migrate_by(sql_url, command.check)
    first = await look(sql_url, shape)

    await migrate_by(sql_url, command.downgrade, "base")
    left = await look(sql_url, lambda connection: inspect(connection).get_table_names())
    await migrate_by(sql_url, command.upgrade, "head")

    assert left == ["hsorm_version"]
    assert await look(sql_url, shape) == first


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
async def test_declared_indexes_are_no_drift(sql_url: str) -> None:
    """What people declare is theirs: no check wants it dropped, no migration does."""
    async with open_storage(sql_url, index_tags={"area": "number", "siteRef": "string"}):
        await migrate_by(sql_url, command.check)


async def test_a_downgrade_that_would_lose_rows_stops(sql_url: str) -> None:
    async with open_storage(sql_url) as store:
        await store.load_entities([{"id": Ref("a")}])

    with pytest.raises(SystemExit, match="entities has rows"):
        await migrate_by(sql_url, command.downgrade, "base")

    async with open_storage(sql_url) as store:
        assert await store.read_count("id") == 1
    await migrate_by(sql_url, command.downgrade, "base", lose_data="yes")


async def test_the_migrated_tables_are_the_models_tables(sql_url: str) -> None:
    await migrate_by(sql_url, command.upgrade, "head")
    migrated = await look(sql_url, shape)
    await migrate_by(sql_url, command.downgrade, "base")

    metadata = MetaData()
    make_tables(metadata)
    await look(sql_url, metadata.create_all)

    assert await look(sql_url, shape) == migrated


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
async def test_the_printed_sql_makes_a_hypertable_in_a_schema(fresh_postgres_url: str) -> None:
    given = ("-x", "timescale=require", "-x", "schema=b'ms", "-x", "prefix=hs_")
    script = (await alembic(fresh_postgres_url, *given, "upgrade", "head", "--sql")).stdout

    psql = await asyncpg.connect(fresh_postgres_url)
    try:
        await psql.execute(script)
    finally:
        await psql.close()

    assert await look(fresh_postgres_url, hypertables) == ["hs_history"]
    await ran(fresh_postgres_url, *given, "check")


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


async def test_connect_tells_what_to_run_when_it_may_not_create(sql_url: str) -> None:
    with pytest.raises(SchemaOutdatedError, match=r"db upgrade.*or the migrations") as caught:
        async with open_storage(sql_url, create="never"):
            pass

    assert (caught.value.found, caught.value.needed) == (None, migrate.HEAD)


async def test_a_database_of_a_newer_version_is_left_alone(sql_url: str) -> None:
    await migrate_by(sql_url, command.upgrade, "head")
    await look(sql_url, lambda c: c.execute(text("UPDATE hsorm_version SET version_num = '9999'")))

    with pytest.raises(SchemaOutdatedError, match="9999"):
        async with open_storage(sql_url):
            pass


def drop(connection: Connection, *names: str) -> None:
    """Drop tables as people do by hand, which leaves the functions of their triggers."""
    for name in names:
        cascade = "CASCADE" if connection.dialect.name == "postgresql" else ""
        connection.execute(text(f"DROP TABLE {name} {cascade}"))


async def test_what_was_dropped_by_hand_is_made_again(sql_url: str) -> None:
    await migrate_by(sql_url, command.upgrade, "head")
    first = await look(sql_url, shape)
    names = await look(sql_url, lambda connection: inspect(connection).get_table_names())
    await look(sql_url, lambda connection: drop(connection, *sorted(names, reverse=True)))

    async with open_storage(sql_url) as store:
        await store.load_entities([{"id": Ref("a")}])
        watch = await store.watch_sub(None, ["a"])
        await store.update({"id": Ref("a"), "n": 2})
        assert len(await store.watch_poll(watch.watch_id)) == 1  # by the triggers

    assert await look(sql_url, shape) == first


@pytest.mark.parametrize("create", ["auto", "never"])
async def test_tables_that_are_missing_are_named(sql_url: str, create: Any) -> None:
    await migrate_by(sql_url, command.upgrade, "head")
    await look(sql_url, lambda connection: drop(connection, "live", "watches"))

    with pytest.raises(
        StorageError,
        match=rf"no table live, watches, though hsorm_version says {migrate.HEAD}: "
        r"restore.*drop hsorm_version, .*entities,.* and run `hsorm db upgrade`",
    ):
        async with open_storage(sql_url, create=create):
            pass


@pytest.mark.parametrize(
    ("lose", "told"),
    [
        (lambda connection: drop(connection, "hsorm_version"), "no"),
        (lambda connection: connection.execute(text("DELETE FROM hsorm_version")), "nothing in"),
    ],
    ids=("table", "row"),
)
async def test_tables_without_their_version_are_left_alone(
    sql_url: str, lose: Callable[[Connection], Any], told: str
) -> None:
    """Restored without it, or another application's, or made by `create_all`."""
    await migrate_by(sql_url, command.upgrade, "head")
    await look(sql_url, lose)

    with pytest.raises(
        StorageError, match=rf"there is .*history.*but {told} hsorm_version.*prefix"
    ):
        async with open_storage(sql_url):
            pass

    await migrate_by(sql_url, command.stamp, migrate.HEAD)
    async with open_storage(sql_url, create="never") as store:
        assert await store.read_count("id") == 0


async def test_tables_that_somebody_else_makes_meanwhile(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at their revision and the one at the tables."""
    after_the_first_look(monkeypatch, migrate_by(sql_url, command.upgrade, "head"))

    async with open_storage(sql_url) as store:
        assert await store.read_count("id") == 0


async def test_a_newer_version_that_migrates_meanwhile(
    sql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While we wait for our turn to do so."""
    await migrate_by(sql_url, command.upgrade, "0004")
    newer = text("UPDATE hsorm_version SET version_num = '9999'")
    after_the_first_look(
        monkeypatch, look(sql_url, lambda connection: connection.execute(newer) and None)
    )

    with pytest.raises(SchemaOutdatedError, match="9999"):
        async with open_storage(sql_url):
            pass


def after_the_first_look(monkeypatch: pytest.MonkeyPatch, does: Coroutine[Any, Any, Any]) -> None:
    """Have somebody else do something once a revision was looked up, and before it is used."""
    revision_of, others = migrate.revision_of, [does]

    def slow(connection: Connection, **names: Any) -> str | None:
        found = revision_of(connection, **names)
        while others:
            other = Thread(target=asyncio.run, args=(others.pop(),))
            other.start()
            other.join()
        return found

    monkeypatch.setattr(migrate, "revision_of", slow)


async def test_an_empty_version_alone_is_no_fault(sql_url: str) -> None:
    """It is what a downgrade to the base leaves."""
    await migrate_by(sql_url, command.upgrade, "head")
    await migrate_by(sql_url, command.downgrade, "base")

    async with open_storage(sql_url) as store:
        assert await store.read_count("id") == 0


async def test_functions_of_another_schema_stay(fresh_postgres_url: str) -> None:
    """Also where they are the ones that the search path finds."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.load_entities([{"id": Ref("a")}])
        async with TimescaleAdapter(fresh_postgres_url, schema="bms"):
            pass
        watch = await store.watch_sub(None, ["a"])
        await store.update({"id": Ref("a"), "n": 2})

        assert len(await store.watch_poll(watch.watch_id)) == 1


async def test_a_url_names_the_tables_of_alembic_s_commands(fresh_postgres_url: str) -> None:
    url = f"{fresh_postgres_url}?prefix=hs_&schema=bms"

    await ran(url, "upgrade", "head")

    async with TimescaleAdapter(
        fresh_postgres_url, prefix="hs_", schema="bms", create="never"
    ) as store:
        assert await store.read_count("id") == 0
    assert "hs_live" in await ran(url, "-x", "prefix=hs_", "upgrade", "head", "--sql")


async def test_two_that_connect_at_once_to_an_empty_database_both_can(sql_url: str) -> None:
    async def open_and_count() -> int:
        async with open_storage(sql_url) as store:
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
    assert names == sorted(f"{prefix}{name}" for name in (*_TABLES, *_HOURS, "hsorm_version"))
    await ran(fresh_postgres_url, "-x", f"schema={schema}", "-x", f"prefix={prefix}", "check")


async def test_a_wish_that_is_none_is_refused(fresh_postgres_url: str) -> None:
    done = await alembic(fresh_postgres_url, "-x", "timescale=yes", "upgrade", "head")

    assert done.returncode == 1
    assert "timescale=yes: auto, require or off" in done.stderr
    assert (
        await look(fresh_postgres_url, lambda connection: inspect(connection).get_table_names())
        == []
    )


@pytest.fixture
def sqlite_url(tmp_path: Path, record_property: Callable[[str, object], None]) -> str:
    record_property("backend", "sqlite")
    return f"sqlite:///{tmp_path}/old.db"


async def test_rows_of_an_older_revision_get_into_the_side_table(sqlite_url: str) -> None:
    """0002 fills what it makes; up, down and up again it is the same, and as the models make it."""
    insert = "INSERT INTO entities VALUES ('{0}', '{{\"site\": 1, \"to\": {1}}}')"
    ref = '{"_kind": "ref", "val": "a"}'
    await migrate_by(sqlite_url, command.upgrade, "0001")
    old = (("a", "null"), ("b", ref), ("c", f"[{ref}, {ref}]"), ("d", '{"x": 5}'))
    sql = [insert.format(*row) for row in old]
    await look(sqlite_url, lambda c: [c.exec_driver_sql(one) and None for one in sql])

    async with open_storage(sqlite_url) as store:
        assert [await store.read_count(f) for f in ("site", "to", "to==@a", "to->x")] == [
            4,
            3,
            2,
            1,
        ]
    first = await look(sqlite_url, _tag_index)
    await migrate_by(sqlite_url, command.downgrade, "0001")
    without = await look(sqlite_url, _tag_index)
    await migrate_by(sqlite_url, command.upgrade, "head")

    assert without == ([], [])
    assert await look(sqlite_url, _tag_index) == first
    made = create_engine("sqlite://")
    metadata = MetaData()
    make_tables(metadata)
    metadata.create_all(made)
    with made.connect() as connection:
        assert _tag_index(connection)[0] == first[0]
    made.dispose()


def _tag_index(connection: Connection) -> tuple[list[Any], list[Any]]:
    """Return what makes the side table, and its rows."""
    made = "SELECT sql FROM sqlite_master WHERE name LIKE 'entity_tags%' ORDER BY name"
    sql = list(connection.exec_driver_sql(made).scalars())
    if not sql:
        return [], []
    rows = connection.exec_driver_sql("SELECT * FROM entity_tags ORDER BY 1, 2, 3")
    return sql, [tuple(row) for row in rows]


_LIVE_BEFORE = (
    '{"_kind": "dict", "id": {"_kind": "ref", "val": "p"}, "point": {"_kind": "marker"}, '
    '"curVal": {"_kind": "number", "val": 21.50, "unit": "°C"}, "curStatus": "ok", "n": 5}'
)


async def test_live_tags_of_older_tables_move_to_their_own(sql_url: str) -> None:
    """Whatever kind they are; other rows stay as they are, those of no dict among them."""
    await migrate_by(sql_url, command.upgrade, "0001")
    cast = "JSONB" if sql_url.startswith("postgresql") else "TEXT"

    def fill(connection: Connection) -> None:
        rows = [("p", _LIVE_BEFORE), ("q", '{"n": 6}'), ("odd", "[1]")]
        insert = text(f"INSERT INTO entities (id, tags) VALUES (:id, CAST(:tags AS {cast}))")
        for id, tags in rows:
            connection.execute(insert, {"id": id, "tags": tags})

    await look(sql_url, fill)
    await migrate_by(sql_url, command.upgrade, "head")
    await look(sql_url, lambda c: c.execute(text("DELETE FROM entities WHERE id = 'odd'")))

    async with open_storage(sql_url) as store:
        point = await store.read_by_id("p")
        assert (point["curVal"], point["curStatus"]) == (Number(21.5, "°C"), "ok")
        assert await store.read_count("curVal > 20°C and n == 5") == 1
        assert await store.read_count("not curVal and n == 6") == 1


async def test_whoever_writes_needs_no_search_path(fresh_postgres_url: str) -> None:
    """The triggers find their tables from anywhere."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.load_entities([{"id": Ref("a")}, {"id": Ref("b")}])
        watch = await store.watch_sub(None, ["a", "b"])
        other = await asyncpg.connect(
            fresh_postgres_url, server_settings={"search_path": "pg_catalog"}
        )
        try:
            await other.execute(
                "UPDATE public.entities SET tags = tags || '{\"n\": 1}' WHERE id = 'a'"
            )
            await other.execute("DELETE FROM public.entities WHERE id = 'b'")
        finally:
            await other.close()

        rows = await store.watch_poll(watch.watch_id)

        assert [row["id"].val for row in rows] == ["a"]
        assert rows.removed == [Ref("b")]
