"""Trio: dicts both ways, the forms of values, nested blocks, errors with their line."""

from __future__ import annotations

import datetime as dt
import enum
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hsorm.codecs import trio
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
from tests.unit.strategies import entities, texts

if TYPE_CHECKING:
    from pathlib import Path


# ---- round trips --------------------------------------------------------------------------------


@given(st.lists(entities(), max_size=4))
def test_entities_come_back(recs: list[Entity]) -> None:
    back = trio.loads(trio.dumps(recs).encode())

    assert equal(back, recs)


@given(texts())
@settings(max_examples=500)
def test_any_text_comes_back(text: str) -> None:
    """Unquoted, indented or quoted, whatever the text looks like."""
    assert trio.loads(trio.dumps([{"a": text, "b": MARKER}])) == [{"a": text, "b": MARKER}]


def test_what_equality_leaves_out_comes_back_too() -> None:
    back = trio.loads(trio.dumps([{"id": Ref("a", "Site A"), "refs": [Ref("b", "B")]}]))

    assert back[0]["id"].dis == "Site A"
    assert back[0]["refs"][0].dis == "B"


@pytest.mark.building
def test_the_example_building_is_read_and_written(building: Path) -> None:
    recs = trio.loads((building / "alpha.trio").read_bytes())

    assert len(recs) == 2032
    assert equal(trio.loads(trio.dumps(recs)), recs)


# ---- the forms of values ------------------------------------------------------------------------

FORMS: list[tuple[str, Any]] = [
    ("a", MARKER),
    ("a  ", MARKER),
    ("a:Alpha Airside AHU-2", "Alpha Airside AHU-2"),
    ("a :  Oslo  ", "Oslo"),
    ('a:"80821"', "80821"),
    (r'a:"x\ny"', "x\ny"),
    ("a:", ""),
    ("a:151455ft²", Number(151455, "ft²")),
    ("a:-5.5", Number(-5.5)),
    ("a:-INF", Number(-math.inf)),
    ("a:INF", Number(math.inf)),
    ("a:NaN", Number(math.nan)),
    ("a:true", True),
    ("a:F", False),
    ("a:NA", NA),
    ("a:R", REMOVE),
    ("a:@b", Ref("b")),
    ('a:@b "B"', Ref("b")),
    ("a:^hot-water", Symbol("hot-water")),
    ("a:`http://x/`", Uri("http://x/")),
    ("a:C(39.04532,-103.57159)", Coord(39.04532, -103.57159)),
    ('a:Color("red")', XStr("Color", "red")),
    ("a:2024-02-29", dt.date(2024, 2, 29)),
    ("a:8:30", dt.time(8, 30)),
    ("a:2024-01-01T00:00:00Z", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
    ("a:2024-01-01T00:00:00-05:00 New_York", dt.datetime(2024, 1, 1, 5, tzinfo=dt.UTC)),
    ('a:{description:"SF VFD" supply}', {"description": "SF VFD", "supply": MARKER}),
    ("a:[1,2]", [Number(1), Number(2)]),
    # Text that is no value is a string, and so are M and N.
    ("a:M", "M"),
    ("a:N", "N"),
    ("a:123 Prarie St", "123 Prarie St"),
    ("a:5 kW", "5 kW"),
    ("a:10.0.0.1", "10.0.0.1"),
    ("a:2024-02-30", "2024-02-30"),
    ("a:Floor (2)", "Floor (2)"),
    ("a:AHU(1)", "AHU(1)"),
    ("a:http://x/", "http://x/"),
    ("a:é", "é"),
    ("a:\u2003x", "\u2003x"),
    # Blocks.
    ("a:\n  one\n    two\n\n  three", "one\n  two\n\nthree"),
    ("a:\n\tone\n\t//two\n\t---", "one\n//two\n---"),
    ("a:\n  one\n\n\n", "one"),
    ("a:\n  one\n  \n", "one\n"),
    ("a:[\n  1,\n  // two\n  3\n]", [Number(1), Number(3)]),
    ("a:[\n  1,\n  2]\n", [Number(1), Number(2)]),
    ("a:Trio:\n  x:5\n  // note\n  y", {"x": Number(5), "y": MARKER}),
    ("a:Trio:\n", {}),
    ("a:Trio:\n  b:Trio:\n    c:\n      text", {"b": {"c": "text"}}),
    (
        'a:Zinc:\n  ver:"3.0"\n  x,y\n  1,"a"\n',
        Grid({}, (GridCol("x"), GridCol("y")), ({"x": Number(1), "y": "a"},)),
    ),
    ('a:Zinc:\n  [<<\n  ver:"3.0"\n  x\n  >>]\n', [Grid({}, (GridCol("x"),))]),
]


@pytest.mark.parametrize(("text", "value"), FORMS)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_form(text: str, value: Any, newline: str) -> None:
    text = text.replace("\n", newline)

    assert equal(trio.loads(text), [{"a": value}])
    assert equal(trio.loads(f"{text}{newline}z{newline}---"), [{"a": value, "z": MARKER}])


def test_an_item_of_an_indented_list_may_not_have_a_comment_behind_it() -> None:
    with pytest.raises(CodecError, match="line 2, column 6"):
        trio.loads("a:[\n  1, // one\n]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:x // y", "x // y"),
        ("a:http://x/", "http://x/"),
        ("a:\n  one\n  //two", "one\n//two"),
        ("a:[\n  // one\n  2\n]", [Number(2)]),
        ("// note\na:5\n// another", Number(5)),
    ],
)
def test_slashes_are_a_comment_only_at_the_start_of_a_line(text: str, value: Any) -> None:
    assert equal(trio.loads(text), [{"a": value}])


def test_dicts_between_separators() -> None:
    text = (
        "\ufeff// buildings\n---\n\nid:@a\nsite\n-----\n--- equips ---\n// none\nid:@b\n\nequip\n"
    )

    recs = trio.loads(text)

    assert recs == [{"id": Ref("a"), "site": MARKER}, {"id": Ref("b"), "equip": MARKER}]
    assert [line for line, _ in trio.entities_with_lines(text)] == [4, 9]


def test_no_dicts() -> None:
    assert trio.loads("") == []
    assert trio.loads("---\n// nothing\n") == []


def test_lists_and_dicts_are_not_shared_between_entities() -> None:
    first, second = trio.loads("a:[1]\nb:{c}\n---\na:[1]\nb:{c}\n")

    first["a"].append(MARKER)
    first["b"]["d"] = MARKER

    assert equal(second, {"a": [Number(1)], "b": {"c": MARKER}})


# ---- writing ------------------------------------------------------------------------------------


def test_written_form() -> None:
    grid = Grid({}, (GridCol("x"),), ({"x": Number(1)},))
    rec = {
        "site": MARKER, "dis": "Site A", "id": Ref("a", "A"), "area": 500, "doc": "one\n\n  two",
        "code": "0815", "kind": "NA", "letter": "M", "on": True, "custom": {"a": MARKER, "b": "x"},
        "grid": grid, "none": None,
    }  # fmt: skip

    assert trio.dumps([rec, {"id": Ref("b")}]) == (
        'id:@a "A"\ndis:Site A\narea:500\ncode:"0815"\ncustom:{a b:"x"}\ndoc:\n  one\n\n    two\n'
        'grid:Zinc:\n  ver:"3.0"\n  x\n  1\nkind:"NA"\nletter:"M"\non:true\nsite\n---\nid:@b\n'
    )


@pytest.mark.parametrize(
    ("rec", "reason"),
    [
        ({"id": Ref("a"), "no-name": MARKER}, r"\[0\].no-name: .*tag name"),
        ({"id": Ref("a"), "area": Number(1, "sq ft")}, r"\[0\].area: .*unit"),
        ({"id": Ref("a"), "x": object()}, "kind"),
        ({}, "without tags"),
    ],
)
def test_what_has_no_form_is_an_error_and_no_loss(rec: Entity, reason: str) -> None:
    with pytest.raises(CodecError, match=reason):
        trio.dumps([rec])


# ---- errors -------------------------------------------------------------------------------------

BAD = [
    ("id:@a\nDis:x", 2, 1, "tag name"),
    ("id:@a\n  dis:x", 2, 1, "belongs to no tag"),
    ("id:@a\nid:@b", 2, 1, "twice"),
    ("-id:@a", 1, 1, "separator"),
    ('a\nb: "x', 2, 4, "not closed"),
    ('a\nb: "x" y', 2, 8, "there is more"),
    ("a:@", 1, 3, "ref id"),
    ("a:[1", 1, 5, "expected"),
    ("a:{b:}", 1, 6, "expected a value"),
    ("a:C(100,0)", 1, 3, "no place"),
    ("a:C(1,2", 1, 5, "expected"),
    ('a:Foo("x"', 1, 10, "expected"),
    ('a\nb:Zinc:\n  ver:"3.0"\n  x\n  "y\n', 5, 3, "not closed"),
    ("b:Zinc:\n", 2, 1, "expected a value"),
    ("b:[\n  1\n  2\n]", 3, 3, "expected"),
    ("b:Trio:\n  x:5\n  X\n", 3, 3, "tag name"),
    ("b:Trio:\n  x\n  ---\n  y\n", 1, 1, "one dict"),
]


@pytest.mark.parametrize(("text", "line", "column", "reason"), BAD)
def test_bad_text_is_an_error_at_its_place(text: str, line: int, column: int, reason: str) -> None:
    with pytest.raises(CodecError, match=reason) as caught:
        trio.loads(text)

    assert (caught.value.line, caught.value.column) == (line, column)


def test_bytes_that_are_no_utf8_are_an_error_with_their_place() -> None:
    with pytest.raises(CodecError, match=r"line 2, column 5"):
        trio.loads(b"id:@a\ndis:\xe9")


def test_deep_nesting_is_an_error() -> None:
    lines = ["  " * at + "a:Trio:" for at in range(60)]
    with pytest.raises(CodecError, match="nested deeper"):
        trio.loads("\n".join(lines))
    with pytest.raises(CodecError, match="nested deeper"):
        trio.loads("a:" + "[" * 5000)


# ---- fuzz ---------------------------------------------------------------------------------------

SEED = (
    'id:@a "A"\ndis:Site A\narea:5ft²\ndoc:\n  one\n   two\n\n  three\nn:-5.5kW\nx:[1,{a:`u`}]\n'
    '---\n// note\nid:@b\ng:Zinc:\n  ver:"3.0"\n  x\n  1\nt:Trio:\n  a:"x\\ny"\n  b\nl:[\n  1,\n]\n'
)


@given(st.data())
@settings(max_examples=400)
def test_mutated_text_gives_entities_or_a_codec_error(data: st.DataObject) -> None:
    text = SEED
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(at, min(len(text), at + 12)))
        piece = st.text('",:@^`[]{}<>()\\-_ \n\r\tMNTC0x5.e°é/', max_size=4)
        text = text[:at] + data.draw(piece) + text[end:]

    attempt(text)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60)))
@example("a:[\n]")
@example("a:Zinc:")
def test_anything_gives_entities_or_a_codec_error(raw: bytes | str) -> None:
    attempt(raw)


def attempt(raw: bytes | str) -> None:
    try:
        recs = trio.loads(raw)
    except CodecError as exc:
        assert exc.line is not None  # noqa: PT017 - an error without its place is a failure
    else:
        assert equal(trio.loads(trio.dumps(recs)), recs)


class _Mode(str, enum.Enum):  # noqa: UP042 - one that prints as `_Mode.AUTO`
    AUTO = "auto"


def test_an_enum_is_written_as_its_text() -> None:
    assert trio.dumps([{"a": _Mode.AUTO, "b": [_Mode.AUTO]}]) == 'a:auto\nb:["auto"]\n'
