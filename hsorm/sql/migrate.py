"""The migrations, from an installed package: which revision a database has, and on to the newest.

They are those of the folder `alembic/` of the project, which the wheel carries along.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from sqlalchemy import Connection, column, inspect, select, table

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = ["HEAD", "VERSION_TABLE", "Extension", "config", "revision_of", "upgrade"]

HEAD: Final = "0004"
"""The revision that this version of hsorm works with."""

VERSION_TABLE: Final = "hsorm_version"
"""Our own version table, so that a host's migrations and ours do not meet."""

Extension: TypeAlias = Literal["auto", "require", "off"]
"""Whether to use an extension: where it is to be had, always (or fail), or never.

TimescaleDB is to be had where the server offers it, PostGIS where the database has it already.
"""


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
