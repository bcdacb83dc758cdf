from __future__ import annotations

import copy
import datetime as dt
import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given

from hsorm.filter import (
    And,
    Cmp,
    CmpOp,
    Has,
    IsA,
    IsSpec,
    Missing,
    Node,
    Or,
    Path,
    parse,
    print_filter,
)
from hsorm.filter.ast import MAX_NESTING, MAX_TERMS, size_of, terms_of
from hsorm.filter.format import print_literal
from hsorm.kinds import Number, Ref, Symbol, Uri, equal
from tests.unit.filter_strategies import literals, nodes

NOT = Has(Path(("not",)))
A, B, C = (Has(Path((name,))) for name in "abc")


@given(nodes())
@example(And((NOT, A)))
@example(Or((NOT, A)))
@example(Or((And((A, NOT)), B)))
@example(And((And((A, B)), C)))
@example(And((NOT, NOT, Missing(Path(("and",))), NOT)))
@example(Cmp(Path(("a",)), CmpOp.EQ, Number(0, "xFF")))
@example(Cmp(Path(("a",)), CmpOp.EQ, Number(-math.inf, "e5")))
@example(Cmp(Path(("a",)), CmpOp.EQ, Number(5, "E5")))
@example(Cmp(Path(("a",)), CmpOp.EQ, Uri("a\\b\\:\\\\c`\n")))
@example(Cmp(Path(("a",)), CmpOp.EQ, dt.datetime(1890, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam"))))
def test_what_is_printed_parses_back(node: Node) -> None:
    text = print_filter(node)

    again = parse(text)

    assert again == node
    assert hash(again) == hash(node)
    assert print_filter(again) == text


@given(literals())
def test_a_printed_literal_keeps_its_kind_and_value(val: object) -> None:
    read = parse(f"a == {print_literal(val)}")  # type: ignore[arg-type]

    assert isinstance(read, Cmp)
    assert type(read.val) is type(val)
    assert equal(read.val, val)


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (Or((And((A, B)), C)), "a and b or c"),
        (And((Or((A, B)), C)), "(a or b) and c"),
        (And((And((A, B)), C)), "(a and b) and c"),
        (Or((Or((A, B)), C)), "(a or b) or c"),
        (NOT, "not"),
        (And((A, NOT)), "a and (not)"),
        (Missing(Path(("a", "B", "not"))), "not a->B->not"),
        (IsSpec("ph.a::Site"), "ph.a::Site"),
        (Cmp(Path(("a", "b")), CmpOp.GE, Number(5, "kW")), "a->b >= 5kW"),
        (Cmp(Path(("a",)), CmpOp.NE, True), "a != true"),
        (Cmp(Path(("a",)), CmpOp.EQ, 'q"\\\n\0'), r'a == "q\"\\\n\u0000"'),
        (Cmp(Path(("a",)), CmpOp.EQ, Ref("x", "shown")), "a == @x"),
        (Cmp(Path(("a",)), CmpOp.EQ, Symbol("hot-water")), "a == ^hot-water"),
        (Cmp(Path(("a",)), CmpOp.EQ, Uri("a`b\\c")), r"a == `a\`b\u005cc`"),
        (Cmp(Path(("a",)), CmpOp.EQ, dt.time(8, 30)), "a == 08:30:00"),
        (Cmp(Path(("a",)), CmpOp.EQ, dt.date(987, 6, 5)), "a == 0987-06-05"),
        (Cmp(Path(("a",)), CmpOp.EQ, Number(math.inf)), "a == 1e999"),
    ],
)
def test_text_of(node: Node, text: str) -> None:
    assert print_filter(node) == text
    assert parse(text) == node


NEW_YEAR = dt.datetime(2024, 1, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("tz", "text"),
    [
        (ZoneInfo("America/New_York"), "2024-01-01T00:00:00-05:00 New_York"),
        (ZoneInfo("Europe/London"), "2024-01-01T00:00:00Z London"),
        (dt.UTC, "2024-01-01T00:00:00Z"),
        (dt.timezone(-dt.timedelta(hours=5)), "2024-01-01T00:00:00-05:00 GMT+5"),
        # No city leads to US/Eastern, and no zone has an offset of five and a half minutes.
        (ZoneInfo("US/Eastern"), "2024-01-01T05:00:00Z"),
        (dt.timezone(dt.timedelta(seconds=330)), "2023-12-31T23:54:30Z"),
    ],
)
def test_text_of_a_datetime(tz: dt.tzinfo, text: str) -> None:
    assert print_literal(NEW_YEAR.replace(tzinfo=tz)) == text


@pytest.mark.parametrize(
    "val",
    [
        Number(math.nan),
        Number(5, "a b"),
        Number(5, "_5"),
        Number(5, "m//s"),
        Ref("a b"),
        "\ud800",
        Uri("\udfff"),
        dt.datetime(2024, 1, 1),  # noqa: DTZ001
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.time(1, tzinfo=dt.UTC),
    ],
)
def test_a_literal_without_a_text_is_refused_by_the_tree(val: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Cmp(Path(("a",)), CmpOp.EQ, val)  # type: ignore[arg-type]


@pytest.mark.parametrize("val", [None, [1], {}, object(), b"x"])
def test_a_value_of_no_literal_kind_is_a_type_error(val: object) -> None:
    with pytest.raises(TypeError, match="a filter compares with"):
        Cmp(Path(("a",)), CmpOp.EQ, val)  # type: ignore[arg-type]


def test_python_numbers_become_numbers() -> None:
    assert Cmp(Path(("a",)), CmpOp.EQ, 5).val == Number(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("names", [(), ("",), ("a b",), ("ü",), ("_",), ("a-b",), ("1a",)])
def test_a_path_of_impossible_names_is_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="name"):
        Path(names)


def test_a_path_that_starts_like_a_spec_is_refused_but_after_not() -> None:
    """F5, F6."""
    foo = Path(("Foo",))

    with pytest.raises(ValueError, match="F6"):
        Has(foo)
    with pytest.raises(ValueError, match="F6"):
        Cmp(foo, CmpOp.EQ, True)
    assert parse(print_filter(Missing(foo))) == Missing(foo)


@pytest.mark.parametrize("name", ["", "site", "ph::site", "Ph::Site", "a..b::Site", "ph:Site"])
def test_an_impossible_spec_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="F7"):
        IsSpec(name)


def test_and_and_or_take_two_terms_or_more() -> None:
    for terms in ((), (A,)):
        with pytest.raises(ValueError, match="two"):
            And(terms)
        with pytest.raises(ValueError, match="two"):
            Or(terms)


def test_the_deepest_tree_prints_and_a_deeper_one_cannot_be_built() -> None:
    """OC 6."""
    node: Node = And((A, B))
    for _ in range(MAX_NESTING):
        node = And((A, node))

    assert parse(print_filter(node)) == node
    assert Or((node, A))  # takes no parentheses
    with pytest.raises(ValueError, match="levels"):
        And((A, node))


@given(nodes())
def test_the_size_is_about_that_of_the_text(node: Node) -> None:
    """Not by much more than words, operators, escapes and numbers may take."""
    assert size_of(copy.copy(node)) == size_of(node) <= len(print_filter(node))
    assert len(print_filter(node)) <= 12 * size_of(node) + 60 * terms_of(node)


def test_the_longest_tree_and_a_longer_one_that_cannot_be_built() -> None:
    node = Or((And((A,) * (MAX_TERMS // 2)), And((B,) * (MAX_TERMS // 2))))

    assert terms_of(node) == terms_of(copy.copy(node)) == MAX_TERMS
    with pytest.raises(ValueError, match="terms"):
        Or((node, A))
    with pytest.raises(ValueError, match="terms"):
        IsA(Symbol("-".join("a" * (MAX_TERMS + 1))))


def test_the_two_passes_of_a_repeated_hour_are_two_filters() -> None:
    ts = dt.datetime(2024, 11, 3, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    first, second = (Cmp(Path(("a",)), CmpOp.EQ, ts.replace(fold=fold)) for fold in (0, 1))

    assert first != second
    assert second == Cmp(Path(("a",)), CmpOp.EQ, ts.replace(fold=1).astimezone(dt.UTC))
    assert len({first, second}) == 2
