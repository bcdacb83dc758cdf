"""Which indexes answer, on a table of 100,000 entities that the server has analysed."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import ClauseElement

from hsorm.kinds import MARKER, Entity, Number, Ref, Symbol
from hsorm.sql import changing, history, rollups, statements
from hsorm.storage.timescale import TimescaleAdapter
from tests.backends import POSTGRES
from tests.conftest import Record
from tests.postgres.conftest import FilledServers

# On one worker: to fill the tables takes longer than all that is asked of them. In one group with
# what cannot bear long transactions beside it, in whichever database.
pytestmark = pytest.mark.xdist_group("long transactions")

_START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


_SITES, _EQUIPS, _POINTS = 100, 5_000, 94_900


def _building() -> Iterator[Entity]:
    """Yield 100 sites, 5,000 equips (half of them ahus) and 94,900 points."""
    for i in range(_SITES):
        yield {"id": Ref(f"s{i}"), "site": MARKER, "geoCity": f"City {i}", "area": Number(i, "m²")}
    for i in range(_EQUIPS):
        kind = "ahu" if i % 2 else "vav"
        yield {"id": Ref(f"e{i}"), "equip": MARKER, kind: MARKER, "siteRef": Ref(f"s{i % _SITES}")}
    for i in range(_POINTS):
        yield {
            "id": Ref(f"p{i}"),
            "point": MARKER,
            ("temp", "flow")[i % 2]: MARKER,
            **({"rare": MARKER} if i % 5_000 == 0 else {}),
            "equipRef": Ref(f"e{i % _EQUIPS}"),
            "siteRef": Ref(f"s{i % _SITES}"),
            "n": Number(i),
            "kw": Number(i, "kW"),
            "on": i % 5_000 != 0,
            "phase": Symbol("three-phase" if i % 5_000 == 0 else "phase"),
            "dis": f"Point {i}",
            "his": MARKER,
            "kind": "Number",
            "tz": "UTC",
        }


async def _fill(store: TimescaleAdapter) -> None:
    await store.load_entities(_building())
    for point in ("p1", "p2", "p3"):
        minutes = (_START + dt.timedelta(minutes=m) for m in range(24 * 60 * 20))
        await store.his_write(point, ({"ts": ts, "val": 1} for ts in minutes))
    async with store.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in ("entities", "history"):
            await connection.exec_driver_sql(f"VACUUM ANALYZE {table}")


@pytest.fixture(scope="module")
async def loaded_stores() -> AsyncIterator[FilledServers]:
    loaded = FilledServers(_fill)
    async with loaded.stack:
        yield loaded


@pytest.fixture(params=POSTGRES)
async def loaded(
    request: pytest.FixtureRequest, loaded_stores: FilledServers, record_property: Record
) -> TimescaleAdapter:
    """The storage with the building in it."""
    return await loaded_stores.get(str(request.param), record_property)


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


_INDEXED = {
    "has": ("site", 100),
    "rare has": ("rare", 19),
    "has, many": ("ahu", 2_500),
    "markers": ("point and temp and rare", 19),
    "str ==": ('dis == "Point 77"', 1),
    "number ==": ("n == 77", 1),
    "number with unit ==": ("kw == 77kW", 1),
    "bool ==": ("on == false", 19),
    "symbol ==": ("phase == ^three-phase", 19),
    "ref ==": ("equipRef == @e77", 19),
    "marker and ref ==": ("ahu and siteRef == @s7", 50),
    "chain of and": ("point and temp and equipRef == @e78 and n > 50000", 9),
    "ordering beside what is rare": ("rare and n > 42500", 10),
    "!= beside what is rare": ('rare and dis != "Point 0"', 18),
    "not beside what is rare": ("rare and not temp", 0),
    "or": ("site or rare", 119),
    "or of equalities": ('n == 1 or kw == 2kW or dis == "Point 3" or equipRef == @e4', 22),
    "and of ors": ("(rare or n == 1) and (temp or flow)", 20),
    "id ==": ("id == @p77", 1),
    "deref": ('ahu and siteRef->geoCity == "City 7"', 50),
    "deref of a ref": ("ahu and siteRef->id == @s7", 50),
    "not over a path": ("vav and not siteRef->site", 0),
}


@pytest.mark.parametrize("shape", _INDEXED)
async def test_an_index_answers(loaded: TimescaleAdapter, shape: str) -> None:
    """`has`, `==` and what is joined to them are read from GIN, `id ==` from the primary key."""
    filter, count = _INDEXED[shape]

    plan = await _plan(loaded, statements.select_entities(loaded.tables, filter))

    assert _of_type(plan, "Seq Scan") == []
    expected = "entities_pkey" if filter.startswith("id") else "entities_tags_gin"
    assert expected in _indexes(plan)
    assert await loaded.read_count(filter) == count
    assert len(await loaded.read(filter)) == count


@pytest.mark.parametrize(
    ("filter", "count"),
    [
        ("not point", 5_100),
        ("point and not rare", 94_881),
        ("point and not equipRef->ahu", 47_450),
        ("not equipRef->siteRef->site", 5_100),
        ("not siteRef->geoCity and not site", 0),
        ("point and equipRef->ahu", 47_450),
        # The middle of a chain is found by the presence of its tag, which most entities have.
        ('rare and equipRef->siteRef->geoCity == "City 0"', 19),
        ("equipRef->siteRef->area > 90m²", 8_541),
    ],
)
async def test_no_table_is_read_for_each_row(
    loaded: TimescaleAdapter, filter: str, count: int
) -> None:
    """It may be scanned once, for `not` and for a path, whose ids are then looked up in a hash."""
    plan = await _plan(loaded, statements.select_entities(loaded.tables, filter))

    assert _read_for_each_row(plan) == []
    assert ("hashed SubPlan" in json.dumps(plan)) == ("->" in filter)
    assert await loaded.read_count(filter) == count


def _read_for_each_row(nodes: list[dict[str, Any]]) -> list[str]:
    """Return what reads a table in a subplan that is not hashed, or inside a nested loop."""
    written = json.dumps(nodes)
    plain = (
        node
        for node in nodes
        if node.get("Parent Relationship") == "SubPlan"
        and f"hashed {node['Subplan Name']}" not in written
        and node.get("Index Name") != "live_pkey"  # the live tags of a row that is returned
    )
    inner = (loop["Plans"][1] for loop in _of_type(nodes, "Nested Loop"))
    return [
        f"{node['Node Type']} on {node['Relation Name']}"
        for top in (*plain, *inner)
        for node in _nodes(top)
        if "Relation Name" in node
    ]


async def test_a_statement_is_prepared_once_for_a_shape(loaded: TimescaleAdapter) -> None:
    """Literals are bound: a connection plans anew for another shape alone."""
    filters = [f'rare and n > {i} and siteRef->geoCity == "City {i}"' for i in range(30)]

    found = [len(await loaded.read(filter)) for filter in filters]

    (sql,) = {loaded._compiled_read(filter, None, statements.NO_SEARCH)[0] for filter in filters}
    async with loaded._driver() as driver:
        prepared = await driver.fetchval(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1", sql
        )
    assert prepared == 1
    assert found == [18] + [0] * 29


async def test_ids_are_read_from_the_primary_key(loaded: TimescaleAdapter) -> None:
    plan = await _plan(loaded, statements.select_by_ids(loaded.tables, ["p1", "p2", "gone"]))

    assert _of_type(plan, "Seq Scan") == []
    assert _indexes(plan) == {"entities_pkey", "live_pkey"}


async def test_a_change_reads_its_entity_from_the_primary_key(loaded: TimescaleAdapter) -> None:
    statement = changing.lock_entities(loaded.tables, "postgresql").params(ids='["p1"]')
    plan = await _plan(loaded, statement)

    assert _of_type(plan, "Seq Scan") == []
    assert _indexes(plan) == {"entities_pkey"}


def _read(store: TimescaleAdapter, start: dt.datetime, end: dt.datetime) -> ClauseElement:
    """Return what `his_read` runs for one point."""
    values = {"points": ["p2"], "start": start, "end": end, "most": None}
    return history.items_packed(store.tables, "postgresql").params(**values)


async def test_history_is_read_in_the_order_of_its_key(loaded: TimescaleAdapter) -> None:
    """Without a Sort: the key yields the order by itself."""
    plan = await _plan(loaded, _read(loaded, _START, _START + dt.timedelta(days=20)))

    assert _of_type(plan, "Sort", "Incremental Sort", "Seq Scan", "Bitmap Heap Scan") == []
    assert _of_type(plan, "Index Scan", "Index Only Scan") != []
    assert all(name.endswith("history_pkey") for name in _indexes(plan))


async def test_reads_of_a_day_touch_the_chunks_of_that_day(loaded: TimescaleAdapter) -> None:
    """What `his_read` and `his_arrow` run: of several points as well."""
    start = _START + dt.timedelta(days=10)
    values = {"points": ["p1", "p2"], "start": start, "end": start + dt.timedelta(days=1)}
    statement = history.items_packed(loaded.tables, "postgresql").params(most=None)

    plan = await _plan(loaded, statement.params(**values))

    assert _of_type(plan, "Seq Scan") == []
    assert all(name.endswith("history_pkey") for name in _indexes(plan))
    touched = {node["Relation Name"] for node in plan if "Relation Name" in node}
    assert len(touched - {"history"} or touched) == 1  # or the one table that there is
    async with loaded._driver() as driver:
        chunks = await driver.fetchval(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'history'::regclass"
        )
    assert touched == {"history"} if chunks == 0 else chunks >= 3


def _rollup(store: TimescaleAdapter, name: str, start: dt.datetime) -> Any:
    """Return the statement of a rollup of two points over a day, by the hour."""
    bounds = [start + dt.timedelta(hours=hour) for hour in range(25)]
    values = {
        "ids": '["p1","p2"]', "start": start, "end": bounds[-1], "until": bounds[-1],
        "step": dt.timedelta(hours=1), "origin": start, "bounds": bounds,
        "begins": bounds[:-1], "ends": bounds[1:],
    }  # fmt: skip
    statement: Any = {
        "even": rollups.numbers("avg", "date_bin"),
        "time_bucket": rollups.numbers("avg", "time_bucket"),
        "uneven": rollups.numbers("avg", "width_bucket"),
        "last": rollups.ends("last"),
        "over time": rollups.held("twa", "date_bin"),
    }[name](store.tables, "postgresql")
    return statement.params(
        {name: values[name] for name in statement.compile().params.keys() & values}
    )


@pytest.mark.parametrize("name", ["even", "uneven", "last", "over time"])
async def test_a_rollup_of_a_day_touches_the_chunks_of_that_day(
    loaded: TimescaleAdapter, name: str
) -> None:
    plan = await _plan(loaded, _rollup(loaded, name, _START + dt.timedelta(days=10)))

    assert _of_type(plan, "Seq Scan") == []
    assert all(index.endswith("history_pkey") for index in _indexes(plan))
    scans = _of_type(plan, "Index Scan", "Index Only Scan", "Bitmap Heap Scan")
    assert len({scan["Relation Name"] for scan in scans}) == 1


async def test_where_history_lies_is_looked_up_by_key(loaded: TimescaleAdapter) -> None:
    values = {"ids": '["p1","p2"]', "start": _START, "end": _START + dt.timedelta(days=30)}

    plan = await _plan(loaded, rollups.extents(loaded.tables, "postgresql").params(values))

    assert _of_type(plan, "Seq Scan", "Aggregate", "Sort", "Hash Join") == []
    assert all(index.endswith("history_pkey") for index in _indexes(plan))


async def test_intervals_of_equal_length_are_grouped_as_they_come(loaded: TimescaleAdapter) -> None:
    """TimescaleDB groups by `time_bucket` in the order of the key, without hashing or sorting."""
    if not await loaded._has_timescale():
        pytest.skip("only with TimescaleDB")

    statement = _rollup(loaded, "time_bucket", _START)
    values = {"end": _START + dt.timedelta(days=20), "step": dt.timedelta(minutes=15)}

    plan = await _plan(loaded, statement.params(values))

    (grouping,) = (node for node in _of_type(plan, "Aggregate") if node.get("Group Key"))
    assert grouping["Strategy"] == "Sorted"
    assert _of_type(plan, "Sort") == []
