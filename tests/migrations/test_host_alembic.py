"""Our tables in a host's own Alembic, by the `env.py` of docs/migrations.md."""

from __future__ import annotations

import asyncio
import importlib
import io
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, inspect, select, text
from sqlalchemy.orm import Session

from alembic import command
from hsorm import Number, Ref
from hsorm.sql import migrate
from hsorm.sql.urls import sqlite_path
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.sqlite import SqliteAdapter
from hsorm.storage.timescale import TimescaleAdapter

PAGE = (Path(__file__).parents[2] / "docs" / "migrations.md").read_text("utf-8")
INCLUDED, BESIDE = re.findall(r"```python\n(# env\.py.*?)```", PAGE, re.DOTALL)

HEAD = repr(migrate.HEAD)

OURS = {
    *("hs_entities", "hs_history", "hs_history_changes", "hs_live", "hs_point_arrays"),
    *("hs_removals", "hs_watch_ids", "hs_watches", "hs_hsorm_version"),
}

MODELS = """
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from hsorm import Entity, Tags
from hsorm.sql import EntityMixin, HistoryMixin, MutableTags, tag_index


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Device(Base):
    __tablename__ = "device"
    id: Mapped[str] = mapped_column(primary_key=True)
    tags: Mapped[Entity] = mapped_column(
        MutableTags.as_mutable(Tags(refs={"siteRef": lambda: Device}))
    )
    entity_id: Mapped[str | None] = mapped_column(ForeignKey("SCHEMAhs_entities.id"))


class Asset(EntityMixin, Base):
    __tablename__ = "asset"


class Reading(HistoryMixin, Base):
    __tablename__ = "reading"
"""

TEMPLATE = '''"""${message}"""
import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


# What no database has a part in.
on_one = pytest.mark.parametrize("sql_url", ["sqlite"], indirect=True)


@dataclass
class Host:
    """An application with an Alembic of its own."""

    folder: Path
    url: str
    schema: str | None
    prefix: str = "hs_"

    def run(
        self, run: Callable[..., Any], *args: Any, x: list[str] | None = None, **options: Any
    ) -> str:
        """Run one of Alembic's commands and return what it printed."""
        printed = io.StringIO()
        config = Config(output_buffer=printed, stdout=printed)
        config.set_main_option("script_location", str(self.folder / "migrations"))
        config.set_main_option("sqlalchemy.url", self.sync_url)
        config.cmd_opts = _Options(x)  # type: ignore[assignment]  # of argparse's, this much is read
        run(config, *args, **options)
        return printed.getvalue()

    @property
    def sync_url(self) -> str:
        return self.url.replace("postgresql://", "postgresql+psycopg://")

    def write(self, message: str) -> str:
        """Have autogenerate write a revision, and return its text."""
        self.run(command.revision, message=message, autogenerate=True, rev_id=message)
        (written,) = (self.folder / "migrations" / "versions").glob(f"{message}_*.py")
        return written.read_text("utf-8")

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        engine = create_engine(self.sync_url)
        with engine.begin() as connection:
            yield connection
        engine.dispose()

    def tables(self) -> set[str]:
        with self.connected() as connection:
            found = inspect(connection)
            return set(found.get_table_names()) | set(found.get_table_names(self.schema))

    def revision(self) -> str | None:
        with self.connected() as connection:
            return migrate.revision_of(connection, prefix=self.prefix, schema=self.schema)

    def store(self) -> StorageAdapter:
        if self.url.startswith("sqlite"):
            return SqliteAdapter(sqlite_path(self.url), prefix=self.prefix, create="never")
        return TimescaleAdapter(self.url, prefix=self.prefix, schema=self.schema, create="never")


@dataclass
class _Options:
    x: list[str] | None

    def __getattr__(self, name: str) -> None:
        return None


@pytest.fixture
def host(
    sql_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Callable[[str], Host]:
    """Make a host by the text of its env.py; on one of the servers our tables are in a schema."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("myapp", "myapp.models"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def make(env: str) -> Host:
        schema = "bms" if request.node.callspec.params["sql_url"] == "timescale" else None
        versions = tmp_path / "migrations" / "versions"
        versions.mkdir(parents=True)
        (tmp_path / "myapp").mkdir()
        (tmp_path / "myapp" / "__init__.py").touch()
        models = MODELS.replace("SCHEMA", f"{schema}." if schema else "")
        (tmp_path / "myapp" / "models.py").write_text(models)
        named = f'prefix="hs_", schema={schema!r}'
        (tmp_path / "migrations" / "env.py").write_text(env.replace('prefix="hs_"', named))
        (tmp_path / "migrations" / "script.py.mako").write_text(TEMPLATE)
        return Host(tmp_path, sql_url, schema)

    return make


async def use(host: Host) -> None:
    """Store an entity and some history, as an adapter that may make nothing."""
    async with host.store() as store:
        await store.load_entities([{"id": Ref("a"), "n": 1}])
        watch = await store.watch_sub(None, ["a"])
        await store.update({"id": Ref("a"), "n": 2})
        assert len(await store.watch_poll(watch.watch_id)) == 1  # by the triggers


async def test_included_tables_come_with_the_host_s_revisions(host: Callable[[str], Host]) -> None:
    app = host(INCLUDED)

    written = app.write("first")
    app.run(command.upgrade, "head")
    app.run(command.check)
    await use(app)

    schema = f", schema={app.schema!r}" if app.schema else ""
    up = f"    hsorm.sql.alembic_host.upgrade({HEAD}, prefix='hs_'{schema})\n"
    down = f"    hsorm.sql.alembic_host.downgrade('base', since={HEAD}, prefix='hs_'{schema})\n"
    assert up in written
    assert down in written
    assert "\nimport hsorm.sql.alembic_host\nimport hsorm.sql.types\n" in written
    assert "hsorm.sql.types.Tags()" in written
    assert "hsorm.sql.types.Instant()" in written
    assert "hs_live" not in written
    assert app.tables() >= OURS | {"device", "asset", "reading", "alembic_version"}
    assert app.revision() == migrate.HEAD
    with pytest.raises(SystemExit, match=r"has rows.*lose_data=True"):
        app.run(command.downgrade, "base")


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
async def test_what_people_and_databases_add_is_no_difference(
    host: Callable[[str], Host], env: str
) -> None:
    app = host(env.replace("prefix=", "compare_server_default=True, prefix="))
    app.write("first")
    app.run(command.upgrade, "head")
    async with app.store() as store:
        await store.create_indexes({"area": "number"}, search=True)  # type: ignore[attr-defined]

    app.run(command.check)


async def test_included_tables_go_down_and_up_again(host: Callable[[str], Host]) -> None:
    app = host(INCLUDED)
    written = app.write("first")
    may = written.replace("downgrade('base',", "downgrade('base', lose_data=True,")
    (app.folder / "migrations" / "versions" / "first_first.py").write_text(may)
    app.run(command.upgrade, "head")
    await use(app)

    app.run(command.downgrade, "base")
    left, revision = app.tables(), app.revision()
    app.run(command.upgrade, "head")

    assert left == {"alembic_version", "hs_hsorm_version"}
    assert revision is None
    assert app.tables() >= OURS


def test_a_newer_hsorm_is_a_revision_more(host: Callable[[str], Host]) -> None:
    """Instead of columns and tables one by one, to which triggers belong."""
    app = host(INCLUDED)
    app.write("first")
    only_0001 = app.folder / "migrations" / "versions" / "first_first.py"
    # A blank more: of one size and one second, Python would take the bytecode of before.
    only_0001.write_text(only_0001.read_text().replace(HEAD, "'0001' "))
    app.run(command.upgrade, "head")

    with pytest.raises(CommandError, match=rf"hsorm_tables.*0001.*{HEAD}"):
        app.run(command.check)
    written = app.write("second")
    app.run(command.upgrade, "head")
    app.run(command.check)

    assert f"alembic_host.upgrade({HEAD}, since='0001'" in written
    assert f"alembic_host.downgrade('0001', since={HEAD}" in written
    assert "op." not in written.partition("def upgrade")[2]
    assert app.revision() == migrate.HEAD
    app.run(command.downgrade, "-1")
    assert app.revision() == "0001"


@on_one
async def test_an_older_line_leaves_newer_tables_alone(host: Callable[[str], Host]) -> None:
    """Such as an adapter made before the host's revisions were run."""
    app = host(INCLUDED)
    app.write("first")
    written = app.folder / "migrations" / "versions" / "first_first.py"
    written.write_text(written.read_text().replace(HEAD, "'0002'"))
    async with SqliteAdapter(sqlite_path(app.url), prefix="hs_") as store:
        await store.load_entities([{"id": Ref("a")}])

    app.run(command.upgrade, "head")

    assert app.revision() == migrate.HEAD
    await use(app)


@on_one
def test_a_plain_revision_has_nothing_of_ours(host: Callable[[str], Host]) -> None:
    app = host(INCLUDED)

    app.run(command.revision, message="empty", rev_id="empty")

    (written,) = (app.folder / "migrations" / "versions").glob("empty_*.py")
    assert "hsorm" not in written.read_text()


async def test_tables_beside_follow_upgrades_alone(host: Callable[[str], Host]) -> None:
    app = host(BESIDE)

    app.run(command.current)
    before = app.tables()
    written = app.write("first")
    app.run(command.upgrade, "head")
    app.run(command.check)
    await use(app)
    app.run(command.downgrade, "base")

    assert not before & OURS
    assert "alembic_host" not in written
    assert "create_table('hs_" not in written
    assert app.tables() >= OURS | {"alembic_version"}
    assert "device" not in app.tables()
    assert app.revision() == migrate.HEAD
    app.run(command.upgrade, "head")
    assert "device" in app.tables()


@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
async def test_the_printed_sql_does_the_same(host: Callable[[str], Host], env: str) -> None:
    app = host(env)
    app.write("first")

    script = app.run(command.upgrade, "head", sql=True)
    assert app.tables() == {"alembic_version"}
    _execute(app, f"DROP TABLE alembic_version;\n{script}")

    app.run(command.check)
    await use(app)
    assert app.revision() == migrate.HEAD


@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
async def test_a_transaction_for_each_revision(host: Callable[[str], Host]) -> None:
    """Then the host's block is none, and ours is opened by us; printed, too."""
    app = host(BESIDE.replace("prefix=", "transaction_per_migration=True, prefix="))
    app.write("first")

    script = app.run(command.upgrade, "head", sql=True)
    app.run(command.upgrade, "head")

    assert app.tables() >= OURS
    assert script.count("BEGIN;") == script.count("COMMIT;") == 2
    _execute(app, "DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + script)
    await use(app)


@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
def test_an_asynchronous_driver_will_do(host: Callable[[str], Host], env: str) -> None:
    head, _, body = env.partition("    with create_engine")
    body = body.partition("\n")[2]
    asynchronous = f"""
    import asyncio
    from sqlalchemy.ext.asyncio import create_async_engine

    def migrate(connection):
{body}
    async def main():
        engine = create_async_engine(url.replace("psycopg", "asyncpg"), poolclass=NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(migrate)

    asyncio.run(main())
"""
    app = host(head + asynchronous)

    app.write("first")
    app.run(command.upgrade, "head")
    app.run(command.check)

    assert app.tables() >= OURS
    assert app.revision() == migrate.HEAD


@on_one
def test_the_printed_sql_of_tables_beside_begins_where_it_is_told(
    host: Callable[[str], Host],
) -> None:
    app = host(BESIDE)

    from_0002 = app.run(command.upgrade, "head", sql=True, x=["hsorm_from=0002"])
    nothing = app.run(command.upgrade, "head", sql=True, x=[f"hsorm_from={migrate.HEAD}"])

    assert "hs_live" in from_0002
    assert "hs_history (" not in from_0002
    assert "hs_" not in nothing.replace("hs_hsorm", "")


@on_one
def test_tables_beside_stay_whatever_was_run_before(host: Callable[[str], Host]) -> None:
    """A statement of the host's begins a transaction, which nobody else may be there to end."""
    configure = "context.configure(connection=connection, **options)"
    pragma = '        connection.exec_driver_sql("PRAGMA foreign_keys")'
    app = host(BESIDE.replace(configure, f"{configure}\n{pragma}"))

    app.run(command.upgrade, "head")

    assert app.tables() >= OURS


@on_one
@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
async def test_a_host_may_change_its_tables_in_batches(
    host: Callable[[str], Host], env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite copies a table to change it, and with it its foreign key to ours."""
    app = host(env.replace("prefix=", "render_as_batch=True, prefix="))
    app.write("first")
    app.run(command.upgrade, "head")
    models = app.folder / "myapp" / "models.py"
    unique = "    serial: Mapped[str | None] = mapped_column(unique=True)\n    tags: Mapped[Entity]"
    models.write_text(models.read_text().replace("    tags: Mapped[Entity]", unique))
    for name in ("myapp", "myapp.models"):
        monkeypatch.delitem(sys.modules, name)

    written = app.write("second")
    app.run(command.upgrade, "head")
    app.run(command.check)
    await use(app)
    app.run(command.downgrade, "-1")

    assert "batch_alter_table('device'" in written
    assert "hs" not in written.partition("def upgrade")[2]
    assert app.tables() >= OURS


@on_one
@pytest.mark.parametrize("way", ["included", "beside"])
@pytest.mark.parametrize("template", ["generic", "async"])
async def test_few_lines_change_in_what_alembic_init_writes(
    host: Callable[[str], Host], way: str, template: str
) -> None:
    app = host("")
    shutil.rmtree(app.folder / "migrations")
    config = Config(app.folder / "alembic.ini", stdout=io.StringIO())
    command.init(config, str(app.folder / "migrations"), template=template)
    url = app.url.replace("sqlite:", "sqlite+aiosqlite:") if template == "async" else app.url
    ini = app.folder / "alembic.ini"
    ini.write_text(ini.read_text().replace("driver://user:pass@localhost/dbname", url))
    env = app.folder / "migrations" / "env.py"
    changed = env.read_text().replace("target_metadata=target_metadata", "**options")
    made = f'options = alembic_host.{way}(Base.metadata, prefix="hs_")'
    imports = "from hsorm.sql import alembic_host\nfrom myapp.models import Base\n"
    changed = changed.replace("target_metadata = None", imports + made)
    if way == "beside":
        run = r"( +)(context.run_migrations)"
        changed = re.sub(run, r"\1alembic_host.run_beside()\n\1\2", changed)
    env.write_text(changed)

    # In a thread, for the asynchronous template runs a loop of its own.
    await asyncio.to_thread(command.revision, config, "first", autogenerate=True)
    await asyncio.to_thread(command.upgrade, config, "head")
    await asyncio.to_thread(command.check, config)

    await use(app)


@on_one
async def test_of_several_databases_one_has_our_tables(host: Callable[[str], Host]) -> None:
    """Alembic keeps options from one database to the next, so ours are there for all of them."""
    app = host("")
    shutil.rmtree(app.folder / "migrations")
    ini, env = app.folder / "alembic.ini", app.folder / "migrations" / "env.py"
    config = Config(ini, stdout=io.StringIO())
    command.init(config, str(app.folder / "migrations"), template="multidb")
    second = f"sqlite:///{app.folder / 'second.db'}"
    urls = ini.read_text().replace("driver://user:pass@localhost/dbname2", second)
    ini.write_text(urls.replace("driver://user:pass@localhost/dbname", app.url))
    options = """
from sqlalchemy import MetaData
from hsorm.sql import alembic_host
from myapp.models import Base
options = {
    "engine1": alembic_host.included(Base.metadata, prefix="hs_"),
    "engine2": {"target_metadata": MetaData()},
}
"""
    changed = env.read_text().replace("target_metadata = {}", options)
    env.write_text(changed.replace("target_metadata=target_metadata.get(name)", "**options[name]"))

    command.revision(config, "first", autogenerate=True)
    command.upgrade(config, "head")
    command.check(config)

    await use(app)
    assert Host(app.folder, second, None).tables() == {"alembic_version"}


@pytest.mark.parametrize("first", ["included", "beside"])
@pytest.mark.parametrize("second", ["included", "beside"])
async def test_two_storages_in_one_host(
    host: Callable[[str], Host], first: str, second: str, sql_url: str
) -> None:
    """Of another prefix, or of the same one in another schema."""
    app = host("")
    lab = Host(app.folder, sql_url, app.schema, prefix="lab_")
    if app.schema is None and not sql_url.startswith("sqlite"):
        lab = Host(app.folder, sql_url, "lab")
    if lab.schema is not None:
        made = (
            f"CREATE SCHEMA {lab.schema}; CREATE TABLE {lab.schema}.precious (id int PRIMARY KEY)"
        )
        _execute(app, made)
    if second == "beside":  # the models have its tables themselves
        models = app.folder / "myapp" / "models.py"
        attach = f"make_tables(Base.metadata, prefix={lab.prefix!r}, schema={lab.schema!r})"
        models.write_text(f"{models.read_text()}\nfrom hsorm.sql import make_tables\n{attach}\n")
    made = f"""
options = alembic_host.{first}(Base.metadata, prefix="hs_", schema={app.schema!r})
options = alembic_host.{second}(
    Base.metadata, prefix={lab.prefix!r}, schema={lab.schema!r}, **options
)
"""
    both = re.sub(r"options = .*", made, BESIDE)
    if "beside" not in (first, second):
        both = re.sub(r" +alembic_host.run_beside.*\n", "", both)
    (app.folder / "migrations" / "env.py").write_text(both)

    written = app.write("first")
    app.run(command.upgrade, "head")
    app.run(command.check)
    await use(app)
    await use(lab)
    again = app.write("second")

    assert written.count("alembic_host.upgrade(") == [first, second].count("included")
    assert written.count("alembic_host.downgrade(") == [first, second].count("included")
    assert (app.revision(), lab.revision()) == (migrate.HEAD, migrate.HEAD)
    assert "precious" not in written
    assert "hsorm" not in again


@on_one
def test_two_storages_need_two_names(host: Callable[[str], Host]) -> None:
    made = 'options = alembic_host.included(Base.metadata, prefix="hs_")'
    again = 'options = alembic_host.beside(Base.metadata, prefix="hs_", **options)'
    app = host(INCLUDED.replace(made, f"{made}\n{again}"))

    with pytest.raises(ValueError, match="hs_… are given twice"):
        app.write("first")


@on_one
async def test_the_printed_sql_is_of_both_storages(host: Callable[[str], Host]) -> None:
    made = 'options = alembic_host.beside(Base.metadata, prefix="hs_")'
    more = 'options = alembic_host.beside(Base.metadata, prefix="lab_", **options)'
    app = host(BESIDE.replace(made, f"{made}\n{more}"))

    _execute(app, app.run(command.upgrade, "head", sql=True))

    await use(app)
    await use(Host(app.folder, app.url, None, prefix="lab_"))


@on_one
def test_tables_beside_need_their_options(host: Callable[[str], Host]) -> None:
    app = host(BESIDE.replace("**options", "target_metadata=Base.metadata"))

    with pytest.raises(RuntimeError, match=r"beside\(…\)"):
        app.run(command.upgrade, "head")


@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
def test_the_schema_of_the_database_is_not_to_be_named(host: Callable[[str], Host]) -> None:
    """Alembic would take all that is in it for something else, and want it dropped."""
    app = host(INCLUDED)
    env = app.folder / "migrations" / "env.py"
    env.write_text(env.read_text().replace("schema=None", 'schema="public"'))
    models = app.folder / "myapp" / "models.py"
    models.write_text(models.read_text().replace('"hs_entities', '"public.hs_entities'))

    with pytest.raises(ValueError, match="leave out schema='public'"):
        app.write("first")


@on_one
@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
def test_tables_of_a_host_may_be_in_several_places(host: Callable[[str], Host], env: str) -> None:
    more = "\nfrom sqlalchemy import Column, Integer, MetaData, Table\nmore = MetaData()\n"
    more += 'Table("other", more, Column("id", Integer, primary_key=True))\n'
    app = host(
        env.replace("\nurl =", f"{more}\nurl =").replace("(Base.metadata", "([Base.metadata, more]")
    )

    app.write("first")
    app.run(command.upgrade, "head")
    app.run(command.check)

    assert app.tables() >= OURS | {"device", "other"}


@pytest.mark.parametrize("sql_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
def test_the_schema_of_the_host_s_metadata_is_that_of_ours(
    host: Callable[[str], Host], env: str
) -> None:
    """As it is of every table in it that names none."""
    app = host(env)
    app.schema = "app"
    models = app.folder / "myapp" / "models.py"
    in_app = models.read_text().replace("MetaData(", 'MetaData(schema="app", ')
    models.write_text(in_app.replace('"hs_entities', '"app.hs_entities'))
    _execute(app, "CREATE SCHEMA app")

    written = app.write("first")
    app.run(command.upgrade, "head")
    app.run(command.check)

    assert "create_table('hs_" not in written
    assert app.tables() >= OURS
    assert app.revision() == migrate.HEAD


@on_one
@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
@pytest.mark.parametrize("name", ["hs_history", "hs_hsorm_version"])
def test_a_table_of_the_host_s_is_not_taken_for_ours(
    host: Callable[[str], Host], env: str, name: str
) -> None:
    app = host(env)
    models = app.folder / "myapp" / "models.py"
    models.write_text(models.read_text().replace('= "reading"', f'= "{name}"'))

    with pytest.raises(ValueError, match=rf"{name}.*prefix"):
        app.write("first")


@pytest.mark.parametrize("sql_url", ["timescale"], indirect=True)
def test_other_schemas_are_other_people_s(host: Callable[[str], Host]) -> None:
    """Also to a host that filters names, but had no schemas before ours."""
    own = "\ndef include_name(name, type_, parents):\n    return True\n"
    env = INCLUDED.replace("\nurl =", f"{own}\nurl =")
    app = host(env.replace("prefix=", "include_name=include_name, prefix="))
    _execute(app, "CREATE SCHEMA theirs; CREATE TABLE theirs.precious (id int PRIMARY KEY)")

    assert "precious" not in app.write("first")


@on_one
@pytest.mark.parametrize("env", [INCLUDED, BESIDE], ids=["included", "beside"])
async def test_models_may_have_our_tables_themselves(host: Callable[[str], Host], env: str) -> None:
    """As they must where foreign keys lead to ours: an application has no env.py."""
    app = host(env)
    models = app.folder / "myapp" / "models.py"
    more = """
from hsorm.sql import make_tables

ours = make_tables(Base.metadata, prefix="hs_")

class Stored(Base):
    __table__ = ours.entities
"""
    models.write_text(models.read_text() + more)

    written = app.write("first")
    app.run(command.upgrade, "head")
    app.run(command.check)
    await use(app)
    myapp: Any = importlib.import_module("myapp.models")
    with app.connected() as connection, Session(connection) as session:
        session.add(myapp.Device(id="d", tags={}, entity_id="a"))
        session.flush()
        (stored,) = session.scalars(select(myapp.Stored))
        assert stored.tags["n"] == Number(2)

    assert "create_table('hs_" not in written


@on_one
def test_filters_of_the_host_are_asked_too(host: Callable[[str], Host]) -> None:
    own = """
def include_name(name, type_, parents):
    return name != "foreign"

def include_object(object_, name, type_, reflected, compare_to):
    return name != "asset"

def render_item(type_, object_, context):
    return "sa.Text()" if type_ == "type" and "String" in repr(object_) else False
"""
    env = INCLUDED.replace("\nurl =", f"{own}\nurl =")
    given = "include_name=include_name, include_object=include_object, render_item=render_item"
    app = host(env.replace("prefix=", f"{given}, prefix="))
    with app.connected() as connection:
        connection.execute(text("CREATE TABLE foreign_ (id INTEGER PRIMARY KEY)"))
        connection.execute(text('ALTER TABLE foreign_ RENAME TO "foreign"'))

    written = app.write("first")

    assert "foreign" not in written.replace("sa.ForeignKey", "").replace("foreign key", "")
    assert "'asset'" not in written
    assert "sa.Column('id', sa.Text(), nullable=False)" in written


def _execute(app: Host, script: str) -> None:
    """Run a whole script, as psql and sqlite3 do."""
    if app.url.startswith("sqlite"):
        with closing(sqlite3.connect(sqlite_path(app.url))) as connection:
            connection.executescript(script)
        return
    with psycopg.connect(app.url, autocommit=True) as connection:
        connection.execute(script)
