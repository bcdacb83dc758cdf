"""Live tags, priority arrays, watches, and stamps of changes.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.hsorm")

# The stamp of a row: the transaction that changed it last (PostgreSQL), or the number of the change
# (SQLite). Watches and the change feed ask for what was stamped since.
_THIS = "CAST(CAST(pg_current_xact_id() AS TEXT) AS BIGINT)"
_NOW_IN_SQLITE = "(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)"


def upgrade() -> None:
    on_postgresql = op.get_context().dialect.name == "postgresql"
    prefix, schema = _names()
    if on_postgresql:
        _let_nobody_write()
    _make_tables(on_postgresql, prefix, schema)
    # None for live tags on PostgreSQL, where an update then stays in its page; on SQLite a poll
    # would look at all of them.
    for table in ("removals", "history_changes", *(() if on_postgresql else ("live",))):
        name = f"{prefix}{table}"
        op.create_index(f"{name}_changed", name, ["changed"], schema=schema)
    _move_live_tags(on_postgresql)
    # From here on nobody reads, until the end of the transaction. With a constant first: rows that
    # are there need no stamp, nor a new copy of themselves.
    changed = sa.Column("changed", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    op.add_column(f"{prefix}entities", changed, schema=schema)
    if on_postgresql:
        default = sa.text(_THIS)
        op.alter_column(f"{prefix}entities", "changed", server_default=default, schema=schema)
    name = f"{prefix}entities"
    op.create_index(f"{name}_changed", name, ["changed", "id"], schema=schema)
    if on_postgresql and not op.get_context().as_sql:
        _drop_functions_left()
    for statement in _postgresql_triggers() if on_postgresql else _sqlite_triggers():
        op.execute(statement)


def _drop_functions_left() -> None:
    """Drop functions of tables that were dropped by hand, which leaves them behind.

    Of this very schema, for those of another one on the search path have tables; so not in a
    script, which cannot know it. Not OR REPLACE: what somebody else has made would stay theirs.
    """
    prefix, _ = _names()
    quote = op.get_context().dialect.identifier_preparer.quote
    for name in _FUNCTIONS:
        op.execute(f"DROP FUNCTION IF EXISTS {_schema()}.{quote(f'{prefix}hsorm_{name}')} CASCADE")


def _let_nobody_write() -> None:
    """Keep entities for this transaction, but let them be read while live tags are moved.

    In this mode, not in that which a change needs: whoever locks a row to change it, and waits, has
    nothing that the change of the table would have to wait for.
    """
    entities = _name("entities")
    rows = sa.text(f"SELECT 1 FROM {entities} LIMIT 1")
    if not op.get_context().as_sql and op.get_bind().scalar(rows):
        log.warning(
            "%s: nobody writes until this is done, nobody reads while its index is built", entities
        )
    op.execute(f"LOCK TABLE {entities} IN EXCLUSIVE MODE")


_LIVE = (
    *("connState", "connStatus", "connErr", "curVal", "curStatus", "curErr", "curSource"),
    *("writeVal", "writeLevel", "writeStatus", "writeErr", "nextTime", "nextVal"),
    *("hisStatus", "hisErr", "userFailedLogins"),
)


def _move_live_tags(on_postgresql: bool) -> None:
    """Take live tags from the others, where they were kept until now."""
    entities, live = _name("entities"), _name("live")
    if on_postgresql:
        names = f"ARRAY[{', '.join(map(repr, _LIVE))}]"
        theirs = (
            f"SELECT jsonb_object_agg(key, value) FROM jsonb_each(tags) WHERE key = ANY({names})"
        )
        found = f"jsonb_typeof(tags) = 'object' AND tags ?| {names}"
        op.execute(
            f"INSERT INTO {live} (id, tags) SELECT id, ({theirs}) FROM {entities} WHERE {found}"
        )
        op.execute(f"UPDATE {entities} SET tags = tags - {names} WHERE {found}")
        return
    # Each as the JSON that it is, which json_each would take to pieces.
    for name in _LIVE:
        own = f"json_object('{name}', json(tags -> '$.{name}'))"
        is_dict = "json_valid(tags) AND json_type(tags) = 'object'"
        found = f"{is_dict} AND json_type(tags, '$.{name}') IS NOT NULL"
        op.execute(
            f"INSERT INTO {live} (id, tags) SELECT id, {own} FROM {entities} WHERE {found} "
            f"ON CONFLICT (id) DO UPDATE SET tags = json_set(tags, '$.{name}', "
            f"json(excluded.tags -> '$.{name}'))"
        )
        op.execute(f"UPDATE {entities} SET tags = json_remove(tags, '$.{name}') WHERE {found}")


def _make_tables(on_postgresql: bool, prefix: str, schema: str | None) -> None:
    id_type = sa.Text(collation="C") if on_postgresql else sa.Text()
    json = postgresql.JSONB() if on_postgresql else sa.JSON()
    instant = sa.TIMESTAMP(timezone=True) if on_postgresql else sa.BigInteger()
    now = sa.text("now()" if on_postgresql else _NOW_IN_SQLITE)
    this = sa.text(_THIS if on_postgresql else "0")
    # Room for one more version of every row in its page, and a little more: values grow.
    roomy = {"postgresql_with": {"fillfactor": "40"}}

    entities = sa.Table(f"{prefix}entities", sa.MetaData(), sa.Column("id", id_type), schema=schema)

    def of_an_entity() -> sa.Column[str]:
        key = sa.ForeignKey(entities.c.id, ondelete="CASCADE", onupdate="CASCADE")
        return sa.Column("id", id_type, key, primary_key=True)

    op.create_table(
        f"{prefix}live",
        of_an_entity(),
        sa.Column("tags", json, nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False, server_default=this),
        schema=schema,
        **roomy,
    )
    op.create_table(
        f"{prefix}point_arrays",
        of_an_entity(),
        sa.Column("levels", json, nullable=False),
        sa.Column("expires", instant),
        schema=schema,
    )
    name = f"{prefix}point_arrays"
    op.create_index(f"{name}_expires", name, ["expires"], schema=schema)
    op.create_table(
        f"{prefix}removals",
        sa.Column("id", id_type, primary_key=True),
        sa.Column("at", instant, nullable=False, server_default=now),
        sa.Column("changed", sa.BigInteger(), nullable=False, server_default=this),
        schema=schema,
    )
    number = sa.BigInteger() if on_postgresql else sa.Integer()
    op.create_table(
        f"{prefix}history_changes",
        sa.Column("number", number, sa.Identity(), primary_key=True),
        sa.Column("point_ids", json, nullable=False),
        sa.Column("at", instant, nullable=False, server_default=now),
        sa.Column("changed", sa.BigInteger(), nullable=False, server_default=this),
        schema=schema,
    )
    op.create_table(
        f"{prefix}watches",
        sa.Column("id", id_type, primary_key=True),
        sa.Column("dis", sa.Text(), nullable=False),
        sa.Column("filter", sa.Text()),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("lease", sa.Double(), nullable=False),
        sa.Column("expires", instant, nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("pushed", sa.Boolean(), nullable=False),
        schema=schema,
        **roomy,
    )
    op.create_table(
        f"{prefix}watch_ids",
        sa.Column("watch_id", id_type, primary_key=True),
        sa.Column("entity_id", id_type, primary_key=True),
        sa.Column("since", sa.Text(), nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        schema=schema,
    )


_FUNCTIONS = (
    *("stamp", "keep_removed", "keep_all_removed", "wake", "rename"),
    *("stamp_entity", "stamp_entities"),
)


def _postgresql_triggers() -> list[str]:
    """Triggers stamp rows, keep the ids of what is removed, and wake who waits for changes."""
    prefix, _ = _names()
    entities, live, removals = _name("entities"), _name("live"), _name("removals")
    history_changes, watches = _name("history_changes"), _name("watches")
    stamp, keep, keep_all, wake, rename, *of_live = (_name(f"hsorm_{name}") for name in _FUNCTIONS)
    stamp_entity, stamp_entities = of_live
    keeping = (
        f"INSERT INTO {removals} (id, changed) SELECT id, {_THIS} FROM {{}} "
        f"ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, at = now();"
    )
    # A notification at each commit would make commits wait for each other: only where one is
    # waited for. A stream that opens meanwhile looks by itself, too.
    channel = f"{prefix}hsorm".replace("'", "''")
    waking = (
        f"IF EXISTS (SELECT 1 FROM {watches} WHERE pushed AND NOT closed AND expires > now()) "
        f"THEN PERFORM pg_notify('{channel}', ''); END IF;"
    )
    renaming = (
        f"INSERT INTO {removals} (id, changed) VALUES (OLD.id, {_THIS}) "
        f"ON CONFLICT (id) DO UPDATE SET changed = excluded.changed, at = now();"
    )
    # Live tags that are gone show in their entity alone; one that is being removed is gone already.
    stamping = f"UPDATE {entities} SET changed = {_THIS} WHERE changed <> {_THIS} AND"
    renamed = "WHEN (OLD.id IS DISTINCT FROM NEW.id)"
    gone = "REFERENCING OLD TABLE AS gone"
    any_change = "AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE"
    return [
        # For each row, so without a search path to set, of which it has no need.
        f"CREATE FUNCTION {stamp}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$hsorm$ BEGIN NEW.changed := {_THIS}; RETURN NEW; END $hsorm$",
        _function(keep, f"{keeping.format('gone')} RETURN NULL;"),
        _function(keep_all, f"{keeping.format(entities)} RETURN NULL;"),
        _function(wake, f"{waking} RETURN NULL;"),
        _function(rename, f"{renaming} RETURN NULL;"),
        _function(stamp_entity, f"{stamping} id = OLD.id; RETURN NULL;"),
        _function(stamp_entities, f"{stamping} id IN (SELECT id FROM {live}); RETURN NULL;"),
        _trigger("stamp", "BEFORE UPDATE", entities, "ROW", stamp),
        _trigger("stamp", "BEFORE UPDATE", live, "ROW", stamp),
        _trigger("keep", "AFTER DELETE", entities, "STATEMENT", keep, gone),
        _trigger("keep_all", "BEFORE TRUNCATE", entities, "STATEMENT", keep_all),
        _trigger("stamp_entity", "AFTER DELETE", live, "ROW", stamp_entity),
        _trigger("stamp_entities", "BEFORE TRUNCATE", live, "STATEMENT", stamp_entities),
        f"CREATE TRIGGER hsorm_rename AFTER UPDATE OF id ON {entities} FOR EACH ROW {renamed} "
        f"EXECUTE FUNCTION {rename}()",
        *(
            _trigger("wake", any_change, table, "STATEMENT", wake)
            for table in (entities, live, history_changes)
        ),
    ]


def _function(name: str, body: str) -> str:
    # With the rights and the search path of who makes it: whoever may write entities needs none on
    # the tables behind them.
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = {_schema()}, pg_temp AS $hsorm$ BEGIN {body} END $hsorm$"
    )


def _schema() -> str:
    """Return the schema in which the tables are, quoted."""
    schema = _names()[1]
    if schema is None:
        offline = op.get_context().as_sql
        schema = "public" if offline else op.get_bind().scalar(sa.text("SELECT current_schema()"))
    return op.get_context().dialect.identifier_preparer.quote_identifier(schema)


def _trigger(name: str, when: str, table: str, each: str, function: str, more: str = "") -> str:
    return (
        f"CREATE TRIGGER hsorm_{name} {when} ON {table} {more} "
        f"FOR EACH {each} EXECUTE FUNCTION {function}()"
    )


def _sqlite_triggers() -> list[str]:
    clock, entities, removals = map(_name, ("change_clock", "entities", "removals"))
    tick = f"UPDATE {clock} SET n = n + 1;"
    this = f"(SELECT n FROM {clock})"
    stamps = {
        "entities": ("id", ("INSERT", "UPDATE OF id, tags")),
        "live": ("id", ("INSERT", "UPDATE OF id, tags")),
        "history_changes": ("number", ("INSERT",)),
    }
    statements = [f"CREATE TABLE {clock} (n INTEGER NOT NULL)", f"INSERT INTO {clock} VALUES (0)"]
    for name, (key, events) in stamps.items():
        table = _name(name)
        for event in events:
            trigger = _name(f"{name}_stamp_{event.split()[0].lower()}")
            # Who counted the change and wrote its number along has no need of it. A stamp that is
            # anything else, as in a copy of rows, is none.
            stamped = f"NEW.changed > OLD.changed AND NEW.changed = {this}"
            unless = "" if event == "INSERT" else f" WHEN NOT ({stamped})"
            statements.append(
                f"CREATE TRIGGER {trigger} AFTER {event} ON {table}{unless} BEGIN {tick} "
                f"UPDATE {table} SET changed = {this} WHERE {key} = NEW.{key}; END"
            )
    # Live tags that are gone show in their entity alone, if that is not being removed itself.
    statements.append(
        f"CREATE TRIGGER {_name('live_removed')} AFTER DELETE ON {_name('live')} "
        f"WHEN EXISTS (SELECT 1 FROM {entities} WHERE id = OLD.id) BEGIN {tick} "
        f"UPDATE {entities} SET changed = {this} WHERE id = OLD.id; END"
    )
    owned = " ".join(
        f"DELETE FROM {_name(table)} WHERE id = OLD.id;" for table in ("live", "point_arrays")
    )
    statements.append(
        f"CREATE TRIGGER {_name('entities_removed')} AFTER DELETE ON {entities} BEGIN {owned} "
        f"{tick} DELETE FROM {removals} WHERE id = OLD.id; "
        f"INSERT INTO {removals} (id, changed) VALUES (OLD.id, {this}); END"
    )
    moved = " ".join(
        f"UPDATE {_name(table)} SET id = NEW.id WHERE id = OLD.id;"
        for table in ("live", "point_arrays")
    )
    statements.append(
        f"CREATE TRIGGER {_name('entities_renamed')} AFTER UPDATE OF id ON {entities} "
        f"WHEN OLD.id <> NEW.id BEGIN {moved} {tick} DELETE FROM {removals} WHERE id = OLD.id; "
        f"INSERT INTO {removals} (id, changed) VALUES (OLD.id, {this}); END"
    )
    return statements


def downgrade() -> None:
    on_postgresql = op.get_context().dialect.name == "postgresql"
    prefix, schema = _names()
    if not (op.get_context().as_sql or op.get_context().opts["hsorm"]["lose_data"]):
        _refuse_to_lose_data(("live", "point_arrays"))
    entities = _name("entities")
    if on_postgresql:
        for name in _FUNCTIONS:
            op.execute(f"DROP FUNCTION {_name(f'hsorm_{name}')} CASCADE")
    else:
        names = ("stamp_insert", "stamp_update", "removed", "renamed")
        for name in (f"entities_{name}" for name in names):
            op.execute(f"DROP TRIGGER {_name(name)}")
    for table in ("watch_ids", "watches", "history_changes", "removals", "point_arrays", "live"):
        op.drop_table(f"{prefix}{table}", schema=schema)
    op.drop_index(f"{prefix}entities_changed", f"{prefix}entities", schema=schema)
    op.execute(f"ALTER TABLE {entities} DROP COLUMN changed")
    if not on_postgresql:  # now that no trigger needs it
        op.execute(f"DROP TABLE {_name('change_clock')}")


def _refuse_to_lose_data(tables: tuple[str, ...]) -> None:
    for table in tables:
        name = _name(table)
        if op.get_bind().scalar(sa.text(f"SELECT 1 FROM {name} LIMIT 1")):
            may = "-x lose_data=yes, or lose_data=True in a revision of a host's"
            raise SystemExit(f"{name} has rows, which the downgrade would drop: {may}")


def _names() -> tuple[str, str | None]:
    """Return the prefix of the tables' names, and their schema."""
    settings = op.get_context().opts["hsorm"]
    return settings["prefix"], settings["schema"]


def _name(table: str) -> str:
    """Return a table's or function's name with prefix and schema, quoted where it must be."""
    prefix, schema = _names()
    preparer = op.get_context().dialect.identifier_preparer
    return str(preparer.format_table(sa.table(f"{prefix}{table}", schema=schema)))
