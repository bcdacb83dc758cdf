"""Hypothesis strategies for small worlds whose tag names collide, and filters that hit in them.

A few names hold a Number here, a Str, a Marker, a list of refs, a nested dict or NA there; some of
the names are those of the stored form (`val`, `unit`, `dis`). Filters take their literals from the
world that they are asked about, so that comparisons find something.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from hsorm.filter import And, Cmp, CmpOp, Has, IsA, IsSpec, Missing, Node, Or, Path
from hsorm.filter.ast import MAX_TERMS, Literal, terms_of
from hsorm.kinds import MARKER, NA, REMOVE, Coord, Entity, Grid, Number, Ref, Symbol, Uri, XStr
from hsorm.zones import city_of, with_zone, zone_of

__all__ = ["IDS", "World", "changes", "filters_of", "worlds"]

World = list[Entity]
"""Entities as they are loaded: each with an `id` of its own, some in the trash."""

IDS: Final = (
    "e0", "e1", "e2", "e3", "E1", "a", "p:demo:r:1.x~y", "-", "_", "~", "B", "0", "e10", "e1-",
    "0.1",
)  # fmt: skip
"""Ids that an entity may have; by code point they are in another order than in most languages."""

# ---- values -------------------------------------------------------------------------------------

_TEXTS: Final = [
    "", "a", "b", "B", "A", "é", "e\u0301", "\uff5e", "😀", "\U00010000", "\uffff", '"', "\\", "$",
    "%", "'", "_", "a%", "a_b", "a'b", 'a"b\\c', "\x01", "\x1f", "\x7f", "\n", " ", "a ", "5",
    "true", "null", "e0", "{}", "[]", '{"_kind":"marker"}', "2024-03-10", "01:30:00",
    "2024-03-10T01:30:00Z", "NaN", "New_York", "GMT", "marker", "num", "str", ":x", "$.a", "%s",
    "ß", "ss", "\x80", "\u2028", "i\u0307",
]  # fmt: skip
_UNITS: Final = ["kW", "°F", "%", "$", "_x/y", "kw", "e5", "xFF", "m³"]
_NUMBERS: Final = [
    0.0, -0.0, 1.0, -1.0, 5.0, 0.1, 0.1 + 0.2, 0.3, 1e300, 5e-324, -5e-324, 2.0**53, 2.0**53 + 2,
    1e12, 1e12 + 1, 1e13, 1e15, 1e16, 1e21, 1e22, 123456789012345680.0, 1.7976931348623157e308,
    -1e22, 1e-7, math.nan, math.inf, -math.inf,
]  # fmt: skip
_SYMBOLS: Final = ["ahu", "hot-water", "lib:ph", "a", "a-b", "b-a", "a:b", "a:b-c", "aB", "a_"]
_DATES: Final = [
    dt.date(2024, 3, 10), dt.date(2024, 11, 3), dt.date(2024, 11, 2), dt.date(1, 1, 1),
    dt.date(9999, 12, 31), dt.date(2023, 12, 31),
]  # fmt: skip
_TIMES: Final = [
    dt.time(0), dt.time(1, 30), dt.time(1, 30, 0, 500_000), dt.time(1, 30, 0, 1), dt.time(1, 30, 1),
    dt.time(23, 59, 59, 999_999), dt.time(12),
]  # fmt: skip
_ZONES: Final = [
    *map(
        zone_of,
        ["UTC", "GMT", "New_York", "Tokyo", "Kathmandu", "GMT+5", "London", "Port-au-Prince"],
    ),
    dt.timezone(dt.timedelta(hours=5, minutes=30)),
    dt.timezone(-dt.timedelta(hours=4)),
    ZoneInfo("America/Argentina/Buenos_Aires"),
]
_INSTANTS: Final = [
    dt.datetime(2024, 11, 3, 5, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 11, 3, 6, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 11, 3, 6, 30, 0, 500_000, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 10, 1, 30, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 10, 1, 30, 0, 1, tzinfo=dt.UTC),
    dt.datetime(2024, 3, 10, 0, 0, tzinfo=dt.UTC),
    dt.datetime(1950, 1, 1, 12, 0, tzinfo=dt.UTC),
    dt.datetime(1901, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC),
    dt.datetime(2099, 12, 30, 23, 59, 59, 999_999, tzinfo=dt.UTC),
]

_texts = st.sampled_from(_TEXTS)
_numbers = st.builds(
    Number, st.sampled_from(_NUMBERS), st.one_of(st.none(), st.none(), st.sampled_from(_UNITS))
)
_few = st.sampled_from([0.0, -0.0, 1.0, 5.0, math.nan, math.nan, math.inf]).map(Number)
_datetimes = st.builds(
    lambda ts, tz: ts.astimezone(tz), st.sampled_from(_INSTANTS), st.sampled_from(_ZONES)
)
_ids = st.sampled_from(IDS)
_refs = st.one_of(_ids.map(Ref), _ids.map(Ref), _ids.map(Ref), st.builds(Ref, _ids, _texts))
_comparable: Final[st.SearchStrategy[Any]] = st.one_of(
    st.booleans(),
    _few,
    _few,
    _numbers,
    _texts,
    _texts.map(Uri),
    _refs,
    st.sampled_from(_SYMBOLS).map(Symbol),
    st.sampled_from(_DATES),
    st.sampled_from(_TIMES),
    _datetimes,
)
_OTHERS: Final[list[Any]] = [
    MARKER, MARKER, NA, Coord(1, 2), XStr("Foo", "a"), XStr("Span", "today"), Grid(),
    Grid.of([{"a": Ref("e0"), "val": Number(1)}]),
]  # fmt: skip
_scalars = st.one_of(st.sampled_from(_OTHERS), _comparable, _comparable)

_VALUE_NAMES: Final = ["a", "b", "c", "n"]
_WALK_NAMES: Final = ["r", "s", "l"]
_ODD_NAMES: Final = [
    "val",
    "unit",
    "dis",
    "tz",
    "date",
    "time",
    "type",
    "cols",
    "or",
    "true",
    "x_0",
]
_LIVE_NAMES: Final = ["curVal", "writeVal"]  # which databases keep apart
_ALL_NAMES: Final = [*_VALUE_NAMES, *_WALK_NAMES, *_ODD_NAMES, *_LIVE_NAMES]
_names = st.one_of(
    st.sampled_from(_VALUE_NAMES), st.sampled_from(_WALK_NAMES), st.sampled_from(_ALL_NAMES)
)


def _nested(leaf: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists and dicts of up to two levels; a dict may look like a kind, or have an `id`."""

    def dicts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
        name = st.one_of(_names, _names, st.just("id"))
        return st.dictionaries(name, inner, max_size=3)

    def lists(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
        return st.lists(st.one_of(_refs, inner), max_size=3)

    shallow = st.one_of(leaf, leaf, lists(leaf), dicts(leaf))
    return st.one_of(lists(leaf), dicts(leaf), lists(shallow), dicts(shallow))


_compounds = _nested(_scalars)
_ref_lists = st.lists(_refs, max_size=4)
_walkable = st.one_of(_refs, _refs, _refs, _ref_lists, _compounds, _datetimes, _scalars)
_any_value = st.one_of(_scalars, _scalars, _scalars, _walkable)


@st.composite
def _tags(draw: st.DrawFn) -> dict[str, Any]:
    tags: dict[str, Any] = {}
    for name in draw(st.lists(st.sampled_from(_VALUE_NAMES), max_size=3)):
        tags[name] = draw(_any_value)
    for name in draw(st.lists(st.sampled_from(_WALK_NAMES), max_size=3)):
        tags[name] = draw(_walkable)
    for name in draw(st.lists(st.sampled_from(_ODD_NAMES), max_size=2)):
        tags[name] = draw(_any_value)
    for name in draw(st.lists(st.sampled_from(_LIVE_NAMES), max_size=1)):
        tags[name] = draw(_walkable)
    if draw(st.integers(0, 7)) == 7:
        tags["trash"] = draw(st.sampled_from([MARKER, MARKER, False, NA, Number(0)]))
    return tags


# Rarely fewer than five; the first are what shrinking tries.
_sizes = st.sampled_from([1, 2, 3, *range(5, 12), *range(5, 12), 15])


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Some 5 to 15 entities, of which refs find most."""
    size = draw(_sizes)
    ids = draw(st.lists(_ids, min_size=size, max_size=size, unique=True))
    return [{"id": Ref(id), **draw(_tags())} for id in ids]


@st.composite
def changes(draw: st.DrawFn) -> Entity:
    """What an update or a load brings for one of the ids; some tags are to go."""
    tags = draw(_tags())
    for name in draw(st.lists(st.sampled_from([*_VALUE_NAMES, *_WALK_NAMES]), max_size=3)):
        tags[name] = REMOVE
    if draw(st.integers(0, 5)) == 5:
        tags["trash"] = REMOVE
    return {"id": Ref(draw(_ids)), **tags}


# ---- filters ------------------------------------------------------------------------------------

_ONLY_LITERALS: Final[list[Any]] = [
    "\0", "a\0", "a\0b", "b\0", Uri("a\0b"), Number(math.nextafter(0.1, 1)), Number(2.0**53 + 1),
    Number(math.nextafter(5, 0)), Number(1e12 + 0.5), Ref("gone"), Ref("e"), Ref("z"), Ref("~~"),
    dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC),
    dt.time(1, 30, 0, 499_999), "UTC", "Tokyo", "Buenos_Aires", Symbol("zzz"), Symbol("z-z"),
    Number(5, "😀"), Number(0, "/h"),
]  # fmt: skip


_MOST_STEPS: Final = 4
_MOST_PLACES: Final = 600

_Place: TypeAlias = tuple[tuple[str, ...], Any]
"""Names that lead from an entity to a value, and that value."""


def _places_in(world: Sequence[Mapping[str, Any]]) -> list[list[_Place]]:
    """Return what paths lead to in a world, by its kind, the shortest paths first.

    By kind, for else most places were ids and refs.
    """
    by_id = {entity["id"].val: entity for entity in world}
    found: list[_Place] = []
    level: list[_Place] = [((), entity) for entity in world]
    for _ in range(_MOST_STEPS):
        level = [
            ((*names, name), val) for names, at in level for name, val in _inside(at, by_id).items()
        ][:_MOST_PLACES]
        found += level
    by_kind: dict[type, list[_Place]] = {}
    for names, val in found[:_MOST_PLACES]:
        if _near(val):
            by_kind.setdefault(type(val), []).append((names, val))
    return list(by_kind.values())


def _inside(value: Any, by_id: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    match value:
        case Ref(id):
            return by_id.get(id, {})
        case dt.datetime():
            return {"date": value.date(), "time": value.time(), "tz": city_of(with_zone(value))}
        case list():
            inner = [_inside(item, by_id) for item in value if type(item) is Ref]
            return {name: val for tags in inner for name, val in tags.items()}
    return value if isinstance(value, Mapping) else {}


def _near(value: Any) -> list[Literal]:  # noqa: C901 - a table of the kinds
    """Return literals of a value's kind: what equals it, nearly does, or is to be ordered with."""
    match value:
        case bool():
            return [True, False]
        case Number(val, unit):
            numbers = [0.0, 1.0, 5.0, math.inf, -math.inf, math.nextafter(5, 0)]
            own = [] if math.isnan(val) else [value, Number(val), Number(math.nextafter(val, 9))]
            return [*own, *map(Number, numbers), Number(1, unit), Number(0, unit)]
        case str():
            return [value, f"{value}\0", f"{value}\0a", f"{value}a", value[:-1], value.upper(), "b"]
        case Uri(text):
            return [value, Uri(f"{text}\0"), Uri(f"{text}a"), Uri(text[:-1]), Uri("b")]
        case Ref():
            return [Ref(value.val), *map(Ref, IDS[::3]), Ref("gone")]
        case Symbol():
            return [value, *map(Symbol, _SYMBOLS), Symbol("zzz"), Symbol("z-z"), Symbol("z:z")]
        case dt.datetime():
            moved = [dt.timedelta(microseconds=us) for us in (1, -1, 500_000)]
            return [value, value.astimezone(dt.UTC), *(value + by for by in moved), *_INSTANTS]
        case dt.date():
            return [value, *_DATES]
        case dt.time():
            return [value, *_TIMES, dt.time(1, 30, 0, 499_999)]
        case list():
            return [literal for item in value for literal in _near(item)]
    return []


_path_names = st.sampled_from([*_ALL_NAMES, *_ODD_NAMES, "id", "date", "time", "tz"])
_steps = st.sampled_from([*_WALK_NAMES * 6, *_LIVE_NAMES, *_ALL_NAMES, "id", "id"])
_ends = st.sampled_from(
    [
        *_VALUE_NAMES * 4,
        *_LIVE_NAMES,
        *_ALL_NAMES,
        *_ODD_NAMES,
        *_WALK_NAMES,
        "id",
        "trash",
        "mod",
        "nowhere",
    ]
)
_lengths = st.sampled_from([*[0] * 8, *[1] * 6, *[2] * 3, 3, 4])
_ops = st.sampled_from([*CmpOp, CmpOp.EQ, CmpOp.NE])
_only_literals = st.one_of(st.sampled_from(_ONLY_LITERALS), _comparable).filter(
    lambda val: not (type(val) is Number and math.isnan(val.val))
)
_others: Final[st.SearchStrategy[Node]] = st.sampled_from(
    [
        *map(IsA, map(Symbol, ["a", "a-b", "r-a", "b-a-r", "a:b", "l", "trash", "id"])),
        *map(IsA, map(Symbol, ["curVal", "a-curVal", "curVal-writeVal", "writeVal-r", "mod-id"])),
        IsSpec("Site"),
        IsSpec("ph::Site"),
    ]
)
_tenths = st.integers(0, 9)
# A statement of six levels takes a hundred times as long to write as one of a single term.
_depths = st.sampled_from([*[1] * 24, *[2] * 6, 3, 4, 6])
_widths = st.sampled_from([2, 2, 2, 3])

# Functions, not strategies made of strategies: one is made for every world, and that costs.


def _path(draw: st.DrawFn) -> Path:
    # `mod` only as the end: its parts are those of the clock.
    return Path((*(draw(_steps) for _ in range(draw(_lengths))), draw(_ends)))


def _comparison(draw: st.DrawFn, places: Sequence[list[_Place]]) -> Node:
    op, choice = draw(_ops), draw(_tenths)
    some = places[draw(st.integers(0, len(places) - 1))]
    names, value = some[draw(st.integers(0, len(some) - 1))]
    near = _near(value)
    val = draw(_only_literals) if choice > 8 else draw(st.sampled_from(near))
    # Mostly where the value is, so that an order by the wrong rule has something to be wrong about.
    return Cmp(Path(names) if choice < 7 else _path(draw), op, val)


def _term(draw: st.DrawFn, places: Sequence[list[_Place]]) -> Node:
    choice = draw(st.integers(0, 19))
    if choice < 4:
        return Has(_path(draw))
    if choice < 8:
        return Missing(_path(draw))
    return draw(_others) if choice == 19 else _comparison(draw, places)


def _node(draw: st.DrawFn, places: Sequence[list[_Place]], depth: int) -> Node:
    if depth == 1 or (depth < 6 and draw(_tenths) < 5):
        return _term(draw, places)
    terms = [_node(draw, places, depth - 1) for _ in range(draw(_widths))]
    if draw(_tenths) > 6:
        terms[-1] = terms[0]  # a term that stands twice
    if sum(map(terms_of, terms)) > MAX_TERMS:
        return terms[0]
    return And(tuple(terms)) if draw(st.booleans()) else Or(tuple(terms))


def _again(draw: st.DrawFn, node: Node) -> Node:
    """Return the same filter with other literals, mostly of the same kinds.

    What a storage remembers of the one, it may use for the other.
    """
    match node:
        case And(terms) | Or(terms):
            return type(node)(tuple(_again(draw, term) for term in terms))
        case Cmp(path, op, val):
            return Cmp(path, op, draw(st.sampled_from([val, *_near(val)])))
    return node


@st.composite
def filters_of(draw: st.DrawFn, world: Sequence[Mapping[str, Any]], most: int) -> list[Node]:
    """Filters of the whole grammar, up to six levels deep, about one world."""
    places = _places_in(world)
    filters = [_node(draw, places, draw(_depths)) for _ in range(draw(st.integers(1, most // 2)))]
    # Each right behind the one that it is like.
    return [like for node in filters for like in (node, _again(draw, node))]
