"""Kinds: equality, hashes and constraints by rule number."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import math
import pickle
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given

from hsorm.kinds import (
    MARKER,
    NA,
    REMOVE,
    Coord,
    Grid,
    GridCol,
    Marker,
    NAType,
    Number,
    Ref,
    Remove,
    Symbol,
    Uri,
    XStr,
    as_ref,
    equal,
    is_ref_id,
    is_tag_name,
    kind_name,
    symbol_form,
)
from tests.unit.strategies import kinds, scalars

NEW_YORK = ZoneInfo("America/New_York")


@pytest.mark.parametrize(("one", "type_"), [(MARKER, Marker), (NA, NAType), (REMOVE, Remove)])
def test_singletons_stay_one(one: object, type_: type) -> None:
    assert type_() is one
    assert copy.deepcopy(one) is one
    assert pickle.loads(pickle.dumps(one)) is one  # noqa: S301 - our own bytes
    assert len({MARKER, NA, REMOVE}) == 3


@given(kinds())
def test_a_kind_equals_its_copy(value: Any) -> None:
    assert equal(value, copy.deepcopy(value))
    assert equal(value, pickle.loads(pickle.dumps(value)))  # noqa: S301


@given(scalars(), scalars())
def test_equal_scalars_have_equal_hashes(a: Any, b: Any) -> None:
    assert equal(a, b) == equal(b, a)
    if equal(a, b) and not isinstance(a, dt.datetime):
        assert hash(a) == hash(b)


def test_different_kinds_are_never_equal() -> None:
    """K1."""
    values = [
        "a", Ref("a"), Uri("a"), Symbol("a"), XStr("A", "a"), Number(1), True, 5.0, "1", MARKER, NA,
        REMOVE, dt.date(2024, 1, 1), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), dt.time(), [], {},
        Coord(0, 0), Grid(), None,
    ]  # fmt: skip
    for i, a in enumerate(values):
        assert [equal(a, b) for b in values].count(True) == 1
        assert equal(a, values[i])


def test_numbers() -> None:
    """K2, OC 1: value and unit text, nothing converted; NaN equals NaN, -0 equals 0."""
    assert Number(5) == Number(5.0)
    assert Number(5) != Number(5, "kW")
    assert Number(120, "s") != Number(2, "min")
    assert Number(1, "kW") != Number(1, "kilowatt")
    assert Number(-0.0) == Number(0)
    assert Number(math.nan) == Number(-math.nan)
    assert hash(Number(math.nan)) == hash(Number(float("nan")))
    assert Number(math.nan) != Number(math.nan, "kW")
    assert Number(5, "") == Number(5)
    assert Number(10**400) == Number(math.inf)
    assert isinstance(Number(5).val, float)
    assert Number(5).__eq__(5) is NotImplemented


@pytest.mark.parametrize("val", [True, "5", None])
def test_a_number_holds_nothing_but_a_number(val: Any) -> None:
    with pytest.raises(TypeError):
        Number(val)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (Number(5), "5"), (Number(-0.0), "0"), (Number(5.5, "kW"), "5.5kW"),
        (Number(1e12), "1000000000000"),
        (Number(1e13), "10000000000000.0"), (Number(1e22), "1e+22"), (Number(math.nan), "NaN"),
        (Number(-math.inf), "-INF"), (Number(math.inf), "INF"),
    ],
)  # fmt: skip
def test_number_text(number: Number, text: str) -> None:
    assert str(number) == text


def test_refs() -> None:
    """K3: by id only."""
    assert Ref("a", "A") == Ref("a")
    assert hash(Ref("a", "A")) == hash(Ref("a"))
    assert Ref("a") != Ref("b")
    assert as_ref("@a") == as_ref("a") == as_ref(Ref("a")) == Ref("a")
    assert str(Ref("a")) == "@a"


def test_datetimes() -> None:
    """K4: by instant, and the two passes of a repeated hour are two."""
    first = dt.datetime(2024, 11, 3, 1, 30, tzinfo=NEW_YORK)
    second = first.replace(fold=1)

    assert first == second  # which is why equal() is there
    assert not equal(first, second)
    assert equal(first, dt.datetime(2024, 11, 3, 5, 30, tzinfo=dt.UTC))
    assert equal(second, dt.datetime(2024, 11, 3, 6, 30, tzinfo=dt.UTC))


def test_texts() -> None:
    """K5, K6: exact; no normalization of Unicode or of uris."""
    assert not equal("a", "A")
    assert not equal("\u00e9", "e\u0301")
    assert Uri("HTTP://x") != Uri("http://x")


def test_coords() -> None:
    """K7: in micro-degrees, truncated toward zero."""
    assert Coord(1.0000001, -1.0000009) == Coord(1, -1)
    assert hash(Coord(1.0000001, 0)) == hash(Coord(1, 0))
    assert Coord(1.000001, 0) != Coord(1, 0)


def test_lists_and_dicts() -> None:
    """K8."""
    assert equal([Number(1), "a"], (Number(1), "a"))
    assert not equal([Number(1)], [Number(1), Number(1)])
    assert equal({"a": Ref("x", "X"), "b": [NA]}, {"b": [NA], "a": Ref("x")})
    assert not equal({"a": NA}, {"a": NA, "b": NA})
    assert not equal({"a": NA}, {"b": NA})
    assert not equal([True], [Number(1)])


def test_grids() -> None:
    rows = ({"id": Ref("a", "A")},)
    grid = Grid({"m": MARKER}, (GridCol("id", {"w": Number(1)}),), rows)

    assert grid == Grid(
        {"m": MARKER}, (GridCol("id", {"w": Number(1)}),), ({"id": Ref("a")},), "2.0"
    )
    assert hash(grid) == hash(Grid({}, grid.cols, rows))
    assert grid != Grid({}, grid.cols, rows)
    assert grid != Grid(grid.meta, (GridCol("id"),), rows)
    assert grid != Grid(grid.meta, grid.cols, ())


def test_columns_of_a_grid_of_dicts_are_in_order() -> None:
    """K29."""
    grid = Grid.of([{"mod": NA, "b": NA, "name": NA}, {"a": NA, "def": NA, "id": NA}], {"x": NA})

    assert [col.name for col in grid.cols] == ["id", "def", "name", "a", "b", "mod"]
    assert grid.meta == {"x": NA}


@pytest.mark.parametrize("id", ["a", "p:demo:r:1-a.b~c_d", "0", "null"])
def test_ref_ids(id: str) -> None:
    """K20."""
    assert is_ref_id(id)
    assert not is_ref_id(f"{id} ")
    assert not is_ref_id(f"{id}\n")
    assert not is_ref_id(f"{id}é")


def test_the_empty_ref_id_is_none() -> None:
    """K20."""
    assert not is_ref_id("")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("site", "tag"), ("hot-water", "conjunct"), ("lib:ph", "key"), ("lib:ph-iot", "key"),
        ("Foo", None), ("a.b", None), ("a-", None), ("a--b", None), ("a-B", None), ("a:B", None),
        ("a:b:c", None), ("a~b", None), ("", None), ("a\n", None), ("é", None),
    ],
)  # fmt: skip
def test_symbols(text: str, form: str | None) -> None:
    """K22, F17."""
    assert symbol_form(text) == form
    if form:
        assert str(Symbol(text)) == f"^{text}"
    else:
        with pytest.raises(ValueError, match="no symbol"):
            Symbol(text)


@pytest.mark.parametrize("type_", ["", "color", "1x", "A-b", "É", "A\n"])
def test_xstr_types(type_: str) -> None:
    """K23."""
    assert XStr("Color2_x", "red").type == "Color2_x"
    with pytest.raises(ValueError, match="XStr type"):
        XStr(type_, "x")


@pytest.mark.parametrize("place", [(90.1, 0), (-91, 0), (0, 180.5), (0, math.nan), (math.inf, 0)])
def test_places_are_on_earth(place: tuple[float, float]) -> None:
    """K24."""
    with pytest.raises(ValueError, match="no place"):
        Coord(*place)


@pytest.mark.parametrize(
    ("name", "ok"),
    [
        ("site", True), ("aB_9", True), ("_x", True), ("_0", True), ("__c3a9", True),
        ("a" * 60, True), ("a" * 61, False), ("", False), ("_", False), ("Site", False),
        ("9a", False), ("a-b", False), ("é", False), ("a\n", False),
    ],
)  # fmt: skip
def test_tag_names(name: str, ok: bool) -> None:
    """K25."""
    assert is_tag_name(name) is ok


def test_kind_names() -> None:
    """The names that the tag `kind` uses."""
    named: dict[str, Any] = {
        "Marker": MARKER, "NA": NA, "Bool": True, "Number": Number(1), "Str": "", "Ref": Ref("a"),
        "Uri": Uri(""), "Symbol": Symbol("a"), "Date": dt.date(2024, 1, 1), "Time": dt.time(),
        "DateTime": dt.datetime.now(dt.UTC), "Coord": Coord(0, 0), "XStr": XStr("A", ""),
        "List": [], "Dict": {}, "Grid": Grid(), "Remove": REMOVE,
    }  # fmt: skip
    assert {name: kind_name(value) for name, value in named.items()} == {n: n for n in named}


@pytest.mark.parametrize("value", [Number(1), Ref("a"), Uri(""), Coord(0, 0), Grid(), GridCol("a")])
def test_kinds_do_not_change(value: msgspec.Struct) -> None:
    with pytest.raises(AttributeError):
        setattr(value, value.__struct_fields__[0], None)


class _Mode(str, enum.Enum):  # noqa: UP042 - one that prints as `_Mode.AUTO`
    AUTO = "auto"


def test_a_unit_is_plain_text() -> None:
    assert type(Number(1, _Mode.AUTO).unit) is str
    assert str(Number(1, _Mode.AUTO)) == "1auto"
    with pytest.raises(TypeError, match="a unit is text, not 5"):
        Number(1, 5)  # type: ignore[arg-type]
