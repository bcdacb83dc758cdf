"""Where entities are found: which columns of which table or mapped class hold ids and tags."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    FromClause,
    Integer,
    String,
    Uuid,
    false,
    inspect,
    literal,
)
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.orm import aliased
from sqlalchemy.orm.util import AliasedInsp
from sqlalchemy.types import NullType

from hsorm.kinds import Ref
from hsorm.sql.constructs import IdText, bound_of, plain_type

if TYPE_CHECKING:
    from hsorm.sql.tag_index import TagIndex

__all__ = ["EntitySource", "LiveSource", "RefText", "Sources", "own_source", "source_of"]

RefText: TypeAlias = Callable[[ColumnElement[Any]], ColumnElement[str]]
"""Writes the value of an id column as the id of a Ref, in SQL."""


@dataclass(frozen=True, slots=True)
class LiveSource:
    """Where some tags of entities are kept apart from the others.

    Attributes:
        table: Its columns `id` and `tags` hold the entity's id and these tags.
        names: Which tags these are.
    """

    table: FromClause
    names: Set[str]


@dataclass(frozen=True, slots=True, eq=False)
class EntitySource:
    """The columns that hold entities: of a table, or attributes of a mapped class.

    Attributes:
        tags: The column of tags.
        id: The column of ids: text, integer or UUID, or any other with `ref`.
        ref: How an id is written in a Ref, such as `lambda id: "p:demo:r:" + cast(id, Text)`; None
            writes the id alone.
        live: Where tags are that are not in `tags`, where there are such.
        index: The side table that answers on SQLite for these entities, where there is one.
    """

    tags: Any
    id: Any
    ref: RefText | None = None
    live: LiveSource | None = None
    index: TagIndex | None = None

    def fresh(self) -> tuple[EntitySource, Any]:
        """Return the same columns of another alias, and that alias, for a subquery of its own."""
        tags, id = _clause(self.tags), _clause(self.id)
        mapped = _entity_of(tags)
        if mapped is None:
            other = tags.table.alias()
            tags, id = other.corresponding_column(tags), other.corresponding_column(id)
        else:
            # An alias of the class, not of its table: it knows which rows are of the class.
            other = aliased(mapped.mapper.class_)
            tags, id = (_clause(getattr(other, _name_of(column))) for column in (tags, id))
        return EntitySource(tags, id, self.ref, self.live, self.index), other

    def ref_id(self) -> ColumnElement[str]:
        """Return the id as it is written in a Ref."""
        if self.ref is not None:
            return self.ref(self.id)
        return self.id if _is_text(self.id) else IdText(self.id)

    def has_id(self, ref: Ref) -> ColumnElement[bool]:
        """Return the condition that an entity has this id, such that the key's index answers."""
        if self.ref is not None or _is_text(self.id):
            return self.ref_id() == bound_of(id_of, ref)
        key = _key(self.id, ref.val)
        if key is None:
            return false()
        has: ColumnElement[bool] = _clause(self.id) == key
        return has

    def ordered_id(self) -> ColumnElement[str]:
        """Return the id of a Ref in the order of code points."""
        return IdText(self.id if self.ref is None else self.ref(self.id))


def id_of(ref: Ref) -> str:
    """Return the id of a Ref."""
    return ref.val


def _is_text(column: Any) -> bool:
    return isinstance(plain_type(column), (String, NullType))


_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_INTEGERS: Final = range(-(2**63), 2**63)


def _key(column: Any, ref_id: str) -> ColumnElement[Any] | None:
    """Bind a Ref's id as a value of the column; None where it is none (`007` is not 7)."""
    match plain_type(column):
        case Integer():
            # As the widest of them, of which a narrower column simply holds no other.
            if not _INTEGER.fullmatch(ref_id):
                return None
            number = int(ref_id)
            fits = number in _INTEGERS and str(number) == ref_id
            return literal(number, BigInteger()) if fits else None
        case Uuid(native_uuid=native):
            try:
                key = UUID(ref_id)
            except ValueError:
                return None
            return literal(key, Uuid(native_uuid=native)) if str(key) == ref_id else None
        case _:
            return literal(ref_id, column.type)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the refs of each tag lead.

    Attributes:
        own: The entities that the filter is about, and where refs lead that are not named.
        named: By name of the tag; `"*"` for those that are not named.
    """

    own: EntitySource
    named: Mapping[str, EntitySource]

    def behind(self, tag: str) -> EntitySource:
        """Return where the refs of a tag lead."""
        return self.named.get(tag) or self.named.get("*") or self.own


def source_of(given: Any) -> EntitySource:
    """Return where the entities of a table, a mapped class or a function that returns one are.

    Raises:
        TypeError: It has not exactly one column of tags and one of ids.
    """
    if isinstance(given, EntitySource):
        return given
    if callable(given) and not isinstance(given, type):
        return source_of(given())  # a class that is not there yet when this one is written
    if isinstance(given, FromClause):
        return _only(given, list(given.c), list(given.primary_key))
    try:
        mapper: Any = inspect(given)
        columns = [attribute.class_attribute for attribute in mapper.column_attrs]
        keys = [mapper.get_property_by_column(key).class_attribute for key in mapper.primary_key]
    except (NoInspectionAvailable, AttributeError):
        raise TypeError(f"{given!r} is no table and no mapped class") from None
    return _only(given, columns, keys)


def _only(given: Any, columns: list[Any], keys: list[Any]) -> EntitySource:
    from hsorm.sql.types import LiveTags, Tags

    tags = [column for column in columns if isinstance(column.type, Tags)]
    tags = [column for column in tags if not isinstance(column.type, LiveTags)]
    if len(tags) != 1 or len(keys) != 1:
        raise TypeError(
            f"{given!r} has {len(tags)} columns of type Tags and {len(keys)} of its primary key, "
            "where one of each is needed: say which with EntitySource(tags=…, id=…)"
        )
    return EntitySource(_clause(tags[0]), _clause(keys[0]), tags[0].type.ref)


def own_source(
    tags: Any,
    id: Any,
    ref: RefText | None,
    live: LiveSource | None = None,
    index: TagIndex | None = None,
) -> EntitySource:
    """Return where the entities of a column of tags are.

    Raises:
        ValueError: No id is given, and there is neither a column `id` nor a key of one column.
    """
    tags = _clause(tags)
    if id is None:
        mapped = _entity_of(tags)
        keys = _keys_of_table(tags.table) if mapped is None else _keys_of(mapped)
        if len(keys) != 1:
            name = tags.table.description
            raise ValueError(f"which column of {name} holds the id? Say so with id=…")
        id = keys[0]
    return EntitySource(tags, _clause(id), ref, live, index)


def _keys_of_table(table: FromClause) -> list[Any]:
    return [table.c.id] if "id" in table.c else list(table.primary_key)


def _keys_of(entity: Any) -> list[Any]:
    names = [entity.mapper.get_property_by_column(key).key for key in entity.mapper.primary_key]
    of = entity.entity if isinstance(entity, AliasedInsp) else entity.mapper.class_
    return [getattr(of, name) for name in names]


def _clause(column: Any) -> Any:
    """Return the expression of a mapped attribute; a column is one already."""
    return column.__clause_element__() if hasattr(column, "__clause_element__") else column


def _entity_of(clause: Any) -> Any:
    """Return the mapper, or the alias of one, that a column was asked of; None for a table's."""
    return clause._annotations.get("parententity")


def _name_of(clause: Any) -> str:
    """Return the name of the attribute that a mapped column was asked by."""
    return str(clause._annotations["proxy_key"])
