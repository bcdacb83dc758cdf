"""Hypothesis strategies for filters: every tree that a filter text can say.

Each is made once: one that is made while another draws takes longer than what it draws.
"""

from __future__ import annotations

import datetime as dt
import math
import string
from functools import cache

from hypothesis import strategies as st

from hsorm.filter.ast import (
    UNIT,
    And,
    Cmp,
    CmpOp,
    Has,
    IsA,
    IsSpec,
    Literal,
    Missing,
    Node,
    Or,
    Path,
)
from hsorm.kinds import Number, Ref, Symbol, Uri
from hsorm.zones import zone_of

_WORDS = ["a", "b", "site", "siteRef", "equipRef", "_0", "_x", "__c3", "T", "e5", "x9"]
_RESERVED = ["and", "or", "not", "true", "false"]
_ZONES = ["New_York", "Tokyo", "UTC", "GMT", "London", "Amsterdam", "GMT+5", "Port-au-Prince",
          "US/Eastern", "Kathmandu"]  # fmt: skip


@cache
def names() -> st.SearchStrategy[str]:
    """Tag names as they may stand after `->`, words of the grammar among them."""
    free = st.from_regex(r"\A(?:[A-Za-z][A-Za-z0-9_]{0,4}|_[A-Za-z0-9_]{1,3})\Z")
    return st.one_of(st.sampled_from(_WORDS), st.sampled_from(_RESERVED), free)


@cache
def paths(*, first: st.SearchStrategy[str] | None = None) -> st.SearchStrategy[Path]:
    """Paths of one to four names; the first one is no spec's."""
    head = names().filter(lambda name: not name[0].isupper()) if first is None else first
    none: list[str] = []
    tail = st.one_of(st.just(none), st.lists(names(), max_size=3))
    return st.builds(lambda name, rest: Path((name, *rest)), head, tail)


@cache
def units() -> st.SearchStrategy[str]:
    """Units that a filter can write, those that look like something else among them."""
    tricky = [
        "kW", "°F", "%", "$", "/h", "_foo", "__5", "e", "E", "e5", "E5", "xFF", "x", "m³_gas",
        "and", "_a/b", "kWe3", "Z", "T00",
    ]  # fmt: skip
    free = st.text(
        st.sampled_from(string.ascii_letters + "0123456789%$/_°²Ω€"), min_size=1, max_size=5
    )
    return st.one_of(st.sampled_from(tricky), free.filter(lambda u: UNIT.fullmatch(u) is not None))


@cache
def numbers() -> st.SearchStrategy[Number]:
    """Every Number that a filter can write: all but NaN."""
    vals = st.one_of(
        st.floats(allow_nan=False),
        st.integers(-1000, 1000).map(float),
        st.sampled_from([math.inf, -math.inf, 0.0, -0.0, 1e12, 1e13, 1e-7, 5e-324]),
    )
    return st.builds(Number, vals, st.one_of(st.none(), units()))


@cache
def strings() -> st.SearchStrategy[str]:
    """Texts, with what needs an escape among them."""
    tricky = st.text(st.sampled_from("\"\\`$'\n\r\t\b\f\0u{}:/?#[]@&=; \x7f\u2028😀"), max_size=8)
    return st.one_of(tricky, st.text(max_size=10))


@cache
def datetimes() -> st.SearchStrategy[dt.datetime]:
    """Aware datetimes: named zones, fixed offsets, the hour that New York has twice."""
    fixed = st.integers(-1439, 1439).map(lambda m: dt.timezone(dt.timedelta(minutes=m)))
    zones = st.one_of(st.sampled_from(_ZONES).map(zone_of), st.just(dt.UTC), fixed)
    instants = st.one_of(
        st.datetimes(dt.datetime(1, 1, 3), dt.datetime(9999, 12, 29), timezones=st.just(dt.UTC)),  # noqa: DTZ001
        st.integers(0, 7200).map(
            lambda s: dt.datetime(2024, 11, 3, 5, tzinfo=dt.UTC) + dt.timedelta(seconds=s)
        ),
    )
    return st.builds(lambda ts, tz: ts.astimezone(tz), instants, zones)


@cache
def ref_ids() -> st.SearchStrategy[str]:
    """Ids of Refs (K20)."""
    return st.text(string.ascii_letters + string.digits + "_:-.~", min_size=1, max_size=6)


@cache
def symbols() -> st.SearchStrategy[Symbol]:
    """Symbols of all three forms (K22)."""
    part = r"[a-z][A-Za-z0-9_]{0,4}"
    return st.from_regex(rf"\A(?:{part}|{part}-{part}|{part}:{part})\Z").map(Symbol)


@cache
def literals() -> st.SearchStrategy[Literal]:
    """Everything that may stand to the right of an operator."""
    return st.one_of(
        st.booleans(),
        numbers(),
        strings(),
        ref_ids().map(Ref),
        strings().map(Uri),
        symbols(),
        st.dates(),
        st.times(),
        datetimes(),
    )


@cache
def specs() -> st.SearchStrategy[str]:
    """Spec names, with and without a library."""
    name = st.from_regex(r"\A[A-Z][A-Za-z0-9_]{0,3}\Z")
    first = names().filter(lambda name: not name[0].isupper())
    lib = st.builds(
        lambda head, tail: ".".join([head, *tail]), first, st.lists(names(), max_size=2)
    )
    return st.one_of(name, st.builds("{}::{}".format, lib, name))


@cache
def terms() -> st.SearchStrategy[Node]:
    """Single terms."""
    return st.one_of(
        st.builds(Has, paths()),
        st.builds(Missing, paths(first=names())),
        st.builds(Cmp, paths(), st.sampled_from(CmpOp), literals()),
        st.builds(IsA, symbols()),
        st.builds(IsSpec, specs()),
    )


@cache
def nodes(*, leaves: int = 12) -> st.SearchStrategy[Node]:
    """Whole filters, nested in any way."""

    def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        several = st.lists(inner, min_size=2, max_size=4).map(tuple)
        return st.one_of(st.builds(And, several), st.builds(Or, several))

    return st.recursive(terms(), grow, max_leaves=leaves)
