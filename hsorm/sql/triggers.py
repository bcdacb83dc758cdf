"""The triggers that stamp changes, for tables that `MetaData.create_all` makes.

The migrations have texts of their own, for a revision stays as it is; a test holds them against
these. See `hsorm.sql.stamps` for what stamps are.
"""

# ruff: noqa: S608 - names of our own, quoted; nothing can be bound in a trigger

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, MetaData, Table, event, func, select, table

__all__ = ["Names", "drop_triggers", "keep_triggers", "make_triggers"]

_THIS: Final = "CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)"
_FUNCTIONS: Final = (
    *("stamp", "keep_removed", "keep_all_removed", "wake", "rename"),
    *("stamp_entity", "stamp_entities"),
)


@dataclass(frozen=True, slots=True)
class Names:
    """How the tables of a storage are called in a database.

    Attributes:
        connection: Of the database.
        prefix: Stands before every name.
        schema: The schema of the tables there.
    """

    connection: Connection
    prefix: str
    schema: str | None

    def quoted(self, name: str) -> str:
        """Return the name of a table or a function as SQL."""
        preparer = self.connection.dialect.identifier_preparer
        return str(preparer.format_table(table(f"{self.prefix}{name}", schema=self.schema)))

    def quoted_schema(self) -> str:
        """Return the schema in which the tables are, as SQL (PostgreSQL)."""
        schema = self.schema or self.connection.scalar(select(func.current_schema()))
        return self.connection.dialect.identifier_preparer.quote_identifier(str(schema))


def keep_triggers(metadata: MetaData, entities: Table, prefix: str) -> None:
    """Have `create_all` make the triggers, and `drop_all` drop what the tables leave of them."""

    def names(connection: Connection) -> Names:
        return Names(connection, prefix, connection.schema_for_object(entities))

    @event.listens_for(metadata, "after_create")
    def create(target: object, connection: Connection, **kw: Any) -> None:
        if entities in kw["tables"]:
            for statement in make_triggers(names(connection)):
                connection.exec_driver_sql(statement)

    @event.listens_for(metadata, "after_drop")
    def drop(target: object, connection: Connection, **kw: Any) -> None:
        if entities in kw["tables"]:
            for statement in drop_triggers(names(connection)):
                connection.exec_driver_sql(statement)


def make_triggers(names: Names) -> Iterator[str]:
    """Yield the statements that make the triggers, and what they need."""
    match names.connection.dialect.name:
        case "postgresql":
            yield from _on_postgresql(names)
        case "sqlite":
            yield from _on_sqlite(names)


def drop_triggers(names: Names) -> Iterator[str]:
    """Yield the statements that drop what is left of the triggers without their tables."""
    match names.connection.dialect.name:
        case "postgresql":
            # Of this very schema: without it those of another one on the search path are found.
            schema, bare = names.quoted_schema(), Names(names.connection, names.prefix, None)
            for name in _FUNCTIONS:
                own = bare.quoted(f"hsorm_{name}")
                yield f"DROP FUNCTION IF EXISTS {schema}.{own} CASCADE"
        case "sqlite":
            yield f"DROP TABLE IF EXISTS {names.quoted('change_clock')}"


# ---- PostgreSQL ---------------------------------------------------------------------------------


def _on_postgresql(names: Names) -> Iterator[str]:
    entities, live, removals = map(names.quoted, ("entities", "live", "removals"))
    history_changes, watches = map(names.quoted, ("history_changes", "watches"))
    own = [names.quoted(f"hsorm_{name}") for name in _FUNCTIONS]
    stamp, keep, keep_all, wake, rename, stamp_entity, stamp_entities = own
    schema = names.quoted_schema()
    noted = "ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, at = now();"
    keeping = f"INSERT INTO {removals} (id, changed) SELECT id, {_THIS} FROM {{}} {noted}"
    # A notification at each commit would make commits wait for each other: only where one is
    # waited for. A stream that opens meanwhile looks by itself, too.
    channel = f"{names.prefix}hsorm".replace("'", "''")
    waking = (
        f"IF EXISTS (SELECT 1 FROM {watches} WHERE pushed AND NOT closed AND expires > now()) "
        f"THEN PERFORM pg_notify('{channel}', ''); END IF;"
    )
    renaming = f"INSERT INTO {removals} (id, changed) VALUES (OLD.id, {_THIS}) {noted}"
    # Live tags that are gone show in their entity alone; one that is being removed is gone already.
    stamping = f"UPDATE {entities} SET changed = {_THIS} WHERE changed <> {_THIS} AND"
    # Whoever drops all tables without `drop_all` of this MetaData leaves the functions behind. Not
    # OR REPLACE: what somebody else has made would stay theirs to change.
    yield from drop_triggers(names)
    # For each row, so without a search path to set, of which it has no need.
    yield (
        f"CREATE FUNCTION {stamp}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$hsorm$ BEGIN NEW.changed := {_THIS}; RETURN NEW; END $hsorm$"
    )
    bodies = {
        keep: keeping.format("gone"),
        keep_all: keeping.format(entities),
        wake: waking,
        rename: renaming,
        stamp_entity: f"{stamping} id = OLD.id;",
        stamp_entities: f"{stamping} id IN (SELECT id FROM {live});",
    }
    for name, body in bodies.items():
        # With the rights and the search path of who makes it: whoever may write entities needs
        # none on the tables behind them.
        yield (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = {schema}, pg_temp AS $hsorm$ BEGIN {body} RETURN NULL; END $hsorm$"
        )
    renamed = "FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id)"
    gone = "REFERENCING OLD TABLE AS gone FOR EACH STATEMENT"
    each, row = "FOR EACH STATEMENT", "FOR EACH ROW"
    triggers = [
        ("stamp", "BEFORE UPDATE", entities, row, stamp),
        ("stamp", "BEFORE UPDATE", live, row, stamp),
        ("keep", "AFTER DELETE", entities, gone, keep),
        ("keep_all", "BEFORE TRUNCATE", entities, each, keep_all),
        ("stamp_entity", "AFTER DELETE", live, row, stamp_entity),
        ("stamp_entities", "BEFORE TRUNCATE", live, each, stamp_entities),
        ("rename", "AFTER UPDATE OF id", entities, renamed, rename),
        *(
            ("wake", "AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE", table, each, wake)
            for table in (entities, live, history_changes)
        ),
    ]
    for name, when, table_, of, function in triggers:
        yield f"CREATE TRIGGER hsorm_{name} {when} ON {table_} {of} EXECUTE FUNCTION {function}()"


# ---- SQLite -------------------------------------------------------------------------------------


def _on_sqlite(names: Names) -> Iterator[str]:
    # Inside a trigger names stand alone: they are those of its own schema.
    bare = Names(names.connection, names.prefix, None).quoted
    clock, entities, removals = map(bare, ("change_clock", "entities", "removals"))
    tick, this = f"UPDATE {clock} SET n = n + 1;", f"(SELECT n FROM {clock})"
    yield f"CREATE TABLE {names.quoted('change_clock')} (n INTEGER NOT NULL)"
    yield f"INSERT INTO {names.quoted('change_clock')} VALUES (0)"
    for name, body in _stamping(bare, tick, this):
        yield f"CREATE TRIGGER {names.quoted(name)} {body}"
    # Live tags that are gone show in their entity alone, if that is not being removed itself.
    yield (
        f"CREATE TRIGGER {names.quoted('live_removed')} AFTER DELETE ON {bare('live')} "
        f"WHEN EXISTS (SELECT 1 FROM {entities} WHERE id = OLD.id) BEGIN {tick} "
        f"UPDATE {entities} SET changed = {this} WHERE id = OLD.id; END"
    )
    noted = (
        f"{tick} DELETE FROM {removals} WHERE id = OLD.id; "
        f"INSERT INTO {removals} (id, changed) VALUES (OLD.id, {this}); END"
    )
    owned = " ".join(
        f"DELETE FROM {bare(name)} WHERE id = OLD.id;" for name in ("live", "point_arrays")
    )
    yield (
        f"CREATE TRIGGER {names.quoted('entities_removed')} AFTER DELETE ON {entities} "
        f"BEGIN {owned} {noted}"
    )
    moved = " ".join(
        f"UPDATE {bare(name)} SET id = NEW.id WHERE id = OLD.id;"
        for name in ("live", "point_arrays")
    )
    yield (
        f"CREATE TRIGGER {names.quoted('entities_renamed')} AFTER UPDATE OF id ON {entities} "
        f"WHEN OLD.id <> NEW.id BEGIN {moved} {noted}"
    )


def _stamping(bare: Any, tick: str, this: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of the triggers that stamp rows which are written."""
    for name, key, events in (
        ("entities", "id", ("INSERT", "UPDATE OF id, tags")),
        ("live", "id", ("INSERT", "UPDATE OF id, tags")),
        ("history_changes", "number", ("INSERT",)),
    ):
        for happening in events:
            # Who counted the change and wrote its number along has no need of it.
            stamped = f"NEW.changed > OLD.changed AND NEW.changed = {this}"
            unless = "" if happening == "INSERT" else f" WHEN NOT ({stamped})"
            body = (
                f"AFTER {happening} ON {bare(name)}{unless} BEGIN {tick} "
                f"UPDATE {bare(name)} SET changed = {this} WHERE {key} = NEW.{key}; END"
            )
            yield f"{name}_stamp_{happening.split()[0].lower()}", body
