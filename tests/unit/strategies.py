"""Hypothesis strategies for every kind, shared by all tests.

`storable=True` leaves out what no backend stores: REMOVE, null in a list, U+0000 in a text. Each is
made once: one that is made while another draws takes longer than what it draws.
"""

from __future__ import annotations

import datetime as dt
import string
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import strategies as st

from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Entity,
    Grid,
    GridCol,
    Number,
    Ref,
    Symbol,
    Uri,
    XStr,
)

_ZONES = sorted(available_timezones() - {"localtime"})
_UNITS = [
    "°F", "°C", "kW", "kWh", "%", "ft²", "m³/h", "cfm", "inH₂O", "$", "_custom/unit", "%RH", "ΔK",
    "e", "E", "xFF", "gal/min", "kW/ft2",
]  # fmt: skip
_NAMES = [
    "site", "dis", "name", "mod", "def", "ver", "area", "siteRef", "a", "b", "x1", "m", "n", "_0",
    "_x", "__c3a9", "src", "aB_9", "e", "true", "not",
]  # fmt: skip
_TRICKY = [
    "", " ", "true", "T", "F", "M", "N", "NA", "R", "NaN", "INF", "-INF", "Zinc", "Zinc:", "Trio:",
    "[", "5", "-5 kW", "2024-01-01", "8:30", "@a", "^a", "//", "---", "C(1,2)", 'X("y")', "a:b",
    "r:abc", "m:", '"', '"""', "\\", "$x", "`", "`u`", "a\nb", " a\nb", "\na", "a\n", "a\n\nb",
    "  a\n    b", "\t\n x", "a \nb", "\r\n", "\x85\u2028", "😀", "é)", ">>", "<<", ",", "\x7f",
]  # fmt: skip


@cache
def texts(*, storable: bool = False) -> st.SearchStrategy[str]:
    """Strings: any characters, and those that a format might take for something else."""
    blocked = "\0" if storable else ""
    free = st.text(st.characters(codec="utf-8", exclude_characters=blocked), max_size=12)
    tricky = st.sampled_from(_TRICKY)
    return st.one_of(tricky, tricky, free, st.text(string.printable, max_size=8))


@cache
def ref_ids() -> st.SearchStrategy[str]:
    """Ids of Refs (K20)."""
    return st.text(string.ascii_letters + string.digits + "_:-.~", min_size=1, max_size=6)


@cache
def tag_names() -> st.SearchStrategy[str]:
    """Names of tags (K25), none of them `id`."""
    free = st.from_regex(r"\A[a-z][A-Za-z0-9_]{0,5}\Z").filter(lambda name: name != "id")
    return st.one_of(st.sampled_from(_NAMES), st.sampled_from(_NAMES), free)


@cache
def numbers() -> st.SearchStrategy[Number]:
    """Numbers with and without units; NaN and the infinities have none (they lose it)."""
    units = st.one_of(st.none(), st.sampled_from(_UNITS))
    vals = st.one_of(
        st.integers(-(10**15), 10**15).map(float),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([0.0, -0.0, 1e12, 1e12 + 1, 1e-7, 5e-324, 0.1, 1e22]),
    )
    special = st.sampled_from([float("inf"), float("-inf"), float("nan")]).map(Number)
    return st.one_of(st.builds(Number, vals, units), special)


@cache
def refs(*, storable: bool = False) -> st.SearchStrategy[Ref]:
    """Refs with and without a display text."""
    return st.builds(Ref, ref_ids(), st.one_of(st.none(), texts(storable=storable)))


@cache
def symbols() -> st.SearchStrategy[Symbol]:
    """Symbols of all three forms (K22)."""
    part = r"[a-z][A-Za-z0-9_]{0,4}"
    return st.from_regex(rf"\A(?:{part}|{part}-{part}|{part}:{part})\Z").map(Symbol)


@cache
def coords() -> st.SearchStrategy[Coord]:
    """Places on earth (K24)."""
    return st.builds(Coord, st.floats(-90, 90), st.floats(-180, 180))


@cache
def datetimes() -> st.SearchStrategy[dt.datetime]:
    """Aware datetimes in every zone there is, so repeated hours and odd offsets are among them."""
    instants = st.datetimes(
        dt.datetime(1901, 1, 2),  # noqa: DTZ001 - the strategy adds the zone
        dt.datetime(2099, 12, 30),  # noqa: DTZ001
        timezones=st.just(dt.UTC),
    )
    offsets = st.integers(-14 * 60, 14 * 60).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
    zones = st.one_of(st.sampled_from(_ZONES).map(ZoneInfo), st.just(dt.UTC), offsets)
    # The night of 2024-11-03 has an hour twice in North America.
    folded = st.integers(0, 7 * 3600).map(
        lambda s: dt.datetime(2024, 11, 3, 4, tzinfo=dt.UTC) + dt.timedelta(seconds=s)
    )
    north = st.sampled_from(["America/New_York", "America/Denver"]).map(ZoneInfo)
    return st.one_of(
        st.builds(lambda ts, tz: ts.astimezone(tz), instants, zones),
        st.builds(lambda ts, tz: ts.astimezone(tz), folded, north),
    )


@cache
def scalars(*, storable: bool = False) -> st.SearchStrategy[Any]:
    """Every kind but lists, dicts and grids."""
    text = texts(storable=storable)
    types = st.from_regex(r"\A[A-Z][A-Za-z0-9_]{0,6}\Z")
    single = [MARKER, NA] if storable else [MARKER, NA, REMOVE]
    return st.one_of(
        st.sampled_from(single),
        st.booleans(),
        numbers(),
        text,
        text.map(Uri),
        refs(storable=storable),
        symbols(),
        st.dates(),
        st.times(),
        datetimes(),
        coords(),
        st.builds(XStr, types, text),
    )


def _dicts(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(tag_names(), values, max_size=3)


def _grids(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Grid]:
    metas = _dicts(values).map(lambda tags: {n: v for n, v in tags.items() if n != "ver"})
    return _grid(metas, values)


@st.composite
def _grid(
    draw: st.DrawFn, metas: st.SearchStrategy[dict[str, Any]], values: st.SearchStrategy[Any]
) -> Grid:
    names = draw(_COLUMNS)
    cols = tuple(GridCol(name, draw(metas)) for name in names)
    rows = tuple(
        {name: draw(values) for name in names if draw(_COINS)}
        for _ in range(draw(_FEW) if names else 0)
    )
    return Grid(draw(metas), cols, rows)


_COLUMNS = st.lists(tag_names(), unique=True, max_size=3)
_COINS = st.booleans()
_FEW = st.integers(0, 2)


@cache
def kinds(*, storable: bool = False, leaves: int = 6) -> st.SearchStrategy[Any]:
    """Values of every kind, nested ones among them."""
    return st.recursive(
        scalars(storable=storable),
        lambda values: st.one_of(
            st.lists(values if storable else st.one_of(values, st.none()), max_size=4),
            _dicts(values),
            _grids(values),
        ),
        max_leaves=leaves,
    )


@cache
def grids() -> st.SearchStrategy[Grid]:
    """Grids with meta, column meta, absent cells and cells of every kind."""
    return _grids(kinds(leaves=2))


@cache
def entities(*, storable: bool = False) -> st.SearchStrategy[Entity]:
    """Entities: an `id` and tags of every kind."""
    tags = st.dictionaries(tag_names(), kinds(storable=storable, leaves=3), max_size=5)
    return st.builds(lambda id, rest: {"id": Ref(id), **rest}, ref_ids(), tags)
