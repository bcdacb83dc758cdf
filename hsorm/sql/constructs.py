"""The few SQL constructs that filters are made of, each rendered by the dialect it meets.

A filter is compiled before anybody knows which database will run it, so what differs between
PostgreSQL and SQLite hides behind these; `hsorm.sql.dialects` says how each is written there.
Everything else in a compiled filter is plain SQLAlchemy.

Tag names are part of a construct and of its cache key: they go into the SQL text (as constants,
which indexes on expressions need) and are plain identifiers by the grammar. Values are always
bound, and always as text, so that every driver takes them as they are.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Dialect,
    Float,
    Numeric,
    String,
    Text,
    TypeDecorator,
    cast,
    literal,
    literal_column,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import JSON, BigInteger, TypeEngine

from hsorm.errors import InvalidTagError
from hsorm.kinds import number_text

__all__ = [
    "REF",
    "AnyRef",
    "HasKey",
    "HasTag",
    "IdText",
    "Instant",
    "IsInstant",
    "IsListed",
    "KindAt",
    "NumberAt",
    "SubDict",
    "TextAt",
    "Variant",
    "bound",
    "bound_document",
    "bound_number",
    "constant",
]

_JSON: TypeEngine[Any] = JSON().with_variant(JSONB(), "postgresql")
_NUMBER: TypeEngine[Any] = Numeric().with_variant(Float(), "sqlite")
_INSTANT: TypeEngine[Any] = TIMESTAMP(timezone=True).with_variant(BigInteger(), "sqlite")


class _Construct(ColumnElement[Any]):
    """A construct over other expressions, the attributes named in `_parts`."""

    _parts: tuple[str, ...] = ("tags",)

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        cls.inherit_cache = True  # asked of each class: the cache key is its `_traverse_internals`

    @property
    def _from_objects(self) -> Any:
        # So that a statement with nothing but this in it still selects from the table.
        return list(chain.from_iterable(getattr(self, part)._from_objects for part in self._parts))


class _AtTag(_Construct):
    """A construct about the value that `names` lead to in the dict `tags`."""

    _traverse_internals = [
        ("tags", InternalTraversal.dp_clauseelement),
        ("names", InternalTraversal.dp_plain_obj),
    ]

    def __init__(self, tags: ColumnElement[Any], *names: str) -> None:
        for name in names:
            # A filter built by hand could hold any text as a name, and this one goes into SQL.
            if not (name.isascii() and name.isidentifier()):
                raise InvalidTagError(None, name, "no name of a tag")
        self.tags = tags
        self.names = names


class HasTag(_AtTag):
    """The tag is there and is not null."""

    type = Boolean()


class HasKey(_AtTag):
    """The tag is there, were it null: for an index, beside a condition that is exact by itself."""

    type = Boolean()


class KindAt(_AtTag):
    """The kind of a value as text, never NULL.

    `str`, `num` (a bare number), `true`, `false`, `list`, `dict`, the `_kind` of any other object,
    or the empty text where there is nothing.
    """

    type = Text()


class TextAt(_AtTag):
    """A JSON string as text, compared by code point; NULL where there is none."""

    type = Text()


class NumberAt(_AtTag):
    """A bare JSON number; only to be asked for where `KindAt` says `num`."""

    type = _NUMBER


class SubDict(_AtTag):
    """The value itself, as JSON: a nested dict to look into."""

    type = _JSON


class AnyRef(_Construct):
    """One of the refs in a list passes a test; `REF` stands for the id of the ref in that test."""

    type = Boolean()
    _parts = ("tags", "test")
    _traverse_internals = [
        ("tags", InternalTraversal.dp_clauseelement),
        ("name", InternalTraversal.dp_string),
        ("test", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, tags: ColumnElement[Any], name: str, test: ColumnElement[bool]) -> None:
        self.tags = tags
        self.name = name
        self.test = test


REF: ColumnElement[str] = literal_column("hs_r.ref", Text())


class _OfText(_Construct):
    _parts = ("text",)
    _traverse_internals = [("text", InternalTraversal.dp_clauseelement)]

    def __init__(self, text: ColumnElement[str]) -> None:
        self.text = text


class IsInstant(_OfText):
    """The text is an ISO 8601 date and time with an offset, and `Instant` can read it."""

    type = Boolean()


class Instant(_OfText):
    """The instant that an ISO 8601 text means; only where `IsInstant` says that it is one."""

    type = _INSTANT


class Variant(_Construct):
    """One meaning said in two ways: the way that PostgreSQL's indexes answer, and the plain one."""

    type = Boolean()
    _parts = ("indexed", "plain")
    _traverse_internals = [
        ("indexed", InternalTraversal.dp_clauseelement),
        ("plain", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, indexed: ColumnElement[bool], plain: ColumnElement[bool]) -> None:
        self.indexed = indexed
        self.plain = plain


def constant(name: str) -> ColumnElement[str]:
    """Write a name of ours into the SQL: it need not be bound."""
    return literal_column(f"'{name}'", Text())


def bound(text: str) -> ColumnElement[str]:
    """Bind a text."""
    return literal(text, Text())


class _Document(TypeDecorator[str]):
    """JSONB given as text, past the JSON functions of the engine, which may be a host's own."""

    impl = JSONB
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Leave the text as it is."""

    def literal_processor(self, dialect: Dialect) -> Any:
        """Write the text into SQL."""
        return String().literal_processor(dialect)  # type: ignore[no-untyped-call]


def bound_document(text: str) -> ColumnElement[str]:
    """Bind JSON text as JSONB (PostgreSQL).

    Not a cast of a bound text: a generic plan would parse that anew for each row it tests.
    """
    return literal(text, _Document())


def bound_number(val: float) -> ColumnElement[Any]:
    """Bind a number exactly, by its shortest text; infinity as a number beyond all doubles."""
    text = number_text(val).replace("INF", "9e999")
    return cast(bound(text), _NUMBER)


class IdText(_Construct):
    """The value of an id column as text, compared by code point: a UUID as people write it."""

    type = Text()
    _parts = ("column",)
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column


class IsListed(_Construct):
    """The column's value is one of a JSON array of texts, which is bound as one value."""

    type = Boolean()
    _parts = ("column", "array")
    _traverse_internals = [
        ("column", InternalTraversal.dp_clauseelement),
        ("array", InternalTraversal.dp_clauseelement),
    ]

    def __init__(self, column: ColumnElement[str], array: ColumnElement[str]) -> None:
        self.column = column
        self.array = array
