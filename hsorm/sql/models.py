"""The tables: declarative mixins for a host's own classes, ready tables for any MetaData."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Double, Index, MetaData, Table, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.types import JSON

from hsorm.kinds import Entity
from hsorm.sql.types import Instant, Tags

__all__ = ["EntityMixin", "HistoryMixin", "Tables", "make_tables"]

_ID: Final = Text().with_variant(Text(collation="C"), "postgresql")
"""Ids are compared by code point on every database (rule K12, OC 3)."""

_OBJ: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


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
    obj: Mapped[Any | None] = mapped_column(_OBJ)

    # The key is the table: rows of one point lie together, in order of time.
    __table_args__ = ({"sqlite_with_rowid": False},)


class _Base(DeclarativeBase):
    pass


class _Entities(EntityMixin, _Base):
    __tablename__ = "entities"


class _History(HistoryMixin, _Base):
    __tablename__ = "history"


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one storage; see `EntityMixin` and `HistoryMixin` for what is in them."""

    entities: Table
    history: Table


def make_tables(metadata: MetaData, *, prefix: str = "", schema: str | None = None) -> Tables:
    """Attach the tables to a MetaData.

    Args:
        metadata: The MetaData that they join, a host application's for instance.
        prefix: Stands before every name, for two storages in one schema.
        schema: The schema of the tables; None is the database's default.
    """
    return Tables(
        _attach(_Entities.__table__, metadata, prefix, schema),
        _attach(_History.__table__, metadata, prefix, schema),
    )


def _attach(table: Any, metadata: MetaData, prefix: str, schema: str | None) -> Table:
    copy: Table = table.to_metadata(metadata, name=f"{prefix}{table.name}", schema=schema)
    for index in copy.indexes:
        index.ddl_if(dialect="postgresql")  # the condition is not copied along
        index.name = quoted_name(f"{prefix}{index.name}", None)
    return copy
