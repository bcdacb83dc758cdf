"""The migrations, from an installed package: which revision a database has, and on to the newest.

They are those of the folder `alembic/` of the project, which the wheel carries along.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypedDict

from sqlalchemy import Connection, column, inspect, literal_column, select, table
from sqlalchemy.schema import CreateSchema

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    from hsorm.sql.models import Tables

__all__ = [
    "HEAD",
    "VERSION_TABLE",
    "Extension",
    "Settings",
    "config",
    "gap_in",
    "prepare",
    "revision_of",
    "script_folder",
    "upgrade",
]

HEAD: Final = "0005"
"""The revision that this version of hsorm works with."""

VERSION_TABLE: Final = "hsorm_version"
"""Our own version table, so that a host's migrations and ours do not meet."""

Extension: TypeAlias = Literal["auto", "require", "off"]
"""Whether to use an extension: where it is to be had, always (or fail), or never.

TimescaleDB is to be had where the server offers it, PostGIS where the database has it already.
"""

# Two processes that migrate one database at a time: the second waits. Any number, but always the
# same.
_LOCK: Final = 4_801_477_281


class Settings(TypedDict):
    """What a revision asks for: the option `hsorm` of the migration context that runs it.

    Attributes:
        prefix: Stands before every name of a table.
        schema: The schema of the tables.
        timescale: Whether history becomes a hypertable.
        postgis: Whether entities get a geography column.
        lose_data: Whether a downgrade may drop tables that have rows.
    """

    prefix: str
    schema: str | None
    timescale: Extension
    postgis: Extension
    lose_data: bool


def script_folder() -> Path:
    """Return the folder of the migrations: in the package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    shipped = package / "_alembic"
    return shipped if shipped.is_dir() else package.parent / "alembic"


def config(
    connection: Connection | None = None,
    *,
    prefix: str = "",
    schema: str | None = None,
    timescale: Extension = "auto",
    postgis: Extension = "auto",
) -> Config:
    """Return an Alembic configuration for our migrations.

    Args:
        connection: Run on this connection, in its transaction; None leaves it to `env.py`.
        prefix: As in `make_tables`.
        schema: As in `make_tables`.
        timescale: Whether history becomes a hypertable.
        postgis: Whether entities get a geography column.
    """
    # Alembic takes a tenth of a second to import, and most connects need no migration.
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    made.attributes.update(
        connection=connection, prefix=prefix, schema=schema, timescale=timescale, postgis=postgis
    )
    return made


def upgrade(
    connection: Connection,
    *,
    prefix: str = "",
    schema: str | None = None,
    timescale: Extension = "auto",
    postgis: Extension = "auto",
) -> None:
    """Bring the tables of a database to the newest revision, in the connection's transaction."""
    from alembic import command

    made = config(connection, prefix=prefix, schema=schema, timescale=timescale, postgis=postgis)
    command.upgrade(made, "head")


def prepare(context: MigrationContext, schema: str | None) -> None:
    """Do what comes first in a transaction that migrates; printed where SQL is printed.

    On PostgreSQL that is to wait for who else migrates, and to make the schema. On SQLite it is to
    begin: by itself Python's sqlite3 does so at the first change of rows, not of tables.
    """
    connection = context.connection
    if context.dialect.name == "postgresql":
        context.execute(select(literal_column(f"pg_advisory_xact_lock({_LOCK})")))
        # To make one takes a right that whoever has the tables may not have, even if it is there.
        there = not context.as_sql and schema is not None and _has_schema(connection, schema)
        if schema is not None and not there:
            context.execute(CreateSchema(schema, if_not_exists=True))
    elif context.dialect.name == "sqlite" and connection is not None and not context.as_sql:
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")


def _has_schema(connection: Connection | None, schema: str) -> bool:
    return connection is not None and inspect(connection).has_schema(schema)


def gap_in(
    connection: Connection,
    tables: Tables,
    found: str | None,
    *,
    prefix: str = "",
    schema: str | None = None,
) -> str | None:
    """Return what the tables lack for their revision, and what to do; None where it is nothing.

    Somebody dropped some by hand, or restored them without the version table or what is in it.

    Args:
        connection: Of the database, after the revision was looked up on it.
        tables: Those that are to be there.
        found: Their revision.
        prefix: What stands before every name.
        schema: Their schema, None for the database's own.
    """
    if found not in (None, HEAD):
        return None  # other tables than these
    version = f"{prefix}{VERSION_TABLE}"
    ours, there = tables.names_on(connection.dialect.name), inspect(connection)
    names = set(there.get_table_names(schema=schema))
    missing, left = ", ".join(sorted(ours - names)), ", ".join(sorted(ours & names))
    if found is not None and missing:
        anew = ", ".join(filter(None, (version, left)))
        return (
            f"there is no table {missing}, though {version} says {found}: restore it from a "
            f"backup, or, to begin anew, drop {anew} and run `hsorm db upgrade`"
        )
    if found is None and left:
        lacking = "nothing in" if version in names else "no"
        return (
            f"there is {left}, but {lacking} {version} that says of which revision: restore that, "
            "too, or name tables that are yours with a prefix; docs/migrations.md says more"
        )
    return None


def revision_of(
    connection: Connection, *, prefix: str = "", schema: str | None = None
) -> str | None:
    """Return the revision of our tables in a database, None where there are none."""
    name = f"{prefix}{VERSION_TABLE}"
    if not inspect(connection).has_table(name, schema=schema):
        return None
    versions = table(name, column("version_num"), schema=schema)
    found: str | None = connection.execute(select(versions.c.version_num)).scalar()
    return found
