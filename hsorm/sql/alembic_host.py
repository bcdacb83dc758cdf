"""Our tables in a host application's Alembic: in its own revisions, or beside them.

In its `env.py` a host gives what one of these returns to `context.configure`:

* `included`: our tables are part of the host's. A revision that autogenerate writes makes them, and
  brings them up when a newer hsorm is installed.
* `beside`: ours keep to themselves, with a version table of their own. `run_beside` brings them up
  whenever the host's are.

Either way autogenerate sees no difference in our tables, leaves alone what only the database knows
of (our version table, side tables, indexes that people declare), and writes our types with their
imports. docs/migrations.md shows both. A host with several storages gives the options of one to
the call for the next: `included(metadata, prefix="b_", **included(metadata, prefix="a_"))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

import alembic.context
import alembic.op
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations
from alembic.operations.ops import UpgradeOps
from alembic.runtime.migration import MigrationContext
from alembic.runtime.plugins import Plugin
from alembic.script import ScriptDirectory
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, MetaData

from hsorm.sql.geo import is_geo
from hsorm.sql.indexes import is_comparable, is_declared
from hsorm.sql.migrate import (
    HEAD,
    VERSION_TABLE,
    Extension,
    Settings,
    prepare,
    revision_of,
    script_folder,
)
from hsorm.sql.models import OBJ, is_ours, make_tables, only_on
from hsorm.sql.types import Tags

__all__ = ["beside", "downgrade", "included", "run_beside", "upgrade"]

_OPTION: Final = "hsorm"
_INCLUDED: Final = "hsorm_included"
_BESIDE: Final = "hsorm_beside"
_MODULE: Final = "hsorm.sql.alembic_host"
_TYPES: Final = Tags.__module__
_PLUGIN: Final = "hsorm.tables"
_OBJ_TEXT: Final = (
    "sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), 'postgresql')"
)


# ---- what env.py asks for -----------------------------------------------------------------------


def included(
    metadata: MetaData | Sequence[MetaData],
    *,
    prefix: str = "",
    schema: str | None = None,
    timescale: Extension = "auto",
    postgis: Extension = "auto",
    **own: Any,
) -> dict[str, Any]:
    """Return options for `context.configure` with which our tables are part of the host's.

    Args:
        metadata: The host's tables; ours join them (the first, of several), if `make_tables` has
            not put them there.
        prefix: As in `make_tables`.
        schema: As in `make_tables`: None for the (first) MetaData's own, or else the database's,
            such as `public`.
        timescale: Whether history becomes a hypertable, in the revision that makes it.
        postgis: Whether entities get a geography column, in the revision that makes it.
        own: Other options for `context.configure`; `include_name`, `include_object` and
            `render_item` are asked where ours have nothing to say. Or those of another storage, as
            this or `beside` has returned them.

    Raises:
        ValueError: A table of the host's has the name of one of ours, or this storage is among the
            options already.
    """
    names, metadata = _joined(metadata, prefix, schema)
    options = _options(names, names.hidden, metadata, own)
    plugins = own.get("autogenerate_plugins") or ["alembic.autogenerate.*"]
    options["autogenerate_plugins"] = [*plugins, *({_PLUGIN} - set(plugins))]
    options[_INCLUDED] = [*own.get(_INCLUDED, ()), names.settings(timescale, postgis)]
    return options


def beside(
    metadata: MetaData | Sequence[MetaData],
    *,
    prefix: str = "",
    schema: str | None = None,
    timescale: Extension = "auto",
    postgis: Extension = "auto",
    **own: Any,
) -> dict[str, Any]:
    """Return options for `context.configure` with which autogenerate leaves our tables alone.

    Call `run_beside()` where the host's migrations are run; it takes what is given here.

    Args:
        metadata: The host's tables; ours join them here, too, for foreign keys that lead to them.
        prefix: As in `make_tables`.
        schema: As in `make_tables`.
        timescale: Whether history becomes a hypertable when it is made.
        postgis: Whether entities get a geography column, in the revision that makes it.
        own: Other options, as in `included`.

    Raises:
        ValueError: As in `included`.
    """
    names, metadata = _joined(metadata, prefix, schema)
    options = _options(names, names.hidden | names.tables, metadata, own)
    options[_BESIDE] = [*own.get(_BESIDE, ()), names.settings(timescale, postgis)]
    return options


def run_beside() -> None:
    """Bring our tables up beside the host's, when the command is `alembic upgrade`.

    Call it in `env.py` inside `with context.begin_transaction():`, before
    `context.run_migrations()` if the host's tables refer to ours. Ours always go to the newest
    revision, and never down. With `--sql` they are printed, from nothing or from the revision given
    by `-x hsorm_from=0002`.

    Raises:
        RuntimeError: The options of `beside` were not given to `context.configure`.
    """
    host = alembic.context.get_context()
    storages = host.opts.get(_BESIDE)
    if storages is None:
        raise RuntimeError("give hsorm.sql.alembic_host.beside(…) to context.configure first")
    if getattr(host.opts.get("fn"), "__name__", "") != "upgrade":
        return  # of the commands only this one is to change anything
    since = alembic.context.get_x_argument(as_dictionary=True).get("hsorm_from")
    with _transaction(host):
        for settings in storages:
            _run(host, settings, "upgrade", "head", since)


def _transaction(host: MigrationContext) -> AbstractContextManager[Any]:
    """Open a transaction unless the host's `context.begin_transaction()` did.

    As Alembic does it for each revision; but for SQLite it prints none.
    """
    if host.as_sql and not host.impl.transactional_ddl:
        return _printed(host)
    opened: AbstractContextManager[Any] = host.begin_transaction(_per_migration=True)
    return opened


@contextmanager
def _printed(host: MigrationContext) -> Iterator[None]:
    host.impl.emit_begin()
    yield
    host.impl.emit_commit()


# ---- what revisions of the host ask for ---------------------------------------------------------


def upgrade(
    to: str = HEAD,
    *,
    since: str | None = None,
    prefix: str = "",
    schema: str | None = None,
    timescale: Extension = "auto",
    postgis: Extension = "auto",
) -> None:
    """Bring our tables up to a revision of ours, inside a revision of the host's.

    Autogenerate writes the call. Our version table is kept along, so that adapters know the tables.

    Args:
        to: The revision.
        since: The revision before; looked up in the database but where SQL is printed.
        prefix: As in `make_tables`.
        schema: As in `make_tables`.
        timescale: Whether history becomes a hypertable.
        postgis: Whether entities get a geography column, in the revision that makes it.
    """
    settings = Settings(
        prefix=prefix, schema=schema, timescale=timescale, postgis=postgis, lose_data=False
    )
    _run(alembic.op.get_context(), settings, "upgrade", to, since)


def downgrade(
    to: str = "base",
    *,
    since: str | None = None,
    prefix: str = "",
    schema: str | None = None,
    lose_data: bool = False,
) -> None:
    """Take our tables down to a revision of ours, inside a revision of the host's.

    Args:
        to: The revision, `"base"` for none.
        since: The revision before; looked up in the database but where SQL is printed.
        prefix: As in `make_tables`.
        schema: As in `make_tables`.
        lose_data: Whether tables that have rows may be dropped.
    """
    settings = Settings(
        prefix=prefix, schema=schema, timescale="auto", postgis="auto", lose_data=lose_data
    )
    _run(alembic.op.get_context(), settings, "downgrade", to, since)


# ---- running our revisions in a context of the host's -------------------------------------------


def _run(
    host: MigrationContext, settings: Settings, direction: str, to: str, since: str | None
) -> None:
    """Run our revisions in the transaction of the host's, with a version table of their own.

    In a migration context of ours, not by Alembic's commands: those would take the place of the
    host's environment.
    """
    script = ScriptDirectory(str(script_folder()))
    steps: Any = script._upgrade_revs if direction == "upgrade" else script._downgrade_revs

    def revisions(current: Any, _: MigrationContext) -> Any:
        return steps(to, current)

    schema = settings["schema"]
    options = {
        "fn": revisions,
        "script": script,
        "as_sql": host.as_sql,
        "starting_rev": since if host.as_sql else None,
        "output_buffer": host.output_buffer,
        "literal_binds": host.as_sql,
        "version_table": f"{settings['prefix']}{VERSION_TABLE}",
        "version_table_schema": schema,
        _OPTION: settings,
    }
    ours = MigrationContext(host.dialect, None if host.as_sql else host.connection, options)
    prepare(ours, schema)
    with _operating(ours):
        ours.run_migrations()


@contextmanager
def _operating(context: MigrationContext) -> Iterator[None]:
    """Have `alembic.op` work in a context, and then in the one before again."""
    before: Any = vars(alembic.op).get("_proxy")
    try:
        with Operations.context(context):
            yield
    finally:
        if before is not None:
            before._install_proxy()


def _connection(context: MigrationContext) -> Connection:
    connection = context.connection
    if connection is None:
        raise RuntimeError("there is no connection to migrate on")
    return connection


# ---- what autogenerate looks at -----------------------------------------------------------------


_Key = tuple[str | None, str]
"""A table's schema and name."""


class _Names(NamedTuple):
    """What is ours in a database.

    Attributes:
        prefix: What stands before every name.
        schema: The schema of the tables.
        tables: The tables that are models.
        hidden: The tables that no model knows.
    """

    prefix: str
    schema: str | None
    tables: frozenset[_Key]
    hidden: frozenset[_Key]

    @classmethod
    def of(cls, prefix: str, schema: str | None) -> _Names:
        metadata = MetaData()
        tables = make_tables(metadata, prefix=prefix, schema=schema)
        hidden = {f"{prefix}{VERSION_TABLE}", tables.change_clock.name}
        hidden |= tables.hours.names
        if tables.tag_index is not None:
            hidden.add(tables.tag_index.table.name)
        if tables.word_index is not None:
            hidden.update(tables.word_index.table_names)
        keys = frozenset((schema, name) for name in hidden)
        return cls(prefix, schema, frozenset(_keys([metadata])), keys)

    def settings(self, timescale: Extension, postgis: Extension) -> Settings:
        """Return what revisions ask for."""
        return Settings(
            prefix=self.prefix,
            schema=self.schema,
            timescale=timescale,
            postgis=postgis,
            lose_data=False,
        )


def _joined(
    metadata: MetaData | Sequence[MetaData], prefix: str, schema: str | None
) -> tuple[_Names, Sequence[MetaData]]:
    """Put our tables among the host's, unless they are there; foreign keys may lead to them."""
    listed = [metadata] if isinstance(metadata, MetaData) else metadata
    names = _Names.of(prefix, listed[0].schema if schema is None else schema)
    there = set(_keys(listed))
    are_there = names.tables <= there
    taken = there & (names.hidden if are_there else names.hidden | names.tables)
    if taken:
        listing = ", ".join(sorted(name for _, name in taken))
        raise ValueError(f"tables of yours have names of ours, {listing}: give a prefix")
    if not are_there:
        make_tables(listed[0], prefix=prefix, schema=names.schema)
    return names, listed


def _keys(metadata: Sequence[MetaData]) -> Iterable[_Key]:
    return ((table.schema, table.name) for each in metadata for table in each.tables.values())


def _options(
    names: _Names, unseen: frozenset[_Key], metadata: Sequence[MetaData], own: dict[str, Any]
) -> dict[str, Any]:
    """Return the options of `context.configure`, the host's own among them."""
    for settings in (*own.get(_INCLUDED, ()), *own.get(_BESIDE, ())):
        if (settings["prefix"], settings["schema"]) == (names.prefix, names.schema):
            raise ValueError(f"the tables {names.prefix}… are given twice: one prefix for each")
    storages = names.tables | _tables_of_storages(metadata)
    theirs = {None, *(key[0] for key in _keys(metadata) if key not in storages)}
    options = {
        **own,
        "target_metadata": metadata,
        "include_name": _include_name(names, unseen, storages, theirs, own),
        "include_object": _include_object(names, unseen, own.get("include_object")),
        "render_item": _render_item(own.get("render_item")),
    }
    if theirs | {names.schema} != {None}:
        options.setdefault("include_schemas", True)
    return options


def _tables_of_storages(metadata: Sequence[MetaData]) -> Set[_Key]:
    """Return the tables of all storages that are among the host's."""
    tables = [table for each in metadata for table in each.tables.values()]
    return {(table.schema, table.name) for table in tables if is_ours(table)}


def _include_name(
    names: _Names,
    unseen: frozenset[_Key],
    storages: Set[_Key],
    theirs: set[str | None],
    options: dict[str, Any],
) -> Callable[..., bool]:
    """Return what tells whether something in the database is looked at at all.

    Args:
        names: What is ours.
        unseen: The tables that are not looked at.
        storages: The tables of all storages. Of those of another one its own filter has a say,
            which is among the options.
        theirs: The schemas of the host's tables; the rest of the database is other people's, and
            would seem to be there to be dropped.
        options: The host's.
    """
    own = options.get("include_name")
    chooses_schemas = own is not None and options.get("include_schemas", False)

    def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
        if type_ == "schema":
            _refuse_own_schema(names.schema)
            if name == names.schema or not chooses_schemas:
                return name == names.schema or name in theirs
        if type_ == "table" and name is not None:
            schema = parent_names.get("schema_name")
            key = schema, name
            if key in names.tables - unseen:
                return True
            alone = schema == names.schema and schema not in theirs
            if key in unseen or (alone and key not in storages):
                return False
        return own is None or bool(own(name, type_, parent_names))

    return include_name


def _refuse_own_schema(schema: str | None) -> None:
    """Refuse the schema that a database takes by itself, if it is named.

    It reflects as none, and all tables and foreign keys in it would seem to be others.
    """
    if schema is not None and schema == alembic.context.get_context().dialect.default_schema_name:
        raise ValueError(f"{schema} is the database's own schema: leave out schema={schema!r}")


def _include_object(names: _Names, unseen: frozenset[_Key], own: Any) -> Callable[..., bool]:
    def include_object(
        object_: Any, name: str | None, type_: str, reflected: bool, compare_to: Any
    ) -> bool:
        if type_ == "table" and (object_.schema, object_.name) in unseen:
            return False
        if type_ in ("index", "column") and not _is_comparable_here(
            names, object_, type_, reflected
        ):
            return False
        if not is_comparable(object_, name, type_, reflected, compare_to):
            return False
        return own is None or bool(own(object_, name, type_, reflected, compare_to))

    return include_object


def _is_comparable_here(names: _Names, object_: Any, type_: str, reflected: bool) -> bool:
    """Tell whether an index or a column is one that this database can have and models know."""
    here = alembic.context.get_context().dialect.name
    table = object_.table
    ours = (table.schema, table.name) in names.tables
    if ours and reflected and is_geo(f"{names.prefix}entities", object_, object_.name, type_):
        return False
    if type_ == "column":
        return here == "postgresql" or not ours or object_.identity is None
    if ours and reflected and is_declared(table.name, object_.name):
        return False
    if ours:
        return only_on(object_) in (None, here)
    return here == "postgresql" or object_.dialect_options["postgresql"].get("using") != "gin"


def _render_item(own: Any) -> Callable[..., Any]:
    def render_item(type_: str, object_: Any, context: AutogenContext) -> Any:
        if type_ == "type" and type(object_).__module__ == _TYPES:
            # Without its arguments: where refs lead is no matter of the database.
            context.imports.add(f"import {_TYPES}")
            return f"{_TYPES}.{type(object_).__name__}()"
        if object_ is OBJ:  # of which Alembic writes what it does not import
            context.imports.add("from sqlalchemy.dialects import postgresql")
            return _OBJ_TEXT
        return False if own is None else own(type_, object_, context)

    return render_item


# ---- what autogenerate writes -------------------------------------------------------------------


class _Step(MigrateOperation):
    """Bringing our tables from a revision of ours to another one."""

    def __init__(self, before: str | None, after: str | None, settings: Settings) -> None:
        self.before, self.after, self.settings = before, after, settings

    def reverse(self) -> _Step:
        """Return the step back."""
        return _Step(self.after, self.before, self.settings)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` shows."""
        return "hsorm_tables", self.before, self.after


@renderers.dispatch_for(_Step)
def _render(context: AutogenContext, step: _Step) -> str:
    context.imports.add(f"import {_MODULE}")
    up = (step.before or "") < (step.after or "")
    given = {"since": step.before, "prefix": step.settings["prefix"] or None}
    given["schema"] = step.settings["schema"]
    wishes = {"timescale": step.settings["timescale"], "postgis": step.settings["postgis"]}
    if up:
        given |= {name: wish for name, wish in wishes.items() if wish != "auto"}
    named = [f"{name}={value!r}" for name, value in given.items() if value is not None]
    arguments = ", ".join([repr(step.after or "base"), *named])
    return f"{_MODULE}.{'upgrade' if up else 'downgrade'}({arguments})"


def _compare(
    context: AutogenContext, upgrade_ops: UpgradeOps, schemas: Sequence[Any]
) -> PriorityDispatchResult:
    """Ask for our own revisions where the tables are behind, instead of for tables one by one."""
    there = {(table.schema, table.name) for table in context.sorted_tables}
    steps: list[MigrateOperation] = []
    for settings in context.opts[_INCLUDED]:
        names = {"prefix": settings["prefix"], "schema": settings["schema"]}
        ours = _Names.of(**names).tables
        if not ours <= there:
            continue  # another of several databases: Alembic keeps options from one to the next
        found = revision_of(_connection(context.migration_context), **names)
        if found is None or found < HEAD:
            upgrade_ops.ops[:] = [op for op in upgrade_ops.ops if not _is_about(op, ours)]
            steps.append(_Step(found, HEAD, settings))
    upgrade_ops.ops[:0] = steps
    return PriorityDispatchResult.CONTINUE


def _is_about(op: Any, tables: Set[_Key]) -> bool:
    name = getattr(op, "table_name", "")
    return (getattr(op, "schema", None), name) in tables


# Looked at only where `included` has named it.
Plugin(_PLUGIN).add_autogenerate_comparator(_compare, "schema", priority=DispatchPriority.LAST)
