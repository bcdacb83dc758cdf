"""JSON version 3: the letters in front, grids, errors with their path."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsorm.codecs import json3
from hsorm.errors import CodecError
from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Grid,
    GridCol,
    Number,
    Ref,
    Symbol,
    Uri,
    XStr,
    equal,
)

FORMS: list[tuple[Any, Any]] = [
    ("m:", MARKER),
    ("z:", NA),
    ("-:", REMOVE),
    ("x:", REMOVE),
    ("n:72", Number(72)),
    ("n:72.5 °F", Number(72.5, "°F")),
    ("n:-INF", Number(-math.inf)),
    ("n:NaN", Number(math.nan)),
    ("n:1e3 kWh/ft²", Number(1000, "kWh/ft²")),
    (5, Number(5)),
    (5.5, Number(5.5)),
    ("r:abc-123", Ref("abc-123")),
    ("r:abc RTU #3", Ref("abc")),
    ("hello", "hello"),
    ("s:hello", "hello"),
    ("s:a:b", "a:b"),
    ("s:", ""),
    ("", ""),
    ("abc:def", "abc:def"),
    ("d:2014-01-03", dt.date(2014, 1, 3)),
    ("h:23:59", dt.time(23, 59)),
    ("h:9:30", dt.time(9, 30)),
    ("h:23:59:00.5", dt.time(23, 59, 0, 500000)),
    (
        "t:2015-06-08T15:47:41-04:00 New_York",
        dt.datetime(2015, 6, 8, 19, 47, 41, tzinfo=dt.UTC),
    ),
    ("t:2015-06-08T15:47:41Z", dt.datetime(2015, 6, 8, 15, 47, 41, tzinfo=dt.UTC)),
    ("u:http://project-haystack.org/", Uri("http://project-haystack.org/")),
    ("c:37.545,-77.449", Coord(37.545, -77.449)),
    ("y:hot-water", Symbol("hot-water")),
    ("b:text/plain", XStr("Bin", "text/plain")),
    ("x:Color:red:ish", XStr("Color", "red:ish")),
    (True, True),
    (["m:", None, 1], [MARKER, None, Number(1)]),
    ({"a": "m:", "b": None}, {"a": MARKER}),
]


@pytest.mark.parametrize(("raw", "value"), FORMS)
def test_form(raw: Any, value: Any) -> None:
    assert equal(json3.decode(raw), value)


def test_a_ref_keeps_its_display_text() -> None:
    assert json3.decode("r:abc RTU #3").dis == "RTU #3"
    assert json3.decode("r:abc").dis is None


def test_a_grid_with_column_meta_and_null_cells() -> None:
    text = (
        '{"meta":{"ver":"3.0","projName":"test","n":"n:5 kW"},'
        '"cols":[{"name":"id"},{"name":"dis","dis":"Name","max":"n:5"}],'
        '"rows":[{"id":"r:a","dis":"A"},{"id":"r:b","dis":null}]}'
    )

    grid = json3.loads(text)

    cols = (GridCol("id"), GridCol("dis", {"dis": "Name", "max": Number(5)}))
    rows: Any = ({"id": Ref("a"), "dis": "A"}, {"id": Ref("b")})
    assert grid == Grid({"projName": "test", "n": Number(5, "kW")}, cols, rows)


def test_a_nested_grid_is_one_by_its_members() -> None:
    inner = {"meta": {"ver": "2.0"}, "cols": [{"name": "a"}], "rows": []}

    assert json3.decode({"g": inner}) == {"g": Grid({}, (GridCol("a"),))}


@pytest.mark.parametrize(
    "raw",
    [
        "m:x", "n:", "n:a", "n:5kW", "r:", "r:a/b", "d:2024-02-30", "h:24:00", "h:", "t:2015-06-08",
        "t:2015-06-08T15:47:41-04:00", "t:2015-06-08T15:47:41Z Nowhere", "c:1", "c:100,1",
        "c:nan,nan", "n:1_0", "n:infinity", "n:٣", "c: 1,2", "y:Foo", "x:Color",
        "x:color:red", "q:what",
    ],
)  # fmt: skip
def test_a_bad_scalar_is_an_error_that_shows_it(raw: str) -> None:
    with pytest.raises(CodecError) as caught:
        json3.decode({"a": [1, raw]})

    assert caught.value.where == "a[1]"
    assert repr(raw) in caught.value.reason


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        ({"meta": {}, "cols": [], "rows": []}, "meta.ver"),
        ({"meta": {"ver": "3.0"}, "cols": [1], "rows": []}, "cols[0]"),
        ({"meta": {"ver": "3.0"}, "cols": [{"name": 1}], "rows": []}, "cols[0]"),
        ({"meta": {"ver": "3.0"}, "cols": [], "rows": [{}, 1]}, "rows[1]"),
        ({"meta": {"ver": "3.0"}, "cols": [], "rows": [{"a": "d:x"}]}, "rows[0].a"),
        ({"meta": [], "cols": [], "rows": []}, None),
    ],
)
def test_a_bad_grid_is_an_error_with_its_path(raw: Any, where: str | None) -> None:
    with pytest.raises(CodecError) as caught:
        json3.loads(json.dumps(raw))

    assert caught.value.where == where


def test_what_is_no_grid_or_no_json_is_an_error() -> None:
    with pytest.raises(CodecError, match="no grid"):
        json3.loads('{"id":"r:a"}')
    with pytest.raises(CodecError, match="line 1"):
        json3.loads("{")


def test_deep_nesting_is_an_error() -> None:
    with pytest.raises(CodecError, match="nested"):
        json3.loads("[" * 300 + "]" * 300)


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.builds(lambda a, b: f"{a}:{b}", st.sampled_from("mznrsudhtcybx-q"), st.text(max_size=8)),
)
_names = st.sampled_from(["meta", "cols", "rows", "name", "ver", "a"])


@given(
    st.recursive(
        _scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(_names, v), max_leaves=10
    )
)
def test_any_json_gives_a_value_or_a_codec_error(raw: Any) -> None:
    try:
        json3.decode(raw)
    except CodecError as exc:
        assert exc.reason  # noqa: PT017 - any other error fails the test
