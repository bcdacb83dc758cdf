"""Declared indexes on PostgreSQL: the plans of 100,000 analysed entities, and how they are made."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from functools import partial

import psycopg
import pytest
from sqlalchemy import make_url

from hsorm import MARKER, Number, Ref, TimescaleAdapter
from hsorm.errors import StorageError
from tests.backends import POSTGRES
from tests.conftest import Record
from tests.indexed import DECLARED, ranges, stamped_building
from tests.postgres.conftest import FilledServers

_POINTS = 99_000

# On one worker, for each would make the indexes anew; see test_plans.py.
pytestmark = pytest.mark.xdist_group("long transactions")


async def _fill(store: TimescaleAdapter) -> None:
    await store.load_entities(stamped_building(_POINTS))
    # Made when there is something to index, which is analysed then.
    await store.create_indexes(DECLARED, search=True)


@pytest.fixture(scope="module")
async def indexed_stores() -> AsyncIterator[FilledServers]:
    indexed = FilledServers(_fill)
    async with indexed.stack:
        yield indexed


@pytest.fixture(params=POSTGRES)
async def indexed(
    request: pytest.FixtureRequest, indexed_stores: FilledServers, record_property: Record
) -> TimescaleAdapter:
    """100,000 entities with an index of each kind."""
    return await indexed_stores.get(str(request.param), record_property)


@pytest.mark.parametrize(("filter", "tag", "count"), ranges(_POINTS))
async def test_a_declared_index_answers_a_comparison(
    indexed: TimescaleAdapter, filter: str, tag: str, count: int
) -> None:
    """An Index Scan, by the server's own choice; the filter does not know of the index."""
    plan = "\n".join((await indexed.explain(filter)).plan)

    assert f"entities_{tag}_{DECLARED[tag]}_ix" in plan
    assert "Index Scan" in plan
    assert "Seq Scan" not in plan
    assert len(await indexed.read(filter)) == count


async def test_the_index_behind_a_ref(indexed: TimescaleAdapter) -> None:
    """F50: where the path ends, too."""
    plan = "\n".join((await indexed.explain(f"equip and equipRef->n > {_POINTS - 10}")).plan)

    assert "Index Scan using entities_n_number_ix" in plan


async def test_the_planner_knows_how_many(indexed: TimescaleAdapter) -> None:
    """ANALYZE ran behind CREATE INDEX: a third of the table is its guess where it knows nothing."""
    late = [filter for filter, _, _ in ranges(_POINTS) if filter.startswith("lastTs >=")]
    first, *_ = (await indexed.explain(late[0])).plan

    assert int(first.partition("rows=")[2].partition(" ")[0]) < 100


@pytest.mark.parametrize(
    ("search", "count"), [("point 9899", 11), ("POINT 98990", 1), ("98999", 1), ("1234 point", 11)]
)
async def test_the_search_index_answers(indexed: TimescaleAdapter, search: str, count: int) -> None:
    """By three letters each; the exact condition stands beside it."""
    plan = "\n".join((await indexed.explain("point", search=search)).plan)

    assert "Bitmap Index Scan on entities_search_ix" in plan
    assert "Seq Scan" not in plan
    assert await indexed.read_count("point", search=search) == count


async def test_a_search_without_the_index_does_not_look_for_it(fresh_postgres_url: str) -> None:
    """What is dropped meanwhile, by whomever, is not missed."""
    async with TimescaleAdapter(fresh_postgres_url, index_search=True) as store:
        await store.load_entities([{"id": Ref("a"), "dis": "Alpha"}])
        with_index = (await store.explain("dis", search="alp")).sql
        async with TimescaleAdapter(fresh_postgres_url) as other:
            assert await other.drop_indexes(search=True) == ["entities_search_ix"]

        without = (await store.explain("dis", search="alp")).sql
        assert "jsonb_path_query_array" in with_index
        assert "jsonb_path_query_array" not in without
        assert await store.read_count("dis", search="alp") == 1


async def test_without_the_extension_the_error_says_so(fresh_postgres_url: str) -> None:
    """Nobody but an owner of the database may create it."""
    role = f"plain_{secrets.token_hex(4)}"
    url = make_url(fresh_postgres_url)
    own = url.set(username=role, password="x").render_as_string(hide_password=False)
    with psycopg.connect(fresh_postgres_url, autocommit=True) as owner:
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        owner.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
        try:
            async with TimescaleAdapter(own) as store:
                await store.load_entities([{"id": Ref("a"), "dis": "Alpha"}])
                with pytest.raises(StorageError, match=r"pg_trgm.*permission denied.*work without"):
                    await store.create_indexes(search=True)
                assert await store.read_count("dis", search="alp") == 1
        finally:
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


async def _indexes(store: TimescaleAdapter) -> set[str]:
    async with store._driver() as driver:
        found = await driver.fetch(
            "SELECT indexname FROM pg_indexes WHERE tablename = $1", store.tables.entities.name
        )
    return {name for (name,) in found if name.endswith("_ix")}


async def test_they_are_made_and_dropped_by_name(fresh_postgres_url: str) -> None:
    """Each once, with schema and prefix; `create="never"` makes none."""
    adapter = partial(TimescaleAdapter, fresh_postgres_url, schema="plant", prefix="x_")
    async with adapter():
        pass
    async with adapter(create="never", index_tags={"area": "number"}) as never:
        assert await _indexes(never) == set()
    async with adapter(index_tags={"siteArea": "number"}) as store:
        assert await _indexes(store) == {"x_entities_siteArea_number_ix"}
        assert await store.create_indexes({"siteArea": "number", "dis": "string"}) == [
            "x_entities_dis_string_ix"
        ]
        assert await store.drop_indexes({"siteArea": "number", "gone": "date"}) == [
            "x_entities_siteArea_number_ix"
        ]
        assert await _indexes(store) == {"x_entities_dis_string_ix"}


async def test_several_at_a_time_wait_for_each_other(fresh_postgres_url: str) -> None:
    """Nobody fails and nobody waits for ever: a concurrent build waits for all statements."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.load_entities({"id": Ref(f"e{i}"), "n": Number(i)} for i in range(5_000))
        others = [TimescaleAdapter(fresh_postgres_url, index_tags=DECLARED) for _ in range(3)]
        try:
            async with asyncio.timeout(60):
                await asyncio.gather(*(other.connect() for other in others))
        finally:
            for other in others:
                await other.close()
        assert await _indexes(store) == {f"entities_{t}_{k}_ix" for t, k in DECLARED.items()}


async def test_a_build_that_takes_too_long_is_a_timeout(fresh_postgres_url: str) -> None:
    """It waits for all transactions that have begun before."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        async with store._driver() as driver, driver.transaction():
            await driver.execute("LOCK TABLE entities IN ROW EXCLUSIVE MODE")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await store.create_indexes({"n": "number"})

        async with asyncio.timeout(60):
            assert await store.create_indexes({"n": "number"}) == ["entities_n_number_ix"]


async def test_one_that_was_interrupted_is_made_anew(fresh_postgres_url: str) -> None:
    """What CREATE INDEX CONCURRENTLY leaves behind has the name and is never used."""
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.create_indexes({"n": "number"})
        async with store._driver() as driver:
            await driver.execute(
                "UPDATE pg_index SET indisvalid = false "
                "WHERE indexrelid = 'entities_n_number_ix'::regclass"
            )

        assert await store.create_indexes({"n": "number"}) == ["entities_n_number_ix"]
        assert await store.create_indexes({"n": "number"}) == []


@pytest.mark.parametrize(
    "value",
    [
        '"x"', "5", "5e-324", "1e308", "1e400", "1" * 6_000, "0." + "1" * 6_000, "null", "[]", "{}",
        '"' + "é" * 90_000 + '"',
        '{"_kind": "number"}', '{"_kind": "number", "val": "x"}', '{"_kind": "number", "val": {}}',
        '{"_kind": "number", "val": "NaN"}', '{"_kind": "number", "val": "-INF"}',
        '{"_kind": "date"}', '{"_kind": "date", "val": "' + "9" * 90_000 + '"}',
        '{"_kind": "dateTime", "val": "yesterday"}', '{"_kind": "dateTime", "val": 5}',
        '{"_kind": "dateTime", "val": "2024-02-30T00:00:00Z"}',
        '{"_kind": "dateTime", "val": "0001-01-01T00:00:00+15:59"}',
        '{"_kind": "dateTime", "val": "9999-12-31T23:59:59.999999999-15:59"}',
    ],
)  # fmt: skip
async def test_no_row_is_refused(indexed: TimescaleAdapter, value: str) -> None:
    """Whatever other people's SQL puts into an indexed tag, in an index of whichever kind."""
    async with indexed._driver() as driver:
        transaction = driver.transaction()
        await transaction.start()
        try:
            for tag in DECLARED:
                # Of digits that do not repeat: PostgreSQL would press them together.
                digits = "".join(random.Random(1).choices("123456789", k=6_000))
                tags = f'{{"{tag}": {value.replace("1" * 6_000, digits)}}}'
                await driver.execute("INSERT INTO entities VALUES ($1, $2)", f"odd-{tag}", tags)
        finally:
            await transaction.rollback()


async def test_a_mixed_tag_can_be_indexed(fresh_postgres_url: str) -> None:
    """A tag that is of each kind somewhere, indexed as each in turn."""
    values = [MARKER, "x", True, Number(5, "kW"), Number(float("nan")), Ref("a"), [Number(1)], {}]
    async with TimescaleAdapter(fresh_postgres_url) as store:
        await store.load_entities(
            {"id": Ref(f"e{i}"), "n": value} for i, value in enumerate(values)
        )
        for kind in ("number", "string", "date", "datetime"):
            assert await store.create_indexes({"n": kind}) == [f"entities_n_{kind}_ix"]
        assert [entity["id"].val for entity in await store.read("n < 9kW")] == ["e3"]
        assert [entity["id"].val for entity in await store.read("n < 9")] == ["e4"]
