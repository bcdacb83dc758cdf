"""`create_all` makes what the migrations make."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Connection, MetaData, create_engine, inspect, text

from hsorm import MARKER, Number, Ref
from hsorm.sql import make_tables, migrate
from hsorm.storage import bind

_TRIGGERS = """
SELECT pg_get_triggerdef(t.oid), pg_get_functiondef(t.tgfoid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.relnamespace = to_regnamespace(:schema)
"""


def _made(connection: Connection, schema: str) -> set[str]:
    rows = connection.execute(text(_TRIGGERS), {"schema": schema}).all()
    return {re.sub(rf"\b{schema}\b", "s", " ".join(row)).replace("  ", " ") for row in rows}


def test_the_same_triggers_on_postgresql(fresh_postgres_url: str) -> None:
    engine = create_engine(fresh_postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    metadata = MetaData()
    make_tables(metadata, prefix="x_", schema="made")
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA made"))
        metadata.create_all(connection)
        migrate.upgrade(connection, prefix="x_", schema="migrated", timescale="off")
        found = _made(connection, "made")
        assert found == _made(connection, "migrated")
        assert len(found) == 10
        metadata.create_all(connection)  # of what is there nothing is made again

        metadata.drop_all(connection)
        left = text("SELECT count(*) FROM pg_proc WHERE pronamespace = to_regnamespace('made')")
        assert connection.scalar(left) == 0
    engine.dispose()


def test_what_dropping_tables_alone_left_behind(sql_url: str) -> None:
    """As test-suites do that drop whatever tables there are, which knows nothing of functions."""
    engine = create_engine(sql_url.replace("postgresql://", "postgresql+psycopg://"))
    metadata, there = MetaData(), MetaData()
    tables = make_tables(metadata)
    with engine.begin() as connection:
        metadata.create_all(connection)
        there.reflect(connection)
        there.drop_all(connection)
        metadata.create_all(connection)
        bind(connection, tables=tables).create({"id": Ref("a")})
    engine.dispose()


def test_triggers_of_another_schema_stay(fresh_postgres_url: str) -> None:
    """Which is on the search path, too, and has tables of the same names."""
    engine = create_engine(fresh_postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    metadata = MetaData()
    make_tables(metadata)
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(text("CREATE SCHEMA tenant"))
        connection.execute(text("SET search_path = tenant, public"))
        metadata.create_all(connection, checkfirst=False)

        assert len(_made(connection, "public")) == len(_made(connection, "tenant")) == 10
    engine.dispose()


def test_the_same_triggers_on_sqlite(tmp_path: Path) -> None:
    made = create_engine(f"sqlite:///{tmp_path}/made.db")
    migrated = create_engine(f"sqlite:///{tmp_path}/migrated.db")
    metadata = MetaData()
    make_tables(metadata, prefix="x_")
    metadata.create_all(made)
    with migrated.begin() as connection:
        migrate.upgrade(connection, prefix="x_")
    asked = text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' OR name LIKE '%clock'")

    with made.connect() as one, migrated.connect() as other:
        assert sorted(map(tuple, one.execute(asked))) == sorted(map(tuple, other.execute(asked)))
    metadata.drop_all(made)
    assert inspect(made).get_table_names() == []
    made.dispose()
    migrated.dispose()


def test_a_storage_works_on_it(sql_url: str) -> None:
    """Watches, too, which are nothing without triggers."""
    schema = None if sql_url.startswith("sqlite") else "plant"
    engine = create_engine(sql_url.replace("postgresql://", "postgresql+psycopg://"))
    metadata = MetaData()
    tables = make_tables(metadata, prefix="hs_", schema=schema)
    with engine.begin() as connection:
        if schema:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
        metadata.create_all(connection)
    with engine.begin() as connection:
        store = bind(connection, tables=tables)
        store.load_entities([{"id": Ref("a"), "point": MARKER}])
        watch = store.watch_sub(None, ["a"])
    with engine.begin() as connection:
        bind(connection, tables=tables).set_live("a", {"curVal": Number(1)})
    with engine.begin() as connection:
        told = bind(connection, tables=tables).watch_poll(watch.watch_id)
        assert [row["curVal"] for row in told] == [Number(1)]
        bind(connection, tables=tables).delete("a")
    with engine.begin() as connection:
        told = bind(connection, tables=tables).watch_poll(watch.watch_id)
        assert told.removed == [Ref("a")]
    engine.dispose()
