"""Host tables of other shapes: their own names, their own keys, their own collations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import ColumnElement, Engine, String, delete, func, select, update
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
