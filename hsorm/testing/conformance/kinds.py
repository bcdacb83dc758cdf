"""What goes in comes out: every kind, alone and nested (rules K1–K28)."""

from __future__ import annotations

import datetime as dt
import enum
import math
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from hsorm.filter.ast import Cmp, CmpOp, Path
from hsorm.kinds import (
    MARKER,
    NA,
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
    kind_name,
)
from hsorm.storage.protocol import StorageAdapter
from hsorm.testing.conformance.examples import foreign

__all__ = ["EXAMPLES", "KindTests"]

_NEW_YORK: Final = ZoneInfo("America/New_York")


class _Mode(str, enum.Enum):  # noqa: UP042 - one that prints as `_Mode.AUTO`
    AUTO = "auto"


class _Text(str):
    """A text like those of numpy."""

    __slots__ = ()


class _Timestamp(dt.datetime):
    """A dateTime like those of pandas."""


class _Day(dt.date):
    """A date like those of libraries that stop the clock."""


class _Hour(dt.time):
    """A time of a subclass."""


EXAMPLES: Final[dict[str, Any]] = {
    "marker": MARKER,
    "na": NA,
    "true": True,
    "false": False,
    "number": Number(72.5),
    "unit": Number(72.5, "°F"),
    "whole": Number(5),
    "zero": Number(0),
    "negative": Number(-1.5e-7, "kW"),
    "fraction": Number(0.1),
    "greatest": Number(1.7976931348623157e308),
    "smallest": Number(5e-324),
    "beyond_int": Number(2.0**60),
    "long_fraction": Number(0.30000000000000004, "_my/unit"),
    "inf": Number(math.inf),
    "minus_inf": Number(-math.inf),
    "nan": Number(math.nan),
    "str": "text",
    "empty_str": "",
    "str_quotes": 'it\'s "quoted" \\ $x {y} :z %s ?',
    "str_lines": "a\r\n\tb\x01\x7f",
    "str_beyond": "ünï → 😀 \uffff",
    "str_like_json": '{"_kind":"marker"}',
    "str_long": "x" * 32_767,
    "uri": Uri("http://example.com/a?b=c#d e"),
    "ref": Ref("p:demo:r:1a~.-_"),
    "ref_dis": Ref("a", 'The "A"'),
    "symbol": Symbol("ahu"),
    "conjunct": Symbol("hot-water"),
    "key_symbol": Symbol("lib:ph.x".replace(".", "-")),
    "date": dt.date(2024, 2, 29),
    "first_date": dt.date(1, 1, 1),
    "time": dt.time(13, 5),
    "time_micro": dt.time(23, 59, 59, 999_999),
    "midnight": dt.time(),
    "datetime": dt.datetime(2024, 3, 10, 1, 0, tzinfo=_NEW_YORK),
    "datetime_utc": dt.datetime(2024, 3, 10, 1, 0, 0, 123_456, tzinfo=dt.UTC),
    "datetime_first_pass": dt.datetime(2024, 11, 3, 1, 30, tzinfo=_NEW_YORK),
    "datetime_second_pass": dt.datetime(2024, 11, 3, 1, 30, tzinfo=_NEW_YORK, fold=1),
    "datetime_half_hour": dt.datetime(2024, 6, 1, tzinfo=ZoneInfo("Asia/Kathmandu")),
    "coord": Coord(37.545826, -77.449188),
    "xstr": XStr("Color", "red"),
    "span": XStr("Span", "today"),
    "list": ["a", Number(1), MARKER, Ref("x", "X"), NA],
    "empty_list": [],
    "nested_list": [[], [[Number(1)]], [{"a": [True]}]],
    "dict": {"a": Number(1, "kW"), "b": {"c": Ref("x")}},
    "empty_dict": {},
    "dict_odd_names": {"Upper case": MARKER, "é": Number(1), "a.b": "c", "": "empty", "$x": NA},
    "grid": Grid(
        {"dis": "Grid"},
        (GridCol("a", {"unit": "kW"}), GridCol("b")),
        ({"a": Number(1), "b": [Ref("x")]}, {"b": Grid.of([{"c": MARKER}])}),
    ),
    "empty_grid": Grid(),
}
"""A value for each kind, and those at its edges."""


def _check(found: Entity, name: str, value: Any) -> None:
    assert equal(found[name], value)
    assert kind_name(found[name]) == kind_name(value)


class KindTests:
    """Every kind survives the storage, and stays the kind that it was."""

    @pytest.mark.parametrize("name", EXAMPLES)
    async def test_a_value_comes_back_as_it_was(self, store: StorageAdapter, name: str) -> None:
        """K1–K8: by id and by filter; as the answer of the write, too."""
        created = await store.create({"id": Ref("a"), "x": EXAMPLES[name]})
        (by_filter,) = await store.read("x")
        by_id = await store.read_by_id("a")

        for found in (created, by_filter, by_id):
            _check(found, "x", EXAMPLES[name])

    @pytest.mark.parametrize("name", EXAMPLES)
    async def test_a_value_comes_back_from_within(self, store: StorageAdapter, name: str) -> None:
        """K8: in a list, in a dict, in both."""
        value = EXAMPLES[name]
        nested = {"in_list": [value, value], "in_dict": {"x": value}, "both": [{"x": [value]}]}
        await store.load_entities([{"id": Ref("a"), **nested}])

        found = await store.read_by_id("a")

        for way, expected in nested.items():
            _check(found, way, expected)

    async def test_all_of_them_in_one_entity(self, store: StorageAdapter) -> None:
        """K1: one tag's kind does not lean on another's."""
        await store.load_entities([{"id": Ref("a"), **EXAMPLES}])

        found = await store.read_by_id("a")

        assert found.keys() == EXAMPLES.keys() | {"id", "mod"}
        for name, value in EXAMPLES.items():
            _check(found, name, value)

    async def test_one_tag_of_many_kinds(self, store: StorageAdapter) -> None:
        """K1: the same name holds another kind in each entity."""
        await store.load_entities(
            {"id": Ref(f"e-{name}"), "x": value} for name, value in EXAMPLES.items()
        )

        found = {entity["id"].val: entity for entity in await store.read("x")}

        for name, value in EXAMPLES.items():
            _check(found[f"e-{name}"], "x", value)

    async def test_a_ref_keeps_its_display_text(self, store: StorageAdapter) -> None:
        """K3: it takes no part in equality, and is kept."""
        await store.load_entities([{"id": Ref("a"), "x": Ref("b", "B"), "y": [Ref("c", "")]}])

        found = await store.read_by_id("a")

        assert found["x"].dis == "B"
        assert found["y"][0].dis == ""

    @pytest.mark.parametrize("key", ["America/New_York", "UTC", "Asia/Tokyo", "US/Eastern"])
    async def test_a_datetime_keeps_its_zone(self, store: StorageAdapter, key: str) -> None:
        """K4: the instant is what counts, and the zone is kept."""
        ts = dt.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo(key))
        await store.load_entities([{"id": Ref("a"), "x": ts}])

        found = (await store.read_by_id("a"))["x"]

        assert found.tzinfo.key == key
        assert found.replace(tzinfo=None) == dt.datetime(2024, 7, 1, 12)  # noqa: DTZ001 - wall clock

    @pytest.mark.parametrize(
        ("native", "kind"), [(5, Number(5)), (2.5, Number(2.5)), ((1,), [Number(1)])]
    )
    async def test_native_numbers_are_taken(
        self, store: StorageAdapter, native: Any, kind: Any
    ) -> None:
        """§1.1: int and float are Numbers, wherever they stand; a tuple is a List."""
        await store.load_entities([{"id": Ref("a"), "x": native, "y": {"z": [native]}}])

        found = await store.read_by_id("a")

        _check(found, "x", kind)
        _check(found, "y", {"z": [kind]})

    @pytest.mark.parametrize("make", [Decimal, Fraction, "int64", "float32", "uint8", "float64"])
    async def test_numbers_of_other_libraries_are_taken(
        self, store: StorageAdapter, make: Any
    ) -> None:
        """§1.1: what a column NUMERIC or a cell of a data frame holds is a Number, too."""
        five = foreign(make, 5)
        await store.create({"id": Ref("a"), "x": five, "y": [five, {"z": five}]})
        await store.update({"id": Ref("a"), "u": Number(five, "kW"), "c": Coord(five, five)})
        await store.set_live("a", {"curVal": five})

        found = await store.read_by_id("a")

        for name in ("x", "curVal"):
            _check(found, name, Number(5))
        _check(found, "y", [Number(5), {"z": Number(5)}])
        _check(found, "u", Number(5, "kW"))
        _check(found, "c", Coord(5, 5))
        assert await store.read_count(Cmp(Path(("x",)), CmpOp.EQ, five)) == 1

    @pytest.mark.parametrize("val", [False, True])
    async def test_truth_values_of_numpy_are_taken(self, store: StorageAdapter, val: bool) -> None:
        """§1.1: by what they stand for, as its numbers."""
        given = foreign("bool_", val)
        await store.create({"id": Ref("a"), "x": given, "y": [given]})

        found = await store.read_by_id("a")

        assert found["x"] is val
        assert found["y"] == [val]
        assert await store.read_count(Cmp(Path(("x",)), CmpOp.EQ, given)) == 1

    async def test_texts_and_times_of_subclasses_are_what_they_stand_for(
        self, store: StorageAdapter
    ) -> None:
        """§1.1: an enum is its text, whatever it prints as; a timestamp is a dateTime."""
        text, ts = _Mode.AUTO, _Timestamp(2024, 7, 1, 1, 30, tzinfo=_NEW_YORK)
        given = {
            "id": Ref(_Text("a")), _Text("name"): text, "x": [text, {_Text("y"): text}],
            "n": Number(5, text), "r": Ref(_Text("b"), text), "u": Uri(text),
            "s": XStr(_Text("Foo"), text), "g": Grid.of([{_Text("y"): text}]), "t": ts,
            "d": _Day(2024, 7, 1), "h": _Hour(1, 30),
        }  # fmt: skip
        expected = {
            "name": "auto", "x": ["auto", {"y": "auto"}], "n": Number(5, "auto"),
            "r": Ref("b", "auto"), "u": Uri("auto"), "s": XStr("Foo", "auto"),
            "g": Grid.of([{"y": "auto"}]), "t": dt.datetime(2024, 7, 1, 1, 30, tzinfo=_NEW_YORK),
            "d": dt.date(2024, 7, 1), "h": dt.time(1, 30),
        }  # fmt: skip

        created = await store.create(given)

        for found in (created, await store.read_by_id("a")):
            for name, value in expected.items():
                _check(found, name, value)
                assert type(found[name]) is type(value)
            assert str(found["name"]) == str(found["n"].unit) == str(found["x"][0]) == "auto"
        assert await store.read_count('name == "auto" and t->date == 2024-07-01') == 1

    async def test_a_zone_that_others_do_not_know_is_its_offset(
        self, store: StorageAdapter
    ) -> None:
        """K4, F54: what a filter finds is what is read."""
        with resources.files("tzdata.zoneinfo").joinpath("Asia/Kolkata").open("rb") as file:
            nameless = ZoneInfo.from_file(file)
        ts = dt.datetime(2024, 1, 1, 2, tzinfo=nameless)

        created = await store.create({"id": Ref("a"), "x": ts})

        for found in (created, await store.read_by_id("a")):
            assert found["x"] == ts
            assert found["x"].tzinfo == ZoneInfo("UTC")
        assert await store.read_count('x->date == 2023-12-31 and x->tz == "UTC"') == 1

    async def test_a_grid_is_checked_in_depth(self, store: StorageAdapter) -> None:
        """§1.1: native numbers and Hayson are taken within a grid, too."""
        one: Any = 1
        given = Grid(
            {"m": one}, (GridCol("a", {"m": (Number(2),)}),), ({"a": {"_kind": "marker"}},)
        )
        created = await store.create({"id": Ref("a"), "x": given})

        for found in (created, await store.read_by_id("a")):
            meta = {"m": [Number(2)]}
            _check(found, "x", Grid({"m": Number(1)}, (GridCol("a", meta),), ({"a": MARKER},)))

    async def test_a_time_is_of_no_zone(self, store: StorageAdapter) -> None:
        """K5: by fields."""
        created = await store.create({"id": Ref("a"), "x": dt.time(13, 5, tzinfo=dt.UTC)})

        assert created["x"] == dt.time(13, 5)
        assert (await store.read_by_id("a"))["x"] == dt.time(13, 5)
        assert await store.read_count("x == 13:05") == 1

    async def test_minus_zero_is_zero(self, store: StorageAdapter) -> None:
        """K2."""
        await store.load_entities([{"id": Ref("a"), "x": Number(-0.0)}])

        assert (await store.read_by_id("a"))["x"] == Number(0)

    async def test_whole_numbers_beyond_the_doubles_are_rounded_alike(
        self, store: StorageAdapter
    ) -> None:
        """F9: a Number is a double, whatever it came from."""
        await store.load_entities([{"id": Ref("a"), "x": 2**53 + 1, "y": 10**400}])

        found = await store.read_by_id("a")

        assert found["x"] == Number(float(2**53))
        assert found["y"] == Number(math.inf)
