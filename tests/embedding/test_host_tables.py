"""Host tables of other shapes: their own names, their own keys, their own collations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Dialect,
    Engine,
    Integer,
    SmallInteger,
    String,
    TypeDecorator,
    Uuid,
    delete,
    func,
    select,
    update,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column

from hsorm import MARKER, Entity, Ref, Tags, compile_filter


class Base(DeclarativeBase):
    pass


class Named(Base):
    """Neither column is called as ours are."""

    __tablename__ = "named"
    key: Mapped[str] = mapped_column(primary_key=True)
    haystack: Mapped[Entity] = mapped_column(Tags())


class Numbered(Base):
    """Its ids are numbers."""

    __tablename__ = "numbered"
    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags())


class Collated(Base):
    """Its ids are in an order of people's."""

    __tablename__ = "collated"
    id: Mapped[str] = mapped_column(
        String().with_variant(String(collation="en-x-icu"), "postgresql"), primary_key=True
    )
    tags: Mapped[Entity] = mapped_column(Tags())


class Smaller(Base):
    """Its ids are numbers of two bytes on PostgreSQL."""

    __tablename__ = "smaller"
    id: Mapped[int] = mapped_column(
        SmallInteger().with_variant(Integer(), "sqlite"), primary_key=True
    )
    tags: Mapped[Entity] = mapped_column(Tags())


class Larger(Base):
    """Its ids are numbers of eight bytes."""

    __tablename__ = "larger"
    id: Mapped[int] = mapped_column(BigInteger(), primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags())


class _Code(TypeDecorator[str]):
    """A number in the database, `#1` in the host's code."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> int | None:
        return None if value is None else int(value.removeprefix("#"))

    def process_result_value(self, value: int | None, dialect: Dialect) -> str | None:
        return None if value is None else f"#{value}"


class Coded(Base):
    """Its ids are numbers, though not to the host."""

    __tablename__ = "coded"
    id: Mapped[str] = mapped_column(_Code(), primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags())


class _Guid(TypeDecorator[UUID]):
    """A UUID that may be given as text."""

    impl = Uuid
    cache_ok = True

    def process_bind_param(self, value: UUID | str | None, dialect: Dialect) -> UUID | None:
        return UUID(value) if isinstance(value, str) else value


class Unique(Base):
    """Its ids are UUIDs behind a type of the host's own."""

    __tablename__ = "unique_id"
    id: Mapped[UUID] = mapped_column(_Guid(), primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags())


class Digits(Base):
    """Its ids are UUIDs, kept as 32 digits everywhere."""

    __tablename__ = "digits"
    id: Mapped[UUID] = mapped_column(Uuid(native_uuid=False), primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags())


class Keyless(Base):
    """It has two columns for a key, and none is called id."""

    __tablename__ = "keyless"
    a: Mapped[int] = mapped_column(primary_key=True)
    b: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    tags: Mapped[Entity] = mapped_column(Tags())


@pytest.fixture
def session(host_engine: Engine) -> Iterator[Session]:
    Base.metadata.create_all(host_engine)
    site, ahu = {"site": MARKER}, {"ahu": MARKER, "siteRef": Ref("1")}
    ahus = {"ahu": MARKER, "siteRef": [Ref("2"), Ref("1")]}
    with Session(host_engine) as opened:
        opened.add_all(
            Named(key=key, haystack=t) for key, t in zip("123", (site, ahu, ahus), strict=True)
        )
        opened.add_all(Numbered(id=id, tags=t) for id, t in enumerate((site, ahu, ahus), 1))
        opened.add_all(Collated(id=id, tags={"x": MARKER}) for id in ("B", "a", "C", "_"))
        opened.add(Keyless(a=1, b=2, key="1", tags={"ahu": MARKER, "siteRef": Ref("1")}))
        opened.flush()
        yield opened


@pytest.mark.parametrize(
    ("filter", "found"),
    [("ahu", "23"), ("siteRef->site", "23"), ("not siteRef->site", "13"), ("id == @2", "2")],
)
def test_any_names_and_any_key_will_do(session: Session, filter: str, found: str) -> None:
    named = session.scalars(select(Named.key).where(Named.haystack.matches(filter)))
    numbered = session.scalars(select(Numbered.id).where(Numbered.tags.matches(filter)))

    assert sorted(named) == list(found)
    assert sorted(map(str, numbered)) == list(found)


_NO_IDS = [
    *(2**15, 2**31, 2**63, 2**63 - 1, -(2**63), -(2**63) - 1, 10**30, "9" * 5_000),
    *("007", "1.0", "-0", "x", "1_0"),
]


@pytest.mark.parametrize("kept_in", [Numbered, Smaller, Larger, Coded])
def test_ids_that_a_column_of_numbers_cannot_hold_are_those_of_none(
    session: Session, kept_in: Any
) -> None:
    tags = {"site": MARKER}, {"siteRef": Ref("1")}, {"siteRef": [Ref("1"), Ref("1" * 40)]}
    session.execute(delete(kept_in))
    session.add_all(
        kept_in(id=f"#{id}" if kept_in is Coded else id, tags=t) for id, t in enumerate(tags, 1)
    )
    session.flush()

    def found(filter: str) -> str:
        ids = session.scalars(select(kept_in.id).where(kept_in.tags.matches(filter)))
        return "".join(sorted(str(id).removeprefix("#") for id in ids))

    assert [found(f"id {op} @2") for op in ("==", "!=", ">")] == ["2", "13", "3"]
    assert found("siteRef->id == @1") == "23"
    for id in _NO_IDS:
        assert found(f"id == @{id}") == "", id
        assert found(f"id != @{id}") == "123", id
        assert found(f"siteRef->id == @{id} or id == @3") == "3", id


@pytest.mark.parametrize("kept_in", [Unique, Digits])
def test_uuids_are_written_in_one_way(session: Session, kept_in: Any) -> None:
    first, second = UUID(int=1), UUID(int=0xAB)
    session.add(kept_in(id=first, tags={"a": MARKER, "r": Ref(str(second))}))
    session.add(kept_in(id=second, tags={"b": MARKER}))
    session.flush()

    def found(filter: str) -> list[UUID]:
        return list(session.scalars(select(kept_in.id).where(kept_in.tags.matches(filter))))

    for filter in (f"id == @{first}", f"id != @{second}", f"id < @{second}", "r->b", "r and id"):
        assert found(filter) == [first], filter
    assert found(f"r->id == @{second}") == [first]
    assert found("not r->b") == [second]
    for id in ("abc", "1", second.hex, str(second).upper()):
        assert found(f"id == @{id}") == [], id


@pytest.mark.parametrize(
    ("filter", "found"), [("id > @C", "_a"), ("id >= @B", "BC_a"), ("id < @_", "BC")]
)
def test_ids_are_in_the_order_of_code_points(session: Session, filter: str, found: str) -> None:
    """K12, OC 3, whatever the collation of the column."""
    ids = session.scalars(select(Collated.id).where(Collated.tags.matches(filter)))

    assert sorted(ids) == list(found)


def test_refs_lead_to_the_table_that_is_named(session: Session) -> None:
    there = select(Named.key.label("id"), Named.haystack.label("tags")).subquery()
    where = compile_filter("siteRef->site", tags=Keyless.tags, id=Keyless.key, refs={"*": there})

    assert session.scalars(select(Keyless.b).where(where)).all() == [2]


def test_an_id_that_cannot_be_found_is_asked_for() -> None:
    with pytest.raises(ValueError, match="which column of keyless holds the id"):
        Keyless.tags.matches("ahu")


def test_a_self_join_of_aliases(session: Session) -> None:
    one, other = aliased(Named), aliased(Named)
    query = (
        select(one.key, other.key)
        .join(other, other.key != one.key)
        .where(one.haystack.matches("siteRef->site"), other.haystack.matches("site"))
    )

    assert sorted(tuple(row) for row in session.execute(query)) == [("2", "1"), ("3", "1")]


def test_it_chooses_what_is_updated_and_deleted(session: Session) -> None:
    def where() -> ColumnElement[bool]:
        return compile_filter("siteRef->site and ahu", tags=Named.haystack)

    session.execute(update(Named).where(where(), Named.key == "3").values(haystack={"x": MARKER}))
    session.execute(delete(Named).where(where()))

    assert session.scalars(select(Named.key).order_by(Named.key)).all() == ["1", "3"]
    assert session.scalar(select(func.count()).where(Named.haystack.matches("x"))) == 1
