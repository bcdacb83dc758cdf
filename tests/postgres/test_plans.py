"""Which indexes answer, on a table of 20,000 entities that the server has analysed."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import ClauseElement

from hsorm.kinds import MARKER, Entity, Number, Ref
from hsorm.sql import statements
from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import SERVERS, ServerMissingError, new_database
from tests.conftest import Record, skip_missing

_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def _building() -> Iterator[Entity]:
    """Yield 20 sites, 1,000 equips (half of them ahus) and 19,000 points."""
    for i in range(20):
        yield {"id": Ref(f"s{i}"), "site": MARKER, "geoCity": f"City {i}", "area": Number(i, "m²")}
    for i in range(1_000):
        kind = "ahu" if i % 2 else "vav"
        yield {"id": Ref(f"e{i}"), "equip": MARKER, kind: MARKER, "siteRef": Ref(f"s{i % 20}")}
    for i in range(19_000):
        yield {
            "id": Ref(f"p{i}"),
            "point": MARKER,
            ("temp", "flow")[i % 2]: MARKER,
            **({"rare": MARKER} if i % 1_000 == 0 else {}),
            "equipRef": Ref(f"e{i % 1_000}"),
            "siteRef": Ref(f"s{i % 20}"),
            "n": Number(i),
            "kw": Number(i, "kW"),
            "dis": f"Point {i}",
            "his": MARKER,
            "kind": "Number",
            "tz": "UTC",
        }


class _Loaded:
    """The loaded storage on each server, made when first asked for."""

    def __init__(self) -> None:
        self.stack = AsyncExitStack()
        self.stores: dict[str, TimescaleAdapter] = {}

    async def get(self, name: str) -> TimescaleAdapter:
        if name not in self.stores:
            url = self.stack.enter_context(new_database(name))
            store = await self.stack.enter_async_context(TimescaleAdapter(url))
            await self._fill(store)
            self.stores[name] = store
        return self.stores[name]

    async def _fill(self, store: TimescaleAdapter) -> None:
        await store.load_entities(_building())
        for point in ("p1", "p2", "p3"):
            minutes = (_START + dt.timedelta(minutes=m) for m in range(24 * 60 * 20))
            await store.his_write(point, ({"ts": ts, "val": 1} for ts in minutes))
        async with store.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in ("entities", "history"):
                await connection.exec_driver_sql(f"VACUUM ANALYZE {table}")


@pytest.fixture(scope="module")
async def loaded_stores() -> AsyncIterator[_Loaded]:
    loaded = _Loaded()
    async with loaded.stack:
        yield loaded


@pytest.fixture(params=list(SERVERS))
async def loaded(
    request: pytest.FixtureRequest, loaded_stores: _Loaded, record_property: Record
) -> TimescaleAdapter:
    """The storage with the building in it."""
    record_property("backend", str(request.param))
    try:
        return await loaded_stores.get(str(request.param))
    except ServerMissingError as exc:
        skip_missing(exc, record_property)


async def _plan(store: TimescaleAdapter, statement: ClauseElement) -> list[dict[str, Any]]:
    """Return the nodes of the plan that the server makes for a statement of ours."""
    sql, args = store._compiled(statement)
    async with store._driver() as driver:
        ((plan,),) = await driver.fetch(f"EXPLAIN (FORMAT JSON) {sql}", *args)
    return list(_nodes(plan[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def _of_type(nodes: list[dict[str, Any]], *types: str) -> list[dict[str, Any]]:
    return [node for node in nodes if node["Node Type"] in types]


def _indexes(nodes: list[dict[str, Any]]) -> set[str]:
    return {node["Index Name"] for node in nodes if "Index Name" in node}


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ("site", 20),
        ("ahu", 500),
        ("point and rare", 19),
        ('geoCity == "City 3"', 1),
        ('dis == "Point 77"', 1),
        ("n == 77", 1),
        ("kw == 77kW", 1),
        ("equipRef == @e77", 19),
        ("ahu and siteRef == @s7", 50),
        ("point and temp and equipRef == @e77 and n > 5000", 0),
        ("rare and n > 8500", 10),
        ('ahu and siteRef->geoCity == "City 7"', 50),
        ("vav and not siteRef->site", 0),
        ("site or rare", 39),
        ("id == @p77", 1),
    ],
)
async def test_an_index_answers(loaded: TimescaleAdapter, filter: str, count: int) -> None:
    """`has`, `==` and what is joined to them are read from GIN, `id ==` from the primary key."""
    plan = await _plan(loaded, statements.select_entities(loaded.tables, filter))

    assert _of_type(plan, "Seq Scan") == []
    expected = "entities_pkey" if filter.startswith("id") else "entities_tags_gin"
    assert expected in _indexes(plan)
    assert len(await loaded.read(filter)) == count


async def test_ids_are_read_from_the_primary_key(loaded: TimescaleAdapter) -> None:
    plan = await _plan(loaded, statements.select_by_ids(loaded.tables, ["p1", "p2", "gone"]))

    assert _of_type(plan, "Seq Scan") == []
    assert _indexes(plan) == {"entities_pkey"}


async def test_a_change_reads_its_entity_from_the_primary_key(loaded: TimescaleAdapter) -> None:
    plan = await _plan(loaded, statements.select_entity_for_change(loaded.tables, "p1"))

    assert _of_type(plan, "Seq Scan") == []
    assert _indexes(plan) == {"entities_pkey"}


async def test_history_is_read_in_the_order_of_its_key(loaded: TimescaleAdapter) -> None:
    """Without a Sort: the key yields the order by itself."""
    plan = await _plan(
        loaded,
        statements.select_history(loaded.tables, "p2", _START, _START + dt.timedelta(days=20)),
    )

    assert _of_type(plan, "Sort", "Incremental Sort", "Seq Scan", "Bitmap Heap Scan") == []
    assert _of_type(plan, "Index Scan", "Index Only Scan") != []
    assert all(name.endswith("history_pkey") for name in _indexes(plan))


async def test_a_day_of_history_touches_the_chunks_of_that_day(loaded: TimescaleAdapter) -> None:
    """By the key: of few rows the planner may think that sorting them is cheaper than order."""
    start = _START + dt.timedelta(days=10)

    plan = await _plan(
        loaded, statements.select_history(loaded.tables, "p2", start, start + dt.timedelta(days=1))
    )

    assert _of_type(plan, "Seq Scan") == []
    assert all(name.endswith("history_pkey") for name in _indexes(plan))
    touched = {node["Relation Name"] for node in plan if "Relation Name" in node}
    async with loaded._driver() as driver:
        chunks = await driver.fetchval(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'history'::regclass"
        )
    assert len(touched) == 1
    assert touched == {"history"} if chunks == 0 else chunks >= 3
