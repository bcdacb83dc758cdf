"""Typed views of entities, and attributes over tags on classes of the host's own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.orm import Session, aliased, joinedload, lazyload, selectinload

from hsorm import MARKER, Number, Ref
from hsorm.errors import FilterSyntaxError, ViewWriteError
from hsorm.kinds import Entity
from hsorm.sql.views import entity_view
from hsorm.storage import bind
from tests.embedding.buildings import TABLES, Base, Device, Equip, Lease, Point, Reading, Room, Site

_BUILDING: list[Entity] = [
    {
        "id": Ref("oslo"),
        "site": MARKER,
        "dis": "Oslo",
        "geoCity": "Oslo",
        "area": Number(1_200, "m²"),
        "yearBuilt": dt.date(1999, 1, 2),
    },
    {"id": Ref("bergen"), "site": MARKER, "area": Number(900, "ft²")},
    {"id": Ref("gone"), "site": MARKER, "trash": MARKER},
    *(
        {"id": Ref(f"ahu-{n}"), "equip": MARKER, "ahu": MARKER, "siteRef": Ref("oslo", "Oslo")}
        for n in range(3)
    ),
    {"id": Ref("meter"), "equip": MARKER, "siteRef": Ref("bergen")},
    {"id": Ref("lost"), "equip": MARKER, "siteRef": Ref("nowhere")},
    {"id": Ref("b-1"), "equip": MARKER, "hotWaterRef": "no ref"},
    {"id": Ref("b-2"), "equip": MARKER, "hotWaterRef": Ref("b-1")},
    {"id": Ref("coil"), "equip": MARKER, "hotWaterRef": [Ref("b-1", "Boiler"), "x", Ref("b-2")]},
    *(
        {
            "id": Ref(f"temp-{n}"),
            "point": MARKER,
            "equipRef": Ref(f"ahu-{n}"),
            "siteRef": Ref("oslo"),
            "curVal": Number(20 + n, "°C"),
            "enabled": n == 1,
        }
        for n in range(3)
    ),
]


@pytest.fixture
def session(host_url: str) -> Iterator[Session]:
    """A session of a host whose tables `create_all` has made, with a building in it."""
    engine = create_engine(host_url)
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        bind(opened, tables=TABLES).load_entities(_BUILDING)
        opened.commit()
        yield opened
    engine.dispose()


def _count_statements(engine: Engine) -> list[str]:
    texts: list[str] = []
    event.listen(
        engine, "before_cursor_execute", lambda conn, cursor, sql, *rest: texts.append(sql)
    )
    return texts


def test_a_view_is_of_the_entities_of_its_filter(session: Session) -> None:
    sites = session.scalars(select(Site).order_by(Site.id)).all()

    assert [site.id for site in sites] == ["bergen", "oslo"]
    assert sites[1].tags["geoCity"] == "Oslo"
    assert session.get(Site, "ahu-0") is None
    assert session.scalar(select(func.count()).select_from(Point)) == 3


def test_attributes_are_values(session: Session) -> None:
    oslo, bergen = session.get_one(Site, "oslo"), session.get_one(Site, "bergen")
    point = session.get_one(Point, "temp-1")

    assert (oslo.city, oslo.area, oslo.built) == ("Oslo", 1_200.0, dt.date(1999, 1, 2))
    assert oslo.mod is not None
    assert (bergen.city, bergen.area, bergen.built) == (None, None, None), "another unit"
    assert (point.enabled, point.current) == (True, 21.0)
    assert session.get_one(Equip, "meter").is_ahu is False


def test_attributes_are_columns_of_a_query(session: Session) -> None:
    large = session.scalars(select(Site.id).where(Site.area > 1_000)).all()
    warm = session.scalars(select(Point.id).where(Point.current > 20.5).order_by(Point.id)).all()
    ahus = session.scalars(select(Equip.id).where(Equip.is_ahu, Equip.site_id == "oslo")).all()
    rows = session.execute(select(Site.city, Site.built).where(Site.city.is_not(None))).all()
    since = session.scalars(
        select(Site.id).where(Site.mod > dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    )

    assert large == ["oslo"]
    assert warm == ["temp-1", "temp-2"]
    assert sorted(ahus) == ["ahu-0", "ahu-1", "ahu-2"]
    assert [tuple(row) for row in rows] == [("Oslo", dt.date(1999, 1, 2))]
    assert len(since.all()) == 2


def test_attributes_of_an_alias(session: Session) -> None:
    one, other = aliased(Site), aliased(Site)
    query = select(one.id, other.id).where(
        one.area > 1_000, other.area.is_(None), one.id != other.id
    )

    assert [tuple(row) for row in session.execute(query)] == [("oslo", "bergen")]


def test_filters_follow_refs_to_all_entities(session: Session) -> None:
    def found(filter: str) -> list[str]:
        return sorted(session.scalars(select(Point.id).where(Point.tags.matches(filter))))

    assert len(found('equipRef->siteRef->geoCity == "Oslo"')) == 3
    assert found("curVal > 20.5°C and equipRef->ahu") == ["temp-1", "temp-2"]
    assert found("not curVal") == []
    equips = select(Equip.id).where(Equip.tags.matches("not siteRef->site and hotWaterRef->equip"))
    assert sorted(session.scalars(equips)) == ["b-2", "coil"]


def test_refs_are_relationships(session: Session) -> None:
    point = session.get_one(Point, "temp-1")

    assert point.equip is session.get_one(Equip, "ahu-1")
    assert point.equip.site is session.get_one(Site, "oslo")
    assert [equip.id for equip in session.get_one(Site, "bergen").equips] == ["meter"]
    assert session.get_one(Equip, "lost").site is None
    assert session.get_one(Equip, "meter").points == []


@pytest.mark.parametrize("load", [selectinload, joinedload])
def test_refs_are_loaded_with_their_entities(session: Session, load: object) -> None:
    assert callable(load)
    bound = session.get_bind()
    assert isinstance(bound, Engine)
    texts = _count_statements(bound)
    up = load(Point.equip).options(load(Equip.site))
    points = session.scalars(select(Point).options(up).order_by(Point.id)).unique().all()
    down = load(Site.equips).options(load(Equip.points))
    sites = session.scalars(select(Site).options(down).order_by(Site.id)).unique().all()
    executed = len(texts)

    assert [point.equip and point.equip.id for point in points] == ["ahu-0", "ahu-1", "ahu-2"]
    assert {point.equip and point.equip.site and point.equip.site.id for point in points} == {
        "oslo"
    }
    found = {site.id: sorted(equip.id for equip in site.equips) for site in sites}
    assert found == {"bergen": ["meter"], "oslo": ["ahu-0", "ahu-1", "ahu-2"]}
    assert [len(equip.points) for equip in sites[1].equips] == [1, 1, 1]
    assert len(texts) == executed <= 6, "something was loaded one by one"


def test_gin_answers_who_refers(session: Session) -> None:
    """Both ways that a relationship is asked for: of one entity, and joined to others."""
    if session.get_bind().dialect.name != "postgresql":
        return
    bound = session.get_bind()
    assert isinstance(bound, Engine)
    texts: list[tuple[str, object]] = []
    event.listen(
        bound, "before_cursor_execute", lambda c, cur, sql, given, *rest: texts.append((sql, given))
    )
    session.scalars(select(Site).options(selectinload(Site.equips))).all()
    session.expunge_all()
    assert len(session.get_one(Site, "oslo").equips) == 3
    connection = session.connection()
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    connection.exec_driver_sql("SET LOCAL enable_hashjoin = off")

    asked = [(sql, given) for sql, given in texts if "@>" in sql]
    assert len(asked) == 2
    for sql, given in asked:
        rows = connection.exec_driver_sql(f"EXPLAIN {sql}", given).scalars()  # type: ignore[arg-type]
        plan = "\n".join(rows)
        condition = plan.partition("Bitmap Index Scan on hs_entities_tags_gin")[2].splitlines()
        assert any("@>" in line for line in condition[:2]), plan


def test_refs_are_joined(session: Session) -> None:
    query = select(Point.id).join(Point.equip).join(Equip.site).where(Site.area > 1_000)
    has = select(Site.id).where(Site.equips.any(Equip.is_ahu))

    assert len(session.scalars(query).all()) == 3
    assert session.scalars(has).all() == ["oslo"]


def test_a_row_of_the_hosts_own_refers_to_an_entity(session: Session) -> None:
    session.add(Lease(id=1, site_id="oslo", tenant="North"))
    session.commit()

    query = select(Lease.tenant).join(Lease.site).where(Site.city == "Oslo")
    assert session.scalars(query).all() == ["North"]
    assert session.get_one(Lease, 1).site.area == 1_200


def test_attributes_of_a_class_of_its_own_are_set(session: Session) -> None:
    device = Device(id="d", serial="A7", tags={"id": Ref("d"), "dis": "x"})
    session.add_all([device, Device(id="e", serial="A8", tags={"deviceRef": Ref("d")})])
    session.commit()

    device.area, device.dis, device.is_ahu, device.part_of = 12, None, True, "e"
    session.commit()

    assert session.get_one(Device, "d").tags == {
        "id": Ref("d"),
        "area": Number(12, "m²"),
        "ahu": MARKER,
        "deviceRef": Ref("e"),
    }
    assert device.whole is session.get_one(Device, "e")
    assert [part.id for part in device.parts] == ["e"]
    device.area, device.is_ahu = None, False
    session.commit()
    assert (device.area, device.is_ahu) == (None, False)
    assert session.scalars(select(Device.id).where(Device.part_of == "e")).all() == ["d"]


def test_attributes_of_what_has_no_tags_yet(session: Session) -> None:
    session.add(Device(id="d", serial="1", area=12, is_ahu=True))
    session.commit()

    assert session.get_one(Device, "d").tags == {"area": Number(12, "m²"), "ahu": MARKER}


@pytest.mark.parametrize("load", [lazyload, selectinload, joinedload])
def test_lists_of_refs_are_relationships(session: Session, load: Any) -> None:
    """F45: a ref, or those in a list."""
    options = load(Equip.heated_by), load(Equip.heats)
    ours = select(Equip).where(Equip.id.in_(["b-1", "b-2", "coil"]))
    by = {
        equip.id: [sorted(one.id for one in ends) for ends in (equip.heated_by, equip.heats)]
        for equip in session.scalars(ours.options(*options)).unique()
    }
    joined = session.scalars(select(Equip.id).where(Equip.heated_by.any(Equip.site_id.is_(None))))

    assert by == {
        "b-1": [[], ["b-2", "coil"]],
        "b-2": [["b-1"], ["coil"]],
        "coil": [["b-1", "b-2"], []],
    }
    assert sorted(joined) == ["b-2", "coil"]


def test_refs_to_keys_that_are_numbers(session: Session) -> None:
    session.add(Room(number=1, props={"area": Number(3, "m²"), "nextRef": Ref("2")}))
    session.add(Room(number=2, props={}))
    session.commit()

    rooms = session.scalars(select(Room).options(selectinload(Room.next)).order_by(Room.number))
    assert [room.next and room.next.number for room in rooms] == [2, None]


def test_history_of_the_hosts_own(session: Session) -> None:
    ts = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
    session.add(Reading(point_id="d", ts=ts, val=21.5))
    session.commit()

    assert session.scalars(select(Reading.val).where(Reading.ts >= ts)).all() == [21.5]


def test_a_view_is_not_written(session: Session) -> None:
    oslo = session.get_one(Site, "oslo")
    with pytest.raises(AttributeError, match="bind"):
        oslo.area = 5
    bind(session, tables=TABLES).update({"id": Ref("oslo"), "area": Number(5, "m²")})
    session.expire(oslo)

    assert oslo.area == 5


def test_a_row_of_a_view_is_not_flushed(session: Session) -> None:
    """SQLAlchemy would insert what is no entity, lose a change, and delete past the storage."""

    def insert() -> None:
        session.add(Site(id="new"))

    def update() -> None:
        session.get_one(Site, "oslo").tags = {"site": MARKER}

    def delete() -> None:
        session.delete(session.get_one(Site, "oslo"))

    writes = {"inserted": insert, "updated": update, "deleted": delete}
    for what, write in writes.items():
        write()
        with pytest.raises(ViewWriteError, match=rf"a Site cannot be {what}.*bind\(session\)"):
            session.flush()
        session.rollback()

    assert {"oslo", "bergen"} == set(session.scalars(select(Site.id)))


def test_what_refers_to_a_row_of_a_view_is_flushed(session: Session) -> None:
    """And a view that has a list of the host's rows is not changed with it."""
    oslo = session.get_one(Site, "oslo")
    oslo.leases.append(Lease(id=9, tenant="Ann"))
    oslo.tags = oslo.tags
    session.flush()

    assert session.get_one(Lease, 9).site_id == "oslo"


def test_a_wrong_filter_is_an_error_at_once() -> None:
    with pytest.raises(FilterSyntaxError):
        entity_view(TABLES, "site and")
