"""`tag_index` on a host's own tables: made by `create_all` and Alembic, used by its queries."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    insert,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

import hsorm.sql.types
from hsorm import Entity, Number, Ref, Tags
from hsorm.sql import is_comparable, tag_index


class _Base(DeclarativeBase):
    pass


class Device(_Base):
    """A class that declares one index inside and one behind itself."""

    __tablename__ = "indexed_device"

    id: Mapped[str] = mapped_column(primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags())

    __table_args__ = (tag_index(tags, "area", "number"),)


tag_index(Device.tags, "dis", "string")
tag_index(Device.tags, "lastTs", "datetime")


@pytest.fixture
def engine(sql_url: str) -> Iterator[Engine]:
    engine = create_engine(sql_url.replace("postgresql://", "postgresql+psycopg://"))
    yield engine
    engine.dispose()


def _plan(connection: Any, statement: Any) -> str:
    explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
    compiled = statement.compile(connection, compile_kwargs={"render_postcompile": True})
    params = compiled.params
    if compiled.positiontup is not None:
        params = tuple(params[name] for name in compiled.positiontup)
    rows = connection.exec_driver_sql(explain + str(compiled), params)
    return "\n".join(str(row[-1]) for row in rows)


def test_a_host_s_queries_use_them(engine: Engine) -> None:
    """In the host's own statement, beside its own conditions, negated too."""
    _Base.metadata.create_all(engine)
    with engine.begin() as connection:
        rows = [
            {"id": f"d{i}", "tags": {"id": Ref(f"d{i}"), "area": Number(i, "m²"), "dis": f"D {i}"}}
            for i in range(20_000)
        ]
        connection.execute(insert(Device), rows)
        connection.execute(insert(Device), [{"id": "none", "tags": {"area": "big"}}])
        connection.execute(text("ANALYZE indexed_device"))

        large = Device.tags.matches("area > 19990m²")
        plan = _plan(connection, select(Device.id).where(large, Device.id != "d19999"))
        found = connection.scalars(select(Device.id).where(large, Device.id != "d19999")).all()
        other = connection.scalars(select(Device.id).where(~large)).all()

    assert "indexed_device_area_number_ix" in plan
    assert sorted(found) == [f"d{i}" for i in range(19_991, 19_999)]
    assert len(other) == 19_992  # two-valued: what has no number is not greater
    assert "none" in other


def _host_drift(connection: Connection) -> list[Any]:
    options = {"include_object": is_comparable}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, _Base.metadata))


# Alembic says so itself: expressions of SQLite's indexes cannot be read back.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
def test_alembic_finds_no_drift(engine: Engine) -> None:
    _Base.metadata.create_all(engine)
    with engine.begin() as connection:
        assert _host_drift(connection) == []


def test_alembic_makes_them_and_drops_them(fresh_postgres_url: str) -> None:
    """Autogenerate renders them, what it renders can be run, and one that is gone is dropped."""
    engine = create_engine(fresh_postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        context = MigrationContext.configure(connection)
        steps = produce_migrations(context, _Base.metadata).upgrade_ops
        assert steps is not None
        script = textwrap.dedent("    " + render_python_code(steps))
        names = {"op": Operations(context), "sa": sqlalchemy, "hsorm": hsorm}
        exec(script, names)  # noqa: S102 - what it generated
        assert _host_drift(connection) == []

        other = MetaData()
        Table("indexed_device", other, Column("id", String, primary_key=True), Column("tags", Tags))
        options = {"include_object": is_comparable}
        drift = compare_metadata(MigrationContext.configure(connection, opts=options), other)
    engine.dispose()
    assert sorted(step[1].name for step in drift if step[0] == "remove_index") == [
        "indexed_device_area_number_ix",
        "indexed_device_dis_string_ix",
        "indexed_device_lastTs_datetime_ix",
    ]


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_a_migration_can_make_one_on_every_database(engine: Engine) -> None:
    """`op.execute(CreateIndex(…))`, for Alembic renders none on SQLite."""
    table = Table("thing", MetaData(), Column("id", Text, primary_key=True), Column("tags", Tags()))
    with engine.begin() as connection:
        connection.execute(CreateTable(table))
        operations = Operations(MigrationContext.configure(connection))
        operations.execute(CreateIndex(tag_index(table.c.tags, "area", "number")))
        connection.execute(insert(table), [{"id": "a", "tags": {"area": Number(5)}}])


def test_on_a_plain_table(engine: Engine) -> None:
    metadata = MetaData()
    table = Table("thing", metadata, Column("id", Text, primary_key=True), Column("tags", Tags()))
    index = tag_index(table.c.tags, "area", "number")

    metadata.create_all(engine)

    assert index.name == "thing_area_number_ix"
    assert table.indexes == {index}


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("area", "int", "number, string, date or datetime, not 'int'"),
        ("Area", "number", "'Area' is no name of a tag"),
        ("a'b", "number", "is no name of a tag"),
    ],
)
def test_what_cannot_be_declared(name: str, kind: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        tag_index(Device.tags, name, kind)


def test_long_names_stay_apart() -> None:
    table = Table("t" * 40, MetaData(), Column("tags", Tags()))
    names = {tag_index(table.c.tags, "a" * 55 + end, "number").name for end in "xyz"}

    assert len(names) == 3
    assert all(len(str(name)) <= 63 for name in names)
