"""The tables: declarative mixins for a host's own classes, ready tables for any MetaData."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Double,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    TableClause,
    Text,
    column,
    event,
    table,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import JSON

from hsorm.kinds import Entity
from hsorm.sql.constructs import ThisChange, ThisInstant
from hsorm.sql.hours import Hours, keep_hours, make_hours
from hsorm.sql.tag_index import TagIndex, make_tag_index, moved
from hsorm.sql.triggers import keep_triggers
from hsorm.sql.types import Instant, Tags
from hsorm.sql.word_index import WordIndex, make_word_index

__all__ = ["EntityMixin", "HistoryMixin", "Tables", "is_ours", "make_tables", "only_on"]

_OURS: Final = "hsorm"

_ID: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Ids are compared by code point on every database (rule K12, OC 3)."""

OBJ: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""JSON that is none of tags."""


class EntityMixin:
    """Entities: `tags` holds the tags of one in Hayson, `id` and `mod` included.

    A row needs nothing but these two columns, so that other people's SQL can write it.
    """

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags(), nullable=False)

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        """Index the tags with GIN, which answers `has` and `==`."""
        name = f"{cls.__tablename__}_tags_gin"  # type: ignore[attr-defined]  # of the class it joins
        return (Index(name, "tags", postgresql_using="gin").ddl_if(dialect="postgresql"),)


class HistoryMixin:
    """History, one row an item.

    A Number is `val` alone, in the unit of its point; a Bool is `val` 1 or 0 with `obj` true or
    false; any other value is `obj` in Hayson.
    """

    point_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    ts: Mapped[dt.datetime] = mapped_column(Instant(), primary_key=True)
    val: Mapped[float | None] = mapped_column(Double())
    obj: Mapped[Any | None] = mapped_column(OBJ)

    # The key is the table: rows of one point lie together, in order of time.
    __table_args__ = ({"sqlite_with_rowid": False},)


class _Base(DeclarativeBase):
    pass


def _stamp() -> Mapped[int]:
    """When a row was changed last: by which transaction on PostgreSQL, as which change on SQLite.

    Triggers keep it, whoever writes; see `hsorm.sql.stamps` for how it is asked.
    """
    return mapped_column(BigInteger(), nullable=False, server_default=ThisChange(), sort_order=1)


class _Entities(EntityMixin, _Base):
    __tablename__ = "entities"

    changed: Mapped[int] = _stamp()

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Any, ...]:
        return (*super().__table_args__, Index("entities_changed", "changed", "id"))


class _History(HistoryMixin, _Base):
    __tablename__ = "history"


class _Live(_Base):
    """The live tags of an entity (curVal, writeVal …), by `hsorm.ops.live`.

    No index but the key on PostgreSQL, and room in each page: then an update stays in its page
    (HOT), and leaves nothing for VACUUM. SQLite has no such thing, and polls that look for what has
    changed.
    """

    __tablename__ = "live"
    __table_args__ = (
        Index("live_changed", "changed").ddl_if(dialect="sqlite"),
        {"postgresql_with": {"fillfactor": "40"}},
    )

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags(), nullable=False)
    changed: Mapped[int] = _stamp()


class _PointArrays(_Base):
    """The priority array of a point as `hsorm.ops.priority_array` dumps it.

    `expires` is when its level 8 is released.
    """

    __tablename__ = "point_arrays"
    __table_args__ = (Index("point_arrays_expires", "expires"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    levels: Mapped[Any] = mapped_column(OBJ, nullable=False)
    expires: Mapped[dt.datetime | None] = mapped_column(Instant())


class _Removals(_Base):
    """Entities that were removed, for watches and the change feed."""

    __tablename__ = "removals"
    __table_args__ = (Index("removals_changed", "changed"),)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(Instant(), nullable=False, server_default=ThisInstant())
    changed: Mapped[int] = _stamp()


class _HistoryChanges(_Base):
    """Which points' history was written, a row for each write."""

    __tablename__ = "history_changes"
    __table_args__ = (Index("history_changes_changed", "changed"),)

    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True
    )
    point_ids: Mapped[Any] = mapped_column(OBJ, nullable=False)
    at: Mapped[dt.datetime] = mapped_column(Instant(), nullable=False, server_default=ThisInstant())
    changed: Mapped[int] = _stamp()


class _Watches(_Base):
    """Watches: how far each has been polled, and until when it lives; `lease` is in seconds.

    `pushed` tells triggers that somebody waits for changes.
    """

    __tablename__ = "watches"
    __table_args__ = ({"postgresql_with": {"fillfactor": "40"}},)

    id: Mapped[str] = mapped_column(_ID, primary_key=True)
    dis: Mapped[str] = mapped_column(Text(), nullable=False)
    filter: Mapped[str | None] = mapped_column(Text())
    cursor: Mapped[str] = mapped_column(Text(), nullable=False)
    lease: Mapped[float] = mapped_column(Double(), nullable=False)
    expires: Mapped[dt.datetime] = mapped_column(Instant(), nullable=False)
    closed: Mapped[bool] = mapped_column(nullable=False)
    pushed: Mapped[bool] = mapped_column(nullable=False)


class _WatchIds(_Base):
    """The entities in a watch.

    `since` is how far changes had come when one joined a watch that had been polled before. `known`
    tells whether the watch reported it as being there.
    """

    __tablename__ = "watch_ids"

    watch_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    entity_id: Mapped[str] = mapped_column(_ID, primary_key=True)
    since: Mapped[str] = mapped_column(Text(), nullable=False)
    known: Mapped[bool] = mapped_column(nullable=False)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one storage; see `EntityMixin` and `HistoryMixin` for what is in them.

    Attributes:
        entities: The entities, without their live tags.
        history: The history of points.
        live: The live tags of entities.
        point_arrays: The priority arrays of points.
        removals: Entities that were removed.
        history_changes: Which points' history was written.
        watches: Watches.
        watch_ids: The entities in each watch.
        hours: PostgreSQL alone: hours of history that are kept ready for rollups.
        change_clock: SQLite alone: the number of the last change, in one row that triggers keep.
        tag_index: What stands beside the entities on SQLite; it is made and dropped with them.
        word_index: The search index of SQLite, for those who ask for it.
    """

    entities: Table
    history: Table
    live: Table
    point_arrays: Table
    removals: Table
    history_changes: Table
    watches: Table
    watch_ids: Table
    hours: Hours
    change_clock: TableClause
    tag_index: TagIndex | None
    word_index: WordIndex | None

    def names_on(self, dialect: str) -> set[str]:
        """Return the names of what the migrations make in a database of a dialect."""
        models = (self.entities, self.history, self.live, self.point_arrays, self.removals)
        names = {table.name for table in models}
        names |= {self.history_changes.name, self.watches.name, self.watch_ids.name}
        if dialect == "sqlite" and self.tag_index is not None:
            names |= {self.change_clock.name, self.tag_index.table.name}
        if dialect == "postgresql":
            names |= self.hours.names
        return names


def make_tables(metadata: MetaData, *, prefix: str = "", schema: str | None = None) -> Tables:
    """Attach the tables to a MetaData.

    `create_all` makes all of a storage, but no hypertable; so do the migrations, which can change
    it later as well.

    Args:
        metadata: The MetaData that they join, a host application's for instance.
        prefix: Stands before every name, for two storages in one schema.
        schema: The schema of the tables; None is the MetaData's own, or else the database's
            default.
    """
    schema = metadata.schema if schema is None else schema

    def attach(model: type[_Base]) -> Table:
        return _attach(model.__table__, metadata, prefix, schema)

    entities, live, arrays = attach(_Entities), attach(_Live), attach(_PointArrays)
    for owned in (live, arrays):
        owned.append_constraint(
            ForeignKeyConstraint(
                [owned.c.id], [entities.c.id], ondelete="CASCADE", onupdate="CASCADE"
            )
        )
    tag_index, word_index = make_tag_index(entities, prefix), make_word_index(entities)
    _make_along(entities, prefix)
    keep_triggers(metadata, entities, prefix)
    history, hours = attach(_History), make_hours(prefix, schema)
    keep_hours(history, hours, prefix)
    return Tables(
        entities,
        history,
        live,
        arrays,
        attach(_Removals),
        attach(_HistoryChanges),
        attach(_Watches),
        attach(_WatchIds),
        hours,
        table(f"{prefix}change_clock", column("n", BigInteger()), schema=schema),
        tag_index,
        word_index,
    )


def _make_along(entities: Table, prefix: str) -> None:
    """Make and drop the side table with its entities on SQLite; no other database has it.

    A search index is dropped with them, if somebody has made one.
    """

    def located(connection: Connection) -> Table:
        # The statements are texts, of which SQLAlchemy's schema_translate_map knows nothing.
        names = connection.get_execution_options().get("schema_translate_map")
        return moved(entities, names) if names else entities

    @event.listens_for(entities, "after_create")
    def create(target: object, connection: Connection, **kw: Any) -> None:
        if connection.dialect.name == "sqlite":
            for statement in make_tag_index(located(connection), prefix).ddl():
                connection.exec_driver_sql(statement)

    @event.listens_for(entities, "after_drop")
    def drop(target: object, connection: Connection, **kw: Any) -> None:
        if connection.dialect.name == "sqlite":  # the triggers went with the entities
            there = located(connection)
            make_tag_index(there, prefix).table.drop(connection, checkfirst=True)
            for statement in make_word_index(there).drop():
                connection.exec_driver_sql(statement)


def _attach(table: Any, metadata: MetaData, prefix: str, schema: str | None) -> Table:
    copy: Table = table.to_metadata(metadata, name=f"{prefix}{table.name}", schema=schema)
    for index in copy.indexes:
        if (dialect := only_on(index)) is not None:
            index.ddl_if(dialect=dialect)  # the condition is not copied along
        index.name = quoted_name(f"{prefix}{index.name}", None)
    copy.info[_OURS] = True
    return copy


def is_ours(table: Table) -> bool:
    """Tell whether `make_tables` made a table."""
    return _OURS in table.info


def only_on(index: Index) -> str | None:
    """Return the name of the database that alone has an index of ours, None for one of all."""
    if index.dialect_options["postgresql"].get("using") == "gin":
        return "postgresql"
    return "sqlite" if str(index.name).endswith("live_changed") else None
