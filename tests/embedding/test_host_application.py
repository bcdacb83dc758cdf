"""Tags on a host's own mapped class, in its own session, transaction and statements."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, and_, desc, event, func, not_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, aliased

from hsorm import MARKER, Number, Ref, compile_filter
from hsorm.errors import FilterSyntaxError
from tests.embedding.host import Device, Tenant

_AT_OSLO = 'ahu and siteRef->geoCity == "Oslo"'


async def test_a_filter_in_an_async_session(host_async_engine: AsyncEngine) -> None:
    """The statement of the README: through a ref, on the host's own class."""
    async with AsyncSession(host_async_engine) as session:
        found = (await session.scalars(select(Device).where(Device.tags.matches(_AT_OSLO)))).all()

        assert sorted(device.id for device in found) == ["ahu-0", "ahu-1", "ahu-2"]
        assert all(device.tags["ahu"] is MARKER for device in found)


def test_a_filter_in_a_sync_session(host_engine: Engine) -> None:
    """psycopg and sqlite3: nothing of ours is asynchronous in an expression."""
    with Session(host_engine) as session:
        found = session.scalars(select(Device).where(Device.tags.matches(_AT_OSLO))).all()

    assert sorted(device.id for device in found) == ["ahu-0", "ahu-1", "ahu-2"]


def test_it_composes_with_the_hosts_own_clauses(host_engine: Engine) -> None:
    """where, order_by, limit, count, not_ and or_ around it."""
    ahu = Device.tags.matches("ahu")
    with Session(host_engine) as session:
        first = session.scalars(
            select(Device.id).where(ahu, Device.serial > 6).order_by(desc(Device.serial)).limit(2)
        ).all()
        count = session.scalar(select(func.count()).select_from(Device).where(not_(ahu)))
        either = session.scalars(
            select(Device.id).where(and_(ahu | Device.tags.matches("site"), Device.serial <= 6))
        ).all()

    assert first == ["ahu-0", "ahu-1"]
    assert count == 2
    assert sorted(either) == ["ahu-4", "bergen", "oslo"]


def test_it_stands_in_a_join_and_in_a_subquery(host_engine: Engine) -> None:
    """Beside the host's own tables, and on an alias of its class."""
    with Session(host_engine) as session:
        tenant = Tenant(id=1, name="North")
        session.add(tenant)
        session.flush()
        session.execute(update(Device).where(Device.tags.matches(_AT_OSLO)).values(tenant_id=1))
        joined = session.scalars(
            select(Device.id)
            .join(Tenant)
            .where(Tenant.name == "North", Device.tags.matches("area >= 100m²"))
            .order_by(Device.id)
        ).all()
        other = aliased(Device)
        through_alias = session.scalars(
            select(other.id).where(other.tags.matches("area > 300m²"))
        ).all()
        ids = select(Device.id).where(Device.tags.matches("site")).subquery()
        in_subquery = session.scalar(select(func.count()).select_from(ids))

    assert joined == ["ahu-1", "ahu-2"]
    assert through_alias == ["ahu-4"]
    assert in_subquery == 2


async def test_it_is_part_of_the_hosts_transaction(host_async_engine: AsyncEngine) -> None:
    """What the session wrote is found before it commits, and gone after it rolled back."""
    filter = Device.tags.matches("vav and siteRef == @oslo")
    async with AsyncSession(host_async_engine) as session:
        tags = {"id": Ref("vav-1"), "vav": MARKER, "siteRef": Ref("oslo", "Oslo"), "n": 5}
        session.add(Device(id="vav-1", serial=99, tags=tags))
        await session.flush()
        within = (await session.scalars(select(Device.id).where(filter))).all()
        await session.rollback()
        after = (await session.scalars(select(Device.id).where(filter))).all()

    assert (within, after) == (["vav-1"], [])


async def test_tags_are_kinds_in_python(host_async_engine: AsyncEngine) -> None:
    """What was written as kinds is read as kinds."""
    async with AsyncSession(host_async_engine) as session:
        device = await session.get_one(Device, "ahu-3")

    assert device.tags == {
        "id": Ref("ahu-3"),
        "ahu": MARKER,
        "siteRef": Ref("bergen"),
        "area": Number(300, "m²"),
    }


def test_a_wrong_filter_is_an_error_before_any_sql() -> None:
    with pytest.raises(FilterSyntaxError):
        Device.tags.matches("ahu and")


def test_filters_of_one_shape_are_compiled_once(host_engine: Engine) -> None:
    """The literals are bound: SQLAlchemy's statement cache serves the next filter as well."""
    texts: list[str] = []

    @event.listens_for(host_engine, "before_cursor_execute")
    def note(
        conn: object, cursor: object, sql: str, params: object, context: object, many: object
    ) -> None:
        texts.append(sql)
        hits.append(context.cache_hit.name)  # type: ignore[attr-defined]  # of SQLAlchemy's

    hits: list[str] = []
    with Session(host_engine) as session:
        found = [
            session.scalars(
                select(Device.id).where(
                    Device.tags.matches(f'ahu and area > {area}m² and siteRef->geoCity == "{city}"')
                )
            ).all()
            for area, city in ((0, "Oslo"), (350, "Bergen"), (150, "Oslo"))
        ]

    assert [sorted(ids) for ids in found] == [["ahu-1", "ahu-2"], ["ahu-4"], ["ahu-2"]]
    assert len(set(texts)) == 1
    assert hits == ["CACHE_MISS", "CACHE_HIT", "CACHE_HIT"]


_SHAPES = [
    "ahu and a == {}",
    "a != {}",
    "a < {} or a >= {}",
    "not b and (a == {} or c)",
    "siteRef == {}",
    "id == {}",
    "ref->a >= {}",
    "a->date == {} or a->time == {} or a->tz == {}",
    "not ref->b and a->b->c == {}",
    "a->b->c->d != {}",
]
_LITERALS = {
    "number": ("5", "6.5"),
    "with a unit": ("5kW", "6hp"),
    "text": ('"x"', '"y"'),
    "ref": ("@x", "@y"),
    "time": ("1:00", "2:00"),
    "date": ("2024-01-01", "2024-01-02"),
    "dateTime": ("2024-01-01T00:00:00Z", "2025-01-01T09:00:00+09:00 Tokyo"),
    "uri": ("`a`", "`b`"),
    "symbol": ("^a", "^b"),
}


@pytest.mark.parametrize("kind", _LITERALS)
def test_no_shape_is_compiled_for_other_literals(host_engine: Engine, kind: str) -> None:
    """Executed on every database: SQLAlchemy's cache grows by one entry for each shape."""
    # Of its own, for the engine's has what the fixture executed.
    cache: dict[object, object] = {}
    engine = host_engine.execution_options(compiled_cache=cache)
    first, second = _LITERALS[kind]

    with Session(engine) as session:
        for number, shape in enumerate(_SHAPES, start=1):
            for literal in (first, second):
                text = shape.replace("{}", literal)
                session.scalars(select(Device).where(Device.tags.matches(text))).all()
            assert len(cache) == number, shape


@pytest.mark.parametrize("shape", _SHAPES)
@pytest.mark.parametrize("kind", _LITERALS)
def test_cache_keys_are_equal_for_one_shape_and_differ_between_shapes(
    shape: str, kind: str
) -> None:
    def key(text: str) -> object:
        made = select(Device.id).where(compile_filter(text, tags=Device.__table__.c.tags))
        found = made._generate_cache_key()
        assert found is not None, "the statement cannot be cached"
        return found.key

    one, other = (shape.replace("{}", literal) for literal in _LITERALS[kind])

    assert key(one) == key(other)
    assert key(one) != key(f"z and {one}")
