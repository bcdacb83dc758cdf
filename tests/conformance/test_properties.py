"""Generated entities and filters: what goes in comes out, filters answer as `evaluate` does."""

from __future__ import annotations

import datetime as dt
import math
import os
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hsorm.filter import And, Cmp, CmpOp, Has, IsA, Missing, Node, Or, Path, evaluate, print_filter
from hsorm.kinds import MARKER, NA, Coord, Entity, Grid, Number, Ref, Symbol, Uri, XStr, equal
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import ids, without_stamp
from tests.unit import strategies

# The storage is one for all examples: each replaces what the one before it wrote.
_BOUNDED = settings(
    max_examples=1_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@_BOUNDED
@given(
    entities=st.lists(
        strategies.entities(storable=True).filter(lambda entity: "trash" not in entity),
        max_size=5,
        unique_by=lambda entity: entity["id"].val,
    )
)
async def test_what_goes_in_comes_out(store: StorageAdapter, entities: list[Entity]) -> None:
    """K1–K8: every kind, on every backend."""
    await store.load_entities(entities)

    found = await store.read_by_ids([entity["id"] for entity in entities])

    for entity, stored in zip(entities, found, strict=True):
        assert stored is not None
        assert equal(without_stamp(stored), without_stamp(entity))


# ---- filters ------------------------------------------------------------------------------------

_IDS = [f"e{i}" for i in range(6)]
_NAMES = ["a", "b", "ref", "list", "n"]
_NEW_YORK = ZoneInfo("America/New_York")
_REFS = st.sampled_from([*_IDS, "gone"]).map(Ref)
_LITERALS: st.SearchStrategy[Any] = st.one_of(
    _REFS,
    st.builds(
        Number,
        st.sampled_from([0.0, -1, 5, 0.1, 1e300, math.inf, -math.inf]),
        st.sampled_from([None, "kW"]),
    ),
    st.sampled_from(["", "e0", "5", "B", "a", "\uff5e", "😀", 'q"\\', "true", "New_York"]),
    st.booleans(),
    st.sampled_from([dt.date(2024, 3, 10), dt.date(2024, 11, 3)]),
    st.sampled_from([dt.time(1, 30), dt.time(1, 30, 0, 500_000), dt.time(23, 59, 59)]),
    st.sampled_from(
        [
            dt.datetime(2024, 11, 3, 1, 30, tzinfo=_NEW_YORK),
            dt.datetime(2024, 11, 3, 1, 30, tzinfo=_NEW_YORK, fold=1),
            dt.datetime(2024, 11, 3, 5, 30, tzinfo=dt.UTC),
            dt.datetime(2024, 3, 10, 1, 30, 0, 500_000, tzinfo=dt.UTC),
        ]
    ),
    st.sampled_from([Uri("a"), Uri("5"), Symbol("ahu"), Symbol("hot-water"), Symbol("lib:ph")]),
)
_VALUES: st.SearchStrategy[Any] = st.one_of(
    _REFS,
    _LITERALS,
    st.sampled_from([MARKER, NA, Number(math.nan), Coord(1, 2), XStr("Foo", "a"), Grid()]),
)
_NESTED = st.recursive(
    _VALUES,
    lambda values: st.one_of(
        st.lists(values, max_size=3), st.dictionaries(st.sampled_from(_NAMES), values, max_size=3)
    ),
    max_leaves=4,
)
_TAGS = st.fixed_dictionaries(
    {"any": st.just(MARKER)},
    optional={
        "a": _NESTED,
        "b": _VALUES,
        "n": _NESTED,
        "ref": st.one_of(_REFS, _NESTED),
        "list": st.lists(st.one_of(_REFS, _VALUES), max_size=3),
    },
)
_WORLDS = st.fixed_dictionaries(dict.fromkeys(_IDS, _TAGS)).map(
    lambda world: [{"id": Ref(id), **tags} for id, tags in world.items()]
)
_PATHS = st.lists(
    st.sampled_from([*_NAMES, "ref", "list", "id", "date", "time", "tz"]), min_size=1, max_size=3
).map(lambda names: Path(tuple(names)))
_TERMS: st.SearchStrategy[Node] = st.one_of(
    st.builds(Has, _PATHS),
    st.builds(Missing, _PATHS),
    st.builds(Cmp, _PATHS, st.sampled_from(CmpOp), _LITERALS),
    st.builds(IsA, st.sampled_from([Symbol("a"), Symbol("a-b"), Symbol("a:b")])),
)


def _joined(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(st.builds(And, several), st.builds(Or, several))


_FILTERS = st.recursive(_TERMS, _joined, max_leaves=4)


@_BOUNDED
@given(world=_WORLDS, filters=st.lists(_FILTERS, min_size=1, max_size=8))
@example(
    # "not over a list further on" is not the opposite of has (F55).
    world=[
        {"id": Ref("e0"), "ref": Ref("e1")},
        {"id": Ref("e1"), "list": [Ref("e2"), Ref("e3")]},
        {"id": Ref("e2"), "a": MARKER},
        {"id": Ref("e3")},
    ],
    filters=[Missing(Path(("ref", "list", "a")))],
)
async def test_every_backend_answers_as_the_evaluator(
    store: StorageAdapter, world: list[Entity], filters: list[Node]
) -> None:
    """F30–F63: `read` and `read_count` against `evaluate` over the same entities."""
    await store.load_entities([{"id": Ref(id), "trash": MARKER} for id in _IDS])
    await store.load_entities(world)
    by_id = {entity["id"].val: entity for entity in world}
    deref = {**{id: {"id": Ref(id), "trash": MARKER} for id in _IDS}, **by_id}.get

    for node in filters:
        expected = sorted(id for id, entity in by_id.items() if evaluate(node, entity, deref))

        assert ids(await store.read(node)) == expected, print_filter(node)
        assert await store.read_count(node) == len(expected), print_filter(node)
