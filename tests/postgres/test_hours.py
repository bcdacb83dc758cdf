"""Hours that are kept ready: rollups come to the same, whoever writes, and whenever."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import product
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, MetaData
from sqlalchemy.ext.asyncio import create_async_engine

from alembic import command
from hsorm import MARKER, NA, Number, Ref
from hsorm.errors import StorageError
from hsorm.his.span import Span
from hsorm.sql import make_tables, migrate, rollups
from hsorm.sql.urls import engine_url
from hsorm.storage import bind
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing import conformance
from hsorm.testing.isolation import clear_sql
from tests.backends import POSTGRES, ServerMissingError, libpq, new_database
from tests.conformance import test_rollup_properties
from tests.conformance.test_properties import _BOUNDED
from tests.conformance.test_rollup_properties import _close
from tests.conftest import Record, on_timescale, skip_missing
from tests.postgres.test_plans import _nodes

_POINT: dict[str, Any] = {
    "point": MARKER, "his": MARKER, "kind": "Number", "unit": "kW", "tz": "UTC",
}  # fmt: skip
_START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
_HOUR, _MINUTE = dt.timedelta(hours=1), dt.timedelta(minutes=1)
_DAY = "2024-03-01"
_FOLDS: list[Any] = ["avg", "min", "max", "sum", "spread", "count"]


class _Worked(TimescaleAdapter):
    """Works out the hours that are due before every other rollup."""

    _turn = False

    async def his_rollup(self, *args: Any, **kw: Any) -> Any:
        """Roll up."""
        self._turn = not self._turn
        if self._turn:
            await self.run_his_policy()
        return await super().his_rollup(*args, **kw)


@pytest.fixture(scope="module")
async def hourly_stores() -> AsyncIterator[dict[str, _Worked]]:
    """A storage on each server that keeps hours, made when first asked for."""
    async with AsyncExitStack() as stack:

        class Stores(dict[str, _Worked]):
            def __missing__(self, name: str) -> _Worked:
                self[name] = _Worked(stack.enter_context(new_database(name)))
                stack.push_async_callback(self[name].close)
                return self[name]

        yield Stores()


@pytest.fixture(params=POSTGRES)
async def store(
    request: pytest.FixtureRequest, hourly_stores: dict[str, _Worked], record_property: Record
) -> _Worked:
    """An empty storage that keeps hours, on each server."""
    record_property("backend", request.param)
    try:
        store = hourly_stores[request.param]
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    await store.set_his_policy(hourly=True)
    await clear_sql(store)
    return store


@pytest.fixture
async def sql(store: _Worked) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of somebody else's."""
    connection = await _connected(store)
    yield connection
    await connection.close()


async def _connected(store: TimescaleAdapter) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(libpq(store.engine.url), server_settings={"lock_timeout": "20s"})


@pytest.fixture
async def fresh(fresh_postgres_url: str) -> AsyncIterator[TimescaleAdapter]:
    """A storage of its own that keeps hours, on each server."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.set_his_policy(hourly=True)
        yield store


# ---- helpers ------------------------------------------------------------------------------------


def _items(*values: Any, start: dt.datetime = _START) -> list[Any]:
    """Return an item each twenty minutes."""
    return [{"ts": start + i * _HOUR / 3, "val": val} for i, val in enumerate(values)]


def _kw(*values: float) -> list[Any]:
    return _items(*(Number(val, "kW") for val in values))


async def _worked(store: TimescaleAdapter) -> None:
    """Work out all that is due; transactions of other tests may have to be waited for."""
    due = dt.datetime.now(dt.UTC) - dt.timedelta(hours=3)
    async with asyncio.timeout(120):
        while True:
            await store.run_his_policy()
            policy = await store.his_policy()
            if policy.hourly_until is not None and policy.hourly_until > due:
                return


async def _sums(store: TimescaleAdapter, range: Any = _DAY, id: str = "p") -> list[float]:
    found = await TimescaleAdapter.his_rollup(store, id, range, "1hr", "sum")
    return [item["val"].val for item in found[id]]


async def _number(store: TimescaleAdapter, what: str) -> int:
    """Return how many rows are in a table of hours."""
    async with store._driver() as driver:
        return int(await driver.fetchval(f"SELECT count(*) FROM history_hours{what}"))


# ---- the same answers ---------------------------------------------------------------------------


class TestRollupsWithHours(conformance.RollupTests):
    """The rollups of the kit, with hours that are worked out, and not, in turn."""


class TestRollupProperties:
    """Generated history, with hours."""

    test_rolls_up_as_the_reference = staticmethod(
        test_rollup_properties.test_every_backend_rolls_up_as_the_reference
    )


_NOW = st.integers(-700, 30)
"""Minutes from now; what is less than an hour old is not marked as it is written."""

_STEPS = st.one_of(
    st.tuples(
        st.just("write"),
        st.lists(st.tuples(_NOW, st.sampled_from([1, 2.5, -7, NA, math.nan, 1e300])), max_size=8),
    ),
    st.tuples(st.just("clear"), st.tuples(_NOW, st.integers(0, 400))),
    st.tuples(st.just("insert"), _NOW),
    st.tuples(st.just("move"), st.tuples(_NOW, _NOW)),
    st.tuples(st.just("change"), _NOW),
    st.tuples(st.just("remove"), st.tuples(_NOW, st.integers(0, 300))),
    st.tuples(st.sampled_from(["work", "roll", "anew", "truncate"]), st.none()),
)


@settings(_BOUNDED, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_STEPS, min_size=4, max_size=14))
@example(
    steps=[
        ("write", [(-300, 1), (-290, 2), (-100, 3)]),
        ("work", None),
        ("insert", -299),
        ("work", None),
        ("move", (-290, -500)),
        ("roll", None),
        ("work", None),
        ("anew", None),
        ("write", [(-300, 5)]),
        ("roll", None),
    ]
)
async def test_steps_in_any_order_come_to_what_the_reference_comes_to(
    store: _Worked, sql: asyncpg.Connection[Any], steps: list[tuple[str, Any]]
) -> None:
    """Calls and plain SQL, late and not, between one refresh and the next."""
    await clear_sql(store)
    both = _Both(store, sql)
    await both.load()
    for step, what in (*steps, ("roll", None), ("work", None), ("roll", None)):
        await getattr(both, step)(what)


class _Both:
    """A storage that keeps hours and the reference, which both are told the same."""

    def __init__(self, store: TimescaleAdapter, sql: asyncpg.Connection[Any]) -> None:
        self.store, self.sql, self.memory = store, sql, InMemoryAdapter()
        self.now = dt.datetime.now(dt.UTC).replace(second=0, microsecond=0)

    def at(self, minutes: int) -> dt.datetime:
        return self.now + minutes * _MINUTE

    def span(self, given: tuple[int, int]) -> Span:
        return Span(self.at(given[0]), self.at(sum(given)))

    async def load(self) -> None:
        for each in (self.store, self.memory):
            await each.load_entities([{"id": Ref("p"), **_POINT}])

    async def write(self, given: list[tuple[int, Any]]) -> None:
        vals = {at: NA if val is NA else Number(val, "kW") for at, val in given}
        items = [{"ts": self.at(at), "val": vals[at]} for at in sorted(vals)]
        for each in (self.store, self.memory):
            await each.his_write("p", items)

    async def clear(self, given: tuple[int, int]) -> None:
        for each in (self.store, self.memory):
            await each.his_clear("p", self.span(given))

    async def anew(self, _: None) -> None:
        for each in (self.store, self.memory):
            await each.delete("p")
        await self.load()

    async def insert(self, at: int) -> None:
        await self.sql.execute(
            "INSERT INTO history (point_id, ts, val) VALUES ('p', $1, 3) "
            "ON CONFLICT (point_id, ts) DO UPDATE SET val = excluded.val, obj = NULL",
            self.at(at),
        )
        await self.memory.his_write("p", [{"ts": self.at(at), "val": Number(3, "kW")}])

    async def change(self, at: int) -> None:
        await self.sql.execute("UPDATE history SET val = 4, obj = NULL WHERE ts = $1", self.at(at))
        found = await self.memory.his_read("p", self.span((at, 1)))
        items = [{"ts": item["ts"], "val": Number(4, "kW")} for item in found]
        await self.memory.his_write("p", items)

    async def move(self, given: tuple[int, int]) -> None:
        """Move an item; a hypertable refuses to move one to another chunk."""
        old, new = map(self.at, given)
        found, taken = [await self.memory.his_read("p", self.span((at, 1))) for at in given]
        if taken or not found:
            return
        try:
            await self.sql.execute("UPDATE history SET ts = $2 WHERE ts = $1", old, new)
        except asyncpg.CheckViolationError:
            return
        await self.memory.his_clear("p", self.span((given[0], 1)))
        await self.memory.his_write("p", [{"ts": new, "val": found[0]["val"]}])

    async def remove(self, given: tuple[int, int]) -> None:
        span = self.span(given)
        await self.sql.execute(
            "DELETE FROM history WHERE ts >= $1 AND ts < $2", span.start, span.end
        )
        await self.memory.his_clear("p", span)

    async def truncate(self, _: None) -> None:
        await self.sql.execute("TRUNCATE history")
        await self.memory.his_clear("p", self.span((-800, 2_000)))

    async def work(self, _: None) -> None:
        await self.store.run_his_policy()

    async def roll(self, _: None) -> None:
        hours = Span(self.at(-400).replace(minute=0), self.at(-20))
        for span, fold in product((self.span((-690, 800)), hours), _FOLDS):
            for interval, tz in (("1hr", "UTC"), ("6hr", "New_York"), ("1day", "Tokyo")):
                asked = (span, interval, fold)
                found = await TimescaleAdapter.his_rollup(self.store, "p", *asked, tz=tz)
                expected = await self.memory.his_rollup("p", *asked, tz=tz)
                assert _close(found["p"]) == _close(expected["p"]), asked


async def test_hours_are_what_is_read(fresh: TimescaleAdapter) -> None:
    """Who tampers with them sees it; quarters of hours, and zones of half hours, have the items."""
    await fresh.create({"id": Ref("p"), **_POINT})
    await fresh.his_write("p", _kw(1, 2, 3, 4, 5, 6))
    await _worked(fresh)
    async with fresh._driver() as driver:
        await driver.execute("UPDATE history_hours SET total = total + 100, known = 50")

    assert await _sums(fresh) == [106, 115]
    counted = await fresh.his_rollup("p", _DAY, "1day", "count")
    assert counted["p"][0]["val"] == Number(100)
    quarters = await fresh.his_rollup("p", _DAY, "30min", "sum")
    assert sum(item["val"].val for item in quarters["p"]) == 21
    span = Span(_START - _HOUR, _START + 2 * _HOUR)
    for tz, total in (("Tokyo", 221), ("Kolkata", 21)):
        found = await fresh.his_rollup("p", span, "1hr", "sum", tz=tz)
        assert sum(item["val"].val for item in found["p"]) == total


async def test_a_rollup_reads_the_items_of_the_ends_and_of_stale_hours_alone(
    fresh: TimescaleAdapter,
) -> None:
    """Of a year of twenty minutes each, from half past to half past."""
    await fresh.create({"id": Ref("p"), **_POINT})
    await fresh.his_write("p", _kw(*range(365 * 72)))
    await _worked(fresh)
    await fresh.his_write("p", [{"ts": _START + 1_000 * _HOUR, "val": Number(5, "kW")}])
    async with fresh._driver() as driver:
        await driver.execute("VACUUM ANALYZE")
    start, end = _START + _HOUR / 2, _START + 8_000.5 * _HOUR
    values = {"start": start, "end": end, "step": _HOUR, "origin": _START, "ids": '["p"]'}
    within = {"hours_start": _START + _HOUR, "hours_end": _START + 8_000 * _HOUR}

    statement: Any = rollups.hourly_numbers("avg", "date_bin")(fresh.tables, "postgresql")
    sql, args = fresh._compiled(statement.params(**values, **within))
    async with fresh._driver() as driver:
        ((plan,),) = await driver.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *args)

    nodes = [node for node in _nodes(plan[0]["Plan"]) if node["Node Type"] != "Custom Scan"]
    scans = [node for node in nodes if node.get("Alias", "").startswith("item")]
    # Items before and after the whole hours are 1 (at 0:40) and 2, and 3 are in the stale one.
    assert sum(_read(scan) for scan in scans) == 1 + 2 + 3


def _read(scan: dict[str, Any]) -> int:
    """Return how many rows a node of a plan has looked at."""
    return int((scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0)) * scan["Actual Loops"])


@pytest.mark.parametrize("val", [1e300, -1e308, math.inf])
async def test_sums_beyond_all_doubles(store: _Worked, val: float) -> None:
    await store.create({"id": Ref("p"), **_POINT})
    await store.his_write("p", _kw(val, val, 1, 2))
    await _worked(store)

    assert await _sums(store) == [2 * val, 2]
    total = await store.his_rollup("p", _DAY, "1day", "max")
    assert total["p"][0]["val"].val == max(val, 2)


# ---- others at the same time --------------------------------------------------------------------

_LATE = "INSERT INTO history (point_id, ts, val) VALUES ('p', $1, $2)"


@pytest.fixture
async def filled(store: _Worked) -> _Worked:
    """Two hours of a point, worked out."""
    await store.create({"id": Ref("p"), **_POINT})
    await store.his_write("p", _kw(1, 2, 3, 4, 5, 6))
    await _worked(store)
    return store


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
async def test_a_late_item_that_is_not_committed_yet(
    filled: _Worked, sql: asyncpg.Connection[Any], isolation: Any
) -> None:
    """A refresh neither waits for it nor forgets it."""
    transaction = sql.transaction(isolation=isolation)
    await transaction.start()
    await sql.fetchval("SELECT count(*) FROM history")  # what repeatable reads go by
    await filled.run_his_policy()
    await sql.execute(_LATE, _START + _HOUR / 2, 10)

    await filled.run_his_policy()
    assert await _sums(filled) == [6, 15]
    await transaction.commit()
    assert await _sums(filled) == [16, 15]
    await filled.run_his_policy()

    assert await _sums(filled) == [16, 15]
    assert await _number(filled, "_stale") == 0


async def test_a_late_item_that_is_rolled_back(
    filled: _Worked, sql: asyncpg.Connection[Any]
) -> None:
    transaction = sql.transaction()
    await transaction.start()
    await sql.execute(_LATE, _START + _HOUR / 2, 10)
    await filled.run_his_policy()
    await transaction.rollback()

    assert await _sums(filled) == [6, 15]
    assert await _number(filled, "_stale") == 0


async def test_a_savepoint_takes_its_mark_along(
    filled: _Worked, sql: asyncpg.Connection[Any]
) -> None:
    """The same hour is marked again by who writes it after that was rolled back."""
    async with sql.transaction():
        inner = sql.transaction()
        await inner.start()
        await sql.execute(_LATE, _START + _HOUR / 2, 10)
        await inner.rollback()
        await sql.execute(_LATE, _START + _HOUR / 2, 20)

    assert await _sums(filled) == [26, 15]
    await filled.run_his_policy()
    assert await _sums(filled) == [26, 15]


async def test_a_transaction_older_than_the_refresh(
    store: _Worked, sql: asyncpg.Connection[Any]
) -> None:
    """Its items may be of the past hour by its clock: nothing is settled before it is over."""
    await store.create({"id": Ref("p"), **_POINT})
    await _worked(store)
    before = (await store.his_policy()).hourly_until
    assert before is not None
    async with sql.transaction():
        await sql.execute(_LATE, _START, 1)  # and has its number now
        await sql.execute(  # which is what a day without a refresh comes to
            "UPDATE history_hours_state SET settled = settled - interval '1 day', noted = NULL"
        )
    async with sql.transaction():
        await sql.execute(_LATE, before - 2 * _HOUR, 7)
        await store.run_his_policy()
        state = await sql.fetchrow("SELECT settled, noted FROM history_hours_state")
        assert state is not None
        assert state["settled"] < before - 23 * _HOUR
        assert state["noted"] is not None
        span = Span(before - 3 * _HOUR, before)
        assert await _sums(store, span) == []

    await _worked(store)
    assert await _sums(store, span) == [7]


async def test_the_hours_transaction_sees_its_own_items(filled: _Worked) -> None:
    """A host's session: what it wrote and has not committed."""
    async with filled.engine.connect() as connection:
        own: Any = bind(connection)
        await own.his_write("p", [{"ts": _START + _HOUR / 2, "val": Number(10, "kW")}])
        inside = await own.his_rollup("p", _DAY, "1hr", "sum")
        outside = await _sums(filled)
        await own.his_clear("p", Span(_START + _HOUR, _START + 2 * _HOUR))
        cleared = await own.his_rollup("p", _DAY, "1hr", "sum")
        await connection.rollback()

    assert [item["val"].val for item in inside["p"]] == [16, 15]
    assert outside == [6, 15]
    assert [item["val"].val for item in cleared["p"]] == [16]
    assert await _sums(filled) == [6, 15]


async def test_writers_and_refreshes_at_the_same_time(store: _Worked) -> None:
    """Each writes its point, and reads its own writes at once."""
    ids = [f"p{n}" for n in range(4)]
    await store.load_entities([{"id": Ref(id), **_POINT} for id in ids])
    memory = InMemoryAdapter()
    await memory.load_entities([{"id": Ref(id), **_POINT} for id in ids])
    over = asyncio.Event()

    async def write(id: str, seed: int) -> None:
        for turn in range(12):
            start = _START + (turn * (seed + 3) % 11) * _HOUR / 2
            items = _items(*(Number(turn + i, "kW") for i in range(7)), start=start)
            for each in (store, memory):
                if turn % 4 == 3:
                    await each.his_clear(id, Span(start, start + _HOUR))
                else:
                    await each.his_write(id, items)
            found = await TimescaleAdapter.his_rollup(store, id, _DAY, "1hr", "avg")
            expected = await memory.his_rollup(id, _DAY, "1hr", "avg")
            assert _close(found[id]) == _close(expected[id])

    async def work() -> None:
        while not over.is_set():
            await store.run_his_policy()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(work())
        await asyncio.gather(*(write(id, n) for n, id in enumerate(ids)))
        over.set()


async def test_two_who_switch_on_at_the_same_time(fresh_postgres_url: str) -> None:
    async with (
        TimescaleAdapter(fresh_postgres_url) as one,
        TimescaleAdapter(fresh_postgres_url) as two,
    ):
        await asyncio.gather(*(each.set_his_policy(hourly=True) for each in (one, two)))
        assert await _number(one, "_state") == 1
        await asyncio.gather(*(each.remove_his_policy("hourly") for each in (one, two)))
        assert await one.his_policy() == await two.his_policy()
        assert not (await one.his_policy()).hourly


# ---- switching off and on, and what is dropped --------------------------------------------------


_LEFT = (
    "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname ~ 'hsorm_hours') "
    "+ (SELECT count(*) FROM pg_proc WHERE proname ~ 'hsorm.*hour')"
)


async def test_nothing_is_left_when_it_is_switched_off(fresh: TimescaleAdapter) -> None:
    await fresh.create({"id": Ref("p"), **_POINT})
    await fresh.his_write("p", _kw(1, 2, 3))
    await _worked(fresh)

    policy = await fresh.remove_his_policy("hourly")
    again = await fresh.remove_his_policy("hourly")

    assert (policy.hourly, policy.hourly_until) == (False, None)
    assert again == policy
    async with fresh._driver() as driver:
        left = await driver.fetchval(_LEFT)
    assert left == 0
    assert [await _number(fresh, what) for what in ("", "_until", "_stale", "_state")] == [0] * 4
    # What is written meanwhile nobody marks.
    await fresh.his_write("p", [{"ts": _START, "val": Number(100, "kW")}])
    assert await _sums(fresh) == [105]
    await fresh.set_his_policy(hourly=True)
    assert await _sums(fresh) == [105]
    await _worked(fresh)
    assert await _sums(fresh) == [105]


async def test_a_snapshot_from_before_it_is_switched_off(fresh: TimescaleAdapter) -> None:
    """It sees no hours any more, though TRUNCATE asks for no snapshot, and so reads the items."""
    await fresh.create({"id": Ref("p"), **_POINT})
    await fresh.his_write("p", _kw(1, 2, 3, 4, 5))
    await _worked(fresh)
    engine = fresh.engine.execution_options(isolation_level="REPEATABLE READ")
    async with engine.connect() as connection:
        own: Any = bind(connection)
        assert await own.read_count("point") == 1
        await fresh.remove_his_policy("hourly")
        found = await own.his_rollup("p", _DAY, "1hr", "sum")

    assert [item["val"].val for item in found["p"]] == [6, 9]


async def test_names_with_a_prefix_in_a_schema(fresh_postgres_url: str) -> None:
    names: dict[str, Any] = {"prefix": 'Two "words"_', "schema": "B'MS; --%s"}
    async with TimescaleAdapter(fresh_postgres_url, **names) as store:
        await store.set_his_policy(hourly=True)
        await store.create({"id": Ref("p"), **_POINT})
        await store.his_write("p", _kw(1, 2, 3))
        await _worked(store)
        await store.his_write("p", [{"ts": _START + _HOUR / 2, "val": Number(10, "kW")}])
        assert await _sums(store) == [16]
        await _worked(store)
        assert await _sums(store) == [16]
        assert (await store.remove_his_policy("hourly")).hourly is False
        await store.set_his_policy(hourly=True)
    engine = create_async_engine(engine_url(fresh_postgres_url))
    async with engine.begin() as connection:

        def dropped(connection: Connection) -> list[str]:
            metadata = MetaData()
            make_tables(metadata, **names)
            metadata.drop_all(connection)
            found = connection.exec_driver_sql(
                "SELECT proname FROM pg_proc WHERE proname ~ 'hsorm'"
            )
            return [*found.scalars()]

        assert await connection.run_sync(dropped) == []
    await engine.dispose()


async def test_a_downgrade_takes_the_triggers_along(fresh_postgres_url: str) -> None:
    names: dict[str, Any] = {"prefix": "a'b:c%s ", "schema": 'B"MS'}
    async with TimescaleAdapter(fresh_postgres_url, **names) as store:
        await store.set_his_policy(hourly=True)
    engine = create_async_engine(engine_url(fresh_postgres_url))
    async with engine.begin() as connection:

        def downgraded(connection: Connection) -> int:
            command.downgrade(migrate.config(connection, **names), "0004")
            return int(connection.exec_driver_sql(_LEFT).scalar_one())

        assert await connection.run_sync(downgraded) == 0
    await engine.dispose()
    async with TimescaleAdapter(fresh_postgres_url, **names) as store:  # and up again
        assert not (await store.his_policy()).hourly
        assert (await store.set_his_policy(hourly=True)).hourly


@on_timescale
async def test_the_days_of_dropped_items_stay(fresh: TimescaleAdapter) -> None:
    """Until somebody writes or clears an hour of them: it is what is there from then on."""
    await fresh.create({"id": Ref("p"), **_POINT})
    await fresh.his_write("p", _kw(1, 2, 3, 4, 5, 6, 7))
    await _worked(fresh)

    dropped = await fresh.run_his_policy(keep="1yr")

    assert dropped.dropped == 1
    assert await fresh.his_read("p", _DAY) == []
    assert await _sums(fresh) == [6, 15, 7]
    long = Span(_START - dt.timedelta(days=9_000), _START + dt.timedelta(days=9_000))
    assert await _sums(fresh, long) == [6, 15, 7]
    await fresh.his_write("p", [{"ts": _START + _HOUR / 2, "val": Number(10, "kW")}])
    assert await _sums(fresh) == [10, 15, 7]
    await fresh.run_his_policy()
    assert await _sums(fresh) == [10, 15, 7]
    await fresh.his_clear("p", Span(_START + 1.5 * _HOUR, _START + 1.6 * _HOUR))
    assert await _sums(fresh) == [10, 7]
    await fresh.run_his_policy()
    assert await _sums(fresh) == [10, 7]
    await fresh.delete("p")
    await fresh.create({"id": Ref("p"), **_POINT})
    assert await _sums(fresh) == []


@on_timescale
async def test_items_whose_hours_are_not_ready_are_not_dropped(fresh: TimescaleAdapter) -> None:
    """While somebody's transaction is open, who may write more of them."""
    await fresh.create({"id": Ref("p"), **_POINT})
    await fresh.his_write("p", _kw(1, 2, 3, 4))
    sql = await _connected(fresh)
    async with sql.transaction():
        await sql.execute("SELECT pg_current_xact_id()")
        early = await fresh.run_his_policy(keep="1yr")
        assert await _sums(fresh) == [6, 4]
    await sql.close()

    await _worked(fresh)
    late = await fresh.run_his_policy(keep="1yr")

    assert (early.dropped, late.dropped) == (0, 1)
    assert await fresh.his_read("p", _DAY) == []
    assert await _sums(fresh) == [6, 4]


async def test_a_refresh_that_clashes_is_run_again(fresh: TimescaleAdapter) -> None:
    async with fresh._driver() as driver:
        await driver.execute(
            "CREATE SEQUENCE tries; CREATE OR REPLACE PROCEDURE hsorm_refresh_hours("
            "job integer DEFAULT NULL, config jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$ BEGIN "
            "IF nextval('tries') < 3 THEN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; "
            "END IF; END $$"
        )
    await fresh.run_his_policy()
    async with fresh._driver() as driver:
        assert await driver.fetchval("SELECT last_value FROM tries") == 3


async def test_where_no_hours_are_kept_they_are_not_asked_for_again(
    fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a while: the look-up takes a good part of the time of a rollup of a day."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.create({"id": Ref("p"), **_POINT})
        looked: list[str] = []
        look = store._look

        async def noting(statement: Any, **values: Any) -> Any:
            looked.append(getattr(statement, "__name__", ""))
            return await look(statement, **values)

        monkeypatch.setattr(store, "_look", noting)
        for _ in range(2):
            await _sums(store)
        assert looked.count("are_hours_ready") == 1


async def test_distributed_tables_have_no_triggers(fresh: TimescaleAdapter) -> None:
    """History of which hours are kept is not distributed, and no hours are kept on Citus."""
    async with fresh._driver() as driver:
        await driver.execute(  # all that is asked of Citus before
            "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, "
            "extversion) SELECT 1, 'citus', extowner, extnamespace, false, '13' FROM pg_extension "
            "WHERE extname = 'plpgsql'; "
            "CREATE TABLE pg_dist_partition (logicalrelid regclass)"
        )
    try:
        with pytest.raises(StorageError, match="remove hourly"):
            await fresh.distribute_history(partition="1mo")
        await fresh.remove_his_policy("hourly")
        with pytest.raises(StorageError, match="Citus, whose distributed tables"):
            await fresh.set_his_policy(hourly=True)
    finally:
        async with fresh._driver() as driver:
            await driver.execute("DELETE FROM pg_extension WHERE extname = 'citus'")
