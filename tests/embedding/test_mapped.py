"""Filters and typed values on mapped classes of all kinds, by every driver."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from collections.abc import Iterator
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import (
    ForeignKey,
    Text,
    cast,
    create_engine,
    delete,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    aliased,
    mapped_column,
    relationship,
)

from hsorm import MARKER, NA, Coord, Entity, Number, Ref, Tags, compile_filter
from hsorm.errors import InvalidTagError
from hsorm.sql import EntitySource

SITE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


class Base(DeclarativeBase):
    pass


class Place(Base):
    """Keys are UUIDs, and the column of tags has another name than its attribute."""

    __tablename__ = "place"
    key: Mapped[uuid.UUID] = mapped_column("place_key", primary_key=True)
    props: Mapped[Entity] = mapped_column("place_tags", Tags())


class Machine(Base):
    """Keys are integers; refs of two tags lead elsewhere. One table for two classes."""

    __tablename__ = "machine"
    id: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    place_key: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("place.place_key"))
    tags: Mapped[Entity] = mapped_column(
        Tags(refs={"siteRef": lambda: Place, "partRef": lambda: Part})
    )
    place: Mapped[Place | None] = relationship()
    parts: Mapped[list[Part]] = relationship()
    __mapper_args__ = {"polymorphic_on": "type", "polymorphic_identity": "machine"}  # noqa: RUF012


class Fan(Machine):
    __mapper_args__ = {"polymorphic_identity": "fan"}  # noqa: RUF012


class Part(Base):
    """Refs to it are written with a prefix."""

    __tablename__ = "part"
    code: Mapped[str] = mapped_column(primary_key=True)
    machine_id: Mapped[int | None] = mapped_column(ForeignKey("machine.id"))
    tags: Mapped[Entity] = mapped_column(
        Tags(ref=lambda code: literal("part:") + cast(code, Text), refs={"*": lambda: Machine})
    )


NEW_YORK = ZoneInfo("America/New_York")
NOON = dt.datetime(2024, 3, 10, 12, tzinfo=NEW_YORK)

ROWS = [
    Place(key=SITE, props={"site": MARKER, "geoCity": "Oslo"}),
    Place(key=OTHER, props={"site": MARKER, "geoCity": "Hugo"}),
    Machine(id=1, type="machine", place_key=SITE, tags={
        "ahu": MARKER, "siteRef": Ref(str(SITE)), "area": Number(9, "m²"), "n": Number(2),
        "day": dt.date(2024, 3, 10), "at": NOON, "on": True, "dis": "b",
    }),
    Fan(id=2, type="fan", place_key=OTHER, tags={
        "ahu": MARKER, "siteRef": [Ref(str(OTHER))], "area": Number(30, "m²"), "n": "text",
        "partRef": Ref("part:x"), "next": Ref("1"), "dis": "B", "on": False,
    }),
    Fan(id=3, type="fan", tags={
        "siteRef": Ref("nobody"), "area": NA, "n": Number(-1), "next": Ref("2"), "c": Coord(1, 2),
        "at": NOON - dt.timedelta(days=1), "day": dt.date(2023, 1, 1), "dis": "a",
    }),
    Part(code="x", machine_id=1, tags={"belt": MARKER, "ofRef": Ref("2")}),
]  # fmt: skip


@pytest.fixture
def session(host_url: str) -> Iterator[Session]:
    """A host's own session over its own tables."""
    engine = create_engine(host_url)
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        opened.add_all([_copy(row) for row in ROWS])
        opened.commit()
        yield opened
    engine.dispose()


def _copy(row: Any) -> Any:
    state = {name: value for name, value in vars(row).items() if not name.startswith("_")}
    return type(row)(**state)


def ids(session: Session, condition: Any, entity: Any = Machine) -> list[int]:
    return list(session.scalars(select(entity.id).where(condition).order_by(entity.id)))


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ('ahu and siteRef->geoCity == "Oslo"', [1]),
        ('siteRef->geoCity == "Hugo"', [2]),
        ("not siteRef->geoCity", [3]),
        ("partRef->belt", [2]),
        ("partRef->ofRef->ahu", [2]),
        ("partRef->ofRef->next->day == 2024-03-10", [2]),
        ('next->siteRef->geoCity == "Oslo"', [2]),
        ("next->next->ahu", [3]),
        ("id == @2", [2]),
        ("id == @02", []),
        ("id != @2", [1, 3]),
        ("id > @1", [2, 3]),
        ("next->id == @1", [2]),
        ("area > 10m²", [2]),
        ("on == false", [2]),
        ("at < 2024-03-10T00:00:00Z", [3]),
    ],
)
def test_a_filter_over_three_classes(session: Session, filter: str, expected: list[int]) -> None:
    assert ids(session, Machine.tags.matches(filter)) == expected


def test_the_id_of_a_uuid(session: Session) -> None:
    query = select(Place.key).where(Place.props.matches(f"id == @{SITE}"))

    assert session.scalars(query).all() == [SITE]
    assert not session.scalars(select(Place).where(Place.props.matches("id == @x"))).all()


def test_refs_lead_to_rows_of_the_same_class(session: Session) -> None:
    """Unless the filter says otherwise: the machine that 2 is next to is no Fan."""
    assert ids(session, Fan.tags.matches("next->ahu"), Fan) == [3]
    assert ids(session, Fan.tags.matches("next->ahu", refs={"*": Machine}), Fan) == [2, 3]
    assert ids(session, Machine.tags.matches("next->ahu")) == [2, 3]


def test_a_statement_can_be_printed() -> None:
    assert "tags ? 'ahu'" in str(select(Machine.id).where(Machine.tags.matches("ahu")))


def test_an_alias_beside_the_class(session: Session) -> None:
    other = aliased(Machine)
    query = select(Machine.id, other.id).join(
        other, Machine.tags.matches("n") & other.tags.matches('next->siteRef->geoCity == "Oslo"')
    )

    assert sorted(tuple(row) for row in session.execute(query)) == [(1, 2), (2, 2), (3, 2)]


def test_joins_subqueries_and_counts(session: Session) -> None:
    in_oslo = Place.props.matches('geoCity == "Oslo"')
    # For the type checkers a mapped attribute has the `has` of relationships.
    has_ahu = Machine.tags.has("ahu")  # type: ignore[arg-type]
    joined = select(Machine.id).join(Machine.place).where(in_oslo, has_ahu)
    with_part = select(Machine.id).where(Machine.parts.any(Part.tags.matches("ofRef->ahu")))
    inner = select(Machine).where(Machine.tags.matches("ahu")).subquery()
    count = select(func.count()).where(Machine.tags.matches("ahu"))

    assert session.scalars(joined).all() == [1]
    assert session.scalars(with_part).all() == [1]
    assert session.scalars(select(func.count()).select_from(inner)).one() == 2
    assert session.scalars(select(inner.c.id).where(inner.c.tags.matches("on == true"))).all() == [
        1
    ]
    assert session.scalars(count).one() == 2


def test_update_and_delete(session: Session) -> None:
    matching = Machine.tags.matches('siteRef->geoCity == "Oslo"')
    session.execute(update(Machine).where(matching).values(place_key=OTHER))
    session.execute(delete(Machine).where(Machine.tags.matches("next->next")))
    session.expire_all()

    assert session.get_one(Machine, 1).place_key == OTHER
    assert session.scalars(select(Machine.id).order_by(Machine.id)).all() == [1, 2]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Machine.tags["area"].as_number(), {1: 9.0, 2: 30.0}),
        (Machine.tags["area"].as_number("m²"), {1: 9.0, 2: 30.0}),
        (Machine.tags["area"].as_number("kW"), {}),
        (Machine.tags["n"].as_number(), {1: 2.0, 3: -1.0}),
        (Machine.tags["n"].as_string(), {2: "text"}),
        (Machine.tags["on"].as_bool(), {1: True, 2: False}),
        (Machine.tags["next"].as_ref(), {2: "1", 3: "2"}),
        (Machine.tags["day"].as_date(), {1: dt.date(2024, 3, 10), 3: dt.date(2023, 1, 1)}),
        (Machine.tags["at"].as_datetime(), {1: NOON, 3: NOON - dt.timedelta(days=1)}),
        (Machine.tags["n"], {1: Number(2), 2: "text", 3: Number(-1)}),
        (Machine.tags["area"], {1: Number(9, "m²"), 2: Number(30, "m²"), 3: NA}),
        (Machine.tags["siteRef"], {1: Ref(str(SITE)), 2: [Ref(str(OTHER))], 3: Ref("nobody")}),
    ],
)
def test_a_tag_as_a_typed_value(session: Session, value: Any, expected: dict[int, Any]) -> None:
    found = dict(tuple(row) for row in session.execute(select(Machine.id, value)))

    assert {id: val for id, val in found.items() if val is not None} == expected


def test_numbers_that_no_double_holds(session: Session) -> None:
    """Rows of other people's SQL: as they are read, and no end of the query."""
    texts = [
        *("1e400", "-1e400", "1e-400", "-1e-400", "5e-324", "-5e-324", "2.48e-324", "2.47e-324"),
        *("1.7976931348623157e308", "1.797693134862315807e308", "1.797693134862315808e308"),
        *("0", "1", "9" * 500, "0.1000000000000000055511151231257827"),
        '{"_kind": "number", "val": 1e400}', '{"_kind": "number", "val": 1e-400, "unit": "kW"}',
    ]  # fmt: skip
    for id, text in enumerate(texts, 101):
        tags = f'{{"n": {text}}}'
        session.execute(
            insert(Machine).values(id=id, type="machine", tags=literal_column(f"'{tags}'"))
        )
    number = Machine.tags["n"].as_number()

    query = select(number).where(Machine.id > 100)
    found = session.scalars(query.order_by(Machine.id)).all()
    ordered = session.scalars(query.order_by(number)).all()

    in_objects = [math.inf, 0.0]
    assert found == [*map(float, texts[: -len(in_objects)]), *in_objects]
    assert ordered == sorted(found)


def test_a_tag_has_a_name(session: Session) -> None:
    for no_name in (0, None, ("a", "b")):
        with pytest.raises(TypeError, match="name"):
            Machine.tags[no_name]
    with pytest.raises(InvalidTagError):
        Machine.tags["no name"]


def test_order_by_a_tag(session: Session) -> None:
    by_name = select(Machine.id).order_by(Machine.tags["dis"].as_string())
    by_area = select(Machine.id).order_by(Machine.tags["area"].as_number().desc().nulls_last())

    assert session.scalars(by_name).all() == [2, 3, 1]  # by code point: B, a, b
    assert session.scalars(by_area).all() == [2, 1, 3]


def test_refs_can_be_said_with_the_filter(session: Session) -> None:
    places = EntitySource(tags=Place.props, id=Place.key)
    to_places = compile_filter("siteRef->site", tags=Machine.tags, refs={"*": places})

    assert ids(session, Machine.tags.matches("next->ahu", refs={"*": Place})) == []
    assert ids(session, to_places) == [1, 2]
    with pytest.raises(TypeError, match="no table and no mapped class"):
        Machine.tags.matches("next->ahu", refs={"*": 5})
