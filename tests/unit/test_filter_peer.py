"""The evaluator against an independent one: rusty-haystack, an in-memory graph in Rust.

Where the two differ on purpose, the filter is left out of the comparison below and the difference
is shown by a test of its own, named by the rule that decides.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.filter import And, Cmp, CmpOp, Has, Missing, Node, Or, Path, evaluate, print_filter
from hsorm.kinds import MARKER, NA, Entity, Number, Ref, Symbol, Uri

peer = pytest.importorskip("rusty_haystack")

_IDS = ["a", "b", "c"]
_REFS = st.sampled_from([*_IDS, "gone"]).map(Ref)
_NAMES = ["m", "n", "s", "r", "q", "siteRef", "equipRef"]
_ORDERED: st.SearchStrategy[Any] = st.one_of(
    st.builds(Number, st.integers(-3, 3), st.sampled_from([None, "kW", "°F"])),
    st.builds(Number, st.floats(-1e6, 1e6), st.none()),
    st.sampled_from(["", "a", "b", "B", "é", 'q"\\', "5"]),
    st.dates(dt.date(2024, 1, 1), dt.date(2024, 1, 5)),
    st.sampled_from([dt.time(8, 30), dt.time(23, 59, 59)]),
    st.integers(0, 3).map(lambda hour: dt.datetime(2024, 1, 1, hour, tzinfo=dt.UTC)),
)
_LITERALS = st.one_of(
    _ORDERED, _REFS, st.sampled_from([Uri("x"), Uri("y"), Symbol("ahu"), Symbol("hot-water")])
)
_VALUES = st.one_of(_LITERALS, st.sampled_from([MARKER, NA, True, False]))
_ENTITIES = st.fixed_dictionaries(
    {id: st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=5) for id in _IDS}
).map(lambda tags: {id: {"id": Ref(id), **rest} for id, rest in tags.items()})

_PATHS = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3).map(tuple).map(Path)
_EQUALITY = st.sampled_from([CmpOp.EQ, CmpOp.NE])
_ANY_OP = st.sampled_from(CmpOp)
_TERMS: st.SearchStrategy[Node] = st.one_of(
    st.builds(Has, _PATHS),
    st.builds(Missing, _PATHS),
    st.builds(Cmp, _PATHS, _ANY_OP, _ORDERED),
    # Orderings of Ref, Uri and Symbol differ (F42, F43).
    st.builds(Cmp, _PATHS, _EQUALITY, _LITERALS),
)


def _nodes(terms: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        several = st.lists(inner, min_size=2, max_size=3).map(tuple)
        return st.one_of(st.builds(And, several), st.builds(Or, several))

    return st.recursive(terms, grow, max_leaves=4)


def _theirs(val: Any) -> Any:
    """Turn one of our kinds into theirs."""
    match val:
        case Number(num, unit):
            return peer.Number(num, unit)
        case Ref(id):
            return peer.Ref(id)
        case Uri(text):
            return peer.Uri(text)
        case Symbol(text):
            return peer.Symbol(text)
        case dt.datetime():
            offset = val.utcoffset() or dt.timedelta()
            clock = (val.year, val.month, val.day, val.hour, val.minute, val.second)
            return peer.HDateTime(*clock, int(offset.total_seconds()), "UTC")
        case list():
            return peer.HList([_theirs(item) for item in val])
        case dict():
            return peer.HDict({name: _theirs(item) for name, item in val.items()})
    return peer.Marker() if val is MARKER else peer.NA() if val is NA else val


def _text(node: Node) -> str:
    # They take any word after `Z` for a zone (F13).
    return re.sub(r"(:[0-9]{2})Z", r"\1Z UTC", print_filter(node))


def _graph(entities: dict[str, Entity]) -> Any:
    graph = peer.EntityGraph()
    for entity in entities.values():
        graph.add(_theirs(entity))
    return graph


def _read(graph: Any, text: str) -> list[str]:
    return sorted(str(row.id()).removeprefix("@") for row in graph.read(text).rows())


def _ours(node: Node | str, entities: dict[str, Entity]) -> list[str]:
    return [id for id in sorted(entities) if evaluate(node, entities[id], entities.get)]


def _without_path(term: Any) -> bool:
    return len(term.path.names) == 1


@given(_nodes(_TERMS.filter(_without_path)), _ENTITIES)
def test_single_entities(node: Node, entities: dict[str, Entity]) -> None:
    text = _text(node)

    for entity in entities.values():
        assert evaluate(node, entity) == peer.matches_filter(text, _theirs(entity)), text


def _without_ne_ref(term: Any) -> bool:
    # Their graph looks tags named …Ref up in an index of refs, which has no answer to `!=` (F35).
    return not (
        isinstance(term, Cmp) and term.op is CmpOp.NE and term.path.names[-1].endswith("Ref")
    )


@given(_nodes(_TERMS.filter(_without_ne_ref)), _ENTITIES)
def test_graphs(node: Node, entities: dict[str, Entity]) -> None:
    assert _ours(node, entities) == _read(_graph(entities), _text(node))


# Rule, filter, what we find and what they find among DIFFERING.
DIFFERING: dict[str, Entity] = {
    "a": {
        "id": Ref("a"),
        "list": [Ref("b"), Ref("gone")],
        "dict": {"x": Number(1)},
        "at": dt.datetime(2024, 1, 1, 6, tzinfo=dt.UTC),
        "n": Number(float("nan")),
        "siteRef": Ref("b"),
        "uri": Uri("a"),
        "symbol": Symbol("ahu"),
    },
    "b": {"id": Ref("b"), "site": MARKER, "siteRef": Ref("a")},
}
DIFFERENCES = [
    ("F35", "siteRef != @b", ["b"], []),
    ("F38", "n < 0", ["a"], []),
    ("F42", "siteRef < @b", ["b"], []),
    ("F42", "uri <= `a`", ["a"], []),
    ("F43", "symbol < ^zzz", ["a"], []),
    ("F45", "list == @b", ["a"], []),
    ("F45", "list->site", ["a"], []),
    ("F47", "id == @a", ["a"], []),
    ("F53", "dict->x == 1", ["a"], []),
    ("F54", "at->date", ["a"], []),
    ("F55", "not list->site", ["a", "b"], ["a", "b"]),
]


@pytest.mark.parametrize(("rule", "text", "ours", "theirs"), DIFFERENCES)
def test_known_differences(rule: str, text: str, ours: list[str], theirs: list[str]) -> None:
    assert _ours(text, DIFFERING) == ours
    assert _read(_graph(DIFFERING), text) == theirs


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("F3", "not"),
        ("F8", "a == true"),
        ("F12", "a == 8:30:00.5"),
        ("F13", "a == 2024-01-01T00:00:00Z and b"),
        ("F17", "^site"),
    ],
)
def test_texts_that_only_we_read(rule: str, text: str) -> None:
    assert evaluate(text, {}) is False
    with pytest.raises(peer.FilterError):
        peer.parse_filter(text)
