"""The few SQL constructs that filters are made of, each rendered by the dialect it meets.

A filter is compiled before anybody knows which database will run it, so what differs between
PostgreSQL and SQLite hides behind these; `hsorm.sql.dialects` says how each is written there.
Everything else in a compiled filter is plain SQLAlchemy.

Tag names are part of a construct and of its cache key: they go into the SQL text (as constants,
which indexes on expressions need) and are plain identifiers by the grammar. Values are always
bound, and always as text, so that every driver takes them as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Dialect,
    Double,
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
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import JSON, BigInteger, TypeEngine

from hsorm.errors import InvalidTagError
from hsorm.kinds import Number, number_text

__all__ = [
    "NUMBER",
    "REF",
    "AnyRef",
    "AsDouble",
    "AtTag",
    "ChangedSince",
    "Construct",
    "CurrentCursor",
    "Document",
    "EachItem",
    "EachTag",
    "GivenRows",
    "GivenTexts",
    "HasKey",
    "HasTag",
    "IdText",
    "Instant",
    "IsInstant",
    "IsListed",
    "KindAt",
    "Made",
    "NumberAt",
    "OfText",
    "Recorder",
    "RefIn",
    "SubDict",
    "TextAt",
    "ThisChange",
    "ThisInstant",
    "Variant",
    "begin_term",
    "bound",
    "bound_document",
    "bound_number",
    "bound_of",
    "constant",
    "plain_type",
    "recording",
]

_JSON: TypeEngine[Any] = JSON().with_variant(JSONB(), "postgresql")
NUMBER: TypeEngine[Any] = Numeric().with_variant(Float(), "sqlite")
_INSTANT: TypeEngine[Any] = TIMESTAMP(timezone=True).with_variant(BigInteger(), "sqlite")


class Construct(ColumnElement[Any]):
    """A construct over other expressions, the attributes named in `_parts`."""

    _parts: tuple[str, ...] = ("tags",)

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        cls.inherit_cache = True  # asked of each class: the cache key is its `_traverse_internals`

    @property
    def _from_objects(self) -> Any:
        # So that a statement with nothing but this in it still selects from the table.
        return list(chain.from_iterable(getattr(self, part)._from_objects for part in self._parts))


class AtTag(Construct):
    """A construct about the value that `names` lead to in the dict `tags`."""

    _traverse_internals = [
        ("tags", InternalTraversal.dp_clauseelement),
        ("names", InternalTraversal.dp_plain_obj),
    ]

    def __init__(self, tags: ColumnElement[Any], *names: str) -> None:
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"a tag has a name, which {name!r} is none")
            # A filter built by hand could hold any text as a name, and this one goes into SQL.
            if not (name.isascii() and name.isidentifier()):
                raise InvalidTagError(None, name, "no name of a tag")
        self.tags = tags
        self.names = names


class HasTag(AtTag):
    """The tag is there and is not null."""

    type = Boolean()


class HasKey(AtTag):
    """The tag is there, were it null: for an index, beside a condition that is exact by itself."""

    type = Boolean()


class KindAt(AtTag):
    """The kind of a value as text, never NULL.

    `str`, `num` (a bare number), `true`, `false`, `list`, `dict`, the `_kind` of any other object,
    or the empty text where there is nothing.
    """

    type = Text()


class TextAt(AtTag):
    """A JSON string as text, compared by code point; NULL where there is none."""

    type = Text()


class NumberAt(AtTag):
    """A bare JSON number; only to be asked for where `KindAt` says `num`."""

    type = NUMBER


class AsDouble(Construct):
    """A number as a double, infinity where it is beyond them all."""

    type = Double()
    _parts = ("number",)
    _traverse_internals = [("number", InternalTraversal.dp_clauseelement)]

    def __init__(self, number: ColumnElement[Any]) -> None:
        self.number = number


class SubDict(AtTag):
    """The value itself, as JSON: a nested dict to look into."""

    type = _JSON


class AnyRef(Construct):
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


class OfText(Construct):
    """A construct about one text."""

    _parts = ("text",)
    _traverse_internals = [("text", InternalTraversal.dp_clauseelement)]

    def __init__(self, text: ColumnElement[str]) -> None:
        self.text = text


class IsInstant(OfText):
    """The text is an ISO 8601 date and time with an offset, and `Instant` can read it."""

    type = Boolean()


class Instant(OfText):
    """The instant that an ISO 8601 text means; only where `IsInstant` says that it is one."""

    type = _INSTANT


class Variant(Construct):
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

    def self_group(self, against: Any = None) -> ColumnElement[Any]:
        """Stand as it is, it brings its parentheses: SQLite sees no index in `(…) = 1`."""
        return self


def constant(name: str) -> ColumnElement[str]:
    """Write a name of ours into the SQL: it need not be bound."""
    return literal_column(f"'{name}'", Text())


class Made(str):
    """A bound text, and how it was made of the literal of a term."""

    __slots__ = ("make", "term")

    make: Callable[[Any], str]
    term: Any


class Recorder:
    """Notes while a filter is compiled which bound texts are made of which literal.

    So the statement can be executed for a filter with other literals: see `hsorm.sql.templates`.

    Attributes:
        term: The term that is being compiled.
        complete: Whether of all texts that were bound in terms it is known how they are made.
    """

    def __init__(self) -> None:
        self.term: Any = None
        self.complete = True


_RECORDER: ContextVar[Recorder | None] = ContextVar("hsorm_recorder", default=None)


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record what is compiled inside."""
    recorder = Recorder()
    token = _RECORDER.set(recorder)
    try:
        yield recorder
    finally:
        _RECORDER.reset(token)


def begin_term(term: Any) -> None:
    """Say that what is bound from now on is made of this term's literal."""
    if (recorder := _RECORDER.get()) is not None:
        recorder.term = term


def bound(text: str) -> ColumnElement[str]:
    """Bind a text that has nothing to do with a filter's literal."""
    if (recorder := _RECORDER.get()) is not None and recorder.term is not None:
        recorder.complete = False
    return literal(text, Text())


def bound_of(make: Callable[[Any], str], val: Any) -> ColumnElement[str]:
    """Bind a text that is made of the literal `val`."""
    return literal(_made(make, val), Text())


def _made(make: Callable[[Any], str], val: Any) -> str:
    recorder = _RECORDER.get()
    if recorder is None:  # a plain text, as every driver takes it
        return make(val)
    made = Made(make(val))
    made.make, made.term = make, recorder.term
    return made


class Document(TypeDecorator[str]):
    """JSONB given as text, past the JSON functions of the engine, which may be a host's own."""

    impl = JSONB
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """Leave the text as it is."""

    def literal_processor(self, dialect: Dialect) -> Any:
        """Write the text into SQL."""
        return String().literal_processor(dialect)  # type: ignore[no-untyped-call]


def bound_document(make: Callable[[Any], str], val: Any) -> ColumnElement[str]:
    """Bind JSON text that is made of the literal `val` as JSONB (PostgreSQL).

    Not a cast of a bound text: a generic plan would parse that anew for each row it tests.
    """
    return literal(_made(make, val), Document())


def bound_number(val: Number) -> ColumnElement[Any]:
    """Bind a number exactly, by its shortest text; infinity as a number beyond all doubles."""
    return cast(bound_of(_number_text, val), NUMBER)


def _number_text(val: Number) -> str:
    return number_text(val.val).replace("INF", "9e999")


def plain_type(column: ColumnElement[Any]) -> TypeEngine[Any]:
    """Return the type of a column without what a host has put around it (`TypeDecorator`).

    It says what the database holds; a Ref holds that, too, as text.
    """
    found: Any = column.type
    while isinstance(found, TypeDecorator):
        found = found.impl_instance
    own: TypeEngine[Any] = found
    return own


class IdText(Construct):
    """The value of an id column as text, compared by code point: a UUID as people write it."""

    type = Text()
    _parts = ("column",)
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column


class IsListed(Construct):
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

    def self_group(self, against: Any = None) -> IsListed:
        """Stand as it is: behind SQLAlchemy's `… = 1` no index of SQLite is found."""
        return self


# ---- changes: how far somebody has seen them; `hsorm.sql.stamps` has the reasoning --------------


class _Constant(ColumnElement[Any]):
    """A construct over nothing."""

    inherit_cache = True
    _traverse_internals: Any = []

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        cls.inherit_cache = True  # asked of each class


class ThisChange(_Constant):
    """The stamp of a new row: its transaction on PostgreSQL; triggers give one on SQLite."""

    type = BigInteger()


class ThisInstant(_Constant):
    """The time of the database, as the default of a column of type `Instant`."""

    type = _INSTANT


class CurrentCursor(Construct):
    """How far changes have come, as text (see `hsorm.sql.stamps.Cursor`)."""

    type = Text()
    _parts = ()
    _traverse_internals = [("clock", InternalTraversal.dp_clauseelement)]

    def __init__(self, clock: ColumnElement[int]) -> None:
        self.clock = clock


class ChangedSince(Construct):
    """A row whose stamp is `changed` was changed after a cursor was taken."""

    type = Boolean()
    _parts = ("changed",)
    _traverse_internals = [
        ("changed", InternalTraversal.dp_clauseelement),
        ("following", InternalTraversal.dp_clauseelement),
        ("open", InternalTraversal.dp_clauseelement),
        ("least", InternalTraversal.dp_clauseelement),
    ]

    def __init__(
        self,
        changed: ColumnElement[Any],
        following: ColumnElement[int],
        open: ColumnElement[str],
        least: ColumnElement[int],
    ) -> None:
        self.changed = changed
        self.following = following
        self.open = open
        self.least = least

    def self_group(self, against: Any = None) -> ChangedSince:
        """Stand as it is: behind SQLAlchemy's `… = 1` no index of SQLite is found."""
        return self


class GivenRows(FunctionElement[Any]):
    """The elements of a JSON array, bound as one text: each is a row with one column `value`."""

    name = "given_rows"
    inherit_cache = True


class GivenTexts(FunctionElement[Any]):
    """The texts in a JSON array, each a row with one column `value`."""

    name = "given_texts"
    inherit_cache = True


class EachTag(FunctionElement[Any]):
    """The tags of a dict, each a row of `key`, `value` and, on SQLite alone, `type`."""

    name = "each_tag"
    inherit_cache = True


class EachItem(FunctionElement[Any]):
    """The items of a list, or the one value that is no list, each a row as of `EachTag`.

    Made of the `value` and the `type` of a tag.
    """

    name = "each_item"
    inherit_cache = True


class RefIn(FunctionElement[str]):
    """The id of a ref, NULL of what is none; made of the `value` and the `type` of an item."""

    name = "ref_in"
    type = Text()
    inherit_cache = True
