"""Indexes that somebody declares, beside those that every table of entities has.

An index over a tag answers comparisons of that tag: `area > 1000ft²`. Filters are written such that
the database's planner finds it (`hsorm.sql.keys`); nothing else needs to know that it is there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from sqlalchemy import Column, Index, MetaData, Table, event, inspect
from sqlalchemy.sql.elements import quoted_name

from hsorm.ops.index_tags import Indexed, check_index_tags
from hsorm.sql.keys import key_of

__all__ = [
    "Indexed",
    "check_index_tags",
    "index_name",
    "indexed_tags",
    "is_comparable",
    "is_declared",
    "tag_index",
    "tag_indexes",
]

_MARK: Final = "hsorm.tag_index"

_LONGEST: Final = 63  # what PostgreSQL keeps of a name


def tag_index(tags: Any, name: str, kind: Indexed) -> Index:
    """Return an index over the values of one tag, for comparisons in filters.

    It joins the table of the column, as every `Index` does: call it after the class, or put it into
    `__table_args__`. `create_all` and Alembic's autogenerate make it, on PostgreSQL and on SQLite.

    Args:
        tags: The column of tags: `Device.tags`, `device.c.tags`, or inside the class what
            `mapped_column` returned.
        name: The tag.
        kind: What is compared: `"number"` (of any unit), `"string"`, `"date"` or `"datetime"`.
            Values of other kinds are left out, and may be there.

    Raises:
        ValueError: There is no such kind of index, or the name is none of a tag.
    """
    check_index_tags({name: kind})
    key = key_of(_column_of(tags), name, kind)
    # Most entities have no such tag, and need not be in it. On PostgreSQL they are, in little room:
    # what ANALYZE finds in an index the planner only believes of one that is whole.
    index = Index(
        index_name("", name, kind), key, sqlite_where=key.is_not(None), info={_MARK: True}
    )

    def take_name(index: Index, table: Table) -> None:
        index.name = quoted_name(index_name(table.name, name, kind), None)

    # Inside a class the table is not there yet.
    if index.table is None:
        event.listen(index, "after_parent_attach", take_name)
    else:
        take_name(index, index.table)
    return index


def _column_of(tags: Any) -> Column[Any]:
    if isinstance(tags, Column):
        return tags
    mapped = inspect(tags, raiseerr=False)
    if mapped is not None and hasattr(mapped, "property"):
        column: Column[Any] = mapped.property.columns[0]
        return column
    made: Column[Any] = tags.__clause_element__()  # of `mapped_column`, inside its class
    return made


def index_name(table: str, name: str, kind: str) -> str:
    """Return the name of an index over a tag; a long one ends in a hash, so that none are alike."""
    full = f"{table}_{name}_{kind}_ix"
    if len(full) <= _LONGEST:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:8]
    return f"{full[: _LONGEST - 12]}_{digest}_ix"


def is_declared(table: str, index: str | None) -> bool:
    """Tell whether an index of a table may be one that somebody declared, by its name."""
    return index is not None and index.startswith(f"{table}_") and index.endswith("_ix")


def indexed_tags(table: str, names: Iterable[str]) -> frozenset[str]:
    """Return the tags that have an index of their own, by the names of a table's indexes."""
    kinds = "|".join(get_args(Indexed))
    pattern = re.compile(rf"{re.escape(table)}_(\w+)_(?:{kinds})_ix")
    return frozenset(found[1] for name in names if (found := pattern.fullmatch(name)))


def is_comparable(
    object: Any, name: str | None, type_: str, reflected: bool, compare_to: Any
) -> bool:
    """Keep Alembic from comparing indexes of `tag_index` by their text: its `include_object`.

    PostgreSQL tells the expression of an index in words of its own, so every comparison would end
    in a new index. By name they are compared all the same: one that is missing is made, one that
    is no longer declared is dropped.
    """
    return compare_to is None or type_ != "index" or _MARK not in object.info


def tag_indexes(entities: Table, declared: Mapping[str, Indexed]) -> list[Index]:
    """Return indexes over tags of the table of entities, which itself stays as it is.

    Args:
        entities: The table, as `make_tables` returns it.
        declared: The kind by the tag: `{"area": "number", "dis": "string"}`.

    Raises:
        ValueError: There is no such kind of index, or a name is none of a tag.
    """
    copy = entities.to_metadata(MetaData())
    return [tag_index(copy.c.tags, name, kind) for name, kind in declared.items()]
