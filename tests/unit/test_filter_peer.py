"""The evaluator against an independent one: rusty-haystack, an in-memory graph in Rust.

Where the two differ on purpose, the filter is left out of the comparison below and the difference
is shown by a test of its own, named by the rule that decides.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsorm.errors import FilterSyntaxError
from hsorm.filter import And, Cmp, CmpOp, Has, Missing, Node, Or, Path, evaluate, print_filter
from hsorm.kinds import MARKER, NA, Coord, Entity, Number, Ref, Symbol, Uri, XStr

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
    st.builds(
        Number, st.sampled_from([math.inf, -math.inf, 0.0, -0.0, 1e300, 5e-324, 1e22, 2.0**53])
    ),
    # The same instants in several zones (K4).
    st.builds(
        lambda hour, tz: dt.datetime(2024, 1, 1, hour, tzinfo=dt.UTC).astimezone(tz),
        st.integers(0, 3),
        st.sampled_from([dt.UTC, ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")]),
    ),
)
_LITERALS = st.one_of(
    _ORDERED, _REFS, st.sampled_from([Uri("x"), Uri("y"), Symbol("ahu"), Symbol("hot-water")])
)
_VALUES = st.one_of(_LITERALS, st.sampled_from([MARKER, NA, True, False]))
# Lists without Refs, and dicts that no path leads through: the others differ (F45, F53, F55).
_CLOSED = st.one_of(
    _VALUES,
    st.lists(_VALUES.filter(lambda val: type(val) is not Ref), max_size=2),
    st.dictionaries(st.sampled_from(["m", "x"]), _VALUES, max_size=2),
    st.sampled_from([Coord(1, 2), XStr("Foo", "a")]),
)
_RECORDS = st.dictionaries(st.sampled_from(_NAMES), _CLOSED, max_size=6)
_ENTITIES = st.fixed_dictionaries(
    {id: st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=5) for id in _IDS}
).map(lambda tags: {id: {"id": Ref(id), **rest} for id, rest in tags.items()})

_PATHS = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3).map(tuple).map(Path)
_NAMED = st.sampled_from(_NAMES).map(lambda name: Path((name,)))
_EQUALITY = st.sampled_from([CmpOp.EQ, CmpOp.NE])
_ANY_OP = st.sampled_from(CmpOp)


def _terms(paths: st.SearchStrategy[Path]) -> st.SearchStrategy[Node]:
    return st.one_of(
        st.builds(Has, paths),
        st.builds(Missing, paths),
        st.builds(Cmp, paths, _ANY_OP, _ORDERED),
        # Orderings of Ref, Uri and Symbol differ (F42, F43).
        st.builds(Cmp, paths, _EQUALITY, _LITERALS),
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
        case Coord(lat, lng):
            return peer.Coord(lat, lng)
        case XStr(type, text):
            return peer.XStr(type, text)
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


def _without_equal_instants(term: Any) -> bool:
    # To them one instant in two zones is two values (K4).
    is_equality = isinstance(term, Cmp) and term.op in (CmpOp.EQ, CmpOp.NE)
    return not (is_equality and isinstance(term.val, dt.datetime))


# Some six filters of four records each, so that there are 2,000 cases of either test and more.
_MANY = settings(max_examples=max(100, settings().max_examples))


def _filters(terms: st.SearchStrategy[Node]) -> st.SearchStrategy[list[Node]]:
    return st.lists(_nodes(terms), min_size=4, max_size=8)


@_MANY
@given(
    _filters(_terms(_NAMED).filter(_without_equal_instants)),
    st.lists(_RECORDS, min_size=3, max_size=5),
)
def test_single_entities(filters: list[Node], records: list[Entity]) -> None:
    for node in filters:
        text = _text(node)
        for record in records:
            assert evaluate(node, record) == peer.matches_filter(text, _theirs(record)), text


def _without_their_indexes(term: Any) -> bool:
    # Their graph looks tags named …Ref up in an index of refs, which has no answer to `!=` (F35)
    # nor to a literal of another kind (F34).
    if isinstance(term, Cmp) and term.path.names[-1].endswith("Ref"):
        return term.op is not CmpOp.NE and type(term.val) is Ref
    return _without_equal_instants(term)


@_MANY
@given(_filters(_terms(_PATHS).filter(_without_their_indexes)), _ENTITIES)
def test_graphs(filters: list[Node], entities: dict[str, Entity]) -> None:
    graph = _graph(entities)
    for node in filters:
        assert _ours(node, entities) == _read(graph, _text(node)), print_filter(node)


# Rule, filter, what we find and what they find among DIFFERING.
DIFFERING: dict[str, Entity] = {
    "a": {
        "id": Ref("a"),
        "list": [Ref("b"), Ref("gone")],
        "dict": {"x": Number(1), "own": Ref("b")},
        "at": dt.datetime(2024, 1, 1, 6, tzinfo=dt.UTC),
        "n": Number(math.nan),
        "siteRef": Ref("b"),
        "uri": Uri("a"),
        "symbol": Symbol("ahu"),
    },
    "b": {
        "id": Ref("b"),
        "site": MARKER,
        "siteRef": Ref("a"),
        "hex": Number(255),
        "equipRef": dt.time(8, 30),
        "custom": Number(5, "_x"),
        "list": [],
    },
}
DIFFERENCES = [
    ("K4", "at == 2024-01-01T01:00:00-05:00 New_York", ["a"], []),
    ("K4", "at != 2024-01-01T01:00:00-05:00 New_York", [], ["a"]),
    ("F9", "custom == 5_x", ["b"], []),
    ("F10", "hex == 0xFF", ["b"], []),
    ("F34", "equipRef == 08:30:00", ["b"], []),
    ("F35", "siteRef != @b", ["b"], []),
    ("F38", "n < 0", ["a"], []),
    ("F38", "n <= -1e999", ["a"], []),
    ("F42", "siteRef < @b", ["b"], []),
    ("F42", "uri <= `a`", ["a"], []),
    ("F43", "symbol < ^zzz", ["a"], []),
    ("F45", "list == @b", ["a"], []),
    ("F45", "list < @c", ["a"], []),
    ("F45", "list->site", ["a"], []),
    ("F47", "id == @a", ["a"], []),
    ("F53", "dict->x == 1", ["a"], []),
    ("F53", "dict->own->site", ["a"], []),
    ("F53", "not dict->x", ["b"], ["a", "b"]),
    ("F54", "at->date", ["a"], []),
    ("F54", 'at->tz == "UTC"', ["a"], []),
    ("F55", "not list->siteRef", ["a"], ["a", "b"]),
    ("F55", "not list->site", ["a"], ["a", "b"]),
]


@pytest.mark.parametrize(("rule", "text", "ours", "theirs"), DIFFERENCES)
def test_known_differences(rule: str, text: str, ours: list[str], theirs: list[str]) -> None:
    assert _ours(text, DIFFERING) == ours
    assert _read(_graph(DIFFERING), text) == theirs


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("F1", "a\u00a0and b"),
        ("F2", "a // all of them"),
        ("F2", "a /* all /* of */ them */"),
        ("F3", "not"),
        ("F4, OC 6", "(" * 100 + "a" + ")" * 100),
        ("F8", "a == true"),
        ("F9", "a == 5e"),
        ("F12", "a == 8:30"),
        ("F12", "a == 8:30:00.5"),
        ("F13", "a == 2024-01-01T00:00:00Z and b"),
        ("F14", 'a == """say "x" to"""'),
        ("F17", "^site"),
        ("F61", "^hot-water"),
    ],
)
def test_texts_that_only_we_read(rule: str, text: str) -> None:
    assert evaluate(text, {}) is False
    with pytest.raises(peer.FilterError):
        peer.parse_filter(text)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("F8", "a == NA"),
        ("F8", "a == NaN"),
        ("F8", "a == INF"),
        ("F8", "a == M"),
        ("F13", "a == 2024-01-01T00:00:00-05:00"),
        ("F16", 'a == @b "Name"'),
    ],
)
def test_texts_that_only_they_read(rule: str, text: str) -> None:
    peer.parse_filter(text)
    with pytest.raises(FilterSyntaxError):
        evaluate(text, {})
