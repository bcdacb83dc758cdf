"""Hayson: every kind both ways, the forms of section 1.1, errors with their place."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsorm.codecs import hayson, zinc
from hsorm.errors import CodecError
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
    equal,
)
from tests.unit.strategies import entities, grids, kinds


@given(kinds())
def test_every_kind_comes_back(value: Any) -> None:
    assert equal(hayson.loads(hayson.dumps(value)), value)


@given(kinds())
def test_encoded_kinds_are_plain_json(value: Any) -> None:
    assert equal(hayson.decode(json.loads(json.dumps(hayson.encode(value)))), value)


@given(grids())
def test_a_grid_comes_back_with_its_meta(grid: Grid) -> None:
    assert hayson.loads(hayson.dumps(grid, indent=2).encode()) == grid


@given(entities())
def test_an_entity_comes_back_from_its_stored_text(entity: Entity) -> None:
    assert equal(hayson.decode_entity(hayson.encode_entity(entity)), entity)


def test_what_equality_leaves_out_comes_back_too() -> None:
    """K3, K4: dis and zone take no part in equality, but are not lost."""
    ts = dt.datetime(2024, 11, 3, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York"))

    ref, back = hayson.loads(hayson.dumps([Ref("a", "A"), ts]))

    assert ref.dis == "A"
    assert (back.tzinfo, back.fold, back.replace(tzinfo=None)) == (
        ts.tzinfo,
        1,
        dt.datetime(2024, 11, 3, 1, 30),  # noqa: DTZ001 - the wall clock
    )


FORMS: list[tuple[Any, Any]] = [
    (MARKER, {"_kind": "marker"}),
    (REMOVE, {"_kind": "remove"}),
    (NA, {"_kind": "na"}),
    (True, True),
    (Number(12), 12),
    (Number(12.5), 12.5),
    (Number(12, "kW"), {"_kind": "number", "val": 12, "unit": "kW"}),
    (Number(math.inf), {"_kind": "number", "val": "INF"}),
    (Number(-math.inf, "kW"), {"_kind": "number", "val": "-INF"}),
    (Number(math.nan), {"_kind": "number", "val": "NaN"}),
    (Number(-0.0), 0),
    (5, 5),
    (5.5, 5.5),
    ("x", "x"),
    (Uri("u"), {"_kind": "uri", "val": "u"}),
    (Ref("a"), {"_kind": "ref", "val": "a"}),
    (Ref("a", "A"), {"_kind": "ref", "val": "a", "dis": "A"}),
    (Symbol("hot-water"), {"_kind": "symbol", "val": "hot-water"}),
    (dt.date(2024, 3, 10), {"_kind": "date", "val": "2024-03-10"}),
    (dt.date(1, 2, 3), {"_kind": "date", "val": "0001-02-03"}),
    (dt.time(13, 5), {"_kind": "time", "val": "13:05:00"}),
    (dt.time(13, 5, 0, 1000), {"_kind": "time", "val": "13:05:00.001"}),
    (dt.time(13, 5, 0, 1), {"_kind": "time", "val": "13:05:00.000001"}),
    (
        dt.datetime(2024, 3, 10, 1, tzinfo=ZoneInfo("America/New_York")),
        {"_kind": "dateTime", "val": "2024-03-10T01:00:00-05:00", "tz": "New_York"},
    ),
    (
        dt.datetime(2024, 3, 10, tzinfo=dt.UTC),
        {"_kind": "dateTime", "val": "2024-03-10T00:00:00Z", "tz": "UTC"},
    ),
    (
        dt.datetime(2024, 3, 10, tzinfo=ZoneInfo("GMT")),
        {"_kind": "dateTime", "val": "2024-03-10T00:00:00Z"},
    ),
    (Coord(37.5, -77.4), {"_kind": "coord", "lat": 37.5, "lng": -77.4}),
    (XStr("Span", "today"), {"_kind": "xstr", "type": "Span", "val": "today"}),
    ([1, None, "a"], [1, None, "a"]),
    ((1,), [1]),
    ({"a": MARKER, "b": None}, {"a": {"_kind": "marker"}}),
    (
        Grid({"a": MARKER}, (GridCol("id"), GridCol("x", {"y": Number(1)})), ({"id": Ref("a")},)),
        {
            "_kind": "grid",
            "meta": {"ver": "3.0", "a": {"_kind": "marker"}},
            "cols": [{"name": "id"}, {"name": "x", "meta": {"y": 1}}],
            "rows": [{"id": {"_kind": "ref", "val": "a"}}],
        },
    ),
]


@pytest.mark.parametrize(("value", "raw"), FORMS)
def test_written_form(value: Any, raw: Any) -> None:
    """1.1."""
    assert hayson.encode(value) == raw


READ: list[tuple[Any, Any]] = [
    ({"_kind": "number", "val": "5.5", "unit": "kW"}, Number(5.5, "kW")),
    ({"_kind": "number", "val": 5}, Number(5)),
    ({"_kind": "dict", "a": 1}, {"a": Number(1)}),
    ({"a": None, "b": {"c": None}}, {"b": {}}),
    ({"_kind": "grid", "meta": {"ver": "2.0"}}, Grid()),
    ({"_kind": "time", "val": "13:05:00.123456789"}, dt.time(13, 5, 0, 123456)),
    (
        {"_kind": "dateTime", "val": "2024-03-10T06:00:00Z"},
        dt.datetime(2024, 3, 10, 6, tzinfo=dt.UTC),
    ),
    (
        {"_kind": "dateTime", "val": "2024-03-10T06:00:00+01:00", "tz": "New_York"},
        dt.datetime(2024, 3, 10, 5, tzinfo=dt.UTC),
    ),
    (10**400, Number(math.inf)),
]


@pytest.mark.parametrize(("raw", "value"), READ)
def test_read_form(raw: Any, value: Any) -> None:
    assert equal(hayson.decode(raw), value)


BAD: list[tuple[Any, str]] = [
    ({"_kind": "what"}, "unknown _kind 'what'"),
    ({"_kind": 5}, "unknown _kind 5"),
    ({"_kind": "ref"}, "ref without 'val'"),
    ({"_kind": "ref", "dis": "A"}, "ref without 'val'"),
    ({"_kind": "ref", "val": "a b"}, "no ref id"),
    ({"_kind": "ref", "val": ""}, "no ref id"),
    ({"_kind": "ref", "val": 5}, "no string"),
    ({"_kind": "ref", "val": []}, "no string"),
    ({"_kind": "ref", "x": 5}, "ref without 'val'"),
    ({"_kind": "ref", "val": "a", "dis": 5}, "no string"),
    ({"_kind": "number", "val": "abc"}, "bad number"),
    ({"_kind": "number", "val": None}, "bad number"),
    ({"_kind": "number", "val": True}, "bad number"),
    ({"_kind": "number", "val": 1, "unit": 5}, "no string"),
    ({"_kind": "date", "val": "2024-02-30"}, "bad date"),
    ({"_kind": "date", "val": "20240210"}, "bad date"),
    ({"_kind": "time", "val": "8:30"}, "bad time"),
    ({"_kind": "time", "val": "24:00:00"}, "bad time"),
    ({"_kind": "dateTime", "val": "2024-03-10T01:00:00"}, "bad dateTime"),
    ({"_kind": "dateTime", "val": "2024-03-10T01:00:00Z", "tz": "Nowhere"}, "unknown time zone"),
    ({"_kind": "dateTime", "val": "0001-01-01T00:00:00+05:00", "tz": "UTC"}, "beyond the years"),
    ({"_kind": "coord", "lat": 91, "lng": 0}, "no place"),
    ({"_kind": "coord", "lat": "1", "lng": 0}, "bad coord"),
    ({"_kind": "coord", "lat": 1}, "coord without 'lng'"),
    ({"_kind": "xstr", "type": "color", "val": "x"}, "bad xstr"),
    ({"_kind": "symbol", "val": "Foo"}, "bad symbol"),
    ({"_kind": "grid", "meta": {"ver": "4.0"}}, "version '4.0'"),
    ({"_kind": "grid", "rows": 5}, "grid whose"),
    ({"_kind": "grid", "rows": {"a": 1}}, "grid whose"),
    ({"_kind": "grid", "cols": [{"name": 5}]}, "a column that"),
    ({"_kind": "grid", "cols": [{"name": "a", "meta": [1]}]}, "a column that"),
    ({"_kind": "grid", "meta": [1]}, "grid whose"),
    ({"_kind": "grid", "rows": [1]}, "no object"),
]


@pytest.mark.parametrize(("raw", "reason"), BAD)
def test_bad_json_is_an_error(raw: Any, reason: str) -> None:
    for value in (raw, [raw], {"a": raw}):
        with pytest.raises(CodecError, match=reason):
            hayson.decode(value)


def test_an_error_in_a_row_names_row_and_entity() -> None:
    rows = [{"id": {"_kind": "ref", "val": "a"}, "x": {"_kind": "date", "val": "x"}}]
    with pytest.raises(CodecError, match=r"rows\[0\].*bad date.*@a"):
        hayson.decode({"_kind": "grid", "rows": rows})


def test_malformed_text_is_an_error_with_its_place() -> None:
    places: list[tuple[str | bytes, int | None, int | None]] = [
        ('{\n "a": x}', 2, 7), ("[1,", 1, 4), (b'["\xff"]', None, None),
    ]  # fmt: skip
    for text, line, column in places:
        with pytest.raises(CodecError) as caught:
            hayson.loads(text)
        if line:
            assert (caught.value.line, caught.value.column) == (line, column)


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(CodecError, match="too deep"):
        hayson.loads("[" * 100_000)
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(CodecError, match="too deep"):
        hayson.encode(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "no Haystack kind"),
        ({"_kind": "x"}, "_kind"),
        (dt.datetime(2024, 1, 1), "time zone"),  # noqa: DTZ001 - that is the point
    ],
)
def test_what_is_no_kind_is_an_error(value: Any, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        hayson.encode(value)


def test_half_a_surrogate_pair_is_an_error() -> None:
    with pytest.raises(CodecError, match="surrogate"):
        hayson.dumps("\ud83d")


_tags = st.sampled_from(
    [
        "_kind",
        "val",
        "unit",
        "dis",
        "tz",
        "lat",
        "lng",
        "type",
        "meta",
        "cols",
        "rows",
        "name",
        "id",
    ]
)
_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(
        ["number", "ref", "date", "time", "dateTime", "coord", "xstr", "grid", "symbol", "dict",
         "uri", "3.0", "ver", "2024-01-01", "INF", "9999-12-31T23:59:59-10:00", "Denver"]
    ),
)  # fmt: skip


@given(
    st.recursive(
        _values, lambda v: st.lists(v, max_size=3) | st.dictionaries(_tags, v), max_leaves=12
    )
)
@example({"_kind": "dateTime", "val": "9999-12-31T23:59:59-10:00"})
def test_any_json_gives_a_value_or_a_codec_error(raw: Any) -> None:
    try:
        value = hayson.decode(raw)
    except CodecError as exc:
        assert str(exc)  # noqa: PT017 - any other error fails the test
    else:
        assert value is None or equal(hayson.decode(hayson.encode(value)), value)


@given(st.one_of(st.binary(max_size=40), st.text('{}[]",:\\uE1e-+. _kindvalref', max_size=40)))
def test_any_text_gives_a_value_or_a_codec_error(raw: bytes | str) -> None:
    try:
        hayson.loads(raw)
    except CodecError as exc:
        assert str(exc)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"a": {"_kind": "foo"}}', "a"),
        ('{"a": {"b": {"_kind": "date", "val": "x"}}}', "a.b"),
        ('{"_kind": "grid", "rows": [{}, {"a": {"b": {"_kind": "foo"}}}]}', "rows[1].a.b"),
    ],
)
def test_an_error_says_in_which_tag_it_is(text: str, where: str) -> None:
    with pytest.raises(CodecError) as caught:
        hayson.loads(text)
    assert caught.value.where == where


def test_a_number_beyond_the_doubles_is_infinite() -> None:
    """F9, as in Zinc, Trio and filters."""
    digits = "1" * 5000  # more than Python's int() takes
    infinite = [Number(math.inf), Number(-math.inf)]
    assert hayson.loads("[1e999, -1e999]") == infinite
    assert hayson.loads(f"[{digits}, -{digits}]") == infinite


@pytest.mark.parametrize(
    ("text", "column"),
    [("1e999 x", 7), ("[1e999", 7), ("[1e999, NaN]", None), (b'[1e999,"\xff"]', 9)],
)
def test_what_follows_a_number_beyond_the_doubles_has_to_be_json(
    text: str | bytes, column: int | None
) -> None:
    with pytest.raises(CodecError, match=r"no JSON|no UTF-8") as caught:
        hayson.loads(text)

    assert caught.value.column == column


class _Mode(str, enum.Enum):  # noqa: UP042 - one that prints as `_Mode.AUTO`
    AUTO = "auto"


class _Text(str):
    """A text like those of numpy."""

    __slots__ = ()


def test_numbers_of_other_libraries_are_written() -> None:
    np = pytest.importorskip("numpy")
    five = [Decimal(5), Fraction(5), np.int64(5), np.float32(5)]

    assert hayson.dumps({"x": five, "y": np.bool_(True)}) == '{"x":[5,5,5,5],"y":true}'
    assert zinc.dumps([{"x": five, "y": np.bool_(True)}]).endswith("[5,5,5,5],T\n")


def test_an_enum_is_written_as_its_text() -> None:
    """Whatever it prints as, and wherever it stands."""
    value: dict[str, Any] = {
        _Mode.AUTO: [_Mode.AUTO, Ref(_Text("a")), Uri(_Mode.AUTO), Number(1, _Mode.AUTO)]
    }

    written = hayson.dumps(value)

    assert hayson.loads(written) == {"auto": ["auto", Ref("a"), Uri("auto"), Number(1, "auto")]}
    assert hayson.encode(_Mode.AUTO).__class__ is str
