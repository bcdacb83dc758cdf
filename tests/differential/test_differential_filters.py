"""Every backend against the evaluator, over generated worlds and filters (rules F30–F63)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import create_async_engine

from hsorm.codecs import hayson
from hsorm.filter import Node, evaluate, print_filter
from hsorm.kinds import REMOVE, Entity
from hsorm.sql import statements
from hsorm.sql.indexes import Indexed
from hsorm.storage._shared import utc_now
from hsorm.storage._sql import SqlAdapter
from hsorm.storage.memory import InMemoryAdapter
from hsorm.storage.protocol import StorageAdapter
from hsorm.storage.redis import RedisAdapter
from hsorm.storage.timescale import TimescaleAdapter
from hsorm.testing.found_cases import FOUND, Found
from tests.backends import PLANNERS, Backend, Backends, ServerMissingError
from tests.conftest import Record, skip_missing
from tests.differential.search import SECONDS, Search
from tests.differential.worlds import World, changes, filters_of, worlds

# Shrinking ends by itself after some five minutes.
_PATIENT = pytest.mark.timeout(SECONDS + 600)
_MOST_FILTERS = 40
_LIMIT = 2
_INDEXED = ("a", "n")  # declared for every kind; the other names are not

# ---- stores -------------------------------------------------------------------------------------


@dataclass
class _Stores:
    """The adapters over one backend, on an event loop of their own: hypothesis is not async.

    Attributes:
        backend: What is tested.
        by_index: One more adapter over the same database, whose planner takes any index before it
            reads a whole table; None where there is no such planner.
    """

    loop: asyncio.AbstractEventLoop
    backend: Backend
    by_index: TimescaleAdapter | None

    def load(self, world: World, by_index: bool = False) -> StorageAdapter:
        """Return an adapter over this world and nothing else."""
        store = self.loop.run_until_complete(self._load(world))
        return self.by_index if by_index and self.by_index is not None else store

    async def _load(self, world: World) -> StorageAdapter:
        if self.backend.name == "memory":
            return InMemoryAdapter(world)
        await self.backend.clear()
        await self.backend.store.load_entities(world)
        return self.backend.store

    def compare(self, store: StorageAdapter, world: World, filters: Sequence[Node]) -> None:
        self.loop.run_until_complete(_compare(store, world, filters))


@pytest.fixture(params=PLANNERS)
def stores(
    request: pytest.FixtureRequest,
    loop_apart: asyncio.AbstractEventLoop,
    backends_apart: Backends,
    record_property: Record,
) -> Iterator[_Stores]:
    """Each backend in turn."""
    name, loop = str(request.param), loop_apart
    record_property("backend", name)
    try:
        backend = loop.run_until_complete(backends_apart.get(name))
    except ServerMissingError as exc:
        skip_missing(exc, record_property)
    if isinstance(backend.store, (SqlAdapter, RedisAdapter)):
        for kind in get_args(Indexed):
            loop.run_until_complete(backend.store.create_indexes(dict.fromkeys(_INDEXED, kind)))
    by_index = _without_seq_scans(backend.store)
    yield _Stores(loop, backend, by_index)
    if by_index is not None:
        loop.run_until_complete(by_index.engine.dispose())
    assert backend.checked_out() == 0, "the test left a connection checked out of the pool"


def _without_seq_scans(store: StorageAdapter) -> TimescaleAdapter | None:
    if not isinstance(store, TimescaleAdapter):
        return None
    # Of a world this small the planner would read the whole table, and never ask an index.
    planner = {"jit": "off", "enable_seqscan": "off"}
    engine = create_async_engine(store.engine.url, connect_args={"server_settings": planner})
    return TimescaleAdapter(engine=engine)


# ---- comparing ----------------------------------------------------------------------------------


def _expected(world: World, node: Node) -> list[str]:
    """Return the ids of what matches, in order; the trash is only to be walked into (F59, F63)."""
    by_id = {entity["id"].val: entity for entity in world}
    return [
        id
        for id, entity in sorted(by_id.items())
        if "trash" not in entity and evaluate(node, entity, by_id.get)
    ]


async def _compare(store: StorageAdapter, world: World, filters: Sequence[Node]) -> None:
    stamped = [{**entity, "mod": utc_now()} for entity in world]
    for node in filters:
        expected, text = _expected(stamped, node), print_filter(node)

        found = _ids(await store.read(text))
        count = await store.read_count(node)
        # A statement of its own, and only then another answer.
        cut = len(expected) > _LIMIT
        first = _ids(await store.read(node, limit=_LIMIT)) if cut else expected

        if (found, count, first[:_LIMIT]) != (expected, len(expected), expected[:_LIMIT]):
            pytest.fail(_told(store, world, node, expected, (found, count, first)))


def _ids(entities: Sequence[Entity]) -> list[str]:
    return [entity["id"].val for entity in entities]


def _told(
    store: StorageAdapter, world: World, node: Node, expected: list[str], found: tuple[Any, ...]
) -> str:
    entities = "\n".join(f"  {hayson.encode_entity(entity)}" for entity in world)
    return (
        f"{type(store).__name__} differs from the evaluator\nentities:\n{entities}\n"
        f"filter: {print_filter(node)}\nexpected: {expected}\n"
        f"read, read_count, read limit {_LIMIT}: {found}\n{_sql(store, node)}"
    )


def _sql(store: StorageAdapter, node: Node) -> str:
    if not isinstance(store, SqlAdapter):
        return ""
    compiled = statements.select_entities(store.tables, node).compile(dialect=store.engine.dialect)
    return f"SQL:\n{compiled}\nparameters: {compiled.params}"


# ---- tests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.filter)
def test_found_before(stores: _Stores, case: Found) -> None:
    for by_index in (False, True):
        store = stores.load(case.entities, by_index)
        if case.before is not None:
            stores.loop.run_until_complete(store.read(case.before))

        found = stores.loop.run_until_complete(store.read(case.filter))

        assert [entity["id"].val for entity in found] == case.ids, case.rule


@st.composite
def _asked(draw: st.DrawFn) -> tuple[World, list[Node], bool]:
    world = draw(worlds())
    return world, draw(filters_of(world, _MOST_FILTERS)), draw(st.booleans())


@_PATIENT
def test_reads(stores: _Stores, record_property: Callable[[str, object], None]) -> None:
    """`read`, `read_count` and a limited `read` against `evaluate` over the same entities."""
    search = Search()

    def look(asked: tuple[World, list[Node], bool]) -> None:
        world, filters, by_index = asked
        search.cases += len(filters)
        stores.compare(stores.load(world, by_index), world, filters)

    try:
        search.run(_asked(), look)
    finally:
        record_property("cases", search.cases)


_STEPS = st.one_of(
    st.tuples(st.just("delete"), changes()),
    st.tuples(st.just("load"), changes()),
    st.tuples(st.just("update"), changes()),
    st.tuples(st.just("update"), changes()),
)


@st.composite
def _changing(draw: st.DrawFn) -> tuple[World, list[Node], list[tuple[str, Entity]]]:
    world = draw(worlds())
    steps = draw(st.lists(_STEPS, min_size=1, max_size=6))
    filters = draw(filters_of([*world, *(change for _, change in steps)], 12))
    return world, filters, steps


async def _change(
    store: StorageAdapter, model: dict[str, Entity], step: str, change: Entity
) -> None:
    """Do one step to a storage and to the model of it."""
    id = change["id"].val
    old = model.get(id)
    if step == "load":
        await store.load_entities([change])
        model[id] = _without_removed(change)
    elif step == "update" and old is not None:
        await store.update(change)
        model[id] = _without_removed({**old, **change})
    elif step == "update":
        await store.create(change)
        model[id] = _without_removed(change)
    elif old is not None:
        await store.delete(change["id"])
        del model[id]


def _without_removed(entity: Mapping[str, Any]) -> Entity:
    return {name: val for name, val in entity.items() if val is not REMOVE}


@_PATIENT
def test_reads_after_changes(
    loop_apart: asyncio.AbstractEventLoop, record_property: Callable[[str, object], None]
) -> None:
    """The indexes in memory are kept up by updates, loads and deletes."""
    search = Search()
    record_property("backend", "memory")

    async def follow(world: World, filters: list[Node], steps: list[tuple[str, Entity]]) -> None:
        store, model = InMemoryAdapter(world), {entity["id"].val: entity for entity in world}
        await _compare(store, world, filters)  # which makes the indexes that filters ask for
        for step, change in steps:
            await _change(store, model, step, change)
            await _compare(store, list(model.values()), filters)

    def look(asked: tuple[World, list[Node], list[tuple[str, Entity]]]) -> None:
        world, filters, steps = asked
        search.cases += len(filters) * (1 + len(steps))
        loop_apart.run_until_complete(follow(world, filters, steps))

    try:
        search.run(_changing(), look)
    finally:
        record_property("cases", search.cases)
