"""Typed attributes over tags: `site.area`, `point.equip`, on a class that says which it has.

    class Site(EntityView, Base):
        __table__ = entity_view(tables, "site")
        city = string_tag("geoCity")
        area = number_tag("area", "m²")
        equips: Mapped[list[Equip]] = referred_by(lambda: Equip, "siteRef")

`Site.area` in a query is a column, NULL where an entity has no such tag or one of another kind;
`site.area` is its value, or None. All of it works on any mapped class with a column of tags, too;
there an attribute can be set. Each is one declaration, and makes nothing that it does not name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Subquery,
    Text,
    and_,
    case,
    cast,
    event,
    func,
    or_,
    select,
    true,
    type_coerce,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, foreign, object_session, relationship, remote

from hsorm.errors import ViewWriteError
from hsorm.filter.ast import Node
from hsorm.kinds import MARKER, REMOVE, Entity, Number, Ref
from hsorm.ops.live import LIVE_TAGS
from hsorm.sql import statements
from hsorm.sql.constructs import REF, AnyRef, HasTag, KindAt, Variant, constant
from hsorm.sql.models import Tables
from hsorm.sql.sources import EntitySource, LiveSource, source_of
from hsorm.sql.types import LiveTags, Tags
from hsorm.sql.values import TagValue

__all__ = [
    "EntityView",
    "bool_tag",
    "date_tag",
    "datetime_tag",
    "entity_view",
    "marker_tag",
    "number_tag",
    "ref_tag",
    "ref_to",
    "referred_by",
    "refs_to",
    "string_tag",
]

_T = TypeVar("_T")


class EntityView:
    """What each class over an `entity_view` has: `id`, `tags`, and `live`, its live tags.

    Its rows are read, not written: change entities by a storage (`hsorm.storage.bind`). A flush of
    one that is new, changed or deleted is a ViewWriteError.
    """

    if TYPE_CHECKING:
        id: Mapped[str]
        tags: Mapped[Entity]
        live: Mapped[Entity | None]


# At the flush, where SQLAlchemy has one place for whatever is done to rows: by itself it would
# insert into `entities` what is none, delete past a storage, and do nothing of an update.


@event.listens_for(EntityView, "before_insert", propagate=True)
def _refuse_insert(mapper: Any, connection: Any, row: EntityView) -> None:
    raise ViewWriteError(type(row).__name__, "inserted")


@event.listens_for(EntityView, "before_update", propagate=True)
def _refuse_update(mapper: Any, connection: Any, row: EntityView) -> None:
    # Also called where a list of the host's own rows changed, which refer to this one.
    session = object_session(row)
    if session is not None and session.is_modified(row, include_collections=False):
        raise ViewWriteError(type(row).__name__, "updated")


@event.listens_for(EntityView, "before_delete", propagate=True)
def _refuse_delete(mapper: Any, connection: Any, row: EntityView) -> None:
    raise ViewWriteError(type(row).__name__, "deleted")


def entity_view(tables: Tables, filter: str | Node, name: str | None = None) -> Subquery:
    """Return what a class is mapped to (`__table__`) whose rows are the entities of a filter.

    Its columns are `id`, `tags` and `live`. What is in the trash is not among them. Further filters
    over its `tags` see live tags as well, and their refs lead to all entities.

    Args:
        tables: The tables of a storage, as `make_tables` returned them.
        filter: Which entities are of the class: `"site"`, `"equip and ahu"`.
        name: The name in SQL; None makes one.

    Raises:
        FilterSyntaxError: The text is no filter.
    """
    entities, live = tables.entities, tables.live
    apart = LiveSource(live, LIVE_TAGS)
    everything = EntitySource(entities.c.tags, entities.c.id, None, apart, tables.tag_index)
    tags = type_coerce(entities.c.tags, Tags(refs={"*": everything}, live=apart)).label("tags")
    joined = entities.outerjoin(live, live.c.id == entities.c.id)
    live_tags = type_coerce(live.c.tags, LiveTags()).label("live")
    rows = select(entities.c.id, tags, live_tags).select_from(joined)
    return rows.where(statements.matching(tables, filter)).subquery(name)


# ---- tags as attributes -------------------------------------------------------------------------


class _TagAttribute(hybrid_property[_T]):
    """The value of one tag, in Python and in SQL."""

    def __init__(
        self,
        name: str,
        column: str,
        read: Callable[[Any], _T],
        write: Callable[[Any], Any],
        express: Callable[[TagValue], Any],
    ) -> None:
        def get(self: Any) -> _T:
            return read((getattr(self, column) or {}).get(name))

        def set(self: Any, value: Any) -> None:
            if isinstance(self, EntityView):
                raise AttributeError(  # noqa: TRY004 - what Python says of what cannot be set
                    f"{name!r}: the rows of a view are read, not written; change the entity by a "
                    "storage in the same session, hsorm.storage.bind(session)"
                )
            # Of what is new there are none yet: `Device(power=4)`.
            kept = {tag: val for tag, val in (getattr(self, column) or {}).items() if tag != name}
            new = write(value)
            # A new dict: of one that is changed inside, the unit of work hears nothing.
            setattr(self, column, kept if new is None else {**kept, name: new})

        def expression(cls: Any) -> Any:
            return express(getattr(cls, column)[name])

        get.__name__ = name
        super().__init__(get, set, expr=expression)

    def __set_name__(self, owner: type, name: str) -> None:
        self.__name__ = name  # by which SQLAlchemy finds it again, on an alias of the class


def _plain(kind: type[_T]) -> Callable[[Any], _T | None]:
    # By its very type: a dateTime is a date to Python, and True a number.
    return lambda val: val if type(val) is kind else None


def _same(value: Any) -> Any:
    return value


def string_tag(name: str, *, column: str = "tags") -> hybrid_property[str | None]:
    """Return a Str tag as an attribute.

    Args:
        name: The tag.
        column: The attribute that has the tags; of live tags on an `EntityView` that is `"live"`.
    """
    return _TagAttribute(name, column, _plain(str), _same, TagValue.as_string)


def number_tag(
    name: str, unit: str | None = None, *, column: str = "tags"
) -> hybrid_property[float | None]:
    """Return the value of a Number tag as an attribute.

    Args:
        name: The tag.
        unit: Of Numbers in this unit alone, which is also what is set; None is of any unit.
        column: As of `string_tag`.
    """

    def read(val: Any) -> float | None:
        fits = type(val) is Number and unit in (None, val.unit)
        return val.val if fits else None

    def write(value: Any) -> Any:
        return None if value is None else Number(value, unit)

    return _TagAttribute(name, column, read, write, lambda value: value.as_number(unit))


def bool_tag(name: str, *, column: str = "tags") -> hybrid_property[bool | None]:
    """Return a Bool tag as an attribute; `column` as of `string_tag`."""
    return _TagAttribute(name, column, _plain(bool), _same, TagValue.as_bool)


def date_tag(name: str, *, column: str = "tags") -> hybrid_property[dt.date | None]:
    """Return a Date tag as an attribute; `column` as of `string_tag`."""
    return _TagAttribute(name, column, _plain(dt.date), _same, TagValue.as_date)


def datetime_tag(name: str, *, column: str = "tags") -> hybrid_property[dt.datetime | None]:
    """Return a DateTime tag as an attribute, in SQL an instant; `column` as of `string_tag`."""
    return _TagAttribute(name, column, _plain(dt.datetime), _same, TagValue.as_datetime)


def ref_tag(name: str, *, column: str = "tags") -> hybrid_property[str | None]:
    """Return the id in a Ref tag as an attribute; `column` as of `string_tag`.

    What the ref leads to is `ref_to`.
    """

    def read(val: Any) -> str | None:
        return val.val if type(val) is Ref else None

    def write(value: Any) -> Any:
        return None if value is None else Ref(value)

    return _TagAttribute(name, column, read, write, TagValue.as_ref)


def marker_tag(name: str, *, column: str = "tags") -> hybrid_property[bool]:
    """Return whether there is a tag, whatever its value, as an attribute.

    Set to True it is a marker, to False it is gone. `column` as of `string_tag`.
    """

    def read(val: Any) -> bool:
        return val is not None and val is not REMOVE

    def write(value: Any) -> Any:
        return MARKER if value else None

    return _TagAttribute(name, column, read, write, lambda value: HasTag(value.tags, name))


# ---- refs as relationships ----------------------------------------------------------------------


def ref_to(target: Callable[[], type[_T]], tag: str) -> Mapped[_T | None]:
    """Return the entity that a ref leads to, as a relationship.

    It is loaded when it is asked for, or with `selectinload` and the like; None where the tag is no
    ref (or a list of them, see `refs_to`), or leads to none of that class. It is read, not set: set
    the tag.

    Args:
        target: Returns the class, which need not be there yet: `lambda: Equip`.
        tag: The tag of this class that has the ref.
    """
    made: Any = relationship(
        lambda: target(),
        primaryjoin=lambda: _leads(made.parent.class_, tag, target(), remote_id=True),
        viewonly=True,
        uselist=False,
    )
    own: Mapped[_T | None] = made
    return own


def refs_to(target: Callable[[], type[_T]], tag: str) -> Mapped[list[_T]]:
    """Return the entities that a ref or a list of refs leads to, as a relationship (F45).

    Args:
        target: Returns their class, which need not be there yet: `lambda: Equip`.
        tag: The tag of this class that has the refs.
    """
    made: Any = relationship(
        lambda: target(),
        primaryjoin=lambda: _leads(
            made.parent.class_, tag, target(), remote_id=True, in_lists=True
        ),
        viewonly=True,
        uselist=True,
    )
    own: Mapped[list[_T]] = made
    return own


def referred_by(
    target: Callable[[], type[_T]], tag: str, *, in_lists: bool = False
) -> Mapped[list[_T]]:
    """Return the entities whose ref leads here, as a relationship; the other end of `ref_to`.

    Args:
        target: Returns their class, which need not be there yet: `lambda: Point`.
        tag: The tag of that class that has the ref.
        in_lists: Whether it may be in a list of refs as well (F45), as for the other end of
            `refs_to`; joins of many entities take longer then.
    """
    made: Any = relationship(
        lambda: target(),
        primaryjoin=lambda: _leads(
            target(), tag, made.parent.class_, remote_id=False, in_lists=in_lists
        ),
        viewonly=True,
        uselist=True,
    )
    own: Mapped[list[_T]] = made
    return own


def _leads(
    referring: Any, tag: str, referred: Any, *, remote_id: bool, in_lists: bool = False
) -> ColumnElement[bool]:
    """Return the condition that the ref of one class leads to an entity of another."""
    source, there = source_of(referring), source_of(referred)
    tags, id = _plainly(source.tags), _plainly(there.id)
    if remote_id:
        tags, id = foreign(tags), remote(id)
    else:
        tags = remote(foreign(tags))
    as_text = type(there)(there.tags, id, there.ref).ref_id()
    exact: ColumnElement[bool] = TagValue(tags, tag).as_ref() == as_text
    # What GIN answers, beside what is exact.
    ref = func.jsonb_build_object(
        constant("_kind"), constant("ref"), constant("val"), cast(as_text, Text())
    )
    # Not as JSONB: the tags of one entity would be bound as such, by the host's JSON functions.
    holds = tags.op("@>", is_comparison=True)
    contained = holds(func.jsonb_build_object(constant(tag), ref))
    if in_lists:
        in_list = AnyRef(tags, tag, as_text == REF)
        exact = case((KindAt(tags, tag) == constant("list"), in_list), else_=exact)
        listed = func.jsonb_build_object(constant(tag), func.jsonb_build_array(ref))
        contained = or_(contained, holds(listed))
    return and_(exact, Variant(contained, true()))


def _plainly(column: Any) -> Any:
    """Return a mapped column without what says of which class it is: of one end of a join."""
    return column._deannotate()
