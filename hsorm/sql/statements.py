"""Every statement that the SQL adapters run, as SQLAlchemy constructs.

They are built here and executed elsewhere, so that a host application can run the same statement in
its own session.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Delete,
    Insert,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    delete,
    func,
    not_,
    select,
)
from sqlalchemy.types import JSON, TypeEngine

from hsorm.codecs.hayson import to_json
from hsorm.filter.ast import Node
from hsorm.filter.parser import node_of
from hsorm.ops.geo import Area, located
from hsorm.ops.live import LIVE_TAGS
from hsorm.sql.changing import insert_into, live_text
from hsorm.sql.compile import compile_filter
from hsorm.sql.constructs import HasTag, IsListed, Variant, bound
from hsorm.sql.geo import GeoColumn, is_in
from hsorm.sql.models import Tables
from hsorm.sql.search import matches_words
from hsorm.sql.sources import LiveSource
from hsorm.sql.templates import LIMIT
from hsorm.sql.types import Tags

__all__ = [
    "NO_SEARCH",
    "Search",
    "count_entities",
    "delete_history_at",
    "matching",
    "select_by_ids",
    "select_entities",
    "staging_of",
    "stored_columns",
    "upsert",
]


def _row(tables: Tables) -> tuple[ColumnElement[Any], ...]:
    # The tags as text, whatever JSON functions the engine has: the adapters decode them themselves.
    entities = tables.entities
    return entities.c.id, cast(entities.c.tags, Text()).label("tags"), live_text(tables)


def _in_use(tables: Tables) -> ColumnElement[bool]:
    """Nothing in the trash is ever found (R10)."""
    in_use = not_(HasTag(tables.entities.c.tags, "trash"))
    if tables.tag_index is None:
        return in_use
    # A list that is nearly always empty, looked into instead of each entity's tags.
    trashed = tables.tag_index.with_all([("trash", "")])
    by_index = tables.entities.c.id.not_in(trashed)
    return Variant(in_use, by_index)


class Search(NamedTuple):
    """What is asked for besides a filter, as statements need it.

    Attributes:
        words: What `search_words` returned.
        indexed: Whether there is an index for them.
        area: Where it is to be.
        geo: The column to find that by, where there is one.
    """

    words: tuple[str, ...] = ()
    indexed: bool = False
    area: Area | None = None
    geo: GeoColumn | None = None


NO_SEARCH: Final = Search()


def matching(tables: Tables, filter: str | Node, search: Search = NO_SEARCH) -> ColumnElement[bool]:
    """Return the condition that an entity matches a filter and a search, out of the trash."""
    if search.area is not None:
        return _matching_there(tables, filter, search, search.area)
    entities, live = tables.entities, LiveSource(tables.live, LIVE_TAGS)
    condition = compile_filter(
        filter, tags=entities.c.tags, id=entities.c.id, live=live, index=tables.tag_index
    )
    if not search.words:
        return and_(condition, _in_use(tables))
    index = tables.word_index
    trigrams = search.indexed and index is None
    has_words = matches_words(entities.c.tags, search.words, indexed=trigrams)
    listed = index.with_words(search.words) if search.indexed and index is not None else None
    if listed is None:
        return and_(condition, _in_use(tables), has_words)
    # SQLite begins with what stands first, and few things are as rare as what people search for.
    return and_(entities.c.id.in_(listed), condition, _in_use(tables), has_words)


def _matching_there(
    tables: Tables, filter: str | Node, search: Search, area: Area
) -> ColumnElement[bool]:
    """Return the condition of `matching` for an area besides."""
    node = node_of(filter)
    inside = is_in(area, tables.entities.c.tags, search.geo)
    return and_(matching(tables, located(node, area), search._replace(area=None)), inside)


def select_entities(
    tables: Tables,
    filter: str | Node,
    limit: int | None = None,
    *,
    ordered: bool = True,
    search: Search = NO_SEARCH,
) -> Select[Any]:
    """Select `id`, `tags` and `live` (as text) of the entities that match a filter.

    Args:
        tables: Where they are.
        filter: The filter.
        limit: How many at the most.
        ordered: Whether they come by id.
        search: What is asked for besides.
    """
    statement = select(*_row(tables)).where(matching(tables, filter, search))
    if ordered:
        statement = statement.order_by(tables.entities.c.id)
    return statement if limit is None else statement.limit(bindparam(LIMIT, limit, BigInteger()))


def count_entities(
    tables: Tables, filter: str | Node | None = None, *, search: Search = NO_SEARCH
) -> Select[Any]:
    """Count the entities that match a filter and a search, or all."""
    statement = select(func.count()).select_from(tables.entities)
    if filter is None:
        return statement.where(_in_use(tables))
    return statement.where(matching(tables, filter, search))


def select_by_ids(tables: Tables, ids: Sequence[str]) -> Select[Any]:
    """Select `id`, `tags` and `live` (as text) of entities by id, in no order."""
    listed = IsListed(tables.entities.c.id, bound(to_json(list(ids)).decode()))
    return select(*_row(tables)).where(listed, _in_use(tables))


def upsert(table: Table, dialect: str, source: Table | None = None) -> Insert:
    """Insert rows, or replace those with the same key.

    Args:
        table: One of the tables; JSON is bound as text.
        dialect: The database's name.
        source: A table of the same columns to take the rows from; None binds them.
    """
    columns = stored_columns(table)
    insert = insert_into(dialect, table)
    if source is not None:
        insert = insert.from_select([col.name for col in columns], select(source))
    else:
        insert = insert.values(
            {col.name: bindparam(col.name, type_=_bound_as(col)) for col in columns}
        )
    key = [column.name for column in table.primary_key]
    rest = {col.name: insert.excluded[col.name] for col in columns if col.name not in key}
    upserting: Insert = insert.on_conflict_do_update(index_elements=key, set_=rest)
    return upserting


def stored_columns(table: Table) -> list[Column[Any]]:
    """Return the columns that are written; the database itself sees to the others."""
    return [col for col in table.columns if col.server_default is None]


def _bound_as(column: Column[Any]) -> TypeEngine[Any]:
    return Text() if isinstance(column.type, (Tags, JSON)) else column.type


def staging_of(table: Table) -> Table:
    """Return a temporary table of the same columns, keyless, that lasts for one transaction.

    Its schema is said, or a host's `schema_translate_map` would put it into one of its own.
    """
    columns = [Column(col.name, col.type) for col in stored_columns(table)]
    return Table(
        "hsorm_staging",
        MetaData(),
        *columns,
        schema="pg_temp",
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DROP",
    )


def delete_history_at(tables: Tables) -> Delete:
    """Delete the items of the point `item_point` at `item_ts`, executed once for each item."""
    history = tables.history
    point = bindparam("item_point", type_=Text())
    ts = bindparam("item_ts", type_=history.c.ts.type)
    return delete(history).where(and_(history.c.point_id == point, history.c.ts == ts))
