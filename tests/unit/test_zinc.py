"""Zinc: every kind both ways, the literal forms by rule number, errors with their place."""

from __future__ import annotations

import datetime as dt
import enum
import math
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsorm.codecs import zinc
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

if TYPE_CHECKING:
    from pathlib import Path

UTC = dt.UTC


def same(a: Any, b: Any) -> bool:
    """Equal, and the parts that equality leaves out (ref dis, zone) equal as well."""
    return equal(a, b) and shadow(a) == shadow(b)


def shadow(value: Any) -> Any:
    if isinstance(value, Ref):
        return value.dis
    if isinstance(value, dt.datetime):
        # 1900's local mean times have seconds in their offset, which no format can say.
        return value.replace(tzinfo=None)
    if isinstance(value, (list, tuple)):
        return [shadow(item) for item in value]
    if isinstance(value, dict):
        return {name: shadow(item) for name, item in value.items()}
    if isinstance(value, Grid):
        cols = [shadow(dict(col.meta)) for col in value.cols]
        return [shadow(dict(value.meta)), cols, shadow(value.rows)]
    return None


# ---- round trips --------------------------------------------------------------------------------


@given(kinds())
def test_every_kind_comes_back(value: Any) -> None:
    text = zinc.dumps_value(value)

    assert equal(zinc.loads_value(text), value)


@given(grids())
def test_a_grid_comes_back_with_its_meta(grid: Grid) -> None:
    back = zinc.loads(zinc.dumps(grid))

    assert back == grid


@given(st.lists(entities(), max_size=4))
def test_entities_come_back_as_rows(recs: list[Entity]) -> None:
    back = zinc.loads(zinc.dumps(recs).encode())

    assert equal([dict(row) for row in back.rows], recs)


def test_what_equality_leaves_out_comes_back_too() -> None:
    """K3, K4: dis and zone take no part in equality, but are not lost."""
    ts = dt.datetime(2024, 11, 3, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York"))
    value: Any = [Ref("a", 'say "hi"'), ts, {"r": Ref("b")}]

    back = zinc.loads_value(zinc.dumps_value(value))

    assert same(back, value)
    assert back[1].tzinfo == ts.tzinfo
    assert back[1].fold == 1


@pytest.mark.building
def test_the_example_building_is_read_and_written(building: Path) -> None:
    grid = zinc.loads((building / "alpha.zinc").read_bytes())

    assert len(grid.rows) == 2032
    assert grid.meta["anonymized"] is MARKER
    assert zinc.loads(zinc.dumps(grid)) == grid


# ---- the forms of values ------------------------------------------------------------------------

FORMS: list[tuple[str, str, Any]] = [
    ("1.1", "M", MARKER),
    ("1.1", "NA", NA),
    ("1.1", "R", REMOVE),
    ("1.1", "N", None),
    ("1.1", "T", True),
    ("1.1", "F", False),
    ("1.1", "INF", Number(math.inf)),
    ("1.1", "-INF", Number(-math.inf)),
    ("1.1", "NaN", Number(math.nan)),
    ("F9", "72°F", Number(72, "°F")),
    ("F9", "-1.5kW", Number(-1.5, "kW")),
    ("F9", "1_000", Number(1000)),
    ("F9", "5e3", Number(5000)),
    ("F9", "5E-3%", Number(0.005, "%")),
    ("F9", "1.6e+4kWh/ft²", Number(16000, "kWh/ft²")),
    ("F9", "5e", Number(5, "e")),
    ("F9", "7_custom", Number(7, "_custom")),
    ("F9", "12gH₂O2", Number(12, "gH₂O2")),
    ("F9", "1e999", Number(math.inf)),
    ("F10", "0xFF", Number(255)),
    ("F10", "0xdead_beef", Number(0xDEADBEEF)),
    ("F11", "2024-02-29", dt.date(2024, 2, 29)),
    ("F12", "8:30", dt.time(8, 30)),
    ("F12", "08:30:00.125", dt.time(8, 30, 0, 125000)),
    ("F13", "2024-01-01T00:00:00Z", dt.datetime(2024, 1, 1, tzinfo=UTC)),
    ("F13", "2024-01-01T00:00:00Z UTC", dt.datetime(2024, 1, 1, tzinfo=UTC)),
    ("F13", "2024-01-01T00:00:00-05:00 New_York", dt.datetime(2024, 1, 1, 5, tzinfo=UTC)),
    ("OC 27", "2024-01-01T00:00:00+01:00 New_York", dt.datetime(2023, 12, 31, 23, tzinfo=UTC)),
    ("F13", "2024-01-01T00:00:00Z GMT+5", dt.datetime(2024, 1, 1, tzinfo=UTC)),
    ("F14", r'"a\n\t\\\"\$\'\`\u00e9\u{1F600}"', "a\n\t\\\"$'`é😀"),
    ("F14", r'"\ud83d\ude00"', "😀"),
    ("F14", '"a $b\nc"', "a $b\nc"),
    ("F14", '""', ""),
    ("F14", '"""one " two "" three"""', 'one " two "" three'),
    ("F15", "`http://x/a b?q=1`", Uri("http://x/a b?q=1")),
    ("F15", r"`a\/b\\c\n\``", Uri("a\\/b\\\\c\n`")),
    ("F16", "@p:demo:r:1-a.b~c_d", Ref("p:demo:r:1-a.b~c_d")),
    ("F17", "^hot-water", Symbol("hot-water")),
    ("F17", "^lib:ph", Symbol("lib:ph")),
    ("K24", "C(37.545,-77.449)", Coord(37.545, -77.449)),
    ("K23", 'Color("red")', XStr("Color", "red")),
    ("K23", 'M("x")', XStr("M", "x")),
    ("K23", 'Bin("text/plain")', XStr("Bin", "text/plain")),
    ("K23", "Bin(text/plain)", XStr("Bin", "text/plain")),
    ("1.1", '[1, "a" ,@r,N,[],]', [Number(1), "a", Ref("r"), None, []]),
    ("1.1", "{a b:1 , c:{d} e:N}", {"a": MARKER, "b": Number(1), "c": {"d": MARKER}}),
    ("1.1", "[]", []),
    ("1.1", "{}", {}),
]


@pytest.mark.parametrize(("rule", "text", "value"), FORMS)
def test_form(rule: str, text: str, value: Any) -> None:
    assert equal(zinc.loads_value(text), value) or value is None, rule
    assert equal(zinc.loads_value(f" {text}\n"), value) or value is None
    assert zinc.loads_value(f"[{text},M]")[1] is MARKER


def test_a_ref_may_carry_its_display_text() -> None:
    """F16: in Zinc, not in a filter."""
    ref = zinc.loads_value('@a "Site \\"A\\""')

    assert (ref.val, ref.dis) == ("a", 'Site "A"')


def test_a_datetime_shows_the_zone_that_it_names() -> None:
    """F13: a city is an IANA zone; a whole name is taken where the city means another zone."""
    city = zinc.loads_value("2024-07-01T00:00:00-06:00 Denver")
    whole = zinc.loads_value("2024-07-01T00:00:00-04:00 US/Eastern")

    assert city.tzinfo == ZoneInfo("America/Denver")
    assert whole.tzinfo == ZoneInfo("US/Eastern")


BAD_VALUES = [
    ("F9", ".5", 1), ("F9", "+5", 1), ("F9", "- 5", 1), ("F9", "5.", 1), ("F9", "5 kW", 3),
    ("F10", "0x", 1), ("F10", "0xFFkW", 1), ("F11", "2024-02-30", 1), ("F11", "2024-1-05", 1),
    ("F11", "2024-01-05x", 1), ("F12", "24:00", 1), ("F12", "12:60", 1), ("F12", "08:3", 1),
    ("F12", "123:00", 1), ("F12", "-8:30", 1), ("F13", "2024-01-01T00:00:00-05:00", 1),
    ("F13", "2024-01-01T00:00Z", 1), ("F13", "2024-01-01T00:00:00-05:00 Nowhere", 1),
    ("F13", "0001-01-01T00:00:00+14:00 Denver", 1), ("F14", r'"ab\q"', 4), ("F14", '"ab', 1),
    ("F14", r'"a\u12"', 3), ("F14", r'"\u{110000}"', 2), ("F14", r'"\ud83d"', 2),
    ("F14", '"""a""""', 8), ("F14", '"a\\', 1), ("F15", "`a\nb`", 1), ("F15", "`a", 1),
    ("F16", "@", 1), ("F17", "^", 1), ("F17", "^Foo", 1), ("F17", "^a--b", 1), ("F17", "^a:b:c", 1),
    ("K24", "C(91,0)", 1), ("K24", "C(1)", 3), ("K23", 'foo("x")', 1), ("K23", 'Foo("x"', 8),
    ("1.1", "[1", 3), ("1.1", "[1 2]", 4), ("1.1", "{a:}", 4), ("1.1", "{A}", 2),
    ("1.1", "{a a:1}", 4), ("1.1", "{a", 3), ("1.1", "true", 1), ("1.1", "", 1), ("1.1", "M M", 3),
    ("1.1", "<<", 3), ("1.1", "INFx", 1), ("F2", "5 // no comments", 3),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "column"), BAD_VALUES)
def test_bad_value_is_an_error_at_its_column(rule: str, text: str, column: int) -> None:
    with pytest.raises(CodecError) as caught:
        zinc.loads_value(text)

    assert (caught.value.line, caught.value.column) == (1, column), rule


# ---- grids --------------------------------------------------------------------------------------


def test_a_grid_of_version_3() -> None:
    text = (
        'ver:"3.0" dis:"Sites" n:5kW flag\n'
        'id,dis dis:"Name" max:10,area\n'
        '@a "A" , "Site, A" ,\n'
        ",,5ft²\r\n"
        "@b,N,<<\n"
        'ver:"3.0"\nx,y\n1,\n\n>>\n'
        "\n"
    )

    grid = zinc.loads(text)

    assert grid.ver == "3.0"
    assert equal(grid.meta, {"dis": "Sites", "n": Number(5, "kW"), "flag": MARKER})
    name = GridCol("dis", {"dis": "Name", "max": Number(10)})
    assert grid.cols == (GridCol("id"), name, GridCol("area"))
    inner = Grid({}, (GridCol("x"), GridCol("y")), ({"x": Number(1)},))
    rows = [{"id": Ref("a"), "dis": "Site, A"}, {"area": Number(5, "ft²")}]
    assert equal(list(grid.rows), [*rows, {"id": Ref("b"), "area": inner}])


def test_a_grid_of_version_2() -> None:
    grid = zinc.loads('ver:"2.0"\nid,file\n@a,Bin(text/plain)\n')

    assert grid.ver == "2.0"
    assert grid.rows[0]["file"] == XStr("Bin", "text/plain")


def test_a_grid_without_last_newline_and_with_byte_order_mark() -> None:
    grid = zinc.loads('\ufeffver:"3.0"\nid\n@a'.encode())

    assert equal(list(grid.rows), [{"id": Ref("a")}])


def test_a_row_without_tags_in_a_single_column() -> None:
    grid = Grid({}, (GridCol("a"),), ({}, {"a": MARKER}, {}))

    assert zinc.dumps(grid) == 'ver:"3.0"\na\nN\nM\nN\n'
    assert zinc.loads(zinc.dumps(grid)) == grid


def test_a_grid_without_columns() -> None:
    assert zinc.loads(zinc.dumps(Grid())) == Grid()


def test_columns_of_entities_are_in_order() -> None:
    """K29: id first, mod last, the rest by name."""
    text = zinc.dumps([{"mod": MARKER, "site": MARKER, "dis": None, "area": 5, "id": Ref("a")}])

    assert text == 'ver:"3.0"\nid,area,dis,site,mod\n@a,5,,M,M\n'


BAD_GRIDS = [
    ("id\n@a", 1, 1, "begins ver"),
    ('ver:"4.0"\nid\n', 1, 1, '"3.0"'),
    ("ver:3\nid\n", 1, 1, '"3.0"'),
    ('ver:"3.0"\n', 2, 1, "expected a name"),
    ('ver:"3.0" a:\nid\n', 1, 13, "expected a value"),
    ('ver:"3.0"\nid,Dis\n', 2, 4, "expected a name"),
    ('ver:"3.0"\nid,id\n', 2, 4, "twice"),
    ('ver:"3.0" a a\nid\n', 1, 13, "twice"),
    ('ver:"3.0" ver:"3.0"\nid\n', 1, 11, "twice"),
    ('ver:"3.0"\nid,dis\n@a,"A"\n@b\n', 4, 3, "1 cells"),
    ('ver:"3.0"\nid,dis\n@a,"A",M\n', 3, 8, "3 or more cells"),
    ('ver:"3.0"\nid\n@a\n@b x\n', 4, 4, "end of the line"),
    ('ver:"3.0"\nid\n@a\n\n@b\n', 5, 1, "there is more"),
    ('ver:"3.0"\nid\n@a>>\n', 3, 3, "expected"),
    ('ver:"3.0"\na\n>>\n', 3, 1, "expected"),
    ('ver:"3.0"\nid,d\n@a,"x\ny\n', 3, 4, "not closed"),
    ('ver:"3.0"\r\nid\r\n@a\r\n#', 4, 1, "expected a value"),
    ('ver:"3.0"\nid,g\n@a,<<\nver:"3.0"\nx\n@\n>>\n', 6, 1, "ref id"),
]


@pytest.mark.parametrize(("text", "line", "column", "reason"), BAD_GRIDS)
def test_bad_grid_is_an_error_at_its_place(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(CodecError) as caught:
        zinc.loads(text)

    assert (caught.value.line, caught.value.column) == (line, column)
    assert reason in caught.value.reason


def test_bytes_that_are_no_utf8_are_an_error_with_their_place() -> None:
    with pytest.raises(CodecError, match=r"line 2, column 3: byte 0xff"):
        zinc.loads(b'ver:"3.0"\nid\xff')


def test_half_a_surrogate_pair_is_an_error() -> None:
    with pytest.raises(CodecError, match="surrogate"):
        zinc.loads_value('"\ud83d"')
    with pytest.raises(CodecError, match="surrogate"):
        zinc.dumps_value("\ud83d")


@pytest.mark.parametrize("opening", ["[", "{a:", '<<ver:"3.0"\na\n', '[{a:<<ver:"3.0"\na\n'])
def test_deep_nesting_is_an_error(opening: str) -> None:
    """OC 6: a limit, never a stack overflow."""
    with pytest.raises(CodecError, match="nested deeper than 100"):
        zinc.loads_value(opening * 5000)


def test_nesting_up_to_the_limit_comes_back() -> None:
    value: Any = []
    for _ in range(99):
        value = [value]

    assert equal(zinc.loads_value(zinc.dumps_value(value)), value)
    with pytest.raises(CodecError, match="nested deeper"):
        zinc.dumps_value([value])


UNWRITABLE: list[tuple[Any, str]] = [
    (Number(1, "a b"), "unit"),
    (Number(1, "e5"), "unit"),
    (Number(1, "_5"), "unit"),
    (Number(1, "5"), "unit"),
    (Ref("a b"), "ref id"),
    ({"no-name": MARKER}, "tag name"),
    (dt.datetime(2024, 1, 1), "time zone"),  # noqa: DTZ001 - that is the point
    (object(), "kind"),
    (Grid({"ver": "x"}), "ver"),
    (Grid({}, (), ({"a": MARKER},)), "without columns"),
    (Grid({}, (GridCol("a"),), ({"b": MARKER},)), "no column"),
    (Grid({}, (GridCol("a"), GridCol("a"))), "one name"),
    (Grid({}, (GridCol("noCols"),)), "noCols"),
]


@pytest.mark.parametrize(("value", "reason"), UNWRITABLE)
def test_what_has_no_form_is_an_error_and_no_loss(value: Any, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        zinc.dumps_value(value)


def test_a_writing_error_says_which_cell() -> None:
    with pytest.raises(CodecError, match=r"rows\[1\].area"):
        zinc.dumps([{"id": Ref("a")}, {"id": Ref("b"), "area": Number(1, "sq ft")}])


# ---- fuzz ---------------------------------------------------------------------------------------

SEED = (
    'ver:"3.0" dis:"x" ts:2024-01-01T00:00:00Z UTC\nid dis:"Id",a,b,c,d\n'
    '@a "A",5.5kW,"s\\n\\u00e9",[1,{a:`u` b}],C(1,2)\n'
    '@b,NA,-INF,<<\nver:"3.0"\nx\n^hot-water\n>>,Foo("x")\n,,8:30,0xFF,"""t"""\n'
)


@given(st.data())
@settings(max_examples=400)
def test_mutated_text_gives_a_grid_or_a_codec_error(data: st.DataObject) -> None:
    text = SEED
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(at, min(len(text), at + 12)))
        piece = st.text('",:@^`[]{}<>()\\-_ \n\r\tMNTC0x5.e°é', max_size=4)
        text = text[:at] + data.draw(piece) + text[end:]

    attempt(text)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
@example(b'ver:"3.0"\na\n>>')
def test_anything_gives_a_grid_or_a_codec_error(raw: bytes | str) -> None:
    attempt(raw)


def attempt(raw: bytes | str) -> None:
    for read in (zinc.loads, zinc.loads_value):
        try:
            value = read(raw)
        except CodecError as exc:
            assert exc.line is not None  # noqa: PT017 - an error without its place is a failure
        else:
            assert equal(zinc.loads_value(zinc.dumps_value(value)), value) or value is None


class _Mode(str, enum.Enum):  # noqa: UP042 - one that prints as `_Mode.AUTO`
    AUTO = "auto"


def test_an_enum_is_written_as_its_text() -> None:
    assert zinc.dumps_value([_Mode.AUTO, Number(1, _Mode.AUTO)]) == '["auto",1auto]'
