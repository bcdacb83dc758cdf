"""Places on a host's own class, by every driver, with and without a geography column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, not_, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.schema import CreateTable

from hsorm import MARKER, Coord, Entity, Ref, Tags
from hsorm.errors import GeoError
from tests.embedding.host import Device

DIALECT = create_engine("postgresql+psycopg://").dialect
OSLO, BERGEN = Coord(59.9139, 10.7522), Coord(60.3913, 5.3221)
BOX = [Coord(59, 10), Coord(61, 12)]
TRIANGLE = [Coord(59, 10), Coord(61, 10), Coord(60, 12)]


def _place(session: Session, name: str, coord: Coord) -> None:
    device = session.get_one(Device, name)
    device.tags = {**device.tags, "geoCoord": coord}


def test_places_compose_with_filters(host_engine: Engine) -> None:
    """In one statement, negated as well: a condition is never NULL."""
    with Session(host_engine) as session:
        _place(session, "oslo", OSLO)
        _place(session, "bergen", BERGEN)
        session.flush()
        tags = Device.tags
        asked = {
            "near": tags.near(OSLO, "300km"),
            "near and a filter": tags.near(OSLO, "400km") & tags.matches('geoCity == "Bergen"'),
            "not near": not_(tags.near(OSLO, "300km")) & tags.matches("site"),
            "nowhere": not_(tags.near(OSLO, "21000km")) & tags.matches("site"),
            "box": tags.within(BOX),
            "polygon": tags.within(TRIANGLE),
            "not in the polygon": not_(tags.within(TRIANGLE)) & tags.matches("site"),
            "another tag": tags.near(OSLO, "1km", tag="entrance"),
        }

        found = {
            name: list(session.scalars(select(Device.id).where(condition).order_by(Device.id)))
            for name, condition in asked.items()
        }

    assert found == {
        "near": ["oslo"], "near and a filter": ["bergen"], "not near": ["bergen"], "nowhere": [],
        "box": ["oslo"], "polygon": ["oslo"], "not in the polygon": ["bergen"], "another tag": [],
    }  # fmt: skip


async def test_places_by_the_asynchronous_drivers(host_async_engine: AsyncEngine) -> None:
    async with host_async_engine.begin() as connection:
        for condition in (Device.tags.near(OSLO, 5), Device.tags.within(TRIANGLE)):
            assert list(await connection.execute(select(Device.id).where(condition))) == []


def test_a_place_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(GeoError, match="5 parsec"):
        Device.tags.near(OSLO, "5 parsec")


def test_statements_of_one_shape_are_cached(host_engine: Engine) -> None:
    """Places and distances are bound; names of tags are not."""
    near = [select(Device.id).where(Device.tags.near(Coord(i, i), i * 100)) for i in (1, 2)]
    rings = [
        select(Device.id).where(Device.tags.within(TRIANGLE[i:] + TRIANGLE[:i])) for i in (0, 1)
    ]
    other = select(Device.id).where(Device.tags.near(OSLO, 1, tag="entrance"))
    keys = [_key(statement) for statement in (*near, *rings, other)]

    assert keys[0] == keys[1] != keys[4]
    assert keys[2] == keys[3]


def _key(statement: Any) -> Any:
    return statement._generate_cache_key().key


# ---- with PostGIS -------------------------------------------------------------------------------


@pytest.fixture
def postgis_url(fresh_postgres_url: str) -> str:
    """The URL of a database with PostGIS."""
    return fresh_postgres_url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def shop() -> Iterator[Any]:
    """A host's class with a geography column, and an index on it."""
    from hsorm.sql.geography import geography_column, geography_index

    class Base(DeclarativeBase):
        pass

    class Shop(Base):
        __tablename__ = "shop"
        __table_args__ = (geography_index("shop_geo"),)
        id: Mapped[str] = mapped_column(primary_key=True)
        tags: Mapped[Entity] = mapped_column(Tags())
        geo: Mapped[Any] = geography_column()

    yield Shop
    Base.registry.dispose()


@pytest.mark.parametrize("postgres_server", ["timescale"], indirect=True)
def test_a_geography_column_answers_by_its_index(postgis_url: str, shop: Any) -> None:
    """The database keeps it; what is no place is NULL, and no error; the index is used."""
    engine = create_engine(postgis_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION postgis"))
        shop.metadata.create_all(connection)
    with Session(engine) as session:
        session.add_all(
            shop(id=f"s{i}", tags={"id": Ref(f"s{i}"), "shop": MARKER, "geoCoord": Coord(i, i)})
            for i in range(80)
        )
        session.execute(
            text(
                """INSERT INTO shop (id, tags) VALUES
                ('odd', '{"geoCoord": {"_kind": "coord", "lat": 1e999, "lng": "x"}}')"""
            )
        )
        session.flush()
        near = shop.tags.near(Coord(10, 10), "200km", geo=shop.geo)
        asked = select(shop.id).where(near, shop.tags.matches("shop")).order_by(shop.id)

        found = list(session.scalars(asked))
        session.execute(text("SET LOCAL enable_seqscan = off"))
        plan = _plan(session, select(shop.id).where(near))

    assert found == ["s10", "s11", "s9"]
    assert "shop_geo" in plan
    engine.dispose()


def _plan(session: Session, statement: Any) -> str:
    compiled = statement.compile(session.get_bind(), compile_kwargs={"render_postcompile": True})
    rows = session.connection().exec_driver_sql(f"EXPLAIN {compiled}", compiled.params)
    return "\n".join(rows.scalars())


def test_the_column_is_generated(shop: Any) -> None:
    made = str(CreateTable(shop.__table__).compile(dialect=DIALECT))

    assert "geo geography(POINT,4326) GENERATED ALWAYS AS (geography(ST_SetSRID(" in made
