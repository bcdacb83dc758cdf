"""A storage in a session of the host's: one transaction with the host's own rows."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Engine,
    MetaData,
    NullPool,
    create_engine,
    event,
    func,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_scoped_session
from sqlalchemy.ext.asyncio import async_sessionmaker as sessions
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    scoped_session,
    sessionmaker,
)

from hsorm import MARKER, Diff, Entity, Number, Ref
from hsorm.errors import (
    EntityExistsError,
    HisWriteError,
    SessionBoundError,
    StorageError,
    StorageUrlError,
    UnknownEntityError,
)
from hsorm.his.span import ALWAYS
from hsorm.sql import Tags, begin_on_sqlite, make_tables, migrate
from hsorm.storage import SqliteAdapter, SyncStorage, TimescaleAdapter, bind
from tests.backends import Backends, ServerMissingError
from tests.conftest import Record, skip_missing
from tests.embedding.sessions import ASYNC, SYNC, async_engine, named, store_of, url_of

_POINT: Entity = {
    "id": Ref("p"),
    "point": MARKER,
    "his": MARKER,
    "writable": MARKER,
    "kind": "Number",
    "unit": "°C",
    "tz": "Oslo",
}
_START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)


def items(count: int, val: float = 20.0) -> list[dict[str, Any]]:
    """Items of one point, a minute apart."""
    return [{"ts": _START + dt.timedelta(minutes=n), "val": val + n} for n in range(count)]


class Base(DeclarativeBase):
    pass


class Note(Base):
    """A row of the host's own."""

    __tablename__ = "host_note"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Thing(Base):
    """A class of the host's over the very entities."""

    __tablename__ = "entities"

    id: Mapped[str] = mapped_column(primary_key=True)
    tags: Mapped[Entity] = mapped_column(Tags())


@dataclass
class Place:
    """A storage, as somebody else has it, and how the host gets to its database."""

    store: SqliteAdapter | TimescaleAdapter
    driver: str

    def engine(self, **settings: Any) -> AsyncEngine:
        return async_engine(url_of(self.store, self.driver), **settings)

    def sync_engine(self, **settings: Any) -> Engine:
        return create_engine(url_of(self.store, self.driver), poolclass=NullPool, **settings)


async def _place(
    request: pytest.FixtureRequest, backends: Backends, record_property: Record
) -> Place:
    name, driver = request.param
    record_property("backend", name)
    try:
        store = await store_of(backends, name)
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    async with store.engine.begin() as connection:
        await connection.run_sync(Base.metadata.tables["host_note"].create)
    return Place(store, driver)


async def _leave(place: Place) -> None:
    async with place.store.engine.begin() as connection:
        await connection.run_sync(Base.metadata.tables["host_note"].drop)


@pytest.fixture(params=ASYNC, ids=named)
async def place(
    request: pytest.FixtureRequest, backends: Backends, record_property: Record
) -> AsyncIterator[Place]:
    """A database with a storage and a table of the host's, for asynchronous sessions."""
    made = await _place(request, backends, record_property)
    yield made
    await _leave(made)


@pytest.fixture(params=SYNC, ids=named)
async def sync_place(
    request: pytest.FixtureRequest, backends: Backends, record_property: Record
) -> AsyncIterator[Place]:
    """A database with a storage and a table of the host's, for synchronous sessions."""
    made = await _place(request, backends, record_property)
    yield made
    await _leave(made)


async def _write_everything(store: Any) -> None:
    """Write in each of the ways that there are; with COPY, where there is one."""
    await store.load_entities([_POINT, {"id": Ref("old"), "n": Number(1)}])
    await store.load_entities([{"id": Ref("old"), "n": Number(2)}, {"id": Ref("new")}])
    await store.create({"id": Ref("a"), "equip": MARKER})
    await store.update({"id": Ref("a"), "n": Number(3)})
    await store.commit(Diff.update(await store.read_by_id("a"), {"ahu": MARKER}))
    await store.set_live("a", {"curVal": Number(1)})
    await store.point_write("p", 10, Number(4), "me")
    await store.his_write("p", items(1_000))
    await store.his_write("p", items(1_000, 30))  # over what is there
    await store.his_write_batch({"id": Ref("p"), **item} for item in items(2_000, 40))
    await store.delete("new")


async def _found(store: Any) -> tuple[int, int, list[Any]]:
    """Return how many entities and items there are, and what else was written."""
    a = (await store.read_by_ids(["a"]))[0]
    his = await store.his_read("p", ALWAYS) if (await store.read_by_ids(["p"]))[0] else []
    return await store.read_count("id"), len(his), [a and a["n"], a and a.get("curVal")]


# ---- one transaction ----------------------------------------------------------------------------


async def test_all_is_gone_with_a_rollback(place: Place) -> None:
    async with AsyncSession(place.engine()) as session:
        session.add(Note(text="mine"))
        store = bind(session)
        await _write_everything(store)
        within = await _found(store)
        outside = await _found(place.store)
        await session.rollback()
        after = await _found(store), (await session.scalars(select(Note.text))).all()

    assert within == (3, 2_000, [Number(3), Number(1)])
    assert outside == (0, 0, [None, None]), "something was committed"
    assert after == ((0, 0, [None, None]), [])


async def test_all_is_there_with_a_commit(place: Place) -> None:
    async with AsyncSession(place.engine()) as session, session.begin():
        session.add(Note(text="mine"))
        await _write_everything(place.store.bind(session))

    assert await _found(place.store) == (3, 2_000, [Number(3), Number(1)])
    (item, *_) = await place.store.his_read("p", ALWAYS)
    assert item["val"] == Number(40, "°C")
    async with AsyncSession(place.engine()) as session:
        assert await session.scalar(select(func.count()).select_from(Note)) == 1


def test_all_is_gone_with_a_rollback_of_a_sync_session(sync_place: Place) -> None:
    with Session(sync_place.sync_engine()) as session:
        session.add(Note(text="mine"))
        store = bind(session)
        store.load_entities([_POINT])
        store.his_write("p", items(1_000))
        store.his_write("p", items(1_000, 30))
        within = store.read_count("point"), len(store.his_read("p", ALWAYS))
        iterated = sum(1 for _ in store.his_read_iter("p", ALWAYS))
        session.rollback()
        after = store.read_count("point"), session.scalar(select(func.count(Note.id)))

    assert (within, iterated, after) == ((1, 1_000), 1_000, (0, 0))


async def test_all_is_there_with_a_commit_of_a_sync_session(sync_place: Place) -> None:
    with Session(sync_place.sync_engine()) as session, session.begin():
        session.add(Note(text="mine"))
        store = sync_place.store.bind(session)
        assert isinstance(store, SyncStorage)
        store.load_entities([_POINT])
        store.his_write("p", items(1_000))
        store.point_write("p", 10, Number(4), "me")

    assert len(await sync_place.store.his_read("p", ALWAYS)) == 1_000
    assert (await sync_place.store.read_by_id("p"))["writeVal"] == Number(4, "°C")


async def test_a_savepoint_of_the_host_takes_its_part_along(place: Place) -> None:
    async with AsyncSession(place.engine()) as session, session.begin():
        store = bind(session)
        await store.create({"id": Ref("outer")})
        inner = await session.begin_nested()
        await store.load_entities([_POINT])
        await store.his_write("p", items(1_000))
        await inner.rollback()
        async with session.begin_nested():
            await store.create({"id": Ref("kept")})

    assert [entity["id"] for entity in await place.store.read("id")] == [Ref("kept"), Ref("outer")]


async def test_what_fails_leaves_the_transaction_as_it_was(place: Place) -> None:
    wrong = [*items(1_000), {"ts": _START, "val": "no number"}]
    async with AsyncSession(place.engine()) as session, session.begin():
        store = bind(session)
        await store.load_entities([_POINT])
        with pytest.raises(HisWriteError):
            await store.his_write("p", wrong)
        with pytest.raises(EntityExistsError):
            await store.commit([Diff.add({}, id="x"), Diff.add({}, id="p")])
        with pytest.raises(UnknownEntityError):
            await store.his_write("gone", items(1))
        with pytest.raises(UnknownEntityError):
            await store.set_live_batch({"p": {"curVal": Number(1)}, "gone": {"curVal": Number(1)}})
        session.add(Note(text="mine"))
        await store.his_write("p", items(3))

    assert [entity["id"] for entity in await place.store.read("id")] == [Ref("p")]
    assert len(await place.store.his_read("p", ALWAYS)) == 3
    assert "curVal" not in await place.store.read_by_id("p")


def test_what_fails_leaves_a_sync_transaction_as_it_was(sync_place: Place) -> None:
    wrong = [*items(1_000), {"ts": _START, "val": "no number"}]
    with Session(sync_place.sync_engine()) as session:
        store = bind(session)
        store.load_entities([_POINT])
        with pytest.raises(HisWriteError):
            store.his_write("p", wrong)
        store.his_write("p", items(3))

        assert len(store.his_read("p", ALWAYS)) == 3


def test_an_arrow_stream_is_written_in_a_sync_session(sync_place: Place) -> None:
    pa = pytest.importorskip("pyarrow")
    stamps = pa.array([item["ts"] for item in items(3)], pa.timestamp("us", tz="UTC"))
    table = pa.table({"id": ["p"] * 3, "ts": stamps, "val": [1.0, 2.0, 3.0]})
    with Session(sync_place.sync_engine()) as session:
        store = bind(session)
        store.load_entities([_POINT])

        assert store.his_write_batch(table) == 3
        assert len(store.his_read("p", ALWAYS)) == 3


def test_what_would_wait_is_refused_in_a_sync_session() -> None:
    async def source() -> AsyncIterator[dict[str, Any]]:
        yield {"id": Ref("p"), **items(1)[0]}
        await asyncio.sleep(0)
        yield {"id": Ref("p"), **items(2)[1]}

    metadata = MetaData()
    tables = make_tables(metadata)
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with Session(engine) as session:
        store = bind(session, tables=tables)
        store.load_entities([_POINT])
        with pytest.raises(RuntimeError, match="asynchronous source"):
            store.his_write_batch(source())

        assert store.his_read("p", ALWAYS) == []
    engine.dispose()


async def test_it_begins_a_transaction_that_the_host_has_yet_to(sync_place: Place) -> None:
    """By Python's sqlite3 the end of a SAVEPOINT that began one commits it."""
    with Session(sync_place.sync_engine()) as session:
        bind(session).create({"id": Ref("a")})
        session.rollback()

    assert await sync_place.store.read_count("id") == 0


async def test_it_sees_what_the_host_has_yet_to_flush(place: Place) -> None:
    async with AsyncSession(place.engine()) as session:
        session.add(Thing(id="t", tags={"id": Ref("t"), "ahu": MARKER}))
        found = await bind(session).read("ahu")
        async with AsyncSession(place.engine(), autoflush=False) as other:
            other.add(Thing(id="u", tags={"id": Ref("u"), "ahu": MARKER}))
            unseen = await bind(other).read("ahu")

    assert [entity["id"] for entity in found] == [Ref("t")]
    assert unseen == []


async def test_the_hosts_own_query_sees_what_it_wrote(place: Place) -> None:
    async with AsyncSession(place.engine()) as session:
        await bind(session).create({"id": Ref("t"), "ahu": MARKER})
        thing = await session.scalar(select(Thing).where(Thing.tags.matches("ahu")))

        assert thing is not None
        assert thing.tags["ahu"] is MARKER


async def test_a_connection_and_a_scoped_session_will_do(place: Place) -> None:
    engine = place.engine()
    scoped = async_scoped_session(sessions(engine), scopefunc=lambda: 1)
    await bind(scoped).create({"id": Ref("a")})
    await scoped.rollback()
    async with engine.connect() as connection:
        await bind(connection).create({"id": Ref("b")})
        await connection.commit()
    await scoped.remove()

    assert [entity["id"] for entity in await place.store.read("id")] == [Ref("b")]


async def test_a_sync_connection_and_scoped_session_will_do(sync_place: Place) -> None:
    engine = sync_place.sync_engine()
    scoped = scoped_session(sessionmaker(engine))
    bind(scoped).create({"id": Ref("a")})
    scoped.rollback()
    scoped.remove()
    with engine.begin() as connection:
        bind(connection).create({"id": Ref("b")})

    assert [entity["id"] for entity in await sync_place.store.read("id")] == [Ref("b")]


# ---- the adapters' own way to say it ------------------------------------------------------------


async def test_an_adapter_takes_a_session(place: Place) -> None:
    kind = type(place.store)
    async with AsyncSession(place.engine()) as session:
        async with kind(session=session) as store:
            await store.create({"id": Ref("a")})
        bound = place.store.bind(session)

        assert isinstance(store, kind)
        assert isinstance(bound, kind)
        assert await bound.read_count("id") == 1, "close() has ended the transaction"


async def test_a_session_and_another_place_are_one_too_many(place: Place) -> None:
    async with AsyncSession(place.engine()) as session:
        with pytest.raises(StorageUrlError, match="one of them"):
            type(place.store)("somewhere", session=session)
        with pytest.raises(SessionBoundError, match="index_tags"):
            type(place.store)(session=session, index_tags={"area": "number"})


async def test_a_session_of_another_database_is_refused(place: Place) -> None:
    other: Any = TimescaleAdapter if isinstance(place.store, SqliteAdapter) else SqliteAdapter
    async with AsyncSession(place.engine()) as session:
        with pytest.raises(StorageUrlError, match="a session over"):
            other(session=session)


def test_what_is_no_session_is_refused() -> None:
    with pytest.raises(TypeError, match="no session"):
        bind("session")  # type: ignore[call-overload]


async def test_what_needs_a_connection_of_its_own_is_refused(place: Place) -> None:
    async with AsyncSession(place.engine()) as session:
        store: Any = place.store.bind(session)
        watch = await store.watch_sub(None, [])
        with pytest.raises(SessionBoundError, match="watch_stream"):
            await anext(store.watch_stream(watch.watch_id))
        calls = [store.upgrade, store.create_indexes, store.drop_indexes]
        if isinstance(store, TimescaleAdapter):
            calls += [store.his_policy, store.run_his_policy]
        for call in calls:
            with pytest.raises(SessionBoundError, match="in a session of the host's"):
                await call()

        assert await store.revision() == store.head
        assert (await store.about())["backend"] in ("sqlite", "postgresql", "timescale")


async def test_the_revision_of_tables_that_are_given(tmp_path: Path) -> None:
    async with SqliteAdapter(tmp_path / "a.db", prefix="hs_") as own:
        tables = make_tables(MetaData(), prefix="hs_")
        engine = async_engine(url_of(own, "sqlite+aiosqlite"))
        async with AsyncSession(engine) as session:
            store = bind(session, tables=tables)
            assert await store.revision() == migrate.HEAD  # type: ignore[attr-defined]  # of SQL


async def test_a_read_is_explained(place: Place) -> None:
    async with AsyncSession(place.engine()) as session:
        explained = await bind(session).explain("ahu and siteRef == @a", limit=3)  # type: ignore[attr-defined]  # of SQL

    assert "SELECT" in explained.sql
    assert explained.plan


def test_a_read_is_explained_in_a_sync_session(sync_place: Place) -> None:
    with Session(sync_place.sync_engine()) as session:
        explained = bind(session).explain("ahu and siteRef == @a", limit=3)

    assert "SELECT" in explained.sql
    assert explained.plan


# ---- watches ------------------------------------------------------------------------------------


async def test_no_change_of_the_transaction_is_lost_to_a_watch(place: Place) -> None:
    """P5: polled in the transaction that changes, before and after; told twice at the most."""
    await place.store.create({"id": Ref("a"), "n": Number(0)})
    watch = await place.store.watch_sub(None, ["a"])
    await place.store.watch_poll(watch.watch_id)
    async with AsyncSession(place.engine()) as session, session.begin():
        store = bind(session)
        await store.update({"id": Ref("a"), "n": Number(1)})
        # A transaction that began later ends earlier, so that this one is below what is visible.
        if not isinstance(place.store, SqliteAdapter):
            await place.store.create({"id": Ref("b")})
        await store.watch_poll(watch.watch_id)
        await store.update({"id": Ref("a"), "n": Number(2)})

    rows = await place.store.watch_poll(watch.watch_id)
    assert [row["n"] for row in rows] == [Number(2)]
    assert await place.store.watch_poll(watch.watch_id) == []


async def test_a_watch_is_as_it_was_after_a_rollback(place: Place) -> None:
    await place.store.create({"id": Ref("a"), "n": Number(0)})
    watch = await place.store.watch_sub(None, ["a"])
    await place.store.update({"id": Ref("a"), "n": Number(1)})
    async with AsyncSession(place.engine()) as session:
        assert len(await bind(session).watch_poll(watch.watch_id)) == 1
        await session.rollback()

    assert len(await place.store.watch_poll(watch.watch_id)) == 1


async def test_a_watch_on_a_filter(place: Place) -> None:
    await place.store.create({"id": Ref("a"), "ahu": MARKER})
    async with AsyncSession(place.engine()) as session, session.begin():
        watch = await bind(session).watch_filter("ahu")
        assert [row["id"] for row in watch] == [Ref("a")]
    await place.store.create({"id": Ref("b"), "ahu": MARKER})
    async with AsyncSession(place.engine()) as session, session.begin():
        rows = await bind(session).watch_poll(watch.watch_id)

    assert [row["id"] for row in rows] == [Ref("b")]
    assert await place.store.watch_poll(watch.watch_id) == []


# ---- the host's own engine ----------------------------------------------------------------------

_ON_POSTGRES = [param for param in ASYNC if param[0] == "postgres"]


@pytest.mark.parametrize("place", _ON_POSTGRES, ids=named, indirect=True)
@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_it_works_at_stricter_isolation_levels(place: Place, level: str) -> None:
    engine = place.engine(isolation_level=level)
    async with AsyncSession(engine) as session, session.begin():
        await _write_everything(bind(session))

    assert await _found(place.store) == (3, 2_000, [Number(3), Number(1)])


@pytest.mark.parametrize("place", _ON_POSTGRES, ids=named, indirect=True)
async def test_a_clash_is_the_hosts_to_repeat(place: Place) -> None:
    """40001 is an error at once: only the whole transaction can begin anew."""
    await place.store.create({"id": Ref("a"), "n": Number(0)})
    engine = place.engine(isolation_level="REPEATABLE READ")
    async with AsyncSession(engine) as session:
        store = bind(session)
        await store.read("n")  # here its view of the world begins
        await place.store.update({"id": Ref("a"), "n": Number(1)})
        with pytest.raises(StorageError) as caught:
            await store.update({"id": Ref("a"), "n": Number(2)})
        await session.rollback()
        await store.update({"id": Ref("a"), "n": Number(3)})
        await session.commit()

    assert caught.value.__cause__.orig.sqlstate == "40001"  # type: ignore[union-attr]  # DBAPIError
    assert (await place.store.read_by_id("a"))["n"] == Number(3)


@pytest.mark.parametrize("place", _ON_POSTGRES, ids=named, indirect=True)
async def test_without_a_transaction_nothing_is_written(place: Place) -> None:
    """AUTOCOMMIT: half of a call might stay behind."""
    engine = place.engine(isolation_level="AUTOCOMMIT")
    async with AsyncSession(engine) as session:
        store = bind(session)
        with pytest.raises(SessionBoundError, match="AUTOCOMMIT"):
            await store.create({"id": Ref("a")})

        assert await store.read("id") == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no autocommit=True")
@pytest.mark.parametrize("place", [("sqlite", "sqlite+aiosqlite")], ids=named, indirect=True)
async def test_sqlite3_without_a_transaction(place: Place) -> None:
    """autocommit=True: nothing would end a transaction that we begin, and the file stay locked."""
    setting = {"autocommit": True}
    own = create_engine(url_of(place.store, "sqlite"), connect_args=setting, poolclass=NullPool)
    async with AsyncSession(place.engine(connect_args=setting)) as session:
        with pytest.raises(SessionBoundError, match="AUTOCOMMIT"):
            await bind(session).create({"id": Ref("a")})
        with Session(own) as sync_session:
            with pytest.raises(SessionBoundError, match="AUTOCOMMIT"):
                bind(sync_session).create({"id": Ref("a")})
            await place.store.create({"id": Ref("b")})

            assert bind(sync_session).read_count("id") == 1


@pytest.mark.parametrize("place", _ON_POSTGRES, ids=named, indirect=True)
async def test_a_read_without_a_transaction(place: Place) -> None:
    """AUTOCOMMIT: what cannot be released there is shown as released."""
    await place.store.load_entities([_POINT])
    await place.store.point_write("p", 8, Number(4), "me", duration=dt.timedelta(microseconds=1))
    async with AsyncSession(place.engine(isolation_level="AUTOCOMMIT")) as session:
        (point,) = await bind(session).read("point")

    assert "writeVal" not in point


@pytest.mark.parametrize("place", _ON_POSTGRES, ids=named, indirect=True)
async def test_a_read_in_a_read_only_transaction(place: Place) -> None:
    await place.store.load_entities([_POINT])
    await place.store.point_write("p", 8, Number(4), "me", duration=dt.timedelta(microseconds=1))
    async with AsyncSession(place.engine()) as session:
        await session.execute(text("SET TRANSACTION READ ONLY"))
        store = bind(session)
        (point,) = await store.read("point")  # with an override to be released

        assert "writeVal" not in point
        assert await store.read_count("point") == 1


@pytest.mark.parametrize("place", ASYNC, ids=named, indirect=True)
async def test_the_hosts_own_json_functions_see_nothing_of_ours(place: Place) -> None:
    def never(value: object) -> Any:
        raise AssertionError(f"a host's JSON function got {value!r}")

    engine = place.engine(json_serializer=never, json_deserializer=never)
    async with AsyncSession(engine) as session, session.begin():
        store = bind(session)
        await _write_everything(store)
        rolled = await store.his_rollup(["p"], ALWAYS, "1day", "avg")

        assert await _found(store) == (3, 2_000, [Number(3), Number(1)])
        assert rolled


@pytest.mark.parametrize("place", [("postgres", "postgresql+asyncpg")], ids=named, indirect=True)
async def test_no_statement_is_prepared_by_a_name_of_ours(place: Place) -> None:
    """As a pooler needs it that gives a connection to one transaction after the other."""
    given: list[str] = []

    def name() -> str:
        given.append(f"host_{len(given)}")
        return given[-1]

    settings = {"statement_cache_size": 0, "prepared_statement_name_func": name}
    engine = place.engine(connect_args={**settings, "prepared_statement_cache_size": 0})

    async with AsyncSession(engine) as session:
        store = bind(session)
        await _write_everything(store)
        await store.his_numpy("p", ALWAYS)
        rows = await session.execute(text("SELECT name FROM pg_prepared_statements"))
        names = {row.name for row in rows}

    assert names <= set(given)


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg"])
async def test_a_schema_for_each_tenant(fresh_postgres_url: str, driver: str) -> None:
    """`schema_translate_map`, on COPY as on everything else; nothing of it is in `public`."""
    for tenant in ("one", "two"):
        async with TimescaleAdapter(fresh_postgres_url, schema=tenant) as own:
            await own.connect()
    engine = async_engine(TimescaleAdapter(fresh_postgres_url).engine.url.set(drivername=driver))
    for number, tenant in enumerate(("one", "two"), start=1):
        mapped = engine.execution_options(schema_translate_map={None: tenant})
        async with AsyncSession(mapped) as session, session.begin():
            store = bind(session)
            await _write_everything(store)
            for n in range(number):
                await store.create({"id": Ref(f"more-{n}")})
            await store.explain("id")  # type: ignore[attr-defined]  # of SQL
            assert await store.revision() == migrate.HEAD  # type: ignore[attr-defined]  # of SQL

    for number, tenant in enumerate(("one", "two"), start=1):
        async with TimescaleAdapter(fresh_postgres_url, schema=tenant, create="never") as own:
            assert await _found(own) == (3 + number, 2_000, [Number(3), Number(1)])
    await engine.dispose()


async def test_statements_of_one_shape_are_compiled_once(place: Place) -> None:
    """SQLAlchemy's cache on the host's engine serves the adapter of the next request as well."""
    engine, misses = place.engine(), []

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def note(
        conn: object, cursor: object, sql: str, params: object, context: Any, many: object
    ) -> None:
        cached = context.compiled is None or context.cache_hit.name == "CACHE_HIT"
        if not cached and "SAVEPOINT" not in sql:  # whose name is another each time
            misses.append(sql)

    for number in range(3):
        async with AsyncSession(engine) as session:
            store = bind(session)
            await store.load_entities([_POINT])
            await store.update({"id": Ref("p"), "n": Number(number)})
            await store.read(f"point and n == {number}")
            await store.his_write("p", items(600, number))
            await store.his_read("p", "2024-03-01")
        if number == 0:
            misses.clear()

    assert misses == []


async def test_a_call_that_is_cancelled_leaves_nothing(place: Place) -> None:
    """The session is to be rolled back, and is as good as before then."""
    await place.store.load_entities([_POINT])
    engine = place.engine()
    async with AsyncSession(engine) as session:
        task = asyncio.create_task(bind(session).his_write("p", items(1_000)))

        @event.listens_for(engine.sync_engine, "before_cursor_execute")
        def note(conn: object, cursor: object, sql: str, *rest: object) -> None:
            if "history_changes" in sql:  # the last of its statements
                task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        await session.rollback()
        event.remove(engine.sync_engine, "before_cursor_execute", note)
        assert await bind(session).his_read("p", ALWAYS) == []
        await bind(session).his_write("p", items(3))
        await session.commit()

    assert len(await place.store.his_read("p", ALWAYS)) == 3


async def test_a_session_with_an_engine_for_each_table(place: Place) -> None:
    tables = make_tables(MetaData())
    session = AsyncSession(binds={table: place.engine() for table in (tables.entities, Note)})
    async with session:
        await bind(session, tables=tables).create({"id": Ref("a")})
        await session.commit()

    assert await place.store.read_count("id") == 1


def test_a_schema_of_postgresql_is_none_on_sqlite() -> None:
    """As for tests of an application whose tables have a schema on its server."""
    engine = create_engine("sqlite://", execution_options={"schema_translate_map": {"plant": None}})
    metadata = MetaData()
    tables = make_tables(metadata, schema="plant")
    metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        store = bind(session, tables=tables)
        store.load_entities([_POINT, {"id": Ref("x")}])
        store.load_entities([{**_POINT, "ahu": MARKER}])
        store.his_write("p", items(10))

        assert [entity["id"] for entity in store.read("ahu and point")] == [Ref("p")]
        assert store.read_count("id", search="p") == 0
        assert len(store.his_read("p", ALWAYS)) == 10
    engine.dispose()


def test_asyncpg_need_not_be_there() -> None:
    code = """
import sys
sys.modules["asyncpg"] = None
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from hsorm import TimescaleAdapter, errors
from hsorm.storage import bind
with Session(create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")) as session:
    try:
        bind(session).read("id")
    except errors.StorageUnavailableError as exc:
        print(type(exc).__name__)
try:
    TimescaleAdapter("postgresql://nobody@127.0.0.1:1/none")
except errors.MissingExtraError as exc:
    print(exc.package)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["StorageUnavailableError", "asyncpg"], done.stderr


# ---- Python's sqlite3 ---------------------------------------------------------------------------


@pytest.mark.parametrize("sync_place", [("sqlite", "sqlite")], ids=named, indirect=True)
async def test_an_update_by_a_path_is_rolled_back(sync_place: Place) -> None:
    """sqlite3 begins no transaction at a statement that begins with WITH; see docs/embedding.md."""
    await sync_place.store.load_entities(
        [{"id": Ref("s"), "site": MARKER}, {"id": Ref("d"), "siteRef": Ref("s")}]
    )
    engine = sync_place.sync_engine()
    begin_on_sqlite(engine)
    with Session(engine) as session:
        leads = Thing.tags.matches("siteRef->site")
        session.execute(update(Thing).where(leads).values(tags={"id": Ref("d"), "gone": MARKER}))
        session.rollback()

    assert await sync_place.store.read_count("siteRef") == 1
