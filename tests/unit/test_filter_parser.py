from __future__ import annotations

import datetime as dt
import math
import pickle
import time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsorm.errors import FilterSyntaxError
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
from hsorm.filter.ast import MAX_NESTING, MAX_TERMS
from hsorm.filter.parser import MAX_LENGTH
from hsorm.kinds import Number, Ref, Symbol, Uri, equal
from hsorm.testing.filter_cases import CASES
from tests.unit.filter_strategies import nodes


def has(*names: str) -> Has:
    return Has(Path(names))


def missing(*names: str) -> Missing:
    return Missing(Path(names))


A, B, C, D = has("a"), has("b"), has("c"), has("d")


@pytest.mark.parametrize(
    ("rule", "text", "node"),
    [
        ("F1", " \t\u00a0a\u00a0", A),
        ("F1", "(a)and(b)", And((A, B))),
        ("F1", "a -> b", has("a", "b")),
        ("F2", "a // the rest", A),
        ("F2", "a /* x /* y */ z */ and b", And((A, B))),
        ("F2", "/**//**/a", A),
        ("F2", "a /* never closed", A),
        ("F2", "a /* line\nbreak */", A),
        ("F3", "not", has("not")),
        ("F3", "not not", missing("not")),
        ("F3", "not and", missing("and")),
        ("F3", "not->x", has("not", "x")),
        ("F3", "or or or", Or((has("or"), has("or")))),
        ("F3", "true", has("true")),
        ("F3", "a and and", And((A, has("and")))),
        ("F3", "(not) and b", And((has("not"), B))),
        ("F4", "a and b and c", And((A, B, C))),
        ("F4", "a or b or c", Or((A, B, C))),
        ("F4", "a or b and c or d", Or((A, And((B, C)), D))),
        ("F4", "a and (b and c)", And((A, And((B, C))))),
        ("F4", "(a and b) and c", And((And((A, B)), C))),
        ("F4", "((a or b)) and ((c))", And((Or((A, B)), C))),
        ("F4", "(((a)))", A),
        ("F5", "not a->b", missing("a", "b")),
        ("F5", "not Foo", missing("Foo")),
        ("F5", "a and not b", And((A, missing("b")))),
        ("F6", "Site", IsSpec("Site")),
        ("F6", "a->Foo", has("a", "Foo")),
        ("F6", "a->not", has("a", "not")),
        ("F6", "_a and __c3", And((has("_a"), has("__c3")))),
        ("F7", "ph::Site", IsSpec("ph::Site")),
        ("F7", "a.b.c::Foo and b", And((IsSpec("a.b.c::Foo"), B))),
        ("F7", "not::Foo", IsSpec("not::Foo")),
        ("F17", "^site", IsA(Symbol("site"))),
        ("F17", "^hot-water or ^lib:ph", Or((IsA(Symbol("hot-water")), IsA(Symbol("lib:ph"))))),
    ],
)
def test_accepted(rule: str, text: str, node: Node) -> None:
    assert parse(text) == node


@pytest.mark.parametrize(
    ("op", "parsed"),
    [("==", "EQ"), ("!=", "NE"), ("<", "LT"), ("<=", "LE"), (">", "GT"), (">=", "GE")],
)
def test_operators(op: str, parsed: str) -> None:
    """F1: no space is needed around them."""
    for text in (f"a{op}5", f"a {op} 5"):
        assert parse(text) == Cmp(Path(("a",)), CmpOp[parsed], Number(5))


@pytest.mark.parametrize(
    ("rule", "text", "val"),
    [
        ("F8", "true", True),
        ("F8", "false", False),
        ("F9", "5", Number(5)),
        ("F9", "-5.25", Number(-5.25)),
        ("F9", "1_000", Number(1000)),
        ("F9", "1_0.2_5e1_0", Number(10.25e10)),
        ("F9", "5e3", Number(5000)),
        ("F9", "5E-3kW", Number(0.005, "kW")),
        ("F9", "1.6e+4", Number(16000)),
        ("F9", "1e999", Number(math.inf)),
        ("F9", "-1e999", Number(-math.inf)),
        ("F9", "5e", Number(5, "e")),
        ("F9", "5eV", Number(5, "eV")),
        ("F9", "5kW", Number(5, "kW")),
        ("F9", "72.5°F", Number(72.5, "°F")),
        ("F9", "5%", Number(5, "%")),
        ("F9", "5$", Number(5, "$")),
        ("F9", "5/h", Number(5, "/h")),
        ("F9", "5m³/h", Number(5, "m³/h")),
        ("F9", "5_foo", Number(5, "_foo")),
        ("F9", "5m2", Number(5, "m2")),
        ("F9", "5and", Number(5, "and")),
        ("F9", "5no_such_unit", Number(5, "no_such_unit")),
        ("F10", "0xFF", Number(255)),
        ("F10", "0xab_CD", Number(0xABCD)),
        ("F11", "2024-02-29", dt.date(2024, 2, 29)),
        ("F12", "8:30", dt.time(8, 30)),
        ("F12", "08:30:15", dt.time(8, 30, 15)),
        ("F12", "23:59:59.999999999", dt.time(23, 59, 59, 999_999)),
        ("F13", "2024-01-01T00:00:00Z", dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))),
        ("F13", "2024-01-01T00:00:00Z UTC", dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC"))),
        (
            "F13",
            "2024-03-10T01:00:00.25-05:00 New_York",
            dt.datetime(2024, 3, 10, 1, 0, 0, 250_000, tzinfo=ZoneInfo("America/New_York")),
        ),
        (
            "OC27",  # New York is at -05:00 then: the offset tells the instant
            "2024-01-01T12:00:00+00:00 New_York",
            dt.datetime(2024, 1, 1, 7, tzinfo=ZoneInfo("America/New_York")),
        ),
        (
            "F13",
            "2024-01-01T00:00:00+05:00 GMT-5",
            dt.datetime(2024, 1, 1, tzinfo=ZoneInfo("Etc/GMT-5")),
        ),
        ("F14", '""', ""),
        ("F14", '"a $b"', "a $b"),
        ("F14", r'"\b\f\n\r\t\"\$\'\`\\"', "\b\f\n\r\t\"$'`\\"),
        ("F14", r'"\u00e9\u{e9}\u{1F600}"', "éé😀"),
        ("F14", r'"\uD83D\uDE00"', "😀"),
        ("F14", '"a\nb"', "a\nb"),
        ("F14", '"// no /* comment"', "// no /* comment"),
        ("F14", '"""a"b""c"""', 'a"b""c'),
        ("F14", '""""""', ""),
        ("F14", '""""a"""', '"a'),
        ("F14", r'"""a\""""', 'a"'),
        ("F15", "`http://a/b c`", Uri("http://a/b c")),
        ("F15", r"`a\:b\\c\`\u00e9`", Uri("a\\:b\\\\c`é")),
        ("F15", "``", Uri("")),
        ("F16", "@a.b:c-d~e_9", Ref("a.b:c-d~e_9")),
        ("F17", "^hot-water", Symbol("hot-water")),
    ],
)
def test_literals(rule: str, text: str, val: object) -> None:
    node = parse(f"a == {text}")

    assert isinstance(node, Cmp)
    assert type(node.val) is type(val)
    assert equal(node.val, val)


def test_a_datetime_keeps_its_zone() -> None:
    node = parse("a == 2024-01-01T12:00:00+00:00 New_York")

    assert isinstance(node, Cmp)
    assert isinstance(node.val, dt.datetime)
    assert node.val.isoformat() == "2024-01-01T07:00:00-05:00"
    assert str(node.val.tzinfo) == "America/New_York"


# Rule, text, position of the error (the ^ of the message), and a word of what is expected there.
REJECTED = [
    ("F1", "a\n", 1, "one line"),
    ("F1", "\na", 0, "one line"),
    ("F1", "a\r\nand b", 1, "one line"),
    ("F1", "a == \n5", 5, "one line"),
    ("F1", "a // x\n", 6, "one line"),
    ("F1", "a // x\r", 6, "one line"),
    ("F1", "a\u2003", 1, "the end"),
    ("F1", "a==5and b", 8, "the end"),
    ("F2", "a / b", 2, "comment"),
    ("F2", "a == 5//x", 6, "space before the comment"),
    ("F2", "a == 5kW/*x*/", 8, "space before the comment"),
    ("F3", "a AND b", 2, "lower case"),
    ("F3", "a == 'x'", 5, "double quotes"),
    ("F3", "a > 5 m", 6, "a unit follows its number without a blank"),
    ("F3", "a Or b", 2, '"and", "or"'),
    ("F3", "a and", 5, "tag name"),
    ("F3", "not and b", 8, "the end"),
    ("F4", "(a", 2, '")"'),
    ("F4", "a)", 1, "the end"),
    ("F4", "()", 1, "tag name"),
    ("F5", "not (a)", 4, "path after"),
    ("F5", "not ^x", 4, "path after"),
    ("F5", "not a == 5", 6, "the end"),
    ("F5", 'not "x"', 4, "path after"),
    ("F6", "Site == 5", 5, "the end"),
    ("F6", "Foo->bar", 3, "the end"),
    ("F6", "a->", 3, "tag name"),
    ("F6", "a->5", 3, "tag name"),
    ("F7", "a.b", 3, "::"),
    ("F7", "ph::site", 4, "upper-case"),
    ("F7", "ph::", 4, "upper-case"),
    ("F7", "a.::B", 2, "name after"),
    ("F7", "a.b and c", 4, "::"),
    ("F8", "x == NA", 5, "value"),
    ("F8", "x == INF", 5, "value"),
    ("F8", "x == NaN", 5, "value"),
    ("F8", "x == null", 5, "value"),
    ("F8", "x == M", 5, "value"),
    ("F8", "x == C(1,2)", 5, "value"),
    ("F8", "x == [1]", 5, "value"),
    ("F8", "x == {}", 5, "value"),
    ("F8", "x == y", 5, "value"),
    ("F8", "x ==", 4, "value"),
    ("F8", "x == True", 5, "value"),
    ("F8", "5 == x", 0, "tag name"),
    ("F8", '"a" == x', 0, "tag name"),
    ("F9", "x == .5", 5, "value"),
    ("F9", "x == +5", 5, "value"),
    ("F9", "x == - 5", 5, "value"),
    ("F9", "x == 5.", 6, "the end"),
    ("F9", "x == 5 kW", 7, "the end"),
    ("F9", "x == 5e+", 8, "exponent"),
    ("F9", "x == 5e-kW", 8, "exponent"),
    ("F9", "x == 5-3", 6, "the end"),
    ("F9", "x == 1.2.3", 8, "the end"),
    ("F10", "x == 0x", 7, "hex"),
    ("F10", "x == -0xF", 5, "hex"),
    ("F10", "x == 0xFkW", 8, "the end"),
    ("F11", "x == 2024-02-30", 5, "exist"),
    ("F11", "x == 2024-1-05", 5, "YYYY-MM-DD"),
    ("F11", "x == 2024-01-015", 15, "space after"),
    ("F11", "x == 2024-01-01and y", 15, "space after"),
    ("F11", "x == 0000-01-01", 5, "exist"),
    ("F12", "x == 24:00", 5, "exist"),
    ("F12", "x == 12:60", 5, "exist"),
    ("F12", "x == 08:3", 5, "hh:mm"),
    ("F12", "x == 123:00", 5, "hh:mm"),
    ("F12", "x == -8:30", 7, "the end"),
    ("F12", "x == 8:30or y", 9, "space after"),
    ("F12", "x == 08:30.5", 10, "the end"),
    ("F13", "x == 2024-01-01T00:00:00-05:00", 30, "zone"),
    ("F13", "x == 2024-01-01T00:00:00-05:00  New_York", 30, "zone"),
    ("F13", "x == 2024-01-01T00:00:00-05:00 new_york", 30, "zone"),
    ("F13", "x == 2024-01-01T00:00:00-05:00 America/New_York", 31, "time zone"),
    ("F13", "x == 2024-01-01T00:00:00Z Nowhere", 26, "time zone"),
    ("F13", "x == 2024-01-01T00:00:00Z  New_York", 27, "the end"),
    ("F13", "x == 2024-01-01T00:00:00Zand y", 25, "space after"),
    ("F13", "x == 2024-01-01T00:00:00", 24, "offset"),
    ("F13", "x == 2024-01-01T00:00Z", 5, "dateTime"),
    ("F13", "x == 2024-01-01T24:00:00Z", 5, "exist"),
    ("F13", "x == 2024-01-01T00:00:00+24:00 UTC", 5, "exist"),
    ("F13", "x == 0001-01-01T00:00:00+01:00 UTC", 5, "exist"),
    ("F13", "x == 9999-12-31T23:59:59Z Tokyo", 5, "exist"),
    ("F14", 'x == "a', 7, "closing"),
    ("F14", 'x == "a\\', 7, "escape"),
    ("F14", r'x == "a\q"', 7, "escape"),
    ("F14", r'x == "\u12"', 6, "escape"),
    ("F14", r'x == "\u{1234567}"', 6, "escape"),
    ("F14", r'x == "\u{110000}"', 6, "U+10FFFF"),
    ("F14", r'x == "a\ud800"', 7, "U+10FFFF"),
    ("F14", 'x == "\ud800"', 5, "surrogate"),
    ("F14", 'x == """a""""', 12, "the end"),
    ("F14", 'x == """a""', 11, "closing"),
    ("F15", "x == `a", 7, "closing"),
    ("F15", "x == `a\nb`", 7, "closing"),
    ("F15", r"x == `a\q`", 7, "escape"),
    ("F16", "x == @", 6, "id after @"),
    ("F16", 'x == @a "Name"', 8, "the end"),
    ("F16", "@a", 0, "tag name"),
    *[
        ("F17", f"x == {symbol}", 5, "symbol")
        for symbol in ("^Foo", "^a.b", "^a-", "^a--b", "^a-B", "^a:B", "^a:b:c", "^a~b", "^")
    ],
    ("F17", "^Foo", 0, "symbol"),
    ("F18", "", 0, "tag name"),
    ("F18", " \t", 2, "tag name"),
    ("F18", "a b", 2, "the end"),
    ("F18", "a == 1 2", 7, "the end"),
    ("F18", "a = 5", 2, '"==", "!="'),
    ("F18", "a === 5", 4, "=="),
    ("F18", "a <> 5", 3, "value"),
    ("F18", "!a", 0, "not"),
    ("F18", "a && b", 2, '"and"'),
    ("F18", "a || b", 2, '"or"'),
    ("F18", "a, b", 1, "the end"),
    ("F18", "naïve == 1", 2, "the end"),
    ("F18", "a == 5 and #", 11, "tag name"),
    ("F18", "a\0", 1, "the end"),
]


@pytest.mark.parametrize(("rule", "text", "pos", "expected"), REJECTED)
def test_rejected(rule: str, text: str, pos: int, expected: str) -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        parse(text)

    assert caught.value.text == text
    assert caught.value.pos == pos
    assert expected in caught.value.expected


def test_an_error_shows_the_place_and_survives_pickling() -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        parse("a and b == C(1,2)")

    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert str(again) == str(caught.value)
    assert str(again).splitlines()[1:] == ["  a and b == C(1,2)", "             ^"]


def test_nesting_ends_at_a_hundred_levels() -> None:
    """OC 6: an error, never an overflow of the stack."""
    deepest = "(" * MAX_NESTING + "a" + ")" * MAX_NESTING

    assert parse(deepest) == A
    for levels in (MAX_NESTING + 1, 100_000):
        with pytest.raises(FilterSyntaxError) as caught:
            parse("(" * levels + "a" + ")" * levels)
        assert caught.value.pos == MAX_NESTING


def test_the_deepest_filter_is_read_compared_and_printed() -> None:
    node = parse("(a or b and " * MAX_NESTING + "c" + ")" * MAX_NESTING)

    assert parse(print_filter(node)) == node


@pytest.mark.parametrize(
    ("term", "counts"),
    [("a", 1), ("not a", 1), ("a == 1", 1), ("^a", 1), ("^a-b-c", 3), ("A", 1), ("a->b", 2),
     ("not a->b->c", 4), ("a->b->c->d == 1", 8), ("a->b->c->d->e->f->g->h", 128)],
)  # fmt: skip
def test_a_filter_has_so_many_terms(term: str, counts: int) -> None:
    """OC 6: an error at the first term too many, wherever it stands."""
    fits = ["a"] * (MAX_TERMS - counts) + [term]
    node = parse(" and ".join(fits))

    assert parse(print_filter(node)) == node
    for text in (" and ".join(["a", *fits]), f"(({' or '.join(['a', *fits])})"):
        with pytest.raises(FilterSyntaxError, match="at most 400 terms") as caught:
            parse(text)
        assert caught.value.pos == text.rindex(term)


def test_a_symbol_of_too_many_names_is_an_error() -> None:
    with pytest.raises(FilterSyntaxError, match="at most 400 terms") as caught:
        parse("a or ^" + "-".join("b" * (MAX_TERMS + 1)))

    assert caught.value.pos == 5


def test_a_text_that_is_too_long_is_an_error() -> None:
    with pytest.raises(FilterSyntaxError) as caught:
        parse(" " * MAX_LENGTH + "a")

    assert caught.value.pos == MAX_LENGTH
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "text",
    [
        "a and " * 40_000 + "a",
        "a->" * 80_000 + "a",
        "/**/" * 60_000 + "a",
        "/*" * 120_000,
        "x == " + "9" * 240_000,
        "x == " + "1-" * 120_000,
        "x == " + "1_" * 120_000,
        "x == 0x" + "f" * 240_000,
        'x == "' + r"\n" * 120_000,
        'x == """' + '""a' * 80_000,
        "x == `" + r"\:" * 120_000 + "`",
        "(a or b and " * 100 + "a" + ")" * 100,
        "ï" * 240_000,
    ],
    ids=lambda text: text[:12],
)
def test_long_texts_take_time_by_their_length_only(text: str) -> None:
    start = time.process_time()
    _parse_or_error(text)

    # Some 0.1 s; anything quadratic takes minutes.
    assert time.process_time() - start < 5


def test_the_tree_of_a_short_text_is_built_once() -> None:
    assert parse("a and b") is parse("a and b")


def _outcome(text: str) -> FilterSyntaxError | Node:
    try:
        return parse(text)
    except FilterSyntaxError as exc:
        return exc


def _parse_or_error(text: str) -> None:
    found = _outcome(text)
    if isinstance(found, FilterSyntaxError):
        assert found.text == text
        assert 0 <= found.pos <= len(text)
        assert found.expected
        assert str(found)
    else:
        assert parse(print_filter(found)) == found


_TOKENS = [
    "a", "Foo", "and", "or", "not", "true", "(", ")", "->", "==", "!=", "<", ">=", "::", ".", "@a",
    "^x", '"', '"""', "\\", "`", "5", "kW", "-", "_", "2024-01-01", "T00:00:00", "Z", "+05:00",
    " New_York", "8:30", "0x", "e", " ", "\u00a0", "\n", "//", "/*", "*/", "ï", "\0", "u{",
    "\ud800",
]  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(_TOKENS), max_size=12).map("".join)))
@example("naïve == 1")
@example("a == 5e0_5")
@example("a==5\u00a0and b")
def test_any_text_parses_or_is_a_syntax_error(text: str) -> None:
    _parse_or_error(text)
    _parse_or_error(f"x == {text}")


@given(
    st.one_of(nodes(leaves=4).map(print_filter), st.sampled_from([text for _, text, _ in CASES])),
    st.data(),
)
def test_a_damaged_filter_parses_or_is_a_syntax_error(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 3, len(text))))
    inserted = data.draw(st.one_of(st.sampled_from(_TOKENS), st.just("")))

    _parse_or_error(text[:start] + inserted + text[end:])


def test_a_path_has_at_most_eight_names() -> None:
    """More is an error on every backend alike, at the name that is too much."""
    assert parse("->".join("abcdefgh"))

    with pytest.raises(FilterSyntaxError, match="at most 8 names in a path") as caught:
        parse("->".join("abcdefghi"))
    assert caught.value.pos == len("a->b->c->d->e->f->g->h->")
    with pytest.raises(ValueError, match="at most 8 names"):
        Path(tuple("abcdefghi"))
